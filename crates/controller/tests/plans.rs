//! What is planned for a pool, as tables (`kubernetes.md` §3.1 to §3.5).
#![allow(clippy::expect_used, clippy::panic, reason = "a test fails hard, with a message")]

use std::sync::Arc;

use contract::crd::{Sandbox, SandboxSet, SandboxTemplate};
use controller::set::{Marks, Observed, Plan, generated_sandbox, marks, plan};
use jiff::{SignedDuration, Timestamp};
use rstest::rstest;
use serde_json::{Value, json};

fn now() -> Timestamp {
    Timestamp::from_second(1_800_000_000).expect("a small number")
}

fn at(seconds: i64) -> String {
    (now() + SignedDuration::from_secs(seconds)).to_string()
}

fn set(spec: &Value) -> SandboxSet {
    let mut json = json!({
        "apiVersion": "agents.kruise.io/v1alpha1", "kind": "SandboxSet",
        "metadata": {"name": "pool", "namespace": "default", "uid": "set-uid", "generation": 2},
        "spec": {"template": {"spec": {"containers": []}}},
    });
    for (name, value) in spec.as_object().expect("an object") {
        json["spec"][name] = value.clone();
    }
    serde_json::from_value(json).expect("a set")
}

/// A member by its name: `a` available, `c` creating (pending), `n` running but not ready, `d` dead; a digit for its
/// age (1 is the oldest) and, when outdated, a trailing `-`.
fn member(name: &str) -> Arc<Sandbox> {
    let age: i64 = name[1..2].parse().expect("an age");
    let (phase, ready) = match &name[..1] {
        "a" => ("Running", "True"),
        "c" => ("Pending", "False"),
        "n" => ("Running", "False"),
        "d" => ("Failed", "False"),
        other => panic!("no state {other}"),
    };
    let revision = if name.ends_with('-') { "old" } else { "new" };
    let json = json!({
        "apiVersion": "agents.kruise.io/v1alpha1", "kind": "Sandbox",
        "metadata": {
            "name": name, "uid": name, "creationTimestamp": at(age - 100),
            "labels": {"agents.kruise.io/template-hash": revision},
            "ownerReferences": [
                {"apiVersion": "a", "kind": "SandboxSet", "name": "pool", "uid": "set-uid", "controller": true},
            ],
        },
        "spec": {},
        "status": {"phase": phase, "conditions": [
            {"type": "Ready", "status": ready, "reason": "PodReady", "message": "", "lastTransitionTime": at(0)},
        ]},
    });
    Arc::new(serde_json::from_value(json).expect("a sandbox"))
}

fn members(names: &[&str]) -> Vec<Arc<Sandbox>> {
    names.iter().map(|name| member(name)).collect()
}

fn planned(set: &SandboxSet, members: &[Arc<Sandbox>], unseen: (usize, &[String])) -> Plan {
    planned_with(set, members, unseen, None)
}

fn planned_with(
    set: &SandboxSet,
    members: &[Arc<Sandbox>],
    unseen: (usize, &[String]),
    obstacle: Option<&str>,
) -> Plan {
    plan(&Observed {
        set,
        members,
        unseen_creations: unseen.0,
        unseen_deletions: unseen.1,
        revision: "new",
        template_name: "pool-new",
        obstacle,
        now: now(),
    })
}

fn names(sandboxes: &[Arc<Sandbox>]) -> Vec<String> {
    sandboxes.iter().map(|sandbox| sandbox.metadata.name.clone().unwrap_or_default()).collect()
}

