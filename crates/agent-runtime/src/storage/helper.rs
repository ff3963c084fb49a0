//! The program `sandbox-runtime-storage`, which calls itself `sandbox-storage` (`storage.md` §4.1).
//!
//! `--config` takes the request as base64. With `--config -` it comes from standard input. A request on the command
//! line could be read by every process of the sandbox, so the program then starts itself again with `--config -` and
//! the request in an anonymous file: what `/proc` shows from then on holds no secret.

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Read as _, Seek as _, Write as _};
use std::os::unix::process::CommandExt as _;
use std::process::{Command, ExitCode};
use std::sync::Arc;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use clap::{CommandFactory as _, Parser, Subcommand};
use csi_api::{NodePublishVolumeRequest, NodeUnpublishVolumeRequest};
use prost::Message;

use super::{Agent, MountOrder, Problem, Surroundings, UnmountOrder};
use crate::cli::chain;

/// The file name under which the program is installed.
pub const PROGRAM: &str = "sandbox-runtime-storage";

/// The longest request that is read from standard input, in bytes.
const LONGEST: u64 = 16 << 20;

/// Mounts storage into the sandbox.
#[derive(Debug, Parser)]
#[command(name = "sandbox-storage", disable_version_flag = true)]
struct Arguments {
    #[command(subcommand)]
    action: Option<Action>,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Mounts a volume and links it to its path.
    Mount(Request),
    /// Removes the link and unmounts the volume.
    Unmount(Request),
    /// Prints the version.
    Version,
}

#[derive(clap::Args)]
struct Request {
    /// The CSI driver.
    #[arg(short, long, default_value = "")]
    driver: String,
    /// The CSI request: base64 of its protobuf encoding, or - to read that from standard input.
    #[arg(short, long, default_value = "", allow_hyphen_values = true)]
    config: String,
    /// The last component of mount-root's path.
    #[arg(short, long, default_value = "mount-root")]
    mount_name: String,
    /// Prints what is done; never secrets.
    #[arg(long)]
    debug: bool,
}

impl std::fmt::Debug for Request {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Request")
            .field("driver", &self.driver)
            .field("mount_name", &self.mount_name)
            .field("debug", &self.debug)
            .finish_non_exhaustive()
    }
}

/// Why the helper failed.
#[derive(Debug, thiserror::Error)]
enum HelperError {
    #[error("failed to decode CSI request config")]
    Base64,
    #[error("failed to unmarshal CSI request")]
    Protobuf,
    #[error("cannot read standard input")]
    Input(#[source] io::Error),
    #[error("cannot start the asynchronous runtime")]
    Runtime(#[source] io::Error),
    #[error(transparent)]
    Storage(#[from] Problem),
}

/// Runs the helper with the arguments after its name. Exit status 0 is success, also of help; every failure is 1.
pub fn main(arguments: Vec<OsString>) -> ExitCode {
    let parsed =
        Arguments::try_parse_from(std::iter::once(OsString::from("sandbox-storage")).chain(arguments));
    let action = match parsed {
        Ok(parsed) => parsed.action,
        Err(problem) => return explain(&problem),
    };
    let outcome = match action {
        None => {
            print!("{}", Arguments::command().render_help());
            return ExitCode::SUCCESS;
        }
        Some(Action::Version) => {
            println!("sandbox-storage {}", env!("CARGO_PKG_VERSION"));
            return ExitCode::SUCCESS;
        }
        Some(Action::Mount(request)) => mount(request),
        Some(Action::Unmount(request)) => unmount(request),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(problem) => {
            eprintln!("sandbox-storage: {}", chain(&problem));
            ExitCode::FAILURE
        }
    }
}

/// Usage errors of clap quote arguments, and one of them may be a request with secrets: only the kind is told.
fn explain(problem: &clap::Error) -> ExitCode {
    if !problem.use_stderr() {
        let _ = problem.print();
        return ExitCode::SUCCESS;
    }
    eprintln!("sandbox-storage: wrong usage ({:?}): see --help", problem.kind());
    ExitCode::FAILURE
}

fn mount(request: Request) -> Result<(), HelperError> {
    let request = hidden(request, "mount");
    let order =
        MountOrder { driver: request.driver.clone(), request: decode::<NodePublishVolumeRequest>(&request)? };
    if request.debug {
        eprintln!("sandbox-storage: mount {:?} by {}", order.request.target_path, order.driver);
    }
    let staging = run(&request, async |agent| agent.mount(order).await)?;
    eprintln!("sandbox-storage: mounted at {staging}");
    Ok(())
}

fn unmount(request: Request) -> Result<(), HelperError> {
    let request = hidden(request, "unmount");
    let order = UnmountOrder {
        driver: request.driver.clone(),
        request: decode::<NodeUnpublishVolumeRequest>(&request)?,
        keep_link: false,
    };
    if request.debug {
        eprintln!("sandbox-storage: unmount {:?} by {}", order.request.target_path, order.driver);
    }
    run(&request, async |agent| agent.unmount(order).await)
}

fn run<T>(
    request: &Request,
    work: impl AsyncFnOnce(Arc<Agent>) -> Result<T, Problem>,
) -> Result<T, HelperError> {
    let surroundings = Surroundings { mount_name: request.mount_name.clone(), ..Surroundings::default() };
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(HelperError::Runtime)?;
    Ok(runtime.block_on(work(Arc::new(Agent::new(surroundings))))?)
}

fn decode<M: Message + Default>(request: &Request) -> Result<M, HelperError> {
    let text = if request.config == "-" { from_input()? } else { request.config.clone() };
    let bytes = BASE64_STANDARD.decode(text.trim()).map_err(|_| HelperError::Base64)?;
    M::decode(bytes.as_slice()).map_err(|_| HelperError::Protobuf)
}

fn from_input() -> Result<String, HelperError> {
    let mut text = String::new();
    io::stdin().take(LONGEST).read_to_string(&mut text).map_err(HelperError::Input)?;
    Ok(text)
}

/// Starts again without the request on the command line. Where that fails the work is done as it was asked for.
fn hidden(request: Request, action: &str) -> Request {
    if request.config.is_empty() || request.config == "-" {
        return request;
    }
    match anonymous(&request.config) {
        Ok(file) => {
            let problem = Command::new("/proc/self/exe")
                .arg0(PROGRAM)
                .args([
                    action,
                    "--config",
                    "-",
                    "--driver",
                    &request.driver,
                    "--mount-name",
                    &request.mount_name,
                ])
                .args(request.debug.then_some("--debug"))
                .stdin(file)
                .exec();
            eprintln!("sandbox-storage: cannot hide the request: {problem}");
        }
        Err(problem) => eprintln!("sandbox-storage: cannot hide the request: {problem}"),
    }
    request
}

fn anonymous(text: &str) -> io::Result<File> {
    let mut file = File::from(rustix::fs::memfd_create("request", rustix::fs::MemfdFlags::CLOEXEC)?);
    file.write_all(text.as_bytes())?;
    file.rewind()?;
    Ok(file)
}
