//! Fetching a folder: its list, the ends of its files, then the rest of those that are larger.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};

use ayni_core::id::BlobId;
use futures_util::{StreamExt, TryStreamExt, stream};

use super::{AT_ONCE, MAX_LIST, MAX_NAMES, files, parts};
use crate::content::access;
use crate::content::allowance::{Allowance, Bound};
use crate::content::fetch::{self, Seen, View};
use crate::content::place;
use crate::content::store::Contents;
use crate::content::target::Existing;
use crate::content::transfers::{Source, Transfer};
use crate::error::{Error, Result};
use crate::inner::Inner;

/// Fetches all of a folder.
///
/// # Errors
/// As [`parts`], and of [`fetch::fetch`]; [`Error::Invalid`] where it has not the size that its sender
/// says.
pub(crate) async fn fetch(
    inner: &Arc<Inner>,
    contents: &Contents,
    transfer: &Arc<Transfer>,
) -> Result<()> {
    let (root, claimed) = (transfer.wish.root, transfer.wish.claimed);
    let mut goal = transfer.goal(inner, root);
    goal.limits.most = Arc::new(Allowance::new(Bound::List(MAX_LIST)));
    let came = Came::of(transfer);
    let size = fetch::fetch(inner, contents, goal, |view| came.see(transfer, view)).await?;
    let parts: Arc<[BlobId]> = parts(contents, root).await?.into();
    let _coming = access::begin_parts(inner, contents, &transfer.wish, &parts).await?;
    transfer.note_parts(&parts);
    refuse_early(inner, contents, transfer, &parts).await?;
    let mut goal = transfer.goal(inner, root);
    if let Some(claimed) = claimed {
        let names = parts.first().copied().unwrap_or(root);
        goal.limits.most = Arc::new(Allowance::new(Bound::Files(claimed, (names, MAX_NAMES))));
    }
    let ends = (size, parts.clone());
    let (count, came) = (parts.len() as u64, Came::of(transfer));
    fetch::fetch_ends(inner, contents, goal, ends, |seen| {
        transfer.see(share_of(claimed, count, seen).at_least(came.bytes(transfer)));
    })
    .await?;
    access::give(inner, contents, &transfer.wish, &parts).await?;
    let rest = Rest::of(contents, &parts, claimed).await?;
    contents.check_space(rest.total.saturating_sub(rest.here))?;
    transfer.check_target(inner, rest.total)?;
    let total = rest.total;
    rest.fetch(inner, contents, transfer).await?;
    transfer.see(View { bytes: total, size: Some(total), ..View::default() });
    // What names it says must be what can be written.
    files(contents, root).await.map(drop)
}

/// Tells before the files come that something is in the way of what a ticket brings: their names, which
/// nobody knows before, are fetched for that.
async fn refuse_early(
    inner: &Arc<Inner>,
    contents: &Contents,
    transfer: &Arc<Transfer>,
    parts: &[BlobId],
) -> Result<()> {
    let by_ticket = matches!(transfer.wish.source, Source::Ticket(..));
    let target = transfer.wish.target.as_ref().filter(|it| it.existing == Existing::Refuse);
    let (Some(target), Some(names)) = (target, parts.first()) else { return Ok(()) };
    // What an earlier attempt put there is no hindrance; that is looked at in the end.
    if !by_ticket || transfer.resumed {
        return Ok(());
    }
    let mut goal = transfer.goal(inner, *names);
    goal.limits.most = Arc::new(Allowance::new(Bound::List(MAX_NAMES)));
    let came = Came::of(transfer);
    fetch::fetch(inner, contents, goal, |view| came.see(transfer, view)).await?;
    place::check_into(&files(contents, transfer.wish.root).await?, &target.path)
}

/// What came since a moment: as long as nobody knows how large a folder is, it shows that something does.
struct Came(u64);

impl Came {
    fn of(transfer: &Transfer) -> Self {
        Self(transfer.came.load(Ordering::Relaxed))
    }

