//! The mounts of one sandbox (`storage.md` §3.4, §3.6): at most three at a time, all of them tried, all errors told in
//! the order of the request, and one limit for everything.

use std::time::Duration;

use contract::errors::{Code, Problem};
use contract::names::STORAGE_API_PATH;
use contract::publish;
use contract::resolve::ResolvedMount;
use futures::future::BoxFuture;
use futures::{FutureExt as _, StreamExt as _, stream};
use http::{Method, StatusCode};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::time::sleep;

use crate::redaction::Redaction;
use crate::{CallError, Endpoint, RuntimeClient};

/// Mounts under way at the same time.
const PARALLEL: usize = 3;
/// How often one mount is tried.
const TRIES: u32 = 5;
/// Limit of one try.
const TRY_LIMIT: Duration = Duration::from_secs(30);
/// Wait before the second try; doubles each time.
const FIRST_WAIT: Duration = Duration::from_millis(200);
/// The longest wait between two tries.
const LONGEST_WAIT: Duration = Duration::from_secs(10);
/// gRPC's name for a limit that passed inside the sandbox.
const DEADLINE_EXCEEDED: &str = "DeadlineExceeded";
/// What the product document says to do about a 504.
const REMEDY: &str = "replace the csi-agent image tag v1.35.3-cgroupv1-dport-forbidden by v1.35.4-3c34d4a-aliyun in ConfigMap \
    sandbox-injection-config of namespace sandbox-system, let the pool be replaced, then create the sandbox again";

/// Why one mount failed.
#[derive(Clone, Debug, PartialEq)]
struct Failure {
    index: usize,
    mount_path: String,
    driver: String,
    /// Whether time ran out, here or inside the sandbox.
    timed_out: bool,
    reason: String,
}

/// The mounts that failed, at least one.
#[derive(Clone, Debug, PartialEq)]
pub struct Failures(Vec<Failure>);

/// The storage API's answer.
#[derive(Debug, Deserialize)]
struct MountAnswer {
    #[serde(default)]
    success: bool,
    #[serde(default)]
    message: Option<String>,
    #[serde(default)]
    error: Option<String>,
    /// gRPC's name of the failure; a number where the runtime refused the request as a whole.
    #[serde(default)]
    code: Value,
}

impl RuntimeClient {
    /// Mounts everything. Mounts that are there already, as asked for, are fine. `expired` completes when all of them
    /// together have taken as long as they may.
    ///
    /// # Errors
    /// The mounts that failed; [`explain`](crate::explain) makes one problem of them.
    pub async fn mount_all(
        &self,
        endpoint: &Endpoint,
        token: Option<&str>,
        mounts: &[ResolvedMount],
        expired: BoxFuture<'static, ()>,
    ) -> Result<(), Failures> {
        let redaction = Redaction::of(mounts, token);
        let expired = expired.shared();
        let attempts = mounts.iter().enumerate().map(|(index, mount)| {
            let (redaction, expired) = (&redaction, expired.clone());
            async move {
                let tried = tokio::select! {
                    tried = self.mount_with_retries(endpoint, token, mount) => Some(tried),
                    () = expired => None,
                };
                let (timed_out, reason) = match tried {
                    Some(Ok(())) => return None,
                    Some(Err(tried)) => (tried.timed_out, redaction.clean(&tried.reason)),
                    None => (true, "not done in the time that the mounts of a claim have".to_owned()),
                };
                let (mount_path, driver) = (mount.mount_path.clone(), mount.driver.clone());
                Some(Failure { index, mount_path, driver, timed_out, reason })
            }
        });
        let attempts: Vec<_> = attempts.collect();
        let outcomes: Vec<_> = stream::iter(attempts).buffer_unordered(PARALLEL).collect().await;
        let failures: Vec<_> = outcomes.into_iter().flatten().collect();
        if failures.is_empty() { Ok(()) } else { Err(Failures::in_order(failures)) }
    }

    async fn mount_with_retries(
        &self,
        endpoint: &Endpoint,
        token: Option<&str>,
        mount: &ResolvedMount,
    ) -> Result<(), Tried> {
        let body = json!({"driver": mount.driver, "publishRequest": publish::to_json(&mount.request)});
        let body = body.to_string().into_bytes();
        let mut wait = FIRST_WAIT;
        let mut last = Tried::failed(&"not tried");
        for attempt in 1..=TRIES {
            last = match self.mount_once(endpoint, token, body.clone()).await {
                Ok(()) => return Ok(()),
                Err(tried) if tried.is_final => return Err(tried),
                Err(tried) => tried,
            };
            if attempt < TRIES {
                sleep(wait).await;
                wait = (wait * 2).min(LONGEST_WAIT);
            }
        }
        Err(last)
    }

