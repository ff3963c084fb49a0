//! The newest known version of every object of one kind.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use kube::runtime::watcher::Event;
use kube::{Resource, ResourceExt};

use super::name_of;
use crate::queue::ObjectName;

/// One object before and after; neither may be absent at the same time.
#[derive(Debug)]
pub(super) struct Change<K> {
    pub(super) name: ObjectName,
    pub(super) old: Option<Arc<K>>,
    pub(super) new: Option<Arc<K>>,
}

#[derive(Debug)]
pub(super) struct Table<K> {
    objects: HashMap<ObjectName, Arc<K>>,
    /// Names seen in the list that is being read.
    listing: HashSet<ObjectName>,
    listed_once: bool,
}

impl<K> Default for Table<K> {
    fn default() -> Self {
        Self { objects: HashMap::new(), listing: HashSet::new(), listed_once: false }
    }
}

impl<K: Resource> Table<K> {
    pub(super) fn get(&self, name: &ObjectName) -> Option<Arc<K>> {
        self.objects.get(name).cloned()
    }

    /// Takes in a watch event. Returns what changed, and whether this completed the very first list.
    pub(super) fn take(&mut self, event: Event<K>) -> (Vec<Change<K>>, bool) {
        match event {
            Event::Init => {
                self.listing.clear();
                (Vec::new(), false)
            }
            Event::InitApply(object) => {
                self.listing.insert(name_of(&object));
                (self.apply(object).into_iter().collect(), false)
            }
            Event::InitDone => {
                let first = !std::mem::replace(&mut self.listed_once, true);
                (self.drop_unlisted(), first)
            }
            Event::Apply(object) => (self.apply(object).into_iter().collect(), false),
            Event::Delete(object) => {
                let name = name_of(&object);
                let old = self.objects.remove(&name);
                // the last state, which the event carries, may be newer than the copy
                let old = Some(old.unwrap_or_else(|| Arc::new(object)));
                (vec![Change { name, old, new: None }], false)
            }
        }
    }

    /// Takes in the answer to an own write, unless the object is gone or a newer version is known.
    pub(super) fn wrote(&mut self, object: K) -> Option<Change<K>> {
        let known = self.objects.get(&name_of(&object))?;
        if known.uid() != object.uid() || version(&object) <= version(&**known) {
            return None;
        }
        self.apply(object)
    }

    fn apply(&mut self, object: K) -> Option<Change<K>> {
        let name = name_of(&object);
        if let Some(known) = self.objects.get(&name)
            && known.uid() == object.uid()
            && version(&object).is_some()
            && version(&object) <= version(&**known)
        {
            return None;
        }
        let new = Arc::new(object);
        let old = self.objects.insert(name.clone(), Arc::clone(&new));
        Some(Change { name, old, new: Some(new) })
    }

    fn drop_unlisted(&mut self) -> Vec<Change<K>> {
        let listing = std::mem::take(&mut self.listing);
        let gone: Vec<ObjectName> =
            self.objects.keys().filter(|name| !listing.contains(*name)).cloned().collect();
        gone.into_iter().map(|name| Change { old: self.objects.remove(&name), new: None, name }).collect()
    }
}

/// The resource version as a number, as every known API server writes it; nothing when it isn't one, and then the
/// latest event wins.
fn version<K: Resource>(object: &K) -> Option<u64> {
    object.resource_version().and_then(|version| version.parse().ok())
}
