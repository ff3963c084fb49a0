//! `docs/coverage.md` says what is true: the rows, the scenarios' `covers` and the tests agree with each other.
#![allow(clippy::expect_used, clippy::panic, reason = "helpers of tests fail the test")]

use std::collections::{BTreeMap, BTreeSet};
use std::ops::RangeInclusive;
use std::path::Path;

use system_tests::machine::files;
use system_tests::repository;

/// The product document's rows.
const ROWS: RangeInclusive<u32> = 1..=69;

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

fn page() -> String {
    read(&repository().join("docs/coverage.md"))
}

fn rows(page: &str) -> Vec<Row> {
    page.lines().filter(|line| line.starts_with("| R") && !line.starts_with("| Row |")).map(row).collect()
}

fn row(line: &str) -> Row {
    let cells: Vec<&str> = line.trim_matches('|').split('|').map(str::trim).collect();
    let [number, promise, shown, missing] = cells[..] else { panic!("a row has four cells: {line}") };
    let number = number.strip_prefix('R').and_then(|digits| digits.parse().ok());
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

/// The rows that each scenario says it covers, by its path in the repository.
fn covers() -> BTreeMap<String, BTreeSet<u32>> {
    let folders = SCENARIO_FOLDERS.map(|folder| files(&repository().join(folder)));
    let paths = folders.into_iter().flatten().filter(|path| path.extension().is_some_and(|it| it == "yaml"));
    paths.map(|path| (name(&path), covered(&path))).collect()
}

fn name(path: &Path) -> String {
    path.strip_prefix(repository()).expect("a file of the repository").display().to_string()
}

/// The numbers of `metadata.covers`, which every scenario writes as a list on one line.
fn covered(path: &Path) -> BTreeSet<u32> {
    let text = read(path);
    let mut lines = text.lines().filter_map(|line| line.trim_start().strip_prefix("covers:"));
    let Some(list) = lines.next() else { return BTreeSet::new() };
    assert!(lines.next().is_none(), "{} has two lists of rows", path.display());
    let inner = list.trim().strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    let inner = inner.unwrap_or_else(|| panic!("{}: covers is no list on one line", path.display()));
    let number = |row: &str| row.trim().strip_prefix('R').and_then(|digits| digits.parse().ok());
    let rows = inner.split(',').map(|row| number(row).unwrap_or_else(|| panic!("{row:?} is no row")));
    rows.collect()
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

#[test]
fn every_row_of_the_document_is_there_once_and_in_order() {
    let rows = rows(&page());
    assert_eq!(rows.iter().map(|row| row.number).collect::<Vec<_>>(), ROWS.collect::<Vec<_>>());
    for row in &rows {
        assert!(!row.promise.is_empty(), "R{} promises nothing", row.number);
        assert_eq!(row.not_yet, row.citations.is_empty(), "R{} is either shown or not yet", row.number);
        let different: BTreeSet<_> = row.citations.iter().collect();
        assert_eq!(different.len(), row.citations.len(), "R{} cites something twice", row.number);
    }
}

#[test]
fn the_counts_at_the_top_are_those_of_the_tables() {
    let page = page();
    let rows = rows(&page);
    let not_yet = rows.iter().filter(|row| row.not_yet).count();
    let in_part = rows.iter().filter(|row| !row.missing.is_empty()).count();
    let shown = rows.len() - not_yet - in_part;
    let counts = format!("{} rows: {shown} shown, {in_part} shown in part, {not_yet} not yet.", rows.len());
    assert!(page.lines().any(|line| line == counts), "the page lacks the line: {counts}");
}

#[test]
fn rows_cite_the_scenarios_that_cover_them_and_no_others() {
    let mut cited: BTreeMap<String, BTreeSet<u32>> = BTreeMap::new();
    for row in rows(&page()) {
        for scenario in row.citations.iter().filter(|citation| !citation.contains("::")) {
            cited.entry(scenario.clone()).or_default().insert(row.number);
        }
    }
    let mut covers = covers();
    covers.retain(|_, rows| !rows.is_empty());
    assert!(!covers.is_empty(), "no scenario covers anything");
    let names: BTreeSet<&String> = cited.keys().chain(covers.keys()).collect();
    for name in names {
        let (cited, covered) = (cited.get(name), covers.get(name));
        assert_eq!(cited, covered, "{name}: left the rows that cite it, right those in its covers");
    }
}

#[test]
fn every_cited_test_exists() {
    let citations: BTreeSet<String> = rows(&page()).into_iter().flat_map(|row| row.citations).collect();
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
