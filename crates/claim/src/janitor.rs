//! Collects sandboxes that were claimed and never handed out: their claimer died between the claim's write and the
//! answer, or could not clean up (`storage.md` §7.4).

use std::sync::Arc;
use std::time::Duration;

use contract::crd::Sandbox;
use contract::names::annotations::CLAIM_UNACKNOWLEDGED_UNTIL as UNACKNOWLEDGED;
use jiff::Timestamp;
use kube::ResourceExt as _;
use serde_json::json;

use crate::guard::delete;
use crate::{Claimer, annotation, name_of};

/// Wait after a deletion that failed.
const RETRY_AFTER: Duration = Duration::from_secs(10);

/// Works for ever: sleeps until the next claim counts as abandoned, or until something changes.
pub(crate) async fn run(claimer: Claimer) {
    let mut changes = claimer.sandboxes().changes();
    loop {
        changes.mark_unchanged();
        let now = claimer.now();
        let (due, later): (Vec<_>, Vec<_>) =
            unacknowledged(&claimer).into_iter().partition(|(_, until)| *until <= now);
        let mut next = later.into_iter().map(|(_, until)| until).min();
        for (sandbox, _) in due {
            if !collect(&claimer, &sandbox).await {
                let retry = clock::later(now, RETRY_AFTER);
                next = Some(next.map_or(retry, |next| next.min(retry)));
            }
        }
        let clock = &claimer.shared.options.clock;
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
fn unacknowledged(claimer: &Claimer) -> Vec<(Arc<Sandbox>, Timestamp)> {
    let waiting = claimer.sandboxes().select(|sandbox| {
        annotation(sandbox, UNACKNOWLEDGED).is_some() && sandbox.metadata.deletion_timestamp.is_none()
    });
    let until = |sandbox: &Sandbox| {
        let text = annotation(sandbox, UNACKNOWLEDGED).unwrap_or_default();
        text.parse().unwrap_or(Timestamp::UNIX_EPOCH)
    };
    waiting.into_iter().map(|sandbox| (sandbox.clone(), until(&sandbox))).collect()
}

/// Whether the sandbox is gone now. One that this claimer is still working on is left to its guard.
async fn collect(claimer: &Claimer, sandbox: &Sandbox) -> bool {
    if claimer.is_busy(&sandbox.uid().unwrap_or_default()) {
        return false;
    }
    match delete(claimer, sandbox).await {
        Ok(()) => {
            claimer.milestone("cleaned", sandbox, json!({"outcome": "abandoned"}));
            true
        }
        Err(error) => {
            tracing::warn!(%error, sandbox = %name_of(sandbox), "an abandoned sandbox cannot be deleted");
            false
        }
    }
}
