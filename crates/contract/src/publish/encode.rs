//! Writing protobuf JSON.

use csi_api::volume_capability::{AccessMode, AccessType, MountVolume, access_mode};
use csi_api::{NodePublishVolumeRequest, VolumeCapability};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;

/// The request as protobuf JSON. The result holds the secrets: never log it.
pub fn to_json(request: &NodePublishVolumeRequest) -> Value {
    let mut object = Map::new();
    put_text(&mut object, "volumeId", &request.volume_id);
    put_map(&mut object, "publishContext", &request.publish_context);
    put_text(&mut object, "stagingTargetPath", &request.staging_target_path);
    put_text(&mut object, "targetPath", &request.target_path);
    if let Some(capability) = &request.volume_capability {
        object.insert("volumeCapability".to_owned(), capability_to_json(capability));
    }
    if request.readonly {
        object.insert("readonly".to_owned(), Value::Bool(true));
    }
    put_map(&mut object, "secrets", &request.secrets);
    put_map(&mut object, "volumeContext", &request.volume_context);
    Value::Object(object)
}

fn capability_to_json(capability: &VolumeCapability) -> Value {
    let mut object = Map::new();
    match &capability.access_type {
        Some(AccessType::Block(_)) => {
            object.insert("block".to_owned(), json!({}));
        }
        Some(AccessType::Mount(mount)) => {
            object.insert("mount".to_owned(), mount_to_json(mount));
        }
        None => {}
    }
    if let Some(access_mode) = &capability.access_mode {
        object.insert("accessMode".to_owned(), access_mode_to_json(*access_mode));
    }
    Value::Object(object)
}

fn mount_to_json(mount: &MountVolume) -> Value {
    let mut object = Map::new();
    put_text(&mut object, "fsType", &mount.fs_type);
    if !mount.mount_flags.is_empty() {
        object.insert("mountFlags".to_owned(), json!(mount.mount_flags));
    }
    put_text(&mut object, "volumeMountGroup", &mount.volume_mount_group);
    Value::Object(object)
}

fn access_mode_to_json(access_mode: AccessMode) -> Value {
    match access_mode::Mode::try_from(access_mode.mode) {
        Ok(access_mode::Mode::Unknown) => json!({}),
        Ok(mode) => json!({"mode": mode.as_str_name()}),
        Err(_) => json!({"mode": access_mode.mode}),
    }
}

fn put_text(object: &mut Map<String, Value>, name: &str, text: &str) {
    if !text.is_empty() {
        object.insert(name.to_owned(), Value::String(text.to_owned()));
    }
}

fn put_map(object: &mut Map<String, Value>, name: &str, map: &BTreeMap<String, String>) {
    if !map.is_empty() {
        object.insert(name.to_owned(), json!(map));
    }
}
