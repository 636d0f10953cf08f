//! Pictures and files of a room: `attach`, `files`.

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use ayni_web::api::{self, File, Here};
use ayni_web::client::path_text;
use futures_util::TryStreamExt as _;
use serde::Serialize;

use super::standing::note_standing;
use crate::args::Attach;
use crate::ask;
use crate::exit::{Code, failure};
use crate::output::{clean, short, size};
use crate::session::{Need, Session};
use crate::timeline::what;

/// Sends files to a room, each in a message of its own. What was sent before one fails stays.
pub(crate) async fn attach(session: &mut Session, what: Attach) -> anyhow::Result<()> {
    // All are looked for before the first is sent: a slip of the keyboard sends none.
    let paths = what.files.iter().map(|path| existing(path)).collect::<anyhow::Result<Vec<_>>>()?;
    let text = match what.text.filter(|text| !text.is_empty()) {
        Some(text) => session.unless_stopped(ask::text(text)).await?,
        None => String::new(),
    };
    session
        .with_node(Need::Folder, async |node, out| {
            let mut text = Some(text);
            for path in &paths {
                let attach = api::Attach {
                    path: path_text(path)?,
                    text: text.take().unwrap_or_default(),
                    keep_metadata: what.keep_metadata,
                    copy: what.copy,
                };
                let attached = node.client.attach(&what.room, &attach).await?;
                let name = path.file_name().unwrap_or(path.as_os_str()).to_string_lossy();
                let (event, bytes) = (short(&attached.event), size(attached.size));
                out.result(&attached, &format!("{event}  {} ({bytes})", clean(&name)))?;
                // The next one may take long.
                out.flush()?;
            }
            Ok(())
        })
        .await
}

/// Returns the absolute path of something that is there.
pub(super) fn existing(path: &Path) -> anyhow::Result<PathBuf> {
    let told = path.display();
    if !path.try_exists().with_context(|| format!("look for {told}"))? {
        return Err(failure(Code::NotFound, format!("there is no file {told}")));
    }
    std::path::absolute(path).with_context(|| format!("look for {told}"))
}

/// A file as `--json` shows it.
#[derive(Serialize)]
struct Line<'a> {
    event: String,
    blob: String,
    name: &'a str,
    size: u64,
    held_by: usize,
    here: Here,
}

/// Lists what was attached in a room, oldest first.
pub(crate) async fn files(
    session: &mut Session,
    room: &str,
    limit: Option<usize>,
) -> anyhow::Result<()> {
    session
        .with_node(Need::Folder, async |node, out| {
            let room = node.client.room(room).await?;
            let id = room.room.to_string();
            let files = node.client.files(&id, limit.unwrap_or(usize::MAX)).await?;
            let mut files: Vec<File> = files.try_collect().await?;
            files.reverse();
            for file in &files {
                let it = &file.attachment;
                let line = Line {
                    event: file.event.to_string(),
                    blob: it.blob.to_string(),
                    name: &it.name,
                    size: it.size,
                    held_by: file.held_by,
                    here: file.here,
                };
                out.result(&line, &file_line(file))?;
            }
            out.flush()?;
            note_standing(&room);
            Ok(())
        })
        .await
}

fn file_line(file: &File) -> String {
    let here = match file.here {
        Here::Whole => "also here",
        Here::Part => "partly here",
        Here::None => "not here",
        Here::Changed => "changed here since it was sent",
        Here::Unknown => "here in a way that this version does not know",
    };
    let (event, held_by) = (short(&file.event), file.held_by);
    format!("{event}  held by {held_by}, {here}: {}", what(&file.attachment))
}
