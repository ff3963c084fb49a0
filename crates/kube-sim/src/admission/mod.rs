//! Admission policies (`ValidatingAdmissionPolicy`, `admissionregistration.k8s.io/v1`): rules in CEL about requests, asked
//! before a verb stores anything.
//!
//! ```text
//! verb: complete and valid ─► each binding: does it match? ─► its params ─► conditions ─► variables ─► validations
//!                                                                                            └─► deny, warn
//! ```
//!
//! What a real API server has and this one has not: `authorizer` in expressions, types of expressions (one that is no
//! boolean fails when it is asked, not when the policy is made; `status.typeChecking` stays empty), a limit on their cost,
//! audit. Connections (`exec`, `log`) and token requests are not asked about. A kind is matched in the version of the request.
//! Here a policy holds from the moment when it is stored, and params are what is stored; a real one learns of both a moment later.

mod evaluate;
mod matching;
mod params;
pub(crate) mod validity;

use serde_json::{Value, json};

use crate::caller::Caller;
use crate::error::{ApiError, ApiResult};
use crate::kinds::ResourceType;
use crate::objects::items;
use crate::state::{NAMESPACES, State};
use crate::store::Address;

pub(crate) const POLICIES: &str = "admissionregistration.k8s.io/validatingadmissionpolicies";
const BINDINGS: &str = "admissionregistration.k8s.io/validatingadmissionpolicybindings";

/// What a request is about to do, as policies see it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Asked<'a> {
    pub(crate) caller: &'a Caller,
    pub(crate) resource: &'a ResourceType,
    pub(crate) subresource: &'a str,
    /// `CREATE`, `UPDATE` or `DELETE`.
    pub(crate) operation: &'static str,
    /// Empty for cluster scope.
    pub(crate) namespace: &'a str,
    /// Empty when the server makes the name up.
    pub(crate) name: &'a str,
    /// Absent in deletions.
    pub(crate) object: Option<&'a Value>,
    /// Absent in creations.
    pub(crate) old: Option<&'a Value>,
    pub(crate) dry_run: bool,
}

/// Why a policy says no.
#[derive(Clone, Debug, PartialEq)]
struct Denial {
    reason: String,
    message: String,
}

impl Denial {
    /// The policy or its binding can't be asked, or an expression can't be evaluated.
    fn failure(message: String) -> Self {
        Self { reason: "Invalid".to_owned(), message }
    }

    fn status(&self) -> (u16, &'static str) {
        match self.reason.as_str() {
            "Unauthorized" => (401, "Unauthorized"),
            "Forbidden" => (403, "Forbidden"),
            "RequestEntityTooLarge" => (413, "RequestEntityTooLarge"),
            _ => (422, "Invalid"),
        }
    }
}

/// Asks every policy that is bound; the answer is what the caller should be warned of.
///
/// # Errors
/// What the first policy says that denies the request.
pub(crate) fn admit(state: &State, asked: &Asked<'_>) -> ApiResult<Vec<String>> {
    let mut warnings = Vec::new();
    if is_policy(asked.resource) {
        return Ok(warnings);
    }
    let mut refusal = None;
    for binding in state.store.list(BINDINGS, None) {
        let name = &binding["spec"]["policyName"];
        let address = Address {
            collection: POLICIES.into(),
            namespace: String::new(),
            name: name.as_str().unwrap_or_default().to_owned(),
        };
        let Some(policy) = state.store.get(&address) else { continue };
        for denial in ask(state, &policy, &binding, asked) {
            for action in items(&binding["spec"]["validationActions"]) {
                match action.as_str() {
                    Some("Deny") => {
                        refusal = refusal.or_else(|| Some(refuse(asked, &policy, &binding, &denial)));
                    }
                    Some("Warn") => warnings.push(format!(
                        "Validation failed for ValidatingAdmissionPolicy '{}' with binding '{}': {}",
                        name_of(&policy),
                        name_of(&binding),
                        denial.message
                    )),
                    _ => {}
                }
            }
        }
    }
    refusal.map_or(Ok(warnings), Err)
}

/// Policies say nothing about policies, or a cluster could lock itself out.
fn is_policy(resource: &ResourceType) -> bool {
    resource.group == "admissionregistration.k8s.io" && resource.plural.contains("admissionpolic")
}

/// What one policy has against the request.
fn ask(state: &State, policy: &Value, binding: &Value, asked: &Asked<'_>) -> Vec<Denial> {
    let spec = &policy["spec"];
    let namespace = state.store.get(&Address {
        collection: NAMESPACES.into(),
        namespace: String::new(),
        name: asked.namespace.to_owned(),
    });
    let fails = spec["failurePolicy"] != "Ignore";
    let failure = |message: String| if fails { vec![Denial::failure(message)] } else { Vec::new() };
    for narrowed in [&spec["matchConstraints"], &binding["spec"]["matchResources"]] {
        match matching::matches(narrowed, asked, namespace.as_deref()) {
            Ok(true) => {}
            Ok(false) => return Vec::new(),
            Err(why) => return failure(format!("failed to configure policy: {why}")),
        }
    }
    let params = match params::of(state, spec, &binding["spec"], asked) {
        Ok(params) => params,
        Err(why) => return failure(why),
    };
    let request = evaluate::Request::new(asked, namespace.as_deref());
    let each = params.iter();
    each.flat_map(|params| evaluate::evaluate(&state.expressions, spec, &request, params.as_deref(), fails))
        .collect()
}

fn refuse(asked: &Asked<'_>, policy: &Value, binding: &Value, denial: &Denial) -> ApiError {
    let message = format!(
        "ValidatingAdmissionPolicy '{}' with binding '{}' denied request: {}",
        name_of(policy),
        name_of(binding),
        denial.message
    );
    let generated = || asked.object.and_then(|object| object["metadata"]["generateName"].as_str());
    let name = if asked.name.is_empty() { generated().unwrap_or("Unknown") } else { asked.name };
    let mut error = ApiError::forbidden(&asked.resource.group, &asked.resource.plural, name, &message);
    (error.code, error.reason) = denial.status();
    if let Some(details) = &mut error.details {
        details["causes"] = json!([{"message": message}]);
    }
    error
}

fn name_of(object: &Value) -> &str {
    object["metadata"]["name"].as_str().unwrap_or_default()
}
