//! Generated operations on a mount and on a local directory: the same answers, and in the end the same files in the
//! folder that the server exports.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt as _, MetadataExt as _, PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use proptest::prelude::*;
use proptest::strategy::ValueTree as _;
use proptest::test_runner::TestRunner;

use crate::common::{blocking, in_namespaces};
use crate::support::{Nas, mount, until};

const NAMES: [&str; 8] = ["a", "b", "d", "e", "d/a", "d/ü b", "d/e", "d/e/a"];
/// Operations of one case.
const STEPS: usize = 25;

#[derive(Clone, Debug)]
enum Step {
    Save(usize, u64, u8),
    WriteAt(usize, u64, u64, u8),
    Append(usize, u64, u8),
    Truncate(usize, u64),
    Read(usize),
    Look(usize),
    List(usize),
    MakeDirectory(usize),
    RemoveDirectory(usize),
    Unlink(usize),
    Rename(usize, usize),
    SymbolicLink(usize),
    HardLink(usize, usize),
    Chmod(usize, u32),
    SetTime(usize, u32),
    Open { slot: usize, name: usize, create: bool, empty: bool, append: bool },
    HandleWrite(usize, u64, u64, u8),
    HandleRead(usize, u64, u64),
    HandleTruncate(usize, u64),
    HandleLook(usize),
    HandleSync(usize),
    Close(usize),
}

fn length() -> impl Strategy<Value = u64> {
    prop_oneof![2 => Just(0u64), 10 => 1..5000u64, 4 => 100_000..400_000u64, 1 => (1u64 << 20)..(5 << 20)]
}

fn step() -> impl Strategy<Value = Step> {
    let name = || 0..NAMES.len();
    let slot = || 0..3usize;
    prop_oneof![
        6 => (name(), length(), any::<u8>()).prop_map(|(name, length, seed)| Step::Save(name, length, seed)),
        3 => (name(), length(), length(), any::<u8>())
            .prop_map(|(name, offset, length, seed)| Step::WriteAt(name, offset, length, seed)),
        3 => (name(), length(), any::<u8>()).prop_map(|(name, length, seed)| Step::Append(name, length, seed)),
        2 => (name(), length()).prop_map(|(name, size)| Step::Truncate(name, size)),
        4 => name().prop_map(Step::Read),
        4 => name().prop_map(Step::Look),
        3 => name().prop_map(Step::List),
        5 => name().prop_map(Step::MakeDirectory),
        2 => name().prop_map(Step::RemoveDirectory),
        3 => name().prop_map(Step::Unlink),
        5 => (name(), name()).prop_map(|(from, to)| Step::Rename(from, to)),
        1 => name().prop_map(Step::SymbolicLink),
        3 => (name(), name()).prop_map(|(from, to)| Step::HardLink(from, to)),
        1 => (name(), 0..0o1000u32).prop_map(|(name, mode)| Step::Chmod(name, mode)),
        1 => (name(), any::<u32>()).prop_map(|(name, time)| Step::SetTime(name, time)),
        5 => (slot(), name(), any::<bool>(), any::<bool>(), any::<bool>())
            .prop_map(|(slot, name, create, empty, append)| Step::Open { slot, name, create, empty, append }),
        8 => (slot(), length(), length(), any::<u8>())
            .prop_map(|(slot, offset, length, seed)| Step::HandleWrite(slot, offset, length, seed)),
        6 => (slot(), length(), length()).prop_map(|(slot, at, length)| Step::HandleRead(slot, at, length)),
        1 => (slot(), length()).prop_map(|(slot, size)| Step::HandleTruncate(slot, size)),
        2 => slot().prop_map(Step::HandleLook),
        2 => slot().prop_map(Step::HandleSync),
        3 => slot().prop_map(Step::Close),
    ]
}

/// One of the two trees.
struct Tree {
    root: PathBuf,
    open: [Option<File>; 3],
}

fn bytes(length: u64, seed: u8) -> Vec<u8> {
    // 251 is prime: no block of the file looks like another.
    let pattern: Vec<u8> = (0..251u8).map(|at| at.wrapping_mul(31).wrapping_add(seed)).collect();
    pattern.iter().copied().cycle().take(usize::try_from(length).expect("small")).collect()
}

