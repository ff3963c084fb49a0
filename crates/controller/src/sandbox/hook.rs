//! The hooks of a replacing upgrade (`kubernetes.md` §5.9), as pure functions.
//!
//! ```text
//! PreUpgrade, PostUpgrade ─► attempt, beside the turns ─► succeeded: the next step
//!          ▲                                         └► …Failed, one event ─┐
//!          └──────── after a growing wait, or at once with another template ┘
//! ```
//! A controller that starts anew runs a hook again that it doesn't know the end of.

use std::time::Duration;

use contract::conditions::{self, reasons, types};
use contract::crd::{Sandbox, SandboxStatus, UpgradeAction};
use contract::hash;
use contract::names::events;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt as _;

use super::decide::Action;
use super::initialisation::Progress;
use super::turn::Turn;
use super::upgrade;
use crate::announce::Announcement;

/// Limit of a hook that names none, in seconds.
const LIMIT: u64 = 60;

/// A hook of an upgrade.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hook {
    /// In the old pod, before it goes.
    PreUpgrade,
    /// In the new pod, once its mounts are back.
    PostUpgrade,
}

impl Hook {
    /// What it is to run, if the Sandbox has one.
    pub(super) fn action(self, sandbox: &Sandbox) -> Option<&UpgradeAction> {
        let lifecycle = sandbox.spec.lifecycle.as_ref()?;
        let action = match self {
            Self::PreUpgrade => lifecycle.pre_upgrade.as_ref(),
            Self::PostUpgrade => lifecycle.post_upgrade.as_ref(),
        };
        action.filter(|action| action.exec.is_some())
    }

    /// How long it may take.
    pub(super) fn limit(self, sandbox: &Sandbox) -> Duration {
        let seconds = self.action(sandbox).and_then(|action| action.timeout_seconds);
        let seconds = seconds.and_then(|seconds| u64::try_from(seconds).ok()).filter(|seconds| *seconds > 0);
        Duration::from_secs(seconds.unwrap_or(LIMIT))
    }

    fn reasons(self) -> (&'static str, &'static str) {
        match self {
            Self::PreUpgrade => (reasons::PRE_UPGRADE, reasons::PRE_UPGRADE_FAILED),
            Self::PostUpgrade => (reasons::POST_UPGRADE, reasons::POST_UPGRADE_FAILED),
        }
    }

    fn event(self) -> &'static str {
        match self {
            Self::PreUpgrade => events::PRE_UPGRADE_FAILED,
            Self::PostUpgrade => events::POST_UPGRADE_FAILED,
        }
    }

    /// Whether the upgrade is at this hook.
    pub(super) fn is_due(self, status: &SandboxStatus) -> bool {
        let (running, failed) = self.reasons();
        conditions::find(&status.conditions, types::UPGRADING)
            .is_some_and(|condition| condition.reason == running || condition.reason == failed)
    }

    /// Says that it is its turn.
    pub(super) fn announce(self, now: Timestamp, status: &mut SandboxStatus) {
        let what = match self {
            Self::PreUpgrade => "lifecycle.preUpgrade runs before the pod is replaced",
            Self::PostUpgrade => "lifecycle.postUpgrade runs in the new pod",
        };
        upgrade::hold(status, self.reasons().0, what, now);
    }

    /// Has it run in `pod`; whether it has succeeded.
    pub(super) fn follow(self, turn: &mut Turn<'_>, pod: &Pod) -> bool {
        let name = self.attempt(turn.sandbox, pod);
        let start = Action::RunHook { hook: self, attempt: name.clone() };
        turn.attempt(pod, &name, start, |turn, known| match known {
            Some(Progress::Failed { message, .. }) => self.fail(turn, message),
            // a failure stays visible while a controller that starts anew tries again, as does that of before
            None if !self.has_failed(&turn.status) => self.announce(turn.now, &mut turn.status),
            _ => {}
        })
    }

    /// A run is of one pod, one template and one command: with another it is tried again at once.
    fn attempt(self, sandbox: &Sandbox, pod: &Pod) -> String {
        let command = self.action(sandbox).and_then(|action| action.exec.as_ref()).map(|exec| &exec.command);
        let (uid, revision) = (pod.uid().unwrap_or_default(), hash::update_revision(sandbox));
        format!("{self:?} {uid} {revision} {command:?}")
    }

    fn has_failed(self, status: &SandboxStatus) -> bool {
        conditions::find(&status.conditions, types::UPGRADING)
            .is_some_and(|condition| condition.reason == self.reasons().1)
    }

    fn fail(self, turn: &mut Turn<'_>, message: &str) {
        let message = match self {
            Self::PreUpgrade => format!("lifecycle.preUpgrade failed: {message}"),
            Self::PostUpgrade => format!("lifecycle.postUpgrade failed: {message}"),
        };
        if !self.has_failed(&turn.status) {
            turn.decision.events.push(Announcement::warning(self.event(), message.clone()));
        }
        upgrade::hold(&mut turn.status, self.reasons().1, &message, turn.now);
    }
}
