//! What all requests share.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use clock::SharedClock;
use jiff::Timestamp;
use journal::Journal;

use crate::exec::PodCommands;
use crate::faults::Faults;
use crate::identity::Identity;
use crate::kinds::Registry;
use crate::logs::PodLogs;
use crate::pages::ServicePages;
use crate::state::State;

pub(crate) struct Server {
    state: Mutex<State>,
    clock: SharedClock,
    logs: RwLock<Option<Arc<dyn PodLogs>>>,
    commands: RwLock<Option<Arc<dyn PodCommands>>>,
    pages: RwLock<Option<Arc<dyn ServicePages>>>,
    faults: RwLock<Option<Arc<dyn Faults>>>,
    pub(crate) identity: Identity,
}

/// Objects may be Secrets, so the state is never printed.
impl fmt::Debug for Server {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Server").field("identity", &self.identity).finish_non_exhaustive()
    }
}

impl Server {
    pub(crate) fn new(clock: SharedClock, journal: Option<Journal>) -> Self {
        let identity = Identity::default();
        let state = State::new(journal, identity.root_certificate().map(str::to_owned), clock.now());
        Self {
            state: Mutex::new(state),
            clock,
            logs: RwLock::new(None),
            commands: RwLock::new(None),
            pages: RwLock::new(None),
            faults: RwLock::new(None),
            identity,
        }
    }

    /// The state, locked. Held only while a verb works, never across an await.
    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn registry(&self) -> Arc<Registry> {
        Arc::clone(&self.state().registry)
    }

    pub(crate) fn now(&self) -> Timestamp {
        self.clock.now()
    }

    pub(crate) fn logs(&self) -> Option<Arc<dyn PodLogs>> {
        self.logs.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(crate) fn commands(&self) -> Option<Arc<dyn PodCommands>> {
        self.commands.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(crate) fn set_commands(&self, commands: Arc<dyn PodCommands>) {
        *self.commands.write().unwrap_or_else(PoisonError::into_inner) = Some(commands);
    }

    pub(crate) fn pages(&self) -> Option<Arc<dyn ServicePages>> {
        self.pages.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(crate) fn set_pages(&self, pages: Arc<dyn ServicePages>) {
        *self.pages.write().unwrap_or_else(PoisonError::into_inner) = Some(pages);
    }

    pub(crate) fn faults(&self) -> Option<Arc<dyn Faults>> {
        self.faults.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(crate) fn set_faults(&self, faults: Option<Arc<dyn Faults>>) {
        *self.faults.write().unwrap_or_else(PoisonError::into_inner) = faults;
    }

    pub(crate) fn set_logs(&self, logs: Arc<dyn PodLogs>) {
        *self.logs.write().unwrap_or_else(PoisonError::into_inner) = Some(logs);
    }
}
