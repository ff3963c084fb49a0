//! Unmounting everything in a pod whose sandbox is recycled, or that is to be kept asleep: the work runs beside the turns, which only start it and
//! look at how it went. It is idempotent, so a controller that starts anew does it again.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use contract::crd::Sandbox;
use runtime_client::Links;
use tokio::task::AbortHandle;

use super::recycle::Unmounting;
use crate::api::Context;
use crate::queue::{Key, ObjectName};

/// What was begun, by name of the sandbox.
#[derive(Debug, Default)]
pub(crate) struct Unmounts {
    known: Mutex<HashMap<ObjectName, Known>>,
}

#[derive(Debug)]
struct Known {
    pod: String,
    progress: Unmounting,
    task: AbortHandle,
}

impl Drop for Known {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Unmounts {
    /// How far unmounting in the pod of that UID has got.
    pub(crate) fn of(&self, name: &ObjectName, pod: &str) -> Option<Unmounting> {
        let known = self.lock();
        Some(known.get(name).filter(|known| known.pod == pod)?.progress.clone())
    }

    /// The sandbox is gone or doesn't need it any more.
    pub(crate) fn forget(&self, name: &ObjectName) {
        self.lock().remove(name);
    }

    /// Begins to unmount everything that the sandbox has in the pod of that UID.
    pub(crate) fn start(
        &self,
        context: &Arc<Context>,
        name: &ObjectName,
        sandbox: Sandbox,
        pod: &str,
        links: Links,
    ) {
        let mut known = self.lock();
        let (context, of, uid) = (Arc::clone(context), name.clone(), pod.to_owned());
        // The lock is held until the work is noted: its end can't come first.
        let task = tokio::spawn(async move {
            let runtime = context.claimer.runtime();
            let outcome = runtime.unmount_persisted(&context.client, &sandbox, links).await;
            let progress = match outcome {
                Ok(()) => Unmounting::Succeeded,
                Err(problem) => Unmounting::Failed(problem.message().to_owned()),
            };
            context.unmounts.finish(&of, &uid, progress);
            context.queue.push(Key::Sandbox(of));
        });
        let progress = Unmounting::Running;
        known.insert(name.clone(), Known { pod: pod.to_owned(), progress, task: task.abort_handle() });
    }

    fn finish(&self, name: &ObjectName, pod: &str, progress: Unmounting) {
        if let Some(known) = self.lock().get_mut(name).filter(|known| known.pod == pod) {
            known.progress = progress;
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<ObjectName, Known>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
