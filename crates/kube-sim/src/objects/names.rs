//! Which names, labels and annotations are allowed.

use serde_json::Value;

use crate::error::Cause;
use crate::kinds::ResourceType;

const LABEL_RULE: &str = "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?')";
const SUBDOMAIN_RULE: &str = "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')";
const QUALIFIED_RULE: &str = "name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')";
const LABEL_VALUE_RULE: &str = "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used for validation is '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')";
/// All annotations of an object together may have this many bytes.
const LONGEST_ANNOTATIONS: usize = 256 * 1024;

/// Whether `name` is a DNS-1123 label.
pub(super) fn is_label(name: &str) -> bool {
    let inner = |letter: char| letter.is_ascii_lowercase() || letter.is_ascii_digit() || letter == '-';
    (1..=63).contains(&name.len())
        && name.chars().all(inner)
        && !name.starts_with('-')
        && !name.ends_with('-')
}

fn is_subdomain(name: &str) -> bool {
    let part = |part: &str| {
        let inner = |letter: char| letter.is_ascii_lowercase() || letter.is_ascii_digit() || letter == '-';
        !part.is_empty() && part.chars().all(inner) && !part.starts_with('-') && !part.ends_with('-')
    };
    name.len() <= 253 && name.split('.').all(part)
}

fn is_word(text: &str) -> bool {
    let edge = |letter: Option<char>| letter.is_some_and(|letter| letter.is_ascii_alphanumeric());
    let inner = |letter: char| letter.is_ascii_alphanumeric() || "-_.".contains(letter);
    text.len() <= 63 && edge(text.chars().next()) && edge(text.chars().last()) && text.chars().all(inner)
}

/// Everything wrong with the name, the labels and the annotations of a new object.
pub(super) fn check(resource: &ResourceType, object: &Value) -> Vec<Cause> {
    let mut causes = Vec::new();
    let name = object["metadata"]["name"].as_str().unwrap_or_default();
    let label = resource.is("", "namespaces") || resource.is("", "services");
    // Names in RBAC are path segments: nearly everything goes.
    let free = resource.custom().is_none() && resource.group == "rbac.authorization.k8s.io";
    if free {
        if name.contains('/') || name.contains('%') || name == "." || name == ".." {
            causes.push(Cause::invalid(
                "metadata.name",
                &object["metadata"]["name"],
                "may not contain '/' or '%'",
            ));
        }
    } else if label && !is_label(name) {
        causes.push(Cause::invalid("metadata.name", &object["metadata"]["name"], LABEL_RULE));
    } else if !label && !is_subdomain(name) {
        causes.push(Cause::invalid("metadata.name", &object["metadata"]["name"], SUBDOMAIN_RULE));
    }
    causes.extend(check_metadata(object));
    causes
}

/// Everything wrong with the metadata besides the name.
pub(super) fn check_metadata(object: &Value) -> Vec<Cause> {
    let metadata = &object["metadata"];
    let mut causes = Vec::new();
    for (key, value) in metadata["labels"].as_object().into_iter().flatten() {
        check_key("metadata.labels", key, &mut causes);
        let text = value.as_str().unwrap_or_default();
        if !text.is_empty() && !is_word(text) {
            causes.push(Cause::invalid("metadata.labels", value, LABEL_VALUE_RULE));
        }
    }
    let mut size = 0;
    for (key, value) in metadata["annotations"].as_object().into_iter().flatten() {
        check_key("metadata.annotations", &key.to_lowercase(), &mut causes);
        size += key.len() + value.as_str().map_or(0, str::len);
    }
    if size > LONGEST_ANNOTATIONS {
        let detail = format!("may not be more than {LONGEST_ANNOTATIONS} bytes");
        causes.push(Cause::invalid("metadata.annotations", &Value::from("<value omitted>"), &detail));
    }
    for finalizer in metadata["finalizers"].as_array().into_iter().flatten() {
        check_key("metadata.finalizers", finalizer.as_str().unwrap_or_default(), &mut causes);
    }
    for (index, owner) in metadata["ownerReferences"].as_array().into_iter().flatten().enumerate() {
        for member in ["apiVersion", "kind", "name", "uid"] {
            if owner[member].as_str().unwrap_or_default().is_empty() {
                let field = format!("metadata.ownerReferences[{index}].{member}");
                causes.push(Cause::invalid(field, &"".into(), "must not be empty"));
            }
        }
    }
    let controllers = metadata["ownerReferences"].as_array().into_iter().flatten();
    if controllers.filter(|owner| owner["controller"] == true).count() > 1 {
        let detail = "Only one reference can have Controller set to true";
        causes.push(Cause::invalid("metadata.ownerReferences", &metadata["ownerReferences"], detail));
    }
    causes
}

/// An object that is on its way out takes no new finalizers.
pub(super) fn check_finalizers(current: &Value, next: &Value) -> Vec<Cause> {
    if current["metadata"]["deletionTimestamp"].is_null() {
        return Vec::new();
    }
    let finalizers =
        |object: &Value| object["metadata"]["finalizers"].as_array().cloned().unwrap_or_default();
    let old = finalizers(current);
    let new: Vec<Value> = finalizers(next).into_iter().filter(|finalizer| !old.contains(finalizer)).collect();
    if new.is_empty() {
        return Vec::new();
    }
    let list = Value::from(new);
    let detail =
        format!("no new finalizers can be added if the object is being deleted, found new finalizers {list}");
    vec![Cause::forbidden("metadata.finalizers", &detail)]
}

fn check_key(field: &str, key: &str, causes: &mut Vec<Cause>) {
    let (prefix, word) = key.rsplit_once('/').map_or((None, key), |(prefix, word)| (Some(prefix), word));
    if let Some(prefix) = prefix
        && !is_subdomain(prefix)
    {
        causes.push(Cause::invalid(field, &key.into(), &format!("prefix part {SUBDOMAIN_RULE}")));
    }
    if !is_word(word) {
        causes.push(Cause::invalid(field, &key.into(), QUALIFIED_RULE));
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;
    use serde_json::json;

    use super::*;
    use crate::kinds::Registry;

    #[rstest]
    #[case("pods", json!({"name": "a.b-c"}), None)]
    #[case("pods", json!({"name": "Upper"}), Some("metadata.name"))]
    #[case("pods", json!({"name": "-a"}), Some("metadata.name"))]
    #[case("namespaces", json!({"name": "a.b"}), Some("metadata.name"))]
    #[case("pods", json!({"name": "a", "labels": {"a/b": "c d"}}), Some("metadata.labels"))]
    #[case("pods", json!({"name": "a", "labels": {"a/b/c": "d"}}), Some("metadata.labels"))]
    #[case("pods", json!({"name": "a", "labels": {"e2b.agents.kruise.io/x": "", "b_c": "A.b"}}), None)]
    #[case("pods", json!({"name": "a", "annotations": {"bad key": "v"}}), Some("metadata.annotations"))]
    #[case("pods", json!({"name": "a", "ownerReferences": [{"kind": "X", "name": "n", "apiVersion": "v1"}]}),
        Some("metadata.ownerReferences[0].uid"))]
    fn metadata_is_checked(#[case] plural: &str, #[case] metadata: Value, #[case] wrong: Option<&str>) {
        let resource = Registry::builtin().find("", "v1", plural).expect("served");
        let causes = check(&resource, &json!({"metadata": metadata}));
        assert_eq!(causes.first().map(|cause| cause.field.as_str()), wrong, "{causes:?}");
    }
}
