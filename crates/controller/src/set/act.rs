//! Doing what a set needs.

use std::sync::Arc;

use contract::conditions::{self, reasons, types};
use contract::crd::{Sandbox, SandboxSet, SandboxSetStatus};
use contract::names::events;
use futures::future::join_all;
use jiff::Timestamp;
use kube::ResourceExt as _;
use kube::api::Patch;

use super::plan::{Observed, Plan, plan};
use super::revision::{self, Target};
use super::{generate, remove};
use crate::announce::Announcement;
use crate::api::{Context, has_code, message_of, parameters, patch_parameters};
use crate::dispatch::Failure;
use crate::queue::ObjectName;
use crate::sandbox::merge_patch;

/// Writes at the same time in the first batch; every next one is twice as large, until one has an error.
const FIRST_BATCH: usize = 16;

/// One turn for the set of that name. Returns when the next one is due.
pub(crate) async fn reconcile(context: &Context, name: &ObjectName) -> Result<Option<Timestamp>, Failure> {
    let Some(set) = context.world.set(name) else { return Ok(None) };
    if set.metadata.deletion_timestamp.is_some() {
        return Ok(None);
    }
    let found = revision::target(context, &set).await;
    let obstacle = match &found {
        Err(Failure::Problem(problem)) => problem.message().to_owned(),
        Err(failure) => failure.to_string(),
        Ok(_) => String::new(),
    };
    let target = match &found {
        Err(Failure::Problem(_) | Failure::TemplateTaken { .. }) => Err(obstacle.as_str()),
        Ok(target) => Ok(target),
        Err(_) => return found.map(|_| None),
    };
    let (plan, until) = observe_and_plan(context, &set, target);
    announce_obstacle(context, &set, &plan.status);
    let outcome = carry_out(context, &set, target.ok(), &plan).await;
    // what was created or deleted meanwhile counts already
    let (after, later) = observe_and_plan(context, &set, target);
    write_status(context, &set, &after.status).await?;
    outcome?;
    match found {
        Ok(target) => revision::mark_old(context, &set, &target.template_name).await,
        // the watches tell when that is mended
        Err(Failure::Problem(_)) => {}
        Err(failure) => return Err(failure),
    }
    Ok([plan.wake_at, until, later].into_iter().flatten().min())
}

/// The plan, and when something outstanding is given up. Without a target it goes by the revision of before.
fn observe_and_plan(
    context: &Context,
    set: &SandboxSet,
    target: Result<&Target, &str>,
) -> (Plan, Option<Timestamp>) {
    let (uid, now) = (set.uid().unwrap_or_default(), context.now());
    let (members, outstanding) = context.world.members(&uid, now);
    let before = set.status.as_ref();
    let revision = before.and_then(|status| status.update_revision.as_deref()).unwrap_or_default();
    let template_name = before.and_then(|status| status.current_revision.as_deref()).unwrap_or_default();
    let plan = plan(&Observed {
        set,
        members: &members,
        unseen_creations: outstanding.creations,
        unseen_deletions: &outstanding.deletions,
        revision: target.map_or(revision, |target| &target.revision),
        template_name: target.map_or(template_name, |target| &target.template_name),
        obstacle: target.err(),
        now,
    });
    (plan, outstanding.until)
}

/// Says once, as long as it stays the same, why the set's template can't be used.
fn announce_obstacle(context: &Context, set: &SandboxSet, planned: &SandboxSetStatus) {
    let obstacle = |status: &SandboxSetStatus| {
        let condition = conditions::find(&status.conditions, types::UP_TO_DATE)?;
        (condition.reason == reasons::INVALID_TEMPLATE).then(|| condition.message.clone())
    };
    let Some(message) = obstacle(planned) else { return };
    if set.status.as_ref().and_then(obstacle).as_ref() != Some(&message) {
        context.announcer.send(set, Announcement::warning(events::INVALID_TEMPLATE, message));
    }
}

