//! The store together with what is served, and the consequences of writes that are still to be drawn.

use std::collections::VecDeque;
use std::sync::Arc;

use jiff::Timestamp;
use journal::Journal;
use serde_json::{Value, json};

use crate::expressions::Expressions;
use crate::kinds::{Registry, ResourceType, served_versions};
use crate::lifecycle;
use crate::store::{Address, Store};

pub(crate) const CONFIG_MAPS: &str = "/configmaps";
pub(crate) const DEFINITIONS: &str = "apiextensions.k8s.io/customresourcedefinitions";
pub(crate) const NAMESPACES: &str = "/namespaces";
pub(crate) const PODS: &str = "/pods";
pub(crate) const SECRETS: &str = "/secrets";
pub(crate) const SERVICE_ACCOUNTS: &str = "/serviceaccounts";

/// A write whose consequences (garbage collection, namespace deletion) are to be drawn.
#[derive(Debug)]
pub(crate) enum Pending {
    Written(Address),
    Removed(Arc<Value>, Address),
}

/// Everything behind the one lock.
#[derive(Debug)]
pub(crate) struct State {
    pub(crate) store: Store,
    pub(crate) registry: Arc<Registry>,
    /// The compiled expressions of admission policies.
    pub(crate) expressions: Expressions,
    /// The certificate by which clients know the server (PEM); none if it could not be made, which serving reports.
    pub(crate) root_certificate: Option<String>,
    pending: VecDeque<Pending>,
}

impl State {
    /// The state of a new cluster: the namespaces that every cluster has, and what each namespace has.
    pub(crate) fn new(journal: Option<Journal>, root_certificate: Option<String>, now: Timestamp) -> Self {
        let mut state = Self {
            store: Store::new(journal),
            registry: Arc::new(Registry::builtin()),
            expressions: Expressions::default(),
            root_certificate,
            pending: VecDeque::new(),
        };
        for name in ["default", "kube-system", "kube-public", "kube-node-lease"] {
            let address =
                Address { collection: NAMESPACES.into(), namespace: String::new(), name: name.into() };
            state.put(
                &address,
                json!({
                    "apiVersion": "v1", "kind": "Namespace",
                    "metadata": {
                        "name": name, "uid": new_uid(), "creationTimestamp": seconds(now),
                        "labels": {"kubernetes.io/metadata.name": name},
                    },
                    "spec": {"finalizers": ["kubernetes"]}, "status": {"phase": "Active"},
                }),
            );
        }
        state.settle(now);
        state
    }

    /// Writes an object; what follows from it happens in [`State::settle`].
    pub(crate) fn put(&mut self, address: &Address, object: Value) -> Arc<Value> {
        let stored = self.store.put(address, object);
        if &*address.collection == DEFINITIONS {
            self.serve_definition(&stored);
        }
        self.pending.push_back(Pending::Written(address.clone()));
        stored
    }

    /// Removes an object; what follows from it happens in [`State::settle`].
    pub(crate) fn remove(&mut self, address: &Address) -> Option<Arc<Value>> {
        let removed = self.store.remove(address)?;
        if &*address.collection == DEFINITIONS {
            let spec = &removed["spec"];
            let (group, plural) = (text(&spec["group"]), text(&spec["names"]["plural"]));
            Arc::make_mut(&mut self.registry).replace_custom(group, plural, Vec::new());
        }
        self.pending.push_back(Pending::Removed(Arc::clone(&removed), address.clone()));
        Some(removed)
    }

    fn serve_definition(&mut self, definition: &Value) {
        let spec = &definition["spec"];
        let (group, plural) = (text(&spec["group"]), text(&spec["names"]["plural"]));
        let versions = served_versions(definition);
        Arc::make_mut(&mut self.registry).replace_custom(group, plural, versions);
    }

    /// Draws the consequences of all writes since the last time, and of those consequences.
    pub(crate) fn settle(&mut self, now: Timestamp) {
        while let Some(pending) = self.pending.pop_front() {
            lifecycle::draw_consequences(self, &pending, now);
        }
    }

    /// A served version of the resource that an address belongs to.
    pub(crate) fn resource_of(&self, address: &Address) -> Option<Arc<ResourceType>> {
        self.registry.of_collection(&address.collection)
    }
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

pub(crate) fn new_uid() -> String {
    uuid::Uuid::new_v4().to_string()
}

/// An instant as Kubernetes writes it in metadata: RFC 3339 in whole seconds.
pub(crate) fn seconds(instant: Timestamp) -> String {
    instant.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}
