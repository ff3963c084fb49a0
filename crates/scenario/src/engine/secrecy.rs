//! At the end of every scenario: nothing has shown a secret, and nothing of the report does (`storage.md` §10).
//!
//! Guarded are the lab's keys, the placeholders' and whatever is in a Secret that the scenario applies, plain and in
//! base64 at all three byte alignments.

use std::path::Path;

use journal::secrecy::{Concealer, SHOWN};
use journal::{Journal, source};

use super::failure::{Failure, line};

/// What the journal says of secrets that showed: in an entry, in a pod's log, in an answer.
pub(super) fn of_journal(journal: &Journal, place: &str) -> Vec<Failure> {
    let entries = journal.entries();
    let told: Vec<_> =
        entries.iter().filter(|entry| entry.source == source::LAB && entry.kind == SHOWN).collect();
    let Some(first) = told.first() else { return Vec::new() };
    let words = format!("a secret was shown {} times, first in: {}", told.len(), first.subject);
    let before = usize::try_from(first.sequence).unwrap_or(usize::MAX).saturating_sub(1);
    let mut failure = Failure::new("secrecy", place, words);
    failure.entries = entries.get(before).map(|entry| line(entry, &entries[0])).into_iter().collect();
    vec![failure]
}

/// Files of the report's folder that show a secret. The kubeconfig is not looked at: it is a credential.
pub(super) fn of_files(folder: &Path, guarded: &Concealer, place: &str) -> Vec<Failure> {
    let mut failures = Vec::new();
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        if !path.is_file() || entry.file_name() == "kubeconfig" {
            continue;
        }
        match std::fs::read(&path) {
            Ok(bytes) if guarded.gives_away(&String::from_utf8_lossy(&bytes)) => {
                let words = format!("{} shows a secret", path.display());
                failures.push(Failure::new("secrecy", place, words));
            }
            Ok(_) => {}
            Err(error) => {
                let words = format!("{} can't be searched for secrets: {error}", path.display());
                failures.push(Failure::new("secrecy", place, words));
            }
        }
    }
    failures
}
