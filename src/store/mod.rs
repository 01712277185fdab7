//! The store: an append-only log, indexed by sled, behind one handle.
//!
//! The log is the database. A commit is true once its journal group is synced; the index follows and can be thrown
//! away. Bulk chunks go to segments and are synced before a publication that needs them reaches the journal.

mod affected;
pub mod backup;
mod ballast;
pub mod blob;
pub mod bulk;
pub mod change;
pub mod check;
pub mod collect;
mod committer;
mod compact;
pub mod counts;
#[cfg(test)]
mod crash_tests;
pub mod damage;
pub mod error;
#[cfg(test)]
mod fault_tests;
pub mod flow;
mod holds;
mod identity;
pub mod index;
#[cfg(test)]
mod index_tests;
#[cfg(test)]
mod keeping_tests;
mod listing;
mod locate;
#[cfg(test)]
mod locate_tests;
pub mod log;
mod metrics;
pub mod model;
mod open;
mod open_file;
pub mod pace;
mod people;
pub mod pins;
mod position;
#[cfg(test)]
mod power_cut_tests;
mod proof;
mod quarantine;
#[cfg(test)]
mod quota_tests;
mod rebuild;
mod recovery;
mod replay;
mod room;
mod rope;
mod scrub;
mod shared;
mod siblings;
pub mod snapshot;
mod stage;
pub mod stats;
mod sweeps;
#[cfg(test)]
mod tests;
mod threads;
pub mod ticket;
mod trust;
pub mod upload;
pub mod verify;

use std::path::PathBuf;
use std::sync::mpsc::{SyncSender, TrySendError};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use serde::de::DeserializeOwned;

use crate::chunk::{ChunkerParams, Digest};
use blob::Readers;
use bulk::Bulk;
use change::{Change, CommitError};
use collect::barrier::Barrier;
use committer::Message;
use error::StoreError;
use holds::{Hold, Holds};
use identity::Identity;
use index::{Index, keys};
pub use index::{Located, Missing};
use model::{File, Id, Package, Version};
pub use open::{RebuildReport, rebuild_index};
use position::Applied;
use quarantine::Quarantine;
pub use room::{Disk, Limits, RoomState};
use shared::Shared;
use snapshot::LogEnd;
use threads::Threads;
use ticket::Ticket;
use upload::{BlobWriter, NewBlob};

/// How to open a store. Sizes in bytes.
#[derive(Clone, Debug)]
pub struct Options {
    /// The data directory; created, with parents, mode 0700.
    pub data: PathBuf,
    /// How much the store may take; beyond it uploads are refused.
    pub limits: Limits,
    /// Chunk sizes for a new store; an existing one keeps its own.
    pub chunking: ChunkerParams,
    /// Bodies up to this size travel inside the journal.
    pub inline_limit: u32,
    /// Memory for what of the index was asked for last, bytes: a quarter for rows, the rest for sled's pages.
    pub index_cache: u64,
    /// Commits that may wait for the committer.
    pub commit_queue: usize,
    /// Bytes that may wait for the segment thread, over all uploads.
    pub segment_queue: u64,
    /// Bytes of verified chunks that all readers together may hold; beyond it readers use small buffers.
    pub read_buffers: u64,
    /// How log files are changed; tests put their own here.
    pub(crate) disk: Arc<dyn log::disk::Disk>,
}

impl Options {
    /// The defaults for a store at `data`.
    pub fn at(data: impl Into<PathBuf>) -> Self {
        Options {
            data: data.into(),
            limits: Limits::default(),
            chunking: ChunkerParams::default(),
            inline_limit: 256 * 1024,
            index_cache: 128 << 20,
            commit_queue: 2048,
            segment_queue: 32 << 20,
            read_buffers: 64 << 20,
            disk: Arc::new(log::disk::Kernel),
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
    /// The disk is too full to open it. Nothing is lost.
    #[error(
        "the disk of {0} is full and the store cannot be opened; make some room (a few MiB are enough: delete other \
         files, or enlarge the disk or the quota) and start again; nothing is lost"
    )]
    DiskFull(PathBuf),
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
    /// The index failed and is built again from the log; until then no name can be looked up.
    Rebuilding {
        /// Why it failed.
        why: String,
        /// Bytes of log replayed so far.
        done: u64,
        /// Bytes of log to be replayed; 0 while nobody knows.
        total: u64,
    },
}

