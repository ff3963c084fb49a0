//! A Kubernetes API server to play with: `cargo run -p kube-sim --example serve -- KUBECONFIG`, then
//! `kubectl --kubeconfig KUBECONFIG get namespaces`. Ctrl-C ends it.

use anyhow::Context as _;
use clock::SystemClock;
use kube_sim::{KubeSim, Options};
use tokio::net::TcpListener;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let path = std::env::args().nth(1).context("usage: serve KUBECONFIG")?;
    let server = KubeSim::new(Options { clock: SystemClock::shared(), journal: None });
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.context("no port on 127.0.0.1")?;
    let url = format!("https://{}", listener.local_addr()?);
    std::fs::write(&path, server.kubeconfig(&url)?).with_context(|| format!("could not write {path}"))?;
    println!("{url}");
    tokio::select! {
        served = server.serve_https(listener) => served.context("serving ended"),
        _ = tokio::signal::ctrl_c() => Ok(()),
    }
}