// §3.2 step 2, up
#[rstest]
#[case::empty(json!({"replicas": 4}), &[], 0, 4)]
#[case::some(json!({"replicas": 4}), &["a1", "c2"], 0, 2)]
#[case::unseen_count(json!({"replicas": 4}), &["a1"], 2, 1)]
#[case::dead_do_not_count(json!({"replicas": 2}), &["a1", "d2"], 0, 1)]
#[case::full(json!({"replicas": 2}), &["a1", "n2"], 0, 0)]
#[case::capped(json!({"replicas": 10, "scaleStrategy": {"maxUnavailable": 3}}), &[], 0, 3)]
#[case::cap_counts_unready(json!({"replicas": 10, "scaleStrategy": {"maxUnavailable": 3}}), &["a1", "c2"], 1, 1)]
#[case::cap_used_up(json!({"replicas": 10, "scaleStrategy": {"maxUnavailable": 1}}), &["c1", "c2"], 0, 0)]
#[case::percent_rounds_up(json!({"replicas": 10, "scaleStrategy": {"maxUnavailable": "25%"}}), &[], 0, 3)]
#[case::negative(json!({"replicas": -1}), &[], 0, 0)]
fn creations(#[case] spec: Value, #[case] existing: &[&str], #[case] unseen: usize, #[case] expected: usize) {
    assert_eq!(planned(&set(&spec), &members(existing), (unseen, &[])).create, expected);
}

// §3.4
#[rstest]
#[case::outdated_creating_first(&["a1", "c2", "a3-", "c4-"], 1, &["c4-"])]
#[case::then_outdated_available(&["a1", "c2", "a3-", "c4-"], 2, &["c4-", "a3-"])]
#[case::then_pending(&["a1", "c2", "a3-", "c4-"], 3, &["c4-", "a3-", "c2"])]
#[case::then_unready(&["a1", "n2", "c3"], 2, &["c3", "n2"])]
#[case::available_last_and_oldest_first(&["a3", "a1", "a2"], 2, &["a1", "a2"])]
fn scale_down_order(#[case] existing: &[&str], #[case] surplus: usize, #[case] expected: &[&str]) {
    let replicas = existing.len() - surplus;
    let plan = planned(&set(&json!({"replicas": replicas})), &members(existing), (0, &[]));
    assert_eq!(names(&plan.scale_down), expected);
    assert_eq!((plan.create, plan.roll.len()), (0, 0));
}

#[test]
fn recycled_sandboxes_go_before_unready_ones_the_most_recycled_first() {
    let mut all = members(&["a1", "a2", "a3", "n4"]);
    for (index, count) in [(1, 1), (2, 5)] {
        let sandbox = Arc::make_mut(&mut all[index]);
        sandbox.status.get_or_insert_default().recycled_count = Some(count);
    }
    let plan = planned(&set(&json!({"replicas": 0})), &all, (0, &[]));
    assert_eq!(names(&plan.scale_down), ["a3", "a2", "n4", "a1"]);
}

#[rstest]
#[case::creation(1, &[])]
#[case::deletion(0, &["a1"])]
fn nothing_is_scaled_down_or_rolled_while_something_is_outstanding(
    #[case] unseen: usize,
    #[case] deleted: &[&str],
) {
    let deleted: Vec<String> = deleted.iter().map(|name| (*name).to_owned()).collect();
    let surplus = planned(&set(&json!({"replicas": 1})), &members(&["a1", "a2", "a3"]), (unseen, &deleted));
    assert!(surplus.scale_down.is_empty());
    let outdated = planned(&set(&json!({"replicas": 2})), &members(&["a1-", "a2-"]), (unseen, &deleted));
    assert!(outdated.roll.is_empty());
}

#[test]
fn a_member_whose_deletion_is_on_its_way_does_not_count() {
    let plan = planned(&set(&json!({"replicas": 2})), &members(&["a1", "a2"]), (0, &["a1".to_owned()]));
    assert_eq!((plan.create, plan.status.replicas), (1, 1));
}

// §3.2 step 3
#[test]
fn dead_members_are_deleted_and_expired_ones_are_dead() {
    let mut all = members(&["a1", "d2", "a3"]);
    Arc::make_mut(&mut all[2]).spec.shutdown_time =
        Some(k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(now() - SignedDuration::from_secs(1)));
    let plan = planned(&set(&json!({"replicas": 1})), &all, (0, &[]));
    assert_eq!(names(&plan.dead), ["d2", "a3"]);
    assert_eq!(plan.status.available_replicas, 1);
}

