//! `ayni demo`: real nodes on this machine meet, talk, lose one of them, and go on.
//!
//! Every node is a process of this very program with a folder of its own, and everything is done
//! and checked through its command line. Nothing is simulated, and a step is reported as done only
//! after the logs of all were compared.

mod actor;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use futures_util::future::try_join_all;
use serde::Serialize;

use self::actor::{Actor, Line};
use crate::exit::{Code, failure};
use crate::output::{Out, clean};
use crate::session::Session;

/// Messages of each in the first talk: enough that they cross each other.
const FIRST_TALK: usize = 5;
/// Messages of each while one is killed.
const SECOND_TALK: usize = 8;
/// Messages of the victim that are acknowledged before it is killed.
const BEFORE_THE_KILL: usize = 3;
/// Time for everything with the usual four nodes, and more for each node beyond them.
const TIME: Duration = Duration::from_mins(1);
const USUAL_PEERS: u32 = 4;
const TIME_FOR_EACH_MORE: Duration = Duration::from_secs(5);
/// Time for one node's log to hold what it should.
const CATCH_UP: Duration = Duration::from_secs(20);
/// Pause between two looks at a log.
const LOOK_AGAIN: Duration = Duration::from_millis(100);

/// What one step showed.
#[derive(Debug, Serialize)]
struct Told<'a> {
    step: &'a str,
    ok: bool,
    detail: &'a str,
    ms: u128,
}

/// Plays the whole story with `peers` nodes and cleans up after it, however it ends.
pub(crate) async fn demo(session: &mut Session, peers: u32) -> anyhow::Result<()> {
    let time = TIME + TIME_FOR_EACH_MORE * peers.saturating_sub(USUAL_PEERS);
    let stop = session.stop().clone();
    let mut stage = Stage::new(&mut session.out)?;
    let played = stop.run_until_cancelled(tokio::time::timeout(time, stage.play(peers))).await;
    let told = match played {
        Some(Ok(told)) => told,
        Some(Err(_)) => {
            let told = format!("the demonstration was not over in {} s", time.as_secs());
            Err(failure(Code::Unreachable, told))
        }
        None => Err(failure(Code::Other, "the demonstration was stopped")),
    };
    if told.is_err() {
        stage.report(false, "This did not hold.")?;
    }
    stage.clean_up().await;
    told.context("the demonstration failed")?;
    if !session.out.is_json() {
        session.out.line("\nAll of it held, and its folders are gone. `ayni` starts your own.")?;
    }
    Ok(session.out.flush()?)
}

/// The actors, and what was acknowledged to each: the truth that the logs are compared with.
struct Stage<'a> {
    folders: tempfile::TempDir,
    actors: Vec<Actor>,
    /// Event to text, of every message that was acknowledged.
    said: BTreeMap<String, String>,
    room: String,
    out: &'a mut Out,
    step: &'static str,
    since: Instant,
}

impl<'a> Stage<'a> {
    fn new(out: &'a mut Out) -> anyhow::Result<Self> {
        let folders = tempfile::Builder::new().prefix("ayni-demo-").tempdir();
        Ok(Self {
            folders: folders.context("make a temporary folder")?,
            actors: Vec::new(),
            said: BTreeMap::new(),
            room: String::new(),
            out,
            step: "start",
            since: Instant::now(),
        })
    }

    /// The story. The first actor founds the room, and is the one that is killed.
    async fn play(&mut self, peers: u32) -> anyhow::Result<()> {
        if !self.out.is_json() {
            self.out.line(&format!("{peers} nodes on 127.0.0.1, and no server.\n"))?;
            self.out.flush()?;
        }
        self.start(peers).await?;
        self.meet().await?;
        self.talk().await?;
        self.lose_one().await?;
        self.go_on().await?;
        self.welcome().await?;
        self.bring_back().await
    }

    async fn start(&mut self, peers: u32) -> anyhow::Result<()> {
        self.begin("start");
        for number in 0..peers {
            self.actors.push(Actor::new(self.folders.path(), number as usize)?);
        }
        try_join_all(self.actors.iter_mut().map(Actor::start)).await?;
        let names: Vec<&str> = self.actors.iter().map(|actor| actor.name.as_str()).collect();
        let detail = format!(
            "{} start. Each is a process with its own key, database and page.",
            names.join(", ")
        );
        self.tell(&detail)
    }

    async fn meet(&mut self) -> anyhow::Result<()> {
        self.begin("meet");
        let Some((founder, guests)) = self.actors.split_first() else { bail!("nobody is here") };
        self.room = founder.create_room("demo").await?;
        let ticket = founder.invite(&self.room).await?;
        try_join_all(guests.iter().map(|guest| guest.join(&ticket))).await?;
        let detail = format!(
            "{} makes a room and sends a ticket; the other {} join with it.",
            founder.name,
            guests.len()
        );
        self.tell(&detail)
    }

    async fn talk(&mut self) -> anyhow::Result<()> {
        self.begin("talk");
        let talks = self.actors.iter().map(|actor| actor.talk(&self.room, FIRST_TALK, FIRST_TALK));
        for said in try_join_all(talks).await? {
            self.said.extend(said);
        }
        let log = self.compare(0).await?;
        let detail = format!(
            "All talk at once. {} messages, in the same order at everyone, for instance:",
            log.len()
        );
        self.tell(&detail)?;
        self.quote(&log)
    }

