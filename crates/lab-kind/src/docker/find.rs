//! Which daemon to use.

use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::capabilities::can_raise_limits;
use super::{Docker, OwnDaemon};
use crate::command::{Run, find};
use crate::observer::{Event, Observer};
use crate::{Folders, KindError};

/// How long a daemon may think about who it is.
const ANSWER_DEADLINE: Duration = Duration::from_secs(20);

const INSTALL: &str = "install it (Debian, Ubuntu: apt-get install docker.io)";

/// Which daemons may be used.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum DaemonPolicy {
    /// The one that is there if it can start privileged containers, else one of our own.
    #[default]
    Auto,
    /// Only the one that is there.
    Existing,
    /// Only one of our own.
    Own,
}

/// What was chosen, and why.
#[derive(Clone, Debug)]
pub(crate) enum Choice {
    /// The daemon that the docker program finds, or that `DOCKER_HOST` names.
    Existing(Docker),
    /// One that is to be started.
    Start {
        /// The docker program.
        program: PathBuf,
        /// Why the existing one, if any, won't do.
        why: String,
    },
}

impl fmt::Display for Choice {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Existing(docker) => match docker.host() {
                Some(host) => write!(formatter, "the Docker daemon at {host}"),
                None => write!(formatter, "the Docker daemon of this machine"),
            },
            Self::Start { why, .. } => write!(formatter, "a Docker daemon of our own, because {why}"),
        }
    }
}

/// What the program `docker` said about its daemon.
#[derive(Debug, Eq, PartialEq)]
enum Answer {
    Ready,
    Forbidden(String),
    Absent(String),
}

/// Finds out which daemon is to be used. Starts nothing.
pub(crate) async fn search(policy: DaemonPolicy) -> Result<Choice, KindError> {
    let program = find("docker").ok_or_else(|| KindError::machine("there is no docker program", INSTALL))?;
    let answer = if policy == DaemonPolicy::Own {
        Answer::Absent("that was asked for".into())
    } else {
        ask(&program).await?
    };
    let startable = own_daemon_obstacle();
    match (decide(policy, answer, can_raise_limits()), startable) {
        (Decision::Existing, _) => {
            let host = std::env::var("DOCKER_HOST").ok().filter(|host| !host.is_empty());
            Ok(Choice::Existing(Docker::new(program, host, false)))
        }
        (Decision::Own(why), None) => Ok(Choice::Start { program, why }),
        (Decision::Own(why), Some((missing, remedy))) => Err(KindError::machine(
            format!("no Docker daemon can be used: {why}; and none can be started: {missing}"),
            remedy,
        )),
        (Decision::Refuse(missing, remedy), _) => Err(KindError::machine(missing, remedy)),
    }
}

/// Finds the daemon to use, and starts it if it is to be one of our own.
pub(crate) async fn choose(
    policy: DaemonPolicy,
    folders: &Folders,
    executable: &Path,
    observer: &dyn Observer,
) -> Result<Docker, KindError> {
    let choice = search(policy).await?;
    observer.notify(Event::Chosen(&choice.to_string()));
    match choice {
        Choice::Existing(docker) => Ok(docker),
        Choice::Start { program, .. } => OwnDaemon::of(folders).start(&program, executable, observer).await,
    }
}

enum Decision {
    Existing,
    Own(String),
    Refuse(String, String),
}

fn decide(policy: DaemonPolicy, answer: Answer, limits: bool) -> Decision {
    match (policy, answer) {
        (DaemonPolicy::Own, _) => Decision::Own("that was asked for".to_owned()),
        (DaemonPolicy::Existing, Answer::Ready) => Decision::Existing,
        (DaemonPolicy::Auto, Answer::Ready) if limits => Decision::Existing,
        (DaemonPolicy::Auto, Answer::Ready) => Decision::Own(
            "containers of the one that is there can't be privileged: CAP_SYS_RESOURCE is not in the bounding set".to_owned(),
        ),
        // Someone has set up a daemon here and not for this user: going around that is not for us to decide.
        (_, Answer::Forbidden(words)) => Decision::Refuse(
            format!("you may not use the Docker daemon of this machine ({words})"),
            "ask for membership in the group docker and log in anew, or run as root".to_owned(),
        ),
        (DaemonPolicy::Existing, Answer::Absent(words)) => {
            Decision::Refuse(format!("no Docker daemon answers ({words})"), "start it (systemctl start docker)".to_owned())
        }
        (DaemonPolicy::Auto, Answer::Absent(words)) => Decision::Own(format!("none answers ({words})")),
    }
}

