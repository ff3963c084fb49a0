//! Families, one after the other, and all of them against the table of the contract.

use std::collections::{BTreeMap, BTreeSet};

use prometheus_client::collector::Collector;
use prometheus_client::encoding::DescriptorEncoder;
use rstest::rstest;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use contract::crd::SandboxSet;

use super::*;

/// Shows the same objects at every scrape.
#[derive(Debug)]
struct Fixed(Seen);

impl Collector for Fixed {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        self.0.encode(&mut encoder)
    }
}

fn text(metrics: &Metrics, seen: Seen) -> String {
    let mut registry = Registry::default();
    metrics.register(&mut registry);
    registry.register_collector(Box::new(Fixed(seen)));
    service::metrics_text(&registry).expect("written")
}

/// The samples of a family, without its name.
fn samples(text: &str, family: &Described) -> Vec<String> {
    let of_family = text.lines().filter_map(|line| line.strip_prefix(family.name)?.strip_prefix('{'));
    of_family.map(|rest| rest.replace("namespace=\"default\",name=\"one\"", "ONE")).collect()
}

fn object<K: DeserializeOwned>(kind: &str, more: Value) -> K {
    let mut object = json!({
        "apiVersion": "agents.kruise.io/v1alpha1", "kind": kind,
        "metadata": {"name": "one", "namespace": "default", "uid": "u", "creationTimestamp": "1970-01-01T00:00:05Z"},
    });
    merge(&mut object, more);
    serde_json::from_value(object).expect("an object")
}

fn merge(object: &mut Value, more: Value) {
    match (object, more) {
        (Value::Object(object), Value::Object(more)) => {
            more.into_iter().for_each(|(key, value)| merge(object.entry(key).or_insert(Value::Null), value));
        }
        (object, more) => *object = more,
    }
}

fn sandbox(more: Value) -> Sandbox {
    let mut whole = json!({"spec": {}});
    merge(&mut whole, more);
    object("Sandbox", whole)
}

/// A status of that phase; a condition is written `Ready=True` and has turned so in second 7.
fn status(phase: &str, told: &[&str]) -> Value {
    let conditions = told.iter().map(|text| {
        let (kind, status) = text.split_once('=').expect("TYPE=STATUS");
        json!({"type": kind, "status": status, "reason": "R", "message": "", "lastTransitionTime": "1970-01-01T00:00:07Z"})
    });
    json!({"status": {"phase": phase, "conditions": conditions.collect::<Vec<_>>()}})
}

fn of_sandbox(sandbox: Sandbox) -> Seen {
    Seen { sandboxes: vec![(Arc::new(sandbox), None)], ..Seen::default() }
}

