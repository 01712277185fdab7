//! Taking a body in: cut, hash, deduplicate, append. Nothing here has a name yet.

use bytes::Bytes;

use super::error::StoreError;
use super::model::{ChunkRef, Place, Shape};
use crate::chunk::Digest;

/// A body on its way in. Dropping it leaves nothing but unreferenced bytes that collection removes.
///
/// Memory: the current chunk's pieces, and what waits for the segment thread within its bound.
#[derive(Debug)]
pub struct BlobWriter {}

impl BlobWriter {
    /// Takes the next bytes of the body. Waits while the segment thread's queue is full.
    ///
    /// # Errors
    /// `NoSpace` where the disk has no room, `Poisoned` after a failed sync.
    pub async fn write(&mut self, piece: Bytes) -> Result<(), StoreError> {
        let _ = piece;
        todo!()
    }

    /// The body is complete. On return every chunk it relies on is synced, whoever wrote it, except an inline one,
    /// which the committer writes with its publication.
    pub async fn finish(self) -> Result<NewBlob, StoreError> {
        todo!()
    }
}

/// A complete body that waits for a name.
#[derive(Debug)]
pub struct NewBlob {
    /// The blake3 of all of it.
    pub digest: Digest,
    /// Length in bytes.
    pub size: u64,
    /// Its bytes, or where they are.
    pub content: Content,
}

impl NewBlob {
    /// How the blob is laid out.
    pub fn shape(&self) -> Shape {
        match self.content {
            Content::Inline(_) | Content::Bulk(BulkContent { whole: true, .. }) => Shape::Single,
            Content::Bulk(_) => Shape::Chunked,
        }
    }
}

/// The content of a new blob.
#[derive(Debug)]
pub enum Content {
    /// One small chunk, carried up to the committer, which alone deduplicates it.
    Inline(Vec<Bytes>),
    /// Chunks in segments, synced and pinned.
    Bulk(BulkContent),
}

/// Chunks in segments.
#[derive(Debug)]
pub struct BulkContent {
    /// One chunk whose digest is the blob's.
    pub whole: bool,
    /// In the order of the body.
    pub chunks: Vec<PinnedChunk>,
}

/// A chunk that cannot be collected while this lives.
#[derive(Debug)]
pub struct PinnedChunk {
    /// The chunk.
    pub chunk: ChunkRef,
    /// Where it lies. Synced.
    pub place: Place,
    // the pin's guard joins here
}
