//! Secrets and config maps.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde_json::{Value, json};

use super::default;
use crate::error::Cause;

/// `stringData` becomes `data`, as the write-only convenience that it is.
pub(super) fn complete(secret: &mut Value) {
    let plain = secret.as_object_mut().and_then(|members| members.remove("stringData"));
    for (key, value) in plain.as_ref().and_then(Value::as_object).into_iter().flatten() {
        if !secret["data"].is_object() {
            secret["data"] = json!({});
        }
        secret["data"][key] = BASE64_STANDARD.encode(value.as_str().unwrap_or_default()).into();
    }
    default(secret, "type", "Opaque");
}

pub(super) fn check(secret: &Value, current: Option<&Value>) -> Vec<Cause> {
    let mut causes = Vec::new();
    for (key, value) in secret["data"].as_object().into_iter().flatten() {
        // The value is not shown: it may be half a secret.
        if value.as_str().is_none_or(|text| BASE64_STANDARD.decode(text).is_err()) {
            causes.push(Cause::invalid(format!("data[{key}]"), &"<omitted>".into(), "must be base64"));
        }
        if key.is_empty()
            || !key.chars().all(|letter| letter.is_ascii_alphanumeric() || "-_.".contains(letter))
        {
            let detail = "a valid config key must consist of alphanumeric characters, '-', '_' or '.'";
            causes.push(Cause::invalid(format!("data[{key}]"), &key.clone().into(), detail));
        }
    }
    if let Some(current) = current {
        if current["type"] != secret["type"] {
            causes.push(Cause::invalid("type", &secret["type"], "field is immutable"));
        }
        causes.extend(check_immutable(secret, Some(current)));
    }
    causes
}

/// What was marked immutable stays as it is.
pub(super) fn check_immutable(object: &Value, current: Option<&Value>) -> Vec<Cause> {
    let Some(current) = current.filter(|current| current["immutable"] == true) else { return Vec::new() };
    let detail = "field is immutable when `immutable` is set";
    ["immutable", "data", "binaryData"]
        .into_iter()
        .filter(|member| object[*member] != current[*member])
        .map(|member| Cause::forbidden(member, detail))
        .collect()
}
