//! Hashes, derived states, conditions, names and the error table.
#![allow(clippy::expect_used, clippy::panic, reason = "a test fails hard, with a message")]

use std::collections::BTreeSet;

use contract::conditions;
use contract::crd::{Sandbox, SandboxPhase, SandboxSetSpec};
use contract::errors::{Code, Problem};
use contract::names::{is_internal_key, legacy_sandbox_id, metadata_keys, pool_selector};
use contract::state::{SandboxState, derive};
use contract::{hash, names};
use jiff::{SignedDuration, Timestamp};
use rstest::rstest;
use serde_json::{Value, json};

fn sandbox(json: &Value) -> Sandbox {
    let mut whole =
        json!({"apiVersion": "agents.kruise.io/v1alpha1", "kind": "Sandbox", "metadata": {}, "spec": {}});
    for (key, value) in json.as_object().expect("an object") {
        whole[key] = value.clone();
    }
    serde_json::from_value(whole).expect("a sandbox")
}

fn template(label: &str, image: &str, init_image: &str, command: &str) -> Sandbox {
    sandbox(&json!({"spec": {"template": {
        "metadata": {"labels": {"l": label}, "annotations": {"a": label}},
        "spec": {
            "containers": [{"name": "main", "image": image, "command": [command], "resources": {"limits": {"cpu": image}}}],
            "initContainers": [{"name": "init", "image": init_image}],
        },
    }}}))
}

// §2.6
#[rstest]
#[case::labels(template("2", "i", "j", "c"), true, false)]
#[case::image(template("1", "2", "j", "c"), true, false)]
#[case::init_image(template("1", "i", "2", "c"), true, false)]
#[case::command(template("1", "i", "j", "2"), true, true)]
fn hashes_see_their_fields(#[case] changed: Sandbox, #[case] revision: bool, #[case] immutable: bool) {
    let original = template("1", "i", "j", "c");
    assert_eq!(hash::update_revision(&original) != hash::update_revision(&changed), revision);
    assert_eq!(hash::immutable_part(&original) != hash::immutable_part(&changed), immutable);
}

#[test]
fn hashes_are_stable_and_written_in_the_safe_alphabet() {
    let hash = hash::update_revision(&template("1", "i", "j", "c"));
    assert_eq!(hash.len(), 9);
    assert!(hash.chars().all(|letter| "bcdfghjklmnpqrstvwxz2456789".contains(letter)), "{hash}");
    let set = SandboxSetSpec { template: Some(json!({"a": 1, "b": 2})), ..SandboxSetSpec::default() };
    let same =
        SandboxSetSpec { template: Some(json!({"b": 2, "a": 1})), replicas: 9, ..SandboxSetSpec::default() };
    let revision = hash::set_revision(&set, set.template.as_ref());
    assert_eq!(
        revision,
        hash::set_revision(&same, same.template.as_ref()),
        "order and replicas don't matter"
    );
    assert_eq!(revision, "6d9c5d4f65", "stable across builds");
}

#[test]
fn a_reference_is_hashed_as_a_reference_and_a_set_by_the_content() {
    let one = sandbox(&json!({"spec": {"templateRef": {"name": "one"}}}));
    let two = sandbox(&json!({"spec": {"templateRef": {"name": "two"}}}));
    assert_ne!(hash::update_revision(&one), hash::update_revision(&two));
    let set = SandboxSetSpec::default();
    assert_ne!(
        hash::set_revision(&set, Some(&json!({"v": 1}))),
        hash::set_revision(&set, Some(&json!({"v": 2})))
    );
}

// §1.10
const NOW: i64 = 1_000_000;

fn now() -> Timestamp {
    Timestamp::from_second(NOW).expect("a small number")
}

fn at(offset: i64) -> String {
    (now() + SignedDuration::from_secs(offset)).to_string()
}

fn state(owned: bool, spec: &Value, phase: &str, ready: Option<&str>) -> SandboxState {
    let mut metadata = json!({"name": "s"});
    if owned {
        metadata["ownerReferences"] =
            json!([{"apiVersion": "a", "kind": "SandboxSet", "name": "set", "uid": "u", "controller": true}]);
    }
    let conditions = ready.map(|status| {
        json!([{"type": "Ready", "status": status, "reason": "PodReady", "message": "", "lastTransitionTime": at(0)}])
    });
    let mut status = json!({"conditions": conditions.unwrap_or_else(|| json!([]))});
    if !phase.is_empty() {
        status["phase"] = json!(phase);
    }
    derive(&sandbox(&json!({"metadata": metadata, "spec": spec, "status": status})), now())
}

