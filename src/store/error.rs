//! What can go wrong in the store, as values.

use std::io;

/// A read of the store that failed. Absence is not an error: it is `None`.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// sled failed. The daemon becomes unready; never taken for "not found".
    #[error("the index failed: {0}")]
    Index(String),
    /// A log file could not be read or written.
    #[error("log I/O failed: {0}")]
    Io(#[from] io::Error),
    /// Stored bytes do not match their checksums.
    #[error("stored data is damaged: {0}")]
    Damaged(String),
    /// Writing has ended after a failed sync; a restart recovers what is really there.
    #[error("writing has stopped after an I/O error; restart the daemon")]
    Poisoned,
    /// No room for these bytes; clears by itself.
    #[error("no space left for the upload")]
    NoSpace,
    /// A log file that is not this store's, or was written by a newer version.
    #[error("{0}")]
    Foreign(String),
    /// The store is closing.
    #[error("the store is closing")]
    Closed,
}
