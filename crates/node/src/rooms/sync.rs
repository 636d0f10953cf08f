//! Drives the synchronisation of one room with one peer: `ayni_core::sync::Session` between a QUIC
//! stream and the store.
//!
//! Three tasks a session: one reads frames, one writes frames and serves requests from the store,
//! and one runs the machine between them. So a peer that does not read delays only what is sent to
//! it, and a slow disk only what is received.

use std::sync::Arc;
use std::time::Duration;

use ayni_core::event::{CheckedRun, Event, RawEvent};
use ayni_core::log::{Frontier, Lane};
use ayni_core::room::Reject;
use ayni_core::sync::frame::SyncFrame;
use ayni_core::sync::{Input, Output, Session, SessionId};
use ayni_core::ticket::PeerAddr;
use futures_util::future::BoxFuture;
use futures_util::stream::FuturesOrdered;
use futures_util::{FutureExt, StreamExt};
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::handle::{Refusal, RoomHandle};
use super::pace::Pace;
use super::{forks, serve};
use crate::discovery::book::Source;
use crate::error::Error;
use crate::inner::Inner;
use crate::transport::stream::{FrameReceiver, FrameSender};
use crate::transport::{Link, Stream};

/// Frames that were read and wait for the machine: enough to keep disk and network busy at once.
const INBOX: usize = 4;
/// Comparisons, announcements and the like that a peer may send at once: a whole frontier in pieces
/// comes in no more than that. Each costs time under the room's lock, and no answer slows them down.
const TELLINGS: u32 = 50;
/// Time between further ones. Honest peers gather changes for [`ANNOUNCE_DELAY`].
const TELLING_PACE: Duration = Duration::from_millis(20);
/// Frames and requests that wait to be sent. A peer that reads so slowly that more pile up is
/// dropped; announcements stop at half of it.
const OUTBOX: usize = 64;
/// How long changes are gathered before they are announced: long enough for gossip to be faster.
/// With several sessions each waits longer: see [`announce_delay`].
const ANNOUNCE_DELAY: Duration = Duration::from_millis(100);
/// Sessions beyond which the delay grows no more: it is at most about three seconds.
const MAX_SPREAD: usize = 16;
/// How long the peer may leave our requests without progress: nobody else is asked for the same
/// meanwhile, and someone waits for it.
const STALL: Duration = Duration::from_secs(15);
/// How long others come first after that.
const SHUN: Duration = Duration::from_secs(30);
/// New events' bytes that count as progress before a request is answered in full: what the poorest
/// link that is worth waiting for brings in that time.
const PROGRESS: usize = 16 * 1024;
/// Bytes of received events that are on their way to the store at once, for one peer: enough for the
/// disk to be busy while the next ones are checked, and for one commit to take many runs.
const STORING: usize = 1024 * 1024;
/// Least time between two comparisons on one session, whatever the reasons.
const CHECK_PACE: Duration = Duration::from_secs(1);
/// Mean time between two comparisons of states on a quiet session, times half the sessions.
const CHECK_EVERY: Duration = Duration::from_secs(45);

/// What the writing task is asked to do.
enum Job {
    Send(SyncFrame),
    Serve(u64, Frontier),
    ServeNewest(u64, u32),
}

/// Runs a session on an open stream until it ends.
pub(crate) async fn run(inner: Arc<Inner>, room: Arc<RoomHandle>, link: Link, stream: Stream) {
    let active = room.begin_session(link.peer(), link.stable_id());
    let (send, recv) = stream.split();
    let (inbox, frames) = mpsc::channel(INBOX);
    let (outbox, jobs) = mpsc::channel(OUTBOX);
    let (served, served_count) = mpsc::unbounded_channel();
    let cancel = inner.cancel.child_token();
    let reader = inner.tasks.spawn(read(recv, inbox, cancel.clone()));
    let writer = write(inner.clone(), room.clone(), send, jobs, served);
    let writer = inner.tasks.spawn(cancel.clone().run_until_cancelled_owned(writer));
    let mut driver = Driver {
        inner: inner.clone(),
        room: room.clone(),
        link: link.clone(),
        id: active.id,
        session: Session::new(active.id, inner.me(), link.peer()),
        outbox,
        progress: Progress { since: Instant::now(), bytes: 0 },
        storing: FuturesOrdered::new(),
        storing_bytes: 0,
        control: 0,
        stalled: false,
    };
    let result = tokio::select! {
        result = driver.run(frames, served_count) => result,
        () = active.cancel.cancelled() => Ok(()),
        () = inner.cancel.cancelled() => Ok(()),
    };
    if let Err(reason) = &result {
        tracing::debug!(peer = %link.peer().short(), room = %room.id().short(), "sync ended: {reason}");
    }
    if driver.stalled {
        room.shun(link.peer(), SHUN);
    }
    room.end_session(link.peer(), active.id);
    cancel.cancel();
    reader.abort();
    writer.abort();
}

