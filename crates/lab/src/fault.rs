//! Faults as data: the words that scenarios use, the same on every backend.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::KillFault;

/// A fault to inject, at one of four levels.
#[derive(Clone, Debug, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub enum Fault {
    /// The object store misbehaves.
    Oss(OssFault),
    /// The NFS server misbehaves.
    Nas(NasFault),
    /// The object store is full.
    OssCapacity(CapacityFault),
    /// A call to a CSI driver goes wrong.
    Csi(CsiFault),
    /// A process is killed with SIGKILL.
    Kill(KillFault),
}

/// What the object store does wrong. `gone` and `hang` stand alone; the others can be combined.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct OssFault {
    /// Only requests of this operation (`GetObject`, `PutObject`, `ListObjectsV2`, …); absent means all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub operation: Option<String>,
    /// Answer with this HTTP status and S3 error code instead of doing the work.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// Wait this many milliseconds before answering.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delay_milliseconds: Option<u64>,
    /// Break the connection after half of the body.
    #[serde(default)]
    pub half_body: bool,
    /// The server is gone: its connections are cut and new ones fail, until healed.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub gone: bool,
    /// No request gets an answer until healed, over connections that stay.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub hang: bool,
    /// How many requests it strikes; absent means every one until healed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub times: Option<u32>,
}

/// What the NFS server does wrong. `gone`, `stale` and `restart` stand alone; the others can be combined.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[expect(clippy::struct_excessive_bools, reason = "the switches of a scenario's file, each on its own")]
pub struct NasFault {
    /// Only calls of this procedure (`READ`, `WRITE`, `LOOKUP`, `MNT`, …); absent means all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub procedure: Option<String>,
    /// Answer with this status instead of doing the work: `NFS3ERR_IO`, `NFS3ERR_JUKEBOX`, …; of `MNT`,
    /// `MNT3ERR_ACCES`, ….
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// Wait this many milliseconds before answering.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delay_milliseconds: Option<u64>,
    /// Give no answer until healed, over a connection that stays. Without anything else, the whole server hangs.
    #[serde(default)]
    pub hang: bool,
    /// Break the connection instead of answering.
    #[serde(default)]
    pub drop_connection: bool,
    /// No space is left: whatever needs some gets `NFS3ERR_NOSPC`, or `error`.
    #[serde(default)]
    pub full: bool,
    /// The server is gone: its connections are cut and new ones fail, until healed.
    #[serde(default)]
    pub gone: bool,
    /// Every file handle that was given out is stale from now on, for good.
    #[serde(default)]
    pub stale: bool,
    /// The server restarts, once: its connections are cut, file handles stay good, and what it had taken and not put on
    /// its disk is lost.
    #[serde(default)]
    pub restart: bool,
    /// How many calls it strikes; absent means every one until healed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub times: Option<u32>,
}

/// How much fits into a store.
#[derive(Clone, Copy, Debug, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct CapacityFault {
    /// Bytes of all its objects together, those that are there already included; what goes beyond is refused until the
    /// fault is healed.
    pub bytes: u64,
}

/// What goes wrong with calls to a CSI driver. Two questions, apart from each other: whether the call does its work
/// (`effect`), and how it is answered (`code`, `close`, or as the work says). `hang` and `delayMilliseconds` come before
/// the answer.
#[derive(Clone, Debug, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct CsiFault {
    /// The call.
    pub call: CsiCall,
    /// Only calls to this driver; absent means each.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub driver: Option<String>,
    /// Only calls in the pod of this sandbox; absent means every pod, also those made later.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sandbox: Option<String>,
    /// Only calls for this path in the sandbox; absent means any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mount_path: Option<String>,
    /// The first of the matching calls that it strikes, counted over the whole lab; absent means 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nth: Option<u32>,
    /// How many calls it strikes from there on; absent means every one until healed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub times: Option<u32>,
    /// Whether the call does its work; absent means `none` where `code` or `close` is given, otherwise `after`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub effect: Option<CsiEffect>,
    /// The call waits until the fault is healed; what it does then is as without `hang`.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub hang: bool,
    /// The call waits this many milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delay_milliseconds: Option<u64>,
    /// It is answered with this gRPC code, such as `Internal` or `Unavailable`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<CsiCode>,
    /// The connection is closed in place of an answer.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub close: bool,
}

