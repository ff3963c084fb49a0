//! The JSON paths of printer columns, such as `.status.conditions[?(@.type=="Ready")].status`.

use serde_json::Value;

#[derive(Clone, Debug, PartialEq)]
enum Step {
    Member(String),
    Index(i64),
    Every,
    /// Items whose member path equals a value.
    Filter(Vec<String>, Value),
}

/// The first value that a path leads to; nothing for a path that can't be read.
pub(super) fn first<'v>(path: &str, object: &'v Value) -> Option<&'v Value> {
    let mut found = vec![object];
    for step in parse(path)? {
        found = found.into_iter().flat_map(|value| follow(value, &step)).collect();
    }
    found.first().copied()
}

fn follow<'v>(value: &'v Value, step: &Step) -> Vec<&'v Value> {
    match step {
        Step::Member(name) => value.get(name).into_iter().collect(),
        Step::Index(index) => {
            let items = value.as_array().map_or(&[] as &[Value], Vec::as_slice);
            let length = i64::try_from(items.len()).unwrap_or(i64::MAX);
            let at = if *index < 0 { length + index } else { *index };
            usize::try_from(at).ok().and_then(|at| items.get(at)).into_iter().collect()
        }
        Step::Every => match value {
            Value::Array(items) => items.iter().collect(),
            Value::Object(members) => members.values().collect(),
            _ => Vec::new(),
        },
        Step::Filter(path, wanted) => {
            let items = value.as_array().into_iter().flatten();
            items.filter(|item| path.iter().fold(*item, |value, name| &value[name]) == wanted).collect()
        }
    }
}

fn parse(path: &str) -> Option<Vec<Step>> {
    let path = path.trim().trim_start_matches('{').trim_end_matches('}');
    let mut rest = path.strip_prefix('$').unwrap_or(path);
    let mut steps = Vec::new();
    while !rest.is_empty() {
        if let Some(tail) = rest.strip_prefix('[') {
            let end = closing_bracket(tail)?;
            steps.push(bracket(tail.get(..end)?)?);
            rest = tail.get(end + 1..)?;
        } else {
            let tail = rest.strip_prefix('.').unwrap_or(rest);
            if tail.starts_with('[') {
                rest = tail;
                continue;
            }
            let (name, length) = member(tail);
            if length == 0 {
                return None;
            }
            steps.push(if name == "*" { Step::Every } else { Step::Member(name) });
            rest = tail.get(length..)?;
        }
    }
    Some(steps)
}

/// A member's name up to the next dot or bracket that is not escaped, and how many bytes it takes.
fn member(text: &str) -> (String, usize) {
    let mut name = String::new();
    let mut escaped = false;
    for (at, letter) in text.char_indices() {
        match letter {
            '\\' if !escaped => {
                escaped = true;
                continue;
            }
            '.' | '[' if !escaped => return (name, at),
            _ => name.push(letter),
        }
        escaped = false;
    }
    (name, text.len())
}

/// Where the bracket closes, outside of quotes.
fn closing_bracket(text: &str) -> Option<usize> {
    let mut quote = None;
    for (at, letter) in text.char_indices() {
        match (quote, letter) {
            (None, '\'' | '"') => quote = Some(letter),
            (Some(open), _) if open == letter => quote = None,
            (None, ']') => return Some(at),
            _ => {}
        }
    }
    None
}

fn bracket(text: &str) -> Option<Step> {
    let text = text.trim();
    if text == "*" {
        return Some(Step::Every);
    }
    if let Some(condition) = text.strip_prefix("?(").and_then(|text| text.strip_suffix(')')) {
        let (path, wanted) = condition.split_once("==")?;
        let path = path.trim().strip_prefix('@')?.split('.').filter(|part| !part.is_empty());
        return Some(Step::Filter(path.map(str::to_owned).collect(), literal(wanted.trim())?));
    }
    if let Ok(index) = text.parse() {
        return Some(Step::Index(index));
    }
    match literal(text)? {
        Value::String(name) => Some(Step::Member(name.replace("\\.", "."))),
        _ => None,
    }
}

fn literal(text: &str) -> Option<Value> {
    if let Some(inner) = text.strip_prefix('\'').and_then(|text| text.strip_suffix('\'')) {
        return Some(inner.into());
    }
    serde_json::from_str(text).ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rstest::rstest;
    use serde_json::json;

    use super::*;

    #[rstest]
    #[case(".status.phase", Some(json!("Running")))]
    #[case("{.status.phase}", Some(json!("Running")))]
    #[case(".metadata.labels.a\\.b/c", Some(json!("yes")))]
    #[case(".metadata.labels['a.b/c']", Some(json!("yes")))]
    #[case(".metadata.labels['a\\.b/c']", Some(json!("yes")))]
    #[case(".status.conditions[?(@.type==\"Ready\")].status", Some(json!("True")))]
    #[case(".status.conditions[?(@.type=='Absent')].status", None)]
    #[case(".status.conditions[0].type", Some(json!("Other")))]
    #[case(".status.conditions[-1].type", Some(json!("Ready")))]
    #[case(".status.conditions[*].type", Some(json!("Other")))]
    #[case(".status.missing", None)]
    #[case(".status.", None)]
    #[case("[", None)]
    fn a_path_leads_to_its_first_value(#[case] path: &str, #[case] expected: Option<Value>) {
        let object = json!({
            "metadata": {"labels": {"a.b/c": "yes"}},
            "status": {"phase": "Running", "conditions": [
                {"type": "Other", "status": "False"}, {"type": "Ready", "status": "True"},
            ]},
        });
        assert_eq!(first(path, &object).cloned(), expected, "{path}");
    }

    proptest! {
        #[test]
        fn no_path_breaks_the_parser(path in "[.\\[\\]a-z'\"?()@=*\\\\0-9$-]{0,24}") {
            let _ = parse(&path);
        }

        #[test]
        fn any_member_can_be_reached_by_escaping(name in "[a-z./-]{1,12}") {
            let path = format!(".{}", name.replace('.', "\\."));
            let object = json!({name: 1});
            prop_assert_eq!(first(&path, &object), Some(&json!(1)));
        }
    }
}
