//! From files to a [`Plan`]: reading, strict decoding, checking.
//!
//! ```text
//! text ──serde-saphyr──► Node (knows its places) ──decode──► Scenario ──check──► Plan
//!                                                     └────────────┴──► Problem (file, line, column, nearest name)
//! ```

mod check;
mod check_background;
mod check_expectations;
pub(crate) mod decode;
mod fixtures;
pub(crate) mod nearest;
mod node;
pub(crate) mod outcomes;
mod problem;
pub(crate) mod yaml;

use std::path::{Path, PathBuf};

pub use fixtures::FixtureObject;
pub(crate) use fixtures::{fill, read_objects};
pub use node::{Node, Place, Segment};
pub use problem::{Problem, Problems, Source};

use crate::model::Scenario;

/// Scenarios that were read and found right.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The scenarios, by file and place.
    pub scenarios: Vec<Planned>,
}

/// One scenario that was read and found right.
#[derive(Clone, Debug)]
pub struct Planned {
    /// The scenario.
    pub scenario: Scenario,
    /// The objects of its fixtures and its own, in the order they are applied, placeholders not yet filled.
    pub objects: Vec<FixtureObject>,
    /// The folder that has `fixtures/`.
    pub root: PathBuf,
    /// The file.
    pub source: Source,
    /// The document, for places in messages.
    pub node: Node,
}

impl Planned {
    /// The line, from 1, on which a step begins.
    pub fn line_of_step(&self, index: usize) -> usize {
        let place = self.node.locate(&["steps".into(), index.into()]);
        self.source.position(place.start).0
    }
}

/// Reads and checks scenario files; a folder means every `*.yaml` below it.
///
/// # Errors
/// [`Problems`] with everything that is wrong in any of them.
pub fn load(paths: &[PathBuf]) -> Result<Plan, Problems> {
    let mut scenarios = Vec::new();
    let mut problems = Vec::new();
    for path in paths {
        match files(path) {
            Ok(files) if files.is_empty() => {
                problems.push(Problem::of_file(path, "no scenario files (*.yaml) are here"));
            }
            Ok(files) => {
                for file in files {
                    read_file(&file, &mut scenarios, &mut problems);
                }
            }
            Err(error) => problems.push(Problem::of_file(path, format!("can't be read: {error}"))),
        }
    }
    check::names(&scenarios, &mut problems);
    if problems.is_empty() { Ok(Plan { scenarios }) } else { Err(Problems { problems }) }
}

fn files(path: &Path) -> std::io::Result<Vec<PathBuf>> {
    if !path.is_dir() {
        path.metadata()?;
        return Ok(vec![path.to_owned()]);
    }
    let mut files = Vec::new();
    let mut entries = std::fs::read_dir(path)?
        .map(|entry| entry.map(|entry| entry.path()))
        .collect::<Result<Vec<_>, _>>()?;
    entries.sort();
    for entry in entries {
        let is_yaml = entry.extension().is_some_and(|extension| extension == "yaml" || extension == "yml");
        if entry.is_dir() && entry.file_name().is_some_and(|name| name != "fixtures") {
            files.extend(self::files(&entry)?);
        } else if is_yaml {
            files.push(entry);
        }
    }
    Ok(files)
}

fn read_file(path: &Path, scenarios: &mut Vec<Planned>, problems: &mut Vec<Problem>) {
    match std::fs::read_to_string(path) {
        Ok(text) => read_text(&Source::new(path, text), &root_of(path), scenarios, problems),
        Err(error) => problems.push(Problem::of_file(path, format!("can't be read: {error}"))),
    }
}

fn read_text(source: &Source, root: &Path, scenarios: &mut Vec<Planned>, problems: &mut Vec<Problem>) {
    let nodes = match yaml::documents::<Node>(source.text()) {
        Ok(nodes) => nodes,
        Err(error) => return problems.push(not_yaml(source, &error)),
    };
    if nodes.is_empty() {
        problems.push(Problem::of_file(&source.path, "the file holds no scenario"));
    }
    for node in nodes {
        match decode::decode::<Scenario>(&node) {
            Err(error) => problems.push(Problem::of_decoding(source, error)),
            Ok(scenario) => {
                let objects = fixtures::gather(&scenario, root, source, &node, problems);
                check::scenario(&scenario, &objects, root, source, &node, problems);
                let (root, source) = (root.to_owned(), source.clone());
                scenarios.push(Planned { scenario, objects, root, source, node });
            }
        }
    }
}

fn not_yaml(source: &Source, error: &serde_saphyr::Error) -> Problem {
    let error = error.without_snippet();
    let place = error.location().map_or(Place::default(), |location| Place {
        start: source.byte_at(location.line(), location.column()),
        length: 0,
    });
    Problem::new(source, place, format!("this is no YAML: {}", yaml::words(error)))
}

/// The nearest folder at or above the file's that has `fixtures/`; the file's own folder if none has.
fn root_of(path: &Path) -> PathBuf {
    let folder = path.parent().unwrap_or(Path::new(""));
    let has_fixtures = |folder: &&Path| folder.join("fixtures").is_dir();
    if let Some(root) = folder.ancestors().find(has_fixtures) {
        return root.to_owned();
    }
    let absolute = folder.canonicalize().unwrap_or_else(|_| folder.to_owned());
    absolute.ancestors().find(has_fixtures).unwrap_or(folder).to_owned()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Texts that look like scenarios more often than chance would have it.
    fn scenario_like() -> impl Strategy<Value = String> {
        let piece = prop_oneof![
            Just("apiVersion: mountlab.dev/v1\n".to_owned()),
            Just("kind: Scenario\n".to_owned()),
            Just("metadata: {name: x}\n".to_owned()),
            Just("steps:\n  - ".to_owned()),
            Just("create: {template: ${a.b[0]}}\n".to_owned()),
            Just("    expect: {status: {oneOf: [".to_owned()),
            Just("never: [{event: {type: *x}}]\n".to_owned()),
            Just("---\n".to_owned()),
            "[a-z:{}\\[\\],&*!|>'\"# \n-]{0,12}",
            any::<String>(),
        ];
        prop::collection::vec(piece, 0..12).prop_map(|pieces| pieces.concat())
    }

    proptest! {
        #[test]
        fn no_text_makes_the_reader_panic_and_every_problem_has_a_place_in_it(text in scenario_like()) {
            let source = Source::new(Path::new("scenario.yaml"), text);
            let (mut scenarios, mut problems) = (Vec::new(), Vec::new());
            read_text(&source, Path::new("/nonexistent"), &mut scenarios, &mut problems);
            prop_assert!(!scenarios.is_empty() || !problems.is_empty());
            for problem in problems {
                let place = problem.place.map_or(0, |place| place.start);
                prop_assert!(place <= source.text().len());
                prop_assert!(!problem.to_string().is_empty());
            }
        }
    }
}
