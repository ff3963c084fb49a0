//! Steps on Kubernetes objects.

use std::collections::BTreeMap;
use std::time::Duration;

use e2b_client::SandboxInfo;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::super::context::{Context, Made, StepError};
use super::{Outcome, title};
use crate::model::{AdoptStep, ApplyStep, GetStep, ObjectReference, Step};
use crate::objects::{ObjectError, Objects, describe};
use crate::read::{fill, read_objects};

const PAUSE: Duration = Duration::from_millis(20);

pub(super) async fn act(context: &Context<'_>, step: &Step) -> Result<Option<Outcome>, StepError> {
    let outcome = if let Some(apply) = &step.apply {
        apply_all(context, apply).await?
    } else if let Some(patch) = &step.patch {
        let reference = filled(context, &patch.object)?;
        let merge = context.fill_value(&fill(&patch.merge, &context.placeholders))?;
        if patch.object.kind == "Secret" {
            context.guard_contents(&merge);
        }
        let merged = context.objects().await?.merge(&reference, &merge).await;
        settle(merged.map(|object| json!({ "status": 200, "object": object })))?
    } else if let Some(delete) = &step.delete {
        let reference = filled(context, &delete.object)?;
        delete_and_wait(context, &reference).await?
    } else if let Some(adopt) = &step.adopt {
        adopt_sandbox(context, adopt, &title(step)).await?
    } else if let Some(get) = &step.get {
        read_object(context, get).await?
    } else {
        return Ok(None);
    };
    Ok(Some(outcome))
}

fn filled(context: &Context<'_>, reference: &ObjectReference) -> Result<ObjectReference, StepError> {
    Ok(ObjectReference {
        name: context.fill(&reference.name)?,
        namespace: context.fill(&reference.namespace)?,
        ..reference.clone()
    })
}

async fn apply_all(context: &Context<'_>, step: &ApplyStep) -> Result<Outcome, StepError> {
    let objects = match (&step.fixture, &step.object) {
        (Some(fixture), _) => read_objects(&context.planned.root, fixture).map_err(StepError)?,
        (None, object) => object.iter().cloned().collect(),
    };
    let mut applied = Vec::new();
    for object in objects {
        let object = context.fill_value(&fill(&object, &context.placeholders))?;
        if object.get("kind").is_some_and(|kind| kind == "Secret") {
            context.guard_contents(&object);
        }
        match context.objects().await?.apply(&object).await {
            Ok(object) => applied.push(object),
            Err(error) => return refusal(&error),
        }
    }
    Ok(Outcome::success(json!({ "status": 200, "objects": applied })))
}

async fn read_object(context: &Context<'_>, step: &GetStep) -> Result<Outcome, StepError> {
    let reference = filled(context, &step.object)?;
    let read = context.objects().await?.get(&reference).await;
    let outcome = settle(read.map(|object| {
        let value = step.at.as_ref().and_then(|at| object.pointer(at)).cloned();
        let mut outcome = json!({ "status": 200, "object": object });
        if let Some(value) = value {
            outcome["value"] = value;
        }
        outcome
    }))?;
    if let Some(name) = &step.name {
        context.remember_outcome(name, outcome.value.clone());
    }
    Ok(outcome)
}

/// Finds the Sandbox and remembers it as if a step had made it.
async fn adopt_sandbox(context: &Context<'_>, step: &AdoptStep, part: &str) -> Result<Outcome, StepError> {
    let (labels, namespace) = (context.fill_map(&step.labels)?, context.fill(&step.namespace)?);
    let reference =
        ObjectReference { api_version: None, kind: "Sandbox".into(), name: String::new(), namespace };
    let found = match context.objects().await?.list(&reference, &labels).await {
        Ok(found) => found,
        Err(error) => return refusal(&error),
    };
    let count = found.len();
    let Some(object) = found.into_iter().nth(step.index) else {
        let message = format!("{count} sandboxes have these labels, number {} is not among them", step.index);
        let value = json!({ "status": 404, "code": "NotFound", "message": message });
        return Ok(Outcome { value, trouble: Some(message) });
    };
    let text = |pointer: &str| object.pointer(pointer).and_then(Value::as_str).map(str::to_owned);
    let name = text("/metadata/name").unwrap_or_default();
    let token = text("/metadata/annotations/agents.kruise.io~1runtime-access-token");
    if let Some(token) = &token {
        context.journal().conceal(token);
    }
    let info = SandboxInfo {
        sandbox_id: text("/metadata/labels/agents.kruise.io~1sandbox-id")
            .unwrap_or_else(|| format!("{}--{name}", reference.namespace)),
        template_id: text("/metadata/labels/agents.kruise.io~1sandbox-pool").unwrap_or_default(),
        envd_access_token: token,
        metadata: BTreeMap::from([(
            "e2b.agents.kruise.io/sandbox-resource".to_owned(),
            format!("{}/{name}", reference.namespace),
        )]),
        ..SandboxInfo::default()
    };
    let made = Made { adopted: true, ..Made::new(info, part) };
    context.remember_sandbox(Some(&step.name), made);
    Ok(Outcome::success(json!({ "status": 200, "object": object })))
}

async fn delete_and_wait(context: &Context<'_>, reference: &ObjectReference) -> Result<Outcome, StepError> {
    let objects = context.objects().await?;
    if let Err(error) = objects.delete(reference).await {
        return refusal(&error);
    }
    let limit = context.planned.scenario.limits.step;
    let end = Instant::now() + limit.0;
    loop {
        match still_there(objects, reference).await? {
            None => return Ok(Outcome::success(json!({ "status": 200 }))),
            Some(finalizers) if Instant::now() >= end => {
                return Err(StepError(format!(
                    "{} was not gone within the limit `step` of {limit}; its finalizers: {finalizers}",
                    describe(reference)
                )));
            }
            Some(_) => tokio::time::sleep(PAUSE).await,
        }
    }
}

/// The finalizers of an object that is still there.
async fn still_there(objects: &Objects, reference: &ObjectReference) -> Result<Option<String>, StepError> {
    match objects.get(reference).await {
        Ok(object) => {
            let finalizers =
                object.pointer("/metadata/finalizers").map_or("none".to_owned(), Value::to_string);
            Ok(Some(finalizers))
        }
        Err(error) if error.refusal().is_some_and(|(status, _, _)| status == 404) => Ok(None),
        Err(error) => Err(StepError::of(&error)),
    }
}

fn settle(outcome: Result<Value, ObjectError>) -> Result<Outcome, StepError> {
    outcome.map_or_else(|error| refusal(&error), |value| Ok(Outcome::success(value)))
}

fn refusal(error: &ObjectError) -> Result<Outcome, StepError> {
    let Some((status, reason, message)) = error.refusal() else { return Err(StepError::of(error)) };
    let trouble = format!("the API server answered {status} {reason}: {message}");
    let value = json!({ "status": status, "code": reason, "message": message });
    Ok(Outcome { value, trouble: Some(trouble) })
}
