//! The columns of pods: the one line that tells how a pod is.

use jiff::Timestamp;
use serde_json::Value;

use super::builtin::{age as age_cell, name, or_none, text};
use super::{Printer, age};

pub(super) const PRINTER: Printer = Printer {
    heads: &[
        ("Name", false),
        ("Ready", false),
        ("Status", false),
        ("Restarts", false),
        ("Age", false),
        ("IP", true),
        ("Node", true),
        ("Nominated Node", true),
        ("Readiness Gates", true),
    ],
    cells: |pod, now| {
        let summary = summarize(pod);
        vec![
            name(pod),
            format!("{}/{}", summary.ready, summary.total).into(),
            summary.status.into(),
            restarts(&summary.restarted, now),
            age_cell(pod, now),
            or_none(&pod["status"]["podIP"]),
            or_none(&pod["spec"]["nodeName"]),
            or_none(&pod["status"]["nominatedNodeName"]),
            "<none>".into(),
        ]
    },
};

#[derive(Debug, Default, PartialEq)]
struct Restarted {
    times: i64,
    /// RFC 3339; empty when never.
    last: String,
}

impl Restarted {
    fn add(&mut self, container: &Value) {
        self.times += container["restartCount"].as_i64().unwrap_or(0);
        let finished = text(&container["lastState"]["terminated"]["finishedAt"]);
        if finished > self.last.as_str() {
            finished.clone_into(&mut self.last);
        }
    }
}

#[derive(Debug, Default, PartialEq)]
struct Summary {
    ready: usize,
    total: usize,
    status: String,
    restarted: Restarted,
}

fn restarts(restarted: &Restarted, now: Timestamp) -> Value {
    if restarted.times == 0 || restarted.last.is_empty() {
        return restarted.times.to_string().into();
    }
    format!("{} ({} ago)", restarted.times, age::since(&restarted.last.as_str().into(), now)).into()
}

