//! Reading protobuf JSON.

use std::collections::BTreeMap;

use csi_api::volume_capability::{AccessMode, AccessType, BlockVolume, MountVolume, access_mode};
use csi_api::{NodePublishVolumeRequest, VolumeCapability};
use serde_json::{Map, Value};

use crate::errors::{Code, Problem};

/// The request that `value` writes as protobuf JSON.
///
/// # Errors
/// [`Code::InvalidPublishRequest`] naming the field; never a value. Null is no request: callers answer that
/// themselves.
pub fn from_json(value: &Value) -> Result<NodePublishVolumeRequest, Problem> {
    let mut fields = Fields::of(value, "")?;
    let request = NodePublishVolumeRequest {
        volume_id: fields.text("volumeId", "volume_id")?,
        publish_context: fields.map("publishContext", "publish_context")?,
        staging_target_path: fields.text("stagingTargetPath", "staging_target_path")?,
        target_path: fields.text("targetPath", "target_path")?,
        volume_capability: fields.message("volumeCapability", "volume_capability", capability)?,
        readonly: fields.flag("readonly")?,
        secrets: fields.map("secrets", "secrets")?,
        volume_context: fields.map("volumeContext", "volume_context")?,
    };
    fields.finish()?;
    Ok(request)
}

fn capability(mut fields: Fields) -> Result<VolumeCapability, Problem> {
    let block = fields.message("block", "block", |inner| inner.finish().map(|()| BlockVolume {}))?;
    let mount = fields.message("mount", "mount", mount)?;
    let access_mode = fields.message("accessMode", "access_mode", access_mode)?;
    let access_type = match (block, mount) {
        (Some(_), Some(_)) => {
            return Err(invalid("volumeCapability has both block and mount, one is allowed"));
        }
        (Some(block), None) => Some(AccessType::Block(block)),
        (None, Some(mount)) => Some(AccessType::Mount(mount)),
        (None, None) => None,
    };
    fields.finish()?;
    Ok(VolumeCapability { access_mode, access_type })
}

fn mount(mut fields: Fields) -> Result<MountVolume, Problem> {
    let mount = MountVolume {
        fs_type: fields.text("fsType", "fs_type")?,
        mount_flags: fields.texts("mountFlags", "mount_flags")?,
        volume_mount_group: fields.text("volumeMountGroup", "volume_mount_group")?,
    };
    fields.finish()?;
    Ok(mount)
}

fn access_mode(mut fields: Fields) -> Result<AccessMode, Problem> {
    let place = fields.place("mode");
    let mode = match fields.take("mode", "mode")? {
        None => 0,
        Some(Value::String(name)) => access_mode::Mode::from_str_name(&name)
            .ok_or_else(|| invalid(&format!("{place} is no known access mode")))?
            .into(),
        Some(Value::Number(number)) => number
            .as_i64()
            .and_then(|number| i32::try_from(number).ok())
            .ok_or_else(|| invalid(&format!("{place} is no 32-bit number")))?,
        Some(_) => return Err(invalid(&format!("{place} must be a name or a number"))),
    };
    fields.finish()?;
    Ok(AccessMode { mode })
}

/// The members of one message that have not been read yet, and where the message is.
struct Fields {
    place: String,
    members: Map<String, Value>,
}

impl Fields {
    fn of(value: &Value, place: &str) -> Result<Self, Problem> {
        match value {
            Value::Object(members) => Ok(Self { place: place.to_owned(), members: members.clone() }),
            _ if place.is_empty() => Err(invalid("publishRequest must be an object")),
            _ => Err(invalid(&format!("{place} must be an object"))),
        }
    }

    fn place(&self, name: &str) -> String {
        if self.place.is_empty() { name.to_owned() } else { format!("{}.{name}", self.place) }
    }

    /// Removes the member under either of its names; null is absence, both names at once are an error.
    fn take(&mut self, json_name: &str, proto_name: &str) -> Result<Option<Value>, Problem> {
        let value = self.members.remove(json_name);
        let other = if json_name == proto_name { None } else { self.members.remove(proto_name) };
        if value.is_some() && other.is_some() {
            return Err(invalid(&format!("{} is given twice", self.place(json_name))));
        }
        Ok(value.or(other).filter(|value| !value.is_null()))
    }

    fn text(&mut self, json_name: &str, proto_name: &str) -> Result<String, Problem> {
        match self.take(json_name, proto_name)? {
            None => Ok(String::new()),
            Some(Value::String(text)) => Ok(text),
            Some(_) => Err(invalid(&format!("{} must be a string", self.place(json_name)))),
        }
    }

    fn flag(&mut self, name: &str) -> Result<bool, Problem> {
        match self.take(name, name)? {
            None => Ok(false),
            Some(Value::Bool(flag)) => Ok(flag),
            Some(_) => Err(invalid(&format!("{} must be a boolean", self.place(name)))),
        }
    }

    fn texts(&mut self, json_name: &str, proto_name: &str) -> Result<Vec<String>, Problem> {
        let wrong = invalid(&format!("{} must be a list of strings", self.place(json_name)));
        match self.take(json_name, proto_name)? {
            None => Ok(Vec::new()),
            Some(Value::Array(items)) => items
                .into_iter()
                .map(|item| match item {
                    Value::String(text) => Ok(text),
                    _ => Err(wrong.clone()),
                })
                .collect(),
            Some(_) => Err(wrong),
        }
    }

    fn map(&mut self, json_name: &str, proto_name: &str) -> Result<BTreeMap<String, String>, Problem> {
        let wrong = invalid(&format!("{} must be an object of strings", self.place(json_name)));
        match self.take(json_name, proto_name)? {
            None => Ok(BTreeMap::new()),
            Some(Value::Object(entries)) => entries
                .into_iter()
                .map(|(key, value)| match value {
                    Value::String(text) => Ok((key, text)),
                    _ => Err(wrong.clone()),
                })
                .collect(),
            Some(_) => Err(wrong),
        }
    }

    fn message<T>(
        &mut self,
        json_name: &str,
        proto_name: &str,
        read: impl FnOnce(Self) -> Result<T, Problem>,
    ) -> Result<Option<T>, Problem> {
        let place = self.place(json_name);
        match self.take(json_name, proto_name)? {
            None => Ok(None),
            Some(value) => read(Self::of(&value, &place)?).map(Some),
        }
    }

    /// Refuses what nobody read. Names are shown, shortened: an unknown name can't hold a secret unless a value was
    /// pasted in its place.
    fn finish(self) -> Result<(), Problem> {
        match self.members.keys().next() {
            None => Ok(()),
            Some(name) => {
                let name: String = name.chars().take(40).flat_map(char::escape_debug).collect();
                Err(invalid(&format!("{} is an unknown field", self.place(&name))))
            }
        }
    }
}

fn invalid(reason: &str) -> Problem {
    Problem::new(Code::InvalidPublishRequest, format!("the publish request cannot be decoded: {reason}"))
}
