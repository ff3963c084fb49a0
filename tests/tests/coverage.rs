//! `docs/coverage.md` and `docs/failure-matrix.md` say what is true: the rows, the scenarios' `covers` and the tests
//! agree with each other. A row without proof is one that says so, with the issue that will bring it.
#![allow(clippy::expect_used, clippy::panic, reason = "helpers of tests fail the test")]

use std::collections::{BTreeMap, BTreeSet};
use std::ops::RangeInclusive;
use std::path::Path;

use rstest::rstest;
use system_tests::machine::files;
use system_tests::repository;

/// A page with tables whose rows are numbered.
struct Page {
    path: &'static str,
    /// What stands before a row's number, there and in `covers`.
    prefix: &'static str,
    rows: RangeInclusive<u32>,
}

/// The product document's rows (`kubernetes.md` §10).
const COVERAGE: Page = Page { path: "docs/coverage.md", prefix: "R", rows: 1..=69 };

/// What can go wrong with a mount (`storage.md` §9).
const FAILURES: Page = Page { path: "docs/failure-matrix.md", prefix: "F", rows: 1..=74 };

/// The folders whose scenarios may cover rows.
const SCENARIO_FOLDERS: [&str; 2] = ["scenarios", "tests/scenarios"];

/// One line of a table of the page.
struct Row {
    number: u32,
    promise: String,
    /// What is cited, in order; nothing for a row that is not shown yet.
    citations: Vec<String>,
    not_yet: bool,
    /// What no citation shows; empty when nothing is missing.
    missing: String,
}

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_else(|error| panic!("read {}: {error}", path.display()))
}

impl Page {
    fn text(&self) -> String {
        read(&repository().join(self.path))
    }

    fn rows(&self) -> Vec<Row> {
        let begin = format!("| {}", self.prefix);
        let text = self.text();
        let lines = text.lines().filter(|line| line.starts_with(&begin) && !line.starts_with("| Row |"));
        lines.map(|line| self.row(line)).collect()
    }

    fn row(&self, line: &str) -> Row {
        let cells: Vec<&str> = line.trim_matches('|').split('|').map(str::trim).collect();
        let [number, promise, shown, missing] = cells[..] else { panic!("a row has four cells: {line}") };
        let number = number.strip_prefix(self.prefix).and_then(|digits| digits.parse().ok());
        let not_yet = matches!(plan(shown), Some(("not yet", _)));
        let citations =
            if not_yet { vec![] } else { shown.split("<br>").map(|part| citation(part, line)).collect() };
        assert!(
            missing.is_empty() || (!not_yet && plan(missing).is_some()),
            "what is missing names its issue, in a row that something shows: {line}"
        );
        Row {
            number: number.unwrap_or_else(|| panic!("no number in {line}")),
            promise: promise.to_owned(),
            citations,
            not_yet,
            missing: missing.to_owned(),
        }
    }
}

/// A cell's words and the issue that it ends with, as in `not yet (issue 4)`.
fn plan(cell: &str) -> Option<(&str, u32)> {
    let (words, issue) = cell.strip_suffix(')')?.rsplit_once(" (issue ")?;
    Some((words, issue.parse().ok()?))
}

fn citation(part: &str, line: &str) -> String {
    let path = part.strip_prefix('`').and_then(|rest| rest.strip_suffix('`'));
    path.unwrap_or_else(|| panic!("{part:?} is neither a citation nor \"not yet (issue N)\": {line}"))
        .to_owned()
}

/// The rows with `prefix` that each scenario says it covers, by its place in the repository: the file's path, and where
/// a file has several scenarios `#` and the name.
fn covers(prefix: &str) -> BTreeMap<String, BTreeSet<u32>> {
    let folders = SCENARIO_FOLDERS.map(|folder| files(&repository().join(folder)));
    let paths = folders.into_iter().flatten().filter(|path| path.extension().is_some_and(|it| it == "yaml"));
    let mut covers = BTreeMap::new();
    for path in paths {
        let text = read(&path);
        let documents: Vec<&str> = text.split("\n---\n").collect();
        for document in &documents {
            let name = match documents.len() {
                1 => place(&path),
                _ => format!("{}#{}", place(&path), name(document)),
            };
            covers.insert(name, covered(document, prefix, &path));
        }
    }
    covers
}

fn place(path: &Path) -> String {
    path.strip_prefix(repository()).expect("a file of the repository").display().to_string()
}

/// The scenario's name, which stands on a line of its own.
fn name(document: &str) -> &str {
    let name = document.lines().find_map(|line| line.trim_start().strip_prefix("name: "));
    name.unwrap_or_else(|| panic!("a scenario without a name: {document}"))
}

