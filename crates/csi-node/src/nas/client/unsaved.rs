//! What is written to a file and not on the server's disk yet.
//!
//! ```text
//!   write ─► gathering (small writes side by side) ─► queue ─► flying (WRITE under way) ─► kept ─► COMMIT ─► gone
//!                                                       ▲                                    │
//!                                                       └─── the server has restarted ◄──────┘
//! ```
//!
//! A server may answer a WRITE before the bytes are on its disk. They are kept until a COMMIT says that they are; if
//! the server's verifier changes meanwhile it has restarted, may have lost them, and gets them again. Two writes of
//! the same bytes are never under way at once, so that the later one wins.

use std::collections::{BTreeMap, VecDeque};
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::{Bytes, BytesMut};
use nfs3_types::nfs3::{stable_how, writeverf3};
use nix::errno::Errno;
use tokio::sync::{Notify, OwnedSemaphorePermit};

use super::super::rpc::Caller;

/// WRITEs of one file that are under way at once.
const MOST_FLYING: usize = 8;

/// A piece of a file, and the memory that it takes.
#[derive(Clone, Debug)]
pub(super) struct Piece {
    pub(super) at: u64,
    pub(super) data: Bytes,
    /// Who opened the file.
    pub(super) who: Caller,
    pub(super) stable: stable_how,
    _room: Arc<OwnedSemaphorePermit>,
}

impl Piece {
    fn range(&self) -> Range<u64> {
        self.at..self.at + self.data.len() as u64
    }

    fn part(&self, range: Range<u64>) -> Self {
        let index = |at: u64| usize::try_from(at - self.at).unwrap_or(usize::MAX).min(self.data.len());
        let data = self.data.slice(index(range.start)..index(range.end));
        Self { at: range.start, data, stable: stable_how::UNSTABLE, ..self.clone() }
    }
}

#[derive(Debug)]
struct Gathering {
    at: u64,
    data: BytesMut,
    who: Caller,
    room: OwnedSemaphorePermit,
}

/// What a server says of a WRITE.
#[derive(Clone, Copy, Debug)]
pub(super) struct Written {
    /// How many bytes it took.
    pub(super) count: usize,
    /// Whether they are on its disk.
    pub(super) committed: stable_how,
    pub(super) stamp: Stamp,
}

/// By what a restart of the server is noticed.
#[derive(Clone, Copy, Debug)]
pub(super) struct Stamp {
    /// Another one after each start.
    pub(super) verifier: writeverf3,
    /// How many connections there had been when the WRITE began: a restart takes the next one.
    pub(super) connections: u64,
}

#[derive(Debug)]
struct Kept {
    piece: Piece,
    stamp: Stamp,
    /// Tells a piece from a later one at the same place.
    serial: u64,
}

#[derive(Debug, Default)]
struct State {
    gathering: Option<Gathering>,
    queue: VecDeque<Piece>,
    flying: Vec<Range<u64>>,
    kept: BTreeMap<u64, Kept>,
    kept_bytes: u64,
    committing: bool,
    failed: Option<Errno>,
    serial: u64,
}

/// What is left to do until everything is saved.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Step {
    /// Nothing.
    Done,
    /// Wait until something moves.
    Wait,
    /// Send a COMMIT; whoever gets this answer is the one to do it.
    Commit,
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Unsaved {
    state: Mutex<State>,
    moved: Notify,
}

/// What a COMMIT that is being sent is about.
#[derive(Debug)]
pub(super) struct Committing {
    pub(super) who: Caller,
    serials: Vec<(u64, u64)>,
}

impl Unsaved {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Resolves when something has moved after this call.
    pub(super) fn moved(&self) -> impl Future<Output = ()> {
        self.moved.notified()
    }

    pub(super) fn is_empty(&self) -> bool {
        let state = self.state();
        state.is_settled() && state.kept.is_empty()
    }

    /// Whether the server has seen everything.
    pub(super) fn is_settled(&self) -> bool {
        self.state().is_settled()
    }

    /// Whether the server hasn't seen all of `range` yet.
    pub(super) fn covers(&self, range: &Range<u64>) -> bool {
        let state = self.state();
        state.unseen().any(|unseen| overlap(&unseen, range))
    }

    /// Whether the server may have lost some of `range`: there have been `connections` by now, and the one that it was
    /// written over is not the last.
    pub(super) fn doubts(&self, range: &Range<u64>, connections: u64) -> bool {
        let state = self.state();
        let below = state.kept.range(..range.end).rev();
        let mut inside = below.take_while(|(_, kept)| kept.piece.range().end > range.start);
        inside.any(|(_, kept)| kept.stamp.connections != connections)
    }

