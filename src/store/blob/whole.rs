//! All bytes of a file that is one chunk, to be sent at once: without waiting for a disk, and so without anything that
//! has to outlive a wait.

use bytes::Bytes;

use super::piece::{FileRange, Piece};
use super::readers::{COPIED, Readers, Source, Want, lies, payload};
use crate::store::model::{ChunkRef, Place};

/// All bytes of a chunk, verified not long ago: in memory or in an open file, which stays whole whatever becomes of its
/// name.
#[derive(Debug)]
pub struct Whole {
    source: Source,
    len: u64,
}

impl Readers {
    /// The chunk at this place, if it can be had without waiting for a disk. `in_place`: longer ones can be sent from the
    /// file. Whatever is wrong with it is left for a [`BlobReader`](super::BlobReader) to find out.
    pub fn whole(&self, chunk: ChunkRef, place: Place, in_place: bool) -> Option<Whole> {
        let len = u64::from(chunk.len);
        if !self.tells_cached() || (len > COPIED && !in_place) {
            return None;
        }
        let source = self.fetch_cached_at(chunk, place, Want::InPlace)?;
        Some(Whole { source, len })
    }
}

impl Whole {
    /// Appends those of its bytes to `buffer` that are to be copied; what is returned is to be sent behind them. `None`,
    /// and nothing is appended, where the page cache no longer holds them.
    pub fn append_to(self, buffer: &mut Vec<u8>) -> Option<Piece> {
        let (file, place) = match self.source {
            Source::Buffer(bytes) => return Some(Piece::Bytes(bytes)),
            Source::File(file, place) => (file, place),
        };
        if self.len <= COPIED {
            let read = file.append_cached(buffer, self.len as usize, payload(&place));
            return read.ok()?.then(|| Piece::Bytes(Bytes::new()));
        }
        let (offset, len) = lies(&file, &place, 0..self.len)?;
        FileRange::behind(buffer, file, offset, len).map(Piece::File)
    }
}
