//! What is stored of an API key, and its quota (`e2b-api.md` §5.2).

use std::collections::BTreeSet;
use std::fmt;

use serde::{Deserialize, Serialize};

use super::ADMIN_TEAM;

/// One API key with its particulars.
#[derive(Clone, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct KeyRecord {
    /// The id that resources are owned by.
    pub id: String,
    /// The name that its maker gave it.
    pub name: String,
    /// Its team; a record without one counts as the admin team's.
    #[serde(default = "admin_team")]
    pub team: String,
    /// When it was made, RFC 3339.
    pub created_at: String,
    /// The id of the key that made it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created_by: Option<String>,
    /// What it may use at most.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quota: Option<Quota>,
    /// The key itself.
    #[serde(skip)]
    pub key: String,
}

fn admin_team() -> String {
    ADMIN_TEAM.to_owned()
}

impl fmt::Debug for KeyRecord {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "KeyRecord({} {:?} of team {:?})", self.id, self.name, self.team)
    }
}

/// Limits on what one key uses at the same time; none means unlimited.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Quota {
    /// The limits, at most one for each dimension and scope.
    #[serde(default)]
    pub limits: Vec<Limit>,
}

/// One limit.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Limit {
    /// What is counted.
    pub dimension: Dimension,
    /// Over which sandboxes.
    pub scope: Scope,
    /// The largest allowed sum.
    #[serde(rename = "limit")]
    pub most: u64,
}

/// What a limit counts.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Ord, PartialEq, PartialOrd, Serialize)]
pub(crate) enum Dimension {
    /// Sandboxes.
    #[serde(rename = "sandbox.count")]
    Sandboxes,
    /// CPU limits, in thousandths of a core.
    #[serde(rename = "limits.cpu")]
    MilliCpu,
    /// Memory limits, in MB.
    #[serde(rename = "limits.memory")]
    MemoryMb,
}

/// Over which sandboxes a limit counts.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Scope {
    /// Running and paused ones.
    All,
    /// Running ones only.
    Running,
}

impl Quota {
    /// Whether no dimension and scope is limited twice.
    pub(crate) fn is_unambiguous(&self) -> bool {
        let mut seen = BTreeSet::new();
        self.limits.iter().all(|limit| seen.insert((limit.dimension, limit.scope)))
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case(r#"{"limits":[{"dimension":"sandbox.count","scope":"all","limit":3}]}"#, true)]
    #[case(r#"{"limits":[]}"#, true)]
    #[case(r#"{"limits":[{"dimension":"sandbox.count","scope":"all","limit":-1}]}"#, false)]
    #[case(r#"{"limits":[{"dimension":"gpus","scope":"all","limit":1}]}"#, false)]
    #[case(r#"{"limits":[{"dimension":"limits.cpu","scope":"paused","limit":1}]}"#, false)]
    #[case(r#"{"limit":[]}"#, false)]
    fn quotas_are_strict(#[case] text: &str, #[case] fine: bool) {
        assert_eq!(serde_json::from_str::<Quota>(text).is_ok(), fine);
    }

    #[test]
    fn the_key_itself_is_neither_serialized_nor_shown() {
        let record = KeyRecord {
            id: "id".into(),
            name: "ci".into(),
            team: "team-a".into(),
            created_at: "2026-01-01T00:00:00Z".into(),
            created_by: None,
            quota: None,
            key: "very-secret".into(),
        };
        assert!(!serde_json::to_string(&record).expect("serializes").contains("very-secret"));
        assert!(!format!("{record:?}").contains("very-secret"));
    }
}
