//! Fetching: `fetch`, `transfers`, `transfer`.

use std::collections::BTreeMap;
use std::io::IsTerminal as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context as _;
use ayni_web::api::{self, Transfer, TransferState};
use ayni_web::client::path_text;
use ayni_web::{Client, ClientError};
use futures_util::StreamExt as _;
use serde::Serialize;
use serde_json::json;
use tokio::time::{Instant, timeout_at};

use super::storage::limits_lines;
use crate::args::{Fetch, Limits, TransferCommand};
use crate::exit::{Code, failure};
use crate::output::{Out, clean};
use crate::progress::{Bars, line};
use crate::session::{Need, Session};

/// How often a transfer that is merely going on is printed again by `transfers --follow`.
const PRINT_AGAIN: Duration = Duration::from_secs(1);

/// A transfer that failed before is tried again when it is asked for: how long it may still say so. That
/// is a moment; one that fails again at once is told after this time.
const OLD_FAILURE: Duration = Duration::from_secs(2);

/// Fetches what is attached to a message, and waits until it is where it is wanted.
pub(crate) async fn fetch(session: &mut Session, what: Fetch) -> anyhow::Result<()> {
    let path = wanted(what.output.as_deref())?;
    let patience = Duration::from_secs(what.timeout);
    session
        .with_node(Need::Network, async |node, out| {
            let room = node.client.room(&what.room).await?.room.to_string();
            let (path, existing) = (Some(path_text(&path)?), what.over.existing());
            let wish = api::Fetch { event: what.event, path, existing };
            let begun = node.client.fetch_attached(&room, &wish).await?;
            let done = wait(&node.client, begun, patience).await?;
            let path = done.path.unwrap_or_default();
            let told = json!({
                "event": done.event.map(|event| event.to_string()),
                "blob": done.blob.to_string(),
                "size": done.size.unwrap_or(done.bytes),
                "path": path,
            });
            Ok(out.result(&told, &clean(&path))?)
        })
        .await
}

/// Returns the absolute path that something is to be written to.
fn wanted(output: Option<&Path>) -> anyhow::Result<PathBuf> {
    let path = output.unwrap_or(Path::new("."));
    let told = path.display();
    let names_folder = path.as_os_str().to_string_lossy().ends_with(std::path::is_separator);
    if names_folder && !path.is_dir() {
        return Err(failure(Code::NotFound, format!("there is no folder {told}")));
    }
    std::path::absolute(path).with_context(|| format!("look for {told}"))
}

/// Waits for the end of a transfer, and shows how far it is.
///
/// # Errors
/// With [`Code::Unreachable`] when nothing came for as long as `patience`.
pub(super) async fn wait(
    client: &Client,
    begun: Transfer,
    patience: Duration,
) -> anyhow::Result<Transfer> {
    let mut steps = client.progress(Some(begun.id)).await?;
    let mut bars = Bars::on_terminal();
    let (mut last, mut since) = (begun, Instant::now());
    let mut old_until = (last.state == TransferState::Failed).then(|| since + OLD_FAILURE);
    loop {
        let due = old_until.or_else(|| due(&last, since, patience));
        let step = match due {
            Some(due) => timeout_at(due, steps.next()).await,
            None => Ok(steps.next().await),
        };
        let Ok(step) = step else {
            return Err(if old_until.is_some() { failed(last) } else { too_late(&last, patience) });
        };
        let Some(step) = step.transpose()? else {
            return Err(failure(Code::Unreachable, "the node of this folder stopped"));
        };
        if step.bytes > last.bytes || last.state == TransferState::Placing {
            since = Instant::now();
        }
        bars.show(&step);
        match step.state {
            TransferState::Done => return Ok(step),
            TransferState::Failed if old_until.is_none() => return Err(failed(step)),
            TransferState::Failed => {}
            TransferState::Cancelled => {
                let told = format!("not fetched: someone ended the transfer {}", step.id);
                return Err(failure(Code::Other, told));
            }
            _ => old_until = None,
        }
        last = step;
    }
}

/// Returns when it is enough, if nothing comes until then; none while only this machine's disk takes time.
fn due(transfer: &Transfer, since: Instant, patience: Duration) -> Option<Instant> {
    // What is claimed says nothing of what is here.
    (transfer.state != TransferState::Placing).then(|| since + patience)
}

fn failed(transfer: Transfer) -> anyhow::Error {
    let error = transfer.error.map(ClientError::from);
    error.map_or_else(|| failure(Code::Other, "not fetched"), Into::into)
}

fn too_late(last: &Transfer, patience: Duration) -> anyhow::Error {
    let (id, seconds) = (last.id, patience.as_secs());
    let who = match (last.state, last.peers) {
        (TransferState::Paused, _) => "it is paused".to_owned(),
        (TransferState::Waiting, _) => "it waits for other transfers".to_owned(),
        (_, 0) => "nobody who has it can be reached".to_owned(),
        (_, peers) => format!("{peers} who have some of it send nothing"),
    };
    failure(
        Code::Unreachable,
        format!(
            "nothing came for {seconds} s: {who}; it goes on while a node runs, until `ayni transfer \
             cancel {id}`"
        ),
    )
}

/// A transfer as `--json` shows it.
#[derive(Serialize)]
struct Line<'a> {
    id: u64,
    blob: String,
    name: &'a str,
    bytes: u64,
    size: Option<u64>,
    rate: u64,
    eta_s: Option<u64>,
    peers: usize,
    state: TransferState,
}

