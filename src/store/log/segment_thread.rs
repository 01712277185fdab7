//! The thread behind [`SegmentWriter`](super::segment::SegmentWriter): it alone touches the active segment.
//!
//! While it syncs, requests gather; then all appends among them are written and all syncs share the next one.

use std::io;
use std::sync::{Arc, mpsc};
use std::time::Instant;

use tokio::sync::{OwnedSemaphorePermit, oneshot};

use super::disk::{Disk, write_error};
use super::format::{RECORD_HEADER_LEN, SegmentPosition, padded};
use super::segment::{SegmentOptions, State, Written};
use super::segment_file::{Chunk, SegmentFile};
use crate::store::error::StoreError;
use crate::store::flow;
use crate::store::model::Place;

/// Requests and bytes taken while syncs wait, so that a stream of appends cannot put a sync off for long.
const GATHER_REQUESTS: usize = 256;
const GATHER_BYTES: u64 = 16 << 20;

pub(super) enum Request {
    /// Write a chunk's record.
    Append {
        chunk: Chunk,
        permit: OwnedSemaphorePermit,
        written: Written,
    },
    /// Make everything up to a position durable.
    Sync {
        up_to: SegmentPosition,
        permit: OwnedSemaphorePermit,
        reply: oneshot::Sender<Result<(), StoreError>>,
    },
    /// Seal; what is appended next begins a small segment.
    Rotate {
        permit: OwnedSemaphorePermit,
        reply: oneshot::Sender<Result<(), StoreError>>,
    },
    /// Seal and end.
    Close,
}

/// Someone who waits for a sync.
struct Waiter {
    up_to: SegmentPosition,
    reply: oneshot::Sender<Result<(), StoreError>>,
    permit: OwnedSemaphorePermit,
}

pub(super) struct SegmentThread {
    options: SegmentOptions,
    disk: Arc<dyn Disk>,
    inbox: mpsc::Receiver<Request>,
    state: Arc<State>,
    active: Option<SegmentFile>,
    next_size: u64,
    waiters: Vec<Waiter>,
}

impl SegmentThread {
    pub fn new(
        options: SegmentOptions,
        disk: Arc<dyn Disk>,
        inbox: mpsc::Receiver<Request>,
        state: Arc<State>,
    ) -> Self {
        let next_size = options.first_size;
        SegmentThread {
            options,
            disk,
            inbox,
            state,
            active: None,
            next_size,
            waiters: Vec::new(),
        }
    }

    /// Works until it is told to close or nobody is left who could ask.
    pub fn run(mut self) {
        let _guard = PoisonOnPanic(self.state.clone());
        let mut open = true;
        while open {
            let Ok(first) = self.inbox.recv() else { break };
            open = self.gather(first);
            self.answer_waiters();
        }
        if !self.state.poisoned() {
            // A failed sync has poisoned the state, which whoever closes will see.
            let _ = self.seal();
        }
    }

    /// Takes `first` and what has come in since; false once told to close.
    fn gather(&mut self, first: Request) -> bool {
        let mut request = first;
        let mut bytes = 0;
        for taken in 1.. {
            match request {
                Request::Append {
                    chunk,
                    permit,
                    written,
                } => {
                    bytes += u64::from(chunk.len);
                    let result = self.append(&chunk);
                    drop((chunk, permit));
                    written(result);
                }
                Request::Sync { up_to, permit, reply } => self.waiters.push(Waiter { up_to, reply, permit }),
                Request::Rotate { permit, reply } => {
                    let sealed = self.seal();
                    self.next_size = self.options.full_size.min(SegmentOptions::FIRST_SIZE);
                    drop(permit);
                    let _ = reply.send(sealed);
                }
                Request::Close => return false,
            }
            // Before the next one is taken: it would be lost.
            if taken == GATHER_REQUESTS || bytes >= GATHER_BYTES {
                break;
            }
            request = match self.inbox.try_recv() {
                Ok(next) => next,
                Err(_) => break,
            };
        }
        true
    }

