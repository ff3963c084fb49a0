//! What a rule does to the one call that it strikes.

use std::path::PathBuf;
use std::time::Duration;

use journal::source;
use lab::{CsiCode, CsiEffect, CsiFault};
use serde_json::json;
use tonic::{Code, Response, Status};

use super::connection::Cut;
use super::rules::Call;

/// How often a call that hangs looks whether its rule has been healed.
const PAUSE: Duration = Duration::from_millis(20);

/// A rule that strikes a call.
#[derive(Debug)]
pub(super) struct Strike {
    /// Names the rule in the journal.
    pub(super) subject: String,
    fault: CsiFault,
    /// The rule's file, which is there until it is healed; an image's own rule has none and is never healed.
    file: Option<PathBuf>,
}

impl Strike {
    pub(super) fn new(subject: String, fault: CsiFault, file: Option<PathBuf>) -> Self {
        Self { subject, fault, file }
    }

    /// Tells the journal.
    pub(super) fn announce(&self, call: Call<'_>) {
        let body = json!({"driver": call.driver, "target": call.target, "fault": self.fault});
        journal::announce(source::FAULT, "struck", &self.subject, body);
    }

    /// Answers the call in the place of `work`, or around it.
    pub(super) async fn answer<T: Default>(
        self,
        connection: Option<Cut>,
        work: impl Future<Output = Result<Response<T>, Status>>,
    ) -> Result<Response<T>, Status> {
        let effect = self.fault.effect();
        let done = match effect {
            CsiEffect::Before => {
                let done = work.await;
                self.wait().await;
                Some(done)
            }
            CsiEffect::After => {
                self.wait().await;
                Some(work.await)
            }
            CsiEffect::None => {
                self.wait().await;
                None
            }
        };
        if self.fault.close {
            if let Some(connection) = connection {
                connection.cut();
            }
            return Err(Status::unavailable("injected fault: the connection is closed"));
        }
        match self.fault.code {
            Some(code) => Err(Status::new(grpc(code), "injected fault")),
            None => done.unwrap_or_else(|| Ok(Response::new(T::default()))),
        }
    }

    async fn wait(&self) {
        if let Some(milliseconds) = self.fault.delay_milliseconds {
            tokio::time::sleep(Duration::from_millis(milliseconds)).await;
        }
        if !self.fault.hang {
            return;
        }
        let Some(file) = &self.file else { return std::future::pending().await };
        while tokio::fs::try_exists(file).await.unwrap_or(true) {
            tokio::time::sleep(PAUSE).await;
        }
    }
}

fn grpc(code: CsiCode) -> Code {
    match code {
        CsiCode::Cancelled => Code::Cancelled,
        CsiCode::Unknown => Code::Unknown,
        CsiCode::InvalidArgument => Code::InvalidArgument,
        CsiCode::DeadlineExceeded => Code::DeadlineExceeded,
        CsiCode::NotFound => Code::NotFound,
        CsiCode::AlreadyExists => Code::AlreadyExists,
        CsiCode::PermissionDenied => Code::PermissionDenied,
        CsiCode::ResourceExhausted => Code::ResourceExhausted,
        CsiCode::FailedPrecondition => Code::FailedPrecondition,
        CsiCode::Aborted => Code::Aborted,
        CsiCode::Unimplemented => Code::Unimplemented,
        CsiCode::Internal => Code::Internal,
        CsiCode::Unavailable => Code::Unavailable,
    }
}
