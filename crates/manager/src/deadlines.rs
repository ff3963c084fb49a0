//! When a sandbox ends (`e2b-api.md` §7).
//!
//! Two instants are stored on the Sandbox, in whole seconds; the controller acts on them. With automatic pause the
//! sandbox pauses at the first and is deleted at the second; without, only the second exists. A sandbox with neither
//! never ends by itself, and no later call gives it a deadline.

use std::time::Duration;

use contract::crd::SandboxSpec;
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use serde_json::{Value, json};

/// `endAt` of a sandbox that never ends.
pub(crate) const NEVER: &str = "0001-01-01T00:00:00Z";

/// The stored instants.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Deadlines {
    /// When the sandbox is paused.
    pub pause: Option<Timestamp>,
    /// When it is deleted.
    pub shutdown: Option<Timestamp>,
}

impl Deadlines {
    /// The deadlines of a new sandbox; `retention` is how long it is kept once it has paused by itself.
    pub(crate) fn after(now: Timestamp, timeout: Duration, auto_pause: bool, retention: Duration) -> Self {
        let end = whole_seconds(clock::later(now, timeout));
        if auto_pause {
            Self { pause: Some(end), shutdown: Some(whole_seconds(clock::later(end, retention))) }
        } else {
            Self { pause: None, shutdown: Some(end) }
        }
    }

    /// The deadlines stored on a sandbox.
    pub(crate) fn of(spec: &SandboxSpec) -> Self {
        let instant = |time: &Option<Time>| time.as_ref().map(|time| time.0);
        Self { pause: instant(&spec.pause_time), shutdown: instant(&spec.shutdown_time) }
    }

    /// The members of a merge patch of the spec that store them.
    pub(crate) fn patch(self) -> Value {
        json!({"pauseTime": self.pause.map(Time), "shutdownTime": self.shutdown.map(Time)})
    }

    /// When the sandbox stops running: what users see as `endAt`.
    pub(crate) fn end(self) -> Option<Timestamp> {
        self.pause.or(self.shutdown)
    }

    /// The deadlines after a new timeout was set; unchanged for a sandbox that never ends.
    #[must_use]
    pub(crate) fn replaced(self, now: Timestamp, timeout: Duration, retention: Duration) -> Self {
        match self.end() {
            Some(_) => Self::after(now, timeout, self.pause.is_some(), retention),
            None => self,
        }
    }

    /// The deadlines of a sandbox that is paused now and kept for `retention`; unchanged for one that never ends.
    #[must_use]
    pub(crate) fn paused(self, now: Timestamp, retention: Duration) -> Self {
        let until = whole_seconds(clock::later(now, retention));
        match self.end() {
            Some(_) => Self { pause: self.pause.map(|_| until), shutdown: Some(until) },
            None => self,
        }
    }

    /// Like [`Deadlines::replaced`], but only ever later.
    #[must_use]
    pub(crate) fn extended(self, now: Timestamp, timeout: Duration, retention: Duration) -> Self {
        let replaced = self.replaced(now, timeout, retention);
        if replaced.end() > self.end() { replaced } else { self }
    }
}

/// `endAt` as users read it.
pub(crate) fn end_text(end: Option<Timestamp>) -> String {
    end.map_or_else(|| NEVER.to_owned(), |end| whole_seconds(end).to_string())
}

fn whole_seconds(instant: Timestamp) -> Timestamp {
    Timestamp::from_second(instant.as_second()).unwrap_or(instant)
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    const HOUR: Duration = Duration::from_secs(3600);

    fn at(text: &str) -> Timestamp {
        text.parse().expect("a time")
    }

    fn now() -> Timestamp {
        at("2026-11-24T03:00:00.75Z")
    }

    #[test]
    fn without_automatic_pause_only_the_end_is_stored() {
        let deadlines = Deadlines::after(now(), Duration::from_secs(300), false, HOUR);
        assert_eq!(deadlines, Deadlines { pause: None, shutdown: Some(at("2026-11-24T03:05:00Z")) });
    }

    #[test]
    fn with_automatic_pause_the_end_is_the_retention_later() {
        let deadlines = Deadlines::after(now(), Duration::from_secs(300), true, HOUR);
        let pause = at("2026-11-24T03:05:00Z");
        assert_eq!(deadlines, Deadlines { pause: Some(pause), shutdown: Some(at("2026-11-24T04:05:00Z")) });
        assert_eq!(end_text(deadlines.end()), "2026-11-24T03:05:00Z");
    }

    #[rstest]
    #[case::never(Deadlines::default(), 60, Deadlines::default(), Deadlines::default())]
    #[case::shorter(ends("03:05:00"), 60, ends("03:01:00"), ends("03:05:00"))]
    #[case::longer(ends("03:05:00"), 600, ends("03:10:00"), ends("03:10:00"))]
    #[case::equal(ends("03:05:00"), 300, ends("03:05:00"), ends("03:05:00"))]
    fn set_timeout_replaces_and_connect_extends(
        #[case] before: Deadlines,
        #[case] seconds: u64,
        #[case] replaced: Deadlines,
        #[case] extended: Deadlines,
    ) {
        let timeout = Duration::from_secs(seconds);
        assert_eq!(before.replaced(now(), timeout, HOUR), replaced);
        assert_eq!(before.extended(now(), timeout, HOUR), extended);
    }

    #[test]
    fn automatic_pause_stays_automatic() {
        let before = Deadlines::after(now(), Duration::from_secs(300), true, HOUR);
        let after = before.replaced(now(), Duration::from_secs(60), HOUR);
        assert_eq!(after, Deadlines::after(now(), Duration::from_secs(60), true, HOUR));
        assert_eq!(before.extended(now(), Duration::from_secs(60), HOUR), before);
    }

    #[test]
    fn a_pause_keeps_the_sandbox_for_the_retention() {
        let until = Some(at("2026-11-24T04:00:00Z"));
        let timed = Deadlines::after(now(), Duration::from_secs(300), false, HOUR);
        assert_eq!(timed.paused(now(), HOUR), Deadlines { pause: None, shutdown: until });
        let automatic = Deadlines::after(now(), Duration::from_secs(300), true, HOUR);
        assert_eq!(automatic.paused(now(), HOUR), Deadlines { pause: until, shutdown: until });
        assert_eq!(Deadlines::default().paused(now(), HOUR), Deadlines::default());
    }

    #[test]
    fn never_is_the_year_one() {
        assert_eq!(end_text(None), "0001-01-01T00:00:00Z");
    }

    fn ends(time: &str) -> Deadlines {
        Deadlines { pause: None, shutdown: Some(at(&format!("2026-11-24T{time}Z"))) }
    }
}
