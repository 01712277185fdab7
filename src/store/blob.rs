//! Reading a blob: verified bytes, chunk by chunk.

mod opened;
mod readers;
mod verified;

use std::io;
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use tokio_util::task::AbortOnDropHandle;

use super::error::StoreError;
use super::model::ChunkRef;
use crate::chunk::Digest;
use opened::Chunks;
pub use opened::{Look, OpenBlobs, Registered};
pub use readers::Readers;
use readers::Source;

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

/// Yields the bytes of a range in pieces of at most 256 KiB, each verified before it is handed out.
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
    /// The next piece; `None` at the end.
    ///
    /// # Errors
    /// `Damaged` when a chunk does not match its digest: nothing of that chunk has been handed out.
    pub async fn next(&mut self) -> Result<Option<Bytes>, StoreError> {
        if self.at >= self.end {
            return Ok(None);
        }
        let open = match self.current.take() {
            Some(open) => open,
            None => self.open().await?,
        };
        let from = self.at - open.extent.start;
        let to = (from + u64::from(PIECE)).min(self.end.min(open.extent.end) - open.extent.start);
        let piece = open.source.piece(&self.blob.readers, from..to).await?;
        self.at += piece.len() as u64;
        if self.at < open.extent.end.min(self.end) {
            self.current = Some(open);
        }
        Ok(Some(piece))
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
        let (chunk, part) = (self.blob.chunks[index], self.is_part(index));
        if let Some(source) = self.blob.readers.fetch_cached(chunk, part) {
            return Ok(source);
        }
        let readers = self.blob.readers.clone();
        joined(tokio::task::spawn_blocking(move || readers.fetch(chunk, part)).await)?
    }

    fn read_ahead(&mut self, index: usize) {
        let wanted = index < self.blob.chunks.len()
            && self.blob.extent(index).start < self.end
            && self.blob.chunks[index].len > PIECE;
        if !wanted {
            return;
        }
        let (chunk, part) = (self.blob.chunks[index], self.is_part(index));
        let readers = self.blob.readers.clone();
        let task = tokio::task::spawn_blocking(move || readers.fetch(chunk, part));
        self.ahead = Some(Ahead {
            index,
            task: AbortOnDropHandle::new(task),
        });
    }

    /// Whether only part of the chunk is asked for.
    fn is_part(&self, index: usize) -> bool {
        let extent = self.blob.extent(index);
        extent.start < self.at || extent.end > self.end
    }
}

fn joined<T>(result: Result<T, tokio::task::JoinError>) -> Result<T, StoreError> {
    result.map_err(|error| StoreError::Io(io::Error::other(error)))
}

#[cfg(test)]
mod tests;
