//! Fetching one content from all who have it: the core's swarm, driven over the network.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use ayni_core::id::{BlobId, PeerId};
use ayni_core::swarm::{BLOCK_BYTES, Blocks, Fault, Input, Order, Output, RequestId, Swarm};
use bao_tree::ChunkRanges;
use tokio::sync::{Notify, mpsc, watch};
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::AbortOnDropHandle;

use super::access::Origin;
use super::allowance::{Allowance, Bound};
use super::ask::{self, Limits, Trouble, Way};
use super::plan::{Came, Plan};
use super::provider::{self, Line};
use super::starts::{STAGGER, START, Starts};
use super::store::Contents;
use crate::error::{Error, Result};
use crate::inner::Inner;

/// What waits to be told to the machine; whoever tells more waits, and reads no further meanwhile.
const QUEUE: usize = 256;
/// Providers that are attended to at a time: beyond these another one adds little.
const MAX_PROVIDERS: usize = 32;
/// How often it is looked whether others are to be attended to.
const LOOK: Duration = Duration::from_secs(1);
/// After how long a provider that brings nothing makes way for one that was not tried.
const ROTATE: Duration = Duration::from_secs(30);
/// How often a view of the transfer is renewed.
const VIEW: Duration = Duration::from_millis(200);
/// How long the rate of a view looks back.
const RATE: Duration = Duration::from_secs(3);

/// What happens to a fetch.
#[derive(Debug)]
pub(super) enum Happened {
    /// A provider is there, and has this.
    Holds { peer: PeerId, line: Line, ranges: ChunkRanges },
    /// A provider is gone, or does not give it.
    Gone(PeerId),
    /// Blocks came and are right.
    Came(RequestId, Came),
    /// An answer ended.
    Ended(RequestId, Result<(), Trouble>),
}

/// What steers a fetch from outside.
#[derive(Debug, Clone)]
pub(super) struct Goal {
    /// The content, or the list of a folder's files.
    pub(super) blob: BlobId,
    /// Who may have it; more may come.
    pub(super) sources: watch::Receiver<BTreeSet<PeerId>>,
    /// Who has it most likely: the peer of a ticket.
    pub(super) first: Option<PeerId>,
    /// How large it is said to be; one of another size is not fetched.
    pub(super) claimed: Option<u64>,
    /// What is to come first.
    pub(super) order: watch::Receiver<Order>,
    pub(super) limits: Limits,
    /// By what it comes.
    pub(super) origin: Origin,
}

/// How far a fetch is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct View {
    /// Bytes that are here.
    pub(crate) bytes: u64,
    /// Bytes of the whole, once that is proved.
    pub(super) size: Option<u64>,
    /// Bytes a second lately.
    pub(super) rate: u64,
    /// Providers that are connected and have some of it.
    pub(super) peers: usize,
    /// Bytes that came although they were here.
    pub(super) twice: u64,
}

/// Fetches a content until all of it is here. Returns its size.
///
/// Dropping it ends it; what came stays.
///
/// # Errors
/// [`Error::Store`] where this machine fails; never because of providers: it waits for better ones.
pub(super) async fn fetch(
    inner: &Arc<Inner>,
    contents: &Contents,
    goal: Goal,
    mut view: impl FnMut(View) + Send,
) -> Result<u64> {
    let held = contents.held(goal.blob).await?;
    if let Some(size) = held.size.filter(|_| held.complete) {
        contents.settled(goal.blob).await?;
        view(View { bytes: size, size: Some(size), ..View::default() });
        return Ok(size);
    }
    let mut goal = goal;
    if let Some(claimed) = goal.claimed {
        goal.limits.most = Arc::new(Allowance::new(Bound::Claimed(claimed)));
    }
    let mut fetch = Fetch::new(inner, contents, goal);
    let size = match held.size {
        Some(size) => size,
        None => fetch.learn_size().await?,
    };
    if fetch.goal.claimed.is_some_and(|claimed| claimed != size) {
        return Err(fetch.goal.limits.most.refusal(size));
    }
    let blob = fetch.goal.blob;
    let view = |numbers: &Seen| view(numbers.of_bytes(size));
    fetch.get(&Plan::Blob { blob, size }, view).await?;
    contents.settled(blob).await?;
    Ok(size)
}

