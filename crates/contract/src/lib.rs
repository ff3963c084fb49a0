//! Every type and rule that two components of the Agent Sandbox storage system share, as pure functions.
//!
//! ```text
//! POST /sandboxes ──► request::parse ──► Vec<MountIntent> ──► resolve::resolve ──► NodePublishVolumeRequest
//!   metadata, volumeMounts   (intents,      │                   (PV, Secret read     │
//!                             extensions)   │                    by the caller)      ├─► publish::to_json (storage API)
//!                                           ▼                                        └─► protobuf (helper, CSI socket)
//!                        intents::encode_annotation on the Sandbox
//!
//! SandboxSet ──► Sandbox ──► Pod          crd, names, hash, state, injection
//! ```
//!
//! Nothing here reads a file, a socket or the clock: who calls brings the objects and the time. Failures are
//! [`errors::Problem`]s with a stable code from the one error table.
//!
//! The rules are those of the contract documents `storage.md`, `kubernetes.md` and `e2b-api.md`; each item names its
//! section.

pub mod checkpoint;
pub mod conditions;
pub mod crd;
pub mod duration;
pub mod errors;
pub mod extensions;
pub mod hash;
pub mod hibernation;
pub mod injection;
pub mod intents;
pub mod metrics;
pub mod names;
pub mod network;
pub mod paths;
pub mod publish;
pub mod qos;
pub mod quantity;
pub mod recycling;
pub mod request;
pub mod resolve;
pub mod sleep;
pub mod state;
