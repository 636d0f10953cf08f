//! Nodes on 127.0.0.1 that share a room, and files for them.

#[path = "../../../../web/tests/common/png.rs"]
#[allow(unreachable_pub, reason = "others see it from elsewhere")]
mod png;

use std::path::{Path, PathBuf};
use std::time::Duration;

use ayni::{
    AttachOptions, Attached, Existing, FileInfo, InviteOptions, Network, Node, RoomId, Target,
    TransferInfo, TransferState,
};
use tempfile::TempDir;

/// Far beyond what anything here takes.
pub(crate) const DEADLINE: Duration = Duration::from_mins(1);

/// One person's machine.
pub(crate) struct Home {
    node: Option<Node>,
    pub(crate) folder: TempDir,
}

impl Home {
    pub(crate) async fn new() -> Self {
        let mut home = Self { node: None, folder: tempfile::tempdir().expect("a folder") };
        home.start().await;
        // Nothing comes that a test does not ask for, but for pictures.
        let set = ayni::Replication { agrees: false, ..home.node().replication() };
        home.node().set_replication(set).await.expect("set");
        home
    }

    /// Some homes that share a room.
    pub(crate) async fn with_room(count: usize) -> (Vec<Self>, RoomId) {
        let mut homes = Vec::new();
        for _ in 0..count {
            homes.push(Self::new().await);
        }
        let room = homes[0].node().create_room("files").await.expect("creates").room;
        for home in &homes[1..] {
            home.join(&homes[0], room).await;
        }
        (homes, room)
    }

    pub(crate) async fn join(&self, inviter: &Self, room: RoomId) {
        let ticket = inviter.node().invite(room, InviteOptions::default()).await.expect("invites");
        self.node().join(&ticket, DEADLINE).await.expect("joins");
    }

    pub(crate) async fn start(&mut self) {
        let data = self.folder.path().join("data");
        let builder = Node::builder().data(data).network(Network::Loopback);
        self.node = Some(builder.start().await.expect("starts"));
    }

    pub(crate) async fn stop(&mut self) {
        if let Some(node) = self.node.take() {
            node.shutdown().await;
        }
    }

    pub(crate) fn node(&self) -> &Node {
        self.node.as_ref().expect("runs")
    }

    /// Returns a new file outside of the data folder.
    pub(crate) fn file(&self, name: &str, bytes: &[u8]) -> PathBuf {
        let path = self.folder.path().join("own").join(name);
        std::fs::create_dir_all(path.parent().expect("below")).expect("made");
        std::fs::write(&path, bytes).expect("written");
        path
    }

    /// Returns a folder for what is fetched.
    pub(crate) fn downloads(&self) -> PathBuf {
        let path = self.folder.path().join("downloads");
        std::fs::create_dir_all(&path).expect("made");
        path
    }

    pub(crate) async fn attach(&self, room: RoomId, path: &Path) -> Attached {
        let attached = self.node().attach(room, path, &AttachOptions::default()).await;
        attached.expect("attached")
    }

    /// Waits until what was attached is listed here.
    pub(crate) async fn listed(&self, room: RoomId, attached: &Attached) -> FileInfo {
        let mut found = None;
        until("the file is listed", async || {
            let files = self.node().files(room, 100, None).await.expect("lists").files;
            found = files.into_iter().find(|file| file.event == attached.event);
            found.is_some()
        })
        .await;
        found.expect("found")
    }

    /// Fetches into the downloads; returns how it ended.
    pub(crate) async fn fetch(&self, room: RoomId, attached: &Attached) -> TransferInfo {
        self.listed(room, attached).await;
        let target = Target { path: self.downloads(), existing: Existing::Refuse };
        let fetching = self.node().fetch(room, attached.event, Some(target)).await.expect("begins");
        ended(fetching).await
    }
}

/// Waits until a transfer is done.
pub(crate) async fn ended(mut fetching: ayni::Fetching) -> TransferInfo {
    let done = async {
        loop {
            let info = fetching.info();
            match &info.state {
                TransferState::Done => return info,
                TransferState::Failed(_, why) => panic!("failed: {why}"),
                _ => fetching.changed().await,
            }
        }
    };
    let ended = tokio::time::timeout(DEADLINE, done).await;
    ended.unwrap_or_else(|_| panic!("not done within {DEADLINE:?}"))
}

pub(crate) async fn until(what: &str, mut is_so: impl AsyncFnMut() -> bool) {
    let waited = async {
        while !is_so().await {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(DEADLINE, waited).await.unwrap_or_else(|_| panic!("not: {what}"));
}

/// Bytes that look like chance and are the same every time.
pub(crate) fn bytes(len: usize, seed: u64) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut bytes = Vec::with_capacity(len + 8);
    while bytes.len() < len {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes.truncate(len);
    bytes
}

impl Home {
    /// Waits until all of what was attached is here.
    pub(crate) async fn has(&self, room: RoomId, attached: &Attached) {
        until("all of it is here", async || {
            self.listed(room, attached).await.here == ayni::Here::Whole
        })
        .await;
    }

    /// Waits until a message with an attachment is listed here.
    pub(crate) async fn listed_event(&self, room: RoomId, event: ayni::EventId) -> FileInfo {
        let blob = ayni::BlobId([0; 32]);
        self.listed(room, &Attached { event, blob, size: 0 }).await
    }

    pub(crate) async fn stop_all(homes: Vec<Self>) {
        for home in homes {
            home.stop_all_of().await;
        }
    }

    pub(crate) async fn stop_all_of(mut self) {
        self.stop().await;
    }
}

/// A picture of so many pixels a side.
pub(crate) fn picture(side: u32) -> Vec<u8> {
    png::png(side, 77, "")
}
