//! Driving the sessions of a room.

use std::collections::VecDeque;

use ayni_core::clock::Millis;
use ayni_core::event::{CheckedRun, Event, EventError, RawEvent};
use ayni_core::frame::{self, FrameBuffer};
use ayni_core::log::{Lane, LogId, Runs};
use ayni_core::room::{LogState, MemberInfo, Reject};
use ayni_core::sync::frame::SyncFrame;
use ayni_core::sync::{Input, Output, Session, SessionId, View};

use super::{Outgoing, Packet, Peer, PeerNo, Running};
use crate::liar::Lie;

/// How long a peer may leave our requests without bringing us forward: a slow one must not hold up
/// the room, since nobody else is asked for what was asked of it.
const STALL_MS: Millis = 15_000;
/// How long others come first then.
const SHUN_MS: Millis = 30_000;
/// How often one who was removed is told so.
const FAREWELL_MS: Millis = 60_000;
/// First pause after a session that ended in trouble, doubled up to [`MAX_PAUSE_MS`].
const FIRST_PAUSE_MS: Millis = 1_000;
/// Longest pause.
const MAX_PAUSE_MS: Millis = 60_000;

/// An open stream to one peer.
#[derive(Debug)]
pub(super) struct Stream {
    id: SessionId,
    pub(super) session: Session,
    buffer: FrameBuffer,
    /// When it last brought us forward, or owed us nothing.
    progress: Millis,
}

impl Peer {
    /// Whether it opens a session with `other`: with members. It listens to who left, as long as
    /// that one has something that counts and is not here; and to strangers, as long as it has no
    /// session with a member: they may have been admitted while it was away, or in the part of the
    /// control lane that it has not got yet.
    pub fn accepts(&self, other: PeerNo, now: Millis) -> bool {
        if let Some(twin) = self.face(other) {
            return twin.accepts(other, now);
        }
        if self.shuns(other, now) {
            return false;
        }
        self.serves(other)
            || (self.is_strange(other) && !self.sessions().iter().any(|with| self.serves(*with)))
            || self.lacks_words_of(other)
    }

    /// Whether `other` kept us waiting a moment ago.
    fn shuns(&self, other: PeerNo, now: Millis) -> bool {
        let until = self.running.as_ref().and_then(|running| running.stalled.get(&other));
        until.is_some_and(|until| now < *until)
    }

    /// Whether it goes on with a session.
    fn keeps(&self, other: PeerNo) -> bool {
        self.serves(other) || self.is_strange(other) || self.lacks_words_of(other)
    }

    /// Whether `other` is unknown in the room.
    fn is_strange(&self, other: PeerNo) -> bool {
        let (Some(room), Some((device, _))) = (self.room(), self.others.get(&other)) else {
            return false;
        };
        room.members().account_of(device).is_none()
    }

    /// Whether `other` left, and said something before that has not arrived.
    fn lacks_words_of(&self, other: PeerNo) -> bool {
        let (Some(room), Some((device, account))) = (self.room(), self.others.get(&other)) else {
            return false;
        };
        let Some(info) = room.members().account(account) else { return false };
        info.terms.keys().any(|term| {
            let log = LogId { lane: Lane::Chat, device: *device, term: *term };
            let held = room.frontier().runs(&log).map_or(0, Runs::count);
            room.members().end_of(&log).is_some_and(|end| held < end)
        })
    }

    /// Whether `other` may have what is here: a member's device, or that of a founder who has not
    /// written yet (the other side of a direct room).
    pub fn serves(&self, other: PeerNo) -> bool {
        if let Some(twin) = self.face(other) {
            return twin.serves(other);
        }
        let (Some(room), Some((device, account))) = (self.room(), self.others.get(&other)) else {
            return false;
        };
        let members = room.members();
        if self.lie() == Some(Lie::Relays) {
            return members.account_of(device).is_some();
        }
        let founder = |info: &MemberInfo| info.is_member() && info.devices.is_empty();
        members.is_member_device(device) || members.account(account).is_some_and(founder)
    }

