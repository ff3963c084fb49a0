//! What a lab does to parts that all labs share: storage servers, components, the system's configuration. Whatever it has done
//! is undone when it goes, also after a failure.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use kube::Client;
use lab::{Capability, Component, FaultHandle, LabError, Outage, StorageServer};
use tokio::time::Instant;

use crate::backend::NAME;
use crate::components;
use crate::configuration::Configuration;
use crate::e2b::Upstream;
use crate::powers::Powers;

/// How long a component may take to run again that another lab, or a crash, has just ended.
const RUNNING_LIMIT: Duration = Duration::from_secs(30);
/// How long it may take until everything is as before.
pub(crate) const UNDO_LIMIT: Duration = Duration::from_secs(90);

/// How long the E2B API is asked before the question is put anew.
const ONE_LOOK: Duration = Duration::from_secs(30);

/// The account of a lab's doings, and the means for them.
#[derive(Clone)]
pub(crate) struct Disturbances {
    client: Client,
    upstream: Upstream,
    powers: Option<Arc<dyn Powers>>,
    pub(crate) configuration: Arc<Configuration>,
    book: Arc<Mutex<Book>>,
}

#[derive(Default)]
struct Book {
    last: u64,
    outages: BTreeMap<u64, (StorageServer, Outage)>,
    /// Faults that can't be healed.
    past: BTreeSet<u64>,
    /// The components that were killed, with the pods that they were in.
    killed: BTreeMap<Component, BTreeSet<String>>,
}

impl Disturbances {
    pub(crate) fn new(client: Client, upstream: Upstream, powers: Option<Arc<dyn Powers>>) -> Self {
        let configuration = Arc::new(Configuration::new(client.clone()));
        Self { client, upstream, powers, configuration, book: Arc::default() }
    }

    /// The powers, where they have this one.
    fn power(&self, wanted: Capability) -> Result<&Arc<dyn Powers>, LabError> {
        let powers = self.powers.as_ref().filter(|powers| powers.capabilities().contains(&wanted));
        powers.ok_or_else(|| LabError::Unsupported { backend: NAME, what: wanted.to_string() })
    }

    /// Kills the first process of a sandbox's container.
    pub(crate) async fn kill_container(&self, id: &str) -> Result<FaultHandle, LabError> {
        self.power(Capability::ProcessFaults)?.kill(id).await?;
        Ok(self.past())
    }

    /// Kills a component in all its replicas, and gives back the ids of their containers. Returns once each is dead; what
    /// comes up in its place has its own time, see [`Self::until_back`].
    pub(crate) async fn kill_component(
        &self,
        component: Component,
    ) -> Result<(FaultHandle, BTreeSet<String>), LabError> {
        let powers = self.power(Capability::ComponentFaults)?;
        let end = Instant::now() + RUNNING_LIMIT;
        loop {
            let found = components::running(&self.client, component).await;
            let found = found.map_err(|error| LabError::Part {
                lab: NAME.to_owned(),
                part: "API server".to_owned(),
                reason: lab::chain(&error),
            })?;
            let pods = found.iter().map(|(pod, _)| pod.clone());
            self.book().killed.entry(component).or_default().extend(pods);
            let name = component.to_string();
            let mut last = LabError::NotFound { what: "running component".to_owned(), name };
            let mut killed = BTreeSet::new();
            for (_, id) in found {
                match powers.kill(&id).await {
                    Ok(()) => drop(killed.insert(id)),
                    // A pod's status is behind its containers.
                    Err(error @ LabError::NotFound { .. }) => last = error,
                    Err(error) => return Err(error),
                }
            }
            if !killed.is_empty() {
                return Ok((self.past(), killed));
            }
            if Instant::now() >= end {
                return Err(last);
            }
            tokio::time::sleep(components::PAUSE).await;
        }
    }

    /// Waits until a component that was killed works again, on its way through Services too.
    pub(crate) async fn until_back(&self, component: Component, killed: &BTreeSet<String>) {
        components::until_back(&self.client, component, killed).await;
        while component == Component::Manager && self.upstream.until_healthy(ONE_LOOK).await.is_err() {}
    }

    /// Begins an outage of a server.
    pub(crate) async fn begin(&self, server: StorageServer, outage: Outage) -> Result<FaultHandle, LabError> {
        let powers = self.power(Capability::StorageOutages)?;
        // One at a time: the end of the second would be the end of the first as well.
        if let Some((_, other)) = self.book().outages.values().find(|(other, _)| *other == server) {
            return Err(LabError::Part {
                lab: NAME.to_owned(),
                part: server.to_string(),
                reason: format!("an outage ({other:?}) is in force, heal it first"),
            });
        }
        let number = {
            let mut book = self.book();
            book.last += 1;
            let number = book.last;
            // Before it begins: whoever gives up meanwhile leaves it to the end of the lab.
            book.outages.insert(number, (server, outage));
            number
        };
        powers.begin_outage(server, outage).await?;
        if outage == Outage::Restart {
            let mut book = self.book();
            book.outages.remove(&number);
            book.past.insert(number);
        }
        Ok(FaultHandle(number))
    }

