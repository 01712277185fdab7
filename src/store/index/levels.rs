//! The rows of a tree as a log-structured merge tree: what was written last is in a memtable, everything else in sorted
//! runs (P. O'Neil et al., "The log-structured merge-tree", 1996).
//!
//! sled takes microseconds for each row, a page of it has at most 16, and each insert copies one. So it is given many
//! rows at a time: a memtable becomes a run at each checkpoint, and runs of about the same size become one ([`Merge`]).
//! A look-up asks the memtable, then the runs, the newest first, as far as their filters do not say no.

use std::collections::HashSet;
use std::hash::BuildHasher;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use foldhash::quality::FixedState;

use super::floor::{Floors, WORTHWHILE};
use super::keys::family;
use super::manifest::Manifest;
use super::memtable::Memtable;
use super::merge::{Exchange, Merge, due};
use super::merged::{Merged, RunRows, Source};
use super::retired::Retired;
use super::rows::Hashed;
use super::run::{Run, RunInfo, failed};
use super::run_writer::RunWriter;
use super::span::{Order, Span};
use super::tree::{Entry, Value};
use crate::store::error::StoreError;

/// Memory of a memtable that is full, bytes: a run is made of it without waiting for the checkpoint. Little for tests,
/// so that it is full often.
const MEMTABLE_FULL: usize = if cfg!(test) { 64 << 10 } else { 16 << 20 };
/// Memory at which whoever writes waits until there is that run.
const MEMTABLE_MOST: usize = 2 * MEMTABLE_FULL;
/// Rows of a memtable that a scan takes at a time, at least and at most. Few for tests, so that scans go on often.
const GATHER: (usize, usize) = if cfg!(test) { (2, 8) } else { (64, 4096) };

