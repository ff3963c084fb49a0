//! What of a journal is compared: a handful of streams of short lines.
//!
//! Left out is what is only seen by chance (the mount tables of containers that live for milliseconds: what the agent
//! and the drivers say about mounts is compared, and what the steps see), what only one backend can observe
//! (processes, requests at the storage servers), and whether a claim met a warm sandbox or had to make one.

use std::collections::{BTreeMap, HashSet};

use contract::names::events;
use journal::{Entry, source};
use serde_json::{Value, json};

use crate::{Normalisers, Run};

/// Where the agent says which volume it unmounted for a pause whose pod is kept asleep.
const KEPT_LINK: &str = "keptLinkOf";

/// One aspect of a run.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Stream {
    /// What each step of the scenario gave.
    Steps,
    /// Requests that change something at the E2B API, and their answers.
    Requests,
    /// What the manager did to sandboxes: claimed, initialised, mounted, cleaned.
    Claims,
    /// `NodePublishVolume` and `NodeUnpublishVolume`.
    CsiCalls,
    /// What the in-sandbox agent did with mounts.
    Agent,
    /// Phases that objects of the product went through, and the conditions that they came to. A sandbox that is still
    /// starting has none: how much of that a watch shows is chance.
    States,
    /// Events that the product's controller wrote.
    Events,
    /// Faults that were injected, struck and healed.
    Faults,
}

/// What of a stream's lines counts.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Measure {
    /// The lines in their order: each carries its place.
    Order,
    /// How often each line is there.
    Number,
    /// Which lines are there.
    Presence,
}

impl Stream {
    /// All of them.
    pub const ALL: [Self; 8] = [
        Self::Steps,
        Self::Requests,
        Self::Claims,
        Self::CsiCalls,
        Self::Agent,
        Self::States,
        Self::Events,
        Self::Faults,
    ];

    /// Its name, as documents and files of reasons spell it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Steps => "steps",
            Self::Requests => "requests",
            Self::Claims => "claims",
            Self::CsiCalls => "csi-calls",
            Self::Agent => "agent",
            Self::States => "states",
            Self::Events => "events",
            Self::Faults => "faults",
        }
    }

    /// What of it counts. A pool refills beside the scenario, and a watch may skip what is short: there only
    /// presence can be compared.
    pub fn measure(self) -> Measure {
        match self {
            Self::Steps => Measure::Order,
            Self::Requests | Self::Claims | Self::CsiCalls => Measure::Number,
            Self::Agent | Self::States | Self::Events | Self::Faults => Measure::Presence,
        }
    }
}

/// How often a line is there.
///
/// What happens behind the last step (sandboxes are taken down, and what was begun ends or doesn't) is in a journal
/// only as far as the lab lived to see it, so those lines may be there or not.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Times {
    /// Up to the outcome of the last step.
    pub certain: usize,
    /// In all.
    pub possible: usize,
}

/// A run's streams: each line and how often it is there.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Story {
    lines: BTreeMap<Stream, BTreeMap<String, Times>>,
}

/// A story that is being told.
#[derive(Default)]
struct Teller {
    story: Story,
    /// The conditions that each object has, by kind, namespace and name; and whether that was in the tail.
    conditions: BTreeMap<String, (bool, Vec<String>)>,
    in_tail: bool,
    /// Volumes that were unmounted for a pause whose pod is kept asleep, by their handles.
    unmounted_for_sleep: HashSet<String>,
}

impl Story {
    /// Reduces a scenario's journal.
    pub fn of(run: &Run) -> Self {
        let journal = &run.journal;
        let mut normalisers = Normalisers::learn(journal);
        normalisers.call(&run.folder, "<report>");
        let kept = journal.iter().filter_map(|entry| entry.body[KEPT_LINK].as_str().map(str::to_owned));
        let mut teller = Teller { unmounted_for_sleep: kept.collect(), ..Teller::default() };
        let is_outcome = |entry: &Entry| entry.source == source::SCENARIO && entry.kind == "outcome";
        let last = journal.iter().rposition(is_outcome).unwrap_or(0);
        for (index, entry) in journal.iter().enumerate() {
            teller.in_tail = index > last;
            teller.tell(entry, &normalisers);
        }
        for (in_tail, conditions) in std::mem::take(&mut teller.conditions).into_values() {
            teller.in_tail = in_tail;
            for line in conditions {
                teller.add(Stream::States, line);
            }
        }
        teller.story
    }

    /// The lines of one stream.
    pub fn lines(&self, stream: Stream) -> impl Iterator<Item = (&str, Times)> {
        self.lines.get(&stream).into_iter().flatten().map(|(line, times)| (line.as_str(), *times))
    }

    /// How often a line is there.
    pub fn times(&self, stream: Stream, line: &str) -> Times {
        self.lines.get(&stream).and_then(|lines| lines.get(line)).copied().unwrap_or_default()
    }
}

