//! A real member of a room, in the hands of someone who does not keep to the protocol.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use ayni::{Node, RoomId, Ticket};
use ayni_core::chat::Chat;
use ayni_core::event::{CheckedRun, Event, Header, RawEvent};
use ayni_core::keys::Bytes32;
use ayni_core::log::{Lane, LogId};
use ayni_core::proto::{
    JoinClaim, JoinReply, JoinRequest, KeysReply, KeysRequest, Opened, service,
};
use ayni_core::room::Room;
use ayni_core::sync::frame::{LogRuns, SyncFrame, Want};

use super::raw::{Raw, RawLink, RawStream, entropy};
use super::within;

/// Unix time in milliseconds.
pub(crate) fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970");
    u64::try_from(since.as_millis()).expect("not so late")
}

/// A member.
pub(crate) struct Member {
    pub(crate) raw: Raw,
    pub(crate) link: RawLink,
    /// Its replica, as an honest device would have it.
    pub(crate) room: Room,
}

impl Member {
    /// Joins with a ticket at a node, and takes what it has.
    pub(crate) async fn join(node: &Node, ticket: &Ticket) -> Self {
        Self::join_as(Raw::new().await, node, ticket).await
    }

    /// Joins as a given peer.
    pub(crate) async fn join_as(raw: Raw, node: &Node, ticket: &Ticket) -> Self {
        let link = raw.link(node).await;
        let mut stream = link.accepted(service::JOIN, None).await;
        let request = claim(&raw, node, ticket).sign(&ticket.secret(), &raw.device);
        stream.send(&request).await;
        let reply = within("a reply to the join", stream.recv.next()).await.expect("a reply");
        let JoinReply::Admitted(admission) = reply else { panic!("not admitted: {reply:?}") };
        let mut room = Room::new(ticket.room, raw.id());
        let from = node.identity().peer;
        for sealed in admission.epochs {
            room.learn_secret(sealed.open(ticket.room, from, &raw.device).expect("opens"));
        }
        let mut member = Self { raw, link, room };
        member.pull().await;
        assert!(member.room.am_member());
        member
    }

    /// Takes all that the node has, honestly.
    pub(crate) async fn pull(&mut self) {
        let mut stream = self.sync().await;
        // A hash that no state has: the node answers with what it holds.
        stream.send(&SyncFrame::Summary(Bytes32(entropy()))).await;
        let ranges = loop {
            let frame = within("an announcement", stream.recv.next()).await.expect("a frame");
            if let SyncFrame::Have(logs) = frame {
                break logs;
            }
        };
        stream.send(&SyncFrame::Want(Want::ranges(0, ranges))).await;
        loop {
            match within("an answer", stream.recv.next()).await.expect("a frame") {
                SyncFrame::Run(_, raw) => {
                    let events = raw.into_iter().map(|raw| Event::from_raw(raw).expect("whole"));
                    let run = CheckedRun::new(self.room.id(), events.collect()).expect("authentic");
                    let _ = self.room.accept(run, now()).expect("in order");
                }
                SyncFrame::Done(_) => return,
                _ => {}
            }
        }
    }

    /// Asks the node for the keys that are missing, honestly.
    pub(crate) async fn asks_for_keys(&mut self, node: &Node) {
        let epochs = self.room.missing_secrets();
        let mut stream = self.link.accepted(service::KEYS, Some(self.room.id())).await;
        stream.send(&KeysRequest { epochs }).await;
        let reply: Option<KeysReply> = within("keys", stream.recv.next()).await;
        for sealed in reply.expect("a member").epochs {
            let opened = sealed.open(self.room.id(), node.identity().peer, &self.raw.device);
            self.room.learn_secret(opened.expect("sealed for it"));
        }
    }

    /// Opens a session with the node.
    pub(crate) async fn sync(&self) -> RawStream {
        self.sync_over(&self.link).await
    }

    /// Opens a session over any link.
    pub(crate) async fn sync_over(&self, link: &RawLink) -> RawStream {
        within("a session is accepted", async {
            loop {
                match link.open(service::SYNC, Some(self.room.id())).await {
                    (stream, Opened::Accepted) => return stream,
                    // The one before may not have ended yet on the other side.
                    (_, Opened::Busy) => tokio::time::sleep(Duration::from_millis(20)).await,
                    (_, Opened::Refused) => panic!("a member is refused"),
                }
            }
        })
        .await
    }

