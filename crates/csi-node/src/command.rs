//! The command line.

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use clap::{Parser, Subcommand};
use clock::SystemClock;
use contract::names::{csi_agent, drivers};

use crate::driver::Driver;
use crate::faults::{FaultOptions, Faults};
use crate::nas::{MounterKind, NasDriver, NasDriverOptions};
use crate::oss::{ConnectLimits, FuseOption, OssDriver, OssDriverOptions};
use crate::s3::Limits;
use crate::{allocator, identities, serve, wait};

/// Worker threads: enough that a slow disk doesn't stop the rest.
const WORKERS: usize = 2;
/// The drivers that are served unless told otherwise.
const KNOWN_DRIVERS: [&str; 2] = [drivers::OSS, drivers::NAS];

/// CSI node agent: mounts storage for a sandbox.
#[derive(Debug, Parser)]
#[command(name = "csi-node", version)]
struct Arguments {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Serve the sockets `DIR/DRIVER/csi.sock` until SIGTERM.
    Serve(Serve),
    /// Return when every socket answers.
    Wait(Wait),
}

#[derive(Debug, clap::Args)]
struct Sockets {
    /// Directory of the sockets.
    #[arg(long, value_name = "DIR", default_value = "/var/run/csi/sockets")]
    socket_dir: PathBuf,
    /// Driver to serve, may be repeated.
    #[arg(long = "driver", value_name = "NAME", default_values_t = KNOWN_DRIVERS.map(str::to_owned), value_parser = known_driver)]
    drivers: Vec<String>,
}

#[derive(Debug, clap::Args)]
struct Serve {
    #[command(flatten)]
    sockets: Sockets,
    /// Name of the node.
    #[arg(long, env = "NODE_NAME", default_value = "mountlab")]
    node_id: String,
    /// Where files that are being changed are kept; never visible to other containers.
    #[arg(long, value_name = "DIR", default_value_os_t = std::env::temp_dir())]
    scratch_dir: PathBuf,
    /// Limit of one mount, in seconds.
    #[arg(long, value_name = "SECONDS", default_value_t = 30, value_parser = clap::value_parser!(u64).range(1..))]
    mount_limit: u64,
    /// Options of every OSS mount whose volume says nothing else, separated by commas.
    #[arg(long, value_name = "OPTIONS", default_value = "")]
    oss_defaults: String,
    /// What mounts OSS volumes: this program, or `s3fs` in a process for each mount.
    #[arg(long, value_enum, env = csi_agent::OSS_MOUNTER_VARIABLE, default_value_t = OssMounter::BuiltIn)]
    oss_mounter: OssMounter,
    /// Client that mounts NAS volumes: the kernel's where the machine has one, or the one in this program.
    #[arg(long, value_enum, default_value_t = NasMounter::Auto)]
    nas_mounter: NasMounter,
    /// Port of NAS servers.
    #[arg(long, value_name = "PORT", default_value_t = 2049, value_parser = clap::value_parser!(u16).range(1..))]
    nas_port: u16,
    /// Folder of the faults in force; a lab puts them there.
    #[arg(long, value_name = "DIR", env = csi_agent::FAULTS_VARIABLE)]
    faults: Option<PathBuf>,
    /// Faults that this agent always has, as a JSON list; an image may come with some.
    #[arg(long, value_name = "JSON", env = csi_agent::DEFECTS_VARIABLE)]
    defects: Option<String>,
    /// Name of the pod: faults may be for one.
    #[arg(long, value_name = "NAME", env = "HOSTNAME", default_value = "")]
    pod: String,
}

/// What mounts OSS volumes.
#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum OssMounter {
    /// This program.
    BuiltIn,
    /// The program `s3fs`.
    S3fs,
}

impl From<OssMounter> for csi_agent::OssMounter {
    fn from(mounter: OssMounter) -> Self {
        match mounter {
            OssMounter::BuiltIn => Self::BuiltIn,
            OssMounter::S3fs => Self::S3fs,
        }
    }
}

/// Which client mounts NAS volumes.
#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum NasMounter {
    /// The kernel's if it has one, else our own.
    Auto,
    /// The kernel's.
    Kernel,
    /// Our own, over FUSE.
    UserSpace,
}

