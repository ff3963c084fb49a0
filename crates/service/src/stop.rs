//! The end of a process.

use tokio::signal::unix::{SignalKind, signal};

/// Completes when the process is interrupted or asked to end (SIGINT, SIGTERM).
pub async fn told_to_stop() {
    let Ok(mut terminated) = signal(SignalKind::terminate()) else {
        // Without a handler SIGTERM ends the process by itself.
        let _ = tokio::signal::ctrl_c().await;
        return;
    };
    tokio::select! {
        _ = terminated.recv() => {}
        _ = tokio::signal::ctrl_c() => {}
    }
}
