//! What the store's threads and its handle share.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

use super::Health;
use super::change::CommitError;
use super::model::Id;

/// Counters and the two ways in which writing ends.
#[derive(Debug)]
pub struct Shared {
    next_id: AtomicU64,
    poisoned: OnceLock<String>,
    index_failed: OnceLock<String>,
}

impl Shared {
    /// For a store whose next free id is `next_id`.
    pub fn new(next_id: Id) -> Self {
        Shared {
            next_id: AtomicU64::new(next_id),
            poisoned: OnceLock::new(),
            index_failed: OnceLock::new(),
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

    /// The index cannot be trusted to say that something is absent.
    pub fn index_failed(&self, why: String) {
        let _ = self.index_failed.set(why);
    }

    /// Why nothing can be written, if so.
    pub fn writing_ended(&self) -> Option<CommitError> {
        match self.health() {
            Health::Ready => None,
            Health::Poisoned(_) => Some(CommitError::Poisoned),
            Health::IndexFailed(_) => Some(CommitError::IndexFailed),
        }
    }

    /// The state of the store.
    pub fn health(&self) -> Health {
        if let Some(why) = self.index_failed.get() {
            return Health::IndexFailed(why.clone());
        }
        match self.poisoned.get() {
            Some(why) => Health::Poisoned(why.clone()),
            None => Health::Ready,
        }
    }
}
