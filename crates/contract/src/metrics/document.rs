//! The tables as a page of documentation.

use std::fmt::Write as _;

use super::{Family, controller, manager};

/// The whole text of `docs/metrics.md`.
pub fn document() -> String {
    let mut text = String::from(
        "# Metrics\n\n\
         Generated from `crates/contract/src/metrics/families.rs`; do not edit. The [guide](guide.md#metrics) says where they are read.\n\n\
         Gauges are of the objects of now: a series goes with its object. Counters and histograms begin at 0 with the component; `result` is \
         `success` or `failure`, and durations are of what succeeded. Histograms have 12 buckets from 20 ms on, that of recycling 13 from 100 ms on, each \
         twice the one before. What both components serve has their own part in each; Prometheus tells them apart by `job`.\n",
    );
    for (title, all) in [("Controller", controller::ALL), ("Manager", manager::ALL)] {
        // writing to a String cannot fail
        let _ =
            write!(text, "\n## {title}\n\n| Family | Type | Labels | What it means |\n|---|---|---|---|\n");
        for family in all {
            let Family { name, kind, meaning, .. } = family;
            let labels =
                family.labels.iter().map(|label| format!("`{label}`")).collect::<Vec<_>>().join(", ");
            let _ = writeln!(text, "| `{name}` | {} | {labels} | {meaning} |", kind.as_str());
        }
    }
    text
}
