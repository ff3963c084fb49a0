//! The JSON array of mounts, as users write it and as it is kept in the annotation (`storage.md` §1.4, §7.1).
//!
//! Reading is as lenient as Go's decoder: unknown members are ignored, `null` is absence, the last of a repeated
//! member counts, letter case of names is ignored. Errors name the key and the place, never the raw value: users
//! paste secrets by mistake.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::MountIntent;
use crate::errors::{Code, Problem};
use crate::names::annotations;

/// The text of annotation `csi-volume-config`: the effective intents, optional members left out when empty.
pub fn encode_annotation(intents: &[MountIntent]) -> String {
    serde_json::to_string(intents).unwrap_or_else(|_| "[]".to_owned())
}

/// The intents in annotation `csi-volume-config`.
///
/// # Errors
/// [`Code::InvalidMountConfig`] when it is not a JSON array of mounts.
pub fn decode_annotation(text: &str) -> Result<Vec<MountIntent>, Problem> {
    decode(text, annotations::CSI_VOLUME_CONFIG)
}

/// The intents in `text`, which `key` holds.
pub(super) fn decode(text: &str, key: &str) -> Result<Vec<MountIntent>, Problem> {
    let invalid = |reason: String| {
        Problem::new(Code::InvalidMountConfig, format!("invalid multiCsiMountConfig: {key} {reason}"))
    };
    if text.trim().is_empty() {
        return Err(invalid("is empty, it must hold a JSON array".to_owned()));
    }
    let value: Value = serde_json::from_str(text).map_err(|error| {
        invalid(format!("is not JSON at line {} column {}", error.line(), error.column()))
    })?;
    match value {
        Value::Null => Ok(Vec::new()),
        Value::Array(items) => {
            items.into_iter().enumerate().map(|(index, item)| element(index, item).map_err(invalid)).collect()
        }
        other => Err(invalid(format!("must hold a JSON array, not {}", kind(&other)))),
    }
}

fn element(index: usize, item: Value) -> Result<MountIntent, String> {
    let members = match item {
        Value::Null => Map::new(),
        Value::Object(members) => members,
        other => return Err(format!("element {index} must be an object, not {}", kind(&other))),
    };
    let reader = Members { index, members };
    Ok(MountIntent {
        mount_id: reader.text("mountID")?,
        pv_name: reader.text("pvName")?,
        mount_path: reader.text("mountPath")?,
        sub_path: reader.text("subPath")?,
        read_only: reader.flag("readOnly")?,
        attributes: reader.texts("attributes")?,
    })
}

/// The members of one element.
struct Members {
    index: usize,
    members: Map<String, Value>,
}

impl Members {
    /// The member of exactly that name, otherwise of that name in another letter case; null is absence.
    fn get(&self, name: &str) -> Option<&Value> {
        let other_case =
            || self.members.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value);
        self.members.get(name).or_else(other_case).filter(|value| !value.is_null())
    }

    fn wrong(&self, name: &str, expected: &str, found: &Value) -> String {
        format!("element {} member {name} must be {expected}, not {}", self.index, kind(found))
    }

    fn text(&self, name: &str) -> Result<String, String> {
        match self.get(name) {
            None => Ok(String::new()),
            Some(Value::String(text)) => Ok(text.clone()),
            Some(other) => Err(self.wrong(name, "a string", other)),
        }
    }

    fn flag(&self, name: &str) -> Result<bool, String> {
        match self.get(name) {
            None => Ok(false),
            Some(Value::Bool(flag)) => Ok(*flag),
            Some(other) => Err(self.wrong(name, "a boolean", other)),
        }
    }

    fn texts(&self, name: &str) -> Result<BTreeMap<String, String>, String> {
        let entries = match self.get(name) {
            None => return Ok(BTreeMap::new()),
            Some(Value::Object(entries)) => entries,
            Some(other) => return Err(self.wrong(name, "an object of strings", other)),
        };
        entries
            .iter()
            .filter(|(_, value)| !value.is_null())
            .map(|(key, value)| match value {
                Value::String(text) => Ok((key.clone(), text.clone())),
                other => Err(self.wrong(name, "an object of strings", other)),
            })
            .collect()
    }
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "an array",
        Value::Object(_) => "an object",
    }
}