    /// Where what the server hasn't seen or may still lose ends; 0 if there is nothing.
    pub(super) fn end(&self) -> u64 {
        let state = self.state();
        let kept = state.kept.values().next_back().map_or(0, |kept| kept.piece.range().end);
        state.unseen().map(|range| range.end).max().unwrap_or(0).max(kept)
    }

    /// The failure that lost data, until it is told by [`Self::take_failure`].
    pub(super) fn failure(&self) -> Option<Errno> {
        self.state().failed
    }

    pub(super) fn take_failure(&self) -> Option<Errno> {
        self.state().failed.take()
    }

    /// Adds a write. Answers whether a piece was begun that nobody sends unless it is told to: small writes wait for
    /// their neighbours until there are `size` bytes.
    pub(super) fn add(
        &self,
        at: u64,
        data: Bytes,
        who: Caller,
        room: OwnedSemaphorePermit,
        size: usize,
    ) -> bool {
        let mut state = self.state();
        if let Some(gathering) = &mut state.gathering {
            if gathering.takes(at, data.len(), size) {
                gathering.put(at, &data, room);
                if gathering.data.len() >= size {
                    state.end_gathering(stable_how::UNSTABLE);
                }
                return false;
            }
            state.end_gathering(stable_how::UNSTABLE);
        }
        if data.len() * 2 > size {
            let room = Arc::new(room);
            state.queue.push_back(Piece { at, data, who, stable: stable_how::UNSTABLE, _room: room });
            return false;
        }
        state.gathering = Some(Gathering { at, data: BytesMut::from(data.as_ref()), who, room });
        true
    }

    /// Lets the piece that is being gathered go. With nothing else around it, the server may as well put it on its
    /// disk at once, which saves a COMMIT.
    pub(super) fn release(&self, saving: bool) {
        let mut state = self.state();
        let alone = state.queue.is_empty() && state.flying.is_empty() && state.kept.is_empty();
        let stable = if saving && alone { stable_how::FILE_SYNC } else { stable_how::UNSTABLE };
        state.end_gathering(stable);
    }

    /// The next piece to send, which then counts as flying.
    pub(super) fn next(&self) -> Option<Piece> {
        let mut state = self.state();
        if state.flying.len() >= MOST_FLYING {
            return None;
        }
        let range = state.queue.front()?.range();
        if state.flying.iter().any(|flying| overlap(flying, &range)) {
            return None;
        }
        state.flying.push(range);
        state.queue.pop_front()
    }

    /// Notes what became of `piece`. Answers how many bytes wait for a COMMIT.
    pub(super) fn sent(&self, piece: &Piece, outcome: Result<Written, Errno>) -> u64 {
        let mut state = self.state();
        let range = piece.range();
        if let Some(index) = state.flying.iter().position(|flying| *flying == range) {
            state.flying.swap_remove(index);
        }
        match outcome {
            Ok(Written { count: 0, .. }) => state.failed = Some(Errno::EIO),
            Err(error) => state.failed = Some(error),
            Ok(Written { count, committed, stamp }) => {
                let middle = (range.start + count as u64).min(range.end);
                if middle < range.end {
                    state.queue.push_front(piece.part(middle..range.end));
                }
                if committed == stable_how::UNSTABLE {
                    state.keep(piece.part(range.start..middle), stamp);
                }
            }
        }
        let bytes = state.kept_bytes;
        drop(state);
        self.moved.notify_waiters();
        bytes
    }

    /// What is to be done next so that everything gets saved.
    pub(super) fn step(&self) -> Step {
        let state = self.state();
        match (state.is_settled(), state.kept.is_empty() && !state.committing) {
            (true, true) => Step::Done,
            (true, false) if !state.committing => Step::Commit,
            _ => Step::Wait,
        }
    }

    /// Begins a COMMIT of what is kept, if there is something and no other one is under way.
    pub(super) fn begin_commit(&self) -> Option<Committing> {
        let mut state = self.state();
        if state.committing {
            return None;
        }
        let who = state.kept.values().next()?.piece.who.clone();
        state.committing = true;
        let serials = state.kept.iter().map(|(at, kept)| (*at, kept.serial)).collect();
        Some(Committing { who, serials })
    }

    /// Notes what became of a COMMIT: the server's verifier.
    pub(super) fn committed(&self, what: Committing, outcome: Result<writeverf3, Errno>) {
        let mut state = self.state();
        state.committing = false;
        match outcome {
            Ok(verifier) => {
                for (at, serial) in what.serials {
                    if let Some(kept) = state.kept.get(&at).filter(|kept| kept.serial == serial) {
                        let lost = kept.stamp.verifier != verifier;
                        state.unkeep(at, lost);
                    }
                }
            }
            Err(error) => {
                state.failed = Some(error);
                state.kept.clear();
                state.kept_bytes = 0;
            }
        }
        drop(state);
        self.moved.notify_waiters();
    }

