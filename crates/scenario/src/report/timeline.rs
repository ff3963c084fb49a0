//! What happened when, as lanes: one row per source of the journal, time from left to right.
//!
//! A stretch in which nothing happens (an `advance` of the clock, a deadline that passes) is drawn short and marked, so
//! that what surrounds it can still be told apart.

use jiff::Timestamp;
use journal::{Entry, source};
use serde::Serialize;
use serde_json::Value;

use crate::matching::preview;

/// The longest stretch without an entry that is drawn in proportion, in seconds.
const LONGEST_STRETCH: f64 = 2.0;
/// Marks beyond this are left out of a lane: they would only cover each other.
const MOST_MARKS: usize = 300;

/// One row.
#[derive(Debug, PartialEq, Serialize)]
pub(super) struct Lane {
    name: &'static str,
    marks: Vec<Mark>,
}

/// Something that happened, or went on for a while.
#[derive(Debug, PartialEq, Serialize)]
pub(super) struct Mark {
    /// Where it begins, in percent of the width.
    left: f64,
    /// How wide it is, in percent; 0 for what has no length.
    width: f64,
    /// Whether somebody should look at it.
    bad: bool,
    title: String,
}

/// A stretch that is drawn shorter than it was.
#[derive(Debug, PartialEq, Serialize)]
pub(super) struct Break {
    /// Where it is, in percent.
    left: f64,
    /// How long it was, in seconds.
    seconds: String,
}

/// The lanes of a journal.
#[derive(Debug, Default, PartialEq, Serialize)]
pub(super) struct Timeline {
    lanes: Vec<Lane>,
    breaks: Vec<Break>,
}

