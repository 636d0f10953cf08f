//! What liars do where honest peers do something else.

use ayni_core::chat::Chat;
use ayni_core::clock::{Hlc, Millis};
use ayni_core::epoch::EpochSecret;
use ayni_core::event::{CheckedRun, Event, Header, VERSION};
use ayni_core::frame;
use ayni_core::id::{EventId, PeerId};
use ayni_core::keys::{Bytes32, InviteSecret};
use ayni_core::log::{Lane, LogId};
use ayni_core::room::{Control, Cut, Grant, Invite, Remove, Role};
use ayni_core::sync::frame::{LogRuns, SyncFrame, Want};

use super::{Outgoing, Packet, Peer, PeerNo, gossip_of};
use crate::dice::Dice;
use crate::liar::Lie;

/// Packets of garbage to each neighbor, each time.
const FLOOD: usize = 40;
/// What one who claims more says that a log goes on by.
const CLAIMED: u64 = 40;
/// Logs that nobody has, claimed each time.
const CLAIMED_LOGS: usize = 3;

impl Peer {
    /// Does what its lie is, if that is something to do; `connected` are those it can send to.
    pub fn do_lie(&mut self, now: Millis, connected: &[PeerNo]) -> Vec<Outgoing> {
        let Some(mut liar) = self.liar.clone().filter(|_| self.room().is_some()) else {
            return vec![];
        };
        let dice = &mut liar.dice;
        let out = match liar.lie {
            Lie::ForksChat => self.fork(Lane::Chat, now, dice),
            Lie::ForksControl => self.fork(Lane::Control, now, dice),
            Lie::WritesOn => self.write_on(now, connected, dice),
            Lie::Backdates => self.backdate(now, connected, dice),
            Lie::Unasked => self.serve_unasked(dice),
            Lie::Floods => self.flood(now, connected, dice),
            _ => vec![],
        };
        self.liar = Some(liar);
        out
    }

    /// Whether it does not hear of these events: of its own removal.
    pub(super) fn is_deaf_to(&self, events: &[Event]) -> bool {
        let own = self.me.account();
        self.lie() == Some(Lie::WritesOn)
            && events.iter().any(|event| match event.body().and_then(Control::from_bytes) {
                Some(Control::Remove(Remove { account, .. })) => account == own,
                _ => false,
            })
    }

    /// Signs something on each of two branches of a log.
    fn fork(&mut self, lane: Lane, now: Millis, dice: &mut Dice) -> Vec<Outgoing> {
        let mut out = Vec::new();
        if self.twin.is_none() {
            if !self.is_member() {
                return out;
            }
            out.extend(self.part_in_two());
        }
        let mut says = |face: &mut Self, text: &str| {
            let done = match lane {
                Lane::Chat => face.say(text, now, dice),
                Lane::Control => face.state(&Control::Profile(text.to_owned()), now),
            };
            done.map(|(_, out)| out).unwrap_or_default()
        };
        out.extend(says(self, "left"));
        if let Some(twin) = &mut self.twin {
            out.extend(says(twin, "right"));
            out.extend(says(twin, "right again"));
        }
        out
    }

    /// Makes a copy of the device, which those with odd numbers see from now on.
    fn part_in_two(&mut self) -> Vec<Outgoing> {
        let odd = self.sessions().into_iter().filter(|other| other % 2 == 1);
        let out = odd.collect::<Vec<_>>().into_iter().map(|other| self.hang_up(other)).collect();
        let mut twin = Self::new(self.me.clone(), self.skew);
        twin.others.clone_from(&self.others);
        twin.store = self.store.clone();
        twin.room_id = self.room_id;
        twin.liar.clone_from(&self.liar);
        twin.start(0);
        self.twin = Some(Box::new(twin));
        out
    }

    /// Goes on after its removal, of which it does not hear, and tells all it is connected with.
    fn write_on(&mut self, now: Millis, to: &[PeerNo], dice: &mut Dice) -> Vec<Outgoing> {
        let mut events = Vec::new();
        events.extend(self.say("I am still here", now, dice).ok().map(|(event, _)| event));
        for control in self.mischief(dice) {
            events.extend(self.state(&control, now).ok().map(|(event, _)| event));
        }
        spread(&events, to)
    }

