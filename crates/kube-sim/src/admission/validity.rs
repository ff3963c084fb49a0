//! Which policies and bindings are taken: what is missing is completed, and expressions have to compile.

use serde_json::{Value, json};

use super::evaluate::VARIABLES;
use crate::error::Cause;
use crate::expressions;
use crate::objects::{default, items, items_mut};

const REASONS: [&str; 4] = ["Unauthorized", "Forbidden", "Invalid", "RequestEntityTooLarge"];
const ACTIONS: [&str; 3] = ["Deny", "Warn", "Audit"];

pub(crate) fn complete_policy(policy: &mut Value) {
    let Some(spec) = policy.get_mut("spec").filter(|spec| spec.is_object()) else { return };
    default(spec, "failurePolicy", "Fail");
    complete_resources(&mut spec["matchConstraints"]);
}

pub(crate) fn complete_binding(binding: &mut Value) {
    if let Some(resources) = binding.pointer_mut("/spec/matchResources") {
        complete_resources(resources);
    }
}

fn complete_resources(resources: &mut Value) {
    if !resources.is_object() {
        return;
    }
    default(resources, "matchPolicy", "Equivalent");
    default(resources, "namespaceSelector", json!({}));
    default(resources, "objectSelector", json!({}));
    for list in ["resourceRules", "excludeResourceRules"] {
        if let Some(rules) = resources.get_mut(list) {
            items_mut(rules).for_each(|rule| default(rule, "scope", "*"));
        }
    }
}

/// Everything wrong with a policy.
pub(crate) fn check_policy(policy: &Value) -> Vec<Cause> {
    let spec = &policy["spec"];
    let mut causes = Vec::new();
    check_supported("spec.failurePolicy", &spec["failurePolicy"], &["Fail", "Ignore"], &mut causes);
    if !spec["paramKind"].is_null() {
        check_texts("spec.paramKind", &spec["paramKind"], &["apiVersion", "kind"], &mut causes);
    }
    if spec["matchConstraints"].is_null() {
        causes.push(Cause::required("spec.matchConstraints", ""));
    } else {
        let field = "spec.matchConstraints.resourceRules";
        if items(&spec["matchConstraints"]["resourceRules"]).is_empty() {
            causes.push(Cause::required(field, ""));
        }
        check_rules(field, &spec["matchConstraints"]["resourceRules"], &mut causes);
    }
    let (validations, annotations) = (items(&spec["validations"]), items(&spec["auditAnnotations"]));
    if validations.is_empty() && annotations.is_empty() {
        let detail = "validations or auditAnnotations must be non-empty";
        causes.push(Cause::required("spec.validations", detail));
    }
    let known: Vec<&str> = VARIABLES
        .into_iter()
        .chain(["authorizer"])
        .filter(|name| *name != "params" || !spec["paramKind"].is_null())
        .collect();
    let before: Vec<&str> = known.iter().copied().filter(|name| *name != "variables").collect();
    check_named("spec.matchConditions", &spec["matchConditions"], &before, &mut causes);
    check_named("spec.variables", &spec["variables"], &known, &mut causes);
    for (index, validation) in validations.iter().enumerate() {
        check_validation(&format!("spec.validations[{index}]"), validation, &known, &mut causes);
    }
    for (index, annotation) in annotations.iter().enumerate() {
        let field = format!("spec.auditAnnotations[{index}].valueExpression");
        check_expression(&field, &annotation["valueExpression"], &known, &mut causes);
    }
    causes
}

/// Everything wrong with a binding.
pub(crate) fn check_binding(binding: &Value) -> Vec<Cause> {
    let spec = &binding["spec"];
    let mut causes = Vec::new();
    check_texts("spec", spec, &["policyName"], &mut causes);
    let actions = items(&spec["validationActions"]);
    if actions.is_empty() {
        causes.push(Cause::required("spec.validationActions", "at least one validation action is required"));
    }
    for (index, action) in actions.iter().enumerate() {
        let field = format!("spec.validationActions[{index}]");
        check_supported(&field, action, &ACTIONS, &mut causes);
        if actions.iter().take(index).any(|earlier| earlier == action) {
            causes.push(Cause::duplicate(field, action));
        }
    }
    if actions.iter().any(|action| action == "Deny") && actions.iter().any(|action| action == "Warn") {
        let detail = "must not contain both Deny and Warn (repeating the same validation failure information in the \
                      API response and headers serves no purpose)";
        causes.push(Cause::invalid("spec.validationActions", &spec["validationActions"], detail));
    }
    check_rules("spec.matchResources.resourceRules", &spec["matchResources"]["resourceRules"], &mut causes);
    let reference = &spec["paramRef"];
    if !reference.is_null() {
        if reference["name"].is_null() == reference["selector"].is_null() {
            causes.push(Cause::required("spec.paramRef", "one of name or selector must be specified"));
        }
        let (field, action) =
            ("spec.paramRef.parameterNotFoundAction", &reference["parameterNotFoundAction"]);
        if action.is_null() {
            causes.push(Cause::required(field, ""));
        }
        check_supported(field, action, &["Deny", "Allow"], &mut causes);
    }
    causes
}

