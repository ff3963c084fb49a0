//! Reads an unchanged object, ahead of the program that reads it.
//!
//! While the reads of a handle follow each other, ranges after the current one are fetched at the same time, few
//! and short at first, then up to [`DEPTH`] of [`LONGEST`] bytes. A read is answered as soon as its own bytes are
//! there, and not when its range is complete. A read elsewhere fetches just its own bytes.
//!
//! A range's buffer is used again for a later one: memory that is new to the process costs more than what is copied
//! into it.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::spare::Spare;
use crate::s3::{Bucket, ObjectBody, S3Error};

/// First range of a sequence, in bytes.
const SHORTEST: u64 = 1 << 20;
/// Longest range, in bytes.
const LONGEST: u64 = 4 << 20;
/// Ranges under way at once.
const DEPTH: usize = 4;
/// A read this far behind the newest one still belongs to the sequence: the kernel reads ahead in parallel.
const BEHIND: u64 = 2 << 20;

/// Which version of which object is read.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Source {
    /// Full key.
    pub(super) key: String,
    /// Version.
    pub(super) etag: String,
    /// Length in bytes.
    pub(super) size: u64,
}

/// The reader of one open handle.
#[derive(Debug)]
pub(super) struct Reader {
    bucket: Bucket,
    source: Source,
    /// Reads that need no waiting come from threads of the kernel's side, which are not the runtime's.
    runtime: Handle,
    window: Mutex<Window>,
    spare: Arc<Spare>,
}

#[derive(Debug, Default)]
struct Window {
    ranges: VecDeque<Arc<Ahead>>,
    /// End of the furthest read.
    reached: u64,
    /// Length of the next range.
    next_length: u64,
}

/// One range under way, or there.
#[derive(Debug)]
struct Ahead {
    range: Range<u64>,
    data: Mutex<Vec<u8>>,
    progress: watch::Sender<Progress>,
    task: Mutex<Option<JoinHandle<()>>>,
    spare: Arc<Spare>,
}

#[derive(Clone, Debug, Default)]
struct Progress {
    /// Bytes that are there.
    length: u64,
    failure: Option<Arc<S3Error>>,
}

