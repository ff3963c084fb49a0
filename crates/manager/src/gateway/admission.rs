//! Whether a request may go to a sandbox, and where that is.

use contract::names::ENVD_PORT;
use http::HeaderMap;

use crate::manager::Manager;
use crate::sandboxes::{self, Situation};

/// Why a request goes nowhere.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Refusal {
    /// No sandbox of that id runs and is ready.
    NotFound,
    /// The sandbox's access token is missing or wrong, and this gateway checks it.
    WrongToken,
}

/// The address of the pod of sandbox `id`. The token is asked for on envd's port only: the SDKs send none to the code
/// interpreter's contexts, and signed file URLs carry none (`e2b-api.md` §8.4).
pub(crate) fn admit(manager: &Manager, id: &str, port: u16, headers: &HeaderMap) -> Result<String, Refusal> {
    let sandbox = manager.sandbox(id).ok_or(Refusal::NotFound)?;
    if Situation::of(&sandbox, manager.now()) != Situation::Running {
        return Err(Refusal::NotFound);
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
