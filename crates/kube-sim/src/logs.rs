//! Logs of pods, from whoever runs them.

use std::fmt::Debug;

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::BoxStream;
use jiff::Timestamp;

use crate::error::{ApiError, ApiResult};
use crate::http::query::Query;

/// Which part of a log is wanted.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct LogOptions {
    /// Go on with what is written from now on, until the container ends.
    pub follow: bool,
    /// Only this many lines from the end.
    pub tail_lines: Option<u64>,
    /// The log of the instance before the last restart.
    pub previous: bool,
    /// An RFC 3339 time before each line.
    pub timestamps: bool,
    /// Only what was written in the last seconds.
    pub since_seconds: Option<u64>,
    /// Only what was written since this instant.
    pub since_time: Option<Timestamp>,
    /// At most this many bytes.
    pub limit_bytes: Option<u64>,
}

impl LogOptions {
    pub(crate) fn read(query: &Query) -> ApiResult<Self> {
        let since_time = query.get("sinceTime").map(str::parse).transpose();
        Ok(Self {
            follow: query.flag("follow"),
            tail_lines: query.number("tailLines")?,
            previous: query.flag("previous"),
            timestamps: query.flag("timestamps"),
            since_seconds: query.number("sinceSeconds")?,
            since_time: since_time.map_err(|error| ApiError::bad_request(format!("sinceTime: {error}")))?,
            limit_bytes: query.number("limitBytes")?,
        })
    }
}

/// Why a log can't be shown, in the words that `kubectl logs` prints.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{0}")]
pub struct LogsUnavailable(pub String);

/// Whoever runs pods and keeps their logs.
#[async_trait]
pub trait PodLogs: Debug + Send + Sync {
    /// The log of a container, as chunks of its bytes.
    ///
    /// # Errors
    /// The container has not started, or has no previous instance.
    async fn logs(
        &self,
        namespace: &str,
        pod: &str,
        container: &str,
        options: LogOptions,
    ) -> Result<BoxStream<'static, Bytes>, LogsUnavailable>;
}
