//! Sets of field paths, and their form in `managedFields` (`FieldsV1`).

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde_json::{Map, Value};

use super::shape::{Shape, keyed};

/// A set of paths as a tree. A path element is written as in `FieldsV1`: `f:name` for a member, `k:{…}` for the item
/// of a list with keys, `v:…` for the item of a set.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Fields {
    /// Whether the path that ends here is in the set.
    pub(crate) owned: bool,
    pub(crate) below: BTreeMap<String, Fields>,
}

/// Members of an object that nobody owns.
const UNOWNED: [&str; 2] = ["apiVersion", "kind"];
const UNOWNED_METADATA: [&str; 10] = [
    "name",
    "namespace",
    "uid",
    "resourceVersion",
    "generation",
    "creationTimestamp",
    "deletionTimestamp",
    "deletionGracePeriodSeconds",
    "managedFields",
    "selfLink",
];

impl Fields {
    pub(crate) fn leaf() -> Self {
        Self { owned: true, below: BTreeMap::new() }
    }

    pub(crate) fn is_empty(&self) -> bool {
        !self.owned && self.below.is_empty()
    }

    /// Every path of a value.
    pub(crate) fn of(value: &Value, shape: &Shape<'_>) -> Self {
        match value {
            Value::Object(members) if !members.is_empty() && !shape.is_atomic_map() => {
                let below = members
                    .iter()
                    .map(|(name, value)| (format!("f:{name}"), Self::of(value, &shape.member(name))))
                    .collect();
                Self { owned: false, below }
            }
            Value::Array(items) if !items.is_empty() => match keyed(shape, items) {
                Some(items) => {
                    let below = items
                        .into_iter()
                        .map(|(element, item)| {
                            (element, Self { owned: true, ..Self::of(item, &shape.item()) })
                        })
                        .collect();
                    Self { owned: false, below }
                }
                None => Self::leaf(),
            },
            _ => Self::leaf(),
        }
    }

    /// Takes out what belongs to nobody: the identity of the object and what only the server writes.
    pub(crate) fn drop_unowned(&mut self) {
        for name in UNOWNED {
            self.below.remove(&format!("f:{name}"));
        }
        if let Some(metadata) = self.below.get_mut("f:metadata") {
            metadata.owned = false;
            for name in UNOWNED_METADATA {
                metadata.below.remove(&format!("f:{name}"));
            }
            if metadata.is_empty() {
                self.below.remove("f:metadata");
            }
        }
        self.owned = false;
    }

    pub(crate) fn union(&mut self, other: &Self) {
        self.owned |= other.owned;
        for (element, fields) in &other.below {
            self.below.entry(element.clone()).or_default().union(fields);
        }
    }

    /// Takes the paths of `other` out.
    pub(crate) fn subtract(&mut self, other: &Self) {
        if other.owned {
            self.owned = false;
        }
        for (element, fields) in &other.below {
            if let Some(mine) = self.below.get_mut(element) {
                mine.subtract(fields);
                if mine.is_empty() {
                    self.below.remove(element);
                }
            }
        }
    }

    /// Takes the paths of `other` out, with everything below them.
    pub(crate) fn subtract_whole(&mut self, other: &Self) {
        for (element, fields) in &other.below {
            if fields.owned {
                self.below.remove(element);
            } else if let Some(mine) = self.below.get_mut(element) {
                mine.subtract_whole(fields);
                if mine.is_empty() {
                    self.below.remove(element);
                }
            }
        }
    }

    /// The paths in both sets.
    pub(crate) fn intersection(&self, other: &Self) -> Self {
        let below = self
            .below
            .iter()
            .filter_map(|(element, mine)| {
                let both = mine.intersection(other.below.get(element)?);
                (!both.is_empty()).then(|| (element.clone(), both))
            })
            .collect();
        Self { owned: self.owned && other.owned, below }
    }

