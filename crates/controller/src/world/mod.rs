//! The controller's copies of the objects it works with, kept up to date by watches.
//!
//! ```text
//! watch event ─► table (newest version wins) ─► keys of whatever it concerns ─► queue
//! ```
//! Answers to the controller's own writes go into the tables at once, so that a turn never sees an older version
//! than the one it wrote. What was asked for and not seen yet is kept in [`Expectations`].

mod expectations;
mod table;
mod watch;

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use claim::Cache;
use clock::SharedClock;
use contract::checkpoint;
use contract::crd::{Checkpoint, Sandbox, SandboxClaim, SandboxSet, SandboxTemplate, SandboxUpdateOps};
use contract::names::{annotations, labels};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{ConfigMap, Pod};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::runtime::watcher::Event;
use kube::{Resource, ResourceExt};
use tokio::sync::watch as channel;

use crate::metrics::Metrics;
use crate::queue::{Key, ObjectName, Queue};

pub(crate) use expectations::{Expectations, Outstanding};
use table::{Change, Table};
pub(crate) use watch::watch_all;

/// Kinds whose first list must be complete before work begins.
const KINDS: u8 = 7;

pub(crate) struct World {
    tables: RwLock<Tables>,
    queue: Arc<Queue>,
    clock: SharedClock,
    metrics: Metrics,
    synced: channel::Sender<u8>,
    pub(crate) expectations: Expectations,
    /// The sandboxes once more, as claims look at them.
    pub(crate) pool: Arc<Cache<Sandbox>>,
}

#[derive(Default)]
struct Tables {
    sets: Table<SandboxSet>,
    sandboxes: Table<Sandbox>,
    pods: Table<Pod>,
    claims: Table<SandboxClaim>,
    checkpoints: Table<Checkpoint>,
    templates: Table<SandboxTemplate>,
    operations: Table<SandboxUpdateOps>,
    /// Members by the UID of the SandboxSet that controls them.
    members: HashMap<String, HashSet<ObjectName>>,
}

impl World {
    pub(crate) fn new(queue: Arc<Queue>, clock: SharedClock, metrics: Metrics) -> Self {
        Self {
            tables: RwLock::default(),
            queue,
            clock,
            metrics,
            synced: channel::Sender::new(0),
            expectations: Expectations::default(),
            pool: Arc::default(),
        }
    }

    /// Completes once every kind was listed.
    pub(crate) async fn synced(&self) {
        let mut synced = self.synced.subscribe();
        // the sender is part of self, so this cannot fail
        let _ = synced.wait_for(|kinds| *kinds >= KINDS).await;
    }

    /// Whether every kind was listed.
    pub(crate) fn is_synced(&self) -> bool {
        *self.synced.borrow() >= KINDS
    }

    pub(crate) fn set(&self, name: &ObjectName) -> Option<Arc<SandboxSet>> {
        self.read().sets.get(name)
    }

    pub(crate) fn sandbox(&self, name: &ObjectName) -> Option<Arc<Sandbox>> {
        self.read().sandboxes.get(name)
    }

    pub(crate) fn pod(&self, name: &ObjectName) -> Option<Arc<Pod>> {
        self.read().pods.get(name)
    }

    pub(crate) fn claim(&self, name: &ObjectName) -> Option<Arc<SandboxClaim>> {
        self.read().claims.get(name)
    }

    pub(crate) fn checkpoint(&self, name: &ObjectName) -> Option<Arc<Checkpoint>> {
        self.read().checkpoints.get(name)
    }

    /// The Checkpoint of that id in a namespace.
    pub(crate) fn checkpoint_of(&self, namespace: &str, id: &str) -> Option<Arc<Checkpoint>> {
        let is = |found: &Checkpoint| {
            found.namespace().as_deref() == Some(namespace) && checkpoint::id(found) == id
        };
        self.read().checkpoints.find(is)
    }

    /// The Checkpoints that were made for upgrades of the Sandbox.
    pub(crate) fn checkpoints_of_upgrades(&self, sandbox: &Sandbox) -> Vec<Arc<Checkpoint>> {
        let uid = sandbox.metadata.uid.as_deref();
        let tables = self.read();
        let of_it = |found: &&Arc<Checkpoint>| uid.is_some() && checkpoint::upgraded(found) == uid;
        tables.checkpoints.all().filter(of_it).cloned().collect()
    }

