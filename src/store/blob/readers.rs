//! What all readers share: the way to a verified chunk, and the memory that they may hold together.

use std::fmt;
use std::io;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::PIECE;
use super::opened::OpenBlobs;
use super::piece::FileRange;
use super::verified::Verified;
use crate::chunk::Digest;
use crate::store::bulk::ChunkPlaces;
use crate::store::damage::Damage;
use crate::store::error::StoreError;
use crate::store::log::files::{LogFile, LogFiles};
use crate::store::log::format::{RECORD_HEADER_LEN, RecordHeader, RecordKind};
use crate::store::model::{ChunkRef, Place};

/// Buffer for verifying a chunk that there is no room to hold, in bytes.
const SMALL_BUFFER: usize = 64 << 10;

/// Up to this many bytes are copied: a head and they leave in one call. More go from the page cache to the socket page by
/// page, which takes two calls, and at 64 KiB an eighth less than copying (measured).
pub(super) const COPIED: u64 = 32 << 10;

/// Everything a [`BlobReader`](super::BlobReader) works with; one for the store.
pub struct Readers {
    files: Arc<LogFiles>,
    places: Arc<dyn ChunkPlaces>,
    damage: Arc<Damage>,
    open_blobs: Arc<OpenBlobs>,
    /// Bytes of large chunks that may still be held.
    buffers: Arc<Semaphore>,
    verified: Verified,
    /// Whether the kernel can tell what the page cache holds. False for good once it said no.
    cached_reads: AtomicBool,
}

/// What is asked for of a chunk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Want {
    /// All of it, in memory: verified now.
    Whole,
    /// Some of it.
    Part,
    /// Its bytes where they lie.
    InPlace,
}

/// A verified chunk, in memory or on disk.
#[derive(Debug)]
pub(super) enum Source {
    /// All of it.
    Buffer(Bytes),
    /// To be read again piece by piece.
    File(Arc<LogFile>, Place),
}

/// A chunk's record in memory that counts against the budget until its last slice is gone.
struct Held {
    bytes: Vec<u8>,
    _permit: OwnedSemaphorePermit,
}

impl AsRef<[u8]> for Held {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Readers {
    /// Readers that hold at most `buffer_bytes` of large chunks together and remember up to `verified` chunks that
    /// were found good. `places` knows every published chunk.
    pub fn new(
        files: Arc<LogFiles>,
        places: Arc<dyn ChunkPlaces>,
        buffer_bytes: u64,
        verified: usize,
    ) -> Self {
        let permits = usize::try_from(buffer_bytes)
            .unwrap_or(usize::MAX)
            .min(Semaphore::MAX_PERMITS);
        Readers {
            files,
            places,
            damage: Arc::default(),
            open_blobs: Arc::default(),
            buffers: Arc::new(Semaphore::new(permits)),
            verified: Verified::new(verified),
            cached_reads: AtomicBool::new(true),
        }
    }

    /// Never reads on the caller's thread, as on a system that cannot tell what is cached.
    pub fn without_cached_reads(self) -> Self {
        self.cached_reads.store(false, Ordering::Relaxed);
        self
    }

    /// The files they read from.
    pub fn files(&self) -> &Arc<LogFiles> {
        &self.files
    }

    /// The blobs that are open.
    pub fn open_blobs(&self) -> &Arc<OpenBlobs> {
        &self.open_blobs
    }

    /// What they have found damaged.
    pub fn damage(&self) -> &Arc<Damage> {
        &self.damage
    }

    /// Bytes of large chunks that readers may still take into memory.
    pub fn free_buffer_bytes(&self) -> u64 {
        self.buffers.available_permits() as u64
    }

    /// Whether the chunk has been verified recently.
    pub(super) fn is_verified(&self, chunk: &ChunkRef) -> bool {
        let place = self.places.place(&chunk.digest);
        place.is_ok_and(|place| place.is_some_and(|place| self.verified.contains(&place)))
    }

    /// The chunk, if it can be had without waiting for a disk. Whatever is wrong with it is left for
    /// [`Readers::fetch`] to find out.
    pub(super) fn fetch_cached(&self, chunk: ChunkRef, want: Want) -> Option<Source> {
        let may_be_had = chunk.len <= PIECE || want != Want::Whole;
        if !may_be_had || !self.tells_cached() {
            return None;
        }
        let place = self.places.place(&chunk.digest).ok()??;
        self.fetch_cached_at(chunk, place, want)
    }