#[rstest]
#[case::made(families::SANDBOX_CREATED, json!({}), &["ONE} 5.0"])]
#[case::not_going(families::SANDBOX_DELETION_TIMESTAMP, json!({}), &[])]
#[case::going(families::SANDBOX_DELETION_TIMESTAMP, json!({"metadata": {"deletionTimestamp": "1970-01-01T00:00:06Z"}}), &["ONE} 6.0"])]
#[case::info(
    families::SANDBOX_INFO,
    json!({"metadata": {"labels": {"agents.kruise.io/sandbox-pool": "p", "agents.kruise.io/sandbox-template": "t"}}, "status": {"nodeName": "n"}}),
    &["ONE,sandbox_pool=\"p\",node=\"n\",sandbox_template=\"t\"} 1.0"]
)]
#[case::no_phase(families::SANDBOX_STATUS_PHASE, json!({}), &["ONE,phase=\"Pending\"} 1.0"])]
#[case::phase(families::SANDBOX_STATUS_PHASE, status("Paused", &[]), &["ONE,phase=\"Paused\"} 1.0"])]
#[case::never_ready(families::SANDBOX_STATUS_READY, json!({}), &["ONE} 0.0"])]
#[case::ready(families::SANDBOX_STATUS_READY, status("Running", &["Ready=True"]), &["ONE} 1.0"])]
#[case::ready_since(families::SANDBOX_STATUS_READY_TIME, status("Running", &["Ready=True"]), &["ONE} 7.0"])]
#[case::unready(families::SANDBOX_STATUS_READY, status("Running", &["Ready=False"]), &["ONE} 0.0"])]
#[case::unready_since(families::SANDBOX_STATUS_READY_TIME, status("Running", &["Ready=False"]), &[])]
#[case::no_update(families::SANDBOX_STATUS_INPLACE_UPDATING, status("Running", &[]), &["ONE} 0.0"])]
#[case::updating(families::SANDBOX_STATUS_INPLACE_UPDATING, status("Running", &["InplaceUpdate=False"]), &["ONE} 1.0"])]
#[case::updating_since(families::SANDBOX_STATUS_INPLACE_UPDATING_TIME, status("Running", &["InplaceUpdate=False"]), &["ONE} 7.0"])]
#[case::updated(families::SANDBOX_STATUS_INPLACE_UPDATING, status("Running", &["InplaceUpdate=True"]), &["ONE} 0.0"])]
#[case::updated_since(families::SANDBOX_STATUS_INPLACE_UPDATING_TIME, status("Running", &["InplaceUpdate=True"]), &[])]
#[case::unpaused(families::SANDBOX_STATUS_UNPAUSED, status("Running", &["SandboxPaused=False"]), &["ONE} 1.0"])]
#[case::unpaused_since(families::SANDBOX_STATUS_UNPAUSED_TIME, status("Running", &["SandboxPaused=False"]), &["ONE} 7.0"])]
#[case::paused(families::SANDBOX_STATUS_UNPAUSED, status("Paused", &["SandboxPaused=True"]), &["ONE} 0.0"])]
#[case::paused_since(families::SANDBOX_STATUS_UNPAUSED_TIME, status("Paused", &["SandboxPaused=True"]), &[])]
#[case::unresumed(families::SANDBOX_STATUS_UNRESUMED, status("Resuming", &["SandboxResumed=False"]), &["ONE} 1.0"])]
#[case::unresumed_since(families::SANDBOX_STATUS_UNRESUMED_TIME, status("Resuming", &["SandboxResumed=False"]), &["ONE} 7.0"])]
#[case::resumed(families::SANDBOX_STATUS_UNRESUMED, status("Running", &["SandboxResumed=True"]), &["ONE} 0.0"])]
#[case::normal(families::SANDBOX_STATUS_ABNORMAL, status("Running", &["SandboxPaused=False"]), &[])]
#[case::pausing(families::SANDBOX_STATUS_ABNORMAL, status("Paused", &["SandboxPaused=False"]), &["ONE,type=\"pause_incomplete\"} 1.0"])]
#[case::pausing_since(families::SANDBOX_STATUS_ABNORMAL_TIME, status("Paused", &["SandboxPaused=False"]), &["ONE,type=\"pause_incomplete\"} 7.0"])]
#[case::pausing_untold(families::SANDBOX_STATUS_ABNORMAL, status("Paused", &[]), &["ONE,type=\"pause_incomplete\"} 1.0"])]
#[case::pausing_untold_since(families::SANDBOX_STATUS_ABNORMAL_TIME, status("Paused", &[]), &[])]
#[case::pause_complete(families::SANDBOX_STATUS_ABNORMAL, status("Paused", &["SandboxPaused=True"]), &[])]
#[case::resuming(
    families::SANDBOX_STATUS_ABNORMAL,
    status("Resuming", &["SandboxPaused=True", "SandboxResumed=False"]),
    &["ONE,type=\"resume_incomplete\"} 1.0"]
)]
#[case::resuming_since(
    families::SANDBOX_STATUS_ABNORMAL_TIME,
    status("Resuming", &["SandboxPaused=True", "SandboxResumed=False"]),
    &["ONE,type=\"resume_incomplete\"} 7.0"]
)]
#[case::no_labels(families::SANDBOX_LABELS, json!({"metadata": {"labels": {"team": "a"}}}), &[])]
fn gauges_of_a_sandbox(#[case] family: Described, #[case] more: Value, #[case] expected: &[&str]) {
    let text = text(&Metrics::default(), of_sandbox(sandbox(more)));
    assert_eq!(samples(&text, &family), expected, "{text}");
}

#[test]
fn labels_are_shown_that_the_flag_names() {
    let labels = json!({"metadata": {"labels": {"example.com/team": "A-1.b", "other": "b"}}});
    let labels =
        Seen { labels: "example.com/team,app".parse().expect("a list"), ..of_sandbox(sandbox(labels)) };
    let expected = ["ONE,label_app=\"\",label_example_com_team=\"A-1.b\"} 1.0"];
    assert_eq!(samples(&text(&Metrics::default(), labels), &families::SANDBOX_LABELS), expected);
}

