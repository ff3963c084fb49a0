//! Checks that types can't express: one action a step, names that exist, expectations that can fail.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::Value;

use super::check_background::Background;
use super::check_expectations as expectations;
use super::decode::suggestion;
use super::fixtures::{FixtureObject, PLACEHOLDERS};
use super::node::{Node, Place, Segment, Shape};
use super::outcomes;

use super::Planned;
use super::problem::{Problem, Source};

use crate::model::{ACTIONS, Scenario, Step};
use crate::reference;

/// Where problems of one document go.
pub(super) struct Sink<'a> {
    pub(super) source: &'a Source,
    pub(super) node: &'a Node,
    pub(super) problems: &'a mut Vec<Problem>,
}

impl Sink<'_> {
    pub(super) fn add(&mut self, path: &[Segment], message: impl Into<String>, help: impl Into<String>) {
        let place = self.node.locate(path);
        self.add_at(place, message, help);
    }

    pub(super) fn add_at(&mut self, place: Place, message: impl Into<String>, help: impl Into<String>) {
        self.problems.push(Problem::new(self.source, place, message).help(help));
    }
}

/// Everything about one scenario.
pub(super) fn scenario(
    scenario: &Scenario,
    objects: &[FixtureObject],
    root: &Path,
    source: &Source,
    node: &Node,
    problems: &mut Vec<Problem>,
) {
    let mut sink = Sink { source, node, problems };
    metadata(scenario, &mut sink);
    steps(scenario, root, &mut sink);
    expectations::journal(scenario, &mut sink);
    placeholders(scenario, objects, &mut sink);
    exports(scenario, &mut sink);
    unused_fixtures(scenario, objects, &mut sink);
    if !has_expectation(scenario) {
        sink.add(
            &["metadata".into()],
            format!("scenario `{}` expects nothing, so it could never fail", scenario.metadata.name),
            "give a step an `expect`, or add `eventually`, `never`, `count`, `order` or `pools`",
        );
    }
}

/// Names must be unique over all files.
pub(super) fn names(scenarios: &[Planned], problems: &mut Vec<Problem>) {
    let mut seen: BTreeMap<&str, &Planned> = BTreeMap::new();
    for planned in scenarios {
        let name = planned.scenario.metadata.name.as_str();
        if let Some(first) = seen.insert(name, planned) {
            let place = planned.node.locate(&["metadata".into(), "name".into()]);
            let message = format!("a second scenario is called `{name}`");
            let help = format!("the first is in {}", first.source.path.display());
            problems.push(Problem::new(&planned.source, place, message).help(help));
        }
    }
}

fn metadata(scenario: &Scenario, sink: &mut Sink<'_>) {
    let name = &scenario.metadata.name;
    let fits = !name.is_empty()
        && name.len() <= 63
        && name.chars().all(|character| character.is_ascii_alphanumeric() || character == '-');
    if !fits {
        sink.add(
            &["metadata".into(), "name".into()],
            format!("`{name}` can't be a scenario's name"),
            "use 1 to 63 letters, digits and hyphens: it names a folder of the report",
        );
    }
}

fn has_expectation(scenario: &Scenario) -> bool {
    let journal = scenario.eventually.len()
        + scenario.never.len()
        + scenario.count.len()
        + scenario.order.len()
        + scenario.pools.len();
    let asks = |step: &Step| step.expect.is_some() || step.eventually.is_some() || step.holds.is_some();
    journal > 0 || scenario.steps.iter().any(asks)
}

