//! Counts by set, which go with their set.

use std::collections::BTreeMap;

use crate::queue::ObjectName;

/// What is counted of each set.
#[derive(Clone, Debug, Default)]
pub(super) struct SetCounts {
    sets: BTreeMap<ObjectName, Counts>,
}

/// The counts of one set, by word of label `result` where there is one.
#[derive(Clone, Debug, Default)]
pub(super) struct Counts {
    pub(super) created: u64,
    pub(super) claimed: u64,
    pub(super) claims: BTreeMap<&'static str, u64>,
    pub(super) expired: u64,
}

impl SetCounts {
    pub(super) fn of(&mut self, set: ObjectName) -> &mut Counts {
        self.sets.entry(set).or_default()
    }

    /// The counts of claims of a namespace for sets that aren't there: they have no name, so that nobody makes as many
    /// series as there are words.
    pub(super) fn of_no_set(&mut self, namespace: String) -> &mut Counts {
        self.of(ObjectName { namespace, name: String::new() })
    }

    /// Forgets a set.
    pub(super) fn forget(&mut self, set: &ObjectName) {
        self.sets.remove(set);
    }

    /// Forgets the sets that aren't there: something was counted of them after their end.
    pub(super) fn keep(&mut self, is_there: impl Fn(&ObjectName) -> bool) {
        self.sets.retain(|name, _| name.name.is_empty() || is_there(name));
    }

    pub(super) fn all(&self) -> impl Iterator<Item = (&ObjectName, &Counts)> {
        self.sets.iter()
    }
}
