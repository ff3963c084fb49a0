//! Finding entries of the journal.

use journal::{Entry, source};
use regex::Regex;
use serde_json::{Map, Value};

use super::value::{Difference, differences, preview};
use crate::model::Pattern;

/// A [`Pattern`] made ready to be asked often.
#[derive(Clone, Debug)]
pub(crate) struct CompiledPattern {
    source: Option<String>,
    kind: Option<String>,
    subject: Option<(String, Regex)>,
    body: Option<Value>,
}

/// How an entry misses a pattern.
#[derive(Clone, Debug)]
pub(crate) struct Miss {
    /// Nearer misses are smaller.
    pub(crate) distance: usize,
    /// What differs.
    pub(crate) differences: Vec<Difference>,
}

impl CompiledPattern {
    pub(crate) fn new(pattern: &Pattern) -> Self {
        let event = pattern.event.as_ref();
        let subject = pattern.subject.clone().or_else(|| event.map(|_| "Event/**".to_owned()));
        Self {
            source: pattern.source.clone().or_else(|| event.map(|_| source::KUBERNETES.to_owned())),
            kind: pattern.kind.clone(),
            subject: subject.map(|glob| {
                let regex = glob_to_regex(&glob);
                (glob, regex)
            }),
            body: merge(pattern.body.as_ref(), event.map(event_body)),
        }
    }

    pub(crate) fn matches(&self, entry: &Entry) -> bool {
        self.source.as_ref().is_none_or(|source| *source == entry.source)
            && self.kind.as_ref().is_none_or(|kind| *kind == entry.kind)
            && self.subject.as_ref().is_none_or(|(_, regex)| regex.is_match(&entry.subject))
            && self.body.as_ref().is_none_or(|body| differences(body, Some(&entry.body)).is_empty())
    }

    /// Whether the entry is about the pattern's subject, and by its source.
    pub(crate) fn is_about(&self, entry: &Entry) -> bool {
        self.source.as_ref().is_none_or(|source| *source == entry.source)
            && self.subject.as_ref().is_none_or(|(_, regex)| regex.is_match(&entry.subject))
    }

    /// How far the entry is from the pattern; what is not about the same source or subject is no near miss.
    pub(crate) fn miss(&self, entry: &Entry) -> Option<Miss> {
        let mut found = Vec::new();
        let mut distance = 0;
        if let Some((glob, regex)) = &self.subject
            && !regex.is_match(&entry.subject)
        {
            distance += 100;
            found.push(text("subject", glob, &entry.subject));
        }
        if let Some(source) = self.source.as_ref().filter(|source| **source != entry.source) {
            distance += 100;
            found.push(text("source", source, &entry.source));
        }
        if let Some(kind) = self.kind.as_ref().filter(|kind| **kind != entry.kind) {
            distance += 10;
            found.push(text("kind", kind, &entry.kind));
        }
        let body = self.body.as_ref().map(|body| differences(body, Some(&entry.body))).unwrap_or_default();
        distance += body.len();
        found.extend(body.into_iter().map(|difference| Difference {
            path: if difference.path.is_empty() {
                "body".into()
            } else {
                format!("body.{}", difference.path)
            },
            ..difference
        }));
        (distance < 200).then_some(Miss { distance, differences: found })
    }

    /// The pattern in words.
    pub(crate) fn describe(&self) -> String {
        let mut parts = Vec::new();
        parts.extend(self.source.clone());
        parts.extend(self.kind.clone());
        parts.extend(self.subject.as_ref().map(|(glob, _)| glob.clone()));
        parts.extend(self.body.as_ref().map(|body| format!("with {}", preview(Some(body)))));
        parts.join(" ")
    }
}

fn text(path: &str, expected: &str, actual: &str) -> Difference {
    Difference { path: path.to_owned(), expected: expected.to_owned(), actual: actual.to_owned() }
}

fn event_body(event: &crate::model::EventPattern) -> Value {
    let mut body = Map::new();
    body.extend(event.type_.clone().map(|text| ("type".to_owned(), Value::String(text))));
    body.extend(event.reason.clone().map(|value| ("reason".to_owned(), value)));
    body.extend(event.message.clone().map(|value| ("message".to_owned(), value)));
    Value::Object(body)
}

fn merge(body: Option<&Value>, event: Option<Value>) -> Option<Value> {
    match (body, event) {
        (Some(Value::Object(body)), Some(Value::Object(mut event))) => {
            event.extend(body.clone());
            Some(Value::Object(event))
        }
        (None, event) => event,
        (Some(body), _) => Some(body.clone()),
    }
}

/// `*` is any text without a slash, `**` any text; everything else stands for itself.
fn glob_to_regex(glob: &str) -> Regex {
    let mut expression = String::from("(?s)^");
    let mut rest = glob;
    while let Some(at) = rest.find('*') {
        expression.push_str(&regex::escape(&rest[..at]));
        let double = rest[at..].starts_with("**");
        expression.push_str(if double { ".*" } else { "[^/]*" });
        rest = &rest[at + if double { 2 } else { 1 }..];
    }
    expression.push_str(&regex::escape(rest));
    expression.push('$');
    // What is escaped piece by piece is always an expression; one that matches nothing stands in for the impossible.
    Regex::new(&expression).unwrap_or_else(|_| never())
}

#[allow(clippy::expect_used, reason = "a constant expression that the tests compile")]
fn never() -> Regex {
    Regex::new("[^\\s\\S]").expect("a constant expression")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::model::EventPattern;

    fn entry(source: &str, kind: &str, subject: &str, body: Value) -> Entry {
        Entry {
            sequence: 0,
            time: jiff::Timestamp::UNIX_EPOCH,
            source: source.into(),
            kind: kind.into(),
            subject: subject.into(),
            body,
        }
    }

    #[rstest::rstest]
    #[case("Sandbox/*/x", "Sandbox/default/x", true)]
    #[case("Sandbox/*", "Sandbox/default/x", false)]
    #[case("Sandbox/**", "Sandbox/default/x", true)]
    #[case("/data-oss", "/data-oss", true)]
    #[case("a.c", "abc", false)]
    #[case("a*(b", "aa(b", true)]
    fn globs(#[case] glob: &str, #[case] subject: &str, #[case] matches: bool) {
        assert_eq!(glob_to_regex(glob).is_match(subject), matches);
    }

    #[test]
    fn an_event_is_short_for_its_source_subject_and_body() {
        let event = EventPattern { type_: Some("Warning".into()), ..EventPattern::default() };
        let pattern = CompiledPattern::new(&Pattern { event: Some(event), ..Pattern::default() });
        let body = json!({"type": "Warning", "reason": "FailedMount"});
        assert!(pattern.matches(&entry("kubernetes", "ADDED", "Event/default/x", body.clone())));
        assert!(!pattern.matches(&entry("kubernetes", "ADDED", "Pod/default/x", body)));
        assert!(!pattern.matches(&entry(
            "kubernetes",
            "ADDED",
            "Event/default/x",
            json!({"type": "Normal"})
        )));
    }

    #[test]
    fn the_impossible_expression_matches_nothing() {
        assert!(!never().is_match("") && !never().is_match("x\n"));
    }
}
