//! Extension keys of a create request other than the mount keys (`e2b-api.md` §6.1).

use std::collections::BTreeMap;

use jiff::SignedDuration;

use crate::duration;
use crate::errors::{Code, Problem};
use crate::names::{E2B_PREFIX, INTERNAL_PREFIX, metadata_keys as keys};
use crate::quantity;

/// How long something is kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Retention {
    /// Not at all.
    #[default]
    Never,
    /// Until somebody deletes it.
    Forever,
    /// That long.
    For(SignedDuration),
}

/// The extension keys of one request.
#[derive(Clone, Debug, Default, PartialEq)]
#[allow(clippy::struct_excessive_bools, reason = "each is a key of its own on the wire")]
pub struct Extensions {
    /// Limit of the claim in seconds; absent or not positive: none.
    pub claim_timeout_seconds: Option<i64>,
    /// Limit of readiness in seconds; absent or not positive: none.
    pub wait_ready_timeout_seconds: Option<i64>,
    /// CPU request of the first container, a Kubernetes quantity above zero.
    pub cpu_request: Option<String>,
    /// CPU limit of the first container, a Kubernetes quantity above zero.
    pub cpu_limit: Option<String>,
    /// Image of the first container.
    pub image: Option<String>,
    /// No envd initialisation and no access token.
    pub skip_init_runtime: bool,
    /// How long a sandbox whose claim failed is kept.
    pub reserve_failed_sandbox: Retention,
    /// How long a paused sandbox is kept, as it is stored: `forever` or a Go duration above zero.
    pub reserve_paused_sandbox_duration: Option<String>,
    /// Whether no sandbox may be built when the pool is empty.
    pub no_create_on_no_stock: bool,
    /// No deadline at all.
    pub never_timeout: bool,
    /// Adds `sandbox-ip` to the returned metadata.
    pub return_sandbox_ip: bool,
    /// Name of a clone; refused for templates by the caller.
    pub sandbox_name: Option<String>,
    /// Name prefix of a clone; refused for templates by the caller.
    pub sandbox_generate_name: Option<String>,
    /// Labels for the sandbox and its pod, from `label:` entries.
    pub labels: BTreeMap<String, String>,
}

impl Extensions {
    /// Whether a sandbox may be built when the pool is empty.
    pub fn create_on_no_stock(&self) -> bool {
        !self.no_create_on_no_stock
    }
}

/// Takes the extension keys (all but the mount keys) and the `label:` entries out of `metadata`.
///
/// # Errors
/// [`Code::InvalidParameter`] naming the key whose value can't be used.
pub fn parse(metadata: &mut BTreeMap<String, String>) -> Result<Extensions, Problem> {
    let labels = take_labels(metadata)?;
    let mut take = |key: &str| metadata.remove(key);
    let is = |value: Option<String>, word: &str| value.as_deref() == Some(word);
    let skip_init_runtime = is(take(keys::SKIP_INIT_RUNTIME), "true");
    let never_timeout = is(take(keys::NEVER_TIMEOUT), "true");
    let return_sandbox_ip = is(take(keys::RETURN_SANDBOX_IP), "true");
    let no_create_on_no_stock = is(take(keys::CREATE_ON_NO_STOCK), "false");
    let old_reserve = is(take(keys::RESERVE_FAILED_SANDBOX), "true");
    let parsed = Extensions {
        labels,
        skip_init_runtime,
        never_timeout,
        return_sandbox_ip,
        no_create_on_no_stock,
        claim_timeout_seconds: seconds(keys::CLAIM_TIMEOUT_SECONDS, take(keys::CLAIM_TIMEOUT_SECONDS))?,
        wait_ready_timeout_seconds: seconds(
            keys::WAIT_READY_TIMEOUT_SECONDS,
            take(keys::WAIT_READY_TIMEOUT_SECONDS),
        )?,
        reserve_failed_sandbox: failed_retention(
            old_reserve,
            take(keys::RESERVE_FAILED_SANDBOX_FOR).as_deref(),
        )?,
        reserve_paused_sandbox_duration: take(keys::RESERVE_PAUSED_SANDBOX_DURATION)
            .map(|value| paused_retention(keys::RESERVE_PAUSED_SANDBOX_DURATION, value))
            .transpose()?,
        sandbox_name: dns_label(keys::SANDBOX_NAME, take(keys::SANDBOX_NAME))?,
        sandbox_generate_name: dns_label(keys::SANDBOX_GENERATE_NAME, take(keys::SANDBOX_GENERATE_NAME))?,
        cpu_request: cpu(keys::CPU_REQUEST, take(keys::CPU_REQUEST))?,
        cpu_limit: cpu(keys::CPU_LIMIT, take(keys::CPU_LIMIT))?,
        image: image(take(keys::IMAGE))?,
    };
    if parsed.sandbox_name.is_some() && parsed.sandbox_generate_name.is_some() {
        return Err(bad(keys::SANDBOX_NAME, "excludes sandbox-generate-name"));
    }
    Ok(parsed)
}