#[test]
fn the_next_expiry_is_looked_at_again() {
    let mut all = members(&["a1", "a2"]);
    for (index, seconds) in [(0, 60), (1, 30)] {
        let deadline = now() + SignedDuration::from_secs(seconds);
        Arc::make_mut(&mut all[index]).spec.shutdown_time =
            Some(k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(deadline));
    }
    let plan = planned(&set(&json!({"replicas": 2})), &all, (0, &[]));
    assert_eq!(plan.wake_at, Some(now() + SignedDuration::from_millis(30_001)));
}

// §3.5
#[rstest]
#[case::default_is_a_fifth(json!({"replicas": 4}), &["a1-", "a2-", "a3-", "a4-"], &["a1-"])]
#[case::number(json!({"replicas": 4, "updateStrategy": {"maxUnavailable": 3}}), &["a3-", "a1-", "a2-", "a4-"], &["a1-", "a2-", "a3-"])]
#[case::creating_go_at_once(json!({"replicas": 4}), &["a1-", "c2-", "c3-", "a4"], &["c2-", "c3-", "a1-"])]
#[case::updated_unready_use_the_budget(json!({"replicas": 4}), &["a1-", "a2-", "a3-", "c4"], &[])]
#[case::nothing_outdated(json!({"replicas": 2}), &["a1", "c2"], &[])]
#[case::not_while_scaling_up(json!({"replicas": 3}), &["a1-", "a2-"], &[])]
#[case::creating_even_then(json!({"replicas": 3}), &["a1-", "c2-"], &["c2-"])]
#[case::those_that_never_start_make_room(json!({"replicas": 9, "scaleStrategy": {"maxUnavailable": 1}}), &["c1-"], &["c1-"])]
#[case::percent_rounds_up(json!({"replicas": 5, "updateStrategy": {"maxUnavailable": "30%"}}), &["a1-", "a2-", "a3-", "a4-", "a5-"], &["a1-", "a2-"])]
#[case::none_at_all(json!({"replicas": 2, "updateStrategy": {"maxUnavailable": 0}}), &["a1-", "a2-"], &[])]
#[case::all_at_once(json!({"replicas": 2, "updateStrategy": {"maxUnavailable": "100%"}}), &["a1-", "a2-"], &["a1-", "a2-"])]
#[case::a_third_revision(json!({"replicas": 4}), &["a1-", "c2-", "n3-", "a4"], &["c2-", "n3-", "a1-"])]
fn rolling_update(#[case] spec: Value, #[case] existing: &[&str], #[case] expected: &[&str]) {
    assert_eq!(names(&planned(&set(&spec), &members(existing), (0, &[])).roll), expected);
}

// §3.1
#[test]
fn the_status_counts_by_state_and_revision() {
    let plan = planned(&set(&json!({"replicas": 4})), &members(&["a1", "a2-", "c3", "d4"]), (1, &[]));
    let expected = json!({
        "observedGeneration": 2, "replicas": 4, "availableReplicas": 2, "updatedReplicas": 3,
        "updatedAvailableReplicas": 1, "updateRevision": "new", "currentRevision": "pool-new",
        "selector": "agents.kruise.io/sandbox-claimed=false,agents.kruise.io/sandbox-pool=pool",
    });
    let mut status = json!(plan.status);
    status.as_object_mut().expect("an object").remove("conditions");
    assert_eq!(status, expected);
}

