//! The processes that envd has started: the running ones, and for a while those that have ended.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::messages::{ProcessInfo, Selector};
use super::running::Running;
use crate::envd::connect::{Code, RpcError};

/// How long the end of a process is kept for a late `Connect`.
const KEPT: Duration = Duration::from_secs(30);

/// Processes by number.
#[derive(Clone, Debug, Default)]
pub(crate) struct Processes {
    state: Arc<Mutex<BTreeMap<u32, Known>>>,
}

#[derive(Debug)]
struct Known {
    process: Arc<Running>,
    ended: bool,
}

impl Processes {
    fn state(&self) -> MutexGuard<'_, BTreeMap<u32, Known>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a running process.
    pub(crate) fn add(&self, process: Arc<Running>) {
        self.state().insert(process.info.pid, Known { process, ended: false });
    }

    /// Notes that `process` has ended and forgets it after [`KEPT`], unless its number is in use again by then.
    pub(crate) fn end(&self, process: &Arc<Running>) {
        let pid = process.info.pid;
        if let Some(known) = self.state().get_mut(&pid).filter(|known| Arc::ptr_eq(&known.process, process)) {
            known.ended = true;
        }
        let (processes, process) = (self.clone(), process.clone());
        tokio::spawn(async move {
            tokio::time::sleep(KEPT).await;
            let mut state = processes.state();
            if state.get(&pid).is_some_and(|known| Arc::ptr_eq(&known.process, &process)) {
                state.remove(&pid);
            }
        });
    }

    /// The running processes.
    pub(crate) fn list(&self) -> Vec<ProcessInfo> {
        self.state().values().filter(|known| !known.ended).map(|known| known.process.info.clone()).collect()
    }

    /// The process meant by `selector`, as long as it runs.
    pub(crate) fn running(&self, selector: &Selector) -> Result<Arc<Running>, RpcError> {
        self.find(selector, |known| !known.ended)
    }

    /// The process meant by `selector`, also when it has ended a short while ago.
    pub(crate) fn known(&self, selector: &Selector) -> Result<Arc<Running>, RpcError> {
        self.find(selector, |_| true)
    }

    fn find(&self, selector: &Selector, wanted: impl Fn(&Known) -> bool) -> Result<Arc<Running>, RpcError> {
        let state = self.state();
        let (found, name) = match (selector.pid, selector.tag.as_deref()) {
            (Some(pid), _) => (state.get(&pid), format!("number {pid}")),
            (None, Some(tag)) => {
                let mut tagged =
                    state.values().filter(|known| known.process.info.tag.as_deref() == Some(tag));
                (tagged.find(|known| wanted(known)), format!("tag {tag:?}"))
            }
            (None, None) => {
                return Err(RpcError::new(
                    Code::Unimplemented,
                    "the process selector is empty: name a pid or a tag",
                ));
            }
        };
        let found = found.filter(|known| wanted(known)).map(|known| known.process.clone());
        found.ok_or_else(|| RpcError::new(Code::NotFound, format!("there is no process with {name}")))
    }
}
