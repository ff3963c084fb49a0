//! The OSS mounter beside `s3fs`, turn by turn on one server; the NAS mounter beside `nfs-cp`; and creates with mounts through the lab around it.

use std::path::Path;

use clock::SystemClock;
use contract::names::drivers;
use e2b_client::{Client, Settings};
use lab::{Backend, Lab, ObjectStore};

use crate::agent::{Agent, Volume};
use crate::create::client;
use crate::document::{self, BUCKET};
use crate::error::io;
use crate::files::{self, Times};
use crate::in_lab::in_lab;
use crate::peer::S3fs;
use crate::{BenchError, Figure, Options, Unit, many, nas};

/// How many times faster the large file is to be written and read.
const LARGE_LIMIT: f64 = 1.5;
/// How many times faster the small files are to be created and read.
const SMALL_LIMIT: f64 = 3.0;
/// What share of the time of `s3fs` a mount may take.
const MOUNT_LIMIT: f64 = 0.5;
/// What the agent may hold when the files are closed, in mebibytes.
const MEMORY_LIMIT: f64 = 40.0;

/// One round's figures of one mounter.
#[derive(Clone, Copy, Debug)]
struct Round {
    /// Milliseconds.
    mount: f64,
    /// Seconds.
    times: Times,
    /// Seconds.
    read: f64,
}

/// Everything of `bench mounts`.
pub(crate) async fn measure(
    backend: &dyn Backend,
    options: &Options,
    progress: &(dyn Fn(&str) + Sync),
) -> Result<Vec<Figure>, BenchError> {
    in_lab(backend, async |lab| measure_on(lab, options, progress).await).await
}

async fn measure_on(
    lab: &dyn Lab,
    options: &Options,
    progress: &(dyn Fn(&str) + Sync),
) -> Result<Vec<Figure>, BenchError> {
    let access = lab.access();
    let store = access.object_store.as_ref().ok_or(BenchError::NoObjectStore)?;
    scenario::create_bucket(store, BUCKET, SystemClock::shared()).await?;
    let mut figures = beside_s3fs(store, options, progress).await?;
    figures.extend(nas::beside_nfs_cp(lab, options, progress).await?);
    let kubernetes = document::client(access).await?;
    document::apply(&kubernetes, store).await?;
    let e2b =
        Client::new(Settings::new(&access.e2b_url, &access.e2b_key)).map_err(client("make a client"))?;
    progress("three mounts in one create");
    figures.extend(many::three_beside_one(&kubernetes, &e2b, options.rounds).await?);
    progress("200 creates, 8 at a time");
    figures.extend(many::creates(lab, &kubernetes, &e2b).await?);
    Ok(figures)
}

async fn beside_s3fs(
    store: &ObjectStore,
    options: &Options,
    progress: &(dyn Fn(&str) + Sync),
) -> Result<Vec<Figure>, BenchError> {
    let s3fs = S3fs::find(store)?.ok_or_else(|| BenchError::Peer {
        program: "s3fs",
        action: "be found",
        reason: "it is not on the PATH; install it with tools/install s3fs=s3fs".to_owned(),
    })?;
    let agent = Agent::start(&options.program, drivers::OSS, &[]).await?;
    let (mut ours, mut theirs, mut memory) = (Vec::new(), Vec::new(), Vec::new());
    // A round moves two gibibytes: a few of them tell enough.
    let rounds = options.rounds.div_ceil(5);
    for round in 0..=rounds {
        progress(&format!("OSS beside s3fs, round {round} of {rounds}"));
        let (our, held) = our_round(&agent, store, round).await?;
        let their = their_round(&s3fs, round).await?;
        if round > 0 {
            ours.push(our);
            theirs.push(their);
            memory.push(held);
        }
    }
    Ok(figures(&ours, &theirs, memory))
}

/// Ours: mount, fill, mount anew, read; and what the agent holds after that.
async fn our_round(agent: &Agent, store: &ObjectStore, round: usize) -> Result<(Round, f64), BenchError> {
    let volume = Volume::bucket(store, BUCKET);
    let (target, mount) = agent.mount(&volume, "first").await?;
    let times = blocking(&agent.outside(&target).join(format!("ours-{round}")), files::fill).await?;
    agent.unmount(&target).await?;
    // The kernel's pages went with the mount: what is read now comes from the server.
    let (target, _) = agent.mount(&volume, "second").await?;
    let read = blocking(&agent.outside(&target).join(format!("ours-{round}")), files::read_large).await?;
    let memory = agent.memory()?;
    agent.unmount(&target).await?;
    Ok((Round { mount, times, read }, memory))
}

async fn their_round(s3fs: &S3fs, round: usize) -> Result<Round, BenchError> {
    let (mounted, mount) = s3fs.mount(BUCKET)?;
    let times = blocking(&mounted.target().join(format!("s3fs-{round}")), files::fill).await?;
    mounted.unmount()?;
    let (mounted, _) = s3fs.mount(BUCKET)?;
    let read = blocking(&mounted.target().join(format!("s3fs-{round}")), files::read_large).await?;
    mounted.unmount()?;
    Ok(Round { mount, times, read })
}

/// Runs `work` on `folder` where it may block: the lab's servers live on this runtime.
pub(crate) async fn blocking<T: Send + 'static>(
    folder: &Path,
    work: impl FnOnce(&Path) -> Result<T, BenchError> + Send + 'static,
) -> Result<T, BenchError> {
    let folder = folder.to_owned();
    tokio::task::spawn_blocking(move || work(&folder))
        .await
        .map_err(|error| io("work on files")(std::io::Error::other(error)))?
}

fn figures(ours: &[Round], theirs: &[Round], memory: Vec<f64>) -> Vec<Figure> {
    let milliseconds = |name: &str, rounds: &[Round], of: fn(&Round) -> f64| {
        Figure::new(name, Unit::Milliseconds, rounds.iter().map(of).collect())
    };
    let ratios = |name: &str, of: fn(&Round, &Round) -> f64| {
        Figure::new(name, Unit::Ratio, ours.iter().zip(theirs).map(|(our, their)| of(our, their)).collect())
    };
    vec![
        milliseconds("OSS mount", ours, |it| it.mount),
        milliseconds("· s3fs", theirs, |it| it.mount),
        ratios("· ours over s3fs", |our, their| our.mount / their.mount).at_most(MOUNT_LIMIT),
        milliseconds("write 256 MiB", ours, |it| it.times.write * 1000.0),
        milliseconds("· s3fs", theirs, |it| it.times.write * 1000.0),
        ratios("· times faster", |our, their| their.times.write / our.times.write).at_least(LARGE_LIMIT),
        milliseconds("read 256 MiB, cold", ours, |it| it.read * 1000.0),
        milliseconds("· s3fs", theirs, |it| it.read * 1000.0),
        ratios("· times faster", |our, their| their.read / our.read).at_least(LARGE_LIMIT),
        milliseconds("200 small files", ours, |it| it.times.small * 1000.0),
        milliseconds("· s3fs", theirs, |it| it.times.small * 1000.0),
        ratios("· times faster", |our, their| their.times.small / our.times.small).at_least(SMALL_LIMIT),
        Figure::new("memory of the agent afterwards", Unit::Mebibytes, memory).at_most(MEMORY_LIMIT),
    ]
}
