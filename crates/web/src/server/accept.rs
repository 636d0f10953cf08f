//! Connections: how many at once, and how long one may keep the server waiting.
//!
//! Whoever connects has shown no token yet: any program on this machine, of any user. So a connection
//! that does not bring a whole request in time is closed, and those that are too many wait in the
//! system's queue until others are. An accepted WebSocket is none of these any more.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::serve::Listener;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Connections at once: many more than the windows and scripts of one person, and few enough for the
/// open files of one process.
const MAX_CONNECTIONS: usize = 256;
/// How long the head of a request may take, and how long a connection may rest between two: it comes
/// from this machine in a few milliseconds.
const HEAD_TIME: Duration = Duration::from_secs(5);

/// Serves connections until `closing`, and then those that have a request in progress.
pub(super) async fn accept(mut listener: TcpListener, router: Router, closing: CancellationToken) {
    let permits = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    let connections = TaskTracker::new();
    loop {
        let next = async {
            let permit = Arc::clone(&permits).acquire_owned().await;
            // Never an error: axum retries accepting.
            (permit, Listener::accept(&mut listener).await)
        };
        let Some((permit, (tcp, _))) = closing.run_until_cancelled(next).await else { break };
        let (router, closing) = (router.clone(), closing.clone());
        connections.spawn(async move {
            serve(tcp, router, closing).await;
            drop(permit);
        });
    }
    drop(listener);
    connections.close();
    connections.wait().await;
}

async fn serve(tcp: TcpStream, router: Router, closing: CancellationToken) {
    // The API answers in single small writes, which are not to wait for one another.
    let _ = tcp.set_nodelay(true);
    let service = TowerToHyperService::new(router);
    // Not `axum::serve`, which sets no time, and tells versions of HTTP apart before it counts any.
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIME)
        .serve_connection(TokioIo::new(tcp), service)
        .with_upgrades();
    let mut connection = pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = closing.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::trace!("a connection of the local API ended: {error}");
    }
}
