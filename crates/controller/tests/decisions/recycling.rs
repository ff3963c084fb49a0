//! Back to the pool, or deleted (`kubernetes.md` §5.11).

use contract::hibernation::Verdict;
use contract::names::{annotations, labels};
use controller::sandbox::{
    Circumstances, Keeping, Kept, Recycling, RecyclingLimits, Unmounting, decide_about,
};
use kube::ResourceExt as _;

use super::*;

const USED: &str = "pod-uid";

fn claimed(change: &Value) -> Sandbox {
    let mut sandbox = sandbox(&json!({
        "metadata": {
            "labels": {labels::SANDBOX_POOL: "pool", labels::TEMPLATE_HASH: "h", labels::SANDBOX_CLAIMED: "true"},
            "annotations": {annotations::CLEANUP_ENABLED: "true", annotations::CLEANUP: "true", annotations::LOCK: "l",
                annotations::OWNER: "alice", annotations::CSI_VOLUME_CONFIG: "[]"},
        },
        "status": {"phase": "Running", "podInfo": {"podUID": USED, "annotations": {annotations::INITIALIZED_CONTAINER: "a"}}},
    }));
    let mut json = json!(sandbox);
    merge(&mut json, change);
    sandbox = serde_json::from_value(json).expect("a Sandbox");
    sandbox
}

fn draft(hash: &str) -> Sandbox {
    let owner =
        json!([{"apiVersion": "a", "kind": "SandboxSet", "name": "pool", "uid": "set", "controller": true}]);
    let mut draft = claimed(&json!({"metadata": {"ownerReferences": owner}}));
    let own = [(annotations::CLEANUP_ENABLED, "true"), (annotations::HASH_IMMUTABLE_PART, "x")];
    draft.metadata.annotations =
        Some(own.into_iter().map(|(key, value)| (key.to_owned(), value.to_owned())).collect());
    draft.labels_mut().insert(labels::SANDBOX_CLAIMED.to_owned(), "false".to_owned());
    draft.labels_mut().insert(labels::TEMPLATE_HASH.to_owned(), hash.to_owned());
    draft
}

fn of_pool(unmounting: Option<Unmounting>) -> Recycling {
    Recycling { draft: Ok(Box::new(draft("h"))), unmounting, limits: RecyclingLimits::default() }
}

fn turn(sandbox: &Sandbox, pod: Option<&Pod>, recycling: &Recycling, seconds: i64) -> Decision {
    let circumstances = Circumstances {
        attempt: None,
        storage: &Verdict::Possible,
        recycling: Some(recycling),
        kept: Kept::default(),
        keeping: &Keeping::default(),
    };
    decide_about(sandbox, pod, circumstances, now() + SignedDuration::from_secs(seconds))
}

/// The sandbox with what was decided about it.
fn after(sandbox: &Sandbox, decision: &Decision) -> Sandbox {
    let mut next = sandbox.clone();
    for action in &decision.actions {
        if let Action::ClearSandbox(written) | Action::ReplaceSandbox(written) = action {
            next = (**written).clone();
        }
    }
    next.status.clone_from(&decision.status);
    next
}

fn begun(change: &Value) -> Sandbox {
    let sandbox = claimed(change);
    after(&sandbox, &turn(&sandbox, Some(&used_pod()), &of_pool(None), 0))
}

fn used_pod() -> Pod {
    pod("Running", &ready("True"))
}

fn new_pod(is_ready: &str) -> Pod {
    let mut pod = pod("Running", &ready(is_ready));
    pod.metadata.uid = Some("new-uid".to_owned());
    pod
}

fn says(decision: &Decision, kind: &str) -> Option<String> {
    let found = conditions::find(&decision.status.as_ref()?.conditions, kind)?;
    Some(format!("{}/{}", found.status, found.reason))
}

