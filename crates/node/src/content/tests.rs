//! Why contents are here, from inside: whatever is done in whatever order, what anything needs is never
//! deleted, and what nothing needs is in the end.

use std::collections::{BTreeMap, BTreeSet};

use ayni_core::id::EventId;
use ayni_core::limits::MAX_FOLDER_FILES;
use bao_tree::io::{BaoContentItem, Leaf};

use super::access::Allowed;
use super::model::TransferState;
use super::*;
use crate::Node;
use crate::builder::Network;
use crate::store::{Hold, Rates, Reason, Share, Standing, Write};

/// Random numbers from a seed (SplitMix64).
struct Chance(u64);

impl Chance {
    fn below(&mut self, end: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((mixed ^ (mixed >> 31)) % end as u64).expect("small")
    }
}

async fn start(folder: &std::path::Path) -> Node {
    let builder = Node::builder().data(folder).network(Network::Loopback).offline(true);
    builder.start().await.expect("starts")
}

fn blob_of(bytes: &[u8]) -> BlobId {
    BlobId(*bao_tree::blake3::hash(bytes).as_bytes())
}

/// Brings a content of one block, as if a provider had sent it.
async fn bring(contents: &Contents, bytes: &[u8]) {
    let entry = contents.begin(blob_of(bytes), bytes.len() as u64).await.expect("begun");
    let leaf = Leaf { offset: 0, data: bytes.to_vec().into() };
    contents.write(&entry, &[BaoContentItem::Leaf(leaf)]).expect("written");
}

#[tokio::test]
async fn a_folder_of_the_most_files_is_given_whole() {
    let folder = tempfile::tempdir().expect("a folder");
    let node = start(folder.path()).await;
    let room = node.create_room("files").await.expect("creates").room;
    let inner = &node.inner;
    let contents = inner.content.contents(inner).await.expect("opens");
    let parts: Vec<BlobId> = (0..=u32::try_from(MAX_FOLDER_FILES).expect("fits"))
        .map(|n| blob_of(&n.to_be_bytes()))
        .collect();
    let list: Vec<u8> = parts.iter().flat_map(|part| part.0).collect();
    let root = contents.import_bytes(list.into()).await.expect("taken in");
    let hold = Hold {
        room: Some(room),
        root: root.blob,
        blobs: parts.clone(),
        bytes: 0,
        since_ms: 1,
        standing: Standing::Given,
        reason: Reason::Posted,
        unsaid: false,
    };
    inner.store.write(Write::Hold(hold)).await.expect("stored");
    let allowed = Allowed { rooms: vec![room], shared: false };
    let places: Vec<usize> = (0..MAX_FOLDER_FILES + 2).collect();
    let given = access::children(inner, &contents, &allowed, (root.blob, &places)).await;
    assert_eq!(given.len(), MAX_FOLDER_FILES + 1, "the names, and each file");
    assert!(given.iter().all(|(_, may)| *may));
    node.shutdown().await;
}

/// What a message has attached that a transfer is noted with.
fn attachment() -> Attachment {
    let media_type = "application/octet-stream".to_owned();
    Attachment {
        blob: BlobId([9; 32]),
        size: 1,
        name: "it".into(),
        media_type,
        files: None,
        picture: None,
    }
}

fn ticket() -> String {
    let peer = iroh::SecretKey::from_bytes(&[8; 32]).public();
    let hash = iroh_blobs::Hash::from_bytes([7; 32]);
    iroh_blobs::ticket::BlobTicket::new(peer.into(), hash, iroh_blobs::BlobFormat::Raw).to_string()
}

