//! In-place update (`kubernetes.md` §5.8, D-3, D-4), from the change of the template to a sandbox that is ready again.

use super::*;

const STATE: &str = "agents.kruise.io/inplace-update-state";
const FORBIDDEN: &str = "InplaceUpdateForbidden";
const FAILED: &str = "InplaceUpdateFailed";

/// A claimed Sandbox that runs `image`, in generation `generation`; its main container `a` is initialised.
fn running(image: &str, generation: i64) -> Sandbox {
    let change = json!({
        "metadata": {"generation": generation, "annotations": {"e2b.agents.kruise.io/csi-volume-config": "[]"}},
        "spec": {"template": {"spec": {"containers": [{"name": "main", "image": image}]}}},
        "status": {"phase": "Running", "podInfo": {"annotations": {"agents.kruise.io/initialized-container": "a"}}},
    });
    let sandbox = sandbox(&change);
    with_immutable_hash(sandbox.clone(), &hash::immutable_part(&sandbox))
}

/// The Sandbox with another template, in the next generation, and the status that was decided on.
fn changed(before: &Sandbox, decision: &Decision, image: &str) -> Sandbox {
    let mut next = running(image, before.metadata.generation.unwrap_or(0) + 1);
    next.status.clone_from(&decision.status);
    next
}

fn settled(mut sandbox: Sandbox, decision: &Decision) -> Sandbox {
    sandbox.status.clone_from(&decision.status);
    sandbox
}

/// Its pod, with what the node says of the main container.
fn pod_of(sandbox: &Sandbox, change: &Value) -> Pod {
    let image = &sandbox.spec.template.as_ref().expect("inline")["spec"]["containers"][0]["image"];
    let mut own = json!({
        "metadata": {"labels": {"pod-template-hash": hash::update_revision(sandbox)}},
        "spec": {"containers": [{"name": "main", "image": image}]},
    });
    merge(&mut own, change);
    pod("Running", &own)
}

/// What the node says of the main container, and of the pod.
fn told(id: &str, image: &str, state: &Value) -> Value {
    let is_running = !state["running"].is_null();
    json!({"status": {
        "conditions": [{"type": "Ready", "status": if is_running { "True" } else { "False" }}],
        "containerStatuses": [{"name": "main", "image": image, "imageID": format!("id-of-{image}"), "containerID": id,
            "ready": is_running, "restartCount": 0, "state": state}],
    }})
}

fn runs(id: &str, image: &str) -> Value {
    told(id, image, &json!({"running": {"startedAt": at(-5)}}))
}

/// The state that the update to `sandbox`'s template leaves on the pod, which ran container `a` with image `img`.
fn noted(sandbox: &Sandbox) -> Value {
    let state = json!({
        "revision": hash::update_revision(sandbox), "updateTimestamp": now().to_string(), "updateImages": true,
        "lastContainerStatuses": {"main": {"imageID": "id-of-img", "containerID": "a"}},
    });
    json!({"metadata": {"annotations": {STATE: state.to_string()}}})
}

/// Its pod after the update was written, with what the node says by then.
fn updated_pod(sandbox: &Sandbox, told: &Value) -> Pod {
    let mut change = noted(sandbox);
    merge(&mut change, told);
    pod_of(sandbox, &change)
}

fn condition(decision: &Decision, kind: &str) -> Option<(String, String)> {
    let found = conditions::find(&decision.status.as_ref()?.conditions, kind)?;
    Some((format!("{}/{}", found.status, found.reason), found.message.clone()))
}

fn says(decision: &Decision, kind: &str) -> Option<String> {
    condition(decision, kind).map(|(said, _)| said)
}

fn update_to(sandbox: &Sandbox) -> Action {
    Action::UpdatePod { revision: hash::update_revision(sandbox) }
}

/// A sandbox that runs `img`, was changed to `new`, and what was decided when the change was seen.
fn announced() -> (Sandbox, Pod) {
    let before = running("img", 3);
    let pod = pod_of(&before, &runs("a", "img"));
    let quiet = decide(&before, Some(&pod), None, now());
    let after = changed(&before, &quiet, "new");
    let decision = decide(&after, Some(&pod), None, now());
    assert!(decision.actions.is_empty(), "the condition is written before the pod is touched");
    (settled(after, &decision), pod)
}

