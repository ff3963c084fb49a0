//! Objects in memory, one revision counter for all of them, and the history that watches are served from.
//!
//! ```text
//! put/remove ─► revision + 1 ─► objects, indexes ─► history (bounded) ─► watchers
//!                                                └► journal
//! ```

mod record;
mod watch;

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::fmt;
use std::sync::Arc;

use journal::Journal;
use serde_json::Value;

use crate::kinds::Collection;

use watch::{Forgotten, Watcher};

/// How many changes are kept for watches that resume; older ones answer 410. Each holds a copy of its object.
const HISTORY: usize = 2048;

/// Where an object is: its collection, its namespace (empty for cluster scope) and its name.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub(crate) struct Address {
    pub(crate) collection: Collection,
    pub(crate) namespace: String,
    pub(crate) name: String,
}

impl fmt::Display for Address {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}/{}/{}", self.collection, self.namespace, self.name)
    }
}

/// What happened to an object.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum ChangeKind {
    Added,
    Modified,
    Deleted,
}

impl ChangeKind {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Added => "ADDED",
            Self::Modified => "MODIFIED",
            Self::Deleted => "DELETED",
        }
    }
}

/// One committed write.
pub(crate) struct Change {
    pub(crate) revision: u64,
    pub(crate) address: Address,
    pub(crate) kind: ChangeKind,
    /// The object after the change; of a deletion its last state, with the deletion's revision.
    pub(crate) object: Arc<Value>,
    /// The object before the change.
    pub(crate) previous: Option<Arc<Value>>,
}

type Objects = BTreeMap<(String, String), Arc<Value>>;

/// Every object there is.
pub(crate) struct Store {
    revision: u64,
    /// The last revision that the history has forgotten.
    forgotten: u64,
    collections: HashMap<Collection, Objects>,
    history: VecDeque<Arc<Change>>,
    watchers: Vec<Watcher>,
    by_uid: HashMap<String, Address>,
    dependents: HashMap<String, BTreeSet<Address>>,
    journal: Option<Journal>,
}

/// Objects may be Secrets, so they are never printed.
impl fmt::Debug for Change {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} {} at {}", self.kind.name(), self.address, self.revision)
    }
}

impl fmt::Debug for Store {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Store").field("revision", &self.revision).finish_non_exhaustive()
    }
}

impl Store {
    pub(crate) fn new(journal: Option<Journal>) -> Self {
        Self {
            revision: 1,
            forgotten: 0,
            collections: HashMap::new(),
            history: VecDeque::new(),
            watchers: Vec::new(),
            by_uid: HashMap::new(),
            dependents: HashMap::new(),
            journal,
        }
    }

    /// The revision of the latest write.
    /// From now on the journal shows `secret` nowhere, whoever writes it there.
    pub(crate) fn conceal(&self, secret: &str) {
        if let Some(journal) = &self.journal {
            journal.conceal(secret);
        }
    }

    pub(crate) fn revision(&self) -> u64 {
        self.revision
    }

    pub(crate) fn get(&self, address: &Address) -> Option<Arc<Value>> {
        let key = (address.namespace.clone(), address.name.clone());
        self.collections.get(&address.collection)?.get(&key).cloned()
    }

    /// The objects of a collection, of one namespace or of all, by namespace and name.
    pub(crate) fn list(&self, collection: &str, namespace: Option<&str>) -> Vec<Arc<Value>> {
        let Some(objects) = self.collections.get(collection) else { return Vec::new() };
        match namespace {
            None => objects.values().cloned().collect(),
            Some(namespace) => objects
                .range((namespace.to_owned(), String::new())..)
                .take_while(|((of, _), _)| of == namespace)
                .map(|(_, object)| Arc::clone(object))
                .collect(),
        }
    }

