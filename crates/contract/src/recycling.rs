//! Whether a claimed sandbox goes back to its pool when its user is done with it, and what it is then
//! (`kubernetes.md` §5.11, `docs/design/0018-recycling.md`).

use kube::ResourceExt as _;

use crate::crd::{Sandbox, SandboxPhase};
use crate::names::{annotations, labels};

/// What a sandbox keeps while it is cleaned: the switch, the trigger and the retention are needed to the end, the lock
/// keeps everybody else away, and the port is a fact about its pods.
const KEPT_WHILE_CLEANED: [&str; 5] = [
    annotations::CLEANUP_ENABLED,
    annotations::CLEANUP,
    annotations::CLEANUP_RETAIN_ON_FAILURE,
    annotations::LOCK,
    annotations::RUNTIME_TLS_PORT,
];

/// Whether the sandbox may be recycled at all: its template or somebody else has switched it on.
pub fn is_enabled(sandbox: &Sandbox) -> bool {
    is_set(sandbox, annotations::CLEANUP_ENABLED)
}

/// Whether the sandbox is to be recycled now.
pub fn is_wanted(sandbox: &Sandbox) -> bool {
    is_enabled(sandbox) && is_set(sandbox, annotations::CLEANUP)
}

/// Why this sandbox is never recycled as it is; it runs on then.
pub fn rejection(sandbox: &Sandbox) -> Option<&'static str> {
    let has_claims = sandbox.spec.volume_claim_templates.as_ref().is_some_and(|claims| !claims.is_empty());
    let phase = sandbox.status.as_ref().map(|status| &status.phase);
    let sleeps = matches!(phase, Some(SandboxPhase::Paused | SandboxPhase::Resuming));
    let kept = sandbox.labels().get(labels::RESERVED_FAILED_SANDBOX).is_some_and(|value| value == "true");
    if has_claims {
        Some(
            "a sandbox with PersistentVolumeClaims of its own is not recycled: they hold its user's data; delete it",
        )
    } else if sandbox.spec.paused || sleeps {
        Some("a paused sandbox is not recycled: resume it first, or delete it")
    } else if kept {
        Some("a sandbox that is kept after a failed claim is not recycled: delete it")
    } else {
        None
    }
}

/// Whether the sandbox is on its way back to the pool: it is nobody's any more.
pub fn is_leaving(sandbox: &Sandbox) -> bool {
    is_wanted(sandbox) && rejection(sandbox).is_none()
}

/// Whether a sandbox that its user has done with should be recycled and not deleted. One that was made for its claim
/// alone belongs to no revision of a pool and can't return.
pub fn can_return(sandbox: &Sandbox) -> bool {
    let has = |key: &str| sandbox.labels().get(key).is_some_and(|value| !value.is_empty());
    let runs = sandbox.status.as_ref().is_some_and(|status| status.phase == SandboxPhase::Running);
    is_enabled(sandbox)
        && runs
        && rejection(sandbox).is_none()
        && has(labels::SANDBOX_POOL)
        && has(labels::TEMPLATE_HASH)
}

/// `sandbox` without anything that its claim and its user have left in it: everything is as in `draft`, which is what
/// the pool would make now. It stays claimed, locked and without an owner, so nobody takes it. `pod` is the UID of the
/// pod that it was used with, which is gone.
pub fn cleared(sandbox: &Sandbox, draft: &Sandbox, pod: &str) -> Sandbox {
    let mut cleared = as_drafted(sandbox, draft);
    cleared.metadata.owner_references = None;
    cleared.labels_mut().insert(labels::SANDBOX_CLAIMED.to_owned(), "true".to_owned());
    for key in KEPT_WHILE_CLEANED {
        if let Some(value) = sandbox.annotations().get(key) {
            cleared.annotations_mut().insert(key.to_owned(), value.clone());
        }
    }
    cleared.annotations_mut().insert(annotations::RECYCLED_POD.to_owned(), pod.to_owned());
    cleared
}

/// `sandbox` as a member of the pool again.
pub fn returned(sandbox: &Sandbox, draft: &Sandbox) -> Sandbox {
    let mut returned = as_drafted(sandbox, draft);
    returned.metadata.owner_references.clone_from(&draft.metadata.owner_references);
    if let Some(port) = sandbox.annotations().get(annotations::RUNTIME_TLS_PORT) {
        returned.annotations_mut().insert(annotations::RUNTIME_TLS_PORT.to_owned(), port.clone());
    }
    returned
}

/// The same object with the draft's labels, annotations and spec. Nothing is copied that the draft doesn't have, so
/// that whatever a later claim writes is gone too without anybody having to list it.
fn as_drafted(sandbox: &Sandbox, draft: &Sandbox) -> Sandbox {
    let mut same = Sandbox {
        metadata: sandbox.metadata.clone(),
        spec: draft.spec.clone(),
        status: sandbox.status.clone(),
    };
    same.metadata.managed_fields = None;
    same.metadata.labels.clone_from(&draft.metadata.labels);
    same.metadata.annotations.clone_from(&draft.metadata.annotations);
    same
}

fn is_set(sandbox: &Sandbox, key: &str) -> bool {
    sandbox.annotations().get(key).is_some_and(|value| value == "true")
}

