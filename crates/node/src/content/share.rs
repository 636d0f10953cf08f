//! Sharing without a room: what a ticket names anyone may have who holds it, as long as it is shared.
//!
//! The ticket is an ordinary one of iroh-blobs, for a collection, which other tools read: a single file is
//! a collection of one, so that its name travels along.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ayni_core::file_name::{self, Paths};
use ayni_core::id::{BlobId, PeerId};
use iroh_blobs::BlobFormat;
use iroh_blobs::ticket::BlobTicket;

use super::ask::hash;
use super::folder::{self, ImportedFolder};
use super::model::{ShareInfo, Shared};
use super::store::{Contents, Import};
use super::target::Target;
use super::transfers::{self, Source, Transfer, Wish};
use crate::error::{Error, Result};
use crate::inner::Inner;
use crate::start::blocking;
use crate::store::{Share, Write};
use crate::transport::endpoint::from_iroh;
use crate::transport::links::Links;

/// What is to be shared.
#[derive(Debug)]
pub(crate) enum What {
    /// Files and folders, read from where they are, or copied.
    Paths(Vec<PathBuf>, Import),
    /// What a reader brings, under a name.
    Bytes(String, Box<dyn ReadAll>),
}

/// A reader of any kind.
pub(crate) trait ReadAll: std::io::Read + Send + std::fmt::Debug {}

impl<T: std::io::Read + Send + std::fmt::Debug> ReadAll for T {}

/// Takes in what is to be shared, and shares it. Durable when it returns.
///
/// # Errors
/// [`Error::Invalid`] for nothing, or too much; [`Error::Io`]; a failing disk.
pub(crate) async fn share(inner: &Arc<Inner>, what: What) -> Result<Shared> {
    if matches!(&what, What::Paths(paths, _) if paths.is_empty()) {
        return Err(Error::Invalid("nothing to share was named".into()));
    }
    // Without a network there is no ticket, and nothing is shared.
    links(inner)?;
    let contents = inner.content.contents(inner).await?;
    let (name, folder) = match what {
        What::Paths(paths, how) => import_paths(inner, &contents, paths, how).await?,
        What::Bytes(name, bytes) => {
            let imported = contents.import_reader(bytes).await?;
            let file = (file_name::clean(&name), imported);
            (name, folder::of(&contents, vec![file]).await?)
        }
    };
    // On the disk before it is promised to anyone.
    contents.sync(folder.parts.iter().copied().chain([folder.root]).collect()).await?;
    let share = Share {
        root: folder.root,
        blobs: folder.parts.clone(),
        folder: true,
        name,
        since_ms: inner.now(),
    };
    inner.store.write(Write::Share(share)).await?;
    drop(folder.protected);
    let ticket = ticket(inner, folder.root)?;
    Ok(Shared { ticket, blob: folder.root, size: folder.size })
}

/// Stops sharing something.
///
/// # Errors
/// [`Error::NotFound`] for what is not shared; a failing disk.
pub(crate) async fn stop(inner: &Arc<Inner>, root: BlobId) -> Result<()> {
    let shared = inner.store.shares().await?;
    if !shared.iter().any(|share| share.root == root) {
        return Err(Error::NotFound(format!("{} is not shared", root.short())));
    }
    inner.store.write(Write::Unshare { root }).await
}

/// Finds something that is shared by what a person types.
///
/// # Errors
/// [`Error::NotFound`]; [`Error::Invalid`] when several fit; a failing disk.
pub(crate) async fn find(inner: &Inner, text: &str) -> Result<BlobId> {
    let shares = inner.store.shares().await?;
    let wanted = match text.trim().parse::<BlobTicket>() {
        Ok(ticket) => ticket.hash().to_string(),
        Err(_) => text.to_owned(),
    };
    crate::find::share(&wanted, shares.into_iter().map(|share| (share.root, share.name)))
}

