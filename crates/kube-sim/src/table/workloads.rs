//! The columns of workloads, which are stored only.

use serde_json::Value;

use super::Printer;
use super::builtin::{age, name, or_none};

fn number(value: &Value) -> i64 {
    value.as_i64().unwrap_or(0)
}

/// Labels as `a=b,c=d`.
pub(super) fn labels(labels: &Value) -> Value {
    let pairs = labels.as_object().into_iter().flatten();
    let pairs = pairs.map(|(key, value)| format!("{key}={}", value.as_str().unwrap_or_default()));
    or_none(&pairs.collect::<Vec<_>>().join(",").into())
}

/// How a workload is printed.
pub(super) fn printer(plural: &str) -> Printer {
    match plural {
        "deployments" => Printer {
            heads: &[
                ("Name", false),
                ("Ready", false),
                ("Up-to-date", false),
                ("Available", false),
                ("Age", false),
            ],
            cells: |object, now| {
                let (spec, status) = (&object["spec"], &object["status"]);
                let ready = format!("{}/{}", number(&status["readyReplicas"]), number(&spec["replicas"]));
                let counts = [&status["updatedReplicas"], &status["availableReplicas"]].map(number);
                vec![name(object), ready.into(), counts[0].into(), counts[1].into(), age(object, now)]
            },
        },
        "replicasets" => Printer {
            heads: &[
                ("Name", false),
                ("Desired", false),
                ("Current", false),
                ("Ready", false),
                ("Age", false),
            ],
            cells: |object, now| {
                let (spec, status) = (&object["spec"], &object["status"]);
                let counts = [&spec["replicas"], &status["replicas"], &status["readyReplicas"]].map(number);
                vec![name(object), counts[0].into(), counts[1].into(), counts[2].into(), age(object, now)]
            },
        },
        "statefulsets" => Printer {
            heads: &[("Name", false), ("Ready", false), ("Age", false)],
            cells: |object, now| {
                let (spec, status) = (&object["spec"], &object["status"]);
                let ready = format!("{}/{}", number(&status["readyReplicas"]), number(&spec["replicas"]));
                vec![name(object), ready.into(), age(object, now)]
            },
        },
        "jobs" => Printer {
            heads: &[("Name", false), ("Completions", false), ("Age", false)],
            cells: |object, now| {
                let wanted = object["spec"]["completions"].as_i64().unwrap_or(1);
                let done = format!("{}/{wanted}", number(&object["status"]["succeeded"]));
                vec![name(object), done.into(), age(object, now)]
            },
        },
        _ => Printer {
            heads: &[("Name", false), ("Age", false)],
            cells: |object, now| vec![name(object), age(object, now)],
        },
    }
}
