//! `GET /metrics`: processor, memory and disk (`e2b-api.md` §9.1).

use std::sync::Mutex;

use axum::Json;
use axum::extract::State;
use axum::response::IntoResponse;
use http::header::CACHE_CONTROL;
use serde_json::{Value, json};

use super::http_error::HttpError;
use super::state::SharedEnvd;

const MEBIBYTE: u64 = 1 << 20;

/// The processor's counters at the previous look, to tell how busy it was since then.
#[derive(Debug, Default)]
pub(crate) struct Processor {
    previous: Mutex<Option<Counters>>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
struct Counters {
    busy: u64,
    total: u64,
}

impl Processor {
    /// The share of busy time since the previous call in percent; since boot at the first call.
    #[allow(clippy::cast_precision_loss, reason = "a percentage needs no more digits")]
    fn used(&self, now: Counters) -> f64 {
        let mut previous = self.previous.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let before = previous.replace(now).unwrap_or(Counters { busy: 0, total: 0 });
        let total = now.total.saturating_sub(before.total);
        if total == 0 {
            return 0.0;
        }
        let share = now.busy.saturating_sub(before.busy) as f64 / total as f64;
        (share * 10_000.0).round() / 100.0
    }
}

/// Answers with the metrics of this moment.
pub(crate) async fn metrics(State(envd): State<SharedEnvd>) -> Result<impl IntoResponse, HttpError> {
    let now = envd.options.clock.now().as_second();
    let read = tokio::task::spawn_blocking(move || read(&envd.processor, now));
    let body = read
        .await
        .map_err(|problem| HttpError::new(http::StatusCode::INTERNAL_SERVER_ERROR, problem.to_string()))??;
    Ok(([(CACHE_CONTROL, "no-store")], Json(body)))
}

fn read(processor: &Processor, now: i64) -> Result<Value, HttpError> {
    let file = |path: &str| {
        std::fs::read_to_string(path)
            .map_err(|problem| HttpError::from_io(&format!("cannot read {path}"), &problem))
    };
    let (memory, counters) = (file("/proc/meminfo")?, counters(&file("/proc/stat")?));
    let disk = rustix::fs::statvfs("/")
        .map_err(|problem| HttpError::from_io("cannot measure /", &problem.into()))?;
    let total = field(&memory, "MemTotal:");
    let used = total.saturating_sub(field(&memory, "MemAvailable:"));
    Ok(json!({
        "ts": now,
        "cpu_count": std::thread::available_parallelism().map_or(1, std::num::NonZero::get),
        "cpu_used_pct": processor.used(counters),
        "mem_total": total,
        "mem_used": used,
        "mem_cache": field(&memory, "Cached:"),
        "mem_total_mib": total / MEBIBYTE,
        "mem_used_mib": used / MEBIBYTE,
        "disk_used": (disk.f_blocks - disk.f_bfree) * disk.f_frsize,
        "disk_total": disk.f_blocks * disk.f_frsize,
    }))
}

/// A field of `/proc/meminfo` in bytes; 0 when it isn't there.
fn field(memory: &str, name: &str) -> u64 {
    let line = memory.lines().find_map(|line| line.strip_prefix(name));
    line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok())
        .map_or(0, |kibibytes| kibibytes << 10)
}

/// The first line of `/proc/stat`: user, nice, system, idle, waiting, and more.
fn counters(stat: &str) -> Counters {
    let line = stat.lines().next().unwrap_or_default();
    let numbers = line.split_whitespace().skip(1).filter_map(|word| word.parse().ok()).collect::<Vec<u64>>();
    let idle = numbers.iter().skip(3).take(2).sum::<u64>();
    let total = numbers.iter().take(8).sum::<u64>();
    Counters { busy: total - idle, total }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_processor_is_measured_between_two_looks() {
        let processor = Processor::default();
        let first = counters("cpu  10 0 10 70 10 0 0 0 5 5\ncpu0 1 2\n");
        assert_eq!(first, Counters { busy: 20, total: 100 });
        assert!((processor.used(first) - 20.0).abs() < 1e-9);
        assert!((processor.used(Counters { busy: 70, total: 200 }) - 50.0).abs() < 1e-9);
        assert!(processor.used(Counters { busy: 70, total: 200 }).abs() < 1e-9);
    }

    #[test]
    fn memory_is_in_bytes() {
        assert_eq!(field("MemTotal:  16 kB\nCached: 4 kB\n", "Cached:"), 4096);
        assert_eq!(field("", "Cached:"), 0);
    }
}