/// An open store; clones share it.
#[derive(Clone, Debug)]
pub struct Store {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    identity: Identity,
    data: PathBuf,
    disk: Arc<dyn log::disk::Disk>,
    shared: Arc<Shared>,
    index: Arc<Index>,
    bulk: Arc<Bulk>,
    readers: Arc<Readers>,
    barrier: Arc<Barrier>,
    /// Held during a pass of collection.
    collecting: Mutex<()>,
    commits: SyncSender<Message>,
    threads: Mutex<Option<Threads>>,
    quarantine: Mutex<Option<Quarantine>>,
    /// Who needs the log files to stay.
    holds: Arc<Holds>,
    /// Held as long as the store is open.
    _lock: std::fs::File,
}

impl Store {
    /// Opens the store at `options.data`, or creates it; recovers what a crash left. Blocks.
    ///
    /// # Errors
    /// `InUse` while another process has it, `Format` if it is not a store that this version reads.
    pub fn open(options: Options, progress: &dyn Progress) -> Result<Self, OpenError> {
        open::open(options, progress)
    }

    /// Whether it can write.
    pub fn health(&self) -> Health {
        if self.inner.bulk.segments.poisoned() {
            self.inner.shared.poison("a segment could not be synced".into());
        }
        self.inner.shared.health()
    }

    /// Whether the index is known to hold exactly what the log says. One that was found on disk is scanned for that,
    /// slowly, after every start.
    pub fn index_is_proven(&self) -> bool {
        self.inner.shared.is_proven()
    }

    /// Waits until names can be looked up: at once, unless the index is being built again. Cancel safe.
    pub async fn index_restored(&self) {
        self.inner.index.restored().await;
    }

    /// Whether a body of `bytes` can be taken in.
    ///
    /// # Errors
    /// `NoSpace` above the high watermark, or where the store's limit or the disk says no.
    pub fn check_room(&self, bytes: u64) -> Result<(), StoreError> {
        self.inner.bulk.room.check(bytes)
    }

    /// What the store takes and may take, and how much has to go until uploads are taken again. Cheap.
    pub fn room(&self) -> RoomState {
        self.inner.bulk.room.state()
    }

    /// Goes up whenever an account or a token has changed, before whoever asked for it hears that it has: what has been
    /// looked up about them is true for as long as this stays the same.
    pub fn sign_in_changes(&self) -> u64 {
        self.inner.shared.sign_in_changes()
    }

    /// A fresh id, larger than all before.
    pub fn next_id(&self) -> Id {
        self.inner.shared.next_id()
    }

    /// Random bytes that belong to this store for good, for keyed hashes; never leave the process.
    pub fn secret(&self) -> &[u8; 32] {
        &self.inner.identity.secret
    }

    /// The package of this owner and name, in any ASCII case.
    pub fn package(&self, owner: Id, name: &str) -> Result<Option<Package>, StoreError> {
        self.get(&keys::package(owner, name))
    }

    /// A version by name, matched as the package says.
    pub fn version(&self, package: &Package, name: &str) -> Result<Option<Version>, StoreError> {
        self.get(&keys::version(package, name))
    }

    /// A file by name, matched as the package says.
    pub fn file(&self, package: &Package, version: &Version, name: &str) -> Result<Option<File>, StoreError> {
        self.get(&keys::file(package, version.id, name))
    }

    /// Begins to take a body in. `expected_size`: the Content-Length, where known (only a hint).
    pub fn upload(&self, expected_size: Option<u64>) -> BlobWriter {
        BlobWriter::new(self.inner.bulk.clone(), expected_size)
    }

