//! Ending a container: preStop hook, SIGTERM, the grace period, SIGKILL, and its last message.

use std::io::Read as _;
use std::path::Path;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Container;
use rustix::process::Signal;
use tokio::sync::watch;

use super::attempt::Attempt;
use super::container::Directive;
use super::handler::Action;
use crate::events::EventType;
use crate::runtime::Exit;

/// A hook that used the whole grace period still leaves the process this long, as kubelet does.
const LEAST_GRACE: Duration = Duration::from_secs(2);
/// How long a killed process may take to go, in real time. One that hangs in a file system stays longer; the pod's
/// end then takes the file system away.
const KILL_LIMIT: Duration = Duration::from_secs(2);

/// Grace period of pods that don't say one.
pub(super) const DEFAULT_GRACE: Duration = Duration::from_secs(30);

/// Name of the file in an attempt's folder that appears at the container's `terminationMessagePath`.
pub(super) const MESSAGE_FILE: &str = "termination-log";
/// How many bytes of a termination message are kept.
const LONGEST_MESSAGE: u64 = 4096;

/// What the container left as its last message.
pub(super) fn message(container: &Container, place: &Path, code: i32) -> Option<String> {
    let mut text = Vec::new();
    let file = std::fs::File::open(place.join(MESSAGE_FILE)).ok()?;
    if let Err(error) = file.take(LONGEST_MESSAGE).read_to_end(&mut text) {
        tracing::debug!(container = container.name, code, %error, "termination message not read");
    }
    (!text.is_empty()).then(|| String::from_utf8_lossy(&text).into_owned())
}

/// Ends the process and returns how it ended. A directive that comes meanwhile can shorten the grace period.
pub(super) async fn terminate(attempt: &Attempt<'_>, directive: &mut watch::Receiver<Directive>) -> Exit {
    let process = &attempt.running.process;
    let clock = attempt.clock();
    if !attempt.context.hibernation.is_awake() {
        // whoever is stopped can neither answer a hook nor act upon a signal
        return kill(attempt).await;
    }
    let own = attempt
        .context
        .pod()
        .spec
        .as_ref()
        .and_then(|spec| spec.termination_grace_period_seconds)
        .map_or(DEFAULT_GRACE, |seconds| Duration::from_secs(u64::try_from(seconds).unwrap_or(0)));
    let full = clock::later(clock.now(), own);
    let mut deadline = Deadline { until: full, directive };
    deadline.shorten();
    tokio::select! {
        exit = process.wait() => return exit,
        () = pre_stop(attempt) => {}
        () = deadline.passed(clock) => {}
    }
    process.signal(Signal::TERM);
    if deadline.until > clock.now() {
        deadline.until = deadline.until.max(clock::later(clock.now(), LEAST_GRACE).min(full));
    }
    tokio::select! {
        exit = process.wait() => return exit,
        () = deadline.passed(clock) => {}
    }
    kill(attempt).await
}

async fn kill(attempt: &Attempt<'_>) -> Exit {
    let process = &attempt.running.process;
    process.signal(Signal::KILL);
    if let Ok(exit) = tokio::time::timeout(KILL_LIMIT, process.wait()).await {
        return exit;
    }
    tracing::warn!(
        pod = attempt.context.full_name(),
        container = attempt.container.name,
        "a killed process is still there after {KILL_LIMIT:?}: it hangs in the kernel"
    );
    Exit::Signal(Signal::KILL.as_raw())
}

async fn pre_stop(attempt: &Attempt<'_>) {
    let hook = attempt.container.lifecycle.as_ref().and_then(|lifecycle| lifecycle.pre_stop.as_ref());
    let Some(action) = hook.and_then(Action::of_hook) else { return };
    if let Err(reason) = attempt.target().perform(&action, None).await {
        attempt.event(EventType::Warning, "FailedPreStopHook", format!("PreStopHook failed: {reason}"));
    }
}

/// An instant that directives can bring forward.
struct Deadline<'a> {
    until: Timestamp,
    directive: &'a mut watch::Receiver<Directive>,
}

impl Deadline<'_> {
    fn shorten(&mut self) {
        if let Directive::Stop(until) = &*self.directive.borrow_and_update() {
            self.until = self.until.min(*until);
        }
    }

    async fn passed(&mut self, clock: &clock::SharedClock) {
        loop {
            tokio::select! {
                () = clock.sleep_until(self.until) => return,
                changed = self.directive.changed() => match changed {
                    Ok(()) => self.shorten(),
                    Err(_) => return,
                }
            }
        }
    }
}
