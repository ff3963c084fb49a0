//! Which labels of a sandbox `sandbox_labels` shows.

use std::collections::BTreeMap;
use std::str::FromStr;

use contract::crd::Sandbox;
use contract::metrics::label_name;
use kube::ResourceExt as _;

/// Keys of the labels that metric `sandbox_labels` shows of each sandbox, comma-separated; none by default, because every
/// value of a label is a series of its own.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LabelAllowList {
    /// Keys by the name that they have in Prometheus.
    keys: BTreeMap<String, String>,
}

/// Why a list of labels isn't one.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LabelAllowListError {
    /// A key that no label can have.
    #[error(
        "{0:?} is no key of a label: write keys such as app or app.kubernetes.io/name, with commas between them"
    )]
    NoKey(String),
    /// Prometheus would have one name for both.
    #[error("labels {0:?} and {1:?} have the same name in Prometheus, {2}: leave one of them out")]
    SameName(String, String, String),
}

impl FromStr for LabelAllowList {
    type Err = LabelAllowListError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut keys = BTreeMap::new();
        for key in text.split(',').map(str::trim).filter(|_| !text.trim().is_empty()) {
            if !is_label_key(key) {
                return Err(LabelAllowListError::NoKey(key.to_owned()));
            }
            let name = label_name(key);
            match keys.insert(name.clone(), key.to_owned()) {
                Some(other) if other != key => {
                    return Err(LabelAllowListError::SameName(other, key.to_owned(), name));
                }
                _ => {}
            }
        }
        Ok(Self { keys })
    }
}

impl LabelAllowList {
    pub(super) fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// The labels of a sandbox under their names in Prometheus; one that it lacks is empty.
    pub(super) fn of(&self, sandbox: &Sandbox) -> Vec<(String, String)> {
        let value = |key: &String| sandbox.labels().get(key).cloned().unwrap_or_default();
        self.keys.iter().map(|(name, key)| (name.clone(), value(key))).collect()
    }
}

/// Kubernetes' rule for keys: a name of up to 63 letters, digits, dashes, underscores and dots, and a DNS name and a
/// slash before it if need be.
fn is_label_key(key: &str) -> bool {
    let (prefix, name) = key.rsplit_once('/').map_or((None, key), |(prefix, name)| (Some(prefix), name));
    let is_within = |text: &str, most: usize, inner: &[char], may: fn(char) -> bool| {
        let ends = [text.chars().next(), text.chars().next_back()];
        (1..=most).contains(&text.len())
            && ends.iter().flatten().all(|end| may(*end))
            && text.chars().all(|found| may(found) || inner.contains(&found))
    };
    let of_dns = |found: char| found.is_ascii_lowercase() || found.is_ascii_digit();
    is_within(name, 63, &['-', '_', '.'], |found| found.is_ascii_alphanumeric())
        && prefix.is_none_or(|prefix| is_within(prefix, 253, &['-', '.'], of_dns))
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case("", &[])]
    #[case("team", &[("label_team", "team")])]
    #[case("team, app.kubernetes.io/name,team", &[("label_app_kubernetes_io_name", "app.kubernetes.io/name"), ("label_team", "team")])]
    fn a_list_has_names(#[case] text: &str, #[case] expected: &[(&str, &str)]) {
        let list: LabelAllowList = text.parse().expect("a list");
        let found: Vec<_> = list.keys.iter().map(|(name, key)| (name.as_str(), key.as_str())).collect();
        assert_eq!(found, expected);
    }

    #[rstest]
    #[case("*", "\"*\" is no key of a label")]
    #[case("team,", "\"\" is no key of a label")]
    #[case("-team", "is no key of a label")]
    #[case("Example.com/a", "is no key of a label")]
    #[case("a/b/c", "is no key of a label")]
    #[case("a.b,a-b", "have the same name in Prometheus, label_a_b")]
    fn what_is_none_says_why(#[case] text: &str, #[case] expected: &str) {
        let error = text.parse::<LabelAllowList>().expect_err("no list").to_string();
        assert!(error.contains(expected), "{error}");
    }
}
