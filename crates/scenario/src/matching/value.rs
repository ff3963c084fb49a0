//! Comparing values: partial by default, with matchers where a value alone doesn't say it.
//!
//! A mapping is compared member by member and may have further members; a list item by item with the same length;
//! numbers by value. A mapping whose every key is one of [`MATCHERS`] asks its questions of the value instead.

use regex::Regex;
use serde::Serialize;
use serde_json::Value;

/// The names of the matchers.
pub const MATCHERS: &[&str] = &[
    "absent",
    "contains",
    "endsWith",
    "exactly",
    "greaterThan",
    "length",
    "lessThan",
    "matches",
    "not",
    "oneOf",
    "startsWith",
];

/// One place where what was is not what was expected.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub struct Difference {
    /// Where, such as `sandbox.metadata.user`.
    pub path: String,
    /// What was expected, as JSON or in words.
    pub expected: String,
    /// What was there, as JSON; `nothing` where nothing was.
    pub actual: String,
}

/// Whether a value of an expectation is a mapping of matchers.
pub(crate) fn is_matcher(value: &Value) -> bool {
    value.as_object().is_some_and(|members| {
        !members.is_empty() && members.keys().all(|key| MATCHERS.contains(&key.as_str()))
    })
}

/// Every difference between `expected` and `actual`; none means that it holds.
pub(crate) fn differences(expected: &Value, actual: Option<&Value>) -> Vec<Difference> {
    let mut found = Vec::new();
    compare(expected, actual, "", &mut found);
    found
}

fn compare(expected: &Value, actual: Option<&Value>, path: &str, found: &mut Vec<Difference>) {
    match (expected, actual) {
        (Value::Object(members), _) if is_matcher(expected) => {
            for (name, argument) in members {
                ask(name, argument, actual, path, found);
            }
        }
        (Value::Object(members), Some(Value::Object(there))) => {
            for (key, expected) in members {
                compare(expected, there.get(key), &member(path, key), found);
            }
        }
        (Value::Array(items), Some(Value::Array(there))) => {
            if items.len() != there.len() {
                let expected = format!("{} items: {}", items.len(), preview(Some(expected)));
                let text = format!("{} items: {}", there.len(), preview(actual));
                found.push(Difference { path: path.to_owned(), expected, actual: text });
                return;
            }
            for (index, (expected, actual)) in items.iter().zip(there).enumerate() {
                compare(expected, Some(actual), &format!("{path}[{index}]"), found);
            }
        }
        (expected, Some(actual)) if same(expected, actual) => {}
        (expected, actual) => differ(path, preview(Some(expected)), actual, found),
    }
}

