//! A failure that ends the search: what was expected, what was, the nearest miss, the last entries that concern it.

use std::fmt::Write as _;
use std::sync::Arc;

use journal::{Entry, Journal, source};
use serde::Serialize;

use crate::matching::{CompiledPattern, Difference, preview};

/// Something that did not hold.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Failure {
    /// Where in the scenario: `step 3 of 6: run in sbx …`, `never[0]`, `cleanup`.
    pub part: String,
    /// File and line.
    pub place: String,
    /// What is wrong, in a sentence.
    pub message: String,
    /// What differs.
    pub differences: Vec<Difference>,
    /// The entry that came nearest, how it differs, and when it was.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub closest: Option<String>,
    /// The last journal entries that concern it.
    pub entries: Vec<String>,
}

impl Failure {
    pub(crate) fn new(part: impl Into<String>, place: impl Into<String>, message: impl Into<String>) -> Self {
        Self {
            part: part.into(),
            place: place.into(),
            message: message.into(),
            differences: Vec::new(),
            closest: None,
            entries: Vec::new(),
        }
    }

    /// The whole failure as text, one screen at most.
    pub fn render(&self) -> String {
        let mut text = format!("{}\n  at {}\n", self.part, self.place);
        let _ = writeln!(text, "  {}", self.message.replace('\n', "\n  "));
        for difference in &self.differences {
            if !difference.path.is_empty() {
                let _ = writeln!(text, "  {}", difference.path);
            }
            let _ = writeln!(text, "    expected: {}", difference.expected);
            let _ = writeln!(text, "    actual:   {}", difference.actual);
        }
        if let Some(closest) = &self.closest {
            let _ = writeln!(text, "  closest: {closest}");
        }
        if !self.entries.is_empty() {
            text.push_str("  last journal entries about it:\n");
            for entry in &self.entries {
                let _ = writeln!(text, "    {entry}");
            }
        }
        text
    }
}

const SHOWN: usize = 10;
const WIDEST: usize = 220;

/// One entry on one line: `+1.204 s csi NodePublishVolume /data {…}`.
pub(crate) fn line(entry: &Entry, first: &Entry) -> String {
    let offset = entry.time.duration_since(first.time).as_secs_f64();
    let body = if entry.body.is_null() { String::new() } else { short_body(entry) };
    let text = format!("+{offset:.3} s {} {} {} {body}", entry.source, entry.kind, entry.subject);
    cut(text.trim_end(), WIDEST)
}

/// The part of a body that tells most: a whole Kubernetes object says little on one line.
fn short_body(entry: &Entry) -> String {
    if entry.source == source::KUBERNETES {
        let pointers =
            ["/reason", "/message", "/status/phase", "/status/conditions", "/metadata/deletionTimestamp"];
        let told: Vec<String> = pointers
            .iter()
            .filter_map(|pointer| {
                entry.body.pointer(pointer).map(|value| format!("{}={}", &pointer[1..], preview(Some(value))))
            })
            .collect();
        return told.join(" ");
    }
    preview(Some(&entry.body))
}

fn cut(text: &str, width: usize) -> String {
    if text.chars().count() <= width {
        return text.to_owned();
    }
    format!("{}…", text.chars().take(width).collect::<String>())
}

/// The last entries whose subject or source has to do with any of `about`; with nothing to go by, those that tell
/// of trouble in general.
pub(crate) fn recent(journal: &Journal, about: &[String]) -> Vec<String> {
    let entries = journal.entries();
    let Some(first) = entries.first() else { return Vec::new() };
    let concerns = |entry: &&Arc<Entry>| {
        entry.source != source::SCENARIO
            && if about.is_empty() { tells_of_trouble(entry) } else { mentions(entry, about) }
    };
    let mut found: Vec<_> = entries.iter().rev().filter(concerns).take(SHOWN).collect();
    found.reverse();
    found.into_iter().map(|entry| line(entry, first)).collect()
}

fn mentions(entry: &Entry, about: &[String]) -> bool {
    // The agents in a sandbox name mount paths rather than the sandbox they are in.
    let from_inside = matches!(entry.source.as_str(), source::CSI | source::FAULT | source::MOUNTS);
    from_inside
        || about.iter().any(|name| {
            entry.subject.contains(name.as_str())
                || (entry.source != source::KUBERNETES && entry.body.to_string().contains(name.as_str()))
                || entry.body.pointer("/involvedObject/name").is_some_and(|there| there == name)
        })
}

fn tells_of_trouble(entry: &Entry) -> bool {
    match entry.source.as_str() {
        source::KUBERNETES => entry.body.get("type").is_some_and(|kind| kind == "Warning"),
        source::E2B | source::CSI | source::AGENT | source::FAULT | source::LAB => true,
        source::PROCESS => entry.kind == "exited",
        _ => false,
    }
}

/// The entry that misses `pattern` by least, in words.
pub(crate) fn closest(journal: &Journal, pattern: &CompiledPattern) -> Option<String> {
    let entries = journal.entries();
    let first = entries.first()?;
    let (entry, miss) = entries
        .iter()
        .filter(|entry| entry.source != source::SCENARIO)
        .filter_map(|entry| pattern.miss(entry).map(|miss| (entry, miss)))
        .min_by_key(|(entry, miss)| (miss.distance, std::cmp::Reverse(entry.sequence)))?;
    let mut text = line(entry, first);
    for difference in miss.differences.iter().take(4) {
        let _ = write!(
            text,
            "\n      {}: expected {}, it was {}",
            difference.path, difference.expected, difference.actual
        );
    }
    Some(text)
}