    /// The same, from this place.
    pub(super) fn fetch_cached_at(&self, chunk: ChunkRef, place: Place, want: Want) -> Option<Source> {
        check_len(&chunk, &place).ok()?;
        if self.damage.is_damaged(&chunk.digest, Some(place)) {
            return None;
        }
        let file = self.files.open(place.kind, place.file).ok()?;
        if want != Want::Whole && self.verified.contains(&place) {
            return Some(Source::File(file, place));
        }
        if chunk.len > PIECE {
            return None;
        }
        let record = self.read_cached(&file, record_len(&place), place.offset)?;
        self.accept(chunk, &place, &file, record.into()).ok()
    }

    /// The chunk, verified. Blocks.
    ///
    /// # Errors
    /// `Damaged` where there is no good copy of it.
    pub(super) fn fetch(&self, chunk: ChunkRef, want: Want) -> Result<Source, StoreError> {
        let place = self.locate(&chunk)?;
        let error = match self.fetch_at(chunk, &place, want) {
            Err(error) if is_damage(&error) => error,
            result => return result,
        };
        // Compaction may just have moved it, or a later copy healed it.
        let moved = self.locate(&chunk)?;
        if moved == place {
            return Err(self.damaged(&chunk, Some(place), &error));
        }
        self.fetch_at(chunk, &moved, want)
            .map_err(|error| match is_damage(&error) {
                true => self.damaged(&chunk, Some(moved), &error),
                false => error,
            })
    }

    /// The error for readers; logged here and nowhere else.
    fn damaged(&self, chunk: &ChunkRef, place: Option<Place>, why: &dyn fmt::Display) -> StoreError {
        tracing::error!(digest = %chunk.digest, %why, "a chunk is damaged and cannot be served");
        self.damage.report(chunk.digest, place);
        StoreError::Damaged(format!("chunk {}: {why}", chunk.digest))
    }

    fn locate(&self, chunk: &ChunkRef) -> Result<Place, StoreError> {
        let place = self.places.place_in_time(&chunk.digest)?;
        let place = place.ok_or_else(|| self.damaged(chunk, None, &"the index has no place for it"))?;
        match self.damage.is_damaged(&chunk.digest, Some(place)) {
            true => Err(StoreError::Damaged(format!(
                "chunk {}: it is quarantined",
                chunk.digest
            ))),
            false => Ok(place),
        }
    }

    fn fetch_at(&self, chunk: ChunkRef, place: &Place, want: Want) -> Result<Source, StoreError> {
        check_len(&chunk, place)?;
        let file = self.files.open(place.kind, place.file)?;
        if want != Want::Whole && self.verified.contains(place) {
            return Ok(Source::File(file, *place));
        }
        if chunk.len <= PIECE {
            let record = file.read(record_len(place), place.offset)?;
            return self.accept(chunk, place, &file, record.into());
        }
        let permit = match want {
            Want::InPlace => None,
            _ => self.buffers.clone().try_acquire_many_owned(chunk.len).ok(),
        };
        let Some(permit) = permit else {
            verify_in_passing(&chunk, place, &file)?;
            self.verified.insert(*place);
            return Ok(Source::File(file, *place));
        };
        let bytes = file.read(record_len(place), place.offset)?;
        let record = Bytes::from_owner(Held {
            bytes,
            _permit: permit,
        });
        self.accept(chunk, place, &file, record)
    }

    /// Verifies a record that has been read whole.
    fn accept(
        &self,
        chunk: ChunkRef,
        place: &Place,
        file: &LogFile,
        record: Bytes,
    ) -> Result<Source, StoreError> {
        let record = file.verify(place, record)?;
        check_identity(&chunk, &record.header)?;
        self.verified.insert(*place);
        Ok(Source::Buffer(record.payload))
    }

    /// Whether the kernel can tell what the page cache holds, as far as is known.
    pub(super) fn tells_cached(&self) -> bool {
        self.cached_reads.load(Ordering::Relaxed)
    }