    fn bytes(&self, transfer: &Transfer) -> u64 {
        transfer.came.load(Ordering::Relaxed).saturating_sub(self.0)
    }

    /// Shows how far what belongs to the folder itself is.
    fn see(&self, transfer: &Transfer, view: View) {
        let View { rate, peers, .. } = view;
        let bytes = View { size: transfer.wish.claimed, rate, peers, ..View::default() };
        transfer.see(bytes.at_least(self.bytes(transfer)));
    }
}

impl View {
    /// Shows at least so many bytes, and no more than there are.
    fn at_least(mut self, bytes: u64) -> Self {
        self.bytes = self.bytes.max(bytes).min(self.size.unwrap_or(u64::MAX));
        self
    }
}

/// How far a folder is of whose `count` files so many have not begun: by their number, since nobody
/// knows how large they are.
fn share_of(claimed: Option<u64>, count: u64, seen: &Seen) -> View {
    let begun = count.saturating_sub(seen.missing);
    let bytes = claimed.map_or(0, |size| {
        let share = u128::from(size) * u128::from(begun) / u128::from(count.max(1));
        u64::try_from(share).unwrap_or(u64::MAX)
    });
    View { bytes, size: claimed, rate: seen.rate, peers: seen.peers, ..View::default() }
}

/// What lacks when the size of every file is proved.
struct Rest {
    /// Bytes of all.
    total: u64,
    /// Bytes of those that are whole.
    here: u64,
    /// Those that are not, each once.
    larger: Vec<BlobId>,
}

impl Rest {
    async fn of(contents: &Contents, parts: &[BlobId], claimed: Option<u64>) -> Result<Self> {
        let mut rest = Self { total: 0, here: 0, larger: Vec::new() };
        let held = contents.held_all(parts.to_vec()).await?;
        for (at, (part, held)) in parts.iter().zip(held).enumerate() {
            // The list begins with the files' names, which are nobody's bytes.
            let size = held.size.filter(|_| at > 0).unwrap_or(0);
            rest.total = rest.total.saturating_add(size);
            if held.complete {
                rest.here = rest.here.saturating_add(size);
            } else {
                rest.larger.push(*part);
            }
        }
        rest.larger.sort_unstable();
        rest.larger.dedup();
        let files = rest.total;
        match claimed {
            Some(claimed) if claimed != files => Err(Error::Invalid(format!(
                "its sender says that its files have {claimed} bytes, and they have {files}: it is \
                 not fetched"
            ))),
            _ => Ok(rest),
        }
    }

    async fn fetch(
        self,
        inner: &Arc<Inner>,
        contents: &Contents,
        transfer: &Arc<Transfer>,
    ) -> Result<()> {
        let total = self.total;
        let seen = Mutex::new((self.here, BTreeMap::<BlobId, View>::new()));
        let lock = || seen.lock().unwrap_or_else(PoisonError::into_inner);
        let fetching = stream::iter(self.larger).map(|part| async move {
            let goal = transfer.goal(inner, part);
            let size = fetch::fetch(inner, contents, goal, |view| {
                let mut seen = lock();
                seen.1.insert(part, view);
                transfer.see(sum(seen.0, total, &seen.1));
            });
            let size = size.await?;
            let mut seen = lock();
            seen.1.remove(&part);
            seen.0 = seen.0.saturating_add(size);
            Ok::<_, Error>(())
        });
        fetching.buffer_unordered(AT_ONCE / 2).try_collect::<Vec<()>>().await.map(drop)
    }
}

fn sum(here: u64, total: u64, views: &BTreeMap<BlobId, View>) -> View {
    let mut sum = View { bytes: here, size: Some(total), ..View::default() };
    for view in views.values() {
        sum.bytes = sum.bytes.saturating_add(view.bytes);
        sum.rate = sum.rate.saturating_add(view.rate);
        sum.peers = sum.peers.max(view.peers);
        sum.twice = sum.twice.saturating_add(view.twice);
    }
    sum.bytes = sum.bytes.min(total);
    sum
}
