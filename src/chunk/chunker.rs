//! Where a body is cut: FastCDC 2020, fed piece by piece.

use serde::{Deserialize, Serialize};

/// Chunk sizes in bytes. They are fixed when a store is created and kept in its `store.toml`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ChunkerParams {
    /// No cut before this many bytes of a chunk. Even.
    pub min_size: u32,
    /// The size that cuts gather around. A power of two.
    pub avg_size: u32,
    /// A cut at the latest here. Even. A body up to this size is one chunk.
    pub max_size: u32,
}

impl Default for ChunkerParams {
    fn default() -> Self {
        ChunkerParams {
            min_size: 128 * 1024,
            avg_size: 512 * 1024,
            max_size: 2 * 1024 * 1024,
        }
    }
}

/// Finds cut points incrementally.
#[derive(Debug)]
pub struct Chunker {
    params: ChunkerParams,
}

impl Chunker {
    /// A chunker at the start of a body.
    pub fn new(params: ChunkerParams) -> Self {
        Chunker { params }
    }

    /// Scans `piece`, the next bytes of the body. `Some(n)`: the current chunk ends after the first `n` bytes of
    /// `piece` and the next call begins a new chunk with the rest; `None`: all of `piece` belongs to the current chunk.
    pub fn next_cut(&mut self, piece: &[u8]) -> Option<usize> {
        let _ = (self.params, piece);
        todo!()
    }
}
