//! Writes a run, row by row.

use std::hash::BuildHasher;
use std::sync::Arc;

use foldhash::quality::FixedState;

use super::block::{BlockBuilder, Row};
use super::filter::Filter;
use super::keys::{Key, family};
use super::run::{FILTER_KEY, Run, RunInfo, failed};
use crate::store::error::StoreError;

/// A block is closed when its rows are this long, bytes: small enough that a page of sled, which has up to 16 blocks, is
/// quickly read, and large enough that writing one costs little for each of its rows.
const BLOCK: usize = 2048;
/// A part is closed when its blocks are this long, bytes. Small for tests, so that runs have several.
const PART: u64 = if cfg!(test) { 8 << 10 } else { 32 << 20 };
/// Bytes of the filter in one value.
const FILTER_PIECE: usize = 4096;

/// A run that is being written. Dropped before it is finished, it leaves trees behind that no manifest names.
#[derive(Debug)]
pub struct RunWriter {
    db: sled::Db,
    id: u64,
    block: BlockBuilder,
    /// The tree that is written to; none before the first block of a part.
    part: Option<(sled::Tree, u64)>,
    parts: Vec<(sled::Tree, Key)>,
    filter: Filter,
    hasher: FixedState,
    family: Key,
    rows: u64,
    removed: u64,
    bytes: u64,
}

impl RunWriter {
    /// Begins a run with this number, of at most so many rows.
    pub fn begin(db: &sled::Db, id: u64, rows: u64, hasher: FixedState) -> Self {
        RunWriter {
            db: db.clone(),
            id,
            block: BlockBuilder::default(),
            part: None,
            parts: Vec::new(),
            // Families count as keys; there are fewer of them than rows.
            filter: Filter::new(usize::try_from(rows).unwrap_or(usize::MAX / 64) * 5 / 4),
            hasher,
            family: Key::new(),
            rows: 0,
            removed: 0,
            bytes: 0,
        }
    }

    /// Adds a row behind all others.
    ///
    /// # Errors
    /// `Index` where sled fails.
    pub fn push(&mut self, row: Row<'_>) -> Result<(), StoreError> {
        self.filter.note(self.hasher.hash_one(row.key));
        if let Some(family) = family(row.key)
            && family != self.family
        {
            self.filter.note(self.hasher.hash_one(family));
            self.family = family.to_vec();
        }
        self.block.push(row);
        self.rows += 1;
        self.removed += u64::from(row.value.is_none());
        if self.block.len() < BLOCK {
            return Ok(());
        }
        self.write_block()
    }

    fn write_block(&mut self) -> Result<(), StoreError> {
        let Some(block) = self.block.finish() else {
            return Ok(());
        };
        let (tree, before) = match self.part.take() {
            Some(part) => part,
            None => {
                let name = RunInfo::tree(self.id, self.parts.len());
                (self.db.open_tree(name).map_err(failed)?, 0)
            }
        };
        let len = block.len() as u64;
        let last = self.block.last();
        tree.insert(last, block).map_err(failed)?;
        self.bytes += len;
        match before + len < PART {
            true => self.part = Some((tree, before + len)),
            false => self.parts.push((tree, last.to_vec())),
        }
        Ok(())
    }

    /// The run, if any row was added.
    ///
    /// # Errors
    /// `Index` where sled fails.
    pub fn finish(mut self) -> Result<Option<Arc<Run>>, StoreError> {
        self.write_block()?;
        if let Some((tree, _)) = self.part.take() {
            self.parts.push((tree, self.block.last().to_vec()));
        }
        let Some((tree, _)) = self.parts.last() else {
            return Ok(None);
        };
        let filter = self.filter.bytes();
        for (number, piece) in (0_u32..).zip(filter.chunks(FILTER_PIECE)) {
            let mut key = vec![FILTER_KEY];
            key.extend_from_slice(&number.to_be_bytes());
            tree.insert(key, piece).map_err(failed)?;
        }
        let (trees, lasts) = self.parts.into_iter().unzip();
        Ok(Some(Arc::new(Run {
            info: RunInfo {
                id: self.id,
                rows: self.rows,
                removed: self.removed,
                bytes: self.bytes,
                filter: *blake3::hash(&filter).as_bytes(),
                parts: lasts,
            },
            parts: trees,
            filter: self.filter,
        })))
    }
}
