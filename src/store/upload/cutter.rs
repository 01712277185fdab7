//! The part of an upload that cuts a large body, and the one that puts chunks where they stay.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::oneshot;

use super::PinnedChunk;
use super::guide::Following;
use crate::chunk::{Chunker, Digest, Hasher, WholeHasher};
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
    following: Following,
    /// Over the current chunk.
    hasher: Hasher,
    /// Over the body up to the current chunk, and, unless a guide is followed, what has come of that.
    whole: WholeHasher,
    /// Bytes before the current chunk.
    offset: u64,
    /// The current chunk so far.
    current: Rope,
    /// What has come and not been looked at. A piece that may be the last waits here until that is known, which the
    /// chunker must be told.
    waiting: VecDeque<Bytes>,
    deposit: Deposit,
}

/// A body that has come to its end.
pub(super) struct Cut {
    pub digest: Digest,
    pub chunks: Vec<PinnedChunk>,
}

impl Cutter {
    pub fn new(bulk: Arc<Bulk>) -> Self {
        Cutter {
            chunker: bulk.chunker.clone(),
            following: Following::default(),
            hasher: Hasher::default(),
            whole: WholeHasher::default(),
            offset: 0,
            current: Rope::default(),
            waiting: VecDeque::new(),
            deposit: Deposit::new(bulk),
        }
    }

    /// Takes the next piece, one step of work at most. Where `more` follow it is looked at now, while the processor has
    /// it in its caches.
    pub async fn write(&mut self, piece: Bytes, more: bool) -> Result<(), StoreError> {
        self.waiting.push_back(piece);
        self.look_at_all_but(usize::from(!more), more).await
    }

    /// The body is complete: its chunks, synced and pinned.
    pub async fn finish(mut self) -> Result<Cut, StoreError> {
        self.look_at_all_but(0, false).await?;
        while !self.current.is_empty() && self.following.expected().is_some() {
            self.leave_guide();
            self.look_at_all_but(0, false).await?;
        }
        if !self.current.is_empty() {
            self.end_chunk().await?;
        }
        let (digest, spans) = self.whole.finish();
        let bulk = self.deposit.bulk.clone();
        let chunks = self.deposit.finish().await?;
        if chunks.len() > 1 {
            bulk.guides
                .remember(chunks.iter().map(|pinned| pinned.chunk).collect(), spans);
        }
        Ok(Cut { digest, chunks })
    }

    /// Looks at what waits, but for so many pieces at the end: with none left over and no `more` to come, the body is
    /// complete.
    async fn look_at_all_but(&mut self, left: usize, more: bool) -> Result<(), StoreError> {
        let mut looked_at = 0;
        while self.waiting.len() > left {
            let Some(piece) = self.waiting.pop_front() else {
                break;
            };
            looked_at += 1;
            if looked_at > 1 {
                tokio::task::yield_now().await;
            }
            let last = !more && left == 0 && self.waiting.is_empty();
            self.look_at(piece, last).await?;
        }
        Ok(())
    }

    async fn look_at(&mut self, mut piece: Bytes, last: bool) -> Result<(), StoreError> {
        while !piece.is_empty() {
            match self.following.expected() {
                Some(expected) => {
                    let missing = u64::from(expected.len) - self.current.len();
                    self.take(piece.split_to(piece.len().min(missing as usize)));
                    if self.current.len() < u64::from(expected.len) {
                        continue;
                    }
                    if !self.end_expected_chunk(expected).await? {
                        // Everything from the chunk's first byte on is looked at again.
                        if !piece.is_empty() {
                            self.waiting.push_front(piece);
                        }
                        self.leave_guide();
                        return Ok(());
                    }
                }
                None => {
                    let cut = self.chunker.next_cut(&piece, last);
                    let head = piece.split_to(cut.unwrap_or(piece.len()));
                    self.whole.update(&head);
                    self.take(head);
                    if cut.is_some() {
                        self.end_chunk().await?;
                    }
                }
            }
        }
        Ok(())
    }

    fn take(&mut self, bytes: Bytes) {
        self.hasher.update(&bytes);
        self.current.push(bytes);
    }

    /// Ends a chunk where the guide did; false if it is not the same.
    async fn end_expected_chunk(&mut self, expected: ChunkRef) -> Result<bool, StoreError> {
        if self.hasher.finish() != expected.digest {
            return Ok(false);
        }
        for piece in self.current.pieces() {
            self.whole
                .known(piece.clone(), self.following.spans_at(self.offset));
        }
        self.following.advance();
        self.put(expected.digest).await?;
        Ok(true)
    }

    /// The current chunk is not the guide's: where it ends must be searched for.
    fn leave_guide(&mut self) {
        self.following.lose();
        self.hasher.reset();
        for piece in std::mem::take(&mut self.current).into_pieces().into_iter().rev() {
            self.waiting.push_front(piece);
        }
    }

    async fn end_chunk(&mut self) -> Result<(), StoreError> {
        let digest = self.hasher.finish();
        // Far below 4 GiB.
        let len = u32::try_from(self.current.len()).map_err(std::io::Error::other)?;
        let is_first = self.offset == 0;
        let guides = &self.deposit.bulk.guides;
        self.following.found(&ChunkRef { digest, len }, is_first, guides);
        self.put(digest).await
    }

    async fn put(&mut self, digest: Digest) -> Result<(), StoreError> {
        self.offset += self.current.len();
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
            let lookup = |digest: &Digest| bulk.places.place(digest);
            let is_sound = |place: &Place| bulk.places.is_sound(&digest, place);
            match bulk.pins.acquire(digest, lookup, is_sound)? {
                Acquired::Hit(pin, place) => {
                    self.relies_on(&place);
                    self.pending
                        .push_back(Pending::Placed(PinnedChunk { chunk, place, pin }));
                    return self.settle(PIPELINE).await;
                }
                Acquired::Write(reservation) => return self.append(chunk, rope, reservation).await,
                // It may be our own: the segment thread settles it without us, as the committer does a drop.
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