    /// Statements that would do harm if they counted.
    fn mischief(&self, dice: &mut Dice) -> Vec<Control> {
        let Some(room) = self.room() else { return vec![] };
        let cites = self.lift();
        let key = InviteSecret::from_seed(&dice.bytes()).key();
        let invite = Invite { key, uses: None, expires_ms: u64::MAX, role: Role::Member };
        let mut all = vec![Control::Profile("still here".into()), Control::Invite(invite)];
        let accounts: Vec<_> = room.members().accounts().map(|(account, _)| *account).collect();
        if let (Some(friend), Some(foe)) = (dice.pick(&accounts), dice.pick(&accounts)) {
            let (term, role) = (0, Role::Admin);
            all.push(Control::Grant(Grant { account: *friend, term, role, cites }));
            let cut = Cut::default();
            all.push(Control::Remove(Remove { account: *foe, term, then: None, cut, cites }));
            // Back in by its own hand.
            let (account, term) = (self.me.account(), 1);
            all.push(Control::Grant(Grant { account, term, role, cites }));
        }
        all
    }

    /// Writes what would do harm, as if long ago: the time and the dependencies are those of the
    /// room's first events.
    fn backdate(&mut self, now: Millis, to: &[PeerNo], dice: &mut Dice) -> Vec<Outgoing> {
        let mut events = Vec::new();
        for control in self.mischief(dice) {
            events.extend(self.forge(Lane::Control, &control.to_bytes(), now, dice));
        }
        let said = Chat::Message("long ago".into()).to_bytes();
        events.extend(self.forge(Lane::Chat, &said, now, dice));
        spread(&events, to)
    }

    /// Signs an event at the end of its own log of the first term, with old dependencies.
    fn forge(&mut self, lane: Lane, plain: &[u8], now: Millis, dice: &mut Dice) -> Option<Event> {
        let first = self.store.control().first()?;
        let (time, deps) = (first.header().time, vec![first.id()]);
        let log = LogId { lane, device: self.me.key.id(), term: 0 };
        let tip = self.room()?.logs().log(&log).and_then(|state| state.tip()).copied();
        let secret = self.store.secrets().first().cloned().filter(|_| lane == Lane::Chat);
        let room = self.room_id?;
        let header = Header {
            v: VERSION,
            room,
            device: log.device,
            term: 0,
            lane,
            seq: tip.map_or(0, |run| run.end),
            prev: tip.map(|run| run.last),
            deps,
            time: Hlc(time.0.saturating_add(1)),
            epoch: secret.as_ref().map(|secret| secret.id(room)),
            body_len: 0,
            body_hash: Bytes32([0; 32]),
        };
        let seal = |secret: EpochSecret| {
            secret.seal(room, &header.associated_data(), plain, &dice.bytes())
        };
        let body = secret.map_or_else(|| plain.to_vec(), seal);
        let event = Event::sign(header, body, &self.me.key);
        let now = self.clock(now);
        let room = self.running.as_mut().and_then(|running| running.room.as_mut())?;
        let run = CheckedRun::new(room.id(), vec![event.clone()]).ok()?;
        // Its own replica may refuse: then its log ends here for itself too.
        if let Ok(accepted) = room.accept(run, now) {
            self.commit(&accepted);
        }
        Some(event)
    }

    /// Sends its own events as the answer to what nobody asked.
    fn serve_unasked(&mut self, dice: &mut Dice) -> Vec<Outgoing> {
        let own = self.store.control().iter().rev().take(3);
        let raw: Vec<_> = own.map(Event::to_raw).collect();
        let id = dice.below(1_000_000);
        let frames = raw.into_iter().map(|raw| SyncFrame::Run(id, vec![raw]));
        let packets: Vec<_> =
            frames.filter_map(|frame| frame::encode(&frame).ok()).map(Packet::Sync).collect();
        to_all(&self.sessions(), &packets)
    }

    fn flood(&mut self, now: Millis, to: &[PeerNo], dice: &mut Dice) -> Vec<Outgoing> {
        let mut packets = Vec::new();
        for _ in 0..FLOOD {
            let bytes: Vec<u8> = (0..4).flat_map(|_| dice.bytes()).collect();
            packets.push(match dice.below(8) {
                0 => Packet::Sync(bytes),
                1 => Packet::Join(bytes),
                2 => Packet::Keys(bytes),
                3 => Packet::Secrets(bytes),
                4 => Packet::Joined(bytes),
                5 => {
                    let frame = SyncFrame::Want(Want::control(dice.below(1000)));
                    Packet::Sync(frame::encode(&frame).unwrap_or_default())
                }
                _ => Packet::Gossip(bytes),
            });
        }
        let orphan = self.orphan(now, dice);
        packets.extend(orphan.as_ref().and_then(gossip_of).map(Packet::Gossip));
        to_all(to, &packets)
    }

