//! What one tree answered in one case, step by step.

use std::fmt::Display;
use std::io;

use crate::steps::error_name;

/// The answers of a case, in order.
#[derive(Debug, Default)]
pub struct Notes {
    answers: Vec<(String, String)>,
}

impl Notes {
    /// Notes what `step` answered and hands the value on.
    pub fn note<T: Display>(&mut self, step: impl Into<String>, answer: io::Result<T>) -> Option<T> {
        let (text, value) = match answer {
            Ok(value) => (value.to_string(), Some(value)),
            Err(error) => (error_name(&error), None),
        };
        self.answers.push((step.into(), text));
        value
    }

    /// Notes whether `step` was done.
    pub fn done<T>(&mut self, step: impl Into<String>, answer: io::Result<T>) -> Option<T> {
        let (text, value) = match answer {
            Ok(value) => ("done".to_owned(), Some(value)),
            Err(error) => (error_name(&error), None),
        };
        self.answers.push((step.into(), text));
        value
    }

    /// The answers, in order.
    pub fn into_answers(self) -> Vec<(String, String)> {
        self.answers
    }
}
