//! Faults: rules about calls, in front of the procedures.
//!
//! Every rule whose procedure matches strikes, in the order of their injection, until one of them answers in the
//! place of the server. Delays add up; healing a rule also lets go of the calls that it holds back.

use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use clock::SharedClock;
use journal::{Journal, source};
use lab::NasFault;
use tokio::sync::watch;

/// Names an injected fault within its server.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct FaultId(pub u64);

/// Why a fault could not be injected or healed.
#[derive(Debug, thiserror::Error)]
pub enum FaultError {
    /// [`NasFault::error`] is no status of the protocol.
    #[error("fault error {0:?} is no status of NFS or MOUNT, such as NFS3ERR_IO or MNT3ERR_ACCES")]
    Error(String),
    /// [`NasFault::procedure`] is no procedure of the protocol.
    #[error("fault procedure {0:?} is no procedure of NFS or MOUNT, such as WRITE or MNT")]
    Procedure(String),
    /// `gone`, `stale` or `restart` together with something else.
    #[error("a fault that is gone, stale or a restart can't be anything else as well")]
    Combination,
    /// The rule would do nothing to anybody.
    #[error(
        "the fault has no effect: give it an error, a delay, or one of hang, dropConnection, full, gone, stale, \
         restart"
    )]
    NoEffect,
    /// No fault of that name is in force.
    #[error("fault {} is not in force", .0.0)]
    NotFound(FaultId),
}

/// Statuses that a fault can answer with: those of NFS, and those of MOUNT.
const STATUSES: &[(&str, u32)] = &[
    ("NFS3ERR_PERM", 1),
    ("NFS3ERR_NOENT", 2),
    ("NFS3ERR_IO", 5),
    ("NFS3ERR_NXIO", 6),
    ("NFS3ERR_ACCES", 13),
    ("NFS3ERR_EXIST", 17),
    ("NFS3ERR_XDEV", 18),
    ("NFS3ERR_NODEV", 19),
    ("NFS3ERR_NOTDIR", 20),
    ("NFS3ERR_ISDIR", 21),
    ("NFS3ERR_INVAL", 22),
    ("NFS3ERR_FBIG", 27),
    ("NFS3ERR_NOSPC", 28),
    ("NFS3ERR_ROFS", 30),
    ("NFS3ERR_MLINK", 31),
    ("NFS3ERR_NAMETOOLONG", 63),
    ("NFS3ERR_NOTEMPTY", 66),
    ("NFS3ERR_DQUOT", 69),
    ("NFS3ERR_STALE", 70),
    ("NFS3ERR_REMOTE", 71),
    ("NFS3ERR_BADHANDLE", 10001),
    ("NFS3ERR_NOT_SYNC", 10002),
    ("NFS3ERR_BAD_COOKIE", 10003),
    ("NFS3ERR_NOTSUPP", 10004),
    ("NFS3ERR_TOOSMALL", 10005),
    ("NFS3ERR_SERVERFAULT", 10006),
    ("NFS3ERR_BADTYPE", 10007),
    ("NFS3ERR_JUKEBOX", 10008),
    ("MNT3ERR_PERM", 1),
    ("MNT3ERR_NOENT", 2),
    ("MNT3ERR_IO", 5),
    ("MNT3ERR_ACCES", 13),
    ("MNT3ERR_NOTDIR", 20),
    ("MNT3ERR_INVAL", 22),
    ("MNT3ERR_NAMETOOLONG", 63),
    ("MNT3ERR_NOTSUPP", 10004),
    ("MNT3ERR_SERVERFAULT", 10006),
];

/// Procedures that need space.
const NEED_SPACE: &[&str] = &["WRITE", "CREATE", "MKDIR", "SYMLINK", "LINK", "COMMIT"];

const NO_SPACE: u32 = 28;

/// Whether the server can be reached.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) struct Presence {
    pub(crate) gone: bool,
    /// How often it was restarted.
    pub(crate) restarts: u64,
}

/// The rules in force.
#[derive(Clone, Debug)]
pub(crate) struct Faults {
    clock: SharedClock,
    journal: Option<Journal>,
    rules: Arc<Mutex<Rules>>,
    presence: watch::Sender<Presence>,
}

#[derive(Debug, Default)]
struct Rules {
    injected: u64,
    in_force: Vec<Rule>,
}

