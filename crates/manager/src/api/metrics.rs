//! `GET /sandboxes/{id}/metrics` (`e2b-api.md` §4.12): one sample, taken from the sandbox's envd now.

use std::time::Duration;

use axum::Json;
use axum::extract::{Path, State};
use http::Method;
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::{Value, json};

use super::context::Context;
use crate::error::ApiError;
use crate::keys::Caller;
use crate::manager::Manager;
use crate::sandboxes::{self, Situation};

/// Limit of the call into the sandbox.
const LIMIT: Duration = Duration::from_secs(5);

/// What envd measures.
#[derive(Debug, Deserialize)]
struct Sample {
    ts: i64,
    cpu_count: u64,
    cpu_used_pct: f64,
    mem_total: u64,
    mem_used: u64,
    #[serde(default)]
    mem_cache: u64,
    disk_used: u64,
    disk_total: u64,
}

impl Sample {
    fn shown(&self) -> Value {
        let time = Timestamp::from_second(self.ts).unwrap_or(Timestamp::UNIX_EPOCH);
        json!({
            "timestamp": time.to_string(),
            "timestampUnix": self.ts,
            "cpuCount": self.cpu_count,
            "cpuUsedPct": self.cpu_used_pct,
            "memUsed": self.mem_used,
            "memTotal": self.mem_total,
            "memCache": self.mem_cache,
            "diskUsed": self.disk_used,
            "diskTotal": self.disk_total,
        })
    }
}

/// An array with the present sample; empty for a sandbox that doesn't run.
pub(crate) async fn metrics(
    State(manager): State<Manager>,
    caller: Caller,
    context: Context,
    Path(id): Path<String>,
) -> Result<Json<Vec<Value>>, ApiError> {
    context.concerns(&id);
    let (sandbox, situation) = manager.owned(&caller, &id)?;
    if situation != Situation::Running {
        return Ok(Json(Vec::new()));
    }
    let key = sandboxes::key(&sandbox);
    let failed = |how: String| {
        ApiError::internal(format!("failed to read the sandbox's metrics: {how}"))
            .about(&key.namespace, &key.name)
    };
    let runtime = manager.shared.claimer.runtime();
    let endpoint = runtime.endpoint(&sandbox)?;
    let token = sandboxes::access_token(&sandbox);
    let answer = runtime.call(Method::GET, &endpoint, "/metrics", token, Vec::new(), LIMIT).await;
    let answer = answer.map_err(|error| failed(error.to_string()))?;
    if !answer.status.is_success() {
        return Err(failed(format!("it answered {}", answer.status)));
    }
    let sample: Sample =
        serde_json::from_slice(&answer.body).map_err(|_| failed("its answer cannot be read".to_owned()))?;
    Ok(Json(vec![sample.shown()]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sample_has_every_field_the_sdks_need() {
        let sample: Sample = serde_json::from_value(json!({
            "ts": 1_795_479_178, "cpu_count": 2, "cpu_used_pct": 12.5, "mem_total": 1024, "mem_used": 512,
            "mem_cache": 7, "mem_total_mib": 0, "mem_used_mib": 0, "disk_used": 1, "disk_total": 2,
        }))
        .expect("envd's form");
        insta::assert_json_snapshot!(sample.shown());
    }
}
