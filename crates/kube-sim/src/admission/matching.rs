//! Whether a policy or a binding is about a request (`MatchResources`).

use serde_json::Value;

use super::Asked;
use crate::objects::items;
use crate::selectors::LabelSelector;

/// Whether the rules and selectors in `resources` cover the request; without any, everything is covered.
///
/// # Errors
/// A selector that can't be used.
pub(super) fn matches(
    resources: &Value,
    asked: &Asked<'_>,
    namespace: Option<&Value>,
) -> Result<bool, String> {
    let rules = items(&resources["resourceRules"]);
    let covered = rules.is_empty() || rules.iter().any(|rule| covers(rule, asked));
    let excluded = || items(&resources["excludeResourceRules"]).iter().any(|rule| covers(rule, asked));
    if !covered || excluded() {
        return Ok(false);
    }
    let of_namespace =
        if asked.resource.is("", "namespaces") { asked.object.or(asked.old) } else { namespace };
    // What is in no namespace can't be selected by one, and is never left out for that.
    if of_namespace.is_some() && !selected(&resources["namespaceSelector"], of_namespace)? {
        return Ok(false);
    }
    let selector = &resources["objectSelector"];
    if selector.as_object().is_none_or(serde_json::Map::is_empty) {
        return Ok(true);
    }
    Ok(selected(selector, asked.object)? || selected(selector, asked.old)?)
}

fn selected(selector: &Value, object: Option<&Value>) -> Result<bool, String> {
    let selector = LabelSelector::structured(selector)?;
    Ok(object.is_some_and(|object| selector.matches(object)))
}

/// Whether one rule covers the request.
fn covers(rule: &Value, asked: &Asked<'_>) -> bool {
    let lists =
        |member: &str, wanted: &str| items(&rule[member]).iter().any(|entry| entry == "*" || entry == wanted);
    let resource = |entry: &Value| {
        let entry = entry.as_str().unwrap_or_default();
        let (resource, subresource) = entry.split_once('/').unwrap_or((entry, ""));
        (resource == "*" || resource == asked.resource.plural)
            && (subresource == "*" || subresource == asked.subresource)
    };
    let in_scope = match rule["scope"].as_str() {
        Some("Namespaced") => !asked.namespace.is_empty(),
        Some("Cluster") => asked.namespace.is_empty(),
        _ => true,
    };
    let names = items(&rule["resourceNames"]);
    lists("apiGroups", &asked.resource.group)
        && lists("apiVersions", &asked.resource.version)
        && lists("operations", asked.operation)
        && items(&rule["resources"]).iter().any(resource)
        && in_scope
        && (names.is_empty() || names.iter().any(|name| name == asked.name))
}

#[cfg(test)]
mod tests {
    use rstest::rstest;
    use serde_json::json;

    use super::*;
    use crate::caller::Caller;
    use crate::kinds::Registry;

    fn rules(operations: &[&str], resources: &[&str]) -> Value {
        json!({"resourceRules": [
            {"apiGroups": [""], "apiVersions": ["v1"], "operations": operations, "resources": resources},
        ]})
    }

    #[rstest]
    #[case::exactly(rules(&["DELETE"], &["pods"]), "", true)]
    #[case::another_operation(rules(&["CREATE", "UPDATE"], &["pods"]), "", false)]
    #[case::another_resource(rules(&["*"], &["secrets"]), "", false)]
    #[case::everything(rules(&["*"], &["*"]), "", true)]
    #[case::no_part_of_everything(rules(&["*"], &["*"]), "eviction", false)]
    #[case::every_part(rules(&["*"], &["*/*"]), "eviction", true)]
    #[case::one_part(rules(&["*"], &["pods/eviction"]), "eviction", true)]
    #[case::another_part(rules(&["*"], &["pods/status"]), "eviction", false)]
    #[case::nothing_said(Value::Null, "", true)]
    #[case::excluded(json!({"excludeResourceRules": rules(&["*"], &["pods"])["resourceRules"]}), "", false)]
    #[case::labels(json!({"objectSelector": {"matchLabels": {"app": "web"}}}), "", true)]
    #[case::other_labels(json!({"objectSelector": {"matchLabels": {"app": "api"}}}), "", false)]
    #[case::expression(json!({"objectSelector": {"matchExpressions": [{"key": "app", "operator": "Exists"}]}}), "", true)]
    #[case::namespace(json!({"namespaceSelector": {"matchLabels": {"team": "a"}}}), "", true)]
    #[case::other_namespace(
        json!({"namespaceSelector": {"matchExpressions": [{"key": "team", "operator": "NotIn", "values": ["a"]}]}}),
        "",
        false
    )]
    #[case::cluster_scope(json!({"resourceRules": [
        {"apiGroups": ["*"], "apiVersions": ["*"], "operations": ["*"], "resources": ["*"], "scope": "Cluster"}]}), "", false)]
    fn a_request_is_covered_or_not(
        #[case] resources: Value,
        #[case] subresource: &str,
        #[case] covered: bool,
    ) {
        let pods = Registry::builtin().find("", "v1", "pods").expect("served");
        let (caller, pod) = (Caller::administrator(), json!({"metadata": {"labels": {"app": "web"}}}));
        let asked = Asked {
            caller: &caller,
            resource: &pods,
            subresource,
            operation: "DELETE",
            namespace: "default",
            name: "p",
            object: None,
            old: Some(&pod),
            dry_run: false,
        };
        let namespace = json!({"metadata": {"labels": {"team": "a"}}});
        assert_eq!(matches(&resources, &asked, Some(&namespace)), Ok(covered));
    }
}
