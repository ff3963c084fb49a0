//! The names of a scenario's file and those that stand for them on the cluster.
//!
//! ```text
//! file: default, oss-pv-sandbox-system   ── Names::real ──►   cluster: ml4k9qd-default, ml4k9qd-oss-pv-sandbox-system
//!                                        ◄── Names::plain ──
//! ```
//!
//! Into the cluster's names only where a name is known to stand ([`object`]); back by cutting the tag out of any text.

mod object;
pub(crate) mod requests;

use contract::names::SYSTEM_NAMESPACE;
use serde_json::Value;

pub(crate) use object::{Write, into_object, mounts};

/// Label of everything that a lab makes outside of its own namespaces, and of those; its value is the lab's tag.
pub(crate) const LAB_LABEL: &str = "mountlab.dev/lab";

/// Namespaces that every cluster has and no scenario owns.
const FOREIGN: [&str; 3] = ["kube-system", "kube-public", "kube-node-lease"];

/// How many letters and digits of a tag are drawn.
const DRAWN: usize = 5;

/// Whose a namespace is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Owner {
    /// The lab's.
    Lab,
    /// The system's own: the lab keeps Secrets in it.
    System,
    /// Somebody else's.
    Other,
}

/// The NFS server in whose folder the lab's exports are.
#[derive(Clone, Debug)]
struct Nas {
    server: String,
    /// Without a slash at its end; nothing for the root.
    folder: String,
}

/// The translation of one lab.
#[derive(Clone, Debug)]
pub(crate) struct Names {
    tag: String,
    prefix: String,
    nas: Option<Nas>,
}

impl Names {
    /// With a tag drawn by chance: `ml` and five letters or digits.
    pub(crate) fn draw() -> Self {
        let drawn: String = uuid::Uuid::new_v4()
            .as_u128()
            .to_le_bytes()
            .iter()
            .take(DRAWN)
            .map(|byte| char::from(b"abcdefghijkmnpqrstuvwxyz23456789"[usize::from(byte % 32)]))
            .collect();
        Self::new(&format!("ml{drawn}"))
    }

    pub(crate) fn new(tag: &str) -> Self {
        Self { tag: tag.to_owned(), prefix: format!("{tag}-"), nas: None }
    }

    /// The same with exports in `folder` of the NFS server that volumes call `server`.
    pub(crate) fn with_nas(self, server: &str, folder: &str) -> Self {
        let (server, folder) = (server.to_owned(), folder.trim_end_matches('/').to_owned());
        Self { nas: Some(Nas { server, folder }), ..self }
    }

    /// Whether the lab's exports are at this server.
    pub(crate) fn has_exports_at(&self, server: &str) -> bool {
        self.nas.as_ref().is_some_and(|nas| nas.server == server)
    }

    /// The server's path for one of the file, `/FOLDER/TAG-share/data` for `/share/data`; nothing of the server is above
    /// the tag, not even for `/`. What is no path in an export stays, for whoever has to refuse it.
    pub(crate) fn export_path(&self, path: &str) -> String {
        let Some(Nas { folder, .. }) = &self.nas else { return path.to_owned() };
        let top = format!("{folder}/{}", self.prefix);
        let below = path.trim_start_matches('/');
        let leads_out = matches!(below.split('/').next(), Some("." | ".."));
        let is_relative = !path.is_empty() && !path.starts_with('/');
        if path.starts_with(&top) || leads_out || is_relative { path.to_owned() } else { top + below }
    }

    /// The tag, which is also the value of [`LAB_LABEL`].
    pub(crate) fn tag(&self) -> &str {
        &self.tag
    }

    /// What stands before a name.
    pub(crate) fn prefix(&self) -> &str {
        &self.prefix
    }

    /// The cluster's name for a name of the file. One that is the cluster's already stays.
    pub(crate) fn real(&self, name: &str) -> String {
        if self.is_real(name) { name.to_owned() } else { format!("{}{name}", self.prefix) }
    }

    /// Whether a name is one of this lab on the cluster.
    pub(crate) fn is_real(&self, name: &str) -> bool {
        name.starts_with(&self.prefix)
    }

