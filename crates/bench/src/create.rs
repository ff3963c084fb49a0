//! Create with one OSS mount on a warm pool, beside `s3fs` mounting the same bucket; the sandbox's in-place upgrade, pause
//! and wake-up; and the lab's memory.

use std::collections::BTreeMap;
use std::time::Instant;

use clock::SystemClock;
use contract::names::metadata_keys;
use e2b_client::{Client, CreateRequest, Settings};
use lab::{Backend, Lab};

use crate::document::{self, BUCKET};
use crate::in_lab::in_lab;
use crate::peer::S3fs;
use crate::pool::{self, TEMPLATE};
use crate::{BenchError, Figure, Options, Unit, upgrade};

/// What a create with one mount may take (median, milliseconds).
const CREATE_LIMIT: f64 = 60.0;

/// What a pause may take, and a wake-up until the mount is back (median, milliseconds).
const PAUSE_LIMIT: f64 = 50.0;
const RESUME_LIMIT: f64 = 150.0;

/// What a change of the image may take until the sandbox is ready with its mount (median, milliseconds).
const UPGRADE_LIMIT: f64 = 300.0;

/// What a lab with four warm sandboxes may hold (mebibytes).
const MEMORY_LIMIT: f64 = 250.0;

/// Creates `rounds` sandboxes one after the other, each on a full pool.
pub(crate) async fn measure(
    backend: &dyn Backend,
    options: &Options,
    progress: &(dyn Fn(&str) + Sync),
) -> Result<Vec<Figure>, BenchError> {
    in_lab(backend, async |lab| measure_on(lab, options.rounds, progress).await).await
}

async fn measure_on(
    lab: &dyn Lab,
    rounds: usize,
    progress: &(dyn Fn(&str) + Sync),
) -> Result<Vec<Figure>, BenchError> {
    let access = lab.access();
    let store = access.object_store.as_ref().ok_or(BenchError::NoObjectStore)?;
    scenario::create_bucket(store, BUCKET, SystemClock::shared()).await?;
    let kubernetes = document::client(access).await?;
    document::apply(&kubernetes, store).await?;
    let e2b =
        Client::new(Settings::new(&access.e2b_url, &access.e2b_key)).map_err(client("make a client"))?;
    let s3fs = S3fs::find(store)?;
    let (mut lives, mut mounts, mut memory) = (Vec::new(), Vec::new(), Vec::new());
    for round in 0..=rounds {
        progress(&format!("create {round} of {rounds}"));
        pool::full(&kubernetes).await?;
        memory.push(mebibytes(lab.memory().await?));
        let life = live(&e2b, &kubernetes).await?;
        let mounted = match &s3fs {
            Some(s3fs) => {
                let (mount, milliseconds) = s3fs.mount(BUCKET)?;
                mount.unmount()?;
                Some(milliseconds)
            }
            None => None,
        };
        if round > 0 {
            lives.push(life);
            mounts.extend(mounted);
        }
    }
    let each = |of: fn(&Life) -> f64| lives.iter().map(of).collect::<Vec<f64>>();
    let creates = each(|life| life.create);
    let mut figures =
        vec![Figure::new("memory, 4 warm sandboxes", Unit::Mebibytes, memory).at_most(MEMORY_LIMIT)];
    if !mounts.is_empty() {
        let ratios = creates.iter().zip(&mounts).map(|(create, mount)| create / mount).collect();
        figures.insert(0, Figure::new("create over s3fs mount", Unit::Ratio, ratios));
        figures.insert(0, Figure::new("s3fs, mount alone (peer)", Unit::Milliseconds, mounts));
    }
    let times = [
        ("create with one OSS mount", creates, CREATE_LIMIT),
        ("in-place upgrade with one OSS mount", each(|life| life.upgrade), UPGRADE_LIMIT),
        ("pause", each(|life| life.pause), PAUSE_LIMIT),
        ("resume with one OSS mount", each(|life| life.resume), RESUME_LIMIT),
    ];
    figures.splice(
        0..0,
        times.map(|(name, values, limit)| Figure::new(name, Unit::Milliseconds, values).at_most(limit)),
    );
    Ok(figures)
}

/// What the calls of one sandbox's life took, in milliseconds.
struct Life {
    create: f64,
    upgrade: f64,
    pause: f64,
    resume: f64,
}

async fn live(e2b: &Client, kubernetes: &kube::Client) -> Result<Life, BenchError> {
    let metadata: BTreeMap<String, String> = [
        (metadata_keys::CSI_VOLUME_NAME, "oss-pv-sandbox-system"),
        (metadata_keys::CSI_MOUNT_POINT, "/data-oss"),
        (metadata_keys::CSI_SUBPATH, "data-subPath"),
    ]
    .into_iter()
    .map(|(key, value)| (key.to_owned(), value.to_owned()))
    .collect();
    let request = CreateRequest {
        template: TEMPLATE.to_owned(),
        timeout: Some(300),
        metadata,
        ..CreateRequest::default()
    };
    let started = Instant::now();
    let created = e2b.create(&request).await.map_err(client("create a sandbox"))?;
    let create = milliseconds(started);
    let id = created.value.sandbox_id;
    // the pool's next sandbox starts now, and must not be measured
    pool::full(kubernetes).await?;
    let started = Instant::now();
    e2b.pause(&id).await.map_err(client("pause a sandbox"))?;
    let pause = milliseconds(started);
    let started = Instant::now();
    e2b.connect(&id, None).await.map_err(client("wake a sandbox up"))?;
    let resume = milliseconds(started);
    // last: it is seen in the object, and the manager may see it a little later
    let upgrade = upgrade::image(kubernetes, &id).await?;
    e2b.kill(&id).await.map_err(client("kill a sandbox"))?;
    Ok(Life { create, upgrade, pause, resume })
}

pub(crate) fn milliseconds(since: Instant) -> f64 {
    since.elapsed().as_secs_f64() * 1000.0
}

#[allow(clippy::cast_precision_loss, reason = "a lab holds far less than 2^52 bytes")]
pub(crate) fn mebibytes(bytes: u64) -> f64 {
    bytes as f64 / (1024.0 * 1024.0)
}

pub(crate) fn client(action: &'static str) -> impl Fn(e2b_client::ClientError) -> BenchError {
    move |source| BenchError::Client { action, source }
}
