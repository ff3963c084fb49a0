//! Checkpoints: what may be asked for, what controller and node say to each other about one, and what a clone is made
//! from (`kubernetes.md` §6, `docs/design/0015-checkpoints.md`).
//!
//! ```text
//! Checkpoint ──► controller: checks, companion SandboxTemplate, Order ──► node: keeps the files, Outcome
//!                     ▲ status                                               │
//!                     └──────────────────────────────────────────────────────┘
//! ```
//! Both words travel as annotations of the Checkpoint, so that the status has one writer. Neither holds a mount, a token
//! or anything else of the sandbox's owner.

use std::collections::BTreeSet;
use std::time::Duration;

use kube::ResourceExt as _;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::crd::{Checkpoint, CheckpointSpec, Sandbox, SandboxTemplate, SandboxTemplateSpec};
use crate::duration;
use crate::errors::{Code, Problem};
use crate::intents;
use crate::names::{E2B_PREFIX, INTERNAL_PREFIX, annotations};

/// Values of `status.phase` (`kubernetes.md` §1.5).
pub mod phases {
    /// Seen and not begun.
    pub const PENDING: &str = "Pending";
    /// A node is at it.
    pub const CREATING: &str = "Creating";
    /// Sandboxes can be made from it.
    pub const SUCCEEDED: &str = "Succeeded";
    /// There is nothing to make a sandbox from; the message says why.
    pub const FAILED: &str = "Failed";
    /// On its way out.
    pub const TERMINATING: &str = "Terminating";
}

/// What can be kept (`spec.persistentContents`).
pub mod contents {
    /// The files that the main container wrote outside of its mounts.
    pub const FILESYSTEM: &str = "filesystem";
    /// Memory and processes.
    pub const MEMORY: &str = "memory";
    /// Names and addresses of the pod.
    pub const POD_INFO: &str = "podInfo";
}

/// What the controller asks of a node.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Order {
    /// The node that has the pod, and will have the files.
    pub node: String,
    /// UID of the pod.
    pub pod_uid: String,
    /// Its container whose files are kept.
    pub container: String,
}

impl Order {
    /// The order on `checkpoint`, if it has one that can be read.
    pub fn of(checkpoint: &Checkpoint) -> Option<Self> {
        let text = checkpoint.annotations().get(annotations::CHECKPOINT_ORDER)?;
        serde_json::from_str(text).ok()
    }

    /// The annotation's value.
    pub fn text(&self) -> String {
        serde_json::to_string(self).unwrap_or_default()
    }
}

/// What a node answers.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Outcome {
    /// The files are kept.
    Kept {
        /// How many files, folders and links there are.
        files: u64,
        /// What the files hold together, in bytes.
        bytes: u64,
    },
    /// Nothing is kept.
    Failed {
        /// Why, a sentence for the user.
        reason: String,
    },
}

impl Outcome {
    /// The outcome on `checkpoint`, if a node has answered.
    pub fn of(checkpoint: &Checkpoint) -> Option<Self> {
        let text = checkpoint.annotations().get(annotations::CHECKPOINT_OUTCOME)?;
        let unreadable = || Self::Failed { reason: "the node's answer cannot be read".to_owned() };
        Some(serde_json::from_str(text).unwrap_or_else(|_| unreadable()))
    }

    /// The annotation's value.
    pub fn text(&self) -> String {
        serde_json::to_string(self).unwrap_or_default()
    }
}

/// The phase; empty for one that nobody has seen.
pub fn phase(checkpoint: &Checkpoint) -> &str {
    checkpoint.status.as_ref().and_then(|status| status.phase.as_deref()).unwrap_or_default()
}

/// Whether sandboxes can be made from it.
pub fn is_usable(checkpoint: &Checkpoint) -> bool {
    phase(checkpoint) == phases::SUCCEEDED && checkpoint.metadata.deletion_timestamp.is_none()
}

/// The id of a Checkpoint, drawn from its UID: a DNS label of 15 characters that stays the same however often it is made
/// up. It is what a create takes as template, and the prefix of its clones' names.
pub fn id(checkpoint: &Checkpoint) -> String {
    let uid = checkpoint.uid().unwrap_or_default();
    let letters: String = uid.chars().filter(char::is_ascii_alphanumeric).take(12).collect();
    format!("cp-{}", letters.to_ascii_lowercase())
}

