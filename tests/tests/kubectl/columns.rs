//! What `kubectl get` shows of the kinds that users look at (`kubernetes.md` §1.0), and which conditions it can wait for.

use system_tests::{DOCUMENT_SET, Kubectl};

/// A claim of one sandbox and what is done to it: a checkpoint, an upgrade, a policy for others. And a template that nobody uses.
const OBJECTS: &str = "\
apiVersion: agents.kruise.io/v1alpha1
kind: Checkpoint
metadata: {name: kept}
spec: {podName: <SANDBOX>, persistentContents: [filesystem]}
---
apiVersion: agents.kruise.io/v1alpha1
kind: SandboxTemplate
metadata: {name: unused}
spec: {template: {spec: {containers: [{name: sandbox, image: example.com/any:v1}]}}}
---
apiVersion: agents.kruise.io/v1alpha1
kind: TrafficPolicy
metadata: {name: of-nobody}
spec: {selector: {matchLabels: {team: green}}, egress: {rules: [{action: reject, to: [{cidr: 203.0.113.0/24}]}]}}
";

pub(super) fn show_what_users_expect(kubectl: &Kubectl) {
    of_the_set(kubectl);
    let sandboxes = table(kubectl, &["sbx"]);
    let header =
        ["NAME", "STATUS", "AGE", "CLAIMED", "SHUTDOWN_TIME", "PAUSE_TIME", "RECYCLEDCOUNT", "MESSAGE"];
    assert_eq!(sandboxes[0], header);
    assert!(sandboxes[1..].iter().all(|row| row[1] == "Running" && row[3] == "false"), "{sandboxes:?}");

    let claim = format!(
        "apiVersion: agents.kruise.io/v1alpha1\nkind: SandboxClaim\nmetadata: {{name: one}}\n\
         spec: {{templateName: {DOCUMENT_SET}, shutdownTime: 2099-01-01T00:00:00Z, labels: {{team: red}}}}\n"
    );
    kubectl.feed(&["apply"], &claim);
    wait_for(kubectl, "sandboxclaim/one", "Completed");
    let claims = table(kubectl, &["sbc"]);
    assert_eq!(claims[0], ["NAME", "PHASE", "TEMPLATE", "DESIRED", "CLAIMED", "AGE"]);
    assert_eq!(claims[1][..5], ["one", "Completed", DOCUMENT_SET, "1", "1"]);

    let taken = table(kubectl, &["sbx", "-l", "agents.kruise.io/claim-name=one"]);
    assert_eq!(taken[1][1], "Running");
    assert_eq!(taken[1][3..5], ["true", "2099-01-01T00:00:00Z"]);
    of_what_is_done_to(kubectl, &taken[1][0]);

    kubectl.call(&["delete", "sandboxclaim", "one"]);
    kubectl.call(&["delete", "sandboxes", "-l", "agents.kruise.io/sandbox-claimed=true"]);
}

fn of_the_set(kubectl: &Kubectl) {
    let sets = table(kubectl, &["sbs"]);
    let header = [
        "NAME",
        "REPLICAS",
        "AVAILABLE",
        "UPDATEDREPLICAS",
        "UPDATEDAVAILABLEREPLICAS",
        "UPDATEREVISION",
        "AGE",
    ];
    assert_eq!(sets[0], header);
    assert_eq!(sets[1][..5], [DOCUMENT_SET, "4", "4", "4", "4"]);
    let revision = kubectl.call(&["get", "sbs", DOCUMENT_SET, "-o", "jsonpath={.status.updateRevision}"]);
    assert!(!revision.is_empty());
    assert_eq!(sets[1][5], revision);
    for condition in ["Available", "UpToDate"] {
        wait_for(kubectl, &format!("sandboxset/{DOCUMENT_SET}"), condition);
    }
    let negative = r#"{"spec": {"replicas": -1}}"#;
    let refused = kubectl.try_call(&["patch", "sbs", DOCUMENT_SET, "--type=merge", "-p", negative]);
    assert_ne!(refused.status, Some(0), "{refused}");
    assert!(
        refused.stderr.contains("spec.replicas") && refused.stderr.contains("must not be negative"),
        "{refused}"
    );
}

/// Checkpoint, upgrade, and the two kinds that nothing works on.
fn of_what_is_done_to(kubectl: &Kubectl, sandbox: &str) {
    let objects = OBJECTS.replace("<SANDBOX>", sandbox);
    kubectl.feed(&["apply"], &objects);
    wait_for(kubectl, "checkpoint/kept", "Ready");
    let checkpoints = table(kubectl, &["cp"]);
    assert_eq!(checkpoints[0], ["NAME", "STATUS", "AGE"]);
    assert_eq!(checkpoints[1][..2], ["kept", "Succeeded"]);
    let templates = table(kubectl, &["sbt", "unused"]);
    assert_eq!(templates[0], ["NAME", "AGE"]);
    let policies = table(kubectl, &["tp"]);
    assert_eq!(policies[0], ["NAME", "PRIORITY", "AGE"]);
    assert_eq!(policies[1][..2], ["of-nobody", "1000"]);

    let operation = "apiVersion: agents.kruise.io/v1alpha1\nkind: SandboxUpdateOps\nmetadata: {name: upgrade}\n\
         spec: {selector: {matchLabels: {team: red}}, patch: {metadata: {annotations: {upgraded: yes-it-is}}}}\n";
    kubectl.feed(&["apply"], operation);
    wait_for(kubectl, "suo/upgrade", "Completed");
    let operations = table(kubectl, &["suo"]);
    assert_eq!(operations[0], ["NAME", "PHASE", "TOTAL", "UPDATED", "UPDATING", "FAILED", "AGE"]);
    assert_eq!(operations[1][..6], ["upgrade", "Completed", "1", "1", "0", "0"]);
    for condition in ["Ready", "Upgrading", "RuntimeInitialized"] {
        wait_for(kubectl, &format!("sandbox/{sandbox}"), condition);
    }
    kubectl.call(&["delete", "suo", "upgrade", "--timeout=60s"]);
    kubectl.feed(&["delete", "--timeout=60s"], &objects);
}

fn wait_for(kubectl: &Kubectl, object: &str, condition: &str) {
    kubectl.call(&["wait", &format!("--for=condition={condition}"), "--timeout=90s", object]);
}

/// The words of the lines that `kubectl get` prints.
fn table(kubectl: &Kubectl, what: &[&str]) -> Vec<Vec<String>> {
    let text = kubectl.call(&[&["get"], what].concat());
    text.lines().map(|line| line.split_whitespace().map(str::to_owned).collect()).collect()
}
