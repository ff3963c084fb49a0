//! The shape of an object as far as ownership needs it: which lists have keys, which maps are one value.

use serde_json::Value;

use crate::kinds::{Origin, ResourceType};
use strategic_merge::{ListKind, of_builtin};

/// Maps of built-in kinds that are owned as one value.
const ATOMIC_MAPS: [&str; 13] = [
    "selector",
    "labelSelector",
    "nodeSelector",
    "fieldRef",
    "resourceFieldRef",
    "secretKeyRef",
    "configMapKeyRef",
    "secretRef",
    "configMapRef",
    "claimRef",
    "involvedObject",
    "targetRef",
    "roleRef",
];

/// A place in an object.
#[derive(Clone, Debug)]
pub(crate) enum Shape<'a> {
    /// In a built-in kind: the members that lead here, without list items.
    Builtin(Vec<String>),
    /// In a custom kind: the schema of this place. `root` is the object itself.
    Custom { schema: Option<&'a Value>, root: bool },
}

impl<'a> Shape<'a> {
    pub(crate) fn of(resource: &'a ResourceType) -> Self {
        match &resource.origin {
            Origin::Builtin(_) => Self::Builtin(Vec::new()),
            Origin::Custom(version) => Self::Custom { schema: Some(&version.schema), root: true },
        }
    }

    /// The place of a member.
    pub(crate) fn member(&self, name: &str) -> Self {
        match self {
            Self::Builtin(path) => {
                let mut path = path.clone();
                path.push(name.to_owned());
                Self::Builtin(path)
            }
            Self::Custom { root: true, .. } if name == "metadata" => Self::Builtin(vec!["metadata".into()]),
            Self::Custom { schema, .. } => {
                let schema = schema.and_then(|schema| {
                    schema["properties"].get(name).or_else(|| schema.get("additionalProperties"))
                });
                Self::Custom { schema, root: false }
            }
        }
    }

    /// The place of an item of the list here.
    pub(crate) fn item(&self) -> Self {
        match self {
            Self::Builtin(_) => self.clone(),
            Self::Custom { schema, .. } => {
                Self::Custom { schema: schema.and_then(|schema| schema.get("items")), root: false }
            }
        }
    }

    /// How the items of the list here are told apart.
    pub(crate) fn list_kind(&self) -> ListKind {
        match self {
            Self::Builtin(path) => {
                let Some((member, parents)) = path.split_last() else { return ListKind::Atomic };
                let parents: Vec<&str> = parents.iter().map(String::as_str).collect();
                of_builtin(&parents, member)
            }
            Self::Custom { schema, .. } => custom_list_kind(*schema),
        }
    }

    /// Whether the map here is owned as one value.
    pub(crate) fn is_atomic_map(&self) -> bool {
        match self {
            Self::Builtin(path) => path.last().is_some_and(|name| ATOMIC_MAPS.contains(&name.as_str())),
            Self::Custom { schema, .. } => {
                schema.is_some_and(|schema| schema["x-kubernetes-map-type"] == "atomic")
            }
        }
    }
}

/// The kind of a list by its schema.
pub(crate) fn custom_list_kind(schema: Option<&Value>) -> ListKind {
    let Some(schema) = schema else { return ListKind::Atomic };
    match schema["x-kubernetes-list-type"].as_str() {
        Some("set") => ListKind::Set,
        Some("map") => ListKind::Map(
            schema["x-kubernetes-list-map-keys"]
                .as_array()
                .into_iter()
                .flatten()
                .filter_map(Value::as_str)
                .map(str::to_owned)
                .collect(),
        ),
        _ => ListKind::Atomic,
    }
}

/// How an item of a keyed list is written in a path; nothing when a key is missing.
pub(crate) fn item_element(kind: &ListKind, item: &Value) -> Option<String> {
    match kind {
        ListKind::Atomic => None,
        ListKind::Set => Some(format!("v:{item}")),
        ListKind::Map(keys) => {
            let mut keys = keys.clone();
            keys.sort();
            let mut parts = Vec::new();
            for key in keys {
                let value = match item.get(&key) {
                    Some(value) => value.clone(),
                    None if key == "protocol" => "TCP".into(),
                    None => continue,
                };
                parts.push(format!("{}:{value}", Value::from(key)));
            }
            (!parts.is_empty()).then(|| format!("k:{{{}}}", parts.join(",")))
        }
    }
}

/// The items of a list by their path elements; nothing when the list is not keyed, or some item has no key or one
/// that another has too, so that the list can only be taken as a whole.
pub(crate) fn keyed<'v>(shape: &Shape<'_>, items: &'v [Value]) -> Option<Vec<(String, &'v Value)>> {
    let kind = shape.list_kind();
    let keyed: Vec<(String, &Value)> =
        items.iter().map(|item| Some((item_element(&kind, item)?, item))).collect::<Option<_>>()?;
    let mut elements: Vec<&str> = keyed.iter().map(|(element, _)| element.as_str()).collect();
    elements.sort_unstable();
    elements.dedup();
    (elements.len() == keyed.len() && kind != ListKind::Atomic).then_some(keyed)
}
