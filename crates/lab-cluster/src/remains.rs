//! What a lab has made on the cluster, and how it goes.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use clock::SharedClock;
use contract::crd::{Sandbox, SandboxClaim, SandboxSet};
use contract::names::SYSTEM_NAMESPACE;
use k8s_openapi::api::core::v1::{Namespace, PersistentVolume, Pod, Secret};
use kube::api::{DeleteParams, ListParams, ObjectMeta, PostParams};
use kube::{Api, Client, ResourceExt};
use tokio::sync::Mutex;
use tokio::time::Instant;

use crate::access::ClusterOptions;
use crate::departing::Departing;
use crate::disturbances::UNDO_LIMIT;
use crate::e2b::Upstream;
use crate::names::{LAB_LABEL, Names};
use crate::nas::Exports;
use crate::powers::Powers;
use crate::store::Buckets;

/// How long namespaces may take to go with everything that is in them.
pub(crate) const LIMIT: Duration = Duration::from_secs(90);
/// How long the removal of buckets may take.
const BUCKETS_LIMIT: Duration = Duration::from_secs(20);
/// How long a lab may take to go down.
pub const DOWN_LIMIT: Duration = LIMIT.saturating_add(UNDO_LIMIT).saturating_add(Duration::from_secs(50));
/// How long sandboxes may take to go before their namespace is deleted with them in it.
const SANDBOXES_LIMIT: Duration = Duration::from_secs(30);
/// How often it is looked whether they have gone.
const PAUSE: Duration = Duration::from_millis(400);
/// Every so many looks what is there is asked to go once more: something may have been made since.
const ASKS_EVERY: u32 = 3;

/// One look at what is left.
#[derive(Clone, Copy)]
struct Round {
    /// Sandboxes are asked to go.
    asks: bool,
    /// Namespaces are, whatever is in them.
    hurries: bool,
}

/// Finds and removes what bears a lab's tag. Dropped before [`Remains::remove`] has run, it removes in the background.
#[derive(Clone)]
pub(crate) struct Remains {
    client: Client,
    names: Names,
    upstream: Upstream,
    operator_key: String,
    buckets: Option<Arc<Buckets>>,
    /// Where the lab has NFS exports.
    pub(crate) exports: Option<Arc<Exports>>,
    /// Id of the API key that was made and isn't removed.
    pub(crate) key: Arc<Mutex<Option<String>>>,
    departing: Departing,
    powers: Option<Arc<dyn Powers>>,
    armed: bool,
}

impl Remains {
    pub(crate) fn new(
        client: Client,
        names: Names,
        upstream: Upstream,
        options: &ClusterOptions,
        departing: Departing,
        clock: SharedClock,
    ) -> Self {
        let buckets = options.object_store.as_ref().map(|store| Arc::new(Buckets::new(store, clock)));
        let operator_key = options.e2b_key.clone();
        Self {
            client,
            names,
            upstream,
            operator_key,
            buckets,
            exports: None,
            key: Arc::default(),
            departing,
            powers: options.powers.clone(),
            armed: true,
        }
    }

    /// Makes a namespace of the lab, by the cluster's name.
    pub(crate) async fn make_namespace(&self, name: &str) -> kube::Result<()> {
        let labels = [
            (LAB_LABEL, self.names.tag()),
            // The CSI agent's sidecar is privileged.
            ("pod-security.kubernetes.io/enforce", "privileged"),
        ];
        let labels = labels.map(|(key, value)| (key.to_owned(), value.to_owned()));
        let namespace = Namespace {
            metadata: ObjectMeta {
                name: Some(name.to_owned()),
                labels: Some(labels.into()),
                ..ObjectMeta::default()
            },
            ..Namespace::default()
        };
        Api::all(self.client.clone()).create(&PostParams::default(), &namespace).await.map(drop)
    }