fn check_supported(field: &str, value: &Value, allowed: &[&str], causes: &mut Vec<Cause>) {
    if !value.is_null() && !allowed.iter().any(|one| value == one) {
        let allowed: Vec<Value> = allowed.iter().map(|one| Value::from(*one)).collect();
        causes.push(Cause::unsupported(field, value, &allowed));
    }
}

fn check_texts(field: &str, object: &Value, members: &[&str], causes: &mut Vec<Cause>) {
    for member in members {
        if object[*member].as_str().unwrap_or_default().is_empty() {
            causes.push(Cause::required(format!("{field}.{member}"), ""));
        }
    }
}

fn check_rules(field: &str, rules: &Value, causes: &mut Vec<Cause>) {
    for (index, rule) in items(rules).iter().enumerate() {
        for member in ["apiGroups", "apiVersions", "operations", "resources"] {
            if items(&rule[member]).is_empty() {
                causes.push(Cause::required(format!("{field}[{index}].{member}"), ""));
            }
        }
        let operations = ["*", "CREATE", "UPDATE", "DELETE", "CONNECT"];
        for (place, operation) in items(&rule["operations"]).iter().enumerate() {
            let field = format!("{field}[{index}].operations[{place}]");
            check_supported(&field, operation, &operations, causes);
        }
        check_supported(
            &format!("{field}[{index}].scope"),
            &rule["scope"],
            &["*", "Cluster", "Namespaced"],
            causes,
        );
    }
}

/// Conditions and variables: each has a name of its own and an expression.
fn check_named(field: &str, list: &Value, known: &[&str], causes: &mut Vec<Cause>) {
    for (index, entry) in items(list).iter().enumerate() {
        let field = format!("{field}[{index}]");
        check_texts(&field, entry, &["name"], causes);
        if items(list).iter().take(index).any(|earlier| earlier["name"] == entry["name"]) {
            causes.push(Cause::duplicate(format!("{field}.name"), &entry["name"]));
        }
        check_expression(&format!("{field}.expression"), &entry["expression"], known, causes);
    }
}

fn check_validation(field: &str, validation: &Value, known: &[&str], causes: &mut Vec<Cause>) {
    check_expression(&format!("{field}.expression"), &validation["expression"], known, causes);
    if !validation["messageExpression"].is_null() {
        let field = format!("{field}.messageExpression");
        check_expression(&field, &validation["messageExpression"], known, causes);
    }
    let broken = |value: &Value| value.as_str().unwrap_or_default().trim().contains('\n');
    let message = &validation["message"];
    if broken(message) {
        causes.push(Cause::invalid(
            format!("{field}.message"),
            message,
            "message must not contain line breaks",
        ));
    }
    if message.is_null() && broken(&validation["expression"]) {
        let detail = "message must be specified if expression contains line breaks";
        causes.push(Cause::required(format!("{field}.message"), detail));
    }
    check_supported(&format!("{field}.reason"), &validation["reason"], &REASONS, causes);
}

