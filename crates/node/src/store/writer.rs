//! The writer thread: takes what waits, makes one transaction of it, commits, then acknowledges.
//!
//! Invariant: a write is acknowledged after the transaction that holds it is on the disk. When a
//! transaction fails it is undone whole, and its writes are tried again one at a time, so that only
//! those fail that cannot succeed.
//!
//! When nothing was written for a moment, it looks into messages for words and attachments, in small
//! batches between which it looks whether something waits.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};
use std::time::{Duration, Instant};

use ayni_core::id::RoomId;
use rusqlite::{Connection, TransactionBehavior};
use tokio::sync::{mpsc, oneshot, watch};

use super::append::{Known, apply};
use super::failure::Failure;
use super::{Append, Hold, Share, Write, index};
use crate::error::{Error, Result};

/// Writes in one transaction, at most: beyond this one `fsync` more is nothing beside the rest.
const MAX_BATCH: usize = 256;
/// Bytes of events in one transaction, about: bounds how long a new message waits behind a
/// newcomer's history (tens of milliseconds).
const MAX_BATCH_BYTES: usize = 4 * 1024 * 1024;
/// What a folder's file takes in the tables, in bytes, about: its hash stands there twice.
const BLOB_BYTES: usize = 90;
/// How long nothing is written before messages are looked into: a newcomer's history comes first.
const QUIET: Duration = Duration::from_millis(100);
/// How long writes may keep messages from being looked into at all: one batch then comes between.
const LONGEST: Duration = Duration::from_secs(2);
/// How long indexing rests after it failed: a full disk may have room again.
const REST: Duration = Duration::from_mins(1);

/// What the thread is told.
pub(super) enum Job {
    /// Carry this out and answer.
    Write { write: Box<Write>, done: oneshot::Sender<Result<()>> },
    /// Carry out what came before, and end.
    Close,
}

/// The running thread.
pub(super) struct Writer {
    ended: watch::Receiver<()>,
}

impl Writer {
    /// Starts the thread.
    pub(super) fn start(
        connection: Connection,
        path: &Path,
        jobs: mpsc::Receiver<Job>,
    ) -> Result<Self> {
        let (alive, ended) = watch::channel(());
        let begins = Instant::now();
        let state = State {
            // What was not finished last time goes on.
            indexing: Indexing { due: Some(begins), last: begins, whole: true },
            connection,
            path: path.to_owned(),
            known: Known::default(),
            poisoned: HashMap::new(),
        };
        thread::Builder::new()
            .name("ayni-store".into())
            .spawn(move || {
                run(state, jobs);
                drop(alive); // after the connection is closed
            })
            .map_err(Error::io("no thread could be started for the database"))?;
        Ok(Self { ended })
    }

    /// Waits until the thread has closed the database.
    pub(super) async fn ended(&self) {
        // Nothing is ever sent: this ends when the sender is dropped.
        while self.ended.clone().changed().await.is_ok() {}
    }
}

struct State {
    connection: Connection,
    path: PathBuf,
    known: Known,
    /// Rooms whose last append failed, and why.
    poisoned: HashMap<RoomId, String>,
    indexing: Indexing,
}

/// When to look into messages next.
struct Indexing {
    /// None while there is nothing to do.
    due: Option<Instant>,
    last: Instant,
    /// Whether it was not found damaged yet.
    whole: bool,
}

type Waiting = (Box<Write>, oneshot::Sender<Result<()>>);

fn run(mut state: State, mut jobs: mpsc::Receiver<Job>) {
    let mut next = state.wait(&mut jobs);
    while let Some(job) = next.take() {
        match job {
            Job::Close => jobs.close(), // those that hold a permit may still submit
            Job::Write { write, done } => {
                let batch;
                (batch, next) = gather((write, done), &mut jobs);
                state.carry_out(batch);
                state.note_written(&jobs);
            }
        }
        if next.is_none() {
            next = state.wait(&mut jobs);
        }
    }
    state.end();
}

/// Waits for a job until `due`; pending where that time has come.
fn receive(jobs: &mut mpsc::Receiver<Job>, due: Instant) -> Poll<Option<Job>> {
    struct Unpark(Thread);
    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }
    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    loop {
        let job = jobs.poll_recv(&mut Context::from_waker(&waker));
        let left = due.saturating_duration_since(Instant::now());
        if job.is_ready() || left.is_zero() {
            return job;
        }
        thread::park_timeout(left);
    }
}

/// Says whether words are indexed.
pub(super) fn switch_words(connection: &mut Connection, words: bool) -> Result<(), Failure> {
    let transaction = connection.transaction()?;
    index::switch_words(&transaction, words)?;
    Ok(transaction.commit()?)
}

/// Adds to `first` what waits already; returns the job that belongs to no batch or starts the next.
fn gather(first: Waiting, jobs: &mut mpsc::Receiver<Job>) -> (Vec<Waiting>, Option<Job>) {
    let mut bytes = size(&first.0);
    let mut batch = vec![first];
    while batch.len() < MAX_BATCH && bytes < MAX_BATCH_BYTES {
        match jobs.try_recv() {
            // It ends a poison: so it must not share a transaction with what came before it.
            Ok(Job::Write { write, done }) if !matches!(*write, Write::Recovered { .. }) => {
                bytes += size(&write);
                batch.push((write, done));
            }
            Ok(other) => return (batch, Some(other)),
            Err(_) => break,
        }
    }
    (batch, None)
}

