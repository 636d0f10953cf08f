//! What is kept, and how fast it goes: `limits`, `storage`, `pin`, `unpin`, `room pictures`.

use std::fmt::Write as _;

use ayni_web::api::{self, LastCopy, Replication, TransferState};
use serde_json::json;

use crate::args::{Limits, Pictures, Pin, Storage};
use crate::exit::note;
use crate::output::{count, short, size};
use crate::session::{Need, Session};

/// Shows how fast all transfers together may be, after what is to be changed of that.
pub(crate) async fn limits(session: &mut Session, change: Limits) -> anyhow::Result<()> {
    session
        .with_node(Need::Folder, async |node, out| {
            let mut limits = node.client.limits().await?;
            if change.is_some() {
                limits = node.client.set_limits(&change.over(&limits)).await?;
            }
            Ok(out.result(&limits, &limits_lines(&limits))?)
        })
        .await
}

/// Limits as a person reads them.
pub(super) fn limits_lines(limits: &api::Limits) -> String {
    let words = |rate: Option<u64>| match rate {
        Some(rate) => format!("{}/s", size(rate)),
        None => "no limit".to_owned(),
    };
    format!("up: {}\ndown: {}", words(limits.up), words(limits.down))
}

/// Shows how much of the disk pictures and files take, after what is to be changed of that.
pub(crate) async fn storage(session: &mut Session, change: Storage) -> anyhow::Result<()> {
    session
        .with_node(Need::Folder, async |node, out| {
            let mut told = node.client.storage().await?;
            if let Some(quota) = change.quota {
                told = node.client.set_quota(quota.0).await?;
            }
            if let Some(blob) = &change.discard {
                told = node.client.discard(blob).await?;
            }
            let now = told.replication;
            let set = Replication {
                agrees: change.replicate.unwrap_or(now.agrees),
                copies: change.copies.unwrap_or(now.copies),
                room_bytes: change.room_bytes.unwrap_or(now.room_bytes),
            };
            if set != now {
                told = node.client.set_replication(&set).await?;
            }
            out.result(&told, &storage_lines(&told))?;
            out.flush()?;
            told.last_copies.iter().for_each(note_last_copy);
            Ok(())
        })
        .await
}

fn storage_lines(told: &api::Storage) -> String {
    let quota = told.quota.map_or_else(|| "no quota".to_owned(), |it| format!("of {}", size(it)));
    let contents = count(told.contents as u64, "content");
    let mut lines = format!("{} in {contents}, {quota}\n", size(told.bytes));
    for (what, bytes) in [
        ("pinned", told.pinned),
        ("posted here", told.posted),
        ("fetched", told.fetched),
        ("fetched by itself", told.by_itself),
    ] {
        let _ = writeln!(lines, "{what}: {}", size(bytes)); // a string takes all
    }
    let set = &told.replication;
    let copies = count(set.copies as u64, "device");
    let does = if set.agrees {
        let most = size(set.room_bytes);
        format!("fetches by itself what fewer than {copies} have, up to {most} of a room")
    } else {
        "fetches nothing by itself but pictures".to_owned()
    };
    lines + &does
}

fn note_last_copy(copy: &LastCopy) {
    let (blob, bytes) = (short(&copy.blob), size(copy.bytes));
    let why = if copy.relied_on { "others rely on this copy" } else { "nobody in touch has it" };
    note(&format!("{blob} ({bytes}) is kept beyond the quota: {why}"));
}

/// Keeps what is attached to a message.
pub(crate) async fn pin(session: &mut Session, what: &Pin) -> anyhow::Result<()> {
    session
        .with_node(Need::Folder, async |node, out| {
            let room = node.client.room(&what.room).await?.room.to_string();
            let transfer = node.client.pin(&room, &what.event).await?;
            let told = json!({
                "event": transfer.event.map(|event| event.to_string()),
                "blob": transfer.blob.to_string(),
                "transfer": transfer.id,
            });
            let line = match transfer.state {
                TransferState::Done => "pinned".to_owned(),
                _ => {
                    format!("pinned; transfer {} fetches what lacks while a node runs", transfer.id)
                }
            };
            Ok(out.result(&told, &line)?)
        })
        .await
}

/// Lets what was pinned go again.
pub(crate) async fn unpin(session: &mut Session, what: &Pin) -> anyhow::Result<()> {
    session
        .with_node(Need::Folder, async |node, out| {
            let room = node.client.room(&what.room).await?.room.to_string();
            node.client.unpin(&room, &what.event).await?;
            // A person asked for just this, and is told nothing new.
            if out.is_json() { Ok(out.object(&json!({ "room": room }))?) } else { Ok(()) }
        })
        .await
}

/// Shows how large a picture of a room may be that is fetched by itself, after that was set.
pub(crate) async fn pictures(session: &mut Session, change: &Pictures) -> anyhow::Result<()> {
    session
        .with_node(Need::Folder, async |node, out| {
            let room = node.client.room(&change.room).await?.room.to_string();
            let bytes = match change.size {
                Some(bytes) => node.client.set_picture_limit(&room, Some(bytes)).await?,
                None => node.client.picture_limit(&room).await?,
            };
            let line = match bytes {
                0 => "no pictures are fetched by themselves".to_owned(),
                bytes => format!("pictures up to {} are fetched by themselves", size(bytes)),
            };
            Ok(out.result(&json!({ "room": room, "bytes": bytes }), &line)?)
        })
        .await
}
