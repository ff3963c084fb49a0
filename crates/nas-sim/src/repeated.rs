//! Calls that come twice: a client whose connection broke asks again what it got no answer to, and a REMOVE or a
//! CREATE that is carried out twice would answer something else the second time.

use std::collections::{HashMap, VecDeque};
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};

/// How many answers are kept.
const MOST: usize = 1024;

/// What makes two calls the same one.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub(crate) struct Key {
    pub(crate) client: IpAddr,
    pub(crate) id: u32,
    pub(crate) procedure: u32,
    /// A hash of the arguments.
    pub(crate) arguments: u64,
}

/// Whether a call came before.
#[derive(Debug, Eq, PartialEq)]
pub(crate) enum Seen {
    /// No; whoever asks has to carry it out and keep its answer.
    Never,
    /// Yes, and it is being carried out.
    AtWork,
    /// Yes, with this answer.
    Answered(Vec<u8>),
}

/// The answers to the calls that were carried out last.
#[derive(Debug, Default)]
pub(crate) struct Repeated(Mutex<Kept>);

#[derive(Debug, Default)]
struct Kept {
    answers: HashMap<Key, Option<Vec<u8>>>,
    order: VecDeque<Key>,
}

impl Repeated {
    pub(crate) fn begin(&self, key: Key) -> Seen {
        let mut kept = self.lock();
        match kept.answers.get(&key) {
            Some(Some(answer)) => return Seen::Answered(answer.clone()),
            Some(None) => return Seen::AtWork,
            None => {}
        }
        kept.answers.insert(key, None);
        kept.order.push_back(key);
        if kept.order.len() > MOST
            && let Some(oldest) = kept.order.pop_front()
        {
            kept.answers.remove(&oldest);
        }
        Seen::Never
    }

    /// Forgets them, as a restart does.
    pub(crate) fn clear(&self) {
        *self.lock() = Kept::default();
    }

    pub(crate) fn end(&self, key: Key, answer: &[u8]) {
        if let Some(kept) = self.lock().answers.get_mut(&key) {
            *kept = Some(answer.to_owned());
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Kept> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether carrying a procedure of NFS out twice is not the same as once.
pub(crate) fn matters(procedure: u32) -> bool {
    // SETATTR, CREATE to LINK
    procedure == 2 || (8..=15).contains(&procedure)
}
