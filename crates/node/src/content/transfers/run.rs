//! One transfer at work: through pauses, turns and failures, until it is done.

use std::convert::Infallible;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use futures_util::FutureExt as _;

use super::slots::PATIENCE;
use super::turns::Turn;
use super::{
    ASK_FETCHERS, BTreeSet, Error, Event, Inner, Instant, LOOK, MAX_DIALLED, Result, Source,
    Target, Transfer, TransferState, Write, lock,
};
use crate::content::fetch::{self, Goal};
use crate::content::folder::File;
use crate::content::place::{self, Placing};
use crate::content::store::Contents;
use crate::content::{access, again, fetchers, folder};
use ayni_core::id::PeerId;
use ayni_core::swarm::BLOCK_BYTES;

/// How a turn of a transfer ended.
enum Ended {
    Done,
    /// Nothing came, and others wait for the slot, or for their turn with the same content.
    GaveWay,
}

/// Carries a transfer on until it is done or cancelled.
pub(super) async fn run(inner: Arc<Inner>, transfer: Arc<Transfer>) {
    let mut paused = transfer.paused.subscribe();
    let mut gave_way = 0;
    loop {
        if *paused.borrow_and_update() {
            tell(&inner, &transfer, TransferState::Paused);
            if paused.wait_for(|paused| !paused).await.is_err() {
                return;
            }
        }
        transfer.set(TransferState::Waiting);
        let work = AssertUnwindSafe(work(&inner, &transfer, gave_way)).catch_unwind();
        let worked = tokio::select! {
            worked = work => worked,
            // Also one that is told to go on and does so is left alone.
            _ = paused.wait_for(|paused| *paused) => continue,
        };
        let worked = worked.unwrap_or_else(|_| {
            Err(Error::Store("it ended by a mistake of this program: see its log".into()))
        });
        match worked {
            Ok(Ended::Done) => {
                if transfer.pours {
                    tell_placing(&inner, &transfer);
                }
                transfer.poured().await;
                return done(&inner, &transfer).await;
            }
            Ok(Ended::GaveWay) => gave_way += 1,
            Err(error) => {
                let failed = TransferState::Failed(error.kind(), error.with_causes());
                if failed.is_over() {
                    return refused(&inner, &transfer, failed).await;
                }
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
        note(inner, used).await;
    }
    let_go(inner, transfer).await;
    tell(inner, transfer, TransferState::Done);
}

/// Ends one that would end the same if it were tried again: something is in the way, or it is not what it
/// was said to be.
async fn refused(inner: &Arc<Inner>, transfer: &Arc<Transfer>, failed: TransferState) {
    let_go(inner, transfer).await;
    inner.content.note_let_go();
    clear(inner, transfer).await;
    tell(inner, transfer, failed);
}

/// Notes that a transfer is over, and lets go of what was here only for it.
async fn let_go(inner: &Inner, transfer: &Transfer) {
    let wish = &transfer.wish;
    if wish.asked {
        note(inner, Write::TransferDone { id: transfer.id }).await;
    }
    if let Err(error) = access::give_up(inner, wish.room(), wish.root).await {
        tracing::warn!("what is not wanted any more stays: {error}");
    }
    // What came through a room and is whole stays for it.
    if wish.room().is_none() {
        inner.content.note_let_go();
    }
}

async fn note(inner: &Inner, write: Write) {
    if let Err(error) = inner.store.write(write).await {
        tracing::warn!("that a transfer is over could not be noted: {error}");
    }
}

fn tell(inner: &Inner, transfer: &Transfer, state: TransferState) {
    transfer.set(state);
    inner.tell(Event::TransferChanged(transfer.id));
}

async fn work(inner: &Arc<Inner>, transfer: &Arc<Transfer>, gave_way: u32) -> Result<Ended> {
    let contents = inner.content.contents(inner).await?;
    if let Some(there) = transfer.skips() {
        *lock(&transfer.placed) = Some(there);
        return Ok(Ended::Done);
    }
    let slots = &inner.content.transfers.slots;
    // What nobody asked for is counted by who begins it.
    let _slot = if transfer.wish.asked {
        Some(slots.acquire(transfer.priority.subscribe(), gave_way).await)
    } else {
        None
    };
    let turn = tokio::select! {
        turn = turn(inner, transfer, gave_way > 0) => turn,
        () = keeps_slot(inner, transfer) => return Ok(Ended::GaveWay),
    };
    // Read before the clock of idleness runs: what a crash left is hashed, and that takes long.
    let _here = contents.entry(transfer.wish.root).await?;
    let fetched = async {
        tell(inner, transfer, TransferState::Running);
        let coming = access::begin(inner, &contents, &transfer.wish).await?;
        fetch_all(inner, transfer, &contents).await?;
        let in_room = transfer.wish.room().is_some();
        if in_room {
            // It is here for the room, whatever becomes of writing it elsewhere.
            access::done(inner, &contents, &transfer.wish).await?;
        }
        place(inner, transfer, &contents).await?;
        if !in_room && !transfer.pours {
            access::done(inner, &contents, &transfer.wish).await?;
        }
        drop(coming);
        Ok(Ended::Done)
    };
    tokio::select! {
        fetched = fetched => fetched,
        () = idle(inner, transfer, &turn) => Ok(Ended::GaveWay),
        never = look_for_sources(inner, transfer) => match never {},
    }
}

/// Waits until nobody else fetches the same content; shows meanwhile how far that is.
async fn turn(inner: &Inner, transfer: &Transfer, again: bool) -> Turn {
    let transfers = &inner.content.transfers;
    let root = transfer.wish.root;
    let turn = transfers.turns.of(root).wait(transfer.wish.asked, again);
    tokio::pin!(turn);
    loop {
        match tokio::time::timeout(LOOK, &mut turn).await {
            Ok(turn) => return turn,
            Err(_) => {
                if let Some(view) = transfers.view_of(root) {
                    transfer.see(view);
                }
            }
        }
    }
}

/// Ends where one that waits for its turn kept its slot for a while and others wait for that.
async fn keeps_slot(inner: &Inner, transfer: &Transfer) {
    loop {
        tokio::time::sleep(PATIENCE).await;
        if transfer.wish.asked && inner.content.transfers.slots.others_wait() {
            return;
        }
    }
}

/// Ends where nothing came for a while and others wait for the slot, or for the turn.
async fn idle(inner: &Inner, transfer: &Transfer, turn: &Turn) {
    let mut standing = transfer.watch();
    loop {
        let seen = standing.borrow_and_update().1.bytes;
        let came = standing.wait_for(|(_, view)| view.bytes != seen);
        let waited = tokio::time::timeout(PATIENCE, came).await.is_err();
        let places = transfer.placing.try_lock().is_err();
        let slot_is_wanted = transfer.wish.asked && inner.content.transfers.slots.others_wait();
        if waited && !places && (slot_is_wanted || turn.is_waited_for()) {
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
        transfer.check_target(inner, claimed)?;
    }
    if wish.folder {
        return folder::fetch(inner, contents, transfer).await;
    }
    if again::lacks(inner, transfer).await? {
        return again::fetch(inner, transfer).await;
    }
    let goal = Goal { claimed: wish.claimed, ..transfer.goal(inner, wish.root) };
    fetch::fetch(inner, contents, goal, |view| transfer.see(view)).await.map(drop)
}

/// Writes what was fetched to where it is wanted. What was begun is carried to its end, also where the
/// transfer is paused or cancelled meanwhile: else two would write at once.
async fn place(inner: &Arc<Inner>, transfer: &Arc<Transfer>, contents: &Contents) -> Result<()> {
    let Some(wanted) = transfer.wish.target.clone() else { return Ok(()) };
    let mut placing = Placing {
        resumed: transfer.resumed,
        stop: transfer.cancel.clone(),
        ..Placing::of(inner, transfer.id, wanted.existing)
    };
    tell_placing(inner, transfer);
    let (contents, transfer) = (contents.clone(), transfer.clone());
    let task = inner.tasks.spawn(async move {
        let turn = transfer.placing.clone().lock_owned().await;
        if transfer.cancel.is_cancelled() || lock(&transfer.placed).is_some() {
            return Ok(());
        }
        placing.resumed |= transfer.tried.swap(true, Ordering::Relaxed);
        let placed = put(&transfer, &contents, &wanted, placing).await;
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
    target: &Target,
    placing: Placing,
) -> Result<std::path::PathBuf> {
    let wish = &transfer.wish;
    let by_ticket = matches!(wish.source, Source::Ticket(..));
    if wish.folder && by_ticket {
        // Its files have names of their own.
        return placing.put_into(contents, wish.root, &target.path).await;
    }
    let path = target.path_of(&wish.name);
    if wish.folder {
        placing.put_folder(contents, wish.root, &path).await
    } else {
        placing.put_file(contents, wish.root, &path).await
    }
}

/// Removes what was half-written beside the target of a transfer that is over; where it is being written,
/// as soon as that ended.
pub(super) async fn clear(inner: &Arc<Inner>, transfer: &Arc<Transfer>) {
    if transfer.wish.target.is_none() {
        return;
    }
    if let Ok(_turn) = transfer.placing.try_lock() {
        return clear_unplaced(inner, transfer).await;
    }
    let (inner, transfer) = (inner.clone(), transfer.clone());
    inner.tasks.clone().spawn(async move {
        let _turn = transfer.placing.lock().await;
        clear_unplaced(&inner, &transfer).await;
    });
}

async fn clear_unplaced(inner: &Arc<Inner>, transfer: &Transfer) {
    let wish = &transfer.wish;
    let placed = lock(&transfer.placed).is_some();
    let Some(target) = wish.target.as_ref().filter(|_| !placed) else { return };
    let mut files = Vec::new();
    if wish.folder
        && let Some(contents) = inner.content.opened()
        && let Ok(found) = folder::files(&contents, wish.root).await
    {
        let by_ticket = matches!(wish.source, Source::Ticket(..));
        let name = target.path_of(&wish.name);
        let name = name.file_name().map(|name| name.to_string_lossy().into_owned());
        files = if by_ticket { place::into(found) } else { place::below(name.as_deref(), found) };
    }
    clear_target(inner, (transfer.id, target), files).await;
}

/// Removes what a transfer left half-written beside its target, and beside each of these files.
pub(super) async fn clear_target(inner: &Inner, (id, target): (u64, &Target), files: Vec<File>) {
    let placing = Placing::of(inner, id, target.existing);
    if let Err(error) = placing.clear(target.folder().to_owned(), files).await {
        tracing::warn!("what is half-written stays: {}", error.with_causes());
    }
}

/// Keeps the list of those who may have what is fetched.
async fn look_for_sources(inner: &Arc<Inner>, transfer: &Transfer) -> Infallible {
    let (mut others, mut asked): (Vec<PeerId>, Option<Instant>) = (vec![], None);
    // Soon again at first: many may begin at the same time, and know nothing of each other yet.
    let mut pause = LOOK;
    loop {
        let mut found: BTreeSet<PeerId> = lock(&transfer.noted).iter().copied().collect();
        match &transfer.wish.source {
            Source::Ticket(peer, _) => {
                found.insert(*peer);
                found.extend(&others);
                if asked.is_none_or(|at| at.elapsed() >= pause) {
                    pause = if asked.is_none() { pause } else { (2 * pause).min(ASK_FETCHERS) };
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
