//! The custom resources of group `agents.kruise.io`, version `v1alpha1` (`kubernetes.md` §1).
//!
//! The Rust types are the source; [`all`] turns them into the definitions that an API server installs and
//! [`manifests`] into the YAML files of `kind/manifests/`. Pod templates carry no schema at all (unknown fields
//! are preserved), so they are raw JSON here too: a bad one must not keep a whole list from being read. Use
//! [`template::pod_template`] to look inside.
#![allow(clippy::duplicated_attributes, reason = "two printer columns of the same type are not a mistake")]

mod checkpoint;
mod commit;
mod common;
mod manifest;
mod sandbox;
mod sandbox_claim;
mod sandbox_set;
mod sandbox_template;
mod schema;
pub mod template;
mod traffic_policy;
mod update_ops;

pub use checkpoint::{Checkpoint, CheckpointSpec, CheckpointStatus};
pub use commit::{Commit, CommitPhase, CommitSpec, CommitStatus, RegistryAuth};
pub use common::{
    CsiMountConfig, ExecAction, HibernateStrategy, Lifecycle, PauseStrategy, PauseStrategyType,
    RuntimeConfig, TemplateRef, UpgradeAction,
};
pub use manifest::{Manifest, all, manifests};
pub use sandbox::{
    PodInfo, Sandbox, SandboxPhase, SandboxSpec, SandboxStatus, UpgradePolicy, UpgradePolicyType,
};
pub use sandbox_claim::{
    ClaimPhase, InplaceUpdate, InplaceUpdateResources, SandboxClaim, SandboxClaimSpec, SandboxClaimStatus,
};
pub use sandbox_set::{
    DEFAULT_UPDATE_BUDGET, SandboxSet, SandboxSetSpec, SandboxSetStatus, ScaleStrategy, UpdateStrategy,
};
pub use sandbox_template::{SandboxTemplate, SandboxTemplateSpec};
pub use traffic_policy::{
    RuleAction, ServiceReference, TrafficDirection, TrafficPeer, TrafficPolicy, TrafficPolicySpec,
    TrafficPolicyStatus, TrafficPort, TrafficProtocol, TrafficRule, WorkloadReference,
};
pub use update_ops::{
    SandboxUpdateOps, SandboxUpdateOpsSpec, SandboxUpdateOpsStatus, StateFilter, TargetState, UpdateOpsPhase,
    UpdateOpsStrategy, UpdateOpsType,
};

/// API group of every kind here.
pub const GROUP: &str = "agents.kruise.io";
/// The one version, served and stored.
pub const VERSION: &str = "v1alpha1";
