//! One peer's side of synchronising one room over one stream.

use std::collections::{BTreeMap, VecDeque};
use std::ops::Range;

use super::claims::{Claims, Newest, SessionId};
use super::frame::{LogRuns, SyncFrame, Want, from_frontier, to_frontier};
use crate::event::RawEvent;
use crate::id::{EventId, PeerId};
use crate::keys::Bytes32;
use crate::limits::{
    MAX_FRONTIER_LOGS, MAX_FRONTIER_RUNS, MAX_RUN_EVENTS, MAX_RUNS_PER_LOG, MAX_TOTAL_LOGS,
    MAX_TOTAL_RUNS, MAX_WANT_EVENTS, MAX_WANT_RANGES, MAX_WANTS_IN_FLIGHT, NEWEST_MESSAGES,
};
use crate::log::{Frontier, Lane, LogId, Runs};
use crate::ticket::PeerAddr;

/// Requests that we keep under way at a time: two, so that the next is there when one is answered.
const PIPELINE: usize = 2;
/// Most logs that a peer seems to hold another branch of and that are looked into at a time; further
/// ones wait for the next comparison. Each costs one request.
const MAX_CONTESTED: usize = 8;

/// Events that are asked of one log at a time, at least, while it lacks that many: each run costs a
/// signature on both sides and a commit, whatever its length. Also what a peer is asked for at first.
const LEAST_SHARE: u64 = 64;

/// What a session is told.
#[derive(Debug)]
pub enum Input {
    /// The stream is open.
    Start,
    /// A frame arrived; its limits were checked.
    Frame(SyncFrame),
    /// What this room holds may have changed: announce it, ask for what is lacking.
    Changed,
    /// Compare states again, and forget what this peer could not give. Every half minute or so: it
    /// is what heals whatever went unnoticed.
    Check,
    /// Events of a received run were refused; they are not asked of this peer again before the
    /// control lane has changed.
    Refused(LogId, Range<u64>),
    /// The peer's branch of this log parts from ours before this position: ask for what is before.
    Contested(LogId, u64),
}

/// What a session asks its driver to do, in this order.
#[derive(Debug, PartialEq, Eq)]
pub enum Output {
    /// Send a frame.
    Send(SyncFrame),
    /// Send the events of these ranges that are held as `Run` frames, then `Done`.
    Serve(u64, Frontier),
    /// Send so many of the newest messages as `Run` frames, then `Done`.
    ServeNewest(u64, u32),
    /// Check and accept these events.
    Receive(Vec<RawEvent>),
    /// Try these addresses of members.
    Peers(Vec<PeerAddr>),
    /// Nothing is lacking that this peer announced.
    CaughtUp,
}

/// The peer broke the protocol: end the session.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Violation {
    /// Events that were not asked for.
    #[error("events that were not asked for")]
    Unsolicited,
    /// More requests at once than allowed.
    #[error("too many requests at once")]
    TooManyWants,
    /// A log in more separate runs than allowed; or, once all else is here, a frontier of more logs than
    /// are remembered of one peer at a time. A new session then goes on with the others.
    #[error("a frontier of too many logs")]
    TooManyLogs,
}

/// What the driver shows of its room while an input is handled.
#[derive(Debug, Clone, Copy)]
pub struct View<'a> {
    /// What is held.
    pub held: &'a Frontier,
    /// Its hash.
    pub state: &'a dyn StateHash,
}

/// Computes a state hash when one is needed.
pub trait StateHash: std::fmt::Debug {
    /// Returns the hash of all that is held.
    fn state_hash(&self) -> [u8; 32];
    /// Returns the length of a log as far as it is held and counts, and the event there.
    fn tip(&self, log: &LogId) -> Option<(u64, EventId)>;
}

impl StateHash for crate::room::Room {
    fn state_hash(&self) -> [u8; 32] {
        crate::room::Room::state_hash(self)
    }

    fn tip(&self, log: &LogId) -> Option<(u64, EventId)> {
        crate::room::Room::tip(self, log)
    }
}

