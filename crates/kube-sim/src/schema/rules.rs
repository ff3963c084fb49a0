//! Validation rules in CEL (`x-kubernetes-validations`).

use serde_json::Value;

use super::{Schema, member_path};
use crate::error::Cause;
use crate::expressions::{Expressions, to_cel};
use crate::fields::shape::{custom_list_kind, item_element};

/// The rules that an object breaks. A rule about `oldSelf` is asked only where there was a value before.
pub(crate) fn check_rules(
    object: &Value,
    old: Option<&Value>,
    schema: Schema<'_>,
    rules: &Expressions,
) -> Vec<Cause> {
    let mut causes = Vec::new();
    walk(object, old, schema, "", rules, &mut causes);
    causes
}

fn walk(
    value: &Value,
    old: Option<&Value>,
    schema: Schema<'_>,
    path: &str,
    rules: &Expressions,
    causes: &mut Vec<Cause>,
) {
    for validation in schema.list("x-kubernetes-validations") {
        causes.extend(ask(validation, value, old, schema, path, rules));
    }
    match value {
        Value::Object(members) => {
            for (name, value) in members {
                if let Some(schema) = schema.member(name) {
                    let old = old.and_then(|old| old.get(name));
                    walk(value, old, schema, &member_path(path, name), rules, causes);
                }
            }
        }
        Value::Array(items) => {
            let Some(item_schema) = schema.items() else { return };
            let kind = custom_list_kind(Some(schema.node));
            for (index, item) in items.iter().enumerate() {
                // Only items with a key can be recognised in the old list.
                let element = item_element(&kind, item);
                let before = element.and_then(|element| {
                    let old = old?.as_array()?;
                    old.iter().find(|before| item_element(&kind, before).as_ref() == Some(&element))
                });
                walk(item, before, item_schema, &format!("{path}[{index}]"), rules, causes);
            }
        }
        _ => {}
    }
}

fn ask(
    validation: &Value,
    value: &Value,
    old: Option<&Value>,
    schema: Schema<'_>,
    path: &str,
    rules: &Expressions,
) -> Option<Cause> {
    let rule = validation["rule"].as_str()?;
    if old.is_none() && mentions_old_self(rule) {
        return None;
    }
    let this = to_cel(value, Some(schema));
    let before = old.map(|old| to_cel(old, Some(schema)));
    let problem = match evaluate(rules, rule, &this, before.as_ref()) {
        Ok(cel::Value::Bool(true)) => return None,
        Ok(_) => message(validation, rule, rules, &this, before.as_ref()),
        Err(error) => format!("rule evaluation error: {error}"),
    };
    let field = match validation["fieldPath"].as_str() {
        Some(below) => format!("{path}{below}").trim_start_matches('.').to_owned(),
        None => path.to_owned(),
    };
    let reason = match validation["reason"].as_str() {
        Some("FieldValueForbidden") => "FieldValueForbidden",
        Some("FieldValueRequired") => "FieldValueRequired",
        Some("FieldValueDuplicate") => "FieldValueDuplicate",
        _ => "FieldValueInvalid",
    };
    let message = match reason {
        "FieldValueForbidden" => format!("Forbidden: {problem}"),
        "FieldValueRequired" => format!("Required value: {problem}"),
        _ => format!("Invalid value: {:?}: {problem}", schema.text("type").unwrap_or("object")),
    };
    Some(Cause { reason, field, message })
}

/// Whether a rule compares with the value before.
fn mentions_old_self(rule: &str) -> bool {
    rule.match_indices("oldSelf").any(|(at, word)| {
        let inside = |letter: Option<char>| {
            letter.is_some_and(|letter| letter.is_ascii_alphanumeric() || letter == '_')
        };
        let before = rule.get(..at).and_then(|head| head.chars().last());
        let after = rule.get(at + word.len()..).and_then(|tail| tail.chars().next());
        !inside(before) && !inside(after)
    })
}

fn message(
    validation: &Value,
    rule: &str,
    rules: &Expressions,
    this: &cel::Value,
    old: Option<&cel::Value>,
) -> String {
    if let Some(expression) = validation["messageExpression"].as_str()
        && let Ok(cel::Value::String(text)) = evaluate(rules, expression, this, old)
    {
        return text.to_string();
    }
    validation["message"].as_str().map_or_else(|| format!("failed rule: {rule}"), str::to_owned)
}

/// The value of a rule about `this`.
fn evaluate(
    rules: &Expressions,
    rule: &str,
    this: &cel::Value,
    old: Option<&cel::Value>,
) -> Result<cel::Value, String> {
    rules.evaluate(
        rule,
        &["self", "oldSelf"],
        |name| if name == "self" { Some(this.clone()) } else { old.cloned() },
    )
}

#[cfg(test)]
mod tests {
    use rstest::rstest;
    use serde_json::json;

    use super::*;

    fn broken(node: &Value, old: Option<&Value>, new: &Value) -> Vec<String> {
        let schema = json!({"type": "object", "properties": {"spec": node}});
        let wrap = |value: &Value| json!({"spec": value});
        check_rules(&wrap(new), old.map(wrap).as_ref(), Schema::custom(&schema), &Expressions::default())
            .into_iter()
            .map(|cause| format!("{}: {}", cause.field, cause.message))
            .collect()
    }

    #[rstest]
    #[case("immutable, same", "self == oldSelf", Some(json!(1)), json!(1), true)]
    #[case("immutable, changed", "self == oldSelf", Some(json!(1)), json!(2), false)]
    #[case("immutable, new", "self == oldSelf", None, json!(2), true)]
    #[case("a duration", "duration(self) >= duration('1s')", None, json!("30s"), true)]
    #[case("a short duration", "duration(self) >= duration('1s')", None, json!("100ms"), false)]
    #[case("one of two", "has(self.a) || has(self.b)", None, json!({"b": 1}), true)]
    #[case("none of two", "has(self.a) || has(self.b)", None, json!({}), false)]
    #[case("exactly one", "[has(self.a), has(self.b)].filter(x, x).size() == 1", None, json!({"a": 1, "b": 1}), false)]
    #[case("all items", "self.all(port, port > 0)", None, json!([1, 0]), false)]
    #[case("a match", "self.matches('^[a-z]+$')", None, json!("abc"), true)]
    fn rules_hold_or_not(
        #[case] what: &str,
        #[case] rule: &str,
        #[case] old: Option<Value>,
        #[case] new: Value,
        #[case] holds: bool,
    ) {
        let node = json!({"x-kubernetes-validations": [{"rule": rule, "message": "no"}]});
        assert_eq!(broken(&node, old.as_ref(), &new).is_empty(), holds, "{what}");
    }

    #[test]
    fn a_broken_rule_says_its_message() {
        let node = json!({"type": "integer", "x-kubernetes-validations": [
            {"rule": "self == oldSelf", "message": "field is immutable"},
            {"rule": "self < 2", "messageExpression": "'not ' + string(self)"},
            {"rule": "self < 2"},
        ]});
        assert_eq!(
            broken(&node, Some(&json!(1)), &json!(2)),
            [
                "spec: Invalid value: \"integer\": field is immutable",
                "spec: Invalid value: \"integer\": not 2",
                "spec: Invalid value: \"integer\": failed rule: self < 2",
            ]
        );
    }

    #[test]
    fn a_rule_that_cant_be_asked_refuses_the_object() {
        let node = json!({"x-kubernetes-validations": [{"rule": "self.missing > 1"}]});
        assert!(broken(&node, None, &json!({}))[0].contains("rule evaluation error"));
    }
}
