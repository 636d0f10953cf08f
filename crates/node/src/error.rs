//! What can go wrong, sorted by whose turn it is to act.

use std::path::PathBuf;

/// The result of every fallible call on a [`crate::Node`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Whose fault it is and what the caller can do; stable, and the command line's exit code.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// What was given is malformed, ambiguous, empty or too large. Ask differently.
    Invalid,
    /// There is no such room, peer, event or service.
    NotFound,
    /// Not permitted: a refused service, a ticket that is expired, used up or revoked, a folder in use.
    Denied,
    /// The other side cannot be reached, or did not answer in time. Trying again can help.
    Unreachable,
    /// This machine failed: its disk, its clock, its database. Nothing acknowledged is lost.
    Internal,
    /// The node was shut down.
    Closed,
}

/// An error of the node. `Display` is one sentence for people; the source is never repeated in it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Malformed, ambiguous, empty or oversize input.
    #[error("{0}")]
    Invalid(String),
    /// No such thing.
    #[error("{0}")]
    NotFound(String),
    /// Not permitted.
    #[error("{0}")]
    Denied(String),
    /// Unreachable or too late.
    #[error("{0}")]
    Unreachable(String),
    /// Another process has the data folder open.
    #[error("the folder {} is in use by another ayni process", .0.display())]
    InUse(PathBuf),
    /// The data folder was written by a newer version; it is left untouched.
    #[error(
        "the folder {} belongs to a newer version of ayni (format {found}, this one knows {known}); \
         update ayni, or name another folder with --data", .path.display()
    )]
    NewerFolder {
        /// The folder.
        path: PathBuf,
        /// The format found there.
        found: u32,
        /// The newest format that this version knows.
        known: u32,
    },
    /// The store failed: a full disk, a corrupt database.
    #[error("{0}")]
    Store(String),
    /// A file of the data folder, or a socket, could not be used.
    #[error("{what}")]
    Io {
        /// What was tried, as a sentence without its cause.
        what: String,
        /// The operating system's answer.
        #[source]
        source: std::io::Error,
    },
    /// The network endpoint could not be started.
    #[error("{0}")]
    Endpoint(String),
    /// A peer's service failed at its task, or answered with what cannot be used.
    #[error("{0}")]
    Service(String),
    /// The node was shut down.
    #[error("this node was shut down")]
    Closed,
}

impl Error {
    /// Returns whose turn it is to act.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Invalid(_) => ErrorKind::Invalid,
            Self::NotFound(_) => ErrorKind::NotFound,
            Self::Denied(_) | Self::InUse(_) => ErrorKind::Denied,
            Self::Unreachable(_) => ErrorKind::Unreachable,
            Self::Closed => ErrorKind::Closed,
            Self::NewerFolder { .. }
            | Self::Store(_)
            | Self::Io { .. }
            | Self::Endpoint(_)
            | Self::Service(_) => ErrorKind::Internal,
        }
    }

    /// Returns it as one sentence, with its causes.
    pub(crate) fn with_causes(&self) -> String {
        let mut told = self.to_string();
        let mut source = std::error::Error::source(self);
        while let Some(cause) = source {
            told = format!("{told}: {cause}");
            source = cause.source();
        }
        told
    }

    pub(crate) fn io(what: impl Into<String>) -> impl FnOnce(std::io::Error) -> Self {
        let what = what.into();
        move |source| Self::Io { what, source }
    }
}
