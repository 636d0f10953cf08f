//! One transfer at work: through pauses, turns and failures, until it is done.

use std::convert::Infallible;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use futures_util::FutureExt as _;

use super::slots::PATIENCE;
use super::{
    ASK_FETCHERS, BTreeSet, Error, Event, Inner, Instant, LOOK, MAX_DIALLED, Result, Source,
    Transfer, TransferState, Write, lock,
};
use crate::content::fetch::{self, Goal};
use crate::content::place::Placing;
use crate::content::store::Contents;
use crate::content::target;
use crate::content::{access, fetchers, folder};
use ayni_core::id::PeerId;
use ayni_core::swarm::BLOCK_BYTES;

/// How a turn of a transfer ended.
enum Turn {
    Done,
    /// Nothing came, and others wait for the slot.
    GivenUp,
}

/// Carries a transfer on until it is done or cancelled.
pub(super) async fn run(inner: Arc<Inner>, transfer: Arc<Transfer>) {
    let mut paused = transfer.paused.subscribe();
    let mut gave_up = 0;
    loop {
        if *paused.borrow_and_update() {
            tell(&inner, &transfer, TransferState::Paused);
            if paused.wait_for(|paused| !paused).await.is_err() {
                return;
            }
        }
        transfer.set(TransferState::Waiting);
        let work = AssertUnwindSafe(work(&inner, &transfer, gave_up)).catch_unwind();
        let worked = tokio::select! {
            worked = work => worked,
            // Also one that is told to go on and does so is left alone.
            _ = paused.wait_for(|paused| *paused) => continue,
        };
        let worked = worked.unwrap_or_else(|_| {
            Err(Error::Store("it ended by a mistake of this program: see its log".into()))
        });
        match worked {
            Ok(Turn::Done) => return done(&inner, &transfer).await,
            Ok(Turn::GivenUp) => gave_up += 1,
            Err(error) => {
                if matches!(error, Error::Invalid(_)) {
                    given_up(&inner, &transfer).await;
                }
                let failed = TransferState::Failed(error.kind(), error.to_string());
                let again = transfer.again.notified();
                tell(&inner, &transfer, failed);
                // Until someone says to go on.
                tokio::select! {
                    () = again => {}
                    _ = paused.wait_for(|paused| *paused) => {}
                }
            }
        }
    }
}

async fn done(inner: &Arc<Inner>, transfer: &Transfer) {
    if transfer.wish.asked {
        // Who asked for it uses it: it goes later than what nobody asks for.
        let used = Write::Used { root: transfer.wish.root, now_ms: inner.now() };
        for write in [used, Write::TransferDone { id: transfer.id }] {
            if let Err(error) = inner.store.write(write).await {
                tracing::warn!("that a transfer is done could not be noted: {error}");
            }
        }
    }
    tell(inner, transfer, TransferState::Done);
}

/// It is not what it was said to be, and would not become that.
async fn given_up(inner: &Inner, transfer: &Transfer) {
    let wish = &transfer.wish;
    if let Err(error) = access::give_up(inner, wish.room(), wish.root).await {
        tracing::warn!("what is not wanted any more stays: {error}");
    }
}

fn tell(inner: &Inner, transfer: &Transfer, state: TransferState) {
    transfer.set(state);
    inner.tell(Event::TransferChanged(transfer.id));
}

async fn work(inner: &Arc<Inner>, transfer: &Arc<Transfer>, gave_up: u32) -> Result<Turn> {
    let contents = inner.content.contents(inner).await?;
    if let Some(there) = transfer.skips() {
        *lock(&transfer.placed) = Some(there);
        return Ok(Turn::Done);
    }
    let slots = &inner.content.transfers.slots;
    // What nobody asked for is counted by who begins it.
    let _slot = if transfer.wish.asked {
        Some(slots.acquire(transfer.priority.subscribe(), gave_up).await)
    } else {
        None
    };
    let turn = inner.content.transfers.turn(transfer.wish.root);
    let idle = async {
        if transfer.wish.asked {
            idle(inner, transfer).await;
        } else {
            std::future::pending::<()>().await;
        }
    };
    let fetched = async {
        let _turn = turn.lock().await;
        tell(inner, transfer, TransferState::Running);
        let coming = access::begin(inner, &contents, &transfer.wish).await?;
        fetch_all(inner, transfer, &contents).await?;
        place(inner, transfer, &contents).await?;
        access::done(inner, &contents, &transfer.wish).await?;
        drop(coming);
        Ok(Turn::Done)
    };
    tokio::select! {
        fetched = fetched => fetched,
        () = idle => Ok(Turn::GivenUp),
        never = look_for_sources(inner, transfer) => match never {},
    }
}