/// Fetches the ends of the files that a folder lists, so that the sizes of all are proved; the list is
/// here and has `size` bytes. `seen` hears how many there are by then, and how many providers.
///
/// # Errors
/// As [`fetch`].
pub(super) async fn fetch_ends(
    inner: &Arc<Inner>,
    contents: &Contents,
    goal: Goal,
    (size, files): (u64, Arc<[BlobId]>),
    mut seen: impl FnMut(&Seen) + Send,
) -> Result<()> {
    let plan = Plan::Ends { root: goal.blob, size, files };
    Fetch::new(inner, contents, goal).get(&plan, |now| seen(now)).await
}

/// How far a swarm is.
#[derive(Debug, Clone, Copy)]
pub(super) struct Seen {
    /// Numbers that are not here.
    pub(super) missing: u64,
    /// Bytes a second lately, about.
    pub(super) rate: u64,
    /// Providers that are connected and have some of it.
    pub(super) peers: usize,
    /// Bytes that came although they were here.
    pub(super) twice: u64,
}

impl Seen {
    fn of_bytes(&self, size: u64) -> View {
        let bytes = size.saturating_sub(self.missing.saturating_mul(BLOCK_BYTES));
        View { bytes, size: Some(size), rate: self.rate, peers: self.peers, twice: self.twice }
    }
}

struct Fetch {
    inner: Arc<Inner>,
    contents: Contents,
    goal: Goal,
    tell: mpsc::Sender<Happened>,
    told: mpsc::Receiver<Happened>,
    attended: BTreeMap<PeerId, Attended>,
    /// How often each was attended to.
    tries: BTreeMap<PeerId, u32>,
    looked: Option<Instant>,
    /// What each connected provider has.
    present: BTreeMap<PeerId, (Line, ChunkRanges)>,
}

/// A provider that is attended to.
struct Attended {
    _task: AbortOnDropHandle<()>,
    /// When it was useful last, or begun with.
    useful: Instant,
}

impl Fetch {
    fn new(inner: &Arc<Inner>, contents: &Contents, goal: Goal) -> Self {
        let (tell, told) = mpsc::channel(QUEUE);
        Self {
            inner: inner.clone(),
            contents: contents.clone(),
            goal,
            tell,
            told,
            attended: BTreeMap::new(),
            tries: BTreeMap::new(),
            looked: None,
            present: BTreeMap::new(),
        }
    }

    /// Attends to providers that were not known before; where there are too many, in turns. Returns who is
    /// not attended to any more.
    fn attend(&mut self) -> Vec<PeerId> {
        let changed = self.goal.sources.has_changed().unwrap_or(false);
        if !changed && self.looked.is_some_and(|at| at.elapsed() < LOOK) {
            return vec![];
        }
        self.looked = Some(Instant::now());
        let mut sources = self.goal.sources.borrow_and_update().clone();
        for liar in self.inner.content.dials.liars(self.goal.blob) {
            sources.remove(&liar);
        }
        self.tries.retain(|peer, _| sources.contains(peer));
        let waiting = sources.iter().filter(|peer| !self.attended.contains_key(peer)).count();
        let free = MAX_PROVIDERS.saturating_sub(self.attended.len());
        let mut gone: Vec<PeerId> =
            self.attended.keys().filter(|peer| !sources.contains(peer)).copied().collect();
        let idle = self
            .attended
            .iter()
            .filter(|(peer, it)| sources.contains(peer) && it.useful.elapsed() > ROTATE);
        let make_way = waiting.saturating_sub(free + gone.len());
        gone.extend(idle.map(|(peer, _)| *peer).take(make_way).collect::<Vec<_>>());
        for peer in &gone {
            self.leave(peer);
        }
        let mut waiting: Vec<PeerId> =
            sources.into_iter().filter(|peer| !self.attended.contains_key(peer)).collect();
        waiting.sort_by_cached_key(|peer| {
            let tries = self.tries.get(peer).copied().unwrap_or(0);
            let first = self.goal.first == Some(*peer);
            (tries, !first, self.inner.content.dials.live(peer).is_none())
        });
        waiting.truncate(MAX_PROVIDERS.saturating_sub(self.attended.len()));
        for peer in waiting {
            self.begin(peer);
        }
        gone
    }