    /// The same as it was at `revision`: what happened since is taken back.
    ///
    /// # Errors
    /// When the history has forgotten a change since then.
    pub(crate) fn list_at(
        &self,
        collection: &str,
        namespace: Option<&str>,
        revision: u64,
    ) -> Result<Vec<Arc<Value>>, Forgotten> {
        if revision < self.forgotten {
            return Err(Forgotten { oldest: self.forgotten });
        }
        let first = self.history.partition_point(|change| change.revision <= revision);
        let mut since = self
            .history
            .range(first..)
            .rev()
            .filter(|change| {
                let here = namespace.is_none_or(|namespace| change.address.namespace == namespace);
                here && *change.address.collection == *collection
            })
            .peekable();
        if since.peek().is_none() {
            return Ok(self.list(collection, namespace));
        }
        let place = |address: &Address| (address.namespace.clone(), address.name.clone());
        let mut objects = self.collections.get(collection).cloned().unwrap_or_default();
        for change in since {
            match &change.previous {
                Some(previous) => objects.insert(place(&change.address), Arc::clone(previous)),
                None => objects.remove(&place(&change.address)),
            };
        }
        let here = |of: &str| namespace.is_none_or(|namespace| of == namespace);
        Ok(objects.into_iter().filter(|((of, _), _)| here(of)).map(|(_, object)| object).collect())
    }

    /// Every object of a namespace, in every collection.
    pub(crate) fn in_namespace(&self, namespace: &str) -> Vec<Address> {
        let mut found = Vec::new();
        for (collection, objects) in &self.collections {
            let here = objects.range((namespace.to_owned(), String::new())..);
            for ((of, name), _) in here.take_while(|((of, _), _)| of == namespace) {
                found.push(Address {
                    collection: collection.clone(),
                    namespace: of.clone(),
                    name: name.clone(),
                });
            }
        }
        found.sort();
        found
    }

    /// Where the object with this uid is.
    pub(crate) fn locate(&self, uid: &str) -> Option<&Address> {
        self.by_uid.get(uid)
    }

    /// The objects that name this uid among their owners.
    pub(crate) fn dependents(&self, uid: &str) -> Vec<Address> {
        self.dependents.get(uid).into_iter().flatten().cloned().collect()
    }

    /// Writes an object and gives it the next revision.
    pub(crate) fn put(&mut self, address: &Address, mut object: Value) -> Arc<Value> {
        self.revision += 1;
        object["metadata"]["resourceVersion"] = self.revision.to_string().into();
        let object = Arc::new(object);
        let key = (address.namespace.clone(), address.name.clone());
        let objects = self.collections.entry(address.collection.clone()).or_default();
        let previous = objects.insert(key, Arc::clone(&object));
        if let Some(previous) = &previous {
            self.unindex(address, previous);
        }
        self.index(address, &object);
        let kind = if previous.is_some() { ChangeKind::Modified } else { ChangeKind::Added };
        self.publish(address, kind, Arc::clone(&object), previous);
        object
    }

    /// Removes an object; the answer is its last state.
    pub(crate) fn remove(&mut self, address: &Address) -> Option<Arc<Value>> {
        let key = (address.namespace.clone(), address.name.clone());
        let previous = self.collections.get_mut(&address.collection)?.remove(&key)?;
        self.unindex(address, &previous);
        self.revision += 1;
        let mut object = (*previous).clone();
        object["metadata"]["resourceVersion"] = self.revision.to_string().into();
        let object = Arc::new(object);
        self.publish(address, ChangeKind::Deleted, Arc::clone(&object), Some(previous));
        Some(object)
    }

    fn publish(
        &mut self,
        address: &Address,
        kind: ChangeKind,
        object: Arc<Value>,
        previous: Option<Arc<Value>>,
    ) {
        let change =
            Arc::new(Change { revision: self.revision, address: address.clone(), kind, object, previous });
        if let Some(journal) = &self.journal {
            record::record(journal, &change);
        }
        if self.history.len() == HISTORY
            && let Some(old) = self.history.pop_front()
        {
            self.forgotten = old.revision;
        }
        self.history.push_back(Arc::clone(&change));
        self.watchers.retain(|watcher| watcher.offer(&change));
    }