/// A call of the CSI Node service.
#[derive(Clone, Copy, Debug, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
pub enum CsiCall {
    /// Mounts a volume.
    NodePublishVolume,
    /// Unmounts one.
    NodeUnpublishVolume,
}

/// Whether a call that a fault strikes does its work.
#[derive(Clone, Copy, Debug, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum CsiEffect {
    /// No: with no `code` the call succeeds without effect.
    None,
    /// Yes, before it waits: with `code` it does its work and then fails.
    Before,
    /// Yes, after it has waited.
    After,
}

/// The gRPC codes that a fault can answer with.
#[derive(Clone, Copy, Debug, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
pub enum CsiCode {
    /// The caller gave up.
    Cancelled,
    /// An error without a better code.
    Unknown,
    /// The request can't be carried out as it is.
    InvalidArgument,
    /// The driver's own limit passed.
    DeadlineExceeded,
    /// There is no such volume.
    NotFound,
    /// Another volume is there.
    AlreadyExists,
    /// The caller may not do that.
    PermissionDenied,
    /// Something has run out.
    ResourceExhausted,
    /// The state doesn't allow it.
    FailedPrecondition,
    /// Another operation is under way.
    Aborted,
    /// The driver doesn't have this call.
    Unimplemented,
    /// Something broke.
    Internal,
    /// The driver isn't there now.
    Unavailable,
}

impl CsiFault {
    /// Whether the call does its work, the default filled in.
    pub fn effect(&self) -> CsiEffect {
        let answered_otherwise = self.code.is_some() || self.close;
        self.effect.unwrap_or(if answered_otherwise { CsiEffect::None } else { CsiEffect::After })
    }

    /// Why it can't be injected; nothing when it can.
    pub fn contradiction(&self) -> Option<&'static str> {
        let waits = self.hang || self.delay_milliseconds.is_some();
        let fails = self.code.is_some() || self.close;
        if self.code.is_some() && self.close {
            return Some("a closed connection carries no code: give `code` or `close`");
        }
        if self.nth == Some(0) || self.times == Some(0) {
            return Some("it would strike no call: `nth` and `times` count from 1");
        }
        let unchanged = !waits && !fails && self.effect() != CsiEffect::None;
        unchanged.then_some(
            "it changes nothing: give `hang`, `delayMilliseconds`, `code`, `close` or `effect: none`",
        )
    }
}

/// Names an injected fault within its lab.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, PartialEq, Serialize)]
pub struct FaultHandle(pub u64);

#[cfg(test)]
mod tests {
    use super::*;

    fn fault(text: &str) -> CsiFault {
        serde_json::from_str(text).expect("a fault")
    }

    #[test]
    fn what_a_struck_call_does_follows_from_its_answer() {
        let effect = |more: &str| fault(&format!(r#"{{"call": "NodePublishVolume"{more}}}"#)).effect();
        assert_eq!(effect(r#", "code": "Internal""#), CsiEffect::None);
        assert_eq!(effect(r#", "close": true"#), CsiEffect::None);
        assert_eq!(effect(r#", "hang": true"#), CsiEffect::After);
        assert_eq!(effect(r#", "code": "Internal", "effect": "before""#), CsiEffect::Before);
    }

    #[test]
    fn a_fault_that_does_nothing_or_two_things_is_refused() {
        let refused =
            |more: &str| fault(&format!(r#"{{"call": "NodePublishVolume"{more}}}"#)).contradiction();
        for more in [
            "",
            r#", "effect": "before""#,
            r#", "hang": true, "nth": 0"#,
            r#", "code": "Internal", "close": true"#,
        ] {
            assert!(refused(more).is_some(), "{more}");
        }
        for more in [
            r#", "effect": "none""#,
            r#", "hang": true"#,
            r#", "delayMilliseconds": 5"#,
            r#", "close": true"#,
        ] {
            assert_eq!(refused(more), None, "{more}");
        }
    }
}