    /// A control event that depends on what does not exist.
    fn orphan(&self, now: Millis, dice: &mut Dice) -> Option<Event> {
        let log = LogId { lane: Lane::Control, device: self.me.key.id(), term: 0 };
        let header = Header {
            v: VERSION,
            room: self.room_id?,
            device: log.device,
            term: 0,
            lane: Lane::Control,
            seq: 100_000 + dice.below(1_000),
            prev: Some(EventId(dice.bytes())),
            deps: vec![EventId(dice.bytes())],
            time: Hlc::from_millis(self.clock(now)),
            epoch: None,
            body_len: 0,
            body_hash: Bytes32([0; 32]),
        };
        Some(Event::sign(header, Control::Merge.to_bytes(), &self.me.key))
    }

    /// Returns a frame as a liar sends it.
    pub(super) fn twist(&mut self, frame: SyncFrame) -> SyncFrame {
        let Some(liar) = &mut self.liar else { return frame };
        match (liar.lie, frame) {
            (Lie::FalseStates, SyncFrame::Summary(_)) => {
                SyncFrame::Summary(Bytes32(liar.dice.bytes()))
            }
            (Lie::ClaimsMore, SyncFrame::Have(mut logs)) => {
                for entry in &mut logs {
                    if let Some(last) = entry.runs.last_mut()
                        && liar.dice.chance(300)
                    {
                        last.1 += liar.dice.between(1, CLAIMED);
                    }
                }
                for _ in 0..CLAIMED_LOGS {
                    let lane = if liar.dice.chance(500) { Lane::Chat } else { Lane::Control };
                    let log = LogId { lane, device: PeerId(liar.dice.bytes()), term: 0 };
                    let last = Some(EventId(liar.dice.bytes()));
                    logs.push(LogRuns { log, runs: vec![(0, CLAIMED)], last });
                }
                logs.sort_by_key(|entry| entry.log);
                SyncFrame::Have(logs)
            }
            (_, frame) => frame,
        }
    }

    /// Returns runs as a liar serves them.
    pub(super) fn twist_runs(&mut self, mut runs: Vec<Vec<Event>>) -> Vec<Vec<Event>> {
        let Some(liar) = &mut self.liar else { return runs };
        match liar.lie {
            Lie::Truncates => {
                let keep = liar.dice.below(runs.len() as u64 + 1);
                runs.truncate(usize::try_from(keep).unwrap_or(0));
                if let Some(last) = runs.last_mut() {
                    let keep = liar.dice.between(1, last.len() as u64 + 1);
                    last.truncate(usize::try_from(keep).unwrap_or(1));
                }
            }
            Lie::Corrupts => {
                // In the middle of a run, two events change places; or one is left out.
                for run in &mut runs {
                    if run.len() > 2 && liar.dice.chance(500) {
                        let at =
                            usize::try_from(liar.dice.below(run.len() as u64 - 1)).unwrap_or(0);
                        if liar.dice.chance(500) {
                            run.swap(at, at + 1);
                        } else {
                            drop(run.remove(at));
                        }
                    }
                }
            }
            _ => {}
        }
        runs
    }

    /// Returns the bytes of a run's frame as a liar sends them.
    pub(super) fn twist_bytes(&mut self, mut bytes: Vec<u8>) -> Vec<u8> {
        if let Some(liar) = &mut self.liar
            && liar.lie == Lie::Corrupts
            && liar.dice.chance(700)
        {
            // Behind the length: a frame it stays.
            let at = usize::try_from(liar.dice.between(4, bytes.len() as u64)).unwrap_or(4);
            if let Some(byte) = bytes.get_mut(at) {
                *byte ^= 1 << liar.dice.below(8);
            }
        }
        bytes
    }
}

/// Sends events to all, as gossip carries them.
fn spread(events: &[Event], to: &[PeerNo]) -> Vec<Outgoing> {
    let packets: Vec<_> = events.iter().filter_map(gossip_of).map(Packet::Gossip).collect();
    to_all(to, &packets)
}

fn to_all(to: &[PeerNo], packets: &[Packet]) -> Vec<Outgoing> {
    let each = |to: &PeerNo| {
        let to = *to;
        packets.iter().map(move |packet| Outgoing { to, packet: packet.clone() })
    };
    to.iter().flat_map(each).collect()
}
