//! Watches that collect events until somebody asks for them.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::task::JoinHandle;

use super::messages::FilesystemEvent;
use super::watch::Watch;
use crate::envd::connect::{Code, RpcError};

/// How many events are kept for a client that doesn't ask.
const MOST: usize = 100_000;

/// Watchers by their id.
#[derive(Debug, Default)]
pub(crate) struct Watchers {
    watchers: Mutex<BTreeMap<String, Watcher>>,
}

#[derive(Debug)]
struct Watcher {
    collected: Arc<Mutex<Collected>>,
    task: JoinHandle<()>,
}

impl Drop for Watcher {
    fn drop(&mut self) {
        self.task.abort();
    }
}

#[derive(Debug, Default)]
struct Collected {
    events: Vec<FilesystemEvent>,
    problem: Option<RpcError>,
}

fn locked<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Watchers {
    /// Collects the events of `watch` under a new id.
    pub(super) fn add(&self, watch: Watch) -> String {
        let collected = Arc::new(Mutex::new(Collected::default()));
        let task = tokio::spawn(collect(watch, collected.clone()));
        let id = format!("w{}", uuid::Uuid::new_v4().simple());
        locked(&self.watchers).insert(id.clone(), Watcher { collected, task });
        id
    }

    /// The events since the last time.
    pub(super) fn drain(&self, id: &str) -> Result<Vec<FilesystemEvent>, RpcError> {
        let watchers = locked(&self.watchers);
        let watcher = watchers.get(id).ok_or_else(|| unknown(id))?;
        let mut collected = locked(&watcher.collected);
        match collected.problem.clone() {
            Some(problem) if collected.events.is_empty() => Err(problem),
            _ => Ok(std::mem::take(&mut collected.events)),
        }
    }

    /// Ends a watcher.
    pub(super) fn remove(&self, id: &str) -> Result<(), RpcError> {
        locked(&self.watchers).remove(id).map(drop).ok_or_else(|| unknown(id))
    }
}

fn unknown(id: &str) -> RpcError {
    RpcError::new(Code::NotFound, format!("there is no watcher {id:?}"))
}

async fn collect(mut watch: Watch, collected: Arc<Mutex<Collected>>) {
    loop {
        let next = watch.next().await;
        let mut collected = locked(&collected);
        match next {
            Ok(events) if collected.events.len() + events.len() <= MOST => collected.events.extend(events),
            Ok(_) => {
                let text = format!("more than {MOST} events were not asked for: the watcher has ended");
                collected.problem = Some(RpcError::new(Code::ResourceExhausted, text));
                return;
            }
            Err(problem) => {
                collected.problem = Some(problem);
                return;
            }
        }
    }
}
