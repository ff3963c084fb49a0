//! What can be typed after `mountlab`.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use contract::names::csi_agent::OssMounter;

use crate::nas_server::{NasServer, NasServerHere};

/// The Agent Sandbox storage system on one machine: run scenarios against it, or use it.
#[derive(Debug, Parser)]
#[command(name = "mountlab", version, max_term_width = 110)]
pub(crate) struct Arguments {
    /// What to do.
    #[command(subcommand)]
    pub(crate) verb: Verb,
}

/// The verbs for people. The components (`controller`, `manager`, `agent-runtime`, `csi-node`) parse their own.
#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// Replay scenario files and print the table of verdicts
    Run(Run),
    /// Check scenario files without running them
    Check(Paths),
    /// Bring a lab up, print how to reach it, and stay until Ctrl-C
    Up(Up),
    /// Say what each backend needs, what is there, and how to get what is missing
    Doctor(Output),
    /// Print the JSON Schema of scenario files
    Schema,
    /// Print the plan of a scenario without running it
    Explain {
        /// The scenario file.
        path: PathBuf,
    },
    /// Say what went differently in two runs: of two backends, or of two versions
    Compare(Compare),
    /// Measure Mountlab on this machine
    Bench(Bench),
    /// Bring the cluster of the kind backend up, and leave it; or take it down
    Kind(Kind),
}

/// Scenario files or folders of them.
#[derive(Args, Debug)]
pub(crate) struct Paths {
    /// Scenario files, or folders with them
    #[arg(default_value = "scenarios")]
    pub(crate) paths: Vec<PathBuf>,
}

/// `mountlab run`
#[derive(Args, Debug)]
pub(crate) struct Run {
    #[command(flatten)]
    pub(crate) paths: Paths,
    /// Where to run
    #[arg(long, value_enum, default_value_t)]
    pub(crate) backend: BackendName,
    #[command(flatten)]
    pub(crate) cluster: Cluster,
    /// What mounts OSS volumes in the sandboxes [default: built-in]
    #[arg(long, value_enum)]
    pub(crate) oss_mounter: Option<OssMounterName>,
    /// Only scenarios whose name contains this text
    #[arg(long, value_name = "TEXT")]
    pub(crate) filter: Option<String>,
    /// How many scenarios run at once [default: the number of processors; twice that on kind]
    #[arg(long, value_name = "N")]
    pub(crate) jobs: Option<usize>,
    /// Seed of everything drawn by chance [default: drawn and printed]
    #[arg(long, value_name = "N")]
    pub(crate) seed: Option<u64>,
    /// Folder for the report
    #[arg(long, value_name = "DIR", default_value = "target/mountlab")]
    pub(crate) report: PathBuf,
    /// Leave a failed scenario's lab up until Ctrl-C; on kind, leave the cluster up for the next run instead
    #[arg(long)]
    pub(crate) keep: bool,
    /// Stop at the first failed step, say how to look around, and go on when Enter is pressed
    #[arg(long)]
    pub(crate) pause_on_failure: bool,
    #[command(flatten)]
    pub(crate) output: Output,
}

/// Which cluster, for `--backend cluster`.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Options of --backend cluster")]
pub(crate) struct Cluster {
    /// Kubeconfig of the cluster
    #[arg(long, value_name = "FILE")]
    pub(crate) kubeconfig: Option<PathBuf>,
    /// Name of the context that may be used; it must be the kubeconfig's current one
    #[arg(long, value_name = "NAME")]
    pub(crate) allow_context: Option<String>,
    /// Base URL of the cluster's E2B API
    #[arg(long, value_name = "URL")]
    pub(crate) e2b_url: Option<String>,
    /// The operator's key of the E2B API; better given in the environment, arguments can be read by everybody
    #[arg(long, value_name = "KEY", env = "E2B_ADMIN_KEY", hide_env_values = true)]
    pub(crate) e2b_key: Option<String>,
    /// Let sandboxes request little CPU and memory whatever the files say, for a small cluster
    #[arg(long)]
    pub(crate) small_requests: bool,
    /// Say that the cluster's network doesn't enforce network policies: scenarios that need it are skipped
    #[arg(long)]
    pub(crate) no_network_policies: bool,
    /// Object store for scenarios with buckets, as CSI agents reach it; its key comes from `OSS_ACCESS_KEY_ID` and
    /// `OSS_ACCESS_KEY_SECRET`
    #[arg(long, value_name = "URL")]
    pub(crate) oss_endpoint: Option<String>,
    /// The object store as this machine reaches it [default: the same]
    #[arg(long, value_name = "URL")]
    pub(crate) oss_endpoint_here: Option<String>,
    /// Region of the object store
    #[arg(long, value_name = "NAME", default_value = "us-east-1")]
    pub(crate) oss_region: String,
    /// NFS server for scenarios with NAS, as CSI agents reach it on port 2049, with the export in which folders are made
    /// for them and removed again; this machine and the sandboxes have to be let in as root
    #[arg(long, value_name = "HOST[:/EXPORT]", value_parser = NasServer::parse)]
    pub(crate) nas_server: Option<NasServer>,
    /// The NFS server as this machine reaches it [default: the same]
    #[arg(long, value_name = "HOST[:PORT]", value_parser = NasServerHere::parse, requires = "nas_server")]
    pub(crate) nas_server_here: Option<NasServerHere>,
}

