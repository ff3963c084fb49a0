//! Probes of a running container.

use std::time::Duration;

use k8s_openapi::api::core::v1::Probe;

use super::attempt::Attempt;
use super::handler::Action;
use crate::events::EventType;

/// Runs the container's probes until one of them asks for its end; the answer says why. Without such a probe it
/// never completes.
pub(super) async fn watch(attempt: &Attempt<'_>) -> String {
    let container = attempt.container;
    if let Some((probe, action)) = with_action(container.startup_probe.as_ref())
        && let Err(reason) = until_started(attempt, probe, &action).await
    {
        return reason;
    }
    let readiness = with_action(container.readiness_probe.as_ref());
    attempt.board().update(attempt.index, |record| {
        record.started = true;
        record.ready = readiness.is_none();
    });
    let ready = async {
        if let Some((probe, action)) = &readiness {
            follow_readiness(attempt, probe, action).await;
        }
        std::future::pending::<()>().await;
    };
    let alive = async {
        match with_action(container.liveness_probe.as_ref()) {
            Some((probe, action)) => until_dead(attempt, probe, &action).await,
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        () = ready => std::future::pending().await,
        reason = alive => reason,
    }
}

fn with_action(probe: Option<&Probe>) -> Option<(&Probe, Action)> {
    probe.and_then(|probe| Some((probe, Action::of_probe(probe)?)))
}

fn seconds(value: Option<i32>, default: u64) -> Duration {
    Duration::from_secs(
        value.and_then(|value| u64::try_from(value).ok()).filter(|value| *value > 0).unwrap_or(default),
    )
}

fn threshold(value: Option<i32>, default: u32) -> u32 {
    value.and_then(|value| u32::try_from(value).ok()).filter(|value| *value > 0).unwrap_or(default)
}

/// One question; a failure is told as an event. Nothing is asked of a pod that sleeps, and what it was asked before is asked
/// again when it runs.
async fn ask(attempt: &Attempt<'_>, kind: &str, probe: &Probe, action: &Action) -> bool {
    let hibernation = &attempt.context.hibernation;
    let outcome = loop {
        hibernation.until_awake().await;
        let target = attempt.target();
        tokio::select! {
            biased;
            () = hibernation.until_not_awake() => {}
            outcome = target.perform(action, Some(seconds(probe.timeout_seconds, 1))) => break outcome,
        }
    };
    match outcome {
        Ok(()) => true,
        Err(reason) => {
            attempt.event(EventType::Warning, "Unhealthy", format!("{kind} probe failed: {reason}"));
            false
        }
    }
}

/// The wait before the first question. Kubelet's own jitter is left out: the first question comes at once.
async fn initial_delay(attempt: &Attempt<'_>, probe: &Probe) {
    if probe.initial_delay_seconds.is_some_and(|delay| delay > 0) {
        attempt.clock().sleep(seconds(probe.initial_delay_seconds, 0)).await;
    }
}

async fn until_started(attempt: &Attempt<'_>, probe: &Probe, action: &Action) -> Result<(), String> {
    initial_delay(attempt, probe).await;
    let most = threshold(probe.failure_threshold, 3);
    for _ in 0..most {
        if ask(attempt, "Startup", probe, action).await {
            return Ok(());
        }
        attempt.clock().sleep(seconds(probe.period_seconds, 10)).await;
    }
    Err(format!("Container {} failed startup probe, will be restarted", attempt.container.name))
}

async fn follow_readiness(attempt: &Attempt<'_>, probe: &Probe, action: &Action) {
    initial_delay(attempt, probe).await;
    let (successes, failures) =
        (threshold(probe.success_threshold, 1), threshold(probe.failure_threshold, 3));
    let mut streak = (false, 0);
    loop {
        let answer = ask(attempt, "Readiness", probe, action).await;
        streak = if streak.0 == answer { (answer, streak.1 + 1) } else { (answer, 1) };
        let enough = if answer { successes } else { failures };
        if streak.1 >= enough
            && attempt.board().get(attempt.index).is_some_and(|record| record.ready != answer)
        {
            attempt.board().update(attempt.index, |record| record.ready = answer);
        }
        attempt.clock().sleep(seconds(probe.period_seconds, 10)).await;
    }
}

async fn until_dead(attempt: &Attempt<'_>, probe: &Probe, action: &Action) -> String {
    initial_delay(attempt, probe).await;
    let most = threshold(probe.failure_threshold, 3);
    let mut failures = 0;
    loop {
        failures = if ask(attempt, "Liveness", probe, action).await { 0 } else { failures + 1 };
        if failures >= most {
            return format!("Container {} failed liveness probe, will be restarted", attempt.container.name);
        }
        attempt.clock().sleep(seconds(probe.period_seconds, 10)).await;
    }
}
