//! Taking a body in: cut, hash, deduplicate, append. Nothing here has a name yet.

mod cutter;
mod guide;

use std::io;
use std::sync::Arc;

use bytes::Bytes;

use super::bulk::Bulk;
use super::error::StoreError;
use super::model::{ChunkRef, Place, Shape};
use super::pins::Pin;
use super::rope::Rope;
use crate::chunk::{Digest, Hasher};
use cutter::{Cutter, Deposit};
pub use guide::Guides;

/// Bytes that are hashed before others on the same thread get their turn.
const STEP: usize = 256 << 10;

/// A body on its way in. Dropping it leaves nothing but unreferenced bytes that collection removes.
///
/// Memory: the current chunk's pieces, at most two chunks on their way to the segment thread, and what waits for
/// that thread within its bound. A body that may still turn out to be one chunk is held until that is known.
#[derive(Debug)]
pub struct BlobWriter {
    bulk: Arc<Bulk>,
    /// What was announced.
    expected_size: Option<u64>,
    /// Over the whole body, while that is held.
    hasher: Hasher,
    size: u64,
    stage: Stage,
    /// False while a write is under way: one that failed or was dropped midway has lost bytes.
    intact: bool,
}

#[derive(Debug)]
enum Stage {
    /// It may be one chunk: everything is held.
    Gathering(Rope),
    /// It is cut by content.
    Cutting(Box<Cutter>),
}

impl BlobWriter {
    /// A body at its beginning. `expected_size`, in bytes, is only a hint; one that turns out shorter may be cut right
    /// before its last byte, where no other is.
    pub fn new(bulk: Arc<Bulk>, expected_size: Option<u64>) -> Self {
        let stage = match expected_size {
            Some(size) if size > bulk.single_limit => Stage::Cutting(Box::new(Cutter::new(bulk.clone()))),
            _ => Stage::Gathering(Rope::default()),
        };
        BlobWriter {
            bulk,
            expected_size,
            hasher: Hasher::default(),
            size: 0,
            stage,
            intact: true,
        }
    }

    /// Bytes taken so far.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Takes the next bytes of the body. Waits while the segment thread's queue is full. Not cancel safe: after a
    /// write that failed or was dropped midway the body cannot be finished.
    ///
    /// # Errors
    /// `NoSpace` where the disk has no room, `Poisoned` after a failed sync.
    pub async fn write(&mut self, mut piece: Bytes) -> Result<(), StoreError> {
        self.check_intact()?;
        self.intact = false;
        while !piece.is_empty() {
            let step = piece.split_to(piece.len().min(STEP));
            self.size += step.len() as u64;
            self.take(step).await?;
            if !piece.is_empty() {
                tokio::task::yield_now().await;
            }
        }
        self.intact = true;
        Ok(())
    }

    /// The body is complete. On return every chunk it relies on is synced, whoever wrote it, except an inline one,
    /// which the committer writes with its publication.
    pub async fn finish(mut self) -> Result<NewBlob, StoreError> {
        self.check_intact()?;
        let (digest, content) = match self.stage {
            Stage::Gathering(rope) => {
                let digest = self.hasher.finish();
                let content = match rope.len() <= self.bulk.inline_limit {
                    true => Content::Inline(rope.into_pieces()),
                    false => {
                        let mut deposit = Deposit::new(self.bulk);
                        deposit.put(digest, rope).await?;
                        Content::bulk(deposit.finish().await?)
                    }
                };
                (digest, content)
            }
            Stage::Cutting(cutter) => {
                let cut = cutter.finish().await?;
                (cut.digest, Content::bulk(cut.chunks))
            }
        };
        Ok(NewBlob {
            digest,
            size: self.size,
            content,
        })
    }

    async fn take(&mut self, step: Bytes) -> Result<(), StoreError> {
        let more = self.expected_size.is_some_and(|expected| self.size < expected);
        match &mut self.stage {
            Stage::Cutting(cutter) => cutter.write(step, more).await,
            Stage::Gathering(rope) if self.size <= self.bulk.single_limit => {
                self.hasher.update(&step);
                rope.push(step);
                Ok(())
            }
            Stage::Gathering(rope) => {
                let mut cutter = Box::new(Cutter::new(self.bulk.clone()));
                for piece in std::mem::take(rope).into_pieces() {
                    cutter.write(piece, true).await?;
                    tokio::task::yield_now().await;
                }
                cutter.write(step, more).await?;
                self.stage = Stage::Cutting(cutter);
                Ok(())
            }
        }
    }

    fn check_intact(&self) -> Result<(), StoreError> {
        match self.intact {
            true => Ok(()),
            false => Err(StoreError::Io(io::Error::other(
                "an earlier write of this body did not end well",
            ))),
        }
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
    /// Of a body that is small enough to be carried up to the committer.
    pub(super) fn inline(bulk: &Bulk, body: &Bytes) -> Option<Self> {
        let size = body.len() as u64;
        (size > 0 && size <= bulk.inline_limit).then(|| NewBlob {
            digest: Digest::of(body),
            size,
            content: Content::Inline(vec![body.clone()]),
        })
    }

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

impl Content {
    /// Of these chunks; of none where a body that was announced is empty.
    fn bulk(chunks: Vec<PinnedChunk>) -> Self {
        match chunks.len() {
            0 => Content::Inline(Vec::new()),
            // A body that was announced larger than it is.
            len => Content::Bulk(BulkContent {
                whole: len == 1,
                chunks,
            }),
        }
    }
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
    /// Keeps it.
    pub pin: Pin,
}

#[cfg(test)]
mod tests;