/// What a request is for.
#[derive(Debug)]
enum Wanted {
    /// Messages of these ranges.
    Ranges(Frontier),
    /// The newest messages.
    Newest,
    /// The control lane, of which so much was lacking.
    Control(Frontier),
    /// Events of a log that both hold, in two branches perhaps.
    Branch(Frontier),
}

/// A request under way.
#[derive(Debug)]
struct Asked {
    wanted: Wanted,
    /// How many events the peer may still send for it.
    left: u64,
    /// How many came.
    came: u64,
    /// [`Session::forgiven`] when it was asked.
    forgiven: u64,
}

/// The machine. Feed every input to [`Self::handle`] and do what it returns.
#[derive(Debug)]
pub struct Session {
    id: SessionId,
    me: PeerId,
    peer: PeerId,
    theirs: Frontier,
    /// What the peer says that it holds of our own logs.
    ours: Option<Frontier>,
    /// Parts of logs of which the peer seems to hold another branch, to be asked for.
    contested: VecDeque<(LogId, Range<u64>)>,
    announced: Frontier,
    /// Logs that the peer announced beyond what is remembered at a time.
    surplus: usize,
    /// How often the peer may be told again, before the next comparison, of what both hold equally long.
    tellings: usize,
    refused: Frontier,
    /// How often the refusals were forgotten.
    forgiven: u64,
    asked: BTreeMap<u64, Asked>,
    next_want: u64,
    /// For how many events it answered: they came, or it said that no more come.
    answered: u64,
    /// The last log of which a share was asked; the next request goes on after it.
    turn: Option<LogId>,
    serving: usize,
    newest: Tried,
    /// Whether the peer's state was heard: before, it is not known whether anything must be said.
    compared: bool,
    caught_up: bool,
    listening: bool,
}

/// How far this session is with asking its peer for the newest messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Tried {
    Not,
    Asked,
    Answered,
}

impl Session {
    /// A new session of the device `me` with `peer`; `id` is unique among those of the room on this
    /// node.
    pub fn new(id: SessionId, me: PeerId, peer: PeerId) -> Self {
        Self {
            id,
            me,
            peer,
            theirs: Frontier::default(),
            ours: None,
            contested: VecDeque::new(),
            announced: Frontier::default(),
            surplus: 0,
            tellings: 1,
            refused: Frontier::default(),
            forgiven: 0,
            asked: BTreeMap::new(),
            next_want: 0,
            answered: 0,
            turn: None,
            serving: 0,
            newest: Tried::Not,
            compared: false,
            caught_up: false,
            listening: false,
        }
    }

    /// Returns what the peer announced that it holds.
    pub fn theirs(&self) -> &Frontier {
        &self.theirs
    }

    /// Returns how many separate runs this session remembers, of the peer's holding and of refusals.
    pub fn footprint(&self) -> usize {
        let all = self.theirs.iter().chain(self.refused.iter());
        all.map(|(_, runs)| runs.ranges().len()).sum()
    }

    /// Whether requests of ours are under way.
    pub fn is_waiting(&self) -> bool {
        !self.asked.is_empty()
    }

    /// Whether a newcomer has something to look at: all that the peer announced, or the newest of it.
    pub fn is_presentable(&self) -> bool {
        self.caught_up || self.newest == Tried::Answered
    }

    /// Whether the peer said what it holds of our own logs, and all of that is here, as far as it can
    /// give it. Before, a device that started from an older copy of itself may write what contradicts
    /// what it said.
    pub fn has_own(&self, held: &Frontier) -> bool {
        let lacking = |ours: &Frontier| ours.minus(held).minus(&self.refused);
        self.ours.as_ref().is_some_and(|ours| lacking(ours).is_empty())
    }