/// Reads frames no faster than the machine takes them, nor than the pace of those that tell something.
async fn read(mut recv: FrameReceiver, inbox: mpsc::Sender<SyncFrame>, cancel: CancellationToken) {
    let mut tellings = Pace::new(TELLING_PACE, TELLINGS);
    loop {
        let frame = tokio::select! {
            frame = recv.next::<SyncFrame>() => frame,
            () = cancel.cancelled() => return,
        };
        let Ok(Some(frame)) = frame else { return };
        if frame.check().is_err() {
            return;
        }
        if !matches!(frame, SyncFrame::Want(_) | SyncFrame::Run(..) | SyncFrame::Done(_)) {
            tokio::time::sleep_until(tellings.next(Instant::now())).await;
        }
        if inbox.send(frame).await.is_err() {
            return;
        }
    }
}

async fn write(
    inner: Arc<Inner>,
    room: Arc<RoomHandle>,
    mut send: FrameSender,
    mut jobs: mpsc::Receiver<Job>,
    served: mpsc::UnboundedSender<()>,
) {
    while let Some(job) = jobs.recv().await {
        let result = match job {
            Job::Send(frame) => send.send(&frame).await.map_err(|error| error.to_string()),
            Job::Serve(want, ranges) => {
                let result = serve::ranges(&inner, room.id(), want, &ranges, &mut send).await;
                let _ = served.send(());
                result
            }
            Job::ServeNewest(want, count) => {
                let result = serve::newest(&inner, room.id(), want, count, &mut send).await;
                let _ = served.send(());
                result
            }
        };
        if let Err(error) = result {
            tracing::debug!("sending ended: {error}");
            return;
        }
    }
}

struct Driver {
    inner: Arc<Inner>,
    room: Arc<RoomHandle>,
    link: Link,
    id: SessionId,
    session: Session,
    outbox: mpsc::Sender<Job>,
    progress: Progress,
    /// Received events on their way to the store, in the order in which they came.
    storing: FuturesOrdered<BoxFuture<'static, Stored>>,
    storing_bytes: usize,
    /// How many control events were here when that was last looked at.
    control: u64,
    /// Whether it ended for want of an answer.
    stalled: bool,
}

/// What came of received events.
struct Stored {
    /// Their bytes on the wire.
    bytes: usize,
    begun: Instant,
    result: Result<Vec<Event>, Error>,
}

/// When the peer last brought us forward. What it sends otherwise does not count: a peer that says
/// this and that, or what is known already, must not keep others from being asked.
struct Progress {
    since: Instant,
    bytes: usize,
}

impl Progress {
    /// Counts from now.
    fn note(&mut self) {
        *self = Self { since: Instant::now(), bytes: 0 };
    }

    /// Counts new events, which took our own store so long.
    fn stored(&mut self, bytes: usize, took: Duration) {
        self.since = Instant::now().min(self.since + took);
        self.bytes = self.bytes.saturating_add(bytes);
        if self.bytes >= PROGRESS {
            self.note();
        }
    }
}

