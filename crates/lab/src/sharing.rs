//! The parts that the labs of a backend may have in common, and who gets along with whom.

use std::collections::BTreeSet;
use std::fmt;

use crate::StorageServer;

/// A part that several labs may share.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum SharedPart {
    /// The server of the object store.
    ObjectStore,
    /// The NFS server.
    NetworkFileSystem,
    /// The controller. One that is killed delays others and does nothing else to them, so that nobody uses it in the sense of
    /// [`Sharing::uses`].
    Controller,
    /// The manager and the configuration.
    System,
}

impl SharedPart {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::ObjectStore, Self::NetworkFileSystem, Self::Controller, Self::System];
}

impl From<StorageServer> for SharedPart {
    fn from(server: StorageServer) -> Self {
        match server {
            StorageServer::ObjectStore => Self::ObjectStore,
            StorageServer::NetworkFileSystem => Self::NetworkFileSystem,
        }
    }
}

impl fmt::Display for SharedPart {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::ObjectStore => "the object store",
            Self::NetworkFileSystem => "the NFS server",
            Self::Controller => "the controller",
            Self::System => "the system",
        })
    }
}

/// What a scenario does with such parts.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Sharing {
    /// Has to find them as they are.
    pub uses: BTreeSet<SharedPart>,
    /// Takes away, holds still or changes.
    pub disturbs: BTreeSet<SharedPart>,
}

impl Sharing {
    /// That of somebody who may use everything and disturbs nothing.
    pub fn of_everything() -> Self {
        Self { uses: SharedPart::ALL.into(), disturbs: BTreeSet::new() }
    }

    /// The same, as far as it concerns `shared`.
    #[must_use]
    pub fn of(mut self, shared: &[SharedPart]) -> Self {
        self.uses.retain(|part| shared.contains(part));
        self.disturbs.retain(|part| shared.contains(part));
        self
    }

    /// Whether both may run at once: neither disturbs what the other uses or disturbs.
    pub fn goes_with(&self, other: &Self) -> bool {
        let leaves_alone = |one: &Self, other: &Self| {
            one.disturbs.is_disjoint(&other.uses) && one.disturbs.is_disjoint(&other.disturbs)
        };
        leaves_alone(self, other) && leaves_alone(other, self)
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::SharedPart::{NetworkFileSystem, ObjectStore, System};
    use super::*;

    fn sharing(uses: &[SharedPart], disturbs: &[SharedPart]) -> Sharing {
        Sharing { uses: uses.iter().copied().collect(), disturbs: disturbs.iter().copied().collect() }
    }

    #[rstest]
    #[case::users(sharing(&[ObjectStore, System], &[]), sharing(&[ObjectStore, System], &[]), true)]
    #[case::used_and_disturbed(sharing(&[ObjectStore, System], &[]), sharing(&[System], &[ObjectStore]), false)]
    #[case::twice_disturbed(sharing(&[System], &[ObjectStore]), sharing(&[System], &[ObjectStore]), false)]
    #[case::different_servers(sharing(&[System], &[ObjectStore]), sharing(&[System], &[NetworkFileSystem]), true)]
    #[case::other_server(sharing(&[ObjectStore, System], &[]), sharing(&[System], &[NetworkFileSystem]), true)]
    #[case::system(sharing(&[System], &[]), sharing(&[], &[System]), false)]
    fn who_gets_along(#[case] one: Sharing, #[case] other: Sharing, #[case] expected: bool) {
        assert_eq!(one.goes_with(&other), expected);
        assert_eq!(other.goes_with(&one), expected);
        assert!(one.of(&[]).goes_with(&other.of(&[])), "nothing is shared");
    }
}
