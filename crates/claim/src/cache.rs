//! Objects of one kind, kept up to date by a watch.
//!
//! Its owner answers from here instead of asking the API server, and waits here for changes instead of polling.
//! Two additions to a plain reflector make that safe:
//!
//! - what its owner wrote itself enters at once ([`Cache::observe`]), so a claim is routed and listed the moment it
//!   is answered, and a watch event that is older than it does not take it back;
//! - what its owner deleted leaves at once ([`Cache::bury`]), however long the API server needs to end it.

use std::collections::{HashMap, HashSet, VecDeque};
use std::fmt::Debug;
use std::hash::Hash;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use futures::{StreamExt as _, pin_mut};
use kube::runtime::WatchStreamExt as _;
use kube::runtime::watcher::{self, Event, watcher};
use kube::{Api, Resource, ResourceExt as _};
use serde::de::DeserializeOwned;
use tokio::sync::watch;

/// How many deleted objects are remembered, so that a late answer to a write can't bring one back.
const REMEMBERED: usize = 4096;

/// Namespace (empty for cluster-wide kinds) and name.
pub type Key = (String, String);

/// A kind that can be cached.
pub trait Cached:
    Resource<DynamicType: Default + Clone + Eq + Hash + Debug>
    + Clone
    + Debug
    + DeserializeOwned
    + Send
    + Sync
    + 'static
{
}
impl<K> Cached for K where
    K: Resource<DynamicType: Default + Clone + Eq + Hash + Debug>
        + Clone
        + Debug
        + DeserializeOwned
        + Send
        + Sync
        + 'static
{
}

/// The objects of kind `K` that exist as far as its owner knows.
#[derive(Debug)]
pub struct Cache<K> {
    objects: RwLock<Objects<K>>,
    /// Counts changes; waiters look again after each.
    changes: watch::Sender<u64>,
}

#[derive(Debug)]
struct Objects<K> {
    by_key: HashMap<Key, Arc<K>>,
    buried: Burials,
    /// While the watch lists afresh: the keys that it, or a write of our own, has confirmed so far.
    confirmed: Option<HashSet<Key>>,
    synced: bool,
}

/// UIDs of objects that are deleted or about to be; the oldest are forgotten.
#[derive(Debug, Default)]
struct Burials {
    uids: HashSet<String>,
    order: VecDeque<String>,
}

impl Burials {
    fn add(&mut self, uid: String) {
        if !self.uids.insert(uid.clone()) {
            return;
        }
        self.order.push_back(uid);
        if self.order.len() > REMEMBERED
            && let Some(oldest) = self.order.pop_front()
        {
            self.uids.remove(&oldest);
        }
    }

    fn remove(&mut self, uid: &str) {
        if self.uids.remove(uid) {
            self.order.retain(|known| known != uid);
        }
    }
}

impl<K> Default for Cache<K> {
    fn default() -> Self {
        let objects =
            Objects { by_key: HashMap::new(), buried: Burials::default(), confirmed: None, synced: false };
        Self { objects: RwLock::new(objects), changes: watch::Sender::new(0) }
    }
}

impl<K: Cached> Cache<K> {
    /// Follows the API for ever; reconnects with backoff by itself.
    pub async fn follow(&self, api: Api<K>, config: watcher::Config) {
        let events = watcher(api, config).default_backoff();
        pin_mut!(events);
        while let Some(event) = events.next().await {
            match event {
                Ok(event) => self.take(event),
                Err(error) => {
                    tracing::warn!(%error, kind = %K::kind(&K::DynamicType::default()), "watch interrupted");
                }
            }
        }
    }

    /// Takes in an event of a watch that somebody else follows.
    pub fn take(&self, event: Event<K>) {
        {
            let mut objects = self.write();
            match event {
                Event::Init => objects.confirmed = Some(HashSet::new()),
                Event::InitApply(object) | Event::Apply(object) => drop(objects.put(object)),
                Event::InitDone => objects.end_listing(),
                Event::Delete(object) => objects.remove(&object),
            }
        }
        self.changes.send_modify(|count| *count += 1);
    }

    /// Takes in the object that a write returned, and gives back the newest version known.
    pub fn observe(&self, object: K) -> Arc<K> {
        let newest = self.write().put(object);
        self.changes.send_modify(|count| *count += 1);
        newest
    }

    /// Hides an object that is about to be deleted.
    pub fn bury(&self, object: &K) {
        self.write().buried.add(object.uid().unwrap_or_default());
        self.changes.send_modify(|count| *count += 1);
    }

    /// Shows an object again whose deletion failed.
    pub fn unbury(&self, object: &K) {
        let uid = object.uid().unwrap_or_default();
        self.write().buried.remove(&uid);
        self.changes.send_modify(|count| *count += 1);
    }

    /// The object of that name.
    pub fn get(&self, namespace: &str, name: &str) -> Option<Arc<K>> {
        let objects = self.read();
        let object = objects.by_key.get(&(namespace.to_owned(), name.to_owned()))?;
        (!objects.is_buried(object)).then(|| object.clone())
    }

    /// Every object that `wanted` holds of.
    pub fn select(&self, wanted: impl Fn(&K) -> bool) -> Vec<Arc<K>> {
        let objects = self.read();
        let shown = |object: &&Arc<K>| wanted(object) && !objects.is_buried(object);
        objects.by_key.values().filter(shown).cloned().collect()
    }

    /// Waits until `look` finds something, looking again after every change. The caller sets the deadline.
    pub async fn until<T>(&self, mut look: impl FnMut() -> Option<T>) -> T {
        let mut changes = self.changes.subscribe();
        loop {
            changes.mark_unchanged();
            if let Some(found) = look() {
                return found;
            }
            if changes.changed().await.is_err() {
                // The sender lives as long as this cache, which is borrowed here.
                std::future::pending::<()>().await;
            }
        }
    }