    /// Whether a session with `other` is open.
    pub fn has_session(&self, other: PeerNo) -> bool {
        if let Some(twin) = self.face(other) {
            return twin.has_session(other);
        }
        self.running.as_ref().is_some_and(|running| running.streams.contains_key(&other))
    }

    /// Returns with whom sessions are open.
    pub fn sessions(&self) -> Vec<PeerNo> {
        let faces = [Some(self), self.twin()].into_iter().flatten();
        let running = faces.filter_map(|face| face.running.as_ref());
        running.flat_map(|running| running.streams.keys()).copied().collect()
    }

    fn own_sessions(&self) -> Vec<PeerNo> {
        let streams = self.running.iter().flat_map(|running| running.streams.keys());
        streams.copied().collect()
    }

    /// Opens a session with `other`.
    pub fn open_session(&mut self, other: PeerNo, now: Millis) -> Vec<Outgoing> {
        if let Some(twin) = self.face_mut(other) {
            return twin.open_session(other, now);
        }
        let (Some(running), Some((peer, _))) = (&mut self.running, self.others.get(&other)) else {
            return vec![];
        };
        let id = SessionId(running.next_session);
        running.next_session += 1;
        let session = Session::new(id, self.me.key.id(), *peer);
        let stream = Stream { id, session, buffer: FrameBuffer::default(), progress: now };
        running.streams.insert(other, stream);
        self.feed(other, Input::Start, now)
    }

    /// Ends the session with `other`.
    pub fn end_session(&mut self, other: PeerNo) {
        if let Some(twin) = self.face_mut(other) {
            return twin.end_session(other);
        }
        let Some(running) = &mut self.running else { return };
        if let Some(stream) = running.streams.remove(&other) {
            running.claims.end(stream.id);
            // What it waited for can be asked of others.
            running.changed = true;
        }
    }

    /// Whether something changed that sessions were not told of.
    pub fn has_news(&self) -> bool {
        self.running.as_ref().is_some_and(|running| running.changed)
            || self.twin().is_some_and(Self::has_news)
    }

    /// Tells all sessions of changes.
    pub fn announce(&mut self, now: Millis) -> Vec<Outgoing> {
        let mut out = match &mut self.twin {
            Some(twin) => twin.announce(now),
            None => vec![],
        };
        if let Some(running) = &mut self.running {
            running.changed = false;
        }
        for other in self.own_sessions() {
            out.extend(self.feed(other, Input::Changed, now));
        }
        out
    }

    /// Compares states with `other`.
    pub fn check(&mut self, other: PeerNo, now: Millis) -> Vec<Outgoing> {
        if let Some(twin) = self.face_mut(other) {
            return twin.check(other, now);
        }
        self.feed(other, Input::Check, now)
    }

    /// Ends sessions that wait too long, and those with who is no member and has nothing more to say.
    pub fn sweep(&mut self, now: Millis) -> Vec<Outgoing> {
        let mut out = match &mut self.twin {
            Some(twin) => twin.sweep(now),
            None => vec![],
        };
        let Some(running) = &mut self.running else { return out };
        for (other, stream) in &mut running.streams {
            if !stream.session.is_waiting() {
                stream.progress = now;
            } else if now > stream.progress.saturating_add(STALL_MS) {
                running.stalled.insert(*other, now.saturating_add(SHUN_MS));
                self.counts.stalls += 1;
            }
        }
        let ended = self.own_sessions().into_iter();
        let ended: Vec<PeerNo> =
            ended.filter(|other| self.shuns(*other, now) || !self.keeps(*other)).collect();
        out.extend(ended.into_iter().map(|other| self.hang_up(other)));
        out
    }

    pub(super) fn hang_up(&mut self, other: PeerNo) -> Outgoing {
        self.end_session(other);
        Outgoing { to: other, packet: Packet::Bye }
    }