    /// Bytes that the page cache holds; `None` where it does not hold all of them or nobody can tell.
    fn read_cached(&self, file: &LogFile, len: usize, offset: u64) -> Option<Vec<u8>> {
        if !self.tells_cached() {
            return None;
        }
        match file.read_cached(len, offset) {
            Ok(bytes) => bytes,
            Err(error) => {
                if matches!(
                    error.kind(),
                    io::ErrorKind::Unsupported | io::ErrorKind::InvalidInput
                ) {
                    self.cached_reads.store(false, Ordering::Relaxed);
                }
                None
            }
        }
    }
}

impl Source {
    /// The bytes where they lie, if that pays and they can be sent from there without waiting for a disk: as far as their
    /// beginning tells, and of more than a piece their end.
    pub fn in_place(&self, range: Range<u64>) -> Option<FileRange> {
        let Source::File(file, place) = self else {
            return None;
        };
        let (offset, len) = lies(file, place, range)?;
        FileRange::cached(file.clone(), offset, len)
    }

    /// The first bytes of the range, at most [`PIECE`].
    pub async fn bytes(&self, readers: &Readers, range: Range<u64>) -> Result<Bytes, StoreError> {
        let from = range.start as usize;
        let to = range.end.min(range.start + u64::from(PIECE)) as usize;
        let (file, place) = match self {
            Source::Buffer(bytes) => return Ok(bytes.slice(from..to)),
            Source::File(file, place) => (file, place),
        };
        let (len, offset) = (to - from, place.offset + (RECORD_HEADER_LEN + from) as u64);
        if let Some(bytes) = readers.read_cached(file, len, offset) {
            return Ok(bytes.into());
        }
        let file = file.clone();
        let bytes = super::joined(tokio::task::spawn_blocking(move || file.read(len, offset)).await)??;
        Ok(bytes.into())
    }
}

impl fmt::Debug for Readers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Readers")
            .field("files", &self.files)
            .field("free_buffer_bytes", &self.free_buffer_bytes())
            .field("tells_cached", &self.tells_cached())
            .finish_non_exhaustive()
    }
}

/// Where bytes of a chunk lie in its file, if they are to be sent from there, see [`Source::in_place`].
pub(super) fn lies(file: &LogFile, place: &Place, range: Range<u64>) -> Option<(u64, u64)> {
    let len = range.end - range.start;
    let offset = payload(place) + range.start;
    let may_be = len > COPIED && (len <= u64::from(PIECE) || file.is_cached(offset + len - 1));
    may_be.then_some((offset, len))
}

/// Where the bytes of a chunk begin in its file.
pub(super) fn payload(place: &Place) -> u64 {
    place.offset + RECORD_HEADER_LEN as u64
}

fn record_len(place: &Place) -> usize {
    RECORD_HEADER_LEN + place.stored_len as usize
}

/// Verifies the chunk with a small buffer.
fn verify_in_passing(chunk: &ChunkRef, place: &Place, file: &LogFile) -> Result<(), StoreError> {
    let header = file.read(RECORD_HEADER_LEN, place.offset)?;
    let header = file.header(place, &header)?;
    check_identity(chunk, &header)?;
    let mut buffer = vec![0; SMALL_BUFFER];
    let mut hasher = blake3::Hasher::new();
    let (mut at, end) = (
        place.offset + RECORD_HEADER_LEN as u64,
        place.offset + record_len(place) as u64,
    );
    while at < end {
        let len = (end - at).min(SMALL_BUFFER as u64);
        let bytes = &mut buffer[..len as usize];
        file.read_exact_at(bytes, at)?;
        hasher.update(bytes);
        at += len;
    }
    if Digest::from(hasher.finalize()) != chunk.digest {
        return Err(StoreError::Damaged("payload digest".to_owned()));
    }
    Ok(())
}

/// Whether a record at `place` can be the chunk: asked before a buffer of that length is made.
fn check_len(chunk: &ChunkRef, place: &Place) -> Result<(), StoreError> {
    match place.stored_len == chunk.len {
        true => Ok(()),
        false => Err(StoreError::Damaged(
            "the index has another length for it".to_owned(),
        )),
    }
}

/// Whether the record is the chunk that was asked for.
fn check_identity(chunk: &ChunkRef, header: &RecordHeader) -> Result<(), StoreError> {
    let same =
        header.kind == RecordKind::Chunk && header.digest == chunk.digest && header.raw_len == chunk.len;
    match same {
        true => Ok(()),
        false => Err(StoreError::Damaged(
            "another record stands in its place".to_owned(),
        )),
    }
}

/// Whether the bytes are wrong or gone, and not just unreadable for now.
fn is_damage(error: &StoreError) -> bool {
    match error {
        StoreError::Damaged(_) => true,
        StoreError::Io(error) => {
            matches!(
                error.kind(),
                io::ErrorKind::NotFound | io::ErrorKind::UnexpectedEof
            )
        }
        _ => false,
    }
}
