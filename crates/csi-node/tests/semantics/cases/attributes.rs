//! Sizes, times, permissions, owners, links, and what a bucket can't hold.

use std::fs::{self, File, FileTimes, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
use std::path::Path;
use std::time::{Duration, SystemTime};

use clock::SystemClock;
use nix::sys::stat::{Mode, SFlag, mknod};

use super::{Case, case};
use crate::notes::Notes;

pub(super) const CASES: &[Case] = &[
    case("size and time", size_and_time),
    case("permissions", permissions),
    case("links", links),
    case("special files", special),
    case("the whole file system", whole),
];

/// How old `path` is, roughly: times of two runs are never the same.
fn age(path: &Path) -> io::Result<&'static str> {
    let modified = fs::symlink_metadata(path)?.modified()?;
    let now = SystemTime::from(SystemClock::shared().now());
    let seconds = now.duration_since(modified).unwrap_or(Duration::ZERO).as_secs();
    Ok(if seconds < 120 { "new" } else { "old" })
}

fn set_times(path: &Path, seconds: u64, nanoseconds: u32) -> io::Result<()> {
    let time = SystemTime::UNIX_EPOCH + Duration::new(seconds, nanoseconds);
    OpenOptions::new()
        .write(true)
        .open(path)?
        .set_times(FileTimes::new().set_modified(time).set_accessed(time))
}

fn times(path: &Path) -> io::Result<String> {
    fs::metadata(path).map(|it| format!("{}.{:09} {}", it.mtime(), it.mtime_nsec(), it.atime()))
}

fn size_and_time(notes: &mut Notes, root: &Path) {
    let path = root.join("f");
    notes.done("write", fs::write(&path, "content"));
    notes.note("size", fs::metadata(&path).map(|it| it.len()));
    notes.note("age", age(&path));
    notes.done("set times", set_times(&path, 1_000_000_000, 0));
    notes.note("times", times(&path));
    notes.done("rename", fs::rename(&path, root.join("g")));
    notes.note("times after the rename", times(&root.join("g")));
    notes.done("chmod", fs::set_permissions(root.join("g"), fs::Permissions::from_mode(0o600)));
    notes.note("times after chmod", times(&root.join("g")));
    notes.done(
        "append",
        OpenOptions::new().append(true).open(root.join("g")).and_then(|mut file| file.write_all(b"!")),
    );
    notes.note("age after the append", age(&root.join("g")));
    notes.done("set finer times", set_times(&root.join("g"), 1_100_000_000, 123_456_789));
    notes.note("finer times", times(&root.join("g")));
    if let Some(mut file) = notes.done("open", OpenOptions::new().append(true).open(root.join("g"))) {
        notes.done("write", file.write_all(b"more"));
        notes.note("size while open", fs::metadata(root.join("g")).map(|it| it.len()));
        notes.note("age while open", age(&root.join("g")));
    }
    notes.done("make a folder", fs::create_dir(root.join("d")));
    notes.note("age of the folder", age(&root.join("d")));
    notes.note("size of the folder", fs::metadata(root.join("d")).map(|it| it.len()));
    notes.note("links of the folder", fs::metadata(root.join("d")).map(|it| it.nlink()));
    notes.note("links of the file", fs::metadata(root.join("g")).map(|it| it.nlink()));
    notes.note("block size", fs::metadata(root.join("g")).map(|it| it.blksize()));
    notes.note("blocks", fs::metadata(root.join("g")).map(|it| it.blocks()));
}

fn permissions(notes: &mut Notes, root: &Path) {
    let shown = |path: &Path| {
        fs::symlink_metadata(path).map(|it| format!("{:o} {}:{}", it.mode(), it.uid(), it.gid()))
    };
    let (f, d) = (root.join("f"), root.join("d"));
    notes.done("write", fs::write(&f, "x"));
    notes.done("make", fs::create_dir(&d));
    notes.note("file", shown(&f));
    notes.note("folder", shown(&d));
    for mode in [0o600, 0o4755, 0o000, 0o644] {
        notes.done(format!("chmod {mode:o}"), fs::set_permissions(&f, fs::Permissions::from_mode(mode)));
        notes.note(format!("file of {mode:o}"), shown(&f));
    }
    notes.done("chmod the folder", fs::set_permissions(&d, fs::Permissions::from_mode(0o1770)));
    notes.note("folder after chmod", shown(&d));
    notes.done("chown", std::os::unix::fs::chown(&f, Some(1000), Some(1001)));
    notes.note("file after chown", shown(&f));
    notes.done("chown the folder", std::os::unix::fs::chown(&d, Some(1000), None));
    notes.note("folder after chown", shown(&d));
    if let Some(mut file) = notes.done("open", OpenOptions::new().append(true).open(&f)) {
        notes.done("write", file.write_all(b"y"));
        notes.done("chmod while it is written", file.set_permissions(fs::Permissions::from_mode(0o640)));
    }
    notes.note("file in the end", shown(&f));
    notes.note("content", fs::read_to_string(&f));
    notes.done("chmod nothing", fs::set_permissions(root.join("none"), fs::Permissions::from_mode(0o600)));
}

