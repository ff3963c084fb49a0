//! Annotation `inplace-update-state` of a pod (`kubernetes.md` §5.8): what its containers were when it was updated.

use std::collections::BTreeMap;

use contract::names::{annotations, labels};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{ContainerStatus, Pod};
use kube::ResourceExt as _;
use serde::{Deserialize, Serialize};

use super::compare::Change;

/// The annotation's content.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct UpdateState {
    /// The revision that the pod was updated to.
    pub(crate) revision: String,
    /// When.
    pub(crate) update_timestamp: Timestamp,
    /// The containers whose image changes, as they were before.
    #[serde(default)]
    pub(crate) last_container_statuses: BTreeMap<String, LastStatus>,
    /// Whether an image changes.
    #[serde(default)]
    pub(crate) update_images: bool,
    /// Whether resources change.
    #[serde(default)]
    pub(crate) update_resources: bool,
}

/// A container before its image changed. All but the first member are ours: by the image alone nobody can tell that
/// a container was replaced by one of the same content.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct LastStatus {
    /// Id of its image.
    #[serde(default, rename = "imageID")]
    pub(crate) image_id: String,
    /// Its own id.
    #[serde(default, rename = "containerID", skip_serializing_if = "Option::is_none")]
    pub(crate) container_id: Option<String>,
    /// Why it waited, if it did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) waiting: Option<String>,
}

impl UpdateState {
    /// The state of the update that made the pod what it is; nothing when none did.
    pub(crate) fn of(pod: &Pod) -> Option<Self> {
        let text = pod.annotations().get(annotations::INPLACE_UPDATE_STATE)?;
        let state: Self = serde_json::from_str(text).ok()?;
        (pod.labels().get(labels::POD_TEMPLATE_HASH) == Some(&state.revision)).then_some(state)
    }

    /// What to remember of `pod` when `change` makes it one of `revision`.
    pub(crate) fn before(pod: &Pod, change: &Change, revision: &str, now: Timestamp) -> Self {
        let last = change.images.keys().map(|name| (name.clone(), last_status(pod, name))).collect();
        Self {
            revision: revision.to_owned(),
            update_timestamp: now,
            last_container_statuses: last,
            update_images: !change.images.is_empty(),
            update_resources: !change.resources.is_empty(),
        }
    }

    /// The annotation's text.
    pub(crate) fn to_text(&self) -> String {
        serde_json::json!(self).to_string()
    }
}

fn last_status(pod: &Pod, container: &str) -> LastStatus {
    let Some(status) = status_of(pod, container) else { return LastStatus::default() };
    LastStatus {
        image_id: status.image_id.clone(),
        container_id: status.container_id.clone(),
        waiting: waiting(status).map(|(_, message)| message.to_owned()),
    }
}

/// What the node says of that container.
pub(super) fn status_of<'a>(pod: &'a Pod, container: &str) -> Option<&'a ContainerStatus> {
    let statuses = pod.status.as_ref()?.container_statuses.as_ref()?;
    statuses.iter().find(|status| status.name == container)
}

/// Reason and message of a container that waits for more than its turn: that one has no message.
pub(super) fn waiting(status: &ContainerStatus) -> Option<(&str, &str)> {
    let waiting = status.state.as_ref()?.waiting.as_ref()?;
    let message = waiting.message.as_deref().filter(|message| !message.is_empty())?;
    Some((waiting.reason.as_deref().unwrap_or("waiting"), message))
}
