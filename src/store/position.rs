//! How far the log has been applied to the index, kept in the index.

use serde::{Deserialize, Serialize};

use super::error::StoreError;
use super::index::{Index, decode, keys};
use super::log::format::{FILE_HEADER_LEN, SegmentPosition};
use super::model::Id;

/// The state of the index after a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Applied {
    /// The last group that is in the index; 0 before the first.
    pub group: u64,
    /// The journal file that group stands in.
    pub file: u64,
    /// Where it ends.
    pub offset: u64,
    /// The next free id.
    pub next_id: Id,
    /// Running sum over the index.
    pub index_sum: u128,
    /// How far the segments are known to be synced.
    pub durable_segments: SegmentPosition,
    /// The last group that was read or written whole; it stands in `file`.
    pub witness: Witness,
}

/// A group by which a log is known to be the one that an index was made from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Witness {
    /// Its number; 0 for none.
    pub number: u64,
    /// Offset of its head.
    pub offset: u64,
}

impl Applied {
    /// Before the first group of a store.
    pub const START: Applied = Applied {
        group: 0,
        file: 0,
        offset: FILE_HEADER_LEN,
        next_id: 1,
        index_sum: 0,
        durable_segments: SegmentPosition { file: 0, offset: 0 },
        witness: Witness { number: 0, offset: 0 },
    };

    /// Reads it from an index; `None` in a new one.
    pub fn load(index: &Index) -> Result<Option<Self>, StoreError> {
        index.get(keys::APPLIED)?.map(|value| decode(&value)).transpose()
    }

    /// Writes it to an index, behind everything it speaks for.
    pub fn store(&self, index: &Index) -> Result<(), StoreError> {
        let value = postcard::to_stdvec(self).map_err(|error| StoreError::Index(error.to_string()))?;
        index.set(keys::APPLIED, Some(&value))
    }
}