    pub(crate) fn template(&self, name: &ObjectName) -> Option<Arc<SandboxTemplate>> {
        self.read().templates.get(name)
    }

    pub(crate) fn operation(&self, name: &ObjectName) -> Option<Arc<SandboxUpdateOps>> {
        self.read().operations.get(name)
    }

    /// The `SandboxUpdateOps` of a namespace.
    pub(crate) fn operations(&self, namespace: &str) -> Vec<Arc<SandboxUpdateOps>> {
        let tables = self.read();
        let of_namespace = |it: &&Arc<SandboxUpdateOps>| it.metadata.namespace.as_deref() == Some(namespace);
        tables.operations.all().filter(of_namespace).cloned().collect()
    }

    /// Every Sandbox that is known.
    pub(crate) fn sandboxes(&self) -> Vec<Arc<Sandbox>> {
        self.read().sandboxes.all().cloned().collect()
    }

    /// Every SandboxSet that is known.
    pub(crate) fn sets(&self) -> Vec<Arc<SandboxSet>> {
        self.read().sets.all().cloned().collect()
    }

    /// Every SandboxClaim that is known.
    pub(crate) fn claims(&self) -> Vec<Arc<SandboxClaim>> {
        self.read().claims.all().cloned().collect()
    }

    /// The templates that the set of that UID controls.
    pub(crate) fn templates(&self, set_uid: &str) -> Vec<Arc<SandboxTemplate>> {
        let tables = self.read();
        let of_set = |template: &&Arc<SandboxTemplate>| {
            controller(template.as_ref()).is_some_and(|owner| owner.uid == set_uid)
        };
        tables.templates.all().filter(of_set).cloned().collect()
    }

    /// The sandboxes that the set of that UID controls and what is outstanding for it, of the same moment: nothing
    /// counts twice.
    pub(crate) fn members(&self, set_uid: &str, now: Timestamp) -> (Vec<Arc<Sandbox>>, Outstanding) {
        let tables = self.read();
        let names = tables.members.get(set_uid).into_iter().flatten();
        let members = names.filter_map(|name| tables.sandboxes.get(name)).collect();
        (members, self.expectations.of(set_uid, now))
    }

    /// Takes in the API's answer to the controller's own write. The watch event that follows is no news any more, so
    /// whoever is concerned gets a turn now.
    pub(crate) fn wrote_sandbox(&self, sandbox: Sandbox) {
        self.pool.observe(sandbox.clone());
        let change = {
            let mut tables = self.write();
            let change = tables.sandboxes.wrote(sandbox);
            if let Some(change) = &change {
                tables.index(change);
                self.observe(change);
            }
            change
        };
        if let Some(change) = change {
            self.push_sandbox(&change);
        }
    }

    /// Takes in the API's answer to the controller's own write.
    pub(crate) fn wrote_set(&self, set: SandboxSet) {
        self.write().sets.wrote(set);
    }

    /// Takes in the API's answer to the controller's own write.
    pub(crate) fn wrote_pod(&self, pod: Pod) {
        let change = self.write().pods.wrote(pod);
        if let Some(change) = change {
            self.push_pod(change);
        }
    }

    /// Takes in the API's answer to the controller's own write.
    pub(crate) fn wrote_template(&self, template: SandboxTemplate) {
        self.write().templates.wrote(template);
    }

    /// Takes in the API's answer to the controller's own write.
    pub(crate) fn wrote_claim(&self, claim: SandboxClaim) {
        let change = self.write().claims.wrote(claim);
        if let Some(change) = change {
            self.push_claim(change);
        }
    }

    /// Takes in the API's answer to the controller's own write.
    pub(crate) fn wrote_checkpoint(&self, written: Checkpoint) {
        let change = self.write().checkpoints.wrote(written);
        if let Some(change) = change {
            self.push_checkpoint(change);
        }
    }

