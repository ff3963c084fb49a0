//! What is wrong with a scenario file, shown with the lines it stands on.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use miette::{Diagnostic, LabeledSpan, NamedSource, SourceCode};

use super::decode::DecodeError;
use super::node::Place;

/// A text and the file it was read from.
#[derive(Clone, Debug)]
pub struct Source {
    /// The file.
    pub path: PathBuf,
    named: Arc<NamedSource<String>>,
}

impl Source {
    /// A text that was read from `path`.
    pub fn new(path: &Path, text: String) -> Self {
        let named = NamedSource::new(path.display().to_string(), text).with_language("YAML");
        Self { path: path.to_owned(), named: Arc::new(named) }
    }

    /// The text.
    pub fn text(&self) -> &str {
        self.named.inner()
    }

    /// Line and column of a byte, both from 1; the column counts characters.
    pub fn position(&self, byte: usize) -> (usize, usize) {
        let before = self.text().get(..byte).unwrap_or_else(|| self.text());
        let line = before.matches('\n').count() + 1;
        let column = before.chars().rev().take_while(|character| *character != '\n').count() + 1;
        (line, column)
    }
}

impl Source {
    /// The byte at a line and a column, both from 1; the text's end where there is no such place.
    pub(crate) fn byte_at(&self, line: u64, column: u64) -> usize {
        let skipped = usize::try_from(line.saturating_sub(1)).unwrap_or(usize::MAX);
        let Some(text) = self.text().split_inclusive('\n').nth(skipped) else { return self.text().len() };
        let start: usize = self.text().split_inclusive('\n').take(skipped).map(str::len).sum();
        let characters = usize::try_from(column.saturating_sub(1)).unwrap_or(usize::MAX);
        start + text.char_indices().nth(characters).map_or(text.trim_end().len(), |(byte, _)| byte)
    }
}

/// One thing that is wrong with a file.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{}{message}", self.prefix())]
pub struct Problem {
    /// What is wrong.
    pub message: String,
    /// What to do about it.
    pub help: Option<String>,
    /// Where: absent when the file couldn't be read at all.
    pub place: Option<Place>,
    /// The file.
    pub source_file: Source,
}

impl Problem {
    pub(crate) fn new(source: &Source, place: Place, message: impl Into<String>) -> Self {
        Self { message: message.into(), help: None, place: Some(place), source_file: source.clone() }
    }

    pub(crate) fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    pub(crate) fn of_decoding(source: &Source, error: DecodeError) -> Self {
        Self { message: error.message, help: error.help, place: error.place, source_file: source.clone() }
    }

    pub(crate) fn of_file(path: &Path, message: impl Into<String>) -> Self {
        Self {
            message: message.into(),
            help: None,
            place: None,
            source_file: Source::new(path, String::new()),
        }
    }

    /// Line and column, both from 1.
    pub fn position(&self) -> Option<(usize, usize)> {
        self.place.map(|place| self.source_file.position(place.start))
    }

    fn prefix(&self) -> String {
        let path = self.source_file.path.display();
        match self.position() {
            Some((line, column)) => format!("{path}:{line}:{column}: "),
            None => format!("{path}: "),
        }
    }
}

impl Diagnostic for Problem {
    fn help<'a>(&'a self) -> Option<Box<dyn std::fmt::Display + 'a>> {
        self.help.as_ref().map(|help| Box::new(help) as Box<dyn std::fmt::Display>)
    }

    fn source_code(&self) -> Option<&dyn SourceCode> {
        self.place.map(|_| &*self.source_file.named as &dyn SourceCode)
    }

    fn labels(&self) -> Option<Box<dyn Iterator<Item = LabeledSpan> + '_>> {
        let place = self.place?;
        let label = LabeledSpan::new(Some("here".to_owned()), place.start, place.length);
        Some(Box::new(std::iter::once(label)))
    }
}

/// Everything that is wrong with the files that were given.
#[derive(Debug, Diagnostic, thiserror::Error)]
#[error("{} in the scenario files", count(.problems.len()))]
pub struct Problems {
    /// The problems, by file and place.
    #[related]
    pub problems: Vec<Problem>,
}

fn count(number: usize) -> String {
    if number == 1 { "1 problem".to_owned() } else { format!("{number} problems") }
}
