//! `report.html`: one page that needs nothing else.

use jiff::Timestamp;
use journal::{Entry, source};
use minijinja::{Environment, context};
use serde::Serialize;
use serde_json::Value;

use super::read_journal;
use super::timeline::Timeline;
use crate::engine::{Failure, ScenarioResult, Summary};
use crate::matching::preview;

const PAGE: &str = include_str!("report.html.jinja");
/// Entries beyond this are left to `journal.jsonl`, so that the page stays light.
const MOST_ENTRIES: usize = 400;

#[derive(Serialize)]
struct Card<'a> {
    result: &'a ScenarioResult,
    word: &'static str,
    reason: Option<String>,
    failures: Vec<String>,
    timeline: Timeline,
    rows: Vec<Row>,
    left_out: usize,
    mounts: Vec<Row>,
    events: Vec<Row>,
    milliseconds: f64,
}

#[derive(Clone, Serialize)]
struct Row {
    at: String,
    source: String,
    kind: String,
    subject: String,
    body: String,
    warning: bool,
}

pub(super) fn render(summary: &Summary, now: Timestamp) -> Result<String, minijinja::Error> {
    let cards: Vec<Card<'_>> = summary.scenarios.iter().map(card).collect();
    let mut environment = Environment::new();
    environment.set_auto_escape_callback(|_| minijinja::AutoEscape::Html);
    environment.add_filter("ms", |seconds: f64| format!("{:.0}", seconds * 1000.0));
    environment.add_template("report", PAGE)?;
    let counts = ["held", "failed", "skipped", "stopped", "cannot run"].map(|word| {
        let number = cards.iter().filter(|card| card.word == word).count();
        context! { word, number }
    });
    environment.get_template("report")?.render(context! {
        backend => summary.backend.clone(),
        kept => summary.kept.to_string(),
        seed => summary.seed.to_string(),
        seconds => format!("{:.2}", summary.elapsed.as_secs_f64()),
        stopped => summary.stopped,
        made => now.strftime("%Y-%m-%d %H:%M:%S UTC").to_string(),
        counts => counts.to_vec(),
        cards => minijinja::Value::from(minijinja::value::Serde(&cards)),
    })
}

fn card(result: &ScenarioResult) -> Card<'_> {
    let entries = read_journal(&result.folder);
    let told: Vec<&Entry> = entries.iter().filter(|entry| is_told(entry)).collect();
    let first = entries.first().map(|entry| entry.time);
    let row = |entry: &&Entry| row(entry, first.unwrap_or(entry.time));
    let reason = match &result.verdict {
        crate::engine::Verdict::Skipped { reason } | crate::engine::Verdict::Machine { reason } => {
            Some(reason.clone())
        }
        _ => None,
    };
    Card {
        word: result.verdict.word(),
        reason,
        failures: result.failures.iter().map(Failure::render).collect(),
        timeline: Timeline::of(&entries),
        left_out: told.len().saturating_sub(MOST_ENTRIES),
        rows: told.iter().take(MOST_ENTRIES).map(row).collect(),
        mounts: entries
            .iter()
            .filter(|entry| entry.source == source::MOUNTS)
            .map(|entry| row(&entry))
            .collect(),
        events: entries
            .iter()
            .filter(|entry| entry.subject.starts_with("Event/"))
            .map(|entry| row(&entry))
            .collect(),
        milliseconds: result.elapsed.as_secs_f64() * 1000.0,
        result,
    }
}

/// Of the watch events only those that say something by themselves: the page is for reading.
fn is_told(entry: &Entry) -> bool {
    entry.source != source::KUBERNETES || entry.kind != "MODIFIED"
}

fn row(entry: &Entry, first: Timestamp) -> Row {
    let text = |pointer: &str| entry.body.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
    let is_event = entry.subject.starts_with("Event/");
    let (kind, subject, body) = if is_event {
        let about = format!("{}/{}", text("/involvedObject/kind"), text("/involvedObject/name"));
        (text("/reason").to_owned(), about, text("/message").to_owned())
    } else if entry.source == source::KUBERNETES {
        (entry.kind.clone(), entry.subject.clone(), String::new())
    } else {
        let body = if entry.body.is_null() { String::new() } else { preview(Some(&entry.body)) };
        (entry.kind.clone(), entry.subject.clone(), body)
    };
    Row {
        at: format!("{:.3}", entry.time.duration_since(first).as_secs_f64()),
        source: if is_event { "event".to_owned() } else { entry.source.clone() },
        kind,
        subject,
        body,
        warning: text("/type") == "Warning" || (entry.kind == "outcome" && entry.body["held"] == false),
    }
}
