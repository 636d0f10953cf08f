//! `/api/v1/provide` and `/api/v1/forward`: what lasts as long as a client's WebSocket.
//!
//! The node registers the offer before the socket is upgraded; the first frame says whether that
//! worked. Requests then go to the client with an id, replies come back with it (`crate::frame`).

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::ops::ControlFlow;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use axum::extract::State;
use axum::extract::ws::rejection::WebSocketUpgradeRejection;
use axum::extract::ws::{Message, WebSocket, WebSocketUpgrade};
use axum::response::Response;
use ayni::service::{
    Allow, BoxFuture, Caller, Offer, Provided, Provider, Service, ServiceError, ServiceLimits,
};
use ayni::{Node, Who};
use bytes::Bytes;
use futures_util::{Stream, StreamExt, stream};
use tokio::sync::{mpsc, oneshot};

use super::failure::Result;
use super::params::Params;
use super::{App, events, socket};
use crate::api::ErrorDetail;
use crate::frame::{
    MAX_ERROR_TEXT, MAX_SERVICE_BYTES, Notice, REPLY_HEAD, REQUEST_HEAD, Reply, Request,
};

/// Most calls at once that an offer may allow: beyond it a small machine does nothing else.
const MAX_CONCURRENCY: usize = 1024;
/// Most entries in the list of who may call.
const MAX_ALLOW: usize = 256;

type Upgrade = Result<WebSocketUpgrade, WebSocketUpgradeRejection>;

/// Provides a service as long as the socket is open.
pub(super) async fn provide(
    State(app): State<Arc<App>>,
    params: Params,
    upgrade: Upgrade,
) -> Result<Response> {
    let asked = Asked::read(params)?;
    let upgrade = upgrade.map_err(|_| events::not_a_socket())?;
    let (largest_reply, largest_request) = (
        REPLY_HEAD + asked.limits.max_reply.max(MAX_ERROR_TEXT),
        REQUEST_HEAD + asked.limits.max_request,
    );
    let (calls, queue) = mpsc::channel(2 * asked.limits.concurrency);
    let provided = asked.register(&app.node, calls);
    let session_app = Arc::clone(&app);
    socket::upgrade(&app, upgrade, (largest_reply, largest_request), async move |socket| {
        match provided {
            Ok(provided) => serve(&session_app, socket, queue, provided).await,
            Err(error) => refuse(&session_app, socket, (&error).into()).await,
        }
    })
}

/// Forwards a local port as long as the socket is open.
pub(super) async fn forward(
    State(app): State<Arc<App>>,
    mut params: Params,
    upgrade: Upgrade,
) -> Result<Response> {
    let peer = params.required("peer")?;
    let service = params.required("service")?;
    let port = params.parsed::<u16>("port")?.unwrap_or_default();
    params.end()?;
    let upgrade = upgrade.map_err(|_| events::not_a_socket())?;
    let listen = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let forward = async {
        let peer = app.node.find_peer(&peer)?;
        app.node.forward(peer, &service, listen).await
    };
    let forward = forward.await;
    let session_app = Arc::clone(&app);
    socket::upgrade(
        &app,
        upgrade,
        (socket::QUIET, socket::QUIET),
        async move |socket| match forward {
            Ok(forward) => {
                let ready = Notice::Ready { port: Some(forward.listen.port()) };
                let outgoing = once(&ready).chain(stream::pending());
                socket::run(&session_app, socket, outgoing, socket::ignore).await;
                drop(forward);
            }
            Err(error) => refuse(&session_app, socket, (&error).into()).await,
        },
    )
}

/// What a client wants to provide.
#[derive(Debug)]
struct Asked {
    name: String,
    allow: Vec<String>,
    tcp: Option<String>,
    limits: ServiceLimits,
}

impl Asked {
    fn read(mut params: Params) -> Result<Self> {
        let limits = ServiceLimits::default();
        let asked = Self {
            name: params.required("name")?,
            allow: params.list("allow"),
            tcp: params.optional("tcp")?,
            limits: ServiceLimits {
                timeout: params.seconds("timeout_s")?.unwrap_or(limits.timeout),
                max_request: params
                    .up_to("max_request", MAX_SERVICE_BYTES)?
                    .unwrap_or(limits.max_request),
                max_reply: params
                    .up_to("max_reply", MAX_SERVICE_BYTES)?
                    .unwrap_or(limits.max_reply),
                concurrency: params
                    .up_to("concurrency", MAX_CONCURRENCY)?
                    .unwrap_or(limits.concurrency),
            },
        };
        params.end()?;
        if asked.allow.len() > MAX_ALLOW {
            let message = format!("the parameter allow may be given {MAX_ALLOW} times at most");
            return Err(super::failure::Failure::invalid(message));
        }
        Ok(asked)
    }

