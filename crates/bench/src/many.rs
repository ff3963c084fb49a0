//! Creates with mounts through a whole lab: three mounts beside one, and many creates at once.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use contract::names::metadata_keys;
use e2b_client::{Client, CreateRequest};
use lab::Lab;
use tokio::task::JoinSet;

use crate::create::client;
use crate::pool::{self, TEMPLATE};
use crate::{BenchError, Figure, Unit};

/// What three mounts in one create may take, over one.
const THREE_LIMIT: f64 = 1.5;
/// How many creates there are.
const CREATES: usize = 200;
/// How many of them at once.
const AT_ONCE: usize = 8;
/// How many sandboxes are warm for them.
const WARM: i32 = 16;
/// How long what killed sandboxes held may take to be gone.
const GONE_DEADLINE: Duration = Duration::from_secs(30);

/// A create with `count` mounts of the product document's volume.
fn request(count: usize) -> CreateRequest {
    let mounts: Vec<_> = (0..count)
        .map(|number| {
            serde_json::json!({
                "pvName": "oss-pv-sandbox-system",
                "mountPath": format!("/data-{number}"),
                "subPath": format!("sub-{number}"),
            })
        })
        .collect();
    let key = metadata_keys::CSI_VOLUME_CONFIG.to_owned();
    CreateRequest {
        template: TEMPLATE.to_owned(),
        timeout: Some(300),
        metadata: BTreeMap::from([(key, serde_json::Value::from(mounts).to_string())]),
        ..CreateRequest::default()
    }
}

/// Creates a sandbox and kills it; the time of the create, in milliseconds.
async fn create(e2b: &Client, request: &CreateRequest) -> Result<f64, BenchError> {
    let begun = Instant::now();
    let created = e2b.create(request).await.map_err(client("create a sandbox"))?;
    let milliseconds = begun.elapsed().as_secs_f64() * 1000.0;
    e2b.kill(&created.value.sandbox_id).await.map_err(client("kill a sandbox"))?;
    Ok(milliseconds)
}

/// Creates with one mount and with three, in turns, each on a full pool.
pub(crate) async fn three_beside_one(
    kubernetes: &kube::Client,
    e2b: &Client,
    rounds: usize,
) -> Result<Vec<Figure>, BenchError> {
    let (mut ones, mut threes) = (Vec::new(), Vec::new());
    for round in 0..=rounds {
        pool::full(kubernetes).await?;
        let one = create(e2b, &request(1)).await?;
        pool::full(kubernetes).await?;
        let three = create(e2b, &request(3)).await?;
        if round > 0 {
            ones.push(one);
            threes.push(three);
        }
    }
    let ratios = threes.iter().zip(&ones).map(|(three, one)| three / one).collect();
    Ok(vec![
        Figure::new("create with one OSS mount", Unit::Milliseconds, ones),
        Figure::new("create with three", Unit::Milliseconds, threes),
        Figure::new("three over one", Unit::Ratio, ratios).at_most(THREE_LIMIT),
    ])
}

/// Creates [`CREATES`] sandboxes with one mount each, [`AT_ONCE`] at a time, and kills each at once.
pub(crate) async fn creates(
    lab: &dyn Lab,
    kubernetes: &kube::Client,
    e2b: &Client,
) -> Result<Vec<Figure>, BenchError> {
    pool::resize(kubernetes, WARM).await?;
    let begun = Instant::now();
    let next = Arc::new(AtomicUsize::new(0));
    let mut workers = JoinSet::new();
    for _ in 0..AT_ONCE {
        let (e2b, next, request) = (e2b.clone(), Arc::clone(&next), request(1));
        workers.spawn(async move {
            let mut outcomes = Vec::new();
            while next.fetch_add(1, Ordering::Relaxed) < CREATES {
                outcomes.push(create(&e2b, &request).await);
            }
            outcomes
        });
    }
    let outcomes: Vec<_> = workers.join_all().await.into_iter().flatten().collect();
    let seconds = begun.elapsed().as_secs_f64();
    let failures: Vec<_> = outcomes.iter().filter_map(|outcome| outcome.as_ref().err()).collect();
    for failure in failures.iter().take(3) {
        eprintln!("a create failed: {failure}: {:?}", std::error::Error::source(failure));
    }
    let (failed, left) = (failures.len(), leftovers(lab).await?);
    let times: Vec<_> = outcomes.into_iter().filter_map(Result::ok).collect();
    let p99 = percentile(&times, 0.99);
    Ok(vec![
        Figure::single("200 creates, 8 at a time", Unit::PerSecond, count(CREATES) / seconds),
        Figure::new("· each", Unit::Milliseconds, times),
        Figure::single("· p99", Unit::Milliseconds, p99),
        Figure::single("· failures", Unit::Count, count(failed)).at_most(0.0),
        Figure::single("· left behind", Unit::Count, count(left)).at_most(0.0),
    ])
}

/// How much is left of killed sandboxes once it had time to go.
async fn leftovers(lab: &dyn Lab) -> Result<usize, BenchError> {
    let begun = Instant::now();
    loop {
        let left = lab.leftovers().await?;
        if left.is_empty() || begun.elapsed() > GONE_DEADLINE {
            for leftover in left.iter().take(5) {
                eprintln!("left behind: {leftover:?}");
            }
            return Ok(left.len());
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

fn percentile(values: &[f64], share: f64) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a rank among a few hundred")]
    let rank = (count(sorted.len().saturating_sub(1)) * share).ceil() as usize;
    sorted.get(rank).copied().unwrap_or(f64::NAN)
}

#[allow(clippy::cast_precision_loss, reason = "a few hundred at most")]
fn count(number: usize) -> f64 {
    number as f64
}
