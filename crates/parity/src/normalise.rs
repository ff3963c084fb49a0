//! Taking out what differs from run to run by nature. Each rule has a name and a reason.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use contract::names::labels;
use journal::{Entry, source};
use regex::Regex;
use serde_json::Value;

/// A rule that takes something out before the comparison.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Normaliser {
    /// Names that a backend gave to what a scenario calls otherwise, and the report's folder.
    Renamed,
    /// The drawn end of a generated name.
    GeneratedNames,
    /// UUIDs, request and container identifiers, digests, hashes of templates.
    Identifiers,
    /// Points in time.
    Times,
    /// How long something took, process numbers and versions of objects.
    Measurements,
    /// IP addresses and ports.
    Addresses,
    /// Which node a sandbox is on, and how the node calls its container.
    Nodes,
    /// What sandboxes request of a node, and hashes of templates that it is part of.
    Requests,
    /// Whether a pool has all its sandboxes at the moment.
    Stock,
    /// The fields that an API server and a kubelet add to objects of Kubernetes' own kinds.
    ForeignFields,
    /// What is done to keep the pod of a paused sandbox asleep, and said of it.
    Sleep,
}

impl Normaliser {
    /// All of them, in the order in which they work.
    pub const ALL: [Self; 11] = [
        Self::Renamed,
        Self::GeneratedNames,
        Self::Identifiers,
        Self::Times,
        Self::Measurements,
        Self::Addresses,
        Self::Nodes,
        Self::Requests,
        Self::Stock,
        Self::ForeignFields,
        Self::Sleep,
    ];

    /// Its name, as documents spell it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Renamed => "renamed",
            Self::GeneratedNames => "generated-names",
            Self::Identifiers => "identifiers",
            Self::Times => "times",
            Self::Measurements => "measurements",
            Self::Addresses => "addresses",
            Self::Nodes => "nodes",
            Self::Requests => "requests",
            Self::Stock => "stock",
            Self::ForeignFields => "foreign-fields",
            Self::Sleep => "sleep",
        }
    }

    /// What it takes out, and what for.
    pub fn reason(self) -> &'static str {
        match self {
            Self::Renamed => {
                "on a shared cluster a scenario's namespaces and volumes get names of their own; they are read back"
            }
            Self::GeneratedNames => "the drawn end of a generated name becomes `*`",
            Self::Identifiers => {
                "UUIDs, request identifiers, container identifiers, digests and hashes become `<id>`"
            }
            Self::Times => "points in time become `<time>`",
            Self::Measurements => {
                "durations, process numbers and resource versions depend on the machine and are left out"
            }
            Self::Addresses => "IP addresses and ports become `<address>`",
            Self::Nodes => "the name of the node and its name for a container are left out",
            Self::Requests => {
                "on a small cluster sandboxes request less CPU and memory than the files say; requests and hashes of \
                 templates are left out, limits are compared"
            }
            Self::Stock => {
                "whether a pool is full at the end depends on how fast its sandboxes start: it is left out"
            }
            Self::ForeignFields => {
                "of an object of Kubernetes' own kinds only kind and name are compared: a real API server, scheduler \
                 and kubelet add fields"
            }
            Self::Sleep => {
                "where a node keeps the pod of a paused sandbox asleep its volumes are unmounted first, and an event says when that \
                 fails; elsewhere the pod goes: neither is compared, nor which of both condition SandboxPaused tells"
            }
        }
    }
}

/// The rules, with the names of one run.
#[derive(Clone, Debug, Default)]
pub struct Normalisers {
    /// What stands for a name, longest name first.
    names: Vec<(String, String)>,
}

/// A rule for text: what it looks for and what takes its place.
struct Rule {
    pattern: Regex,
    with: &'static str,
}

static RULES: LazyLock<Vec<Rule>> = LazyLock::new(|| {
    let rules = [
        (r"\b[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}\b", "<id>"),
        (r"\b(sha256:)?[0-9a-f]{16,64}\b", "<id>"),
        // A Checkpoint of an upgrade is called after its sandbox and the pod's UID.
        (r"-\*-[0-9a-f]{8}\b", "-*"),
        (r"\bof revision [0-9a-z]{6,12}\b", "of revision <id>"),
        (r"\bResource Version: +\d+", "Resource Version: <number>"),
        (r"\b\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(\.\d+)?(Z| ?[+-]\d\d:?\d\d( UTC)?)?", "<time>"),
        (r"\b(\d{1,3}\.){3}\d{1,3}(:\d{1,5})?\b", "<address>"),
        (r"\b(localhost|host\.docker\.internal):\d{1,5}\b", "<address>"),
        (r"\b\d+(\.\d+)? ?(ns|µs|us|ms|s)\b", "<duration>"),
        (
            r"\bthe pod is (kept asleep: its processes with their memory, and its files|gone, another one is made at the wake-up)",
            "the pod is <out of the way>",
        ),
        // Columns of a table of kubectl.
        ("<duration> {2,}", "<duration>  "),
    ];
    let compiled = rules
        .into_iter()
        .filter_map(|(pattern, with)| Regex::new(pattern).ok().map(|pattern| Rule { pattern, with }));
    compiled.collect()
});