/// What was read, short enough to print.
fn digest(data: &[u8]) -> String {
    let mut hasher = std::hash::DefaultHasher::new();
    std::hash::Hasher::write(&mut hasher, data);
    format!("{} bytes, {:x}", data.len(), std::hash::Hasher::finish(&hasher))
}

fn describe(found: &fs::Metadata) -> String {
    let kind = found.file_type();
    let (size, links) = if kind.is_dir() { (0, 0) } else { (found.size(), found.nlink()) };
    format!("{kind:?} size {size} links {links} mode {:o}", found.mode() & 0o7777)
}

impl Tree {
    fn run(&mut self, step: &Step) -> String {
        self.try_run(step).unwrap_or_else(|error| format!("error {:?}", error.raw_os_error()))
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
            Step::Save(name, length, seed) => fs::write(self.path(name), bytes(length, seed)).map(done),
            Step::WriteAt(name, offset, length, seed) => {
                let file =
                    OpenOptions::new().write(true).create(true).truncate(false).open(self.path(name))?;
                file.write_all_at(&bytes(length, seed), offset).map(done)
            }
            Step::Append(name, length, seed) => {
                let mut file = OpenOptions::new().append(true).open(self.path(name))?;
                io::Write::write_all(&mut file, &bytes(length, seed)).map(done)
            }
            Step::Truncate(name, size) => {
                nix::unistd::truncate(&self.path(name), i64::try_from(size).expect("small"))?;
                Ok("done".into())
            }
            Step::Read(name) => fs::read(self.path(name)).map(|data| digest(&data)),
            Step::Look(name) => fs::symlink_metadata(self.path(name)).map(|found| describe(&found)),
            Step::List(name) => list(&self.path(name)).map(|names| names.join(" ")),
            Step::MakeDirectory(name) => fs::create_dir(self.path(name)).map(done),
            Step::RemoveDirectory(name) => fs::remove_dir(self.path(name)).map(done),
            Step::Unlink(name) => fs::remove_file(self.path(name)).map(done),
            Step::Rename(from, to) => fs::rename(self.path(from), self.path(to)).map(done),
            Step::SymbolicLink(name) => {
                symlink("d/a", self.path(name))?;
                fs::read_link(self.path(name)).map(|target| target.display().to_string())
            }
            Step::HardLink(from, to) => fs::hard_link(self.path(from), self.path(to)).map(done),
            Step::Chmod(name, mode) => {
                fs::set_permissions(self.path(name), fs::Permissions::from_mode(mode)).map(done)
            }
            Step::SetTime(name, seconds) => {
                let time = SystemTime::UNIX_EPOCH + Duration::from_secs(seconds.into());
                let file = OpenOptions::new().write(true).open(self.path(name))?;
                file.set_modified(time)?;
                let found = fs::metadata(self.path(name))?.modified()?;
                Ok(format!("{:?}", found.duration_since(SystemTime::UNIX_EPOCH)))
            }
            Step::Open { slot, name, create, empty, append } => {
                self.open[slot] = None;
                let mut options = OpenOptions::new();
                options.read(true).write(!append).append(append).create(create).truncate(empty && !append);
                self.open[slot] = Some(options.open(self.path(name))?);
                Ok("opened".into())
            }
            Step::HandleWrite(slot, offset, length, seed) => {
                self.handle(slot)?.write_all_at(&bytes(length, seed), offset).map(done)
            }
            Step::HandleRead(slot, offset, length) => {
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
            Step::HandleTruncate(slot, size) => self.handle(slot)?.set_len(size).map(done),
            // Without the links: a removed name of an open file lives on as a hidden one.
            Step::HandleLook(slot) => {
                let found = self.handle(slot)?.metadata()?;
                Ok(format!("size {} mode {:o}", found.size(), found.mode() & 0o7777))
            }
            Step::HandleSync(slot) => self.handle(slot)?.sync_all().map(done),
            Step::Close(slot) => Ok(format!("closed {}", self.open[slot].take().is_some())),
        }
    }
}

