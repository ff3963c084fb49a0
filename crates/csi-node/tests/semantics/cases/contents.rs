//! Appending, cutting, holes, renaming over.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::path::Path;

use super::{Case, case};
use crate::notes::Notes;
use crate::steps::{bytes, digest};

pub(super) const CASES: &[Case] = &[
    case("append", append),
    case("truncate", truncate),
    case("holes", holes),
    case("allocate", allocate),
    case("rename over", rename_over),
    case("copy", copy),
    case("memory map", memory_map),
];

pub(super) fn read(path: &Path) -> io::Result<String> {
    fs::read(path).map(|data| digest(&data))
}

fn append(notes: &mut Notes, root: &Path) {
    let path = root.join("log");
    notes.done("append to nothing", OpenOptions::new().append(true).open(&path));
    notes.done("write", fs::write(&path, "one\n"));
    for line in ["two\n", "three\n"] {
        let appended =
            OpenOptions::new().append(true).open(&path).and_then(|mut file| file.write_all(line.as_bytes()));
        notes.done("append", appended);
    }
    notes.note("content", fs::read_to_string(&path));
    let file = OpenOptions::new().append(true).create(true).open(root.join("made"));
    if let Some(file) = notes.done("append with create", file) {
        notes.done("first", (&file).write_all(b"abc"));
        notes.done("at an offset", file.write_all_at(b"def", 0));
        notes.note("size meanwhile", file.metadata().map(|it| it.len()));
    }
    notes.note("made", fs::read_to_string(root.join("made")));
    let large = root.join("large");
    notes.done("write 30 MiB", fs::write(&large, bytes(30 << 20, 3)));
    let appended = OpenOptions::new().append(true).open(&large).and_then(|mut file| file.write_all(b"end"));
    notes.done("append to 30 MiB", appended);
    notes.note("30 MiB", read(&large));
}

fn truncate(notes: &mut Notes, root: &Path) {
    let path = root.join("f");
    let cut = |size: i64| nix::unistd::truncate(&path, size).map_err(io::Error::from);
    notes.done("cut nothing", cut(3));
    notes.done("write", fs::write(&path, "0123456789"));
    for size in [4, 8, 0, 5, 12_000_000, 3] {
        notes.done(format!("cut to {size}"), cut(size));
        notes.note(format!("size of {size}"), fs::metadata(&path).map(|it| it.len()));
        notes.note(format!("content of {size}"), read(&path));
    }
    notes.done("cut to less than nothing", cut(-1));
    notes.done("write again", fs::write(&path, "0123456789"));
    if let Some(file) = notes.done("open", OpenOptions::new().read(true).write(true).open(&path)) {
        notes.done("cut the open file", file.set_len(4));
        notes.done("write behind the end", file.write_all_at(b"x", 7));
        notes.note("size while open", file.metadata().map(|it| it.len()));
        notes.done("sync", file.sync_all());
        notes.note("size after sync", fs::metadata(&path).map(|it| it.len()));
    }
    notes.note("content", read(&path));
    if let Some(file) = notes.done("open to read", File::open(&path)) {
        notes.done("cut what is open to read", file.set_len(1));
    }
    notes.done("open with O_TRUNC", OpenOptions::new().write(true).truncate(true).open(&path));
    notes.note("size after O_TRUNC", fs::metadata(&path).map(|it| it.len()));
    let held = notes.done("create", File::create(root.join("new")));
    notes.done(
        "cut what is not saved yet",
        nix::unistd::truncate(&root.join("new"), 5).map_err(io::Error::from),
    );
    drop(held);
    notes.done("make a folder", fs::create_dir(root.join("d")));
    notes.done("cut a folder", nix::unistd::truncate(&root.join("d"), 0).map_err(io::Error::from));
}

