//! Pins: which chunks an upload under way relies on, who is writing which, and which are being dropped.
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
    /// It is being appended; settled when that has ended, well or not. `damaged` are the copy that this one heals and
    /// the pins on it, which go over to the new one.
    Writing {
        settled: CancellationToken,
        damaged: Option<(Place, usize)>,
    },
    /// It has been written or was there already.
    Placed { place: Place, pins: usize },
    /// Collection is dropping it; settled when the index has forgotten it, or keeps it after all.
    Dropping { settled: CancellationToken },
}

/// What came of asking for a chunk.
#[derive(Debug)]
pub enum Acquired {
    /// It is at this place and stays while the pin lives.
    Hit(Pin, Place),
    /// It is new: append it.
    Write(Reservation),
    /// Another upload is appending it just now, or collection is dropping it: wait, then ask again.
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

/// The right to take a chunk out of the index that nobody has pinned. While it lives, whoever asks for the chunk waits.
#[derive(Debug)]
pub struct DropReservation {
    pins: Arc<Pins>,
    digest: Digest,
    settled: CancellationToken,
}

/// Another upload's append under way, or the end of a chunk.
#[derive(Debug)]
pub struct Wait(CancellationToken);

impl Wait {
    /// Waits until that has ended, well or not. Cancel safe.
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
    /// has pinned lies, `is_sound` whether one that somebody has pinned is not known to be damaged. Both run under
    /// the lock of the chunk's shard and must not use pins.
    ///
    /// # Errors
    /// Those of `lookup`; nothing is pinned then.
    pub fn acquire(
        self: &Arc<Self>,
        digest: Digest,
        lookup: impl FnOnce(&Digest) -> Result<Option<Place>, StoreError>,
        is_sound: impl FnOnce(&Place) -> bool,
    ) -> Result<Acquired, StoreError> {
        let pin = || Pin {
            pins: self.clone(),
            digest,
        };
        let write = |damaged| {
            let settled = CancellationToken::new();
            let writing = State::Writing {
                settled: settled.clone(),
                damaged,
            };
            let reservation = Reservation {
                pins: self.clone(),
                digest,
                settled,
            };
            (writing, Acquired::Write(reservation))
        };
        let mut shard = self.shard(&digest);
        let (state, acquired) = match shard.entry(digest) {
            Entry::Occupied(mut entry) => match entry.get_mut() {
                State::Writing { settled, .. } | State::Dropping { settled } => {
                    return Ok(Acquired::Wait(Wait(settled.clone())));
                }
                State::Placed { place, pins } if is_sound(place) => {
                    *pins += 1;
                    return Ok(Acquired::Hit(pin(), *place));
                }
                State::Placed { place, pins } => write(Some((*place, *pins))),
            },
            Entry::Vacant(_) => match lookup(&digest)? {
                Some(place) => (State::Placed { place, pins: 1 }, Acquired::Hit(pin(), place)),
                None => write(None),
            },
        };
        shard.insert(digest, state);
        Ok(acquired)
    }

    /// Begins to drop the chunk, if nobody has it pinned or is writing or dropping it.
    pub fn reserve_drop(self: &Arc<Self>, digest: Digest) -> Option<DropReservation> {
        match self.shard(&digest).entry(digest) {
            Entry::Occupied(_) => None,
            Entry::Vacant(vacant) => {
                let settled = CancellationToken::new();
                vacant.insert(State::Dropping {
                    settled: settled.clone(),
                });
                Some(DropReservation {
                    pins: self.clone(),
                    digest,
                    settled,
                })
            }
        }
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
        let mut shard = self.pins.shard(&self.digest);
        let carried = match shard.get(&self.digest) {
            Some(State::Writing {
                damaged: Some((_, pins)),
                ..
            }) => *pins,
            _ => 0,
        };
        let pins = carried + 1;
        shard.insert(self.digest, State::Placed { place, pins });
        drop(shard);
        pin
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        let mut shard = self.pins.shard(&self.digest);
        // Once placed, the entry is the pins' to remove.
        if let Some(State::Writing { damaged, .. }) = shard.get(&self.digest) {
            match *damaged {
                Some((place, pins)) if pins > 0 => {
                    shard.insert(self.digest, State::Placed { place, pins });
                }
                _ => {
                    shard.remove(&self.digest);
                }
            }
        }
        drop(shard);
        self.settled.cancel();
    }
}

impl Drop for Pin {
    fn drop(&mut self) {
        let mut shard = self.pins.shard(&self.digest);
        match shard.get_mut(&self.digest) {
            Some(State::Placed { pins, .. }) => {
                *pins -= 1;
                if *pins == 0 {
                    shard.remove(&self.digest);
                }
            }
            Some(State::Writing {
                damaged: Some((_, pins)),
                ..
            }) => *pins -= 1,
            _ => {}
        }
    }
}

impl Drop for DropReservation {
    fn drop(&mut self) {
        self.pins.shard(&self.digest).remove(&self.digest);
        self.settled.cancel();
    }
}

#[cfg(test)]
mod tests;
