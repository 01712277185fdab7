//! The index as everybody holds it: look-ups and writes go to whichever tree is in it at the time.

use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use arc_swap::{ArcSwap, Guard};
use serde::de::DeserializeOwned;
use tokio::sync::Notify;

use super::keys::{self, Key};
use super::levels::Fill;
use super::tree::{Entry, Tree, Value};
use crate::chunk::Digest;
use crate::store::bulk::ChunkPlaces;
use crate::store::error::StoreError;
use crate::store::metrics;
use crate::store::model::Place;

/// How long a look-up that may block waits for an index that is being built again.
const PATIENCE: Duration = Duration::from_secs(10);
/// Entries that [`Index::each`] takes at a time.
const STEP: usize = 512;
/// How often it looks.
const LOOK_AGAIN: Duration = Duration::from_millis(20);

/// The index.
///
/// Its tree can be replaced while everybody holds the index: by a smaller one with the same entries, or, after it
/// failed, by one that was built again. A call that has begun ends in the tree in which it began. A tree that failed
/// once is not asked again, so nothing that it lost is ever taken for absent.
#[derive(Debug)]
pub struct Index {
    path: PathBuf,
    /// Looked at by every look-up of every thread, so without a lock that they would share.
    tree: ArcSwap<Tree>,
    alarm: OnceLock<Alarm>,
    full: OnceLock<Alarm>,
    restored: Notify,
}

/// Called when a tree fails, or is full of what no run has yet.
struct Alarm(Box<dyn Fn() + Send + Sync>);

impl std::fmt::Debug for Alarm {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Alarm")
    }
}

impl Index {
    /// Opens or creates the index at `path`. `cache`: bytes of sled's page cache.
    pub fn open(path: &Path, cache: u64) -> Result<Self, StoreError> {
        let tree = Tree::open(path, cache)?;
        Ok(Index {
            path: path.to_owned(),
            tree: ArcSwap::from_pointee(tree),
            alarm: OnceLock::new(),
            full: OnceLock::new(),
            restored: Notify::new(),
        })
    }

    /// Has `alarm` called, once for each tree that fails, by whoever met the failure: it must not block. Only the
    /// first alarm counts.
    pub fn on_failure(&self, alarm: impl Fn() + Send + Sync + 'static) {
        let _ = self.alarm.set(Alarm(Box::new(alarm)));
    }

    /// Has `wake` called, again and again, while so much has been written that somebody else should make a checkpoint
    /// soon: it must not block. Without this whoever writes makes it. Only the first one counts.
    pub fn on_full(&self, wake: impl Fn() + Send + Sync + 'static) {
        let _ = self.full.set(Alarm(Box::new(wake)));
    }

    /// Why the index cannot be asked, if so.
    pub fn failure(&self) -> Option<String> {
        self.tree().failure().map(str::to_owned)
    }

    /// Gives the tree up: it has been found wrong.
    pub fn fail(&self, why: &str) {
        self.failed(&self.tree(), why);
    }

    /// Closes a tree that failed, so that its files can be deleted for good. It goes on failing.
    pub fn close_failed(&self) {
        if let Some(why) = self.failure() {
            self.replace(Tree::closed(why));
        }
    }

    /// Waits until the index can be asked. Cancel safe.
    pub async fn restored(&self) {
        loop {
            let notified = self.restored.notified();
            tokio::pin!(notified);
            // Registered before the look, so that a change in between is not missed.
            notified.as_mut().enable();
            if self.failure().is_none() {
                return;
            }
            notified.await;
        }
    }

    /// Goes on with the tree of `other`, which stands where this index stood.
    pub fn adopt(&self, other: Index) {
        self.replace_by(other.tree.load_full());
    }

    /// Goes on with `tree`.
    pub(super) fn replace(&self, tree: Tree) {
        self.replace_by(Arc::new(tree));
    }

