//! What to do about one `SandboxClaim`, as a pure function.

use contract::conditions::{self, reasons, types};
use contract::crd::{ClaimPhase, SandboxClaim, SandboxClaimStatus, SandboxSet};
use contract::duration;
use contract::errors::Code;
use contract::names::events;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use crate::announce::Announcement;

/// Attempts at the same time before the first has succeeded: bad luck then costs few sandboxes.
const FIRST_BATCH: usize = 5;
/// Attempts at the same time.
const LARGEST_BATCH: usize = 50;
/// Limit of a claim that names none.
const CLAIM_TIMEOUT: SignedDuration = SignedDuration::from_secs(60);
/// How long a completed claim is kept that doesn't say.
const TTL: SignedDuration = SignedDuration::from_secs(3600);

/// What is known about one claim.
#[derive(Clone, Copy, Debug)]
pub struct Observed<'a> {
    /// The claim.
    pub claim: &'a SandboxClaim,
    /// The set that it names, if there is one.
    pub set: Option<&'a SandboxSet>,
    /// Sandboxes that were handed out to it and exist.
    pub claimed: i32,
    /// Attempts at work.
    pub under_way: usize,
    /// How the last attempt that failed did, unless one has succeeded since.
    pub trouble: Option<&'a Trouble>,
    /// The time.
    pub now: Timestamp,
}

/// How an attempt failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trouble {
    /// Generation of the claim that was attempted.
    pub generation: Option<i64>,
    /// The error's code.
    pub code: Code,
    /// The error, without secrets.
    pub message: String,
    /// When it may be tried again.
    pub retry_at: Timestamp,
}

impl Trouble {
    /// Whether another attempt would only use up another sandbox: a mount that a driver refused (§3.7).
    fn is_final(&self) -> bool {
        matches!(self.code, Code::MountFailed | Code::MountTimedOut)
    }
}

/// One thing to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ClaimAction {
    /// Begin that many attempts.
    Start(usize),
    /// End all attempts; what they hold is given back.
    Stop,
    /// Delete the claim; its sandboxes stay.
    Delete,
}

/// What to do about one claim.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ClaimDecision {
    /// In this order.
    pub actions: Vec<ClaimAction>,
    /// The status as it should be; nothing when it must not be written.
    pub status: Option<SandboxClaimStatus>,
    /// Events to announce.
    pub events: Vec<Announcement>,
    /// When to look again, if nothing happens before.
    pub wake_at: Option<Timestamp>,
}

/// Decides about one claim.
pub fn decide(observed: &Observed<'_>) -> ClaimDecision {
    let claim = observed.claim;
    let old = claim.status.clone().unwrap_or_default();
    if claim.metadata.deletion_timestamp.is_some() {
        return ClaimDecision { actions: stop(observed), ..ClaimDecision::default() };
    }
    if old.phase == Some(ClaimPhase::Completed) {
        return after_completion(observed, &old);
    }
    let replicas = claim.spec.replicas.unwrap_or(1);
    let before = old.claimed_replicas.unwrap_or_default();
    let claimed = before.max(observed.claimed);
    let mut decision = ClaimDecision::default();
    if claimed > before {
        let message = format!("Claimed {claimed}/{replicas} sandboxes of {}", claim.spec.template_name);
        decision.events.push(Announcement::normal(events::SANDBOX_CLAIMED, message));
    }
    let status = SandboxClaimStatus {
        observed_generation: claim.metadata.generation,
        phase: Some(ClaimPhase::Claiming),
        claimed_replicas: Some(claimed),
        claim_start_time: old.claim_start_time.clone().or(Some(Time(observed.now))),
        ..old.clone()
    };
    let mut turn = Turn { observed, replicas, claimed, status, decision };
    match end(&turn) {
        Some(end) => turn.complete(&end),
        None => turn.go_on(old.message.as_deref()),
    }
    turn.decision.status = Some(turn.status);
    turn.decision
}