impl Driver {
    async fn run(
        &mut self,
        mut frames: mpsc::Receiver<SyncFrame>,
        mut served: mpsc::UnboundedReceiver<()>,
    ) -> Result<(), String> {
        let mut changed = self.room.changed.subscribe();
        let mut poked = self.room.poked.subscribe();
        let mut checked = Instant::now();
        self.handle(Input::Start).await?;
        self.send_peers()?;
        let mut check = Instant::now() + self.next_check();
        let mut announce: Option<Instant> = None;
        loop {
            let waiting = self.session.is_waiting();
            let stalled = if waiting { self.progress.since + STALL } else { check };
            let due = announce.unwrap_or(check).min(check).min(stalled);
            tokio::select! {
                frame = frames.recv() => {
                    let Some(frame) = frame else { return self.ended() };
                    if matches!(frame, SyncFrame::Done(_)) {
                        // What is lacking now is looked at when all that came is held.
                        self.stored_all().await?;
                        self.progress.note();
                    }
                    self.handle(Input::Frame(frame)).await?;
                }
                Some(stored) = self.storing.next(), if !self.storing.is_empty() => {
                    self.stored(stored)?;
                }
                Some(()) = served.recv() => self.session.served(),
                result = changed.changed(), if announce.is_none() => {
                    if result.is_err() { return Ok(()) }
                    announce = Some(Instant::now() + self.announce_delay());
                }
                result = poked.changed() => {
                    if result.is_err() { return Ok(()) }
                    check = check.min(checked + CHECK_PACE);
                }
                () = tokio::time::sleep_until(due) => {
                    if announce.is_some_and(|at| at <= Instant::now()) {
                        changed.borrow_and_update();
                        announce = None;
                        self.check_shared()?;
                        self.follow_control();
                        // A busy outbox hears of it with the next change or check.
                        if self.outbox.capacity() > OUTBOX / 2 {
                            self.handle(Input::Changed).await?;
                        } else {
                            announce = Some(Instant::now() + self.announce_delay());
                        }
                    }
                    if check <= Instant::now() {
                        checked = Instant::now();
                        check = checked + self.next_check();
                        self.check().await?;
                    }
                }
            }
            if !waiting {
                self.progress.note();
            } else if self.session.is_waiting() && self.progress.since.elapsed() >= STALL {
                self.stalled = true;
                return Err("the peer stalls".into());
            }
        }
    }

    /// The peer ended the stream, which is an error only while it owes us something.
    fn ended(&self) -> Result<(), String> {
        let owed = self.session.is_waiting();
        if owed { Err("the stream ended before the answer did".into()) } else { Ok(()) }
    }

    /// What this peer's events were refused for may have come from another one: the control lane, on
    /// which all depends, is asked of several peers in parts.
    fn follow_control(&mut self) {
        let control = self.room.lock().durable.events(Lane::Control);
        if std::mem::replace(&mut self.control, control) != control {
            self.session.forgive();
        }
    }

    fn check_shared(&self) -> Result<(), String> {
        let shared = self.room.is_open_to(&self.inner, &self.link.peer());
        shared.then_some(()).ok_or_else(|| "the peer is not a member any more".into())
    }

    async fn check(&mut self) -> Result<(), String> {
        self.check_shared()?;
        self.session.forgive();
        if self.outbox.capacity() > OUTBOX / 2 {
            self.handle(Input::Check).await?;
        }
        Ok(())
    }

    fn announce_delay(&self) -> Duration {
        let sessions = self.room.lock().sessions.len();
        announce_delay(sessions, self.inner.jitter())
    }

    fn next_check(&self) -> Duration {
        let sessions = u32::try_from(self.room.lock().sessions.len()).unwrap_or(u32::MAX);
        let mean = if self.session.is_waiting() { STALL } else { CHECK_EVERY };
        mean.mul_f64(0.67 + 0.66 * self.inner.jitter()) * (sessions / 2).clamp(1, 8)
    }

    /// Feeds the machine, and does what it says until it says nothing more.
    async fn handle(&mut self, input: Input) -> Result<(), String> {
        let mut inputs = vec![input];
        while let Some(input) = inputs.pop() {
            let outputs = self.step(input)?;
            for output in outputs {
                match output {
                    Output::Send(frame) => self.job(Job::Send(frame))?,
                    Output::Serve(want, ranges) => self.job(Job::Serve(want, ranges))?,
                    Output::ServeNewest(want, count) => self.job(Job::ServeNewest(want, count))?,
                    Output::Receive(events) => inputs.extend(self.receive(events).await?),
                    Output::Peers(addrs) => self.learn_peers(addrs),
                    Output::CaughtUp => self.caught_up(),
                }
            }
        }
        if !*self.room.tip.borrow() && self.session.has_own(&self.room.lock().durable) {
            self.room.heard_own(&self.inner).await;
        }
        if self.session.is_presentable() && self.room.lock().room.am_member() {
            self.room.ready.send_if_modified(|ready| !std::mem::replace(ready, true));
        }
        Ok(())
    }