    fn register(self, node: &Node, calls: mpsc::Sender<Job>) -> ayni::Result<Provided> {
        let mut allow = Vec::with_capacity(self.allow.len());
        for text in &self.allow {
            allow.push(resolve(node, text)?);
        }
        let provider = match self.tcp {
            Some(target) => Provider::Tcp(target),
            None => Provider::Request(Arc::new(Remote { calls, next: AtomicU64::new(0) })),
        };
        node.provide(Offer { name: self.name, allow, provider, limits: self.limits })
    }
}

/// Reads `anyone`, `room:ROOM`, or a peer or account by id or name.
fn resolve(node: &Node, text: &str) -> ayni::Result<Allow> {
    if text == "anyone" {
        return Ok(Allow::Anyone);
    }
    if let Some(room) = text.strip_prefix("room:") {
        return node.find_room(room).map(Allow::Room);
    }
    Ok(match node.find_who(text)? {
        Who::Peer(peer) => Allow::Peer(peer),
        Who::Account(account) => Allow::Account(account),
    })
}

/// What a call leaves for the session to do.
#[derive(Debug)]
enum Job {
    Call { request: Request, answer: Answer },
    Cancel { id: u64 },
}

type Answer = oneshot::Sender<Result<Bytes, ServiceError>>;

/// The provider as the node sees it: each call becomes a job of the session.
#[derive(Debug)]
struct Remote {
    /// Capacity: twice the calls at once, for each a call and its cancellation. Overflow: a call is
    /// refused as busy, a cancellation forgotten (the reply is then ignored).
    calls: mpsc::Sender<Job>,
    next: AtomicU64,
}

impl Service for Remote {
    fn call(&self, caller: Caller, data: Bytes) -> BoxFuture<'_, Result<Bytes, ServiceError>> {
        Box::pin(async move {
            let id = self.next.fetch_add(1, Ordering::Relaxed);
            let (answer, reply) = oneshot::channel();
            let request = Request { id, caller: caller.peer, data };
            self.calls.try_send(Job::Call { request, answer }).map_err(|error| match error {
                mpsc::error::TrySendError::Full(_) => ServiceError("the provider is busy".into()),
                mpsc::error::TrySendError::Closed(_) => gone(),
            })?;
            let mut cancel = Cancel { calls: &self.calls, id: Some(id) };
            let outcome = reply.await.unwrap_or_else(|_| Err(gone()));
            cancel.id = None;
            outcome
        })
    }
}

fn gone() -> ServiceError {
    ServiceError("the provider went away".into())
}

/// Tells the session when the node drops a call: its caller went, or its time is over.
struct Cancel<'a> {
    calls: &'a mpsc::Sender<Job>,
    id: Option<u64>,
}

impl Drop for Cancel<'_> {
    fn drop(&mut self) {
        if let Some(id) = self.id {
            let _ = self.calls.try_send(Job::Cancel { id });
        }
    }
}

/// Calls that wait for a reply.
#[derive(Debug, Default)]
struct Waiting(Mutex<BTreeMap<u64, Answer>>);