fn size(write: &Write) -> usize {
    match write {
        Write::Append(append) => append.events.iter().map(ayni_core::event::Event::size).sum(),
        Write::Hold(Hold { blobs, .. })
        | Write::Share(Share { blobs, .. })
        | Write::Given { blobs, .. } => blobs.len() * BLOB_BYTES,
        _ => 0,
    }
}

impl State {
    /// Waits for the next job; looks into messages meanwhile.
    fn wait(&mut self, jobs: &mut mpsc::Receiver<Job>) -> Option<Job> {
        loop {
            // After the end was told, nothing is begun any more.
            let due = self.indexing.due.filter(|_| !jobs.is_closed());
            let Some(due) = due else { return jobs.blocking_recv() };
            match receive(jobs, due) {
                Poll::Ready(job) => return job,
                Poll::Pending => self.index(jobs),
            }
        }
    }

    /// Puts indexing off for a moment after a write, but not for ever.
    fn note_written(&mut self, jobs: &mpsc::Receiver<Job>) {
        let indexing = &mut self.indexing;
        let now = Instant::now();
        let rests = indexing.due.is_some_and(|due| due > now + QUIET);
        if !rests {
            let waits = indexing.due.is_some();
            indexing.due = Some(now + QUIET);
            if !waits {
                indexing.last = now;
            } else if now.saturating_duration_since(indexing.last) > LONGEST {
                self.index(jobs);
            }
        }
    }

    /// Indexes one batch.
    fn index(&mut self, jobs: &mpsc::Receiver<Job>) {
        let result = (|| {
            let behavior = TransactionBehavior::Immediate;
            let transaction = self.connection.transaction_with_behavior(behavior)?;
            let more = index::step(&transaction, || !jobs.is_empty())?;
            transaction.commit()?;
            Ok(more)
        })();
        let now = Instant::now();
        let indexing = &mut self.indexing;
        indexing.last = now;
        match result {
            Ok(more) => indexing.due = more.then_some(now),
            Err(failure) => {
                let failure: Failure = failure;
                let again = failure.is_damage() && std::mem::take(&mut indexing.whole);
                indexing.due = Some(now + REST);
                let error = failure.explain(&self.path);
                if again && self.rebuild_index() {
                    tracing::warn!(%error, "the index of messages was damaged, and is made again");
                } else {
                    tracing::warn!(%error, "messages could not be indexed");
                }
            }
        }
    }

    fn rebuild_index(&mut self) -> bool {
        let rebuilt = (|| {
            let transaction = self.connection.transaction()?;
            index::rebuild(&transaction)?;
            Ok::<_, Failure>(transaction.commit()?)
        })();
        if rebuilt.is_ok() {
            self.indexing.due = Some(Instant::now());
        }
        rebuilt.is_ok()
    }

    fn carry_out(&mut self, batch: Vec<Waiting>) {
        if let Some((first, _)) = batch.first()
            && let Write::Recovered { room } = **first
        {
            self.poisoned.remove(&room);
        }
        let batch = self.refuse_poisoned(batch);
        if self.transact(&batch).is_ok() {
            for (write, done) in batch {
                drop(write); // so that who is told has what was written for itself
                let _ = done.send(Ok(())); // who does not wait needs no answer
            }
            return;
        }
        for one in batch {
            for one in self.refuse_poisoned(vec![one]) {
                let result = self.transact(std::slice::from_ref(&one));
                let (write, done) = one;
                let _ = done.send(result.map_err(|failure| self.fail(&write, failure)));
            }
        }
    }

    /// Answers those writes whose room is poisoned, and returns the others.
    fn refuse_poisoned(&self, mut batch: Vec<Waiting>) -> Vec<Waiting> {
        let refused = batch.extract_if(.., |(write, _)| self.poison(write).is_some());
        for (write, done) in refused {
            let why = self.poison(&write).cloned().unwrap_or_default();
            let _ = done.send(Err(Error::Store(why)));
        }
        batch
    }

    fn poison(&self, write: &Write) -> Option<&String> {
        let Write::Append(Append { room, .. }) = write else { return None };
        self.poisoned.get(room)
    }

    /// Turns a failure into what is told, and poisons the room whose append it was.
    fn fail(&mut self, write: &Write, failure: Failure) -> Error {
        let error = failure.explain(&self.path);
        tracing::warn!(%error, "a write failed");
        if let Write::Append(Append { room, .. }) = write {
            self.poisoned.insert(*room, error.to_string());
        }
        error
    }

    /// Carries out all of `batch`, or none of it. Durable when it returns.
    fn transact(&mut self, batch: &[Waiting]) -> Result<(), Failure> {
        let Self { connection, known, .. } = self;
        let result = (|| {
            let behavior = TransactionBehavior::Immediate;
            let transaction = connection.transaction_with_behavior(behavior)?;
            for (write, _) in batch {
                apply(&transaction, known, write)?;
            }
            Ok(transaction.commit()?)
        })();
        if result.is_err() {
            *known = Known::default(); // rows made in it are gone
        }
        result
    }

    /// Moves the log file into the database and closes it.
    fn end(self) {
        let checkpoint =
            self.connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()));
        if let Err(error) = checkpoint {
            tracing::debug!(%error, "the log file stays for the next start");
        }
        self.connection.flush_prepared_statement_cache();
        if let Err((_, error)) = self.connection.close() {
            tracing::debug!(%error, "the database did not close");
        }
    }
}