fn pod(restarts: i32, is_ready: bool) -> Pod {
    let status = |name: &str, restarts: i32, ready: bool| json!({"name": name, "image": "i", "imageID": "i", "restartCount": restarts, "ready": ready});
    let pod = json!({
        "metadata": {"name": "one", "namespace": "default", "uid": "p"}, "spec": {"containers": []},
        "status": {"initContainerStatuses": [status("agent-runtime", 0, true), status("csi-sidecar", restarts, is_ready), status("setup", 3, false)]},
    });
    serde_json::from_value(pod).expect("a pod")
}

/// A sandbox whose sidecar is so, which was seen in second 9.
fn of_pod(restarts: i32, is_ready: bool) -> Seen {
    let pod = pod(restarts, is_ready);
    let mut containers = Containers::default();
    containers.see(None, Some(&pod), Timestamp::from_second(9).expect("small"));
    let sandboxes = vec![(Arc::new(sandbox(json!({}))), Some(Arc::new(pod)))];
    Seen { sandboxes, containers, ..Seen::default() }
}

#[rstest]
#[case::starting(0, false, "0.0", &[])]
#[case::healthy(2, true, "0.0", &[])]
#[case::crashed(1, false, "1.0", &["ONE,container=\"csi-sidecar\"} 9.0"])]
fn injected_containers(
    #[case] restarts: i32,
    #[case] is_ready: bool,
    #[case] value: &str,
    #[case] since: &[&str],
) {
    let text = text(&Metrics::default(), of_pod(restarts, is_ready));
    let expected = [
        "ONE,container=\"agent-runtime\"} 0.0".to_owned(),
        format!("ONE,container=\"csi-sidecar\"}} {value}"),
    ];
    assert_eq!(samples(&text, &families::SANDBOX_RUNTIME_CONTAINER_ABNORMAL), expected, "{text}");
    assert_eq!(samples(&text, &families::SANDBOX_RUNTIME_CONTAINER_ABNORMAL_TIME), since, "{text}");
}

fn set() -> SandboxSet {
    let status =
        json!({"replicas": 3, "availableReplicas": 2, "updatedReplicas": 1, "updatedAvailableReplicas": 0});
    object("SandboxSet", json!({"spec": {"replicas": 4}, "status": status}))
}

#[rstest]
#[case(families::SANDBOXSET_CREATED, "ONE} 5.0")]
#[case(families::SANDBOXSET_DESIRED_REPLICAS, "ONE} 4.0")]
#[case(families::SANDBOXSET_REPLICAS, "ONE} 3.0")]
#[case(families::SANDBOXSET_AVAILABLE_REPLICAS, "ONE} 2.0")]
#[case(families::SANDBOXSET_UPDATED_REPLICAS, "ONE} 1.0")]
#[case(families::SANDBOXSET_UPDATED_AVAILABLE_REPLICAS, "ONE} 0.0")]
fn gauges_of_a_set(#[case] family: Described, #[case] expected: &str) {
    let seen = Seen { sets: vec![Arc::new(set())], ..Seen::default() };
    assert_eq!(samples(&text(&Metrics::default(), seen), &family), [expected]);
}

fn claim(status: &Value) -> SandboxClaim {
    object("SandboxClaim", json!({"spec": {"templateName": "pool", "replicas": 2}, "status": status}))
}

fn completed(claimed: i32, conditions: &Value) -> SandboxClaim {
    claim(&json!({
        "phase": "Completed", "claimedReplicas": claimed, "conditions": conditions,
        "claimStartTime": "1970-01-01T00:00:06Z", "completionTime": "1970-01-01T00:00:08Z",
    }))
}

#[rstest]
#[case(families::SANDBOX_CLAIM_INFO, "ONE,template=\"pool\"} 1.0")]
#[case(families::SANDBOX_CLAIM_CREATED, "ONE} 5.0")]
#[case(families::SANDBOX_CLAIM_STATUS_PHASE, "ONE,phase=\"Completed\"} 1.0")]
#[case(families::SANDBOX_CLAIM_START_TIME, "ONE} 6.0")]
#[case(families::SANDBOX_CLAIM_COMPLETION_TIME, "ONE} 8.0")]
#[case(families::SANDBOX_CLAIM_DESIRED_REPLICAS, "ONE} 2.0")]
#[case(families::SANDBOX_CLAIM_CLAIMED_REPLICAS, "ONE} 2.0")]
fn gauges_of_a_claim(#[case] family: Described, #[case] expected: &str) {
    let seen = Seen { claims: vec![Arc::new(completed(2, &json!([])))], ..Seen::default() };
    assert_eq!(samples(&text(&Metrics::default(), seen), &family), [expected]);
}