    /// The file's words for a text of the cluster.
    pub(crate) fn plain(&self, text: &str) -> String {
        let in_folder = self.nas.as_ref().filter(|nas| !nas.folder.is_empty());
        match in_folder.map(|nas| format!("{}/{}", nas.folder, self.prefix)) {
            Some(top) => text.replace(&top, "/").replace(&self.prefix, ""),
            None => text.replace(&self.prefix, ""),
        }
    }

    /// The same for every text and key in a value.
    pub(crate) fn plain_value(&self, value: Value) -> Value {
        match value {
            Value::String(text) if text.contains(&self.prefix) => Value::String(self.plain(&text)),
            Value::Array(items) => items.into_iter().map(|item| self.plain_value(item)).collect(),
            Value::Object(members) => {
                members.into_iter().map(|(key, value)| (self.plain(&key), self.plain_value(value))).collect()
            }
            other => other,
        }
    }

    /// Whose the namespace is that a file calls by this name.
    pub(crate) fn owner(namespace: &str) -> Owner {
        if namespace == SYSTEM_NAMESPACE {
            Owner::System
        } else if FOREIGN.contains(&namespace) {
            Owner::Other
        } else {
            Owner::Lab
        }
    }

    /// The cluster's name for a namespace of the file.
    pub(crate) fn namespace(&self, name: &str) -> String {
        match Self::owner(name) {
            Owner::Lab => self.real(name),
            Owner::System | Owner::Other => name.to_owned(),
        }
    }

    /// The cluster's id for a sandbox's id of the file, which begins with the namespace (`e2b-api.md` §3.1). Other
    /// texts stay.
    pub(crate) fn sandbox_id(&self, id: &str) -> String {
        if id.contains("--") { self.real(id) } else { id.to_owned() }
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;
    use serde_json::json;

    use super::*;

    #[test]
    fn a_drawn_tag_fits_into_a_sandbox_id() {
        let names = Names::draw();
        let name = "code-interpreter-inject-test-abcde";
        let id = format!("{}--{name}", names.namespace("default"));
        // `e2b-api.md` §3.1: at most 57
        assert!(id.len() <= 57, "{id}");
        assert_ne!(Names::draw().tag(), names.tag());
    }

    #[rstest]
    #[case("default", "mltag12-default")]
    #[case("mltag12-default", "mltag12-default")]
    #[case("sandbox-system", "sandbox-system")]
    #[case("kube-system", "kube-system")]
    fn namespaces(#[case] plain: &str, #[case] real: &str) {
        assert_eq!(Names::new("mltag12").namespace(plain), real);
    }

    #[test]
    fn the_way_back_needs_no_places() {
        let names = Names::new("mltag12");
        let answer =
            json!({"message": "PV mltag12-oss is not in mltag12-default", "list": [{"mltag12-a": 1}]});
        let plain = json!({"message": "PV oss is not in default", "list": [{"a": 1}]});
        assert_eq!(names.plain_value(answer), plain);
        assert_eq!(names.sandbox_id("default--x-1"), "mltag12-default--x-1");
        assert_eq!(names.sandbox_id("no-such-sandbox"), "no-such-sandbox");
    }

    #[rstest]
    #[case::in_a_folder("/export", "/export/mltag12-")]
    #[case::with_a_slash("/export/", "/export/mltag12-")]
    #[case::at_the_root("", "/mltag12-")]
    fn paths_of_exports(#[case] folder: &str, #[case] top: &str) {
        let names = Names::new("mltag12").with_nas("nas", folder);
        for path in ["/share", "/share/data/deep", "/share/../x", "/"] {
            let real = names.export_path(path);
            assert_eq!(real, format!("{top}{}", &path[1..]));
            assert_eq!(names.export_path(&real), real, "twice is once");
            assert_eq!(names.plain(&real), path);
            assert_eq!(
                names.plain(&format!("mounting nas:{real} failed")),
                format!("mounting nas:{path} failed")
            );
        }
        assert_eq!(names.export_path("//share"), format!("{top}share"));
        assert_eq!(names.export_path(""), top, "no path is the root");
        for path in ["share", "../share", "/../share", "/./share", "."] {
            assert_eq!(names.export_path(path), path);
        }
    }
}