#[tokio::test]
async fn a_transfer_of_which_nothing_can_come_ends_at_the_next_start() {
    let folder = tempfile::tempdir().expect("a folder");
    let node = start(&folder.path().join("data")).await;
    let room = node.create_room("files").await.expect("creates").room;
    let said = node.post_attachment(room, attachment()).await.expect("said");
    let half = folder.path().join(format!(".ayni-{}-2.part", node.inner.me().short()));
    std::fs::create_dir(&half).expect("made");
    let unknown = EventId([9; 32]);
    let sources = [
        (TransferSource::Message { room, event: said }, false),
        (TransferSource::Message { room, event: unknown }, false),
        (TransferSource::Ticket(b"no ticket".to_vec()), false),
        // Its reader is gone.
        (TransferSource::Ticket(ticket().into_bytes()), true),
    ];
    for (id, (source, pours)) in (1..).zip(sources) {
        let of = matches!(source, TransferSource::Message { .. }).then_some(room);
        let root = blob_of(&[u8::try_from(id).expect("few")]);
        let stored = StoredTransfer {
            id,
            root,
            folder: false,
            source,
            target: Some(folder.path().to_owned()),
            existing: Existing::Refuse,
            since_ms: 1,
            paused: false,
            rates: Rates::default(),
            priority: 1,
            pours,
        };
        node.inner.store.write(Write::Transfer(stored)).await.expect("stored");
        let hold = Hold {
            room: of,
            root,
            blobs: vec![],
            bytes: 1,
            since_ms: 1,
            standing: Standing::Wanted,
            reason: Reason::Asked,
            unsaid: false,
        };
        node.inner.store.write(Write::Hold(hold)).await.expect("stored");
    }
    node.shutdown().await;
    drop(node);
    let node = start(&folder.path().join("data")).await;
    let listed: Vec<u64> = node.transfers().iter().map(|it| it.id).collect();
    assert_eq!(listed, [1], "its message is there");
    let noted = node.inner.store.transfers().await.expect("reads");
    assert_eq!(noted.iter().map(|it| it.id).collect::<Vec<_>>(), [1]);
    let held = node.inner.store.holdings(None).await.expect("reads");
    assert_eq!(held.iter().map(|it| it.root).collect::<Vec<_>>(), [blob_of(&[1])]);
    assert!(!half.exists(), "what was half-written stays");
    node.cancel_transfer(1).await.expect("cancels");
    assert_eq!(node.inner.store.kept().await.expect("reads"), []);
    node.shutdown().await;
}

/// What keeps a content: a room (or none), or a share.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Why {
    Of(Option<usize>),
    Shared,
}

/// What is true of a reason.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[expect(clippy::struct_excessive_bools, reason = "each is true or not of its own")]
struct How {
    here: bool,
    posted: bool,
    pinned: bool,
    /// Whether a transfer that is under way brought it: until then nobody knows which files a folder has.
    brought: bool,
    /// The transfer that is under way for it.
    transfer: Option<u64>,
}

const CONTENTS: usize = 5;
const ROOMS: usize = 2;

/// A node, and what is to be true of it.
struct World {
    seed: u64,
    folder: tempfile::TempDir,
    /// None while it is restarted: the folder is locked as long as it is there.
    node: Option<Node>,
    rooms: Vec<ayni_core::id::RoomId>,
    /// A message in each room that its transfers are noted with.
    said: Vec<EventId>,
    chance: Chance,
    why: BTreeMap<(usize, Why), How>,
    /// What is here: it stays until a collection finds nothing that needs it.
    here: BTreeSet<usize>,
    steps: Vec<String>,
}

fn content(n: usize) -> Vec<u8> {
    // The last one is a folder's list, with the names (another content) and the first two in it.
    if n + 1 == CONTENTS {
        return [b"names".to_vec(), content(0), content(1)]
            .iter()
            .flat_map(|it| blob_of(it).0)
            .collect();
    }
    format!("the content {n}").into_bytes()
}

fn parts(n: usize) -> Vec<Vec<u8>> {
    if n + 1 == CONTENTS { vec![b"names".to_vec(), content(0), content(1)] } else { vec![] }
}

