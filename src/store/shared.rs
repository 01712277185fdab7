//! What the store's threads and its handle share.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

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
    /// Somebody waits for the proof.
    proof_is_urgent: AtomicBool,
    /// Bytes of files whose names went since the start.
    removed_bytes: AtomicU64,
    /// Changes of accounts and tokens since the start.
    sign_in_changes: AtomicU64,
    started: Instant,
    /// When the last group was committed, in milliseconds since `started`, and how long it took, in microseconds.
    last_group: [AtomicU64; 2],
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
            proof_is_urgent: AtomicBool::new(false),
            removed_bytes: AtomicU64::new(0),
            sign_in_changes: AtomicU64::new(0),
            started: Instant::now(),
            last_group: Default::default(),
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

    /// A group took `time` from its first check until it was in the index, and `removed` bytes of files lost their
    /// names by it.
    pub fn committed(&self, removed: u64, time: Duration) {
        self.removed_bytes.fetch_add(removed, Ordering::Relaxed);
        let [at, took] = &self.last_group;
        at.store(self.started.elapsed().as_millis() as u64, Ordering::Relaxed);
        took.store(time.as_micros() as u64, Ordering::Relaxed);
    }

    /// Bytes of files whose names went since the start. A hint: the same bytes may have other names.
    pub fn removed_bytes(&self) -> u64 {
        self.removed_bytes.load(Ordering::Relaxed)
    }

    /// Accounts or tokens have changed, as look-ups show by now.
    pub fn sign_in_changed(&self) {
        self.sign_in_changes.fetch_add(1, Ordering::Release);
    }

    /// Changes of accounts and tokens since the start.
    pub fn sign_in_changes(&self) -> u64 {
        self.sign_in_changes.load(Ordering::Acquire)
    }

    /// How long the last group took, if there was one within the last second: what a write has to wait just now.
    pub fn commit_latency(&self) -> Duration {
        let [at, took] = &self.last_group;
        let age = (self.started.elapsed().as_millis() as u64).saturating_sub(at.load(Ordering::Relaxed));
        match age {
            0..=1000 => Duration::from_micros(took.load(Ordering::Relaxed)),
            _ => Duration::ZERO,
        }
    }

    /// Writing ends: a write or sync failed.
    pub fn poison(&self, why: String) {
        let _ = self.poisoned.set(why);
    }

    /// The index is known to hold what the log says.
    pub fn proven(&self) {
        self.proven.store(true, Ordering::Release);
    }

    /// Somebody waits for the proof: it goes on without rests.
    pub fn hurry_proof(&self) {
        self.proof_is_urgent.store(true, Ordering::Relaxed);
    }

    /// Whether somebody waits for it.
    pub fn proof_is_urgent(&self) -> bool {
        self.proof_is_urgent.load(Ordering::Relaxed)
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