    /// Sets whether this side only listens: it takes what the peer has, and neither announces nor
    /// serves what is here.
    ///
    /// For a peer that is no member as far as is known here, and may have what counts all the same:
    /// one that left keeps what it said before; one that was admitted while this device was away,
    /// or in the part of the control lane that is still to come, has the events that say so. After
    /// it turned out to be a member: `false`, then [`Input::Changed`].
    pub fn listen_only(&mut self, only: bool) {
        self.listening = only;
    }

    /// Notes that the answer to one of the peer's requests is sent.
    pub fn served(&mut self) {
        self.serving = self.serving.saturating_sub(1);
    }

    /// Handles one input.
    ///
    /// # Errors
    /// [`Violation`]: end the session and call [`Claims::end`].
    pub fn handle(
        &mut self,
        input: Input,
        view: View<'_>,
        claims: &mut Claims,
    ) -> Result<Vec<Output>, Violation> {
        let mut out = Vec::new();
        match input {
            Input::Start => {
                self.compare(view, &mut out);
                self.tell_own(view, &mut out);
            }
            Input::Check => self.compare(view, &mut out),
            Input::Contested(log, before) => {
                self.contest(log, before);
                self.ask(view, claims, &mut out);
            }
            Input::Changed => {
                self.announce(view, &mut out);
                self.ask(view, claims, &mut out);
            }
            Input::Refused(log, range) => {
                self.refuse(log, range);
                self.ask(view, claims, &mut out);
            }
            Input::Frame(frame) => self.frame(frame, view, claims, &mut out)?,
        }
        if self.surplus > 0 && self.caught_up { Err(Violation::TooManyLogs) } else { Ok(out) }
    }

    /// Notes that events of a log are not to be asked for. A peer sends refusable events at any rate: what
    /// it did not announce is not asked for anyway, and of a log in which there are too many holes nothing
    /// is, until the next comparison.
    fn refuse(&mut self, log: LogId, range: Range<u64>) {
        if self.theirs.runs(&log).is_none() {
            return;
        }
        self.refused.insert(log, range);
        if self.refused.runs(&log).is_some_and(|runs| runs.ranges().len() > MAX_RUNS_PER_LOG) {
            self.refused.insert(log, 0..u64::MAX);
        }
    }

    fn compare(&mut self, view: View<'_>, out: &mut Vec<Output>) {
        // Whatever was refused may be tried once more in the time of a check.
        self.forgive();
        self.tellings = 1;
        out.push(Output::Send(SyncFrame::Summary(Bytes32(view.state.state_hash()))));
    }

    /// Tells the peer how far its own logs are here.
    fn tell_own(&self, view: View<'_>, out: &mut Vec<Output>) {
        if self.listening {
            return;
        }
        // Of its latest terms, where there should ever be more than one frame of them.
        let mut logs = from_frontier(&of_device(view.held, &self.peer));
        let surplus = logs.len().saturating_sub(MAX_FRONTIER_LOGS / MAX_RUNS_PER_LOG);
        logs.sort_by_key(|entry| entry.log.term);
        logs.drain(..surplus);
        logs.sort_by_key(|entry| entry.log);
        out.push(Output::Send(SyncFrame::Yours(logs)));
    }

    /// The states differ: tells again of the logs that both hold equally long, for one of them may be
    /// another branch.
    fn announce_again(&mut self, view: View<'_>, out: &mut Vec<Output>) {
        // Once: a hash of forty bytes would else be answered with all that is held, any number of times.
        if self.listening || self.is_waiting() || self.tellings == 0 {
            return;
        }
        self.tellings = 0;
        let equal = |(log, runs): &(&LogId, &Runs)| {
            runs.ranges().last().map(|run| run.end) == end_of(view.held.runs(log))
        };
        let equal = self.theirs.iter().filter(equal);
        let equal = equal.filter_map(|(log, _)| Some((*log, view.held.runs(log)?.clone())));
        have(&equal.collect(), view, out);
    }

    /// Looks for logs of which the peer holds another branch.
    fn compare_tips(&mut self, logs: &[LogRuns], view: View<'_>) {
        for LogRuns { log, runs, last } in logs {
            let told = runs.last().map(|(_, end)| *end).zip(*last);
            if let (Some((end, last)), Some((ours, id))) = (told, view.state.tip(log))
                && end == ours
                && last != id
            {
                self.contest(*log, end);
            }
        }
    }

