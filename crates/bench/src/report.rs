//! Figures as a table.

use std::fmt;

use serde::Serialize;

use crate::{Figure, Unit};

/// What a benchmark found.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// The benchmark's name.
    pub name: &'static str,
    /// How often each thing was measured.
    pub rounds: usize,
    /// What was measured.
    pub figures: Vec<Figure>,
}

impl Report {
    /// Whether every figure keeps its limit.
    pub fn holds(&self) -> bool {
        self.figures.iter().all(Figure::holds)
    }
}

impl fmt::Display for Report {
    /// A Markdown table, ready for `docs/performance.md`.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let width = self.figures.iter().map(|figure| figure.name.chars().count()).max().unwrap_or(0).max(6);
        writeln!(
            formatter,
            "| {:width$} |      min |      p50 |      p90 |      max | unit  |   limit |",
            "Figure"
        )?;
        writeln!(
            formatter,
            "|{:-<1$}|---------:|---------:|---------:|---------:|-------|--------:|",
            "",
            width + 2
        )?;
        for figure in &self.figures {
            let (unit, digits) = match figure.unit {
                Unit::Milliseconds => ("ms", 1),
                Unit::Mebibytes => ("MiB", 1),
                Unit::Ratio => ("ratio", 2),
                Unit::PerSecond => ("1/s", 1),
                Unit::Count => ("", 0),
            };
            let limit = match figure.limit {
                Some(limit) if figure.holds() => limit.to_string(),
                Some(limit) => format!("MISSED {limit}"),
                None => String::new(),
            };
            writeln!(
                formatter,
                "| {:width$} | {:8.digits$} | {:8.digits$} | {:8.digits$} | {:8.digits$} | {unit:5} | {limit:>7} |",
                figure.name, figure.min, figure.p50, figure.p90, figure.max
            )?;
        }
        Ok(())
    }
}
