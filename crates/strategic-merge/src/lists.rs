//! Which lists of built-in kinds are merged by key, and by which.
//!
//! Kubernetes writes this into its API types as `patchMergeKey` and `x-kubernetes-list-map-keys`. A member's name and
//! its parent's are enough to tell the lists of the served kinds apart.

/// How the items of a list are told apart.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum ListKind {
    /// The list is one value.
    Atomic,
    /// Items are scalars, each at most once.
    Set,
    /// Items are objects, told apart by these members.
    Map(Vec<String>),
}

/// Members that are keyed wherever they appear.
const KEYED: [(&str, &[&str]); 21] = [
    ("containers", &["name"]),
    ("initContainers", &["name"]),
    ("ephemeralContainers", &["name"]),
    ("env", &["name"]),
    ("volumes", &["name"]),
    ("volumeMounts", &["mountPath"]),
    ("volumeDevices", &["devicePath"]),
    ("imagePullSecrets", &["name"]),
    ("hostAliases", &["ip"]),
    ("topologySpreadConstraints", &["topologyKey", "whenUnsatisfiable"]),
    ("conditions", &["type"]),
    ("ownerReferences", &["uid"]),
    ("podIPs", &["ip"]),
    ("secrets", &["name"]),
    ("resourceClaims", &["name"]),
    ("schedulingGates", &["name"]),
    ("webhooks", &["name"]),
    ("drivers", &["name"]),
    ("matchConditions", &["name"]),
    ("variables", &["name"]),
    ("hostIPs", &["ip"]),
];

/// The kind of the list `member` whose parent members are `parents`, outermost first and without list items.
pub fn of_builtin(parents: &[&str], member: &str) -> ListKind {
    if member == "finalizers" {
        return ListKind::Set;
    }
    if member == "ports" {
        return ports(parents);
    }
    // A service account's list of Secrets is keyed; a projected volume's sources are not.
    KEYED.iter().find(|(name, _)| *name == member).map_or(ListKind::Atomic, |(_, keys)| map(keys))
}

fn ports(parents: &[&str]) -> ListKind {
    match parents.last() {
        Some(&("containers" | "initContainers" | "ephemeralContainers")) => {
            map(&["containerPort", "protocol"])
        }
        Some(&"spec") if parents.len() == 1 => map(&["port", "protocol"]),
        _ => ListKind::Atomic,
    }
}

fn map(keys: &[&str]) -> ListKind {
    ListKind::Map(keys.iter().map(ToString::to_string).collect())
}