    fn contest(&mut self, log: LogId, before: u64) {
        let asked = self.contested.iter().any(|(other, _)| *other == log);
        if before > 0 && !asked && self.contested.len() < MAX_CONTESTED {
            let start = before.saturating_sub(MAX_RUN_EVENTS as u64);
            self.contested.push_back((log, start..before));
        }
    }

    fn frame(
        &mut self,
        frame: SyncFrame,
        view: View<'_>,
        claims: &mut Claims,
        out: &mut Vec<Output>,
    ) -> Result<(), Violation> {
        self.compared |= matches!(frame, SyncFrame::Summary(_) | SyncFrame::Have(_));
        match frame {
            SyncFrame::Summary(theirs) if theirs.0 == view.state.state_hash() => {
                // What either announced beyond that counts for neither: it became void.
                self.theirs.clone_from(view.held);
                self.announced.clone_from(view.held);
                self.surplus = 0;
                self.ask(view, claims, out);
            }
            SyncFrame::Summary(_) => {
                self.announce(view, out);
                self.announce_again(view, out);
                self.ask(view, claims, out);
            }
            SyncFrame::Yours(logs) => {
                let ours = of_device(&to_frontier(&logs), &self.me);
                self.hear(&ours, view)?;
                self.ours = Some(ours);
                self.ask(view, claims, out);
            }
            SyncFrame::Have(logs) => {
                self.hear(&to_frontier(&logs), view)?;
                self.compare_tips(&logs, view);
                self.announce(view, out);
                self.ask(view, claims, out);
            }
            SyncFrame::Want(want) => self.serve(&want, view, out)?,
            SyncFrame::Run(id, events) => {
                self.check_solicited(id, &events)?;
                out.push(Output::Receive(events));
            }
            SyncFrame::Done(id) => self.done(id, view, claims, out)?,
            SyncFrame::Peers(addrs) => out.push(Output::Peers(addrs)),
        }
        Ok(())
    }

    fn serve(
        &mut self,
        want: &Want,
        view: View<'_>,
        out: &mut Vec<Output>,
    ) -> Result<(), Violation> {
        self.serving += 1;
        if self.serving > MAX_WANTS_IN_FLIGHT {
            return Err(Violation::TooManyWants);
        }
        if self.listening {
            self.served();
            out.push(Output::Send(SyncFrame::Done(want.id)));
            return Ok(());
        }
        out.push(match want.newest {
            Some(count) => Output::ServeNewest(want.id, count),
            None if want.control == Some(true) => {
                Output::Serve(want.id, only(&view.held.minus(&self.theirs), Lane::Control))
            }
            None => Output::Serve(want.id, to_frontier(&want.ranges)),
        });
        Ok(())
    }

    /// Notes what the peer says that it holds, as far as that is not too much. What is held here as well
    /// does not count: any member can write into any number of logs, and neither those who hold them nor
    /// newcomers may be kept from each other by that.
    fn hear(&mut self, told: &Frontier, view: View<'_>) -> Result<(), Violation> {
        let beyond = |log: &LogId, runs: &Runs| view.held.runs(log) != Some(runs);
        let (mut logs, mut all) = (0, 0);
        for (_, runs, _) in self.theirs.differing(view.held) {
            (logs, all) = (logs + 1, all + runs.ranges().len());
        }
        for (at, (log, runs)) in told.iter().enumerate() {
            if beyond(log, runs) {
                logs += usize::from(self.theirs.runs(log).is_none());
                all += runs.ranges().len();
                if logs > MAX_TOTAL_LOGS || all > MAX_TOTAL_RUNS {
                    self.surplus = self.surplus.saturating_add(told.len().saturating_sub(at));
                    break;
                }
            }
            for run in runs.ranges() {
                self.theirs.insert(*log, run.clone());
            }
            let scattered =
                self.theirs.runs(log).is_some_and(|it| it.ranges().len() > MAX_RUNS_PER_LOG);
            if scattered {
                return Err(Violation::TooManyLogs);
            }
        }
        Ok(())
    }