impl World {
    async fn new(seed: u64) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let node = start(folder.path()).await;
        let (mut rooms, mut said) = (Vec::new(), Vec::new());
        for n in 0..ROOMS {
            let room = node.create_room(&format!("room {n}")).await.expect("creates").room;
            said.push(node.post_attachment(room, attachment()).await.expect("said"));
            rooms.push(room);
        }
        let (chance, why, here) = (Chance(seed), BTreeMap::new(), BTreeSet::new());
        let node = Some(node);
        Self { seed, folder, node, rooms, said, chance, why, here, steps: vec![] }
    }

    fn wish(&self, n: usize, room: Option<usize>, target: bool) -> Wish {
        let source = match room {
            Some(room) => Source::Room(self.rooms[room], self.said[room]),
            None => Source::Ticket(PeerId([8; 32]), ticket()),
        };
        let target = target.then(|| Target { path: "there".into(), existing: Existing::Refuse });
        let root = blob_of(&content(n));
        let (folder, claimed) = (!parts(n).is_empty(), Some(1));
        Wish { source, root, folder, name: "it".into(), claimed, target, asked: true }
    }

    fn node(&self) -> &Node {
        self.node.as_ref().expect("runs")
    }

    async fn contents(&self) -> Contents {
        self.node().inner.content.contents(&self.node().inner).await.expect("opens")
    }

    async fn write(&self, write: Write) {
        if let Err(error) = self.node().inner.store.write(write).await {
            let (seed, steps) = (self.seed, self.steps.join(", "));
            panic!("seed {seed}: {error}: {:?}: {steps}", self.why);
        }
    }

    async fn attach(&mut self, n: usize, room: usize, killed: bool) {
        let (inner, contents) = (self.node().inner.clone(), self.contents().await);
        let mut protected = Vec::new();
        for part in parts(n).into_iter().chain([content(n)]) {
            protected.push(contents.import_bytes(part.into()).await.expect("taken in"));
        }
        let ids: Vec<BlobId> = parts(n).iter().map(|part| blob_of(part)).collect();
        let of = (blob_of(&content(n)), 1);
        let before = access::post(&inner, &contents, self.rooms[room], of, &ids);
        let before = before.await.expect("noted");
        self.here.insert(n);
        if killed {
            drop((protected, contents, inner));
            return self.restart().await;
        }
        access::posted(&inner, (self.rooms[room], of.0), before, true).await.expect("noted");
        let how = self.why.entry((n, Why::Of(Some(room)))).or_default();
        (how.here, how.posted) = (true, true);
    }

    /// Begins a fetch; ends it as chance says, or leaves it under way.
    async fn fetch(&mut self, n: usize, room: Option<usize>) {
        let (inner, contents) = (self.node().inner.clone(), self.contents().await);
        let under_way = self.why.get(&(n, Why::Of(room))).is_some_and(|it| it.transfer.is_some());
        if under_way {
            return;
        }
        let how_it_ends = self.chance.below(4);
        let target = how_it_ends == 3;
        let wish = self.wish(n, room, target);
        let id = inner.content.next_id();
        let stored = StoredTransfer {
            id,
            root: wish.root,
            folder: wish.folder,
            source: match room {
                Some(room) => {
                    TransferSource::Message { room: self.rooms[room], event: self.said[room] }
                }
                None => TransferSource::Ticket(ticket().into_bytes()),
            },
            target: None,
            existing: Existing::Refuse,
            since_ms: 1,
            paused: true,
            rates: Rates::default(),
            priority: 1,
            pours: false,
        };
        let kept_before = self.why.get(&(n, Why::Of(room))).is_some_and(|it| it.here);
        self.write(Write::Transfer(stored)).await;
        let coming = access::begin(&inner, &contents, &wish).await.expect("noted");
        self.why.entry((n, Why::Of(room))).or_default().transfer = Some(id);
        if how_it_ends == 0 {
            return; // nobody has it, or it waits
        }
        bring(&contents, &content(n)).await;
        let ids: Vec<BlobId> = parts(n).iter().map(|part| blob_of(part)).collect();
        let files = access::begin_parts(&inner, &contents, &wish, &ids).await.expect("noted");
        for part in parts(n) {
            bring(&contents, &part).await;
        }
        self.here.insert(n);
        self.why.entry((n, Why::Of(room))).or_default().brought = true;
        if how_it_ends == 1 {
            return; // its export waits, or the node was killed
        }
        access::done(&inner, &contents, &wish).await.expect("noted");
        self.write(Write::TransferDone { id }).await;
        access::give_up(&inner, wish.room(), wish.root).await.expect("noted");
        drop((coming, files));
        let how = self.why.entry((n, Why::Of(room))).or_default();
        (how.here, how.transfer) = (true, None);
        if target && room.is_none() && !kept_before {
            self.why.remove(&(n, Why::Of(room)));
        }
    }

    async fn cancel(&mut self, n: usize, room: Option<usize>) {
        let Some(how) = self.why.get_mut(&(n, Why::Of(room))) else { return };
        let Some(id) = how.transfer.take() else { return };
        let (here, pinned) = (how.here, how.pinned);
        self.write(Write::TransferDone { id }).await;
        let of = room.map(|room| self.rooms[room]);
        let root = blob_of(&content(n));
        let given = self.node().inner.store.holding(of, root).await.expect("reads");
        // One that came whole, of which that was written down, stays.
        let stays = given.is_some_and(|it| it.standing == Standing::Given);
        access::give_up(&self.node().inner, of, root).await.expect("noted");
        if !here && !pinned && !stays {
            self.why.remove(&(n, Why::Of(room)));
        } else if let Some(how) = self.why.get_mut(&(n, Why::Of(room))) {
            (how.here, how.brought) = (here || stays, false);
        }
    }

    async fn leave(&mut self, room: usize) {
        access::left(&self.node().inner, self.rooms[room]).await.expect("leaves");
        self.why.retain(|(_, why), how| {
            if *why == Why::Of(Some(room)) {
                (how.transfer, how.brought) = (None, false);
            }
            *why != Why::Of(Some(room)) || how.pinned
        });
    }

    async fn pin(&mut self, n: usize, room: usize, pinned: bool) {
        let (of, root) = (self.rooms[room], blob_of(&content(n)));
        let Some(how) = self.why.get_mut(&(n, Why::Of(Some(room)))) else { return };
        how.pinned = pinned;
        let wanted = !how.here && how.transfer.is_none();
        self.write(Write::Pin { room: of, root, pinned }).await;
        if !pinned && wanted {
            // What was never here, or only known as wanted.
            access::give_up(&self.node().inner, Some(of), root).await.expect("noted");
            let left = self.node().inner.store.holding(Some(of), root).await.expect("reads");
            if left.is_none() {
                self.why.remove(&(n, Why::Of(Some(room))));
            }
        }
    }

    async fn share(&mut self, n: usize, on: bool) {
        let root = blob_of(&content(n));
        if on {
            let contents = self.contents().await;
            let mut protected = Vec::new();
            for part in parts(n).into_iter().chain([content(n)]) {
                protected.push(contents.import_bytes(part.into()).await.expect("taken in"));
            }
            let blobs: Vec<BlobId> = parts(n).iter().map(|part| blob_of(part)).collect();
            let share = Share { root, blobs, folder: true, name: "it".into(), since_ms: 1 };
            self.write(Write::Share(share)).await;
            self.here.insert(n);
            self.why.entry((n, Why::Shared)).or_default().here = true;
        } else {
            self.write(Write::Unshare { root }).await;
            self.why.remove(&(n, Why::Shared));
        }
    }

    async fn evict(&mut self, n: usize) {
        self.write(Write::Evict { root: blob_of(&content(n)) }).await;
        let rows = |(of, why): &(usize, Why)| *of == n && matches!(why, Why::Of(_));
        let firm = self.why.iter().any(|(key, how)| {
            let kept = key.1 == Why::Of(None) && how.here;
            rows(key) && (kept || how.posted || how.pinned || how.transfer.is_some())
        });
        if !firm {
            self.why.retain(|key, _| !rows(key));
        }
    }

    async fn restart(&mut self) {
        if let Some(node) = self.node.take() {
            node.shutdown().await;
        }
        self.node = Some(start(self.folder.path()).await);
    }

    async fn collect(&mut self) {
        for _ in 0..2 {
            self.node().collect().await.expect("collects");
        }
        self.check().await;
    }

    /// Every content that anything needs and that came is here, whole.
    async fn check(&mut self) {
        let contents = self.contents().await;
        let whole = self.why.iter().filter(|(_, how)| how.here || how.brought);
        let needed: BTreeSet<usize> = whole.map(|((n, _), _)| *n).collect();
        for n in needed.intersection(&self.here) {
            let of_it = parts(*n).into_iter().chain([content(*n)]);
            let ids = of_it.map(|it| blob_of(&it)).collect();
            let held = contents.held_all(ids).await.expect("reads");
            let (seed, steps) = (self.seed, self.steps.join(", "));
            assert!(
                held.iter().all(|held| held.complete),
                "seed {seed}: {n} was deleted, and is needed for {:?}: {steps}",
                self.why.iter().filter(|((of, _), _)| of == n).collect::<Vec<_>>()
            );
        }
        self.here.retain(|n| needed.contains(n));
    }

    async fn step(&mut self) {
        let (n, room) = (self.chance.below(CONTENTS), self.chance.below(ROOMS));
        let (what, on) = (self.chance.below(12), self.chance.below(2) == 0);
        let way = [Some(room), Some(room), None][self.chance.below(3)];
        self.steps.push(format!("{what}({n}, {room}, {on}, {way:?})"));
        match what {
            0 | 1 => self.attach(n, room, false).await,
            2 if on => self.attach(n, room, true).await,
            3..=5 => self.fetch(n, way).await,
            6 => self.cancel(n, way).await,
            7 if on => self.leave(room).await,
            8 => self.pin(n, room, on).await,
            9 => self.share(n, on).await,
            10 => self.evict(n).await,
            11 if on => self.restart().await,
            _ => self.collect().await,
        }
    }

    /// Ends all that needs anything.
    async fn end_all(&mut self) {
        for n in 0..CONTENTS {
            self.share(n, false).await;
            for room in [Some(0), Some(1), None] {
                self.cancel(n, room).await;
            }
            for room in 0..ROOMS {
                self.pin(n, room, false).await;
            }
        }
        for room in 0..ROOMS {
            self.leave(room).await;
        }
        for n in 0..CONTENTS {
            if self.why.remove(&(n, Why::Of(None))).is_some() {
                self.node().discard(blob_of(&content(n))).await.expect("it was kept");
            }
        }
        assert_eq!(self.why, BTreeMap::new(), "seed {}", self.seed);
    }
}

