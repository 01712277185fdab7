//! What has been found damaged, so that it is not served and is written again when the same bytes come back.
//!
//! A damaged copy is damaged for good, so copies are remembered by place: once a chunk has another place, it is whole.
//! Copies are written down in the log by [`super::quarantine`] and loaded from the index at the next start.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

use super::bulk::ChunkPlaces;
use super::error::StoreError;
use super::index::{Index, decode, keys};
use super::log::files::LogFiles;
use super::metrics;
use super::model::Place;
use super::quarantine::{Damaged, Reports};
use crate::chunk::Digest;

/// Copies that are remembered at most; a store with more is beyond healing by uploads.
const CAPACITY: usize = 1 << 20;

/// Damaged copies of chunks and manifests, by content. `None`: there should be a copy and is none.
#[derive(Debug, Default)]
pub struct Damage {
    copies: Mutex<HashMap<Digest, Option<Place>>>,
    len: AtomicUsize,
    /// Who writes new ones down.
    reports: OnceLock<Reports>,
}

impl Damage {
    /// Remembers that the copy at `place` cannot be served.
    pub fn report(&self, digest: Digest, place: Option<Place>) {
        if self.remember(digest, place)
            && let Some(reports) = self.reports.get()
        {
            // Nobody takes it any more once the store is closing.
            let _ = reports.send(Some(Damaged { digest, place }));
        }
    }

    /// From now on what is found is told to `reports`.
    pub fn tell(&self, reports: Reports) {
        let _ = self.reports.set(reports);
    }

    /// Remembers what earlier runs wrote down.
    pub fn load(&self, index: &Index) -> Result<(), StoreError> {
        for (key, value) in index.scan(&keys::quarantines(), None, CAPACITY)? {
            let digest: Option<[u8; Digest::LEN]> = key.get(1..).and_then(|digest| digest.try_into().ok());
            if let Some(digest) = digest {
                self.remember(digest.into(), Some(decode(&value)?));
            }
        }
        Ok(())
    }

    /// Forgets a copy once the chunk is at `place`.
    pub fn healed(&self, digest: &Digest, place: Option<Place>) {
        let mut copies = self.lock();
        if copies.get(digest).is_some_and(|damaged| *damaged != place) {
            copies.remove(digest);
            metrics::damaged_chunks(copies.len());
        }
        self.len.store(copies.len(), Ordering::Release);
    }

    /// Whether this is news.
    fn remember(&self, digest: Digest, place: Option<Place>) -> bool {
        let mut copies = self.lock();
        if copies.len() >= CAPACITY {
            return false;
        }
        let news = copies.insert(digest, place) != Some(place);
        metrics::damaged_chunks(copies.len());
        self.len.store(copies.len(), Ordering::Release);
        news
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
    /// Which files there are: what the index says of others is not believed.
    pub files: std::sync::Arc<LogFiles>,
}

impl ChunkPlaces for SoundPlaces {
    fn place(&self, digest: &Digest) -> Result<Option<Place>, StoreError> {
        let place = match self.index.place(digest) {
            // An upload that cannot ask appends its own copy; whether that is needed is decided with the commit.
            Err(StoreError::Index(_)) => return Ok(None),
            place => place?,
        };
        match place.filter(|place| self.is_sound(digest, place)) {
            Some(place) if !self.files.has(place.kind, place.file)? => {
                // Compaction may just have moved it; else the file is lost, and the committer must know.
                let moved = self.index.place(digest)?.filter(|moved| *moved != place);
                if moved.is_none() {
                    self.damage.report(*digest, Some(place));
                }
                Ok(moved)
            }
            place => Ok(place),
        }
    }

    fn is_sound(&self, digest: &Digest, place: &Place) -> bool {
        !self.damage.is_damaged(digest, Some(*place))
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
