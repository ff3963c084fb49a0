//! Benchmarks of Mountlab on this machine: `mountlab bench NAME`.
//!
//! A figure is a distribution over rounds with the limit it is held to. Where there is a peer that does the same job,
//! it is measured in the same run, turn by turn, and the ratio is printed: these machines are noisy, ratios less so.
#![warn(missing_docs)]

mod agent;
mod boot;
mod create;
mod document;
mod error;
mod figure;
mod files;
mod in_lab;
mod many;
mod mounts;
mod nas;
mod nfs_cp;
mod peer;
mod pool;
mod report;
mod rollout;
mod upgrade;

use std::path::PathBuf;

pub use error::BenchError;
pub use figure::{Figure, Limit, Unit};
pub use report::Report;

use lab::Backend;

/// What a benchmark is told.
#[derive(Clone, Debug)]
pub struct Options {
    /// The `mountlab` executable whose start is measured.
    pub program: PathBuf,
    /// The scenario whose time from start to verdict is measured.
    pub scenario: PathBuf,
    /// How often each thing is measured.
    pub rounds: usize,
}

/// `bench boot`: start to verdict with its parts; create with one OSS mount on a warm pool, in-place upgrade, pause and
/// resume; memory. `progress` is
/// told what is being measured.
///
/// # Errors
/// [`BenchError`] when a lab, a scenario or a create fails: a figure of something that failed would say nothing.
pub async fn boot(
    backend: &dyn Backend,
    options: &Options,
    progress: &(dyn Fn(&str) + Sync),
) -> Result<Report, BenchError> {
    progress("start to verdict");
    let mut figures = boot::measure(options)?;
    progress("create with one OSS mount");
    figures.extend(create::measure(backend, options, progress).await?);
    Ok(Report { name: "boot", rounds: options.rounds, figures })
}

/// `bench rollout`: a hundred sandboxes with one OSS mount each, upgraded by one `SandboxUpdateOps`, ten at a time: the time it
/// takes and the largest number of them that was not ready at the same time, by the journal. Measured once, whatever the
/// rounds. `progress` is told what is being measured.
///
/// # Errors
/// [`BenchError`] when the lab, the claim or the operation fails.
pub async fn rollout(backend: &dyn Backend, progress: &(dyn Fn(&str) + Sync)) -> Result<Report, BenchError> {
    Ok(Report { name: "rollout", rounds: 1, figures: rollout::measure(backend, progress).await? })
}

/// `bench mounts`: the OSS mounter beside `s3fs` on the same server, the NAS mounter beside `nfs-cp`, three mounts in one
/// create, and many creates at once. `progress` is told what is being measured.
///
/// # Errors
/// [`BenchError`] when a lab, a mount or a create fails, or the machine has no `s3fs` or `nfs-cp` to compare with.
pub async fn mounts(
    backend: &dyn Backend,
    options: &Options,
    progress: &(dyn Fn(&str) + Sync),
) -> Result<Report, BenchError> {
    let figures = mounts::measure(backend, options, progress).await?;
    Ok(Report { name: "mounts", rounds: options.rounds, figures })
}
