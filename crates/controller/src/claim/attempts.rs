//! The attempts of claims: one task for each sandbox, beside the turns.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use claim::ClaimError;
use contract::crd::{SandboxClaim, SandboxSet};
use jiff::Timestamp;
use tokio::task::AbortHandle;

use super::decide::Trouble;
use super::request;
use crate::api::Context;
use crate::queue::{Key, ObjectName};

/// Wait after an attempt that took no sandbox.
const PAUSE: Duration = Duration::from_secs(2);
/// Wait after the first attempt that used a sandbox up; doubles up to [`LONGEST_WAIT`].
const FIRST_WAIT: Duration = Duration::from_secs(1);
const LONGEST_WAIT: Duration = Duration::from_secs(16);

/// The attempts of every claim.
#[derive(Debug, Default)]
pub(crate) struct Attempts {
    claims: Mutex<HashMap<ObjectName, Work>>,
}

/// The attempts of one claim; they end when it is dropped.
#[derive(Debug, Default)]
struct Work {
    uid: Option<String>,
    tasks: HashMap<u64, AbortHandle>,
    begun: u64,
    failures: u32,
    trouble: Option<Trouble>,
}

impl Drop for Work {
    fn drop(&mut self) {
        for task in self.tasks.values() {
            task.abort();
        }
    }
}

impl Attempts {
    /// How many are at work for this very claim, and how the last one failed.
    pub(super) fn of(&self, name: &ObjectName, claim: &SandboxClaim) -> (usize, Option<Trouble>) {
        let claims = self.lock();
        let work = claims.get(name).filter(|work| work.uid == claim.metadata.uid);
        work.map_or((0, None), |work| (work.tasks.len(), work.trouble.clone()))
    }

    /// Ends all attempts for a claim, and forgets it.
    pub(super) fn stop(&self, name: &ObjectName) {
        self.lock().remove(name);
    }

    /// Begins an attempt.
    pub(super) fn start(
        &self,
        context: &Arc<Context>,
        name: &ObjectName,
        claim: &Arc<SandboxClaim>,
        set: &Arc<SandboxSet>,
    ) {
        // the lock is held until the attempt is noted: its end can't come first
        let mut claims = self.lock();
        let work = claims.entry(name.clone()).or_default();
        if work.uid != claim.metadata.uid {
            *work = Work::default();
            work.uid.clone_from(&claim.metadata.uid);
        }
        work.begun += 1;
        let number = work.begun;
        let (context, of) = (Arc::clone(context), name.clone());
        let (claim, set) = (Arc::clone(claim), Arc::clone(set));
        let task = tokio::spawn(async move {
            let outcome = attempt(&context, &claim, &set).await;
            context.attempts.finish(&context, &of, &claim, number, outcome);
        });
        work.tasks.insert(number, task.abort_handle());
    }

    fn finish(
        &self,
        context: &Context,
        name: &ObjectName,
        claim: &SandboxClaim,
        number: u64,
        outcome: Result<(), ClaimError>,
    ) {
        if let Some(work) = self.lock().get_mut(name).filter(|work| work.uid == claim.metadata.uid) {
            work.tasks.remove(&number);
            work.note(claim.metadata.generation, context.now(), outcome);
        }
        context.queue.push(Key::Claim(name.clone()));
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<ObjectName, Work>> {
        self.claims.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Work {
    fn note(&mut self, generation: Option<i64>, now: Timestamp, outcome: Result<(), ClaimError>) {
        let Err(ClaimError { problem, sandbox }) = outcome else {
            self.failures = 0;
            self.trouble = None;
            return;
        };
        let wait = if sandbox.is_some() {
            self.failures += 1;
            FIRST_WAIT.saturating_mul(1 << (self.failures - 1).min(16)).min(LONGEST_WAIT)
        } else {
            PAUSE
        };
        let message = match &sandbox {
            Some((_, name)) => format!("{problem} (sandbox {name})"),
            None => problem.to_string(),
        };
        tracing::info!(%problem, ?sandbox, retry_in = ?wait, "a claim's attempt failed");
        let retry_at = clock::later(now, wait);
        self.trouble = Some(Trouble { generation, code: problem.code(), message, retry_at });
    }
}

/// Claims one sandbox.
async fn attempt(context: &Context, claim: &SandboxClaim, set: &Arc<SandboxSet>) -> Result<(), ClaimError> {
    let request = request::build(context, claim, set).await?;
    context.claimer.claim(request).await?.acknowledge().await?;
    Ok(())
}