    fn replace_by(&self, tree: Arc<Tree>) {
        self.tree.store(tree);
        self.restored.notify_waiters();
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    fn tree(&self) -> Guard<Arc<Tree>> {
        self.tree.load()
    }

    /// Asks the tree, unless it has failed.
    pub(super) fn ask<T>(
        &self,
        question: impl FnOnce(&Tree) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let tree = self.tree();
        if let Some(why) = tree.failure() {
            return Err(StoreError::Index(why.to_owned()));
        }
        let answer = question(&tree);
        if let Err(StoreError::Index(why)) = &answer {
            self.failed(&tree, why);
        }
        answer
    }

    fn failed(&self, tree: &Tree, why: &str) {
        if tree.fail(why.to_owned())
            && let Some(alarm) = self.alarm.get()
        {
            (alarm.0)();
        }
    }

    /// The value of a key.
    pub fn get(&self, key: &[u8]) -> Result<Option<Value>, StoreError> {
        self.ask(|tree| tree.get(key))
    }

    /// The value of a key, decoded.
    pub fn get_as<T: DeserializeOwned>(&self, key: &[u8]) -> Result<Option<T>, StoreError> {
        self.ask(|tree| tree.get(key)?.map(|value| decode(&value)).transpose())
    }

    /// Writes or removes one key.
    pub fn set(&self, key: &[u8], value: Option<&[u8]>) -> Result<(), StoreError> {
        self.write(key, value, false)
    }

    /// Writes a key that has no value.
    pub fn add(&self, key: &[u8], value: &[u8]) -> Result<(), StoreError> {
        self.write(key, Some(value), true)
    }

    fn write(&self, key: &[u8], value: Option<&[u8]>, is_new: bool) -> Result<(), StoreError> {
        self.ask(|tree| match (tree.set(key, value, is_new)?, self.full.get()) {
            (Fill::Some, _) => Ok(()),
            (Fill::Full, Some(_)) => {
                self.hurry_checkpoint();
                Ok(())
            }
            (Fill::Most, Some(_)) => {
                metrics::index_stall();
                tree.make_room()
            }
            // Nobody else would.
            (Fill::Full | Fill::Most, None) => tree.make_room(),
        })
    }

    /// Whether work that can wait should wait for a checkpoint, so that requests need not.
    pub fn is_behind(&self) -> bool {
        // One that has failed says so where it is asked for something.
        self.tree().is_behind().unwrap_or(false)
    }

    /// Asks for a checkpoint soon.
    pub fn hurry_checkpoint(&self) {
        if let Some(wake) = self.full.get() {
            (wake.0)();
        }
    }

    /// Up to `limit` entries that begin with `prefix`, in order, after the key `after` where given.
    pub fn scan(&self, prefix: &[u8], after: Option<&[u8]>, limit: usize) -> Result<Vec<Entry>, StoreError> {
        self.ask(|tree| tree.scan(prefix, after, limit))
    }

    /// The values of all keys that begin with `prefix`, in order, decoded.
    pub fn scan_as<T: DeserializeOwned>(&self, prefix: &[u8]) -> Result<Vec<T>, StoreError> {
        self.ask(|tree| {
            let entries = tree.scan(prefix, None, usize::MAX)?;
            entries.iter().map(|(_, value)| decode(value)).collect()
        })
    }

    /// Like [`Index::scan`], with the values decoded.
    pub fn page_as<T: DeserializeOwned>(
        &self,
        prefix: &[u8],
        after: Option<&[u8]>,
        limit: usize,
    ) -> Result<Vec<(Key, T)>, StoreError> {
        self.ask(|tree| decode_all(tree.scan(prefix, after, limit)?))
    }

    /// Up to `limit` entries that begin with `prefix`, the last first, before the key `before` where given; decoded.
    pub fn page_back_as<T: DeserializeOwned>(
        &self,
        prefix: &[u8],
        before: Option<&[u8]>,
        limit: usize,
    ) -> Result<Vec<(Key, T)>, StoreError> {
        self.ask(|tree| decode_all(tree.scan_back(prefix, before, limit)?))
    }

    /// How many entries begin with `prefix`.
    pub fn count(&self, prefix: &[u8]) -> Result<usize, StoreError> {
        self.ask(|tree| tree.count(prefix))
    }

    /// See [`Tree::reserve`].
    ///
    /// # Errors
    /// Where the disk has no room.
    pub fn reserve(&self, bytes: u64) -> io::Result<()> {
        self.tree().reserve(bytes)
    }

    /// Bytes held on disk behind the end of sled's file.
    pub fn reserved(&self) -> io::Result<u64> {
        self.tree().reserved()
    }

    /// Hands every entry that begins with `prefix` to `visit`, in small steps: the index goes on meanwhile.
    pub fn each(
        &self,
        prefix: &[u8],
        mut visit: impl FnMut(&[u8], &[u8]) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        let mut after: Option<Key> = None;
        loop {
            let entries = self.scan(prefix, after.as_deref(), STEP)?;
            for (key, value) in &entries {
                visit(key, value)?;
            }
            match entries.last() {
                Some((key, _)) => after = Some(key.to_vec()),
                None => return Ok(()),
            }
        }
    }

    /// Makes what has been written survive a power cut. sled's own flush only starts writeback.
    pub fn checkpoint(&self) -> Result<(), StoreError> {
        self.ask(Tree::checkpoint)
    }

    /// Merges some of what has been written, if there is enough of it: look-ups and scans stay cheap. Whether there is
    /// more to do at once.
    pub fn merge_step(&self) -> Result<bool, StoreError> {
        self.ask(Tree::merge_step)
    }

    /// Whether every checkpoint so far has succeeded.
    pub fn is_sound(&self) -> bool {
        self.tree().is_sound()
    }

    /// Device and inode of sled's file: a copy is another index.
    pub fn identity(&self) -> Result<(u64, u64), StoreError> {
        let meta = std::fs::metadata(self.path.join("db"))?;
        Ok((meta.dev(), meta.ino()))
    }

    /// Sorted runs that it consists of beside what was written last.
    pub fn runs(&self) -> Result<usize, StoreError> {
        self.ask(Tree::runs)
    }

    /// Bytes on disk.
    pub fn size_on_disk(&self) -> Result<u64, StoreError> {
        self.ask(Tree::size_on_disk)
    }
}

#[cfg(test)]
impl Index {
    /// Makes sled panic behind the next `calls` calls.
    pub fn fail_after(&self, calls: u64) {
        self.tree().fail_after(calls);
    }

    /// Calls `work` while nobody can make a run.
    pub fn without_runs<T>(&self, work: impl FnOnce() -> T) -> T {
        self.tree().without_runs(work)
    }
}

impl ChunkPlaces for Index {
    fn place(&self, digest: &Digest) -> Result<Option<Place>, StoreError> {
        self.get_as(&keys::chunk(digest))
    }

    fn place_in_time(&self, digest: &Digest) -> Result<Option<Place>, StoreError> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            match self.place(digest) {
                Err(StoreError::Index(_)) if Instant::now() < deadline => std::thread::sleep(LOOK_AGAIN),
                answer => return answer,
            }
        }
    }
}

fn decode_all<T: DeserializeOwned>(entries: Vec<Entry>) -> Result<Vec<(Key, T)>, StoreError> {
    entries
        .into_iter()
        .map(|(key, value)| Ok((key.to_vec(), decode(&value)?)))
        .collect()
}

/// Decodes a value. A value that does not decode is damage to the index, never an absence.
pub fn decode<T: DeserializeOwned>(value: &[u8]) -> Result<T, StoreError> {
    postcard::from_bytes(value)
        .map_err(|error| StoreError::Index(format!("a value does not decode: {error}")))
}
