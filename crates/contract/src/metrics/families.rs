//! The tables. Adding a row is adding a family; `docs/metrics.md` follows (bless it with `BLESS=1 cargo test -p contract`).

macro_rules! families {
    ($( $constant:ident: $kind:ident $name:literal [$($label:literal),*] $meaning:literal; )*) => {
        use super::super::{Family, Kind};

        $(
            #[doc = $meaning]
            pub const $constant: Family =
                Family { name: $name, kind: Kind::$kind, labels: &[$($label),*], meaning: $meaning };
        )*

        /// Every family, in the order of the document.
        pub const ALL: &[Family] = &[$($constant),*];
    };
}

/// What the controller serves.
pub mod controller {
    families! {
        SANDBOX_INFO: Gauge "sandbox_info" ["namespace", "name", "sandbox_pool", "node", "sandbox_template"]
            "1: what the sandbox is of, and the node that it is on";
        SANDBOX_LABELS: Gauge "sandbox_labels" ["namespace", "name", "label_*"]
            "1: the labels of the sandbox that `--metric-labels-allowlist` names; without the flag there is no series";
        SANDBOX_CREATED: Gauge "sandbox_created" ["namespace", "name"]
            "When the sandbox was created, in Unix seconds";
        SANDBOX_DELETION_TIMESTAMP: Gauge "sandbox_deletion_timestamp" ["namespace", "name"]
            "When the sandbox was told to go, in Unix seconds; only of one that is going";
        SANDBOX_STATUS_PHASE: Gauge "sandbox_status_phase" ["namespace", "name", "phase"]
            "1: the phase that the sandbox is in";
        SANDBOX_STATUS_READY: Gauge "sandbox_status_ready" ["namespace", "name"]
            "1 while the sandbox is ready, else 0";
        SANDBOX_STATUS_READY_TIME: Gauge "sandbox_status_ready_time" ["namespace", "name"]
            "Since when the sandbox is ready, in Unix seconds; only while it is";
        SANDBOX_STATUS_INPLACE_UPDATING: Gauge "sandbox_status_inplace_updating" ["namespace", "name"]
            "1 while condition `InplaceUpdate` is False, so an update is under way or couldn't be made, else 0";
        SANDBOX_STATUS_INPLACE_UPDATING_TIME: Gauge "sandbox_status_inplace_updating_time" ["namespace", "name"]
            "Since when, in Unix seconds; only while it is so";
        SANDBOX_STATUS_UNPAUSED: Gauge "sandbox_status_unpaused" ["namespace", "name"]
            "1 while condition `SandboxPaused` is False, so a pause is under way or refused, else 0";
        SANDBOX_STATUS_UNPAUSED_TIME: Gauge "sandbox_status_unpaused_time" ["namespace", "name"]
            "Since when, in Unix seconds; only while it is so";
        SANDBOX_STATUS_UNRESUMED: Gauge "sandbox_status_unresumed" ["namespace", "name"]
            "1 while condition `SandboxResumed` is False, so a wake-up is under way, else 0";
        SANDBOX_STATUS_UNRESUMED_TIME: Gauge "sandbox_status_unresumed_time" ["namespace", "name"]
            "Since when, in Unix seconds; only while it is so";
        SANDBOX_STATUS_ABNORMAL: Gauge "sandbox_status_abnormal" ["namespace", "name", "type"]
            "1: the phase is ahead of its condition; type `pause_incomplete`: Paused and the pod isn't gone, `resume_incomplete`: Resuming and no new pod runs; else there is no series";
        SANDBOX_STATUS_ABNORMAL_TIME: Gauge "sandbox_status_abnormal_time" ["namespace", "name", "type"]
            "Since when, in Unix seconds; only while it is so";
        SANDBOX_RUNTIME_CONTAINER_ABNORMAL: Gauge "sandbox_runtime_container_abnormal" ["namespace", "name", "container"]
            "1 while an injected container was restarted and isn't ready again, else 0";
        SANDBOX_RUNTIME_CONTAINER_ABNORMAL_TIME: Gauge "sandbox_runtime_container_abnormal_time" ["namespace", "name", "container"]
            "Since when this controller sees it so, in Unix seconds; only while it is so";
        SANDBOX_CREATION_TOTAL: Counter "sandbox_creation_total" ["namespace", "result"]
            "Creations that have ended";
        SANDBOX_CREATION_DURATION: Short "sandbox_creation_duration_seconds" ["namespace"]
            "From when a sandbox is there until it is ready";
        SANDBOX_PAUSE_TOTAL: Counter "sandbox_pause_total" ["namespace", "result"]
            "Pauses that have ended";
        SANDBOX_PAUSE_DURATION: Short "sandbox_pause_duration_seconds" ["namespace"]
            "From phase Paused until the pod is gone";
        SANDBOX_RESUME_TOTAL: Counter "sandbox_resume_total" ["namespace", "result"]
            "Wake-ups that have ended";
        SANDBOX_RESUME_DURATION: Short "sandbox_resume_duration_seconds" ["namespace"]
            "From phase Resuming until the sandbox is ready, its mounts back";
        SANDBOX_RECYCLE_TOTAL: Counter "sandbox_recycle_total" ["namespace", "result"]
            "Recyclings that have ended";
        SANDBOX_RECYCLE_DURATION: Long "sandbox_recycle_duration_seconds" ["namespace"]
            "From phase Recycling until the sandbox is back in its pool";
        SANDBOX_INPLACE_UPDATE_DURATION: Short "sandbox_inplace_update_duration_seconds" ["namespace"]
            "From when an in-place update is announced until condition `InplaceUpdate` is True; one that fails isn't counted";
        SANDBOX_DELETION_DURATION: Short "sandbox_deletion_duration_seconds" ["namespace"]
            "From when a sandbox is told to go until its object is gone, 0 when nothing holds it";
        SANDBOXSET_CREATED: Gauge "sandboxset_created" ["namespace", "name"]
            "When the set was created, in Unix seconds";
        SANDBOXSET_DESIRED_REPLICAS: Gauge "sandboxset_desired_replicas" ["namespace", "name"]
            "Unclaimed sandboxes that the set should have";
        SANDBOXSET_REPLICAS: Gauge "sandboxset_replicas" ["namespace", "name"]
            "Unclaimed sandboxes that the set has";
        SANDBOXSET_AVAILABLE_REPLICAS: Gauge "sandboxset_available_replicas" ["namespace", "name"]
            "Those of them that can be taken";
        SANDBOXSET_UPDATED_REPLICAS: Gauge "sandboxset_updated_replicas" ["namespace", "name"]
            "Those of them that are of the template of now";
        SANDBOXSET_UPDATED_AVAILABLE_REPLICAS: Gauge "sandboxset_updated_available_replicas" ["namespace", "name"]
            "Those that are both";
        SANDBOXSET_SANDBOXES_CREATED: Counter "sandboxset_sandboxes_created_total" ["namespace", "name"]
            "Sandboxes that the set has got";
        SANDBOXSET_SANDBOXES_CLAIMED: Counter "sandboxset_sandboxes_claimed_total" ["namespace", "name"]
            "Sandboxes that were taken out of the set's pool";
        SANDBOXSET_CLAIMS: Counter "sandboxset_claims_total" ["namespace", "name", "result"]
            "`SandboxClaim` objects that have ended, by the set that they take from; no `name` where there was no such set";
        SANDBOXCLAIM_EXPIRED: Counter "sandboxclaim_expired_total" ["namespace", "name"]
            "`SandboxClaim` objects that reached their limit, by the set that they take from; no `name` where there was no such set";
        SANDBOX_CLAIM_INFO: Gauge "sandbox_claim_info" ["namespace", "name", "template"]
            "1: the set that the claim takes from";
        SANDBOX_CLAIM_CREATED: Gauge "sandbox_claim_created" ["namespace", "name"]
            "When the claim was created, in Unix seconds";
        SANDBOX_CLAIM_STATUS_PHASE: Gauge "sandbox_claim_status_phase" ["namespace", "name", "phase"]
            "1: the phase that the claim is in";
        SANDBOX_CLAIM_START_TIME: Gauge "sandbox_claim_start_time" ["namespace", "name"]
            "When the claim began, in Unix seconds";
        SANDBOX_CLAIM_COMPLETION_TIME: Gauge "sandbox_claim_completion_time" ["namespace", "name"]
            "When the claim ended, in Unix seconds";
        SANDBOX_CLAIM_DESIRED_REPLICAS: Gauge "sandbox_claim_desired_replicas" ["namespace", "name"]
            "Sandboxes that the claim asks for";
        SANDBOX_CLAIM_CLAIMED_REPLICAS: Gauge "sandbox_claim_claimed_replicas" ["namespace", "name"]
            "Sandboxes that the claim has";
        SANDBOX_CLAIM_DURATION: Short "sandbox_claim_duration_seconds" ["namespace"]
            "From the first turn of a `SandboxClaim` to its end";
    }
}

/// What the manager serves.
pub mod manager {
    families! {
        SANDBOX_MANAGER_REQUESTS: Counter "sandbox_manager_requests_total" ["status"]
            "Answers of the control plane, by HTTP status";
        SANDBOX_MANAGER_SANDBOXES: Gauge "sandbox_manager_sandboxes" ["state"]
            "Claimed sandboxes that are `running` or `paused`";
        SANDBOXSET_CLAIMS: Counter "sandboxset_claims_total" ["namespace", "name", "result"]
            "Claims through the E2B API, by the set that they take from";
        SANDBOX_CLAIM_DURATION: Short "sandbox_claim_duration_seconds" ["namespace"]
            "From a create request that claims to everything mounted; one that fails isn't counted";
    }
}
