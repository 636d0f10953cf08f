//! Two real endpoints on 127.0.0.1: one provides, the other calls.

mod builtin;
mod hostile;
mod registry;
mod requests;
mod streams;

use std::future::Future;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use ayni_core::id::{PeerId, RoomId};
use ayni_core::keys::AccountKey;
use ayni_core::proto::{self, ALPN, Hello, Open, Profile};
use bytes::Bytes;
use iroh::endpoint::{Connection, presets};
use iroh::{Endpoint, EndpointAddr, RelayMode, SecretKey, TransportAddr};
use tokio::sync::watch;

use super::registry::{Refusal, Registry};
use super::{builtin as services, serve};
use crate::service::{Allow, BoxFuture, Caller, Offer, Provider, Service};
use crate::service::{ServiceError, ServiceLimits};
use crate::transport::Link;
use crate::transport::stream::{FrameSender, Stream};

/// No test waits longer for anything.
const DEADLINE: Duration = Duration::from_secs(20);
/// The room whose only member, beside the provider, is the caller.
const ROOM: RoomId = RoomId([7; 32]);

/// The calling side, and what it calls.
struct Pair {
    registry: Registry,
    /// Calls that the provider's side is still busy with.
    serving: Arc<AtomicUsize>,
    provider: PeerId,
    link: Link,
    hello: watch::Sender<Hello>,
    endpoints: [Endpoint; 2],
}

/// Connects a caller with a provider that serves as a node does.
async fn pair() -> Pair {
    let registry = Registry::default();
    let serving = registry.clone();
    pair_with(registry, move |caller, open, stream| {
        Box::pin(dispatch(serving.clone(), caller, open, stream))
    })
    .await
}

async fn dispatch(registry: Registry, caller: PeerId, open: Open, mut stream: Stream) {
    let caller = Caller { peer: caller, account: None };
    let members = |room: RoomId, peer: &PeerId| room == ROOM && *peer == caller.peer;
    match open.service.as_str() {
        proto::service::PING => services::ping(stream).await,
        proto::service::PROFILE => services::profile(stream, &profile_of(provider_id())).await,
        name => match registry.admit(name, &caller, &members) {
            Ok(admitted) => serve(admitted, caller, stream).await,
            Err(refusal) => {
                stream.send.send(&refusal.opened()).await.expect("a caller that listens");
                stream.send.finish();
                stream.send.delivered().await;
            }
        },
    }
}

/// Connects a caller with whatever `handle` makes of its streams.
async fn pair_with(
    registry: Registry,
    handle: impl Fn(PeerId, Open, Stream) -> BoxFuture<'static, ()> + Send + Sync + 'static,
) -> Pair {
    let [provider, caller] = [endpoint(1).await, endpoint(2).await];
    let sockets = provider.bound_sockets().into_iter().map(TransportAddr::Ip);
    let addr = EndpointAddr::from_parts(provider.id(), sockets);
    let serving = Arc::new(AtomicUsize::new(0));
    tokio::spawn(accept(provider.clone(), serving.clone(), Arc::new(handle)));
    let connection = soon(caller.connect(addr, ALPN)).await.expect("connects");
    let (hello, theirs) = watch::channel(hello_of(vec![]));
    let ours = FrameSender(connection.open_uni().await.expect("opens"));
    let (me, peer) = (PeerId(*caller.id().as_bytes()), PeerId(*provider.id().as_bytes()));
    let link = Link::new(connection, me, theirs, ours);
    Pair { registry, serving, provider: peer, link, hello, endpoints: [provider, caller] }
}

async fn accept<H>(endpoint: Endpoint, serving: Arc<AtomicUsize>, handle: Arc<H>)
where
    H: Fn(PeerId, Open, Stream) -> BoxFuture<'static, ()> + Send + Sync + 'static,
{
    let incoming = endpoint.accept().await.expect("an endpoint that is open");
    let connection: Connection = incoming.await.expect("connects");
    let caller = PeerId(*connection.remote_id().as_bytes());
    while let Ok(halves) = connection.accept_bi().await {
        let (serving, handle) = (serving.clone(), handle.clone());
        tokio::spawn(async move {
            serving.fetch_add(1, Ordering::SeqCst);
            let mut stream = Stream::new(halves);
            if let Ok(open) = stream.recv.expect::<Open>().await {
                handle(caller, open, stream).await;
            }
            serving.fetch_sub(1, Ordering::SeqCst);
        });
    }
}

