//! How say→shown grows with the members of a room: 2, 10 and 30 real nodes in this process, each
//! with its own endpoint and its own database on the same disk, quiet and while five newcomers
//! synchronise.
//!
//! All nodes share this machine: a say costs each member a commit and the work to receive, check and
//! pass on. So beside the figures stand the processor time that one say took, and how long as many
//! databases as there are members need to commit one row each at the same time.

mod common;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use ayni::{Event, EventId, RoomId};
use common::baseline::commits_at_once;
use common::{Load, Meter, Running, Samples, Table, doing, ms, quick, say_many, text, times};
use futures_util::future::try_join_all;
use tokio::sync::mpsc;

/// Newcomers that synchronise at the same time.
const NEWCOMERS: usize = 5;
/// Between two says: a lively room, and time for one say to reach everyone before the next.
const PACE: Duration = Duration::from_millis(50);
/// Rounds of the bare commits.
const COMMIT_ROUNDS: usize = 50;

fn main() -> Result<()> {
    tokio::runtime::Runtime::new()?.block_on(run())
}

async fn run() -> Result<()> {
    let sizes: &[usize] = if quick() { &[2, 5] } else { &[2, 10, 30] };
    let mut table = Table::new(&[
        "members",
        "",
        "says",
        "one: p50",
        "p99",
        "all: p50",
        "p99",
        "p50 / two",
        "cpu / say",
        "own cpu",
        "other cpu",
    ]);
    let mut commits = Table::new(&["databases that commit at once", "p50", "p99"]);
    let mut base = None;
    for &size in sizes {
        let folder = common::folder()?;
        let path = folder.path().to_owned();
        let bare = move || commits_at_once(&path, size, COMMIT_ROUNDS);
        let mut samples = Samples::default();
        tokio::task::spawn_blocking(bare).await??.into_iter().for_each(|time| samples.add(time));
        commits.row(&[size.to_string(), ms(samples.p50()), ms(samples.p99())]);

        doing(&format!("gathering {size} members"));
        let mut group = Group::gather(size).await?;
        doing(&format!("{size} members talk"));
        let quiet = group.measure_quiet(if quick() { 20 } else { 200 }).await?;
        let two = *base.get_or_insert(quiet.one.p50());
        table.row(&quiet.row(size, "quiet", two));
        doing(&format!("{NEWCOMERS} newcomers join {size} members"));
        let (busy, held) = group.measure_newcomers().await?;
        table.row(&busy.row(size, &format!("{NEWCOMERS} newcomers, {held:.1?}"), two));
        group.shutdown().await;
    }
    table.print(
        "scale: say→shown, to any one member and until the last of all shows it (127.0.0.1, one \
         process)",
    );
    commits.print("beside it: bare commits, until the last is durable");
    Ok(())
}

/// What was measured over some says.
struct Measured {
    /// Until shown, each member a sample.
    one: Samples,
    /// Until shown by the last member.
    all: Samples,
    load: Load,
}

impl Measured {
    fn row(&self, size: usize, state: &str, two: Duration) -> Vec<String> {
        let says = u32::try_from(self.all.len()).unwrap_or(u32::MAX).max(1);
        vec![
            size.to_string(),
            state.to_owned(),
            self.all.len().to_string(),
            ms(self.one.p50()),
            ms(self.one.p99()),
            ms(self.all.p50()),
            ms(self.all.p99()),
            times(self.one.p50().as_secs_f64() / two.as_secs_f64()),
            ms(self.load.own / says),
            format!("{:.0} %", self.load.own_share()),
            format!("{:.0} %", self.load.others_share()),
        ]
    }
}

/// Nodes in one room, and what they show.
struct Group {
    members: Vec<Running>,
    room: RoomId,
    shown: mpsc::UnboundedReceiver<(EventId, Instant)>,
    /// Says whose showing came before they were asked about.
    early: BTreeMap<EventId, Vec<Instant>>,
    said: usize,
}

