//! Controller, manager, and both at once are killed at every kind of event of a create, a pause, a resume, an in-place upgrade
//! and a recycling of a sandbox with an OSS volume (`storage.md` §7.4).
//!
//! ```text
//! undisturbed run ─► journal ─► distinct events, in order ─► one round for each: the same again, and a kill when that event is heard of
//! round: pool full ─► sandbox as the operation needs it ─► operation, kill ─► asked for again if it wasn't answered ─► end state, clean
//! ```
//! The events come from the first run and are no list of this file's. A kill follows its event by the milliseconds that the journal
//! takes from the lab to this process, so one event stands for a moment and not for an instant. Not every event comes in every run; who
//! would have died at one that doesn't come is killed once everything is quiet, and the table says so. Which component dies
//! where turns with each event; `MOUNTLAB_EVERY_KILL=1` kills each of the three at each event, which takes three times as long.

#![allow(clippy::expect_used, clippy::panic, clippy::print_stdout, reason = "helpers of tests fail the test")]

#[path = "restarts/world.rs"]
mod world;

use std::fmt::Write as _;

use journal::{Entry, source};
use lab::{Component, Fault, KillFault};
use serde_json::Value;

use world::{Answer, World};

/// What is interrupted.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Operation {
    Create,
    Pause,
    Resume,
    Upgrade,
    /// The end of a sandbox that goes back to its pool.
    Recycle,
}

/// Who dies.
#[derive(Clone, Copy, Debug)]
enum Victim {
    Controller,
    Manager,
    Both,
}

const VICTIMS: [Victim; 3] = [Victim::Controller, Victim::Manager, Victim::Both];

impl Victim {
    fn components(self) -> &'static [Component] {
        match self {
            Self::Controller => &[Component::Controller],
            Self::Manager => &[Component::Manager],
            Self::Both => &[Component::Controller, Component::Manager],
        }
    }
}

