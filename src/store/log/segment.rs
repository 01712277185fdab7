//! Appending bulk chunks: the handle to the thread that owns the active segment.
//!
//! Appending and syncing are separate. An append returns once the bytes are written, a sync once they are durable;
//! all who wait for a sync share one. A failed sync ends writing for good; a failed append fails only itself.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::thread::JoinHandle;

use bytes::Bytes;
use tokio::sync::{Semaphore, oneshot};

use super::disk::Disk;
use super::format::{RECORD_HEADER_LEN, SegmentPosition, padded};
use super::segment_file::Chunk;
use super::segment_thread::{Request, SegmentThread};
use crate::chunk::Digest;
use crate::store::error::StoreError;
use crate::store::model::Place;

/// What every request counts for at least, in bytes. It bounds their number too.
const LEAST_COST: u64 = 4096;

/// How to write segments. Sizes in bytes.
#[derive(Clone, Debug)]
pub struct SegmentOptions {
    /// The data directory; `segments` below it must exist.
    pub data: PathBuf,
    /// The store's uuid.
    pub store: [u8; 16],
    /// Number of the first segment to create: see
    /// [`Recovered`](super::segment_recovery::Recovered::next_file).
    pub next_file: u64,
    /// Size of the first segment to create, see [`SegmentOptions::size_after`]; later ones grow by the same rule.
    pub first_size: u64,
    /// Size at which segments stop growing.
    pub full_size: u64,
    /// Bytes that may wait for the thread.
    pub queue_bytes: u64,
}

impl SegmentOptions {
    /// Size of a new store's first segment.
    pub const FIRST_SIZE: u64 = 4 << 20;
    /// Size of a large store's segments.
    pub const FULL_SIZE: u64 = 256 << 20;
    /// How much larger each segment is than the one before, until they are full-size.
    pub(super) const GROWTH: u64 = 4;

    /// The size for a segment after one that is `last_len` bytes long, 0 for none: a small store holds little room.
    pub fn size_after(last_len: u64) -> u64 {
        last_len
            .saturating_mul(Self::GROWTH)
            .clamp(Self::FIRST_SIZE, Self::FULL_SIZE)
    }
}

/// Appends chunks to segments. Dropped without [`SegmentWriter::close`], its thread seals the segment all the same.
#[derive(Debug)]
pub struct SegmentWriter {
    requests: mpsc::Sender<Request>,
    /// Bytes that may still be sent. Taken before sending: it is what bounds the channel.
    admission: Arc<Semaphore>,
    queue_bytes: u64,
    state: Arc<State>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

/// What the thread tells everyone.
#[derive(Debug)]
pub(super) struct State {
    durable: Mutex<SegmentPosition>,
    poisoned: AtomicBool,
}

impl State {
    pub fn durable(&self) -> SegmentPosition {
        *self.durable.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn advance(&self, durable: SegmentPosition) {
        *self.durable.lock().unwrap_or_else(PoisonError::into_inner) = durable;
    }

    pub fn poisoned(&self) -> bool {
        self.poisoned.load(Ordering::Acquire)
    }

    pub fn poison(&self) {
        self.poisoned.store(true, Ordering::Release);
    }
}

/// The position from which on the record at `place`, in a segment, is durable.
pub fn end_of(place: &Place) -> SegmentPosition {
    SegmentPosition {
        file: place.file,
        offset: place.offset + padded(RECORD_HEADER_LEN as u64 + u64::from(place.stored_len)),
    }
}

/// Told on the segment thread where a chunk was written, or why it was not. It must not block. Dropped unheard, the
/// chunk was not written: the store is closing.
pub type Written = Box<dyn FnOnce(Result<Place, StoreError>) + Send>;

impl SegmentWriter {
    /// Starts the thread. The first segment is created with the first append.
    ///
    /// # Errors
    /// `Io` where the system has no thread to give.
    pub fn start(options: SegmentOptions, disk: Arc<dyn Disk>) -> Result<Self, StoreError> {
        let (requests, inbox) = mpsc::channel();
        let queue_bytes = options.queue_bytes.clamp(LEAST_COST, u64::from(u32::MAX));
        let state = Arc::new(State {
            durable: Mutex::new(SegmentPosition {
                file: options.next_file,
                offset: 0,
            }),
            poisoned: AtomicBool::new(false),
        });
        let thread = SegmentThread::new(options, disk, inbox, state.clone());
        let thread = std::thread::Builder::new()
            .name("segments".to_owned())
            .spawn(move || thread.run())?;
        Ok(SegmentWriter {
            requests,
            admission: Arc::new(Semaphore::new(queue_bytes as usize)),
            queue_bytes,
            state,
            thread: Mutex::new(Some(thread)),
        })
    }