/// Without the hidden names of files that were removed while they were open.
fn list(path: &Path) -> io::Result<Vec<String>> {
    let mut names = fs::read_dir(path)?
        .map(|entry| entry.map(|entry| entry.file_name().into_string().expect("text")))
        .filter(|name| !name.as_ref().is_ok_and(|name| name.starts_with(".nfs")))
        .collect::<io::Result<Vec<_>>>()?;
    names.sort();
    Ok(names)
}

/// Everything below `root`: what it is, and what is in it.
fn contents(root: &Path) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    let mut todo = vec![root.to_owned()];
    while let Some(directory) = todo.pop() {
        for name in list(&directory).expect("listed") {
            let path = directory.join(name);
            let metadata = fs::symlink_metadata(&path).expect("looked at");
            let kind = metadata.file_type();
            let inside = if kind.is_symlink() {
                fs::read_link(&path).expect("read").display().to_string()
            } else if kind.is_file() {
                digest(&fs::read(&path).expect("read"))
            } else {
                String::new()
            };
            let key = path.strip_prefix(root).expect("below").display().to_string();
            found.insert(key, format!("{} {inside}", describe(&metadata)));
            if kind.is_dir() {
                todo.push(path);
            }
        }
    }
    found
}

/// Whether somebody left a hidden name below `root`.
fn has_hidden(root: &Path) -> bool {
    fs::read_dir(root).expect("opened").map(|entry| entry.expect("listed").path()).any(|path| {
        let hidden = path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(".nfs"));
        hidden || (path.is_dir() && !path.is_symlink() && has_hidden(&path))
    })
}

/// `rmdir` of a directory with nothing but a hidden name fails on NFS and nowhere else.
fn may_differ(ours: &str, theirs: &str, step: &Step) -> bool {
    let not_empty = format!("error {:?}", Some(libc::ENOTEMPTY));
    matches!(step, Step::RemoveDirectory(_) | Step::Rename(..)) && ours == not_empty && theirs == "done"
}

fn compare(number: usize, steps: &[Step], mounted: &Path, plain: &Path, exported: &Path) {
    fs::create_dir(mounted).expect("made");
    fs::create_dir(plain).expect("made");
    let tree = |root: &Path| Tree { root: root.to_owned(), open: [None, None, None] };
    let (mut ours, mut theirs) = (tree(mounted), tree(plain));
    for (index, step) in steps.iter().enumerate() {
        let (our, their) = (ours.run(step), theirs.run(step));
        if our != their && may_differ(&our, &their, step) {
            return;
        }
        assert_eq!(our, their, "case {number}, step {index}: {:#?}", &steps[..=index]);
    }
    drop((ours, theirs));
    until("hidden names go", || !has_hidden(exported));
    let expected = contents(plain);
    assert_eq!(contents(mounted), expected, "case {number}, through the mount: {steps:#?}");
    assert_eq!(contents(exported), expected, "case {number}, on the server: {steps:#?}");
}

#[test]
fn generated_operations_have_the_results_of_a_local_directory() {
    in_namespaces("model::generated_operations_have_the_results_of_a_local_directory", || async {
        nix::sys::stat::umask(nix::sys::stat::Mode::from_bits_truncate(0o022));
        let mut runner = TestRunner::deterministic();
        let strategy = prop::collection::vec(step(), STEPS);
        // More of them by hand: CSI_NODE_NAS_CASES=5000 cargo test -p csi-node --test nas model
        let count = std::env::var("CSI_NODE_NAS_CASES").map_or(200, |count| count.parse().expect("a number"));
        let nas = Nas::start().await;
        let mut agent = nas.agent().await;
        let root = mount(&agent, "model", &[]).await;
        let local = tempfile::tempdir().expect("a directory");
        for number in 0..count {
            let steps = strategy.new_tree(&mut runner).expect("a case").current();
            let case = format!("case-{number}");
            let places = [root.join(&case), local.path().join(&case), nas.folder.join(&case)];
            let compared = blocking(move || {
                let [mounted, plain, exported] = &places;
                std::panic::catch_unwind(|| compare(number, &steps, mounted, plain, exported)).is_ok()
            })
            .await;
            assert!(compared, "{}", agent.last_words());
        }
        agent.unpublish(&root).await.expect("unmounted");
        assert!(!agent.stderr().contains("panicked"), "{}", agent.stderr());
    });
}
