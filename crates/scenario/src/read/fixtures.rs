//! Kubernetes objects of a scenario: from `fixtures/`, and in place.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::Value;

use super::node::Node;
use super::problem::{Problem, Source};
use super::yaml;
use crate::model::Scenario;

/// The placeholders of the product document, without their angle brackets, and `NAS_SERVER` for the address that it
/// says to replace.
pub(crate) const PLACEHOLDERS: &[&str] =
    &["YOUR_ACCESS_KEY_ID", "YOUR_ACCESS_KEY_SECRET", "OSS_BUCKET", "OSS_ENDPOINT", "NAS_SERVER"];

/// An object as it stands in a file.
#[derive(Clone, Debug, PartialEq)]
pub struct FixtureObject {
    /// The fixture's name; absent for an object of the scenario's own.
    pub fixture: Option<String>,
    /// The object, placeholders not yet filled.
    pub object: Value,
}

impl FixtureObject {
    /// `Kind/namespace/name`, or `Kind/name` where no namespace is given.
    pub fn subject(&self) -> String {
        let text = |pointer: &str| self.object.pointer(pointer).and_then(Value::as_str);
        let name = text("/metadata/name").unwrap_or("?");
        let kind = text("/kind").unwrap_or("?");
        match text("/metadata/namespace") {
            Some(namespace) => format!("{kind}/{namespace}/{name}"),
            None => format!("{kind}/{name}"),
        }
    }

    /// The object's name.
    pub fn name(&self) -> Option<&str> {
        self.object.pointer("/metadata/name").and_then(Value::as_str)
    }

    /// The object's kind.
    pub fn kind(&self) -> Option<&str> {
        self.object.get("kind").and_then(Value::as_str)
    }
}

/// The objects in a file below `fixtures/`.
pub(crate) fn read_objects(root: &Path, fixture: &str) -> Result<Vec<Value>, String> {
    let path = root.join("fixtures").join(fixture);
    let text = std::fs::read_to_string(&path)
        .map_err(|error| format!("{} can't be read: {error}", path.display()))?;
    let values: Vec<Value> = yaml::documents(&text).map_err(|error| {
        let line = error.location().map(|location| format!(":{}", location.line())).unwrap_or_default();
        format!("{}{line} is no YAML: {}", path.display(), yaml::words(&error))
    })?;
    Ok(values.into_iter().filter(|value| !value.is_null()).collect())
}

/// Every object that is applied before the first step; what can't be read or isn't an object is a problem.
pub(super) fn gather(
    scenario: &Scenario,
    root: &Path,
    source: &Source,
    node: &Node,
    problems: &mut Vec<Problem>,
) -> Vec<FixtureObject> {
    let mut objects = Vec::new();
    for (index, fixture) in scenario.fixtures.iter().enumerate() {
        let place = node.locate(&["fixtures".into(), index.into()]);
        match read_objects(root, fixture) {
            Err(words) => problems.push(Problem::new(source, place, words).help(available(root, fixture))),
            Ok(found) if found.is_empty() => {
                problems.push(Problem::new(source, place, format!("{fixture} holds no object")));
            }
            Ok(found) => objects.extend(
                found.into_iter().map(|object| FixtureObject { fixture: Some(fixture.clone()), object }),
            ),
        }
    }
    objects.extend(
        scenario.objects.iter().map(|object| FixtureObject { fixture: None, object: object.clone() }),
    );
    for (index, object) in objects.iter().enumerate() {
        if object.name().is_none() || object.kind().is_none() || object.object.get("apiVersion").is_none() {
            let own = index.checked_sub(objects.len() - scenario.objects.len());
            let place = match (&object.fixture, own) {
                (None, Some(own)) => node.locate(&["objects".into(), own.into()]),
                _ => node.locate(&["fixtures".into()]),
            };
            let words = format!("{} lacks apiVersion, kind or metadata.name", object.subject());
            problems.push(Problem::new(source, place, words));
        }
    }
    objects
}

fn available(root: &Path, fixture: &str) -> String {
    let folder = root.join("fixtures");
    let mut names: Vec<String> = std::fs::read_dir(&folder)
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    super::decode::suggestion(fixture, names.iter().map(String::as_str))
}

/// `value` with every placeholder replaced.
pub(crate) fn fill(value: &Value, placeholders: &BTreeMap<String, String>) -> Value {
    match value {
        Value::String(text) => {
            let mut text = text.clone();
            for (name, content) in placeholders {
                text = text.replace(&format!("<{name}>"), content);
            }
            Value::String(text)
        }
        Value::Array(items) => items.iter().map(|item| fill(item, placeholders)).collect(),
        Value::Object(members) => Value::Object(
            members.iter().map(|(key, value)| (key.clone(), fill(value, placeholders))).collect(),
        ),
        other => other.clone(),
    }
}
