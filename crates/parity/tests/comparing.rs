//! Which differences count, and which don't.
#![allow(clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]
#![allow(clippy::needless_pass_by_value, reason = "bodies are written where they are passed")]

use std::fs;
use std::path::Path;

use parity::{Comparison, Normaliser, Reasons, Report, Verdicts, compare, page, table};
use rstest::rstest;
use serde_json::{Value, json};

/// A report folder with one scenario `one`.
fn report(folder: &Path, backend: &str, verdict: &Value, journal: &[Value]) -> Report {
    let scenario = json!({"name": "one", "seconds": 1.5, "folder": folder.join("one")});
    let mut scenario = scenario.as_object().expect("an object").clone();
    scenario.extend(verdict.as_object().expect("an object").clone());
    let summary = json!({"backend": backend, "seconds": 2.0, "scenarios": [scenario]});
    fs::create_dir_all(folder.join("one")).expect("a folder");
    fs::write(folder.join("report.json"), summary.to_string()).expect("written");
    let lines = journal.iter().enumerate().map(|(number, entry)| {
        let mut entry = entry.clone();
        entry["sequence"] = number.into();
        entry["time"] = "2026-11-26T01:02:03Z".into();
        format!("{entry}\n")
    });
    fs::write(folder.join("one/journal.jsonl"), lines.collect::<String>()).expect("written");
    Report::read(folder).expect("a report")
}

fn entry(source: &str, kind: &str, subject: &str, body: Value) -> Value {
    json!({"source": source, "kind": kind, "subject": subject, "body": body})
}

fn outcome(step: u32, outcome: Value) -> Value {
    entry(
        "scenario",
        "outcome",
        &format!("step {step}"),
        json!({"title": "t", "held": true, "outcome": outcome}),
    )
}

fn compared(left: &[Value], right: &[Value]) -> Comparison {
    let folders = [(); 2].map(|()| tempfile::tempdir().expect("a folder"));
    let held = json!({"verdict": "held"});
    let left = report(folders[0].path(), "embedded", &held, left);
    let right = report(folders[1].path(), "kind", &held, right);
    compare(&left, &right, &Reasons::default())
}

#[rstest]
#[case::identifier(json!({"message": "request ce610939e04c4b36892f6da933c22ab2"}), json!({"message": "request ce610939e04c4b36892f6da933c22ab3"}))]
#[case::uuid(json!({"owner": "550e8400-e29b-41d4-a716-446655440000"}), json!({"owner": "550e8400-e29b-41d4-a716-446655440001"}))]
#[case::time(json!({"endAt": "2026-11-26T00:38:30Z"}), json!({"endAt": "2026-11-26T00:38:31.5+01:00"}))]
#[case::time_of_kubectl(json!("on 2026-11-26 00:33:31 +0000 UTC"), json!("on 2026-11-26 01:33:31 +0000 UTC"))]
#[case::address(json!({"domain": "127.0.0.1:43517"}), json!({"domain": "10.0.0.7:80"}))]
#[case::address_by_name(json!({"domain": "localhost:43517"}), json!({"domain": "localhost:80"}))]
#[case::measurement(json!({"milliseconds": 5, "status": 200}), json!({"milliseconds": 7.5, "status": 200}))]
#[case::duration_in_words(json!("gave up after 1.5s"), json!("gave up after 2 s"))]
#[case::asleep_or_gone(
    json!({"message": "the pod is kept asleep: its processes with their memory, and its files"}),
    json!({"message": "the pod is gone, another one is made at the wake-up"})
)]
#[case::foreign_fields(
    json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"}, "spec": {}}),
    json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"}, "spec": {"tolerations": []}})
)]
fn what_differs_by_nature_is_no_difference(#[case] left: Value, #[case] right: Value) {
    let comparison = compared(&[outcome(1, left)], &[outcome(1, right)]);
    assert!(comparison.holds(), "{}", table(&comparison));
    assert_eq!(comparison.pairs[0].shared, 1);
}

#[rstest]
#[case::text(json!({"stdout": "hello"}), json!({"stdout": "hullo"}))]
#[case::status(json!({"status": 400}), json!({"status": 500}))]
#[case::read_only(
    json!([{"path": "/d", "readOnly": true, "driver": "nas"}]),
    json!([{"path": "/d", "readOnly": false, "driver": "nas"}])
)]
#[case::field_of_ours(
    json!({"apiVersion": "agents.kruise.io/v1alpha1", "kind": "Sandbox", "metadata": {"name": "s"}, "spec": {"paused": true}}),
    json!({"apiVersion": "agents.kruise.io/v1alpha1", "kind": "Sandbox", "metadata": {"name": "s"}, "spec": {}})
)]
#[case::short_number(json!({"stdout": "1234567"}), json!({"stdout": "1234568"}))]
fn what_a_user_sees_is_a_difference(#[case] left: Value, #[case] right: Value) {
    let comparison = compared(&[outcome(1, left)], &[outcome(1, right)]);
    assert!(!comparison.holds());
    assert_eq!(comparison.pairs[0].differences.len(), 2, "one of each side: {}", table(&comparison));
}