    /// A receiver that is woken by every change.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    /// Whether the first listing is complete.
    pub fn is_synced(&self) -> bool {
        self.read().synced
    }

    fn read(&self) -> RwLockReadGuard<'_, Objects<K>> {
        self.objects.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Objects<K>> {
        self.objects.write().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<K: Cached> Objects<K> {
    fn put(&mut self, object: K) -> Arc<K> {
        let key = key_of(&object);
        if let Some(confirmed) = &mut self.confirmed {
            confirmed.insert(key.clone());
        }
        let known = self.by_key.get(&key);
        if let Some(known) = known.filter(|known| is_newer(known.as_ref(), &object)) {
            return known.clone();
        }
        let object = Arc::new(object);
        if !self.is_buried(&object) || known.is_some() {
            self.by_key.insert(key, object.clone());
        }
        object
    }

    fn remove(&mut self, object: &K) {
        let key = key_of(object);
        if self.by_key.get(&key).is_some_and(|known| known.uid() == object.uid()) {
            self.by_key.remove(&key);
        }
        self.buried.add(object.uid().unwrap_or_default());
    }

    fn is_buried(&self, object: &K) -> bool {
        object.meta().uid.as_ref().is_some_and(|uid| self.buried.uids.contains(uid))
    }

    fn end_listing(&mut self) {
        if let Some(confirmed) = self.confirmed.take() {
            self.by_key.retain(|key, _| confirmed.contains(key));
        }
        self.synced = true;
    }
}

pub(crate) fn key_of<K: Cached>(object: &K) -> Key {
    (object.namespace().unwrap_or_default(), object.name_any())
}

/// Whether `known` is a later version of the same object than `other`. Versions are opaque where they aren't
/// numbers; then the one that comes last wins.
fn is_newer<K: Cached>(known: &K, other: &K) -> bool {
    let version = |object: &K| object.resource_version().and_then(|version| version.parse::<u64>().ok());
    known.uid() == other.uid()
        && matches!((version(known), version(other)), (Some(known), Some(other)) if known > other)
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::ConfigMap;
    use kube::api::ObjectMeta;

    use super::*;

    fn object(name: &str, uid: &str, version: &str) -> ConfigMap {
        ConfigMap {
            metadata: ObjectMeta {
                namespace: Some("default".into()),
                name: Some(name.into()),
                uid: Some(uid.into()),
                resource_version: Some(version.into()),
                ..ObjectMeta::default()
            },
            ..ConfigMap::default()
        }
    }

    fn version(cache: &Cache<ConfigMap>, name: &str) -> Option<String> {
        cache.get("default", name).and_then(|object| object.resource_version())
    }

    #[test]
    fn an_older_event_does_not_take_back_a_write() {
        let cache = Cache::default();
        cache.observe(object("a", "1", "20"));
        cache.take(Event::Apply(object("a", "1", "9")));
        assert_eq!(version(&cache, "a").as_deref(), Some("20"));
        cache.take(Event::Apply(object("a", "1", "21")));
        assert_eq!(version(&cache, "a").as_deref(), Some("21"));
    }

    #[test]
    fn a_recreated_object_replaces_the_one_before() {
        let cache = Cache::default();
        cache.observe(object("a", "1", "20"));
        cache.take(Event::Delete(object("a", "1", "21")));
        cache.take(Event::Apply(object("a", "2", "22")));
        assert_eq!(version(&cache, "a").as_deref(), Some("22"));
    }

    #[test]
    fn a_late_answer_does_not_bring_a_deleted_object_back() {
        let cache = Cache::default();
        cache.take(Event::Apply(object("a", "1", "5")));
        cache.take(Event::Delete(object("a", "1", "7")));
        cache.observe(object("a", "1", "6"));
        assert_eq!(version(&cache, "a"), None);
    }

    #[test]
    fn a_buried_object_is_hidden_until_its_deletion_failed() {
        let cache = Cache::default();
        let alive = object("a", "1", "5");
        cache.observe(alive.clone());
        cache.bury(&alive);
        cache.take(Event::Apply(object("a", "1", "6")));
        assert_eq!(version(&cache, "a"), None);
        assert!(cache.select(|_| true).is_empty());
        cache.unbury(&alive);
        assert_eq!(version(&cache, "a").as_deref(), Some("6"));
    }

    #[test]
    fn a_new_listing_drops_what_is_gone_and_keeps_what_was_just_written() {
        let cache = Cache::default();
        cache.take(Event::Apply(object("gone", "1", "1")));
        cache.take(Event::Apply(object("stays", "2", "2")));
        cache.take(Event::Init);
        cache.take(Event::InitApply(object("stays", "2", "2")));
        cache.observe(object("written", "3", "9"));
        assert!(!cache.is_synced());
        cache.take(Event::InitDone);
        assert!(cache.is_synced());
        assert_eq!(version(&cache, "gone"), None);
        assert!(version(&cache, "stays").is_some() && version(&cache, "written").is_some());
    }

    #[tokio::test]
    async fn a_waiter_sees_what_comes() {
        let cache: Arc<Cache<ConfigMap>> = Arc::default();
        let waiter = tokio::spawn({
            let cache = cache.clone();
            async move { cache.until(|| cache.get("default", "a")).await.name_any() }
        });
        cache.observe(object("a", "1", "1"));
        let name = tokio::time::timeout(std::time::Duration::from_secs(5), waiter).await.expect("in time");
        assert_eq!(name.expect("no panic"), "a");
    }
}