#[test]
fn what_users_write_does_not_break_the_page() {
    let more = json!({"spec": {"templateName": "a \"b\" \\ c\nd"}});
    let claims = vec![Arc::new(object::<SandboxClaim>("SandboxClaim", more))];
    let text = text(&Metrics::default(), Seen { claims, ..Seen::default() });
    let expected = ["ONE,template=\"a \\\"b\\\" \\\\ c\\nd\"} 1.0"];
    assert_eq!(samples(&text, &families::SANDBOX_CLAIM_INFO), expected);
}

#[test]
fn a_claim_is_counted_once_by_its_set_and_without_a_name_where_there_is_none() {
    let metrics = Metrics::default();
    let timed_out = json!([{"type": "TimedOut", "status": "True", "reason": "R", "message": "", "lastTransitionTime": "1970-01-01T00:00:08Z"}]);
    let (before, after) = (claim(&json!({"phase": "Claiming"})), completed(1, &timed_out));
    metrics.saw_claim(None, Some(&before), |_| true);
    metrics.saw_claim(Some(&before), Some(&after), |_| true);
    metrics.saw_claim(Some(&after), Some(&after), |_| true);
    metrics.saw_claim(Some(&before), Some(&completed(2, &json!([]))), |_| false);
    let counts = locked(&metrics.shared.counts).clone();
    let text = text(&metrics, Seen { counts, ..Seen::default() });
    let expected = [
        "namespace=\"default\",result=\"success\"} 1",
        "namespace=\"default\",name=\"pool\",result=\"failure\"} 1",
    ];
    assert_eq!(samples(&text, &families::SANDBOXSET_CLAIMS), expected);
    assert_eq!(samples(&text, &families::SANDBOXCLAIM_EXPIRED), ["namespace=\"default\",name=\"pool\"} 1"]);
    assert!(text.contains("sandbox_claim_duration_seconds_sum{namespace=\"default\"} 4.0\n"), "{text}");
}

#[test]
fn counts_of_a_set_go_with_it() {
    let name = |name: &str| ObjectName { namespace: "default".to_owned(), name: name.to_owned() };
    let metrics = Metrics::default();
    for set in ["kept", "gone", "late"] {
        locked(&metrics.shared.counts).of(name(set)).created += 1;
    }
    metrics.set_is_gone(&name("gone"));
    // "late" was counted after its end
    locked(&metrics.shared.counts).keep(|set| *set == name("kept"));
    let counts = locked(&metrics.shared.counts).clone();
    let text = text(&metrics, Seen { counts, ..Seen::default() });
    let expected = ["namespace=\"default\",name=\"kept\"} 1"];
    assert_eq!(samples(&text, &families::SANDBOXSET_SANDBOXES_CREATED), expected);
}

/// Goes through one of everything that is measured.
fn lived() -> String {
    let metrics = Metrics::default();
    let owned = json!({"metadata": {"ownerReferences": [
        {"apiVersion": "agents.kruise.io/v1alpha1", "kind": "SandboxSet", "name": "one", "uid": "s", "controller": true},
    ]}});
    let updating = json!([{"type": "InplaceUpdate", "status": "False", "reason": "InplaceUpdating", "message": "", "lastTransitionTime": "1970-01-01T00:00:07Z"}]);
    let states = [
        owned,
        status("Running", &["Ready=True"]),
        status("Running", &["Ready=True"]),
        json!({"status": {"phase": "Running", "conditions": updating}}),
        status("Running", &["InplaceUpdate=True"]),
        status("Paused", &["SandboxPaused=True"]),
        status("Resuming", &[]),
        status("Running", &["Ready=True"]),
        status("Recycling", &[]),
        status("Running", &["Ready=True"]),
    ];
    let mut old: Option<Sandbox> = None;
    for (second, state) in states.into_iter().enumerate() {
        let now = Timestamp::from_second(i64::try_from(second).expect("small")).expect("small");
        let new = sandbox(state);
        metrics.saw_sandbox(old.as_ref(), Some(&new), now);
        old = Some(new);
    }
    metrics.saw_sandbox(old.as_ref(), None, Timestamp::UNIX_EPOCH);
    let timed_out = json!([{"type": "TimedOut", "status": "True", "reason": "R", "message": "", "lastTransitionTime": "1970-01-01T00:00:08Z"}]);
    metrics.saw_claim(Some(&claim(&json!({}))), Some(&completed(2, &timed_out)), |_| true);

    let mut going = status(
        "Paused",
        &["Ready=True", "InplaceUpdate=False", "SandboxPaused=False", "SandboxResumed=False"],
    );
    merge(&mut going, json!({"metadata": {"deletionTimestamp": "1970-01-01T00:00:06Z"}}));
    let mut seen = of_pod(1, false);
    seen.sandboxes.push((Arc::new(sandbox(going)), None));
    seen.sets.push(Arc::new(set()));
    seen.claims.push(Arc::new(completed(1, &json!([]))));
    seen.counts = locked(&metrics.shared.counts).clone();
    seen.labels = "team".parse().expect("a list");
    text(&metrics, seen)
}