#[test]
fn the_order_of_steps_counts() {
    let first = [outcome(1, json!("a")), outcome(2, json!("b"))];
    let second = [outcome(1, json!("b")), outcome(2, json!("a"))];
    assert!(!compared(&first, &second).holds());
}

#[test]
fn names_that_the_controller_drew_are_learned_from_the_pools_label() {
    let journal = |end: &str, pool: &str| {
        let name = format!("pool-{end}");
        let metadata = json!({"name": name, "labels": {"agents.kruise.io/sandbox-pool": pool}});
        let object =
            json!({"apiVersion": "agents.kruise.io/v1alpha1", "kind": "Sandbox", "metadata": metadata});
        [
            entry("kubernetes", "ADDED", &format!("Sandbox/default/{name}"), object),
            outcome(1, json!(format!("Sandbox {name}"))),
        ]
    };
    let comparison = compared(&journal("hb64t", "pool"), &journal("x7k2p", "pool"));
    assert!(comparison.holds(), "{}", table(&comparison));
    assert!(!compared(&journal("hb64t", "other"), &journal("x7k2p", "other")).holds());
}

#[test]
fn the_width_of_a_column_of_durations_is_no_difference() {
    let described = |age: &str| [outcome(1, json!(format!("Normal  Started  {age} controller")))];
    let comparison = compared(&described("1s   "), &described("12s  "));
    assert!(comparison.holds(), "{}", table(&comparison));
}

#[test]
fn generated_names_are_learned_from_the_objects_wherever_they_stand() {
    let journal = |end: &str| {
        let name = format!("pool-{end}");
        let metadata = json!({"name": name, "generateName": "pool-", "namespace": "default"});
        let object = json!({"apiVersion": "agents.kruise.io/v1alpha1", "kind": "Sandbox", "metadata": metadata,
            "status": {"phase": "Running"}});
        [
            entry("kubernetes", "ADDED", &format!("Sandbox/default/{name}"), object),
            outcome(1, json!({"sandboxID": format!("default--{name}")})),
            outcome(2, json!(format!("Checkpoint {name}-{end}0af"))),
        ]
    };
    let comparison = compared(&journal("ab64d"), &journal("e7c2f"));
    assert!(comparison.holds(), "{}", table(&comparison));
    assert_eq!(comparison.pairs[0].shared, 3);
    // A name that nobody generated is compared as it is.
    assert!(!compared(&[outcome(1, json!("pool-hb64t"))], &[outcome(1, json!("pool-x7k2p"))]).holds());
}

#[test]
fn what_a_backend_renamed_is_read_back() {
    let renamed = |to: &str| entry("lab", "renamed", to, json!({"from": "default", "to": to}));
    let left = [outcome(1, json!({"namespace": "default"}))];
    let right = [renamed("default-7f3k"), outcome(1, json!({"namespace": "default-7f3k"}))];
    assert!(compared(&left, &right).holds());
}

#[test]
fn how_often_a_volume_was_published_counts_and_how_often_a_state_was_seen_does_not() {
    let publish = || entry("csi", "NodePublishVolume", "/mnt", json!({"code": "Ok", "volume_id": "pv"}));
    let once = [publish(), outcome(1, json!("a"))];
    let twice = [publish(), publish(), outcome(1, json!("a"))];
    let comparison = compared(&once, &twice);
    let [difference] = comparison.pairs[0].differences.as_slice() else { panic!("one difference") };
    assert_eq!((difference.more, difference.stream.name()), (1, "csi-calls"));

    let state = |phase: &str| {
        let object = json!({"apiVersion": "agents.kruise.io/v1alpha1", "kind": "Sandbox",
            "metadata": {"name": "s", "namespace": "n"}, "status": {"phase": phase}});
        entry("kubernetes", "MODIFIED", "Sandbox/n/s", object)
    };
    let once = [state("Running"), outcome(1, json!("a"))];
    let often = [state("Pending"), state("Running"), state("Running"), outcome(1, json!("a"))];
    assert!(compared(&once, &often).holds());
    let other = [state("Failed"), outcome(1, json!("a"))];
    assert!(!compared(&once, &other).holds());
}

#[test]
fn what_is_unmounted_for_a_pod_that_is_kept_asleep_does_not_count() {
    let unmounted = |kept: Value| {
        [
            entry("csi", "NodeUnpublishVolume", "/mnt", json!({"code": "Ok", "volume_id": "pv-abc123"})),
            entry("agent", "unmounted", "/data", json!({"code": "Ok", "keptLinkOf": kept})),
            outcome(1, json!("a")),
        ]
    };
    let elsewhere = [outcome(1, json!("a"))];
    let comparison = compared(&unmounted(json!("pv-abc123")), &elsewhere);
    assert!(comparison.holds(), "{}", table(&comparison));
    assert_eq!(compared(&unmounted(Value::Null), &elsewhere).pairs[0].differences.len(), 2);

    let event = |reason: &str| {
        let body = json!({"apiVersion": "v1", "kind": "Event", "reason": reason, "message": "m", "type": "Warning",
            "reportingComponent": "sandbox-controller", "involvedObject": {"kind": "Sandbox", "name": "s"}});
        [entry("kubernetes", "ADDED", "Event/n/s", body), outcome(1, json!("a"))]
    };
    assert!(compared(&event("MemoryNotKept"), &elsewhere).holds());
    assert!(!compared(&event("PodDeleted"), &elsewhere).holds());
}