    fn append(&mut self, chunk: &Chunk) -> Result<Place, StoreError> {
        if self.state.poisoned() {
            return Err(StoreError::Poisoned);
        }
        let record_len = padded(RECORD_HEADER_LEN as u64 + u64::from(chunk.len));
        if self
            .active
            .as_ref()
            .is_some_and(|active| !active.fits(record_len))
        {
            self.seal()?;
        }
        let active = match &mut self.active {
            Some(active) => active,
            empty => {
                let created = create(&self.options, &*self.disk, self.next_size, record_len);
                // A number is used once, even for a file that did not come to be.
                self.options.next_file += 1;
                self.next_size = match created {
                    Ok(_) => self
                        .next_size
                        .saturating_mul(SegmentOptions::GROWTH)
                        .min(self.options.full_size),
                    // The next try asks for less.
                    Err(_) => (self.next_size / SegmentOptions::GROWTH).max(self.options.first_size),
                };
                let active = empty.insert(created.map_err(write_error)?);
                self.state.advance(active.durable());
                active
            }
        };
        let error = match active.append(&*self.disk, chunk) {
            Ok(place) => return Ok(place),
            Err(error) => error,
        };
        tracing::warn!(%error, "a chunk could not be appended; its segment is closed");
        self.seal()?;
        Err(write_error(error))
    }

    /// Syncs for those who wait, if something they wait for is not durable yet.
    fn answer_waiters(&mut self) {
        let waiters = std::mem::take(&mut self.waiters);
        let durable = self.state.durable();
        if waiters.iter().any(|waiter| waiter.up_to > durable) && !self.state.poisoned() {
            // The error has poisoned the state, from which each answer is taken.
            let _ = self.sync();
        }
        for waiter in waiters {
            let answer = if waiter.up_to <= self.state.durable() {
                Ok(())
            } else if self.state.poisoned() {
                Err(StoreError::Poisoned)
            } else {
                Err(StoreError::Io(io::Error::other("the position was never written")))
            };
            // First, so that whoever has an answer finds the room free again.
            drop(waiter.permit);
            let _ = waiter.reply.send(answer);
        }
    }

    fn sync(&mut self) -> Result<(), StoreError> {
        let Some(active) = &mut self.active else {
            return Ok(());
        };
        let begun = Instant::now();
        match active.sync(&*self.disk) {
            Ok(()) => {
                flow::segment_synced(begun.elapsed());
                self.state.advance(active.durable());
                Ok(())
            }
            Err(error) => Err(poison(&self.state, &error)),
        }
    }

    /// Syncs the active segment and ends it. Fails only where a sync does; a footer that could not be written is
    /// made up for by the next recovery.
    fn seal(&mut self) -> Result<(), StoreError> {
        self.sync()?;
        let Some(active) = self.active.take() else {
            return Ok(());
        };
        if active.is_empty() {
            active.discard(&*self.disk);
            return Ok(());
        }
        if let Err(error) = active.seal(&*self.disk) {
            tracing::warn!(%error, "a segment could not be sealed");
            return Ok(());
        }
        active
            .sync_seal(&*self.disk)
            .map_err(|error| poison(&self.state, &error))
    }
}

/// A thread that panicked may have left a segment in any state: nobody may rely on what it wrote.
struct PoisonOnPanic(Arc<State>);

impl Drop for PoisonOnPanic {
    fn drop(&mut self) {
        if std::thread::panicking() {
            tracing::error!("the segment thread panicked; writing has stopped");
            self.0.poison();
        }
    }
}

fn create(options: &SegmentOptions, disk: &dyn Disk, size: u64, record_len: u64) -> io::Result<SegmentFile> {
    SegmentFile::create(
        disk,
        &options.data,
        options.store,
        options.next_file,
        size,
        record_len,
    )
}

fn poison(state: &State, error: &io::Error) -> StoreError {
    tracing::error!(%error, "a segment could not be synced; writing has stopped");
    state.poison();
    StoreError::Poisoned
}
