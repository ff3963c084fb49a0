//! The unary calls on a process, and its streamed input.

use std::sync::Arc;

use nix::sys::signal::Signal;

use super::messages::{
    Empty, Input, SelectRequest, SendInputRequest, SendSignalRequest, StreamInputRequest, UpdateRequest,
};
use super::running::Running;
use crate::envd::connect::{Code, Incoming, RpcError};
use crate::envd::state::Envd;

/// Resizes a terminal.
pub(crate) fn update(envd: &Envd, request: &UpdateRequest) -> Result<Empty, RpcError> {
    let process = envd.processes.running(&request.process)?;
    if let Some(pty) = request.pty {
        process.resize(pty.size)?;
    }
    Ok(Empty {})
}

/// Gives a process input.
pub(crate) async fn send_input(envd: &Envd, request: SendInputRequest) -> Result<Empty, RpcError> {
    let process = envd.processes.running(&request.process)?;
    give(&process, &request.input).await?;
    Ok(Empty {})
}

async fn give(process: &Running, input: &Input) -> Result<(), RpcError> {
    match (&input.stdin, &input.pty) {
        (Some(bytes), _) => process.write(bytes).await,
        (None, Some(bytes)) => process.type_in(bytes).await,
        (None, None) => Err(RpcError::new(Code::Unimplemented, "the input is empty: want stdin or pty")),
    }
}

/// Gives a process a stream of input; the first message says which process it is.
pub(crate) async fn stream_input(envd: &Envd, mut messages: Incoming) -> Result<Empty, RpcError> {
    let mut process: Option<Arc<Running>> = None;
    while let Some(message) = messages.next::<StreamInputRequest>().await? {
        if let Some(start) = message.start {
            process = Some(envd.processes.running(&start.process)?);
        }
        let Some(data) = message.data else { continue };
        let Some(process) = &process else {
            return Err(RpcError::new(
                Code::InvalidArgument,
                "the first message must say for which process the input is",
            ));
        };
        give(process, &data.input).await?;
    }
    Ok(Empty {})
}

/// Signals a process.
pub(crate) fn send_signal(envd: &Envd, request: &SendSignalRequest) -> Result<Empty, RpcError> {
    let process = envd.processes.running(&request.process)?;
    let signal = match request.signal.as_str() {
        "SIGNAL_SIGKILL" | "9" => Signal::SIGKILL,
        "SIGNAL_SIGTERM" | "15" => Signal::SIGTERM,
        other => return Err(RpcError::new(Code::Unimplemented, format!("signal {other:?} can't be sent"))),
    };
    process.signal(signal)?;
    Ok(Empty {})
}

/// Closes the standard input of a process.
pub(crate) async fn close_stdin(envd: &Envd, request: &SelectRequest) -> Result<Empty, RpcError> {
    envd.processes.running(&request.process)?.close_stdin().await?;
    Ok(Empty {})
}
