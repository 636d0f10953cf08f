//! Sending a picture, a file or a folder to a room.

use std::io::Read as _;
use std::path::Path;
use std::sync::Arc;

use ayni_core::attachment::{Attachment, Picture};
use ayni_core::chat::{Chat, TextError};
use ayni_core::file_name;
use ayni_core::id::BlobId;
use ayni_core::limits::MAX_PIXEL_SIDE;
use ayni_picture::{DescribeError, Limits, MAX_PICTURE_BYTES, SNIFF_LEN};
use bytes::Bytes;
use futures_util::{StreamExt, stream};
use tokio::sync::Semaphore;

use super::model::{AttachOptions, Attached};
use super::store::{Contents, Import, Imported, Protected};
use super::{access, folder};
use crate::error::{Error, Result};
use crate::inner::Inner;
use crate::rooms::{RoomHandle, govern};
use crate::start::blocking;

/// Largest picture whose metadata are removed.
const MAX_PICTURE: u64 = MAX_PICTURE_BYTES as u64;
/// Files of a folder that are taken in at a time.
const AT_ONCE: usize = 8;
/// Pictures that are decoded or stripped at a time: each may take [`ayni_picture::MAX_DECODE_BYTES`] of
/// memory, beside twice its own size.
static DECODING: Semaphore = Semaphore::const_new(1);

/// What is to be said of something, and what it consists of.
struct Prepared {
    attachment: Attachment,
    /// The parts of a folder.
    parts: Vec<BlobId>,
    /// Held until the database names it.
    protected: Vec<Protected>,
}

impl Prepared {
    fn file(
        imported: Imported,
        name: String,
        media_type: String,
        picture: Option<Picture>,
    ) -> Self {
        let (blob, size) = (imported.blob, imported.size);
        let attachment = Attachment { blob, size, name, media_type, files: None, picture };
        Self { attachment, parts: vec![], protected: vec![imported.protected] }
    }
}

/// Takes a file or a folder in and says it in a room. Durable when it returns.
///
/// # Errors
/// [`Error::Denied`] for a picture whose metadata cannot be removed; [`Error::Invalid`] for a caption
/// that is too long or a path that is neither file nor folder; [`Error::Io`]; what saying may fail with.
pub(crate) async fn attach(
    inner: &Arc<Inner>,
    room: &Arc<RoomHandle>,
    path: &Path,
    options: &AttachOptions,
) -> Result<Attached> {
    let too_long = |error: TextError| Error::Invalid(error.to_string());
    Chat::check_caption(&options.caption).map_err(too_long)?;
    let contents = inner.content.contents(inner).await?;
    let Prepared { attachment, parts, protected } =
        prepare(inner, &contents, path, options).await?;
    let (blob, size) = (attachment.blob, attachment.size);
    let chat = Chat::attachment(attachment, &options.caption);
    let chat = chat.map_err(too_long)?;
    let before = access::post(inner, &contents, room.id(), (blob, size), &parts).await?;
    drop(protected);
    let said = govern::say(inner, room, &chat).await;
    access::posted(inner, (room.id(), blob), before, said.is_ok()).await?;
    Ok(Attached { event: said?, blob, size })
}

async fn prepare(
    inner: &Inner,
    contents: &Contents,
    path: &Path,
    options: &AttachOptions,
) -> Result<Prepared> {
    let cannot = || Error::io(format!("{} cannot be read", path.display()));
    // As it is named from anywhere: a file that is referenced is read from there later.
    let found = path.to_owned();
    let path = blocking(move || {
        let what = format!("{} cannot be read", found.display());
        std::fs::canonicalize(&found).map_err(Error::io(what))
    })
    .await?;
    refuse_own(inner, &path)?;
    let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let name = file_name::clean(&name);
    let how = if options.copy { Import::Copy } else { Import::Reference };
    let kind = tokio::fs::metadata(&path).await.map_err(cannot())?;
    if kind.is_dir() {
        return folder_of(contents, &path, name, (how, options.keep_metadata)).await;
    }
    if !kind.is_file() {
        return Err(Error::Invalid(format!("{} is neither a file nor a folder", path.display())));
    }
    let start = start_of(&path).await?;
    let is_picture = ayni_picture::kind(&start).is_some();
    let len = tokio::fs::metadata(&path).await.map_err(cannot())?.len();
    if is_picture && len <= MAX_PICTURE {
        return picture(contents, &path, name, options.keep_metadata).await;
    }
    if is_picture && !options.keep_metadata {
        return Err(refused(&path, "this picture is too large to be looked into"));
    }
    let imported = contents.import(&path, how, |_| {}).await?;
    let media_type = ayni_picture::media_type(&start, &name).to_owned();
    Ok(Prepared::file(imported, name, media_type, None))
}