#[derive(Debug)]
struct Rule {
    id: FaultId,
    fault: NasFault,
    answer: Option<u32>,
    /// How many calls it still strikes; without a limit when absent.
    left: Option<u32>,
    /// Whether it has struck; the journal has that once where there is no limit.
    has_struck: bool,
    /// Dropped when the rule is healed, which ends the delays that it causes.
    healed: watch::Sender<()>,
}

/// The time of one delay.
type Delay = Pin<Box<dyn Future<Output = ()> + Send>>;

/// What the rules do to one call.
#[derive(Default)]
pub(crate) struct Strike {
    /// What ends each of them: its time, and its rule's end.
    delays: Vec<(Delay, watch::Receiver<()>)>,
    /// Answer with this status instead of doing the work.
    pub(crate) answer: Option<u32>,
    /// Break the connection.
    pub(crate) drop_connection: bool,
}

impl Strike {
    /// Waits as long as the rules say, or until they are healed.
    pub(crate) async fn delay(&mut self) {
        for (delay, mut healed) in self.delays.drain(..) {
            tokio::select! {
                () = delay => {}
                // An error means that the rule's sender is gone, which is how it says that it is healed.
                _ = healed.changed() => {}
            }
        }
    }
}

impl Faults {
    pub(crate) fn new(clock: SharedClock, journal: Option<Journal>) -> Self {
        Self { clock, journal, rules: Arc::default(), presence: watch::Sender::new(Presence::default()) }
    }

    /// Whether the server can be reached, now and whenever that changes.
    pub(crate) fn presence(&self) -> watch::Receiver<Presence> {
        self.presence.subscribe()
    }

    /// Cuts every connection once.
    pub(crate) fn restarted(&self) {
        self.presence.send_modify(|presence| presence.restarts += 1);
    }

    pub(crate) fn inject(&self, fault: NasFault) -> Result<FaultId, FaultError> {
        let answer = check(&fault)?;
        let mut rules = self.lock();
        rules.injected += 1;
        let id = FaultId(rules.injected);
        self.record("injected", id, &fault);
        let left = fault.times;
        let healed = watch::Sender::new(());
        rules.in_force.push(Rule { id, fault, answer, left, has_struck: false, healed });
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
        self.presence.send_if_modified(|presence| std::mem::replace(&mut presence.gone, is_gone) != is_gone);
    }

    /// What the rules do to a call of `procedure`.
    pub(crate) fn strike(&self, procedure: &str) -> Strike {
        let mut strike = Strike::default();
        let mut rules = self.lock();
        if rules.in_force.iter().any(|rule| rule.fault.gone) {
            // A call that came before its connection was cut.
            strike.drop_connection = true;
            return strike;
        }
        for rule in &mut rules.in_force {
            let fault = &rule.fault;
            let matches = fault.procedure.as_deref().is_none_or(|name| name == procedure)
                && (!fault.full || NEED_SPACE.contains(&procedure))
                && !fault.stale
                && !fault.restart;
            if !matches || rule.left == Some(0) || strike.answer.is_some() || strike.drop_connection {
                continue;
            }
            rule.left = rule.left.map(|left| left - 1);
            if !rule.has_struck || rule.left.is_some() {
                self.record("struck", rule.id, fault);
            }
            rule.has_struck = true;
            if fault.hang {
                strike.delays.push((Box::pin(std::future::pending()), rule.healed.subscribe()));
            } else if let Some(milliseconds) = fault.delay_milliseconds {
                let delay = self.clock.sleep(Duration::from_millis(milliseconds));
                strike.delays.push((delay, rule.healed.subscribe()));
            }
            strike.answer = rule.answer;
            strike.drop_connection = fault.drop_connection;
        }
        strike
    }

