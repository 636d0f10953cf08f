//! The user's services: `provide`, `request`, `forward`, `services`.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use ayni::PeerId;
use ayni::service::ServiceLimits;
use ayni_web::Client;
use ayni_web::api::Service;
use ayni_web::client::{ProvideOptions, ServiceCall};
use bytes::Bytes;
use data_encoding::BASE64;
use serde_json::json;

use crate::args::Provide;
use crate::ask;
use crate::exit::{Code, failure};
use crate::output::{clean, short};
use crate::program::{Asker, Program};
use crate::session::{Need, Session};

/// How long it is remembered which account a caller has: a call in a row costs nothing, and a new
/// member is known after a moment.
const ACCOUNT_KNOWN: Duration = Duration::from_secs(30);
/// Callers remembered; beyond that all are forgotten and asked for again.
const ACCOUNTS_KNOWN: usize = 1024;

/// Provides a service until stopped.
pub(crate) async fn provide(session: &mut Session, offer: Provide) -> anyhow::Result<()> {
    let timeout = Duration::from_secs(offer.timeout);
    let program = Program { argv: offer.command, timeout, max_reply: offer.max_reply };
    let is_program = offer.tcp.is_none();
    if is_program && program.is_missing() {
        let name = program.argv.first().map(|name| name.to_string_lossy()).unwrap_or_default();
        let what = format!("there is no program {} to run", clean(&name));
        return Err(failure(Code::NotFound, what));
    }
    let options = ProvideOptions {
        name: offer.name,
        allow: offer.allow,
        tcp: offer.tcp,
        timeout: Some(timeout),
        max_request: Some(offer.max_request),
        max_reply: Some(offer.max_reply),
        concurrency: Some(offer.concurrency),
    };
    let provided = session.until_stopped(Need::Network, async |node, out| {
        let providing = node.client.provide(&options).await?;
        let name = &options.name;
        let ready = format!("{} is provided; Ctrl-C ends it", clean(name));
        out.result(&json!({ "name": name, "ready": true }), &ready)?;
        out.flush()?;
        if is_program {
            let accounts = Accounts::new(&node.client);
            let answer = async |call: ServiceCall| answer(&program, &accounts, call).await;
            providing.serve(answer).await?;
        } else {
            providing.wait().await?;
        }
        Err::<(), _>(node_stopped())
    });
    provided.await.map(|_| ())
}

/// Runs the program for one call.
async fn answer(
    program: &Program,
    accounts: &Accounts<'_>,
    call: ServiceCall,
) -> Result<Bytes, String> {
    let account = accounts.of(call.caller).await;
    let asker = Asker { peer: call.caller.to_string(), account };
    program.answer(asker, &call.data).await.map(Bytes::from).inspect_err(|why| {
        tracing::debug!(%why, "a call failed");
    })
}

/// Asks a peer's service and prints the reply as it came.
pub(crate) async fn request(
    session: &mut Session,
    peer: &str,
    name: &str,
    data: Option<String>,
    timeout: u64,
) -> anyhow::Result<()> {
    // What no provider can allow is not read from standard input either.
    let most = ServiceLimits::MAX_REPLY + 1;
    let data = session.unless_stopped(ask::bytes(data, most)).await?;
    session
        .with_node(Need::Network, async |node, out| {
            let timeout = Duration::from_secs(timeout);
            let reply = node.client.request(peer, name, data.into(), timeout).await?;
            if !out.is_json() {
                return Ok(out.raw(&reply)?);
            }
            let text = std::str::from_utf8(&reply).ok();
            let base64 = BASE64.encode(&reply);
            Ok(out.object(&json!({ "size": reply.len(), "text": text, "base64": base64 }))?)
        })
        .await
}

/// Opens a local port that leads to a peer's service, until stopped.
pub(crate) async fn forward(
    session: &mut Session,
    peer: &str,
    name: &str,
    local_port: u16,
) -> anyhow::Result<()> {
    let forwarded = session.until_stopped(Need::Network, async |node, out| {
        let forwarding = node.client.forward(peer, name, local_port).await?;
        let listen = format!("127.0.0.1:{}", forwarding.port());
        let words = format!("{listen} leads to {} of {}; Ctrl-C ends it", clean(name), clean(peer));
        out.result(&json!({ "listen": listen }), &words)?;
        out.flush()?;
        forwarding.wait().await?;
        Err::<(), _>(node_stopped())
    });
    forwarded.await.map(|_| ())
}

/// Shows this node's services, or those that a peer offers to it.
pub(crate) async fn services(session: &mut Session, peer: Option<&str>) -> anyhow::Result<()> {
    let need = if peer.is_some() { Need::Network } else { Need::Folder };
    session
        .with_node(need, async |node, out| {
            for service in node.client.services(peer).await? {
                out.result(&service, &service_line(&service))?;
            }
            Ok(())
        })
        .await
}

fn service_line(service: &Service) -> String {
    let origin = if service.builtin { "comes with ayni" } else { "provided by the user" };
    let kind = if service.stream { "a stream of bytes" } else { "a reply for each request" };
    format!("{:<20} {kind}, {origin}", clean(&service.name))
}

fn node_stopped() -> anyhow::Error {
    failure(Code::Unreachable, "the node of this folder stopped, and this with it")
}

/// Which account a caller has, as the rooms that we share with it say.
struct Accounts<'a> {
    client: &'a Client,
    known: Mutex<HashMap<PeerId, (Instant, Option<String>)>>,
}

impl<'a> Accounts<'a> {
    fn new(client: &'a Client) -> Self {
        Self { client, known: Mutex::default() }
    }

    /// Returns the account's id; none when no room names it, or when it cannot be found out.
    async fn of(&self, caller: PeerId) -> Option<String> {
        let known = self.with(|known| known.get(&caller).cloned());
        if let Some((asked, account)) = known
            && asked.elapsed() < ACCOUNT_KNOWN
        {
            return account;
        }
        let account = self.ask(caller).await;
        if account.is_none() {
            tracing::debug!(caller = %short(&caller), "a caller without a room in common");
        }
        self.with(|known| {
            if known.len() >= ACCOUNTS_KNOWN {
                known.clear();
            }
            known.insert(caller, (Instant::now(), account.clone()));
        });
        account
    }

    async fn ask(&self, caller: PeerId) -> Option<String> {
        for room in self.client.rooms(false).await.ok()? {
            let members = self.client.members(&room.room.to_string()).await.ok()?;
            if let Some(member) = members.iter().find(|member| member.devices.contains(&caller)) {
                return Some(member.account_id.to_string());
            }
        }
        None
    }

    fn with<T>(&self, act: impl FnOnce(&mut HashMap<PeerId, (Instant, Option<String>)>) -> T) -> T {
        act(&mut self.known.lock().unwrap_or_else(PoisonError::into_inner))
    }
}