    /// Removes everything and waits until it is gone; for namespaces that are empty and asked to go, [`Departing`] waits. The
    /// words say what is still there, and how to remove it by hand.
    pub(crate) async fn remove(mut self) -> Result<(), String> {
        self.armed = false;
        let mut failures = Vec::new();
        let begun = Instant::now();
        let end = begun + LIMIT;
        for look in 0.. {
            failures.clear();
            let round = Round { asks: look % ASKS_EVERY == 0, hurries: begun.elapsed() >= SANDBOXES_LIMIT };
            let left = self.round(round, &mut failures).await;
            if left.is_empty() && failures.is_empty() {
                break;
            }
            if Instant::now() >= end {
                failures.extend(left.into_iter().map(|object| format!("{object} is still there")));
                break;
            }
            tokio::time::sleep(PAUSE).await;
        }
        failures.extend(self.remove_key().await.err());
        if let Some(buckets) = &self.buckets
            && let Err(left) = remove_buckets(buckets).await
        {
            failures.push(left);
        }
        if let Some(exports) = &self.exports
            && let Err(left) = exports.remove().await
        {
            failures.push(left);
        }
        if let Some(powers) = &self.powers
            && let Err(error) = powers.lab_is_gone().await
        {
            failures.push(lab::chain(&error));
        }
        if failures.is_empty() {
            return Ok(());
        }
        let selector = self.selector();
        Err(format!(
            "{}; `kubectl delete namespaces,persistentvolumes -l {selector}` and `kubectl delete secrets -n \
             {SYSTEM_NAMESPACE} -l {selector}` remove the objects",
            failures.join("; ")
        ))
    }

    /// Removes the API key, if there still is one.
    pub(crate) async fn remove_key(&self) -> Result<(), String> {
        let mut key = self.key.lock().await;
        if let Some(id) = key.as_deref() {
            let removed = self.upstream.remove_key(&self.operator_key, id).await;
            removed.map_err(|error| format!("API key {id}: {}", lab::chain(&error)))?;
        }
        *key = None;
        Ok(())
    }

    /// Notes a bucket that a scenario made, by the store's name.
    pub(crate) fn note_bucket(&self, bucket: String) {
        if let Some(buckets) = &self.buckets {
            buckets.note(bucket);
        }
    }

    /// Asks for everything to be deleted that is there, and says what that was. Sandboxes go before their namespace: a
    /// namespace in which pods still end is looked at again only after half of their grace period.
    async fn round(&self, Round { asks, hurries }: Round, failures: &mut Vec<String>) -> BTreeSet<String> {
        let mut left = BTreeSet::new();
        if !hurries {
            let there = self.own::<Namespace>(&Api::all(self.client.clone()), "Namespace", failures).await;
            for namespace in there.iter().filter(|it| it.metadata.deletion_timestamp.is_none()) {
                self.empty(&namespace.name_any(), asks, &mut left, failures).await;
            }
            if !left.is_empty() {
                return left;
            }
        }
        // Pods that end still use their volumes: these go last.
        self.delete_namespaces(hurries, &mut left, failures).await;
        if left.is_empty() {
            let volumes: Api<PersistentVolume> = Api::all(self.client.clone());
            self.delete(&volumes, "PersistentVolume", &mut left, failures).await;
            let secrets: Api<Secret> = Api::namespaced(self.client.clone(), SYSTEM_NAMESPACE);
            self.delete(&secrets, "Secret", &mut left, failures).await;
        }
        left
    }

    /// Asks for the namespaces to go. One without sandboxes that has been asked is left to [`Departing`]; with `hurries` there
    /// may still be some in it.
    async fn delete_namespaces(
        &self,
        hurries: bool,
        left: &mut BTreeSet<String>,
        failures: &mut Vec<String>,
    ) {
        let mut there = BTreeSet::new();
        let api: Api<Namespace> = Api::all(self.client.clone());
        for namespace in self.delete(&api, "Namespace", &mut there, failures).await {
            if namespace.metadata.deletion_timestamp.is_some() && !hurries {
                there.remove(&described("Namespace", &namespace));
                self.departing.add(namespace.name_any());
            }
        }
        left.extend(there);
    }

