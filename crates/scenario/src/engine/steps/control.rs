//! Steps that talk to the control plane of the E2B API.

use e2b_client::{ClientError, CreateRequest, ListQuery, NetworkRules, Reply, SandboxInfo, VolumeMount};
use serde_json::{Value, json};

use super::super::context::{Context, Made, StepError};
use super::{Outcome, refused, with_status};
use crate::model::{ConnectStep, CreateStep, SnapshotStep, Step};

pub(super) async fn act(
    context: &Context<'_>,
    step: &Step,
    part: &str,
) -> Result<Option<Outcome>, StepError> {
    if let Some(create) = &step.create {
        return create_sandbox(context, create, part).await.map(Some);
    }
    if let Some(connect) = &step.connect {
        return connect_sandbox(context, connect, part).await.map(Some);
    }
    let client = &context.client;
    if let Some(snapshot) = &step.snapshot {
        return take_snapshot(context, snapshot).await.map(Some);
    }
    let outcome = if let Some(info) = &step.info {
        let id = context.sandbox_id(&context.fill(&info.sandbox)?);
        client.get(&id).await.map(|reply| with_status(reply.status, "sandbox", told(&reply.value)))
    } else if let Some(wanted) = &step.sandboxes {
        let query = ListQuery {
            states: wanted.states.clone(),
            metadata: context.fill_map(&wanted.metadata)?,
            limit: None,
        };
        let listed = client.list(&query).await;
        listed.map(|listed| with_status(200, "sandboxes", listed.iter().map(told).collect::<Vec<_>>()))
    } else if let Some(timeout) = &step.timeout {
        let id = context.sandbox_id(&context.fill(&timeout.sandbox)?);
        client.set_timeout(&id, timeout.seconds).await.map(|reply| done(&reply))
    } else if let Some(pause) = &step.pause {
        let id = context.sandbox_id(&context.fill(&pause.sandbox)?);
        client.pause(&id).await.map(|reply| done(&reply))
    } else if let Some(resume) = &step.resume {
        let id = context.sandbox_id(&context.fill(&resume.sandbox)?);
        client.resume(&id, resume.timeout).await.map(|reply| done(&reply))
    } else if let Some(wanted) = &step.snapshots {
        let sandbox = wanted.sandbox.as_ref().map(|name| context.fill(name)).transpose()?;
        let sandbox = sandbox.map(|name| context.sandbox_id(&name));
        let listed = client.snapshots(sandbox.as_deref(), wanted.limit).await;
        listed.map(|listed| with_status(200, "snapshots", json!(listed)))
    } else if let Some(delete) = &step.delete_snapshot {
        client.delete_snapshot(&context.fill(&delete.snapshot)?).await.map(|reply| done(&reply))
    } else if let Some(kill) = &step.kill {
        let id = context.sandbox_id(&context.fill(&kill.sandbox)?);
        client.kill(&id).await.map(|reply| {
            context.remember_end(&id);
            done(&reply)
        })
    } else {
        return Ok(None);
    };
    or_refusal(outcome).map(Some)
}

async fn create_sandbox(context: &Context<'_>, step: &CreateStep, part: &str) -> Result<Outcome, StepError> {
    let mounts = step
        .volume_mounts
        .iter()
        .map(|mount| Ok(VolumeMount { name: context.fill(&mount.name)?, path: context.fill(&mount.path)? }));
    let fill_all =
        |texts: &[String]| texts.iter().map(|text| context.fill(text)).collect::<Result<Vec<_>, _>>();
    let network = step.network.as_ref().map(|lists| {
        Ok::<_, StepError>(NetworkRules {
            allow_out: fill_all(&lists.allow_out)?,
            deny_out: fill_all(&lists.deny_out)?,
        })
    });
    let request = CreateRequest {
        template: context.fill(&step.template)?,
        timeout: step.timeout,
        auto_pause: step.auto_pause,
        metadata: context.fill_map(&step.metadata)?,
        env_vars: context.fill_map(&step.env)?,
        volume_mounts: mounts.collect::<Result<_, StepError>>()?,
        allow_internet_access: step.allow_internet_access,
        network: network.transpose()?,
    };
    remember(context, step.name.as_ref(), context.client.create(&request).await, part)
}

async fn take_snapshot(context: &Context<'_>, step: &SnapshotStep) -> Result<Outcome, StepError> {
    let id = context.sandbox_id(&context.fill(&step.sandbox)?);
    let name = step.called.as_ref().map(|name| context.fill(name)).transpose()?;
    let taken = context.client.snapshot(&id, name.as_deref()).await.map(|reply| {
        let mut value = json!(reply.value);
        value["status"] = reply.status.into();
        Outcome::success(value)
    });
    let outcome = or_refusal(taken)?;
    if let Some(name) = step.name.as_ref().filter(|_| outcome.trouble.is_none()) {
        context.remember_outcome(name, outcome.value.clone());
    }
    Ok(outcome)
}

async fn connect_sandbox(
    context: &Context<'_>,
    step: &ConnectStep,
    part: &str,
) -> Result<Outcome, StepError> {
    let id = context.sandbox_id(&context.fill(&step.sandbox)?);
    remember(context, step.name.as_ref(), context.client.connect(&id, step.timeout).await, part)
}

fn remember(
    context: &Context<'_>,
    name: Option<&String>,
    reply: Result<Reply<SandboxInfo>, ClientError>,
    part: &str,
) -> Result<Outcome, StepError> {
    or_refusal(reply.map(|reply| {
        let outcome = with_status(reply.status, "sandbox", told(&reply.value));
        context.remember_sandbox(name, Made::new(reply.value, part));
        outcome
    }))
}

fn or_refusal(outcome: Result<Outcome, ClientError>) -> Result<Outcome, StepError> {
    outcome.or_else(|error| unanswered(&error).map_or_else(|| refused(&error), Ok))
}

/// What came of a request that the API never answered: the connection was refused or broke, or a gateway before the API says
/// so with a 502, which the API itself has for ports of sandboxes alone.
fn unanswered(error: &ClientError) -> Option<Outcome> {
    let mut value = json!({ "answered": false, "message": lab::chain(error) });
    match error {
        ClientError::Transport { .. } => {}
        ClientError::Refused(refusal) if refusal.status == 502 => {
            value["status"] = refusal.status.into();
            value["message"] = refusal.message.clone().into();
        }
        _ => return None,
    }
    Some(Outcome { value, trouble: Some(lab::chain(error)) })
}

fn done(reply: &Reply<()>) -> Outcome {
    Outcome::success(json!({ "status": reply.status, "requestId": reply.request_id }))
}

/// A sandbox as expectations see it; its tokens are not shown.
fn told(info: &SandboxInfo) -> Value {
    serde_json::to_value(info).unwrap_or_default()
}