#[rstest]
#[case::expired(true, json!({"shutdownTime": at(-1)}), "Running", Some("True"), SandboxState::Dead)]
#[case::expires_now(true, json!({"shutdownTime": at(0)}), "Running", Some("True"), SandboxState::Available)]
#[case::pending(true, json!({}), "Pending", None, SandboxState::Creating)]
#[case::pending_claimed(false, json!({}), "Pending", None, SandboxState::Creating)]
#[case::succeeded(true, json!({}), "Succeeded", Some("True"), SandboxState::Dead)]
#[case::failed(false, json!({}), "Failed", None, SandboxState::Dead)]
#[case::terminating(false, json!({}), "Terminating", None, SandboxState::Dead)]
#[case::available(true, json!({}), "Running", Some("True"), SandboxState::Available)]
#[case::not_ready(true, json!({}), "Running", Some("False"), SandboxState::Creating)]
#[case::new_in_set(true, json!({}), "", None, SandboxState::Creating)]
#[case::claimed_paused(false, json!({"paused": true}), "Running", Some("True"), SandboxState::Paused)]
#[case::claimed_running(false, json!({}), "Running", Some("True"), SandboxState::Running)]
#[case::claimed_not_ready(false, json!({}), "Running", Some("False"), SandboxState::Dead)]
#[case::other_phase(false, json!({}), "Resuming", Some("True"), SandboxState::Paused)]
#[case::new_claimed(false, json!({}), "", None, SandboxState::Paused)]
fn derived_states(
    #[case] owned: bool,
    #[case] spec: Value,
    #[case] phase: &str,
    #[case] ready: Option<&str>,
    #[case] expected: SandboxState,
) {
    assert_eq!(state(owned, &spec, phase, ready), expected);
}

#[test]
fn a_sandbox_that_is_being_deleted_is_dead() {
    let metadata = json!({"name": "s", "deletionTimestamp": at(0)});
    let gone = sandbox(&json!({"metadata": metadata, "status": {"phase": "Running"}}));
    assert_eq!(derive(&gone, now()), SandboxState::Dead);
}

#[test]
fn an_unknown_phase_is_kept_as_it_is() {
    let odd = sandbox(&json!({"status": {"phase": "Dreaming"}}));
    let phase = odd.status.expect("a status").phase;
    assert_eq!(phase, SandboxPhase::Other("Dreaming".to_owned()));
    assert_eq!(json!(phase), json!("Dreaming"));
}

// §1.9
#[test]
fn the_transition_time_moves_with_the_status_only() {
    let mut list = Vec::new();
    let later = now() + SignedDuration::from_secs(5);
    assert!(conditions::set(&mut list, "Ready", false, "A", "one", now()));
    assert!(!conditions::set(&mut list, "Ready", false, "A", "one", later), "nothing changed");
    assert!(conditions::set(&mut list, "Ready", false, "B", "two", later));
    assert_eq!(list[0].last_transition_time.0, now());
    assert!(conditions::set(&mut list, "Ready", true, "B", "two", later));
    assert_eq!(list[0].last_transition_time.0, later);
    assert!(conditions::is_true(&list, "Ready"));
    assert!(conditions::remove(&mut list, "Ready") && list.is_empty());
}

#[test]
fn long_messages_are_cut_at_1024_characters() {
    let mut list = Vec::new();
    conditions::set(&mut list, "Ready", false, "A", &"ä".repeat(1024), now());
    assert_eq!(list[0].message.chars().count(), 1024);
    conditions::set(&mut list, "Ready", false, "A", &"ä".repeat(1025), now());
    assert_eq!(list[0].message.chars().count(), 1025);
    assert!(list[0].message.ends_with("ä…"));
}

// §2
#[rstest]
#[case("agents.kruise.io/owner", true)]
#[case("agents.kruise.io/cleanup-enabled", false)]
#[case("agents.kruise.io/cleanup-retain-on-failure", false)]
#[case("agents.kruise.io/cleanup", true)]
#[case("alibabacloud.com/acs", false)]
fn keys_that_stay_with_the_pod(#[case] key: &str, #[case] internal: bool) {
    assert_eq!(is_internal_key(key), internal);
}

#[test]
fn composed_names() {
    assert_eq!(pool_selector("p"), "agents.kruise.io/sandbox-claimed=false,agents.kruise.io/sandbox-pool=p");
    assert_eq!(legacy_sandbox_id("default", "one"), "default--one");
    assert_eq!(names::drivers::staging_folder(names::drivers::OSS), "oss");
}

#[test]
fn the_metadata_keys_are_below_their_prefix_and_different() {
    assert!(metadata_keys::ALL.iter().all(|key| key.starts_with(names::E2B_PREFIX)));
    assert_eq!(metadata_keys::ALL.iter().collect::<BTreeSet<_>>().len(), metadata_keys::ALL.len());
}

#[test]
fn every_code_has_a_name_of_its_own_and_words_for_the_user() {
    let names: BTreeSet<&str> = Code::ALL.iter().map(|code| code.as_str()).collect();
    assert_eq!(names.len(), Code::ALL.len());
    for code in Code::ALL {
        assert_eq!(Code::parse(code.as_str()), Some(*code));
        assert!((400..600).contains(&code.http_status()), "{code}");
        assert!((1..=3).contains(&code.exit_code()), "{code}");
        assert!(code.as_str().bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'-'), "{code}");
        for words in [code.explanation(), code.remedy()] {
            assert!(words.ends_with('.') && !words.contains('|'), "{code}: {words}");
        }
    }
}