#[test]
fn a_used_sandbox_is_unmounted_gets_another_pod_and_is_back_when_it_is_clean() {
    let sandbox = claimed(&json!({}));
    let first = turn(&sandbox, Some(&used_pod()), &of_pool(None), 0);
    assert_eq!((phase_of(&first), first.actions.len()), ("Recycling", 0), "the phase is written first");
    assert_eq!(reasons(&first), ["RecyclingStarted", "SandboxRecycling"]);
    assert_eq!(says(&first, types::READY).as_deref(), Some("False/RecyclingStarted"));

    let sandbox = after(&sandbox, &first);
    let second = turn(&sandbox, Some(&used_pod()), &of_pool(None), 1);
    assert_eq!(second.actions, [Action::Unmount { pod: USED.to_owned() }]);
    let waiting = turn(&sandbox, Some(&used_pod()), &of_pool(Some(Unmounting::Running)), 1);
    assert!(waiting.actions.is_empty(), "the pod stays until everything is unmounted");
    let unmounted = turn(&sandbox, Some(&used_pod()), &of_pool(Some(Unmounting::Succeeded)), 2);
    assert!(unmounted.actions.is_empty(), "noted first");

    let sandbox = after(&sandbox, &unmounted);
    let stopped = turn(&sandbox, Some(&used_pod()), &of_pool(None), 3);
    assert_eq!(stopped.actions, [Action::StopPod { uid: USED.to_owned() }]);
    let going = pod("Running", &json!({"metadata": {"deletionTimestamp": at(0)}}));
    assert!(turn(&sandbox, Some(&going), &of_pool(None), 4).actions.is_empty(), "waits");

    let gone = turn(&sandbox, None, &of_pool(None), 5);
    let sandbox = after(&sandbox, &gone);
    assert!(!sandbox.annotations().contains_key(annotations::OWNER));
    assert!(!sandbox.annotations().contains_key(annotations::CSI_VOLUME_CONFIG));
    assert_eq!(sandbox.annotations()[annotations::LOCK], "l", "nobody takes it");
    assert_eq!(turn(&sandbox, None, &of_pool(None), 6).actions, [Action::CreatePod]);

    let starting = turn(&sandbox, Some(&new_pod("False")), &of_pool(None), 7);
    assert_eq!(
        (starting.actions.len(), says(&starting, types::RECYCLING).as_deref()),
        (0, Some("False/RecyclingStarted"))
    );
    let is_ready = turn(&sandbox, Some(&new_pod("True")), &of_pool(None), 8);
    assert_eq!(says(&is_ready, types::RECYCLING).as_deref(), Some("False/RecyclingCompleted"));
    assert_eq!(
        says(&is_ready, types::READY).as_deref(),
        Some("False/RecyclingStarted"),
        "not before it is back"
    );
    assert_eq!(is_ready.wake_at, Some(now() + SignedDuration::from_secs(18)));

    let sandbox = after(&sandbox, &is_ready);
    assert!(
        turn(&sandbox, Some(&new_pod("True")), &of_pool(None), 17).actions.is_empty(),
        "the grace period"
    );
    let returns = turn(&sandbox, Some(&new_pod("True")), &of_pool(None), 18);
    let sandbox = after(&sandbox, &returns);
    assert!(contract::state::owning_set(&sandbox).is_some());
    assert_eq!(sandbox.labels()[labels::SANDBOX_CLAIMED], "false");
    assert!(!contract::state::is_ready(&sandbox), "its set owns it, and a claim does not take it yet");

    let done = turn(&sandbox, Some(&new_pod("True")), &of_pool(None), 18);
    assert_eq!((phase_of(&done), reasons(&done)), ("Running", vec!["RecyclingSucceeded", "SandboxRunning"]));
    assert_eq!(says(&done, types::RECYCLING).as_deref(), Some("True/RecyclingSucceeded"));
    assert_eq!(says(&done, types::READY).as_deref(), Some("True/PodReady"));
    let status = done.status.expect("a status");
    assert_eq!(status.recycled_count, Some(1));
    assert_eq!(
        status.pod_info.expect("a pod").annotations,
        None,
        "the next container is as good as the first"
    );
}

#[test]
fn a_new_controller_unmounts_again_and_never_takes_the_old_pod_for_the_new_one() {
    let sandbox = begun(&json!({}));
    let again = turn(&sandbox, Some(&used_pod()), &of_pool(None), 30);
    assert_eq!(again.actions, [Action::Unmount { pod: USED.to_owned() }]);
}

