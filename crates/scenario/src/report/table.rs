//! The table of verdicts and the failures, for people.

use std::fmt::Write as _;

use crate::engine::{Failure, ScenarioResult, Summary, Verdict};

/// How text may look.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Style {
    /// Without escape sequences.
    #[default]
    Plain,
    /// With colours, for a terminal.
    Colour,
}

impl Style {
    fn paint(self, verdict: &Verdict, text: &str) -> String {
        let code = match verdict {
            Verdict::Held => "32",
            Verdict::Failed => "31",
            Verdict::Skipped { .. } => "33",
            Verdict::Stopped | Verdict::Machine { .. } => "35",
        };
        match self {
            Self::Plain => text.to_owned(),
            Self::Colour => format!("\u{1b}[{code}m{text}\u{1b}[0m"),
        }
    }
}

/// One line a scenario, and one that sums up.
pub fn render_table(summary: &Summary, style: Style) -> String {
    let widest = summary.scenarios.iter().map(|result| result.name.chars().count()).max().unwrap_or(0).max(8);
    let mut text = format!("{:<10}  {:<widest$}  {:>8}  note\n", "verdict", "scenario", "time");
    for result in &summary.scenarios {
        let verdict = style.paint(&result.verdict, &format!("{:<10}", result.verdict.word()));
        let time = match result.verdict {
            Verdict::Skipped { .. } => "–".to_owned(),
            _ => format!("{:.2} s", result.elapsed.as_secs_f64()),
        };
        let line = format!("{verdict}  {:<widest$}  {time:>8}  {}", result.name, note(result));
        let _ = writeln!(text, "{}", line.trim_end());
    }
    let _ = writeln!(text, "{}", sum(summary));
    text
}

fn note(result: &ScenarioResult) -> String {
    match (&result.verdict, result.failures.first()) {
        (Verdict::Skipped { reason } | Verdict::Machine { reason }, _) => reason.clone(),
        (_, Some(failure)) => failure.part.clone(),
        _ => String::new(),
    }
}

fn sum(summary: &Summary) -> String {
    let mut counts: Vec<(&str, usize)> = Vec::new();
    for result in &summary.scenarios {
        let word = result.verdict.word();
        match counts.iter_mut().find(|(known, _)| *known == word) {
            Some((_, count)) => *count += 1,
            None => counts.push((word, 1)),
        }
    }
    let counts: Vec<String> = counts.into_iter().map(|(word, count)| format!("{count} {word}")).collect();
    let stopped = if summary.stopped { ", stopped before the end" } else { "" };
    format!(
        "{} on {} in {:.2} s, seed {}{stopped}\na paused sandbox keeps {} there",
        if counts.is_empty() { "nothing to run".to_owned() } else { counts.join(", ") },
        summary.backend,
        summary.elapsed.as_secs_f64(),
        summary.seed,
        summary.kept,
    )
}

/// What the machine lacks, and every failure, scenario by scenario; empty when there is none.
pub fn render_failures(summary: &Summary, style: Style) -> String {
    let mut text = String::new();
    let mut told = "";
    for result in &summary.scenarios {
        if let Verdict::Machine { reason } = &result.verdict
            && reason != told
        {
            let _ = writeln!(text, "\n{}: {reason}", style.paint(&result.verdict, "cannot run"));
            told = reason;
        }
    }
    for result in summary.scenarios.iter().filter(|result| !result.failures.is_empty()) {
        let head = style.paint(&result.verdict, &result.name);
        for failure in &result.failures {
            let _ = writeln!(text, "\n{head}: {}", Failure::render(failure).trim_end());
        }
        let folder = result.folder.join("journal.jsonl");
        let _ = writeln!(text, "  journal: {}", folder.display());
        let _ = writeln!(
            text,
            "  again: mountlab run {} --filter {} --seed {}",
            result.file.display(),
            result.name,
            summary.seed
        );
    }
    text
}
