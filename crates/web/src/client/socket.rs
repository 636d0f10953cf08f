//! The WebSockets: events, services provided by this process, forwarded ports.

use std::collections::BTreeMap;
use std::future::Future;
use std::time::Duration;

use axum::http::header::AUTHORIZATION;
use ayni::PeerId;
use ayni::service::ServiceLimits;
use bytes::Bytes;
use futures_util::future::{AbortHandle, Abortable};
use futures_util::stream::{FuturesUnordered, SplitSink, SplitStream};
use futures_util::{SinkExt, StreamExt};
use serde::de::DeserializeOwned;
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::tungstenite::{Error as WsError, Message};

use super::{Client, ClientError, Result, Streaming, http};
use crate::api;
use crate::frame::{Notice, REQUEST_HEAD, Reply, Request};

/// Largest text frame of the server: an event with the largest text, every byte of it escaped.
const MAX_TEXT_FRAME: usize = 6 * ayni::limits::MAX_TEXT + 16 * 1024;
/// Replies that wait for the socket. More handlers than that wait in turn.
const REPLY_QUEUE: usize = 4;

type Socket = WebSocketStream<TcpStream>;

/// What to provide under which name, and who may call it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ProvideOptions {
    /// The service's name, with or without `/VERSION`.
    pub name: String,
    /// Who may call: a peer (id, start of one, or name), `room:ROOM`, or `anyone`. Empty: nobody.
    pub allow: Vec<String>,
    /// Pipe each call to a TCP connection to this `HOST:PORT`; then no request comes here.
    pub tcp: Option<String>,
    /// Longest time for one call; none: [`ServiceLimits::TIMEOUT`].
    pub timeout: Option<Duration>,
    /// Largest request in bytes; none: [`ServiceLimits::MAX_REQUEST`].
    pub max_request: Option<usize>,
    /// Largest reply in bytes; none: [`ServiceLimits::MAX_REPLY`].
    pub max_reply: Option<usize>,
    /// Most calls at once; none: [`ServiceLimits::CONCURRENCY`].
    pub concurrency: Option<usize>,
}

/// One call of a service that this process provides.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServiceCall {
    /// The calling device, authenticated by its connection to the node.
    pub caller: PeerId,
    /// The request.
    pub data: Bytes,
}

/// A service that the node provides as long as this lives.
#[derive(Debug)]
#[must_use = "dropping it withdraws the service"]
pub struct Providing {
    socket: Socket,
    max_reply: usize,
}

/// A local port that the node forwards as long as this lives.
#[derive(Debug)]
#[must_use = "dropping it closes the port"]
pub struct Forwarding {
    socket: Socket,
    port: u16,
}

impl Client {
    /// Subscribes to what happens from now on. The stream admits loss ([`api::Event::Lagged`]): the
    /// node waits for nobody, and drops a subscriber that does not read for long. It ends when the
    /// node stops.
    pub async fn events(&self) -> Result<Streaming<api::Event>> {
        let thumbnails = self.thumbnails.then_some(("thumbnails", "true"));
        let query: Vec<_> = thumbnails.into_iter().collect();
        Ok(values(self.open(&["events"], &query, MAX_TEXT_FRAME).await?))
    }

    /// Follows how far transfers are, beginning with how they are now: all of them, or the one with
    /// this number; then the stream ends with it. It ends when the node stops.
    pub async fn progress(&self, id: Option<u64>) -> Result<Streaming<api::Transfer>> {
        let id = id.map(|id| id.to_string());
        let query: Vec<_> = id.iter().map(|id| ("id", id.as_str())).collect();
        Ok(values(self.open(&["progress"], &query, MAX_TEXT_FRAME).await?))
    }

    /// Registers a service with the node, which provides it until the returned value is dropped.
    /// Requests wait, within the limits, until [`Providing::serve`] is called.
    pub async fn provide(&self, options: &ProvideOptions) -> Result<Providing> {
        let query = options.query();
        let query: Vec<_> = query.iter().map(|(key, value)| (*key, value.as_str())).collect();
        let max_request = options.max_request.unwrap_or(ServiceLimits::MAX_REQUEST);
        let largest = MAX_TEXT_FRAME.max(REQUEST_HEAD.saturating_add(max_request));
        let mut socket = self.open(&["provide"], &query, largest).await?;
        ready(&mut socket).await?;
        let max_reply = options.max_reply.unwrap_or(ServiceLimits::MAX_REPLY);
        Ok(Providing { socket, max_reply })
    }