/// The Sandbox that a Checkpoint is to be taken of.
///
/// # Errors
/// [`Code::InvalidParameter`] for what contradicts itself, [`Code::NotSupported`] for what nobody here can keep.
pub fn source(spec: &CheckpointSpec) -> Result<&str, Problem> {
    let bad = |message: String| Problem::new(Code::InvalidParameter, message);
    let named = |name: &'_ Option<String>| name.as_deref().is_some_and(|name| !name.is_empty());
    let name = match (&spec.sandbox_name, &spec.pod_name) {
        (Some(sandbox), Some(pod))
            if named(&spec.sandbox_name) && named(&spec.pod_name) && sandbox != pod =>
        {
            let message = format!(
                "sandboxName {sandbox} and podName {pod} differ: a sandbox's pod has its name, give one of the two"
            );
            return Err(bad(message));
        }
        (Some(sandbox), _) if !sandbox.is_empty() => sandbox,
        (_, Some(pod)) if !pod.is_empty() => pod,
        _ => return Err(bad("neither sandboxName nor podName is given".to_owned())),
    };
    check_contents(spec.persistent_contents.as_deref().unwrap_or_default())?;
    if spec.keep_running == Some(false) {
        let message =
            "keepRunning: false is not supported, the sandbox goes on running: pause or kill it afterwards";
        return Err(Problem::new(Code::NotSupported, message));
    }
    if let Some(text) = &spec.ttl_after_finished
        && ttl(text).is_none()
    {
        return Err(bad(format!("ttlAfterFinished {text:?} is no duration: write 30s, 30m or 30d")));
    }
    Ok(name)
}

/// Checks what is to be kept.
///
/// # Errors
/// [`Code::NotSupported`] for memory, [`Code::InvalidParameter`] for an unknown word.
pub fn check_contents(wanted: &[String]) -> Result<(), Problem> {
    for word in wanted {
        match word.as_str() {
            contents::FILESYSTEM | contents::POD_INFO => {}
            contents::MEMORY => {
                let message =
                    "memory cannot be kept in a checkpoint, only the file system can: ask for filesystem";
                return Err(Problem::new(Code::NotSupported, message));
            }
            other => {
                let message = format!("{other:?} is nothing that a checkpoint can keep: ask for filesystem");
                return Err(Problem::new(Code::InvalidParameter, message));
            }
        }
    }
    Ok(())
}

/// A duration above zero: a Go duration or whole days, such as `30s`, `1h30m`, `30d`.
pub fn ttl(text: &str) -> Option<Duration> {
    if let Some(days) = text.strip_suffix('d') {
        let days: u64 = days.parse().ok()?;
        return days.checked_mul(24 * 3600).filter(|seconds| *seconds > 0).map(Duration::from_secs);
    }
    let duration = duration::parse(text)?;
    Duration::try_from(duration).ok().filter(|duration| !duration.is_zero())
}

/// The UID of the Sandbox for whose upgrade the Checkpoint was made: the Sandbox controls it. Nobody else can use it.
pub fn upgraded(checkpoint: &Checkpoint) -> Option<&str> {
    let owners = checkpoint.metadata.owner_references.as_deref().unwrap_or_default();
    let owner = owners.iter().find(|owner| owner.controller == Some(true) && owner.kind == "Sandbox")?;
    Some(&owner.uid)
}

/// How many mounts `sandbox` has. A list that can't be read counts as one: there was something.
pub fn mounts_of(sandbox: &Sandbox) -> usize {
    match sandbox.annotations().get(annotations::CSI_VOLUME_CONFIG) {
        None => 0,
        Some(text) => intents::decode_annotation(text).map_or(1, |mounts| mounts.len()),
    }
}

/// What clones are made from: the pod template of `sandbox`, which is `template`, without anything that its claim put
/// there. Named after the Checkpoint; the owner reference is the caller's business.
pub fn companion(sandbox: &Sandbox, template: &Value) -> SandboxTemplate {
    let claimed = labels_of_claim(sandbox);
    let mut template = template.clone();
    for (list, gone) in [("labels", Some(&claimed)), ("annotations", None)] {
        let entries = template.pointer_mut(&format!("/metadata/{list}")).and_then(Value::as_object_mut);
        if let Some(entries) = entries {
            let stays = |key: &str| {
                let of_system = key.starts_with(INTERNAL_PREFIX) || key.starts_with(E2B_PREFIX);
                !of_system && gone.is_none_or(|gone| !gone.contains(key))
            };
            *entries =
                std::mem::take(entries).into_iter().filter(|(key, _)| stays(key)).collect::<Map<_, _>>();
        }
    }
    let spec = SandboxTemplateSpec {
        template: Some(template),
        volume_claim_templates: sandbox.spec.volume_claim_templates.clone(),
        persistent_contents: sandbox.spec.persistent_contents.clone(),
        runtimes: sandbox.spec.runtimes.clone(),
        pause_strategy: None,
    };
    SandboxTemplate::new("", spec)
}

/// The labels that the claim of `sandbox` added for its user.
fn labels_of_claim(sandbox: &Sandbox) -> BTreeSet<String> {
    let noted = sandbox.annotations().get(annotations::UPDATED_METADATA_IN_CLAIM);
    let noted: Option<Value> = noted.and_then(|text| serde_json::from_str(text).ok());
    let labels = noted.as_ref().and_then(|noted| noted.get("labels")?.as_array());
    labels.into_iter().flatten().filter_map(|label| label.as_str().map(str::to_owned)).collect()
}
