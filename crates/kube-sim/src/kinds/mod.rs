//! Which kinds are served: the built-in ones and those that `CustomResourceDefinition`s add.

mod builtin;
mod custom;
mod events;

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::Value;

pub(crate) use builtin::{Builtin, event_kind};
pub(crate) use custom::{Column, CustomVersion};

/// The collection that objects of a resource are stored in, whatever version they are read through: `group/plural`.
pub(crate) type Collection = Arc<str>;

/// Where the scale subresource of a resource finds its numbers, as paths of member names.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct ScalePaths {
    pub(crate) spec: Vec<String>,
    pub(crate) status: Vec<String>,
    pub(crate) selector: Option<Vec<String>>,
}

/// Where a kind comes from, with what is particular to that.
#[derive(Clone, Debug)]
pub(crate) enum Origin {
    Builtin(&'static Builtin),
    Custom(Arc<CustomVersion>),
}

/// One resource in one served version.
#[derive(Clone, Debug)]
pub(crate) struct ResourceType {
    pub(crate) group: String,
    pub(crate) version: String,
    pub(crate) kind: String,
    pub(crate) list_kind: String,
    pub(crate) plural: String,
    pub(crate) singular: String,
    pub(crate) short_names: Vec<String>,
    pub(crate) categories: Vec<String>,
    pub(crate) namespaced: bool,
    pub(crate) has_status: bool,
    pub(crate) scale: Option<ScalePaths>,
    pub(crate) collection: Collection,
    pub(crate) origin: Origin,
}

impl ResourceType {
    /// `group/version`, or only the version in the core group.
    pub(crate) fn api_version(&self) -> String {
        if self.group.is_empty() { self.version.clone() } else { format!("{}/{}", self.group, self.version) }
    }

    /// The definition's version when this kind is a custom one.
    pub(crate) fn custom(&self) -> Option<&CustomVersion> {
        match &self.origin {
            Origin::Custom(version) => Some(version),
            Origin::Builtin(_) => None,
        }
    }

    /// Whether this is the built-in resource `plural` of `group`, in any version.
    pub(crate) fn is(&self, group: &str, plural: &str) -> bool {
        self.custom().is_none() && self.group == group && self.plural == plural
    }

    /// Whether objects are stored in another form than this version shows them.
    pub(crate) fn converts(&self) -> bool {
        match &self.origin {
            Origin::Builtin(builtin) => builtin.group == "events.k8s.io",
            Origin::Custom(version) => version.several,
        }
    }

    /// A stored object as this version shows it.
    pub(crate) fn present(&self, stored: &Value) -> Value {
        let mut shown =
            if self.is("events.k8s.io", "events") { events::to_modern(stored) } else { stored.clone() };
        shown["apiVersion"] = self.api_version().into();
        shown
    }

    /// An object of this version as it is stored.
    pub(crate) fn store(&self, shown: Value) -> Value {
        if self.is("events.k8s.io", "events") { events::to_core(&shown) } else { shown }
    }
}

/// Everything that is served at one moment.
#[derive(Clone, Debug)]
pub(crate) struct Registry {
    resources: BTreeMap<(String, String, String), Arc<ResourceType>>,
}

impl Registry {
    /// The built-in kinds.
    pub(crate) fn builtin() -> Self {
        let mut registry = Self { resources: BTreeMap::new() };
        for builtin in builtin::ALL {
            registry.insert(builtin.to_resource());
        }
        registry
    }

    fn insert(&mut self, resource: ResourceType) {
        let key = (resource.group.clone(), resource.version.clone(), resource.plural.clone());
        self.resources.insert(key, Arc::new(resource));
    }

    /// The resource that a request path names.
    pub(crate) fn find(&self, group: &str, version: &str, plural: &str) -> Option<Arc<ResourceType>> {
        self.resources.get(&(group.to_owned(), version.to_owned(), plural.to_owned())).cloned()
    }

    /// Every served resource in every version.
    pub(crate) fn all(&self) -> impl Iterator<Item = &Arc<ResourceType>> {
        self.resources.values()
    }

    /// Any served version of the resources stored in `collection`.
    pub(crate) fn of_collection(&self, collection: &str) -> Option<Arc<ResourceType>> {
        self.resources.values().find(|resource| &*resource.collection == collection).cloned()
    }

    /// Replaces what the definition of `group` and `plural` serves by `versions`; none of them ends the kind.
    pub(crate) fn replace_custom(&mut self, group: &str, plural: &str, versions: Vec<ResourceType>) {
        self.resources.retain(|_, resource| {
            resource.custom().is_none() || resource.group != group || resource.plural != plural
        });
        for version in versions {
            self.insert(version);
        }
    }

    /// The groups with their served versions, the preferred one first.
    pub(crate) fn groups(&self) -> BTreeMap<String, Vec<String>> {
        let mut groups: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for resource in self.resources.values() {
            let versions = groups.entry(resource.group.clone()).or_default();
            if !versions.contains(&resource.version) {
                versions.push(resource.version.clone());
            }
        }
        for versions in groups.values_mut() {
            versions.sort_by_key(|version| std::cmp::Reverse(priority(version)));
        }
        groups
    }
}

/// Orders versions as Kubernetes prefers them: stable before beta before alpha, higher numbers first.
fn priority(version: &str) -> (u8, u32, u32) {
    let Some(rest) = version.strip_prefix('v') else { return (0, 0, 0) };
    let (stage, major, minor) = if let Some((major, minor)) = rest.split_once("alpha") {
        (1, major, minor)
    } else if let Some((major, minor)) = rest.split_once("beta") {
        (2, major, minor)
    } else {
        (3, rest, "0")
    };
    (stage, major.parse().unwrap_or(0), minor.parse().unwrap_or(0))
}

pub(crate) use custom::served_versions;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stable_versions_are_preferred() {
        let mut versions = vec!["v1alpha1", "v1", "v2beta1", "v2", "v1beta2"];
        versions.sort_by_key(|version| std::cmp::Reverse(priority(version)));
        assert_eq!(versions, ["v2", "v1", "v2beta1", "v1beta2", "v1alpha1"]);
    }

    #[test]
    fn every_builtin_kind_has_its_own_place() {
        assert_eq!(Registry::builtin().all().count(), builtin::ALL.len());
    }
}