/// Returns what is shared.
///
/// # Errors
/// A failing disk.
pub(crate) async fn shares(inner: &Arc<Inner>) -> Result<Vec<ShareInfo>> {
    let shares = inner.store.shares().await?;
    let info = shares.into_iter().map(|share| {
        let ticket = ticket(inner, share.root)?;
        Ok(ShareInfo { ticket, blob: share.root, name: share.name, since_ms: share.since_ms })
    });
    info.collect()
}

fn links(inner: &Inner) -> Result<&Links> {
    inner.links().ok_or_else(|| {
        Error::Unreachable("a ticket needs the network, and this node runs without one".into())
    })
}

fn ticket(inner: &Inner, root: BlobId) -> Result<String> {
    let addr = links(inner)?.bound().endpoint.addr();
    Ok(BlobTicket::new(addr, hash(root), BlobFormat::HashSeq).to_string())
}

/// Takes paths in, each below its own name.
async fn import_paths(
    inner: &Arc<Inner>,
    contents: &Contents,
    paths: Vec<PathBuf>,
    how: Import,
) -> Result<(String, ImportedFolder)> {
    let of_check = inner.clone();
    let listed = blocking(move || {
        let (mut files, mut names, mut first) = (BTreeMap::new(), Paths::default(), None);
        let mut insert = |parts: &[String], file| drop(files.insert(names.place(parts), file));
        for path in paths {
            let what = format!("{} cannot be read", path.display());
            let path = std::fs::canonicalize(&path).map_err(Error::io(what))?;
            super::attach::refuse_own(&of_check, &path)?;
            let name = file_name::clean(&name_of(&path));
            first.get_or_insert_with(|| name.clone());
            if path.is_dir() {
                for (below, file) in folder::list(&path)? {
                    let parts: Vec<String> = below.split('/').map(str::to_owned).collect();
                    insert(&[&[name.clone()][..], &parts].concat(), file);
                }
            } else if path.is_file() {
                insert(&[name], path);
            } else {
                let path = path.display();
                return Err(Error::Invalid(format!("{path} is neither a file nor a folder")));
            }
        }
        Ok((first.unwrap_or_default(), files.into_iter().collect()))
    });
    let (first, files) = listed.await?;
    Ok((first, folder::import_listed(contents, files, how).await?))
}

fn name_of(path: &Path) -> String {
    path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
}

/// Begins to fetch what a ticket names.
///
/// # Errors
/// [`Error::Invalid`] for what is no ticket, or one of this node; what [`transfers::begin`] says.
pub(crate) async fn get(
    inner: &Arc<Inner>,
    ticket: &str,
    target: Option<Target>,
) -> Result<Arc<Transfer>> {
    transfers::begin(inner, wish(inner, ticket, target)?).await
}

/// Begins to fetch what a ticket names for one reader, and to keep nothing of it.
///
/// # Errors
/// As [`get`].
pub(crate) async fn pour(inner: &Arc<Inner>, ticket: &str) -> Result<Arc<Transfer>> {
    transfers::begin_pour(inner, wish(inner, ticket, None)?).await
}

fn wish(inner: &Arc<Inner>, ticket: &str, target: Option<Target>) -> Result<Wish> {
    let parsed: BlobTicket = ticket
        .trim()
        .parse()
        .map_err(|_| Error::Invalid("this is no ticket for files: it begins with `blob`".into()))?;
    let (addr, blob, format) = parsed.into_parts();
    let peer = PeerId(*addr.id.as_bytes());
    if peer == inner.me() {
        return Err(Error::Invalid("this ticket is this node's own".into()));
    }
    links(inner)?.bound().learn(&from_iroh(&addr));
    let root = BlobId(*blob.as_bytes());
    Ok(Wish {
        source: Source::Ticket(peer, ticket.trim().to_owned()),
        root,
        folder: format.is_hash_seq(),
        name: root.to_string(),
        claimed: None,
        target: target.map(Target::absolute),
        asked: true,
    })
}