    fn begin(&mut self, peer: PeerId) {
        *self.tries.entry(peer).or_default() += 1;
        let task = provider::attend(self.inner.clone(), (peer, self.goal.blob), self.tell.clone());
        let task = self.inner.cancel.clone().run_until_cancelled_owned(task);
        let task = self.inner.tasks.spawn(async {
            let _ = task.await; // none: the node stops
        });
        let task = AbortOnDropHandle::new(task);
        self.attended.insert(peer, Attended { _task: task, useful: Instant::now() });
    }

    fn leave(&mut self, peer: &PeerId) {
        self.attended.remove(peer);
        self.present.remove(peer);
    }

    /// Remembers one that sent what is not the content.
    fn note_liar(&mut self, peer: PeerId) {
        tracing::warn!(peer = %peer.short(), "a provider sent what is not the content");
        self.inner.content.dials.note_liar(self.goal.blob, peer);
        self.leave(&peer);
    }

    /// Returns how a provider is asked for something; what is asked ends with the node.
    fn way(&self, line: Line) -> Way {
        Way {
            contents: self.contents.clone(),
            line,
            limits: self.goal.limits.clone(),
            origin: self.goal.origin.clone(),
            cancel: self.inner.cancel.child_token(),
            waits: Arc::new(Notify::new()),
        }
    }

    /// Waits for what happens next; none when more providers are known, or at `due`.
    async fn next(&mut self, due: Option<Instant>) -> Option<Happened> {
        let due = async {
            match due {
                Some(due) => tokio::time::sleep_until(due.into()).await,
                None => std::future::pending().await,
            }
        };
        let happened = tokio::select! {
            biased;
            // The sender is ours: this never ends.
            happened = self.told.recv() => happened,
            changed = self.goal.sources.changed() => {
                if changed.is_err() {
                    // Nobody will name others: what is known has to do.
                    std::future::pending::<()>().await;
                }
                None
            }
            () = due => None,
        };
        match &happened {
            // What was on its way when it was left does not count.
            Some(Happened::Holds { peer, .. }) if !self.attended.contains_key(peer) => return None,
            Some(Happened::Holds { peer, line, ranges }) => {
                self.present.insert(*peer, (line.clone(), ranges.clone()));
            }
            Some(Happened::Gone(peer)) => drop(self.present.remove(peer)),
            _ => {}
        }
        happened
    }

    /// Asks whoever has something of the content for its start and its end, until its size is proved:
    /// one, and soon another, for nobody knows who is slow.
    async fn learn_size(&mut self) -> Result<u64> {
        let blob = self.goal.blob;
        let mut starts = Starts::default();
        loop {
            self.attend();
            if let Some(peer) = starts.next(&self.present)
                && let Some((line, _)) = self.present.get(&peer)
            {
                let way = self.way(line.clone());
                starts.asking.spawn(async move {
                    let asked = tokio::time::timeout(START, ask::ask_start(&way, blob)).await;
                    (peer, asked.unwrap_or(Err(Trouble::Theirs(Fault::Broken))))
                });
            }
            let due = Some(Instant::now() + STAGGER);
            let ended = tokio::select! {
                Some(ended) = starts.asking.join_next() => ended.ok(),
                _ = self.next(due) => None,
            };
            match ended {
                None => {}
                Some((_, Ok(()))) => {
                    if let Some(size) = self.contents.held(blob).await?.size {
                        return Ok(size);
                    }
                }
                Some((_, Err(Trouble::Ours))) => return Err(cannot_be_kept()),
                Some((_, Err(Trouble::TooLarge(size)))) => {
                    return Err(self.goal.limits.most.refusal(size));
                }
                Some((peer, Err(Trouble::Theirs(Fault::Lied)))) => self.note_liar(peer),
                // It may give it later.
                Some((peer, Err(Trouble::Theirs(_)))) => starts.rests(peer),
            }
        }
    }

