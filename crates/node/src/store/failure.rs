//! What can go wrong inside the database, and the one sentence that tells people about it.

use std::path::Path;

use ayni_core::event::EventError;
use ayni_core::wire::WireError;
use rusqlite::ErrorCode;

use crate::error::Error;

/// Why a statement or a write failed.
#[derive(Debug)]
pub(super) enum Failure {
    /// SQLite's answer.
    Sql(rusqlite::Error),
    /// What is stored cannot have been written by us.
    Damaged(String),
    /// The write contradicts what is stored: a fault of the caller, and nothing of it was stored.
    Refused(&'static str),
}

impl From<rusqlite::Error> for Failure {
    fn from(error: rusqlite::Error) -> Self {
        use rusqlite::Error::{
            FromSqlConversionFailure, IntegralValueOutOfRange, InvalidColumnType,
        };
        match error {
            FromSqlConversionFailure(..) | IntegralValueOutOfRange(..) | InvalidColumnType(..) => {
                Self::Damaged(error.to_string())
            }
            error => Self::Sql(error),
        }
    }
}

impl From<EventError> for Failure {
    fn from(error: EventError) -> Self {
        Self::Damaged(format!("a stored event is unreadable: {error}"))
    }
}

impl From<WireError> for Failure {
    fn from(error: WireError) -> Self {
        Self::Damaged(format!("a stored value is unreadable: {error}"))
    }
}

impl Failure {
    /// Whether what is stored is damaged.
    pub(super) fn is_damage(&self) -> bool {
        match self {
            Self::Sql(error) => error.sqlite_error_code() == Some(ErrorCode::DatabaseCorrupt),
            Self::Damaged(_) => true,
            Self::Refused(_) => false,
        }
    }

    /// Tells what happened to the database at `path`, and what to do.
    pub(super) fn explain(self, path: &Path) -> Error {
        let error = match self {
            Self::Sql(error) => error,
            Self::Damaged(what) => return damaged(path, &what),
            Self::Refused(what) => {
                return Error::Store(format!("the database refused a write: {what}"));
            }
        };
        let shown = path.display();
        Error::Store(match error.sqlite_error_code() {
            Some(ErrorCode::DiskFull) => full(),
            Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => {
                return damaged(path, &reason(&error));
            }
            Some(ErrorCode::ReadOnly) => read_only(path),
            Some(ErrorCode::CannotOpen | ErrorCode::PermissionDenied) => format!(
                "the database {shown} cannot be opened: check that its folder is yours and can be \
                 written"
            ),
            Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => {
                format!("the database {shown} is in use by another program; close that one first")
            }
            Some(ErrorCode::SystemIoFailure) => format!(
                "the disk with the database {shown} failed or is full ({}); nothing acknowledged is \
                 lost",
                reason(&error)
            ),
            _ => format!("the database {shown} failed: {}", reason(&error)),
        })
    }
}

/// SQLite's own words, without the error that carries them.
fn reason(error: &rusqlite::Error) -> String {
    match error {
        rusqlite::Error::SqliteFailure(code, text) => {
            text.clone().unwrap_or_else(|| format!("code {}", code.extended_code))
        }
        other => other.to_string(),
    }
}

/// What is told about a damaged database. A new one beside the same device key would number its
/// events from 0 again and so contradict itself before others: hence another folder.
pub(super) fn damaged(path: &Path, what: &str) -> Error {
    Error::Store(format!(
        "the database {} is damaged ({what}); it was left as it is: keep a copy, and start ayni \
         with a new folder (--data) to join your rooms again",
        path.display()
    ))
}

/// What is told when the disk is full.
pub(super) fn full() -> String {
    "the disk is full: free some space and try again; nothing acknowledged is lost, and nothing is \
     half-written"
        .to_owned()
}

/// What is told when the database cannot be written.
pub(super) fn read_only(path: &Path) -> String {
    format!(
        "the database {} is read-only: ayni needs to write to it and its folder",
        path.display()
    )
}
