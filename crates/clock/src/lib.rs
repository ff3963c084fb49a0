//! The one source of time.
//!
//! No component asks the machine for the time by itself: a [`SharedClock`] comes in from outside. In production and
//! on real clusters that is [`SystemClock`]; the embedded lab uses a [`SimulatedClock`], which runs along with real
//! time and can be moved forward by a scenario's `advance` step, waking whoever sleeps past the new instant.
//!
//! Real input and output (sockets, file systems) cannot be moved: limits on those are measured with
//! [`tokio::time`], not with this clock.

use std::fmt::Debug;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt as _;
use futures::future::BoxFuture;
use jiff::{SignedDuration, Timestamp};
use tokio::sync::watch;

/// A clock that a component is given and never makes.
pub trait Clock: Debug + Send + Sync {
    /// The current instant.
    fn now(&self) -> Timestamp;

    /// Completes once [`Clock::now`] is at or after `deadline`; at once when it already is.
    fn sleep_until(&self, deadline: Timestamp) -> BoxFuture<'static, ()>;

    /// Completes after `duration` of this clock's time.
    fn sleep(&self, duration: Duration) -> BoxFuture<'static, ()> {
        self.sleep_until(later(self.now(), duration))
    }
}

/// A clock shared by every part of a component.
pub type SharedClock = Arc<dyn Clock>;

/// `instant` plus `duration`; the last representable instant where that would overflow.
pub fn later(instant: Timestamp, duration: Duration) -> Timestamp {
    SignedDuration::try_from(duration)
        .ok()
        .and_then(|duration| instant.checked_add(duration).ok())
        .unwrap_or(Timestamp::MAX)
}

fn until(now: Timestamp, deadline: Timestamp) -> Duration {
    Duration::try_from(deadline.duration_since(now)).unwrap_or(Duration::ZERO)
}

/// The machine's own clock.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl SystemClock {
    /// The system clock as a [`SharedClock`].
    pub fn shared() -> SharedClock {
        Arc::new(Self)
    }
}

impl Clock for SystemClock {
    #[allow(clippy::disallowed_methods, reason = "the one place where the machine's time enters")]
    fn now(&self) -> Timestamp {
        Timestamp::now()
    }

    fn sleep_until(&self, deadline: Timestamp) -> BoxFuture<'static, ()> {
        tokio::time::sleep(until(self.now(), deadline)).boxed()
    }
}

/// Real time plus an offset that only grows.
#[derive(Clone, Debug)]
pub struct SimulatedClock {
    offset: Arc<watch::Sender<SignedDuration>>,
}

impl Default for SimulatedClock {
    fn default() -> Self {
        Self { offset: Arc::new(watch::Sender::new(SignedDuration::ZERO)) }
    }
}

impl SimulatedClock {
    /// Moves this clock, and every clone of it, forward by `duration` and wakes the sleepers whose deadline passed.
    pub fn advance(&self, duration: Duration) {
        let step = SignedDuration::try_from(duration).unwrap_or(SignedDuration::MAX);
        self.offset.send_modify(|offset| *offset = offset.saturating_add(step));
    }

    fn at(offset: SignedDuration) -> Timestamp {
        let real = SystemClock.now();
        real.checked_add(offset).unwrap_or(Timestamp::MAX)
    }
}

impl Clock for SimulatedClock {
    fn now(&self) -> Timestamp {
        Self::at(*self.offset.borrow())
    }

    fn sleep_until(&self, deadline: Timestamp) -> BoxFuture<'static, ()> {
        let mut offset = self.offset.subscribe();
        async move {
            loop {
                let left = until(Self::at(*offset.borrow_and_update()), deadline);
                if left.is_zero() {
                    return;
                }
                tokio::select! {
                    () = tokio::time::sleep(left) => {}
                    moved = offset.changed() => if moved.is_err() {
                        tokio::time::sleep(left).await;
                    }
                }
            }
        }
        .boxed()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: Duration = Duration::from_secs(5);

    #[tokio::test]
    async fn advancing_wakes_a_sleeper_whose_deadline_has_passed() {
        let clock = SimulatedClock::default();
        let sleeper = tokio::spawn(clock.sleep(Duration::from_secs(300)));
        clock.advance(Duration::from_secs(299));
        assert!(!sleeper.is_finished());
        clock.advance(Duration::from_secs(2));
        tokio::time::timeout(LIMIT, sleeper).await.expect("woken by advance").expect("no panic");
    }

    #[tokio::test]
    async fn a_deadline_in_the_past_is_no_wait() {
        let clock = SimulatedClock::default();
        let past = clock.now() - SignedDuration::from_secs(1);
        assert!(clock.sleep_until(past).now_or_never().is_some());
    }

    #[test]
    fn time_never_overflows() {
        assert_eq!(later(Timestamp::MAX, Duration::from_secs(1)), Timestamp::MAX);
        assert_eq!(later(Timestamp::UNIX_EPOCH, Duration::MAX), Timestamp::MAX);
    }

    #[test]
    fn clones_share_the_offset() {
        let clock = SimulatedClock::default();
        let before = clock.now();
        clock.clone().advance(Duration::from_secs(3600));
        assert!(clock.now().duration_since(before) >= SignedDuration::from_secs(3600));
    }
}
