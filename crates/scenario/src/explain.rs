//! The plan of a scenario in words, without running it.

use std::fmt::Write as _;

use crate::engine::title;
use crate::read::{Plan, Planned};

/// What running the plan would do, in words.
pub fn explain(plan: &Plan) -> String {
    plan.scenarios.iter().map(explain_one).collect::<Vec<_>>().join("\n")
}

fn explain_one(planned: &Planned) -> String {
    let scenario = &planned.scenario;
    let mut text = format!("{} ({})\n", scenario.metadata.name, planned.source.path.display());
    if let Some(description) = &scenario.metadata.description {
        let _ = writeln!(text, "  {}", description.trim());
    }
    if !scenario.metadata.covers.is_empty() {
        let _ = writeln!(text, "  covers {}", scenario.metadata.covers.join(", "));
    }
    for (bucket, objects) in &scenario.storage.oss {
        let keys: Vec<_> = objects.keys().map(String::as_str).collect();
        let _ = writeln!(
            text,
            "  make bucket {bucket} with {}",
            if keys.is_empty() { "nothing".into() } else { keys.join(", ") }
        );
    }
    for (export, files) in &scenario.storage.nas {
        let paths: Vec<_> = files.keys().map(String::as_str).collect();
        let options = scenario.storage.exports.get(export).map(|options| serde_json::json!(options));
        let _ = writeln!(
            text,
            "  export {export} with {}{}",
            if paths.is_empty() { "nothing".into() } else { paths.join(", ") },
            options.map(|options| format!(", {options}")).unwrap_or_default()
        );
    }
    for object in &planned.objects {
        let origin =
            object.fixture.as_deref().map_or("in place".to_owned(), |name| format!("fixtures/{name}"));
        let _ = writeln!(text, "  apply {} ({origin})", object.subject());
    }
    if planned.objects.iter().any(|object| object.kind() == Some("SandboxSet")) {
        let _ = writeln!(text, "  wait until every SandboxSet is ready, at most {}", scenario.limits.ready);
    }
    for (index, step) in scenario.steps.iter().enumerate() {
        let _ = writeln!(text, "  {}. {}", index + 1, title(step));
        match &step.expect {
            Some(expect) => {
                let _ = writeln!(text, "       expect {}", expect.0);
            }
            None if step.background.is_some() => {}
            None => {
                let _ = writeln!(text, "       expect success");
            }
        }
        if let Some(within) = step.within {
            let _ = writeln!(text, "       again and again for at most {within}");
        }
    }
    let mut expectations = Vec::new();
    for (name, number) in [
        ("eventually", scenario.eventually.len()),
        ("pools", scenario.pools.len()),
        ("never", scenario.never.len()),
        ("count", scenario.count.len()),
        ("order", scenario.order.len()),
    ] {
        if number > 0 {
            expectations.push(format!("{number} of `{name}`"));
        }
    }
    if !expectations.is_empty() {
        let _ = writeln!(text, "  then ask the journal: {}", expectations.join(", "));
    }
    let left = if scenario.nothing_left { "nothing may be left" } else { "leftovers are not looked at" };
    let _ = writeln!(text, "  end every sandbox within {}; {left}", scenario.limits.cleanup);
    text
}
