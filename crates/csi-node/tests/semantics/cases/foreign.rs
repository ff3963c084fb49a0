//! Objects that other tools wrote.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use super::Case;
use super::directories::names;
use crate::notes::Notes;

pub(super) const CASES: &[Case] = &[
    Case { name: "objects of other tools", objects: OBJECTS, run: objects },
    Case { name: "folders of other tools", objects: FOLDERS, run: folders },
];

const OBJECTS: &[(&str, &str)] =
    &[("plain", "written elsewhere"), ("empty", ""), ("page.html", "<p>"), ("b.json", "{}")];
const FOLDERS: &[(&str, &str)] = &[
    ("no/marker/here", "deep"),
    ("marked/", ""),
    ("marked/in", "in"),
    ("both", "a file"),
    ("both/in", "and a folder"),
    ("double//slash", "x"),
    ("old_$folder$", ""),
    ("dots/../up", "x"),
];

fn objects(notes: &mut Notes, root: &Path) {
    notes.note("list", names(root));
    for name in ["plain", "empty", "page.html"] {
        let path = root.join(name);
        notes.note(
            format!("attributes of {name}"),
            fs::metadata(&path).map(|it| format!("{:o} {}:{} {}", it.mode(), it.uid(), it.gid(), it.len())),
        );
        notes.note(format!("content of {name}"), fs::read_to_string(&path));
    }
    notes.done("write over", fs::write(root.join("plain"), "written here"));
    notes.note("mode after the write", fs::metadata(root.join("plain")).map(|it| format!("{:o}", it.mode())));
    notes.done("rename", fs::rename(root.join("b.json"), root.join("c.json")));
    notes.note(
        "mode after the rename",
        fs::metadata(root.join("c.json")).map(|it| format!("{:o}", it.mode())),
    );
    for name in ["new.html", "new.txt", "new.jpg", "new.tar.gz", "new"] {
        notes.done(format!("write {name}"), fs::write(root.join(name), "x"));
    }
}

fn folders(notes: &mut Notes, root: &Path) {
    notes.note("list", names(root));
    notes.note("list no marker", names(&root.join("no")));
    notes.note("mode of no marker", fs::metadata(root.join("no")).map(|it| format!("{:o}", it.mode())));
    notes.note("mode of a marker", fs::metadata(root.join("marked")).map(|it| format!("{:o}", it.mode())));
    notes.note("read deep", fs::read_to_string(root.join("no/marker/here")));
    notes.note("list marked", names(&root.join("marked")));
    notes.note(
        "both are",
        fs::metadata(root.join("both")).map(|it| if it.is_dir() { "a folder" } else { "a file" }),
    );
    notes.note("list double", names(&root.join("double")));
    notes.note("list dots", names(&root.join("dots")));
    notes.done("remove the last of no marker", fs::remove_file(root.join("no/marker/here")));
    notes.done("is it there", fs::metadata(root.join("no/marker")));
    notes.done("rename a folder with a marker", fs::rename(root.join("marked"), root.join("moved")));
    notes.note("list moved", names(&root.join("moved")));
}