/// Each family of `contract::metrics` is there once something is measured, with its type, labels and help; and no other is.
#[test]
fn what_is_served_is_what_the_table_says() {
    let text = lived();
    let types: BTreeMap<&str, &str> =
        text.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split_once(' ')).collect();
    let expected: BTreeMap<&str, &str> =
        families::ALL.iter().map(|family| (family.stem(), family.kind.as_str())).collect();
    assert_eq!(types, expected);
    for family in families::ALL {
        let help = format!("# HELP {} {}", family.stem(), family.meaning);
        // the client puts a full stop behind what it keeps itself
        assert!(text.lines().any(|line| line.trim_end_matches('.') == help), "{help}\n{text}");
        let sample = match family.kind {
            Kind::Short | Kind::Long => format!("{}_bucket{{", family.name),
            Kind::Gauge | Kind::Counter => format!("{}{{", family.name),
        };
        let line = text.lines().find_map(|line| line.strip_prefix(&sample)).expect("a sample");
        let names: BTreeSet<&str> =
            line.split("\",").filter_map(|pair| Some(pair.split_once("=\"")?.0)).collect();
        let le = matches!(family.kind, Kind::Short | Kind::Long).then_some("le");
        let expected: BTreeSet<&str> = family.labels.iter().copied().chain(le).collect();
        let names: BTreeSet<&str> =
            names.into_iter().map(|name| if name.starts_with("label_") { "label_*" } else { name }).collect();
        assert_eq!(names, expected, "{}", family.name);
    }
}

#[rstest]
#[case(families::SANDBOX_DELETION_DURATION, &["0.02", "0.04", "0.08"], "40.96", 13)]
#[case(families::SANDBOX_INPLACE_UPDATE_DURATION, &["0.02", "0.04", "0.08"], "40.96", 13)]
#[case(families::SANDBOX_RECYCLE_DURATION, &["0.1", "0.2", "0.4"], "409.6", 14)]
fn buckets(#[case] family: Described, #[case] first: &[&str], #[case] last: &str, #[case] count: usize) {
    let text = lived();
    let prefix = format!("{}_bucket{{le=\"", family.name);
    let bounds: Vec<&str> =
        text.lines().filter_map(|line| Some(line.strip_prefix(&prefix)?.split_once('"')?.0)).collect();
    assert_eq!((&bounds[..3], bounds[count - 2], bounds[count - 1]), (first, last, "+Inf"), "{text}");
    assert_eq!(bounds.len(), count);
}

#[test]
fn a_life_is_measured_by_the_clock() {
    let text = lived();
    for (family, seconds) in [
        (families::SANDBOX_CREATION_DURATION, "1.0"),
        (families::SANDBOX_INPLACE_UPDATE_DURATION, "1.0"),
        (families::SANDBOX_PAUSE_DURATION, "0.0"),
        (families::SANDBOX_RESUME_DURATION, "1.0"),
        (families::SANDBOX_RECYCLE_DURATION, "1.0"),
        (families::SANDBOX_DELETION_DURATION, "0.0"),
        (families::SANDBOX_CLAIM_DURATION, "2.0"),
    ] {
        let sum = format!("{}_sum{{namespace=\"default\"}} {seconds}", family.name);
        let count = format!("{}_count{{namespace=\"default\"}} 1", family.name);
        assert!(text.lines().any(|line| line == sum), "{sum}\n{text}");
        assert!(text.lines().any(|line| line == count), "{count}\n{text}");
    }
    for family in [
        families::SANDBOX_CREATION_TOTAL,
        families::SANDBOX_PAUSE_TOTAL,
        families::SANDBOX_RESUME_TOTAL,
        families::SANDBOX_RECYCLE_TOTAL,
    ] {
        assert_eq!(samples(&text, &family), ["namespace=\"default\",result=\"success\"} 1"], "{text}");
    }
    assert_eq!(samples(&text, &families::SANDBOXSET_SANDBOXES_CREATED), ["ONE} 1"]);
    assert_eq!(samples(&text, &families::SANDBOXSET_SANDBOXES_CLAIMED), ["ONE} 1"]);
}
