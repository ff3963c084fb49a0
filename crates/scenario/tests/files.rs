//! Files that are right and files that are not: adding a case is adding a file to `files/pass` or `files/fail`.
#![allow(clippy::expect_used, clippy::panic, reason = "a test may fail hard")]

use std::path::{Path, PathBuf};

use miette::{GraphicalReportHandler, GraphicalTheme};

fn files(folder: &str) -> Vec<PathBuf> {
    // Tests run in the crate's folder; a path from there is the same on every machine.
    let folder = Path::new("tests/files").join(folder);
    let mut files: Vec<_> = std::fs::read_dir(&folder)
        .unwrap_or_else(|error| panic!("{}: {error}", folder.display()))
        .map(|entry| entry.expect("an entry").path())
        .collect();
    files.sort();
    assert!(!files.is_empty());
    files
}

#[test]
fn files_that_are_right_are_read() {
    for file in files("pass") {
        if let Err(problems) = scenario::load(std::slice::from_ref(&file)) {
            panic!("{}: {:?}", file.display(), problems.problems);
        }
    }
}

#[test]
fn files_that_are_not_are_refused_with_place_and_nearest_name() {
    let handler = GraphicalReportHandler::new_themed(GraphicalTheme::unicode_nocolor()).with_width(110);
    for file in files("fail") {
        let problems = scenario::load(std::slice::from_ref(&file)).expect_err(&file.display().to_string());
        let mut text = String::new();
        for problem in &problems.problems {
            handler.render_report(&mut text, problem).expect("rendered");
        }
        insta::assert_snapshot!(file.file_stem().and_then(|stem| stem.to_str()).expect("a name"), text);
    }
}

#[test]
fn every_plan_can_be_explained() {
    let plan = scenario::load(&files("pass")).unwrap_or_else(|problems| panic!("{:?}", problems.problems));
    insta::assert_snapshot!("explained", scenario::explain(&plan));
}