    /// Lets the node listen on 127.0.0.1:`port` (0: any free one) and pipe each connection to the
    /// peer's service, until the returned value is dropped.
    pub async fn forward(&self, peer: &str, service: &str, port: u16) -> Result<Forwarding> {
        let port = port.to_string();
        let query = [("peer", peer), ("service", service), ("port", port.as_str())];
        let mut socket = self.open(&["forward"], &query, MAX_TEXT_FRAME).await?;
        let port = ready(&mut socket).await?.ok_or_else(|| {
            ClientError::internal("the node did not say which port it listens on")
        })?;
        Ok(Forwarding { socket, port })
    }

    async fn open(&self, path: &[&str], query: &[(&str, &str)], largest: usize) -> Result<Socket> {
        let target = format!("ws://{}{}", self.addr, http::path(path, query)?);
        let mut request = target.into_client_request().map_err(|_| http::too_long())?;
        request.headers_mut().insert(AUTHORIZATION, http::bearer(&self.token)?);
        let tcp = TcpStream::connect(self.addr).await.map_err(|_| ClientError::gone())?;
        let _ = tcp.set_nodelay(true);
        let config = WebSocketConfig::default()
            .max_message_size(Some(largest))
            .max_frame_size(Some(largest));
        tokio_tungstenite::client_async_with_config(request, tcp, Some(config))
            .await
            .map(|(socket, _)| socket)
            .map_err(refused)
    }
}

/// Returns what the text frames of a socket say.
fn values<T: DeserializeOwned + Send + 'static>(socket: Socket) -> Streaming<T> {
    Box::pin(socket.filter_map(async |frame| match frame {
        Ok(Message::Text(text)) => {
            Some(
                serde_json::from_str(&text).map_err(|_| {
                    ClientError::internal("the node told something in an unknown form")
                }),
            )
        }
        Ok(_) | Err(WsError::ConnectionClosed | WsError::AlreadyClosed) => None,
        Err(error) => Some(Err(refused(error))),
    }))
}

impl ProvideOptions {
    fn query(&self) -> Vec<(&'static str, String)> {
        let mut query = vec![("name", self.name.clone())];
        query.extend(self.allow.iter().map(|allow| ("allow", allow.clone())));
        let seconds = self.timeout.map(|timeout| super::routes::whole_seconds(timeout).to_string());
        let options = [
            ("tcp", self.tcp.clone()),
            ("timeout_s", seconds),
            ("max_request", self.max_request.map(|bytes| bytes.to_string())),
            ("max_reply", self.max_reply.map(|bytes| bytes.to_string())),
            ("concurrency", self.concurrency.map(|calls| calls.to_string())),
        ];
        query.extend(options.into_iter().filter_map(|(key, value)| Some((key, value?))));
        query
    }
}

impl Providing {
    /// Answers calls, several at once, until the node stops. An error text goes to the caller.
    ///
    /// A call whose caller stopped waiting drops the handler's future, so a command that it runs is to
    /// end with it. Cancelling withdraws the service, and the calls in progress fail.
    ///
    /// # Errors
    /// `Unreachable` when the connection to the node breaks; `Ok` when the node stopped in order.
    pub async fn serve<H, F>(self, handler: H) -> Result<()>
    where
        H: Fn(ServiceCall) -> F,
        F: Future<Output = Result<Bytes, String>>,
    {
        let (sink, stream) = self.socket.split();
        let (replies, queue) = mpsc::channel(REPLY_QUEUE);
        tokio::select! {
            result = answer(stream, handler, replies, self.max_reply) => result,
            result = send(sink, queue) => result,
        }
    }

    /// Waits until the node stops; for a service over TCP, of which nothing comes here.
    ///
    /// # Errors
    /// As [`Self::serve`].
    pub async fn wait(self) -> Result<()> {
        drain(self.socket).await
    }
}

