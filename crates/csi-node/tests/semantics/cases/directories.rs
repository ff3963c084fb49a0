//! Folders: empty ones, full ones, renamed ones.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::path::Path;

use super::{Case, case};
use crate::notes::Notes;
use crate::steps::list;

pub(super) const CASES: &[Case] = &[
    case("empty folders", empty),
    case("rename a folder", rename),
    case("list while changing", list_while_changing),
];

pub(super) fn names(path: &Path) -> io::Result<String> {
    list(path).map(|names| names.join(" "))
}

fn empty(notes: &mut Notes, root: &Path) {
    let d = root.join("d");
    notes.done("remove nothing", fs::remove_dir(&d));
    notes.done("make", fs::create_dir(&d));
    notes.done("make again", fs::create_dir(&d));
    notes.done("make in nowhere", fs::create_dir(root.join("none/d")));
    notes.note("list", names(&d));
    notes.done("unlink a folder", fs::remove_file(&d));
    notes.done("write a folder", fs::write(&d, "x"));
    notes.done("read a folder", fs::read(&d));
    notes.done("make inside", fs::create_dir(d.join("e")));
    notes.done("remove a full one", fs::remove_dir(&d));
    notes.done("remove inside", fs::remove_dir(d.join("e")));
    notes.done("write inside", fs::write(d.join("f"), "x"));
    notes.done("remove one with a file", fs::remove_dir(&d));
    notes.done("a file as a folder", fs::create_dir(d.join("f/g")));
    notes.done("a file as a folder, to read", fs::read(d.join("f/g")));
    notes.done("rmdir a file", fs::remove_dir(d.join("f")));
    notes.done("remove the file", fs::remove_file(d.join("f")));
    notes.done("remove the file again", fs::remove_file(d.join("f")));
    notes.note("the folder is still there", fs::metadata(&d).map(|it| it.is_dir()));
    notes.done("remove", fs::remove_dir(&d));
    notes.note("list in the end", names(root));
    notes.done("make for good", fs::create_dir(root.join("stays")));
    notes.done("sync a folder", File::open(root.join("stays")).and_then(|it| it.sync_all()));
    notes.done(
        "remove the tree",
        fs::create_dir_all(root.join("t/u/v")).and_then(|()| fs::remove_dir_all(root.join("t"))),
    );
}

fn rename(notes: &mut Notes, root: &Path) {
    let (old, new) = (root.join("old"), root.join("new"));
    notes.done("make", fs::create_dir_all(old.join("deep/er")));
    notes.done("make an empty one", fs::create_dir(old.join("empty")));
    for name in ["a", "deep/b", "deep/er/c"] {
        notes.done(format!("write {name}"), fs::write(old.join(name), name));
    }
    notes.done("into itself", fs::rename(&old, old.join("deep/old")));
    notes.done("to a new name", fs::rename(&old, &new));
    notes.note("list", names(&new));
    notes.note("list deep", names(&new.join("deep/er")));
    notes.note("read deep", fs::read_to_string(new.join("deep/er/c")));
    notes.done("the old name", fs::metadata(&old));
    notes.done("make an empty target", fs::create_dir(root.join("target")));
    notes.done("over an empty folder", fs::rename(&new, root.join("target")));
    notes.done("make a full target", fs::create_dir(root.join("full")));
    notes.done("fill it", fs::write(root.join("full/x"), "x"));
    notes.done("over a full folder", fs::rename(root.join("target"), root.join("full")));
    notes.note("list in the end", names(root));
    notes.done("make another", fs::create_dir(root.join("w")));
    if let Some(mut file) = notes.done("create in it", File::create(root.join("w/file"))) {
        notes.done("write before", file.write_all(b"before"));
        notes.done("rename the folder of an open file", fs::rename(root.join("w"), root.join("v")));
        notes.done("write after", file.write_all(b", after"));
    }
    notes.note("what was open", fs::read_to_string(root.join("v/file")));
    notes.note("list the old folder", names(&root.join("w")));
}

fn list_while_changing(notes: &mut Notes, root: &Path) {
    for number in 0..20 {
        notes.done("write", fs::write(root.join(format!("{number:02}")), "x"));
    }
    let removed = fs::read_dir(root).and_then(|entries| {
        entries.map(|entry| fs::remove_file(entry?.path())).collect::<io::Result<Vec<_>>>()
    });
    notes.note("remove while listing", removed.map(|it| it.len()));
    notes.note("list", names(root));
    let held = OpenOptions::new().write(true).create_new(true).open(root.join("held"));
    let held = notes.done("create", held);
    notes.note("list what is not closed", names(root));
    drop(held);
    notes.note("list what is closed", names(root));
}
