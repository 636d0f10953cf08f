//! How long it takes from calling `say` on one node until another shows it, beside what the machine
//! needs for a QUIC round trip and for one commit.
//!
//! A message is committed twice on its way: by its author before anyone hears of it, and by who
//! receives it before it is shown.

mod common;

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use ayni::{Event, EventStream, RoomId};
use common::baseline::{Commits, ECHO_BYTES, Echo};
use common::{Meter, Running, Samples, Table, ms, quick, text, times, verdict};

/// The three kinds of sample are taken in turns, so that other load on the machine meets all alike.
const ROUNDS: usize = 10;
/// What the aim allows beside one commit and one round trip.
const ALLOWANCE: Duration = Duration::from_millis(3);

fn main() -> Result<()> {
    tokio::runtime::Runtime::new()?.block_on(run())
}

async fn run() -> Result<()> {
    let per_round = if quick() { 5 } else { 100 };
    let (ours, theirs) = (Running::start().await?, Running::start().await?);
    let room = ours.node.create_room("latency").await?.room;
    theirs.join(&ours.invite(room).await?).await?;
    let mut shown = Shown { events: theirs.node.subscribe(), room };
    shown.settle(&ours).await?;

    let mut echo = Echo::connect().await?;
    let folder = common::folder()?;
    let commits = Commits::open(&folder.path().join("commits.db"))?;
    let (mut round_trip, mut commit) = (Samples::default(), Samples::default());
    let (mut durable, mut delivered) = (Samples::default(), Samples::default());
    let meter = Meter::start()?;
    for round in 0..ROUNDS {
        for _ in 0..per_round {
            round_trip.add(echo.round_trip().await?);
        }
        for _ in 0..per_round {
            commit.add(tokio::task::block_in_place(|| commits.commit())?);
        }
        for number in 0..per_round {
            let words = text(round * per_round + number);
            let start = Instant::now();
            let say = async { ours.node.say(room, &words).await.map(|_| start.elapsed()) };
            let (said, shown) = tokio::join!(say, shown.next());
            durable.add(said?);
            delivered.add(shown?.duration_since(start));
        }
    }
    let load = meter.read()?;

    let aim = commit.p50() + round_trip.p50() + ALLOWANCE;
    let mut table = Table::new(&["", "p50", "p99", "beside commit + round trip"]);
    let bare = (commit.p50() + round_trip.p50()).as_secs_f64();
    let mut row = |name: &str, samples: &Samples| {
        let ratio = times(samples.p50().as_secs_f64() / bare);
        table.row(&[name, &ms(samples.p50()), &ms(samples.p99()), &ratio]);
    };
    row(&format!("QUIC round trip, {ECHO_BYTES} bytes each way"), &round_trip);
    row("bare commit, one row", &commit);
    row("say, until durable with its author", &durable);
    row("say, until shown by the other", &delivered);
    table.row(&["aim: commit + round trip + 3 ms", &ms(aim), "", verdict(delivered.p50() <= aim)]);
    table.print(&format!(
        "latency: {} says, two nodes on 127.0.0.1; other load {:.0} % of the machine",
        delivered.len(),
        load.others_share(),
    ));
    ours.node.shutdown().await;
    theirs.node.shutdown().await;
    Ok(())
}

/// What the other node shows.
struct Shown {
    events: EventStream,
    room: RoomId,
}

impl Shown {
    /// Waits for the next message; returns when it was shown.
    async fn next(&mut self) -> Result<Instant> {
        let wait = async {
            loop {
                match self.events.next().await {
                    Event::Message(message) if message.room == self.room => {
                        return Ok(Instant::now());
                    }
                    Event::Lagged(_) | Event::Closed => bail!("messages were not shown"),
                    _ => {}
                }
            }
        };
        tokio::time::timeout(common::DEADLINE, wait).await.context("nothing was shown")?
    }

    /// Talks until both are used to each other: gossip neighbors, paths and caches are there.
    async fn settle(&mut self, ours: &Running) -> Result<()> {
        for number in 0..20 {
            ours.node.say(self.room, &text(number)).await?;
            self.next().await?;
        }
        Ok(())
    }
}
