//! What uploads share: the segment writer, the pins, and a way to look chunks up.

use std::fmt;
use std::sync::Arc;

use super::error::StoreError;
use super::log::segment::SegmentWriter;
use super::model::Place;
use super::pins::Pins;
use super::room::Room;
use super::upload::Guides;
use crate::chunk::{Chunker, ChunkerParams, ChunkerParamsError, Digest};

/// Where published chunks lie. The index implements it.
pub trait ChunkPlaces: Send + Sync {
    /// The chunk's place; `None` where no publication has brought it, or it lies in a file that is not live.
    fn place(&self, digest: &Digest) -> Result<Option<Place>, StoreError>;

    /// The same; may block for some seconds while the index is built again.
    fn place_in_time(&self, digest: &Digest) -> Result<Option<Place>, StoreError> {
        self.place(digest)
    }

    /// Whether the copy at `place` is not known to be damaged.
    fn is_sound(&self, _digest: &Digest, _place: &Place) -> bool {
        true
    }
}

/// Everything a [`BlobWriter`](super::upload::BlobWriter) works with; one for the store.
pub struct Bulk {
    /// Appends what is new.
    pub segments: SegmentWriter,
    /// Holds what uploads rely on.
    pub pins: Arc<Pins>,
    /// Knows what has been published.
    pub places: Arc<dyn ChunkPlaces>,
    /// Knows whether there is room.
    pub room: Arc<Room>,
    /// How recent bodies were cut.
    pub guides: Guides,
    /// Bodies up to this many bytes travel inside the journal.
    pub inline_limit: u64,
    /// Bodies up to this many bytes are one chunk.
    pub(super) single_limit: u64,
    /// At the start of a body; each upload takes a copy.
    pub(super) chunker: Chunker,
}

impl Bulk {
    /// Puts the parts together. `inline_limit` in bytes; it does not go beyond the size of one chunk.
    ///
    /// # Errors
    /// Where FastCDC cannot work with `params`.
    pub fn new(
        segments: SegmentWriter,
        places: Arc<dyn ChunkPlaces>,
        room: Arc<Room>,
        params: ChunkerParams,
        inline_limit: u32,
    ) -> Result<Self, ChunkerParamsError> {
        Ok(Bulk {
            segments,
            pins: Arc::default(),
            places,
            room,
            guides: Guides::default(),
            inline_limit: u64::from(inline_limit.min(params.max_size)),
            single_limit: u64::from(params.max_size),
            chunker: Chunker::new(params)?,
        })
    }
}

impl fmt::Debug for Bulk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Bulk")
            .field("segments", &self.segments)
            .field("inline_limit", &self.inline_limit)
            .field("chunker", &self.chunker)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
pub mod testing;