    /// Every path in words, such as `.spec.containers[name="main"].image`.
    pub(crate) fn paths(&self) -> Vec<String> {
        let mut paths = Vec::new();
        self.collect_paths("", &mut paths);
        paths
    }

    fn collect_paths(&self, prefix: &str, paths: &mut Vec<String>) {
        if self.owned && !prefix.is_empty() {
            paths.push(prefix.to_owned());
        }
        for (element, fields) in &self.below {
            fields.collect_paths(&format!("{prefix}{}", in_words(element)), paths);
        }
    }

    /// The set as `fieldsV1`.
    pub(crate) fn to_json(&self) -> Value {
        let mut members = Map::new();
        if self.owned && !self.below.is_empty() {
            members.insert(".".into(), Value::Object(Map::new()));
        }
        for (element, fields) in &self.below {
            members.insert(element.clone(), fields.to_json());
        }
        members.into()
    }

    /// The set that a `fieldsV1` holds.
    pub(crate) fn from_json(value: &Value) -> Self {
        let mut fields = Self::read(value);
        fields.owned = false;
        fields
    }

    fn read(value: &Value) -> Self {
        let members = value.as_object();
        let owned = members.is_none_or(|members| members.is_empty() || members.contains_key("."));
        let below = members
            .into_iter()
            .flatten()
            .filter(|(element, _)| *element != ".")
            .map(|(element, value)| (element.clone(), Self::read(value)))
            .collect();
        Self { owned, below }
    }
}

fn in_words(element: &str) -> String {
    match element.split_once(':') {
        Some(("f", name)) => format!(".{name}"),
        Some(("v", value)) => format!("[={value}]"),
        Some(("k", keys)) => {
            let mut text = String::from("[");
            let keys: BTreeMap<String, Value> = serde_json::from_str(keys).unwrap_or_default();
            for (index, (key, value)) in keys.iter().enumerate() {
                let comma = if index == 0 { "" } else { "," };
                // Writing to a String never fails.
                let _ = write!(text, "{comma}{key}={value}");
            }
            text.push(']');
            text
        }
        _ => format!("[{element}]"),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn pod() -> Value {
        json!({
            "apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p", "labels": {"a": "1"}, "finalizers": ["x"]},
            "spec": {"containers": [{"name": "main", "image": "i", "args": ["a", "b"]}], "nodeSelector": {"k": "v"}},
        })
    }

    #[test]
    fn the_paths_of_an_object_follow_its_shape() {
        let mut fields = Fields::of(&pod(), &Shape::Builtin(Vec::new()));
        fields.drop_unowned();
        assert_eq!(
            fields.to_json(),
            json!({
                "f:metadata": {"f:labels": {"f:a": {}}, "f:finalizers": {"v:\"x\"": {}}},
                "f:spec": {
                    "f:containers": {"k:{\"name\":\"main\"}": {".": {}, "f:name": {}, "f:image": {}, "f:args": {}}},
                    "f:nodeSelector": {},
                },
            })
        );
        assert_eq!(Fields::from_json(&fields.to_json()), fields);
    }

    #[test]
    fn paths_in_words_name_list_items_by_key() {
        let fields = Fields::of(&pod()["spec"], &Shape::Builtin(vec!["spec".into()]));
        assert!(
            fields.paths().contains(&".containers[name=\"main\"].image".to_owned()),
            "{:?}",
            fields.paths()
        );
    }

    #[test]
    fn sets_are_added_taken_away_and_intersected() {
        let all = Fields::from_json(&json!({"f:a": {"f:b": {}, "f:c": {}}, "f:d": {}}));
        let some = Fields::from_json(&json!({"f:a": {"f:b": {}}, "f:e": {}}));
        let mut rest = all.clone();
        rest.subtract(&some);
        assert_eq!(rest.paths(), [".a.c", ".d"]);
        assert_eq!(all.intersection(&some).paths(), [".a.b"]);
        let mut sum = rest;
        sum.union(&some);
        assert_eq!(sum.paths(), [".a.b", ".a.c", ".d", ".e"]);
    }
}
