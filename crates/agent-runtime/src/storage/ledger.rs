//! Which mounts this agent has made, so that a different one in the same place is refused (`storage.md` §6.5).

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use csi_api::NodePublishVolumeRequest;
use sha2::{Digest as _, Sha256};

use super::problem::{Problem, Reason};

/// What tells one mount from another: driver, source and options. A digest, so that nothing of it is kept.
pub(super) type Fingerprint = [u8; 32];

/// Mounts by staging directory. It lives as long as the agent: a mount made before a restart is unknown.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    mounts: Mutex<BTreeMap<String, Fingerprint>>,
}

impl Ledger {
    fn with<T>(&self, work: impl FnOnce(&mut BTreeMap<String, Fingerprint>) -> T) -> T {
        work(&mut self.mounts.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Refuses a mount that differs from the one in the same place; tells whether the same one is there.
    pub(super) fn check(&self, staging: &str, fingerprint: Fingerprint) -> Result<bool, Problem> {
        match self.with(|mounts| mounts.get(staging).copied()) {
            None => Ok(false),
            Some(present) if present == fingerprint => Ok(true),
            Some(_) => Err(Problem::new(
                Reason::Failed(tonic::Code::AlreadyExists),
                format!("another volume is already mounted at {staging}: unmount it first"),
            )),
        }
    }

    pub(super) fn add(&self, staging: &str, fingerprint: Fingerprint) {
        self.with(|mounts| mounts.insert(staging.to_owned(), fingerprint));
    }

    pub(super) fn remove(&self, staging: &str) {
        self.with(|mounts| mounts.remove(staging));
    }
}

/// The fingerprint of `request`. The volume id is new in every request, and the pod's UID is added by the agent.
pub(super) fn fingerprint(driver: &str, request: &NodePublishVolumeRequest) -> Fingerprint {
    let mut digest = Sha256::new();
    let mut add = |text: &str| {
        digest.update((text.len() as u64).to_le_bytes());
        digest.update(text);
    };
    add(driver);
    add(if request.readonly { "read-only" } else { "writable" });
    for (name, value) in &request.volume_context {
        if name != contract::names::POD_UID_CONTEXT_KEY {
            add(name);
            add(value);
        }
    }
    digest.finalize().into()
}
