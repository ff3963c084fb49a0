//! SIGKILL at any moment leaves nothing behind: no process, mount, link or socket.
#![allow(clippy::expect_used, reason = "helpers of tests fail the test")]

use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use system_tests::machine::{Inventory, Process, ProcessId, family, processes};
use system_tests::{mountlab, program, repository, run, wait_until};

/// How often a lab is killed.
const ROUNDS: usize = 10;

/// The latest moment, counted from the start of the program; the scenario has mounted by then and waits.
const LATEST: Duration = Duration::from_secs(4);

/// How long the kernel may take to clear up.
const GONE_LIMIT: Duration = Duration::from_secs(10);

/// Which process is killed.
#[derive(Clone, Copy, Debug)]
enum Victim {
    /// `mountlab run`, outside of the lab's namespaces.
    Outside,
    /// The lab's first process, inside; the outside when there is no lab yet.
    Inside,
}

/// Everything that the lab ever was, seen so far.
#[derive(Default)]
struct Seen(BTreeMap<ProcessId, Process>);

impl Seen {
    fn look(&mut self, lab: &Child) {
        let id = i32::try_from(lab.id()).expect("a process id");
        self.0.extend(family(&processes(), id));
    }

    /// The PID namespaces of the lab that are not this test's own.
    fn namespaces(&self) -> Vec<&str> {
        let own = std::fs::read_link("/proc/self/ns/pid").expect("an own namespace").display().to_string();
        let others = self.0.values().map(|process| process.namespace.as_str());
        others.filter(|namespace| !namespace.is_empty() && *namespace != own).collect()
    }

    /// What of the lab is still there: what was seen, what lives in its namespaces, what runs its program.
    fn left(&self, program: &Path) -> Vec<String> {
        let namespaces = self.namespaces();
        let of_lab = |id: &ProcessId, process: &Process| {
            self.0.contains_key(id)
                || namespaces.contains(&process.namespace.as_str())
                || (process.executable == program && !program.as_os_str().is_empty())
        };
        let left = processes().into_iter().filter(|(id, process)| of_lab(id, process));
        left.map(|(id, process)| format!("process {} {}", id.id, process.command)).collect()
    }

    /// The process to kill: the member of a namespace of its own whose parent is outside of it.
    fn first_inside(&self) -> Option<Pid> {
        let namespaces = self.namespaces();
        let inside = |process: &Process| namespaces.contains(&process.namespace.as_str());
        let is_inside = |id: i32| self.0.iter().any(|(other, process)| other.id == id && inside(process));
        let first = self.0.iter().find(|(_, process)| inside(process) && !is_inside(process.parent));
        first.map(|(id, _)| Pid::from_raw(id.id))
    }
}

#[test]
fn nothing_is_left_after_kill_9_at_ten_random_moments() {
    let seed: u64 = std::env::var("MOUNTLAB_SEED")
        .map_or_else(|_| rand::random(), |seed| seed.parse().expect("a number"));
    println!("seed {seed}; set MOUNTLAB_SEED to repeat");
    let mut random = StdRng::seed_from_u64(seed);
    // a program of this test's own, so that its processes are told from those of any other lab
    let folder = tempfile::tempdir().expect("a directory");
    let copy = folder.path().join("mountlab");
    std::fs::copy(program(), &copy).expect("a copy of the program");
    for round in 0..ROUNDS {
        let moment = LATEST.mul_f64(random.random());
        let victim = if round % 2 == 0 { Victim::Outside } else { Victim::Inside };
        println!("round {round}: {victim:?} is killed after {moment:?}");
        kill_at(&copy, folder.path(), moment, victim);
    }
}

fn kill_at(program: &Path, folder: &Path, moment: Duration, victim: Victim) {
    let before = Inventory::take();
    let mut lab = Command::new(program)
        .args(["run", "tests/scenarios/mounted-for-a-minute.yaml", "--report"])
        .arg(folder.join("report"))
        .current_dir(repository())
        .env("TMPDIR", folder)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("the program starts");
    let started = Instant::now();
    let mut seen = Seen::default();
    wait_until("moment to kill", Duration::from_secs(30), || {
        seen.look(&lab);
        let ended = lab.try_wait().expect("a child of this test");
        assert!(ended.is_none(), "the run ended by itself: {ended:?}");
        if started.elapsed() >= moment { Ok(()) } else { Err("too early".to_owned()) }
    });
    let outside = Pid::from_raw(i32::try_from(lab.id()).expect("a process id"));
    let target = match victim {
        Victim::Outside => outside,
        Victim::Inside => seen.first_inside().unwrap_or(outside),
    };
    kill(target, Signal::SIGKILL).expect("the victim is there");
    wait_until("end of the run after a kill", GONE_LIMIT, || {
        seen.look(&lab);
        lab.try_wait().expect("a child of this test").map(drop).ok_or_else(|| "it is running".to_owned())
    });
    wait_until("lab clean-up deadline", GONE_LIMIT, || {
        let mut left = seen.left(program);
        left.extend(Inventory::take().added_since(&before));
        if left.is_empty() { Ok(()) } else { Err(left.join("\n")) }
    });
}

/// The search itself finds a process that outlives its parent.
#[test]
fn a_process_left_behind_is_found() {
    let mut lab = Command::new("bash").args(["-c", "sleep 60 & wait"]).spawn().expect("bash");
    let mut seen = Seen::default();
    let sleeper = wait_until("start of the example's child", GONE_LIMIT, || {
        seen.look(&lab);
        let sleeper = seen.0.iter().find(|(_, process)| process.command.starts_with("sleep"));
        sleeper.map(|(id, _)| *id).ok_or_else(|| "no child yet".to_owned())
    });
    lab.kill().expect("a child of this test");
    lab.wait().expect("a child of this test");
    assert_eq!(seen.left(Path::new("")), [format!("process {} sleep 60 ", sleeper.id)]);
    kill(Pid::from_raw(sleeper.id), Signal::SIGKILL).expect("the sleeper");
    wait_until("end of the example's child", GONE_LIMIT, || {
        let left = seen.left(Path::new(""));
        if left.is_empty() { Ok(()) } else { Err(left.join("\n")) }
    });
}

/// How long the scenarios about killed components may take.
const SCENARIOS_LIMIT: Duration = Duration::from_mins(5);

#[test]
fn components_that_are_killed_lose_nothing() {
    let report = tempfile::tempdir().expect("a directory");
    let mut command =
        mountlab(&["run", "--output", "json", "scenarios/failures/components-killed.yaml", "--report"]);
    let outcome = run(command.arg(report.path()), SCENARIOS_LIMIT);
    assert_eq!(outcome.status, Some(0), "{outcome}");
}
