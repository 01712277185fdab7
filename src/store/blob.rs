//! Reading a blob: verified bytes, chunk by chunk.

mod opened;
mod piece;
mod readers;
mod verified;
mod whole;

use std::io;
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use tokio_util::task::AbortOnDropHandle;

use super::error::StoreError;
use super::model::ChunkRef;
use crate::chunk::Digest;
pub use opened::{Chunks, Look, OpenBlobs, Registered};
pub use piece::{FileRange, Piece};
pub use readers::Readers;
use readers::{Source, Want};
pub use whole::Whole;

/// Longest piece handed out, in bytes. A chunk up to this size is read on the caller's thread where the page cache
/// holds it.
pub const PIECE: u32 = 256 << 10;

/// A blob open for reading. Holds no file and no buffer between reads. Its chunks are not collected while it lives.
#[derive(Clone, Debug)]
pub struct Blob {
    readers: Arc<Readers>,
    chunks: Chunks,
    _registered: Arc<Registered>,
    /// Where each chunk ends in the blob.
    ends: Arc<[u64]>,
}

impl Blob {
    /// The blob with this digest, of these chunks in order.
    pub fn new(readers: Arc<Readers>, digest: Digest, chunks: impl Into<Arc<[ChunkRef]>>) -> Self {
        let chunks = chunks.into();
        let registered = Arc::new(readers.open_blobs().register(digest, chunks.clone()));
        let add = |end: &mut u64, chunk: &ChunkRef| {
            *end += u64::from(chunk.len);
            Some(*end)
        };
        let ends = chunks.iter().scan(0, add).collect();
        Blob {
            readers,
            chunks,
            _registered: registered,
            ends,
        }
    }

    /// Length in bytes.
    pub fn size(&self) -> u64 {
        self.ends.last().copied().unwrap_or(0)
    }

    /// Its chunks, in order.
    pub fn chunks(&self) -> &[ChunkRef] {
        &self.chunks
    }

    /// A reader of `range`, which must lie inside the blob; what does not is left out.
    pub fn read(&self, range: Range<u64>) -> BlobReader {
        let end = range.end.min(self.size());
        BlobReader {
            blob: self.clone(),
            at: range.start.min(end),
            end,
            in_place: false,
            current: None,
            ahead: None,
        }
    }

    /// Where the chunk lies in the blob.
    fn extent(&self, index: usize) -> Range<u64> {
        let end = self.ends[index];
        end - u64::from(self.chunks[index].len)..end
    }
}

/// Yields the bytes of a range in pieces, each verified before it is handed out: of at most 256 KiB in memory, or of
/// a whole chunk where it lies.
///
/// Works inside a tokio runtime, whose blocking threads it reads on. Memory: one chunk and the next one, as far as
/// the budget of all readers goes; beyond it, one piece.
#[derive(Debug)]
pub struct BlobReader {
    blob: Blob,
    /// The next byte to be handed out.
    at: u64,
    /// Where the range ends.
    end: u64,
    /// Chunks verified not long ago need not be brought into memory.
    in_place: bool,
    /// The chunk that `at` is in, once it has been verified.
    current: Option<Open>,
    /// The chunk after it.
    ahead: Option<Ahead>,
}

/// A verified chunk.
#[derive(Debug)]
struct Open {
    extent: Range<u64>,
    source: Source,
}

/// A chunk on its way.
#[derive(Debug)]
struct Ahead {
    index: usize,
    task: AbortOnDropHandle<Result<Source, StoreError>>,
}

impl BlobReader {
    /// Hands out what was verified not long ago where it lies: [`BlobReader::next_piece`] is the way to get it.
    pub fn in_place(mut self) -> Self {
        self.in_place = true;
        self
    }

    /// The next piece in memory; `None` at the end.
    ///
    /// # Errors
    /// `Damaged` when a chunk does not match its digest: nothing of that chunk has been handed out.
    pub async fn next(&mut self) -> Result<Option<Bytes>, StoreError> {
        let Some(open) = self.current_chunk().await? else {
            return Ok(None);
        };
        let bytes = open.source.bytes(&self.blob.readers, self.rest_of(&open)).await?;
        self.advance(open, bytes.len() as u64);
        Ok(Some(bytes))
    }

    /// The next piece, in memory or where it lies; `None` at the end.
    ///
    /// # Errors
    /// As [`BlobReader::next`].
    pub async fn next_piece(&mut self) -> Result<Option<Piece>, StoreError> {
        let Some(open) = self.current_chunk().await? else {
            return Ok(None);
        };
        let rest = self.rest_of(&open);
        let in_place = if self.in_place {
            open.source.in_place(rest.clone())
        } else {
            None
        };
        let piece = match in_place {
            Some(range) => Piece::File(range),
            None => Piece::Bytes(open.source.bytes(&self.blob.readers, rest).await?),
        };
        self.advance(open, piece.len());
        Ok(Some(piece))
    }

    async fn current_chunk(&mut self) -> Result<Option<Open>, StoreError> {
        if self.at >= self.end {
            return Ok(None);
        }
        match self.current.take() {
            Some(open) => Ok(Some(open)),
            None => self.open().await.map(Some),
        }
    }

    /// What is still to be handed out of the chunk, relative to its start.
    fn rest_of(&self, open: &Open) -> Range<u64> {
        self.at - open.extent.start..self.end.min(open.extent.end) - open.extent.start
    }

    fn advance(&mut self, open: Open, by: u64) {
        self.at += by;
        if self.at < open.extent.end.min(self.end) {
            self.current = Some(open);
        }
    }

    /// Reads and verifies the chunk that `at` is in, and begins with the one after it.
    async fn open(&mut self) -> Result<Open, StoreError> {
        let index = self.blob.ends.partition_point(|&end| end <= self.at);
        let source = match self.ahead.take() {
            Some(ahead) if ahead.index == index => joined(ahead.task.await)??,
            _ => self.fetch(index).await?,
        };
        self.read_ahead(index + 1);
        Ok(Open {
            extent: self.blob.extent(index),
            source,
        })
    }

    async fn fetch(&self, index: usize) -> Result<Source, StoreError> {
        let (chunk, want) = (self.blob.chunks[index], self.want(index));
        if let Some(source) = self.blob.readers.fetch_cached(chunk, want) {
            return Ok(source);
        }
        let readers = self.blob.readers.clone();
        joined(tokio::task::spawn_blocking(move || readers.fetch(chunk, want)).await)?
    }

    fn read_ahead(&mut self, index: usize) {
        let wanted = index < self.blob.chunks.len()
            && self.blob.extent(index).start < self.end
            && self.blob.chunks[index].len > PIECE;
        if !wanted {
            return;
        }
        let (chunk, want) = (self.blob.chunks[index], self.want(index));
        if want == Want::InPlace && self.blob.readers.is_verified(&chunk) {
            return;
        }
        let readers = self.blob.readers.clone();
        let task = tokio::task::spawn_blocking(move || readers.fetch(chunk, want));
        self.ahead = Some(Ahead {
            index,
            task: AbortOnDropHandle::new(task),
        });
    }

    fn want(&self, index: usize) -> Want {
        let extent = self.blob.extent(index);
        match extent.start < self.at || extent.end > self.end {
            _ if self.in_place => Want::InPlace,
            true => Want::Part,
            false => Want::Whole,
        }
    }
}

fn joined<T>(result: Result<T, tokio::task::JoinError>) -> Result<T, StoreError> {
    result.map_err(|error| StoreError::Io(io::Error::other(error)))
}

#[cfg(test)]
mod tests;
#[cfg(test)]
mod whole_tests;
