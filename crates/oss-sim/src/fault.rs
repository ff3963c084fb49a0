//! Faults: rules about requests, wrapped around the service.
//!
//! Every rule whose operation matches strikes, in the order of their injection, until one of them answers in the
//! place of the service. Delays add up; healing a rule also lets go of the requests that it holds back. A server that is gone
//! answers nothing at all, and its doors are shut (see `door`).

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use http::StatusCode;
use journal::{Journal, source};
use lab::OssFault;
use s3s::{S3Error, S3ErrorCode};
use tokio::sync::watch;

/// Names an injected fault within its server.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct FaultId(pub u64);

/// Why a fault could not be injected or healed.
#[derive(Debug, thiserror::Error)]
pub enum FaultError {
    /// [`OssFault::error`] is neither `STATUS Code`, nor a code that S3 knows, nor a status.
    #[error(
        "fault error {0:?} is not an HTTP status and a code, such as `503 SlowDown`, nor a known S3 code"
    )]
    Error(String),
    /// `gone` or `hang` together with something else.
    #[error("a server that is gone or hangs does nothing else: `gone` and `hang` stand alone")]
    Combination,
    /// The rule would do nothing to anybody.
    #[error("the fault has no effect: give it an error, a delay, or one of halfBody, gone, hang")]
    NoEffect,
    /// No fault of that name is in force.
    #[error("fault {} is not in force", .0.0)]
    NotFound(FaultId),
}

/// The rules in force.
#[derive(Clone, Debug)]
pub(crate) struct Faults {
    journal: Option<Journal>,
    rules: Arc<Mutex<Rules>>,
    gone: watch::Sender<bool>,
}

#[derive(Debug, Default)]
struct Rules {
    injected: u64,
    in_force: Vec<Rule>,
}

#[derive(Debug)]
struct Rule {
    id: FaultId,
    fault: OssFault,
    answer: Option<Answer>,
    /// How many requests it still strikes; without a limit when absent.
    left: Option<u32>,
    has_struck: bool,
    /// Dropped when the rule is healed, which ends the delays that it causes.
    healed: watch::Sender<()>,
}

/// The error that a rule answers with.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Answer {
    status: StatusCode,
    code: S3ErrorCode,
}

impl Answer {
    /// Reads `503 SlowDown`, `SlowDown` or `503`.
    fn parse(text: &str) -> Result<Self, FaultError> {
        let refuse = || FaultError::Error(text.to_owned());
        let (status, code) = match text.split_once(' ') {
            Some((status, code)) => (Some(status), Some(code.trim())),
            None if text.bytes().all(|byte| byte.is_ascii_digit()) => (Some(text), None),
            None => (None, Some(text)),
        };
        if code.is_some_and(|code| code.is_empty() || !code.bytes().all(|byte| byte.is_ascii_alphanumeric()))
        {
            return Err(refuse());
        }
        let code = code.unwrap_or("InternalError");
        let code = S3ErrorCode::from_bytes(code.as_bytes()).ok_or_else(refuse)?;
        let status = match status {
            Some(status) => StatusCode::from_bytes(status.as_bytes()).map_err(|_| refuse())?,
            None => code.status_code().ok_or_else(refuse)?,
        };
        let is_error = status.is_client_error() || status.is_server_error();
        if is_error { Ok(Self { status, code }) } else { Err(refuse()) }
    }

    /// The error as the server sends it.
    pub(crate) fn error(&self) -> S3Error {
        let mut error = S3Error::with_message(self.code.clone(), "injected fault");
        error.set_status_code(self.status);
        error
    }
}

/// What the rules do to one request.
#[derive(Debug, Default)]
pub(crate) struct Strike {
    /// How long, or until the rule is healed, and how that is heard.
    delays: Vec<(Option<Duration>, watch::Receiver<()>)>,
    /// Break the connection: the server is gone.
    pub(crate) gone: bool,
    /// Answer with this instead of doing the work.
    pub(crate) answer: Option<Answer>,
    /// Break the connection after half of the body.
    pub(crate) half_body: bool,
}

impl Strike {
    /// Waits as long as the rules say, or until they are healed.
    pub(crate) async fn delay(&mut self) {
        for (delay, mut healed) in self.delays.drain(..) {
            // an error means that the rule's sender is gone, which is how it says that it is healed
            let _ = match delay {
                Some(delay) => tokio::time::timeout(delay, healed.changed()).await.unwrap_or(Ok(())),
                None => healed.changed().await,
            };
        }
    }
}

impl Faults {
    pub(crate) fn new(journal: Option<Journal>) -> Self {
        Self { journal, rules: Arc::default(), gone: watch::Sender::new(false) }
    }

    /// Whether the server is gone, now and whenever that changes.
    pub(crate) fn gone(&self) -> watch::Receiver<bool> {
        self.gone.subscribe()
    }

    pub(crate) fn inject(&self, fault: OssFault) -> Result<FaultId, FaultError> {
        let answer = check(&fault)?;
        let mut rules = self.lock();
        rules.injected += 1;
        let id = FaultId(rules.injected);
        self.record("injected", id, &fault);
        let left = fault.times;
        rules.in_force.push(Rule {
            id,
            fault,
            answer,
            left,
            has_struck: false,
            healed: watch::Sender::new(()),
        });
        self.settle(&rules);
        Ok(id)
    }

    pub(crate) fn heal(&self, id: FaultId) -> Result<(), FaultError> {
        let mut rules = self.lock();
        let position = rules.in_force.iter().position(|rule| rule.id == id);
        let rule = rules.in_force.remove(position.ok_or(FaultError::NotFound(id))?);
        self.record("healed", id, &rule.fault);
        self.settle(&rules);
        Ok(())
    }