/// The numbers of `metadata.covers`, which every scenario writes as a list on one line.
fn covered(document: &str, prefix: &str, path: &Path) -> BTreeSet<u32> {
    let mut lines = document.lines().filter_map(|line| line.trim_start().strip_prefix("covers:"));
    let Some(list) = lines.next() else { return BTreeSet::new() };
    assert!(lines.next().is_none(), "a scenario of {} has two lists of rows", path.display());
    let inner = list.trim().strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    let inner = inner.unwrap_or_else(|| panic!("{}: covers is no list on one line", path.display()));
    let row = |row: &str| {
        let (letter, digits) = row.trim().split_at_checked(1).unwrap_or_else(|| panic!("{row:?} is no row"));
        let known = [&COVERAGE, &FAILURES].into_iter().any(|page| page.prefix == letter);
        let number = digits.parse().ok().filter(|_| known);
        (letter == prefix, number.unwrap_or_else(|| panic!("{row:?} is no row")))
    };
    inner.split(',').map(row).filter(|(is_wanted, _)| *is_wanted).map(|(_, number)| number).collect()
}

/// Whether the text has a test function of that name: the lines right above it have a test's attribute.
fn has_test(text: &str, test: &str) -> bool {
    let lines: Vec<&str> = text.lines().map(str::trim).collect();
    let at =
        lines.iter().position(|line| line.trim_start_matches("async ").starts_with(&format!("fn {test}(")));
    let Some(at) = at else { return false };
    let above = lines[..at].iter().rev().take_while(|line| !line.is_empty() && **line != "}");
    ["#[test]", "#[tokio::test", "#[rstest]"]
        .iter()
        .any(|attribute| above.clone().any(|line| line.starts_with(attribute)))
}

#[rstest]
fn every_row_is_there_once_and_in_order(#[values(&COVERAGE, &FAILURES)] page: &Page) {
    let rows = page.rows();
    assert_eq!(rows.iter().map(|row| row.number).collect::<Vec<_>>(), page.rows.clone().collect::<Vec<_>>());
    for row in &rows {
        let number = format!("{}{}", page.prefix, row.number);
        assert!(!row.promise.is_empty(), "{number} says nothing");
        assert_eq!(row.not_yet, row.citations.is_empty(), "{number} is either shown or not yet");
        let different: BTreeSet<_> = row.citations.iter().collect();
        assert_eq!(different.len(), row.citations.len(), "{number} cites something twice");
    }
}

#[rstest]
fn the_counts_at_the_top_are_those_of_the_tables(#[values(&COVERAGE, &FAILURES)] page: &Page) {
    let rows = page.rows();
    let not_yet = rows.iter().filter(|row| row.not_yet).count();
    let in_part = rows.iter().filter(|row| !row.missing.is_empty()).count();
    let shown = rows.len() - not_yet - in_part;
    let counts = format!("{} rows: {shown} shown, {in_part} shown in part, {not_yet} not yet.", rows.len());
    assert!(page.text().lines().any(|line| line == counts), "{} lacks the line: {counts}", page.path);
}

#[rstest]
fn rows_cite_the_scenarios_that_cover_them_and_no_others(#[values(&COVERAGE, &FAILURES)] page: &Page) {
    let mut cited: BTreeMap<String, BTreeSet<u32>> = BTreeMap::new();
    for row in page.rows() {
        for scenario in row.citations.iter().filter(|citation| !citation.contains("::")) {
            cited.entry(scenario.clone()).or_default().insert(row.number);
        }
    }
    let mut covers = covers(page.prefix);
    covers.retain(|_, rows| !rows.is_empty());
    assert!(!covers.is_empty(), "no scenario covers anything");
    let names: BTreeSet<&String> = cited.keys().chain(covers.keys()).collect();
    for name in names {
        let (cited, covered) = (cited.get(name), covers.get(name));
        assert_eq!(cited, covered, "{name}: left the rows that cite it, right those in its covers");
    }
}

#[rstest]
fn every_cited_test_exists(#[values(&COVERAGE, &FAILURES)] page: &Page) {
    let citations: BTreeSet<String> = page.rows().into_iter().flat_map(|row| row.citations).collect();
    let tests: Vec<_> = citations.iter().filter_map(|citation| citation.split_once("::")).collect();
    assert!(!tests.is_empty(), "no test is cited");
    for (path, test) in tests {
        assert!(
            path.starts_with("crates/") || path.starts_with("tests/tests/"),
            "{path} is no place for tests"
        );
        assert!(has_test(&read(&repository().join(path)), test), "{path} has no test {test}");
    }
}
