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

/// How often it is measured at most: other work of this machine is not what is measured, so the best round counts.
const ROUNDS: usize = 5;

/// What one round showed.
#[derive(Debug)]
struct Round {
    /// From the first pod's making until the first is ready.
    first_ready: Duration,
    /// Median of the containers' starts, in milliseconds.
    median: f64,
    /// Memory of the largest idle container, in kilobytes.
    largest: u64,
}

impl Round {
    fn is_soon(&self) -> bool {
        self.median < f64::from(allowance() * 30) && self.first_ready < allowance() * Duration::from_secs(1)
    }
}

/// Four sandboxes from nothing to nothing.
async fn round(lab: &Lab, number: usize) -> Round {
    let names = ["a", "b", "c", "d"].map(|name| format!("{name}{number}"));
    let before = lab.journal.len();
    let begin = Instant::now();
    for name in &names {
        lab.create(name, sandbox()).await;
    }
    let mut ready = Vec::new();
    for name in &names {
        lab.wait_ready(name).await;
        ready.push(begin.elapsed());
    }
    let started: Vec<_> = lab
        .journal
        .entries()
        .into_iter()
        .skip(before)
        .filter(|entry| entry.source == "process" && entry.kind == "started")
        .collect();
    assert_eq!(started.len(), 12);
    let mut starts: Vec<_> = started.iter().filter_map(|entry| entry.body["milliseconds"].as_f64()).collect();
    starts.sort_by(f64::total_cmp);
    let processes: Vec<_> = started.iter().filter_map(|entry| entry.body["process"].as_i64()).collect();
    let largest = processes.iter().map(|process| resident(*process)).max().expect("processes");
    let begin = Instant::now();
    for name in &names {
        lab.delete(name).await;
    }
    let round = Round { first_ready: ready[0], median: starts[starts.len() / 2], largest };
    println!(
        "{round:?}; ready {ready:?}; slowest start {:?} ms; deleted {:?}",
        starts.last(),
        begin.elapsed()
    );
    round
}

#[test]
fn four_sandboxes_are_ready_soon_and_small() {
    enclosed("four_sandboxes_are_ready_soon_and_small", || async {
        let begin = Instant::now();
        let lab = Lab::start().await;
        println!("node {:?}", begin.elapsed());
        let mut rounds = Vec::new();
        while rounds.len() < ROUNDS && !rounds.last().is_some_and(Round::is_soon) {
            rounds.push(round(&lab, rounds.len()).await);
        }
        assert!(rounds.iter().any(Round::is_soon), "sandboxes are slow: {rounds:?}");
        let largest = rounds.iter().map(|round| round.largest).min();
        assert!(
            largest.is_some_and(|largest| largest <= 2048),
            "idle containers take much memory: {rounds:?}"
        );
    });
}