fn steps(scenario: &Scenario, root: &Path, sink: &mut Sink<'_>) {
    let mut known: Vec<String> = reference::BUILT_IN.iter().map(|&name| name.to_owned()).collect();
    let mut background = Background::default();
    for (index, step) in scenario.steps.iter().enumerate() {
        let path = [Segment::from("steps"), index.into()];
        let actions = step.actions();
        let &[action] = actions.as_slice() else {
            let message = match actions.as_slice() {
                [] => "the step has no action".to_owned(),
                several => format!("the step has {} actions: {}", several.len(), several.join(", ")),
            };
            let all = ACTIONS.join(", ");
            sink.add(&path, message, format!("a step has exactly one of: {all}"));
            continue;
        };
        references(sink, &path, &known);
        arguments(step, &path, root, sink);
        names_used(step, &path, &known, sink);
        let action = background.step(step, action, &path, &mut known, sink);
        expectations::of_step(step, action, &path, sink);
        if step.within.is_some() && !outcomes::only_looks(action) {
            sink.add(
                &[path[0].clone(), path[1].clone(), "within".into()],
                format!("`{action}` can't be repeated until it fits, it changes something each time"),
                "use `within` with an action that only looks, such as `get`, `read` or `mounts`",
            );
        }
        if let Some((name, key)) = name_given(step) {
            if known.contains(name) {
                sink.add(
                    &[path[0].clone(), path[1].clone(), key.into(), "as".into()],
                    format!("the name `{name}` is taken"),
                    "every `as` of a scenario gives a new name",
                );
            }
            // A name that is given in the background is known from the join on.
            if step.background.is_none() {
                known.push(name.clone());
            }
        }
    }
    background.never_joined(sink);
}

pub(super) fn name_given(step: &Step) -> Option<(&String, &'static str)> {
    if let Some(adopt) = &step.adopt {
        return Some((&adopt.name, "adopt"));
    }
    let create = step.create.as_ref().map(|step| (&step.name, "create"));
    let connect = step.connect.as_ref().map(|step| (&step.name, "connect"));
    let snapshot = step.snapshot.as_ref().map(|step| (&step.name, "snapshot"));
    let run = step.run.as_ref().map(|step| (&step.name, "run"));
    let get = step.get.as_ref().map(|step| (&step.name, "get"));
    let fault = step.fault.as_ref().map(|step| (&step.name, "fault"));
    let shell = step.shell.as_ref().map(|step| (&step.name, "shell"));
    let kubectl = step.kubectl.as_ref().map(|step| (&step.name, "kubectl"));
    let (name, key) = create.or(connect).or(snapshot).or(run).or(get).or(fault).or(shell).or(kubectl)?;
    name.as_ref().map(|name| (name, key))
}

/// Every `${name.field}` in the step begins with a name that is known by then.
fn references(sink: &mut Sink<'_>, path: &[Segment], known: &[String]) {
    let mut found = Vec::new();
    let Some(step) = step_node(sink.node, path) else { return };
    collect_references(step, &mut found);
    for (root, place) in found {
        if !known.contains(&root) {
            let help = suggestion(&root, known.iter().map(String::as_str));
            sink.add_at(place, format!("`{root}` is not known at this step"), help);
        }
    }
}

fn step_node<'a>(node: &'a Node, path: &[Segment]) -> Option<&'a Node> {
    let [_, Segment::Index(index)] = path else { return None };
    match &node.member("steps")?.node.shape {
        Shape::Items(items) => items.get(*index),
        _ => None,
    }
}

fn collect_references(node: &Node, found: &mut Vec<(String, Place)>) {
    match &node.shape {
        Shape::Scalar(Value::String(text)) => {
            found.extend(reference::roots(text).into_iter().map(|root| (root.to_owned(), node.place)));
        }
        Shape::Scalar(_) => {}
        Shape::Items(items) => items.iter().for_each(|item| collect_references(item, found)),
        Shape::Members(members) => {
            for member in members {
                found.extend(
                    reference::roots(&member.key).into_iter().map(|root| (root.to_owned(), member.place)),
                );
                collect_references(&member.node, found);
            }
        }
    }
}