/// With so many runs they are merged even where the disk is nearly full.
const CROWDED: usize = 64;

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

    /// Up to `limit` rows of a span, in this order. `prefix`: what all keys of the span begin with.
    ///
    /// # Errors
    /// `Index` where sled fails or rows got lost.
    pub fn scan(
        &self,
        prefix: &[u8],
        mut span: Span,
        order: Order,
        limit: usize,
    ) -> Result<Vec<Entry>, StoreError> {
        let (floor, stamp) = match (order, span.start == prefix) {
            (Order::Forward, true) => {
                let recent = self.read();
                let (floor, stamp) = recent.floors.of(prefix);
                (floor.cloned(), Some(stamp))
            }
            _ => (None, None),
        };
        if let Some(floor) = floor {
            span.start = floor;
        }
        let (mut entries, mut passed) = (Vec::<Entry>::new(), 0);
        'enough: while entries.len() < limit && !span.is_empty() {
            let gather = (limit - entries.len()).clamp(GATHER.0, GATHER.1);
            let (mut merged, horizon) = self.merged(prefix, &span, order, gather)?;
            while let Some(row) = merged.row()?
                && span.contains(row.key)
                && horizon
                    .as_ref()
                    .is_none_or(|horizon| !is_beyond(row.key, horizon, order))
            {
                match row.value {
                    Some(value) => entries.push((row.key.into(), value.into())),
                    None => passed += usize::from(entries.is_empty()),
                }
                if entries.len() == limit {
                    break 'enough;
                }
                merged.advance()?;
            }
            match horizon {
                Some(horizon) => span = span.beyond(&horizon, order),
                None => break,
            }
        }
        if let Some(stamp) = stamp
            && passed >= WORTHWHILE
        {
            let floor = entries.first().map_or(span.end, |(first, _)| first.to_vec());
            self.write().floors.learn(prefix, floor, stamp);
        }
        Ok(entries)
    }

    /// How many entries begin with `prefix`.
    ///
    /// # Errors
    /// `Index` where sled fails or rows got lost.
    pub fn count(&self, prefix: &[u8]) -> Result<usize, StoreError> {
        let (mut count, mut span) = (0, Span::of(prefix));
        loop {
            let entries = self.scan(prefix, span.clone(), Order::Forward, GATHER.1)?;
            let Some((last, _)) = entries.last() else {
                return Ok(count);
            };
            count += entries.len();
            span = span.after(last);
        }
    }

    /// All sources of a span, and up to which key they are whole: further rows of the memtables were not taken.
    fn merged(
        &self,
        prefix: &[u8],
        span: &Span,
        order: Order,
        gather: usize,
    ) -> Result<(Merged, Option<Vec<u8>>), StoreError> {
        let mut sources = Vec::new();
        let mut horizon: Option<Vec<u8>> = None;
        let runs = {
            let recent = self.read();
            for memtable in [Some(&recent.active), recent.frozen.as_deref()]
                .into_iter()
                .flatten()
            {
                let (rows, more) = memtable.rows(span, order, gather);
                if let Some((last, _)) = rows.last()
                    && more
                    && horizon
                        .as_ref()
                        .is_none_or(|horizon| is_beyond(horizon, last, order))
                {
                    horizon = Some(last.clone());
                }
                sources.push(Source::Memory(rows, 0));
            }
            recent.runs.clone()
        };
        let family = family(prefix).map(|family| self.hasher.hash_one(family));
        for run in &*runs {
            if family.is_none_or(|family| !run.is_absent(family)) {
                sources.push(Source::run(RunRows::new(run.clone(), span, order)?));
            }
        }
        Ok((Merged::new(sources, order)?, horizon))
    }

    /// Makes runs of what has been written. Writes go on meanwhile, into the next memtable.
    ///
    /// # Errors
    /// `Index` where sled fails.
    pub fn flush(&self) -> Result<(), StoreError> {
        let mut upkeep = self.upkeep();
        // One that was frozen before, when that failed, is older.
        if self.is_frozen() {
            self.make_run(&mut upkeep)?;
        }
        self.freeze();
        self.make_run(&mut upkeep)
    }

    /// Makes runs of what has been written, unless that has been done since whoever calls found it to be too much.
    ///
    /// # Errors
    /// `Index` where sled fails.
    pub fn flush_full(&self) -> Result<(), StoreError> {
        // Whoever makes one holds this.
        drop(self.upkeep());
        match self.is_full() {
            true => self.flush(),
            false => Ok(()),
        }
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

    /// Makes a run of what is frozen, and of nothing else.
    #[cfg(test)]
    pub(super) fn flush_frozen(&self) -> Result<(), StoreError> {
        self.make_run(&mut self.upkeep())
    }

    /// Makes a run of what is frozen, if anything is.
    fn make_run(&self, upkeep: &mut Upkeep) -> Result<(), StoreError> {
        let (frozen, runs) = {
            let recent = self.read();
            match &recent.frozen {
                Some(frozen) => (frozen.clone(), recent.runs.clone()),
                None => return Ok(()),
            }
        };
        let id = upkeep.manifest.take_number();
        let mut writer = RunWriter::begin(&self.db, id, frozen.len() as u64, self.hasher());
        for row in frozen.sorted() {
            if row.value.is_some() || is_known(&runs, self.hasher.hash_one(row.key)) {
                writer.push(row)?;
            }
        }
        let run = writer.finish()?;
        let runs = run.into_iter().chain(runs.iter().cloned()).collect();
        self.install(upkeep, runs, true)
    }

    /// Goes on with these runs. `flushed`: the frozen memtable is in them.
    fn install(&self, upkeep: &mut Upkeep, runs: Vec<Arc<Run>>, flushed: bool) -> Result<(), StoreError> {
        upkeep.manifest.runs = runs.iter().map(|run| run.info.clone()).collect();
        upkeep.manifest.write(&self.db)?;
        let mut recent = self.write();
        recent.runs = Arc::new(runs);
        if flushed {
            recent.frozen = None;
        }
        Ok(())
    }

    /// Merges some more rows, where there are runs to be merged. `room` is asked about the disk: for
    /// all bytes of a merge that is to begin, and for those of each step. Whether there is more to do at once.
    ///
    /// # Errors
    /// `Index` where sled fails or rows got lost.
    pub fn merge_step(&self, room: &dyn MergeRoom) -> Result<bool, StoreError> {
        let mut upkeep = self.upkeep();
        let runs = self.read().runs.clone();
        if upkeep.merge.is_none() {
            let Some(newest) = due(&runs) else {
                return Ok(false);
            };
            let bytes = runs[..newest].iter().map(|run| run.info.bytes).sum();
            if runs.len() < CROWDED && !room.for_merge(bytes) {
                return Ok(false);
            }
            let id = upkeep.manifest.take_number();
            upkeep.merge = Some(Merge::begin(&self.db, id, &runs, newest, self.hasher())?);
        }
        if !room.for_step() {
            return Ok(false);
        }
        // Where a step fails, the index has failed.
        let Some(mut merge) = upkeep.merge.take() else {
            return Ok(false);
        };
        if !merge.step()? {
            upkeep.merge = Some(merge);
            return Ok(true);
        }
        let Exchange { inputs, output } = merge.finish()?;
        let is_input = |run: &&Arc<Run>| inputs.iter().any(|input| Arc::ptr_eq(input, run));
        let newer = runs.iter().take_while(|run| !is_input(run));
        let older = runs.iter().skip_while(|run| !is_input(run)).skip(inputs.len());
        let merged = newer.chain(&output).chain(older).cloned().collect();
        self.install(&mut upkeep, merged, false)?;
        inputs.into_iter().for_each(|run| upkeep.retired.run(run));
        Ok(true)
    }

    /// Up to where what is retired can be dropped once a checkpoint that begins now has ended.
    pub fn retired(&self) -> u64 {
        self.upkeep().retired.last()
    }

    /// Drops what was retired when the checkpoint began that has now ended, as far as nobody reads it.
    ///
    /// # Errors
    /// `Index` where sled fails.
    pub fn drop_retired(&self, retired: u64) -> Result<(), StoreError> {
        self.upkeep().retired.durable(retired);
        // Not under the lock: sled goes through all pages of a tree.
        while let Some(trees) = self.take_retired() {
            for tree in trees {
                self.db.drop_tree(tree).map_err(failed)?;
            }
        }
        Ok(())
    }

    fn take_retired(&self) -> Option<Vec<String>> {
        self.upkeep().retired.take()
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

/// Whether one key comes behind another.
fn is_beyond(key: &[u8], other: &[u8], order: Order) -> bool {
    match order {
        Order::Forward => key > other,
        Order::Backward => key < other,
    }
}