fn holes(notes: &mut Notes, root: &Path) {
    let path = root.join("sparse");
    if let Some(file) = notes.done("create", File::create(&path)) {
        notes.done("write far in", file.write_all_at(b"end", 3_000_000));
        notes.done("write near", file.write_all_at(b"begin", 10));
    }
    notes.note("content", read(&path));
    notes.note("size", fs::metadata(&path).map(|it| it.len()));
    notes.note("blocks", fs::metadata(&path).map(|it| it.blocks()));
    if let Some(mut file) = notes.done("open", File::open(&path)) {
        let mut some = [1; 8];
        notes.done("read the hole", file.read_exact_at(&mut some, 1_000_000));
        notes.note("the hole", Ok(format!("{some:?}")));
        notes.note("seek behind the end", file.seek(SeekFrom::Start(5_000_000)));
        notes.note("read behind the end", file.read(&mut some));
    }
    let old = root.join("old");
    notes.done("write 8 MiB", fs::write(&old, bytes(8 << 20, 9)));
    if let Some(file) = notes.done("open it", OpenOptions::new().write(true).open(&old)) {
        notes.done("change the middle", file.write_all_at(b"middle", 4_000_000));
        notes.done("write behind a hole", file.write_all_at(b"tail", 9_000_000));
    }
    notes.note("changed", read(&old));
}

fn allocate(notes: &mut Notes, root: &Path) {
    let path = root.join("f");
    notes.done("write", fs::write(&path, "0123456789"));
    if let Some(file) = notes.done("open", OpenOptions::new().write(true).open(&path)) {
        let (from, length) = (10, 1000);
        let allocated = nix::fcntl::fallocate(&file, nix::fcntl::FallocateFlags::empty(), from, length);
        notes.done("allocate behind the end", allocated.map_err(io::Error::from));
        let punched = nix::fcntl::FallocateFlags::FALLOC_FL_PUNCH_HOLE
            | nix::fcntl::FallocateFlags::FALLOC_FL_KEEP_SIZE;
        notes.done("punch", nix::fcntl::fallocate(&file, punched, 0, 4096).map_err(io::Error::from));
    }
    notes.note("size", fs::metadata(&path).map(|it| it.len()));
}

fn rename_over(notes: &mut Notes, root: &Path) {
    let (a, b, d) = (root.join("a"), root.join("b"), root.join("d"));
    notes.done("nothing to something", fs::rename(&a, &b));
    notes.done("write a", fs::write(&a, "content of a"));
    notes.done("write b", fs::write(&b, "the longer content of b"));
    notes.done("make d", fs::create_dir(&d));
    notes.done("a to a", fs::rename(&a, &a));
    notes.done("a to b", fs::rename(&a, &b));
    notes.note("a", fs::read_to_string(&a));
    notes.note("b", fs::read_to_string(&b));
    notes.done("file over folder", fs::rename(&b, &d));
    notes.done("folder over file", fs::rename(&d, &b));
    notes.done("file into folder", fs::rename(&b, d.join("b")));
    notes.done("into nowhere", fs::rename(d.join("b"), root.join("none/b")));
    notes.note("b in d", fs::read_to_string(d.join("b")));
    notes.done("write c", fs::write(root.join("c"), "c"));
    for (name, flags) in [
        ("not over something", nix::fcntl::RenameFlags::RENAME_NOREPLACE),
        ("exchange", nix::fcntl::RenameFlags::RENAME_EXCHANGE),
    ] {
        let folder = File::open(root).expect("opened");
        let moved = nix::fcntl::renameat2(&folder, "c", &folder, "d/b", flags);
        notes.done(name, moved.map_err(io::Error::from));
    }
    notes.note("c in the end", fs::read_to_string(root.join("c")));
    notes.note("d/b in the end", fs::read_to_string(d.join("b")));
}

fn copy(notes: &mut Notes, root: &Path) {
    let data = bytes(6 << 20, 17);
    notes.done("write", fs::write(root.join("from"), &data));
    notes.note("copy", fs::copy(root.join("from"), root.join("to")));
    notes.note("copied", read(&root.join("to")));
}

fn memory_map(notes: &mut Notes, root: &Path) {
    // Python is part of what the test needs anyhow, and can map files without a crate for it.
    let script = "import mmap,sys\nf=open(sys.argv[1],'r+b')\nm=mmap.mmap(f.fileno(),0)\nm[3:6]=b'XYZ'\nm.flush()\n\
                  print(bytes(m[:10]).decode())\nm.close()\nf.close()";
    let path = root.join("mapped");
    notes.done("write", fs::write(&path, "0123456789"));
    let output = std::process::Command::new("python3").args(["-c", script]).arg(&path).output();
    notes.note(
        "write through the map",
        output.map(|it| String::from_utf8_lossy(&it.stdout).trim().to_owned()),
    );
    notes.note("content", fs::read_to_string(&path));
}