    fn step(&mut self, input: Input) -> Result<Vec<Output>, String> {
        let session = &mut self.session;
        let stepped = self.room.lock().show(|view, claims| session.handle(input, view, claims));
        stepped.map_err(|violation| violation.to_string())
    }

    fn job(&self, job: Job) -> Result<(), String> {
        self.outbox.try_send(job).map_err(|_| "the peer reads too slowly".to_owned())
    }

    /// Checks received events and has them stored. Returns what the machine must know of it.
    async fn receive(&mut self, raw: Vec<RawEvent>) -> Result<Vec<Input>, String> {
        let events: Result<Vec<Event>, _> = raw.into_iter().map(Event::from_raw).collect();
        let run = events
            .and_then(|events| CheckedRun::new(self.room.id(), events))
            .map_err(|error| error.to_string())?;
        let (Some(first), Some(last)) = (run.events().first(), run.events().last()) else {
            return Ok(vec![]);
        };
        let (log, range) = (first.log(), first.seq()..last.seq().saturating_add(1));
        let bytes = run.events().iter().map(Event::size).sum();
        let begun = Instant::now();
        let mut contradicting = None;
        let changed = self.room.begin(&self.inner, |room, now| {
            if room.contradicts(&run) {
                contradicting = Some(run);
                return Err(Reject::Fork.into());
            }
            Ok(room.accept(run, now)?)
        });
        match changed.await.map_err(|error| error.to_string())? {
            Ok(made) => {
                let room = self.room.clone();
                let stored = async move {
                    let result = made.await;
                    room.settled(log, &range).await;
                    Stored { bytes, begun, result }
                };
                self.storing.push_back(stored.boxed());
                self.storing_bytes += bytes;
                while self.storing_bytes > STORING
                    && let Some(stored) = self.storing.next().await
                {
                    self.stored(stored)?;
                }
                Ok(vec![])
            }
            Err(Refusal::Reject(reject)) => {
                let again = matches!(reject, Reject::MissingDeps | Reject::UnknownAuthor);
                tracing::debug!(%reject, again, "events refused");
                let mut told = vec![Input::Refused(log, range)];
                if let Some(run) = contradicting {
                    // What it contradicts may be on its way to the store.
                    self.stored_all().await?;
                    let parts = forks::look(&self.inner, &self.room, run.events()).await;
                    told.extend(parts.map(|before| Input::Contested(log, before)));
                }
                Ok(told)
            }
            Err(Refusal::Author(_)) => Ok(vec![]),
        }
    }

    /// Waits until all that was received is held.
    async fn stored_all(&mut self) -> Result<(), String> {
        while let Some(stored) = self.storing.next().await {
            self.stored(stored)?;
        }
        Ok(())
    }

    /// Notes that received events are held.
    fn stored(&mut self, stored: Stored) -> Result<(), String> {
        self.storing_bytes = self.storing_bytes.saturating_sub(stored.bytes);
        let events = stored.result.map_err(|error| error.to_string())?;
        self.progress.stored(events.iter().map(Event::size).sum(), stored.begun.elapsed());
        if events.iter().any(|event| event.log().lane == Lane::Control) {
            // What was refused for want of control events may be acceptable now.
            self.session.forgive();
        }
        Ok(())
    }

    /// Tells the peer where other members can be reached.
    fn send_peers(&self) -> Result<(), String> {
        let addrs = self.inner.addresses_for(&self.room, &self.link.peer());
        if addrs.is_empty() { Ok(()) } else { self.job(Job::Send(SyncFrame::Peers(addrs))) }
    }

    fn learn_peers(&self, addrs: Vec<PeerAddr>) {
        let me = self.inner.me();
        let members =
            addrs.into_iter().filter(|addr| addr.peer != me && self.room.is_member(&addr.peer));
        for addr in members {
            self.inner.learn_address(&addr, Source::Told);
        }
    }

    fn caught_up(&self) {
        tracing::debug!(peer = %self.link.peer().short(), session = self.id.0, "caught up");
        self.inner.want_secrets(&self.room);
    }
}

