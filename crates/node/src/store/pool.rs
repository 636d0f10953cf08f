//! The reading connections: a few, opened when first needed, used on blocking threads.
//!
//! Invariant: each read sees one state of the database, that after some whole transaction; a read
//! that starts after an acknowledgement sees what was acknowledged.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use rusqlite::{Connection, TransactionBehavior};
use tokio::sync::Semaphore;

use super::failure::Failure;
use super::schema;
use crate::error::{Error, Result};

/// Reads at a time. Overflow policy: the others wait. Each connection costs about a megabyte.
const READERS: usize = 3;

/// The connections.
pub(super) struct Pool(Arc<Shared>);

struct Shared {
    path: PathBuf,
    /// None after the end.
    idle: Mutex<Option<Vec<Connection>>>,
    places: Arc<Semaphore>,
}

impl Pool {
    /// Prepares to read the database at `path`.
    pub(super) fn new(path: &Path) -> Self {
        Self(Arc::new(Shared {
            path: path.to_owned(),
            idle: Mutex::new(Some(Vec::new())),
            places: Arc::new(Semaphore::new(READERS)),
        }))
    }

    /// Runs `query` in one read transaction, on a blocking thread.
    ///
    /// Cancelling the wait leaves the query to end by itself, unheard.
    pub(super) async fn read<T, F>(&self, query: F) -> Result<T>
    where
        T: Send + 'static,
        F: FnOnce(&Connection) -> Result<T, Failure> + Send + 'static,
    {
        let shared = self.0.clone();
        let place = shared.places.clone().acquire_owned().await.map_err(|_| Error::Closed)?;
        let task = tokio::task::spawn_blocking(move || {
            let result = shared.run(query);
            drop(place);
            result
        });
        match task.await {
            Ok(result) => result,
            Err(error) => match error.try_into_panic() {
                Ok(panic) => std::panic::resume_unwind(panic),
                Err(_) => Err(Error::Closed), // the runtime is shutting down
            },
        }
    }

    /// Ends it: later reads are refused, those under way come to their end.
    pub(super) fn close(&self) {
        self.0.places.close();
        self.0.idle.lock().unwrap_or_else(PoisonError::into_inner).take();
    }
}

impl Shared {
    fn run<T>(&self, query: impl FnOnce(&Connection) -> Result<T, Failure>) -> Result<T> {
        let mut connection = self.take()?;
        let result = (|| {
            let behavior = TransactionBehavior::Deferred;
            let transaction = connection.transaction_with_behavior(behavior)?;
            let value = query(&transaction)?;
            transaction.finish()?;
            Ok(value)
        })();
        if let Some(idle) = &mut *self.idle.lock().unwrap_or_else(PoisonError::into_inner) {
            idle.push(connection);
        }
        result.map_err(|failure: Failure| failure.explain(&self.path))
    }

    fn take(&self) -> Result<Connection> {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        let found = idle.as_mut().ok_or(Error::Closed)?.pop();
        drop(idle);
        match found {
            Some(connection) => Ok(connection),
            None => schema::open_reader(&self.path).map_err(|failure| failure.explain(&self.path)),
        }
    }
}