    /// The Checkpoint, and the Sandbox whose upgrade waits for it.
    fn push_checkpoint(&self, change: Change<Checkpoint>) {
        let versions = [&change.old, &change.new].into_iter().flatten();
        let of_upgrade = versions.filter(|found| checkpoint::upgraded(found).is_some());
        let owners = of_upgrade.filter_map(|found| Some(controller(found.as_ref())?.name.clone()));
        for name in owners.collect::<HashSet<_>>() {
            self.queue.push(Key::Sandbox(ObjectName { namespace: change.name.namespace.clone(), name }));
        }
        self.queue.push(Key::Checkpoint(change.name));
    }

    /// Takes in the API's answer to the controller's own write.
    pub(crate) fn wrote_operation(&self, written: SandboxUpdateOps) {
        let change = self.write().operations.wrote(written);
        if let Some(change) = change {
            self.push_operations(&change.name.namespace);
        }
    }

    fn on_operation(&self, event: Event<SandboxUpdateOps>) {
        let (changes, first) = self.write().operations.take(event);
        self.count_first(first);
        for change in changes {
            // the others of its namespace may have waited for it
            self.push_operations(&change.name.namespace);
        }
    }

    /// The operations of a namespace that have something left to do.
    fn push_operations(&self, namespace: &str) {
        for operation in self.operations(namespace) {
            if !operation.is_over() || operation.metadata.deletion_timestamp.is_some() {
                self.queue.push(Key::Operation(name_of(operation.as_ref())));
            }
        }
    }

    fn on_set(&self, event: Event<SandboxSet>) {
        let (changes, first) = self.write().sets.take(event);
        self.count_first(first);
        for change in changes {
            self.queue.push(Key::Set(change.name.clone()));
            if change.new.is_none() {
                self.metrics.set_is_gone(&change.name);
                if let Some(uid) = change.old.and_then(|old| old.uid()) {
                    self.expectations.forget(&uid);
                }
            }
        }
    }

    fn on_sandbox(&self, event: Event<Sandbox>) {
        self.pool.take(event.clone());
        let (changes, first) = {
            let mut tables = self.write();
            let (changes, first) = tables.sandboxes.take(event);
            for change in &changes {
                tables.index(change);
                self.observe(change);
            }
            (changes, first)
        };
        self.count_first(first);
        for change in &changes {
            self.push_sandbox(change);
        }
    }

    /// The Sandbox, the sets that control or controlled it, the claim that it was taken for, the operations that may
    /// upgrade it, and the Checkpoint that it is made from no more.
    fn push_sandbox(&self, change: &Change<Sandbox>) {
        self.queue.push(Key::Sandbox(change.name.clone()));
        let origin =
            |it: &Option<Arc<Sandbox>>| it.as_ref()?.annotations().get(annotations::RESTORE_FROM).cloned();
        if let Some(id) = origin(&change.old)
            && origin(&change.new).as_ref() != Some(&id)
            && let Some(origin) = self.checkpoint_of(&change.name.namespace, &id)
        {
            self.queue.push(Key::Checkpoint(name_of(&*origin)));
        }
        if let Some(claim) = change.new.as_deref().and_then(claim_of) {
            self.queue.push(Key::Claim(claim));
        }
        self.push_operations(&change.name.namespace);
        for set in [&change.old, &change.new].into_iter().flatten().filter_map(|sandbox| set_of(sandbox)) {
            self.queue.push(Key::Set(set));
        }
    }

    /// Measures it, and ticks off what was expected.
    fn observe(&self, change: &Change<Sandbox>) {
        self.metrics.saw_sandbox(change.old.as_deref(), change.new.as_deref(), self.clock.now());
        if change.old.is_none()
            && let Some(new) = &change.new
            && let Some(set) = set_uid(new)
        {
            self.expectations.created(&set);
        }
        let gone = match (&change.old, &change.new) {
            (Some(old), None) => Some(old),
            (_, Some(new)) if new.metadata.deletion_timestamp.is_some() || set_uid(new).is_none() => {
                Some(new)
            }
            _ => None,
        };
        if let Some(uid) = gone.and_then(|sandbox| sandbox.uid()) {
            self.expectations.deleted(&uid);
        }
    }

    fn on_claim(&self, event: Event<SandboxClaim>) {
        let (changes, first) = self.write().claims.take(event);
        self.count_first(first);
        for change in changes {
            self.push_claim(change);
        }
    }

