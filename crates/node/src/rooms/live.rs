//! Live delivery: new events go whole to gossip. Gossip is a hint, synchronisation is the truth.
//!
//! One task a room: it follows the room's topics as its epochs change ([`Room::topics`] says which, and
//! for how long), hands on what this node says, and takes in what others say. Events that do not fit in here are dropped: the next announcement
//! on a synchronisation stream brings them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use ayni_core::event::{CheckedRun, Event};
use ayni_core::id::{PeerId, TopicId};
use ayni_core::limits::MAX_GOSSIP_EVENT;
use ayni_core::proto::Gossip as GossipFrame;
use ayni_core::room::Room;
use ayni_core::wire;
use bytes::Bytes;
use futures_util::future::BoxFuture;
use futures_util::stream::{BoxStream, FuturesUnordered, SelectAll};
use futures_util::{FutureExt, StreamExt};
use iroh_gossip::api::{ApiError, Event as GossipEvent, GossipSender, GossipTopic};
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

use super::handle::RoomHandle;
use super::pace::Pace;
use crate::inner::Inner;
use crate::transport::endpoint::endpoint_id;

/// Own events that wait to be handed to gossip; further ones are left to synchronisation.
const OUTBOX: usize = 256;
/// Members that gossip is told of when it joins a topic.
const BOOTSTRAP: usize = 8;
/// Events heard that are being stored at once: one commit takes many of them.
const STORING: usize = 64;
/// Least time between two reasons to compare states that gossip gives: anyone on the topic can forge
/// them.
const POKE_PACE: Duration = Duration::from_secs(1);
/// On a topic with no neighbor, gossip is told of the connected members this often: it does not heal
/// alone. Topics whose time is over are left as often.
const REJOIN: Duration = Duration::from_secs(5);

/// What a room's live task is told.
#[derive(Debug)]
pub(crate) enum Live {
    /// Publish this event of ours.
    Publish(Box<Event>),
    /// A member connected.
    Connected(PeerId),
}

/// Starts a room's live task; returns where to tell it things.
pub(crate) fn start(inner: &Arc<Inner>, room: &Arc<RoomHandle>) -> mpsc::Sender<Live> {
    let (sender, receiver) = mpsc::channel(OUTBOX);
    let task = Task {
        inner: inner.clone(),
        room: room.clone(),
        topics: BTreeMap::new(),
        incoming: SelectAll::new(),
        storing: FuturesUnordered::new(),
        pokes: Pace::new(POKE_PACE, 1),
        poke_at: None,
    };
    inner.tasks.spawn(inner.cancel.clone().run_until_cancelled_owned(task.run(receiver)));
    sender
}

/// A topic that this node takes part in, as long as this lives.
struct Subscription {
    sender: GossipSender,
    neighbors: BTreeSet<PeerId>,
    /// Ends what is heard on it: a topic is left when nobody sends or listens.
    _listens: oneshot::Sender<()>,
}

/// What is heard, and on which topic.
type Incoming = BoxStream<'static, (TopicId, Result<GossipEvent, ApiError>)>;

struct Task {
    inner: Arc<Inner>,
    room: Arc<RoomHandle>,
    topics: BTreeMap<TopicId, Subscription>,
    incoming: SelectAll<Incoming>,
    /// Events that are being stored; each ends with whether something before it is missing here.
    storing: FuturesUnordered<BoxFuture<'static, bool>>,
    pokes: Pace,
    /// When states are to be compared with peers, if they are.
    poke_at: Option<Instant>,
}

/// What to do with an event heard, before its signature is looked at.
#[derive(Debug, PartialEq, Eq)]
enum Heard {
    /// Check it, and take it in.
    New,
    /// Leave it: something before it may be missing here.
    Early,
    /// Leave it.
    Useless,
}