    /// Ends a session because of what the peer sent; the next one comes after a pause.
    fn drop_liar(&mut self, other: PeerNo, now: Millis) -> Outgoing {
        if let Some(running) = &mut self.running {
            let pause = running.trouble.entry(other).or_insert(FIRST_PAUSE_MS);
            running.stalled.insert(other, now.saturating_add(*pause));
            *pause = (*pause * 2).min(MAX_PAUSE_MS);
        }
        self.hang_up(other)
    }

    /// Tells `other` that it was removed, if it was and was not told a moment ago.
    pub fn say_farewell(&mut self, other: PeerNo, now: Millis) -> Vec<Outgoing> {
        if let Some(twin) = self.face_mut(other) {
            return twin.say_farewell(other, now);
        }
        let shown = self.room().zip(self.others.get(&other)).and_then(|(room, (_, account))| {
            room.members().farewell(account).filter(|_| room.am_member())
        });
        let (Some(running), Some(shown)) = (&mut self.running, shown) else { return vec![] };
        if running.farewells.get(&other).is_some_and(|told| now < told + FAREWELL_MS) {
            return vec![];
        }
        running.farewells.insert(other, now);
        let frames = self.store.serve(&shown).into_iter().filter_map(|run| {
            frame::encode(&SyncFrame::Run(0, run.iter().map(Event::to_raw).collect())).ok()
        });
        vec![Outgoing { to: other, packet: Packet::Farewell(frames.flatten().collect()) }]
    }

    pub(super) fn take_farewell(&mut self, bytes: &[u8], now: Millis) -> Vec<Outgoing> {
        let mut buffer = FrameBuffer::default();
        buffer.push(bytes);
        while let Ok(Some(SyncFrame::Run(_, events))) = buffer.next_frame::<SyncFrame>() {
            if self.take_run(events, now).is_err() {
                break;
            }
        }
        vec![]
    }

    pub(super) fn take_frames(&mut self, from: PeerNo, bytes: &[u8], now: Millis) -> Vec<Outgoing> {
        let Some(stream) = self.running.as_mut().and_then(|it| it.streams.get_mut(&from)) else {
            return vec![];
        };
        stream.buffer.push(bytes);
        let mut out = Vec::new();
        loop {
            let Some(stream) = self.running.as_mut().and_then(|it| it.streams.get_mut(&from))
            else {
                return out;
            };
            let frame = stream.buffer.next_frame::<SyncFrame>();
            match frame.and_then(|frame| frame.map(|it| it.check().map(|()| it)).transpose()) {
                Ok(Some(frame)) => {
                    if matches!(frame, SyncFrame::Done(_)) {
                        stream.progress = now;
                    }
                    out.extend(self.feed(from, Input::Frame(frame), now));
                }
                Ok(None) => return out,
                Err(_) => {
                    *self.counts.liars.entry(from).or_default() += 1;
                    out.push(self.drop_liar(from, now));
                    return out;
                }
            }
        }
    }

