//! How a node is: members, peers, status, and `doctor` in plain words.

use std::collections::BTreeSet;
use std::sync::Arc;

use ayni_core::id::PeerId;

use crate::builder::Network;
use crate::error::Result;
use crate::inner::Inner;
use crate::model::{Finding, Identity, Member, PeerInfo, PeerPath, Status};
use crate::rooms::RoomHandle;
use crate::transport::endpoint::from_iroh;
use crate::transport::links::Links;

/// Connected peers that `doctor` asks for an answer.
const PINGS: usize = 8;

/// Returns the members of a room.
pub(crate) fn members(inner: &Inner, room: &RoomHandle) -> Vec<Member> {
    let connected: BTreeSet<PeerId> = connected(inner);
    let mine = inner.keys.account.id();
    let state = room.lock();
    let of_room = state.room.members();
    let members = of_room.current().map(|(account, info)| {
        let devices: Vec<PeerId> = info.devices.keys().copied().collect();
        let frozen = devices.iter().filter(|device| of_room.is_frozen(device)).copied().collect();
        let named = info.name().filter(|name| !name.is_empty()).map(str::to_owned);
        Member {
            account: *account,
            frozen,
            name: named.unwrap_or_else(|| inner.account_name(account)),
            founder: info.founder,
            role: info.role().unwrap_or_default(),
            me: *account == mine,
            online: *account == mine || devices.iter().any(|device| connected.contains(device)),
            devices,
        }
    });
    members.collect()
}

fn connected(inner: &Inner) -> BTreeSet<PeerId> {
    let links = inner.links().map(Links::all).unwrap_or_default();
    links.iter().filter(|link| !link.is_closed()).map(crate::transport::Link::peer).collect()
}

/// Returns the peers known: those of the address book, of the rooms, and those connected.
pub(crate) fn peers(inner: &Inner) -> Vec<PeerInfo> {
    let mut ids: BTreeSet<PeerId> = inner.book.all().iter().map(|known| known.addr.peer).collect();
    ids.extend(connected(inner));
    for room in inner.rooms() {
        ids.extend(room.other_devices(inner.me()));
    }
    ids.remove(&inner.me());
    ids.into_iter().map(|peer| describe(inner, peer)).collect()
}

fn describe(inner: &Inner, peer: PeerId) -> PeerInfo {
    let known = inner.book.known(&peer);
    let account = inner.account_of(&peer);
    let name = known.as_ref().and_then(|known| known.name.clone()).filter(|name| !name.is_empty());
    let in_rooms = || {
        let account = account?;
        inner.rooms().iter().find_map(|room| {
            let state = room.lock();
            state.room.members().account(&account)?.name().map(str::to_owned)
        })
    };
    let link = inner.links().and_then(|links| links.link(&peer));
    let (path, rtt) = link.map_or((PeerPath::None, None), |link| link.path());
    PeerInfo {
        peer,
        account,
        name: name.or_else(in_rooms),
        path,
        lan: known.is_some_and(|known| known.lan),
        rtt,
    }
}

/// Returns how the node is.
pub(crate) async fn status(inner: &Arc<Inner>) -> Result<Status> {
    let endpoint = inner.links().map(|links| links.bound().endpoint.clone());
    let addresses = endpoint.as_ref().map(|endpoint| from_iroh(&endpoint.addr()));
    Ok(Status {
        identity: Identity {
            peer: inner.me(),
            account: inner.keys.account.id(),
            name: inner.name(),
        },
        data: inner.folder.path().to_owned(),
        network: inner.network,
        offline: endpoint.is_none(),
        bound: endpoint.map(|endpoint| endpoint.bound_sockets()).unwrap_or_default(),
        addresses: addresses.map(|addr| addr.sockets().collect()).unwrap_or_default(),
        connected: connected(inner).len(),
        rooms: inner.rooms().len(),
        joining: inner.joins(),
        events: inner.store.event_count().await?,
        uptime: inner.started.elapsed(),
    })
}

/// Looks at what works and what does not.
pub(crate) async fn doctor(inner: &Arc<Inner>) -> Vec<Finding> {
    let mut findings = vec![store(inner).await];
    let Some(links) = inner.links() else {
        findings.push(finding(
            None,
            "network",
            "this was looked at without a running node: start one with `ayni up` and ask again",
        ));
        return findings;
    };
    let bound = links.bound();
    let addresses: Vec<_> = from_iroh(&bound.endpoint.addr()).sockets().collect();
    findings.push(if addresses.is_empty() {
        finding(Some(false), "addresses", "this machine has no network address: connect it")
    } else {
        let list: Vec<_> = addresses.iter().map(ToString::to_string).collect();
        finding(Some(true), "addresses", &format!("others can try {}", list.join(", ")))
    });
    findings.push(lan(inner, bound.mdns));
    findings.extend(round_trips(links).await);
    findings.extend(relay(inner.network));
    findings.extend(rooms(inner));
    findings.extend(shut_out(inner));
    if inner.joins() > 0 {
        let detail = format!(
            "{} invitation(s) not answered yet: a member must be online and reachable",
            inner.joins()
        );
        findings.push(finding(None, "joining", &detail));
    }
    findings
}

