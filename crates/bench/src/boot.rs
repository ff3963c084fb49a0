//! From the start of the process to the verdict of a scenario, and where the time goes.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Instant;

use journal::{Entry, source};

use crate::error::{BenchError, io};
use crate::{Figure, Options, Unit};

/// What `oss-single-mount` may take from start to verdict (median).
const VERDICT_LIMIT: f64 = 1000.0;

/// One figure for the whole and one for each part that the journal names.
pub(crate) fn measure(options: &Options) -> Result<Vec<Figure>, BenchError> {
    let mut whole = Vec::new();
    let mut parts: BTreeMap<String, Vec<f64>> = BTreeMap::new();
    for round in 0..=options.rounds {
        let folder = tempfile::tempdir().map_err(io("make a folder for a report"))?;
        let milliseconds = once(options, folder.path())?;
        if round == 0 {
            continue; // the first one warms the page cache
        }
        whole.push(milliseconds);
        let mut named = parts_of(&read_journal(folder.path())?);
        named.push(("9 teardown".to_owned(), teardown(folder.path())?));
        for (part, milliseconds) in named {
            parts.entry(part).or_default().push(milliseconds);
        }
    }
    let mut figures = vec![Figure::new("start to verdict", Unit::Milliseconds, whole).at_most(VERDICT_LIMIT)];
    figures.extend(
        parts.into_iter().map(|(part, values)| Figure::new(format!("· {part}"), Unit::Milliseconds, values)),
    );
    Ok(figures)
}

fn once(options: &Options, report: &Path) -> Result<f64, BenchError> {
    let started = Instant::now();
    let output = Command::new(&options.program)
        .arg("run")
        .arg(&options.scenario)
        .arg("--report")
        .arg(report)
        .output()
        .map_err(io(format!("run {}", options.program.display())))?;
    let milliseconds = started.elapsed().as_secs_f64() * 1000.0;
    if output.status.success() {
        return Ok(milliseconds);
    }
    Err(BenchError::Scenario {
        scenario: options.scenario.clone(),
        status: output.status.to_string(),
        output: String::from_utf8_lossy(&output.stderr).into_owned(),
    })
}

/// The journal of the only scenario below `report`.
fn read_journal(report: &Path) -> Result<Vec<Entry>, BenchError> {
    let missing =
        || BenchError::Report { file: report.to_path_buf(), what: "journal.jsonl in a folder".to_owned() };
    let folders = fs::read_dir(report).map_err(io(format!("list {}", report.display())))?;
    let file = folders
        .filter_map(Result::ok)
        .map(|folder| folder.path().join("journal.jsonl"))
        .find(|file| file.is_file())
        .ok_or_else(missing)?;
    let text = fs::read_to_string(&file).map_err(io(format!("read {}", file.display())))?;
    text.lines()
        .map(|line| {
            serde_json::from_str(line).map_err(|error| BenchError::Report {
                file: file.clone(),
                what: format!("readable entry: {error}"),
            })
        })
        .collect()
}

/// The named parts, in order, each with its time in milliseconds.
///
/// ```text
/// start ─ namespaces ─► first phase ─ API server, node, … ─► up ─ first sandbox ─► Ready ─ claim, mount ─► … ─► down
/// ```
fn parts_of(journal: &[Entry]) -> Vec<(String, f64)> {
    let mut parts = Vec::new();
    let mut number = 0..;
    let mut name = |part: &str| format!("{} {part}", number.next().unwrap_or(0) + 1);
    let phase =
        |name: &str| journal.iter().find(|entry| entry.source == source::LAB && entry.body["phase"] == name);
    let between = |from: &Entry, to: &Entry| to.time.duration_since(from.time).as_secs_f64() * 1000.0;
    let start = phase("start");
    for (part, key) in [("API server", "API server"), ("node", "node"), ("object store", "object store")] {
        if let Some(milliseconds) = phase(key).and_then(|entry| entry.body["milliseconds"].as_f64()) {
            if part == "API server"
                && let (Some(start), Some(end)) = (start, phase(key))
            {
                parts.push((name("namespace"), between(start, end) - milliseconds));
            }
            parts.push((name(part), milliseconds));
        }
    }
    let ready = journal.iter().find(|entry| is_ready_sandbox(entry));
    if let (Some(up), Some(ready)) = (phase("up"), ready) {
        parts.push((name("first sandbox ready, from up"), between(up, ready)));
    }
    let milestone =
        |kind: &str| journal.iter().find(|entry| entry.source == source::E2B && entry.kind == kind);
    for (part, kind) in [("claim", "claimed"), ("handshake", "initialised"), ("mount", "mounted")] {
        if let Some(milliseconds) = milestone(kind).and_then(|entry| entry.body["milliseconds"].as_f64()) {
            parts.push((name(part), milliseconds));
        }
    }
    parts
}

/// What ending the sandboxes and taking the lab down took, from the report.
fn teardown(report: &Path) -> Result<f64, BenchError> {
    let file = report.join("report.json");
    let text = fs::read_to_string(&file).map_err(io(format!("read {}", file.display())))?;
    let missing = |what: &str| BenchError::Report { file: file.clone(), what: what.to_owned() };
    let summary: serde_json::Value =
        serde_json::from_str(&text).map_err(|error| missing(&format!("readable summary: {error}")))?;
    let parts = summary["scenarios"][0]["parts"].as_array().ok_or_else(|| missing("parts of a scenario"))?;
    let seconds: f64 = parts
        .iter()
        .filter(|part| part["name"] == "cleanup" || part["name"] == "down")
        .filter_map(|part| part["seconds"].as_f64())
        .sum();
    Ok(seconds * 1000.0)
}

fn is_ready_sandbox(entry: &Entry) -> bool {
    entry.source == source::KUBERNETES
        && entry.subject.starts_with("Sandbox/")
        && entry.body["status"]["conditions"].as_array().is_some_and(|conditions| {
            conditions.iter().any(|condition| condition["type"] == "Ready" && condition["status"] == "True")
        })
}