    /// Counts what came against what was asked for. That the events lie within the ranges is not
    /// looked at: what is held already changes nothing, and what is new is welcome.
    fn check_solicited(&mut self, id: u64, events: &[RawEvent]) -> Result<(), Violation> {
        let asked = self.asked.get_mut(&id).ok_or(Violation::Unsolicited)?;
        asked.left = asked.left.checked_sub(events.len() as u64).ok_or(Violation::Unsolicited)?;
        asked.came += events.len() as u64;
        self.answered = self.answered.saturating_add(events.len() as u64);
        Ok(())
    }

    fn done(
        &mut self,
        id: u64,
        view: View<'_>,
        claims: &mut Claims,
        out: &mut Vec<Output>,
    ) -> Result<(), Violation> {
        let asked = self.asked.remove(&id).ok_or(Violation::Unsolicited)?;
        claims.release(self.id, id);
        match &asked.wanted {
            Wanted::Ranges(ranges) => {
                // Who claims what it does not have is through with its claims as soon as others are.
                let short = ranges.count().saturating_sub(asked.came);
                self.answered = self.answered.saturating_add(short);
                // Where the control lane changed in between, what was refused may be welcome now.
                if asked.forgiven == self.forgiven {
                    self.refuse_missing(ranges, view);
                }
            }
            Wanted::Branch(_) => {}
            Wanted::Newest => {
                self.newest = Tried::Answered;
                claims.release_newest(self.id, asked.came > 0);
            }
            Wanted::Control(lacking) => {
                claims.release_control(self.id);
                if asked.forgiven == self.forgiven && lacking.minus(view.held) == *lacking {
                    self.refuse_missing(lacking, view);
                }
            }
        }
        self.announce(view, out);
        self.ask(view, claims, out);
        Ok(())
    }

    /// Notes what did not come in spite of the announcement, so that it is not asked for in a
    /// circle. Of a log of which nothing at all came nothing more is asked: a peer could announce
    /// any number of events that it does not have.
    fn refuse_missing(&mut self, ranges: &Frontier, view: View<'_>) {
        for (log, missing) in ranges.minus(view.held).iter() {
            if ranges.runs(log) == Some(missing) {
                self.refused.insert(*log, 0..u64::MAX);
            }
            for run in missing.ranges() {
                self.refused.insert(*log, run.clone());
            }
        }
    }

    /// Announces what is held and was not announced yet.
    fn announce(&mut self, view: View<'_>, out: &mut Vec<Output>) {
        let news = view.held.minus(&self.announced);
        if news.is_empty() || self.listening || !self.compared {
            return;
        }
        have(&news, view, out);
        self.announced.union(&news);
    }

    /// Asks for what is lacking, as far as the pipeline has room.
    fn ask(&mut self, view: View<'_>, claims: &mut Claims, out: &mut Vec<Output>) {
        // What is lacking costs time in proportion to all that the peer claims to have: it is not
        // worked out for every frame of a peer that owes an answer.
        if self.is_busy() {
            self.caught_up = false;
            return;
        }
        self.ask_branch(out);
        let lacking = self.theirs.minus(view.held);
        let lacking = lacking.minus(&self.refused);
        if lacking.is_empty() {
            if self.asked.is_empty() && !self.caught_up && !self.theirs.is_empty() {
                self.caught_up = true;
                out.push(Output::CaughtUp);
            }
            return;
        }
        self.caught_up = false;
        let control = only(&lacking, Lane::Control);
        if !control.is_empty() {
            if claims.claim_control(self.id) {
                self.want(Wanted::Control(control), out);
            }
            return;
        }
        let mut open = lacking.minus(&claims.all());
        // What this device itself said comes first: it writes nothing before.
        let own = of_device(&open, &self.me);
        if !own.is_empty() {
            let (part, _) = one_request(&own, self.most(), None);
            claims.claim(self.id, self.next_want, part.clone());
            return self.want(Wanted::Ranges(part), out);
        }
        if is_newcomer(view, &lacking) {
            // First what it will look at first; the rest when that is here.
            match claims.newest() {
                Newest::Free if self.asked.is_empty() && self.newest == Tried::Not => {
                    self.newest = Tried::Asked;
                    claims.claim_newest(self.id);
                    return self.want(Wanted::Newest, out);
                }
                Newest::Asked(_) => return,
                Newest::Free | Newest::Here => {}
            }
        }
        while self.asked.len() < PIPELINE && !open.is_empty() {
            let (part, turn) = one_request(&open, self.most(), self.turn);
            self.turn = turn;
            open = open.minus(&part);
            claims.claim(self.id, self.next_want, part.clone());
            self.want(Wanted::Ranges(part), out);
        }
    }