impl Forwarding {
    /// Returns the local port that the node listens on.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Waits until the node stops.
    ///
    /// # Errors
    /// `Unreachable` when the connection to the node breaks; `Ok` when the node stopped in order.
    pub async fn wait(self) -> Result<()> {
        drain(self.socket).await
    }
}

/// Runs a handler for every request; ends with the connection, and drops the handlers then.
async fn answer<H, F>(
    mut stream: SplitStream<Socket>,
    handler: H,
    replies: mpsc::Sender<Reply>,
    max_reply: usize,
) -> Result<()>
where
    H: Fn(ServiceCall) -> F,
    F: Future<Output = Result<Bytes, String>>,
{
    let mut running = FuturesUnordered::new();
    let mut abort = BTreeMap::<u64, AbortHandle>::new();
    loop {
        tokio::select! {
            Some(id) = running.next(), if !running.is_empty() => {
                abort.remove(&id);
            }
            frame = stream.next() => match frame {
                Some(Ok(Message::Binary(frame))) => {
                    let Some(Request { id, caller, data }) = Request::decode(&frame) else {
                        return Err(ClientError::internal("the node sent a malformed request"));
                    };
                    let (handle, registration) = AbortHandle::new_pair();
                    abort.insert(id, handle);
                    let call = Abortable::new(handler(ServiceCall { caller, data }), registration);
                    let replies = replies.clone();
                    running.push(async move {
                        if let Ok(outcome) = call.await {
                            let outcome = outcome.and_then(|data| fits(data, max_reply));
                            // The queue ends with the connection, which the reader reports.
                            let _ = replies.send(Reply { id, outcome }).await;
                        }
                        id
                    });
                }
                Some(Ok(Message::Text(text))) => {
                    if let Ok(Notice::Cancel { id }) = serde_json::from_str(&text)
                        && let Some(handle) = abort.get(&id)
                    {
                        handle.abort();
                    }
                }
                Some(Ok(_)) => {}
                None | Some(Err(WsError::ConnectionClosed | WsError::AlreadyClosed)) => {
                    return Ok(());
                }
                Some(Err(error)) => return Err(refused(error)),
            },
        }
    }
}

async fn send(
    mut sink: SplitSink<Socket, Message>,
    mut queue: mpsc::Receiver<Reply>,
) -> Result<()> {
    while let Some(reply) = queue.recv().await {
        match sink.send(Message::Binary(reply.encode())).await {
            Ok(()) => {}
            Err(error @ (WsError::Capacity(_) | WsError::WriteBufferFull(_))) => {
                return Err(refused(error));
            }
            // The reader knows whether the connection ended in order.
            Err(_) => break,
        }
    }
    std::future::pending().await
}

fn fits(data: Bytes, max_reply: usize) -> Result<Bytes, String> {
    if data.len() > max_reply {
        return Err(format!("the reply has {} bytes, and may have {max_reply}", data.len()));
    }
    Ok(data)
}

/// Waits for the first frame, and returns the port if it names one.
async fn ready(socket: &mut Socket) -> Result<Option<u16>> {
    loop {
        match socket.next().await {
            Some(Ok(Message::Text(text))) => match serde_json::from_str(&text) {
                Ok(Notice::Ready { port }) => return Ok(port),
                Ok(Notice::Error { error }) => return Err(error.into()),
                _ => return Err(ClientError::internal("the node began in an unknown form")),
            },
            Some(Ok(Message::Ping(_) | Message::Pong(_))) => {}
            Some(Err(error)) => return Err(refused(error)),
            _ => return Err(ClientError::gone()),
        }
    }
}

async fn drain(mut socket: Socket) -> Result<()> {
    while let Some(frame) = socket.next().await {
        match frame {
            Err(WsError::ConnectionClosed | WsError::AlreadyClosed) => return Ok(()),
            Err(error) => return Err(refused(error)),
            Ok(_) => {}
        }
    }
    Ok(())
}

fn refused(error: WsError) -> ClientError {
    match error {
        WsError::Http(response) => {
            let body = response.body().as_deref().unwrap_or_default();
            http::failure(response.status().as_u16(), body)
        }
        WsError::Capacity(_) => ClientError::internal("the node sent more than was agreed"),
        _ => ClientError::gone(),
    }
}
