//! Volumes that a call is working on.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tonic::Code;

use crate::driver::Refusal;

/// The ids of the volumes that a call is working on.
#[derive(Clone, Debug, Default)]
pub(crate) struct InFlight {
    ids: Arc<Mutex<HashSet<String>>>,
}

/// Keeps an id in [`InFlight`] until it is dropped.
#[derive(Debug)]
pub(crate) struct Entered {
    all: InFlight,
    id: String,
}

impl InFlight {
    /// Begins to work on `id`.
    ///
    /// # Errors
    /// `Aborted` while another call works on it.
    pub(crate) fn enter(&self, id: &str) -> Result<Entered, Refusal> {
        if self.lock().insert(id.to_owned()) {
            return Ok(Entered { all: self.clone(), id: id.to_owned() });
        }
        Err(Refusal::new(Code::Aborted, format!("there is already an operation on volume {id:?}")))
    }

    fn lock(&self) -> MutexGuard<'_, HashSet<String>> {
        self.ids.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Entered {
    fn drop(&mut self) {
        self.all.lock().remove(&self.id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_call_for_a_volume_is_aborted_until_the_first_ends() {
        let calls = InFlight::default();
        let first = calls.enter("pv-1").expect("free");
        let refusal = calls.enter("pv-1").expect_err("taken");
        assert_eq!(refusal.code, Code::Aborted);
        assert!(refusal.message.contains("already an operation"));
        assert!(calls.enter("pv-2").is_ok());
        drop(first);
        assert!(calls.enter("pv-1").is_ok());
    }
}
