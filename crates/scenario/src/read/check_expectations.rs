//! Checks of expectations: that each asks for something its action or the journal can have.

use serde_json::Value;

use super::check::Sink;
use super::decode::suggestion;
use super::node::Segment;
use super::outcomes::{self, Member};
use crate::matching::{MATCHERS, check_matchers, is_matcher};
use crate::model::{Pattern, Scenario, Step};

const SOURCES: &[&str] = &[
    "scenario",
    "kubernetes",
    "e2b",
    "csi",
    "mounts",
    "process",
    "network",
    "oss",
    "nas",
    "fault",
    "lab",
    "agent",
];

/// The expectation of one step.
pub(super) fn of_step(step: &Step, action: &str, path: &[Segment], sink: &mut Sink<'_>) {
    let mut place = path.to_vec();
    place.push("expect".into());
    if let Some(expect) = &step.expect {
        outcome(&expect.0, action, &place, sink);
        matchers(&expect.0, &place, sink);
    }
    if let Some(eventually) = &step.eventually {
        pattern(&eventually.entry, &with(path, &["eventually", "entry"]), sink);
    }
    if let Some(holds) = &step.holds {
        pattern(&holds.entry, &with(path, &["holds", "entry"]), sink);
    }
}

fn outcome(expect: &Value, action: &str, place: &[Segment], sink: &mut Sink<'_>) {
    let members = outcomes::members(action);
    match expect {
        Value::Array(_) if action == "mounts" => {}
        Value::Object(_) if action == "mounts" && is_matcher(expect) => {}
        _ if action == "mounts" => sink.add(place, "`mounts` gives a list", "write the mounts as a list"),
        _ if members.is_empty() => {
            sink.add(place, format!("`{action}` has no outcome to compare"), "remove `expect`");
        }
        Value::Object(wanted) if wanted.is_empty() => {
            sink.add(
                place,
                "an empty `expect` holds of everything",
                "say what the outcome must be, or remove it",
            );
        }
        Value::Object(wanted) => {
            for (key, value) in wanted {
                let at = with(place, &[key]);
                match members.iter().find(|(name, _)| name == key) {
                    None => {
                        let key_place = key_place(sink, place, key);
                        let help = suggestion(key, members.iter().map(|(name, _)| *name));
                        sink.add_at(key_place, format!("the outcome of `{action}` has no `{key}`"), help);
                    }
                    Some((_, Member::Plain)) if value.is_array() => {
                        sink.add(&at, format!("`{key}` is no list"), "write one value, or a matcher");
                    }
                    Some((_, Member::Plain)) if value.is_object() && !is_matcher(value) => {
                        unknown_matcher(value, &at, sink);
                    }
                    Some(_) => {}
                }
            }
        }
        _ => sink.add(place, "an expectation is a mapping", "say which member of the outcome must be what"),
    }
}

fn unknown_matcher(value: &Value, place: &[Segment], sink: &mut Sink<'_>) {
    let keys = value.as_object().into_iter().flat_map(serde_json::Map::keys);
    for key in keys.filter(|key| !MATCHERS.contains(&key.as_str())) {
        let at = key_place(sink, place, key);
        sink.add_at(at, format!("unknown matcher `{key}`"), suggestion(key, MATCHERS.iter().copied()));
    }
}

fn matchers(expect: &Value, place: &[Segment], sink: &mut Sink<'_>) {
    if let Some((path, words)) = check_matchers(expect, &mut Vec::new()) {
        let mut at = place.to_vec();
        at.extend(path.iter().map(|segment| match segment.parse::<usize>() {
            Ok(index) => Segment::Index(index),
            Err(_) => Segment::Key(segment.clone()),
        }));
        sink.add(&at, words, format!("matchers: {}", MATCHERS.join(", ")));
    }
}

/// The expectations of the journal.
pub(super) fn journal(scenario: &Scenario, sink: &mut Sink<'_>) {
    for (index, eventually) in scenario.eventually.iter().enumerate() {
        pattern(&eventually.entry, &["eventually".into(), index.into(), "entry".into()], sink);
    }
    for (index, never) in scenario.never.iter().enumerate() {
        pattern(never, &["never".into(), index.into()], sink);
    }
    for (index, count) in scenario.count.iter().enumerate() {
        let place = [Segment::from("count"), index.into()];
        pattern(&count.entry, &with(&place, &["entry"]), sink);
        if count.exactly.or(count.at_least).or(count.at_most).is_none() {
            sink.add(&place, "`count` has no number", "give `exactly`, `atLeast` or `atMost`");
        }
    }
    for (index, order) in scenario.order.iter().enumerate() {
        let place = [Segment::from("order"), index.into(), "entries".into()];
        if order.entries.len() < 2 {
            sink.add(&place, "an order takes at least two entries", "add what comes before or after");
        }
        for (number, entry) in order.entries.iter().enumerate() {
            let mut at = place.to_vec();
            at.push(number.into());
            pattern(entry, &at, sink);
        }
    }
    for (index, pool) in scenario.pools.iter().enumerate() {
        let place = [Segment::from("pools"), index.into()];
        match (pool.untouched, pool.consumed, pool.deleted) {
            (None, None, None) => {
                sink.add(
                    &place,
                    "nothing is expected of the pool",
                    "give `untouched`, `consumed` or `deleted`",
                );
            }
            (Some(false), _, _) | (_, _, Some(false)) => sink.add(
                &place,
                "`untouched: false` and `deleted: false` hold of almost everything",
                "say how many sandboxes were `consumed`",
            ),
            (Some(true), Some(_), _) | (Some(true), _, Some(_)) => {
                sink.add(&place, "an untouched pool has consumed nothing", "remove `consumed` and `deleted`");
            }
            _ => {}
        }
    }
}

fn pattern(pattern: &Pattern, place: &[Segment], sink: &mut Sink<'_>) {
    if *pattern == Pattern::default() {
        sink.add(
            place,
            "the pattern is empty, it would match every entry",
            "give `source`, `kind`, `subject` or `body`",
        );
    }
    if let Some(source) = pattern.source.as_deref().filter(|source| !SOURCES.contains(source)) {
        let at = with(place, &["source"]);
        sink.add(&at, format!("nothing reports as `{source}`"), suggestion(source, SOURCES.iter().copied()));
    }
    if let Some(body) = &pattern.body {
        matchers(body, &with(place, &["body"]), sink);
    }
    if let Some(event) = &pattern.event {
        for (key, value) in [("reason", &event.reason), ("message", &event.message)] {
            if let Some(value) = value {
                matchers(value, &with(place, &["event", key]), sink);
            }
        }
    }
}

fn with(path: &[Segment], more: &[&str]) -> Vec<Segment> {
    path.iter().cloned().chain(more.iter().map(|&key| key.into())).collect()
}

/// The place of a key itself rather than of its value.
fn key_place(sink: &Sink<'_>, path: &[Segment], key: &str) -> super::node::Place {
    sink.node.locate_key(path, key)
}