/// Checks a retention of paused sandboxes, from metadata key or header `key`: `forever` or a Go duration above zero.
///
/// # Errors
/// [`Code::InvalidParameter`].
pub fn paused_retention(key: &str, value: String) -> Result<String, Problem> {
    let positive = || duration::parse(&value).is_some_and(|duration| duration.is_positive());
    if value == "forever" || positive() {
        return Ok(value);
    }
    Err(bad(key, "must be forever or a duration above zero, such as 1h30m"))
}

/// Whether `key` is `[prefix/]name`: a DNS subdomain, a slash, and at most 63 of `[A-Za-z0-9._-]` that begin and
/// end with a letter or digit.
pub fn is_qualified_name(key: &str) -> bool {
    let (prefix, name) = match key.split_once('/') {
        Some((prefix, name)) => (Some(prefix), name),
        None => (None, key),
    };
    prefix.is_none_or(is_dns_subdomain) && !name.is_empty() && is_label_value(name)
}

/// Whether `value` may be a label's value: empty, or at most 63 of `[A-Za-z0-9._-]` that begin and end with a letter
/// or digit.
pub fn is_label_value(value: &str) -> bool {
    let bytes = value.as_bytes();
    let edge = |byte: Option<&u8>| byte.is_none_or(u8::is_ascii_alphanumeric);
    bytes.len() <= 63
        && edge(bytes.first())
        && edge(bytes.last())
        && bytes.iter().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(byte))
}

/// Whether `name` is a DNS label: at most 63 lower-case letters, digits and dashes, no dash at either end.
pub fn is_dns_label(name: &str) -> bool {
    let bytes = name.as_bytes();
    let plain = |byte: &u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    (1..=63).contains(&bytes.len())
        && bytes.iter().all(|byte| plain(byte) || *byte == b'-')
        && bytes.first().is_some_and(plain)
        && bytes.last().is_some_and(plain)
}

/// Whether `name` is a DNS subdomain: DNS labels joined by dots, at most 253 characters.
pub fn is_dns_subdomain(name: &str) -> bool {
    name.len() <= 253 && name.split('.').all(is_dns_label)
}

fn bad(key: &str, reason: &str) -> Problem {
    Problem::new(Code::InvalidParameter, format!("{key} {reason}"))
}

fn seconds(key: &str, value: Option<String>) -> Result<Option<i64>, Problem> {
    value.map(|value| value.parse().map_err(|_| bad(key, "must be a whole number of seconds"))).transpose()
}

fn failed_retention(old: bool, value: Option<&str>) -> Result<Retention, Problem> {
    match value {
        None if old => Ok(Retention::Forever),
        None | Some("never") => Ok(Retention::Never),
        Some("forever") => Ok(Retention::Forever),
        Some(text) => match duration::parse(text) {
            Some(duration) if duration.is_zero() => Ok(Retention::Never),
            Some(duration) if duration.is_positive() => Ok(Retention::For(duration)),
            _ => Err(bad(
                keys::RESERVE_FAILED_SANDBOX_FOR,
                "must be never, forever or a duration such as 1h30m",
            )),
        },
    }
}

fn dns_label(key: &str, value: Option<String>) -> Result<Option<String>, Problem> {
    match value {
        Some(name) if !is_dns_label(name.strip_suffix('-').unwrap_or(&name)) => {
            Err(bad(key, "must be a DNS label: at most 63 lower-case letters, digits and dashes"))
        }
        Some(name) if key == keys::SANDBOX_NAME && name.ends_with('-') => {
            Err(bad(key, "must be a DNS label: it cannot end with a dash"))
        }
        other => Ok(other),
    }
}

fn cpu(key: &str, value: Option<String>) -> Result<Option<String>, Problem> {
    match value {
        Some(text) if !quantity::is_positive(&text) => {
            Err(bad(key, "must be a quantity above zero, such as 500m"))
        }
        other => Ok(other),
    }
}

fn image(value: Option<String>) -> Result<Option<String>, Problem> {
    match value {
        Some(image)
            if image.is_empty()
                || image.chars().any(|character| character.is_whitespace() || character.is_control()) =>
        {
            Err(bad(keys::IMAGE, "must be an image reference"))
        }
        other => Ok(other),
    }
}

fn take_labels(metadata: &mut BTreeMap<String, String>) -> Result<BTreeMap<String, String>, Problem> {
    let entries: Vec<String> =
        metadata.keys().filter(|key| key.starts_with(keys::LABEL_PREFIX)).cloned().collect();
    let mut labels = BTreeMap::new();
    for entry in entries {
        let value = metadata.remove(&entry).unwrap_or_default();
        let key = entry[keys::LABEL_PREFIX.len()..].to_owned();
        if key.starts_with(E2B_PREFIX) || key.starts_with(INTERNAL_PREFIX) {
            return Err(bad(&entry, "uses a reserved prefix"));
        }
        if !is_qualified_name(&key) {
            return Err(bad(&entry, "is not a label key: use [prefix/]name"));
        }
        if !is_label_value(&value) {
            return Err(bad(&entry, "has a value that no label can have"));
        }
        labels.insert(key, value);
    }
    Ok(labels)
}