async fn endpoint(seed: u8) -> Endpoint {
    let builder = Endpoint::builder(presets::Minimal)
        .secret_key(SecretKey::from_bytes(&[seed; 32]))
        .alpns(vec![ALPN.to_vec()])
        .relay_mode(RelayMode::Disabled)
        .clear_ip_transports()
        .bind_addr((Ipv4Addr::LOCALHOST, 0));
    builder.expect("an address").bind().await.expect("binds")
}

fn provider_id() -> PeerId {
    PeerId(*SecretKey::from_bytes(&[1; 32]).public().as_bytes())
}

fn hello_of(offers: Vec<proto::ServiceDescriptor>) -> Hello {
    Hello { protocol: proto::PROTOCOL, instance: 1, offers, asks: vec![] }
}

fn profile_of(device: PeerId) -> Profile {
    let cert = AccountKey::from_entropy(&[3; 32]).certify(device, [4; 32], 5);
    Profile { cert, name: "Ana".into() }
}

/// A service made of a function.
struct Fun<F>(F);

impl<F, R> Service for Fun<F>
where
    F: Fn(Bytes) -> R + Send + Sync + 'static,
    R: Future<Output = Result<Bytes, ServiceError>> + Send + 'static,
{
    fn call(&self, _: Caller, request: Bytes) -> BoxFuture<'_, Result<Bytes, ServiceError>> {
        Box::pin((self.0)(request))
    }
}

/// A service that anyone may call.
fn offer<F, R>(name: &str, service: F) -> Offer
where
    F: Fn(Bytes) -> R + Send + Sync + 'static,
    R: Future<Output = Result<Bytes, ServiceError>> + Send + 'static,
{
    let provider = Provider::Request(Arc::new(Fun(service)));
    offer_of(name, provider)
}

fn offer_of(name: &str, provider: Provider) -> Offer {
    let limits = ServiceLimits::default();
    Offer { name: name.into(), allow: vec![Allow::Anyone], provider, limits }
}

fn echo(name: &str) -> Offer {
    offer(name, |request| async move { Ok(request) })
}

/// A service that never answers; each call that is dropped adds one to the watched number.
fn never(name: &str) -> (Offer, watch::Receiver<Calls>) {
    let (calls, watched) = watch::channel(Calls::default());
    let offer = offer(name, move |_| {
        let running = RunningCall(calls.clone());
        running.0.send_modify(|calls| calls.started += 1);
        async move {
            std::future::pending::<()>().await;
            drop(running);
            Ok(Bytes::new())
        }
    });
    (offer, watched)
}

#[derive(Debug, Default, Clone, Copy)]
struct Calls {
    started: usize,
    dropped: usize,
}

struct RunningCall(watch::Sender<Calls>);

impl Drop for RunningCall {
    fn drop(&mut self) {
        self.0.send_modify(|calls| calls.dropped += 1);
    }
}

/// Fails the test instead of hanging.
async fn soon<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(DEADLINE, future).await.expect("in time")
}

impl Pair {
    /// Makes one request with generous limits.
    async fn ask(&self, service: &str, data: impl Into<Bytes>) -> crate::Result<Bytes> {
        let limits = super::CallLimits { max_reply: 32 << 20, timeout: DEADLINE };
        super::request(&self.link, service, data.into(), limits).await
    }

    /// Waits until the provider's side is done with every call.
    async fn idle(&self) {
        soon(async {
            while self.serving.load(Ordering::SeqCst) > 0 {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        })
        .await;
    }

    async fn close(self) {
        for endpoint in self.endpoints {
            endpoint.close().await;
        }
    }
}

#[test]
fn each_refusal_has_its_frame() {
    assert_eq!(Refusal::Refused.opened(), proto::Opened::Refused);
    assert_eq!(Refusal::Busy.opened(), proto::Opened::Busy);
}
