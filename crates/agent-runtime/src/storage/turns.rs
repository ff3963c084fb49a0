//! One mount or unmount at a time in one place.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::OwnedMutexGuard;

/// Whose turn it is, by staging directory. There are as many as a sandbox has mount paths, so none is ever dropped.
#[derive(Debug, Default)]
pub(super) struct Turns {
    places: Mutex<BTreeMap<String, Arc<tokio::sync::Mutex<()>>>>,
}

impl Turns {
    /// Waits until nobody else works at `place`.
    pub(super) async fn take(&self, place: &str) -> OwnedMutexGuard<()> {
        let turn = {
            let mut places = self.places.lock().unwrap_or_else(PoisonError::into_inner);
            places.entry(place.to_owned()).or_default().clone()
        };
        turn.lock_owned().await
    }
}
