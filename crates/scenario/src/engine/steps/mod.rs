//! Carrying out one step and comparing its outcome with what was expected.

mod control;
pub(super) mod exports;
mod files;
mod outside;
mod platform;
mod storage;

use std::time::Duration;

use e2b_client::ClientError;
use serde_json::{Map, Value};
use tokio::time::Instant;

use super::background::Background;
use super::context::{Context, StepError};
use super::failure::{Failure, recent};
use super::judge::{self as journal, Judgement};
use crate::matching::{Difference, differences};
use crate::model::Step;

/// How often an action with `within` is repeated.
const PAUSE: Duration = Duration::from_millis(50);

/// What an action did.
#[derive(Clone, Debug)]
pub(super) struct Outcome {
    /// What an expectation is compared with.
    pub(super) value: Value,
    /// Why the action counts as failed where nothing is expected of it; absent when it succeeded.
    pub(super) trouble: Option<String>,
}

impl Outcome {
    fn success(value: Value) -> Self {
        Self { value, trouble: None }
    }
}

/// A step that was carried out.
pub(super) struct Carried {
    /// Its outcome, for the journal; concealed.
    pub(super) outcome: Value,
    /// Why it doesn't hold.
    pub(super) failure: Option<Failure>,
}

/// Members of an expectation that say something about failing, so that success is no longer taken for granted.
const ABOUT_FAILURE: &[&str] = &["status", "code", "message", "exitCode", "error", "answered"];

/// Carries out a step, again and again where it says `within`. One that says `background` is only started, and a
/// `join` waits for it.
pub(super) async fn carry_out<'a>(
    context: &'a Context<'_>,
    background: &mut Background<'a>,
    step: &'a Step,
    part: &str,
    place: &str,
) -> Carried {
    if let Some(name) = &step.background {
        let part = part.to_owned();
        background.start(name, async move { act(context, step, &part).await });
        return Carried { outcome: Value::Null, failure: None };
    }
    if let Some(name) = &step.join {
        let finished = background.join(name).await;
        let (outcome, failure) = judge(context, step, part, place, finished);
        return Carried { outcome, failure };
    }
    background.beside(in_foreground(context, step, part, place)).await
}

async fn in_foreground(context: &Context<'_>, step: &Step, part: &str, place: &str) -> Carried {
    if let Some(asked) = journal_step(context, step, part, place).await {
        return Carried { outcome: Value::Null, failure: asked.err().map(|failure| *failure) };
    }
    let end = step.within.map(|within| (Instant::now() + within.0, within));
    loop {
        let (outcome, failure) = once(context, step, part, place).await;
        match (failure, end) {
            (Some(_), Some((end, _))) if Instant::now() < end => tokio::time::sleep(PAUSE).await,
            (Some(mut failure), Some((_, within))) => {
                failure.message = format!("not within {within}; at the last try: {}", failure.message);
                return Carried { outcome, failure: Some(failure) };
            }
            (failure, _) => return Carried { outcome, failure },
        }
    }
}

async fn journal_step(context: &Context<'_>, step: &Step, part: &str, place: &str) -> Option<Judgement> {
    let limits = context.planned.scenario.limits;
    if let Some(eventually) = &step.eventually {
        let mut filled = eventually.clone();
        if let Err(failure) = fill_pattern(context, &mut filled.entry, part, place) {
            return Some(Err(failure));
        }
        return Some(journal::eventually(context.journal(), &filled, limits.eventually.0, part, place).await);
    }
    let mut filled = step.holds.clone()?;
    if let Err(failure) = fill_pattern(context, &mut filled.entry, part, place) {
        return Some(Err(failure));
    }
    Some(journal::holds(context.journal(), &filled, part, place).await)
}

