//! A local port that leads to a peer's service.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use super::outgoing::Outgoing;
use super::pipe;
use super::registry::MAX_TIMEOUT;
use crate::error::{Error, Result};
use crate::service::{BoxFuture, Forward};
use crate::transport::stream::Stream;

/// Connections carried at once by one forwarded port: several browsers' worth, and fewer than the
/// streams that a peer lets us open. Further ones wait to be accepted.
const MAX_CONNECTIONS: usize = 64;
/// How long the peer may take to be reached and to accept one connection.
const OPEN_TIMEOUT: Duration = Duration::from_secs(30);
/// The longest silence of a connection: any that a provider may allow. The provider's own limit is
/// the one that counts; this one ends what a provider that is gone left behind.
const IDLE: Duration = MAX_TIMEOUT;
/// Pause after the system refused to accept a connection (out of file descriptors, mostly).
const ACCEPT_PAUSE: Duration = Duration::from_millis(200);

/// Listens on a loopback address; each connection is carried by a stream of its own from `opener`,
/// until the returned value is dropped, which cuts the connections too. Port 0: any free one.
///
/// # Errors
/// [`Error::Invalid`] when the address is not a loopback one; [`Error::Endpoint`] when its port is
/// in use; [`Error::Io`] when the system refuses otherwise.
pub(crate) async fn forward(
    opener: impl Fn() -> BoxFuture<'static, Result<Stream>> + Send + Sync + 'static,
    listen: SocketAddr,
) -> Result<Forward> {
    if !listen.ip().is_loopback() {
        let ip = listen.ip();
        return Err(Error::Invalid(format!(
            "{ip} is not an address of this machine alone: forward to 127.0.0.1 or ::1"
        )));
    }
    let listener = TcpListener::bind(listen).await.map_err(|error| unusable(listen, error))?;
    let listen = listener.local_addr().map_err(|error| unusable(listen, error))?;
    let close = CancellationToken::new();
    tokio::spawn(accept(listener, Arc::new(opener), close.clone()));
    Ok(Forward { listen, _close: close.drop_guard() })
}

fn unusable(listen: SocketAddr, error: std::io::Error) -> Error {
    let (ip, port) = (listen.ip(), listen.port());
    match error.kind() {
        std::io::ErrorKind::AddrInUse => {
            Error::Endpoint(format!("port {port} on {ip} is in use: choose another"))
        }
        _ => Error::io(format!("port {port} on {ip} cannot be listened on"))(error),
    }
}

async fn accept<O>(listener: TcpListener, opener: Arc<O>, close: CancellationToken)
where
    O: Fn() -> BoxFuture<'static, Result<Stream>> + Send + Sync + 'static,
{
    let free = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    let accepting = async {
        // The semaphore is never closed.
        while let Ok(permit) = free.clone().acquire_owned().await {
            match listener.accept().await {
                Ok((tcp, _)) => {
                    let (opening, close) = (opener(), close.clone());
                    tokio::spawn(async move {
                        carry(tcp, opening, &close).await;
                        drop(permit);
                    });
                }
                Err(error) => {
                    tracing::debug!("a local connection was not accepted: {error}");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    };
    tokio::select! {
        () = accepting => {}
        () = close.cancelled() => {}
    }
}

async fn carry(tcp: TcpStream, opening: BoxFuture<'_, Result<Stream>>, close: &CancellationToken) {
    let opened = tokio::select! {
        opened = tokio::time::timeout(OPEN_TIMEOUT, opening) => opened,
        () = close.cancelled() => return pipe::abort(&tcp),
    };
    match opened {
        Ok(Ok(stream)) => pipe::pipe(tcp, Outgoing::split(stream), IDLE, close).await,
        Ok(Err(error)) => {
            tracing::warn!("a local connection was not forwarded: {error}");
            pipe::abort(&tcp);
        }
        Err(_) => {
            tracing::warn!("a local connection was not forwarded: the peer does not answer");
            pipe::abort(&tcp);
        }
    }
}
