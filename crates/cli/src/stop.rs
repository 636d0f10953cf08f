//! Being asked to stop: Ctrl-C and SIGTERM.

use tokio_util::sync::CancellationToken;

/// Returns a token that is cancelled at the first SIGINT or SIGTERM. Must be called in a runtime.
///
/// A second signal ends the process at once, for whoever has no patience with a clean shutdown.
pub(crate) fn on_signal() -> CancellationToken {
    let asked = CancellationToken::new();
    let token = asked.clone();
    tokio::spawn(async move {
        signal().await;
        token.cancel();
        signal().await;
        std::process::exit(i32::from(crate::exit::Code::Other as u8));
    });
    asked
}

/// Waits for the next signal. One that cannot be listened for never comes.
#[cfg(unix)]
async fn signal() {
    use tokio::signal::unix::{SignalKind, signal};
    let Ok(mut terminate) = signal(SignalKind::terminate()) else {
        return std::future::pending().await;
    };
    tokio::select! {
        _ = tokio::signal::ctrl_c() => {}
        _ = terminate.recv() => {}
    }
}

#[cfg(not(unix))]
async fn signal() {
    let _ = tokio::signal::ctrl_c().await;
}
