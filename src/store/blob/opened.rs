//! Which blobs are open for reading: collection keeps their chunks, whatever becomes of their names.
//!
//! A reader looks a name up and opens what it leads to inside one [`Look`]. Collection, once its mark is complete,
//! waits for the looks under way: whoever looked before is registered by then, and whoever looks later finds only
//! names that the mark or the write barrier have seen.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use foldhash::fast::FixedState;

use crate::chunk::Digest;
use crate::store::model::ChunkRef;

/// Locks that the blobs are spread over.
const SHARDS: usize = 16;

/// The chunks of one blob.
pub type Chunks = Arc<[ChunkRef]>;

/// Blobs by number. The numbers are ours, so nobody can choose them to collide.
type Numbered = HashMap<u64, (Digest, Chunks), FixedState>;

/// All open blobs.
#[derive(Debug, Default)]
pub struct OpenBlobs {
    next: AtomicU64,
    shards: [Mutex<Numbered>; SHARDS],
    /// Changes with every wait; its last bit says where a look that begins now is counted.
    epoch: AtomicUsize,
    /// Looks under way, of this epoch and of the one before.
    looks: [AtomicUsize; 2],
}

/// While it lives, nothing is dropped that a name leads to which was found within it. To be held for moments only:
/// collection waits for it.
#[derive(Debug)]
pub struct Look<'a>(&'a AtomicUsize);

impl Drop for Look<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

/// Keeps a blob registered.
#[derive(Debug)]
pub struct Registered {
    blobs: Arc<OpenBlobs>,
    number: u64,
}

impl OpenBlobs {
    /// Begins to look at names.
    pub fn look(&self) -> Look<'_> {
        loop {
            let epoch = self.epoch.load(Ordering::SeqCst);
            let looks = &self.looks[epoch % 2];
            looks.fetch_add(1, Ordering::SeqCst);
            let look = Look(looks);
            // Counted too late, it might not be waited for.
            if self.epoch.load(Ordering::SeqCst) == epoch {
                return look;
            }
        }
    }

    /// Waits until every look that began before has ended. New ones are not held up. One caller at a time.
    pub fn wait_for_looks(&self) {
        let epoch = self.epoch.fetch_add(1, Ordering::SeqCst);
        while self.looks[epoch % 2].load(Ordering::SeqCst) > 0 {
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// Registers a blob that is being read.
    pub fn register(self: &Arc<Self>, blob: Digest, chunks: Chunks) -> Registered {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        self.shard(number).insert(number, (blob, chunks));
        Registered {
            blobs: self.clone(),
            number,
        }
    }

    /// Calls `visit` for the chunks of every open blob.
    pub fn for_each(&self, mut visit: impl FnMut(&[ChunkRef])) {
        for number in 0..SHARDS as u64 {
            // The lists are shared, not copied, and visited without the lock.
            let open: Vec<Chunks> = self
                .shard(number)
                .values()
                .map(|(_, open)| open.clone())
                .collect();
            open.iter().for_each(|chunks| visit(chunks));
        }
    }

    /// The digests of all open blobs.
    pub fn digests(&self) -> HashSet<Digest> {
        let mut digests = HashSet::new();
        for number in 0..SHARDS as u64 {
            digests.extend(self.shard(number).values().map(|(blob, _)| *blob));
        }
        digests
    }

    fn shard(&self, number: u64) -> MutexGuard<'_, Numbered> {
        let shard = &self.shards[number as usize % SHARDS];
        shard.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Registered {
    fn drop(&mut self) {
        self.blobs.shard(self.number).remove(&self.number);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    fn seen(blobs: &OpenBlobs) -> Vec<u32> {
        let mut lengths = Vec::new();
        blobs.for_each(|chunks| lengths.extend(chunks.iter().map(|chunk| chunk.len)));
        lengths.sort_unstable();
        lengths
    }

    #[test]
    fn a_blob_is_there_as_long_as_it_is_open() {
        let blobs = Arc::new(OpenBlobs::default());
        let chunk = |len| ChunkRef {
            digest: Digest::of(b"x"),
            len,
        };
        let all: Vec<Registered> = (0..40)
            .map(|len: u32| {
                let blob = Digest::of(&len.to_le_bytes());
                blobs.register(blob, Arc::new([chunk(len), chunk(len + 100)]))
            })
            .collect();
        assert_eq!(blobs.digests().len(), 40);
        assert_eq!(seen(&blobs), (0..40).chain(100..140).collect::<Vec<u32>>());
        let rest: Vec<Registered> = all.into_iter().skip(39).collect();
        assert_eq!(seen(&blobs), [39, 139]);
        assert_eq!(
            blobs.digests(),
            HashSet::from([Digest::of(&39_u32.to_le_bytes())])
        );
        drop(rest);
        assert!(seen(&blobs).is_empty());
    }

    #[test]
    fn waiting_ends_when_the_looks_have() {
        let blobs = OpenBlobs::default();
        let (done, waited) = mpsc::channel();
        std::thread::scope(|scope| {
            let look = blobs.look();
            scope.spawn(|| {
                blobs.wait_for_looks();
                done.send(()).ok();
            });
            assert!(waited.recv_timeout(Duration::from_millis(50)).is_err());
            // One that begins meanwhile is not waited for, and does not wait.
            let _later = blobs.look();
            drop(look);
            assert_eq!(waited.recv_timeout(Duration::from_secs(10)), Ok(()));
        });
    }
}
