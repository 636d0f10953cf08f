//! Shares and tickets.

use ayni::BlobId;
use serde::{Deserialize, Serialize};

use super::{Existing, text};

/// What was shared, durable here.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shared {
    /// The ticket: whoever has it may fetch, as long as it is shared.
    pub ticket: String,
    /// The content: the list of the files.
    #[serde(with = "text")]
    pub blob: BlobId,
    /// Bytes of all files.
    pub size: u64,
}

/// Something that is shared.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Share {
    /// The content: the list of the files.
    #[serde(with = "text")]
    pub blob: BlobId,
    /// What it is called: the name of the first that was shared.
    pub name: String,
    /// Since when, in Unix milliseconds.
    pub since: u64,
    /// The ticket, with the addresses of now.
    pub ticket: String,
}

/// Body of `POST /api/v1/shares`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SharePaths {
    /// Files and folders of this machine: absolute paths.
    pub paths: Vec<String>,
    /// Whether they are copied into the data folder instead of being read from where they are.
    #[serde(default)]
    pub copy: bool,
}

/// Body of `POST /api/v1/unshare`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Unshare {
    /// What is no longer to be shared: its ticket, its content's id, the start of that, or its name.
    pub share: String,
}

/// What is not shared any more.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unshared {
    /// The content.
    #[serde(with = "text")]
    pub blob: BlobId,
}

/// Body of `POST /api/v1/get`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Get {
    /// The ticket's text.
    pub ticket: String,
    /// The folder to write it into, which is made where its own folder exists: an absolute path. None:
    /// it is kept in the data folder only, until it is discarded.
    #[serde(default)]
    pub path: Option<String>,
    /// Whether it is for whoever reads the transfer's content, and not kept: it is over with the last
    /// byte, or when nobody reads it for a while. Not with `path`.
    #[serde(default)]
    pub pour: bool,
    /// What is done where something is there already.
    #[serde(default)]
    pub existing: Existing,
}
