//! From a mount intent to a CSI request (`storage.md` §2).
//!
//! The caller reads the objects: first the PersistentVolume, then, when [`secret_reference`] names one, the Secret,
//! then [`resolve`]. Everything is checked before any sandbox is touched; no message contains a value of the Secret.

mod access;
mod credentials;
mod driver_list;
mod sub_path;
mod suffix;

use std::collections::BTreeMap;

use csi_api::{NodePublishVolumeRequest, VolumeCapability, volume_capability};
use k8s_openapi::api::core::v1::{CSIPersistentVolumeSource, PersistentVolume, Secret};

use crate::errors::{Code, Problem};
use crate::intents::MountIntent;
use crate::names::{SYSTEM_NAMESPACE, drivers};

pub use access::is_pure_read_only;
pub use driver_list::DriverList;
pub use sub_path::merge_sub_path;
pub use suffix::{SUFFIX_LENGTH, suffix_from};

/// Volume attribute that chooses the way of authentication.
const AUTH_TYPE: &str = "authType";
/// The one way of authentication for which a Secret reference is ignored.
const AGENT_IDENTITY: &str = "agent-identity";

/// Where a Secret is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SecretReference {
    /// Always the system namespace.
    pub namespace: String,
    /// Name of the Secret; may be empty when the PersistentVolume says so, and then no such Secret exists.
    pub name: String,
}

/// One mount, ready to be delivered to a sandbox.
#[derive(Clone, Debug, PartialEq)]
pub struct ResolvedMount {
    /// CSI driver that does it.
    pub driver: String,
    /// What to ask of the driver; its Debug shows no secret.
    pub request: NodePublishVolumeRequest,
    /// Where the user wants it.
    pub mount_path: String,
}

/// The name of the PersistentVolume to read for `intent`.
///
/// # Errors
/// [`Code::VolumeNameMissing`] when it has none.
pub fn volume_name(intent: &MountIntent) -> Result<&str, Problem> {
    if intent.pv_name.is_empty() {
        let message = format!("no found persistent volume name for mount path {}", intent.mount_path);
        return Err(Problem::new(Code::VolumeNameMissing, message));
    }
    Ok(&intent.pv_name)
}

/// The problem to report when the PersistentVolume of that name does not exist.
pub fn volume_not_found(name: &str) -> Problem {
    Problem::new(
        Code::VolumeNotFound,
        format!("failed to get persistent volume object by name {name}: there is no such PersistentVolume"),
    )
    .about(format!("PersistentVolume/{name}"))
}

/// The Secret to read for `volume`, if any (`storage.md` §2.3).
///
/// # Errors
/// [`Code::VolumeNotCsi`], or [`Code::SecretNamespaceForbidden`] naming both namespaces; the Secret must not be read
/// then.
pub fn secret_reference(volume: &PersistentVolume) -> Result<Option<SecretReference>, Problem> {
    let csi = csi_source(volume)?;
    let attributes = csi.volume_attributes.as_ref();
    if attribute(attributes, AUTH_TYPE) == Some(AGENT_IDENTITY) {
        return Ok(None);
    }
    let Some(reference) = &csi.node_publish_secret_ref else { return Ok(None) };
    match reference.namespace.as_deref() {
        None | Some("" | SYSTEM_NAMESPACE) => Ok(Some(SecretReference {
            namespace: SYSTEM_NAMESPACE.to_owned(),
            name: reference.name.clone().unwrap_or_default(),
        })),
        Some(other) => Err(Problem::new(
            Code::SecretNamespaceForbidden,
            format!(
                "invalid node publish secret ref namespace {other} of persistent volume {}: the secret must be in {SYSTEM_NAMESPACE}",
                name_of(volume)
            ),
        )
        .about(object(volume))),
    }
}

