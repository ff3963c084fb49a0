//! Logs of containers: their lines may be entries of the journal, and none may show a secret.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::{AsyncBufReadExt as _, TryStreamExt as _};
use journal::{Draft, Journal, source};
use k8s_openapi::api::core::v1::Pod;
use kube::api::LogParams;
use kube::{Api, Client};
use lab::Leftover;
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio::task::AbortHandle;

use super::mounts::Hint;
use crate::names::Names;

/// How long the end of a log may take to arrive once its pod is gone.
const LAST_WORDS: Duration = Duration::from_secs(3);
/// Pause before a log is asked for again that wasn't there yet.
const PAUSE: Duration = Duration::from_millis(200);
/// How often it is asked for.
const ATTEMPTS: u32 = 25;

/// Gives every line of a container's log to `take`, to its end; with `since_seconds` only what was said since then.
pub(super) async fn follow(
    api: &Api<Pod>,
    pod: &str,
    container: &str,
    since_seconds: Option<i64>,
    mut take: impl FnMut(&str),
) {
    let parameters = LogParams {
        container: Some(container.to_owned()),
        follow: true,
        since_seconds,
        ..LogParams::default()
    };
    for _ in 0..ATTEMPTS {
        match api.log_stream(pod, &parameters).await {
            Ok(stream) => {
                let mut lines = stream.lines();
                // A log that breaks off has no more to say; what it is about is in the journal by other ways.
                while let Ok(Some(line)) = lines.try_next().await {
                    take(&line);
                }
                return;
            }
            Err(kube::Error::Api(status)) if status.code == 404 => return,
            // The node answers for a container a moment after its status does.
            Err(error) => tracing::debug!(pod, %error, "a log is not there yet"),
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// One container's log.
pub(super) struct Log {
    pub(super) client: Client,
    pub(super) names: Names,
    pub(super) journal: Journal,
    pub(super) namespace: String,
    pub(super) pod: String,
    pub(super) container: String,
    /// Who is told of CSI calls.
    pub(super) hints: mpsc::UnboundedSender<Hint>,
}

impl Log {
    /// Reads to the end.
    async fn read(&self) {
        let api: Api<Pod> = Api::namespaced(self.client.clone(), &self.namespace);
        follow(&api, &self.pod, &self.container, None, |line| self.take(line)).await;
    }

    fn take(&self, line: &str) {
        let pod = self.names.plain(&format!("{}/{}", self.namespace, self.pod));
        let Some(mut draft) = Draft::from_log_line(line) else {
            self.journal.inspect(&format!("log of {pod}, container {}", self.container), line);
            return;
        };
        if draft.body.is_null() {
            draft.body = json!({});
        }
        if let Value::Object(members) = &mut draft.body {
            members.insert("pod".to_owned(), pod.into());
            members.insert("container".to_owned(), self.container.clone().into());
        }
        draft.body = self.names.plain_value(draft.body);
        draft.subject = self.names.plain(&draft.subject);
        let is_call = draft.source == source::CSI;
        self.journal.add(draft);
        if is_call {
            let hint = Hint::Look { namespace: self.namespace.clone(), pod: self.pod.clone() };
            // The lab is going down when nobody listens.
            let _ = self.hints.send(hint);
        }
    }
}

/// The logs that are being read.
#[derive(Clone, Default)]
pub(super) struct Unread {
    reading: Arc<Mutex<Reading>>,
}

#[derive(Default)]
struct Reading {
    next: u64,
    logs: BTreeMap<u64, Reader>,
}

struct Reader {
    namespace: String,
    pod: String,
    plain: String,
    task: Option<AbortHandle>,
    pod_is_gone: bool,
}

impl Drop for Reading {
    fn drop(&mut self) {
        self.logs.values().filter_map(|log| log.task.as_ref()).for_each(AbortHandle::abort);
    }
}

impl Unread {
    fn lock(&self) -> MutexGuard<'_, Reading> {
        self.reading.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Begins to read a log.
    pub(super) fn read(&self, log: Log) {
        let mut reading = self.lock();
        let number = reading.next;
        reading.next += 1;
        let plain = log.names.plain(&format!("{}/{}/{}", log.namespace, log.pod, log.container));
        let (namespace, pod) = (log.namespace.clone(), log.pod.clone());
        // Weak: the tasks end when the lab drops the list.
        let list = Arc::downgrade(&self.reading);
        let task = tokio::spawn(async move {
            log.read().await;
            if let Some(list) = list.upgrade() {
                list.lock().unwrap_or_else(PoisonError::into_inner).logs.remove(&number);
            }
        });
        let task = Some(task.abort_handle());
        reading.logs.insert(number, Reader { namespace, pod, plain, task, pod_is_gone: false });
    }

    /// Waits for the last words of a pod, not for ever.
    pub(super) fn pod_is_gone(&self, namespace: &str, pod: &str) {
        let mut reading = self.lock();
        let mut numbers = Vec::new();
        for (number, log) in &mut reading.logs {
            if log.namespace == namespace && log.pod == pod {
                log.pod_is_gone = true;
                numbers.push(*number);
            }
        }
        drop(reading);
        if numbers.is_empty() {
            return;
        }
        let list = Arc::downgrade(&self.reading);
        tokio::spawn(async move {
            tokio::time::sleep(LAST_WORDS).await;
            let Some(list) = list.upgrade() else { return };
            let mut reading = list.lock().unwrap_or_else(PoisonError::into_inner);
            for number in numbers {
                if let Some(log) = reading.logs.remove(&number)
                    && let Some(task) = log.task
                {
                    task.abort();
                }
            }
        });
    }

    /// Those of pods that are gone.
    pub(super) fn list(&self) -> Vec<Leftover> {
        let left = |log: &Reader| Leftover {
            kind: "log".to_owned(),
            subject: log.plain.clone(),
            owner: log.pod.clone(),
        };
        self.lock().logs.values().filter(|log| log.pod_is_gone).map(left).collect()
    }
}