    /// Sends a chunk to be appended: `pieces`, of `len` bytes together. Waits while the queue is full. `written` is
    /// told the place, which is not yet durable; or `NoSpace` or `Io` where the chunk could not be written, or
    /// `Poisoned` after a failed sync.
    ///
    /// # Errors
    /// `Poisoned` after a failed sync, `Closed` at shutdown; `written` is dropped then.
    pub async fn append(
        &self,
        digest: Digest,
        pieces: Vec<Bytes>,
        len: u32,
        written: Written,
    ) -> Result<(), StoreError> {
        let permit = self.admit(u64::from(len)).await?;
        let chunk = Chunk { digest, pieces, len };
        self.send(Request::Append {
            chunk,
            permit,
            written,
        })
    }

    /// Waits until everything up to a position that an append has returned is durable. No system call if it is.
    ///
    /// # Errors
    /// `Poisoned` where a sync has failed, `Closed` at shutdown.
    pub async fn sync(&self, up_to: SegmentPosition) -> Result<(), StoreError> {
        if up_to <= self.durable() {
            return Ok(());
        }
        let permit = self.admit(0).await?;
        let (reply, answer) = oneshot::channel();
        self.send(Request::Sync { up_to, permit, reply })?;
        answer.await.unwrap_or_else(|_| Err(self.ended()))
    }

    /// How far segments are durable.
    pub fn durable(&self) -> SegmentPosition {
        self.state.durable()
    }

    /// Whether a sync has failed.
    pub fn poisoned(&self) -> bool {
        self.state.poisoned()
    }

    /// Bytes that wait for the thread.
    pub fn queued_bytes(&self) -> u64 {
        self.queue_bytes
            .saturating_sub(self.admission.available_permits() as u64)
    }

    /// Takes no more requests, does those that wait, syncs and seals the segment. Blocks until the thread has ended.
    ///
    /// # Errors
    /// `Poisoned` where a sync has failed, now or before.
    pub fn close(&self) -> Result<(), StoreError> {
        self.admission.close();
        // An error says that the thread has ended already.
        let _ = self.requests.send(Request::Close);
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        if thread.is_some_and(|thread| thread.join().is_err()) {
            self.state.poison();
        }
        match self.poisoned() {
            true => Err(StoreError::Poisoned),
            false => Ok(()),
        }
    }

    async fn admit(&self, bytes: u64) -> Result<tokio::sync::OwnedSemaphorePermit, StoreError> {
        if self.poisoned() {
            return Err(StoreError::Poisoned);
        }
        // A request larger than the whole queue may go alone.
        let cost = bytes.clamp(LEAST_COST, self.queue_bytes) as u32;
        let permit = self.admission.clone().acquire_many_owned(cost).await;
        permit.map_err(|_| StoreError::Closed)
    }

    fn send(&self, request: Request) -> Result<(), StoreError> {
        self.requests.send(request).map_err(|_| self.ended())
    }

    /// Why the thread is gone.
    fn ended(&self) -> StoreError {
        match self.poisoned() {
            true => StoreError::Poisoned,
            false => StoreError::Closed,
        }
    }
}

#[cfg(test)]
mod tests;