/// One line of the table.
struct Round {
    event: String,
    victim: Victim,
    was_heard: bool,
    answer: String,
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_is_killed_at_any_event_the_end_is_the_same() {
    let all = tokio::join!(
        walk(Operation::Create),
        walk(Operation::Pause),
        walk(Operation::Resume),
        walk(Operation::Upgrade),
        walk(Operation::Recycle),
    );
    let mut table = String::new();
    for (operation, rounds) in [
        (Operation::Create, all.0),
        (Operation::Pause, all.1),
        (Operation::Resume, all.2),
        (Operation::Upgrade, all.3),
        (Operation::Recycle, all.4),
    ] {
        for Round { event, victim, was_heard, answer } in &rounds {
            let note = if *was_heard { "" } else { " (the event did not come: killed afterwards)" };
            writeln!(table, "{operation:?} | {event} | {victim:?} | {answer}{note}").expect("text");
        }
        let heard = rounds.iter().filter(|round| round.was_heard).count();
        assert!(heard * 2 > rounds.len(), "most events of a {operation:?} came only once:\n{table}");
    }
    println!("operation | event | killed | outcome\n{table}");
}

/// Every round of one operation, on one lab.
async fn walk(operation: Operation) -> Vec<Round> {
    let name = format!("{operation:?}").to_lowercase();
    let mut world = World::up(&name, operation == Operation::Recycle).await;
    let sandbox = prepare(&mut world, operation).await;
    let begin = world.journal().len();
    let answer = run(&world, operation, sandbox.as_deref()).await;
    assert!(answer.is_done(), "undisturbed {operation:?}: {answer:?}");
    world.settle().await;
    let mut events: Vec<String> = Vec::new();
    for event in world.journal().entries().iter().skip(begin).filter_map(|entry| label(entry.as_ref())) {
        if !events.contains(&event) {
            events.push(event);
        }
    }
    assert!(events.len() > 5, "a {operation:?} leaves a trail: {events:?}");
    finish(&mut world, operation, sandbox, answer).await;
    let every = std::env::var_os("MOUNTLAB_EVERY_KILL").is_some();
    let mut rounds = Vec::new();
    for (number, event) in events.into_iter().enumerate() {
        let victims = if every { &VICTIMS[..] } else { &VICTIMS[number % 3..=number % 3] };
        for victim in victims {
            rounds.push(round(&mut world, operation, &event, *victim).await);
        }
    }
    world.hold_pool(false).await;
    world.until_clean().await;
    world.down().await;
    rounds
}

async fn round(world: &mut World, operation: Operation, event: &str, victim: Victim) -> Round {
    let sandbox = prepare(world, operation).await;
    let (answer, was_heard) = interrupt(world, operation, sandbox.as_deref(), event, victim).await;
    let told = answer.to_string();
    world.note(&format!("{operation:?} with {victim:?} killed at {event:?}: {told}"));
    finish(world, operation, sandbox, answer).await;
    Round { event: event.to_owned(), victim, was_heard, answer: told }
}

/// Does it, and kills at the event; whether that came.
async fn interrupt(
    world: &World,
    operation: Operation,
    sandbox: Option<&str>,
    event: &str,
    victim: Victim,
) -> (Answer, bool) {
    let mut journal = world.journal().follow(world.journal().len() as u64);
    let heard = async { while label(journal.next().await.as_ref()).as_deref() != Some(event) {} };
    let mut settled = std::pin::pin!(async {
        let answer = run(world, operation, sandbox).await;
        world.settle().await;
        answer
    });
    let early = tokio::select! {
        biased;
        () = heard => None,
        answer = &mut settled => Some(answer),
    };
    let components = victim.components().iter();
    let kills = components.map(|component| world.inject(Fault::Kill(KillFault::Component(*component))));
    let kills = futures::future::join_all(kills);
    match early {
        Some(answer) => {
            kills.await;
            (answer, false)
        }
        None => (tokio::join!(settled, kills).0, true),
    }
}

/// The sandbox that the operation is done to.
async fn prepare(world: &mut World, operation: Operation) -> Option<String> {
    world.hold_pool(false).await;
    world.until_clean().await;
    world.hold_pool(true).await;
    if operation == Operation::Create {
        return None;
    }
    let id = world.create().await.expect_done("create");
    world.save(&id).await;
    if operation == Operation::Resume {
        world.pause(&id).await.expect_done("pause");
    }
    world.settle().await;
    Some(id)
}

async fn run(world: &World, operation: Operation, sandbox: Option<&str>) -> Answer {
    let sandbox = sandbox.unwrap_or_default();
    match operation {
        Operation::Create => world.create().await,
        Operation::Pause => world.pause(sandbox).await,
        Operation::Resume => world.resume(sandbox).await,
        Operation::Upgrade => world.upgrade(sandbox).await,
        Operation::Recycle => world.recycle(sandbox).await,
    }
}

/// The state that it always ends in, whatever was answered; then everything is taken away again.
async fn finish(world: &mut World, operation: Operation, sandbox: Option<String>, answer: Answer) {
    let id = match (operation, sandbox) {
        (Operation::Create, _) => {
            let answer =
                if answer.is_done() { answer } else { world.insist(async |it| it.create().await).await };
            let id = answer.expect_done("create, again");
            world.expect_new(&id);
            world.save(&id).await;
            id
        }
        (_, Some(id)) => {
            if !answer.is_done() {
                world.insist(async |it| run(it, operation, Some(&id)).await).await;
            }
            if operation == Operation::Recycle {
                return world.expect_recycled(&id).await;
            }
            if operation == Operation::Pause {
                world.until_paused(&id).await;
            } else {
                world.expect_saved(&id).await;
            }
            id
        }
        (_, None) => unreachable!("every other operation has a sandbox"),
    };
    world.end(&id).await;
}

/// What kind of event an entry is; nothing for what isn't of the system.
fn label(entry: &Entry) -> Option<String> {
    let Entry { source, kind, subject, body, .. } = entry;
    let class = subject.split('/').next().unwrap_or_default();
    let what = match source.as_str() {
        source::FAULT | source::SCENARIO | source::LAB => return None,
        source::KUBERNETES => match class {
            "Sandbox" => sandbox_state(body),
            "Pod" => pod_state(body),
            "SandboxSet" => body["status"]["availableReplicas"].to_string(),
            _ => return None,
        },
        source::PROCESS if class == "Component" => return None,
        source::PROCESS | source::MOUNTS => {
            let container = subject.split('/').nth(3).unwrap_or_default();
            container.split(':').next().unwrap_or_default().to_owned()
        }
        _ => String::new(),
    };
    let class = if class.starts_with(char::is_uppercase) { class } else { "" };
    Some(format!("{source} {kind} {class} {what}").split_whitespace().collect::<Vec<_>>().join(" "))
}

fn condition(object: &Value, kind: &str) -> String {
    let conditions = object["status"]["conditions"].as_array();
    let found = conditions.into_iter().flatten().find(|condition| condition["type"] == kind);
    found.map_or_else(String::new, |found| {
        let text = |key: &str| found[key].as_str().unwrap_or_default();
        format!("{kind}={}/{}", text("status"), text("reason"))
    })
}

fn sandbox_state(object: &Value) -> String {
    let note = |key: &str| object["metadata"]["annotations"].get(key).is_some();
    let mut text = object["status"]["phase"].as_str().unwrap_or_default().to_owned();
    if note("agents.kruise.io/claim-unacknowledged-until") {
        text.push_str(" claimed");
    } else if note("agents.kruise.io/claim-timestamp") {
        text.push_str(" acknowledged");
    }
    if object["spec"]["paused"] == true {
        text.push_str(" paused");
    }
    if !object["metadata"]["deletionTimestamp"].is_null() {
        text.push_str(" deleted");
    }
    for kind in
        ["Ready", "RuntimeInitialized", "InplaceUpdate", "SandboxPaused", "SandboxResumed", "Recycling"]
    {
        text = format!("{text} {}", condition(object, kind));
    }
    text
}

fn pod_state(object: &Value) -> String {
    let deleted = if object["metadata"]["deletionTimestamp"].is_null() { "" } else { "deleted" };
    let phase = object["status"]["phase"].as_str().unwrap_or_default();
    format!("{phase} {deleted} {}", condition(object, "Ready"))
}
