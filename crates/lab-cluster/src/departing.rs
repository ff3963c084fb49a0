//! Namespaces that are on their way out. A cluster takes seconds to remove even an empty one, and no lab needs to wait for
//! that: who waits is the end of the run.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use k8s_openapi::api::core::v1::Namespace;
use kube::api::ListParams;
use kube::{Api, Client, ResourceExt as _};
use lab::LabError;
use tokio::time::Instant;

use crate::names::LAB_LABEL;

/// How often it is looked whether they are gone.
const PAUSE: Duration = Duration::from_millis(200);

/// The namespaces of labs that are down, as far as nobody has seen them gone.
#[derive(Clone, Debug, Default)]
pub(crate) struct Departing(Arc<Mutex<BTreeSet<String>>>);

impl Departing {
    /// Notes a namespace that was asked to go and has nothing in it that has to end first.
    pub(crate) fn add(&self, namespace: String) {
        self.names().insert(namespace);
    }

    /// Whether none is awaited.
    pub(crate) fn is_empty(&self) -> bool {
        self.names().is_empty()
    }

    /// Waits until all are gone.
    ///
    /// # Errors
    /// [`LabError::Deadline`] naming those that are still there after `limit`, and what keeps them.
    pub(crate) async fn until_gone(&self, client: &Client, limit: Duration) -> Result<(), LabError> {
        let end = Instant::now() + limit;
        let api: Api<Namespace> = Api::all(client.clone());
        loop {
            if self.is_empty() {
                return Ok(());
            }
            let last = match api.list(&ListParams::default().labels(LAB_LABEL)).await {
                Ok(listed) => {
                    let mut names = self.names();
                    names.retain(|name| listed.items.iter().any(|there| there.name_any() == *name));
                    if names.is_empty() {
                        return Ok(());
                    }
                    let awaited = listed.items.iter().filter(|there| names.contains(&there.name_any()));
                    awaited.map(state).collect::<Vec<_>>().join("; ")
                }
                Err(error) => lab::chain(&error),
            };
            if Instant::now() >= end {
                let last = format!("{last}; `kubectl delete namespaces -l {LAB_LABEL}` asks again");
                return Err(LabError::Deadline {
                    deadline: "deadline of the removal of namespaces",
                    limit,
                    last,
                });
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    fn names(&self) -> MutexGuard<'_, BTreeSet<String>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What a namespace says about its end.
fn state(namespace: &Namespace) -> String {
    let conditions = namespace.status.iter().flat_map(|status| status.conditions.iter().flatten());
    let remaining = conditions.filter(|condition| condition.status == "True");
    let messages: Vec<_> = remaining.filter_map(|condition| condition.message.clone()).collect();
    let name = namespace.name_any();
    if messages.is_empty() {
        format!("Namespace {name} ends")
    } else {
        format!("Namespace {name}: {}", messages.join(", "))
    }
}

#[cfg(test)]
mod tests {
    use clock::SystemClock;
    use kube::api::{DeleteParams, ObjectMeta, PostParams};
    use kube_sim::KubeSim;

    use super::*;

    #[tokio::test]
    async fn what_is_awaited_is_named_until_it_is_gone() {
        let client =
            KubeSim::new(kube_sim::Options { clock: SystemClock::shared(), journal: None }).client("default");
        let api: Api<Namespace> = Api::all(client.clone());
        let labels = [(LAB_LABEL.to_owned(), "tag".to_owned())].into();
        for name in ["first", "second"] {
            let metadata = ObjectMeta {
                name: Some(name.into()),
                labels: Some(Clone::clone(&labels)),
                ..ObjectMeta::default()
            };
            let namespace = Namespace { metadata, ..Namespace::default() };
            api.create(&PostParams::default(), &namespace).await.unwrap();
        }
        let departing = Departing::default();
        departing.until_gone(&client, Duration::ZERO).await.expect("none is awaited");
        departing.add("first".into());
        departing.add("second".into());
        api.delete("first", &DeleteParams::default()).await.unwrap();
        let error =
            departing.until_gone(&client, Duration::from_millis(500)).await.expect_err("one is there");
        let words = error.to_string();
        assert!(words.contains("Namespace second") && !words.contains("Namespace first"), "{words}");
        api.delete("second", &DeleteParams::default()).await.unwrap();
        departing.until_gone(&client, Duration::from_secs(30)).await.expect("both are gone");
        assert!(departing.is_empty());
    }
}
