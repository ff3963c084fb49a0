//! Whether a request may go to a sandbox, and where that is.

use std::time::Duration;

use contract::crd::SandboxPhase;
use contract::names::ENVD_PORT;
use http::HeaderMap;

use crate::manager::Manager;
use crate::sandboxes::{self, Situation};

/// Longest wait for a sandbox that runs and is not ready: one of its containers was restarted a moment ago, or what is
/// known here of its readiness lags behind. By the clock; well below the 60 s of an SDK's request.
const READY_LIMIT: Duration = Duration::from_secs(15);

/// Why a request goes nowhere.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Refusal {
    /// No sandbox of that id runs.
    NotFound,
    /// It runs and is not ready.
    NotReady,
    /// The sandbox's access token is missing or wrong, and this gateway checks it.
    WrongToken,
}

/// The address of the pod of sandbox `id`, once it is ready. One that isn't within [`READY_LIMIT`] is refused like one that
/// isn't there (`e2b-api.md` §3.2, §8.3).
pub(crate) async fn admit(
    manager: &Manager,
    id: &str,
    port: u16,
    headers: &HeaderMap,
) -> Result<String, Refusal> {
    let decided = manager.shared.sandboxes.until(|| match look(manager, id, port, headers) {
        Err(Refusal::NotReady) => None,
        outcome => Some(outcome),
    });
    let expired = manager.shared.options.clock.sleep(READY_LIMIT);
    tokio::select! {
        biased;
        outcome = decided => outcome,
        () = expired => {
            tracing::info!(id, limit = ?READY_LIMIT, "a running sandbox did not become ready while a request waited");
            Err(Refusal::NotReady)
        }
    }
}

/// What is known now of sandbox `id`: the address of its pod. The token is asked for on envd's port only: the SDKs send none to the code
/// interpreter's contexts, and signed file URLs carry none (`e2b-api.md` §8.4).
fn look(manager: &Manager, id: &str, port: u16, headers: &HeaderMap) -> Result<String, Refusal> {
    let sandbox = manager.sandbox(id).ok_or(Refusal::NotFound)?;
    match Situation::of(&sandbox, manager.now()) {
        Situation::Running => {}
        Situation::NotReady => return Err(Refusal::NotReady),
        // whether its storage allows the pause that was asked for is not known yet
        Situation::Pausing if *sandboxes::phase(&sandbox) == SandboxPhase::Running => {
            return Err(Refusal::NotReady);
        }
        Situation::Pausing | Situation::Paused | Situation::Waking | Situation::Hidden => {
            return Err(Refusal::NotFound);
        }
    }
    if manager.shared.options.gateway_checks_token
        && port == ENVD_PORT
        && let Some(token) = sandboxes::access_token(&sandbox)
    {
        let presented = headers.get("x-access-token").map(http::HeaderValue::as_bytes).unwrap_or_default();
        if !equal(presented, token.as_bytes()) {
            return Err(Refusal::WrongToken);
        }
    }
    sandboxes::pod_ip(&sandbox).map(str::to_owned).ok_or(Refusal::NotFound)
}

/// Compares without telling by its duration where the difference is.
fn equal(left: &[u8], right: &[u8]) -> bool {
    left.len() == right.len()
        && left.iter().zip(right).fold(0, |difference, (l, r)| difference | (l ^ r)) == 0
}