/// `mountlab up`
#[derive(Args, Debug)]
pub(crate) struct Up {
    /// Where to bring it up
    #[arg(long, value_enum, default_value_t)]
    pub(crate) backend: BackendName,
    #[command(flatten)]
    pub(crate) cluster: Cluster,
    /// What mounts OSS volumes in the sandboxes [default: built-in]
    #[arg(long, value_enum)]
    pub(crate) oss_mounter: Option<OssMounterName>,
    /// Make this bucket in the lab's object store; may be given several times
    #[arg(long, value_name = "NAME")]
    pub(crate) bucket: Vec<String>,
    /// Offer this folder of the lab's NFS server, such as /share; may be given several times
    #[arg(long, value_name = "PATH")]
    pub(crate) export: Vec<String>,
    #[command(flatten)]
    pub(crate) output: Output,
}

/// `mountlab compare`
#[derive(Args, Debug)]
pub(crate) struct Compare {
    /// The report folder of the first run
    pub(crate) first: PathBuf,
    /// The report folder of the second run
    pub(crate) second: PathBuf,
    /// A YAML list of {scenario, stream, line, reason}: differences that are right
    #[arg(long, value_name = "FILE")]
    pub(crate) reasons: Option<PathBuf>,
    /// Also write the comparison as a Markdown page
    #[arg(long, value_name = "FILE")]
    pub(crate) page: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) output: Output,
}

/// `mountlab bench`
#[derive(Args, Debug)]
pub(crate) struct Bench {
    /// Which benchmark
    #[arg(value_enum)]
    pub(crate) name: BenchName,
    /// How often each measurement is repeated
    #[arg(long, value_name = "N", default_value_t = 20)]
    pub(crate) rounds: usize,
    #[command(flatten)]
    pub(crate) output: Output,
}

/// `mountlab kind`
#[derive(Args, Debug)]
pub(crate) struct Kind {
    /// What to do with it
    #[arg(value_enum)]
    pub(crate) action: KindAction,
    /// The cluster's name
    #[arg(long, default_value = "mountlab")]
    pub(crate) name: String,
    /// Which Docker daemon may be used
    #[arg(long, value_enum, default_value_t)]
    pub(crate) daemon: DaemonChoice,
    /// Where images may come from
    #[arg(long, value_enum, default_value_t)]
    pub(crate) images: ImageChoice,
}

/// What `mountlab kind` does.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub(crate) enum KindAction {
    /// Make it, or find it, and print how to reach it.
    Up,
    /// Remove it, with everything that was made for it but finished images.
    Down,
}

/// Which Docker daemon may be used.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, ValueEnum)]
pub(crate) enum DaemonChoice {
    /// The one that is there if it can be used, else one of our own.
    #[default]
    Auto,
    /// Only the one that is there.
    Existing,
    /// Only one of our own.
    Own,
}

impl From<DaemonChoice> for lab_kind::DaemonPolicy {
    fn from(choice: DaemonChoice) -> Self {
        match choice {
            DaemonChoice::Auto => Self::Auto,
            DaemonChoice::Existing => Self::Existing,
            DaemonChoice::Own => Self::Own,
        }
    }
}

/// Where images may come from.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, ValueEnum)]
pub(crate) enum ImageChoice {
    /// From the public registry if it answers, else built.
    #[default]
    Auto,
    /// From the public registry.
    Registry,
    /// Built from Debian packages and Go modules.
    Build,
}

impl From<ImageChoice> for lab_kind::ImagePolicy {
    fn from(choice: ImageChoice) -> Self {
        match choice {
            ImageChoice::Auto => Self::Auto,
            ImageChoice::Registry => Self::Registry,
            ImageChoice::Build => Self::Build,
        }
    }
}

/// How results are printed on standard output.
#[derive(Args, Clone, Copy, Debug)]
pub(crate) struct Output {
    /// For people, or for programs
    #[arg(long = "output", value_enum, default_value_t)]
    pub(crate) format: Format,
}

/// Forms of output.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, ValueEnum)]
pub(crate) enum Format {
    /// Tables and sentences.
    #[default]
    Text,
    /// One JSON document.
    Json,
}

/// Backends of this version.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, ValueEnum)]
pub(crate) enum BackendName {
    /// In namespaces of this machine, without Docker or a cluster.
    #[default]
    Embedded,
    /// On a real cluster on this machine, made with kind and Docker, with MinIO and NFS-Ganesha; with --keep it stays for the next run.
    Kind,
    /// On a cluster where the system is installed already.
    Cluster,
}

/// What mounts OSS volumes.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub(crate) enum OssMounterName {
    /// Our CSI agent itself.
    BuiltIn,
    /// Debian's s3fs, started by our CSI agent.
    S3fs,
}

impl From<OssMounterName> for OssMounter {
    fn from(name: OssMounterName) -> Self {
        match name {
            OssMounterName::BuiltIn => Self::BuiltIn,
            OssMounterName::S3fs => Self::S3fs,
        }
    }
}

/// Benchmarks.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub(crate) enum BenchName {
    /// Start to verdict of `oss-single-mount`; create, pause, resume and in-place upgrade with one mount; memory.
    Boot,
    /// The OSS mounter beside `s3fs`, three mounts in one create, 200 creates.
    Mounts,
    /// 100 sandboxes with one OSS mount, upgraded by one `SandboxUpdateOps` 10 at a time; once, whatever the rounds.
    Rollout,
}
