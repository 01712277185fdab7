//! The part of an upload that cuts a large body, and the one that puts chunks where they stay.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::oneshot;

use super::PinnedChunk;
use crate::chunk::{Chunker, Digest};
use crate::store::bulk::Bulk;
use crate::store::error::StoreError;
use crate::store::log::format::SegmentPosition;
use crate::store::log::segment::end_of;
use crate::store::model::{ChunkRef, FileKind, Place};
use crate::store::pins::{Acquired, Pin, Reservation};
use crate::store::rope::Rope;

/// Appends of one upload that may be under way at once.
const PIPELINE: usize = 2;

/// Cuts a body into chunks and deposits them.
#[derive(Debug)]
pub(super) struct Cutter {
    chunker: Chunker,
    /// Over the current chunk.
    hasher: blake3::Hasher,
    /// The current chunk so far.
    current: Rope,
    /// The piece that came last: the chunker must know whether another follows.
    held: Bytes,
    deposit: Deposit,
}

impl Cutter {
    pub fn new(bulk: Arc<Bulk>) -> Self {
        Cutter {
            chunker: bulk.chunker.clone(),
            hasher: blake3::Hasher::new(),
            current: Rope::default(),
            held: Bytes::new(),
            deposit: Deposit::new(bulk),
        }
    }

    /// Takes the next piece, one step of work at most.
    pub async fn write(&mut self, piece: Bytes) -> Result<(), StoreError> {
        let before = std::mem::replace(&mut self.held, piece);
        self.scan(before, false).await
    }

    /// The body is complete: its chunks, synced and pinned.
    pub async fn finish(mut self) -> Result<Vec<PinnedChunk>, StoreError> {
        let last = std::mem::take(&mut self.held);
        self.scan(last, true).await?;
        if !self.current.is_empty() {
            self.end_chunk().await?;
        }
        self.deposit.finish().await
    }

    async fn scan(&mut self, mut piece: Bytes, last: bool) -> Result<(), StoreError> {
        while !piece.is_empty() {
            let cut = self.chunker.next_cut(&piece, last);
            let head = piece.split_to(cut.unwrap_or(piece.len()));
            self.hasher.update(&head);
            self.current.push(head);
            if cut.is_some() {
                self.end_chunk().await?;
            }
        }
        Ok(())
    }

    async fn end_chunk(&mut self) -> Result<(), StoreError> {
        let digest = Digest::from(self.hasher.finalize());
        self.hasher.reset();
        self.deposit.put(digest, std::mem::take(&mut self.current)).await
    }
}

/// Sees to it that chunks are in the store, pinned and, in the end, synced.
#[derive(Debug)]
pub(super) struct Deposit {
    bulk: Arc<Bulk>,
    /// Chunks in the order of the body whose turn has not come: an append before them is under way.
    pending: VecDeque<Pending>,
    /// How many of those are appends.
    appending: usize,
    /// Those done, in the order of the body.
    done: Vec<PinnedChunk>,
    /// The furthest position that must be durable.
    relied_on: SegmentPosition,
}

#[derive(Debug)]
enum Pending {
    Placed(PinnedChunk),
    /// The segment thread answers; until then the pin is with it.
    Appending {
        chunk: ChunkRef,
        answer: oneshot::Receiver<Result<(Place, Pin), StoreError>>,
    },
}

impl Deposit {
    pub fn new(bulk: Arc<Bulk>) -> Self {
        Deposit {
            bulk,
            pending: VecDeque::new(),
            appending: 0,
            done: Vec::new(),
            relied_on: SegmentPosition::default(),
        }
    }

    /// Finds the chunk, or begins to append it.
    pub async fn put(&mut self, digest: Digest, rope: Rope) -> Result<(), StoreError> {
        // The chunker's limits keep it far below 4 GiB.
        let len = u32::try_from(rope.len()).map_err(std::io::Error::other)?;
        let chunk = ChunkRef { digest, len };
        loop {
            let bulk = self.bulk.clone();
            match bulk.pins.acquire(digest, |digest| bulk.places.place(digest))? {
                Acquired::Hit(pin, place) => {
                    self.relies_on(&place);
                    self.pending
                        .push_back(Pending::Placed(PinnedChunk { chunk, place, pin }));
                    return self.settle(PIPELINE).await;
                }
                Acquired::Write(reservation) => return self.append(chunk, rope, reservation).await,
                // It may be our own: the segment thread settles it without us.
                Acquired::Wait(wait) => wait.settled().await,
            }
        }
    }

    /// Everything is put: waits for the appends and the sync.
    pub async fn finish(mut self) -> Result<Vec<PinnedChunk>, StoreError> {
        self.settle(0).await?;
        self.bulk.segments.sync(self.relied_on).await?;
        Ok(self.done)
    }

    async fn append(
        &mut self,
        chunk: ChunkRef,
        rope: Rope,
        reservation: Reservation,
    ) -> Result<(), StoreError> {
        // Makes room first: while this chunk waits for admission it counts as well.
        self.settle(PIPELINE - 1).await?;
        let promise = self.bulk.room.promise(u64::from(chunk.len))?;
        let (reply, answer) = oneshot::channel();
        // The thread places the chunk itself: nobody who waits for it depends on how fast our client is.
        let written = Box::new(move |result: Result<Place, StoreError>| {
            // Written, and counted as such, or not.
            drop(promise);
            let answer = result.map(|place| (place, reservation.placed(place)));
            // Where the upload is gone, the pin goes with the answer.
            drop(reply.send(answer));
        });
        self.bulk
            .segments
            .append(chunk.digest, rope.into_pieces(), chunk.len, written)
            .await?;
        self.appending += 1;
        self.pending.push_back(Pending::Appending { chunk, answer });
        Ok(())
    }

    /// Waits until at most `most` appends are under way.
    async fn settle(&mut self, most: usize) -> Result<(), StoreError> {
        loop {
            match self.pending.front() {
                Some(Pending::Appending { .. }) if self.appending <= most => return Ok(()),
                None => return Ok(()),
                Some(_) => {}
            }
            let Some(first) = self.pending.pop_front() else {
                return Ok(());
            };
            let pinned = match first {
                Pending::Placed(pinned) => pinned,
                Pending::Appending { chunk, answer } => {
                    self.appending -= 1;
                    let (place, pin) = answer.await.unwrap_or(Err(StoreError::Closed))?;
                    self.relies_on(&place);
                    PinnedChunk { chunk, place, pin }
                }
            };
            self.done.push(pinned);
        }
    }

    fn relies_on(&mut self, place: &Place) {
        // What lies in the journal has been committed, so it is durable.
        if place.kind == FileKind::Segment {
            self.relied_on = self.relied_on.max(end_of(place));
        }
    }
}
