//! What must be true: of a step's outcome, and of the journal.

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::Period;

/// What a step's outcome must be: a mapping is compared member by member, with further members allowed; a list item
/// by item, with the same length; a mapping of matchers (`contains`, `matches`, `absent`, `oneOf`, `greaterThan`,
/// `lessThan`, `not`, `length`, `exactly`, `startsWith`, `endsWith`) asks its questions of the value.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(transparent)]
pub struct Expect(pub Value);

impl JsonSchema for Expect {
    fn schema_name() -> Cow<'static, str> {
        "Expect".into()
    }

    fn json_schema(_generator: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "What the outcome must be. A mapping is compared member by member, further members are \
                allowed; a list item by item, with the same length; a mapping of matchers asks its questions.",
            "type": ["object", "array"],
        })
    }
}

/// Which entries of the journal are meant. What is left out is not looked at.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Pattern {
    /// Who reported it: `kubernetes`, `e2b`, `csi`, `mounts`, `process`, `oss`, `nas`, `network`, `fault`, `lab`, `agent`, `scenario`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// What happened: `ADDED`, `MODIFIED`, `DELETED`, `NodePublishVolume`, `mounted`, …
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
    /// To which object: `Kind/namespace/name` or a path; `*` stands for any text without a slash, `**` for any text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<String>,
    /// What the particulars must have, as in a step's `expect`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub body: Option<Value>,
    /// A Kubernetes event; short for the source, the subject and the body that one has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub event: Option<EventPattern>,
}

/// A Kubernetes event.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct EventPattern {
    /// `Normal` or `Warning`.
    #[serde(rename = "type", default, skip_serializing_if = "Option::is_none")]
    pub type_: Option<String>,
    /// Its reason, such as `FailedMount`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<Value>,
    /// Its message.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<Value>,
}

/// An entry that must come.
#[derive(Clone, Debug, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Eventually {
    /// Which entry. One that came before counts as well.
    pub entry: Pattern,
    /// How long to wait; absent means the limit `eventually`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub within: Option<Period>,
}

/// A state that must last: the last entry about the subject has it, and so has every one that comes meanwhile.
#[derive(Clone, Debug, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Holds {
    /// The state; `subject` says whose, `body` what it must be.
    pub entry: Pattern,
    /// How long.
    #[serde(rename = "for")]
    pub period: Period,
}

/// How often entries must have come. At least one of the numbers has to be given.
#[derive(Clone, Debug, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Count {
    /// Which entries.
    pub entry: Pattern,
    /// Exactly this often.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exactly: Option<u64>,
    /// At least this often.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at_least: Option<u64>,
    /// At most this often.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at_most: Option<u64>,
}

/// Entries that must have come in this order, with anything in between.
#[derive(Clone, Debug, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Order {
    /// The entries, earliest first; at least two.
    pub entries: Vec<Pattern>,
}

/// What must have happened to the warm pool of a SandboxSet between the first step and the cleanup. It is asked of
/// the journal's watch events, so a sandbox that was taken and given back is seen.
#[derive(Clone, Debug, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PoolExpectation {
    /// Name of the SandboxSet.
    pub set: String,
    /// Its namespace; absent means `default`.
    #[serde(default = "default_namespace")]
    pub namespace: String,
    /// No sandbox of it was claimed, made or deleted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub untouched: Option<bool>,
    /// This many of its sandboxes were claimed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub consumed: Option<u64>,
    /// Every claimed sandbox has been deleted, within the limit `eventually`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deleted: Option<bool>,
}

pub(crate) fn default_namespace() -> String {
    "default".to_owned()
}
