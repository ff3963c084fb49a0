//! The running lab as the outside sees it: calls go in, answers and journal entries come out.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use journal::{Journal, source};
use lab::LabError;
use serde_json::{Value, json};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinHandle;

use crate::channel::{Reader, Writer};
use crate::protocol::{Call, Refusal, Report, Request, Up};

/// How long the inside may take to answer one call.
const CALL_DEADLINE: Duration = Duration::from_secs(30);

type Answer = Result<Value, Refusal>;

/// Who waits for an answer, by the number of the call; nothing once no answer can come any more.
type Waiting = Arc<Mutex<Option<HashMap<u64, oneshot::Sender<Answer>>>>>;

/// The outside end of the control channel.
pub(crate) struct Remote {
    lab: String,
    next_id: std::sync::atomic::AtomicU64,
    calls: mpsc::UnboundedSender<Call>,
    waiting: Waiting,
    /// Why the lab ended by itself, once it has.
    ended: watch::Receiver<Option<String>>,
    /// How many entries of the journal inside have come out.
    adopted: watch::Receiver<u64>,
    tasks: Vec<JoinHandle<()>>,
}

impl Remote {
    /// Starts to serve the channel. The second value delivers what the inside says first: that it is up, or why not.
    pub(crate) fn start(
        lab: String,
        reader: Reader,
        writer: Writer,
        journal: Journal,
    ) -> (Self, oneshot::Receiver<Result<Up, LabError>>) {
        let (calls, outgoing) = mpsc::unbounded_channel();
        let (ended_sender, ended) = watch::channel(None);
        let (up_sender, up) = oneshot::channel();
        let (adopted_sender, adopted) = watch::channel(0);
        let waiting = Waiting::new(Mutex::new(Some(HashMap::new())));
        let incoming = Incoming {
            lab: lab.clone(),
            journal,
            waiting: waiting.clone(),
            up: Some(up_sender),
            ended: ended_sender,
            adopted: adopted_sender,
        };
        let tasks = vec![tokio::spawn(incoming.run(reader)), tokio::spawn(send_calls(writer, outgoing))];
        (Self { lab, next_id: 0.into(), calls, waiting, ended, adopted, tasks }, up)
    }

    /// Asks the inside and waits for its answer.
    pub(crate) async fn call(&self, request: Request) -> Result<Value, LabError> {
        let id = self.next_id.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let asked = format!("{request:?}");
        let (sender, answer) = oneshot::channel();
        match self.waiting.lock().unwrap_or_else(PoisonError::into_inner).as_mut() {
            Some(waiting) => drop(waiting.insert(id, sender)),
            None => return Err(self.gone()),
        }
        if self.calls.send(Call { id, request }).is_err() {
            return Err(self.gone());
        }
        match tokio::time::timeout(CALL_DEADLINE, answer).await {
            Ok(Ok(Ok(value))) => Ok(value),
            Ok(Ok(Err(refusal))) => Err(refusal.into_error(&self.lab)),
            Ok(Err(_)) => Err(self.gone()),
            Err(_) => Err(LabError::Deadline {
                deadline: "lab call deadline",
                limit: CALL_DEADLINE,
                last: format!("no answer to {asked}"),
            }),
        }
    }

    /// Waits until so many entries of the journal inside have come out.
    pub(crate) async fn adopted(&self, entries: u64) -> Result<(), LabError> {
        let mut adopted = self.adopted.clone();
        match tokio::time::timeout(CALL_DEADLINE, adopted.wait_for(|adopted| *adopted >= entries)).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(_)) => Err(self.gone()),
            Err(_) => Err(LabError::Deadline {
                deadline: "journal deadline",
                limit: CALL_DEADLINE,
                last: format!("{} of {entries} entries had come out", *self.adopted.borrow()),
            }),
        }
    }

    fn gone(&self) -> LabError {
        let reason = self.ended.borrow().clone().unwrap_or_else(|| "it has ended".to_owned());
        LabError::Part { lab: self.lab.clone(), part: "lab".to_owned(), reason }
    }
}

impl Drop for Remote {
    fn drop(&mut self) {
        for task in &self.tasks {
            task.abort();
        }
    }
}

async fn send_calls(mut writer: Writer, mut calls: mpsc::UnboundedReceiver<Call>) {
    while let Some(call) = calls.recv().await {
        if let Err(error) = writer.send(&call).await {
            // The reading side notices the same end and tells everyone who waits.
            tracing::debug!(%error, "the lab's control channel is closed");
            return;
        }
    }
}

struct Incoming {
    lab: String,
    journal: Journal,
    waiting: Waiting,
    up: Option<oneshot::Sender<Result<Up, LabError>>>,
    ended: watch::Sender<Option<String>>,
    adopted: watch::Sender<u64>,
}

impl Incoming {
    async fn run(mut self, mut reader: Reader) {
        let reason = loop {
            match reader.next::<Report>().await {
                Ok(Some(report)) => self.take(report),
                Ok(None) => break "its first process ended".to_owned(),
                Err(error) => break format!("its control channel broke: {error}"),
            }
        };
        self.fail("inside", &reason);
        *self.waiting.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    fn take(&mut self, report: Report) {
        match report {
            Report::Up(up) => {
                self.journal.guard(&up.e2b_key);
                self.journal.guard(&up.access_key_id);
                self.journal.guard(&up.access_key_secret);
                if let Some(sender) = self.up.take() {
                    // A caller that stopped waiting takes the lab down by itself.
                    let _ = sender.send(Ok(up));
                }
            }
            Report::Failed { part, reason } => self.fail(&part, &reason),
            Report::Journal(entry) => {
                self.journal.adopt(&entry);
                self.adopted.send_modify(|adopted| *adopted += 1);
            }
            Report::Answer { id, result } => {
                let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
                if let Some(sender) = waiting.as_mut().and_then(|waiting| waiting.remove(&id)) {
                    // Nobody waits any more when the call's deadline has passed.
                    let _ = sender.send(result);
                }
            }
        }
    }

    fn fail(&mut self, part: &str, reason: &str) {
        let first = self.ended.send_if_modified(|ended| {
            let first = ended.is_none();
            if first {
                *ended = Some(format!("{part}: {reason}"));
            }
            first
        });
        if first {
            let body = json!({"phase": "ended", "part": part, "reason": reason});
            self.journal.record(source::LAB, "phase", &self.lab, body);
        }
        if let Some(sender) = self.up.take() {
            let error =
                LabError::Part { lab: self.lab.clone(), part: part.to_owned(), reason: reason.to_owned() };
            let _ = sender.send(Err(error));
        }
    }
}
