//! Asking one policy about one request, with one object as params.

use std::cell::OnceCell;
use std::collections::HashMap;
use std::sync::Arc;

use cel::objects::{Key, Map};
use serde_json::{Value, json};

use super::{Asked, Denial};
use crate::expressions::{Expressions, to_cel};
use crate::objects::items;
use crate::state::new_uid;

/// What expressions may mention.
pub(super) const VARIABLES: [&str; 6] =
    ["object", "oldObject", "request", "namespaceObject", "params", "variables"];

/// A request as expressions see it, each part made when it is first mentioned.
pub(super) struct Request<'a> {
    asked: &'a Asked<'a>,
    namespace: Option<&'a Value>,
    object: OnceCell<cel::Value>,
    old: OnceCell<cel::Value>,
    facts: OnceCell<cel::Value>,
    namespace_object: OnceCell<cel::Value>,
}

impl<'a> Request<'a> {
    pub(super) fn new(asked: &'a Asked<'a>, namespace: Option<&'a Value>) -> Self {
        Self {
            asked,
            namespace,
            object: OnceCell::new(),
            old: OnceCell::new(),
            facts: OnceCell::new(),
            namespace_object: OnceCell::new(),
        }
    }

    fn value_of(&self, name: &str) -> Option<cel::Value> {
        let presented = |object: Option<&Value>| match object {
            Some(object) if self.asked.resource.converts() && self.asked.subresource != "scale" => {
                to_cel(&self.asked.resource.present(object), None)
            }
            other => shown(other),
        };
        let value = match name {
            "object" => self.object.get_or_init(|| presented(self.asked.object)),
            "oldObject" => self.old.get_or_init(|| presented(self.asked.old)),
            "request" => self.facts.get_or_init(|| to_cel(&facts(self.asked), None)),
            "namespaceObject" => self.namespace_object.get_or_init(|| shown(self.namespace)),
            _ => return None,
        };
        Some(value.clone())
    }
}

/// The variable `request`. As in a real one, what is empty is not there.
fn facts(asked: &Asked<'_>) -> Value {
    let resource = asked.resource;
    let (group, version, kind) = match asked.subresource {
        "eviction" => ("policy", "v1", "Eviction"),
        "binding" => ("", "v1", "Binding"),
        "scale" => ("autoscaling", "v1", "Scale"),
        _ => (resource.group.as_str(), resource.version.as_str(), resource.kind.as_str()),
    };
    let kind = json!({"group": group, "version": version, "kind": kind});
    let place = json!({"group": resource.group, "version": resource.version, "resource": resource.plural});
    let mut facts = json!({
        "uid": new_uid(), "operation": asked.operation, "userInfo": asked.caller.user_info(), "dryRun": asked.dry_run,
        "kind": kind, "requestKind": kind, "resource": place, "requestResource": place,
    });
    let texts = [
        ("name", asked.name),
        ("namespace", asked.namespace),
        ("subResource", asked.subresource),
        ("requestSubResource", asked.subresource),
    ];
    for (member, text) in texts {
        if !text.is_empty() {
            facts[member] = text.into();
        }
    }
    facts
}

/// One asking: the request, its params, and the policy's own variables.
struct Scope<'a> {
    expressions: &'a Expressions,
    request: &'a Request<'a>,
    params: Option<&'a Value>,
    params_value: OnceCell<cel::Value>,
    variables: HashMap<Key, cel::Value>,
    /// Variables that could not be evaluated, and why.
    failed: Vec<(&'a str, String)>,
}

impl<'a> Scope<'a> {
    /// The value of an expression; an error says which expression failed.
    fn evaluate(&self, expression: &str) -> Result<cel::Value, String> {
        let value_of = |name: &str| match name {
            "params" => Some(self.params_value.get_or_init(|| shown(self.params)).clone()),
            "variables" => Some(cel::Value::Map(Map { map: Arc::new(self.variables.clone()) })),
            other => self.request.value_of(other),
        };
        self.expressions.evaluate(expression, &VARIABLES, value_of).map_err(|error| {
            let culprit =
                self.failed.iter().find(|(name, _)| expression.contains(&format!("variables.{name}")));
            let why = match culprit {
                Some((name, why)) => format!("composited variable {name:?} fails to evaluate: {why}"),
                None => error,
            };
            format!("expression '{expression}' resulted in error: {why}")
        })
    }

    /// Adds the policy's variables in their order. One that fails is missed only where an expression mentions it.
    fn define(&mut self, variables: &'a [Value]) {
        for variable in variables {
            let name = variable["name"].as_str().unwrap_or_default();
            match self.evaluate(text(&variable["expression"])) {
                Ok(value) => {
                    self.variables.insert(Key::String(Arc::new(name.to_owned())), value);
                }
                Err(why) => self.failed.push((name, why)),
            }
        }
    }

    /// Whether each condition holds. One that doesn't outweighs others that fail.
    fn applies(&self, conditions: &[Value]) -> Result<bool, String> {
        let mut failures = Vec::new();
        for condition in conditions {
            match self.evaluate(text(&condition["expression"])) {
                Ok(cel::Value::Bool(true)) => {}
                Ok(_) => return Ok(false),
                Err(why) => failures.push(why),
            }
        }
        if failures.is_empty() { Ok(true) } else { Err(failures.join(", ")) }
    }

    fn message(&self, validation: &Value) -> String {
        let written =
            validation["messageExpression"].as_str().and_then(|expression| self.evaluate(expression).ok());
        if let Some(cel::Value::String(message)) = written
            && !message.trim().is_empty()
            && !message.contains('\n')
        {
            return message.trim().to_owned();
        }
        match validation["message"].as_str().filter(|message| !message.is_empty()) {
            Some(message) => message.to_owned(),
            None => format!("failed expression: {}", text(&validation["expression"]).trim()),
        }
    }
}

/// An object as expressions see it; null when there is none.
fn shown(object: Option<&Value>) -> cel::Value {
    object.map_or(cel::Value::Null, |object| to_cel(object, None))
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

/// What a policy has against a request. With `fails`, also that it can't be asked.
pub(super) fn evaluate(
    expressions: &Expressions,
    policy: &Value,
    request: &Request<'_>,
    params: Option<&Value>,
    fails: bool,
) -> Vec<Denial> {
    let mut scope = Scope {
        expressions,
        request,
        params,
        params_value: OnceCell::new(),
        variables: HashMap::new(),
        failed: Vec::new(),
    };
    match scope.applies(items(&policy["matchConditions"])) {
        Ok(true) => {}
        Err(why) if fails => return vec![Denial::failure(why)],
        Ok(false) | Err(_) => return Vec::new(),
    }
    scope.define(items(&policy["variables"]));
    let ask = |validation: &Value| match scope.evaluate(text(&validation["expression"])) {
        Ok(cel::Value::Bool(true)) => None,
        Ok(_) => {
            let reason = validation["reason"].as_str().unwrap_or("Invalid").to_owned();
            Some(Denial { reason, message: scope.message(validation) })
        }
        Err(why) => fails.then(|| Denial::failure(why)),
    };
    items(&policy["validations"]).iter().filter_map(ask).collect()
}