/// Ends where nothing came for a while and others wait for the slot.
async fn idle(inner: &Inner, transfer: &Transfer) {
    let mut standing = transfer.watch();
    loop {
        let seen = standing.borrow_and_update().1.bytes;
        let came = standing.wait_for(|(_, view)| view.bytes != seen);
        let waited = tokio::time::timeout(PATIENCE, came).await.is_err();
        let places = transfer.placing.try_lock().is_err();
        if waited && !places && inner.content.transfers.slots.others_wait() {
            return;
        }
    }
}

async fn fetch_all(
    inner: &Arc<Inner>,
    transfer: &Arc<Transfer>,
    contents: &Contents,
) -> Result<()> {
    let wish = &transfer.wish;
    if let Some(claimed) = wish.claimed {
        let here = contents.held(wish.root).await?;
        let here = ayni_core::swarm::count(&here.blocks).saturating_mul(BLOCK_BYTES);
        contents.check_space(claimed.saturating_sub(here))?;
    }
    if wish.folder {
        return folder::fetch(inner, contents, transfer).await;
    }
    let goal = Goal { claimed: wish.claimed, ..transfer.goal(inner, wish.root) };
    fetch::fetch(inner, contents, goal, |view| transfer.see(view)).await.map(drop)
}

/// Writes what was fetched to where it is wanted. What was begun is carried to its end, also where the
/// transfer is paused or cancelled meanwhile: else two would write at once.
async fn place(inner: &Arc<Inner>, transfer: &Arc<Transfer>, contents: &Contents) -> Result<()> {
    let Some(wanted) = transfer.wish.target.clone() else { return Ok(()) };
    let placing = Placing {
        beside: format!(".ayni-{}-{}.part", inner.me().short(), transfer.id),
        existing: wanted.existing,
        resumed: transfer.resumed,
    };
    tell_placing(inner, transfer);
    let (contents, transfer) = (contents.clone(), transfer.clone());
    let task = inner.tasks.spawn(async move {
        let turn = transfer.placing.clone().lock_owned().await;
        if transfer.cancel.is_cancelled() || lock(&transfer.placed).is_some() {
            return Ok(());
        }
        let placed = put(&transfer, &contents, &wanted.path, placing).await;
        *lock(&transfer.placed) = Some(placed?);
        drop(turn);
        Ok(())
    });
    task.await.map_err(|_| Error::Closed)?
}

/// Shows that all of it is here. Not of one that was ended just now.
fn tell_placing(inner: &Inner, transfer: &Transfer) {
    let told = transfer.state.send_if_modified(|(state, _)| {
        let runs = matches!(state, TransferState::Running);
        if runs {
            *state = TransferState::Placing;
        }
        runs
    });
    if told {
        inner.tell(Event::TransferChanged(transfer.id));
    }
}

async fn put(
    transfer: &Transfer,
    contents: &Contents,
    path: &std::path::Path,
    placing: Placing,
) -> Result<std::path::PathBuf> {
    let wish = &transfer.wish;
    let by_ticket = matches!(wish.source, Source::Ticket(..));
    if wish.folder && by_ticket {
        // Its files have names of their own.
        return placing.put_into(contents, wish.root, path).await;
    }
    let path = target::Target { path: path.to_owned(), existing: placing.existing };
    let path = path.path_of(&wish.name);
    if wish.folder {
        placing.put_folder(contents, wish.root, &path).await
    } else {
        placing.put_file(contents, wish.root, &path).await
    }
}

/// Keeps the list of those who may have what is fetched.
async fn look_for_sources(inner: &Arc<Inner>, transfer: &Transfer) -> Infallible {
    let (mut others, mut asked): (Vec<PeerId>, Option<Instant>) = (vec![], None);
    loop {
        let mut found: BTreeSet<PeerId> = lock(&transfer.noted).iter().copied().collect();
        match &transfer.wish.source {
            Source::Ticket(peer, _) => {
                found.insert(*peer);
                found.extend(&others);
                if asked.is_none_or(|at| at.elapsed() > ASK_FETCHERS) {
                    asked = Some(Instant::now());
                    transfer.add_sources(&found);
                    let root = transfer.wish.root;
                    others = fetchers::ask(inner, *peer, root).await.unwrap_or(others);
                    found.extend(&others);
                }
            }
            Source::Room(room, _) => {
                found.retain(|peer| access::is_member(inner, room, peer));
                if let Some(room) = inner.room(room) {
                    found.extend(inner.connected_members(&room));
                    let away = room.other_devices(inner.me());
                    found.extend(away.into_iter().take(MAX_DIALLED));
                }
            }
        }
        found.remove(&inner.me());
        transfer.set_sources(found);
        tokio::time::sleep(LOOK).await;
    }
}
