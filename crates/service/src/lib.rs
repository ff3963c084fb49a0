//! What a component needs to run in a pod: a log, probes and metrics, one leader among its replicas, and a way to end.
//!
//! ```text
//! Process options ─► log on standard error (JSON or text)
//!                 ─► journal entries as lines on standard output, if asked for
//!                 ─► /healthz /readyz   /metrics
//!                 ─► Lease: while_leading(work)
//! SIGTERM ─► told_to_stop
//! ```

mod leader;
mod log;
mod probes;
mod stop;

pub use leader::{Election, ElectionError, LeaderOptions};
pub use log::{JournalFormat, LogFormat, LogOptions};
pub use probes::{ListenError, METRICS_CONTENT_TYPE, ProbeOptions, Probes, metrics_text};
pub use stop::told_to_stop;