impl Task {
    async fn run(mut self, mut told: mpsc::Receiver<Live>) {
        let mut governed = self.room.governed.subscribe();
        let mut rejoin = tokio::time::interval(REJOIN);
        self.follow_topics().await;
        loop {
            tokio::select! {
                message = told.recv() => match message {
                    Some(Live::Publish(event)) => self.publish(&event).await,
                    Some(Live::Connected(peer)) => self.join_peers(vec![peer]).await,
                    None => return,
                },
                Some((topic, event)) = self.incoming.next(),
                    if !self.incoming.is_empty() && self.storing.len() < STORING =>
                {
                    match event {
                        Ok(event) => self.heard(topic, event),
                        // Gossip gave it up: subscribed again soon.
                        Err(_) => drop(self.topics.remove(&topic)),
                    }
                }
                Some(early) = self.storing.next(), if !self.storing.is_empty() => {
                    if early {
                        self.poke();
                    }
                }
                () = sleep_until(self.poke_at), if self.poke_at.is_some() => {
                    self.poke_at = None;
                    self.room.poke();
                }
                result = governed.changed() => {
                    if result.is_err() { return }
                    self.follow_topics().await;
                }
                _ = rejoin.tick() => {
                    self.follow_topics().await;
                    self.rejoin().await;
                }
            }
        }
    }

    /// Subscribes to the topics of the current epochs, and leaves others.
    async fn follow_topics(&mut self) {
        let wanted = self.wanted_topics();
        self.topics.retain(|topic, _| wanted.contains(topic));
        for topic in wanted {
            if self.topics.contains_key(&topic) {
                continue;
            }
            let peers = self.inner.connected_members(&self.room);
            let bootstrap = peers.iter().filter_map(endpoint_id).take(BOOTSTRAP).collect();
            let Some(gossip) = self.inner.gossip() else { return };
            match gossip.subscribe(topic.0.into(), bootstrap).await {
                Ok(subscribed) => self.add(topic, subscribed),
                Err(error) => tracing::debug!("gossip: {error}"),
            }
        }
    }

    fn add(&mut self, topic: TopicId, subscribed: GossipTopic) {
        let (sender, receiver) = subscribed.split();
        let (listens, ends) = oneshot::channel::<()>();
        let heard = receiver.map(move |event| (topic, event)).take_until(ends);
        self.incoming.push(heard.boxed());
        let subscription = Subscription { sender, neighbors: BTreeSet::new(), _listens: listens };
        self.topics.insert(topic, subscription);
    }

    fn wanted_topics(&self) -> Vec<TopicId> {
        let (now, state) = (self.inner.now(), self.room.lock());
        if state.room.am_member() { state.room.topics(now) } else { vec![] }
    }

    async fn join_peers(&mut self, peers: Vec<PeerId>) {
        let peers: Vec<_> = peers.iter().filter_map(endpoint_id).take(BOOTSTRAP).collect();
        for topic in self.topics.values() {
            let _ = topic.sender.join_peers(peers.clone()).await;
        }
    }

    /// Tells gossip of the connected members where it has no neighbor: a topic that was just begun has
    /// none, whatever there is on another.
    async fn rejoin(&mut self) {
        let lonely = self.topics.values().filter(|topic| topic.neighbors.is_empty());
        let lonely: Vec<_> = lonely.map(|topic| topic.sender.clone()).collect();
        if lonely.is_empty() {
            return;
        }
        let peers = self.inner.connected_members(&self.room);
        let peers: Vec<_> = peers.iter().filter_map(endpoint_id).take(BOOTSTRAP).collect();
        for sender in lonely {
            let _ = sender.join_peers(peers.clone()).await;
        }
    }

    async fn publish(&mut self, event: &Event) {
        let topic = self.room.lock().room.topic();
        let Some(Subscription { sender, .. }) = topic.and_then(|topic| self.topics.get(&topic))
        else {
            return;
        };
        if event.size() > MAX_GOSSIP_EVENT {
            let nonce = event.id().0.to_vec();
            let hint = wire::encode(&GossipFrame::Hint(nonce.into()));
            let _ = sender.broadcast(Bytes::from(hint)).await;
            return;
        }
        let message = wire::encode(&GossipFrame::Event(event.to_raw()));
        let _ = sender.broadcast(Bytes::from(message)).await;
    }