#[derive(Debug, clap::Args)]
struct Wait {
    #[command(flatten)]
    sockets: Sockets,
    /// Give up after this many seconds.
    #[arg(long, value_name = "SECONDS", default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..))]
    deadline: u64,
}

fn known_driver(name: &str) -> Result<String, String> {
    if KNOWN_DRIVERS.contains(&name) {
        return Ok(name.to_owned());
    }
    Err(format!("this agent serves {} only", KNOWN_DRIVERS.join(" and ")))
}

/// Runs the program with `args`, of which the first is its name.
pub fn main(args: Vec<OsString>) -> ExitCode {
    let arguments = match Arguments::try_parse_from(args) {
        Ok(arguments) => arguments,
        Err(error) => {
            // The output may be closed, and then there is nobody to tell.
            let _ = error.print();
            return ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2));
        }
    };
    if matches!(arguments.verb, Verb::Serve(_)) {
        log_to_stderr();
        allocator::settle();
    }
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(WORKERS)
        .thread_name("csi-node")
        .enable_all()
        .build();
    let outcome =
        runtime.map_err(|error| Box::new(error) as Box<dyn std::error::Error>).and_then(|runtime| {
            let outcome = runtime.block_on(run(arguments.verb));
            // A thread that hangs in the kernel must not keep the process.
            runtime.shutdown_timeout(Duration::from_secs(1));
            outcome
        });
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            report(error.as_ref());
            ExitCode::FAILURE
        }
    }
}

async fn run(verb: Verb) -> Result<(), Box<dyn std::error::Error>> {
    match verb {
        Verb::Serve(options) => {
            let drivers = options.sockets.drivers.iter().map(|name| driver(name, &options)).collect();
            let faults = Faults::new(FaultOptions {
                directory: options.faults.clone(),
                defects: options.defects.clone(),
                pod: options.pod.clone(),
            })?;
            serve::serve(&options.sockets.socket_dir, drivers, &options.node_id, faults).await?;
        }
        Verb::Wait(options) => {
            let deadline = Duration::from_secs(options.deadline);
            wait::wait(&options.sockets.socket_dir, &options.sockets.drivers, deadline).await?;
        }
    }
    Ok(())
}

fn driver(name: &str, options: &Serve) -> Arc<dyn Driver> {
    if name == drivers::NAS { nas_driver(options) } else { oss_driver(options) }
}

fn nas_driver(options: &Serve) -> Arc<dyn Driver> {
    let mounter = match options.nas_mounter {
        NasMounter::Auto => MounterKind::of_this_machine(),
        NasMounter::Kernel => MounterKind::Kernel,
        NasMounter::UserSpace => MounterKind::UserSpace,
    };
    tracing::info!(mounter = mounter.name(), "NAS volumes are mounted by this NFS client");
    let limit = Duration::from_secs(options.mount_limit);
    Arc::new(NasDriver::new(NasDriverOptions { mounter, port: options.nas_port, limit }))
}

fn oss_driver(options: &Serve) -> Arc<dyn Driver> {
    let mounter = csi_agent::OssMounter::from(options.oss_mounter);
    tracing::info!(mounter = mounter.name(), "OSS volumes are mounted by this");
    let total = Duration::from_secs(options.mount_limit);
    Arc::new(OssDriver::new(OssDriverOptions {
        mounter,
        clock: SystemClock::shared(),
        scratch_directory: options.scratch_dir.clone(),
        connect: ConnectLimits { total, ..ConnectLimits::default() },
        requests: Limits::default(),
        default_options: identities::without_strangers(FuseOption::parse_defaults(&options.oss_defaults)),
    }))
}

fn log_to_stderr() {
    let filter = tracing_subscriber::EnvFilter::try_from_default_env()
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("info"));
    // Whoever called may have set a log up already; that one stays.
    let _ = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(false)
        .with_writer(std::io::stderr)
        .try_init();
}

fn report(error: &dyn std::error::Error) {
    let mut line = format!("csi-node: {error}");
    let mut source = error.source();
    while let Some(cause) = source {
        line = format!("{line}: {cause}");
        source = cause.source();
    }
    eprintln!("{line}");
}