/// Sandboxes and faults that a step is about must have been named before; an id is known by its `--`.
fn names_used(step: &Step, path: &[Segment], known: &[String], sink: &mut Sink<'_>) {
    let in_sandbox = [
        step.run.as_ref().map(|step| (&step.sandbox, "run", "in")),
        step.write.as_ref().map(|step| (&step.sandbox, "write", "in")),
        step.read.as_ref().map(|step| (&step.sandbox, "read", "in")),
        step.list.as_ref().map(|step| (&step.sandbox, "list", "in")),
        step.mounts.as_ref().map(|step| (&step.sandbox, "mounts", "in")),
        step.connect.as_ref().map(|step| (&step.sandbox, "connect", "sandbox")),
        step.info.as_ref().map(|step| (&step.sandbox, "info", "sandbox")),
        step.timeout.as_ref().map(|step| (&step.sandbox, "timeout", "sandbox")),
        step.pause.as_ref().map(|step| (&step.sandbox, "pause", "sandbox")),
        step.resume.as_ref().map(|step| (&step.sandbox, "resume", "sandbox")),
        step.snapshot.as_ref().map(|step| (&step.sandbox, "snapshot", "sandbox")),
        step.snapshots.as_ref().and_then(|step| Some((step.sandbox.as_ref()?, "snapshots", "sandbox"))),
        step.kill.as_ref().map(|step| (&step.sandbox, "kill", "sandbox")),
        step.heal.as_ref().map(|step| (&step.fault, "heal", "fault")),
    ];
    for (name, action, key) in in_sandbox.into_iter().flatten() {
        let is_id = name.contains("--") || name.contains("${");
        if !is_id && !known.contains(name) {
            let mut place = path.to_vec();
            place.extend([action.into(), key.into()]);
            let help = suggestion(name, known.iter().map(String::as_str));
            sink.add(&place, format!("no step before this one gives the name `{name}`"), help);
        }
    }
}

/// Members that exclude or need one another.
fn arguments(step: &Step, path: &[Segment], root: &Path, sink: &mut Sink<'_>) {
    let mut one_of = |action: &str, given: &[(&str, bool)]| {
        let there: Vec<_> = given.iter().filter(|(_, there)| *there).map(|(name, _)| *name).collect();
        if there.len() != 1 {
            let names: Vec<_> = given.iter().map(|(name, _)| *name).collect();
            let mut place = path.to_vec();
            place.push(action.into());
            let message =
                format!("`{action}` takes exactly one of {}, it has {}", names.join(", "), there.len());
            sink.add(&place, message, "remove or add one");
        }
    };
    if let Some(apply) = &step.apply {
        one_of("apply", &[("fixture", apply.fixture.is_some()), ("object", apply.object.is_some())]);
    }
    if let Some(program) = step.user_program() {
        one_of(program.action, &[("script", program.script.is_some()), ("code", program.code.is_some())]);
    }
    if let Some(oss) = &step.oss {
        one_of(
            "oss",
            &[
                ("put", oss.put.is_some()),
                ("get", oss.get.is_some()),
                ("list", oss.list.is_some()),
                ("delete", oss.delete.is_some()),
            ],
        );
        one_of(
            "oss",
            &[("get, list or delete", oss.put.is_none()), ("put with content", oss.content.is_some())],
        );
    }
    if let Some(nas) = &step.nas {
        one_of(
            "nas",
            &[
                ("get", nas.get.is_some()),
                ("look", nas.look.is_some()),
                ("list", nas.list.is_some()),
                ("put", nas.put.is_some()),
                ("directory", nas.directory.is_some()),
                ("symlink", nas.symlink.is_some()),
                ("delete", nas.delete.is_some()),
                ("export", nas.export.is_some()),
            ],
        );
        let goes_with = [
            ("put", "content", nas.put.is_some(), nas.content.is_some()),
            ("symlink", "to", nas.symlink.is_some(), nas.to.is_some()),
            ("export", "options", nas.export.is_some(), nas.options.is_some()),
        ];
        for (what, with, _, _) in goes_with.into_iter().filter(|(.., there, given)| there != given) {
            let mut place = path.to_vec();
            place.push("nas".into());
            sink.add(&place, format!("`{what}` and `{with}` go together"), "remove or add one");
        }
    }
    let apply =
        step.apply.as_ref().and_then(|apply| apply.fixture.as_ref()).map(|file| (file, "apply", "fixture"));
    let program = step.user_program();
    let script = program.and_then(|program| Some((program.script?, program.action, "script")));
    for (file, action, key) in apply.into_iter().chain(script) {
        if !root.join("fixtures").join(file).is_file() {
            let mut place = path.to_vec();
            place.extend([action.into(), key.into()]);
            let folder = root.join("fixtures");
            sink.add(
                &place,
                format!("there is no {file} in {}", folder.display()),
                "paths start at `fixtures/`",
            );
        }
    }
}

