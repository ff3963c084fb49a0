//! Generated file operations, and what a tree answers to them.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt as _, MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use proptest::prelude::*;
use proptest::strategy::ValueTree as _;
use proptest::test_runner::TestRunner;

use crate::common::Store;

const MIB: u64 = 1 << 20;
const NAMES: [&str; 8] = ["a", "b", "d", "e", "d/a", "d/ü b", "d/e", "d/e/a"];

/// One operation.
#[derive(Clone, Debug)]
pub enum Step {
    Save { name: usize, length: u64, seed: u8 },
    WriteAt { name: usize, offset: u64, length: u64, seed: u8 },
    Append { name: usize, length: u64, seed: u8 },
    Truncate { name: usize, size: u64 },
    Read(usize),
    Look(usize),
    List(usize),
    MakeDirectory(usize),
    RemoveDirectory(usize),
    Unlink(usize),
    Rename(usize, usize),
    Link(usize),
    Chmod(usize, u32),
    Open { slot: usize, name: usize, create: bool, empty: bool, append: bool },
    HandleWrite { slot: usize, offset: u64, length: u64, seed: u8 },
    HandleRead { slot: usize, offset: u64, length: u64 },
    HandleTruncate { slot: usize, size: u64 },
    HandleSync(usize),
    Close(usize),
}

/// How long what is written gets: mostly short, now and then more than a part of an upload.
fn length() -> impl Strategy<Value = u64> {
    prop_oneof![2 => Just(0u64), 10 => 1..5000u64, 4 => 100_000..400_000u64, 1 => 6 * MIB..13 * MIB]
}

/// `count` sequences of `steps` operations each, always the same ones.
pub fn sequences(count: usize, steps: usize) -> Vec<Vec<Step>> {
    let mut runner = TestRunner::deterministic();
    let strategy = prop::collection::vec(step(), steps);
    (0..count).map(|_| strategy.new_tree(&mut runner).expect("a case").current()).collect()
}

fn step() -> impl Strategy<Value = Step> {
    let name = || 0..NAMES.len();
    let slot = || 0..3usize;
    prop_oneof![
        6 => (name(), length(), any::<u8>()).prop_map(|(name, length, seed)| Step::Save { name, length, seed }),
        3 => (name(), length(), length(), any::<u8>())
            .prop_map(|(name, offset, length, seed)| Step::WriteAt { name, offset, length, seed }),
        3 => (name(), length(), any::<u8>()).prop_map(|(name, length, seed)| Step::Append { name, length, seed }),
        2 => (name(), length()).prop_map(|(name, size)| Step::Truncate { name, size }),
        4 => name().prop_map(Step::Read),
        4 => name().prop_map(Step::Look),
        3 => name().prop_map(Step::List),
        5 => name().prop_map(Step::MakeDirectory),
        2 => name().prop_map(Step::RemoveDirectory),
        3 => name().prop_map(Step::Unlink),
        5 => (name(), name()).prop_map(|(from, to)| Step::Rename(from, to)),
        1 => name().prop_map(Step::Link),
        1 => (name(), 0..0o1000u32).prop_map(|(name, mode)| Step::Chmod(name, mode)),
        5 => (slot(), name(), any::<bool>(), any::<bool>(), any::<bool>())
            .prop_map(|(slot, name, create, empty, append)| Step::Open { slot, name, create, empty, append }),
        8 => (slot(), length(), length(), any::<u8>())
            .prop_map(|(slot, offset, length, seed)| Step::HandleWrite { slot, offset, length, seed }),
        6 => (slot(), length(), length()).prop_map(|(slot, offset, length)| Step::HandleRead { slot, offset, length }),
        1 => (slot(), length()).prop_map(|(slot, size)| Step::HandleTruncate { slot, size }),
        2 => slot().prop_map(Step::HandleSync),
        3 => slot().prop_map(Step::Close),
    ]
}

/// One of the trees that are compared.
pub struct Tree {
    root: PathBuf,
    open: [Option<File>; 3],
}

/// Bytes that differ from block to block.
pub fn bytes(length: u64, seed: u8) -> Vec<u8> {
    // 251 is prime: no block of the file looks like another.
    let pattern: Vec<u8> = (0..251u8).map(|at| at.wrapping_mul(31).wrapping_add(seed)).collect();
    pattern.iter().copied().cycle().take(usize::try_from(length).expect("small")).collect()
}

/// Contents, short enough to print.
pub fn digest(data: &[u8]) -> String {
    let mut hasher = std::hash::DefaultHasher::new();
    std::hash::Hasher::write(&mut hasher, data);
    let sum = std::hash::Hasher::finish(&hasher);
    format!("{} bytes, {sum:x}", data.len())
}

impl Step {
    /// What kind of operation it is.
    pub fn verb(&self) -> &'static str {
        match self {
            Self::Save { .. } => "write a file",
            Self::WriteAt { .. } => "write at an offset",
            Self::Append { .. } => "append",
            Self::Truncate { .. } => "truncate",
            Self::Read(_) => "read",
            Self::Look(_) => "lstat",
            Self::List(_) => "list",
            Self::MakeDirectory(_) => "mkdir",
            Self::RemoveDirectory(_) => "rmdir",
            Self::Unlink(_) => "unlink",
            Self::Rename(..) => "rename",
            Self::Link(_) => "symlink",
            Self::Chmod(..) => "chmod",
            Self::Open { .. } => "open",
            Self::HandleWrite { .. } => "pwrite",
            Self::HandleRead { .. } => "pread",
            Self::HandleTruncate { .. } => "ftruncate",
            Self::HandleSync(_) => "fsync",
            Self::Close(_) => "close",
        }
    }
}

