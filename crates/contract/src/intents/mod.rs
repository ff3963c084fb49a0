//! What a create request asks to mount (`storage.md` §1).
//!
//! ```text
//! A  metadata csi-volume-name, csi-mount-point, csi-subpath   one mount (old protocol)
//! B  metadata csi-volume-config                               a JSON array in text (new protocol)
//! C  body volumeMounts                                        a list of {name, path}
//! ```
//! B beats A beats C, nothing is merged, and a malformed B is an error, never a fallback. C is checked even when it
//! loses; A is dropped unseen when B is there. All keys consumed are removed from the metadata.

mod json_list;
mod mount_path;
mod set_checks;

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::errors::{Code, Problem};
use crate::names::metadata_keys as keys;

pub use crate::crd::CsiMountConfig as MountIntent;
pub use json_list::{decode_annotation, encode_annotation};
pub use mount_path::{COMPONENT_LIMIT, PATH_LIMIT, RESERVED_TREES, check_mount_path};
pub use set_checks::{ANNOTATION_LIMIT, MOUNT_LIMIT, check_set};

/// One entry of the body list C. `name` is a PersistentVolume's name, verbatim. Unknown members are ignored.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
pub struct VolumeMount {
    /// Name of the PersistentVolume.
    #[serde(default)]
    pub name: String,
    /// Mount path.
    #[serde(default)]
    pub path: String,
}

/// The mounts that a request asks for, with every check that needs no cluster. Removes the mount keys it consumed
/// from `metadata`; a `csi-subpath` on its own is left for [`crate::request::check_remaining`] to refuse.
///
/// # Errors
/// The first problem in the order of `storage.md` §1.2; never quotes a raw value of `csi-volume-config`.
pub fn parse_request(
    metadata: &mut BTreeMap<String, String>,
    volume_mounts: &[VolumeMount],
) -> Result<Vec<MountIntent>, Problem> {
    let from_body = check_body_list(volume_mounts)?;
    let effective = match parse_metadata(metadata)? {
        Some(from_metadata) => from_metadata,
        None => from_body,
    };
    check_set(&effective)?;
    Ok(effective)
}

/// Surface C: checks the entries and turns them into intents (`storage.md` §1.7).
///
/// # Errors
/// An empty name, an unusable path or a repeated path, each with the entry's index.
pub fn check_body_list(volume_mounts: &[VolumeMount]) -> Result<Vec<MountIntent>, Problem> {
    let mut intents: Vec<MountIntent> = Vec::with_capacity(volume_mounts.len());
    for (index, mount) in volume_mounts.iter().enumerate() {
        if mount.name.is_empty() {
            let message = format!("volumeMounts[{index}].name cannot be empty");
            return Err(Problem::new(Code::VolumeNameMissing, message));
        }
        check_mount_path(&mount.path)
            .map_err(|problem| problem.within(&format!("volumeMounts[{index}].path is invalid")))?;
        if intents.iter().any(|earlier| earlier.mount_path == mount.path) {
            let message = format!("volumeMounts[{index}].path {} is duplicated", mount.path);
            return Err(Problem::new(Code::DuplicateMountPath, message));
        }
        intents.push(MountIntent {
            pv_name: mount.name.clone(),
            mount_path: mount.path.clone(),
            ..MountIntent::default()
        });
    }
    Ok(intents)
}

/// Surfaces B and A (`storage.md` §1.3, §1.6): nothing when neither is given. Removes the keys it consumed.
///
/// # Errors
/// A malformed list, half of the old keys, or an unusable mount path.
pub fn parse_metadata(metadata: &mut BTreeMap<String, String>) -> Result<Option<Vec<MountIntent>>, Problem> {
    if let Some(list) = metadata.remove(keys::CSI_VOLUME_CONFIG) {
        for old in [keys::CSI_VOLUME_NAME, keys::CSI_MOUNT_POINT, keys::CSI_SUBPATH] {
            metadata.remove(old);
        }
        let intents = json_list::decode(&list, keys::CSI_VOLUME_CONFIG)?;
        for intent in &intents {
            check_metadata_path(&intent.mount_path)?;
        }
        return Ok(Some(intents));
    }
    parse_old_keys(metadata)
}

fn parse_old_keys(metadata: &mut BTreeMap<String, String>) -> Result<Option<Vec<MountIntent>>, Problem> {
    let name = metadata.remove(keys::CSI_VOLUME_NAME);
    let mount_point = metadata.remove(keys::CSI_MOUNT_POINT);
    match (name, mount_point) {
        (None, None) => Ok(None),
        (Some(pv_name), Some(mount_path)) => {
            let sub_path = metadata.remove(keys::CSI_SUBPATH).unwrap_or_default();
            check_metadata_path(&mount_path)?;
            Ok(Some(vec![MountIntent { pv_name, mount_path, sub_path, ..MountIntent::default() }]))
        }
        _ => Err(Problem::new(
            Code::IncompleteMountKeys,
            format!("{} and {} must exist together", keys::CSI_VOLUME_NAME, keys::CSI_MOUNT_POINT),
        )),
    }
}

fn check_metadata_path(path: &str) -> Result<(), Problem> {
    check_mount_path(path).map_err(|problem| {
        problem.within(&format!("invalid containerMountPoint [{}]", mount_path::shown(path)))
    })
}