    /// What the lab has of a kind. The label is the lab's, and so has the name to be: nothing else is deleted whatever its
    /// label says.
    async fn own<K>(&self, api: &Api<K>, kind: &str, failures: &mut Vec<String>) -> Vec<K>
    where
        K: kube::Resource + Clone + std::fmt::Debug + serde::de::DeserializeOwned,
    {
        match api.list(&ListParams::default().labels(&self.selector())).await {
            Ok(listed) => {
                listed.items.into_iter().filter(|object| self.names.is_real(&object.name_any())).collect()
            }
            Err(error) => {
                failures.push(format!("list {kind}s: {}", lab::chain(&error)));
                Vec::new()
            }
        }
    }

    /// Deletes the sandboxes of a namespace and what makes new ones; `left` is told of the pods that are still there.
    async fn empty(
        &self,
        namespace: &str,
        asks: bool,
        left: &mut BTreeSet<String>,
        failures: &mut Vec<String>,
    ) {
        let client = || self.client.clone();
        let deleted = async {
            if asks {
                delete_all(&Api::<SandboxSet>::namespaced(client(), namespace)).await?;
                delete_all(&Api::<SandboxClaim>::namespaced(client(), namespace)).await?;
                delete_all(&Api::<Sandbox>::namespaced(client(), namespace)).await?;
            }
            let pods: Api<Pod> = Api::namespaced(client(), namespace);
            pods.list_metadata(&ListParams::default()).await
        };
        match deleted.await {
            Ok(pods) => {
                let of_sandboxes = pods
                    .items
                    .iter()
                    .filter(|pod| pod.owner_references().iter().any(|owner| owner.kind == "Sandbox"));
                left.extend(of_sandboxes.map(|pod| format!("Pod {namespace}/{}", pod.name_any())));
            }
            Err(error) => failures.push(format!("empty namespace {namespace}: {}", lab::chain(&error))),
        }
    }

    /// Asks for what there is of a kind to be deleted, puts it into `left` and gives it back as it was.
    async fn delete<K>(
        &self,
        api: &Api<K>,
        kind: &str,
        left: &mut BTreeSet<String>,
        failures: &mut Vec<String>,
    ) -> Vec<K>
    where
        K: kube::Resource + Clone + std::fmt::Debug + serde::de::DeserializeOwned,
    {
        let there = self.own(api, kind, failures).await;
        for object in &there {
            let name = object.name_any();
            left.insert(described(kind, object));
            if object.meta().deletion_timestamp.is_some() {
                continue;
            }
            match api.delete(&name, &DeleteParams::background()).await {
                Ok(_) => {}
                Err(kube::Error::Api(status)) if status.code == 404 || status.code == 409 => {}
                Err(error) => failures.push(format!("delete {kind} {name}: {}", lab::chain(&error))),
            }
        }
        there
    }

    fn selector(&self) -> String {
        format!("{LAB_LABEL}={}", self.names.tag())
    }

    /// Nothing is to be removed any more.
    pub(crate) fn disarmed(mut self) -> Self {
        self.armed = false;
        self
    }
}

fn described(kind: &str, object: &impl kube::ResourceExt) -> String {
    format!("{kind} {}", object.name_any())
}

/// What can't be emptied must not keep the rest from going.
async fn remove_buckets(buckets: &Buckets) -> Result<(), String> {
    match tokio::time::timeout(BUCKETS_LIMIT, buckets.remove()).await {
        Ok(removed) => removed.map_err(|error| lab::chain(&error)),
        Err(_) => Err(format!("removing the buckets took more than {BUCKETS_LIMIT:?}")),
    }
}

/// Deletes all objects of a kind in a namespace, where the cluster has that kind.
async fn delete_all<K>(api: &Api<K>) -> kube::Result<()>
where
    K: kube::Resource + Clone + std::fmt::Debug + serde::de::DeserializeOwned,
{
    match api.delete_collection(&DeleteParams::background(), &ListParams::default()).await {
        Ok(_) => Ok(()),
        Err(kube::Error::Api(status)) if status.code == 404 => Ok(()),
        Err(error) => Err(error),
    }
}

impl Drop for Remains {
    fn drop(&mut self) {
        if !self.armed {
            return;
        }
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            let remains = self.clone().disarmed();
            runtime.spawn(async move {
                if let Err(left) = remains.remove().await {
                    tracing::warn!(left, "a lab that was dropped has left something behind");
                }
            });
        }
    }
}