/// Returns how long one of so many sessions gathers changes; `chance` is from 0 to 1.
///
/// Gossip has brought nearly all of it to the peers by then, and whoever lacks something hears of it
/// from whichever of its own sessions is the first. So the mean grows with the number of sessions,
/// and what a node sends for one message does not; the shortest delay stays as it is.
fn announce_delay(sessions: usize, chance: f64) -> Duration {
    let others = u32::try_from(sessions.clamp(1, MAX_SPREAD) - 1).unwrap_or(0);
    ANNOUNCE_DELAY.mul_f64(1.0 + 2.0 * f64::from(others) * chance)
}

/// First pause before a refused or broken session is tried again, doubled up to [`MAX_RETRY`].
const FIRST_RETRY: Duration = Duration::from_secs(1);
/// Longest pause.
const MAX_RETRY: Duration = Duration::from_mins(1);
/// How long the higher peer waits for the lower one to open, so that they do not both.
const YIELD: Duration = Duration::from_millis(300);

/// Keeps a room synchronised over a link, in a task of its own, until either ends. Does nothing
/// where that is done already, or where the peer does not belong to the room.
pub(crate) fn maintain(inner: &Arc<Inner>, room: &Arc<RoomHandle>, link: &Link) {
    if link.is_closed() || !room.is_shared_with(inner, &link.peer()) {
        return;
    }
    {
        let mut state = room.lock();
        if state.maintained.get(&link.peer()) == Some(&link.stable_id()) {
            return;
        }
        state.maintained.insert(link.peer(), link.stable_id());
    }
    link.widen();
    let task = keep(inner.clone(), room.clone(), link.clone());
    inner.tasks.spawn(inner.cancel.clone().run_until_cancelled_owned(task));
}

async fn keep(inner: Arc<Inner>, room: Arc<RoomHandle>, link: Link) {
    let peer = link.peer();
    let mut pause = FIRST_RETRY;
    if inner.me() > peer {
        tokio::time::sleep(YIELD).await;
    }
    while !link.is_closed() && is_maintained(&room, &link) && room.is_shared_with(&inner, &peer) {
        if has_session(&room, &link) {
            pause = FIRST_RETRY;
        } else if let Some(left) = room.shuns(&peer) {
            pause = pause.max(left);
        } else {
            match link.open(ayni_core::proto::service::SYNC, Some(room.id())).await {
                // The peer may have opened meanwhile; the lower peer's stream stays.
                Ok(_) if has_session(&room, &link) && peer < inner.me() => {}
                Ok(stream) => run(inner.clone(), room.clone(), link.clone(), stream).await,
                Err(error) => {
                    tracing::debug!(peer = %peer.short(), "sync not opened: {error}");
                    if matches!(error, crate::transport::OpenError::Refused) {
                        room.refused(&inner);
                    }
                }
            }
        }
        tokio::select! {
            _ = link.connection().closed() => break,
            () = tokio::time::sleep(pause.mul_f64(0.75 + 0.5 * inner.jitter())) => {}
        }
        pause = (pause * 2).min(MAX_RETRY);
    }
    let mut state = room.lock();
    if state.maintained.get(&peer) == Some(&link.stable_id()) {
        state.maintained.remove(&peer);
    }
}

fn is_maintained(room: &RoomHandle, link: &Link) -> bool {
    room.lock().maintained.get(&link.peer()) == Some(&link.stable_id())
}

fn has_session(room: &RoomHandle, link: &Link) -> bool {
    room.lock().sessions.get(&link.peer()).is_some_and(|active| active.link == link.stable_id())
}

/// Serves `sync/1`: the peer opened a session.
pub(crate) async fn accept(
    inner: Arc<Inner>,
    room: Arc<RoomHandle>,
    link: Link,
    mut stream: Stream,
) {
    // Both may open at once: the lower peer's stream stays, on both sides.
    if (has_session(&room, &link) && inner.me() < link.peer()) || room.shuns(&link.peer()).is_some()
    {
        crate::dispatch::answer(&mut stream, ayni_core::proto::Opened::Busy).await;
        return;
    }
    if crate::dispatch::accept(&mut stream).await {
        maintain(&inner, &room, &link);
        run(inner, room, link, stream).await;
    }
}
