//! `mountlab bench`: measure Mountlab on this machine.

use std::io::Write as _;
use std::path::PathBuf;

use indicatif::ProgressBar;

use crate::arguments::{Bench, BenchName, Format};
use crate::backends;
use crate::exit::Status;

/// Prints the table; the status is 1 when a figure misses its limit.
pub(crate) fn run(arguments: &Bench) -> anyhow::Result<Status> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let backend = backends::embedded()?;
    let options = bench::Options {
        program: std::env::current_exe()?,
        scenario: PathBuf::from("scenarios/oss-single-mount.yaml"),
        rounds: arguments.rounds,
    };
    let spinner = ProgressBar::new_spinner();
    let progress = |what: &str| spinner.set_message(what.to_owned());
    let report = match arguments.name {
        BenchName::Boot => runtime.block_on(bench::boot(&backend, &options, &progress))?,
        BenchName::Rollout => runtime.block_on(bench::rollout(&backend, &progress))?,
        BenchName::Mounts => runtime.block_on(bench::mounts(&backend, &options, &progress))?,
    };
    spinner.finish_and_clear();
    let mut out = std::io::stdout();
    match arguments.output.format {
        Format::Json => writeln!(out, "{}", serde_json::to_string_pretty(&report)?)?,
        Format::Text => write!(out, "{report}")?,
    }
    Ok(if report.holds() { Status::Held } else { Status::Failed })
}