fn ask(name: &str, argument: &Value, actual: Option<&Value>, path: &str, found: &mut Vec<Difference>) {
    let shown = || preview(Some(argument));
    let mut demand = |holds: bool, words: String| {
        if !holds {
            differ(path, words, actual, found);
        }
    };
    match name {
        "absent" => {
            let wanted = argument.as_bool().unwrap_or(true);
            let absent = actual.is_none_or(Value::is_null);
            demand(wanted == absent, if wanted { "nothing".into() } else { "something".into() });
        }
        "exactly" => {
            demand(actual.is_some_and(|actual| same(argument, actual)), format!("exactly {}", shown()));
        }
        "contains" => {
            let parts = argument.as_array().map_or(std::slice::from_ref(argument), Vec::as_slice);
            for part in parts {
                demand(contains(actual, part), format!("something that contains {}", preview(Some(part))));
            }
        }
        "startsWith" | "endsWith" => {
            let text = argument.as_str().unwrap_or_default();
            let there = actual.and_then(Value::as_str);
            let holds = there.is_some_and(|there| {
                if name == "startsWith" { there.starts_with(text) } else { there.ends_with(text) }
            });
            let verb = if name == "startsWith" { "starts" } else { "ends" };
            demand(holds, format!("text that {verb} with {}", shown()));
        }
        "matches" => {
            let expression = argument.as_str().and_then(|expression| Regex::new(expression).ok());
            let holds = expression
                .zip(actual.map(as_text))
                .is_some_and(|(expression, text)| expression.is_match(&text));
            demand(holds, format!("text that matches /{}/", argument.as_str().unwrap_or_default()));
        }
        "oneOf" => {
            let choices = argument.as_array().map_or(&[][..], Vec::as_slice);
            let holds = choices.iter().any(|choice| differences(choice, actual).is_empty());
            demand(holds, format!("one of {}", shown()));
        }
        "greaterThan" | "lessThan" => {
            let pair = actual.and_then(Value::as_f64).zip(argument.as_f64());
            let greater = name == "greaterThan";
            let holds =
                pair.is_some_and(|(there, bound)| if greater { there > bound } else { there < bound });
            demand(holds, format!("{} than {}", if greater { "greater" } else { "less" }, shown()));
        }
        "length" => {
            let length = actual.and_then(length_of);
            let holds = length.is_some_and(|length| differences(argument, Some(&length.into())).is_empty());
            let there = length.map_or_else(|| "no length".into(), |length| format!("length {length}"));
            demand(holds, format!("length {} ({there} is there)", shown()));
        }
        "not" => demand(!differences(argument, actual).is_empty(), format!("not {}", shown())),
        other => demand(false, format!("a matcher that exists, `{other}` doesn't")),
    }
}

fn contains(actual: Option<&Value>, part: &Value) -> bool {
    match (actual, part) {
        (Some(Value::String(text)), Value::String(part)) => text.contains(part.as_str()),
        (Some(Value::Array(items)), part) => {
            items.iter().any(|item| differences(part, Some(item)).is_empty())
        }
        _ => false,
    }
}

fn length_of(value: &Value) -> Option<usize> {
    match value {
        Value::String(text) => Some(text.chars().count()),
        Value::Array(items) => Some(items.len()),
        Value::Object(members) => Some(members.len()),
        _ => None,
    }
}

fn same(expected: &Value, actual: &Value) -> bool {
    match (expected, actual) {
        (Value::Number(expected), Value::Number(actual)) => {
            expected == actual
                || (expected.is_f64() || actual.is_f64()) && expected.as_f64() == actual.as_f64()
        }
        (Value::Array(expected), Value::Array(actual)) => {
            expected.len() == actual.len() && expected.iter().zip(actual).all(|(one, other)| same(one, other))
        }
        (Value::Object(expected), Value::Object(actual)) => {
            expected.len() == actual.len()
                && expected.iter().all(|(key, value)| actual.get(key).is_some_and(|there| same(value, there)))
        }
        (expected, actual) => expected == actual,
    }
}

fn differ(path: &str, expected: String, actual: Option<&Value>, found: &mut Vec<Difference>) {
    found.push(Difference { path: path.to_owned(), expected, actual: preview(actual) });
}

fn member(path: &str, key: &str) -> String {
    if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") }
}

