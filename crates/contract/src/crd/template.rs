//! Looking into the schemaless parts: pod templates and volume claim templates.

use k8s_openapi::api::core::v1::{PersistentVolumeClaim, PodTemplateSpec};
use serde_json::Value;

use crate::errors::{Code, Problem};

/// The pod template in `raw`.
///
/// # Errors
/// [`Code::InvalidTemplate`] with the place where it stops being one.
pub fn pod_template(raw: &Value) -> Result<PodTemplateSpec, Problem> {
    serde_json::from_value(raw.clone()).map_err(|error| {
        Problem::new(Code::InvalidTemplate, format!("the pod template cannot be read: {error}"))
    })
}

/// The volume claim templates in `raw`.
///
/// # Errors
/// [`Code::InvalidTemplate`] naming the index of the first that is none.
pub fn volume_claim_templates(raw: &[Value]) -> Result<Vec<PersistentVolumeClaim>, Problem> {
    raw.iter()
        .enumerate()
        .map(|(index, claim)| {
            serde_json::from_value(claim.clone()).map_err(|error| {
                Problem::new(
                    Code::InvalidTemplate,
                    format!("volumeClaimTemplates[{index}] is not a PersistentVolumeClaim: {error}"),
                )
            })
        })
        .collect()
}