fn fill_pattern(
    context: &Context<'_>,
    pattern: &mut crate::model::Pattern,
    part: &str,
    place: &str,
) -> Judgement {
    let fill = |text: &mut Option<String>| -> Result<(), StepError> {
        if let Some(text) = text {
            *text = context.fill(text)?;
        }
        Ok(())
    };
    let filled = fill(&mut pattern.subject).and_then(|()| fill(&mut pattern.kind)).and_then(|()| {
        if let Some(body) = &mut pattern.body {
            *body = context.fill_value(body)?;
        }
        Ok(())
    });
    filled.map_err(|error| Box::new(Failure::new(part, place, error.to_string())))
}

async fn once(context: &Context<'_>, step: &Step, part: &str, place: &str) -> (Value, Option<Failure>) {
    let finished = act(context, step, part).await;
    judge(context, step, part, place, finished)
}

/// The outcome as the journal may have it, and why it isn't what the step expects.
fn judge(
    context: &Context<'_>,
    step: &Step,
    part: &str,
    place: &str,
    finished: Result<Outcome, StepError>,
) -> (Value, Option<Failure>) {
    let expect = match step.expect.as_ref().map(|expect| context.fill_value(&expect.0)).transpose() {
        Ok(expect) => expect,
        Err(error) => return (Value::Null, Some(failure(context, step, part, place, &error.to_string()))),
    };
    match finished {
        Err(error) => (Value::Null, Some(failure(context, step, part, place, &error.to_string()))),
        Ok(outcome) => {
            if may_show_no_secret(step) {
                context.journal().inspect(&format!("the outcome of {part}"), &outcome.value.to_string());
            }
            let found = compare(expect.as_ref(), &outcome);
            let failed = (!found.is_empty()).then(|| {
                let words =
                    outcome.trouble.clone().unwrap_or_else(|| "the outcome is not as expected".into());
                Failure { differences: found, ..failure(context, step, part, place, &words) }
            });
            (context.conceal_value(outcome.value), failed)
        }
    }
}

/// Whether the outcome comes from the system itself: an object may be a Secret, and programs outside know the keys.
fn may_show_no_secret(step: &Step) -> bool {
    let is_object = step.get.is_some() || step.apply.is_some() || step.patch.is_some();
    !is_object && step.shell.is_none() && step.kubectl.is_none()
}

fn compare(expect: Option<&Value>, outcome: &Outcome) -> Vec<Difference> {
    let says_of_failure = expect
        .and_then(Value::as_object)
        .is_some_and(|members| members.keys().any(|key| ABOUT_FAILURE.contains(&key.as_str())));
    let mut found = expect.map(|expect| differences(expect, Some(&outcome.value))).unwrap_or_default();
    if let Some(trouble) = outcome.trouble.as_ref().filter(|_| !says_of_failure) {
        found.insert(
            0,
            Difference { path: String::new(), expected: "success".into(), actual: trouble.clone() },
        );
    }
    found
}

fn failure(context: &Context<'_>, step: &Step, part: &str, place: &str, words: &str) -> Failure {
    let about: Vec<String> = sandbox_of(step)
        .and_then(|name| context.sandbox(name).ok())
        .map(|made| vec![made.pod])
        .unwrap_or_default();
    Failure { entries: recent(context.journal(), &about), ..Failure::new(part, place, words) }
}

fn sandbox_of(step: &Step) -> Option<&str> {
    let names = [
        step.run.as_ref().map(|step| &step.sandbox),
        step.write.as_ref().map(|step| &step.sandbox),
        step.read.as_ref().map(|step| &step.sandbox),
        step.list.as_ref().map(|step| &step.sandbox),
        step.mounts.as_ref().map(|step| &step.sandbox),
        step.connect.as_ref().map(|step| &step.sandbox),
        step.info.as_ref().map(|step| &step.sandbox),
        step.timeout.as_ref().map(|step| &step.sandbox),
        step.pause.as_ref().map(|step| &step.sandbox),
        step.resume.as_ref().map(|step| &step.sandbox),
        step.kill.as_ref().map(|step| &step.sandbox),
    ];
    names.into_iter().flatten().next().map(String::as_str)
}

