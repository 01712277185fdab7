//! A run: rows in order that never change, as blocks in trees of sled.
//!
//! A block stands under the key of its last row, so the first block that is not before a key is the one that has it, if
//! any. A large run has several trees, its parts: sled keeps all pages of a tree in memory while it drops it. Behind the
//! blocks of the last part stand the pieces of the filter.

use serde::{Deserialize, Serialize};

use super::block::Block;
use super::filter::Filter;
use super::keys::Key;
use super::rows::Hashed;
use super::tree::Value;
use crate::store::error::StoreError;

/// Begins the keys of the filter's pieces, which stand behind all rows.
pub const FILTER_KEY: u8 = 0xff;
/// Begins the names of the trees.
const TREES: &str = "run-";

/// What is kept of a run beside its rows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunInfo {
    /// Its number, which is in the names of its trees.
    pub id: u64,
    /// Its rows.
    pub rows: u64,
    /// Those of them that only say that a key has no value any more.
    pub removed: u64,
    /// Bytes of its blocks.
    pub bytes: u64,
    /// BLAKE3 of its filter.
    pub filter: [u8; 32],
    /// The last key of each part.
    pub parts: Vec<Key>,
}

impl RunInfo {
    /// Its last key.
    pub fn last(&self) -> &[u8] {
        self.parts.last().map_or(&[], Vec::as_slice)
    }

    /// The name of a part's tree.
    pub fn tree(id: u64, part: usize) -> String {
        format!("{TREES}{id}-{part}")
    }

    /// The names of all its trees.
    pub fn trees(&self) -> impl Iterator<Item = String> + use<'_> {
        (0..self.parts.len()).map(|part| Self::tree(self.id, part))
    }

    /// The number of the run whose tree has this name.
    pub fn id_in(tree: &[u8]) -> Option<u64> {
        let name = str::from_utf8(tree).ok()?.strip_prefix(TREES)?;
        name.split('-').next()?.parse().ok()
    }
}

/// A run that can be read.
#[derive(Debug)]
pub struct Run {
    pub(super) info: RunInfo,
    pub(super) parts: Vec<sled::Tree>,
    pub(super) filter: Filter,
}

impl Run {
    /// Opens a run.
    ///
    /// # Errors
    /// `Index` where it is not whole.
    pub fn open(db: &sled::Db, info: RunInfo) -> Result<Self, StoreError> {
        let parts = info.trees().map(|tree| db.open_tree(tree).map_err(failed));
        let parts: Vec<_> = parts.collect::<Result<_, _>>()?;
        let mut bytes = Vec::new();
        for piece in parts.last().ok_or_else(lost)?.range([FILTER_KEY].as_slice()..) {
            let (_, piece) = piece.map_err(failed)?;
            bytes.extend_from_slice(&piece);
        }
        let filter = Filter::from_bytes(&bytes).filter(|_| *blake3::hash(&bytes).as_bytes() == info.filter);
        Ok(Run {
            filter: filter.ok_or_else(lost)?,
            info,
            parts,
        })
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

    /// The part that has `key` or the first key behind it.
    pub(super) fn part_at(&self, key: &[u8]) -> usize {
        self.info.parts.partition_point(|last| last.as_slice() < key)
    }

    /// The block that has `key` or the first key behind it, and its last key.
    pub(super) fn block_at(&self, key: &[u8]) -> Result<Option<(Value, Block)>, StoreError> {
        let part = self.part_at(key);
        let Some(tree) = self.parts.get(part) else {
            return Ok(None);
        };
        let (last, block) = match tree.range(key..).next() {
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

/// What sled says, as it is written out.
pub(super) fn failed(error: sled::Error) -> StoreError {
    StoreError::Index(format!("{error:?}"))
}

/// A run does not have what it should.
pub(super) fn lost() -> StoreError {
    StoreError::Index("a block of a run got lost".into())
}
