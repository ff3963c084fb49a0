//! Stopping all processes of containers where they are, and letting them go on.
//!
//! SIGSTOP and SIGCONT, and no freezer of a control group: those are hidden or read-only on many machines, and differ between the
//! two kinds of groups, while signals reach a container's processes wherever its node may run, without root too. What a program could
//! notice is kept small by the order: parents are stopped before their children and go on after them, so that no shell sees
//! a job of its own stopped. What remains is a handler of SIGCONT, which runs, and SIGCHLD.

use std::collections::{BTreeMap, HashSet};
use std::io;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

/// How long the processes may take to stop, in real time.
const LIMIT: Duration = Duration::from_secs(5);
/// After that time a thread that the kernel doesn't let be interrupted counts as stopped: it runs no code of its program, and stops
/// as soon as it would. One that waits for a child to execute its program is such a thread.
const PATIENCE: Duration = Duration::from_millis(250);
/// The pause between two looks.
const PAUSE: Duration = Duration::from_millis(1);

/// Processes that are stopped.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(crate) struct Frozen {
    /// First processes of the containers.
    pub(crate) roots: Vec<i32>,
    /// Processes that somebody else had stopped: they stay so.
    before: HashSet<i32>,
    /// How many processes there are.
    pub(crate) count: usize,
}

/// Why processes were not stopped.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FreezeError {
    /// The processes could not be found.
    #[error("reading the table of processes failed")]
    Table(#[from] io::Error),
    /// Some go on.
    #[error("processes {0:?} did not stop within {LIMIT:?}")]
    Running(Vec<i32>),
}

/// Stops every process of the containers with those first processes. Returns when all of them are stopped; if that fails,
/// all go on. Blocks.
pub(crate) fn freeze(roots: Vec<i32>) -> Result<Frozen, FreezeError> {
    let mut frozen = Frozen { roots, ..Frozen::default() };
    let stopped = stop_all(&mut frozen);
    if stopped.is_err()
        && let Err(error) = thaw(&frozen)
    {
        tracing::error!(%error, "processes that could not all be stopped may not all go on");
    }
    stopped.map(|()| frozen)
}

#[allow(clippy::disallowed_methods, reason = "the pause between two looks at a condition with a deadline")]
fn stop_all(frozen: &mut Frozen) -> Result<(), FreezeError> {
    let begun = Instant::now();
    let mut signalled = HashSet::new();
    let mut seen = None;
    loop {
        let members = members(&frozen.roots)?;
        let mut running = Vec::new();
        for member in &members {
            match member.rest {
                Rest::Stopped if !signalled.contains(&member.pid) => {
                    frozen.before.insert(member.pid);
                }
                Rest::Stopped | Rest::Over => {}
                Rest::Uninterruptible if begun.elapsed() > PATIENCE && signalled.contains(&member.pid) => {}
                Rest::Uninterruptible | Rest::Running => {
                    running.push(member.pid);
                    frozen.before.remove(&member.pid);
                    if signalled.insert(member.pid) {
                        send(member.pid, Signal::STOP);
                    }
                }
            }
        }
        let pids: Vec<_> = members.iter().map(|member| member.pid).collect();
        // The table is not read in one instant: a child may appear after its place was passed.
        if running.is_empty() && seen.as_ref() == Some(&pids) {
            frozen.count = pids.len();
            return Ok(());
        }
        if begun.elapsed() > LIMIT {
            return Err(FreezeError::Running(running));
        }
        let settled = running.is_empty();
        seen = settled.then_some(pids);
        if !settled {
            std::thread::sleep(PAUSE);
        }
    }
}

/// Lets them go on, except those that were stopped before.
pub(crate) fn thaw(frozen: &Frozen) -> io::Result<()> {
    for member in members(&frozen.roots)?.iter().rev() {
        if member.rest != Rest::Over && !frozen.before.contains(&member.pid) {
            send(member.pid, Signal::CONT);
        }
    }
    Ok(())
}