#[test]
fn an_image_is_changed_in_the_pod_and_the_mounts_come_back_before_it_is_ready() {
    let (sandbox, old) = announced();
    let second = decide(&sandbox, Some(&old), None, now());
    assert_eq!(second.actions, [update_to(&sandbox)]);
    assert_eq!(says(&second, types::INPLACE_UPDATE).as_deref(), Some("False/InplaceUpdating"));
    assert_eq!(says(&second, types::READY).as_deref(), Some("False/InplaceUpdating"));
    let sandbox = settled(sandbox, &second);
    // the node works on it: the old container still runs, has ended, the next one is being made
    for told in [
        runs("a", "img"),
        told("a", "img", &json!({"terminated": {"exitCode": 0}})),
        told("a", "img", &json!({"waiting": {"reason": "ContainerCreating"}})),
    ] {
        let decision = decide(&sandbox, Some(&updated_pod(&sandbox, &told)), None, now());
        assert!(decision.actions.is_empty() && decision.events.is_empty(), "{decision:?}");
        assert_eq!(says(&decision, types::READY).as_deref(), Some("False/InplaceUpdating"));
        let (_, message) = condition(&decision, types::INPLACE_UPDATE).expect("there");
        assert_eq!(message, "container main does not run with image new yet");
    }
    let done = updated_pod(&sandbox, &runs("b", "new"));
    let decision = decide(&sandbox, Some(&done), None, now());
    assert_eq!(says(&decision, types::INPLACE_UPDATE).as_deref(), Some("True/Succeeded"));
    assert_eq!(says(&decision, types::RUNTIME_INITIALIZED).as_deref(), Some("False/Pending"));
    assert_eq!(says(&decision, types::READY).as_deref(), Some("False/RuntimeNotInitialized"));
    assert_eq!(decision.actions, [Action::InitialiseRuntime { container: "b".to_owned() }]);
    let attempt = controller::sandbox::Attempt {
        container: "b".to_owned(),
        progress: controller::sandbox::Progress::Succeeded,
    };
    let sandbox = settled(sandbox, &decision);
    let ready = decide(&sandbox, Some(&done), Some(&attempt), now());
    assert_eq!(says(&ready, types::READY).as_deref(), Some("True/PodReady"));

    // what happens to the container later is no matter of the update
    let sandbox = settled(sandbox, &ready);
    let crashed = updated_pod(&sandbox, &told("b", "new", &json!({"terminated": {"exitCode": 1}})));
    let later = decide(&sandbox, Some(&crashed), None, now());
    assert_eq!(says(&later, types::INPLACE_UPDATE).as_deref(), Some("True/Succeeded"));
    // D-4: another one begins like the first
    let third = changed(&sandbox, &ready, "newer");
    let again = decide(&third, Some(&done), None, now());
    assert_eq!(says(&again, types::INPLACE_UPDATE).as_deref(), Some("False/InplaceUpdating"));
    assert_eq!(
        decide(&settled(third.clone(), &again), Some(&done), None, now()).actions,
        [update_to(&third)]
    );
}

#[test]
fn an_image_that_does_not_start_is_told_and_the_old_one_can_be_put_back() {
    let (sandbox, _) = announced();
    let failure =
        |reason: &str| told("a", "img", &json!({"waiting": {"reason": reason, "message": "no such image"}}));
    let first = decide(&sandbox, Some(&updated_pod(&sandbox, &failure("ErrImagePull"))), None, now());
    let message = "container main does not start: ErrImagePull: no such image".to_owned();
    assert_eq!(condition(&first, types::INPLACE_UPDATE), Some(("False/Failed".to_owned(), message)));
    assert_eq!(
        condition(&first, types::READY),
        Some(("False/StartContainerFailed".to_owned(), "no such image".to_owned()))
    );
    assert_eq!(reasons(&first), [FAILED]);
    let sandbox = settled(sandbox, &first);
    let stuck = updated_pod(&sandbox, &failure("ImagePullBackOff"));
    let second = decide(&sandbox, Some(&stuck), None, now());
    assert!(second.events.is_empty() && second.actions.is_empty(), "told once");

    // it may start after all
    let late = decide(&sandbox, Some(&updated_pod(&sandbox, &runs("b", "new"))), None, now());
    assert_eq!(says(&late, types::INPLACE_UPDATE).as_deref(), Some("True/Succeeded"));

    let back = changed(&sandbox, &second, "img");
    let announced = decide(&back, Some(&stuck), None, now());
    assert_eq!(says(&announced, types::INPLACE_UPDATE).as_deref(), Some("False/InplaceUpdating"));
    let back = settled(back, &announced);
    assert_eq!(decide(&back, Some(&stuck), None, now()).actions, [update_to(&back)]);
    let decision = decide(&back, Some(&updated_pod(&back, &runs("c", "img"))), None, now());
    assert_eq!(
        says(&decision, types::INPLACE_UPDATE).as_deref(),
        Some("True/Succeeded"),
        "the same image, started anew"
    );
    assert_eq!(decision.actions, [Action::InitialiseRuntime { container: "c".to_owned() }]);
}