async fn act(context: &Context<'_>, step: &Step, part: &str) -> Result<Outcome, StepError> {
    if let Some(outcome) = control::act(context, step, part).await? {
        return Ok(outcome);
    }
    if let Some(outcome) = files::act(context, step).await? {
        return Ok(outcome);
    }
    if let Some(outcome) = platform::act(context, step).await? {
        return Ok(outcome);
    }
    if let Some(outcome) = storage::act(context, step).await? {
        return Ok(outcome);
    }
    if let Some(outcome) = outside::act(context, step).await? {
        return Ok(outcome);
    }
    Err(StepError("the step has no action".to_owned()))
}

/// A refusal by the API or by envd is an outcome; everything else that went wrong is not.
fn refused(error: &ClientError) -> Result<Outcome, StepError> {
    let Some(refusal) = error.refusal() else { return Err(StepError(lab::chain(error))) };
    let mut value = Map::new();
    value.insert("status".into(), refusal.status.into());
    if let Some(code) = &refusal.code {
        value.insert(
            "code".into(),
            match code {
                e2b_client::Code::Number(number) => (*number).into(),
                e2b_client::Code::Name(name) => name.clone().into(),
            },
        );
    }
    value.insert("message".into(), refusal.message.clone().into());
    value.extend(refusal.request_id.clone().map(|id| ("requestId".to_owned(), Value::from(id))));
    value.extend(refusal.should_retry.clone().map(|text| ("shouldRetry".to_owned(), Value::from(text))));
    Ok(Outcome { value: value.into(), trouble: Some(refusal.to_string()) })
}

/// Success with a status and one more member.
fn with_status(status: u16, member: &str, value: impl Into<Value>) -> Outcome {
    let members = [("status".to_owned(), status.into()), (member.to_owned(), value.into())];
    Outcome::success(Value::Object(members.into_iter().collect()))
}

/// A step on one line.
pub(crate) fn title(step: &Step) -> String {
    if let Some(name) = &step.name {
        return name.clone();
    }
    if let Some(name) = &step.background {
        return format!("start {name}: {}", action_title(step));
    }
    action_title(step)
}

fn action_title(step: &Step) -> String {
    let text = serde_json::to_value(step).unwrap_or_default();
    let action = step.actions().first().copied().unwrap_or("nothing");
    let argument = text.get(action).cloned().unwrap_or_default();
    let told: &[&str] = if action == "nas" {
        &["get", "look", "list", "put", "directory", "symlink", "delete", "export"]
    } else {
        &[
            "template", "sandbox", "snapshot", "in", "command", "path", "fixture", "script", "put", "get",
            "list", "delete",
        ]
    };
    let mut words = vec![action.to_owned()];
    if let Some(text) = argument.as_str() {
        words.push(text.to_owned());
    }
    for key in told {
        let Some(text) = argument.get(*key).and_then(Value::as_str) else { continue };
        if action == "oss" || action == "nas" {
            words.push((*key).to_owned());
        }
        words.push(one_line(text));
    }
    words.retain(|word| !word.is_empty());
    if let Some(object) = argument.get("object") {
        let text =
            |key: &str| object.get(key).or_else(|| object.pointer(&format!("/metadata/{key}"))).cloned();
        let parts: Vec<String> = ["kind", "namespace", "name"]
            .iter()
            .filter_map(|key| text(key).and_then(|value| value.as_str().map(str::to_owned)))
            .collect();
        words.push(parts.join("/"));
    }
    if let Some(arguments) = argument.get("arguments").and_then(Value::as_array) {
        words.extend(arguments.iter().filter_map(|argument| argument.as_str().map(str::to_owned)));
    }
    words.join(" ")
}

fn one_line(text: &str) -> String {
    const WIDEST: usize = 70;
    let line = text.lines().next().unwrap_or_default();
    if line.chars().count() > WIDEST || text.lines().count() > 1 {
        return format!("{}…", line.chars().take(WIDEST).collect::<String>());
    }
    line.to_owned()
}