fn as_text(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

/// A value as JSON, cut where it would fill the screen.
pub(crate) fn preview(value: Option<&Value>) -> String {
    const LONGEST: usize = 600;
    let Some(value) = value else { return "nothing".to_owned() };
    let text = value.to_string();
    let length = text.chars().count();
    if length <= LONGEST {
        return text;
    }
    format!("{}… ({length} characters)", text.chars().take(LONGEST).collect::<String>())
}

/// What is wrong with the matchers in an expectation: the path of the wrong one, and words. A mapping that has
/// matchers and other keys is taken for a misspelt matcher.
pub(crate) fn check_matchers(expected: &Value, path: &mut Vec<String>) -> Option<(Vec<String>, String)> {
    match expected {
        Value::Object(members) => {
            let matchers = members.keys().filter(|key| MATCHERS.contains(&key.as_str())).count();
            for (key, argument) in members {
                path.push(key.clone());
                if matchers == members.len()
                    && let Some(words) = check_argument(key, argument)
                {
                    return Some((path.clone(), words));
                }
                if key != "exactly"
                    && let Some(found) = check_matchers(argument, path)
                {
                    return Some(found);
                }
                path.pop();
            }
            None
        }
        Value::Array(items) => items.iter().enumerate().find_map(|(index, item)| {
            path.push(index.to_string());
            let found = check_matchers(item, path);
            path.pop();
            found
        }),
        _ => None,
    }
}

fn check_argument(name: &str, argument: &Value) -> Option<String> {
    let (fits, wanted) = match name {
        "absent" => (argument.is_boolean(), "true or false"),
        "oneOf" => (argument.is_array(), "a list"),
        "greaterThan" | "lessThan" => (argument.is_number(), "a number"),
        "startsWith" | "endsWith" => (argument.is_string(), "a text"),
        "matches" => match argument.as_str().map(Regex::new) {
            Some(Ok(_)) => (true, ""),
            Some(Err(error)) => return Some(format!("`matches` takes a regular expression: {error}")),
            None => (false, "a regular expression"),
        },
        _ => (true, ""),
    };
    (!fits).then(|| format!("`{name}` takes {wanted}"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[rstest::rstest]
    #[case::member_left_out(json!({"a": 1}), json!({"a": 1, "b": 2}))]
    #[case::numbers_by_value(json!(1), json!(1.0))]
    #[case::contains(json!({"m": {"contains": "NAS"}}), json!({"m": "a NAS volume"}))]
    #[case::contains_all(json!({"contains": ["a", "b"]}), json!("abc"))]
    #[case::contains_item(json!({"contains": {"p": 1}}), json!([{"p": 0}, {"p": 1, "q": 2}]))]
    #[case::absent(json!({"gone": {"absent": true}}), json!({}))]
    #[case::null_is_absent(json!({"absent": true}), json!(null))]
    #[case::one_of(json!({"oneOf": [400, {"greaterThan": 499}]}), json!(504))]
    #[case::two_questions(json!({"greaterThan": 1, "lessThan": 3}), json!(2))]
    #[case::matches(json!({"matches": "^a.c$"}), json!("abc"))]
    #[case::not(json!({"not": {"contains": "x"}}), json!("abc"))]
    #[case::length(json!({"length": {"lessThan": 3}}), json!([1, 2]))]
    #[case::starts(json!({"startsWith": "a", "endsWith": "c"}), json!("abc"))]
    #[case::exactly(json!({"exactly": {"a": 1}}), json!({"a": 1}))]
    fn holds(#[case] expected: Value, #[case] actual: Value) {
        assert_eq!(differences(&expected, Some(&actual)), []);
    }

    #[rstest::rstest]
    #[case::text(json!({"stdout": "a"}), json!({"stdout": "b"}), "stdout", "\"a\"", "\"b\"")]
    #[case::missing(json!({"a": {"b": 1}}), json!({"a": {}}), "a.b", "1", "nothing")]
    #[case::length(json!([1]), json!([]), "", "1 items: [1]", "0 items: []")]
    #[case::item(json!([{"a": 1}]), json!([{"a": 2}]), "[0].a", "1", "2")]
    #[case::not(json!({"not": 1}), json!(1), "", "not 1", "1")]
    #[case::present(json!({"absent": true}), json!(0), "", "nothing", "0")]
    #[case::exactly(json!({"exactly": {"a": 1}}), json!({"a": 1, "b": 2}), "", "exactly {\"a\":1}", "{\"a\":1,\"b\":2}")]
    #[case::kind(json!({"contains": "x"}), json!(7), "", "something that contains \"x\"", "7")]
    fn differs(
        #[case] expected: Value,
        #[case] actual: Value,
        #[case] path: &str,
        #[case] words: &str,
        #[case] there: &str,
    ) {
        let found = differences(&expected, Some(&actual));
        assert_eq!(found, [Difference { path: path.into(), expected: words.into(), actual: there.into() }]);
    }
}
