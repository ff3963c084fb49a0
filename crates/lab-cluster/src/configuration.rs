//! The configuration of the system, which a scenario on a cluster of our own may change while it runs alone.

use std::time::Duration;

use contract::names::{INJECTION_CONFIG, SYSTEM_NAMESPACE};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{DeleteParams, ObjectMeta, PostParams};
use kube::{Api, Client};
use tokio::sync::OnceCell;
use tokio::time::Instant;

/// How long to wait after a write that met another one.
const PAUSE: Duration = Duration::from_millis(100);

/// ConfigMap `sandbox-injection-config` as it was before the first change; empty without a change.
pub(crate) struct Configuration {
    client: Client,
    /// What was there, or that nothing was.
    original: OnceCell<Option<ConfigMap>>,
}

impl Configuration {
    pub(crate) fn new(client: Client) -> Self {
        Self { client, original: OnceCell::new() }
    }

    /// To be called before every change.
    pub(crate) async fn remember(&self) -> kube::Result<()> {
        self.original.get_or_try_init(|| async { self.api().get_opt(INJECTION_CONFIG).await }).await.map(drop)
    }

    /// Whether a change was made, perhaps.
    pub(crate) fn is_touched(&self) -> bool {
        self.original.initialized()
    }

    /// Puts it back as it was, and returns once it is.
    pub(crate) async fn put_back(&self, end: Instant) -> Result<(), String> {
        let Some(original) = self.original.get() else { return Ok(()) };
        loop {
            let last = match self.attempt(original.as_ref()).await {
                Ok(true) => return Ok(()),
                Ok(false) => "somebody else writes it".to_owned(),
                Err(error) => lab::chain(&error),
            };
            if Instant::now() >= end {
                return Err(format!(
                    "ConfigMap {SYSTEM_NAMESPACE}/{INJECTION_CONFIG} is not as it was before the scenario: {last}"
                ));
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// One look, and a write where it is needed; whether all is as it was.
    async fn attempt(&self, original: Option<&ConfigMap>) -> kube::Result<bool> {
        let (api, parameters) = (self.api(), PostParams::default());
        let outcome = match (original, api.get_opt(INJECTION_CONFIG).await?) {
            (None, None) => return Ok(true),
            (None, Some(_)) => api.delete(INJECTION_CONFIG, &DeleteParams::default()).await.map(drop),
            (Some(original), None) => api.create(&parameters, &restored(original, None)).await.map(drop),
            (Some(original), Some(now)) if is_same(original, &now) => return Ok(true),
            (Some(original), Some(now)) => {
                let version = now.metadata.resource_version;
                api.replace(INJECTION_CONFIG, &parameters, &restored(original, version)).await.map(drop)
            }
        };
        match outcome {
            // Whether it is now as it was, the next look says.
            Ok(()) => Ok(false),
            Err(kube::Error::Api(status)) if matches!(status.code, 404 | 409) => Ok(false),
            Err(error) => Err(error),
        }
    }

    fn api(&self) -> Api<ConfigMap> {
        Api::namespaced(self.client.clone(), SYSTEM_NAMESPACE)
    }
}

fn is_same(one: &ConfigMap, other: &ConfigMap) -> bool {
    one.data == other.data
        && one.binary_data == other.binary_data
        && one.metadata.labels == other.metadata.labels
        && one.metadata.annotations == other.metadata.annotations
}

fn restored(original: &ConfigMap, resource_version: Option<String>) -> ConfigMap {
    ConfigMap {
        metadata: ObjectMeta {
            name: Some(INJECTION_CONFIG.to_owned()),
            labels: original.metadata.labels.clone(),
            annotations: original.metadata.annotations.clone(),
            resource_version,
            ..ObjectMeta::default()
        },
        ..original.clone()
    }
}

#[cfg(test)]
mod tests {
    use clock::SystemClock;
    use kube_sim::KubeSim;
    use serde_json::json;

    use super::*;

    async fn cluster() -> (Client, Api<ConfigMap>) {
        let client = KubeSim::new(kube_sim::Options { clock: SystemClock::shared(), journal: None })
            .client(SYSTEM_NAMESPACE);
        let namespace = json!({"metadata": {"name": SYSTEM_NAMESPACE}});
        let namespace: k8s_openapi::api::core::v1::Namespace = serde_json::from_value(namespace).unwrap();
        Api::all(client.clone()).create(&PostParams::default(), &namespace).await.unwrap();
        (client.clone(), Api::namespaced(client, SYSTEM_NAMESPACE))
    }

    fn config(value: &str) -> ConfigMap {
        let object =
            json!({"metadata": {"name": INJECTION_CONFIG, "labels": {"a": "b"}}, "data": {"key": value}});
        serde_json::from_value(object).unwrap()
    }

    fn soon() -> Instant {
        Instant::now() + Duration::from_secs(30)
    }

    #[tokio::test]
    async fn what_was_there_comes_back_whatever_was_done_to_it() {
        for deleted in [false, true] {
            let (client, api) = cluster().await;
            api.create(&PostParams::default(), &config("before")).await.unwrap();
            let configuration = Configuration::new(client);
            assert!(!configuration.is_touched());
            configuration.remember().await.unwrap();
            if deleted {
                api.delete(INJECTION_CONFIG, &DeleteParams::default()).await.unwrap();
            } else {
                api.replace(INJECTION_CONFIG, &PostParams::default(), &config("changed")).await.unwrap();
                // A second change doesn't make the first one the original.
                configuration.remember().await.unwrap();
            }
            configuration.put_back(soon()).await.unwrap();
            assert!(is_same(&api.get(INJECTION_CONFIG).await.unwrap(), &config("before")));
        }
    }

    #[tokio::test]
    async fn what_was_not_there_goes_again_and_what_nobody_touched_stays() {
        let (client, api) = cluster().await;
        let configuration = Configuration::new(client.clone());
        configuration.remember().await.unwrap();
        api.create(&PostParams::default(), &config("new")).await.unwrap();
        configuration.put_back(soon()).await.unwrap();
        assert!(api.get_opt(INJECTION_CONFIG).await.unwrap().is_none());

        api.create(&PostParams::default(), &config("installed")).await.unwrap();
        Configuration::new(client).put_back(soon()).await.unwrap();
        assert!(is_same(&api.get(INJECTION_CONFIG).await.unwrap(), &config("installed")));
    }
}
