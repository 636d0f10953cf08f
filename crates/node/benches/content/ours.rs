//! Two nodes in a room: what one attached by reference the other fetches.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use ayni::{AttachOptions, FileInfo, InviteOptions, Node, RoomId, Ticket, TransferState};

use crate::common::{self, child};

/// How often the taker looks whether the message is there.
const LOOK: Duration = Duration::from_millis(20);

/// Attaches a file or a folder, and gives it to the taker.
pub(crate) async fn give(path: &str, folder: &str) -> Result<()> {
    let mut asked = child::asked();
    let node = common::start(folder.as_ref()).await?;
    let room = node.create_room("content").await?.room;
    node.attach(room, path, &AttachOptions::default()).await?;
    println!("{}", node.invite(room, InviteOptions::default()).await?);
    while asked.recv().await.is_some() {}
    node.shutdown().await;
    Ok(())
}

/// Joins, and fetches what was attached when it is asked to.
pub(crate) async fn take(folder: &str, ticket: &str) -> Result<()> {
    let mut asked = child::asked();
    let node = common::start(folder.as_ref()).await?;
    let ticket: Ticket = ticket.parse()?;
    node.join(&ticket, common::DEADLINE).await?;
    let room = node.rooms().first().context("a room")?.room;
    let file = attached(&node, room).await?;
    println!("ready");
    asked.recv().await.context("nobody asks")?;
    let begun = Instant::now();
    let mut fetching = node.fetch(room, file.event, None).await?;
    let done = loop {
        let info = fetching.info();
        match &info.state {
            TransferState::Done => break info,
            TransferState::Failed(_, why) => bail!("the fetch failed: {why}"),
            _ => fetching.changed().await,
        }
    };
    println!("{}", begun.elapsed().as_secs_f64());
    // A folder's names count as well.
    ensure!(done.bytes >= file.attachment.size, "only {} bytes came", done.bytes);
    if done.twice > 0 {
        eprintln!("... {} bytes came twice", done.twice);
    }
    while asked.recv().await.is_some() {}
    node.shutdown().await;
    Ok(())
}

async fn attached(node: &Node, room: RoomId) -> Result<FileInfo> {
    let begun = Instant::now();
    loop {
        let mut page = node.files(room, 1, None).await?;
        if let Some(file) = page.files.pop() {
            return Ok(file);
        }
        ensure!(begun.elapsed() < common::DEADLINE, "the message did not come");
        tokio::time::sleep(LOOK).await;
    }
}
