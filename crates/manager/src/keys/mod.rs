//! Who calls: API keys, teams and the wrapped form of keys (`e2b-api.md` §2.2, §5).

mod quota;
pub(crate) mod record;
pub(crate) mod store;
pub mod wrapped;

/// The id of the admin key, and of everybody when authentication is off.
pub(crate) const ADMIN_ID: &str = "550e8400-e29b-41d4-a716-446655440000";
/// The id of the admin team.
pub(crate) const ADMIN_TEAM_ID: &str = "550e8400-e29b-41d4-a716-446655449999";
/// The team that sees every namespace.
pub(crate) const ADMIN_TEAM: &str = "admin";

/// Whoever a request comes from.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Caller {
    /// The id of the API key; resources belong to it, not to the team.
    pub id: String,
    /// The key's name.
    pub name: String,
    /// The key's team: [`ADMIN_TEAM`], or the one namespace that the key sees.
    pub team: String,
}

impl Caller {
    /// The holder of the operator's key.
    pub(crate) fn admin() -> Self {
        Self { id: ADMIN_ID.into(), name: "admin".into(), team: ADMIN_TEAM.into() }
    }

    /// Everybody, when authentication is off.
    pub(crate) fn anybody() -> Self {
        Self { name: "auth-disabled".into(), ..Self::admin() }
    }

    /// Whether the caller belongs to the admin team.
    pub(crate) fn is_admin(&self) -> bool {
        self.team == ADMIN_TEAM
    }

    /// Whether the caller's team may see objects of a namespace.
    pub(crate) fn sees(&self, namespace: &str) -> bool {
        self.is_admin() || self.team == namespace
    }
}
