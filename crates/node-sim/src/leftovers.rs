//! The leak ledger: what is there although its pod is gone.

use std::collections::HashSet;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::node::{NodeError, Shared};
use crate::{checkpoints, mounts};

/// One thing that should not be there.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Leftover {
    /// `mount`, `process`, `interface`, `directory` or `checkpoint`.
    pub kind: String,
    /// Path, process id and name, or interface name.
    pub subject: String,
    /// Uid of the pod that made it, as far as known.
    pub owner: String,
}

/// Compares what is there with the pods that are.
pub(crate) async fn find(shared: &Arc<Shared>) -> Result<Vec<Leftover>, NodeError> {
    let interfaces = shared.network.interfaces().await?;
    let (pods, links, processes) = known(shared);
    let directory = shared.pods_directory();
    let failed = |source| NodeError::State { path: directory.clone(), source };
    let mut found = Vec::new();
    for mount in mounts::table_of("self").map_err(failed)? {
        if let Some(owner) = owner(&mount.mount_point, &directory)
            && !pods.contains(&owner)
        {
            found.push(Leftover { kind: "mount".to_owned(), subject: mount.mount_point, owner });
        }
    }
    for entry in std::fs::read_dir(&directory).map_err(failed)?.flatten() {
        let owner = entry.file_name().to_string_lossy().into_owned();
        if !pods.contains(&owner) {
            let subject = entry.path().display().to_string();
            found.push(Leftover { kind: "directory".to_owned(), subject, owner });
        }
    }
    for (owner, folder) in checkpoints::unowned(shared).await {
        let subject = folder.display().to_string();
        found.push(Leftover { kind: "checkpoint".to_owned(), subject, owner });
    }
    for interface in interfaces.into_iter().filter(|interface| !links.contains(interface)) {
        found.push(Leftover { kind: "interface".to_owned(), subject: interface, owner: String::new() });
    }
    for process in shared.runtime.running() {
        if !processes.contains(&process) {
            let name = std::fs::read_to_string(format!("/proc/{process}/comm")).unwrap_or_default();
            let subject = format!("{process} {}", name.trim());
            found.push(Leftover { kind: "process".to_owned(), subject, owner: String::new() });
        }
    }
    Ok(found)
}

/// Uids, interfaces and processes of the pods that are there. Commands in a container count as its processes as
/// long as there is a pod at all: they die with their container's PID namespace.
fn known(shared: &Shared) -> (HashSet<String>, HashSet<String>, HashSet<i32>) {
    let entries = shared.pods();
    let contexts: Vec<_> = entries.values().map(|entry| entry.context.clone()).collect();
    drop(entries);
    let uids = contexts.iter().map(|context| context.uid.clone()).collect();
    let links =
        contexts.iter().filter_map(|context| Some(context.sandbox()?.link.interface.clone())).collect();
    let mut processes = HashSet::new();
    for record in contexts.iter().flat_map(|context| context.board.records()) {
        processes.extend(record.running.map(|running| running.process.id()));
    }
    if !contexts.is_empty() {
        processes.extend(shared.runtime.commands());
    }
    (uids, links, processes)
}

/// Uid of the pod that a path belongs to.
fn owner(path: &str, directory: &std::path::Path) -> Option<String> {
    let below = std::path::Path::new(path).strip_prefix(directory).ok()?;
    below.components().next().map(|first| first.as_os_str().to_string_lossy().into_owned())
}
