//! Before the first step: buckets and exports filled, objects applied, pools ready.

use std::time::Duration;

use journal::source;
use lab::ExportCall;
use serde_json::Value;

use super::context::{Context, StepError};
use super::steps::exports;
use crate::matching::preview;
use crate::read::fill;

/// Makes the scenario's buckets and puts their objects in.
pub(super) async fn seed_buckets(context: &Context<'_>) -> Result<(), StepError> {
    let contents = &context.planned.scenario.storage.oss;
    if contents.is_empty() {
        return Ok(());
    }
    let buckets = context.buckets()?;
    for (bucket, objects) in contents {
        let made = buckets.create(bucket).await.map_err(|error| StepError::of(&error))?;
        accept(&format!("create bucket {bucket}"), made.error)?;
        context.lab.note_bucket(bucket);
        for (key, content) in objects {
            let put = buckets.put(bucket, key, content.clone().into_bytes()).await;
            accept(&format!("put {bucket}/{key}"), put.map_err(|error| StepError::of(&error))?.error)?;
        }
    }
    Ok(())
}

/// Offers the scenario's exports and puts their files in.
pub(super) async fn seed_exports(context: &Context<'_>) -> Result<(), StepError> {
    let storage = &context.planned.scenario.storage;
    let tell = async |doing: String, call: ExportCall| {
        let reply = context.lab.at_exports(call).await.map_err(|error| StepError::of(&error))?;
        exports::accept(&doing, reply).map(drop)
    };
    for (export, files) in &storage.nas {
        let options = storage.exports.get(export).copied().unwrap_or_default();
        tell(format!("export {export}"), ExportCall::Export { path: export.clone(), options }).await?;
        for (file, content) in files {
            let path = format!("{}/{file}", export.trim_end_matches('/'));
            let call = if path.ends_with('/') {
                ExportCall::MakeDirectory { path: path.clone() }
            } else {
                ExportCall::Put { path: path.clone(), content: content.clone() }
            };
            tell(format!("put {path}"), call).await?;
        }
    }
    Ok(())
}

fn accept(operation: &str, error: Option<(String, String)>) -> Result<(), StepError> {
    match error {
        None => Ok(()),
        Some((code, message)) => Err(StepError(format!("{operation} was refused: {code} {message}"))),
    }
}

/// Applies fixtures and objects, placeholders filled.
pub(super) async fn apply_objects(context: &Context<'_>) -> Result<(), StepError> {
    for object in &context.planned.objects {
        let filled = fill(&object.object, &context.placeholders);
        if object.kind() == Some("Secret") {
            context.guard_contents(&filled);
        }
        context.objects().await?.apply(&filled).await.map_err(|error| {
            let origin = object.fixture.as_deref().unwrap_or("the scenario itself");
            StepError(format!("{} (from {origin})", StepError::of(&error)))
        })?;
    }
    Ok(())
}

/// Waits until every SandboxSet that was applied has all its replicas available.
pub(super) async fn await_pools(context: &Context<'_>) -> Result<(), StepError> {
    let limit = context.planned.scenario.limits.ready;
    for object in context.planned.objects.iter().filter(|object| object.kind() == Some("SandboxSet")) {
        let namespace =
            object.object.pointer("/metadata/namespace").and_then(Value::as_str).unwrap_or("default");
        let subject = format!("SandboxSet/{namespace}/{}", object.name().unwrap_or_default());
        await_pool(context, &subject, limit.0).await?;
    }
    Ok(())
}

async fn await_pool(context: &Context<'_>, subject: &str, limit: Duration) -> Result<(), StepError> {
    let mut follower = context.journal().follow(0);
    let mut last = "the journal has no entry about it".to_owned();
    let waiting = async {
        loop {
            let entry = follower.next().await;
            if entry.source != source::KUBERNETES || entry.subject != subject {
                continue;
            }
            let wanted = entry.body.pointer("/spec/replicas").and_then(Value::as_i64).unwrap_or(1);
            let status = entry.body.get("status");
            let available = status
                .and_then(|status| status.get("availableReplicas"))
                .and_then(Value::as_i64)
                .unwrap_or(0);
            if available >= wanted {
                return;
            }
            last = format!("{available} of {wanted} available, status {}", preview(status));
        }
    };
    if tokio::time::timeout(limit, waiting).await.is_ok() {
        return Ok(());
    }
    Err(StepError(format!(
        "{subject} was not ready within the limit `ready` of {limit:?}; last state: {last}"
    )))
}