impl Drop for Ahead {
    fn drop(&mut self) {
        if let Some(task) = lock(&self.task).take() {
            task.abort();
        }
        self.spare.give(std::mem::take(&mut *lock(&self.data)));
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Reader {
    /// A reader of `source`, which fetches on the present runtime.
    pub(super) fn new(bucket: Bucket, source: Source) -> Self {
        let window = Mutex::new(Window { next_length: SHORTEST, ..Window::default() });
        Self { bucket, source, runtime: Handle::current(), window, spare: Arc::default() }
    }

    /// A reader of `source` whose first `asked` bytes are `body`, which is on its way.
    pub(super) fn of_body(bucket: Bucket, source: Source, asked: u64, body: ObjectBody) -> Self {
        let reader = Self::new(bucket, source);
        let ahead = reader.buffer(0..asked.min(reader.source.size));
        let weak = Arc::downgrade(&ahead);
        ahead.run(&reader.runtime, async move { receive(&weak, body).await });
        lock(&reader.window).ranges.push_back(ahead);
        reader
    }

    /// What is read.
    pub(super) fn source(&self) -> &Source {
        &self.source
    }

    /// Begins to fetch the beginning, before anybody reads.
    pub(super) fn prefetch(&self) {
        self.extend(&mut lock(&self.window), 0);
    }

    /// Gives the bytes of `range` to `take` if they are here already; answers whether they were.
    pub(super) fn try_read(&self, range: Range<u64>, take: impl FnOnce(&[u8])) -> bool {
        let range = self.clip(range);
        if range.is_empty() {
            take(&[]);
            return true;
        }
        let Some(ahead) = self.enter(&range).filter(|ahead| range.end <= ahead.range.end) else {
            return false;
        };
        let there = ahead.progress.borrow().length >= range.end - ahead.range.start;
        if there {
            ahead.with(&range, take);
        }
        there
    }

    /// Gives the bytes of `range`, shorter at the end of the object, to `take`.
    ///
    /// # Errors
    /// When the object has changed or gone, or the store can't be reached.
    pub(super) async fn read<T>(
        &self,
        range: Range<u64>,
        take: impl FnOnce(&[u8]) -> T,
    ) -> Result<T, Arc<S3Error>> {
        let range = self.clip(range);
        if range.is_empty() {
            return Ok(take(&[]));
        }
        if let Some(ahead) = self.enter(&range)
            && range.end <= ahead.range.end
        {
            ahead.wait_for(range.end).await?;
            return Ok(ahead.with(&range, take));
        }
        let mut bytes = Vec::with_capacity(usize::try_from(range.end - range.start).unwrap_or(0));
        let mut at = range.start;
        while at < range.end {
            let rest = at..range.end;
            if let Some(ahead) = self.enter(&rest) {
                let part = at..range.end.min(ahead.range.end);
                ahead.wait_for(part.end).await?;
                ahead.with(&part, |data| bytes.extend_from_slice(data));
                at = part.end;
            } else {
                self.fetch(rest, &mut bytes).await.map_err(Arc::new)?;
                at = range.end;
            }
        }
        Ok(take(&bytes))
    }

    fn clip(&self, range: Range<u64>) -> Range<u64> {
        range.start..range.end.min(self.source.size).max(range.start)
    }

    /// The range under way that holds the beginning of `range`, if the read belongs to a sequence.
    fn enter(&self, range: &Range<u64>) -> Option<Arc<Ahead>> {
        let mut window = lock(&self.window);
        let ahead_of_all = window.ranges.back().map_or(window.reached, |last| last.range.end);
        let sequential = range.start.saturating_add(BEHIND) >= window.reached && range.start <= ahead_of_all;
        if !sequential {
            let known = window.ranges.iter().find(|ahead| ahead.range.contains(&range.start)).cloned();
            if known.is_none() {
                // Another place: a sequence may begin here.
                window.ranges.clear();
                window.next_length = SHORTEST;
                window.reached = range.end;
            }
            return known;
        }
        window.reached = window.reached.max(range.end);
        let keep_from = window.reached.saturating_sub(BEHIND);
        while window.ranges.front().is_some_and(|first| first.range.end <= keep_from) {
            window.ranges.pop_front();
        }
        self.extend(&mut window, range.start);
        window.ranges.iter().find(|ahead| ahead.range.contains(&range.start)).cloned()
    }

    /// Begins as many further ranges as are allowed.
    fn extend(&self, window: &mut Window, from: u64) {
        loop {
            let waiting = window.ranges.iter().filter(|ahead| ahead.range.end > window.reached).count();
            let start = window.ranges.back().map_or(from, |last| last.range.end);
            // A sequence of one read is no sequence yet.
            let depth = if window.ranges.is_empty() { 1 } else { DEPTH };
            if waiting >= depth
                || start >= self.source.size
                || (waiting > 0 && window.next_length < LONGEST && waiting >= 2)
            {
                return;
            }
            let end = (start + window.next_length).min(self.source.size);
            window.next_length = (window.next_length * 2).min(LONGEST);
            window.ranges.push_back(self.begin(start..end));
        }
    }

    fn begin(&self, range: Range<u64>) -> Arc<Ahead> {
        let ahead = self.buffer(range.clone());
        let (bucket, source, weak) = (self.bucket.clone(), self.source.clone(), Arc::downgrade(&ahead));
        ahead.run(&self.runtime, async move {
            let (_, body) = bucket.get(&source.key, range, Some(&source.etag)).await?;
            receive(&weak, body).await
        });
        ahead
    }

    /// A range of which nothing is there yet.
    fn buffer(&self, range: Range<u64>) -> Arc<Ahead> {
        let capacity = usize::try_from(range.end - range.start).unwrap_or(0);
        Arc::new(Ahead {
            range,
            data: Mutex::new(self.spare.take(capacity)),
            progress: watch::Sender::default(),
            task: Mutex::default(),
            spare: Arc::clone(&self.spare),
        })
    }

    async fn fetch(&self, range: Range<u64>, bytes: &mut Vec<u8>) -> Result<(), S3Error> {
        let wanted = range.end - range.start;
        let (_, mut body) = self.bucket.get(&self.source.key, range, Some(&self.source.etag)).await?;
        let before = bytes.len();
        while let Some(data) = body.next().await? {
            bytes.extend_from_slice(&data);
        }
        if (bytes.len() - before) as u64 == wanted {
            return Ok(());
        }
        Err(S3Error::Malformed {
            operation: "GetObject",
            reason: "the range came shorter than asked for".into(),
        })
    }
}

/// Takes in the body of a range, for as long as somebody has that.
async fn receive(range: &Weak<Ahead>, mut body: ObjectBody) -> Result<(), S3Error> {
    let mut length = 0;
    while let Some(data) = body.next().await? {
        let Some(ahead) = range.upgrade() else { return Ok(()) };
        lock(&ahead.data).extend_from_slice(&data);
        length += data.len() as u64;
        ahead.progress.send_modify(|progress| progress.length = length);
    }
    match range.upgrade() {
        Some(ahead) if length != ahead.range.end - ahead.range.start => Err(S3Error::Malformed {
            operation: "GetObject",
            reason: format!("{length} bytes of {:?}", ahead.range),
        }),
        _ => Ok(()),
    }
}

impl Ahead {
    /// Has `fetching` fill it.
    fn run(
        self: &Arc<Self>,
        runtime: &Handle,
        fetching: impl Future<Output = Result<(), S3Error>> + Send + 'static,
    ) {
        let weak = Arc::downgrade(self);
        let task = runtime.spawn(async move {
            if let Err(error) = fetching.await
                && let Some(ahead) = weak.upgrade()
            {
                ahead.progress.send_modify(|progress| progress.failure = Some(Arc::new(error)));
            }
        });
        *lock(&self.task) = Some(task);
    }

    /// Waits until the bytes before `end`, a place in the file, are there.
    async fn wait_for(&self, end: u64) -> Result<(), Arc<S3Error>> {
        let wanted = end - self.range.start;
        let mut progress = self.progress.subscribe();
        // The limits of the request itself end this wait.
        let reached = progress.wait_for(|state| state.length >= wanted || state.failure.is_some()).await;
        match reached {
            Ok(state) if state.length >= wanted => Ok(()),
            Ok(state) => Err(state.failure.clone().unwrap_or_else(|| Arc::new(interrupted()))),
            Err(_) => Err(Arc::new(interrupted())),
        }
    }

    fn with<T>(&self, range: &Range<u64>, take: impl FnOnce(&[u8]) -> T) -> T {
        let data = lock(&self.data);
        let place = |at: u64| usize::try_from(at - self.range.start).unwrap_or(usize::MAX).min(data.len());
        take(&data[place(range.start)..place(range.end)])
    }
}

fn interrupted() -> S3Error {
    S3Error::Malformed { operation: "GetObject", reason: "the read was given up".into() }
}
