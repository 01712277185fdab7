//! A run: rows in order that never change, as blocks in a tree of sled.
//!
//! A block stands under the key of its last row, so the first block that is not before a key is the one that has it, if
//! any. Behind the blocks stand the pieces of the filter.

use std::hash::BuildHasher;
use std::sync::Arc;

use foldhash::quality::FixedState;
use serde::{Deserialize, Serialize};

use super::block::{Block, BlockBuilder, Row};
use super::filter::Filter;
use super::keys::{Key, family};
use super::rows::Hashed;
use super::tree::Value;
use crate::store::error::StoreError;

/// A block is closed when its rows are this long, bytes: small enough that a page of sled, which has up to 16 blocks, is
/// quickly read, and large enough that writing one costs little for each of its rows.
const BLOCK_BYTES: usize = 2048;
/// Bytes of the filter in one value.
const FILTER_PIECE: usize = 4096;
/// Begins the keys of the filter's pieces, which stand behind all rows.
const FILTER_KEY: u8 = 0xff;

/// What is kept of a run beside its rows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunInfo {
    /// Its number, which is in the name of its tree.
    pub id: u64,
    /// Its rows.
    pub rows: u64,
    /// Those of them that only say that a key has no value any more.
    pub removed: u64,
    /// Bytes of its blocks.
    pub bytes: u64,
    /// Its last key.
    pub last: Key,
}

impl RunInfo {
    /// The name of its tree.
    pub fn tree_name(id: u64) -> String {
        format!("run-{id}")
    }
}

/// A run that can be read.
#[derive(Debug)]
pub struct Run {
    pub(super) info: RunInfo,
    pub(super) tree: sled::Tree,
    filter: Filter,
}

impl Run {
    /// Opens a run.
    ///
    /// # Errors
    /// `Index` where it is not whole.
    pub fn open(db: &sled::Db, info: RunInfo) -> Result<Self, StoreError> {
        let tree = open_tree(db, info.id)?;
        let mut bytes = Vec::new();
        for piece in tree.range([FILTER_KEY].as_slice()..) {
            let (_, piece) = piece.map_err(failed)?;
            bytes.extend_from_slice(&piece);
        }
        let filter = Filter::from_bytes(&bytes).ok_or_else(lost)?;
        Ok(Run { info, tree, filter })
    }

    /// Whether it has certainly no row for the key with this hash.
    pub fn is_absent(&self, hash: u64) -> bool {
        self.filter.is_absent(hash)
    }

    /// What it says of a key: its value, or that it has none any more; `None` if it says nothing.
    ///
    /// # Errors
    /// `Index` where the block that would have it got lost.
    pub fn get(&self, key: Hashed<'_>) -> Result<Option<Option<Value>>, StoreError> {
        if self.filter.is_absent(key.hash()) {
            return Ok(None);
        }
        let key = key.key();
        let Some((_, block)) = self.block_at(key)? else {
            return Ok(None);
        };
        let at = block.lower_bound(key)?;
        if at == block.len() {
            return Err(lost());
        }
        let row = block.row(at)?;
        Ok((row.key == key).then(|| row.value.map(Value::from)))
    }

    /// The block that has `key` or the first key behind it, and its last key.
    pub(super) fn block_at(&self, key: &[u8]) -> Result<Option<(Value, Block)>, StoreError> {
        if key > self.info.last.as_slice() {
            return Ok(None);
        }
        let (last, block) = match self.tree.range(key..).next() {
            Some(block) => block.map_err(failed)?,
            None => return Err(lost()),
        };
        let block = open_block(&last, block)?;
        match block.fence().is_empty() || block.fence() < key {
            true => Ok(Some((last, block))),
            false => Err(lost()),
        }
    }
}

/// Reads what stands where a block should.
pub(super) fn open_block(last: &[u8], block: Value) -> Result<Block, StoreError> {
    match last.first() {
        Some(&FILTER_KEY) => Err(lost()),
        _ => Block::open(block),
    }
}

fn open_tree(db: &sled::Db, id: u64) -> Result<sled::Tree, StoreError> {
    db.open_tree(RunInfo::tree_name(id)).map_err(failed)
}

/// What sled says, as it is written out.
pub(super) fn failed(error: sled::Error) -> StoreError {
    StoreError::Index(format!("{error:?}"))
}

/// A run does not have what it should.
pub(super) fn lost() -> StoreError {
    StoreError::Index("a block of a run got lost".into())
}

/// Writes a run.
#[derive(Debug)]
pub struct RunWriter {
    id: u64,
    tree: sled::Tree,
    block: BlockBuilder,
    filter: Filter,
    hasher: FixedState,
    family: Key,
    rows: u64,
    removed: u64,
    bytes: u64,
}

impl RunWriter {
    /// Begins a run with this number, of at most so many rows.
    ///
    /// # Errors
    /// `Index` where sled fails.
    pub fn begin(db: &sled::Db, id: u64, rows: u64, hasher: FixedState) -> Result<Self, StoreError> {
        Ok(RunWriter {
            id,
            tree: open_tree(db, id)?,
            block: BlockBuilder::default(),
            // Families count as keys; there are fewer of them than rows.
            filter: Filter::new(usize::try_from(rows).unwrap_or(usize::MAX / 64) * 5 / 4),
            hasher,
            family: Key::new(),
            rows: 0,
            removed: 0,
            bytes: 0,
        })
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
        if self.block.len() < BLOCK_BYTES {
            return Ok(());
        }
        self.write_block()
    }

    fn write_block(&mut self) -> Result<(), StoreError> {
        let Some(block) = self.block.finish() else {
            return Ok(());
        };
        self.bytes += block.len() as u64;
        let last = self.block.last();
        self.tree.insert(last, block).map_err(failed).map(drop)
    }

    /// The run, if any row was added; else nothing is left of it.
    ///
    /// # Errors
    /// `Index` where sled fails.
    pub fn finish(mut self, db: &sled::Db) -> Result<Option<Arc<Run>>, StoreError> {
        self.write_block()?;
        if self.rows == 0 {
            db.drop_tree(RunInfo::tree_name(self.id)).map_err(failed)?;
            return Ok(None);
        }
        for (number, piece) in self.filter.bytes().chunks(FILTER_PIECE).enumerate() {
            let mut key = vec![FILTER_KEY];
            key.extend_from_slice(&(number as u32).to_be_bytes());
            self.tree.insert(key, piece).map_err(failed)?;
        }
        Ok(Some(Arc::new(Run {
            info: RunInfo {
                id: self.id,
                rows: self.rows,
                removed: self.removed,
                bytes: self.bytes,
                last: self.block.last().to_vec(),
            },
            tree: self.tree,
            filter: self.filter,
        })))
    }
}