    fn index(&mut self, address: &Address, object: &Value) {
        if let Some(uid) = object["metadata"]["uid"].as_str() {
            self.by_uid.insert(uid.to_owned(), address.clone());
        }
        for owner in owner_uids(object) {
            self.dependents.entry(owner.to_owned()).or_default().insert(address.clone());
        }
    }

    fn unindex(&mut self, address: &Address, object: &Value) {
        if let Some(uid) = object["metadata"]["uid"].as_str() {
            self.by_uid.remove(uid);
        }
        for owner in owner_uids(object) {
            if let Some(dependents) = self.dependents.get_mut(owner) {
                dependents.remove(address);
                if dependents.is_empty() {
                    self.dependents.remove(owner);
                }
            }
        }
    }
}

fn owner_uids(object: &Value) -> impl Iterator<Item = &str> {
    object["metadata"]["ownerReferences"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|owner| owner["uid"].as_str())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn address(name: &str) -> Address {
        Address { collection: "/pods".into(), namespace: "default".into(), name: name.into() }
    }

    fn pod(name: &str, owner: Option<&str>) -> Value {
        let owners: Vec<Value> = owner.map(|uid| json!({"uid": uid})).into_iter().collect();
        json!({"metadata": {"name": name, "uid": format!("uid-{name}"), "ownerReferences": owners}})
    }

    #[test]
    fn a_resumed_watch_sees_exactly_what_came_after() {
        let mut store = Store::new(None);
        store.put(&address("a"), pod("a", None));
        let seen = store.revision();
        store.put(&address("b"), pod("b", None));
        store.remove(&address("a"));
        let subscription = store.subscribe("/pods", None, seen).expect("history is kept");
        let kinds: Vec<_> = subscription.backlog.iter().map(|change| change.kind).collect();
        assert_eq!(kinds, [ChangeKind::Added, ChangeKind::Deleted]);
    }

    #[test]
    fn a_list_can_be_as_it_was() {
        let mut store = Store::new(None);
        store.put(&address("a"), pod("a", None));
        store.put(&address("b"), pod("b", None));
        let then = store.revision();
        let names = |store: &Store, revision| {
            let found = store.list_at("/pods", Some("default"), revision).ok()?;
            Some(found.iter().map(|pod| pod["metadata"]["name"].clone()).collect::<Vec<_>>())
        };
        store.remove(&address("a"));
        store.put(&address("c"), pod("c", None));
        store.put(&address("b"), pod("b", Some("owner")));
        store.put(&address("a"), pod("a", Some("owner")));
        assert_eq!(names(&store, then), Some(vec!["a".into(), "b".into()]));
        assert_eq!(names(&store, store.revision()), Some(vec!["a".into(), "b".into(), "c".into()]));
        let found = store.list_at("/pods", None, then).expect("kept");
        assert!(found.iter().all(|pod| pod["metadata"]["ownerReferences"] == json!([])), "{found:?}");
        store.forget_history();
        assert_eq!(names(&store, then), None);
    }

    #[test]
    fn a_forgotten_revision_is_refused() {
        let mut store = Store::new(None);
        store.put(&address("a"), pod("a", None));
        let seen = store.revision();
        store.put(&address("b"), pod("b", None));
        store.forget_history();
        assert!(store.subscribe("/pods", None, seen).is_err());
        assert!(store.subscribe("/pods", None, store.revision()).is_ok());
    }

    #[test]
    fn dependents_follow_the_owner_references() {
        let mut store = Store::new(None);
        store.put(&address("a"), pod("a", Some("owner")));
        assert_eq!(store.dependents("owner"), [address("a")]);
        store.put(&address("a"), pod("a", None));
        assert!(store.dependents("owner").is_empty());
        assert_eq!(store.locate("uid-a"), Some(&address("a")));
    }
}