    async fn get(&mut self, plan: &Plan, mut view: impl FnMut(&Seen) + Send) -> Result<()> {
        let here = plan.here(&self.contents).await?;
        let mut seed = [0; 8];
        crate::inner::fill(&mut seed)?;
        let mut run = Run {
            swarm: Swarm::new(plan.count(), &here, u64::from_be_bytes(seed)),
            plan: plan.clone(),
            begun: Instant::now(),
            asking: BTreeMap::new(),
            speed: Speed::default(),
            complete: false,
        };
        let present: Vec<_> =
            self.present.iter().map(|(peer, (_, ranges))| (*peer, plan.numbers(ranges))).collect();
        for (provider, blocks) in present {
            run.handle(Input::Has { provider, blocks }, self);
        }
        let order = *self.goal.order.borrow_and_update();
        run.handle(Input::Order(order), self);
        let mut viewed = Instant::now();
        while !run.complete {
            for provider in self.attend() {
                run.asking.retain(|_, (peer, _)| *peer != provider);
                run.handle(Input::Gone { provider }, self);
            }
            if self.goal.order.has_changed().unwrap_or(false) {
                let order = *self.goal.order.borrow_and_update();
                run.handle(Input::Order(order), self);
            }
            let happened = self.next(Some(run.due().min(viewed + VIEW))).await;
            let input = match happened {
                Some(happened) => run.input(happened, self)?,
                None => Input::Tick,
            };
            run.handle(input, self);
            if viewed.elapsed() >= VIEW {
                viewed = Instant::now();
                view(&run.seen());
            }
        }
        view(&run.seen());
        Ok(())
    }
}

/// A swarm at work.
struct Run {
    swarm: Swarm,
    plan: Plan,
    begun: Instant,
    /// Dropping one ends its answer; what came is kept.
    asking: BTreeMap<RequestId, (PeerId, DropGuard)>,
    speed: Speed,
    complete: bool,
}