#[test]
fn a_problem_names_its_object_once() {
    let problem = Problem::new(Code::VolumeNotFound, "it is not there");
    assert_eq!(
        problem.clone().about("PersistentVolume/a").to_string(),
        "it is not there (PersistentVolume/a)"
    );
    let named =
        Problem::new(Code::VolumeNotFound, "PersistentVolume/a is not there").about("PersistentVolume/a");
    assert_eq!(named.within("create").to_string(), "create: PersistentVolume/a is not there");
    assert_eq!((problem.http_status(), problem.exit_code()), (400, 1));
}

// kubernetes.md §1.5, docs/design/0015
#[rstest]
#[case::sandbox(json!({"sandboxName": "a"}), Ok("a"))]
#[case::pod(json!({"podName": "a", "persistentContents": ["filesystem", "podInfo"], "keepRunning": true}), Ok("a"))]
#[case::both_alike(json!({"sandboxName": "a", "podName": "a", "ttlAfterFinished": "30d"}), Ok("a"))]
#[case::empty_counts_as_absent(json!({"sandboxName": "", "podName": "a"}), Ok("a"))]
#[case::both_different(json!({"sandboxName": "a", "podName": "b"}), Err(Code::InvalidParameter))]
#[case::neither(json!({}), Err(Code::InvalidParameter))]
#[case::memory(json!({"podName": "a", "persistentContents": ["memory"]}), Err(Code::NotSupported))]
#[case::unknown_contents(json!({"podName": "a", "persistentContents": ["everything"]}), Err(Code::InvalidParameter))]
#[case::stopped(json!({"podName": "a", "keepRunning": false}), Err(Code::NotSupported))]
#[case::no_time(json!({"podName": "a", "ttlAfterFinished": "0s"}), Err(Code::InvalidParameter))]
fn what_a_checkpoint_may_ask_for(#[case] spec: Value, #[case] expected: Result<&str, Code>) {
    let spec = serde_json::from_value(spec).expect("a specification");
    let found = contract::checkpoint::source(&spec);
    assert_eq!(found.map_err(|problem| problem.code()), expected);
}

#[rstest]
#[case("30s", Some(30))]
#[case("1h30m", Some(5400))]
#[case("30d", Some(30 * 24 * 3600))]
#[case("0d", None)]
#[case("-1s", None)]
#[case("d", None)]
#[case("1.5d", None)]
#[case("soon", None)]
fn how_long_a_checkpoint_is_kept(#[case] text: &str, #[case] seconds: Option<u64>) {
    assert_eq!(contract::checkpoint::ttl(text).map(|kept| kept.as_secs()), seconds);
}

#[test]
fn a_checkpoint_s_id_is_a_label_drawn_from_its_uid() {
    let mut checkpoint = contract::crd::Checkpoint::default();
    checkpoint.metadata.uid = Some("0F3A9B52-77c1-4e0d-9f00-000000000000".to_owned());
    assert_eq!(contract::checkpoint::id(&checkpoint), "cp-0f3a9b5277c1");
}

#[test]
fn clones_get_the_pool_s_template_and_nothing_of_the_claim() {
    let template = json!({
        "metadata": {
            "labels": {"app": "demo", "team": "of the claim", "agents.kruise.io/owner": "u", "e2b.agents.kruise.io/x": "y"},
            "annotations": {"note": "kept", "agents.kruise.io/created-by": "x"},
        },
        "spec": {"containers": [{"name": "main", "image": "one"}]},
    });
    let source = sandbox(&json!({
        "metadata": {"annotations": {
            "agents.kruise.io/updated-metadata-in-claim": r#"{"labels":["team"],"annotations":[]}"#,
            "e2b.agents.kruise.io/csi-volume-config": r#"[{"pvName":"a","mountPath":"/a"},{"pvName":"b","mountPath":"/b"}]"#,
        }},
        "spec": {"template": template, "runtimes": [{"name": "csi"}], "pauseStrategy": {"type": "Stop"}},
    }));
    let made = contract::checkpoint::companion(&source, source.spec.template.as_ref().expect("a template"));
    let spec = made.spec;
    let template = spec.template.expect("a template");
    assert_eq!(template["metadata"], json!({"labels": {"app": "demo"}, "annotations": {"note": "kept"}}));
    assert_eq!(template["spec"]["containers"][0]["image"], "one");
    assert_eq!((spec.runtimes.map(|all| all.len()), spec.pause_strategy), (Some(1), None));
    assert_eq!(contract::checkpoint::mounts_of(&source), 2);
    assert_eq!(contract::checkpoint::mounts_of(&sandbox(&json!({}))), 0);
}