    /// Ends an outage and says what it was.
    pub(crate) async fn heal(&self, fault: FaultHandle) -> Result<(StorageServer, Outage), LabError> {
        let found = self.book().outages.get(&fault.0).copied();
        let Some((server, outage)) = found else {
            return Err(if self.book().past.contains(&fault.0) {
                let reason = "what was killed or restarted can't be healed".to_owned();
                LabError::Part { lab: NAME.to_owned(), part: "fault".to_owned(), reason }
            } else {
                LabError::NotFound { what: "fault".to_owned(), name: fault.0.to_string() }
            });
        };
        self.power(Capability::StorageOutages)?.end_outage(server, outage).await?;
        let mut book = self.book();
        book.outages.remove(&fault.0);
        book.past.insert(fault.0);
        Ok((server, outage))
    }

    /// Makes everything as it was before. The words say what could not be.
    pub(crate) async fn undo(&self) -> Result<(), String> {
        let end = Instant::now() + UNDO_LIMIT;
        let mut failures = Vec::new();
        let outages: Vec<u64> = self.book().outages.keys().copied().collect();
        for number in outages {
            if let Err(error) = self.heal(FaultHandle(number)).await {
                failures.push(lab::chain(&error));
            }
        }
        if let Err(left) = self.configuration.put_back(end).await {
            failures.push(left);
        }
        let killed = self.book().killed.clone();
        for (component, pods) in killed {
            match components::renew(&self.client, component, &pods, end).await {
                Ok(()) => drop(self.book().killed.remove(&component)),
                Err(left) => failures.push(left),
            }
            if component == Component::Manager
                && let Err(last) = self.upstream.until_healthy(end.duration_since(Instant::now())).await
            {
                failures.push(format!("the E2B API doesn't answer: {last}"));
            }
        }
        if failures.is_empty() { Ok(()) } else { Err(failures.join("; ")) }
    }

    /// Whether there is anything to undo.
    pub(crate) fn is_quiet(&self) -> bool {
        let book = self.book();
        book.outages.is_empty() && book.killed.is_empty() && !self.configuration.is_touched()
    }

    fn past(&self) -> FaultHandle {
        let mut book = self.book();
        book.last += 1;
        let number = book.last;
        book.past.insert(number);
        FaultHandle(number)
    }