/// Refuses the data folder, what is in it, and a folder that it is in: the keys would go along.
///
/// # Errors
/// [`Error::Denied`].
pub(super) fn refuse_own(inner: &Inner, path: &Path) -> Result<()> {
    let own = inner.folder.path();
    let own = std::fs::canonicalize(own).unwrap_or_else(|_| own.to_owned());
    if path.starts_with(&own) || own.starts_with(path) {
        return Err(Error::Denied(format!(
            "{} has this node's own data, with its keys: it is not sent",
            path.display()
        )));
    }
    Ok(())
}

async fn folder_of(
    contents: &Contents,
    path: &Path,
    name: String,
    (how, keep): (Import, bool),
) -> Result<Prepared> {
    let found = path.to_owned();
    let files = blocking(move || folder::list(&found)).await?;
    let mut imported = Vec::with_capacity(files.len());
    let mut coming = stream::iter(files)
        .map(|(name, path)| async move {
            let file = file_of_folder(contents, &path, how, keep).await?;
            Ok::<_, Error>((name, file))
        })
        .buffered(AT_ONCE);
    while let Some(file) = coming.next().await {
        imported.push(file?);
    }
    drop(coming);
    let folder = folder::of(contents, imported).await?;
    let attachment = Attachment {
        blob: folder.root,
        size: folder.size,
        name,
        media_type: String::new(),
        files: Some(folder.files),
        picture: None,
    };
    Ok(Prepared { attachment, parts: folder.parts, protected: folder.protected })
}

/// Takes a file of a folder in; a picture without its metadata, unless that is wished otherwise.
async fn file_of_folder(
    contents: &Contents,
    path: &Path,
    how: Import,
    keep: bool,
) -> Result<Imported> {
    if keep || ayni_picture::kind(&start_of(path).await?).is_none() {
        return contents.import(path, how, |_| {}).await;
    }
    let _one = DECODING.acquire().await.map_err(|_| Error::Closed)?;
    let path = path.to_owned();
    let stripped = blocking(move || strip(&path, &read(&path)?)).await?;
    contents.import_bytes(stripped.into()).await
}

async fn start_of(path: &Path) -> Result<Vec<u8>> {
    let path = path.to_owned();
    blocking(move || {
        let mut start = Vec::new();
        let read = std::fs::File::open(&path)
            .and_then(|file| file.take(SNIFF_LEN as u64).read_to_end(&mut start));
        read.map_err(Error::io(format!("{} cannot be read", path.display())))?;
        Ok(start)
    })
    .await
}

/// Takes a picture in: without metadata, unless that is wished otherwise, and with what shows of it
/// before it is there.
async fn picture(contents: &Contents, path: &Path, name: String, keep: bool) -> Result<Prepared> {
    let _one = DECODING.acquire().await.map_err(|_| Error::Closed)?;
    let path = path.to_owned();
    let (bytes, media_type, shown) = blocking(move || read_picture(&path, keep)).await?;
    let imported = contents.import_bytes(bytes).await?;
    Ok(Prepared::file(imported, name, media_type, Some(shown)))
}

fn read_picture(path: &Path, keep: bool) -> Result<(Bytes, String, Picture)> {
    let bytes = read(path)?;
    let media_type = ayni_picture::media_type(&bytes, "").to_owned();
    let shown = shown(&bytes);
    let bytes = if keep { bytes } else { strip(path, &bytes)? };
    Ok((bytes.into(), media_type, shown))
}

/// Returns what shows of a picture before it is there: of one that is not decoded at least its size.
fn shown(bytes: &[u8]) -> Picture {
    let of_size = |width: u32, height: u32| {
        let fits = width.max(height) as usize <= MAX_PIXEL_SIDE;
        let (width, height) = if fits { (width, height) } else { (0, 0) };
        Picture { width, height, thumbhash: vec![], thumbnail: vec![] }
    };
    match ayni_picture::describe(bytes, &Limits::default()) {
        Ok(it) => Picture {
            width: it.width,
            height: it.height,
            thumbhash: it.thumbhash,
            thumbnail: it.thumbnail,
        },
        Err(
            DescribeError::TooManyPixels { width, height }
            | DescribeError::TooMuchMemory { width, height, .. },
        ) => of_size(width, height),
        Err(error) => {
            tracing::debug!("a picture has no thumbnail: {error}");
            of_size(0, 0)
        }
    }
}

/// Reads a picture; no more than one may have, whatever its length was a moment ago.
fn read(path: &Path) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let read = std::fs::File::open(path)
        .and_then(|file| file.take(MAX_PICTURE + 1).read_to_end(&mut bytes));
    read.map_err(Error::io(format!("{} cannot be read", path.display())))?;
    if bytes.len() as u64 > MAX_PICTURE {
        return Err(refused(path, "this picture is too large to be looked into"));
    }
    Ok(bytes)
}

fn strip(path: &Path, bytes: &[u8]) -> Result<Vec<u8>> {
    let stripped = ayni_picture::strip(bytes);
    Ok(stripped.map_err(|error| refused(path, &error.to_string()))?.bytes)
}

fn refused(path: &Path, why: &str) -> Error {
    Error::Denied(format!(
        "{}: {why}; its metadata (place, device, times) would be sent along: say --keep-metadata to \
         send it as it is",
        path.display()
    ))
}
