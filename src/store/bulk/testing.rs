//! A store's bulk half for tests: small chunks, an index in memory, a disk that fails or stalls when told to.

#![allow(clippy::unwrap_used)]

use std::collections::HashMap;
use std::fs;
use std::path::Path;
use std::sync::{Arc, Mutex};

use bytes::Bytes;

use super::{Bulk, ChunkPlaces};
use crate::chunk::{ChunkerParams, Digest};
use crate::store::Limits;
use crate::store::blob::{Blob, Readers};
use crate::store::error::StoreError;
use crate::store::log::files::{self, LogFiles};
use crate::store::log::segment::SegmentOptions;
use crate::store::log::testing::{STORE, Unsteady, data_dir, options, writer};
use crate::store::model::{ChunkRef, FileKind, Place};
use crate::store::upload::{BlobWriter, BulkContent, Content, NewBlob};

/// Small chunks, so that small bodies have many.
pub const PARAMS: ChunkerParams = ChunkerParams {
    min_size: 4 << 10,
    avg_size: 16 << 10,
    max_size: 64 << 10,
};

/// Bodies up to this many bytes are inline.
pub const INLINE_LIMIT: u32 = 2 << 10;

/// Published chunks.
#[derive(Default)]
pub struct Index(pub Mutex<HashMap<Digest, Place>>);

impl ChunkPlaces for Index {
    fn place(&self, digest: &Digest) -> Result<Option<Place>, StoreError> {
        Ok(self.0.lock().unwrap().get(digest).copied())
    }
}

/// The parts, put together.
pub struct Kit {
    /// The data directory.
    pub dir: tempfile::TempDir,
    /// What has been published.
    pub index: Arc<Index>,
    /// What segments are written on.
    pub disk: Arc<Unsteady>,
    /// What uploads work with.
    pub bulk: Arc<Bulk>,
}

impl Kit {
    /// A new store with these chunk sizes.
    pub fn new(params: ChunkerParams) -> Self {
        Self::with(params, |options| options)
    }

    /// A new store whose segment writer is changed a little.
    pub fn with(params: ChunkerParams, change: impl FnOnce(SegmentOptions) -> SegmentOptions) -> Self {
        let dir = data_dir();
        let index = Arc::new(Index::default());
        let (segments, disk) = writer(change(options(dir.path())));
        std::fs::create_dir_all(dir.path().join("journal")).unwrap();
        let room = Arc::new(crate::store::room::Room::new(dir.path(), Limits::default()).unwrap());
        let bulk = Arc::new(Bulk::new(segments, index.clone(), room, params, INLINE_LIMIT).unwrap());
        Kit {
            dir,
            index,
            disk,
            bulk,
        }
    }

    /// The data directory.
    pub fn data(&self) -> &Path {
        self.dir.path()
    }

    /// An upload at its beginning.
    pub fn upload(&self, expected_size: Option<u64>) -> BlobWriter {
        BlobWriter::new(self.bulk.clone(), expected_size)
    }

    /// Uploads `body` in pieces of this length.
    pub async fn store(&self, body: &Bytes, piece: usize) -> Result<NewBlob, StoreError> {
        let mut upload = self.upload(None);
        for piece in pieces(body, piece) {
            upload.write(piece).await?;
        }
        upload.finish().await
    }

    /// Does what the committer does with a bulk blob's chunks; the pins may then go.
    pub fn publish(&self, blob: &NewBlob) -> Vec<ChunkRef> {
        let mut index = self.index.0.lock().unwrap();
        let content = bulk_content(blob);
        index.extend(
            content
                .chunks
                .iter()
                .map(|pinned| (pinned.chunk.digest, pinned.place)),
        );
        content.chunks.iter().map(|pinned| pinned.chunk).collect()
    }

    /// Readers with this budget for buffers.
    pub fn readers(&self, buffer_bytes: u64) -> Readers {
        let files = Arc::new(LogFiles::new(self.data(), STORE, 8));
        Readers::new(files, self.index.clone(), buffer_bytes, 1000)
    }

    /// Uploads and publishes `body`, then opens it.
    pub async fn blob(&self, body: &Bytes, readers: Readers) -> Blob {
        let stored = self.store(body, 100_000).await.unwrap();
        Blob::new(Arc::new(readers), stored.digest, self.publish(&stored))
    }

    /// How many chunk records there are in all segments, whatever they hold. Ends the segment thread.
    pub fn close_and_count_records(&self) -> usize {
        self.bulk.segments.close().unwrap();
        let log = LogFiles::new(self.data(), STORE, 8);
        let mut records = 0;
        for entry in fs::read_dir(files::directory(self.data(), FileKind::Segment)).unwrap() {
            let name = entry.unwrap().file_name();
            let number = files::number(FileKind::Segment, name.to_str().unwrap()).unwrap();
            let file = log.open(FileKind::Segment, number).unwrap();
            let footer = crate::store::log::segment_footer::Footer::read(&file)
                .unwrap()
                .unwrap();
            records += footer.entries.len();
        }
        records
    }
}

/// `body` in pieces of this length.
pub fn pieces(body: &Bytes, len: usize) -> impl Iterator<Item = Bytes> {
    (0..body.len())
        .step_by(len)
        .map(move |at| body.slice(at..body.len().min(at + len)))
}

/// The content of a blob that is not inline.
pub fn bulk_content(blob: &NewBlob) -> &BulkContent {
    match &blob.content {
        Content::Bulk(content) => content,
        Content::Inline(_) => panic!("the blob is inline"),
    }
}
