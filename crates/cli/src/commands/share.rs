//! Sharing without a room: `send`, `get`, `shares`, `unshare`.

use std::io::{self, IsTerminal as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context as _;
use ayni_web::Client;
use ayni_web::api::{self, ErrorCode, Existing, Share, Shared, Transfer};
use ayni_web::client::path_text;
use bytes::{Bytes, BytesMut};
use futures_util::{Stream, StreamExt as _, stream};
use serde_json::json;
use tokio::io::AsyncReadExt as _;
use tokio_util::sync::CancellationToken;

use super::files::existing;
use super::transfer::wait;
use crate::args::{Get, Send};
use crate::exit::{Code, failure};
use crate::output::{Moment, Out, clean, short, size};
use crate::qr;
use crate::session::{Backend, Need, Session, stopped};

/// Stands for standard input and standard output.
const STANDARD: &str = "-";
/// What a file is called that comes from standard input.
const STDIN_NAME: &str = "stdin";
/// Bytes of standard input that are sent at a time.
const PIECE: usize = 256 * 1024;

/// What is to be shared.
enum Source {
    Paths(Vec<PathBuf>),
    Stdin,
}

/// How serving ended.
enum End {
    /// A node has it that goes on.
    HandedOver,
    /// The person wanted it.
    Stopped,
    /// The node that had it was another command's, and ended with that.
    NodeEnded,
}

/// Shares files and folders, and prints the ticket. A node that runs until it is stopped takes over;
/// otherwise this is the node, until it is stopped itself.
pub(crate) async fn send(session: &mut Session, what: Send) -> anyhow::Result<()> {
    if what.qr && session.out.is_json() {
        return Err(failure(Code::Invalid, "--qr draws and --json does not: choose one"));
    }
    let source = source(&what)?;
    let mut before = None;
    loop {
        let serving = session.until_its_end(Need::Network, async |node, out, stop| {
            let shared = if let Some(shared) = before.take() {
                shared
            } else {
                let sharing = share(&node.client, &source, what.copy);
                let shared = stop.run_until_cancelled(sharing).await.ok_or_else(stopped)??;
                if let Err(error) = print(&shared, what.qr, node, out) {
                    end(&node.client, &shared).await?;
                    return Err(error);
                }
                shared
            };
            let ended = serve(node, &shared, stop).await?;
            before = Some(shared);
            Ok(ended)
        });
        match serving.await? {
            // What was shared before is shared by whichever node has the folder next.
            Some(End::NodeEnded) => {}
            Some(End::HandedOver | End::Stopped) => return Ok(()),
            None if before.is_some() => return Ok(()),
            None => return Err(stopped()),
        }
    }
}

/// Finds what is meant before a node is started for it.
fn source(what: &Send) -> anyhow::Result<Source> {
    let is_stdin = |path: &PathBuf| path.as_os_str() == STANDARD;
    if !what.paths.iter().any(is_stdin) {
        let paths = what.paths.iter().map(|path| existing(path));
        return Ok(Source::Paths(paths.collect::<anyhow::Result<_>>()?));
    }
    if what.paths.len() > 1 {
        let told = "standard input (-) is shared alone, without other files";
        return Err(failure(Code::Invalid, told));
    }
    Ok(Source::Stdin)
}

async fn share(client: &Client, source: &Source, copy: bool) -> anyhow::Result<Shared> {
    match source {
        Source::Paths(paths) => {
            let paths = paths.iter().map(|path| path_text(path)).collect::<Result<_, _>>()?;
            Ok(client.share(&api::SharePaths { paths, copy }).await?)
        }
        Source::Stdin => Ok(client.share_bytes(STDIN_NAME, stdin()).await?),
    }
}

/// Returns standard input, to its end.
fn stdin() -> impl Stream<Item = io::Result<Bytes>> + 'static {
    stream::try_unfold(tokio::io::stdin(), async |mut stdin| {
        let mut piece = BytesMut::with_capacity(PIECE);
        let read = stdin.read_buf(&mut piece).await?;
        Ok((read > 0).then(|| (piece.freeze(), stdin)))
    })
}

/// Prints the ticket, alone on its line; a person at a terminal is told what comes of it.
fn print(shared: &Shared, draws: bool, node: &Backend, out: &mut Out) -> anyhow::Result<()> {
    out.result(shared, &clean(&shared.ticket))?;
    if draws {
        out.line(&qr::draw(&smaller(&shared.ticket))?)?;
    }
    if !out.is_json() && io::stdout().is_terminal() {
        let end = if node.is_passing() {
            "Ctrl-C".to_owned()
        } else {
            format!("`ayni unshare {}`", short(&shared.blob))
        };
        let size = size(shared.size);
        out.line(&format!("{size}, for whoever runs `ayni get TICKET`, until {end} ends it"))?;
    }
    Ok(out.flush()?)
}

/// Returns a ticket for a code of about two thirds of the size: all readers of it want the kind at its
/// start in lower case, and take the rest in either.
fn smaller(ticket: &str) -> String {
    let (kind, rest) = ticket.split_at_checked("blob".len()).unwrap_or(("", ticket));
    format!("{kind}{}", rest.to_ascii_uppercase())
}

