//! Which ranges of a file are local: a set of byte ranges that never touch or overlap.

use std::collections::BTreeMap;
use std::ops::Range;

/// A set of byte ranges.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(super) struct Extents {
    /// Start to end, disjoint and not adjacent.
    ranges: BTreeMap<u64, u64>,
}

impl Extents {
    /// Adds `range`.
    pub(super) fn insert(&mut self, range: Range<u64>) {
        if range.is_empty() {
            return;
        }
        let (mut start, mut end) = (range.start, range.end);
        while let Some((&other, &other_end)) = self.ranges.range(..=end).next_back() {
            if other_end < start {
                break;
            }
            start = start.min(other);
            end = end.max(other_end);
            self.ranges.remove(&other);
        }
        self.ranges.insert(start, end);
    }

    /// Takes everything from `end` on out of the set.
    pub(super) fn truncate(&mut self, end: u64) {
        self.ranges.split_off(&end);
        if let Some(mut last) = self.ranges.last_entry() {
            let clipped = (*last.get()).min(end);
            last.insert(clipped);
        }
    }

    /// `range` cut into pieces that are wholly in the set (`true`) or wholly outside (`false`), in order.
    pub(super) fn pieces(&self, range: Range<u64>) -> Vec<(Range<u64>, bool)> {
        let mut pieces = Vec::new();
        let mut at = range.start;
        let before = self.ranges.range(..=range.start).next_back();
        let within =
            self.ranges.range(range.start.saturating_add(1)..).take_while(|(start, _)| **start < range.end);
        for (&start, &end) in before.into_iter().chain(within) {
            let (start, end) = (start.max(at), end.min(range.end));
            if start >= end {
                continue;
            }
            if at < start {
                pieces.push((at..start, false));
            }
            pieces.push((start..end, true));
            at = end;
        }
        if at < range.end {
            pieces.push((at..range.end, false));
        }
        pieces
    }

    /// Whether any byte of `range` is in the set.
    pub(super) fn overlaps(&self, range: Range<u64>) -> bool {
        self.pieces(range).iter().any(|(_, inside)| *inside)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[derive(Clone, Debug)]
    enum Step {
        Insert(u64, u64),
        Truncate(u64),
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            4 => (0..200u64, 0..60u64).prop_map(|(start, length)| Step::Insert(start, length)),
            1 => (0..220u64).prop_map(Step::Truncate),
        ]
    }

    proptest! {
        #[test]
        fn a_set_of_ranges_is_a_set_of_bytes(steps in prop::collection::vec(step(), 0..40), from in 0..250u64, length in 0..100u64) {
            let mut extents = Extents::default();
            let mut bytes = std::collections::BTreeSet::new();
            for step in steps {
                match step {
                    Step::Insert(start, length) => {
                        extents.insert(start..start + length);
                        bytes.extend(start..start + length);
                    }
                    Step::Truncate(end) => {
                        extents.truncate(end);
                        bytes.retain(|byte| *byte < end);
                    }
                }
            }
            let pieces = extents.pieces(from..from + length);
            let mut at = from;
            for (range, inside) in &pieces {
                prop_assert_eq!(range.start, at);
                prop_assert!(range.start < range.end);
                for byte in range.clone() {
                    prop_assert_eq!(bytes.contains(&byte), *inside);
                }
                at = range.end;
            }
            prop_assert_eq!(at, from + length);
            prop_assert!(pieces.windows(2).all(|pair| pair[0].1 != pair[1].1));
            prop_assert_eq!(extents.overlaps(from..from + length), (from..from + length).any(|byte| bytes.contains(&byte)));
        }
    }
}
