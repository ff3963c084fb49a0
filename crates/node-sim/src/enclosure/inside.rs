//! What the started program does to be inside.

use std::fs::OpenOptions;
use std::io;
use std::os::fd::{AsFd as _, OwnedFd};

use nix::sched::{CloneFlags, unshare};
use nix::unistd::{ForkResult, fork};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::mount::{MountFlags, MountPropagationFlags, mount, mount_change};
use rustix::process::{Signal, set_parent_process_death_signal};
use rustix::thread::CapabilitySet;

use super::error::At as _;
use super::{EnclosureError, Identities, channel, init};

/// The program's side of the enclosure it runs in.
#[derive(Debug)]
pub struct Enclosed {
    /// What [`super::EnclosureOptions::file_descriptors`] held, in the same order, all close-on-exec.
    pub file_descriptors: Vec<OwnedFd>,
    /// Which users exist inside.
    pub identities: Identities,
}

/// Finishes the enclosure that [`super::spawn`] began and returns in the process that is inside it.
///
/// Call it first in `main`: the process must have no other thread yet. Inside, mounts are private, `/proc` shows the
/// new PID namespace, the loopback interface is up, and standard input is empty.
///
/// # Errors
/// [`EnclosureError`] when the process wasn't started by [`super::spawn`] or the kernel refuses a namespace.
pub fn enter() -> Result<Enclosed, EnclosureError> {
    let socket = take_socket()?;
    let (_, file_descriptors) = channel::receive(&socket)
        .map_err(|_| EnclosureError::NotSpawned)?
        .ok_or(EnclosureError::OutsideGone)?;
    die_with_the_outside(&socket)?;
    let identities = make_user_namespace(&socket)?;
    // A session of its own: Ctrl-C is for the outside, which then decides. Fails only for a group leader.
    let _ = rustix::process::setsid();
    unshare(
        CloneFlags::CLONE_NEWPID
            | CloneFlags::CLONE_NEWNS
            | CloneFlags::CLONE_NEWNET
            | CloneFlags::CLONE_NEWIPC
            | CloneFlags::CLONE_NEWUTS,
    )
    .at("unsharing namespaces")?;
    let (anchor_gone, anchor_alive) =
        rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).at("making a pipe")?;
    // SAFETY: `enter`'s contract is a process with a single thread, so the child may do anything the parent may.
    #[allow(unsafe_code, reason = "a PID namespace begins with a fork")]
    match unsafe { fork() }.at("forking PID 1")? {
        ForkResult::Parent { child } => {
            drop((file_descriptors, socket, anchor_gone));
            let _alive = anchor_alive;
            init::pass_on(child)
        }
        ForkResult::Child => {
            drop(anchor_alive);
            die_with_the_outside(&socket)?;
            fork_program(socket, anchor_gone, Enclosed { file_descriptors, identities })
        }
    }
}

/// In PID 1: forks the program and stays behind as the init.
fn fork_program(
    socket: OwnedFd,
    anchor_gone: OwnedFd,
    enclosed: Enclosed,
) -> Result<Enclosed, EnclosureError> {
    let signals = init::block_signals().at("blocking signals")?;
    // SAFETY: as above, this process has a single thread.
    #[allow(unsafe_code, reason = "the init must not be the program: see the module's documentation")]
    match unsafe { fork() }.at("forking the program")? {
        ForkResult::Parent { child } => {
            drop(enclosed);
            init::run(child, &signals, socket.as_fd(), anchor_gone.as_fd())
        }
        ForkResult::Child => {
            drop((socket, anchor_gone));
            signals.restore().at("unblocking signals")?;
            set_up().map(|()| enclosed)
        }
    }
}

fn take_socket() -> Result<OwnedFd, EnclosureError> {
    let input = rustix::stdio::stdin();
    if rustix::net::sockopt::socket_type(input).ok() != Some(rustix::net::SocketType::SEQPACKET) {
        return Err(EnclosureError::NotSpawned);
    }
    let socket = input.try_clone_to_owned().at("duplicating the enclosure's socket")?;
    let nothing = OpenOptions::new().read(true).open("/dev/null").at("opening /dev/null")?;
    rustix::stdio::dup2_stdin(nothing).at("emptying standard input")?;
    Ok(socket)
}

/// Asks for SIGKILL at the parent's death; a death before that shows as a hang-up of the socket.
fn die_with_the_outside(socket: &OwnedFd) -> Result<(), EnclosureError> {
    set_parent_process_death_signal(Some(Signal::KILL)).at("asking for the parent-death signal")?;
    let mut descriptors = [PollFd::new(socket, PollFlags::empty())];
    poll(&mut descriptors, Some(&Timespec { tv_sec: 0, tv_nsec: 0 })).at("polling the enclosure's socket")?;
    if descriptors[0].revents().intersects(PollFlags::HUP | PollFlags::ERR) {
        return Err(EnclosureError::OutsideGone);
    }
    Ok(())
}

/// Without `CAP_SYS_ADMIN` the other namespaces need a user namespace around them.
fn make_user_namespace(socket: &OwnedFd) -> Result<Identities, EnclosureError> {
    let capabilities = rustix::thread::capabilities(None).at("reading capabilities")?;
    if capabilities.effective.contains(CapabilitySet::SYS_ADMIN) {
        channel::send(socket, b"no map", &[]).at("talking to the outside")?;
        return Ok(Identities::Machine);
    }
    unshare(CloneFlags::CLONE_NEWUSER).at("unsharing the user namespace")?;
    die_with_the_outside(socket)?;
    channel::send(socket, b"map", &[]).at("talking to the outside")?;
    let (answer, _) =
        channel::receive(socket).at("hearing from the outside")?.ok_or(EnclosureError::OutsideGone)?;
    let answer = String::from_utf8_lossy(&answer).into_owned();
    let identities = answer
        .strip_prefix("mapped ")
        .and_then(Identities::from_code)
        .ok_or(EnclosureError::Identities { reason: answer })?;
    let root = |step| move |error: nix::errno::Errno| EnclosureError::Step { step, source: error.into() };
    nix::unistd::setresgid(0.into(), 0.into(), 0.into()).map_err(root("becoming root's group"))?;
    nix::unistd::setresuid(0.into(), 0.into(), 0.into()).map_err(root("becoming root"))?;
    die_with_the_outside(socket)?;
    Ok(identities)
}

/// In the program: mounts that stay inside, a `/proc` of the new PID namespace, loopback.
fn set_up() -> Result<(), EnclosureError> {
    set_parent_process_death_signal(Some(Signal::KILL)).at("asking for the parent-death signal")?;
    mount_change("/", MountPropagationFlags::PRIVATE | MountPropagationFlags::REC)
        .at("making mounts private")?;
    let flags = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
    mount("proc", "/proc", "proc", flags, None).at("mounting /proc")?;
    // A short-lived runtime: starting it takes no thread, and the program makes its own afterwards.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .build()
        .at("starting a runtime for the loopback interface")?;
    runtime.block_on(crate::network::loopback_up()).map_err(|error| EnclosureError::Step {
        step: "bringing the loopback interface up",
        source: io::Error::other(error),
    })
}
