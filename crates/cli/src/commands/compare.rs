//! `mountlab compare`: did two runs go the same way?

use std::io::Write as _;

use anyhow::Context as _;
use clock::SystemClock;
use parity::{Comparison, Reasons, Report};
use serde_json::{Value, json};

use crate::arguments::{Compare, Format};
use crate::exit::Status;

/// Compares two report folders; anything unexplained is a failure.
pub(crate) fn run(arguments: &Compare) -> anyhow::Result<Status> {
    let first = Report::read(&arguments.first)?;
    let second = Report::read(&arguments.second)?;
    let reasons = arguments.reasons.as_deref().map(Reasons::read).transpose()?.unwrap_or_default();
    let comparison = parity::compare(&first, &second, &reasons);
    if let Some(path) = &arguments.page {
        let now = SystemClock::shared().now().to_string();
        let date = now.split('T').next().unwrap_or_default();
        let page = parity::page(&comparison, env!("CARGO_PKG_VERSION"), date);
        std::fs::write(path, page).with_context(|| format!("can't write {}", path.display()))?;
    }
    let text = match arguments.output.format {
        Format::Text => parity::table(&comparison),
        Format::Json => serde_json::to_string_pretty(&document(&comparison))? + "\n",
    };
    write!(std::io::stdout(), "{text}")?;
    Ok(if comparison.holds() { Status::Held } else { Status::Failed })
}

/// The comparison for programs.
fn document(comparison: &Comparison) -> Value {
    let pairs = comparison.pairs.iter().map(|pair| {
        let differences = pair.differences.iter().map(|difference| {
            json!({
                "stream": difference.stream.name(),
                "side": difference.side.name(),
                "line": difference.line,
                "more": difference.more,
                "reason": difference.reason,
            })
        });
        json!({
            "name": pair.name,
            "holds": pair.holds(),
            "verdicts": pair.verdicts.both(),
            "seconds": pair.seconds,
            "sameLines": pair.shared,
            "differences": differences.collect::<Value>(),
        })
    });
    json!({
        "backends": comparison.backends,
        "holds": comparison.holds(),
        "scenarios": pairs.collect::<Value>(),
        "unusedReasons": comparison.unused,
    })
}
