//! The store: an append-only log, indexed by sled, behind one handle.
//!
//! The log is the database. A commit is true once its journal group is synced; the index follows and can be thrown
//! away. Bulk chunks go to segments and are synced before a publication that needs them reaches the journal.

pub mod blob;
pub mod bulk;
pub mod change;
pub mod error;
pub mod index;
pub mod log;
pub mod model;
pub mod pins;
mod rope;
pub mod ticket;
pub mod upload;

use std::path::PathBuf;
use std::sync::Arc;

use crate::chunk::ChunkerParams;
use blob::Blob;
use change::Change;
use error::StoreError;
use model::{Account, File, Id, Package, Token, Version};
use ticket::Ticket;
use upload::BlobWriter;

/// How to open a store. Sizes in bytes.
#[derive(Clone, Debug)]
pub struct Options {
    /// The data directory; created, with parents, mode 0700.
    pub data: PathBuf,
    /// Chunk sizes for a new store; an existing one keeps its own.
    pub chunking: ChunkerParams,
    /// Bodies up to this size travel inside the journal.
    pub inline_limit: u32,
    /// sled's page cache.
    pub index_cache: u64,
    /// Commits that may wait for the committer.
    pub commit_queue: usize,
    /// Bytes that may wait for the segment thread, over all uploads.
    pub segment_queue: u64,
    /// Bytes of verified chunks that all readers together may hold; beyond it readers use small buffers.
    pub read_buffers: u64,
}

impl Options {
    /// The defaults for a store at `data`.
    pub fn at(data: impl Into<PathBuf>) -> Self {
        Options {
            data: data.into(),
            chunking: ChunkerParams::default(),
            inline_limit: 256 * 1024,
            index_cache: 128 << 20,
            commit_queue: 2048,
            segment_queue: 32 << 20,
            read_buffers: 64 << 20,
        }
    }
}

/// Why a store did not open.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process has it.
    #[error("the store at {0} is in use by another process")]
    InUse(PathBuf),
    /// It was written by another version of Larder.
    #[error("{0}")]
    Format(String),
    /// Anything else.
    #[error(transparent)]
    Failed(#[from] StoreError),
}

/// Told how far a long open has come.
pub trait Progress: Send + Sync {
    /// `done` of `total` bytes of log have been replayed.
    fn replayed(&self, done: u64, total: u64);
}

/// Whether the store can write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Health {
    /// Reads and writes.
    Ready,
    /// Reads only, after a failed write or sync.
    Poisoned(String),
    /// The index failed; names cannot be trusted to be absent.
    IndexFailed(String),
}

/// An open store; clones share it.
#[derive(Clone, Debug)]
pub struct Store {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {}

impl Store {
    /// Opens the store at `options.data`, or creates it; recovers what a crash left. Blocks.
    pub fn open(options: Options, progress: &dyn Progress) -> Result<Self, OpenError> {
        let _ = (options, progress);
        Ok(Store {
            inner: Arc::new(Inner {}),
        })
    }

    /// Whether it can write.
    pub fn health(&self) -> Health {
        let _ = &self.inner;
        todo!()
    }

    /// A fresh id, larger than all before.
    pub fn next_id(&self) -> Id {
        todo!()
    }

    /// Random bytes that belong to this store for good, for keyed hashes; never leave the process.
    pub fn secret(&self) -> &[u8; 32] {
        todo!()
    }

    /// The account of this name, in any ASCII case.
    pub fn account(&self, name: &str) -> Result<Option<Account>, StoreError> {
        let _ = name;
        todo!()
    }

    /// The account with this id.
    pub fn account_by_id(&self, id: Id) -> Result<Option<Account>, StoreError> {
        let _ = id;
        todo!()
    }

    /// All accounts, by name.
    pub fn accounts(&self) -> Result<Vec<Account>, StoreError> {
        todo!()
    }

    /// The token with this hash.
    pub fn token(&self, hash: &[u8; 32]) -> Result<Option<Token>, StoreError> {
        let _ = hash;
        todo!()
    }

    /// The tokens of an account, oldest first.
    pub fn tokens_of(&self, account: Id) -> Result<Vec<Token>, StoreError> {
        let _ = account;
        todo!()
    }

    /// The package of this owner and name, in any ASCII case.
    pub fn package(&self, owner: Id, name: &str) -> Result<Option<Package>, StoreError> {
        let _ = (owner, name);
        todo!()
    }

    /// A version by name, matched as the package says.
    pub fn version(&self, package: &Package, name: &str) -> Result<Option<Version>, StoreError> {
        let _ = (package, name);
        todo!()
    }

    /// A file by name, matched as the package says.
    pub fn file(&self, package: &Package, version: &Version, name: &str) -> Result<Option<File>, StoreError> {
        let _ = (package, version, name);
        todo!()
    }

    /// Begins to take a body in. `expected_size`: the Content-Length, where known (only a hint).
    pub fn upload(&self, expected_size: Option<u64>) -> BlobWriter {
        let _ = expected_size;
        todo!()
    }

    /// Opens a file's bytes.
    pub fn open_file(&self, file: &File) -> Result<Blob, StoreError> {
        let _ = file;
        todo!()
    }

    /// Hands a change to the committer. It goes on even if the ticket is dropped. A full queue settles as `Busy`.
    pub fn commit(&self, change: Change) -> Ticket {
        let _ = change;
        todo!()
    }

    /// Stops writing, checkpoints the index and marks the shutdown as clean. Blocks.
    pub fn close(&self) {
        todo!()
    }
}
