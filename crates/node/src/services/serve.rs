//! Answering one call of a service of the user.
//!
//! Invariant: a call ends, whatever caller and service do: by its reply, by the limits of its
//! service, when the caller goes away, or when the service is withdrawn. While it runs it holds at
//! most one request and one reply, or one buffer in each direction.

use std::panic::AssertUnwindSafe;
use std::time::Duration;

use ayni_core::proto::ReplyHead;
use bytes::Bytes;
use futures_util::FutureExt;
use tokio::net::TcpStream;

use super::outgoing::Outgoing;
use super::pipe;
use super::registry::{Admitted, Entry};
use super::reply::{Failure, read_request, send_reply};
use super::text::one_line;
use crate::service::{Caller, Provider, Service};
use crate::transport::stream::{FrameReceiver, Stream};

/// How long the target of a TCP service may take to accept: it is near, mostly this machine.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// Accepts an admitted call and answers it. Sends `Opened::Accepted` itself.
pub(crate) async fn serve(admitted: Admitted, caller: Caller, stream: Stream) {
    let (outgoing, recv) = match Outgoing::accept(stream).await {
        Ok(halves) => halves,
        Err(error) => return tracing::debug!("a caller went away: {error}"),
    };
    let service = &*admitted.service;
    match &service.provider {
        Provider::Request(provider) => {
            answer(service, &**provider, caller, (outgoing, recv)).await;
        }
        Provider::Tcp(target) => pipe_to(service, target, (outgoing, recv)).await,
    }
}

async fn answer(
    service: &Entry,
    provider: &dyn Service,
    caller: Caller,
    (mut outgoing, mut recv): (Outgoing, FrameReceiver),
) {
    let limits = service.limits;
    let unwanted = outgoing.unwanted();
    let call = async {
        let request = read_request(&mut recv, limits.max_request).await?;
        run(service, provider, caller, request).await
    };
    let result = tokio::select! {
        result = tokio::time::timeout(limits.timeout, call) => {
            result.unwrap_or(Err(Failure::Tell(ReplyHead::TimedOut)))
        }
        () = service.withdrawn.cancelled() => Err(failed("the service was withdrawn")),
        () = unwanted => Err(Failure::CallerGone),
    };
    if result.is_err() {
        recv.stop();
    }
    send_reply(&mut outgoing, result).await;
}

async fn run(
    service: &Entry,
    provider: &dyn Service,
    caller: Caller,
    request: Bytes,
) -> Result<Bytes, Failure> {
    // `call` itself is inside: it may panic before it returns a future.
    let call = AssertUnwindSafe(async { provider.call(caller, request).await });
    match call.catch_unwind().await {
        Ok(Ok(reply)) if reply.len() > service.limits.max_reply => {
            Err(Failure::Tell(ReplyHead::ReplyTooLarge))
        }
        Ok(Ok(reply)) => Ok(reply),
        Ok(Err(error)) => Err(failed(&error.0)),
        Err(_) => {
            tracing::error!("the service {} panicked", service.name);
            Err(failed("the service stopped unexpectedly"))
        }
    }
}

fn failed(text: &str) -> Failure {
    Failure::Tell(ReplyHead::Failed(one_line(text)))
}

async fn pipe_to(service: &Entry, target: &str, halves: (Outgoing, FrameReceiver)) {
    let connecting = tokio::time::timeout(CONNECT_TIMEOUT, TcpStream::connect(target));
    let connected = tokio::select! {
        connected = connecting => connected,
        () = service.withdrawn.cancelled() => return,
    };
    match connected {
        Ok(Ok(tcp)) => {
            pipe::pipe(tcp, halves, service.limits.timeout, &service.withdrawn).await;
        }
        // The caller sees a stream that was cut. The target stays out of the log.
        Ok(Err(error)) => {
            tracing::warn!("the target of {} does not answer: {}", service.name, error.kind());
        }
        Err(_) => tracing::warn!("the target of {} does not answer in time", service.name),
    }
}