fn check_expression(field: &str, expression: &Value, known: &[&str], causes: &mut Vec<Cause>) {
    match expression.as_str().map(str::trim).unwrap_or_default() {
        "" => causes.push(Cause::required(field, "expression is not specified")),
        text => {
            if let Err(why) = expressions::check(text, known) {
                causes.push(Cause::invalid(field, expression, &format!("compilation failed: ERROR: {why}")));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    fn policy() -> Value {
        json!({"spec": {
            "matchConstraints": {"resourceRules": [{"apiGroups": [""], "apiVersions": ["v1"],
                "operations": ["CREATE"], "resources": ["pods"]}]},
            "matchConditions": [{"name": "not-jane", "expression": "request.userInfo.username != 'jane'"}],
            "variables": [{"name": "labels", "expression": "object.metadata.?labels.orValue({})"}],
            "validations": [{"expression": "variables.labels.all(key, key != 'no')", "message": "no"}],
        }})
    }

    #[test]
    fn a_policy_is_completed_and_valid() {
        let mut policy = policy();
        complete_policy(&mut policy);
        assert_eq!(policy["spec"]["failurePolicy"], "Fail");
        assert_eq!(policy["spec"]["matchConstraints"]["objectSelector"], json!({}));
        assert_eq!(policy["spec"]["matchConstraints"]["resourceRules"][0]["scope"], "*");
        assert!(check_policy(&policy).is_empty(), "{:?}", check_policy(&policy));
    }

    #[rstest]
    #[case("/spec/validations/0/expression", json!("object.spec."), "spec.validations[0].expression")]
    #[case("/spec/validations/0/expression", json!("params.x == 1"), "spec.validations[0].expression")]
    #[case("/spec/validations/0/expression", json!("true &&\n true"), "")]
    #[case("/spec/validations/0/expression", json!(" "), "spec.validations[0].expression")]
    #[case("/spec/validations/0/message", json!("one\ntwo"), "spec.validations[0].message")]
    #[case("/spec/validations/0", json!({"expression": "true &&\n true"}), "spec.validations[0].message")]
    #[case("/spec/validations/0", json!({"expression": "true", "reason": "Never"}), "spec.validations[0].reason")]
    #[case("/spec/validations/0", json!({"expression": "true", "messageExpression": "'a' +"}), "spec.validations[0].messageExpression")]
    #[case("/spec/validations", json!([]), "spec.validations")]
    #[case("/spec/matchConditions/0/expression", json!("variables.labels == {}"), "spec.matchConditions[0].expression")]
    #[case("/spec/variables/0/name", json!(""), "spec.variables[0].name")]
    #[case("/spec/matchConstraints", Value::Null, "spec.matchConstraints")]
    #[case("/spec/matchConstraints/resourceRules", json!([]), "spec.matchConstraints.resourceRules")]
    #[case(
        "/spec/matchConstraints/resourceRules/0/operations",
        json!(["READ"]),
        "spec.matchConstraints.resourceRules[0].operations[0]"
    )]
    fn a_wrong_policy_is_refused(#[case] pointer: &str, #[case] value: Value, #[case] field: &str) {
        let mut policy = policy();
        *policy.pointer_mut(pointer).expect("in the sample") = value;
        let causes = check_policy(&policy);
        let fields: Vec<&str> = causes.iter().map(|cause| cause.field.as_str()).collect();
        let wanted: Vec<&str> = Some(field).into_iter().filter(|field| !field.is_empty()).collect();
        assert_eq!(fields, wanted, "{causes:?}");
    }

    #[rstest]
    #[case(json!({"policyName": "p", "validationActions": ["Deny"]}), &[])]
    #[case(json!({"validationActions": ["Deny"]}), &["spec.policyName"])]
    #[case(json!({"policyName": "p"}), &["spec.validationActions"])]
    #[case(json!({"policyName": "p", "validationActions": ["Deny", "Warn"]}), &["spec.validationActions"])]
    #[case(json!({"policyName": "p", "validationActions": ["Deny", "Deny"]}), &["spec.validationActions[1]"])]
    #[case(json!({"policyName": "p", "validationActions": ["Say"]}), &["spec.validationActions[0]"])]
    #[case(json!({"policyName": "p", "validationActions": ["Deny"], "paramRef": {"selector": {}}}),
        &["spec.paramRef.parameterNotFoundAction"])]
    #[case(json!({"policyName": "p", "validationActions": ["Deny"], "paramRef": {"parameterNotFoundAction": "Deny"}}),
        &["spec.paramRef"])]
    fn a_wrong_binding_is_refused(#[case] spec: Value, #[case] fields: &[&str]) {
        let causes = check_binding(&json!({"spec": spec}));
        let found: Vec<&str> = causes.iter().map(|cause| cause.field.as_str()).collect();
        assert_eq!(found, fields, "{causes:?}");
    }
}
