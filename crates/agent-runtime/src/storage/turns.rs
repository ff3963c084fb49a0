//! One mount or unmount at a time in one place. A mount whose path is to be unmounted is waited for no longer.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{OwnedMutexGuard, watch};

/// Whose turn it is, by staging directory. There are as many as a sandbox has mount paths, so none is ever dropped.
#[derive(Debug, Default)]
pub(super) struct Turns {
    places: Mutex<BTreeMap<String, Arc<Place>>>,
}

#[derive(Debug, Default)]
struct Place {
    turn: Arc<tokio::sync::Mutex<()>>,
    /// How many unmounts wait for their turn.
    unmounts: watch::Sender<usize>,
}

/// A turn of a mount, which ends when this is dropped.
#[derive(Debug)]
pub(super) struct MountTurn {
    place: Arc<Place>,
    _turn: OwnedMutexGuard<()>,
}

impl MountTurn {
    /// Completes when an unmount waits for its turn: what is being mounted is not wanted any more.
    pub(super) async fn is_unwanted(&self) {
        // The sender is in `self`, so this never ends by an error.
        let _ = self.place.unmounts.subscribe().wait_for(|waiting| *waiting > 0).await;
    }
}

/// Counts an unmount among those that wait.
struct Waiting<'a>(&'a Place);

impl<'a> Waiting<'a> {
    fn new(place: &'a Place) -> Self {
        place.unmounts.send_modify(|waiting| *waiting += 1);
        Self(place)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.unmounts.send_modify(|waiting| *waiting -= 1);
    }
}

impl Turns {
    /// Waits until nobody else works at `place`, to mount there.
    pub(super) async fn take_for_mount(&self, place: &str) -> MountTurn {
        let place = self.place(place);
        let turn = place.turn.clone().lock_owned().await;
        MountTurn { place, _turn: turn }
    }

    /// Waits until nobody else works at `place`, to unmount there; whoever mounts is told to give up.
    pub(super) async fn take_for_unmount(&self, place: &str) -> OwnedMutexGuard<()> {
        let place = self.place(place);
        let _waiting = Waiting::new(&place);
        place.turn.clone().lock_owned().await
    }

    fn place(&self, place: &str) -> Arc<Place> {
        let mut places = self.places.lock().unwrap_or_else(PoisonError::into_inner);
        places.entry(place.to_owned()).or_default().clone()
    }
}
