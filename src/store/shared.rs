//! What the store's threads and its handle share.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use super::Health;
use super::change::CommitError;
use super::index::Index;
use super::model::Id;

/// Counters and the two ways in which writing ends.
#[derive(Debug)]
pub struct Shared {
    next_id: AtomicU64,
    poisoned: OnceLock<String>,
    index: Arc<Index>,
    /// Bytes of log, while the index is built again.
    replayed: AtomicU64,
    to_replay: AtomicU64,
    proven: AtomicBool,
}

impl Shared {
    /// For a store whose next free id is `next_id`.
    pub fn new(next_id: Id, index: Arc<Index>) -> Self {
        Shared {
            next_id: AtomicU64::new(next_id),
            poisoned: OnceLock::new(),
            index,
            replayed: AtomicU64::new(0),
            to_replay: AtomicU64::new(0),
            proven: AtomicBool::new(false),
        }
    }

    /// A fresh id.
    pub fn next_id(&self) -> Id {
        self.next_id.fetch_add(1, Ordering::Relaxed)
    }

    /// The next free id, without taking it. Everything handed out before a group was staged is below.
    pub fn peek_next_id(&self) -> Id {
        self.next_id.load(Ordering::Relaxed)
    }

    /// Writing ends: a write or sync failed.
    pub fn poison(&self, why: String) {
        let _ = self.poisoned.set(why);
    }

    /// The index is known to hold what the log says.
    pub fn proven(&self) {
        self.proven.store(true, Ordering::Release);
    }

    /// Whether it is known.
    pub fn is_proven(&self) -> bool {
        self.proven.load(Ordering::Acquire)
    }

    /// How far the index has been built again, in bytes of log.
    pub fn rebuilding(&self, done: u64, total: u64) {
        self.to_replay.store(total, Ordering::Relaxed);
        self.replayed.store(done, Ordering::Relaxed);
    }

    /// Why nothing can be written, if so.
    pub fn writing_ended(&self) -> Option<CommitError> {
        match self.health() {
            Health::Ready => None,
            Health::Poisoned(_) => Some(CommitError::Poisoned),
            Health::Rebuilding { .. } => Some(CommitError::Rebuilding),
        }
    }

    /// The state of the store.
    pub fn health(&self) -> Health {
        if let Some(why) = self.index.failure() {
            return Health::Rebuilding {
                why,
                done: self.replayed.load(Ordering::Relaxed),
                total: self.to_replay.load(Ordering::Relaxed),
            };
        }
        match self.poisoned.get() {
            Some(why) => Health::Poisoned(why.clone()),
            None => Health::Ready,
        }
    }
}
