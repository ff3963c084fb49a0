//! The node's logs, as the API server serves them to `kubectl logs`.

use std::collections::VecDeque;
use std::fmt::Write as _;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use clock::SharedClock;
use futures::StreamExt as _;
use futures::stream::{self, BoxStream};
use jiff::{SignedDuration, Timestamp};
use kube_sim::{LogOptions, LogsUnavailable, PodLogs};
use node_sim::{LogLine, LogReader, Node};

/// Serves what the node keeps.
#[derive(Debug)]
pub(crate) struct NodeLogs {
    node: Node,
    clock: SharedClock,
}

impl NodeLogs {
    /// The logs of `node`, whose lines are stamped by `clock`.
    pub(crate) fn new(node: Node, clock: SharedClock) -> Self {
        Self { node, clock }
    }
}

#[async_trait]
impl PodLogs for NodeLogs {
    async fn logs(
        &self,
        namespace: &str,
        pod: &str,
        container: &str,
        options: LogOptions,
    ) -> Result<BoxStream<'static, Bytes>, LogsUnavailable> {
        let mut reader = self
            .node
            .log(namespace, pod, container, options.previous)
            .map_err(|error| LogsUnavailable(crate::chain(&error)))?;
        let selection = Selection::new(&options, self.clock.now());
        let first = selection.chosen(reader.read());
        let limit = options.limit_bytes.unwrap_or(u64::MAX);
        let lines =
            if options.follow { follow(reader, selection, first) } else { stream::iter([first]).boxed() };
        Ok(cut(lines, limit))
    }
}

/// Which lines are wanted, and how they are shown.
#[derive(Clone, Copy)]
struct Selection {
    since: Option<Timestamp>,
    tail: Option<u64>,
    timestamps: bool,
}

impl Selection {
    fn new(options: &LogOptions, now: Timestamp) -> Self {
        let ago = options
            .since_seconds
            .and_then(|seconds| SignedDuration::try_from(Duration::from_secs(seconds)).ok())
            .and_then(|ago| now.checked_sub(ago).ok());
        Self { since: options.since_time.or(ago), tail: options.tail_lines, timestamps: options.timestamps }
    }

    /// The wanted ones among `lines`, as text.
    fn chosen(&self, lines: Vec<LogLine>) -> Bytes {
        let mut wanted: VecDeque<_> =
            lines.into_iter().filter(|line| self.since.is_none_or(|since| line.time >= since)).collect();
        if let Some(tail) = self.tail {
            let surplus = wanted.len().saturating_sub(usize::try_from(tail).unwrap_or(usize::MAX));
            wanted.drain(..surplus);
        }
        let mut text = String::new();
        for line in wanted {
            if self.timestamps {
                // Writing to a string can't fail.
                let _ = write!(text, "{} ", line.time);
            }
            text += &line.text;
            text.push('\n');
        }
        text.into()
    }
}

/// What is there, then whatever comes, until the container ends.
fn follow(reader: LogReader, selection: Selection, first: Bytes) -> BoxStream<'static, Bytes> {
    let later = Selection { tail: None, ..selection };
    let coming = stream::unfold(reader, move |mut reader| async move {
        let lines = reader.next().await?;
        Some((later.chosen(lines), reader))
    });
    stream::iter([first]).chain(coming).boxed()
}

/// At most `limit` bytes of it.
fn cut(lines: BoxStream<'static, Bytes>, limit: u64) -> BoxStream<'static, Bytes> {
    lines
        .scan(limit, |left, chunk| {
            let length = usize::try_from(*left).unwrap_or(usize::MAX).min(chunk.len());
            let ended = *left == 0;
            *left -= length as u64;
            futures::future::ready((!ended).then(|| chunk.slice(..length)))
        })
        .filter(|chunk| futures::future::ready(!chunk.is_empty()))
        .boxed()
}
