//! Expressions in CEL, of definitions and of admission policies: compiled once each, and JSON as CEL sees it.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use cel::common::ast::{EntryExpr, Expr, IdedExpr};
use cel::objects::Key;
use cel::{Context, Env, Program};
use serde_json::Value;

use crate::schema::Schema;

/// Compiled expressions, each compiled on first use.
#[derive(Default)]
pub(crate) struct Expressions {
    programs: Mutex<HashMap<String, Result<Arc<Program>, String>>>,
}

impl fmt::Debug for Expressions {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Expressions").finish_non_exhaustive()
    }
}

impl Expressions {
    fn compiled(&self, expression: &str) -> Result<Arc<Program>, String> {
        let mut programs = self.programs.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(program) = programs.get(expression) {
            return program.clone();
        }
        let program = compile(expression).map(Arc::new);
        programs.insert(expression.to_owned(), program.clone());
        program
    }

    /// The value of an expression. Only the variables that it mentions are asked for; one without a value is undeclared.
    pub(crate) fn evaluate(
        &self,
        expression: &str,
        variables: &[&str],
        value_of: impl Fn(&str) -> Option<cel::Value>,
    ) -> Result<cel::Value, String> {
        let program = self.compiled(expression)?;
        let mut context = Context::with_env(Arc::clone(environment()));
        let mentioned = program.references();
        for name in variables {
            if mentioned.has_variable(name)
                && let Some(value) = value_of(name)
            {
                context.add_variable_from_value(*name, value);
            }
        }
        program.execute(&context).map_err(|error| error.to_string())
    }
}

fn environment() -> &'static Arc<Env> {
    static ENVIRONMENT: OnceLock<Arc<Env>> = OnceLock::new();
    ENVIRONMENT.get_or_init(|| Arc::new(Env::stdlib()))
}

fn compile(expression: &str) -> Result<Program, String> {
    environment().compile(expression).map_err(|error| error.to_string())
}

/// What is wrong with an expression in which `known` variables have values.
///
/// # Errors
/// It does not compile, or mentions a variable that there is not.
pub(crate) fn check(expression: &str, known: &[&str]) -> Result<(), String> {
    let program = compile(expression)?;
    let mut scope = known.to_vec();
    match undeclared(program.expression(), &mut scope) {
        None => Ok(()),
        Some(name) => Err(format!("undeclared reference to '{name}' (in container '')")),
    }
}

/// The first name in an expression that is neither in scope nor the name of a type.
fn undeclared<'e>(expression: &'e IdedExpr, scope: &mut Vec<&'e str>) -> Option<&'e str> {
    const TYPES: [&str; 14] = [
        "bool",
        "bytes",
        "double",
        "int",
        "list",
        "map",
        "null_type",
        "string",
        "type",
        "uint",
        "dyn",
        "optional",
        "math",
        "google",
    ];
    match &expression.expr {
        Expr::Unspecified | Expr::Literal(_) => None,
        Expr::Ident(name) => {
            let known =
                name.starts_with('@') || TYPES.contains(&name.as_str()) || scope.contains(&name.as_str());
            (!known).then_some(name)
        }
        Expr::Call(call) => {
            let mut parts = call.target.iter().map(AsRef::as_ref).chain(&call.args);
            parts.find_map(|part| undeclared(part, scope))
        }
        Expr::Select(select) => undeclared(&select.operand, scope),
        Expr::List(list) => list.elements.iter().find_map(|element| undeclared(element, scope)),
        Expr::Map(map) => map.entries.iter().find_map(|entry| undeclared_in_entry(&entry.expr, scope)),
        Expr::Struct(of) => of.entries.iter().find_map(|entry| undeclared_in_entry(&entry.expr, scope)),
        Expr::Comprehension(of) => {
            let outside = undeclared(&of.iter_range, scope).or_else(|| undeclared(&of.accu_init, scope));
            if outside.is_some() {
                return outside;
            }
            let depth = scope.len();
            scope.extend([of.iter_var.as_str(), of.accu_var.as_str()]);
            scope.extend(of.iter_var2.as_deref());
            let inside = [&of.loop_cond, &of.loop_step, &of.result];
            let found = inside.into_iter().find_map(|part| undeclared(part, scope));
            scope.truncate(depth);
            found
        }
    }
}

fn undeclared_in_entry<'e>(entry: &'e EntryExpr, scope: &mut Vec<&'e str>) -> Option<&'e str> {
    match entry {
        EntryExpr::StructField(field) => undeclared(&field.value, scope),
        EntryExpr::MapEntry(entry) => {
            undeclared(&entry.key, scope).or_else(|| undeclared(&entry.value, scope))
        }
    }
}

/// A JSON value as CEL sees it: typed by its schema, so that a date-time is a timestamp; without one, as it stands.
pub(crate) fn to_cel(value: &Value, schema: Option<Schema<'_>>) -> cel::Value {
    match value {
        Value::Null => cel::Value::Null,
        Value::Bool(flag) => cel::Value::Bool(*flag),
        Value::Number(number) => {
            let wants_double = schema.is_some_and(|schema| schema.text("type") == Some("number"));
            match number.as_i64() {
                Some(integer) if !wants_double => cel::Value::Int(integer),
                _ => cel::Value::Float(number.as_f64().unwrap_or_default()),
            }
        }
        Value::String(text) => to_cel_text(text, schema.and_then(|schema| schema.text("format"))),
        Value::Array(items) => {
            let schema = schema.and_then(Schema::items);
            cel::Value::List(Arc::new(items.iter().map(|item| to_cel(item, schema)).collect()))
        }
        Value::Object(members) => {
            let members: HashMap<Key, cel::Value> = members
                .iter()
                .map(|(name, value)| {
                    let schema = schema.and_then(|schema| schema.member(name));
                    (Key::String(Arc::new(name.clone())), to_cel(value, schema))
                })
                .collect();
            cel::Value::Map(cel::objects::Map { map: Arc::new(members) })
        }
    }
}

fn to_cel_text(text: &str, format: Option<&str>) -> cel::Value {
    static CONVERSIONS: OnceLock<Expressions> = OnceLock::new();
    let plain = cel::Value::String(Arc::new(text.to_owned()));
    let function = match format {
        Some("date-time") => "timestamp(self)",
        Some("duration") => "duration(self)",
        _ => return plain,
    };
    let conversions = CONVERSIONS.get_or_init(Expressions::default);
    conversions.evaluate(function, &["self"], |_| Some(plain.clone())).unwrap_or(plain)
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case::known("object.spec.replicas > 1", None)]
    #[case::of_a_macro(
        "object.items.all(item, item.name != '' && object.items.exists(other, other == item))",
        None
    )]
    #[case::a_type("type(object) == map", None)]
    #[case::unknown("subject.name == ''", Some("undeclared reference to 'subject'"))]
    #[case::in_a_call("size(object) > size(subject)", Some("undeclared reference to 'subject'"))]
    #[case::after_its_macro(
        "object.all(item, item == 1) && item == 2",
        Some("undeclared reference to 'item'")
    )]
    #[case::no_expression("object.spec. ==", Some(""))]
    fn an_expression_names_only_what_there_is(#[case] expression: &str, #[case] flaw: Option<&str>) {
        let found = check(expression, &["object"]).err();
        assert_eq!(found.is_some(), flaw.is_some(), "{found:?}");
        assert!(found.as_deref().unwrap_or_default().contains(flaw.unwrap_or_default()), "{found:?}");
    }
}