async fn carry_out(
    context: &Context,
    set: &SandboxSet,
    target: Option<&Target>,
    plan: &Plan,
) -> Result<(), Failure> {
    let created = match target {
        Some(target) => create(context, set, target, plan.create).await,
        None => Ok(()),
    };
    let scaled = remove_all(context, set, &plan.scale_down, Removal::ScaleDown).await;
    let cleared = remove_all(context, set, &plan.dead, Removal::Dead).await;
    let rolled = remove_all(context, set, &plan.roll, Removal::Roll).await;
    created.and(scaled).and(cleared).and(rolled)
}

async fn create(context: &Context, set: &SandboxSet, target: &Target, count: usize) -> Result<(), Failure> {
    let draft = generate::sandbox(set, &target.revision, &target.template);
    let mut left = count;
    let mut batch = FIRST_BATCH;
    while left > 0 {
        let size = left.min(batch);
        let results = join_all((0..size).map(|_| create_one(context, set, &draft))).await;
        results.into_iter().collect::<Result<Vec<()>, _>>()?;
        left -= size;
        batch *= 2;
    }
    Ok(())
}

async fn create_one(context: &Context, set: &SandboxSet, draft: &Sandbox) -> Result<(), Failure> {
    let uid = set.uid().unwrap_or_default();
    let sandboxes = context.namespaced::<Sandbox>(&set.namespace().unwrap_or_default());
    context.world.expectations.expect_creation(&uid, context.now());
    match sandboxes.create(&parameters(), draft).await {
        Ok(created) => {
            let message = format!("Created sandbox {}", created.name_any());
            context.announcer.send(set, Announcement::normal(events::SANDBOX_CREATED, message));
            Ok(())
        }
        Err(source) => {
            context.world.expectations.created(&uid);
            let message = format!("Cannot create a sandbox: {}", message_of(&source));
            context.announcer.send(set, Announcement::warning(events::CREATE_SANDBOX_FAILED, message));
            Err(Failure::Api { action: "create a sandbox of", object: set.name_any(), source })
        }
    }
}

/// Why a member goes.
#[derive(Clone, Copy)]
enum Removal {
    ScaleDown,
    Dead,
    Roll,
}

async fn remove_all(
    context: &Context,
    set: &SandboxSet,
    sandboxes: &[Arc<Sandbox>],
    removal: Removal,
) -> Result<(), Failure> {
    let mut rest = sandboxes;
    let mut batch = FIRST_BATCH;
    while !rest.is_empty() {
        let (now, later) = rest.split_at(rest.len().min(batch));
        let results = join_all(now.iter().map(|sandbox| remove_one(context, set, sandbox, removal))).await;
        results.into_iter().collect::<Result<Vec<()>, _>>()?;
        rest = later;
        batch *= 2;
    }
    Ok(())
}

async fn remove_one(
    context: &Context,
    set: &SandboxSet,
    sandbox: &Sandbox,
    removal: Removal,
) -> Result<(), Failure> {
    let name = sandbox.name_any();
    let announcement = match removal {
        Removal::Dead => {
            remove::delete(context, set, sandbox).await?;
            Announcement::normal(events::FAILED_SANDBOX_DELETED, format!("Deleted dead sandbox {name}"))
        }
        Removal::ScaleDown => {
            remove::lock_and_delete(context, set, sandbox).await?;
            Announcement::normal(events::SANDBOX_SCALED_DOWN, format!("Deleted surplus sandbox {name}"))
        }
        Removal::Roll => {
            remove::lock_and_delete(context, set, sandbox).await?;
            Announcement::normal(events::ROLLING_UPDATE, format!("Deleted outdated sandbox {name}"))
        }
    };
    context.announcer.send(set, announcement);
    Ok(())
}

async fn write_status(context: &Context, set: &SandboxSet, status: &SandboxSetStatus) -> Result<(), Failure> {
    let Some(patch) = merge_patch(set.status.as_ref(), status) else { return Ok(()) };
    let sets = context.namespaced::<SandboxSet>(&set.namespace().unwrap_or_default());
    match sets.patch_status(&set.name_any(), &patch_parameters(), &Patch::Merge(&patch)).await {
        Ok(written) => {
            context.world.wrote_set(written);
            Ok(())
        }
        Err(error) if has_code(&error, 404) => Ok(()),
        Err(source) => Err(Failure::Api { action: "write the status of", object: set.name_any(), source }),
    }
}
