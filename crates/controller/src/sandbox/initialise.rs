//! Initialising the runtime of a replaced container again and mounting its storage (`kubernetes.md` §5.4, §5.5,
//! `storage.md` §7.3), and the hooks of an upgrade (`kubernetes.md` §5.9): attempts run beside the turns, which only start
//! them and look at how they went. A sandbox needs one at a time.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use contract::crd::Sandbox;
use contract::errors::Problem;
use contract::intents::{self, MountIntent};
use contract::names::annotations;
use kube::ResourceExt as _;
use runtime_client::{Handshake, InitRequest, explain, resolve_mounts};
use tokio::task::AbortHandle;

use super::hook::Hook;
use super::initialisation::{Attempt, Progress};
use crate::api::Context;
use crate::queue::{Key, ObjectName};

/// Wait after the first failed attempt; doubles up to [`LONGEST_WAIT`].
const FIRST_WAIT: Duration = Duration::from_millis(200);
const LONGEST_WAIT: Duration = Duration::from_secs(30);

/// The last attempt of every sandbox whose main container was replaced.
#[derive(Debug, Default)]
pub(crate) struct Initialisations {
    known: Mutex<HashMap<ObjectName, Known>>,
}

#[derive(Debug)]
struct Known {
    uid: Option<String>,
    attempt: Attempt,
    failures: u32,
    task: AbortHandle,
}

impl Drop for Known {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Initialisations {
    /// The last attempt for this very Sandbox.
    pub(crate) fn of(&self, name: &ObjectName, sandbox: &Sandbox) -> Option<Attempt> {
        let known = self.lock();
        let known = known.get(name).filter(|known| known.uid == sandbox.metadata.uid)?;
        Some(known.attempt.clone())
    }

    /// The Sandbox is gone: an attempt under way ends.
    pub(crate) fn forget(&self, name: &ObjectName) {
        self.lock().remove(name);
    }

    /// Begins an attempt; one for an earlier container ends. `sandbox` has the status that was just decided.
    pub(crate) fn start(&self, context: &Arc<Context>, name: &ObjectName, sandbox: Sandbox, container: &str) {
        self.begin(context, name, sandbox, container, None);
    }

    /// Begins to run a hook; the attempt is known by that name.
    pub(crate) fn start_hook(
        &self,
        context: &Arc<Context>,
        name: &ObjectName,
        sandbox: Sandbox,
        hook: Hook,
        attempt: &str,
    ) {
        self.begin(context, name, sandbox, attempt, Some(hook));
    }

    fn begin(
        &self,
        context: &Arc<Context>,
        name: &ObjectName,
        sandbox: Sandbox,
        container: &str,
        hook: Option<Hook>,
    ) {
        let mut known = self.lock();
        let uid = sandbox.metadata.uid.clone();
        let before = known.get(name).filter(|known| known.uid == uid && known.attempt.container == container);
        let failures = before.map_or(0, |known| known.failures);
        let attempt = Attempt { container: container.to_owned(), progress: Progress::Running };
        let (context, of, container) = (Arc::clone(context), name.clone(), container.to_owned());
        // The lock is held until the attempt is noted: its end can't come first.
        let task = tokio::spawn(async move {
            let outcome = match hook {
                None => restore(&context, &sandbox).await.map_err(|problem| problem.to_string()),
                Some(hook) => run(&context, &sandbox, hook).await,
            };
            context.initialisations.finish(&context, &of, &container, outcome);
        });
        known.insert(name.clone(), Known { uid, attempt, failures, task: task.abort_handle() });
    }

    fn finish(&self, context: &Context, name: &ObjectName, container: &str, outcome: Result<(), String>) {
        let mut all = self.lock();
        let Some(known) = all.get_mut(name).filter(|known| known.attempt.container == container) else {
            return;
        };
        known.attempt.progress = match outcome {
            Ok(()) => Progress::Succeeded,
            Err(message) => {
                let wait = FIRST_WAIT.saturating_mul(1 << known.failures.min(16)).min(LONGEST_WAIT);
                known.failures += 1;
                tracing::warn!(%name, message, retry_in = ?wait, "what the sandbox's runtime was to do failed");
                Progress::Failed { message, retry_at: clock::later(context.now(), wait) }
            }
        };
        drop(all);
        context.queue.push(Key::Sandbox(name.clone()));
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<ObjectName, Known>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Handshake and mounts, with what the Sandbox says and the volumes and Secrets as they are now.
async fn restore(context: &Context, sandbox: &Sandbox) -> Result<(), Problem> {
    let note = |key: &str| sandbox.annotations().get(key).map(String::as_str).filter(|text| !text.is_empty());
    let init = note(annotations::INIT_RUNTIME_REQUEST).map(InitRequest::from_annotation).transpose()?;
    let wanted = note(annotations::CSI_VOLUME_CONFIG).map(checked).transpose()?.unwrap_or_default();
    let endpoint = context.claimer.runtime().endpoint(sandbox)?;
    if let Some(init) = &init {
        context.claimer.runtime().initialise(&endpoint, init, Handshake::Again).await?;
    }
    if wanted.is_empty() {
        return Ok(());
    }
    let mounts = resolve_mounts(&context.client, &context.drivers, &wanted).await?;
    context.conceal(&mounts);
    let token = note(annotations::RUNTIME_ACCESS_TOKEN)
        .or(init.as_ref().map(|init| init.access_token.as_str()))
        .filter(|token| !token.is_empty());
    let expired = context.clock.sleep(context.mount_deadline);
    match context.claimer.runtime().mount_all(&endpoint, token, &mounts, expired).await {
        Ok(()) => Ok(()),
        Err(failures) => Err(explain(&context.client, sandbox, &mounts, &failures).await),
    }
}

/// Runs a hook of the upgrade.
async fn run(context: &Context, sandbox: &Sandbox, hook: Hook) -> Result<(), String> {
    let Some(action) = hook.action(sandbox) else { return Ok(()) };
    let note = |key: &str| sandbox.annotations().get(key).map(String::as_str).filter(|text| !text.is_empty());
    let init = note(annotations::INIT_RUNTIME_REQUEST).map(InitRequest::from_annotation).transpose();
    let init = init.map_err(|problem| problem.to_string())?;
    let token = note(annotations::RUNTIME_ACCESS_TOKEN)
        .or(init.as_ref().map(|init| init.access_token.as_str()))
        .filter(|token| !token.is_empty());
    let runtime = context.claimer.runtime();
    let endpoint = runtime.endpoint(sandbox).map_err(|problem| problem.to_string())?;
    let command = action.exec.as_ref().map(|exec| exec.command.clone()).unwrap_or_default();
    let outcome = runtime.run_hook(&endpoint, token, &command, hook.limit(sandbox)).await;
    outcome.map_err(|failure| failure.to_string())
}

/// The persisted list; a user may have written it, so it is checked like a request's.
fn checked(text: &str) -> Result<Vec<MountIntent>, Problem> {
    let wanted = intents::decode_annotation(text)?;
    for intent in &wanted {
        intents::check_mount_path(&intent.mount_path)?;
    }
    intents::check_set(&wanted)?;
    Ok(wanted)
}