    async fn mount_once(&self, endpoint: &Endpoint, token: Option<&str>, body: Vec<u8>) -> Result<(), Tried> {
        let call = self.call(Method::POST, endpoint, STORAGE_API_PATH, token, body, TRY_LIMIT);
        let answer = match call.await {
            Ok(answer) => answer,
            Err(error @ CallError::TimedOut(_)) => {
                return Err(Tried { timed_out: true, ..Tried::failed(&error) });
            }
            Err(error) => return Err(Tried::failed(&error)),
        };
        let told: Option<MountAnswer> = serde_json::from_slice(&answer.body).ok();
        match (answer.status, told) {
            (status, Some(told)) if status.is_success() && told.success => Ok(()),
            (status, Some(told)) if status.is_success() => {
                let late = told.code == DEADLINE_EXCEEDED;
                let tried = Tried::finally(&format!("runtime reported mount failure: {}", told.reason()));
                Err(Tried { timed_out: tried.timed_out || late, ..tried })
            }
            // a 2xx that can't be read was cut off
            (status, None) if status.is_success() => {
                Err(Tried::failed(&"the runtime's answer is incomplete"))
            }
            (status, told) => {
                let reason = told.map(MountAnswer::reason).unwrap_or_default();
                let text = format!("the runtime answered {status}: {reason}");
                let final_answer = status.is_client_error();
                let tried = if final_answer { Tried::finally(&text) } else { Tried::failed(&text) };
                Err(Tried { timed_out: tried.timed_out || status == StatusCode::GATEWAY_TIMEOUT, ..tried })
            }
        }
    }
}

/// How one try went wrong.
#[derive(Debug)]
struct Tried {
    is_final: bool,
    timed_out: bool,
    reason: String,
}

impl Tried {
    fn failed(reason: &(impl ToString + ?Sized)) -> Self {
        let reason = reason.to_string();
        Self { is_final: false, timed_out: speaks_of_time(&reason), reason }
    }

    fn finally(reason: &str) -> Self {
        Self { is_final: true, ..Self::failed(reason) }
    }
}

/// Whether a driver's reason says that a limit inside the sandbox passed.
fn speaks_of_time(reason: &str) -> bool {
    let reason = reason.to_ascii_lowercase();
    ["deadlineexceeded", "deadline exceeded", "timed out"].iter().any(|phrase| reason.contains(phrase))
}

impl MountAnswer {
    fn reason(self) -> String {
        self.message
            .or(self.error)
            .filter(|reason| !reason.is_empty())
            .unwrap_or_else(|| "no reason given".to_owned())
    }
}

impl Failures {
    fn in_order(mut failures: Vec<Failure>) -> Self {
        failures.sort_by_key(|failure| failure.index);
        Self(failures)
    }

    /// Places of the failed mounts in the request.
    pub(crate) fn indices(&self) -> impl Iterator<Item = usize> + '_ {
        self.0.iter().map(|failure| failure.index)
    }

    /// One problem for all of them, in the order of the request, without the values of Secrets:
    /// [`Code::MountTimedOut`] when each ran out of time, otherwise [`Code::MountFailed`]. `forbidden` says what
    /// network policies have to do with it; without, a mount that ran out of time gets the product's remedy.
    pub(crate) fn tell(&self, forbidden: &[String]) -> Problem {
        if self.0.iter().all(|failure| failure.timed_out) {
            let which: Vec<_> = self.0.iter().map(Failure::late).collect();
            let remedy = if forbidden.is_empty() { REMEDY.to_owned() } else { forbidden.join("; ") };
            let message = format!("storage mount timed out: {}; {remedy}", which.join(", "));
            return Problem::new(Code::MountTimedOut, message);
        }
        let each = self.0.iter().map(|failure| {
            let Failure { mount_path, driver, reason, .. } = failure;
            format!("{mount_path}: failed to mount via runtime storage API, driver {driver}: {reason}")
        });
        let each: Vec<_> = each.chain(forbidden.iter().cloned()).collect();
        Problem::new(Code::MountFailed, format!("failed to perform csi mount: {}", each.join("\n")))
    }
}

impl Failure {
    fn late(&self) -> String {
        format!("{} ({}): {}", self.mount_path, self.driver, self.reason)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failure(index: usize, timed_out: bool, reason: &str) -> Failure {
        let driver = contract::names::drivers::OSS.to_owned();
        Failure { index, mount_path: format!("/data-{index}"), driver, timed_out, reason: reason.to_owned() }
    }

    fn tell(failures: Vec<Failure>, forbidden: &[String]) -> Problem {
        Failures::in_order(failures).tell(forbidden)
    }

    #[test]
    fn a_policy_that_forbids_it_takes_the_place_of_the_remedy() {
        let forbidden = "egress to 10.0.0.1:80 is not allowed by NetworkPolicy default/deny".to_owned();
        let error = tell(vec![failure(0, true, "no connection")], &[forbidden]);
        insta::assert_snapshot!(error.message(), @"storage mount timed out: /data-0 (ossplugin.csi.alibabacloud.com): no connection; egress to 10.0.0.1:80 is not allowed by NetworkPolicy default/deny");
    }

    #[test]
    fn failures_are_told_in_the_order_of_the_request() {
        let error = tell(vec![failure(2, true, "late"), failure(0, false, "Invalid Credentials")], &[]);
        assert_eq!(error.http_status(), 500);
        insta::assert_snapshot!(error.message());
    }

    #[test]
    fn only_timeouts_make_a_504_with_the_remedy() {
        let error = tell(vec![failure(1, true, "late"), failure(0, true, "late")], &[]);
        assert_eq!(error.http_status(), 504);
        insta::assert_snapshot!(error.message());
    }
}
