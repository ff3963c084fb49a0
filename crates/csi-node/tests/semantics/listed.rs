//! The differences that `docs/oss-semantics.md` lists, against those that were met.

use std::collections::BTreeSet;
use std::path::Path;

/// The case of differences that generated operations met.
pub const GENERATED: &str = "generated";

/// One answer that differs: a row of the page without its reason.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct Difference {
    /// Where it was met: the name of a case, or `generated`.
    pub case: String,
    /// In which step.
    pub step: String,
    /// What s3fs answers.
    pub theirs: String,
    /// What Mountlab answers.
    pub ours: String,
}

impl Difference {
    /// The row to add to the page.
    fn row(&self) -> String {
        format!(
            "| {} | {} | {} | {} | WHY |",
            self.case,
            cell(&self.step),
            cell(&self.theirs),
            cell(&self.ours)
        )
    }
}

/// Text as it stands in a cell of a table: long runs of one character are counted.
fn cell(text: &str) -> String {
    let mut short = String::new();
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let end = rest.find(|next| next != first).unwrap_or(rest.len());
        let count = end / first.len_utf8();
        if count > 20 {
            short.extend([first.to_string(), "×".to_owned(), count.to_string()]);
        } else {
            short.push_str(&rest[..end]);
        }
        rest = &rest[end..];
    }
    format!("`{}`", short.trim().replace('|', "¦").replace('`', "'"))
}

/// The rows of the page.
pub fn listed() -> BTreeSet<Difference> {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/oss-semantics.md");
    let page = std::fs::read_to_string(&page).unwrap_or_else(|error| panic!("{}: {error}", page.display()));
    let mut rows = BTreeSet::new();
    for line in page.lines().filter(|line| line.starts_with("| ") && !line.starts_with("| Case ")) {
        let cells: Vec<&str> = line.trim_matches('|').split('|').map(str::trim).collect();
        let [case, step, theirs, ours, why] = cells[..] else { panic!("a row has five cells: {line}") };
        assert!(!matches!(why, "" | "WHY"), "every difference has its reason: {line}");
        let plain = |cell: &str| cell.trim_matches('`').trim().to_owned();
        let row =
            Difference { case: case.into(), step: plain(step), theirs: plain(theirs), ours: plain(ours) };
        assert!(rows.insert(row), "a difference is listed once: {line}");
    }
    rows
}

/// Compares `met` with the page: nothing may be met that isn't listed, nothing listed that isn't met. Differences of
/// generated operations come and go with what s3fs has in its caches at the time, so that they need not be met.
pub fn check(met: BTreeSet<Difference>) {
    let clean = |it: Difference| Difference {
        step: cell(&it.step).trim_matches('`').to_owned(),
        theirs: cell(&it.theirs).trim_matches('`').to_owned(),
        ours: cell(&it.ours).trim_matches('`').to_owned(),
        case: it.case,
    };
    let met: BTreeSet<_> = met.into_iter().map(clean).collect();
    let listed = listed();
    let rows = |of: &BTreeSet<Difference>, without: &BTreeSet<Difference>| {
        of.difference(without).map(Difference::row).collect::<Vec<_>>().join("\n")
    };
    let (mut sure, new) = (listed.clone(), rows(&met, &listed));
    sure.retain(|row| row.case != GENERATED);
    let gone = rows(&sure, &met);
    assert!(
        new.is_empty() && gone.is_empty(),
        "docs/oss-semantics.md doesn't say what is true.\nMet and not listed (mend it, or list it with its reason):\n\
         {new}\nListed and not met any more (take it out):\n{gone}"
    );
}