fn print(transfer: &Transfer, out: &mut Out) -> crate::output::Result {
    let object = Line {
        id: transfer.id,
        blob: transfer.blob.to_string(),
        name: &transfer.name,
        bytes: transfer.bytes,
        size: transfer.size,
        rate: transfer.rate,
        eta_s: transfer.eta_s,
        peers: transfer.peers,
        state: transfer.state,
    };
    out.result(&object, &line(transfer))
}

/// Lists the transfers.
pub(crate) async fn transfers(session: &mut Session) -> anyhow::Result<()> {
    session
        .with_node(Need::Folder, async |node, out| {
            for transfer in node.client.transfers().await? {
                print(&transfer, out)?;
            }
            Ok(())
        })
        .await
}

/// Lists the transfers and then what changes, until stopped: as bars on a terminal.
pub(crate) async fn follow(session: &mut Session) -> anyhow::Result<()> {
    session
        .until_stopped(Need::Network, async |node, out| {
            let mut steps = node.client.progress(None).await?;
            let is_seen = std::io::stdout().is_terminal() && !out.is_json();
            let mut bars = Bars::on_terminal();
            let mut printed = BTreeMap::new();
            while let Some(step) = steps.next().await {
                let step = step?;
                if is_seen && bars.are_shown() {
                    bars.show(&step);
                    if step.state.is_over() {
                        bars.line(&line(&step));
                    }
                } else if is_due(&step, &mut printed) {
                    print(&step, out)?;
                    out.flush()?;
                }
            }
            Err(failure(Code::Unreachable, "the node of this folder stopped"))
        })
        .await
        .map(|_: Option<()>| ())
}

/// Whether a transfer is to be printed now: when it stands otherwise, and else now and then.
fn is_due(step: &Transfer, printed: &mut BTreeMap<u64, (TransferState, Instant)>) -> bool {
    let now = Instant::now();
    let last = printed.get(&step.id);
    let due = last.is_none_or(|(state, at)| *state != step.state || *at + PRINT_AGAIN <= now);
    if due {
        printed.insert(step.id, (step.state, now));
    }
    due
}

/// Changes the limits of a transfer, where something is to be changed, and returns them.
async fn limit(client: &Client, id: u64, rates: Limits) -> anyhow::Result<api::Limits> {
    let transfers = client.transfers().await?;
    let now = transfers.into_iter().find(|it| it.id == id && !it.state.is_over());
    let missing = || failure(Code::NotFound, format!("there is no transfer {id}, or it is over"));
    let now = now.ok_or_else(missing)?;
    let limits = rates.over(&api::Limits { up: now.rate_up, down: now.rate_down });
    if rates.is_some() {
        client.set_transfer_limits(id, &limits).await?;
    }
    Ok(limits)
}

/// Pauses a transfer, lets it go on, ends it, or says how it goes.
pub(crate) async fn transfer(
    session: &mut Session,
    command: TransferCommand,
) -> anyhow::Result<()> {
    session
        .with_node(Need::Folder, async |node, out| {
            let id = match command {
                TransferCommand::Pause { id } => {
                    node.client.pause_transfer(id).await?;
                    id
                }
                TransferCommand::Resume { id } => {
                    node.client.resume_transfer(id).await?;
                    id
                }
                TransferCommand::Cancel { id } => {
                    node.client.cancel_transfer(id).await?;
                    id
                }
                TransferCommand::Priority { id, level } => {
                    node.client.set_transfer_priority(id, level).await?;
                    id
                }
                TransferCommand::Limit { id, rates } => {
                    let limits = limit(&node.client, id, rates).await?;
                    let told = json!({ "id": id, "up": limits.up, "down": limits.down });
                    return Ok(out.result(&told, &limits_lines(&limits))?);
                }
            };
            // A person asked for just this, and is told nothing new.
            if out.is_json() { Ok(out.object(&json!({ "id": id }))?) } else { Ok(()) }
        })
        .await
}

#[cfg(test)]
mod tests {
    use ayni::BlobId;
    use ayni_web::api::Priority;

    use super::*;

    fn transfer(size: u64, bytes: u64, state: TransferState) -> Transfer {
        Transfer {
            id: 3,
            blob: BlobId([1; 32]),
            name: "beach.png".into(),
            bytes,
            size: Some(size),
            rate: 0,
            eta_s: None,
            peers: 0,
            state,
            priority: Priority::Normal,
            rate_up: None,
            rate_down: None,
            error: None,
            room: None,
            event: None,
            twice: 0,
            path: None,
        }
    }

    #[test]
    fn only_what_is_being_placed_has_all_the_time() {
        let (since, patience) = (Instant::now(), Duration::from_secs(4));
        let due = |size, bytes, state| due(&transfer(size, bytes, state), since, patience);
        let soon = Some(since + patience);
        assert_eq!(due(9, 5, TransferState::Running), soon);
        assert_eq!(due(0, 0, TransferState::Running), soon, "what is claimed says nothing");
        assert_eq!(due(9, 9, TransferState::Running), soon);
        assert_eq!(due(0, 0, TransferState::Waiting), soon);
        assert_eq!(due(9, 9, TransferState::Placing), None);
    }

    #[test]
    fn who_waits_is_told_what_for() {
        let told = |state, peers| {
            let last = Transfer { peers, ..transfer(9, 5, state) };
            too_late(&last, Duration::from_secs(4)).to_string()
        };
        assert!(told(TransferState::Waiting, 0).contains("other transfers"));
        assert!(told(TransferState::Running, 0).contains("nobody who has it can be reached"));
        assert!(told(TransferState::Running, 2).contains("2 who have some of it send nothing"));
    }
}
