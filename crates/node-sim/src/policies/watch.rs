//! The watches on policies and on what they refer to.

use std::fmt::Debug;
use std::hash::Hash;
use std::sync::Arc;

use futures::TryStreamExt as _;
use kube::runtime::WatchStreamExt as _;
use kube::runtime::reflector::store::Writer;
use kube::runtime::watcher::{self, Error, watcher};
use kube::{Api, Client, Resource};
use serde::de::DeserializeOwned;
use tokio::sync::{Notify, watch};

use super::PolicyBook;

/// How many watches there are.
pub(super) const COUNT: usize = 4;

/// Begins to watch; the tasks end with the runtime.
pub(crate) fn follow(client: &Client) -> PolicyBook {
    let changed = Arc::new(Notify::new());
    let (known, all_known) = watch::channel([false; COUNT]);
    let known = Arc::new(known);
    let watches = Watches { client, changed: &changed, known: &known };
    PolicyBook {
        network: watches.store(0),
        traffic: watches.store(1),
        namespaces: watches.store(2),
        services: watches.store(3),
        known: all_known,
        changed,
        turn: tokio::sync::Mutex::default(),
    }
}

struct Watches<'a> {
    client: &'a Client,
    changed: &'a Arc<Notify>,
    known: &'a Arc<watch::Sender<[bool; COUNT]>>,
}

impl Watches<'_> {
    fn store<K>(&self, number: usize) -> kube::runtime::reflector::Store<K>
    where
        K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned + Send + Sync + 'static,
        K::DynamicType: Eq + Hash + Clone,
    {
        let writer = Writer::<K>::default();
        let store = writer.as_reader();
        let api = Api::all(self.client.clone());
        tokio::spawn(keep(api, writer, number, self.changed.clone(), self.known.clone()));
        store
    }
}

async fn keep<K>(
    api: Api<K>,
    mut writer: Writer<K>,
    number: usize,
    changed: Arc<Notify>,
    known: Arc<watch::Sender<[bool; COUNT]>>,
) where
    K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned + Send + Sync + 'static,
{
    let know = || {
        known.send_if_modified(|known| {
            known.get_mut(number).is_some_and(|known| !std::mem::replace(known, true))
        })
    };
    let stream = watcher(api, watcher::Config::default()).default_backoff();
    let mut stream = std::pin::pin!(stream);
    loop {
        match stream.try_next().await {
            Ok(Some(event)) => {
                writer.apply_watcher_event(&event);
                if !matches!(event, watcher::Event::Init | watcher::Event::InitApply(_)) {
                    know();
                    changed.notify_one();
                }
            }
            Ok(None) => return,
            // There are no objects of a kind that isn't installed.
            Err(Error::InitialListFailed(kube::Error::Api(status))) if status.code == 404 => {
                know();
            }
            Err(error) => tracing::debug!(%error, "watching policies was interrupted"),
        }
    }
}
