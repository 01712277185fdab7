//! What has been found damaged since the start, so that it is written again when the same bytes come back.
//!
//! A damaged copy is damaged for good, so copies are remembered by place: once a chunk has another place, it is whole.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::bulk::ChunkPlaces;
use super::error::StoreError;
use super::index::Index;
use super::metrics;
use super::model::Place;
use crate::chunk::Digest;

/// Copies that are remembered at most; a store with more is beyond healing by uploads.
const CAPACITY: usize = 1 << 20;

/// Damaged copies of chunks and manifests, by content. `None`: there should be a copy and is none.
#[derive(Debug, Default)]
pub struct Damage {
    copies: Mutex<HashMap<Digest, Option<Place>>>,
    len: AtomicUsize,
}

impl Damage {
    /// Remembers that the copy at `place` cannot be served.
    pub fn report(&self, digest: Digest, place: Option<Place>) {
        let mut copies = self.lock();
        if copies.len() < CAPACITY && copies.insert(digest, place).is_none() {
            metrics::damaged_chunk();
        }
        self.len.store(copies.len(), Ordering::Release);
    }

    /// Whether the copy at `place`, which is where the index says it is, has been found damaged.
    pub fn is_damaged(&self, digest: &Digest, place: Option<Place>) -> bool {
        !self.is_empty() && self.lock().get(digest).is_some_and(|damaged| *damaged == place)
    }

    /// Whether nothing has been found.
    pub fn is_empty(&self) -> bool {
        self.len.load(Ordering::Acquire) == 0
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Digest, Option<Place>>> {
        self.copies.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Places that an upload may rely on.
pub struct SoundPlaces {
    /// Where chunks lie.
    pub index: std::sync::Arc<Index>,
    /// Which of them are damaged.
    pub damage: std::sync::Arc<Damage>,
}

impl ChunkPlaces for SoundPlaces {
    fn place(&self, digest: &Digest) -> Result<Option<Place>, StoreError> {
        let place = match self.index.place(digest) {
            // An upload that cannot ask appends its own copy; whether that is needed is decided with the commit.
            Err(StoreError::Index(_)) => None,
            place => place?,
        };
        Ok(place.filter(|place| !self.damage.is_damaged(digest, Some(*place))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::model::FileKind;

    #[test]
    fn another_copy_is_sound() {
        let damage = Damage::default();
        let digest = Digest::of(b"x");
        let place = |offset| {
            Some(Place {
                kind: FileKind::Journal,
                file: 1,
                offset,
                stored_len: 1,
            })
        };
        assert!(!damage.is_damaged(&digest, place(1)));
        damage.report(digest, place(1));
        assert!(damage.is_damaged(&digest, place(1)));
        assert!(!damage.is_damaged(&digest, place(2)));
        assert!(!damage.is_damaged(&Digest::of(b"y"), place(1)));
    }
}
