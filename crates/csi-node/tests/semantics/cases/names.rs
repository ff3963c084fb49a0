//! Names in all scripts, long ones, and such that are awkward as keys.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use super::{Case, case};
use crate::notes::Notes;
use crate::steps::list;

pub(super) const CASES: &[Case] =
    &[case("unicode", unicode), case("awkward names", awkward), case("long names", long)];

fn each(notes: &mut Notes, root: &Path, names: &[&str]) {
    for (number, name) in names.iter().enumerate() {
        let path = root.join(name);
        notes.done(format!("write {name:?}"), fs::write(&path, format!("{number}")));
        notes.note(format!("read {name:?}"), fs::read_to_string(&path));
        let (from, to) = (root.join(format!("m{number}")), root.join(format!("{name}.d")));
        notes.done(format!("make a folder for {name:?}"), fs::create_dir(&from));
        notes.done(format!("rename it to {name:?}.d"), fs::rename(&from, &to));
        notes.done(format!("write in {name:?}.d"), fs::write(to.join(name), "inside"));
        notes.note(format!("list {name:?}.d"), list(&to).map(|names| format!("{names:?}")));
    }
    notes.note("list", list(root).map(|names| format!("{names:?}")));
    for name in names.iter().take(3) {
        notes.done(format!("remove {name:?}"), fs::remove_file(root.join(name)));
    }
    notes.note("list what is left", list(root).map(|names| names.len()));
}

fn unicode(notes: &mut Notes, root: &Path) {
    // The last two look the same: one character, and a letter with a combining mark.
    each(notes, root, &["ü", "日本語", "naïve café", "🙂", "עברית", "\u{e9}", "e\u{301}"]);
}

fn awkward(notes: &mut Notes, root: &Path) {
    each(
        notes,
        root,
        &[
            " lead",
            "trail ",
            "a+b",
            "100%",
            "%41",
            "%2F",
            "a&b",
            "a?b",
            "a#b",
            "a\\b",
            "\"q\"",
            "it's",
            "a*b",
            "a:b",
            "a;b",
            "a=b",
            "a@b",
            "~",
            "a|b",
            "<a>",
            "a,b",
            "(a)",
            "[a]",
            "{a}",
            "$a",
            "!",
            "^",
            "...",
            ".hidden",
            "dot.",
            "tab\there",
            "-r",
        ],
    );
    for (what, name) in [("line break", "a\nb"), ("control character", "a\u{1}b"), ("delete", "a\u{7f}b")] {
        notes.done(format!("write a {what}"), fs::write(root.join(name), what));
        notes.note(format!("read a {what}"), fs::read_to_string(root.join(name)));
    }
    let no_text = root.join(OsStr::from_bytes(b"a\xffb"));
    notes.done("write what is no UTF-8", fs::write(&no_text, "x"));
    notes.done("look at what is no UTF-8", fs::symlink_metadata(&no_text));
}

fn long(notes: &mut Notes, root: &Path) {
    for length in [200, 255, 256] {
        let path = root.join("n".repeat(length));
        notes.done(format!("write a name of {length}"), fs::write(&path, "x"));
        notes.note(format!("size by a name of {length}"), fs::metadata(&path).map(|it| it.len()));
    }
    let umlauts = root.join("ü".repeat(127));
    notes.done("write 127 umlauts", fs::write(&umlauts, "x"));
    notes.note(
        "list",
        list(root).map(|names| {
            names.iter().map(String::len).fold(String::new(), |all, length| format!("{all} {length}"))
        }),
    );
    let mut deep = root.to_owned();
    for level in 1..=6 {
        deep.push("d".repeat(200));
        notes.done(format!("folder of 200 at level {level}"), fs::create_dir(&deep));
    }
}