/// One turn of a claim that isn't complete.
struct Turn<'a> {
    observed: &'a Observed<'a>,
    replicas: i32,
    claimed: i32,
    status: SandboxClaimStatus,
    decision: ClaimDecision,
}

/// How a claim ends.
struct End {
    reason: &'static str,
    /// What is missing and why; nothing when everything was claimed.
    cause: Option<String>,
    /// The reason of the warning that tells the cause.
    event: &'static str,
}

/// The end that is due, in the contract's order.
fn end(turn: &Turn<'_>) -> Option<End> {
    let Observed { claim, set, trouble, now, .. } = *turn.observed;
    let failed = |reason, cause| Some(End { reason, cause: Some(cause), event: events::CLAIM_FAILED });
    if set.is_none() {
        let cause = format!("there is no SandboxSet {:?} in this namespace", claim.spec.template_name);
        return failed(reasons::SANDBOX_SET_NOT_FOUND, cause);
    }
    if turn.claimed >= turn.replicas {
        return Some(End { reason: reasons::ALL_REPLICAS_CLAIMED, cause: None, event: "" });
    }
    let trouble = trouble.map(|trouble| (trouble, trouble.message.clone()));
    if now >= deadline(turn) {
        let limit = claim.spec.claim_timeout.as_deref().unwrap_or("1m");
        let last = trouble.map_or_else(String::new, |(_, message)| format!(": {message}"));
        return failed(reasons::TIMEOUT_REACHED, format!("claimTimeout of {limit} is over{last}"));
    }
    match trouble {
        Some((trouble, cause)) if trouble.is_final() && turn.observed.under_way == 0 => {
            failed(reasons::CLAIM_FAILED, cause)
        }
        _ => None,
    }
}

fn deadline(turn: &Turn<'_>) -> Timestamp {
    let limit = turn.observed.claim.spec.claim_timeout.as_deref().and_then(duration::parse);
    let start = turn.status.claim_start_time.as_ref().map_or(turn.observed.now, |start| start.0);
    start.saturating_add(limit.unwrap_or(CLAIM_TIMEOUT)).unwrap_or(Timestamp::MAX)
}

impl Turn<'_> {
    fn complete(&mut self, end: &End) {
        let now = self.observed.now;
        let mut message = format!("Completed: {}/{} claimed", self.claimed, self.replicas);
        if let Some(cause) = &end.cause {
            message = format!("{message}; {cause}");
        }
        if end.reason == reasons::TIMEOUT_REACHED {
            let reason = reasons::CLAIM_TIMEOUT_REACHED;
            conditions::set(&mut self.status.conditions, types::TIMED_OUT, true, reason, &message, now);
        }
        conditions::set(&mut self.status.conditions, types::COMPLETED, true, end.reason, &message, now);
        self.decision.events.push(match &end.cause {
            None => Announcement::normal(events::CLAIM_COMPLETED, message.clone()),
            Some(_) => Announcement::warning(end.event, message.clone()),
        });
        self.status.phase = Some(ClaimPhase::Completed);
        self.status.completion_time = Some(Time(now));
        self.status.message = Some(message);
        self.decision.actions = stop(self.observed);
    }

    fn go_on(&mut self, told: Option<&str>) {
        let Observed { claim, under_way, now, .. } = *self.observed;
        let mut message = format!("Claiming: {}/{} claimed", self.claimed, self.replicas);
        self.decision.wake_at = Some(deadline(self));
        // what an earlier version of the claim ran into is no reason to wait
        let trouble = self.observed.trouble.filter(|trouble| trouble.generation == claim.metadata.generation);
        if let Some(trouble) = trouble {
            message = format!("{message}; {}", trouble.message);
            if told.is_none_or(|told| !told.ends_with(&trouble.message)) {
                self.decision.events.push(warning(trouble));
            }
        }
        self.status.message = Some(message);
        match trouble {
            Some(trouble) if trouble.is_final() => {}
            Some(trouble) if now < trouble.retry_at => {
                self.decision.wake_at = self.decision.wake_at.min(Some(trouble.retry_at));
            }
            _ => {
                let missing = usize::try_from(self.replicas - self.claimed).unwrap_or_default();
                let most = match (trouble, self.claimed) {
                    (Some(_), _) => 1,
                    (None, 0) => FIRST_BATCH,
                    (None, _) => LARGEST_BATCH,
                };
                let count = missing.min(most).saturating_sub(under_way);
                if count > 0 {
                    self.decision.actions.push(ClaimAction::Start(count));
                }
            }
        }
    }
}