    /// Authors messages, as an honest device does.
    pub(crate) fn says(&mut self, text: &str, count: usize) -> Vec<Event> {
        let chat = Chat::message(text).expect("short");
        let says = |_| {
            let said = self.room.author_chat(&self.raw.device, &chat, now(), &entropy());
            said.expect("a member").events
        };
        (0..count).flat_map(says).collect()
    }

    /// Signs another event like `event`, changed.
    pub(crate) fn forge(&self, event: &Event, change: impl FnOnce(&mut Header)) -> Event {
        let mut header = event.header().clone();
        change(&mut header);
        Event::sign(header, event.body().expect("ours").to_vec(), &self.raw.device)
    }

    /// Its chat log.
    pub(crate) fn log(&self) -> LogId {
        LogId { lane: Lane::Chat, device: self.raw.id(), term: 0 }
    }

    /// Announces events and serves each request for them, until the node has taken `count` of them
    /// or ended the session. Returns whether it took them.
    pub(crate) async fn offers(
        &self,
        stream: &mut RawStream,
        events: &[RawEvent],
        count: usize,
    ) -> bool {
        let decoded: Vec<Event> =
            events.iter().map(|raw| Event::from_raw(raw.clone()).expect("ours")).collect();
        stream.send(&SyncFrame::Have(announcement(&decoded))).await;
        let mut taken = 0;
        let mut given = BTreeSet::new();
        while let Some(frame) = within("the node reacts", stream.recv.next()).await {
            let SyncFrame::Want(want) = frame else { continue };
            let wanted = |log: &LogId, seq: u64| {
                if want.control == Some(true) {
                    return log.lane == Lane::Control && !given.contains(&(*log, seq));
                }
                let of_log = want.ranges.iter().filter(|entry| entry.log == *log);
                of_log.flat_map(|entry| &entry.runs).any(|run| (run.0..run.1).contains(&seq))
            };
            let answer: Vec<RawEvent> = decoded
                .iter()
                .zip(events)
                .filter(|(event, _)| wanted(&event.log(), event.seq()))
                .map(|(_, raw)| raw.clone())
                .collect();
            taken += answer.len();
            if want.control == Some(true) {
                let control = decoded.iter().filter(|event| event.log().lane == Lane::Control);
                given.extend(control.map(|event| (event.log(), event.seq())));
            }
            for run in answer.chunks(ayni_core::limits::MAX_RUN_EVENTS) {
                stream.send(&SyncFrame::Run(want.id, run.to_vec())).await;
            }
            stream.send(&SyncFrame::Done(want.id)).await;
            if taken >= count {
                return true;
            }
        }
        false
    }
}

/// The claim with which a peer asks a node to be admitted.
pub(crate) fn claim(raw: &Raw, node: &Node, ticket: &Ticket) -> JoinClaim {
    JoinClaim {
        room: ticket.room,
        cert: raw.cert.clone(),
        admitter: node.identity().peer,
        invite: ticket.secret().key(),
    }
}

/// Asks a node to admit, on a link.
pub(crate) async fn ask(link: &RawLink, request: &JoinRequest) -> JoinReply {
    let mut stream = link.accepted(service::JOIN, None).await;
    stream.send(request).await;
    within("a reply to the join", stream.recv.next()).await.expect("a reply")
}

/// What someone who has exactly these events would announce.
pub(crate) fn announcement(events: &[Event]) -> Vec<LogRuns> {
    let mut logs: BTreeMap<LogId, Vec<(u64, u64)>> = BTreeMap::new();
    for event in events {
        let runs = logs.entry(event.log()).or_default();
        match runs.last_mut() {
            Some(run) if run.1 == event.seq() => run.1 += 1,
            _ => runs.push((event.seq(), event.seq() + 1)),
        }
    }
    logs.into_iter().map(|(log, runs)| LogRuns { log, runs, last: None }).collect()
}

/// A whole log, as far as anyone could claim.
pub(crate) fn whole(log: LogId) -> LogRuns {
    LogRuns { log, runs: vec![(0, u64::MAX)], last: None }
}

/// Events on the wire.
pub(crate) fn raws(events: &[Event]) -> Vec<RawEvent> {
    events.iter().map(Event::to_raw).collect()
}

/// A room that nobody has.
pub(crate) fn nowhere() -> RoomId {
    RoomId(entropy())
}
