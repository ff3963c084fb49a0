//! Steps that talk to envd in a sandbox: commands and files.

use e2b_client::{Command, CommandOutput, Sandbox};
use serde_json::{Value, json};

use super::super::context::{Context, StepError};
use super::{Outcome, refused, with_status};
use crate::model::{RunStep, Step};

pub(super) async fn act(context: &Context<'_>, step: &Step) -> Result<Option<Outcome>, StepError> {
    if let Some(run) = &step.run {
        return run_command(context, run).await.map(Some);
    }
    let outcome = if let Some(write) = &step.write {
        let content = context.fill(&write.content)?;
        let path = context.fill(&write.path)?;
        let sandbox = reach(context, &write.sandbox)?;
        let written = sandbox.write(&path, content.as_bytes(), write.user.as_deref()).await;
        written.map(|()| Outcome::success(json!({ "status": 200 })))
    } else if let Some(read) = &step.read {
        let path = context.fill(&read.path)?;
        let content = reach(context, &read.sandbox)?.read(&path, read.user.as_deref()).await;
        content.map(|bytes| with_status(200, "content", String::from_utf8_lossy(&bytes).into_owned()))
    } else if let Some(list) = &step.list {
        let path = context.fill(&list.path)?;
        let sandbox = reach(context, &list.sandbox)?;
        let entries = sandbox.list(&path, list.depth.unwrap_or(1), list.user.as_deref()).await;
        entries.map(|mut entries| {
            entries.sort_by(|one, other| one.path.cmp(&other.path));
            with_status(200, "entries", serde_json::to_value(entries).unwrap_or_default())
        })
    } else {
        return Ok(None);
    };
    outcome.or_else(|error| refused(&error)).map(Some)
}

fn reach(context: &Context<'_>, name: &str) -> Result<Sandbox, StepError> {
    let made = context.sandbox(name)?;
    Ok(context.client.sandbox(&made.info))
}

async fn run_command(context: &Context<'_>, step: &RunStep) -> Result<Outcome, StepError> {
    let limit = step.timeout.map_or(context.planned.scenario.limits.step.0, |timeout| timeout.0);
    let command = Command {
        line: context.fill(&step.command)?,
        user: step.user.clone(),
        working_directory: step.directory.as_ref().map(|directory| context.fill(directory)).transpose()?,
        environment: context.fill_map(&step.env)?,
        limit: Some(limit),
    };
    let outcome = match reach(context, &step.sandbox)?.run(&command).await {
        Ok(output) => ended(&output),
        Err(error) => refused(&error)?,
    };
    if let Some(name) = &step.name {
        context.remember_outcome(name, outcome.value.clone());
    }
    Ok(outcome)
}

fn ended(output: &CommandOutput) -> Outcome {
    let mut value = json!({
        "exitCode": output.exit_code,
        "stdout": output.stdout,
        "stderr": output.stderr,
    });
    if let Some(error) = &output.error {
        value["error"] = Value::from(error.clone());
    }
    let trouble = (output.exit_code != 0).then(|| {
        format!("the command ended with exit code {}: {}", output.exit_code, output.stderr.trim_end())
    });
    Outcome { value, trouble }
}