fn warning(trouble: &Trouble) -> Announcement {
    let reason =
        if trouble.code == Code::NoStock { events::NO_AVAILABLE_SANDBOXES } else { events::CLAIM_FAILED };
    Announcement::warning(reason, trouble.message.clone())
}

fn stop(observed: &Observed<'_>) -> Vec<ClaimAction> {
    if observed.under_way > 0 { vec![ClaimAction::Stop] } else { Vec::new() }
}

/// A completed claim only waits for its own end.
fn after_completion(observed: &Observed<'_>, status: &SandboxClaimStatus) -> ClaimDecision {
    let mut decision = ClaimDecision { actions: stop(observed), ..ClaimDecision::default() };
    let ttl = observed.claim.spec.ttl_after_completed.as_deref().and_then(duration::parse).unwrap_or(TTL);
    if ttl.is_negative() {
        return decision;
    }
    let completed = status.completion_time.as_ref().map_or(observed.now, |time| time.0);
    let until = completed.saturating_add(ttl).unwrap_or(Timestamp::MAX);
    if observed.now < until {
        decision.wake_at = Some(until);
        return decision;
    }
    decision.actions.push(ClaimAction::Delete);
    decision.events.push(Announcement::normal(
        events::SANDBOX_CLAIM_TTL_DELETE,
        "The claim is deleted some time after its completion; its sandboxes stay",
    ));
    decision
}

#[cfg(test)]
mod tests {
    use rstest::rstest;
    use serde_json::{Value, json};

    use super::*;

    fn now() -> Timestamp {
        Timestamp::from_second(1_800_000_000).expect("a small number")
    }

    fn at(seconds: i64) -> Timestamp {
        now() + SignedDuration::from_secs(seconds)
    }

    fn claim(spec: &Value, status: &Value) -> SandboxClaim {
        let mut all = json!({"templateName": "pool", "replicas": 3, "claimTimeout": "1m"});
        for (key, value) in spec.as_object().into_iter().flatten() {
            all[key] = value.clone();
        }
        let metadata = json!({"name": "c", "namespace": "default", "uid": "u", "generation": 2});
        serde_json::from_value(json!({"metadata": metadata, "spec": all, "status": status})).expect("a claim")
    }

    /// A claim that began ten seconds ago and has that many sandboxes.
    fn claiming(claimed: i32) -> SandboxClaim {
        let status = json!({"phase": "Claiming", "claimStartTime": at(-10), "claimedReplicas": claimed});
        claim(&json!({}), &status)
    }

    fn set() -> SandboxSet {
        serde_json::from_value(json!({"metadata": {"name": "pool"}, "spec": {"replicas": 1}})).expect("a set")
    }

    fn trouble(code: Code, retry_in: i64) -> Trouble {
        Trouble { generation: Some(2), code, message: "the cause".to_owned(), retry_at: at(retry_in) }
    }