    /// Drops what is kept at and behind `size`: the file has been cut there.
    pub(super) fn cut(&self, size: u64) {
        let mut state = self.state();
        let kept = std::mem::take(&mut state.kept);
        state.kept_bytes = 0;
        for (_, Kept { piece, stamp, serial }) in kept {
            let range = piece.range();
            if range.start < size {
                let piece = piece.part(range.start..range.end.min(size));
                state.kept_bytes += piece.data.len() as u64;
                state.kept.insert(piece.at, Kept { piece, stamp, serial });
            }
        }
        drop(state);
        // Whoever was about to have it committed finds nothing left to do.
        self.moved.notify_waiters();
    }
}

impl Gathering {
    fn takes(&self, at: u64, length: usize, size: usize) -> bool {
        let end = self.at + self.data.len() as u64;
        let room = usize::try_from(at.saturating_sub(self.at)).unwrap_or(usize::MAX).saturating_add(length);
        at >= self.at && at <= end && room <= size
    }

    fn put(&mut self, at: u64, data: &[u8], room: OwnedSemaphorePermit) {
        let from = usize::try_from(at - self.at).unwrap_or(usize::MAX);
        let over = (self.data.len() - from).min(data.len());
        self.data[from..from + over].copy_from_slice(&data[..over]);
        self.data.extend_from_slice(&data[over..]);
        self.room.merge(room);
    }
}

impl State {
    fn is_settled(&self) -> bool {
        self.gathering.is_none() && self.queue.is_empty() && self.flying.is_empty()
    }

    fn unseen(&self) -> impl Iterator<Item = Range<u64>> {
        let gathering = self.gathering.iter().map(|it| it.at..it.at + it.data.len() as u64);
        gathering.chain(self.queue.iter().map(Piece::range)).chain(self.flying.iter().cloned())
    }

    fn end_gathering(&mut self, stable: stable_how) {
        if let Some(Gathering { at, data, who, room }) = self.gathering.take() {
            self.queue.push_back(Piece { at, data: data.freeze(), who, stable, _room: Arc::new(room) });
        }
    }

    fn keep(&mut self, piece: Piece, stamp: Stamp) {
        let range = piece.range();
        // What was there before has been overwritten.
        let below = self.kept.range(..range.end).rev();
        let overwritten: Vec<u64> =
            below.take_while(|(_, kept)| kept.piece.range().end > range.start).map(|(at, _)| *at).collect();
        for at in overwritten {
            let Some(Kept { piece, stamp, .. }) = self.kept.remove(&at) else { continue };
            let old = piece.range();
            self.kept_bytes -= old.end - old.start;
            for rest in [old.start..range.start.max(old.start), range.end.min(old.end)..old.end] {
                if rest.start < rest.end {
                    self.insert(piece.part(rest), stamp);
                }
            }
        }
        let lost: Vec<u64> = self
            .kept
            .iter()
            .filter(|(_, kept)| kept.stamp.verifier != stamp.verifier)
            .map(|(at, _)| *at)
            .collect();
        for at in lost {
            self.unkeep(at, true);
        }
        self.insert(piece, stamp);
    }

    fn insert(&mut self, piece: Piece, stamp: Stamp) {
        self.serial += 1;
        self.kept_bytes += piece.data.len() as u64;
        self.kept.insert(piece.at, Kept { piece, stamp, serial: self.serial });
    }

    /// The piece at `at` is on the server's disk, or is `lost` and must go there again.
    fn unkeep(&mut self, at: u64, lost: bool) {
        if let Some(kept) = self.kept.remove(&at) {
            self.kept_bytes -= kept.piece.data.len() as u64;
            if lost {
                // Not where something newer is on its way.
                for rest in without(kept.piece.range(), self.unseen()) {
                    self.queue.push_front(kept.piece.part(rest));
                }
            }
        }
    }
}

/// What is left of `range` without `others`.
fn without(range: Range<u64>, others: impl Iterator<Item = Range<u64>>) -> Vec<Range<u64>> {
    others.fold(vec![range], |rest, other| {
        let around =
            |part: Range<u64>| [part.start..part.end.min(other.start), part.start.max(other.end)..part.end];
        rest.into_iter().flat_map(around).filter(|part| part.start < part.end).collect()
    })
}

fn overlap(one: &Range<u64>, other: &Range<u64>) -> bool {
    one.start < other.end && other.start < one.end
}
