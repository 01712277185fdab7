//! Reading a blob: verified bytes, chunk by chunk.

use bytes::Bytes;

use super::error::StoreError;

/// A blob open for reading. Holds no file and no buffer between reads.
#[derive(Clone, Debug)]
pub struct Blob {}

impl Blob {
    /// Length in bytes.
    pub fn size(&self) -> u64 {
        todo!()
    }

    /// A reader of `range`, which must lie inside the blob.
    pub fn read(&self, range: std::ops::Range<u64>) -> BlobReader {
        let _ = range;
        todo!()
    }
}

/// Yields the bytes of a range in pieces of at most 256 KiB, each verified before it is handed out.
#[derive(Debug)]
pub struct BlobReader {}

impl BlobReader {
    /// The next piece; `None` at the end.
    ///
    /// # Errors
    /// `Damaged` when a chunk does not match its digest: nothing of that chunk has been handed out.
    pub async fn next(&mut self) -> Result<Option<Bytes>, StoreError> {
        todo!()
    }
}
