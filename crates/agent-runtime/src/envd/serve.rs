//! Running envd as a process.

use std::io;
use std::net::{Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use axum::serve::ListenerExt as _;
use tokio::net::TcpListener;

use super::state::Envd;
use super::tls::{self, TlsError};
use super::{Options, PORT, closed_router, open_router};

/// How envd is started.
#[derive(clap::Args, Debug)]
pub(crate) struct Arguments {
    /// The port for plain HTTP.
    #[arg(long, default_value_t = PORT)]
    port: u16,
    /// A folder with ca.crt, tls.crt and tls.key: also serves the storage mounts with mutual TLS.
    #[arg(long, env = "MOUNTLAB_AGENT_TLS_DIR")]
    tls_dir: Option<PathBuf>,
    /// The port for TLS.
    #[arg(long, default_value_t = contract::names::RUNTIME_TLS_PORT)]
    tls_port: u16,
}

/// Why envd can't serve.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ServeError {
    #[error("cannot start the asynchronous runtime")]
    Runtime(#[source] io::Error),
    #[error("cannot listen on port {port}")]
    Listen { port: u16, source: io::Error },
    #[error("cannot serve")]
    Serve(#[source] io::Error),
    #[error(transparent)]
    Tls(#[from] TlsError),
}

/// Serves until the process ends.
pub(crate) fn run(arguments: Arguments) -> Result<(), ServeError> {
    // The hook that started envd must be able to end without it. When that is refused, envd leads a session already.
    let _ = rustix::process::setsid();
    tracing_subscriber::fmt().with_writer(io::stderr).with_max_level(tracing::Level::INFO).init();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .map_err(ServeError::Runtime)?;
    runtime.block_on(serve(arguments))
}

async fn serve(arguments: Arguments) -> Result<(), ServeError> {
    let envd = Envd::new(Options::default());
    make_default_account(&envd);
    let open = listen(arguments.port).await?;
    let tls = match &arguments.tls_dir {
        Some(directory) => Some((listen(arguments.tls_port).await?, tls::acceptor(directory)?)),
        None => None,
    };
    // Events are small and somebody waits for each of them.
    let open = open.tap_io(|stream| drop(stream.set_nodelay(true)));
    let plain = async { axum::serve(open, open_router(&envd)).await.map_err(ServeError::Serve) };
    let closed = async {
        match tls {
            Some((listener, acceptor)) => tls::serve(listener, acceptor, closed_router(&envd)).await,
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        outcome = plain => outcome,
        () = closed => Ok(()),
    }
}

/// Listens on every address, of both families where there are both.
async fn listen(port: u16) -> Result<TcpListener, ServeError> {
    let both = TcpListener::bind(SocketAddr::from((Ipv6Addr::UNSPECIFIED, port))).await;
    match both {
        Ok(listener) => Ok(listener),
        Err(_) => {
            TcpListener::bind(("0.0.0.0", port)).await.map_err(|source| ServeError::Listen { port, source })
        }
    }
}

/// Makes the default account if it is missing. An image that can't have it falls back to envd's own account.
fn make_default_account(envd: &Arc<Envd>) {
    let name = &envd.options.default_user;
    if let Err(problem) = envd.accounts.ensure(name, &Path::new("/home").join(name)) {
        tracing::warn!("cannot make the account {name}: {problem}");
    }
}
