//! Asks for attributes before they are wanted.
//!
//! A listing tells names and no modes or owners, so a program that lists a directory and looks at every name
//! (`ls -l`, `find`, `du`) would wait for one answer of the store after the other. Once two names are looked up in
//! the order of their directory's listing, those that follow are asked for at the same time.

use std::collections::{HashMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use fuser::Errno;
use futures::FutureExt as _;
use futures::future::{BoxFuture, Shared};
use tokio::time::Instant;

use super::attributes::Stat;
use super::failure::Outcome;
use super::volume::Volume;
use crate::s3::Bucket;

/// Directories whose listing is remembered.
const DIRECTORIES: usize = 4;
/// Names that are asked for ahead.
const NAMES: usize = 16;
/// How long an answer is good for, from when it was asked for.
const LIFE: Duration = Duration::from_secs(1);

type Answer = Shared<BoxFuture<'static, Outcome<Option<Stat>>>>;

/// Listings of late, and what is being asked for.
#[derive(Debug, Default)]
pub(super) struct Ahead {
    directories: Mutex<VecDeque<Directory>>,
}

#[derive(Debug)]
struct Directory {
    ino: u64,
    /// Files in the order of the listing.
    files: Vec<String>,
    places: HashMap<String, usize>,
    /// Where the last lookup was.
    last: Option<usize>,
    /// Up to where has been asked.
    asked: usize,
    answers: HashMap<String, (Instant, Answer)>,
}

impl Ahead {
    fn lock(&self) -> MutexGuard<'_, VecDeque<Directory>> {
        self.directories.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Remembers that `files` are, in this order, the next page of the listing of `ino`; `first` if it begins it.
    pub(super) fn listed(&self, ino: u64, files: Vec<String>, first: bool) {
        let mut directories = self.lock();
        if first {
            directories.retain(|directory| directory.ino != ino);
            directories.truncate(DIRECTORIES - 1);
            directories.push_front(Directory {
                ino,
                files: Vec::new(),
                places: HashMap::new(),
                last: None,
                asked: 0,
                answers: HashMap::new(),
            });
        }
        if let Some(directory) = directories.iter_mut().find(|directory| directory.ino == ino) {
            for name in files {
                directory.places.insert(name.clone(), directory.files.len());
                directory.files.push(name);
            }
        }
    }

    /// The answer for the file `name` in `ino`, if it has been asked for. Asks for the names after it, if names
    /// are being looked up in order; `key` makes a name a key.
    fn lookup(&self, ino: u64, name: &str, bucket: &Bucket, key: impl Fn(&str) -> String) -> Option<Answer> {
        let mut directories = self.lock();
        let directory = directories.iter_mut().find(|directory| directory.ino == ino)?;
        let place = *directory.places.get(name)?;
        let in_order = directory.last.is_some_and(|last| place > last && place <= last + 2);
        directory.last = Some(place);
        if in_order {
            directory.asked = directory.asked.max(place + 1);
            while directory.asked < (place + 1 + NAMES).min(directory.files.len()) {
                let next = directory.files[directory.asked].clone();
                let answer = ask(bucket.clone(), key(&next));
                tokio::spawn(answer.clone().map(drop));
                directory.answers.insert(next, (Instant::now(), answer));
                directory.asked += 1;
            }
        }
        let (asked, answer) = directory.answers.remove(name)?;
        (asked.elapsed() < LIFE).then_some(answer)
    }

    /// Forgets what was asked about the directory `ino`: something changed in it here.
    pub(super) fn changed(&self, ino: u64) {
        self.lock().retain(|directory| directory.ino != ino);
    }

    /// Forgets everything that was asked.
    pub(super) fn clear(&self) {
        self.lock().clear();
    }
}

fn ask(bucket: Bucket, key: String) -> Answer {
    async move {
        let info = bucket.head(&key).await.map_err(|_| Errno::EIO)?;
        Ok(info.map(|info| Stat::of_object(&info, false)))
    }
    .boxed()
    .shared()
}

impl Volume {
    /// What was asked ahead about the file `name` in `parent`, at `path`.
    pub(super) async fn asked_ahead(&self, parent: u64, name: &str, path: &str) -> Option<Stat> {
        let directory = path.strip_suffix(name)?;
        let answer =
            self.ahead.lookup(parent, name, &self.bucket, |name| self.key(&format!("{directory}{name}")))?;
        answer.await.ok().flatten()
    }
}