/// A set whose template can't be used keeps what it has, and can still shrink.
#[rstest]
#[case::nothing_is_created(json!({"replicas": 4}), &["a1"], &[], &[])]
#[case::nothing_is_rolled(json!({"replicas": 2}), &["a1-", "c2-"], &[], &[])]
#[case::dead_ones_go(json!({"replicas": 2}), &["a1", "d2"], &["d2"], &[])]
#[case::it_shrinks(json!({"replicas": 0}), &["a1", "a2"], &[], &["a1", "a2"])]
fn without_a_template(
    #[case] spec: Value,
    #[case] existing: &[&str],
    #[case] dead: &[&str],
    #[case] scaled: &[&str],
) {
    let plan = planned_with(&set(&spec), &members(existing), (0, &[]), Some("it is missing"));
    assert_eq!((plan.create, plan.roll.len()), (0, 0));
    assert_eq!((names(&plan.dead), names(&plan.scale_down)), (owned(dead), owned(scaled)));
    let condition = condition(&plan, "UpToDate");
    assert_eq!(
        (condition["reason"].as_str(), condition["message"].as_str()),
        (Some("InvalidTemplate"), Some("it is missing"))
    );
}

fn owned(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

fn condition(plan: &Plan, kind: &str) -> Value {
    let conditions = plan.status.conditions.iter();
    json!(conditions.into_iter().find(|condition| condition.type_ == kind).expect("it is there"))
}

#[rstest]
#[case::full(json!({"replicas": 2}), &["a1", "a2"], ["True", "AllReplicasAvailable", "2 available, 2 wanted"])]
#[case::none_wanted(json!({"replicas": 0}), &[], ["True", "AllReplicasAvailable", "0 available, 0 wanted"])]
#[case::shrinking(json!({"replicas": 1}), &["a1", "a2"], ["True", "AllReplicasAvailable", "2 available, 1 wanted"])]
#[case::filling(json!({"replicas": 2}), &["a1", "c2"], ["False", "CreatingReplicas", "1 available, 2 wanted"])]
fn whether_a_pool_is_full(#[case] spec: Value, #[case] existing: &[&str], #[case] expected: [&str; 3]) {
    let condition = condition(&planned(&set(&spec), &members(existing), (0, &[])), "Available");
    assert_eq!([&condition["status"], &condition["reason"], &condition["message"]], expected);
    assert_eq!(condition["observedGeneration"], 2);
}

#[test]
fn a_pool_says_what_keeps_its_oldest_sandbox_from_starting() {
    let mut all = members(&["n3", "c1", "a2"]);
    for (index, reason, words) in
        [(0, "StartContainerFailed", "no such image"), (1, "PodCreateFailed", "no csi")]
    {
        let status = Arc::make_mut(&mut all[index]).status.as_mut().expect("a status");
        reason.clone_into(&mut status.conditions[0].reason);
        words.clone_into(&mut status.conditions[0].message);
    }
    let condition = condition(&planned(&set(&json!({"replicas": 3})), &all, (0, &[])), "Available");
    assert_eq!(condition["reason"], "SandboxNotReady");
    assert_eq!(condition["message"], "1 available, 3 wanted; sandbox c1: no csi");
}

#[rstest]
#[case::all(&["a1", "c2"], ["True", "AllReplicasUpdated", "2 of 2 unclaimed sandboxes are of revision new"])]
#[case::some(&["a1-", "a2"], ["False", "RollingUpdate", "1 of 2 unclaimed sandboxes are of revision new"])]
fn whether_a_pool_is_up_to_date(#[case] existing: &[&str], #[case] expected: [&str; 3]) {
    let condition =
        condition(&planned(&set(&json!({"replicas": 2})), &members(existing), (0, &[])), "UpToDate");
    assert_eq!([&condition["status"], &condition["reason"], &condition["message"]], expected);
}

// §3.2 step 6
#[rstest]
#[case::few(&["t1", "t2"], "t2", &[], &[])]
#[case::the_eleventh(&["t00", "t01", "t02", "t03", "t04", "t05", "t06", "t07", "t08", "t09", "t10"], "t10", &["t00"], &[])]
#[case::marked_already(&["t00!", "t01", "t02", "t03", "t04", "t05", "t06", "t07", "t08", "t09", "t10"], "t10", &[], &[])]
#[case::back_to_the_oldest(&["t00!", "t01", "t02", "t03", "t04", "t05", "t06", "t07", "t08", "t09", "t10"], "t00!", &["t01"], &["t00!"])]
#[case::a_foreign_one_in_use(&["t1", "t2!"], "shared", &[], &["t2!"])]
fn marks_of_old_revisions(
    #[case] templates: &[&str],
    #[case] current: &str,
    #[case] set: &[&str],
    #[case] clear: &[&str],
) {
    let template = |name: &&str| {
        let age: i64 = name[1..].trim_end_matches('!').parse().expect("an age");
        let marks = if name.ends_with('!') {
            json!({"agents.kruise.io/cleanup-candidate": "true"})
        } else {
            json!({})
        };
        let json = json!({
            "apiVersion": "agents.kruise.io/v1alpha1", "kind": "SandboxTemplate", "spec": {},
            "metadata": {"name": name, "creationTimestamp": at(age - 100), "annotations": marks},
        });
        Arc::new(serde_json::from_value(json).expect("a template"))
    };
    let owned_templates: Vec<Arc<SandboxTemplate>> = templates.iter().map(template).collect();
    let expected = Marks { set: owned(set), clear: owned(clear) };
    assert_eq!(marks(&owned_templates, current), expected);
}

// §3.3
#[test]
fn a_generated_sandbox_inherits_what_is_the_users_and_nothing_internal() {
    let template = json!({
        "metadata": {
            "labels": {"l": "1", "agents.kruise.io/owner": "x"},
            "annotations": {
                "a": "1", "agents.kruise.io/lock": "x", "agents.kruise.io/cleanup-enabled": "true",
                "agents.kruise.io/cleanup-retain-on-failure": "1h",
            },
        },
        "spec": {"containers": [{"name": "main", "image": "img"}]},
    });
    let set = set(&json!({
        "replicas": 1, "template": template, "runtimes": [{"name": "csi"}], "persistentContents": ["ip"],
        "pauseStrategy": {"type": "Stop"},
    }));
    let sandbox = generated_sandbox(&set, "new", &template);
    let metadata = json!(sandbox.metadata);
    assert_eq!(metadata["generateName"], "pool-");
    assert_eq!(
        metadata["labels"],
        json!({
            "l": "1", "agents.kruise.io/sandbox-pool": "pool", "agents.kruise.io/sandbox-template": "pool",
            "agents.kruise.io/sandbox-claimed": "false", "agents.kruise.io/template-hash": "new",
        })
    );
    let hash = contract::hash::immutable_part(&sandbox);
    assert_eq!(
        metadata["annotations"],
        json!({
            "a": "1", "agents.kruise.io/cleanup-enabled": "true", "agents.kruise.io/cleanup-retain-on-failure": "1h",
            "sandbox.agents.kruise.io/hash-immutable-part": hash,
        })
    );
    let owner = &metadata["ownerReferences"][0];
    assert_eq!(
        (&owner["kind"], &owner["controller"], &owner["blockOwnerDeletion"]),
        (&json!("SandboxSet"), &json!(true), &json!(true))
    );
    assert_eq!(
        json!(sandbox.spec),
        json!({
            "paused": false, "template": template, "runtimes": [{"name": "csi"}], "persistentContents": ["ip"],
            "pauseStrategy": {"type": "Stop"},
        })
    );
}

#[test]
fn a_generated_name_has_room_for_its_random_end() {
    let mut long = set(&json!({"replicas": 1}));
    long.metadata.name = Some("x".repeat(63));
    let name = generated_sandbox(&long, "new", &json!({})).metadata.generate_name.expect("a prefix");
    assert_eq!(name.len(), 58);
    assert!(name.ends_with("x-"));
}