fn links(notes: &mut Notes, root: &Path) {
    notes.done("write", fs::write(root.join("f"), "content"));
    notes.done("make", fs::create_dir(root.join("d")));
    notes.done("in it", fs::write(root.join("d/x"), "x"));
    for (name, target) in [
        ("to-file", "f"),
        ("to-folder", "d"),
        ("dangling", "nowhere"),
        ("absolute", "/etc/hostname"),
        ("long", &"x/".repeat(300)),
    ] {
        notes.done(format!("link {name}"), symlink(target, root.join(name)));
        notes.note(
            format!("target of {name}"),
            fs::read_link(root.join(name)).map(|it| it.display().to_string().len()),
        );
    }
    notes.note("read through", fs::read_to_string(root.join("to-file")));
    notes.note("through a folder", fs::read_to_string(root.join("to-folder/x")));
    notes.done("through nothing", fs::read(root.join("dangling")));
    notes.note("mode", fs::symlink_metadata(root.join("to-file")).map(|it| format!("{:o}", it.mode())));
    notes.note("size", fs::symlink_metadata(root.join("to-file")).map(|it| it.len()));
    notes.done("link over something", symlink("f", root.join("d")));
    notes.done("write through", fs::write(root.join("to-file"), "changed"));
    notes.note("what was written", fs::read_to_string(root.join("f")));
    notes.done("rename a link", fs::rename(root.join("to-file"), root.join("renamed")));
    notes.note("its target", fs::read_link(root.join("renamed")).map(|it| it.display().to_string()));
    notes.done("unlink it", fs::remove_file(root.join("renamed")));
    notes.note("the file stays", fs::read_to_string(root.join("f")));
    notes.done("hard link", fs::hard_link(root.join("f"), root.join("hard")));
    notes.done("unlink a link to a folder", fs::remove_file(root.join("to-folder")));
    notes.note("the folder stays", fs::read_to_string(root.join("d/x")));
    notes.done("read a file as a link", fs::read_link(root.join("f")));
}

fn special(notes: &mut Notes, root: &Path) {
    let mode = Mode::from_bits_truncate(0o644);
    for (name, kind) in [("fifo", SFlag::S_IFIFO), ("socket", SFlag::S_IFSOCK), ("device", SFlag::S_IFCHR)] {
        let made = mknod(&root.join(name), kind, mode, nix::sys::stat::makedev(1, 3));
        notes.done(format!("make a {name}"), made.map_err(io::Error::from));
    }
    let made = mknod(&root.join("file"), SFlag::S_IFREG, mode, 0);
    notes.done("make a file with mknod", made.map_err(io::Error::from));
    notes.note("its size", fs::metadata(root.join("file")).map(|it| it.len()));
    notes.done("write", fs::write(root.join("f"), "x"));
    let tool = |script: &str| {
        let output = std::process::Command::new("python3").args(["-c", script]).arg(root.join("f")).output();
        output.map(|it| String::from_utf8_lossy(&it.stdout).trim().to_owned())
    };
    let attempt =
        "import os,sys,errno\ntry:\n print(CALL)\nexcept OSError as e:\n print(errno.errorcode[e.errno])";
    for (what, call) in [
        ("set an attribute", "os.setxattr(sys.argv[1],'user.colour',b'red')"),
        ("get an attribute", "os.getxattr(sys.argv[1],'user.colour')"),
        ("list attributes", "os.listxattr(sys.argv[1])"),
    ] {
        notes.note(what, tool(&attempt.replace("CALL", call)));
    }
}

fn whole(notes: &mut Notes, root: &Path) {
    let found = nix::sys::statvfs::statvfs(root).map_err(io::Error::from);
    if let Some(found) = notes.done("statvfs", found) {
        notes.note("block size", Ok(found.block_size()));
        notes.note("fragment size", Ok(found.fragment_size()));
        notes.note("blocks", Ok(found.blocks()));
        notes.note("free", Ok(found.blocks_available()));
        notes.note("longest name", Ok(found.name_max()));
    }
    notes.done("sync everything", File::open(root).and_then(|it| it.sync_all()));
}