    /// Returns how many events one request may ask for. All that are under way are no more than the peer
    /// has answered for before, but for the first ones: nobody else is asked for them meanwhile, so a slow
    /// peer holds up the room no longer than it has taken so far, and a fast one is soon asked for much.
    fn most(&self) -> u64 {
        let share = (self.answered / PIPELINE as u64).clamp(LEAST_SHARE, MAX_WANT_EVENTS);
        share - share % LEAST_SHARE
    }

    /// Asks for a part of a log that is here in another branch: beside all else, one at a time.
    fn ask_branch(&mut self, out: &mut Vec<Output>) {
        if self.asked.values().any(|asked| matches!(asked.wanted, Wanted::Branch(_))) {
            return;
        }
        let Some((log, range)) = self.contested.pop_front() else { return };
        let mut part = Frontier::default();
        part.insert(log, range);
        self.want(Wanted::Branch(part), out);
    }

    /// Whether nothing more is asked for before something under way is answered.
    fn is_busy(&self) -> bool {
        let alone = |asked: &Asked| matches!(asked.wanted, Wanted::Newest | Wanted::Control(_));
        self.asked.len() >= PIPELINE || self.asked.values().any(alone)
    }

    /// Sends a request.
    fn want(&mut self, wanted: Wanted, out: &mut Vec<Output>) {
        let id = self.next_want;
        self.next_want += 1;
        let (want, left) = match &wanted {
            Wanted::Ranges(ranges) | Wanted::Branch(ranges) => {
                (Want::ranges(id, from_frontier(ranges)), most_for(ranges))
            }
            Wanted::Newest => {
                let most = u64::from(NEWEST_MESSAGES) + MAX_RUN_EVENTS as u64;
                (Want::newest(id, NEWEST_MESSAGES), most)
            }
            // As much as there is: it goes on to be announced while the answer comes, and may be more than
            // is remembered. A peer can claim any number before; what ends a flood is that nothing new
            // comes, which who drives this looks after.
            Wanted::Control(_) => (Want::control(id), u64::MAX),
        };
        let asked = Asked { wanted, left, came: 0, forgiven: self.forgiven };
        self.asked.insert(id, asked);
        out.push(Output::Send(SyncFrame::Want(want)));
    }

    /// Forgets what this peer could not give, because the reason may be gone: to be called when the
    /// control lane has advanced, before [`Input::Changed`].
    pub fn forgive(&mut self) {
        self.refused = Frontier::default();
        self.forgiven += 1;
    }
}

/// Tells what is held of some logs, with the ends.
fn have(news: &Frontier, view: View<'_>, out: &mut Vec<Output>) {
    let mut logs = from_frontier(news);
    for entry in &mut logs {
        // The news of a scattered log may be in more pieces than its holding is.
        if entry.runs.len() > MAX_RUNS_PER_LOG
            && let Some(held) = view.held.runs(&entry.log)
        {
            entry.runs = held.ranges().iter().map(|run| (run.start, run.end)).collect();
        }
        let end = entry.runs.last().map(|(_, end)| *end);
        let tip = view.state.tip(&entry.log);
        entry.last = tip.filter(|(at, _)| Some(*at) == end).map(|(_, last)| last);
    }
    for logs in frames_of(logs) {
        out.push(Output::Send(SyncFrame::Have(logs)));
    }
}

