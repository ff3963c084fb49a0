//! The watches.

use std::fmt::Debug;
use std::sync::Arc;
use std::time::Duration;

use contract::names::{INJECTION_CONFIG, labels};
use futures::StreamExt as _;
use kube::runtime::watcher::{self, Event, watcher};
use kube::{Api, Resource};
use serde::de::DeserializeOwned;

use super::World;
use crate::{ControllerOptions, Error};

/// First delay before a failed watch is tried again; doubles up to [`LONGEST_DELAY`].
const FIRST_DELAY: Duration = Duration::from_millis(20);
const LONGEST_DELAY: Duration = Duration::from_secs(5);

/// Follows everything the controller needs to see. Returns only when a watch ended.
pub(crate) async fn watch_all(options: &ControllerOptions, world: &Arc<World>) -> Error {
    let client = || options.client.clone();
    let everything = watcher::Config::default();
    let pods =
        watcher::Config::default().labels(&format!("{}={}", labels::CREATED_BY, labels::CREATED_BY_SANDBOX));
    let config = watcher::Config::default().fields(&format!("metadata.name={INJECTION_CONFIG}"));
    tokio::select! {
        () = follow(Api::all(client()), everything.clone(), |event| world.on_set(event)) => {
            Error::WatchEnded { kind: "SandboxSet" }
        }
        () = follow(Api::all(client()), everything.clone(), |event| world.on_sandbox(event)) => {
            Error::WatchEnded { kind: "Sandbox" }
        }
        () = follow(Api::all(client()), everything.clone(), |event| world.on_claim(event)) => {
            Error::WatchEnded { kind: "SandboxClaim" }
        }
        () = follow(Api::all(client()), everything.clone(), |event| world.on_checkpoint(event)) => {
            Error::WatchEnded { kind: "Checkpoint" }
        }
        () = follow(Api::all(client()), everything.clone(), |event| world.on_template(event)) => {
            Error::WatchEnded { kind: "SandboxTemplate" }
        }
        () = follow(Api::all(client()), everything, |event| world.on_operation(event)) => {
            Error::WatchEnded { kind: "SandboxUpdateOps" }
        }
        () = follow(Api::all(client()), pods, |event| world.on_pod(event)) => Error::WatchEnded { kind: "Pod" },
        () = follow(Api::namespaced(client(), &options.namespace), config, |event| world.on_config(&event)) => {
            Error::WatchEnded { kind: "ConfigMap" }
        }
    }
}

/// Hands every event to `handle`; failed watches are tried again by the machine's time, since they are input and
/// output.
async fn follow<K>(api: Api<K>, config: watcher::Config, handle: impl Fn(Event<K>))
where
    K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned + Send + 'static,
{
    let mut events = std::pin::pin!(watcher(api, config));
    let mut delay = FIRST_DELAY;
    while let Some(event) = events.next().await {
        match event {
            Ok(event) => {
                delay = FIRST_DELAY;
                handle(event);
            }
            Err(error) => {
                tracing::warn!(kind = %K::kind(&()), %error, retry_in = ?delay, "watch failed");
                tokio::time::sleep(delay).await;
                delay = (delay * 2).min(LONGEST_DELAY);
            }
        }
    }
}