    fn record(&self, kind: &str, id: FaultId, fault: &NasFault) {
        if let Some(journal) = &self.journal {
            journal.record(source::FAULT, kind, &format!("nas/{}", id.0), serde_json::json!(fault));
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Rules> {
        self.rules.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The status that the rule answers with, if it is a rule that makes sense.
fn check(fault: &NasFault) -> Result<Option<u32>, FaultError> {
    if let Some(procedure) = &fault.procedure
        && !(0..22).any(|number| crate::procedures::name(number) == procedure)
        && !crate::mount::NAMES.contains(&procedure.as_str())
    {
        return Err(FaultError::Procedure(procedure.clone()));
    }
    let answer = fault.error.as_deref().map(status).transpose()?;
    let answer = answer.or(fault.full.then_some(NO_SPACE));
    let strikes =
        answer.is_some() || fault.delay_milliseconds.is_some() || fault.hang || fault.drop_connection;
    let whole = [fault.gone, fault.stale, fault.restart].into_iter().filter(|it| *it).count();
    if whole > 0 {
        let alone = !strikes && fault.procedure.is_none() && fault.times.is_none() && whole == 1;
        return if alone { Ok(None) } else { Err(FaultError::Combination) };
    }
    if strikes { Ok(answer) } else { Err(FaultError::NoEffect) }
}

fn status(name: &str) -> Result<u32, FaultError> {
    let known = STATUSES.iter().find(|(known, _)| *known == name);
    known.map(|(_, number)| *number).ok_or_else(|| FaultError::Error(name.to_owned()))
}

#[cfg(test)]
mod tests {
    use clock::SystemClock;
    use rstest::rstest;

    use super::*;

    fn error(error: &str) -> NasFault {
        NasFault { error: Some(error.to_owned()), ..NasFault::default() }
    }

    #[rstest]
    #[case(error("NFS3ERR_NOSPC"), Ok(Some(28)))]
    #[case(error("MNT3ERR_ACCES"), Ok(Some(13)))]
    #[case(error("ENOSPC"), Err(()))]
    #[case(NasFault::default(), Err(()))]
    #[case(NasFault { full: true, ..error("NFS3ERR_DQUOT") }, Ok(Some(69)))]
    #[case(NasFault { full: true, ..NasFault::default() }, Ok(Some(28)))]
    #[case(NasFault { hang: true, procedure: Some("READ".into()), ..NasFault::default() }, Ok(None))]
    #[case(NasFault { hang: true, procedure: Some("read".into()), ..NasFault::default() }, Err(()))]
    #[case(NasFault { gone: true, ..NasFault::default() }, Ok(None))]
    #[case(NasFault { gone: true, hang: true, ..NasFault::default() }, Err(()))]
    #[case(NasFault { gone: true, stale: true, ..NasFault::default() }, Err(()))]
    #[case(NasFault { restart: true, ..NasFault::default() }, Ok(None))]
    #[case(NasFault { restart: true, stale: true, ..NasFault::default() }, Err(()))]
    fn a_rule_must_make_sense(#[case] fault: NasFault, #[case] expected: Result<Option<u32>, ()>) {
        assert_eq!(check(&fault).map_err(drop), expected);
    }

    #[test]
    fn a_rule_strikes_its_procedure_as_often_as_it_says() {
        let faults = Faults::new(SystemClock::shared(), None);
        let rule = NasFault { procedure: Some("WRITE".into()), times: Some(1), ..error("NFS3ERR_IO") };
        let id = faults.inject(rule).expect("a rule with an effect");
        assert_eq!(faults.strike("READ").answer, None);
        assert_eq!(faults.strike("WRITE").answer, Some(5));
        assert_eq!(faults.strike("WRITE").answer, None);
        faults.heal(id).expect("still in force");
        assert!(faults.heal(id).is_err());
    }

    #[test]
    fn a_rule_without_a_limit_floods_no_journal() {
        let journal = Journal::new(SystemClock::shared());
        let faults = Faults::new(SystemClock::shared(), Some(journal.clone()));
        faults.inject(error("NFS3ERR_IO")).expect("a rule");
        for _ in 0..3 {
            assert_eq!(faults.strike("READ").answer, Some(5));
        }
        let kinds: Vec<_> = journal.entries().iter().map(|entry| entry.kind.clone()).collect();
        assert_eq!(kinds, ["injected", "struck"]);
    }

    #[test]
    fn a_full_server_still_reads() {
        let faults = Faults::new(SystemClock::shared(), None);
        faults.inject(NasFault { full: true, ..NasFault::default() }).expect("a rule");
        assert_eq!(faults.strike("READ").answer, None);
        assert_eq!(faults.strike("MKDIR").answer, Some(NO_SPACE));
    }

    #[tokio::test]
    async fn healing_lets_go_of_a_call_that_hangs() {
        let faults = Faults::new(SystemClock::shared(), None);
        let id = faults.inject(NasFault { hang: true, ..NasFault::default() }).expect("a rule");
        let mut strike = faults.strike("GETATTR");
        let waiting = tokio::spawn(async move { strike.delay().await });
        faults.heal(id).expect("in force");
        let waited = tokio::time::timeout(Duration::from_secs(30), waiting).await;
        waited.expect("let go within 30 s").expect("no panic");
    }
}