#[rstest]
#[case::unmount_failed(Some(used_pod()), of_pool(Some(Unmounting::Failed("failed to unmount /data: busy".to_owned()))), 1, "RecyclingFailed", "failed to unmount /data: busy")]
#[case::pod_went_by_itself(
    None,
    of_pool(None),
    1,
    "RecyclingFailed",
    "went before its storage was unmounted"
)]
#[case::pool_is_gone(Some(used_pod()), Recycling { draft: Err("SandboxSet pool is gone".to_owned()), ..of_pool(None) }, 1, "RecyclingFailed", "SandboxSet pool is gone")]
#[case::pool_has_moved_on(Some(used_pod()), Recycling { draft: Ok(Box::new(draft("other"))), ..of_pool(None) }, 1, "RecyclingFailed", "not of the revision")]
#[case::too_late(Some(used_pod()), of_pool(Some(Unmounting::Running)), 60, "RecyclingTimeout", "within 60 s")]
fn what_is_not_clean_for_sure_is_deleted(
    #[case] pod: Option<Pod>,
    #[case] recycling: Recycling,
    #[case] second: i64,
    #[case] reason: &str,
    #[case] message: &str,
) {
    let sandbox = begun(&json!({}));
    let failed = turn(&sandbox, pod.as_ref(), &recycling, second);
    assert_eq!(failed.actions, [Action::DeleteSandbox]);
    assert_eq!(reasons(&failed), [reason]);
    assert!(failed.events[0].message.contains(message), "{}", failed.events[0].message);
    assert_eq!(says(&failed, types::RECYCLING), Some(format!("False/{reason}")));
    // a deletion that failed is tried again, and told once
    let again = turn(&after(&sandbox, &failed), pod.as_ref(), &recycling, second + 1);
    assert_eq!((again.actions, again.events.len()), (vec![Action::DeleteSandbox], 0));
}

#[test]
fn a_failed_one_is_kept_for_a_while_where_that_is_asked_for() {
    let sandbox =
        begun(&json!({"metadata": {"annotations": {annotations::CLEANUP_RETAIN_ON_FAILURE: "5m"}}}));
    let recycling = of_pool(Some(Unmounting::Failed("busy".to_owned())));
    let failed = turn(&sandbox, Some(&used_pod()), &recycling, 1);
    let until = now() + SignedDuration::from_secs(301);
    assert_eq!((failed.actions.clone(), failed.wake_at), (vec![Action::KeepUntil(until)], Some(until)));
    let mut kept = after(&sandbox, &failed);
    kept.spec.shutdown_time = Some(k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(until));
    assert!(turn(&kept, Some(&used_pod()), &recycling, 200).actions.is_empty());
    assert_eq!(turn(&kept, Some(&used_pod()), &recycling, 302).actions, [Action::DeleteSandbox]);
}

#[rstest]
#[case::with_claims(json!({"spec": {"volumeClaimTemplates": [{"metadata": {"name": "d"}}]}}))]
#[case::kept_for_its_failure(json!({"metadata": {"labels": {labels::RESERVED_FAILED_SANDBOX: "true"}}}))]
fn what_is_never_recycled_is_told_once_and_runs_on(#[case] change: Value) {
    let sandbox = claimed(&change);
    let rejected = turn(&sandbox, Some(&used_pod()), &of_pool(None), 0);
    assert_eq!((phase_of(&rejected), reasons(&rejected)), ("Running", vec!["RecyclingRejected"]));
    assert_eq!(says(&rejected, types::RECYCLING).as_deref(), Some("False/RecyclingRejected"));
    assert_eq!(says(&rejected, types::READY).as_deref(), Some("True/PodReady"));
    let again = turn(&after(&sandbox, &rejected), Some(&used_pod()), &of_pool(None), 1);
    assert!(again.events.is_empty());
}

#[test]
fn a_sandbox_that_is_being_claimed_is_left_to_its_claim() {
    let unacknowledged =
        json!({"metadata": {"annotations": {annotations::CLAIM_UNACKNOWLEDGED_UNTIL: at(60)}}});
    let decision = turn(&claimed(&unacknowledged), Some(&used_pod()), &of_pool(None), 0);
    assert_eq!((phase_of(&decision), decision.events.len()), ("Running", 0));
}

#[test]
fn deadlines_of_the_former_user_do_not_count_while_it_is_cleaned() {
    let sandbox = begun(&json!({"spec": {"shutdownTime": at(5), "pauseTime": at(5)}}));
    let decision = turn(&sandbox, Some(&used_pod()), &of_pool(Some(Unmounting::Running)), 10);
    assert_eq!((phase_of(&decision), decision.actions.len()), ("Recycling", 0));
}