    fn book(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Undoes what was done when a lab is dropped instead of taken down.
pub(crate) struct UndoOnDrop(pub(crate) Option<Disturbances>);

impl Drop for UndoOnDrop {
    fn drop(&mut self) {
        let Some(disturbances) = self.0.take().filter(|disturbances| !disturbances.is_quiet()) else {
            return;
        };
        let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
        runtime.spawn(async move {
            if let Err(left) = disturbances.undo().await {
                tracing::warn!(left, "a lab that was dropped has left the cluster changed");
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use async_trait::async_trait;
    use clock::SystemClock;
    use contract::names::SYSTEM_NAMESPACE;
    use k8s_openapi::api::core::v1::{Namespace, Pod};
    use kube::api::{DeleteParams, Patch, PatchParams, PostParams};
    use kube_sim::KubeSim;
    use serde_json::json;

    use super::*;

    #[derive(Default)]
    struct Written(Mutex<Vec<String>>);

    #[async_trait]
    impl Powers for Written {
        fn capabilities(&self) -> Vec<Capability> {
            vec![Capability::StorageOutages]
        }

        async fn kill(&self, container_id: &str) -> Result<(), LabError> {
            self.write(format!("kill {container_id}"));
            Ok(())
        }

        async fn begin_outage(&self, server: StorageServer, outage: Outage) -> Result<(), LabError> {
            self.write(format!("begin {} {outage:?}", server.word()));
            Ok(())
        }

        async fn end_outage(&self, server: StorageServer, outage: Outage) -> Result<(), LabError> {
            self.write(format!("end {} {outage:?}", server.word()));
            Ok(())
        }
    }

    impl Written {
        fn write(&self, line: String) {
            self.0.lock().unwrap().push(line);
        }

        fn lines(&self) -> Vec<String> {
            self.0.lock().unwrap().clone()
        }
    }

    fn disturbances(powers: Option<Arc<dyn Powers>>) -> Disturbances {
        let client =
            KubeSim::new(kube_sim::Options { clock: SystemClock::shared(), journal: None }).client("default");
        Disturbances::new(client, Upstream::new("http://127.0.0.1:1").unwrap(), powers)
    }

    #[tokio::test]
    async fn what_a_lab_leaves_in_force_ends_with_it() {
        let powers = Arc::new(Written::default());
        let book = disturbances(Some(powers.clone()));
        let gone = book.begin(StorageServer::ObjectStore, Outage::Gone).await.unwrap();
        assert!(book.begin(StorageServer::ObjectStore, Outage::Hang).await.is_err(), "one is in force");
        assert_eq!(book.heal(gone).await.unwrap(), (StorageServer::ObjectStore, Outage::Gone));
        assert!(book.heal(gone).await.is_err(), "it is healed");
        let restart = book.begin(StorageServer::NetworkFileSystem, Outage::Restart).await.unwrap();
        let error = book.heal(restart).await.expect_err("it is over");
        assert!(error.to_string().contains("can't be healed"), "{error}");
        assert!(book.is_quiet());
        book.begin(StorageServer::NetworkFileSystem, Outage::Hang).await.unwrap();
        assert!(!book.is_quiet());
        book.undo().await.unwrap();
        assert!(book.is_quiet());
        assert_eq!(
            powers.lines(),
            ["begin oss Gone", "end oss Gone", "begin nas Restart", "begin nas Hang", "end nas Hang"]
        );
    }

    /// Kills what lives; who tries it on others is heard of.
    #[derive(Default)]
    struct Deadly(tokio::sync::Notify);

    #[async_trait]
    impl Powers for Deadly {
        fn capabilities(&self) -> Vec<Capability> {
            vec![Capability::ComponentFaults]
        }

        async fn kill(&self, container_id: &str) -> Result<(), LabError> {
            if container_id.ends_with("alive") {
                return Ok(());
            }
            self.0.notify_one();
            Err(LabError::NotFound { what: "running container".to_owned(), name: container_id.to_owned() })
        }

        async fn begin_outage(&self, _: StorageServer, _: Outage) -> Result<(), LabError> {
            unreachable!("none of these tests has one")
        }

        async fn end_outage(&self, _: StorageServer, _: Outage) -> Result<(), LabError> {
            unreachable!("none of these tests has one")
        }
    }

    /// A pod of the manager whose container has that id, or the same pod with another container.
    async fn pod_of_manager(client: &Client, name: &str, id: &str, finalizers: &[&str]) {
        let pods: kube::Api<Pod> = kube::Api::namespaced(client.clone(), SYSTEM_NAMESPACE);
        let pod = json!({
            "metadata": {"name": name, "labels": {"component": "sandbox-manager"}, "finalizers": finalizers},
            "spec": {"containers": [{"name": "sandbox-manager", "image": "i"}]},
        });
        let pod = serde_json::from_value(pod).unwrap();
        if let Err(error) = pods.create(&PostParams::default(), &pod).await {
            assert!(matches!(&error, kube::Error::Api(status) if status.code == 409), "{error}");
        }
        let status = json!({"status": {"containerStatuses": [{"name": "sandbox-manager", "ready": true, "image": "i",
            "imageID": "i", "restartCount": 0, "containerID": id, "state": {"running": {}}}]}});
        pods.patch_status(name, &PatchParams::default(), &Patch::Merge(status)).await.unwrap();
    }

    #[tokio::test]
    async fn a_container_that_is_no_more_is_looked_for_again_and_one_on_its_way_out_is_none() {
        let powers = Arc::new(Deadly::default());
        let book = disturbances(Some(powers.clone()));
        let namespace = serde_json::from_value(json!({"metadata": {"name": SYSTEM_NAMESPACE}})).unwrap();
        let namespaces: kube::Api<Namespace> = kube::Api::all(book.client.clone());
        namespaces.create(&PostParams::default(), &namespace).await.unwrap();
        pod_of_manager(&book.client, "old", "containerd://still-alive", &["kept.example.com/here"]).await;
        let pods: kube::Api<Pod> = kube::Api::namespaced(book.client.clone(), SYSTEM_NAMESPACE);
        pods.delete("old", &DeleteParams::default()).await.unwrap();
        pod_of_manager(&book.client, "new", "containerd://dead", &[]).await;
        let (killed, ()) = tokio::join!(book.kill_component(Component::Manager), async {
            powers.0.notified().await;
            pod_of_manager(&book.client, "new", "containerd://again-alive", &[]).await;
        });
        let ids: Vec<_> = killed.expect("the one that came in its place").1.into_iter().collect();
        assert_eq!(ids, ["containerd://again-alive"]);
    }

    #[tokio::test]
    async fn what_the_powers_lack_is_refused() {
        let with = disturbances(Some(Arc::new(Written::default())));
        let without = disturbances(None);
        let lacks = |error: LabError| matches!(error, LabError::Unsupported { .. });
        assert!(lacks(with.kill_component(Component::Manager).await.expect_err("not among them")));
        assert!(lacks(with.kill_container("containerd://x").await.expect_err("not among them")));
        assert!(lacks(without.begin(StorageServer::ObjectStore, Outage::Gone).await.expect_err("none")));
    }
}