#[test]
fn what_happens_behind_the_last_step_may_be_seen_or_not() {
    let request = || entry("e2b", "DELETE /sandboxes/{id}", "s", json!({"status": 204}));
    let step = || outcome(1, json!("a"));
    assert!(compared(&[step(), request()], &[step()]).holds());
    assert!(
        compared(&[step(), request()], &[request(), step()]).holds(),
        "an entry may come behind the answer"
    );
    assert!(!compared(&[request(), step()], &[step()]).holds());
}

#[test]
fn verdicts_are_compared_and_a_skip_is_named() {
    let folders = [(); 2].map(|()| tempfile::tempdir().expect("a folder"));
    let held = report(folders[0].path(), "embedded", &json!({"verdict": "held"}), &[outcome(1, json!("a"))]);
    let skipped = json!({"verdict": "skipped", "reason": "moving the clock"});
    let skipped = report(folders[1].path(), "kind", &skipped, &[]);
    let comparison = compare(&held, &skipped, &Reasons::default());
    assert!(comparison.holds());
    assert!(page(&comparison, "1.2.3", "2026-11-26").contains("kind: skipped: moving the clock"));

    let failed = report(folders[1].path(), "kind", &json!({"verdict": "failed"}), &[outcome(1, json!("a"))]);
    let comparison = compare(&held, &failed, &Reasons::default());
    assert!(!comparison.holds());
    assert!(matches!(comparison.pairs[0].verdicts, Verdicts::Different { .. }));

    let nothing = Report { runs: Vec::new(), ..held.clone() };
    assert!(!compare(&held, &nothing, &Reasons::default()).holds());
    assert!(!compare(&nothing, &held, &Reasons::default()).holds());
}

#[test]
fn a_reason_explains_and_one_that_explains_nothing_is_told() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("reasons.yaml");
    let reasons = "- {scenario: one, stream: steps, line: fuse.nfs, reason: kernel NFS there}\n\
                   - {line: nfs4, reason: kernel NFS there}\n- {scenario: two, line: x, reason: y}\n";
    fs::write(&file, reasons).expect("written");
    let reasons = Reasons::read(&file).expect("reasons");
    let run = |name: &str, kind: &str| {
        let step = outcome(1, json!({"fileSystem": kind}));
        report(&folder.path().join(name), name, &json!({"verdict": "held"}), &[step])
    };
    let comparison = compare(&run("embedded", "fuse.nfs"), &run("kind", "nfs4"), &reasons);
    assert!(comparison.holds(), "{}", table(&comparison));
    let text = page(&comparison, "1.2.3", "2026-11-26");
    assert_eq!(text.matches("kernel NFS there").count(), 1, "{text}");

    let comparison = compare(&run("embedded", "same"), &run("kind", "same"), &reasons);
    assert_eq!(comparison.unused, ["one/steps: fuse.nfs", "*/*: nfs4"]);
    assert!(!comparison.holds());
}

#[rstest]
#[case("- {line: '', reason: x}", "empty")]
#[case("- {line: x, reason: ' '}", "empty")]
#[case("- {line: x, reason: y, stream: mountz}", "no stream \"mountz\"")]
#[case("- {lines: x, reason: y}", "lines")]
fn a_file_of_reasons_is_strict(#[case] text: &str, #[case] words: &str) {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("reasons.yaml");
    fs::write(&file, text).expect("written");
    let error = Reasons::read(&file).expect_err("refused").to_string();
    assert!(error.contains(words) && error.contains("reasons.yaml"), "{error}");
}

#[test]
fn a_folder_without_a_report_is_named() {
    let folder = tempfile::tempdir().expect("a folder");
    let error = Report::read(folder.path()).expect_err("refused").to_string();
    assert!(error.contains("report.json") && error.contains("mountlab run --report"), "{error}");
    fs::write(folder.path().join("report.json"), "{}").expect("written");
    let error = Report::read(folder.path()).expect_err("refused").to_string();
    assert!(error.contains("is not valid: missing field"), "{error}");
}

#[test]
fn every_rule_is_on_the_page() {
    let comparison = compared(&[], &[]);
    let text = page(&comparison, "1.2.3", "2026-11-26");
    for rule in Normaliser::ALL {
        assert!(text.contains(&format!("| {} | {} |", rule.name(), rule.reason())), "{}", rule.name());
    }
}