/// Goes on as long as this command is needed for others to reach what is shared.
async fn serve(node: &Backend, shared: &Shared, stop: &CancellationToken) -> anyhow::Result<End> {
    if !node.is_passing() {
        return Ok(End::HandedOver);
    }
    let shares = node.client.shares().await?;
    if !shares.iter().any(|share| share.blob == shared.blob) {
        // Someone ended it while the folder was between two nodes.
        return Ok(End::Stopped);
    }
    // It ends with the node.
    let mut steps = node.client.progress(None).await?;
    let node_ends = async { while let Some(Ok(_)) = steps.next().await {} };
    if stop.run_until_cancelled(node_ends).await.is_some() {
        return Ok(End::NodeEnded);
    }
    end(&node.client, shared).await?;
    Ok(End::Stopped)
}

/// Ends a share, which someone may have ended already.
async fn end(client: &Client, shared: &Shared) -> anyhow::Result<()> {
    match client.unshare(&shared.blob.to_string()).await {
        Err(error) if error.code != ErrorCode::NotFound => Err(error.into()),
        _ => Ok(()),
    }
}

/// Fetches what a ticket names, and waits until it is where it is wanted.
pub(crate) async fn get(session: &mut Session, what: Get) -> anyhow::Result<()> {
    let patience = Duration::from_secs(what.timeout);
    if what.output.as_deref().is_some_and(|output| output.as_os_str() == STANDARD) {
        return get_to_stdout(session, &what, patience).await;
    }
    let output = what.output.as_deref().unwrap_or(Path::new("."));
    let told = output.display();
    let path = std::path::absolute(output).with_context(|| format!("look for {told}"))?;
    let path = Some(path_text(&path)?);
    let wish = api::Get { ticket: what.ticket, path, existing: what.over.existing(), pour: false };
    session
        .with_node(Need::Network, async |node, out| {
            let begun = node.client.get(&wish).await?;
            let done = wait(&node.client, begun, patience).await?;
            let path = done.path.unwrap_or_default();
            let told = json!({ "blob": done.blob.to_string(), "size": done.size.unwrap_or(done.bytes), "path": path });
            Ok(out.result(&told, &clean(&path))?)
        })
        .await
}

/// Writes the only file that a ticket names to standard output, as it comes.
async fn get_to_stdout(
    session: &mut Session,
    what: &Get,
    patience: Duration,
) -> anyhow::Result<()> {
    if session.out.is_json() {
        let told = "-o - fills standard output, and --json does: choose one";
        return Err(failure(Code::Invalid, told));
    }
    if what.over.existing() != Existing::Refuse {
        let told = "on standard output there is nothing to overwrite, rename or skip";
        return Err(failure(Code::Invalid, told));
    }
    let wish = api::Get { ticket: what.ticket.clone(), pour: true, ..api::Get::default() };
    session
        .with_node(Need::Network, async |node, out| {
            let begun = node.client.get(&wish).await?;
            let id = begun.id;
            let poured = pour(&node.client, begun, patience, out).await;
            if poured.is_err() {
                // Its bytes have nowhere to go any more; one that ended already need not be.
                let _ = node.client.cancel_transfer(id).await;
            }
            poured
        })
        .await
}

async fn pour(
    client: &Client,
    begun: Transfer,
    patience: Duration,
    out: &mut Out,
) -> anyhow::Result<()> {
    let id = begun.id;
    // It is over when its last byte was given, and nothing of it is kept.
    let ends = wait(client, begun, patience);
    let writes = async {
        let mut pieces = client.content(id).await?;
        while let Some(piece) = pieces.next().await {
            out.raw(&piece?)?;
        }
        Ok::<_, anyhow::Error>(out.flush()?)
    };
    tokio::try_join!(ends, writes).map(drop)
}

/// Lists what is shared.
pub(crate) async fn shares(session: &mut Session) -> anyhow::Result<()> {
    session
        // A ticket has the addresses that a node is reached by.
        .with_node(Need::Network, async |node, out| {
            for share in node.client.shares().await? {
                out.result(&share, &line(&share))?;
            }
            Ok(())
        })
        .await
}

fn line(share: &Share) -> String {
    let since = Moment::from_unix_ms(share.since);
    let (blob, name) = (short(&share.blob), clean(&share.name));
    format!("{blob}  since {} {} (UTC): {name}", since.day, since.time)
}

/// Stops sharing something.
pub(crate) async fn unshare(session: &mut Session, share: &str) -> anyhow::Result<()> {
    session
        .with_node(Need::Folder, async |node, out| {
            let unshared = node.client.unshare(share).await?;
            // A person asked for just this, and is told nothing new.
            if out.is_json() { Ok(out.object(&unshared)?) } else { Ok(()) }
        })
        .await
}

#[cfg(test)]
mod tests {
    use ayni::BlobId;

    use super::*;

    #[test]
    fn a_share_is_one_line() {
        let name = "trip\n\x1b[2J".to_owned();
        let (blob, ticket) = (BlobId([0xaa; 32]), "blobabc".to_owned());
        let share = Share { blob, name, since: 1_772_366_460_000, ticket };
        assert_eq!(line(&share), "aaaaaaaaaaaaaaaa  since 2026-03-01 12:01 (UTC): trip␊␛[2J");
    }

    #[test]
    fn a_drawn_ticket_keeps_its_kind_as_it_is() {
        assert_eq!(smaller("blobabc2"), "blobABC2");
        assert_eq!(smaller("x"), "X");
    }
}
