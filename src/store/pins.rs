//! Pins: which chunks an upload under way relies on, and who is writing which.
//!
//! Looking a chunk up and pinning it happen under one lock, and so do checking that nobody has it pinned and
//! dropping it: a chunk cannot go between somebody's look and its pin. Pins live in memory and die with the
//! process, as uploads do.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio_util::sync::CancellationToken;

use super::error::StoreError;
use super::model::{FileKind, Place};
use crate::chunk::Digest;

/// Locks that the digests are spread over.
const SHARDS: usize = 64;

/// The chunks that uploads hold on to.
#[derive(Debug)]
pub struct Pins {
    shards: [Mutex<Shard>; SHARDS],
}

type Shard = HashMap<Digest, State>;

/// A chunk somebody holds on to. Without an entry, nobody does.
#[derive(Debug)]
enum State {
    /// It is being appended; settled when that has ended, well or not.
    Writing { settled: CancellationToken },
    /// It has been written or was there already.
    Placed { place: Place, pins: usize },
}

/// What came of asking for a chunk.
#[derive(Debug)]
pub enum Acquired {
    /// It is at this place and stays while the pin lives.
    Hit(Pin, Place),
    /// It is new: append it.
    Write(Reservation),
    /// Another upload is appending it just now: wait, then ask again.
    Wait(Wait),
}

/// Keeps a chunk from being collected while it lives.
#[derive(Debug)]
pub struct Pin {
    pins: Arc<Pins>,
    digest: Digest,
}

/// The right and duty to append a chunk. Dropped without a place, the next one who asks gets it.
#[derive(Debug)]
pub struct Reservation {
    pins: Arc<Pins>,
    digest: Digest,
    settled: CancellationToken,
}

/// Another upload's append under way.
#[derive(Debug)]
pub struct Wait(CancellationToken);

impl Wait {
    /// Waits until that append has ended, well or not. Cancel safe.
    pub async fn settled(self) {
        self.0.cancelled().await;
    }
}

impl Default for Pins {
    fn default() -> Self {
        Pins {
            shards: std::array::from_fn(|_| Mutex::default()),
        }
    }
}

impl Pins {
    /// Finds and pins the chunk, or makes the caller the one to write it. `lookup` tells where a chunk that nobody
    /// has pinned lies; it runs under the lock of the chunk's shard and must not use pins.
    ///
    /// # Errors
    /// Those of `lookup`; nothing is pinned then.
    pub fn acquire(
        self: &Arc<Self>,
        digest: Digest,
        lookup: impl FnOnce(&Digest) -> Result<Option<Place>, StoreError>,
    ) -> Result<Acquired, StoreError> {
        let pin = || Pin {
            pins: self.clone(),
            digest,
        };
        let mut shard = self.shard(&digest);
        let vacant = match shard.entry(digest) {
            Entry::Occupied(mut entry) => {
                return Ok(match entry.get_mut() {
                    State::Writing { settled } => Acquired::Wait(Wait(settled.clone())),
                    State::Placed { place, pins } => {
                        *pins += 1;
                        Acquired::Hit(pin(), *place)
                    }
                });
            }
            Entry::Vacant(vacant) => vacant,
        };
        if let Some(place) = lookup(&digest)? {
            vacant.insert(State::Placed { place, pins: 1 });
            return Ok(Acquired::Hit(pin(), place));
        }
        let settled = CancellationToken::new();
        vacant.insert(State::Writing {
            settled: settled.clone(),
        });
        Ok(Acquired::Write(Reservation {
            pins: self.clone(),
            digest,
            settled,
        }))
    }

    /// Whether anybody has the chunk pinned or is writing it.
    pub fn is_pinned(&self, digest: &Digest) -> bool {
        self.shard(digest).contains_key(digest)
    }

    /// Runs `drop_it` if nobody has the chunk pinned or is writing it, so that nobody can begin to meanwhile.
    /// `None`: somebody has. `drop_it` runs under the lock of the chunk's shard and must not use pins.
    pub fn with_unpinned<T>(&self, digest: &Digest, drop_it: impl FnOnce() -> T) -> Option<T> {
        let shard = self.shard(digest);
        (!shard.contains_key(digest)).then(drop_it)
    }

    /// Runs `look` if no pin of the chunk may rely on a copy in the file, so that none can begin to meanwhile. `None`:
    /// one may, or the chunk is just being written. `look` runs under the lock of the chunk's shard and must not use
    /// pins.
    pub fn unless_pinned_in<T>(
        &self,
        digest: &Digest,
        file: (FileKind, u64),
        look: impl FnOnce() -> T,
    ) -> Option<T> {
        let shard = self.shard(digest);
        let elsewhere = match shard.get(digest) {
            Some(State::Placed { place, .. }) => (place.kind, place.file) != file,
            Some(_) => false,
            None => true,
        };
        elsewhere.then(look)
    }

    /// How many chunks are pinned or being written.
    pub fn len(&self) -> usize {
        let len = |shard: &Mutex<Shard>| shard.lock().unwrap_or_else(PoisonError::into_inner).len();
        self.shards.iter().map(len).sum()
    }

    /// Whether no chunk is pinned or being written.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn shard(&self, digest: &Digest) -> MutexGuard<'_, Shard> {
        let shard = usize::from(digest.as_bytes()[0]) % SHARDS;
        self.shards[shard].lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Reservation {
    /// The chunk was written at `place`: those who wait find it there.
    pub fn placed(self, place: Place) -> Pin {
        let pin = Pin {
            pins: self.pins.clone(),
            digest: self.digest,
        };
        self.pins
            .shard(&self.digest)
            .insert(self.digest, State::Placed { place, pins: 1 });
        pin
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        let mut shard = self.pins.shard(&self.digest);
        // Once placed, the entry is the pins' to remove.
        if let Some(State::Writing { .. }) = shard.get(&self.digest) {
            shard.remove(&self.digest);
        }
        drop(shard);
        self.settled.cancel();
    }
}

impl Drop for Pin {
    fn drop(&mut self) {
        let mut shard = self.pins.shard(&self.digest);
        if let Some(State::Placed { pins, .. }) = shard.get_mut(&self.digest) {
            *pins -= 1;
            if *pins == 0 {
                shard.remove(&self.digest);
            }
        }
    }
}

#[cfg(test)]
mod tests;
