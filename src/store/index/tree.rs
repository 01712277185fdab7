//! sled behind a narrow face. It is an index: disposable, rebuilt from the log, never the truth.
//!
//! sled 0.34.7 can panic where others return errors, and its `flush` does not reach the disk on Linux; both are dealt
//! with here (evidence: docs/format.md, "The index").

use std::fs::{File, OpenOptions};
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use super::changes::{Changes, Stamp};
use super::keys;
use super::levels::{Fill, Found, Levels, MergeRoom};
use super::located::Recent;
use super::rows::{Hashed, Known, Rows};
use super::run::failed;
use super::sled_files::{allocate, is_full, remove_generating};
use super::span::{Order, Span};
use crate::store::error::StoreError;

/// How long an open waits for the lock that a dying process may still hold.
const LOCK_PATIENCE: Duration = Duration::from_secs(10);

/// A value as it is stored.
pub type Value = sled::IVec;

/// A key and its value.
pub type Entry = (sled::IVec, Value);

/// Of the memory for the index, the part that holds rows: one in so many bytes.
const ROWS: u64 = 4;
/// The part that holds files that were located. The rest holds sled's pages.
const LOCATED: u64 = 8;
/// What sled may append to its file for a byte of the memtable, or of runs that are merged: it writes a page again
/// whenever that has changed ten times.
const WRITTEN: u64 = 4;
/// What it may append beside that, for a memtable of any size: the nodes of a new tree, the filter, the manifest.
const AROUND: u64 = 64 << 10;
/// What one step of a merge may append.
const MERGE_STEP: u64 = 4 << 20;
/// With more runs than this merging is urgent: it does not rest, and a writer merges as well.
pub const MANY_RUNS: usize = 32;
/// Bytes that a merge leaves free on the disk: what is kept for removals, and some.
const LEFT_FREE: u64 = 8 << 20;

/// One open sled database.
#[derive(Debug)]
pub struct Tree {
    /// `None` once it is closed.
    open: Option<Open>,
    /// A checkpoint failed: what is on the disk is unknown for good, a later success proves nothing.
    unsynced: AtomicBool,
    /// Why it is not asked any more.
    failure: OnceLock<String>,
    /// Calls until it fails, for tests.
    #[cfg(test)]
    calls_left: std::sync::atomic::AtomicU64,
}

#[derive(Debug)]
struct Open {
    db: sled::Db,
    levels: Levels,
    rows: Rows,
    located: Recent,
    /// For our own fdatasync and reservations.
    file: File,
}

impl Open {
    fn checkpoint(&self, flush: impl FnOnce(&Levels) -> Result<(), StoreError>) -> Result<(), StoreError> {
        flush(&self.levels)?;
        let retired = self.levels.retired();
        self.db.flush().map_err(failed)?;
        self.file.sync_data()?;
        self.levels.drop_retired(retired)
    }
}

impl MergeRoom for Open {
    fn for_merge(&self, bytes: u64) -> bool {
        let needed = bytes.saturating_mul(WRITTEN) + LEFT_FREE;
        rustix::fs::fstatvfs(&self.file)
            .is_ok_and(|disk| disk.f_bavail.saturating_mul(disk.f_frsize) >= needed)
    }

    fn for_step(&self) -> bool {
        // What others, or a quota, have taken since the merge began is noticed here.
        !allocate(&self.file, MERGE_STEP).is_err_and(|error| is_full(&error))
    }
}

impl Tree {
    /// No database: what is left of one that failed.
    pub fn closed(why: String) -> Self {
        Tree {
            open: None,
            unsynced: AtomicBool::new(true),
            failure: OnceLock::from(why),
            #[cfg(test)]
            calls_left: u64::MAX.into(),
        }
    }

