//! Steps that run programs outside the lab: Python and JavaScript with the official SDK, a shell, kubectl.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use serde_json::json;

use super::super::context::{Context, StepError};
use super::Outcome;
use crate::javascript;
use crate::model::{Period, Step};
use crate::packages::PackagesError;
use crate::programs::{self, Finished, Program};
use crate::python;

pub(super) async fn act(context: &Context<'_>, step: &Step) -> Result<Option<Outcome>, StepError> {
    let mut name = None;
    let finished = if let Some(python) = &step.python {
        let command = python::command(&context.cache, python.sdk, script(context, step).as_deref()).await;
        run_with_sdk(context, step, command, &python.env, python.timeout).await?
    } else if let Some(javascript) = &step.javascript {
        let command = javascript::command(&context.cache, script(context, step).as_deref()).await;
        run_with_sdk(context, step, command, &javascript.env, javascript.timeout).await?
    } else if let Some(shell) = &step.shell {
        name = shell.name.as_ref();
        let program = Program {
            arguments: vec!["sh".into(), "-c".into(), context.fill(&shell.command)?],
            environment: environment(context, &BTreeMap::new())?,
            stdin: None,
            limit: limit(context, shell.timeout),
        };
        run(&program).await?
    } else if let Some(kubectl) = &step.kubectl {
        name = kubectl.name.as_ref();
        let arguments = kubectl.arguments.iter().map(|argument| context.fill(argument));
        let mut all = vec!["kubectl".to_owned()];
        all.extend(arguments.collect::<Result<Vec<_>, _>>()?);
        let program = Program {
            arguments: all,
            environment: environment(context, &BTreeMap::new())?,
            stdin: kubectl.stdin.as_ref().map(|stdin| context.fill(stdin)).transpose()?,
            limit: limit(context, kubectl.timeout),
        };
        run(&program).await?
    } else {
        return Ok(None);
    };
    let outcome = ended(&finished);
    if let Some(name) = name {
        context.remember_outcome(name, outcome.value.clone());
    }
    Ok(Some(outcome))
}

fn ended(finished: &Finished) -> Outcome {
    let value = json!({
        "exitCode": finished.exit_code,
        "stdout": finished.stdout,
        "stderr": finished.stderr,
    });
    let trouble = (finished.exit_code != 0).then(|| {
        let last: Vec<&str> = finished.stderr.trim_end().lines().rev().take(12).collect();
        let last: Vec<&str> = last.into_iter().rev().collect();
        format!("the program ended with exit code {}:\n{}", finished.exit_code, last.join("\n"))
    });
    Outcome { value, trouble }
}

/// The file that the step's program is in, if it is in one.
fn script(context: &Context<'_>, step: &Step) -> Option<PathBuf> {
    let script = step.user_program()?.script?;
    Some(context.planned.root.join("fixtures").join(script))
}

/// Runs a program by `command`, which takes it from standard input unless it has it from a file, so that what is filled in is
/// on no command line.
async fn run_with_sdk(
    context: &Context<'_>,
    step: &Step,
    command: Result<Vec<String>, PackagesError>,
    env: &BTreeMap<String, String>,
    timeout: Option<Period>,
) -> Result<Finished, StepError> {
    let code = step.user_program().and_then(|program| program.code);
    let program = Program {
        arguments: command.map_err(|error| StepError::of(&error))?,
        environment: environment(context, env)?,
        stdin: code.map(|code| context.fill(code)).transpose()?,
        limit: limit(context, timeout),
    };
    run(&program).await
}

async fn run(program: &Program) -> Result<Finished, StepError> {
    programs::run(program).await.map_err(|error| StepError::of(&error))
}

fn limit(context: &Context<'_>, timeout: Option<Period>) -> Duration {
    timeout.unwrap_or(context.planned.scenario.limits.step).0
}

/// What every program outside gets: the lab's addresses, the object store's, and the caller's own additions.
fn environment(
    context: &Context<'_>,
    more: &BTreeMap<String, String>,
) -> Result<Vec<(String, String)>, StepError> {
    let mut environment = programs::addresses(context.lab.access());
    if let Ok(bucket) = context.default_bucket() {
        environment.push(("OSS_BUCKET".to_owned(), bucket));
    }
    environment.extend(context.fill_map(more)?);
    Ok(environment)
}