    fn settle(&self, rules: &Rules) {
        let is_gone = rules.in_force.iter().any(|rule| rule.fault.gone);
        self.gone.send_if_modified(|gone| std::mem::replace(gone, is_gone) != is_gone);
    }

    /// What the rules do to a request for `operation`.
    pub(crate) fn strike(&self, operation: &str) -> Strike {
        let mut strike = Strike::default();
        let mut rules = self.lock();
        for rule in &mut rules.in_force {
            let matches = rule.fault.operation.as_deref().is_none_or(|name| name == operation);
            if !matches || rule.left == Some(0) || strike.answer.is_some() {
                continue;
            }
            if rule.fault.gone {
                strike.gone = true;
                continue;
            }
            rule.left = rule.left.map(|left| left - 1);
            // Clients ask a server that hangs again and again: once is enough for the journal.
            if !rule.has_struck || !rule.fault.hang {
                self.record("struck", rule.id, &rule.fault);
            }
            rule.has_struck = true;
            if rule.fault.hang {
                strike.delays.push((None, rule.healed.subscribe()));
            }
            if let Some(milliseconds) = rule.fault.delay_milliseconds {
                let delay = Some(Duration::from_millis(milliseconds));
                strike.delays.push((delay, rule.healed.subscribe()));
            }
            strike.answer.clone_from(&rule.answer);
            strike.half_body |= rule.fault.half_body;
        }
        strike
    }

    fn record(&self, kind: &str, id: FaultId, fault: &OssFault) {
        if let Some(journal) = &self.journal {
            journal.record(source::FAULT, kind, &format!("oss/{}", id.0), serde_json::json!(fault));
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Rules> {
        self.rules.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The error that the rule answers with, if it is a rule that makes sense.
fn check(fault: &OssFault) -> Result<Option<Answer>, FaultError> {
    if fault.gone || fault.hang {
        return if fault.outage().is_some() { Ok(None) } else { Err(FaultError::Combination) };
    }
    let answer = fault.error.as_deref().map(Answer::parse).transpose()?;
    if answer.is_none() && fault.delay_milliseconds.is_none() && !fault.half_body {
        return Err(FaultError::NoEffect);
    }
    Ok(answer)
}

#[cfg(test)]
mod tests {
    use clock::SystemClock;
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case("503 SlowDown", Some((503, "SlowDown")))]
    #[case("AccessDenied", Some((403, "AccessDenied")))]
    #[case("507 QuotaExceeded", Some((507, "QuotaExceeded")))]
    #[case("500", Some((500, "InternalError")))]
    #[case("QuotaExceeded", None)]
    #[case("200 Fine", None)]
    #[case("999999", None)]
    #[case("503 ", None)]
    #[case("503 <x>", None)]
    #[case("", None)]
    fn an_error_is_a_status_and_a_code(#[case] text: &str, #[case] expected: Option<(u16, &str)>) {
        let answer = Answer::parse(text).ok();
        let answer = answer.as_ref().map(|answer| (answer.status.as_u16(), answer.code.as_str()));
        assert_eq!(answer, expected);
    }

    #[test]
    fn a_rule_strikes_its_operation_as_often_as_it_says() {
        let journal = Journal::new(SystemClock::shared());
        let faults = Faults::new(Some(journal.clone()));
        let rule = OssFault {
            operation: Some("GetObject".into()),
            error: Some("503 SlowDown".into()),
            times: Some(1),
            ..OssFault::default()
        };
        let id = faults.inject(rule).expect("a rule with an effect");
        assert!(faults.strike("PutObject").answer.is_none());
        assert!(faults.strike("GetObject").answer.is_some());
        assert!(faults.strike("GetObject").answer.is_none());
        faults.heal(id).expect("still in force");
        assert!(faults.heal(id).is_err());
        let kinds: Vec<_> = journal.entries().iter().map(|entry| entry.kind.clone()).collect();
        assert_eq!(kinds, ["injected", "struck", "healed"]);
    }

    #[test]
    fn a_rule_without_effect_is_refused() {
        let refused = Faults::new(None).inject(OssFault::default());
        assert!(matches!(refused, Err(FaultError::NoEffect)));
    }

    #[rstest]
    #[case(OssFault { gone: true, ..OssFault::default() }, true)]
    #[case(OssFault { hang: true, ..OssFault::default() }, true)]
    #[case(OssFault { gone: true, hang: true, ..OssFault::default() }, false)]
    #[case(OssFault { gone: true, times: Some(1), ..OssFault::default() }, false)]
    #[case(OssFault { hang: true, operation: Some("GetObject".into()), ..OssFault::default() }, false)]
    #[case(OssFault { hang: true, error: Some("500".into()), ..OssFault::default() }, false)]
    fn an_outage_stands_alone(#[case] fault: OssFault, #[case] accepted: bool) {
        match Faults::new(None).inject(fault) {
            Ok(_) => assert!(accepted),
            Err(error) => assert!(!accepted && matches!(error, FaultError::Combination), "{error}"),
        }
    }

    #[tokio::test]
    async fn healing_lets_go_of_a_delayed_request() {
        let faults = Faults::new(None);
        let id = faults
            .inject(OssFault { delay_milliseconds: Some(3_600_000), ..OssFault::default() })
            .expect("a rule");
        let mut strike = faults.strike("GetObject");
        let waiting = tokio::spawn(async move { strike.delay().await });
        faults.heal(id).expect("in force");
        tokio::time::timeout(Duration::from_secs(5), waiting)
            .await
            .expect("let go within 5 s")
            .expect("no panic");
    }
}