    /// Kills the founder while everybody talks.
    async fn lose_one(&mut self) -> anyhow::Result<()> {
        self.begin("crash");
        let room = self.room.clone();
        let Some((victim, others)) = self.actors.split_first_mut() else { bail!("nobody is here") };
        let last_words = async {
            let said = victim.talk(&room, SECOND_TALK, BEFORE_THE_KILL).await?;
            victim.kill().await?;
            anyhow::Ok(said)
        };
        let talks = others.iter().map(|actor| actor.talk(&room, SECOND_TALK, SECOND_TALK));
        let talks = try_join_all(talks);
        let (last_words, talks) = tokio::try_join!(last_words, talks)?;
        self.said.extend(talks.into_iter().flatten());
        self.said.extend(last_words);
        let detail = format!("{} is killed in mid-sentence (SIGKILL).", self.name(0));
        self.tell(&detail)
    }

    /// The victim's last words may be on its disk only, so they are not asked of the others yet.
    async fn go_on(&mut self) -> anyhow::Result<()> {
        self.begin("go-on");
        let log = self.compare(1).await?;
        let detail = format!(
            "The other {} go on without it: {} messages, the same at all of them.",
            self.actors.len() - 1,
            log.len()
        );
        self.tell(&detail)
    }

    async fn welcome(&mut self) -> anyhow::Result<()> {
        self.begin("newcomer");
        let mut newcomer = Actor::new(self.folders.path(), self.actors.len())?;
        newcomer.start().await?;
        let host = self.actors.get(1).context("nobody is left")?;
        let ticket = host.invite(&self.room).await?;
        newcomer.join(&ticket).await?;
        let detail_host = host.name.clone();
        self.said.extend(newcomer.talk(&self.room, 1, 1).await?);
        self.actors.push(newcomer);
        let log = self.compare(1).await?;
        let detail = format!(
            "{} joins with a ticket from {detail_host} and has the whole history: {} messages.",
            self.name(self.actors.len() - 1),
            log.len()
        );
        self.tell(&detail)
    }

    async fn bring_back(&mut self) -> anyhow::Result<()> {
        self.begin("return");
        self.actors.first_mut().context("nobody is here")?.start().await?;
        let log = self.compare(0).await?;
        let detail = format!(
            "{} returns and catches up. {} messages, each exactly once, at all {}.",
            self.name(0),
            log.len(),
            self.actors.len()
        );
        self.tell(&detail)
    }

    /// Waits until the logs of all actors from `first` on are the same and hold every message that
    /// was acknowledged to one of them, each once; returns that log.
    async fn compare(&self, first: usize) -> anyhow::Result<Vec<Line>> {
        let end = Instant::now() + CATCH_UP;
        loop {
            let present = self.actors.iter().skip(first);
            let logs = try_join_all(present.map(|actor| actor.log(&self.room))).await?;
            let verdict = self.verdict(&logs, first);
            match verdict {
                Ok(()) => return logs.into_iter().next().context("nobody is here"),
                Err(why) if Instant::now() >= end => return Err(why),
                Err(_) => tokio::time::sleep(LOOK_AGAIN).await,
            }
        }
    }

    fn verdict(&self, logs: &[Vec<Line>], first: usize) -> anyhow::Result<()> {
        let Some((log, others)) = logs.split_first() else { bail!("nobody is here") };
        ensure!(others.iter().all(|other| other == log), "the logs differ");
        let mut held = BTreeMap::new();
        for line in log {
            let again = held.insert(line.event.as_str(), line.text.as_str());
            ensure!(again.is_none(), "a message is there twice");
        }
        let absent: Vec<&str> = self.actors.iter().take(first).map(|a| a.name.as_str()).collect();
        for (event, text) in &self.said {
            match held.get(event.as_str()) {
                Some(same) => ensure!(same == text, "a message changed on the way"),
                None => ensure!(
                    absent.iter().any(|name| text.starts_with(name)),
                    "a message that was acknowledged is missing: {text}"
                ),
            }
        }
        Ok(())
    }

    fn name(&self, at: usize) -> &str {
        self.actors.get(at).map_or("nobody", |actor| &actor.name)
    }

    fn begin(&mut self, step: &'static str) {
        (self.step, self.since) = (step, Instant::now());
    }

    /// Reports that the step held.
    fn tell(&mut self, detail: &str) -> anyhow::Result<()> {
        self.report(true, detail)
    }

    fn report(&mut self, ok: bool, detail: &str) -> anyhow::Result<()> {
        let ms = self.since.elapsed().as_millis();
        let mark = if ok { '✓' } else { '✗' };
        let line = format!("  {mark} {:<9} {}  ({ms} ms)", self.step, clean(detail));
        self.out.result(&Told { step: self.step, ok, detail, ms }, &line)?;
        Ok(self.out.flush()?)
    }

    /// Shows the end of a log to people.
    fn quote(&mut self, log: &[Line]) -> anyhow::Result<()> {
        if !self.out.is_json() {
            for line in log.iter().skip(log.len().saturating_sub(3)) {
                self.out.line(&format!("              {}", clean(&line.text)))?;
            }
            self.out.flush()?;
        }
        Ok(())
    }

    /// Ends every process, then removes the folders.
    async fn clean_up(mut self) {
        for actor in &mut self.actors {
            let _ = actor.kill().await;
        }
        let _ = self.folders.close();
    }
}
