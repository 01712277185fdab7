//! Memtables become runs, and runs fewer and longer ones.

use std::hash::BuildHasher;
use std::sync::Arc;

use super::{Levels, MergeRoom, Upkeep, is_known};
use crate::store::error::StoreError;
use crate::store::index::merge::{Exchange, Merge, due};
use crate::store::index::run::{Run, failed};
use crate::store::index::run_writer::RunWriter;

/// With so many runs they are merged even where the disk is nearly full.
const CROWDED: usize = 64;

impl Levels {
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

    /// Makes a run of what is frozen, and of nothing else.
    #[cfg(test)]
    pub(in crate::store::index) fn flush_frozen(&self) -> Result<(), StoreError> {
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
}
