//! What a Secret must hold for OSS, and what a volume must not (`storage.md` §2.3).

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{PersistentVolume, Secret};

use super::{AUTH_TYPE, SecretReference, attribute, csi_source, name_of, object};
use crate::errors::{Code, Problem};

/// The keys of an AccessKey pair.
const PAIR: [&str; 2] = ["akId", "akSecret"];
/// The pair that counts only when both of [`PAIR`] are blank; any letter case.
const ALTERNATIVE_PAIR: [&str; 2] = ["AccessKeyId", "AccessKeySecret"];
/// Marks temporary credentials, which the product does not support.
const SECURITY_TOKEN: &str = "SecurityToken";

/// Every key of the Secret's data as text.
pub(super) fn values(secret: &Secret) -> Result<BTreeMap<String, String>, Problem> {
    let data = secret.data.iter().flatten();
    data.map(|(key, value)| match String::from_utf8(value.0.clone()) {
        Ok(text) => Ok((key.clone(), text)),
        Err(_) => Err(Problem::new(
            Code::SecretKeyMissing,
            format!("the value of key {key} in the secret is not text"),
        )),
    })
    .collect()
}

/// Refuses an OSS volume that does not authenticate with an AccessKey from a Secret.
pub(super) fn check_oss(
    volume: &PersistentVolume,
    reference: Option<&SecretReference>,
    secrets: &BTreeMap<String, String>,
) -> Result<(), Problem> {
    check_attributes(volume)?;
    let Some(reference) = reference else {
        let message = format!(
            "oss secret is required: persistent volume {} has no nodePublishSecretRef",
            name_of(volume)
        );
        return Err(Problem::new(Code::SecretReferenceMissing, message).about(object(volume)));
    };
    check_keys(secrets).map_err(|(code, reason)| {
        let name = format!("{}/{}", reference.namespace, reference.name);
        Problem::new(code, format!("the secret {name} of persistent volume {} {reason}", name_of(volume)))
            .about(format!("Secret/{name}"))
    })
}

fn check_attributes(volume: &PersistentVolume) -> Result<(), Problem> {
    let attributes = csi_source(volume)?.volume_attributes.as_ref();
    if let Some(auth_type) = attribute(attributes, AUTH_TYPE).filter(|value| !value.is_empty()) {
        let message = format!(
            "authType {auth_type:?} of persistent volume {} is not supported: OSS mounts authenticate with an AccessKey only",
            name_of(volume)
        );
        return Err(Problem::new(Code::AuthTypeNotSupported, message).about(object(volume)));
    }
    match PAIR.iter().find(|key| attribute(attributes, key).is_some()) {
        Some(key) => {
            let message = format!(
                "persistent volume {} has {key} among its volumeAttributes: credentials belong into a Secret",
                name_of(volume)
            );
            Err(Problem::new(Code::CredentialsInAttributes, message).about(object(volume)))
        }
        None => Ok(()),
    }
}

fn check_keys(secrets: &BTreeMap<String, String>) -> Result<(), (Code, String)> {
    let is_blank = |key: &str| secrets.get(key).is_none_or(|value| value.trim().is_empty());
    let blank: Vec<&str> = PAIR.into_iter().filter(|key| is_blank(key)).collect();
    match blank.as_slice() {
        [] => Ok(()),
        [_, _] if has_alternative_pair(secrets) => check_no_token(secrets),
        [one] => Err((Code::SecretKeyMissing, format!("lacks the key {one}, or its value is blank"))),
        _ => Err((
            Code::SecretKeyMissing,
            format!("lacks the keys {}, or their values are blank", blank.join(" and ")),
        )),
    }
}

fn any_case<'a>(secrets: &'a BTreeMap<String, String>, name: &str) -> Option<&'a str> {
    let filled = secrets.iter().filter(|(_, value)| !value.trim().is_empty());
    filled.into_iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
}

fn has_alternative_pair(secrets: &BTreeMap<String, String>) -> bool {
    ALTERNATIVE_PAIR.iter().all(|key| any_case(secrets, key).is_some())
}

fn check_no_token(secrets: &BTreeMap<String, String>) -> Result<(), (Code, String)> {
    match any_case(secrets, SECURITY_TOKEN) {
        None => Ok(()),
        Some(_) => Err((
            Code::AuthTypeNotSupported,
            "has a SecurityToken: temporary credentials are not supported, use an AccessKey".to_owned(),
        )),
    }
}
