//! The set-up process: makes a container's namespaces and mounts, forks its first process, reports, and ends.

use std::io::Read as _;
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::Path;

use nix::sched::{CloneFlags, setns, unshare};
use nix::sys::wait::waitpid;
use nix::unistd::{ForkResult, fork};
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use rustix::thread::{ThreadNameSpaceType, move_into_thread_name_spaces};
use serde::de::DeserializeOwned;

use super::error::{At as _, ShimError};
use super::protocol::{ContainerSpec, ExecSpec, Report, Request, RequestKind};
use super::{idle, process, root, server, volumes};

/// The descriptors that come with a request.
struct Delivery {
    specification: OwnedFd,
    output: OwnedFd,
    errors: OwnedFd,
}

/// Carries out one request in a freshly forked process.
pub(super) fn run(socket: OwnedFd, request: Request, descriptors: Vec<OwnedFd>) -> ! {
    let mut socket = Some(socket);
    let outcome = delivery(descriptors).and_then(|delivery| match request.kind {
        RequestKind::Run => start_container(delivery, &mut socket),
        RequestKind::Exec => start_command(delivery, &mut socket),
    });
    let report = match outcome {
        Ok(pid) => Report::Started { id: request.id, pid },
        Err(error) => Report::Failed { id: request.id, message: error.chain() },
    };
    let sent = socket.is_some_and(|socket| server::send(&socket, &report).is_ok());
    std::process::exit(i32::from(!sent))
}

fn delivery(descriptors: Vec<OwnedFd>) -> Result<Delivery, ShimError> {
    let [specification, output, errors] = <[OwnedFd; 3]>::try_from(descriptors).map_err(|_| {
        ShimError::new("a request comes with three descriptors", std::io::Error::other("not so"))
    })?;
    Ok(Delivery { specification, output, errors })
}

fn read<T: DeserializeOwned>(specification: OwnedFd) -> Result<T, ShimError> {
    let mut text = Vec::new();
    let mut file = std::fs::File::from(specification);
    file.read_to_end(&mut text).at(|| "reading the specification")?;
    serde_json::from_slice(&text).map_err(std::io::Error::from).at(|| "reading the specification")
}

fn start_container(delivery: Delivery, socket: &mut Option<OwnedFd>) -> Result<i32, ShimError> {
    let Delivery { specification, output, errors } = delivery;
    let spec: ContainerSpec = read(specification)?;
    for namespace in &spec.namespaces {
        join(namespace)?;
    }
    unshare(CloneFlags::CLONE_NEWNS | CloneFlags::CLONE_NEWPID).at(|| "unsharing mounts and process ids")?;
    root::assemble(&spec)?;
    fork_first(socket, (output, errors), move || {
        root::furnish(&spec)?;
        for mount in &spec.mounts {
            volumes::attach(&spec.root, mount)?;
        }
        root::enter(&spec.root)?;
        root::finish(&spec)?;
        process::execute(&spec.process, spec.privileged)
    })
}

fn join(namespace: &Path) -> Result<(), ShimError> {
    let step = || format!("joining namespace {}", namespace.display());
    let file = std::fs::File::open(namespace).at(step)?;
    setns(file, CloneFlags::empty()).at(step)
}

fn start_command(delivery: Delivery, socket: &mut Option<OwnedFd>) -> Result<i32, ShimError> {
    let Delivery { specification, output, errors } = delivery;
    let spec: ExecSpec = read(specification)?;
    let container = Pid::from_raw(spec.container)
        .ok_or(rustix::io::Errno::SRCH)
        .and_then(|pid| pidfd_open(pid, PidfdFlags::empty()))
        .at(|| format!("finding the container's first process {}", spec.container))?;
    let kinds = ThreadNameSpaceType::NETWORK
        | ThreadNameSpaceType::INTER_PROCESS_COMMUNICATION
        | ThreadNameSpaceType::HOST_NAME_AND_NIS_DOMAIN_NAME
        | ThreadNameSpaceType::PROCESS_ID
        | ThreadNameSpaceType::MOUNT;
    move_into_thread_name_spaces(container.as_fd(), kinds).at(|| "joining the container's namespaces")?;
    drop(container);
    fork_first(socket, (output, errors), move || process::execute(&spec.process, spec.privileged))
}

/// Forks the process that `become_it` turns into the program; if that returns, the process is to idle. Returns its
/// id once the program is executed.
fn fork_first(
    socket: &mut Option<OwnedFd>,
    (output, errors): (OwnedFd, OwnedFd),
    become_it: impl FnOnce() -> Result<(), ShimError>,
) -> Result<i32, ShimError> {
    let (mut failure, mut fails) = std::io::pipe().at(|| "making a pipe")?;
    // SAFETY: the set-up process is a fork of the single-threaded server, so it has a single thread as well.
    #[allow(unsafe_code, reason = "only a child is in the new PID namespace")]
    match unsafe { fork() }.at(|| "forking the container's process")? {
        ForkResult::Child => {
            drop((failure, socket.take()));
            let own_executable = idle::own_executable();
            if let Err(error) = redirect(output, errors).and_then(|()| become_it()) {
                let _ = std::io::Write::write_all(&mut fails, error.chain().as_bytes());
                std::process::exit(127)
            }
            // Ready for signals before anybody hears that it has started.
            let signals = idle::await_signals();
            idle::afresh(own_executable);
            drop(fails);
            idle::until_terminated(&signals)
        }
        ForkResult::Parent { child } => {
            drop((fails, output, errors, become_it));
            let mut message = String::new();
            failure.read_to_string(&mut message).at(|| "reading the container's report")?;
            if message.is_empty() {
                return Ok(child.as_raw());
            }
            let _ = waitpid(child, None);
            Err(ShimError::said(message))
        }
    }
}

/// The descriptors are consumed: the copies with the standard numbers are the only ones that stay.
fn redirect(output: OwnedFd, errors: OwnedFd) -> Result<(), ShimError> {
    rustix::stdio::dup2_stdout(&output).at(|| "redirecting standard output")?;
    rustix::stdio::dup2_stderr(&errors).at(|| "redirecting standard error")?;
    drop((output, errors));
    Ok(())
}