/// How many random lives a node has here; each has [`STEPS`] steps. A failure prints its seed.
const LIVES: u64 = 40;
const STEPS: usize = 40;

#[tokio::test]
async fn what_is_needed_is_never_deleted_and_what_is_not_is_in_the_end() {
    for seed in 0..LIVES {
        let mut world = World::new(seed).await;
        for _ in 0..STEPS {
            world.step().await;
        }
        world.collect().await;
        world.end_all().await;
        world.collect().await;
        let contents = world.contents().await;
        let left = contents.all().await.expect("lists");
        assert_eq!(left, [], "seed {seed}: {}", world.steps.join(", "));
        world.node().shutdown().await;
    }
}

/// Who works on a transfer may not have heard yet that it was cancelled.
#[tokio::test]
async fn what_is_over_stays_so() {
    let folder = tempfile::tempdir().expect("a folder");
    let node = start(folder.path()).await;
    let source = transfers::Source::Ticket(PeerId([8; 32]), ticket());
    let wish = transfers::Wish {
        source,
        root: BlobId([7; 32]),
        folder: false,
        name: "it".into(),
        claimed: None,
        target: None,
        asked: true,
    };
    let transfer = transfers::list(&node.inner, 1, wish, transfers::Begun::default());
    for (state, expected) in [
        (TransferState::Running, TransferState::Running),
        (TransferState::Cancelled, TransferState::Cancelled),
        (TransferState::Running, TransferState::Cancelled),
        (TransferState::Done, TransferState::Cancelled),
    ] {
        transfer.set(state);
        assert_eq!(transfer.info().state, expected);
    }
    node.shutdown().await;
}

#[tokio::test]
async fn what_someone_asks_for_goes_later_than_what_nobody_does() {
    let folder = tempfile::tempdir().expect("a folder");
    let node = start(&folder.path().join("data")).await;
    let room = node.create_room("files").await.expect("creates").room;
    let mut all = Vec::new();
    for name in ["one", "two"] {
        let path = folder.path().join(name);
        std::fs::write(&path, name).expect("written");
        all.push(node.attach(room, &path, &crate::AttachOptions::default()).await.expect("said"));
    }
    let order = async || {
        let rows = node.inner.store.holdings(None).await.expect("reads");
        rows.into_iter().map(|row| row.root).collect::<Vec<_>>()
    };
    assert_eq!(order().await, [all[0].blob, all[1].blob], "the least recently used first");
    let before = node.inner.now();
    while node.inner.now() == before {
        tokio::task::yield_now().await;
    }
    let mut again = node.fetch(room, all[0].event, None).await.expect("begins");
    while again.info().state != crate::TransferState::Done {
        again.changed().await;
    }
    assert_eq!(order().await, [all[1].blob, all[0].blob]);
    node.shutdown().await;
}