impl Waiting {
    fn with<T>(&self, act: impl FnOnce(&mut BTreeMap<u64, Answer>) -> T) -> T {
        act(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Makes a frame of a job; none when there is nothing to tell.
    fn begin(&self, job: Job) -> Option<Message> {
        match job {
            // Its caller went before the client heard of it.
            Job::Call { answer, .. } if answer.is_closed() => None,
            Job::Call { request, answer } => {
                self.with(|waiting| {
                    // Those whose cancellation was forgotten.
                    waiting.retain(|_, answer| !answer.is_closed());
                    waiting.insert(request.id, answer);
                });
                Some(Message::Binary(request.encode()))
            }
            Job::Cancel { id } => {
                let known = self.with(|waiting| waiting.remove(&id)).is_some();
                known.then(|| Message::text(Notice::Cancel { id }.to_text()))
            }
        }
    }

    /// Hands a reply to its call; breaks the session on a malformed one.
    fn finish(&self, frame: Message) -> ControlFlow<()> {
        let Message::Binary(frame) = frame else { return ControlFlow::Continue(()) };
        let Some(Reply { id, outcome }) = Reply::decode(&frame) else {
            return ControlFlow::Break(());
        };
        // Without a call it is late, and nobody's.
        if let Some(answer) = self.with(|waiting| waiting.remove(&id)) {
            let _ = answer.send(outcome.map_err(ServiceError));
        }
        ControlFlow::Continue(())
    }
}

/// Runs the session; the service is withdrawn and all waiting calls fail when it ends.
async fn serve(app: &App, socket: WebSocket, queue: mpsc::Receiver<Job>, provided: Provided) {
    let waiting = Waiting::default();
    let frames = stream::unfold(queue, async |mut queue| {
        // A service over TCP makes no jobs: its queue is closed, and its socket only stays open.
        match queue.recv().await {
            Some(job) => Some((job, queue)),
            None => std::future::pending().await,
        }
    });
    let frames = frames.filter_map(async |job| waiting.begin(job));
    let outgoing = once(&Notice::Ready { port: None }).chain(frames);
    socket::run(app, socket, outgoing, |frame| waiting.finish(frame)).await;
    drop(provided);
}

/// Tells why there will be nothing, and closes.
async fn refuse(app: &App, socket: WebSocket, error: ErrorDetail) {
    socket::run(app, socket, once(&Notice::Error { error }), socket::ignore).await;
}

fn once(notice: &Notice) -> impl Stream<Item = Message> + use<> {
    stream::iter([Message::text(notice.to_text())])
}

#[cfg(test)]
mod tests {
    use ayni::PeerId;
    use futures_util::FutureExt;

    use super::*;

    fn remote(capacity: usize) -> (Remote, mpsc::Receiver<Job>) {
        let (calls, queue) = mpsc::channel(capacity);
        (Remote { calls, next: AtomicU64::new(0) }, queue)
    }

    fn caller() -> Caller {
        Caller { peer: PeerId([5; 32]), account: None }
    }

    fn request(frame: Option<Message>) -> Request {
        let Some(Message::Binary(frame)) = frame else { panic!("a request is told") };
        Request::decode(&frame).expect("well-formed")
    }

    fn reply(id: u64, text: &'static str) -> Message {
        Message::Binary(Reply { id, outcome: Ok(Bytes::from_static(text.as_bytes())) }.encode())
    }

    #[tokio::test]
    async fn replies_find_their_calls_in_any_order() {
        let (remote, mut queue) = remote(4);
        let waiting = Waiting::default();
        let mut first = remote.call(caller(), Bytes::from_static(b"1"));
        let mut second = remote.call(caller(), Bytes::from_static(b"2"));
        assert!(first.as_mut().now_or_never().is_none());
        assert!(second.as_mut().now_or_never().is_none());
        let one = request(waiting.begin(queue.try_recv().expect("a call")));
        let two = request(waiting.begin(queue.try_recv().expect("a call")));
        assert_eq!((one.caller, one.data.as_ref()), (PeerId([5; 32]), b"1".as_slice()));
        assert!(waiting.finish(reply(two.id, "b")).is_continue());
        assert!(waiting.finish(reply(one.id, "a")).is_continue());
        assert_eq!(first.await, Ok(Bytes::from_static(b"a")));
        assert_eq!(second.await, Ok(Bytes::from_static(b"b")));
    }

    #[tokio::test]
    async fn a_call_fails_when_the_client_goes_and_when_it_is_busy() {
        let (remote, queue) = remote(1);
        let mut first = remote.call(caller(), Bytes::new());
        assert!(first.as_mut().now_or_never().is_none());
        let busy = remote.call(caller(), Bytes::new()).await;
        assert_eq!(busy, Err(ServiceError("the provider is busy".into())));
        drop(queue);
        assert_eq!(first.await, Err(gone()));
        assert_eq!(remote.call(caller(), Bytes::new()).await, Err(gone()));
    }

    #[tokio::test]
    async fn a_call_that_nobody_waits_for_is_cancelled_and_its_reply_ignored() {
        let (remote, mut queue) = remote(4);
        let waiting = Waiting::default();
        let mut call = remote.call(caller(), Bytes::new());
        assert!(call.as_mut().now_or_never().is_none());
        let Request { id, .. } = request(waiting.begin(queue.try_recv().expect("a call")));
        drop(call);
        let cancel = waiting.begin(queue.try_recv().expect("a cancellation"));
        assert_eq!(cancel, Some(Message::text(Notice::Cancel { id }.to_text())));
        assert!(waiting.finish(reply(id, "late")).is_continue());
        assert!(waiting.with(|waiting| waiting.is_empty()));
    }

    #[tokio::test]
    async fn a_call_that_was_dropped_in_the_queue_is_not_told() {
        let (remote, mut queue) = remote(4);
        let mut call = remote.call(caller(), Bytes::new());
        assert!(call.as_mut().now_or_never().is_none());
        drop(call);
        let waiting = Waiting::default();
        while let Ok(job) = queue.try_recv() {
            assert_eq!(waiting.begin(job), None);
        }
    }

    #[test]
    fn a_malformed_reply_ends_the_session() {
        let waiting = Waiting::default();
        let short = Message::Binary(Bytes::from_static(b"short"));
        assert!(waiting.finish(short).is_break());
        assert!(waiting.finish(Message::Pong(Bytes::new())).is_continue());
    }
}