fn placeholders(scenario: &Scenario, objects: &[FixtureObject], sink: &mut Sink<'_>) {
    for name in scenario.placeholders.keys() {
        if !PLACEHOLDERS.contains(&name.as_str()) {
            let place = sink.node.locate_key(&["placeholders".into()], name);
            let help = suggestion(name, PLACEHOLDERS.iter().copied());
            sink.add_at(place, format!("unknown placeholder `{name}`"), help);
        }
    }
    let needs_export = objects.iter().any(|object| object.object.to_string().contains("<NAS_SERVER>"));
    if needs_export && scenario.storage.nas.is_empty() && !scenario.placeholders.contains_key("NAS_SERVER") {
        sink.add(
            &["fixtures".into()],
            "a fixture has the placeholder <NAS_SERVER>, but the scenario has no export",
            "add one under `storage.nas`, or give `placeholders.NAS_SERVER`",
        );
    }
    let needs_bucket = objects.iter().any(|object| object.object.to_string().contains("<OSS_BUCKET>"));
    if needs_bucket && scenario.storage.oss.is_empty() && !scenario.placeholders.contains_key("OSS_BUCKET") {
        sink.add(
            &["fixtures".into()],
            "a fixture has the placeholder <OSS_BUCKET>, but the scenario has no bucket",
            "add one under `storage.oss`, or give `placeholders.OSS_BUCKET`",
        );
    }
}

/// Exports are absolute paths, files of theirs are below, and options are for exports that are there.
fn exports(scenario: &Scenario, sink: &mut Sink<'_>) {
    let storage = &scenario.storage;
    let at = |member: &str| [Segment::from("storage"), member.into()];
    for (export, files) in &storage.nas {
        let is_path = export.starts_with('/') && (export == "/" || !export.ends_with('/'));
        if !is_path {
            let place = sink.node.locate_key(&at("nas"), export);
            sink.add_at(
                place,
                format!("`{export}` can't be an export"),
                "an export is a path such as `/share`",
            );
        }
        for file in files.keys().filter(|file| file.starts_with('/')) {
            let mut path = at("nas").to_vec();
            path.push(export.as_str().into());
            let place = sink.node.locate_key(&path, file);
            let help = "a file is named by its path below the export, such as `data/hello.txt`";
            sink.add_at(place, format!("`{file}` is not below the export"), help);
        }
    }
    for export in storage.exports.keys().filter(|export| !storage.nas.contains_key(*export)) {
        let place = sink.node.locate_key(&at("exports"), export);
        let help = suggestion(export, storage.nas.keys().map(String::as_str));
        sink.add_at(place, format!("`{export}` is no export under `storage.nas`"), help);
    }
}

/// A fixture is used when the name of one of its objects occurs in the steps, in an expectation, or in an object of
/// another file.
fn unused_fixtures(scenario: &Scenario, objects: &[FixtureObject], sink: &mut Sink<'_>) {
    let mut text = String::new();
    for part in ["steps", "eventually", "never", "count", "order", "pools"] {
        text.extend(sink.node.member(part).map(|member| member.node.to_value().to_string()));
    }
    for (index, fixture) in scenario.fixtures.iter().enumerate() {
        let (mine, others): (Vec<_>, Vec<_>) =
            objects.iter().partition(|object| object.fixture.as_ref() == Some(fixture));
        let is_used = mine.is_empty()
            || mine.iter().filter_map(|object| object.name()).any(|name| {
                mentions(&text, name) || others.iter().any(|other| mentions(&other.object.to_string(), name))
            })
            || reads_through_script(scenario);
        if !is_used {
            let names: Vec<_> = mine.iter().map(|object| object.subject()).collect();
            sink.add(
                &["fixtures".into(), index.into()],
                format!("fixture {fixture} is not used: nothing mentions {}", names.join(" or ")),
                "remove it, or use its objects in a step",
            );
        }
    }
}

/// A script is not searched for names, so fixtures count as used where one runs.
fn reads_through_script(scenario: &Scenario) -> bool {
    scenario.steps.iter().filter_map(Step::user_program).any(|program| program.script.is_some())
}

/// Whether `name` occurs in `text` as a whole name.
fn mentions(text: &str, name: &str) -> bool {
    let part_of_name = |character: char| character.is_ascii_alphanumeric() || "-.".contains(character);
    text.match_indices(name).any(|(at, _)| {
        let before = text[..at].chars().next_back();
        let after = text[at + name.len()..].chars().next();
        !before.is_some_and(part_of_name) && !after.is_some_and(|after| part_of_name(after) && after != '.')
    })
}