impl Run {
    fn now(&self) -> u64 {
        u64::try_from(self.begun.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    /// Returns when the swarm wants to hear of the time.
    fn due(&self) -> Instant {
        let now = self.now();
        let due = self.swarm.deadline(now).unwrap_or(now + 1_000);
        Instant::now() + Duration::from_millis(due.saturating_sub(now).min(60_000))
    }

    fn input(&mut self, happened: Happened, fetch: &mut Fetch) -> Result<Input> {
        if let Happened::Came(request, _) = &happened
            && let Some((peer, _)) = self.asking.get(request)
            && let Some(attended) = fetch.attended.get_mut(peer)
        {
            attended.useful = Instant::now();
        }
        Ok(match happened {
            Happened::Holds { peer, ranges, .. } => {
                Input::Has { provider: peer, blocks: self.plan.numbers(&ranges) }
            }
            Happened::Gone(peer) => {
                self.asking.retain(|_, (of, _)| *of != peer);
                Input::Gone { provider: peer }
            }
            Happened::Came(request, Came::Whole(from, to)) => Input::Verified { request, from, to },
            Happened::Came(request, Came::Something) => Input::Held { request },
            Happened::Ended(request, result) => {
                self.asking.remove(&request);
                match result {
                    Ok(()) => Input::Finished { request },
                    Err(Trouble::Theirs(fault)) => Input::Failed { request, fault },
                    Err(Trouble::Ours) => return Err(cannot_be_kept()),
                    Err(Trouble::TooLarge(size)) => {
                        return Err(fetch.goal.limits.most.refusal(size));
                    }
                }
            }
        })
    }

    fn handle(&mut self, input: Input, fetch: &mut Fetch) {
        let outputs = self.swarm.handle(input, self.now());
        self.carry_out(outputs, fetch);
    }

    fn carry_out(&mut self, outputs: Vec<Output>, fetch: &mut Fetch) {
        for output in outputs {
            match output {
                Output::Ask { request, provider, blocks } => {
                    self.ask(request, provider, blocks, fetch);
                }
                Output::Cancel { request } => drop(self.asking.remove(&request)),
                Output::Drop { provider } => fetch.note_liar(provider),
                Output::Complete => self.complete = true,
                _ => {}
            }
        }
    }

    fn ask(&mut self, request: RequestId, peer: PeerId, blocks: Blocks, fetch: &Fetch) {
        let Some((line, _)) = fetch.present.get(&peer) else { return };
        let way = fetch.way(line.clone());
        self.asking.insert(request, (peer, way.cancel.clone().drop_guard()));
        let asking = carry_out(self.plan.clone(), way, blocks, (request, fetch.tell.clone()));
        fetch.inner.tasks.spawn(asking);
    }

    fn seen(&mut self) -> Seen {
        let progress = self.swarm.progress();
        let peers = self.swarm.providers(self.now()).filter(|it| it.has > 0).count();
        let here = bytes_of(progress.size.saturating_sub(progress.missing));
        let rate = self.speed.at(here);
        let twice = bytes_of(progress.twice);
        Seen { missing: progress.missing, rate, peers, twice }
    }
}

/// Asks a provider for something, and tells what comes of it. It always ends in order: what came is kept.
async fn carry_out(
    plan: Plan,
    way: Way,
    blocks: Blocks,
    (request, tell): (RequestId, mpsc::Sender<Happened>),
) {
    let cancel: CancellationToken = way.cancel.clone();
    let (come, mut came) = mpsc::unbounded_channel();
    let asking = plan.ask(&way, &blocks, |what| {
        let _ = come.send(what); // read below as long as this runs
    });
    tokio::pin!(asking);
    let result = loop {
        let what = tokio::select! {
            biased;
            Some(what) = came.recv() => what,
            () = way.waits.notified() => Came::Something,
            result = &mut asking => break result,
        };
        if tell.send(Happened::Came(request, what)).await.is_err() {
            cancel.cancel();
            let _ = asking.await; // nobody listens any more
            return;
        }
    };
    while let Ok(what) = came.try_recv() {
        let _ = tell.send(Happened::Came(request, what)).await;
    }
    let _ = tell.send(Happened::Ended(request, result)).await;
}

/// Returns how many bytes some numbers of a swarm stand for, at most: they are blocks, or files of a block
/// or so.
fn bytes_of(numbers: u64) -> u64 {
    numbers.saturating_mul(BLOCK_BYTES)
}

/// The speed of the last moments.
#[derive(Debug, Default)]
struct Speed(std::collections::VecDeque<(Instant, u64)>);

impl Speed {
    /// Notes how many bytes are here; returns how many came a second.
    fn at(&mut self, bytes: u64) -> u64 {
        let now = Instant::now();
        self.0.push_back((now, bytes));
        while self.0.len() > 2 && self.0.front().is_some_and(|(then, _)| now - *then > RATE) {
            self.0.pop_front();
        }
        let Some((then, before)) = self.0.front() else { return 0 };
        let elapsed = u64::try_from((now - *then).as_millis()).unwrap_or(u64::MAX).max(1);
        bytes.saturating_sub(*before).saturating_mul(1000) / elapsed
    }
}

fn cannot_be_kept() -> Error {
    Error::Store("what arrives cannot be written to the data folder: is the disk full?".into())
}