    fn heard(&mut self, topic: TopicId, event: GossipEvent) {
        match event {
            GossipEvent::NeighborUp(id) => {
                let peer = PeerId(*id.as_bytes());
                if let Some(topic) = self.topics.get_mut(&topic) {
                    topic.neighbors.insert(peer);
                }
                self.inner.meet(peer);
            }
            GossipEvent::NeighborDown(id) => {
                if let Some(topic) = self.topics.get_mut(&topic) {
                    topic.neighbors.remove(&PeerId(*id.as_bytes()));
                }
            }
            GossipEvent::Received(message) => self.received(&message.content),
            GossipEvent::Lagged => self.poke(),
        }
    }

    /// Has states compared soon, at the pace of [`POKE_PACE`].
    fn poke(&mut self) {
        if self.poke_at.is_none() {
            self.poke_at = Some(self.pokes.next(Instant::now()));
        }
    }

    fn received(&mut self, content: &[u8]) {
        let raw = match wire::decode::<GossipFrame>(content) {
            Ok(GossipFrame::Event(raw)) => raw,
            Ok(GossipFrame::Hint(_)) => return self.poke(),
            Err(_) => return,
        };
        let Ok(event) = Event::from_raw(raw) else { return };
        let heard = look(&self.room.lock().room, &event);
        match heard {
            Heard::New => {}
            Heard::Early => return self.poke(),
            Heard::Useless => return,
        }
        let Ok(run) = CheckedRun::new(self.room.id(), vec![event]) else { return };
        let (inner, room) = (self.inner.clone(), self.room.clone());
        let storing = async move {
            let stored = room.change(&inner, |room, now| Ok(room.accept(run, now)?)).await;
            // A refusal is no fault of the neighbor that forwarded it; what is missing may be there.
            matches!(stored, Ok(Err(_)))
        };
        self.storing.push(storing.boxed());
    }
}

/// Waits for a time; for ever where there is none.
async fn sleep_until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}

/// Judges an event by what costs little: anyone on the topic can send any number of them, and a
/// strict check of a signature is worth a thousand of these.
fn look(room: &Room, event: &Event) -> Heard {
    let (log, seq) = (event.log(), event.seq());
    let held = || room.logs().log(&log).is_some_and(|state| state.positions().contains(seq));
    if event.header().room != room.id() || held() {
        return Heard::Useless;
    }
    let members = room.members();
    if !members.may_write(&log) || event.body().is_none() {
        return Heard::Early;
    }
    let ended = members.end_of(&log).is_some_and(|end| seq >= end);
    if ended { Heard::Useless } else { Heard::New }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rooms::testing::{Founded, founded};
    use ayni_core::chat::Chat;
    use ayni_core::event::Header;

    #[test]
    fn hazard_24_events_are_judged_before_a_signature_is_checked() {
        let Founded { device, mut room } = founded(1);
        let (before, stranger) = (room.clone(), founded(2).device);
        let chat = Chat::message("said").expect("short");
        let said = room.author_chat(&device, &chat, 2_000, &[3; 32]).expect("a member").events;
        let event = &said[0];
        assert_eq!(look(&before, event), Heard::New);
        assert_eq!(look(&room, event), Heard::Useless, "held");
        let changed = |change: fn(&mut Header)| {
            let mut header = event.header().clone();
            change(&mut header);
            Event::sign(header, event.body().expect("ours").to_vec(), &stranger)
        };
        let of_another = changed(|header| header.room.0 = [9; 32]);
        assert_eq!(look(&before, &of_another), Heard::Useless);
        let by_nobody = changed(|header| header.device.0 = [9; 32]);
        assert_eq!(look(&before, &by_nobody), Heard::Early);
        let of_a_later_term = changed(|header| header.term += 1);
        assert_eq!(look(&before, &of_a_later_term), Heard::Early);
        let mut bare = event.to_raw();
        bare.body = None;
        assert_eq!(look(&before, &Event::from_raw(bare).expect("whole")), Heard::Early);
        let _ = room.author_leave(&device, 3_000).expect("a member");
        let after_leaving = changed(|header| header.seq += 1);
        assert_eq!(look(&room, &after_leaving), Heard::Useless, "beyond the end of its log");
    }
}
