//! The file that says which differences are right, and why.

use std::fs;
use std::path::Path;

use serde::Deserialize;

use crate::{Difference, ParityError};

/// One known difference.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Reason {
    /// The scenario's name; every scenario where it's left out.
    pub scenario: Option<String>,
    /// The stream's name; every stream where it's left out.
    pub stream: Option<String>,
    /// A text that the differing line contains.
    pub line: String,
    /// Why the difference is right.
    pub reason: String,
    /// Whether it comes and goes by chance: that it isn't there is no error then.
    #[serde(default)]
    pub chance: bool,
}

/// All of them.
#[derive(Clone, Debug, Default)]
pub struct Reasons {
    reasons: Vec<Reason>,
}

impl Reasons {
    /// Reads a YAML list of [`Reason`].
    ///
    /// # Errors
    /// [`ParityError`] when the file is missing, not such a list, or a reason is empty.
    pub fn read(path: &Path) -> Result<Self, ParityError> {
        let text = fs::read_to_string(path)
            .map_err(|source| ParityError::Unreadable { path: path.to_owned(), source })?;
        let invalid = |problem: String| ParityError::Invalid { path: path.to_owned(), problem };
        let reasons: Vec<Reason> =
            serde_saphyr::from_str(&text).map_err(|error| invalid(error.to_string()))?;
        let known: Vec<_> = crate::Stream::ALL.iter().map(|stream| stream.name()).collect();
        for reason in &reasons {
            if reason.line.trim().is_empty() || reason.reason.trim().is_empty() {
                return Err(invalid("an entry has an empty `line` or `reason`".to_owned()));
            }
            if let Some(stream) = reason.stream.as_deref().filter(|stream| !known.contains(stream)) {
                return Err(invalid(format!(
                    "there is no stream {stream:?}; there are {}",
                    known.join(", ")
                )));
            }
        }
        Ok(Self { reasons })
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.reasons.len()
    }

    /// Why this difference of that scenario is right; marks the reason as used.
    pub(crate) fn explain(
        &self,
        scenario: &str,
        difference: &Difference,
        used: &mut [bool],
    ) -> Option<String> {
        let found = self.reasons.iter().position(|reason| {
            reason.scenario.as_deref().is_none_or(|name| name == scenario)
                && reason.stream.as_deref().is_none_or(|name| name == difference.stream.name())
                && difference.line.contains(&reason.line)
        })?;
        used[found] = true;
        Some(self.reasons[found].reason.clone())
    }

    /// Those that were not used although their scenario is among `compared`.
    pub(crate) fn unused(&self, used: &[bool], compared: &[&str]) -> Vec<String> {
        let idle = self.reasons.iter().zip(used).filter(|(reason, used)| !**used && !reason.chance);
        let idle = idle.filter(|(reason, _)| {
            // One for every scenario is judged only where there is something to judge it by.
            reason.scenario.as_deref().map_or(!compared.is_empty(), |name| compared.contains(&name))
        });
        idle.map(|(reason, _)| {
            let [scenario, stream] =
                [&reason.scenario, &reason.stream].map(|name| name.as_deref().unwrap_or("*"));
            format!("{scenario}/{stream}: {}", reason.line)
        })
        .collect()
    }
}