    /// The same as [`Store::upload`] for a small body that is there already, in one piece.
    ///
    /// # Errors
    /// Those of [`BlobWriter::write`].
    pub async fn upload_whole(&self, body: Bytes) -> Result<NewBlob, StoreError> {
        if let Some(blob) = NewBlob::inline(&self.inner.bulk, &body) {
            return Ok(blob);
        }
        // Rare, and larger than everything else that a publication waits with.
        let mut writer = Box::new(self.upload(Some(body.len() as u64)));
        Box::pin(writer.write(body)).await?;
        Box::pin(writer.finish()).await
    }

    /// Hands a change to the committer. It goes on even if the ticket is dropped. A full queue settles as `Busy`.
    pub fn commit(&self, change: Change) -> Ticket {
        let (settle, ticket) = ticket::ticket();
        if self.health() != Health::Ready
            && let Some(error) = self.inner.shared.writing_ended()
        {
            settle.settle(Err(error));
            return ticket;
        }
        match self
            .inner
            .commits
            .try_send(Message::Commit(Box::new(change), settle))
        {
            Ok(()) => {}
            Err(TrySendError::Full(message)) => {
                flow::commit_refused();
                message.settle(CommitError::Busy);
            }
            Err(TrySendError::Disconnected(message)) => {
                message.settle(self.inner.shared.writing_ended().unwrap_or(CommitError::Closed));
            }
        }
        ticket
    }

    /// The data directory.
    pub fn data(&self) -> &std::path::Path {
        &self.inner.data
    }

    /// How far the log reaches now, and a hold on its files: what is below may be copied as long as that lives.
    ///
    /// # Errors
    /// `Index` where the index does not say how far it is.
    pub fn snapshot(&self) -> Result<(LogEnd, Hold), StoreError> {
        let hold = self.inner.holds.hold();
        // What has been acknowledged is in the index.
        let applied = Applied::load(&self.inner.index)?.unwrap_or(Applied::START);
        let segments = self.inner.bulk.segments.durable();
        let end = LogEnd::new(self.inner.identity.uuid, (applied.file, applied.offset), segments);
        Ok((end, hold))
    }

    /// Who needs the log files to stay: compaction asks before it deletes one.
    pub fn holds(&self) -> &Arc<Holds> {
        &self.inner.holds
    }

    /// Stops writing, makes the index durable and marks the shutdown as clean. Blocks. Reads go on until the last
    /// clone is dropped.
    pub fn close(&self) {
        let threads = self
            .inner
            .threads
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        let Some(threads) = threads else { return };
        self.inner.end_quarantine();
        let _ = self.inner.commits.send(Message::Close);
        let ended = threads.join(|| self.health() == Health::Ready);
        if let Err(error) = self.inner.bulk.segments.close() {
            tracing::warn!(%error, "the last segment could not be sealed; the next start does it");
        }
        if ended.is_some()
            && self.health() == Health::Ready
            && let Err(error) = trust::mark_clean(&self.inner.index)
        {
            tracing::warn!(%error, "the index could not be marked as closed; the next start checks the log");
        }
    }

    fn get<T: DeserializeOwned>(&self, key: &[u8]) -> Result<Option<T>, StoreError> {
        self.inner.index.get_as(key)
    }
}

impl Inner {
    fn end_quarantine(&self) {
        let running = self
            .quarantine
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        if let Some(quarantine) = running {
            quarantine.end();
        }
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.end_quarantine();
        // Without close() the threads end here too, but the shutdown does not count as clean.
        if let Some(threads) = self
            .threads
            .get_mut()
            .unwrap_or_else(PoisonError::into_inner)
            .take()
        {
            let _ = self.commits.send(Message::Close);
            let shared = self.shared.clone();
            threads.join(move || shared.health() == Health::Ready);
        }
        let _ = self.bulk.segments.close();
    }
}
