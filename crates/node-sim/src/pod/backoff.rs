//! How long a container that ended waits before it is started again.

use std::time::Duration;

/// Kubelet's rule: at once the first time, then 10 s, doubled each time up to five minutes; a run of ten minutes is
/// a fresh start.
#[derive(Debug, Default)]
pub(crate) struct Backoff {
    next: Option<Duration>,
}

const FIRST: Duration = Duration::from_secs(10);
const LONGEST: Duration = Duration::from_secs(300);

impl Backoff {
    /// The wait after an attempt that lasted `ran_for`.
    pub(crate) fn after(&mut self, ran_for: Duration) -> Duration {
        if ran_for >= 2 * LONGEST {
            self.next = None;
        }
        match self.next {
            None => {
                self.next = Some(FIRST);
                Duration::ZERO
            }
            Some(wait) => {
                self.next = Some((wait * 2).min(LONGEST));
                wait
            }
        }
    }

    /// The wait after an attempt that did not even start, such as a failed pull.
    pub(crate) fn after_failure(&mut self) -> Duration {
        let wait = self.next.unwrap_or(FIRST);
        self.next = Some((wait * 2).min(LONGEST));
        wait
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_five_minutes_and_start_afresh_after_a_long_run() {
        let mut backoff = Backoff::default();
        let short = Duration::from_secs(1);
        let waits: Vec<_> = (0..8).map(|_| backoff.after(short).as_secs()).collect();
        assert_eq!(waits, [0, 10, 20, 40, 80, 160, 300, 300]);
        assert_eq!(backoff.after(Duration::from_secs(600)), Duration::ZERO);
        assert_eq!(backoff.after(short).as_secs(), 10);
    }

    #[test]
    fn failed_pulls_wait_from_the_first_one_on() {
        let mut backoff = Backoff::default();
        let waits: Vec<_> = (0..3).map(|_| backoff.after_failure().as_secs()).collect();
        assert_eq!(waits, [10, 20, 40]);
    }
}
