//! Starting an enclosure, and holding on to it.

use std::ffi::OsString;
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus};

use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use tokio::sync::{oneshot, watch};

use super::error::At as _;
use super::{EnclosureError, channel, identity};

/// What is to run inside.
#[derive(Debug)]
pub struct EnclosureOptions {
    /// The executable; it has to call [`super::enter`] before it starts a thread.
    pub program: PathBuf,
    /// Its arguments, without the program's name.
    pub args: Vec<OsString>,
    /// Its whole environment: nothing else is inherited.
    pub environment: Vec<(OsString, OsString)>,
    /// Handed in, in this order, as [`super::Enclosed::file_descriptors`]; at most 253.
    pub file_descriptors: Vec<OwnedFd>,
}

/// A running enclosure. Dropping it takes everything inside down.
#[derive(Debug)]
pub struct Enclosure {
    pid: u32,
    process: OwnedFd,
    status: watch::Receiver<Option<Result<ExitStatus, String>>>,
    /// The inside ends when this end of the socket is closed.
    _alive: OwnedFd,
}

impl Enclosure {
    /// Process id of the anchor: the outer process, whose death takes the enclosure down.
    pub fn id(&self) -> u32 {
        self.pid
    }

    /// Kills everything inside at once. An enclosure that has ended already is no error.
    ///
    /// # Errors
    /// [`EnclosureError::Step`] when the kernel refuses the signal.
    pub fn kill(&self) -> Result<(), EnclosureError> {
        match pidfd_send_signal(&self.process, Signal::KILL) {
            Err(rustix::io::Errno::SRCH) | Ok(()) => Ok(()),
            Err(error) => Err(error).at("killing the anchor process"),
        }
    }

    /// Waits until the program inside has ended; its exit status, or 128 + signal number as exit code.
    ///
    /// # Errors
    /// [`EnclosureError::Step`] when the anchor could not be waited for.
    pub async fn wait(&mut self) -> Result<ExitStatus, EnclosureError> {
        let ended = self.status.wait_for(Option::is_some).await;
        match ended.as_deref() {
            Ok(Some(Ok(status))) => Ok(*status),
            Ok(Some(Err(reason))) => {
                Err(std::io::Error::other(reason.clone())).at("waiting for the anchor process")
            }
            _ => Err(std::io::Error::other("its thread is gone")).at("waiting for the anchor process"),
        }
    }
}

/// Starts `options.program` in a new enclosure and returns once the process is started and user ids are mapped.
/// Standard output and standard error are inherited; standard input is taken by the enclosure.
///
/// # Errors
/// [`EnclosureError`] when the program can't be started. What the inside itself can't do it says by its exit.
pub async fn spawn(options: EnclosureOptions) -> Result<Enclosure, EnclosureError> {
    let (outside, inside) = channel::pair().at("making the enclosure's socket")?;
    let descriptors: Vec<_> = options.file_descriptors.iter().map(AsFd::as_fd).collect();
    channel::send(&outside, b"enclosure", &descriptors).at("handing in file descriptors")?;
    let mut command = Command::new(&options.program);
    command.args(&options.args).env_clear().envs(options.environment).stdin(inside);
    let conversation = outside.try_clone().at("duplicating the enclosure's socket")?;
    let (started, pid) = oneshot::channel();
    let (ended, status) = watch::channel(None);
    // The parent-death signal is bound to the thread that starts a process, so one thread starts it and stays.
    std::thread::Builder::new()
        .name("enclosure".into())
        .spawn(move || keep(command, conversation, started, &ended))
        .at("starting the enclosure's thread")?;
    let pid = match pid.await {
        Ok(outcome) => outcome?,
        Err(_) => return Err(std::io::Error::other("its thread is gone")).at("starting the program"),
    };
    let process = i32::try_from(pid)
        .ok()
        .and_then(Pid::from_raw)
        .ok_or_else(|| std::io::Error::other("no process id"))
        .and_then(|pid| Ok(pidfd_open(pid, PidfdFlags::empty())?))
        .at("opening the anchor process")?;
    Ok(Enclosure { pid, process, status, _alive: outside })
}

type Started = oneshot::Sender<Result<u32, EnclosureError>>;
type Ended = watch::Sender<Option<Result<ExitStatus, String>>>;

/// Starts the anchor, maps its ids if it asks for that, and waits for its end.
fn keep(mut command: Command, conversation: OwnedFd, started: Started, ended: &Ended) {
    let spawned = command.spawn();
    drop(command); // closes our copy of the inside's end
    let mut child = match spawned.at("starting the program") {
        Ok(child) => child,
        Err(error) => {
            let _ = started.send(Err(error));
            return;
        }
    };
    let mapped = answer_for_identities(&child, &conversation);
    drop(conversation);
    if let Err(error) = mapped {
        let _ = child.kill();
        let _ = child.wait();
        let _ = started.send(Err(error));
        return;
    }
    let _ = started.send(Ok(child.id()));
    let status = child.wait().map_err(|error| error.to_string());
    ended.send_replace(Some(status));
}

/// The anchor says either that it needs its ids mapped or that it doesn't; a hang-up means that it has ended, which
/// its exit status explains.
fn answer_for_identities(child: &Child, conversation: &OwnedFd) -> Result<(), EnclosureError> {
    match channel::receive(conversation) {
        Ok(Some((request, _))) if request == b"map" => match identity::map(child.id()) {
            Ok(identities) => {
                let answer = format!("mapped {}", identities.code());
                channel::send(conversation, answer.as_bytes(), &[]).at("answering the enclosure")
            }
            Err(reason) => Err(EnclosureError::Identities { reason }),
        },
        Ok(_) => Ok(()),
        Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => Ok(()),
        Err(error) => Err(error).at("hearing from the enclosure"),
    }
}
