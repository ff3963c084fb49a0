//! Collects sandboxes that were claimed and never handed out: their manager died between the claim's write and the
//! answer, or could not clean up (`storage.md` §7.4).

use std::sync::Arc;
use std::time::Duration;

use contract::crd::Sandbox;
use jiff::Timestamp;
use kube::ResourceExt as _;
use serde_json::json;

use super::guard::delete;
use crate::manager::Manager;
use crate::sandboxes::{self, UNACKNOWLEDGED};

/// Wait after a deletion that failed.
const RETRY_AFTER: Duration = Duration::from_secs(10);

/// Works for ever: sleeps until the next claim counts as abandoned, or until something changes.
pub(crate) async fn run(manager: Manager) {
    let mut changes = manager.shared.sandboxes.changes();
    loop {
        changes.mark_unchanged();
        let now = manager.now();
        let (due, later): (Vec<_>, Vec<_>) =
            unacknowledged(&manager).into_iter().partition(|(_, until)| *until <= now);
        let mut next = later.into_iter().map(|(_, until)| until).min();
        for (sandbox, _) in due {
            if !collect(&manager, &sandbox).await {
                let retry = clock::later(now, RETRY_AFTER);
                next = Some(next.map_or(retry, |next| next.min(retry)));
            }
        }
        let clock = &manager.shared.options.clock;
        let alarm = async {
            match next {
                Some(next) => clock.sleep_until(next).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = alarm => {}
            _ = changes.changed() => {}
        }
    }
}

/// The sandboxes that nobody has acknowledged, with the end of their claims. An unreadable end counts as long past.
fn unacknowledged(manager: &Manager) -> Vec<(Arc<Sandbox>, Timestamp)> {
    let waiting = manager.shared.sandboxes.select(|sandbox| {
        sandboxes::annotation(sandbox, UNACKNOWLEDGED).is_some()
            && sandbox.metadata.deletion_timestamp.is_none()
    });
    let until = |sandbox: &Sandbox| {
        let text = sandboxes::annotation(sandbox, UNACKNOWLEDGED).unwrap_or_default();
        text.parse().unwrap_or(Timestamp::UNIX_EPOCH)
    };
    waiting.into_iter().map(|sandbox| (sandbox.clone(), until(&sandbox))).collect()
}

/// Whether the sandbox is gone now. One that this manager is still working on is left to its guard.
async fn collect(manager: &Manager, sandbox: &Sandbox) -> bool {
    if manager.shared.claims.is_busy(&sandbox.uid().unwrap_or_default()) {
        return false;
    }
    match delete(manager, sandbox).await {
        Ok(()) => {
            manager.milestone("cleaned", sandbox, json!({"outcome": "abandoned"}));
            true
        }
        Err(error) => {
            tracing::warn!(%error, sandbox = %sandboxes::key(sandbox), "an abandoned sandbox cannot be deleted");
            false
        }
    }
}
