//! `${name.field}`: values of earlier steps in later ones.
//!
//! A reference always has a dot, so `${HOME}` in a shell command is left alone.

use std::sync::LazyLock;

use regex::{Captures, Regex};
use serde_json::Value;

/// Names that are there without a step: the lab's addresses, the object store's and the NFS server's.
pub(crate) const BUILT_IN: &[&str] = &["lab", "oss", "nas"];

#[allow(clippy::expect_used, reason = "a constant expression that the tests compile")]
static REFERENCE: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(r"\$\{([A-Za-z_][A-Za-z0-9_-]*)((?:\.[A-Za-z0-9_/-]+)(?:\.[A-Za-z0-9_/-]+|\[[0-9]+\])*)\}")
        .expect("a constant expression")
});

/// The first names of every reference in a text.
pub(crate) fn roots(text: &str) -> Vec<&str> {
    REFERENCE.captures_iter(text).filter_map(|captures| captures.get(1).map(|root| root.as_str())).collect()
}

/// A reference to something that isn't there.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("`{reference}` leads to nothing; {root} has {members}")]
pub(crate) struct Dangling {
    reference: String,
    root: String,
    members: String,
}

/// `text` with every reference replaced by what `lookup` has for its first name. Texts are put in as they are,
/// everything else as JSON.
pub(crate) fn substitute(text: &str, lookup: &dyn Fn(&str) -> Option<Value>) -> Result<String, Dangling> {
    if !text.contains("${") {
        return Ok(text.to_owned());
    }
    let mut dangling = None;
    let replaced = REFERENCE.replace_all(text, |captures: &Captures<'_>| {
        let root = lookup(&captures[1]);
        match root.as_ref().and_then(|root| walk(root, &captures[2])) {
            Some(Value::String(text)) => text.clone(),
            Some(value) => value.to_string(),
            None => {
                let members = root.as_ref().and_then(Value::as_object).map_or_else(
                    || "no members".to_owned(),
                    |members| members.keys().cloned().collect::<Vec<_>>().join(", "),
                );
                dangling.get_or_insert(Dangling {
                    reference: captures[0].to_owned(),
                    root: captures[1].to_owned(),
                    members,
                });
                String::new()
            }
        }
    });
    match dangling {
        Some(dangling) => Err(dangling),
        None => Ok(replaced.into_owned()),
    }
}

/// The same for every text in a value.
pub(crate) fn substitute_value(
    value: &Value,
    lookup: &dyn Fn(&str) -> Option<Value>,
) -> Result<Value, Dangling> {
    Ok(match value {
        Value::String(text) => Value::String(substitute(text, lookup)?),
        Value::Array(items) => {
            items.iter().map(|item| substitute_value(item, lookup)).collect::<Result<_, _>>()?
        }
        Value::Object(members) => Value::Object(
            members
                .iter()
                .map(|(key, value)| Ok((substitute(key, lookup)?, substitute_value(value, lookup)?)))
                .collect::<Result<_, Dangling>>()?,
        ),
        other => other.clone(),
    })
}

fn walk<'a>(root: &'a Value, path: &str) -> Option<&'a Value> {
    let mut value = root;
    for segment in path.split(['.', '[']).filter(|segment| !segment.is_empty()) {
        value = match segment.strip_suffix(']') {
            Some(index) => value.get(index.parse::<usize>().ok()?)?,
            None => value.get(segment)?,
        };
    }
    Some(value)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn lookup(name: &str) -> Option<Value> {
        (name == "sbx").then(|| json!({"id": "default--x", "list": [{"n": 7}]}))
    }

    #[rstest::rstest]
    #[case("id=${sbx.id}", "id=default--x")]
    #[case("${sbx.list[0].n}", "7")]
    #[case("${sbx.list}", "[{\"n\":7}]")]
    #[case("${HOME}/x ${arr[0]} $x", "${HOME}/x ${arr[0]} $x")]
    fn references_are_replaced(#[case] text: &str, #[case] expected: &str) {
        assert_eq!(substitute(text, &lookup).as_deref(), Ok(expected));
    }

    #[test]
    fn a_dangling_reference_says_what_is_there() {
        let error = substitute("${sbx.ip}", &lookup).expect_err("there is no ip");
        assert_eq!(error.to_string(), "`${sbx.ip}` leads to nothing; sbx has id, list");
    }

    #[test]
    fn roots_are_the_first_names() {
        assert_eq!(roots("${a.b} ${HOME} ${c-d.e.f}"), ["a", "c-d"]);
    }
}