#[cfg(test)]
mod tests {
    use rstest::rstest;
    use serde_json::{Value, json};

    use super::*;

    fn sandbox(metadata: &Value, spec: &Value) -> Sandbox {
        let object = json!({
            "apiVersion": "agents.kruise.io/v1alpha1", "kind": "Sandbox", "metadata": metadata, "spec": spec,
            "status": {"phase": "Running"},
        });
        serde_json::from_value(object).expect("a Sandbox")
    }

    fn used() -> Sandbox {
        let owner = "agents.kruise.io/owner";
        sandbox(
            &json!({
                "name": "pool-a", "namespace": "default", "uid": "u", "resourceVersion": "7",
                "labels": {"agents.kruise.io/sandbox-pool": "pool", "agents.kruise.io/template-hash": "h", "team": "red",
                    "agents.kruise.io/sandbox-claimed": "true", "agents.kruise.io/claim-name": "c"},
                "annotations": {owner: "alice", annotations::CLEANUP_ENABLED: "true", annotations::CLEANUP: "true",
                    annotations::LOCK: "l", annotations::CSI_VOLUME_CONFIG: "[]", annotations::RUNTIME_ACCESS_TOKEN: "t",
                    annotations::RUNTIME_TLS_PORT: "49984", "whatever.example/later": "x"},
            }),
            &json!({"template": {"metadata": {"labels": {owner: "alice"}}}, "shutdownTime": "2027-01-01T00:00:00Z"}),
        )
    }

    fn draft() -> Sandbox {
        let owner = json!([{"apiVersion": "agents.kruise.io/v1alpha1", "kind": "SandboxSet", "name": "pool", "uid": "s", "controller": true}]);
        sandbox(
            &json!({
                "generateName": "pool-", "namespace": "default", "ownerReferences": owner,
                "labels": {"agents.kruise.io/sandbox-pool": "pool", "agents.kruise.io/template-hash": "h",
                    "agents.kruise.io/sandbox-claimed": "false"},
                "annotations": {annotations::CLEANUP_ENABLED: "true"},
            }),
            &json!({"template": {"spec": {}}}),
        )
    }

    #[test]
    fn nothing_of_the_claim_is_left_and_nobody_can_take_it_yet() {
        let cleared = cleared(&used(), &draft(), "pod-1");
        assert_eq!(
            (cleared.name_any(), cleared.resource_version()),
            ("pool-a".to_owned(), Some("7".to_owned()))
        );
        assert_eq!(cleared.spec, draft().spec);
        assert_eq!(cleared.metadata.owner_references, None);
        assert_eq!(cleared.labels()[labels::SANDBOX_CLAIMED], "true");
        assert_eq!(cleared.labels().len(), 3);
        let kept: Vec<_> =
            cleared.annotations().iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
        assert_eq!(
            kept,
            [
                (annotations::CLEANUP, "true"),
                (annotations::CLEANUP_ENABLED, "true"),
                (annotations::LOCK, "l"),
                (annotations::RECYCLED_POD, "pod-1"),
                (annotations::RUNTIME_TLS_PORT, "49984"),
            ]
        );
    }

    #[test]
    fn a_returned_sandbox_is_a_member_like_a_new_one() {
        let returned = returned(&cleared(&used(), &draft(), "pod-1"), &draft());
        assert_eq!(returned.metadata.owner_references, draft().metadata.owner_references);
        assert_eq!((returned.labels(), &returned.spec), (draft().labels(), &draft().spec));
        let expected = [(annotations::CLEANUP_ENABLED, "true"), (annotations::RUNTIME_TLS_PORT, "49984")];
        let kept: Vec<_> =
            returned.annotations().iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
        assert_eq!(kept, expected);
        for key in annotations::REMOVED_ON_RECYCLE {
            assert!(!returned.annotations().contains_key(*key), "{key}");
        }
    }

    #[rstest]
    #[case::as_it_should_be(|_: &mut Sandbox| {}, true, true)]
    #[case::not_switched_on(|it: &mut Sandbox| { it.annotations_mut().remove(annotations::CLEANUP_ENABLED); }, false, false)]
    #[case::not_triggered(|it: &mut Sandbox| { it.annotations_mut().remove(annotations::CLEANUP); }, true, false)]
    #[case::made_without_stock(|it: &mut Sandbox| { it.labels_mut().remove(labels::TEMPLATE_HASH); }, false, true)]
    #[case::with_claims(|it: &mut Sandbox| it.spec.volume_claim_templates = Some(vec![json!({})]), false, false)]
    #[case::to_be_paused(|it: &mut Sandbox| it.spec.paused = true, false, false)]
    #[case::asleep(|it: &mut Sandbox| it.status.get_or_insert_default().phase = SandboxPhase::Paused, false, false)]
    #[case::kept_for_its_failure(|it: &mut Sandbox| { it.labels_mut().insert(labels::RESERVED_FAILED_SANDBOX.to_owned(), "true".to_owned()); }, false, false)]
    fn which_are_recycled(#[case] change: fn(&mut Sandbox), #[case] can: bool, #[case] leaves: bool) {
        let mut sandbox = used();
        change(&mut sandbox);
        assert_eq!((can_return(&sandbox), is_leaving(&sandbox)), (can, leaves));
    }
}