fn send(pid: i32, signal: Signal) {
    let Some(target) = Pid::from_raw(pid) else { return };
    if let Err(error) = kill_process(target, signal)
        && error != rustix::io::Errno::SRCH
    {
        tracing::warn!(pid, ?signal, %error, "signal not delivered");
    }
}

/// What a process does, as far as it matters here: what the liveliest of its threads does.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
enum Rest {
    /// It has ended.
    Over,
    /// It is stopped.
    Stopped,
    /// It waits in the kernel and can't be interrupted.
    Uninterruptible,
    /// Anything else.
    Running,
}

impl Rest {
    fn of(state: u8) -> Self {
        match state {
            b'Z' | b'X' | b'x' => Self::Over,
            b'T' | b't' => Self::Stopped,
            b'D' => Self::Uninterruptible,
            _ => Self::Running,
        }
    }
}

#[derive(Debug)]
struct Member {
    pid: i32,
    rest: Rest,
}

/// The processes in the PID namespaces of `roots`, and whatever descends from them; parents before their children.
fn members(roots: &[i32]) -> io::Result<Vec<Member>> {
    let namespaces: HashSet<_> = roots.iter().filter_map(|pid| namespace(*pid)).collect();
    let mut parents = BTreeMap::new();
    for entry in std::fs::read_dir("/proc")? {
        let name = entry?.file_name();
        let Some(pid) = name.to_str().and_then(|name| name.parse::<i32>().ok()) else { continue };
        if let Some((_, parent)) = stat(&format!("/proc/{pid}/stat")) {
            parents.insert(pid, parent);
        }
    }
    let inside: HashSet<i32> = parents
        .keys()
        .copied()
        .filter(|pid| namespace(*pid).is_some_and(|namespace| namespaces.contains(&namespace)))
        .collect();
    let mut found: Vec<(usize, i32)> = Vec::new();
    for pid in parents.keys() {
        // from the process up: how deep it is below the first one, if it is below one at all
        let (mut at, mut depth, mut deepest) = (*pid, 0, None);
        loop {
            if inside.contains(&at) {
                deepest = Some(depth);
            }
            match parents.get(&at) {
                Some(parent) if *parent != at && depth < parents.len() => at = *parent,
                _ => break,
            }
            depth += 1;
        }
        found.extend(deepest.map(|depth| (depth, *pid)));
    }
    found.sort_unstable();
    Ok(found.into_iter().map(|(_, pid)| Member { pid, rest: rest(pid) }).collect())
}

fn namespace(pid: i32) -> Option<PathBuf> {
    std::fs::read_link(format!("/proc/{pid}/ns/pid")).ok()
}

/// What the liveliest thread does; one that has gone meanwhile is over.
fn rest(pid: i32) -> Rest {
    let threads = std::fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
    let states = threads.filter_map(|thread| stat(&thread.path().join("stat").to_string_lossy()));
    states.map(|(state, _)| Rest::of(state)).max().unwrap_or(Rest::Over)
}

/// State and parent; the name before them may hold anything.
fn stat(path: &str) -> Option<(u8, i32)> {
    parse(&std::fs::read_to_string(path).ok()?)
}

fn parse(text: &str) -> Option<(u8, i32)> {
    let (_, rest) = text.rsplit_once(") ")?;
    let mut fields = rest.split(' ');
    let state = *fields.next()?.as_bytes().first()?;
    Some((state, fields.next()?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case("12 (sh) S 7 12 12", Some((b'S', 7)))]
    #[case("12 (a) R (b)) T 1 12", Some((b'T', 1)))]
    #[case("12 (sh", None)]
    fn a_name_may_hold_anything(#[case] text: &str, #[case] expected: Option<(u8, i32)>) {
        assert_eq!(parse(text), expected);
    }

    #[test]
    fn a_process_is_as_lively_as_its_liveliest_thread() {
        let states = [b'T', b'D', b'T'].map(Rest::of);
        assert_eq!(states.into_iter().max(), Some(Rest::Uninterruptible));
        assert_eq!([b'T', b'S'].map(Rest::of).into_iter().max(), Some(Rest::Running));
    }
}
