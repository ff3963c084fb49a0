//! One run of a container: hooks, probes and the wishes of the worker while it runs.

use std::sync::Arc;

use clock::SharedClock;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Container, ContainerState, ContainerStateRunning};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use tokio::sync::watch;

use super::board::{Board, Role};
use super::container::Directive;
use super::exec::Running;
use super::handler::{Action, Target};
use super::termination::terminate;
use super::{PodContext, probe, resize};
use crate::events::EventType;
use crate::runtime::Exit;

/// One run of a container.
pub(super) struct Attempt<'a> {
    pub(super) context: &'a PodContext,
    pub(super) index: usize,
    pub(super) role: Role,
    pub(super) container: &'a Container,
    pub(super) running: Arc<Running>,
}

impl Attempt<'_> {
    pub(super) fn board(&self) -> &Board {
        &self.context.board
    }

    pub(super) fn clock(&self) -> &SharedClock {
        &self.context.node.clock
    }

    pub(super) fn target(&self) -> Target<'_> {
        Target {
            runtime: &self.context.node.runtime,
            running: &self.running,
            container: self.container,
            address: self.context.sandbox().map_or("", |sandbox| &sandbox.address_text),
            sink: self.context.sink(&self.container.name, None),
            clock: &self.context.node.clock,
            node: self.context.node.network.node_address(),
        }
    }

    pub(super) fn event(&self, kind: EventType, reason: &str, message: String) {
        self.context.container_event(self.container, self.role, kind, reason, message);
    }
}

/// How an attempt ended.
pub(super) struct End {
    pub(super) exit: Exit,
    pub(super) started_at: Timestamp,
    pub(super) why: Why,
}

#[derive(Clone, Debug, PartialEq)]
pub(super) enum Why {
    /// By itself, or because a probe or hook asked for it.
    Ended,
    /// The worker wants it stopped.
    Stopped,
    /// Its image changed.
    Replaced,
    /// Its resources changed, and its policy wants it started anew with others.
    Resized,
}

/// Attends to a running container until it has ended.
pub(super) async fn attend(attempt: &Attempt<'_>, directive: &mut watch::Receiver<Directive>) -> (Exit, Why) {
    let process = &attempt.running.process;
    let life = async {
        if let Err(reason) = post_start(attempt).await {
            attempt.event(
                EventType::Warning,
                "FailedPostStartHook",
                format!("PostStartHook failed: {reason}"),
            );
            return format!("FailedPostStartHook: {reason}");
        }
        attempt.board().update(attempt.index, |record| {
            record.remember();
            let started_at = Some(Time(attempt.context.node.clock.now()));
            record.state = ContainerState {
                running: Some(ContainerStateRunning { started_at }),
                ..ContainerState::default()
            };
        });
        probe::watch(attempt).await
    };
    tokio::pin!(life);
    let mut condemned = None;
    let mut resources = attempt.container.resources.clone();
    let why = loop {
        tokio::select! {
            exit = process.wait() => return (exit, Why::Ended),
            reason = &mut life => {
                condemned = Some(reason);
                break Why::Ended;
            }
            changed = directive.changed() => match directive.borrow_and_update().clone() {
                _ if changed.is_err() => break Why::Stopped,
                Directive::Stop(_) => break Why::Stopped,
                Directive::Run(new) if new.image != attempt.container.image => break Why::Replaced,
                Directive::Run(new) if resize::needs_restart(resources.as_ref(), &new) => break Why::Resized,
                Directive::Run(new) => resources.clone_from(&new.resources),
            }
        }
    };
    let message = match (&why, condemned) {
        (_, Some(reason)) => reason,
        (Why::Replaced, None) => {
            format!("Container {} definition changed, will be restarted", attempt.container.name)
        }
        (Why::Resized, None) => format!("Container {} resize requires restart", attempt.container.name),
        _ => format!("Stopping container {}", attempt.container.name),
    };
    attempt.event(EventType::Normal, "Killing", message);
    (terminate(attempt, directive).await, why)
}

async fn post_start(attempt: &Attempt<'_>) -> Result<(), String> {
    let hook = attempt.container.lifecycle.as_ref().and_then(|lifecycle| lifecycle.post_start.as_ref());
    match hook.and_then(Action::of_hook) {
        Some(action) => attempt.target().perform(&action, None).await,
        None => Ok(()),
    }
}