    struct Case<'a> {
        claim: &'a SandboxClaim,
        claimed: i32,
        under_way: usize,
        trouble: Option<Trouble>,
    }

    fn decided(case: &Case<'_>) -> ClaimDecision {
        let set = set();
        decide(&Observed {
            claim: case.claim,
            set: Some(&set),
            claimed: case.claimed,
            under_way: case.under_way,
            trouble: case.trouble.as_ref(),
            now: now(),
        })
    }

    fn told(decision: &ClaimDecision) -> Vec<&str> {
        decision.events.iter().map(|event| event.reason.as_str()).collect()
    }

    fn completed(decision: &ClaimDecision) -> Option<(&str, &str)> {
        let status = decision.status.as_ref()?;
        let condition = conditions::find(&status.conditions, types::COMPLETED)?;
        assert_eq!(status.phase, Some(ClaimPhase::Completed));
        assert_eq!(status.completion_time, Some(Time(now())));
        Some((&condition.reason, status.message.as_deref().unwrap_or_default()))
    }

    #[test]
    fn a_new_claim_begins() {
        let new = claim(&json!({}), &Value::Null);
        let decision = decided(&Case { claim: &new, claimed: 0, under_way: 0, trouble: None });
        let status = decision.status.expect("a status");
        assert_eq!((status.phase, status.claimed_replicas), (Some(ClaimPhase::Claiming), Some(0)));
        assert_eq!((status.claim_start_time, status.observed_generation), (Some(Time(now())), Some(2)));
        assert_eq!(decision.wake_at, Some(at(60)));
        assert_eq!(decision.actions, [ClaimAction::Start(3)]);
    }

    #[rstest]
    #[case::first_batch(20, 0, 0, None, Some(5))]
    #[case::first_batch_at_work(20, 0, 4, None, Some(1))]
    #[case::first_batch_full(20, 0, 5, None, None)]
    #[case::after_a_success(20, 1, 4, None, Some(15))]
    #[case::never_more_than_missing(20, 19, 1, None, Some(0))]
    #[case::large(200, 5, 0, None, Some(50))]
    #[case::after_a_failure_one(20, 3, 0, Some(trouble(Code::VolumeNotFound, 0)), Some(1))]
    #[case::not_before_its_time(20, 3, 0, Some(trouble(Code::VolumeNotFound, 1)), None)]
    #[case::never_after_a_refused_mount(20, 3, 1, Some(trouble(Code::MountFailed, 0)), None)]
    fn how_many_are_started(
        #[case] replicas: i32,
        #[case] claimed: i32,
        #[case] under_way: usize,
        #[case] trouble: Option<Trouble>,
        #[case] starts: Option<usize>,
    ) {
        let mut claim = claiming(claimed);
        claim.spec.replicas = Some(replicas);
        let decision = decided(&Case { claim: &claim, claimed, under_way, trouble });
        let expected: Vec<_> =
            starts.filter(|count| *count > 0).map(ClaimAction::Start).into_iter().collect();
        assert_eq!(decision.actions, expected);
        assert!(completed(&decision).is_none());
    }

    #[rstest]
    #[case::everything(3, None, "AllReplicasClaimed", "Completed: 3/3 claimed", "ClaimCompleted")]
    #[case::a_refused_mount(
        1,
        Some(trouble(Code::MountFailed, 9)),
        "ClaimFailed",
        "Completed: 1/3 claimed; the cause",
        "ClaimFailed"
    )]
    #[case::a_hanging_mount(
        0,
        Some(trouble(Code::MountTimedOut, 9)),
        "ClaimFailed",
        "Completed: 0/3 claimed; the cause",
        "ClaimFailed"
    )]
    fn ends(
        #[case] claimed: i32,
        #[case] trouble: Option<Trouble>,
        #[case] reason: &str,
        #[case] message: &str,
        #[case] event: &str,
    ) {
        let claim = claiming(claimed);
        let decision = decided(&Case { claim: &claim, claimed, under_way: 0, trouble });
        assert_eq!(completed(&decision), Some((reason, message)));
        assert_eq!(told(&decision), [event]);
    }

    #[test]
    fn at_its_limit_a_claim_ends_with_what_it_has_and_the_last_cause() {
        let mut late = claiming(2);
        late.status.as_mut().expect("a status").claim_start_time = Some(Time(at(-60)));
        let trouble = Some(trouble(Code::VolumeNotFound, 1));
        let decision = decided(&Case { claim: &late, claimed: 2, under_way: 1, trouble });
        let message = "Completed: 2/3 claimed; claimTimeout of 1m is over: the cause";
        assert_eq!(completed(&decision), Some(("TimeoutReached", message)));
        assert_eq!(decision.actions, [ClaimAction::Stop]);
        let status = decision.status.expect("a status");
        let timed_out = conditions::find(&status.conditions, types::TIMED_OUT).expect("a condition");
        assert_eq!((timed_out.status.as_str(), timed_out.reason.as_str()), ("True", "ClaimTimeoutReached"));
    }

    #[test]
    fn without_its_set_a_claim_ends_at_once() {
        let claim = claim(&json!({}), &Value::Null);
        let observed =
            Observed { claim: &claim, set: None, claimed: 0, under_way: 0, trouble: None, now: now() };
        let decision = decide(&observed);
        let message = "Completed: 0/3 claimed; there is no SandboxSet \"pool\" in this namespace";
        assert_eq!(completed(&decision), Some(("SandboxSetNotFound", message)));
    }

    #[rstest]
    #[case(Code::VolumeNotFound, "ClaimFailed")]
    #[case(Code::NoStock, "NoAvailableSandboxes")]
    fn a_cause_is_told_once(#[case] code: Code, #[case] event: &str) {
        let mut claim = claiming(1);
        let case = |claim: &SandboxClaim| {
            decided(&Case { claim, claimed: 1, under_way: 0, trouble: Some(trouble(code, 5)) })
        };
        let first = case(&claim);
        assert_eq!(told(&first), [event]);
        claim.status = first.status;
        let message = claim.status.as_ref().and_then(|status| status.message.as_deref());
        assert_eq!(message, Some("Claiming: 1/3 claimed; the cause"));
        let second = case(&claim);
        assert!(second.events.is_empty());
        assert_eq!(second.wake_at, Some(at(5)));
    }

    #[test]
    fn an_edited_claim_is_tried_again_at_once() {
        let mut claim = claiming(1);
        claim.metadata.generation = Some(3);
        let trouble = Some(trouble(Code::VolumeNotFound, 1));
        let decision = decided(&Case { claim: &claim, claimed: 1, under_way: 0, trouble });
        assert_eq!(decision.actions, [ClaimAction::Start(2)]);
    }

    #[test]
    fn progress_counts_and_never_goes_back() {
        let claim = claiming(1);
        let more = decided(&Case { claim: &claim, claimed: 2, under_way: 1, trouble: None });
        assert_eq!(told(&more), ["SandboxClaimed"]);
        assert_eq!(more.status.expect("a status").claimed_replicas, Some(2));
        let fewer = decided(&Case { claim: &claim, claimed: 0, under_way: 2, trouble: None });
        assert_eq!(fewer.status.expect("a status").claimed_replicas, Some(1));
    }

    #[rstest]
    #[case::kept(json!({}), -3599, None, Some(1))]
    #[case::over(json!({}), -3600, Some(ClaimAction::Delete), None)]
    #[case::own(json!({"ttlAfterCompleted": "10s"}), -9, None, Some(1))]
    #[case::at_once(json!({"ttlAfterCompleted": "0s"}), 0, Some(ClaimAction::Delete), None)]
    #[case::for_ever(json!({"ttlAfterCompleted": "-1s"}), -100_000, None, None)]
    fn a_completed_claim_goes_after_its_time(
        #[case] spec: Value,
        #[case] completed: i64,
        #[case] action: Option<ClaimAction>,
        #[case] wakes: Option<i64>,
    ) {
        let status = json!({"phase": "Completed", "completionTime": at(completed), "claimedReplicas": 3});
        let claim = claim(&spec, &status);
        let decision = decided(&Case { claim: &claim, claimed: 0, under_way: 0, trouble: None });
        assert_eq!(decision.actions, action.into_iter().collect::<Vec<_>>());
        assert_eq!((decision.wake_at, decision.status), (wakes.map(at), None));
    }

    #[test]
    fn a_claim_that_is_deleted_stops() {
        let mut claim = claiming(1);
        claim.metadata.deletion_timestamp = Some(Time(now()));
        let decision = decided(&Case { claim: &claim, claimed: 1, under_way: 2, trouble: None });
        assert_eq!((decision.actions, decision.status), (vec![ClaimAction::Stop], None));
    }
}