#[test]
fn what_cannot_change_in_place_is_a_condition_until_it_is_put_back() {
    let original = running("img", 3);
    let pod = pod_of(&original, &runs("a", "img"));
    let quiet = decide(&original, Some(&pod), None, now());
    let mut wrong = changed(&original, &quiet, "img");
    if let Some(template) = &mut wrong.spec.template {
        template["spec"]["containers"][0]["command"] = json!(["x"]);
    }
    let decision = decide(&wrong, Some(&pod), None, now());
    let (said, message) = condition(&decision, types::INPLACE_UPDATE).expect("there");
    assert_eq!((said.as_str(), reasons(&decision).as_slice()), ("False/Failed", [FORBIDDEN].as_slice()));
    assert!(
        message.contains("only labels, annotations, images and resources can change in place"),
        "{message}"
    );
    assert!(decision.actions.is_empty());
    assert_eq!(says(&decision, types::READY).as_deref(), Some("True/PodReady"), "the pod runs on");
    let again = decide(&settled(wrong.clone(), &decision), Some(&pod), None, now());
    assert_eq!((again.events.len(), again.status == decision.status), (0, true));
    let restored = decide(&changed(&wrong, &decision, "img"), Some(&pod), None, now());
    assert_eq!(says(&restored, types::INPLACE_UPDATE), None);
}

/// A container's resources.
fn with_resources(sandbox: &mut Sandbox, resources: Value) {
    if let Some(template) = &mut sandbox.spec.template {
        template["spec"]["containers"][0]["resources"] = resources;
    }
}

#[rstest]
#[case::more(json!({"requests": {"cpu": "1"}}), None)]
#[case::of_another_class(
    json!({"requests": {"cpu": "2", "memory": "1Gi"}, "limits": {"cpu": "2", "memory": "1Gi"}}),
    Some("would make the pod Guaranteed in place of Burstable"))]
fn resources_change_within_the_class_of_service(#[case] wanted: Value, #[case] refused: Option<&str>) {
    let mut before = running("img", 3);
    with_resources(&mut before, json!({"requests": {"cpu": "500m"}}));
    let has = json!({"spec": {"containers": [{"name": "main", "image": "img", "resources": {"requests": {"cpu": "500m"}}}]}});
    let mut own = runs("a", "img");
    merge(&mut own, &has);
    let pod = pod_of(&before, &own);
    let quiet = decide(&before, Some(&pod), None, now());
    assert_eq!(says(&quiet, types::INPLACE_UPDATE), None);
    let mut after = changed(&before, &quiet, "img");
    with_resources(&mut after, wanted);
    let first = decide(&after, Some(&pod), None, now());
    let second = decide(&settled(after.clone(), &first), Some(&pod), None, now());
    match refused {
        None => assert_eq!(second.actions, [update_to(&after)]),
        Some(said) => {
            let (condition, message) = condition(&second, types::INPLACE_UPDATE).expect("there");
            assert!(condition == "False/Failed" && message.contains(said), "{condition}: {message}");
            assert_eq!((reasons(&first), second.events.len()), (vec![FAILED], 0));
            assert!(first.actions.is_empty() && second.actions.is_empty());
            assert_eq!(says(&second, types::READY).as_deref(), Some("True/PodReady"));
        }
    }
}

#[test]
fn labels_that_change_meanwhile_reach_the_pod_and_the_update_goes_on() {
    let (sandbox, _) = announced();
    let working = updated_pod(&sandbox, &runs("a", "img"));
    let before = decide(&sandbox, Some(&working), None, now());
    let mut relabelled = changed(&sandbox, &before, "new");
    if let Some(template) = &mut relabelled.spec.template {
        template["metadata"] = json!({"labels": {"l": "1"}});
    }
    let decision = decide(&relabelled, Some(&working), None, now());
    let revision = hash::update_revision(&relabelled);
    assert_eq!(decision.actions, [Action::PatchPodMetadata { revision }]);
    assert_eq!(says(&decision, types::READY).as_deref(), Some("False/InplaceUpdating"));
}

#[test]
fn the_container_of_an_update_at_claim_is_the_claims_to_initialise() {
    let (mut sandbox, _) = announced();
    let notes = sandbox.metadata.annotations.get_or_insert_default();
    notes.insert("agents.kruise.io/claim-unacknowledged-until".to_owned(), at(60));
    let done = updated_pod(&sandbox, &runs("b", "new"));
    let decision = decide(&sandbox, Some(&done), None, now());
    assert_eq!(says(&decision, types::READY).as_deref(), Some("True/PodReady"));
    let mut acknowledged = settled(sandbox, &decision);
    if let Some(notes) = &mut acknowledged.metadata.annotations {
        notes.remove("agents.kruise.io/claim-unacknowledged-until");
    }
    let after = decide(&acknowledged, Some(&done), None, now());
    assert!(after.actions.is_empty(), "{:?}", after.actions);
    assert_eq!(says(&after, types::READY).as_deref(), Some("True/PodReady"));
}

#[test]
fn a_wake_up_is_measured_by_the_template_that_its_pod_is_made_from() {
    let mut waking = running("img", 3);
    waking = with_immutable_hash(waking, "of another template");
    if let Some(status) = &mut waking.status {
        status.phase = SandboxPhase::Resuming;
    }
    let decision = decide(&waking, None, None, now());
    assert_eq!(
        decision.actions,
        [Action::WriteImmutableHash(hash::immutable_part(&waking)), Action::CreatePod]
    );
}
