//! The rows of a tree as a log-structured merge tree: what was written last is in a memtable, everything else in sorted
//! runs (P. O'Neil et al., "The log-structured merge-tree", 1996).
//!
//! sled takes microseconds for each row, a page of it has at most 16, and each insert copies one. So it is given many
//! rows at a time: a memtable becomes a run at each checkpoint, and runs of about the same size become one ([`Merge`]).
//! A look-up asks the memtable, then the runs, the newest first, as far as their filters do not say no.

mod scan;
mod upkeep;

use std::collections::HashSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use foldhash::quality::FixedState;

use super::floor::Floors;
use super::manifest::Manifest;
use super::memtable::Memtable;
use super::merge::Merge;
use super::retired::Retired;
use super::rows::Hashed;
use super::run::{Run, RunInfo};
use super::tree::Value;
use crate::store::error::StoreError;

/// Memory of a memtable that is full, bytes: a run is made of it without waiting for the checkpoint. Little for tests,
/// so that it is full often.
const MEMTABLE_FULL: usize = if cfg!(test) { 64 << 10 } else { 16 << 20 };
/// Memory at which whoever writes waits until there is that run.
const MEMTABLE_MOST: usize = 2 * MEMTABLE_FULL;

/// Knows whether there is room on the disk for a merge.
pub trait MergeRoom {
    /// For one that reads so many bytes, beside everything else that may be written meanwhile.
    fn for_merge(&self, bytes: u64) -> bool;
    /// For what one step writes.
    fn for_step(&self) -> bool;
}

/// Runs, the newest first.
pub type Runs = Arc<Vec<Arc<Run>>>;

/// What is found for a key: its value, if it has one.
#[derive(Debug)]
pub enum Found {
    /// Without asking sled.
    InMemory(Option<Value>),
    /// In a run.
    InRun(Option<Value>),
}

/// How much has been written since the last run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fill {
    /// The checkpoint comes early enough.
    Some,
    /// There should be a run soon.
    Full,
    /// There has to be one before anything else is written.
    Most,
}

/// All rows of one sled database.
#[derive(Debug)]
pub struct Levels {
    db: sled::Db,
    hasher: FixedState,
    recent: RwLock<Recent>,
    upkeep: Mutex<Upkeep>,
}

/// What a look-up has to look at.
#[derive(Debug)]
struct Recent {
    active: Memtable,
    /// Is being made a run.
    frozen: Option<Arc<Memtable>>,
    runs: Runs,
    floors: Floors,
}

/// What only one thread at a time works on.
#[derive(Debug)]
struct Upkeep {
    manifest: Manifest,
    merge: Option<Merge>,
    retired: Retired,
}

impl Levels {
    /// Opens those of a database, or begins some in an empty one.
    ///
    /// # Errors
    /// `Index` where they are not whole, or of another version.
    pub fn open(db: &sled::Db) -> Result<Self, StoreError> {
        let mut manifest = Manifest::open(db)?;
        let mut trees: HashSet<_> = db.tree_names().into_iter().collect();
        let mut runs = Vec::with_capacity(manifest.runs.len());
        for info in &manifest.runs {
            if !info.trees().all(|tree| trees.remove(tree.as_bytes())) {
                return Err(StoreError::Index(format!("run {} got lost", info.id)));
            }
            runs.push(Arc::new(Run::open(db, info.clone())?));
        }
        let mut retired = Retired::default();
        for tree in trees {
            if let Some(id) = RunInfo::id_in(&tree) {
                manifest.skip_number(id);
                retired.tree(String::from_utf8_lossy(&tree).into_owned());
            }
        }
        Ok(Levels {
            db: db.clone(),
            hasher: manifest.hasher(),
            recent: RwLock::new(Recent {
                active: Memtable::default(),
                frozen: None,
                runs: Arc::new(runs),
                floors: Floors::default(),
            }),
            upkeep: Mutex::new(Upkeep {
                manifest,
                merge: None,
                retired,
            }),
        })
    }

    /// What turns a key into the hash that goes with it.
    pub fn hasher(&self) -> FixedState {
        self.hasher.clone()
    }

    /// The value of a key.
    ///
    /// # Errors
    /// `Index` where sled fails or rows got lost.
    pub fn get(&self, key: Hashed<'_>) -> Result<Found, StoreError> {
        let runs = {
            let recent = self.read();
            let written = recent.active.get(key);
            if let Some(value) = written.or_else(|| recent.frozen.as_ref()?.get(key)) {
                return Ok(Found::InMemory(value.clone()));
            }
            if !is_known(&recent.runs, key.hash()) {
                return Ok(Found::InMemory(None));
            }
            recent.runs.clone()
        };
        for run in &*runs {
            if let Some(value) = run.get(key)? {
                return Ok(Found::InRun(value));
            }
        }
        Ok(Found::InRun(None))
    }

    /// Writes or removes a key. How much has been written since the last run was begun.
    pub fn set(&self, key: Hashed<'_>, value: Option<Value>) -> Fill {
        let mut recent = self.write();
        if value.is_some() {
            recent.floors.written(key.key());
        }
        recent.active.set(key, value);
        match recent.active.bytes() {
            MEMTABLE_MOST.. => Fill::Most,
            MEMTABLE_FULL.. => Fill::Full,
            _ => Fill::Some,
        }
    }

    /// Whether work that can wait should let runs be made first: half a memtable has been written, or one is being made.
    pub fn is_behind(&self) -> bool {
        let recent = self.read();
        recent.frozen.is_some() || recent.active.bytes() >= MEMTABLE_FULL / 2
    }

    /// Whether a run is to be made without waiting for the checkpoint.
    pub fn is_full(&self) -> bool {
        self.read().active.bytes() >= MEMTABLE_FULL
    }

    /// Bytes of memory that the next run takes up, about.
    pub fn unflushed(&self) -> usize {
        let recent = self.read();
        recent.active.bytes() + recent.frozen.as_ref().map_or(0, |frozen| frozen.bytes())
    }

    /// What has been written changes no more: the next write goes into a new memtable. Not while there is another one
    /// that waits to become a run.
    pub(super) fn freeze(&self) {
        let mut recent = self.write();
        if recent.frozen.is_none() && !recent.active.is_empty() {
            recent.frozen = Some(Arc::new(std::mem::take(&mut recent.active)));
        }
    }

    pub(super) fn is_frozen(&self) -> bool {
        self.read().frozen.is_some()
    }

    /// Keeps everybody else from making runs, and from merging them.
    #[cfg(test)]
    pub(super) fn hold(&self) -> impl Drop + use<'_> {
        self.upkeep()
    }

    /// The runs, the newest first.
    pub fn runs(&self) -> Runs {
        self.read().runs.clone()
    }

    fn read(&self) -> RwLockReadGuard<'_, Recent> {
        self.recent.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Recent> {
        self.recent.write().unwrap_or_else(PoisonError::into_inner)
    }

    fn upkeep(&self) -> MutexGuard<'_, Upkeep> {
        self.upkeep.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether any of these runs may have a row for the key with this hash.
pub fn is_known(runs: &[Arc<Run>], hash: u64) -> bool {
    runs.iter().any(|run| !run.is_absent(hash))
}
