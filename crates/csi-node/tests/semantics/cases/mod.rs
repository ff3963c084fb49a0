//! What users do with a mounted bucket, each case in a folder of its own.

mod attributes;
mod contents;
mod directories;
mod foreign;
mod names;
mod open_files;
mod sizes;

use std::path::Path;

use crate::notes::Notes;

pub use sizes::{NAMES, ten_thousand};

/// One case.
#[derive(Clone, Copy)]
pub struct Case {
    /// Its name in `docs/oss-semantics.md`.
    pub name: &'static str,
    /// Objects that another tool wrote into the folder beforehand: rest of the key, content.
    pub objects: &'static [(&'static str, &'static str)],
    /// The operations, below the folder of the case.
    pub run: fn(&mut Notes, &Path),
}

const fn case(name: &'static str, run: fn(&mut Notes, &Path)) -> Case {
    Case { name, objects: &[], run }
}

/// All of them.
pub fn all() -> Vec<Case> {
    [
        contents::CASES,
        sizes::CASES,
        names::CASES,
        directories::CASES,
        open_files::CASES,
        attributes::CASES,
        foreign::CASES,
    ]
    .concat()
}