impl Teller {
    fn tell(&mut self, entry: &Entry, normalisers: &Normalisers) {
        let body = &entry.body;
        let subject = || normalisers.text(&entry.subject);
        match (entry.source.as_str(), entry.kind.as_str()) {
            (source::SCENARIO, "outcome") => {
                let outcome = normalisers.value(&outcome(&body["outcome"]));
                let held = if body["held"] == true { "held" } else { "did not hold" };
                let title = normalisers.text(body["title"].as_str().unwrap_or_default());
                self.add(Stream::Steps, format!("{}, {title}: {held}: {outcome}", entry.subject));
            }
            (source::E2B, kind) if kind.starts_with("GET ") => {}
            (source::E2B, kind) if kind.contains(' ') => {
                let answer = normalisers.value(&pick(body, &["status", "code", "message"]));
                self.add(Stream::Requests, format!("{kind} {}: {answer}", subject()));
            }
            // Cleaning up goes on behind the answer.
            (source::E2B, "cleaned") => {}
            (source::E2B, kind) => {
                let done = normalisers.value(&without(body, &["fresh"]));
                self.add(Stream::Claims, format!("{kind} {}: {done}", subject()));
            }
            (source::CSI, "NodeUnpublishVolume") if self.is_for_sleep(&body["volume_id"]) => {}
            (source::AGENT, "unmounted") if self.is_for_sleep(&body[KEPT_LINK]) => {}
            (source::CSI, kind @ ("NodePublishVolume" | "NodeUnpublishVolume")) => {
                let call = normalisers.value(&without(body, &["pod", "container"]));
                self.add(Stream::CsiCalls, format!("{kind}: {call}"));
            }
            (source::AGENT, kind @ ("initialized" | "mounted" | "unmounted" | "mount-failed")) => {
                let done = normalisers.value(&without(body, &["pod", "container", "staging"]));
                self.add(Stream::Agent, format!("{kind} {}: {done}", subject()));
            }
            (source::FAULT, kind) => self.add(Stream::Faults, format!("{kind}: {}", normalisers.value(body))),
            (source::KUBERNETES, _) => self.tell_object(body, normalisers),
            _ => {}
        }
    }

    fn is_for_sleep(&self, handle: &Value) -> bool {
        handle.as_str().is_some_and(|handle| self.unmounted_for_sleep.contains(handle))
    }

    fn tell_object(&mut self, object: &Value, normalisers: &Normalisers) {
        let kind = words(&object["kind"]);
        if kind == "Event" {
            let about = &object["involvedObject"];
            let ours = object["reportingComponent"].as_str().is_some_and(|name| name.starts_with("sandbox-"));
            if ours && object["reason"] != events::MEMORY_NOT_KEPT {
                let name = normalisers.text(about["name"].as_str().unwrap_or_default());
                let message = normalisers.text(object["message"].as_str().unwrap_or_default());
                let (about, reason) = (words(&about["kind"]), words(&object["reason"]));
                self.add(
                    Stream::Events,
                    format!("{} {about}/{name} {reason}: {message}", words(&object["type"])),
                );
            }
            return;
        }
        if !object["apiVersion"].as_str().is_some_and(|version| version.starts_with("agents.kruise.io/")) {
            return;
        }
        let name = normalisers.text(object["metadata"]["name"].as_str().unwrap_or_default());
        if let Some(phase) =
            object["status"]["phase"].as_str().filter(|phase| !["", "Pending"].contains(phase))
        {
            self.add(Stream::States, format!("{kind}/{name} phase {phase}"));
        }
        if object["metadata"]["deletionTimestamp"].is_string() {
            return;
        }
        let conditions = object["status"]["conditions"].as_array().into_iter().flatten();
        let conditions = conditions.filter_map(|condition| {
            let [what, status, reason] = ["type", "status", "reason"].map(|field| words(&condition[field]));
            let is_starting = (what, status, reason) == ("Ready", "False", "PodReady");
            let is_stock = (kind, what) == ("SandboxSet", "Available");
            (!is_starting && !is_stock).then(|| format!("{kind}/{name} {what}={status} {reason}"))
        });
        let metadata = &object["metadata"];
        let which = format!("{kind}/{}/{}", words(&metadata["namespace"]), words(&metadata["name"]));
        self.conditions.insert(which, (self.in_tail, conditions.collect()));
    }

    fn add(&mut self, stream: Stream, line: String) {
        let times = self.story.lines.entry(stream).or_default().entry(line).or_default();
        let count = |before: usize| if stream.measure() == Measure::Presence { 1 } else { before + 1 };
        times.possible = count(times.possible);
        if !self.in_tail {
            times.certain = count(times.certain);
        }
    }
}

/// A step's outcome without what only says how a mount is made.
fn outcome(outcome: &Value) -> Value {
    match outcome {
        Value::Array(mounts) if mounts.iter().any(|mount| mount["driver"].is_string()) => {
            let mut mounts: Vec<_> = mounts
                .iter()
                .map(|mount| pick(mount, &["path", "readOnly", "driver", "fileSystem"]))
                .collect();
            // In which order they were made is chance.
            mounts.sort_by_key(ToString::to_string);
            mounts.into()
        }
        // The entries that an expectation found are the journal itself, which is compared as such.
        Value::Object(fields) if fields.contains_key("entries") || fields.contains_key("entry") => {
            json!("found")
        }
        other => other.clone(),
    }
}

fn pick(value: &Value, names: &[&str]) -> Value {
    let fields = value.as_object().into_iter().flatten();
    fields.filter(|(name, _)| names.contains(&name.as_str())).map(|(n, v)| (n.clone(), v.clone())).collect()
}

fn without(value: &Value, names: &[&str]) -> Value {
    let fields = value.as_object().into_iter().flatten();
    fields.filter(|(name, _)| !names.contains(&name.as_str())).map(|(n, v)| (n.clone(), v.clone())).collect()
}

fn words(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}
