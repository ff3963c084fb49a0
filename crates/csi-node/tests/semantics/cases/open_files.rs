//! Files that are open while something happens to their names, and files that two have open.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{FileExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::Path;

use super::{Case, case};
use crate::notes::Notes;

pub(super) const CASES: &[Case] = &[
    case("open while renaming", renaming),
    case("unlink while open", unlinking),
    case("two writers", two_writers),
    case("ways to open", ways_to_open),
    case("locks", locks),
];

fn rest(mut file: &File) -> io::Result<String> {
    let mut text = String::new();
    file.read_to_string(&mut text).map(|_| text)
}

fn renaming(notes: &mut Notes, root: &Path) {
    let (a, b) = (root.join("a"), root.join("b"));
    notes.done("write", fs::write(&a, "content"));
    if let Some(file) = notes.done("open to read", File::open(&a)) {
        notes.done("rename what is read", fs::rename(&a, &b));
        notes.note("read on", rest(&file));
    }
    if let Some(mut file) = notes.done("open to write", OpenOptions::new().append(true).open(&b)) {
        notes.done("write before", file.write_all(b", before"));
        notes.done("rename what is written", fs::rename(&b, &a));
        notes.done("write after", file.write_all(b", after"));
        notes.done("sync", file.sync_all());
    }
    notes.note("content", fs::read_to_string(&a));
    notes.done("the old name", fs::metadata(&b));
    if let Some(mut file) = notes.done("create", File::create(root.join("new"))) {
        notes.done("write first", file.write_all(b"first"));
        notes.done("rename what was never saved", fs::rename(root.join("new"), root.join("newer")));
        notes.done("write second", file.write_all(b", second"));
    }
    notes.note("newer", fs::read_to_string(root.join("newer")));
    notes.done("write over", fs::write(root.join("over"), "over"));
    if let Some(file) = notes.done("open what is replaced", File::open(&a)) {
        notes.done("replace", fs::rename(root.join("over"), &a));
        notes.note("read what was replaced", rest(&file));
        notes.note("read what replaced it", fs::read_to_string(&a));
    }
}

fn unlinking(notes: &mut Notes, root: &Path) {
    let path = root.join("f");
    notes.done("write", fs::write(&path, "content"));
    if let Some(mut file) = notes.done("open", OpenOptions::new().read(true).write(true).open(&path)) {
        notes.done("unlink", fs::remove_file(&path));
        notes.done("the name", fs::metadata(&path));
        notes.note("read", rest(&file));
        notes.done("write on", file.write_all(b", more"));
        notes.note("size", file.metadata().map(|it| it.len()));
        notes.note("links", file.metadata().map(|it| it.nlink()));
        notes.done("sync", file.sync_all());
        notes.done("make anew", fs::write(&path, "another"));
    }
    notes.note("after closing", fs::read_to_string(&path));
    notes.done("unlink the other", fs::remove_file(&path));
    if let Some(mut file) = notes.done("create", File::create(root.join("g"))) {
        notes.done("write what is new", file.write_all(b"new"));
        notes.done("unlink what is new", fs::remove_file(root.join("g")));
    }
    notes.done("what was new", fs::metadata(root.join("g")));
}

fn two_writers(notes: &mut Notes, root: &Path) {
    let path = root.join("f");
    notes.done("write", fs::write(&path, "0123456789"));
    let open = || OpenOptions::new().read(true).write(true).open(&path);
    if let (Some(one), Some(two)) = (notes.done("open one", open()), notes.done("open two", open())) {
        notes.done("write with one", one.write_all_at(b"AA", 0));
        notes.done("write with two", two.write_all_at(b"BB", 8));
        let mut all = [0; 10];
        notes.done("read with one", one.read_exact_at(&mut all, 0));
        notes.note("what one sees", Ok(String::from_utf8_lossy(&all)));
        drop(one);
        notes.note("after one closed", fs::read_to_string(&path));
        notes.done("write on with two", two.write_all_at(b"CC", 4));
    }
    notes.note("content", fs::read_to_string(&path));
    if let (Some(one), Some(two)) =
        (notes.done("open one again", open()), notes.done("open two again", open()))
    {
        notes.done("cut with one", one.set_len(2));
        notes.note("size for two", two.metadata().map(|it| it.len()));
        notes.done("write with two", two.write_all_at(b"Z", 4));
    }
    notes.note("in the end", fs::read(&path).map(|data| format!("{data:?}")));
}

fn ways_to_open(notes: &mut Notes, root: &Path) {
    let path = root.join("f");
    let mut exclusive = OpenOptions::new();
    exclusive.write(true).create_new(true);
    notes.done("O_EXCL", exclusive.open(&path));
    notes.done("O_EXCL again", exclusive.open(&path));
    notes.done("make a folder", fs::create_dir(root.join("d")));
    notes.done("O_EXCL on a folder", exclusive.open(root.join("d")));
    notes.done("write", fs::write(&path, "content"));
    let with = |flags: i32| OpenOptions::new().read(true).custom_flags(flags).open(&path);
    notes.done("O_DIRECTORY on a file", with(libc::O_DIRECTORY));
    if let Some(file) =
        notes.done("O_SYNC", OpenOptions::new().write(true).custom_flags(libc::O_SYNC).open(&path))
    {
        notes.done("write with O_SYNC", file.write_all_at(b"C", 0));
        notes.note("seen before it is closed", fs::read_to_string(&path));
    }
    if let Some(file) = notes.done("to read", File::open(&path)) {
        notes.done("write what is open to read", file.write_all_at(b"x", 0));
    }
    if let Some(file) = notes.done("to write", OpenOptions::new().write(true).open(&path)) {
        notes.done("read what is open to write", file.read_at(&mut [0; 4], 0));
    }
    let unnamed = OpenOptions::new().read(true).write(true).custom_flags(libc::O_TMPFILE).open(root);
    notes.done("O_TMPFILE", unnamed);
    notes.done("close what was never written", File::create(root.join("empty")).map(drop));
    notes.note("empty", fs::metadata(root.join("empty")).map(|it| it.len()));
}

fn locks(notes: &mut Notes, root: &Path) {
    let path = root.join("f");
    notes.done("write", fs::write(&path, "content"));
    let open = || OpenOptions::new().read(true).write(true).open(&path);
    if let (Some(one), Some(two)) = (notes.done("open one", open()), notes.done("open two", open())) {
        notes.done("lock", one.lock());
        notes.note("a second lock", Ok(format!("{}", two.try_lock().is_ok())));
        notes.done("unlock", one.unlock());
        notes.note("a lock after it", Ok(format!("{}", two.try_lock().is_ok())));
    }
}
