//! Workers: take keys from the queue and reconcile them.

use std::convert::Infallible;
use std::error::Error as _;
use std::sync::Arc;

use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use crate::api::Context;
use crate::queue::{Key, Queue};
use crate::{checkpoint, claim, operation, sandbox, set};

/// Turns at the same time.
const WORKERS: usize = 64;

/// Why a turn failed. Its Display is for the log; the chain below holds the API's answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    #[error("cannot {action} {object}")]
    Api { action: &'static str, object: String, source: kube::Error },
    #[error("{0}")]
    Problem(contract::errors::Problem),
    /// The API takes no Checkpoint of an upgrade, however often it is asked: why, and what to do.
    #[error("{0}")]
    CheckpointRefused(String),
    #[error("the SandboxTemplate {name} exists and belongs to somebody else")]
    TemplateTaken { name: String },
    #[error("the sandbox {name} was taken by {owner} meanwhile, it is left alone")]
    Locked { name: String, owner: String },
}

impl From<contract::errors::Problem> for Failure {
    fn from(problem: contract::errors::Problem) -> Self {
        Self::Problem(problem)
    }
}

/// Works until dropped; workers stop with it.
pub(crate) async fn work(context: Arc<Context>, queue: Arc<Queue>) -> Infallible {
    context.world.synced().await;
    let slots = Arc::new(Semaphore::new(WORKERS));
    let mut workers = JoinSet::new();
    loop {
        let Ok(slot) = Arc::clone(&slots).acquire_owned().await else { std::future::pending().await };
        let key = next(&context, &queue).await;
        let (context, queue) = (Arc::clone(&context), Arc::clone(&queue));
        workers.spawn(async move {
            turn(&context, &queue, key).await;
            drop(slot);
        });
        while workers.try_join_next().is_some() {}
    }
}

async fn next(context: &Context, queue: &Queue) -> Key {
    loop {
        let due = match queue.take(context.now()) {
            Ok(key) => return key,
            Err(due) => due,
        };
        match due {
            None => queue.changed().await,
            Some(time) => tokio::select! {
                () = queue.changed() => {}
                () = context.clock.sleep_until(time) => {}
            },
        }
    }
}

async fn turn(context: &Arc<Context>, queue: &Queue, key: Key) {
    let result = match &key {
        Key::Set(name) => set::reconcile(context, name).await,
        Key::Sandbox(name) => sandbox::reconcile(context, name).await,
        Key::Claim(name) => claim::reconcile(context, name).await,
        Key::Checkpoint(name) => checkpoint::reconcile(context, name).await,
        Key::Operation(name) => operation::reconcile(context, name).await,
    };
    match result {
        Ok(next) => queue.done(key, next),
        Err(failure) => {
            let delay = queue.failed(key.clone(), context.now());
            let cause = failure.source().map(ToString::to_string).unwrap_or_default();
            tracing::warn!(?key, %failure, cause, retry_in = ?delay, "reconcile failed");
        }
    }
}