    /// Opens or creates it at `path`. `cache`: bytes of memory for rows, located files and pages.
    ///
    /// # Errors
    /// `NoSpace` on a full disk, else `Index`.
    pub fn open(path: &Path, cache: u64) -> Result<Self, StoreError> {
        remove_generating(path)?;
        let deadline = Instant::now() + LOCK_PATIENCE;
        loop {
            let opened = guard(|| {
                let config = sled::Config::new()
                    .path(path)
                    .cache_capacity(cache - cache / ROWS - cache / LOCATED)
                    .flush_every_ms(None);
                let db = config.open().map_err(failed)?;
                let levels = Levels::open(&db)?;
                Ok((db, levels))
            });
            match opened {
                Ok((db, levels)) => {
                    let file = OpenOptions::new().read(true).write(true).open(path.join("db"))?;
                    let rows = Rows::new(cache / ROWS, levels.hasher());
                    let located = Recent::new(cache / LOCATED, levels.hasher());
                    return Ok(Tree {
                        open: Some(Open {
                            db,
                            levels,
                            rows,
                            located,
                            file,
                        }),
                        unsynced: AtomicBool::new(false),
                        failure: OnceLock::new(),
                        #[cfg(test)]
                        calls_left: u64::MAX.into(),
                    });
                }
                Err(StoreError::Index(why)) if why.contains("WouldBlock") && Instant::now() < deadline => {
                    std::thread::sleep(Duration::from_millis(50));
                }
                // sled's error, as it is written out: a full disk is no reason to give the index up.
                Err(StoreError::Index(why))
                    if why.contains("StorageFull") || why.contains("QuotaExceeded") =>
                {
                    return Err(StoreError::NoSpace);
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Asks sled for something; its errors and panics become values.
    fn with<T>(&self, work: impl FnOnce(&Open) -> Result<T, StoreError>) -> Result<T, StoreError> {
        let open = self.open_db()?;
        guard(|| {
            #[cfg(test)]
            self.count_call();
            work(open)
        })
    }

    fn open_db(&self) -> Result<&Open, StoreError> {
        self.open
            .as_ref()
            .ok_or_else(|| StoreError::Index("it is closed".into()))
    }

    /// Why it failed, if it did.
    pub fn failure(&self) -> Option<&str> {
        self.failure.get().map(String::as_str)
    }

    /// It failed: it is not asked again. True: this is the first to say so.
    pub fn fail(&self, why: String) -> bool {
        self.failure.set(why).is_ok()
    }

    /// The value of a key.
    pub fn get(&self, key: &[u8]) -> Result<Option<Value>, StoreError> {
        let Open { rows, .. } = self.open_db()?;
        self.get_hashed(rows, rows.hashed(key))
    }

    /// The same, and a stamp that was taken before.
    pub fn get_stamped(&self, key: &[u8]) -> Result<(Option<Value>, Stamp), StoreError> {
        let Open { rows, .. } = self.open_db()?;
        let hashed = rows.hashed(key);
        let stamp = rows.changes().stamp(hashed);
        Ok((self.get_hashed(rows, hashed)?, stamp))
    }

    fn get_hashed(&self, rows: &Rows, key: Hashed<'_>) -> Result<Option<Value>, StoreError> {
        let stamp = match rows.get(key) {
            Known::Row(row) => return Ok(row),
            Known::Nothing(stamp) => stamp,
        };
        match self.with(|open| open.levels.get(key))? {
            Found::InMemory(row) if row.is_some() || !keys::is_asked_often(key.key()) => Ok(row),
            Found::InMemory(row) | Found::InRun(row) => {
                rows.keep(key, row.clone(), stamp);
                Ok(row)
            }
        }
    }

    /// Files that were located recently, and what says whether they still stand.
    pub fn located(&self) -> Result<(&Recent, &Changes), StoreError> {
        let Open { rows, located, .. } = self.open_db()?;
        Ok((located, rows.changes()))
    }

    /// Writes or removes one key. `is_new`: it has no value so far, as whoever writes it knows. How full the memtable is
    /// then.
    pub fn set(&self, key: &[u8], value: Option<&[u8]>, is_new: bool) -> Result<Fill, StoreError> {
        let value = value.map(Value::from);
        let Open { rows, .. } = self.open_db()?;
        let hashed = rows.hashed(key);
        let set = self.with(|open| Ok(open.levels.set(hashed, value.clone())));
        match set {
            Ok(_) => rows.written(hashed, value, is_new),
            Err(_) => rows.forget(hashed),
        }
        set
    }

    /// Nobody has made a run of what was written, or not fast enough: what a checkpoint does, and merging, once there are
    /// so many runs that whoever merges in the background falls behind.
    pub fn make_room(&self) -> Result<(), StoreError> {
        self.with(|open| {
            open.checkpoint(Levels::flush_full).map_err(|error| match error {
                // Whoever writes must not go on behind half of what it wrote.
                StoreError::Io(error) => StoreError::Index(format!("it could not be made durable: {error}")),
                error => error,
            })?;
            while open.levels.runs().len() > MANY_RUNS && open.levels.merge_step(open)? {}
            Ok(())
        })
    }

    /// Whether work that can wait should let runs be made first.
    pub fn is_behind(&self) -> Result<bool, StoreError> {
        self.open_db().map(|open| open.levels.is_behind())
    }

    /// Merges some more, where there is something to be merged and room on the disk. Whether there is more to do at
    /// once.
    pub fn merge_step(&self) -> Result<bool, StoreError> {
        self.with(|open| open.levels.merge_step(open))
    }

    /// Up to `limit` entries that begin with `prefix`, in order, after the key `after` where given.
    pub fn scan(&self, prefix: &[u8], after: Option<&[u8]>, limit: usize) -> Result<Vec<Entry>, StoreError> {
        let all = Span::of(prefix);
        let span = match after {
            Some(after) => all.after(after),
            None => all,
        };
        self.with(|open| open.levels.scan(prefix, span, Order::Forward, limit))
    }

    /// Up to `limit` entries that begin with `prefix`, the last first, before the key `before` where given.
    pub fn scan_back(
        &self,
        prefix: &[u8],
        before: Option<&[u8]>,
        limit: usize,
    ) -> Result<Vec<Entry>, StoreError> {
        let all = Span::of(prefix);
        let span = match before {
            Some(before) => all.before(before),
            None => all,
        };
        self.with(|open| open.levels.scan(prefix, span, Order::Backward, limit))
    }

    /// How many entries begin with `prefix`.
    pub fn count(&self, prefix: &[u8]) -> Result<usize, StoreError> {
        self.with(|open| open.levels.count(prefix))
    }

    /// Makes what has been written survive a power cut. sled's own flush only starts writeback.
    ///
    /// # Errors
    /// `NoSpace`, with nothing changed, where the disk has no room; `Index`, `Io`.
    pub fn checkpoint(&self) -> Result<(), StoreError> {
        if let Err(error) = self.reserve(0)
            && is_full(&error)
        {
            return Err(StoreError::NoSpace);
        }
        let synced = self.with(|open| open.checkpoint(Levels::flush));
        if synced.is_err() {
            self.unsynced.store(true, Ordering::Relaxed);
        }
        synced
    }

    /// Whether every checkpoint so far has succeeded.
    pub fn is_sound(&self) -> bool {
        !self.unsynced.load(Ordering::Relaxed)
    }

    /// Sees to it that what the memtable becomes, and `bytes` more that sled appends, have their place on the disk: behind
    /// the end of its file, which stays where it is. Cheap where they have it already; without effect where the file system cannot.
    ///
    /// # Errors
    /// Where the disk has no room for them.
    pub fn reserve(&self, bytes: u64) -> io::Result<()> {
        let Ok(Open { file, levels, .. }) = self.open_db() else {
            return Ok(());
        };
        let flushed = match levels.unflushed() as u64 {
            0 => 0,
            unflushed => unflushed * WRITTEN + AROUND,
        };
        match bytes + flushed {
            0 => Ok(()),
            bytes => allocate(file, bytes),
        }
    }

    /// Bytes held on disk behind the end of sled's file.
    pub fn reserved(&self) -> io::Result<u64> {
        use std::os::unix::fs::MetadataExt;
        let Ok(Open { file, .. }) = self.open_db() else {
            return Ok(0);
        };
        let meta = file.metadata()?;
        Ok((meta.blocks() * 512).saturating_sub(meta.len()))
    }

    /// Sorted runs that it consists of beside what was written last.
    pub fn runs(&self) -> Result<usize, StoreError> {
        self.open_db().map(|open| open.levels.runs().len())
    }

    /// Bytes on disk.
    pub fn size_on_disk(&self) -> Result<u64, StoreError> {
        self.with(|open| open.db.size_on_disk().map_err(failed))
    }
}

#[cfg(test)]
impl Tree {
    /// Panics in the call behind the next `calls`, and in every further one. Look-ups that memory answers count.
    pub fn fail_after(&self, calls: u64) {
        self.calls_left.store(calls, Ordering::Relaxed);
    }

    /// Calls `work` while nobody can make a run.
    pub fn without_runs<T>(&self, work: impl FnOnce() -> T) -> T {
        let held = self.open.as_ref().map(|open| open.levels.hold());
        let done = work();
        drop(held);
        done
    }

    fn count_call(&self) {
        let left = self.calls_left.load(Ordering::Relaxed);
        assert!(left > 0, "sled fails for a test");
        self.calls_left
            .store(left.saturating_sub(u64::from(left < u64::MAX)), Ordering::Relaxed);
    }
}

impl Drop for Tree {
    fn drop(&mut self) {
        let open = self.open.take();
        // sled flushes as it goes, and may panic at it like anywhere.
        if let Err(error) = guard(|| {
            drop(open);
            Ok(())
        }) {
            tracing::warn!(%error, "the index did not close in order");
        }
    }
}

fn guard<T>(work: impl FnOnce() -> Result<T, StoreError>) -> Result<T, StoreError> {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|_| Err(StoreError::Index("sled panicked".into())))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn an_absence_that_is_asked_for_often_is_remembered_until_it_ends() {
        let dir = tempfile::tempdir().unwrap();
        let tree = Tree::open(&dir.path().join("index"), 1 << 20).unwrap();
        let (often, seldom) = (keys::settings(1), keys::pin(1));
        for key in [&often, &seldom] {
            assert_eq!(tree.get(key).unwrap(), None);
        }
        tree.fail_after(0);
        assert_eq!(tree.get(&often).unwrap(), None, "nothing else is asked");
        assert!(tree.get(&seldom).is_err());
        tree.fail_after(u64::MAX);
        tree.set(&often, Some(b"now"), true).unwrap();
        assert_eq!(tree.get(&often).unwrap().as_deref(), Some(b"now".as_slice()));
    }
}
