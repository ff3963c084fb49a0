//! Waiting for a condition, always with a named deadline and the last state.

use std::time::{Duration, Instant};

/// How often a condition is looked at.
const PAUSE: Duration = Duration::from_millis(20);

/// Looks at a condition until it holds, and returns what it then gives.
///
/// # Panics
/// When `limit` has passed; the message names the deadline and says the last state that `look` returned as an error.
pub fn wait_until<T>(deadline: &str, limit: Duration, look: impl FnMut() -> Result<T, String>) -> T {
    within(limit, look).unwrap_or_else(|last| panic!("{deadline} of {limit:?} passed; last state: {last}"))
}

/// Looks at a condition until it holds or `limit` has passed.
///
/// # Errors
/// The last state.
pub fn within<T>(limit: Duration, mut look: impl FnMut() -> Result<T, String>) -> Result<T, String> {
    let started = Instant::now();
    loop {
        match look() {
            Ok(value) => return Ok(value),
            Err(last) if started.elapsed() >= limit => return Err(last),
            Err(_) => pause(),
        }
    }
}

#[allow(clippy::disallowed_methods, reason = "the pause between two looks at a condition with a deadline")]
fn pause() {
    std::thread::sleep(PAUSE);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_condition_that_comes_true_ends_the_wait() {
        let mut looks = 0;
        let seen = within(Duration::from_secs(10), || {
            looks += 1;
            if looks == 3 { Ok(looks) } else { Err(String::new()) }
        });
        assert_eq!(seen, Ok(3));
    }

    #[test]
    #[should_panic(expected = "example deadline of 0ns passed; last state: blue")]
    fn a_deadline_says_its_name_and_the_last_state() {
        wait_until("example deadline", Duration::ZERO, || Err::<(), _>("blue".to_owned()));
    }
}
