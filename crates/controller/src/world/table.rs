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

    /// Any object that is as asked for.
    pub(super) fn find(&self, is_so: impl Fn(&K) -> bool) -> Option<Arc<K>> {
        self.objects.values().find(|object| is_so(object)).cloned()
    }

    pub(super) fn all(&self) -> impl Iterator<Item = &Arc<K>> {
        self.objects.values()
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

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::ConfigMap;
    use kube::api::ObjectMeta;
    use rstest::rstest;

    use super::*;

    fn object(name: &str, uid: &str, version: &str) -> ConfigMap {
        ConfigMap {
            metadata: ObjectMeta {
                name: Some(name.to_owned()),
                uid: Some(uid.to_owned()),
                resource_version: Some(version.to_owned()),
                ..ObjectMeta::default()
            },
            ..ConfigMap::default()
        }
    }

    fn table() -> Table<ConfigMap> {
        let mut table = Table::default();
        table.take(Event::Apply(object("a", "u", "10")));
        table
    }

    fn known(table: &Table<ConfigMap>, name: &str) -> Option<String> {
        table.get(&ObjectName { namespace: String::new(), name: name.to_owned() })?.resource_version()
    }

    #[rstest]
    #[case::newer(object("a", "u", "11"), true)]
    #[case::more_digits_are_newer(object("a", "u", "100"), true)]
    #[case::the_same(object("a", "u", "10"), false)]
    #[case::older(object("a", "u", "9"), false)]
    #[case::another_object_of_that_name(object("a", "v", "9"), true)]
    #[case::no_number(object("a", "u", "x"), true)]
    fn an_event_counts_unless_it_is_old_news(#[case] object: ConfigMap, #[case] counts: bool) {
        let (changes, _) = table().take(Event::Apply(object));
        assert_eq!(changes.len(), usize::from(counts));
    }

    #[rstest]
    #[case::newer(object("a", "u", "11"), true)]
    #[case::seen_already(object("a", "u", "10"), false)]
    #[case::overtaken(object("a", "u", "9"), false)]
    #[case::another_object_of_that_name(object("a", "v", "11"), false)]
    #[case::gone(object("b", "u", "11"), false)]
    fn an_own_write_counts_if_the_object_is_still_there_and_older(
        #[case] object: ConfigMap,
        #[case] counts: bool,
    ) {
        assert_eq!(table().wrote(object).is_some(), counts);
    }

    #[test]
    fn the_event_of_an_own_write_is_no_news() {
        let mut table = table();
        table.wrote(object("a", "u", "11"));
        assert!(table.take(Event::Apply(object("a", "u", "11"))).0.is_empty());
        assert_eq!(known(&table, "a").as_deref(), Some("11"));
    }

    #[test]
    fn a_new_list_drops_what_it_does_not_have_and_the_first_one_is_told() {
        let mut table = table();
        table.take(Event::Apply(object("b", "w", "11")));
        assert!(table.take(Event::Init).0.is_empty());
        table.take(Event::InitApply(object("b", "w", "11")));
        let (changes, first) = table.take(Event::InitDone);
        assert!(first);
        assert_eq!(changes.len(), 1);
        assert!(changes[0].new.is_none() && changes[0].name.name == "a");
        assert_eq!((known(&table, "a"), known(&table, "b").as_deref()), (None, Some("11")));
        table.take(Event::Init);
        table.take(Event::InitApply(object("b", "w", "11")));
        assert!(!table.take(Event::InitDone).1);
    }
}