fn end_of(runs: Option<&Runs>) -> Option<u64> {
    runs?.ranges().last().map(|run| run.end)
}

/// Whether hardly anything was said here yet (a few live messages may have come), and much there.
fn is_newcomer(view: View<'_>, lacking: &Frontier) -> bool {
    let newest = u64::from(NEWEST_MESSAGES);
    view.held.events(Lane::Chat) < newest && lacking.events(Lane::Chat) > newest
}

fn of_device(frontier: &Frontier, device: &PeerId) -> Frontier {
    let own = frontier.iter().filter(|(log, _)| log.device == *device);
    own.map(|(log, runs)| (*log, runs.clone())).collect()
}

fn only(frontier: &Frontier, lane: Lane) -> Frontier {
    frontier
        .iter()
        .filter(|(log, _)| log.lane == lane)
        .map(|(log, runs)| (*log, runs.clone()))
        .collect()
}

/// Parts a frontier into frames' worth.
fn frames_of(logs: Vec<LogRuns>) -> Vec<Vec<LogRuns>> {
    let mut frames: Vec<Vec<LogRuns>> = Vec::new();
    let mut runs_left = 0;
    for entry in logs {
        let full = frames.last().is_none_or(|frame| frame.len() >= MAX_FRONTIER_LOGS);
        if full || runs_left < entry.runs.len() {
            frames.push(Vec::new());
            runs_left = MAX_FRONTIER_RUNS;
        }
        runs_left = runs_left.saturating_sub(entry.runs.len());
        if let Some(frame) = frames.last_mut() {
            frame.push(entry);
        }
    }
    frames
}

/// Cuts one request's worth off, `most` events: of each log a share from its end, for the newest
/// messages matter first. Where the logs are too many for that, it is the turn of those after `turn`.
/// Returns also the last one that had its turn.
fn one_request(open: &Frontier, most: u64, turn: Option<LogId>) -> (Frontier, Option<LogId>) {
    let logs = open.len().clamp(1, MAX_WANT_RANGES) as u64;
    let share = (most / logs).max(LEAST_SHARE);
    let mut left = most;
    let mut ranges_left = MAX_WANT_RANGES;
    let (mut part, mut last) = (Frontier::default(), None);
    let next = |log: &LogId| turn.is_none_or(|turn| *log > turn);
    let after = open.iter().filter(|(log, _)| next(log));
    for (log, runs) in after.chain(open.iter().filter(|(log, _)| !next(log))) {
        let pieces = ranges_left.min(MAX_RUNS_PER_LOG);
        let some = share_of(runs, share.min(left), pieces);
        left = left.saturating_sub(some.count());
        ranges_left = ranges_left.saturating_sub(some.ranges().len());
        for run in some.ranges() {
            part.insert(*log, run.clone());
        }
        last = Some(*log);
        if left == 0 || ranges_left == 0 {
            break;
        }
    }
    (part, last)
}

/// Returns how many events may come for a request: a run goes on beyond its range where the last
/// event in it has no signature of its own that could prove it.
fn most_for(ranges: &Frontier) -> u64 {
    let runs: usize = ranges.iter().map(|(_, runs)| runs.ranges().len()).sum();
    ranges.count().saturating_add((runs * MAX_RUN_EVENTS) as u64)
}

/// Returns the highest `count` positions, in at most so many pieces.
fn share_of(runs: &Runs, mut count: u64, pieces: usize) -> Runs {
    let mut some = Runs::default();
    for run in runs.ranges().iter().rev().take(pieces) {
        let take = (run.end - run.start).min(count);
        some.insert(run.end - take..run.end);
        count -= take;
        if count == 0 {
            break;
        }
    }
    some
}