impl Tree {
    /// The tree below `root`, nothing open.
    pub fn new(root: PathBuf) -> Self {
        Self { root, open: [None, None, None] }
    }

    /// What `step` answers here.
    pub fn run(&mut self, step: &Step) -> String {
        match self.try_run(step) {
            Ok(answer) => answer,
            Err(error) => error_name(&error),
        }
    }

    fn path(&self, name: usize) -> PathBuf {
        self.root.join(NAMES[name])
    }

    fn handle(&self, slot: usize) -> io::Result<&File> {
        self.open[slot].as_ref().ok_or_else(|| io::Error::from_raw_os_error(libc::EBADF))
    }

    fn try_run(&mut self, step: &Step) -> io::Result<String> {
        let done = |()| "done".to_owned();
        match *step {
            Step::Save { name, length, seed } => fs::write(self.path(name), bytes(length, seed)).map(done),
            Step::WriteAt { name, offset, length, seed } => {
                let file =
                    OpenOptions::new().write(true).create(true).truncate(false).open(self.path(name))?;
                file.write_all_at(&bytes(length, seed), offset).map(done)
            }
            Step::Append { name, length, seed } => {
                let mut file = OpenOptions::new().append(true).open(self.path(name))?;
                io::Write::write_all(&mut file, &bytes(length, seed)).map(done)
            }
            Step::Truncate { name, size } => {
                nix::unistd::truncate(&self.path(name), i64::try_from(size).expect("small"))?;
                Ok("done".into())
            }
            Step::Read(name) => fs::read(self.path(name)).map(|data| digest(&data)),
            Step::Look(name) => {
                let found = fs::symlink_metadata(self.path(name))?;
                let size = if found.is_dir() { 0 } else { found.size() };
                Ok(format!("{:?} {size} {:o}", found.file_type(), found.mode() & 0o777))
            }
            Step::List(name) => list(&self.path(name)).map(|names| names.join(" ")),
            Step::MakeDirectory(name) => fs::create_dir(self.path(name)).map(done),
            Step::RemoveDirectory(name) => fs::remove_dir(self.path(name)).map(done),
            Step::Unlink(name) => fs::remove_file(self.path(name)).map(done),
            Step::Rename(from, to) => fs::rename(self.path(from), self.path(to)).map(done),
            Step::Link(name) => {
                std::os::unix::fs::symlink("d/a", self.path(name))?;
                fs::read_link(self.path(name)).map(|target| target.display().to_string())
            }
            Step::Chmod(name, mode) => {
                fs::set_permissions(self.path(name), fs::Permissions::from_mode(mode)).map(done)
            }
            Step::Open { slot, name, create, empty, append } => {
                self.open[slot] = None;
                let mut options = OpenOptions::new();
                options.read(true).write(!append).append(append).create(create).truncate(empty && !append);
                self.open[slot] = Some(options.mode(0o644).open(self.path(name))?);
                Ok("opened".into())
            }
            Step::HandleWrite { slot, offset, length, seed } => {
                self.handle(slot)?.write_all_at(&bytes(length, seed), offset).map(done)
            }
            Step::HandleRead { slot, offset, length } => {
                let mut data = vec![0; usize::try_from(length).expect("small")];
                let mut at = 0;
                while at < data.len() {
                    match self.handle(slot)?.read_at(&mut data[at..], offset + at as u64)? {
                        0 => break,
                        count => at += count,
                    }
                }
                Ok(digest(&data[..at]))
            }
            Step::HandleTruncate { slot, size } => self.handle(slot)?.set_len(size).map(done),
            Step::HandleSync(slot) => self.handle(slot)?.sync_all().map(done),
            Step::Close(slot) => {
                let was = self.open[slot].take();
                Ok(format!("closed {}", was.is_some()))
            }
        }
    }
}

/// The number of `error` by its name.
pub fn error_name(error: &io::Error) -> String {
    error
        .raw_os_error()
        .map_or_else(|| error.to_string(), |number| format!("{:?}", nix::errno::Errno::from_raw(number)))
}

/// The names in `path`, sorted.
pub fn list(path: &Path) -> io::Result<Vec<String>> {
    let mut names = fs::read_dir(path)?
        .map(|entry| entry.map(|entry| entry.file_name().into_string().expect("text")))
        .collect::<io::Result<Vec<_>>>()?;
    names.sort();
    Ok(names)
}

/// Every file, link and directory below `root`: path to digest.
pub fn contents(root: &Path) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    let mut todo = vec![root.to_owned()];
    while let Some(directory) = todo.pop() {
        for name in list(&directory).expect("listed") {
            let path = directory.join(name);
            let key = path.strip_prefix(root).expect("below").display().to_string();
            let kind = fs::symlink_metadata(&path).expect("looked at").file_type();
            if kind.is_dir() {
                found.insert(format!("{key}/"), String::new());
                todo.push(path);
            } else if kind.is_symlink() {
                found.insert(
                    key,
                    digest(fs::read_link(&path).expect("read").to_str().expect("text").as_bytes()),
                );
            } else {
                found.insert(key, digest(&fs::read(&path).expect("read")));
            }
        }
    }
    found
}

/// The same, of what `store` holds below `prefix`.
pub async fn in_bucket(store: &Store, prefix: &str) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    for key in store.keys() {
        if let Some(name) = key.strip_prefix(prefix).filter(|name| !name.is_empty()) {
            let data = store.get(&key).await;
            found.insert(name.to_owned(), if name.ends_with('/') { String::new() } else { digest(&data) });
        }
    }
    found
}
