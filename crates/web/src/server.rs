//! The local API's server: axum on 127.0.0.1.
//!
//! Invariants:
//! - `guard` stands outside the router: `Host`, `Origin` and the token are checked before any route
//!   is looked up, so they hold for `/`, for WebSockets and for paths that do not exist.
//! - A slow or silent client holds up itself only: connections are bounded in number and in the time
//!   that a request's head may take; every socket has a queue with a capacity, a time limit on
//!   sending, and a time after which silence is an end.
//! - The log has no message text, token or ticket.
//!
//! Source: hazards 29–31 of a local API (cookies reach every port of a host, DNS rebinding shows in
//! `Host` alone, a page of another origin can open WebSockets).

mod accept;
mod events;
mod extract;
mod failure;
mod files;
mod folder;
mod guard;
mod history;
mod page;
mod params;
mod progress;
mod provide;
mod routes;
mod search;
mod shares;
mod socket;
mod storage;

use std::io::ErrorKind;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use ayni::{Error, Node};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::client::Client;
use folder::{Published, Token};

/// Time that requests in progress have to end when the server stops; what is durable by then is
/// acknowledged, and what waits for other peers is not waited for.
const GRACE: Duration = Duration::from_secs(1);
/// WebSockets open at once: many more windows and scripts than one person runs.
const MAX_SOCKETS: usize = 256;

/// How to serve.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServeOptions {
    /// Where to listen: 127.0.0.1, any port; 0 takes a free one.
    pub http: SocketAddr,
    /// Whether commands find this node through its data folder.
    pub publish: bool,
    /// Whether the node lasts only as long as some command, which those who find it are told.
    pub passing: bool,
}

impl Default for ServeOptions {
    /// Any free port, found by other commands.
    fn default() -> Self {
        let http = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        Self { http, publish: true, passing: false }
    }
}

/// A running server. Dropping it stops it without waiting for anything.
#[derive(Debug)]
pub struct Server {
    /// Where it listens.
    pub addr: SocketAddr,
    app: Arc<App>,
    published: Option<Published>,
    accepting: JoinHandle<()>,
}

/// What every route sees.
#[derive(Debug)]
struct App {
    node: Node,
    token: Token,
    addr: SocketAddr,
    /// Cancelled when the server begins to stop.
    closing: CancellationToken,
    sockets: TaskTracker,
    socket_permits: Arc<Semaphore>,
}

/// Serves the API of a node.
///
/// Makes the file `token` in the node's data folder, if there is no usable one, and when publishing
/// `api.json`, which says where the API is.
///
/// # Errors
/// [`Error::Invalid`] for another address than 127.0.0.1; [`Error::Endpoint`] when the port is in
/// use; [`Error::Io`] when it, or the files, cannot be used.
pub async fn serve(node: Node, options: ServeOptions) -> ayni::Result<Server> {
    let listener = bind(options.http).await?;
    let addr = listener.local_addr().map_err(|source| Error::Io {
        what: "the address of the local API is not known".into(),
        source,
    })?;
    let token = Token::open(node.data())?;
    let publish = || Published::write(node.data(), addr, options.passing);
    let published = options.publish.then(publish).transpose()?;
    let app = Arc::new(App {
        node,
        token,
        addr,
        closing: CancellationToken::new(),
        sockets: TaskTracker::new(),
        socket_permits: Arc::new(Semaphore::new(MAX_SOCKETS)),
    });
    let router = routes::router(Arc::clone(&app));
    let accepting = tokio::spawn(accept::accept(listener, router, app.closing.clone()));
    Ok(Server { addr, app, published, accepting })
}

async fn bind(http: SocketAddr) -> ayni::Result<TcpListener> {
    if http.ip() != IpAddr::V4(Ipv4Addr::LOCALHOST) {
        return Err(Error::Invalid(format!(
            "the API listens on 127.0.0.1 only, not on {}",
            http.ip()
        )));
    }
    let port = http.port();
    TcpListener::bind(http).await.map_err(|source| match source.kind() {
        // Said in full: the system's words would only repeat it.
        ErrorKind::AddrInUse => Error::Endpoint(format!(
            "port {port} on 127.0.0.1 is in use: choose another with --http"
        )),
        _ => Error::Io { what: format!("port {port} on 127.0.0.1 cannot be used"), source },
    })
}

impl Server {
    /// Returns a client of this server.
    pub fn client(&self) -> Client {
        Client::new(self.addr, self.app.token.as_str())
    }

    /// Returns the address of the API and of the page: `http://127.0.0.1:PORT`.
    pub fn http(&self) -> String {
        format!("http://{}", self.addr)
    }

    /// Stops: new commands no longer find it, requests in progress get a moment to end, WebSockets
    /// are closed. Returns when that is done. The node goes on.
    pub async fn shutdown(mut self) {
        self.published.take();
        self.app.closing.cancel();
        self.app.sockets.close();
        let accepting = &mut self.accepting;
        let ended = async {
            let _ = accepting.await;
            self.app.sockets.wait().await;
        };
        // Requests end after GRACE by themselves (see guard); twice that is for those who do not read.
        if tokio::time::timeout(2 * GRACE, ended).await.is_err() {
            tracing::debug!("some clients did not let go of the local API");
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.app.closing.cancel();
        self.accepting.abort();
    }
}
