//! The inside: the first program of the lab's namespaces, one process that holds every component.

mod calls;
mod commands;
mod components;
mod credentials;
mod exports;
mod faults;
mod logs;
mod memory;
mod pages;
mod parts;

use std::ffi::OsString;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::process::ExitCode;

use journal::Journal;
use node_sim::enclosure;
use tokio::sync::mpsc;

use crate::channel::{self, Reader, Writer};
use crate::protocol::{Call, Hello, Report};
use parts::Parts;

/// The inside of a lab: `mountlab lab-init`, started by the outside with the control channel, the listeners and the
/// log as its descriptors. Ends when the outside does.
pub fn main(_arguments: Vec<OsString>) -> ExitCode {
    let enclosed = match enclosure::enter() {
        Ok(enclosed) => enclosed,
        Err(error) => {
            eprintln!("mountlab: the lab can't enter its namespaces: {}", crate::chain(&error));
            return ExitCode::FAILURE;
        }
    };
    match live(enclosed.file_descriptors) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!(%error, "the lab ended");
            ExitCode::FAILURE
        }
    }
}

fn live(descriptors: Vec<OwnedFd>) -> io::Result<()> {
    let [control, e2b, kubernetes, object_store, network_file_system, log] =
        <[OwnedFd; 6]>::try_from(descriptors)
            .map_err(|got| io::Error::other(format!("expected 6 descriptors, got {}", got.len())))?;
    log_to(&log)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let outcome = runtime.block_on(async {
        let listeners = Listeners {
            e2b: listener(e2b)?,
            kubernetes: listener(kubernetes)?,
            object_store: listener(object_store)?,
            network_file_system: listener(network_file_system)?,
        };
        serve(UnixStream::from(control), listeners).await
    });
    runtime.shutdown_background();
    outcome
}

/// From now on what the lab says goes to its log and not to the terminal of whoever runs it.
fn log_to(log: &OwnedFd) -> io::Result<()> {
    rustix::stdio::dup2_stdout(log)?;
    rustix::stdio::dup2_stderr(log)?;
    let filter = tracing_subscriber::EnvFilter::try_from_default_env()
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("info"));
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(io::stderr).with_ansi(false).init();
    Ok(())
}

/// The listeners as the outside handed them in.
struct Listeners {
    e2b: tokio::net::TcpListener,
    kubernetes: tokio::net::TcpListener,
    object_store: tokio::net::TcpListener,
    network_file_system: tokio::net::TcpListener,
}

async fn serve(control: UnixStream, listeners: Listeners) -> io::Result<()> {
    let (mut reader, writer) = channel::split(control)?;
    let hello: Hello = reader.next().await?.ok_or_else(|| io::Error::other("the outside said nothing"))?;

    let (reports, outgoing) = mpsc::unbounded_channel();
    let sender = tokio::spawn(send_reports(writer, outgoing));
    let parts = match Parts::start(&hello, listeners, reports.clone()).await {
        Ok((parts, up)) => {
            send(&reports, Report::Up(up));
            parts
        }
        Err(failed) => {
            send(&reports, Report::Failed { part: failed.part.to_owned(), reason: failed.reason });
            drop(reports);
            return sender.await.map_err(io::Error::other);
        }
    };
    answer_calls(reader, parts, reports).await
}

fn listener(descriptor: OwnedFd) -> io::Result<tokio::net::TcpListener> {
    let listener = std::net::TcpListener::from(descriptor);
    listener.set_nonblocking(true)?;
    tokio::net::TcpListener::from_std(listener)
}

/// Answers until the outside is gone. Calls run side by side: a slow one holds up no other.
async fn answer_calls(
    mut reader: Reader,
    parts: Parts,
    reports: mpsc::UnboundedSender<Report>,
) -> io::Result<()> {
    let parts = std::sync::Arc::new(parts);
    while let Some(call) = reader.next::<Call>().await? {
        let (parts, reports) = (parts.clone(), reports.clone());
        tokio::spawn(async move {
            let result = calls::answer(&parts, call.request).await;
            send(&reports, Report::Answer { id: call.id, result });
        });
    }
    Ok(())
}

/// Queues a report. When the outside is gone nobody is left to be told, and the lab ends with it.
fn send(reports: &mpsc::UnboundedSender<Report>, report: Report) {
    if reports.send(report).is_err() {
        tracing::debug!("the outside is gone");
    }
}

async fn send_reports(mut writer: Writer, mut reports: mpsc::UnboundedReceiver<Report>) {
    while let Some(report) = reports.recv().await {
        if let Err(error) = writer.send(&report).await {
            tracing::debug!(%error, "the outside is gone");
            return;
        }
    }
}

/// Copies every entry of the inner journal to the outside.
fn forward(journal: &Journal, reports: mpsc::UnboundedSender<Report>) {
    let mut follower = journal.follow(0);
    tokio::spawn(async move {
        loop {
            let entry = follower.next().await;
            if reports.send(Report::Journal((*entry).clone())).is_err() {
                return;
            }
        }
    });
}