/// Fields that hold a measurement, or a hash over what was drawn.
const MEASUREMENTS: &[&str] = &[
    "milliseconds",
    "seconds",
    "pid",
    "process",
    "resourceVersion",
    "generation",
    "observedGeneration",
    "managedFields",
    "uid",
    "requestId",
    "creationTimestamp",
    "hash",
    "pod-template-hash",
    "updateRevision",
];

/// Fields that tell what a sandbox requests, or a hash of a template with that in it.
const REQUESTS: &[&str] = &["requests", "agents.kruise.io/template-hash", "currentRevision"];

/// Fields that name a node, or one of its containers.
const NODES: &[&str] =
    &["nodeName", "agents.kruise.io/initialized-container", "agents.kruise.io/mounting-containers"];

/// Whether `name` is `start`, a dash and so many drawn letters and digits.
fn is_drawn(name: &str, start: &str, length: usize) -> bool {
    let end = name.strip_prefix(start).and_then(|end| end.strip_prefix('-'));
    end.is_some_and(|end| end.len() == length && end.bytes().all(|byte| byte.is_ascii_alphanumeric()))
}

impl Normalisers {
    /// The rules for a run with this journal: generated names and renamings are learned from it.
    pub fn learn(journal: &[Entry]) -> Self {
        let mut names = BTreeMap::new();
        for entry in journal {
            match entry.source.as_str() {
                source::KUBERNETES => {
                    let metadata = &entry.body["metadata"];
                    let given = metadata["name"].as_str().zip(metadata["generateName"].as_str());
                    if let Some((name, start)) = given
                        && entry.body["kind"] != "Event"
                    {
                        names.insert(name.to_owned(), format!("{start}*"));
                    }
                    // The controller draws the names of sandboxes that it makes for a SandboxClaim.
                    let pool = metadata["labels"][labels::SANDBOX_POOL].as_str();
                    if let Some((name, pool)) = metadata["name"].as_str().zip(pool)
                        && is_drawn(name, pool, 5)
                    {
                        names.insert(name.to_owned(), format!("{pool}-*"));
                    }
                }
                // The manager draws the names of sandboxes that it makes itself.
                source::E2B if entry.kind == "claimed" => {
                    let name = entry.subject.rsplit('/').next().unwrap_or_default();
                    let start = entry.body["pool"].as_str().filter(|pool| is_drawn(name, pool, 5));
                    names.extend(start.map(|pool| (name.to_owned(), format!("{pool}-*"))));
                }
                // A volume's handle on the node is its PersistentVolume's name with a drawn end.
                source::CSI => {
                    let handle =
                        entry.body["volume_id"].as_str().and_then(|id| Some((id, id.rsplit_once('-')?.0)));
                    let drawn = handle.filter(|(id, volume)| is_drawn(id, volume, 6));
                    names.extend(drawn.map(|(id, volume)| (id.to_owned(), format!("{volume}-*"))));
                }
                source::LAB if entry.kind == "renamed" => {
                    let pair = entry.body["to"].as_str().zip(entry.body["from"].as_str());
                    names.extend(pair.map(|(to, from)| (to.to_owned(), from.to_owned())));
                }
                _ => {}
            }
        }
        let mut names: Vec<_> = names.into_iter().collect();
        names.sort_by_key(|(name, _)| std::cmp::Reverse(name.len()));
        Self { names }
    }

    /// From now on `name` is called `with`.
    pub fn call(&mut self, name: &str, with: &str) {
        if !name.is_empty() {
            self.names.insert(0, (name.to_owned(), with.to_owned()));
        }
    }

    /// A text without what differs by nature.
    pub fn text(&self, text: &str) -> String {
        let mut text = text.to_owned();
        for (name, with) in &self.names {
            if text.contains(name.as_str()) {
                text = text.replace(name.as_str(), with);
            }
        }
        for rule in RULES.iter() {
            if let std::borrow::Cow::Owned(changed) = rule.pattern.replace_all(&text, rule.with) {
                text = changed;
            }
        }
        text
    }

    /// A value without what differs by nature.
    pub fn value(&self, value: &Value) -> Value {
        match value {
            Value::String(text) => self.text(text).into(),
            Value::Array(items) => items.iter().map(|item| self.value(item)).collect(),
            Value::Object(fields) if is_foreign(value) => {
                let kept =
                    ["apiVersion", "kind"].into_iter().filter_map(|name| Some((name, fields.get(name)?)));
                let mut kept: serde_json::Map<_, _> =
                    kept.map(|(name, value)| (name.to_owned(), value.clone())).collect();
                kept.insert("name".into(), self.value(&fields["metadata"]["name"]));
                kept.into()
            }
            Value::Object(fields) => {
                let left_out =
                    |name: &str| [MEASUREMENTS, NODES, REQUESTS].iter().any(|list| list.contains(&name));
                let kept = fields.iter().filter(|(name, _)| !left_out(name));
                kept.map(|(name, value)| (self.text(name), self.value(value)))
                    .collect::<serde_json::Map<_, _>>()
                    .into()
            }
            other => other.clone(),
        }
    }
}

/// Whether a value is an object of one of Kubernetes' own kinds.
fn is_foreign(value: &Value) -> bool {
    let is_object = value["kind"].is_string() && value["metadata"]["name"].is_string();
    is_object && value["apiVersion"].as_str().is_some_and(|version| !version.starts_with("agents.kruise.io/"))
}