    /// Measures a claim, and has it looked at.
    fn push_claim(&self, change: Change<SandboxClaim>) {
        let has_set = |set: &ObjectName| self.set(set).is_some();
        self.metrics.saw_claim(change.old.as_deref(), change.new.as_deref(), has_set);
        self.queue.push(Key::Claim(change.name));
    }

    fn on_checkpoint(&self, event: Event<Checkpoint>) {
        let (changes, first) = self.write().checkpoints.take(event);
        self.count_first(first);
        for change in changes {
            self.push_checkpoint(change);
        }
    }

    /// Turns for the set that controls the template and for those that refer to it.
    fn on_template(&self, event: Event<SandboxTemplate>) {
        let (changes, first) = self.write().templates.take(event);
        self.count_first(first);
        for change in changes {
            let versions = [&change.old, &change.new].into_iter().flatten();
            let owners = versions.filter_map(|template| Some(controller(template.as_ref())?.name.clone()));
            let mut sets: HashSet<ObjectName> =
                owners.map(|name| ObjectName { namespace: change.name.namespace.clone(), name }).collect();
            sets.extend(self.referring(&change.name));
            for set in sets {
                self.queue.push(Key::Set(set));
            }
        }
    }

    fn referring(&self, template: &ObjectName) -> Vec<ObjectName> {
        let tables = self.read();
        let refers = |set: &&Arc<SandboxSet>| {
            let reference = set.spec.template_ref.as_ref();
            set.spec.template.is_none() && reference.is_some_and(|reference| reference.name == template.name)
        };
        let names = tables.sets.all().filter(refers).map(|set| name_of(set.as_ref()));
        names.filter(|name| name.namespace == template.namespace).collect()
    }

    fn on_pod(&self, event: Event<Pod>) {
        let (changes, first) = self.write().pods.take(event);
        self.count_first(first);
        for change in changes {
            self.push_pod(change);
        }
    }

    /// Measures a pod, and has its sandbox looked at.
    fn push_pod(&self, change: Change<Pod>) {
        self.metrics.saw_pod(change.old.as_deref(), change.new.as_deref(), self.clock.now());
        self.queue.push(Key::Sandbox(change.name));
    }

    /// The injection configuration changed: whatever failed may work now.
    fn on_config(&self, event: &Event<ConfigMap>) {
        if matches!(event, Event::Apply(_) | Event::InitApply(_)) {
            self.queue.push_failed();
        }
    }

    fn count_first(&self, first: bool) {
        if first {
            self.synced.send_modify(|kinds| *kinds += 1);
        }
    }

    fn read(&self) -> RwLockReadGuard<'_, Tables> {
        self.tables.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Tables> {
        self.tables.write().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Tables {
    fn index(&mut self, change: &Change<Sandbox>) {
        if let Some(uid) = change.old.as_deref().and_then(set_uid)
            && let Some(names) = self.members.get_mut(&uid)
        {
            names.remove(&change.name);
            if names.is_empty() {
                self.members.remove(&uid);
            }
        }
        if let Some(uid) = change.new.as_deref().and_then(set_uid) {
            self.members.entry(uid).or_default().insert(change.name.clone());
        }
    }
}

/// The UID of the SandboxSet that controls `sandbox`.
fn set_uid(sandbox: &Sandbox) -> Option<String> {
    contract::state::owning_set(sandbox).map(|owner| owner.uid.clone())
}

/// Who controls `object`.
pub(crate) fn controller<K: Resource>(object: &K) -> Option<&OwnerReference> {
    let owners = object.meta().owner_references.as_deref().unwrap_or_default();
    owners.iter().find(|owner| owner.controller == Some(true))
}

fn set_of(sandbox: &Sandbox) -> Option<ObjectName> {
    let owner = contract::state::owning_set(sandbox)?;
    Some(ObjectName { namespace: sandbox.namespace()?, name: owner.name.clone() })
}

fn claim_of(sandbox: &Sandbox) -> Option<ObjectName> {
    let name = sandbox.labels().get(labels::CLAIM_NAME)?.clone();
    Some(ObjectName { namespace: sandbox.namespace()?, name })
}

/// Namespace and name of a namespaced object.
pub(crate) fn name_of<K: Resource>(object: &K) -> ObjectName {
    ObjectName { namespace: object.namespace().unwrap_or_default(), name: object.name_any() }
}