async fn ask(program: &Path) -> Result<Answer, KindError> {
    let run = Run::new("asking Docker for its version", program)
        .args(["version", "--format", "{{.Server.Version}}"])
        .within("deadline of Docker's answer", ANSWER_DEADLINE);
    let output = run.finish().await?;
    Ok(read_answer(output.success, &output.error))
}

fn read_answer(success: bool, error: &str) -> Answer {
    let words = error.lines().rfind(|line| !line.trim().is_empty()).unwrap_or("it said nothing").trim();
    match success {
        true => Answer::Ready,
        false if error.contains("permission denied") => Answer::Forbidden(words.to_owned()),
        false => Answer::Absent(words.trim_end_matches('.').to_owned()),
    }
}

/// What keeps us from starting a daemon of our own, and what to do about it.
fn own_daemon_obstacle() -> Option<(String, String)> {
    if !nix::unistd::geteuid().is_root() {
        let remedy = "run as root, or have a Docker daemon started that you may use";
        return Some(("a Docker daemon is started by root".to_owned(), remedy.to_owned()));
    }
    let missing: Vec<_> = ["dockerd", "containerd", "runc", "iptables"]
        .into_iter()
        .filter(|program| find(program).is_none())
        .collect();
    (!missing.is_empty()).then(|| (format!("{} is not installed", missing.join(", ")), INSTALL.to_owned()))
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    const NOT_RUNNING: &str =
        "Cannot connect to the Docker daemon at unix:///var/run/docker.sock. Is the docker daemon running?";
    const DENIED: &str = "permission denied while trying to connect to the Docker daemon socket at unix:///var/run/docker.sock";

    #[rstest]
    #[case::ready(true, "", Answer::Ready)]
    #[case::absent(false, NOT_RUNNING, Answer::Absent(NOT_RUNNING.into()))]
    #[case::denied(false, DENIED, Answer::Forbidden(DENIED.into()))]
    fn the_answer_is_understood(#[case] success: bool, #[case] error: &str, #[case] expected: Answer) {
        assert_eq!(read_answer(success, error), expected);
    }

    #[rstest]
    #[case::there(DaemonPolicy::Auto, Answer::Ready, true, "existing")]
    #[case::there_without_the_right(DaemonPolicy::Auto, Answer::Ready, false, "own: containers of the one")]
    #[case::absent(DaemonPolicy::Auto, Answer::Absent("gone".into()), true, "own: none answers (gone)")]
    #[case::forbidden(DaemonPolicy::Auto, Answer::Forbidden("no".into()), true, "refused: you may not use")]
    #[case::only_existing(DaemonPolicy::Existing, Answer::Ready, false, "existing")]
    #[case::only_existing_absent(DaemonPolicy::Existing, Answer::Absent("gone".into()), true, "refused: no Docker daemon answers")]
    #[case::only_own(DaemonPolicy::Own, Answer::Ready, true, "own: that was asked for")]
    fn the_choice(
        #[case] policy: DaemonPolicy,
        #[case] answer: Answer,
        #[case] limits: bool,
        #[case] expected: &str,
    ) {
        let text = match decide(policy, answer, limits) {
            Decision::Existing => "existing".to_owned(),
            Decision::Own(why) => format!("own: {why}"),
            Decision::Refuse(missing, remedy) => {
                assert!(!remedy.is_empty());
                format!("refused: {missing}")
            }
        };
        assert!(text.starts_with(expected), "{text}");
    }
}