/// The CSI request for `intent`. `secret` is what [`secret_reference`] pointed to, or nothing when it does not exist
/// or none is referred to. `suffix` is six random characters of `[a-z0-9]`, new for every resolution.
///
/// # Errors
/// The first failing rule of `storage.md` §2.1, all of them HTTP 400 and none quoting a secret.
pub fn resolve(
    intent: &MountIntent,
    volume: &PersistentVolume,
    secret: Option<&Secret>,
    drivers: &DriverList,
    suffix: &str,
) -> Result<ResolvedMount, Problem> {
    let pv_name = volume_name(intent)?;
    let csi = csi_source(volume)?;
    drivers.check(&csi.driver).map_err(|problem| problem.about(object(volume)))?;
    let reference = secret_reference(volume)?;
    let secrets = match (&reference, secret) {
        (Some(reference), None) => return Err(secret_not_found(volume, reference)),
        (Some(_), Some(secret)) => credentials::values(secret)?,
        (None, _) => BTreeMap::new(),
    };
    let mut volume_context = csi.volume_attributes.clone().unwrap_or_default();
    sub_path::merge_into(&mut volume_context, &intent.sub_path)
        .map_err(|problem| problem.about(object(volume)))?;
    if csi.driver == drivers::OSS {
        credentials::check_oss(volume, reference.as_ref(), &secrets)?;
    }
    let request = NodePublishVolumeRequest {
        volume_id: format!("{pv_name}-{suffix}"),
        target_path: intent.mount_path.clone(),
        volume_capability: Some(capability(volume, csi, intent)),
        readonly: access::is_read_only(intent, volume),
        secrets,
        volume_context,
        ..NodePublishVolumeRequest::default()
    };
    Ok(ResolvedMount { driver: csi.driver.clone(), request, mount_path: intent.mount_path.clone() })
}

fn capability(
    volume: &PersistentVolume,
    csi: &CSIPersistentVolumeSource,
    intent: &MountIntent,
) -> VolumeCapability {
    let mount_flags = volume.spec.as_ref().and_then(|spec| spec.mount_options.clone()).unwrap_or_default();
    VolumeCapability {
        access_type: Some(volume_capability::AccessType::Mount(volume_capability::MountVolume {
            fs_type: csi.fs_type.clone().unwrap_or_default(),
            mount_flags,
            ..Default::default()
        })),
        access_mode: Some(volume_capability::AccessMode { mode: access::mode(intent, volume).into() }),
    }
}

/// The CSI section of `volume`.
///
/// # Errors
/// [`Code::VolumeNotCsi`] when it has none.
pub fn csi_source(volume: &PersistentVolume) -> Result<&CSIPersistentVolumeSource, Problem> {
    volume.spec.as_ref().and_then(|spec| spec.csi.as_ref()).ok_or_else(|| {
        Problem::new(
            Code::VolumeNotCsi,
            format!("no found csi object in persistent volume {}", name_of(volume)),
        )
        .about(object(volume))
    })
}

fn secret_not_found(volume: &PersistentVolume, reference: &SecretReference) -> Problem {
    Problem::new(
        Code::SecretNotFound,
        format!(
            "failed to get secret object {}/{} of persistent volume {}: there is no such Secret",
            reference.namespace,
            reference.name,
            name_of(volume)
        ),
    )
    .about(format!("Secret/{}/{}", reference.namespace, reference.name))
}

/// The value of the attribute of that name, in any letter case; the exact name first.
fn attribute<'a>(attributes: Option<&'a BTreeMap<String, String>>, name: &str) -> Option<&'a str> {
    let attributes = attributes?;
    let key = attribute_key(attributes, name)?;
    attributes.get(key).map(String::as_str)
}

/// The key under which `attributes` have `name`, in any letter case; the exact name first.
fn attribute_key<'a>(attributes: &'a BTreeMap<String, String>, name: &str) -> Option<&'a str> {
    let exact = attributes.get_key_value(name);
    exact
        .or_else(|| attributes.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)))
        .map(|(key, _)| key.as_str())
}

fn name_of(volume: &PersistentVolume) -> &str {
    volume.metadata.name.as_deref().unwrap_or_default()
}

fn object(volume: &PersistentVolume) -> String {
    format!("PersistentVolume/{}", name_of(volume))
}
