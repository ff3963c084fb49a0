//! API keys as Secrets of the system namespace, one each.
//!
//! Label `agents.kruise.io/api-key` marks them; member `key` is the key and `record` its particulars as JSON. A
//! Secret that can't be read as one is left out and named in the log.

use std::collections::BTreeMap;
use std::sync::Arc;

use claim::Cache;
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use kube::api::{DeleteParams, ObjectMeta, PostParams};
use kube::runtime::watcher;
use kube::{Api, ResourceExt as _};
use sha2::{Digest as _, Sha256};

use super::record::KeyRecord;
use super::{Caller, wrapped};

const LABEL: &str = "agents.kruise.io/api-key";
const KEY_MEMBER: &str = "key";
const RECORD_MEMBER: &str = "record";

/// The keys that exist beside the operator's.
#[derive(Debug)]
pub(crate) struct KeyStore {
    api: Api<Secret>,
    admin_key: [u8; 32],
    secrets: Cache<Secret>,
}

impl KeyStore {
    pub(crate) fn new(client: kube::Client, system_namespace: &str, admin_key: &str) -> Self {
        Self {
            api: Api::namespaced(client, system_namespace),
            admin_key: digest(admin_key),
            secrets: Cache::default(),
        }
    }

    pub(crate) async fn follow(&self) {
        self.secrets
            .follow(self.api.clone(), watcher::Config::default().labels(&format!("{LABEL}=true")))
            .await;
    }

    pub(crate) fn is_synced(&self) -> bool {
        self.secrets.is_synced()
    }

    pub(crate) fn changes(&self) -> tokio::sync::watch::Receiver<u64> {
        self.secrets.changes()
    }

    /// Whose key `presented` is, in plain or wrapped form. Keys are compared by digest, so that the time it takes
    /// tells nothing about a stored key.
    pub(crate) fn caller(&self, presented: &str) -> Option<Caller> {
        let presented = digest(&wrapped::unwrap(presented));
        if presented == self.admin_key {
            return Some(Caller::admin());
        }
        let record = self.records().into_iter().find(|record| digest(&record.key) == presented)?;
        Some(Caller { id: record.id, name: record.name, team: record.team })
    }

    /// Every stored key, oldest first.
    pub(crate) fn records(&self) -> Vec<KeyRecord> {
        let mut records: Vec<_> = self.secrets.select(|_| true).iter().filter_map(read).collect();
        records.sort_by(|left, right| (&left.created_at, &left.id).cmp(&(&right.created_at, &right.id)));
        records
    }

    /// The stored key with that id.
    pub(crate) fn record(&self, id: &str) -> Option<KeyRecord> {
        self.records().into_iter().find(|record| record.id == id)
    }

    pub(crate) async fn add(&self, record: &KeyRecord) -> Result<(), kube::Error> {
        let particulars = serde_json::to_vec(record).map_err(kube::Error::SerdeError)?;
        let secret = Secret {
            metadata: ObjectMeta {
                name: Some(secret_name(&record.id)),
                labels: Some(BTreeMap::from([(LABEL.to_owned(), "true".to_owned())])),
                ..ObjectMeta::default()
            },
            data: Some(BTreeMap::from([
                (KEY_MEMBER.to_owned(), ByteString(record.key.clone().into_bytes())),
                (RECORD_MEMBER.to_owned(), ByteString(particulars)),
            ])),
            type_: Some("Opaque".to_owned()),
            ..Secret::default()
        };
        let stored = self.api.create(&PostParams::default(), &secret).await?;
        self.secrets.observe(stored);
        Ok(())
    }

    pub(crate) async fn remove(&self, id: &str) -> Result<(), kube::Error> {
        self.api.delete(&secret_name(id), &DeleteParams::default()).await?;
        for secret in self.secrets.select(|secret| secret.name_any() == secret_name(id)) {
            self.secrets.bury(&secret);
        }
        Ok(())
    }
}

fn secret_name(id: &str) -> String {
    format!("sandbox-api-key-{id}")
}

fn read(secret: &Arc<Secret>) -> Option<KeyRecord> {
    let data = secret.data.as_ref()?;
    let record: Option<KeyRecord> =
        data.get(RECORD_MEMBER).and_then(|particulars| serde_json::from_slice(&particulars.0).ok());
    let key = data.get(KEY_MEMBER).and_then(|key| String::from_utf8(key.0.clone()).ok());
    let (Some(mut record), Some(key)) = (record, key.filter(|key| !key.is_empty())) else {
        tracing::warn!(secret = %secret.name_any(), "this Secret is labelled as an API key and isn't one");
        return None;
    };
    record.key = key;
    Some(record)
}

fn digest(key: &str) -> [u8; 32] {
    Sha256::digest(key.as_bytes()).into()
}
