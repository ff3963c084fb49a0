//! A distribution of measurements and the limit it is held to.

use std::fmt;

use serde::Serialize;

/// What a figure counts.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Unit {
    /// Milliseconds; the limit is on the median.
    Milliseconds,
    /// Mebibytes; the limit is on the largest value.
    Mebibytes,
    /// One measurement over another of the same run; the limit is on the median.
    Ratio,
    /// Things done in a second.
    PerSecond,
    /// Things counted.
    Count,
}

/// What a figure is held to.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Limit {
    /// It may be this much, and less.
    AtMost(f64),
    /// It must be this much, or more.
    AtLeast(f64),
}

impl Limit {
    fn holds(self, measured: f64) -> bool {
        match self {
            Self::AtMost(limit) => measured <= limit,
            Self::AtLeast(limit) => measured >= limit,
        }
    }
}

impl fmt::Display for Limit {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AtMost(limit) => write!(formatter, "≤ {limit}"),
            Self::AtLeast(limit) => write!(formatter, "≥ {limit}"),
        }
    }
}

/// A named distribution.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Figure {
    /// What was measured.
    pub name: String,
    /// What the numbers count.
    pub unit: Unit,
    /// Smallest value.
    pub min: f64,
    /// Median.
    pub p50: f64,
    /// 90th percentile.
    pub p90: f64,
    /// Largest value.
    pub max: f64,
    /// What it is held to, if to anything.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<Limit>,
}

impl Figure {
    /// The distribution of `values`, of which there is at least one.
    pub(crate) fn new(name: impl Into<String>, unit: Unit, mut values: Vec<f64>) -> Self {
        values.sort_by(f64::total_cmp);
        let at = |share: f64| {
            #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss)]
            let rank = ((values.len().saturating_sub(1)) as f64 * share).round() as usize;
            values.get(rank).copied().unwrap_or(f64::NAN)
        };
        Self { name: name.into(), unit, min: at(0.0), p50: at(0.5), p90: at(0.9), max: at(1.0), limit: None }
    }

    /// A figure of one value.
    pub(crate) fn single(name: impl Into<String>, unit: Unit, value: f64) -> Self {
        Self::new(name, unit, vec![value])
    }

    /// The same, held to `limit` or less.
    #[must_use]
    pub(crate) fn at_most(mut self, limit: f64) -> Self {
        self.limit = Some(Limit::AtMost(limit));
        self
    }

    /// The same, held to `limit` or more.
    #[must_use]
    pub(crate) fn at_least(mut self, limit: f64) -> Self {
        self.limit = Some(Limit::AtLeast(limit));
        self
    }

    /// Whether the figure keeps its limit.
    pub fn holds(&self) -> bool {
        let measured = if self.unit == Unit::Mebibytes { self.max } else { self.p50 };
        self.limit.is_none_or(|limit| limit.holds(measured))
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[test]
    #[allow(clippy::float_cmp, reason = "percentiles are values that were measured, bit by bit")]
    fn percentiles_are_values_that_were_measured() {
        let figure = Figure::new("x", Unit::Milliseconds, vec![5.0, 1.0, 4.0, 2.0, 3.0]);
        assert_eq!([figure.min, figure.p50, figure.p90, figure.max], [1.0, 3.0, 5.0, 5.0]);
    }

    #[rstest]
    #[case(Unit::Milliseconds, 3.0, true)]
    #[case(Unit::Milliseconds, 2.9, false)]
    #[case(Unit::Mebibytes, 5.0, true)]
    #[case(Unit::Mebibytes, 4.9, false)]
    fn times_are_held_by_their_median_and_memory_by_its_peak(
        #[case] unit: Unit,
        #[case] limit: f64,
        #[case] holds: bool,
    ) {
        let figure = Figure::new("x", unit, vec![1.0, 3.0, 5.0]).at_most(limit);
        assert_eq!(figure.holds(), holds);
    }

    #[rstest]
    #[case(3.0, true)]
    #[case(3.1, false)]
    fn some_are_held_from_below(#[case] limit: f64, #[case] holds: bool) {
        let figure = Figure::new("x", Unit::Ratio, vec![1.0, 3.0, 5.0]).at_least(limit);
        assert_eq!(figure.holds(), holds);
    }
}