/// A row's name and which entries are in it.
type Picked = (&'static str, fn(&Entry) -> bool);

/// The rows from top to bottom. Changes of Kubernetes objects are left out but for events: there are too many.
const LANES: [Picked; 9] = [
    ("steps", |entry| entry.source == source::SCENARIO && entry.kind == "outcome"),
    ("E2B API", |entry| entry.source == source::E2B),
    ("events", |entry| entry.subject.starts_with("Event/") && entry.kind == "ADDED"),
    ("faults", |entry| entry.source == source::FAULT),
    ("agent", |entry| entry.source == source::AGENT),
    ("CSI", |entry| entry.source == source::CSI),
    ("mounts", |entry| entry.source == source::MOUNTS),
    ("processes", |entry| entry.source == source::PROCESS),
    ("storage", |entry| [source::OSS, source::NAS].contains(&entry.source.as_str())),
];

impl Timeline {
    /// Draws what is in `entries`, in their order.
    pub(super) fn of(entries: &[Entry]) -> Self {
        let scale = Scale::of(entries);
        let lane = |(name, picks): &Picked| {
            let picked = entries.iter().filter(|entry| picks(entry)).take(MOST_MARKS);
            let marks = picked.map(|entry| scale.mark(entry, begin(entry, entries))).collect();
            Lane { name, marks }
        };
        let lanes = LANES.iter().map(lane).filter(|lane| !lane.marks.is_empty()).collect();
        Self { lanes, breaks: scale.breaks }
    }
}

/// When what an entry tells of began: an entry is written at the end and says how long it took.
fn begin(entry: &Entry, entries: &[Entry]) -> Timestamp {
    if entry.source == source::SCENARIO {
        let mut steps =
            entries.iter().filter(|other| other.source == source::SCENARIO && other.kind == "step");
        return steps.find(|step| step.subject == entry.subject).map_or(entry.time, |step| step.time);
    }
    let milliseconds = entry.body.get("milliseconds").and_then(Value::as_f64).unwrap_or_default();
    let length = std::time::Duration::try_from_secs_f64(milliseconds / 1000.0).unwrap_or_default();
    entry.time.checked_sub(length).unwrap_or(entry.time)
}

/// Turns times into places.
struct Scale {
    /// Times in order, each with its place in seconds of drawn time.
    points: Vec<(Timestamp, f64)>,
    breaks: Vec<Break>,
}

impl Scale {
    fn of(entries: &[Entry]) -> Self {
        let mut times: Vec<Timestamp> = entries.iter().map(|entry| entry.time).collect();
        times.sort_unstable();
        times.dedup();
        let mut points: Vec<(Timestamp, f64)> = Vec::with_capacity(times.len());
        let mut cut = Vec::new();
        for time in times {
            let place = points.last().map_or(0.0, |(before, place)| {
                let stretch = time.duration_since(*before).as_secs_f64();
                if stretch > LONGEST_STRETCH {
                    cut.push((place + LONGEST_STRETCH / 2.0, stretch));
                }
                place + stretch.min(LONGEST_STRETCH)
            });
            points.push((time, place));
        }
        let mut scale = Self { points, breaks: Vec::new() };
        let percent = |(place, stretch): (f64, f64)| Break {
            left: scale.percent(place),
            seconds: format!("{stretch:.1}"),
        };
        scale.breaks = cut.into_iter().map(percent).collect();
        scale
    }

    fn mark(&self, entry: &Entry, begin: Timestamp) -> Mark {
        let (left, right) = (self.percent(self.place(begin)), self.percent(self.place(entry.time)));
        Mark { left, width: (right - left).max(0.0), bad: is_bad(entry), title: title(entry) }
    }

    /// The place of a time, in seconds of drawn time; between two entries in proportion.
    fn place(&self, time: Timestamp) -> f64 {
        let after = self.points.partition_point(|(point, _)| *point < time);
        let Some((next, next_place)) = self.points.get(after) else {
            return self.points.last().map_or(0.0, |(_, place)| *place);
        };
        let Some((before, place)) = after.checked_sub(1).and_then(|before| self.points.get(before)) else {
            return *next_place;
        };
        let whole = next.duration_since(*before).as_secs_f64();
        let part = time.duration_since(*before).as_secs_f64();
        place + (next_place - place) * (part / whole).clamp(0.0, 1.0)
    }

    fn percent(&self, place: f64) -> f64 {
        let whole = self.points.last().map_or(0.0, |(_, place)| *place);
        if whole > 0.0 { (place * 100_000.0 / whole).round() / 1000.0 } else { 0.0 }
    }
}

/// Whether an entry tells of something that went wrong.
fn is_bad(entry: &Entry) -> bool {
    let body = &entry.body;
    let code_is_bad = body.get("code").and_then(Value::as_str).is_some_and(|code| code != "Ok");
    let status_is_bad = body.get("status").and_then(Value::as_u64).is_some_and(|status| status >= 400);
    let killed = body.get("exitCode").and_then(Value::as_i64).is_some_and(|code| code != 0);
    match entry.source.as_str() {
        source::KUBERNETES => body["type"] == "Warning",
        source::SCENARIO => body["held"] == false,
        source::CSI => code_is_bad,
        source::PROCESS => killed,
        source::FAULT => true,
        source::NAS => {
            let status = body.get("status").and_then(Value::as_str);
            body.get("error").is_some() || status.is_some_and(|status| status != "MNT3_OK")
        }
        _ => status_is_bad,
    }
}

/// What is shown when one points at it.
fn title(entry: &Entry) -> String {
    let text = |pointer: &str| entry.body.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
    match entry.source.as_str() {
        source::KUBERNETES => format!("{}: {}", text("/reason"), text("/message")),
        source::SCENARIO => format!("{}: {}", entry.subject, text("/title")),
        _ if entry.body.is_null() => format!("{} {}", entry.kind, entry.subject),
        _ => format!("{} {} {}", entry.kind, entry.subject, preview(Some(&entry.body))),
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;
    use serde_json::json;

    use super::*;

    /// An entry at so many milliseconds.
    fn entry(at: i64, source: &str, kind: &str, body: Value) -> Entry {
        Entry {
            sequence: 0,
            time: Timestamp::from_millisecond(1_000_000 + at).expect("a time"),
            source: source.to_owned(),
            kind: kind.to_owned(),
            subject: "step 1".to_owned(),
            body,
        }
    }

    fn places(timeline: &Timeline, lane: &str) -> Vec<(f64, f64)> {
        let lane = timeline.lanes.iter().find(|it| it.name == lane).expect("a lane");
        lane.marks.iter().map(|mark| (mark.left, mark.width)).collect()
    }

    #[test]
    fn steps_reach_from_their_start_to_their_outcome_and_calls_as_long_as_they_took() {
        let timeline = Timeline::of(&[
            entry(0, source::SCENARIO, "step", Value::Null),
            entry(500, source::E2B, "POST /sandboxes", json!({"milliseconds": 250.0})),
            entry(1000, source::SCENARIO, "outcome", json!({"held": true, "title": "create"})),
        ]);
        assert_eq!(places(&timeline, "steps"), [(0.0, 100.0)]);
        assert_eq!(places(&timeline, "E2B API"), [(25.0, 25.0)]);
        assert_eq!(timeline.breaks, []);
    }

    #[test]
    fn a_clock_that_jumps_is_drawn_short_and_marked() {
        let timeline = Timeline::of(&[
            entry(0, source::CSI, "NodePublishVolume", json!({"code": "Ok"})),
            entry(1000, source::CSI, "NodePublishVolume", json!({"code": "Ok"})),
            entry(301_000, source::CSI, "NodePublishVolume", json!({"code": "Internal"})),
            entry(302_000, source::CSI, "NodePublishVolume", json!({"code": "Ok"})),
        ]);
        assert_eq!(places(&timeline, "CSI"), [(0.0, 0.0), (25.0, 0.0), (75.0, 0.0), (100.0, 0.0)]);
        assert_eq!(timeline.breaks, [Break { left: 50.0, seconds: "300.0".to_owned() }]);
    }

    #[rstest]
    #[case(source::CSI, json!({"code": "Internal"}), true)]
    #[case(source::CSI, json!({"code": "Ok"}), false)]
    #[case(source::OSS, json!({"status": 404}), true)]
    #[case(source::OSS, json!({"status": 206}), false)]
    #[case(source::NAS, json!({"status": "MNT3ERR_NOENT"}), true)]
    #[case(source::NAS, json!({"status": "MNT3_OK"}), false)]
    #[case(source::NAS, json!({"error": "NFS3ERR_NOSPC"}), true)]
    #[case(source::NAS, json!({"calls": {"READ": 1}}), false)]
    #[case(source::PROCESS, json!({"exitCode": 137}), true)]
    #[case(source::PROCESS, json!({"exitCode": 0}), false)]
    #[case(source::KUBERNETES, json!({"type": "Warning"}), true)]
    #[case(source::KUBERNETES, json!({"type": "Normal"}), false)]
    #[case(source::SCENARIO, json!({"held": false}), true)]
    #[case(source::FAULT, Value::Null, true)]
    fn what_somebody_should_look_at(#[case] source: &str, #[case] body: Value, #[case] bad: bool) {
        assert_eq!(is_bad(&entry(0, source, "kind", body)), bad);
    }

    #[test]
    fn an_empty_journal_has_no_lanes() {
        assert_eq!(Timeline::of(&[]), Timeline::default());
    }
}
