//! How fast and how small: the numbers that a lab's budget is made of.

#![allow(clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

mod support;

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use support::{Lab, enclosed};

/// A sandbox of the shape that the product's has: two sidecars and a main container.
fn sandbox() -> Value {
    let volume =
        |propagation: &str| json!([{"name": "v", "mountPath": "/v", "mountPropagation": propagation}]);
    json!({
        "terminationGracePeriodSeconds": 5,
        "initContainers": [
            {"name": "agent", "image": "agent-runtime", "restartPolicy": "Always"},
            {"name": "side", "image": "csi-agent", "restartPolicy": "Always", "securityContext": {"privileged": true},
             "volumeMounts": volume("Bidirectional")}
        ],
        "containers": [{"name": "main", "image": "i", "volumeMounts": volume("HostToContainer"),
            "lifecycle": {"postStart": {"exec": {"command": ["/bin/true"]}}}}],
        "volumes": [{"name": "v", "emptyDir": {}}]
    })
}

/// Resident kilobytes of a process.
fn resident(process: i64) -> u64 {
    let text = std::fs::read_to_string(format!("/proc/{process}/smaps_rollup")).expect("a process");
    let line = text.lines().find(|line| line.starts_with("Pss:")).expect("a line");
    line.split_whitespace().nth(1).expect("a number").parse().expect("a number")
}

/// The limits are for release builds on two busy cores with room to spare; debug builds get three times as much.
fn allowance() -> u32 {
    if cfg!(debug_assertions) { 3 } else { 1 }
}

#[test]
fn four_sandboxes_are_ready_soon_and_small() {
    enclosed("four_sandboxes_are_ready_soon_and_small", || async {
        let begin = Instant::now();
        let lab = Lab::start().await;
        let node = begin.elapsed();
        let begin = Instant::now();
        let names = ["a", "b", "c", "d"];
        for name in names {
            lab.create(name, sandbox()).await;
        }
        let mut ready = Vec::new();
        for name in names {
            lab.wait_ready(name).await;
            ready.push(begin.elapsed());
        }
        let started: Vec<_> = lab
            .journal
            .entries()
            .into_iter()
            .filter(|entry| entry.source == "process" && entry.kind == "started")
            .collect();
        let mut starts: Vec<_> =
            started.iter().filter_map(|entry| entry.body["milliseconds"].as_f64()).collect();
        starts.sort_by(f64::total_cmp);
        let median = starts[starts.len() / 2];
        let processes: Vec<_> = started.iter().filter_map(|entry| entry.body["process"].as_i64()).collect();
        let largest = processes.iter().map(|process| resident(*process)).max().expect("processes");
        let begin = Instant::now();
        for name in names {
            lab.delete(name).await;
        }
        let deleted = begin.elapsed();
        println!(
            "node {node:?}; ready {ready:?}; container start median {median:.1} ms, most {:?} ms; idle container {largest} kB; deleted {deleted:?}",
            starts.last()
        );
        assert_eq!(starts.len(), 12);
        assert!(median < f64::from(allowance() * 30), "a container takes {median} ms to start");
        assert!(ready[0] < allowance() * Duration::from_secs(1), "the first sandbox takes {:?}", ready[0]);
        assert!(largest <= 2048, "an idle container takes {largest} kB of memory");
    });
}
