//! Much of it: ten thousand names, a gibibyte.

use std::fs::{self, File};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use super::{Case, case};
use crate::notes::Notes;
use crate::steps::{bytes, digest, list};

pub(super) const CASES: &[Case] = &[case("a gibibyte", gibibyte), case("many small files", many)];

/// Names of the folder that [`crate::s3fs`] fills from the store's side.
pub const NAMES: usize = 10_000;

fn gibibyte(notes: &mut Notes, root: &Path) {
    let path = root.join("large");
    let block = bytes(1 << 20, 5);
    let written = File::create(&path).and_then(|mut file| {
        for _ in 0..1024 {
            file.write_all(&block)?;
        }
        file.sync_all()
    });
    notes.done("write", written);
    notes.note("size", fs::metadata(&path).map(|it| it.len()));
    if let Some(file) = notes.done("open", File::open(&path)) {
        for at in [0_u64, 5, 999_999_999, (1 << 30) - 10] {
            let mut some = [0; 10];
            notes.done(format!("read at {at}"), file.read_exact_at(&mut some, at));
            notes.note(format!("what is at {at}"), Ok(format!("{some:?}")));
        }
    }
    notes.done("unlink", fs::remove_file(&path));
}

fn many(notes: &mut Notes, root: &Path) {
    for number in 0..100 {
        notes.done("write", fs::write(root.join(format!("{number}")), vec![b'x'; number]));
    }
    notes.note("list", list(root).map(|names| names.len()));
    let total: io::Result<u64> = list(root)
        .and_then(|names| names.iter().map(|name| fs::metadata(root.join(name)).map(|it| it.len())).sum());
    notes.note("sizes", total);
}

/// Looks at a folder of [`NAMES`] objects.
pub fn ten_thousand(notes: &mut Notes, root: &Path) {
    let names = notes.done("list", list(root)).unwrap_or_default();
    notes.note("count", Ok(names.len()));
    notes.note("all names", Ok(digest(names.join("/").as_bytes())));
    for name in ["00000 ü", "05000 ü", "09999 ü"] {
        let mut text = String::new();
        let read = File::open(root.join(name)).and_then(|mut file| file.read_to_string(&mut text));
        notes.note(format!("length of {name}"), read);
    }
    notes.done("a name that isn't there", fs::metadata(root.join("10000 ü")));
}
