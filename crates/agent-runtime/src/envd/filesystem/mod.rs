//! The service `filesystem.Filesystem` (`e2b-api.md` §12).

/// Watches that are asked for events.
#[derive(Debug, Default)]
pub(crate) struct Watchers {}
