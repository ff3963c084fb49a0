//! The objects that a binding gives to its policy as params.

use std::sync::Arc;

use serde_json::Value;

use super::Asked;
use crate::selectors::LabelSelector;
use crate::state::State;

/// The params that the policy is asked with, once with each. Without any it is not asked; a policy or binding that uses none is
/// asked once.
///
/// # Errors
/// Why there are none though there should be.
pub(super) fn of(
    state: &State,
    policy: &Value,
    binding: &Value,
    asked: &Asked<'_>,
) -> Result<Vec<Option<Arc<Value>>>, String> {
    let (kind, reference) = (&policy["paramKind"], &binding["paramRef"]);
    if kind.is_null() || reference.is_null() {
        return Ok(vec![None]);
    }
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let (api_version, kind) = (text(&kind["apiVersion"]), text(&kind["kind"]));
    let known = state.registry.all().find(|it| it.api_version() == api_version && it.kind == kind);
    let resource = known.ok_or_else(|| {
        format!(
            "failed to configure policy: failed to find resource referenced by paramKind: '{api_version}, Kind={kind}'"
        )
    })?;
    let failed = |why: &str| format!("failed to configure binding: {why}");
    let namespace = match text(&reference["namespace"]) {
        _ if !resource.namespaced => String::new(),
        given if given.is_empty() => asked.namespace.to_owned(),
        given => given,
    };
    if resource.namespaced && namespace.is_empty() {
        return Err(failed(
            "cannot use namespaced paramRef in policy binding that matches cluster-scoped resources",
        ));
    }
    let mut found = state.store.list(&resource.collection, Some(&namespace));
    if let Some(name) = reference["name"].as_str() {
        found.retain(|object| object["metadata"]["name"] == name);
    } else {
        let selector = LabelSelector::structured(&reference["selector"]).map_err(|why| failed(&why))?;
        found.retain(|object| selector.matches(object));
    }
    if found.is_empty() && reference["parameterNotFoundAction"] == "Deny" {
        return Err(failed("no params found for policy binding with `Deny` parameterNotFoundAction"));
    }
    Ok(found.into_iter().map(Some).collect())
}