/// Asks a few connected peers for an answer.
async fn round_trips(links: &Links) -> Option<Finding> {
    let asked = links.all().into_iter().take(PINGS);
    let pings = asked.map(|link| async move {
        let time = crate::services::builtin::call_ping(&link).await;
        (link.peer().short(), time)
    });
    let answers = futures_util::future::join_all(pings).await;
    let slowest = answers.iter().filter_map(|(_, time)| time.as_ref().ok()).max()?.as_millis();
    let silent: Vec<&str> =
        answers.iter().filter(|(_, time)| time.is_err()).map(|(peer, _)| peer.as_str()).collect();
    let all = answers.len();
    Some(if silent.is_empty() {
        let detail = format!("{all} connected peer(s) answer, the slowest after {slowest} ms");
        finding(Some(true), "answers", &detail)
    } else {
        let detail = format!("of {all} connected peers these do not answer: {}", silent.join(", "));
        finding(Some(false), "answers", &detail)
    })
}

async fn store(inner: &Arc<Inner>) -> Finding {
    match inner.store.event_count().await {
        Ok(count) => {
            let folder = inner.folder.path().display().to_string();
            finding(Some(true), "data", &format!("{count} events in {folder}"))
        }
        Err(error) => finding(Some(false), "data", &error.to_string()),
    }
}

fn lan(inner: &Inner, mdns: bool) -> Finding {
    let heard = inner.book.all().iter().filter(|known| known.lan).count();
    match (inner.network, mdns) {
        (Network::Loopback, _) => {
            finding(None, "local network", "not used: this node talks to this machine only")
        }
        (_, false) => finding(
            Some(false),
            "local network",
            "multicast DNS does not work here, so nodes nearby are not found by themselves: allow \
             UDP port 5353 in the firewall, or join with a ticket",
        ),
        (_, true) if heard == 0 => finding(
            None,
            "local network",
            "listening; no other node was heard nearby yet. Guest networks often separate devices",
        ),
        (_, true) => finding(Some(true), "local network", &format!("{heard} node(s) heard nearby")),
    }
}

fn relay(network: Network) -> Option<Finding> {
    (network == Network::Internet).then(|| {
        finding(
            None,
            "internet",
            "peers elsewhere are reached at the addresses in their tickets only: one side needs an \
             address that the other can reach",
        )
    })
}

fn rooms(inner: &Inner) -> Vec<Finding> {
    let connected = connected(inner);
    let rooms = inner.rooms().into_iter().filter(|room| room.lock().room.am_member());
    let described = rooms.map(|room| {
        let others = room.other_devices(inner.me());
        let up = others.iter().filter(|peer| connected.contains(peer)).count();
        let what = format!("room {}", room.info(inner).name);
        let locked = room.missing_secrets().len();
        if inner.is_unheard(&room.id()) {
            let detail = "this folder was copied or restored: nothing is written here before another \
                          member was reached, so that nothing is said twice";
            return finding(Some(false), &what, detail);
        }
        match (others.len(), up) {
            (0, _) => finding(None, &what, "you are alone in it: invite someone"),
            (all, 0) => finding(
                Some(false),
                &what,
                &format!("none of {all} other device(s) is reachable now; trying goes on"),
            ),
            (all, up) if locked > 0 => finding(
                Some(false),
                &what,
                &format!("{up} of {all} other device(s) connected; {locked} key(s) still missing"),
            ),
            (all, up) => {
                finding(Some(true), &what, &format!("{up} of {all} other device(s) connected"))
            }
        }
    });
    described.collect()
}

/// Finds devices that were copied, or lie: this one, and those of other members.
fn shut_out(inner: &Inner) -> Vec<Finding> {
    let me = inner.me();
    let mut findings = Vec::new();
    for room in inner.rooms() {
        let what = format!("room {}", room.info(inner).name);
        for member in members(inner, &room) {
            findings.extend(member.frozen.iter().map(|device| {
                finding(Some(false), &what, &shut_out_detail(*device == me, device, &member.name))
            }));
        }
    }
    findings
}

fn shut_out_detail(mine: bool, device: &PeerId, name: &str) -> String {
    if mine {
        return "this device is shut out: it was copied, and both copies wrote in one place. Start \
                with a new data folder and join with a new ticket"
            .to_owned();
    }
    format!(
        "device {} of {name} is shut out: it was copied, or it lies. {name} comes back with a new data \
         folder and a new ticket",
        device.short()
    )
}

fn finding(ok: Option<bool>, what: &str, detail: &str) -> Finding {
    Finding { ok, what: what.to_owned(), detail: detail.to_owned() }
}
