//! Steps on the object store, on mount tables, on faults and on the clock.

use lab::{Fault, Mount};
use serde_json::{Value, json};

use super::super::context::{Context, StepError};
use super::{Outcome, exports};
use crate::buckets::BucketAnswer;
use crate::model::{FaultStep, OssStep, Step};

/// Everything below this path in a sandbox is a storage mount (`storage.md` §5.2).
const MOUNT_ROOT: &str = "/run/csi/mount-root/";

pub(super) async fn act(context: &Context<'_>, step: &Step) -> Result<Option<Outcome>, StepError> {
    let done = || Outcome::success(json!({ "status": 200 }));
    let outcome = if let Some(oss) = &step.oss {
        object_store(context, oss).await?
    } else if let Some(nas) = &step.nas {
        exports::act(context, nas).await?
    } else if let Some(mounts) = &step.mounts {
        let made = context.sandbox(&mounts.sandbox)?;
        let table = context.lab.mounts(&made.namespace, &made.pod).await;
        Outcome::success(storage_mounts(table.map_err(|error| StepError::of(&error))?))
    } else if let Some(fault) = &step.fault {
        let handle =
            context.lab.inject(filled(context, fault)?).await.map_err(|error| StepError::of(&error))?;
        if let Some(name) = &fault.name {
            context.remember_fault(name, handle);
        }
        done()
    } else if let Some(heal) = &step.heal {
        let handle = context.fault(&heal.fault)?;
        context.lab.heal(handle).await.map_err(|error| StepError::of(&error))?;
        done()
    } else if let Some(advance) = &step.advance {
        context.lab.advance(advance.0).await.map_err(|error| StepError::of(&error))?;
        done()
    } else {
        return Ok(None);
    };
    Ok(Some(outcome))
}

/// The fault with its references replaced: it may be for a sandbox that an earlier step made.
fn filled(context: &Context<'_>, step: &FaultStep) -> Result<Fault, StepError> {
    let fault = serde_json::to_value(&step.inject).map_err(|error| StepError::of(&error))?;
    serde_json::from_value(context.fill_value(&fault)?).map_err(|error| StepError::of(&error))
}

/// The mounts below mount-root, one item for each link that leads to it.
fn storage_mounts(table: Vec<Mount>) -> Value {
    let mut items = Vec::new();
    for mount in table {
        let Some(below) = mount.path.strip_prefix(MOUNT_ROOT) else { continue };
        let driver = match below.split('/').next() {
            Some("oss") => "ossplugin.csi.alibabacloud.com",
            Some("nas") => "nasplugin.csi.alibabacloud.com",
            _ => "unknown",
        };
        let paths = if mount.links.is_empty() { vec![mount.path.clone()] } else { mount.links.clone() };
        for path in paths {
            items.push((
                path.clone(),
                json!({
                    "path": path,
                    "target": mount.path,
                    "driver": driver,
                    "fileSystem": mount.file_system,
                    "source": mount.source,
                    "readOnly": mount.read_only,
                    "options": mount.options,
                }),
            ));
        }
    }
    items.sort_by(|(one, _), (other, _)| one.cmp(other));
    items.into_iter().map(|(_, item)| item).collect()
}

async fn object_store(context: &Context<'_>, step: &OssStep) -> Result<Outcome, StepError> {
    let buckets = context.buckets()?;
    let bucket = match &step.bucket {
        Some(bucket) => context.fill(bucket)?,
        None => context.default_bucket()?,
    };
    let trouble = |error| StepError::of(&error);
    if let Some(key) = &step.put {
        let content = context.fill(step.content.as_deref().unwrap_or_default())?;
        let answer =
            buckets.put(&bucket, &context.fill(key)?, content.into_bytes()).await.map_err(trouble)?;
        return Ok(told(&answer, None));
    }
    if let Some(key) = &step.get {
        let answer = buckets.get(&bucket, &context.fill(key)?).await.map_err(trouble)?;
        let content = String::from_utf8_lossy(&answer.body).into_owned();
        return Ok(told(&answer, Some(("content", content.into()))));
    }
    if let Some(prefix) = &step.list {
        let (answer, keys) = buckets.list(&bucket, &context.fill(prefix)?).await.map_err(trouble)?;
        return Ok(told(&answer, keys.map(|keys| ("keys", keys.into()))));
    }
    let key = context.fill(step.delete.as_deref().unwrap_or_default())?;
    let answer = buckets.delete(&bucket, &key).await.map_err(trouble)?;
    Ok(told(&answer, None))
}

fn told(answer: &BucketAnswer, member: Option<(&str, Value)>) -> Outcome {
    let mut value = json!({ "status": answer.status });
    if let Some((code, message)) = &answer.error {
        value["code"] = code.clone().into();
        value["message"] = message.clone().into();
        let trouble = format!("the object store answered {} {code}: {message}", answer.status);
        return Outcome { value, trouble: Some(trouble) };
    }
    if let Some((name, content)) = member {
        value[name] = content;
    }
    Outcome::success(value)
}