fn items(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

fn condition_holds(pod: &Value, kind: &str) -> bool {
    items(&pod["status"]["conditions"])
        .iter()
        .any(|condition| condition["type"] == kind && condition["status"] == "True")
}

fn is_sidecar(pod: &Value, name: &Value) -> bool {
    items(&pod["spec"]["initContainers"])
        .iter()
        .any(|container| container["name"] == *name && container["restartPolicy"] == "Always")
}

/// Why a container ended, in one word.
fn ending(terminated: &Value) -> String {
    let reason = text(&terminated["reason"]);
    if !reason.is_empty() {
        return reason.to_owned();
    }
    match terminated["signal"].as_i64().filter(|signal| *signal != 0) {
        Some(signal) => format!("Signal:{signal}"),
        None => format!("ExitCode:{}", terminated["exitCode"]),
    }
}

fn summarize(pod: &Value) -> Summary {
    let status = &pod["status"];
    let phase = text(&status["phase"]);
    let given = text(&status["reason"]);
    let sidecars =
        items(&pod["spec"]["initContainers"]).iter().filter(|one| one["restartPolicy"] == "Always").count();
    let mut summary = Summary {
        total: items(&pod["spec"]["containers"]).len() + sidecars,
        status: if given.is_empty() { phase.to_owned() } else { given.to_owned() },
        ..Summary::default()
    };
    let initializing = look_at_init_containers(pod, &mut summary);
    if !initializing || condition_holds(pod, "Initialized") {
        look_at_containers(pod, &mut summary);
    }
    let over = matches!(phase, "Succeeded" | "Failed");
    if !pod["metadata"]["deletionTimestamp"].is_null() && !over {
        summary.status = "Terminating".into();
    }
    summary
}

/// Whether the pod is still at its init containers.
fn look_at_init_containers(pod: &Value, summary: &mut Summary) -> bool {
    let all = items(&pod["spec"]["initContainers"]).len();
    for (index, container) in items(&pod["status"]["initContainerStatuses"]).iter().enumerate() {
        summary.restarted.add(container);
        let (terminated, waiting) =
            (&container["state"]["terminated"], text(&container["state"]["waiting"]["reason"]));
        if terminated["exitCode"] == 0 {
            continue;
        }
        if is_sidecar(pod, &container["name"]) && container["started"] == true {
            summary.ready += usize::from(container["ready"] == true);
            continue;
        }
        summary.status = if terminated.is_object() {
            format!("Init:{}", ending(terminated))
        } else if !waiting.is_empty() && waiting != "PodInitializing" {
            format!("Init:{waiting}")
        } else {
            format!("Init:{index}/{all}")
        };
        return true;
    }
    false
}

fn look_at_containers(pod: &Value, summary: &mut Summary) {
    // Restarts of init containers that are through no longer count, those of sidecars do.
    summary.restarted = Restarted::default();
    for container in items(&pod["status"]["initContainerStatuses"]) {
        if is_sidecar(pod, &container["name"]) {
            summary.restarted.add(container);
        }
    }
    let mut running = false;
    for container in items(&pod["status"]["containerStatuses"]).iter().rev() {
        summary.restarted.add(container);
        let state = &container["state"];
        let waiting = text(&state["waiting"]["reason"]);
        if !waiting.is_empty() {
            waiting.clone_into(&mut summary.status);
        } else if state["terminated"].is_object() {
            summary.status = ending(&state["terminated"]);
        } else if container["ready"] == true && state["running"].is_object() {
            running = true;
            summary.ready += 1;
        }
    }
    if summary.status == "Completed" && running {
        summary.status = if condition_holds(pod, "Ready") { "Running" } else { "NotReady" }.into();
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;
    use serde_json::json;

    use super::*;

    fn pod(status: &Value) -> Value {
        json!({
            "metadata": {"name": "p"},
            "spec": {
                "initContainers": [{"name": "setup"}, {"name": "side", "restartPolicy": "Always"}],
                "containers": [{"name": "main"}],
            },
            "status": status,
        })
    }

    #[rstest]
    #[case(json!({"phase": "Pending"}), "0/2", "Pending")]
    #[case(json!({"phase": "Pending", "initContainerStatuses": [
        {"name": "setup", "state": {"running": {}}}]}), "0/2", "Init:0/2")]
    #[case(json!({"phase": "Pending", "initContainerStatuses": [
        {"name": "setup", "state": {"terminated": {"exitCode": 1, "reason": "Error"}}}]}), "0/2", "Init:Error")]
    #[case(json!({"phase": "Pending", "initContainerStatuses": [
        {"name": "setup", "state": {"waiting": {"reason": "CrashLoopBackOff"}}}]}), "0/2", "Init:CrashLoopBackOff")]
    #[case(json!({"phase": "Running", "initContainerStatuses": [
        {"name": "setup", "state": {"terminated": {"exitCode": 0}}},
        {"name": "side", "started": true, "ready": true, "state": {"running": {}}}],
        "containerStatuses": [{"name": "main", "ready": true, "state": {"running": {}}}]}), "2/2", "Running")]
    #[case(json!({"phase": "Running", "containerStatuses": [
        {"name": "main", "state": {"waiting": {"reason": "ImagePullBackOff"}}}]}), "0/2", "ImagePullBackOff")]
    #[case(json!({"phase": "Failed", "containerStatuses": [
        {"name": "main", "state": {"terminated": {"exitCode": 137, "signal": 9}}}]}), "0/2", "Signal:9")]
    fn a_pods_line_tells_how_it_is(#[case] status: Value, #[case] ready: &str, #[case] expected: &str) {
        let summary = summarize(&pod(&status));
        assert_eq!(
            (format!("{}/{}", summary.ready, summary.total).as_str(), summary.status.as_str()),
            (ready, expected)
        );
    }

    #[test]
    fn a_deleted_pod_is_terminating() {
        let mut pod = pod(&json!({"phase": "Running"}));
        pod["metadata"]["deletionTimestamp"] = "2026-11-24T03:00:00Z".into();
        assert_eq!(summarize(&pod).status, "Terminating");
    }
}