    /// Feeds the machine, and does what it says until it says nothing more.
    fn feed(&mut self, other: PeerNo, input: Input, now: Millis) -> Vec<Outgoing> {
        let mut out = Vec::new();
        let mut inputs = VecDeque::from([input]);
        while let Some(input) = inputs.pop_front() {
            let serves = self.serves(other);
            let Some(running) = &mut self.running else { return out };
            let Running { room: Some(room), claims, streams, held, .. } = running else {
                return out;
            };
            let Some(stream) = streams.get_mut(&other) else { return out };
            stream.session.listen_only(!serves);
            let held = held.get_or_insert_with(|| room.frontier());
            let view = View { held, state: room };
            let outputs = match stream.session.handle(input, view, claims) {
                Ok(outputs) => outputs,
                Err(violation) => {
                    self.counts.violations.push((other, violation));
                    out.push(self.drop_liar(other, now));
                    return out;
                }
            };
            for output in outputs {
                match output {
                    Output::Send(frame) => out.extend(send(other, &self.twist(frame))),
                    Output::Serve(want, ranges) => {
                        let runs = self.store.serve(&ranges);
                        out.extend(self.serve(other, want, runs));
                    }
                    Output::ServeNewest(want, count) => {
                        let runs = self.store.newest(count, self.clock(now));
                        out.extend(self.serve(other, want, runs));
                    }
                    Output::Receive(events) => {
                        let before = self.arrived.len();
                        let refused = self.take_run(events, now);
                        if self.arrived.len() > before
                            && let Some(running) = &mut self.running
                            && let Some(stream) = running.streams.get_mut(&other)
                        {
                            stream.progress = now;
                        }
                        let Ok(refused) = refused else {
                            *self.counts.liars.entry(other).or_default() += 1;
                            out.push(self.drop_liar(other, now));
                            return out;
                        };
                        inputs.extend(refused);
                    }
                    Output::Peers(_) | Output::CaughtUp => {}
                }
            }
        }
        out
    }

    fn serve(&mut self, other: PeerNo, want: u64, runs: Vec<Vec<Event>>) -> Vec<Outgoing> {
        if self.mute {
            return vec![];
        }
        let mut out = Vec::new();
        for run in self.twist_runs(runs) {
            let frame = SyncFrame::Run(want, run.iter().map(Event::to_raw).collect());
            let Ok(bytes) = frame::encode(&frame) else { continue };
            out.push(Outgoing { to: other, packet: Packet::Sync(self.twist_bytes(bytes)) });
        }
        out.extend(send(other, &SyncFrame::Done(want)));
        if let Some(stream) = self.running.as_mut().and_then(|it| it.streams.get_mut(&other)) {
            stream.session.served();
        }
        out
    }

    /// Checks and keeps received events. Returns what the machine must know of it.
    fn take_run(&mut self, raw: Vec<RawEvent>, now: Millis) -> Result<Vec<Input>, EventError> {
        let now = self.clock(now);
        let events = raw.into_iter().map(Event::from_raw).collect::<Result<Vec<_>, _>>()?;
        let deaf = self.is_deaf_to(&events);
        let room = self.running.as_mut().and_then(|running| running.room.as_mut());
        let Some(room) = room else { return Ok(vec![]) };
        let run = CheckedRun::new(room.id(), events)?;
        let (Some(first), Some(last)) = (run.events().first(), run.events().last()) else {
            return Ok(vec![]);
        };
        let (log, range) = (first.log(), first.seq()..last.seq().saturating_add(1));
        if deaf {
            return Ok(vec![Input::Refused(log, range)]);
        }
        let held = room.logs().log(&log).map(LogState::positions).unwrap_or_default();
        let again = run.events().iter().filter(|it| held.contains(it.seq())).count();
        self.counts.synced += run.events().len() as u64;
        self.counts.again += again as u64;
        if room.contradicts(&run) {
            *self.counts.refused.entry(Reject::Fork.to_string()).or_default() += 1;
            let parts = self.compare_branches(run.events());
            let contested = parts.map(|before| Input::Contested(log, before));
            return Ok([Input::Refused(log, range)].into_iter().chain(contested).collect());
        }
        match room.accept(run, now) {
            Ok(accepted) => {
                self.arrived.extend(accepted.events.iter().map(Event::id));
                self.commit(&accepted);
                Ok(vec![])
            }
            Err(reject) => {
                *self.counts.refused.entry(reject.to_string()).or_default() += 1;
                Ok(vec![Input::Refused(log, range)])
            }
        }
    }
}

fn send(to: PeerNo, frame: &SyncFrame) -> Option<Outgoing> {
    frame::encode(frame).ok().map(|bytes| Outgoing { to, packet: Packet::Sync(bytes) })
}