impl Group {
    /// Starts so many nodes, fills a room with history, and lets all join.
    async fn gather(size: usize) -> Result<Self> {
        let members: Vec<Running> =
            try_join_all((0..size).map(|_| Running::start())).await.context("starting")?;
        let Some((founder, others)) = members.split_first() else { bail!("no members") };
        let room = founder.node.create_room("scale").await?.room;
        say_many(&founder.node, room, if quick() { 500 } else { 5000 }).await?;
        let ticket = founder.invite(room).await?;
        for some in others.chunks(NEWCOMERS) {
            try_join_all(some.iter().map(|member| member.join(&ticket))).await?;
        }
        let (sender, shown) = mpsc::unbounded_channel();
        for member in &members {
            let mut events = member.node.subscribe();
            let sender = sender.clone();
            tokio::spawn(async move {
                loop {
                    match events.next().await {
                        Event::Message(message) if !message.mine => {
                            let _ = sender.send((message.event, Instant::now()));
                        }
                        Event::Closed => return,
                        _ => {}
                    }
                }
            });
        }
        let mut group = Self { members, room, shown, early: BTreeMap::new(), said: 0 };
        group.settle().await?;
        Ok(group)
    }

    /// Waits until all hold the same, and have shown each other a few says.
    async fn settle(&mut self) -> Result<()> {
        let Some(first) = self.members.first() else { bail!("no members") };
        let mut held = first.events().await?;
        for member in &self.members {
            member.holds(held).await?;
            held = held.max(member.events().await?);
        }
        for _ in 0..10 {
            self.say(&mut Samples::default()).await?;
        }
        Ok(())
    }

    /// Lets the next member say something; adds when each other one showed it, and returns when the
    /// last did.
    async fn say(&mut self, one: &mut Samples) -> Result<Duration> {
        let author = &self.members[self.said % self.members.len()];
        let start = Instant::now();
        let event = author.node.say(self.room, &text(self.said)).await?;
        self.said += 1;
        let mut seen = self.early.remove(&event).unwrap_or_default();
        while seen.len() + 1 < self.members.len() {
            let next = tokio::time::timeout(common::DEADLINE, self.shown.recv()).await;
            let (shown, at) = next.context("a say was not shown")?.context("all nodes ended")?;
            if shown == event {
                seen.push(at);
            } else {
                self.early.entry(shown).or_default().push(at);
            }
        }
        let times: Vec<Duration> = seen.iter().map(|at| at.duration_since(start)).collect();
        for time in &times {
            one.add(*time);
        }
        Ok(times.into_iter().max().unwrap_or_default())
    }

    async fn measure_quiet(&mut self, says: usize) -> Result<Measured> {
        let (mut one, mut all) = (Samples::default(), Samples::default());
        let meter = Meter::start()?;
        for _ in 0..says {
            all.add(self.say(&mut one).await?);
            tokio::time::sleep(PACE).await;
        }
        Ok(Measured { one, all, load: meter.read()? })
    }

    /// Says on while newcomers join through different members, until they hold everything; returns
    /// also how long that took.
    async fn measure_newcomers(&mut self) -> Result<(Measured, Duration)> {
        let newcomers = try_join_all((0..NEWCOMERS).map(|_| Running::start())).await?;
        let mut tickets = Vec::new();
        for number in 0..NEWCOMERS {
            tickets.push(self.members[number % self.members.len()].invite(self.room).await?);
        }
        let held = self.members[0].events().await?;
        let (mut one, mut all) = (Samples::default(), Samples::default());
        let meter = Meter::start()?;
        let filled = tokio::spawn(async move {
            let start = Instant::now();
            try_join_all(newcomers.iter().zip(&tickets).map(async |(newcomer, ticket)| {
                newcomer.join(ticket).await?;
                newcomer.holds(held).await
            }))
            .await?;
            anyhow::Ok((start.elapsed(), newcomers))
        });
        while !filled.is_finished() {
            all.add(self.say(&mut one).await?);
            tokio::time::sleep(PACE).await;
        }
        let load = meter.read()?;
        let (time, newcomers) = filled.await??;
        for newcomer in newcomers {
            newcomer.node.shutdown().await;
        }
        Ok((Measured { one, all, load }, time))
    }

    async fn shutdown(self) {
        futures_util::future::join_all(self.members.iter().map(|it| it.node.shutdown())).await;
    }
}
