//! Waiting for a sandbox that was made, or changed, for a claim.

use std::sync::Arc;
use std::time::Duration;

use contract::conditions::{self, reasons, types};
use contract::crd::{Sandbox, SandboxPhase};
use contract::errors::{Code, Problem};
use contract::state;

use crate::Claimer;
use crate::cache::Key;

/// Waits for the sandbox to be ready: the controller has seen its newest version, nothing is being updated, the pod
/// has an address.
///
/// # Errors
/// [`Code::SandboxNotReady`] when it isn't within `limit`, with the last state; at once when it can't become ready any more.
pub(crate) async fn wait(
    claimer: &Claimer,
    (namespace, name): &Key,
    limit: Duration,
) -> Result<Arc<Sandbox>, Problem> {
    let cache = claimer.sandboxes();
    let settled = cache.until(|| match cache.get(namespace, name) {
        None => Some(Err(Problem::new(Code::SandboxNotReady, "the sandbox was deleted while it started"))),
        Some(sandbox) => match progress(&sandbox) {
            Progress::Ready => Some(Ok(sandbox)),
            Progress::Hopeless(why) => Some(Err(Problem::new(
                Code::SandboxNotReady,
                format!("the sandbox cannot become ready: {why}"),
            ))),
            Progress::Waiting => None,
        },
    });
    tokio::select! {
        biased;
        settled = settled => return settled,
        () = claimer.shared.options.clock.sleep(limit) => {}
    }
    let last = cache.get(namespace, name).map_or_else(|| "gone".to_owned(), |last| describe(&last));
    Err(Problem::new(
        Code::SandboxNotReady,
        format!("the sandbox was not ready within {limit:?}, last: {last}"),
    ))
}

#[derive(Debug, PartialEq)]
enum Progress {
    Ready,
    Waiting,
    Hopeless(String),
}

fn progress(sandbox: &Sandbox) -> Progress {
    let Some(status) = &sandbox.status else { return Progress::Waiting };
    if sandbox.metadata.deletion_timestamp.is_some() || status.phase.is_final() {
        let message = status.message.clone().unwrap_or_default();
        return Progress::Hopeless(
            format!("phase {} {message}", status.phase.as_str()).trim_end().to_owned(),
        );
    }
    let ready = conditions::find(&status.conditions, types::READY);
    if let Some(refused) = ready.filter(|ready| ready.reason == reasons::START_CONTAINER_FAILED)
        // a container that is merely being created waits without a message
        && !refused.message.is_empty()
    {
        return Progress::Hopeless(refused.message.clone());
    }
    let update = conditions::find(&status.conditions, types::INPLACE_UPDATE);
    if let Some(failed) = update.filter(|update| update.reason == reasons::FAILED)
        && failed.observed_generation == sandbox.metadata.generation
    {
        return Progress::Hopeless(failed.message.clone());
    }
    let seen = status.observed_generation >= sandbox.metadata.generation;
    let updating = ready.is_some_and(|ready| ready.reason == reasons::INPLACE_UPDATING);
    let is_ready = status.phase == SandboxPhase::Running && state::is_ready(sandbox);
    if seen && is_ready && !updating && state::pod_ip(sandbox).is_some() {
        Progress::Ready
    } else {
        Progress::Waiting
    }
}

/// The state in a few words, for an error.
fn describe(sandbox: &Sandbox) -> String {
    let Some(status) = &sandbox.status else { return "not seen by the controller".to_owned() };
    let (phase, conditions) = (status.phase.as_str(), &status.conditions);
    let phase = if phase.is_empty() { "not seen by the controller" } else { phase };
    match conditions::find(conditions, types::READY) {
        Some(ready) => format!("{phase}, Ready {} {} {}", ready.status, ready.reason, ready.message)
            .trim_end()
            .to_owned(),
        None => phase.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use contract::crd::{PodInfo, SandboxSpec, SandboxStatus};
    use jiff::Timestamp;
    use rstest::rstest;

    use super::*;

    fn sandbox(phase: SandboxPhase, ready: bool, reason: &str, message: &str) -> Sandbox {
        let mut sandbox = Sandbox::new("x", SandboxSpec::default());
        sandbox.metadata.generation = Some(2);
        let mut status = SandboxStatus {
            phase,
            observed_generation: Some(2),
            pod_info: Some(PodInfo { pod_ip: Some("10.0.0.2".into()), ..PodInfo::default() }),
            ..SandboxStatus::default()
        };
        conditions::set(&mut status.conditions, types::READY, ready, reason, message, Timestamp::UNIX_EPOCH);
        sandbox.status = Some(status);
        sandbox
    }

    #[rstest]
    #[case(sandbox(SandboxPhase::Running, true, "PodReady", ""), Progress::Ready)]
    #[case(sandbox(SandboxPhase::Running, false, "PodReady", ""), Progress::Waiting)]
    #[case(sandbox(SandboxPhase::Running, true, "InplaceUpdating", ""), Progress::Waiting)]
    #[case(sandbox(SandboxPhase::Pending, false, "StartContainerFailed", ""), Progress::Waiting)]
    #[case(sandbox(SandboxPhase::Pending, false, "StartContainerFailed", "no such image"), Progress::Hopeless("no such image".into()))]
    #[case(sandbox(SandboxPhase::Failed, false, "PodReady", ""), Progress::Hopeless("phase Failed".into()))]
    fn readiness(#[case] sandbox: Sandbox, #[case] expected: Progress) {
        assert_eq!(progress(&sandbox), expected);
    }

    #[rstest]
    #[case(Some(2), Progress::Hopeless("too much".into()))]
    #[case(Some(1), Progress::Ready)]
    fn an_update_that_failed(#[case] generation: Option<i64>, #[case] expected: Progress) {
        let mut failed = sandbox(SandboxPhase::Running, true, "PodReady", "");
        if let Some(status) = &mut failed.status {
            let conditions = &mut status.conditions;
            conditions::set(
                conditions,
                types::INPLACE_UPDATE,
                false,
                reasons::FAILED,
                "too much",
                Timestamp::UNIX_EPOCH,
            );
            conditions[1].observed_generation = generation;
        }
        assert_eq!(progress(&failed), expected);
    }

    #[test]
    fn an_outdated_status_does_not_count() {
        let mut newer = sandbox(SandboxPhase::Running, true, "PodReady", "");
        newer.metadata.generation = Some(3);
        assert_eq!(progress(&newer), Progress::Waiting);
    }

    #[test]
    fn without_an_address_it_is_not_ready() {
        let mut nowhere = sandbox(SandboxPhase::Running, true, "PodReady", "");
        if let Some(status) = &mut nowhere.status {
            status.pod_info = None;
        }
        assert_eq!(progress(&nowhere), Progress::Waiting);
    }
}
