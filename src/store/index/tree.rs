//! sled behind a narrow face. It is an index: disposable, rebuilt from the log, never the truth.
//!
//! sled 0.34.7 can panic where others return errors, and its `flush` does not reach the disk on Linux; both are dealt
//! with here (evidence: docs/format.md, "The index").

use std::fs::{File, OpenOptions};
use std::hash::BuildHasher;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use foldhash::quality::RandomState;
use rustix::fs::FallocateFlags;
use rustix::io::Errno;

use super::filter::Filter;
use super::rows::{Known, Rows};
use crate::store::error::StoreError;

/// How long an open waits for the lock that a dying process may still hold.
const LOCK_PATIENCE: Duration = Duration::from_secs(10);

/// A value as it is stored.
pub type Value = sled::IVec;

/// A key and its value.
pub type Entry = (sled::IVec, Value);

/// Of the memory for the index, the part that holds rows: one in so many bytes. The rest holds sled's pages.
const ROWS: u64 = 4;
/// The part that holds the filter of keys.
const FILTER: u64 = 16;

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
    rows: Rows,
    filter: Arc<Filter>,
    /// For our own fdatasync and reservations.
    file: File,
}

/// Notes the keys of one tree, whatever becomes of the index that it is in.
#[derive(Debug)]
pub struct Noting {
    filter: Arc<Filter>,
    hasher: RandomState,
}

impl Noting {
    /// The tree has this key.
    pub fn note(&self, key: &[u8]) {
        self.filter.note(self.hasher.hash_one(key));
    }

    /// That was every key that it had when the first was noted.
    pub fn all_noted(self) {
        self.filter.all_noted();
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

    /// Opens or creates it at `path`. `cache`: bytes of memory for rows and pages.
    ///
    /// # Errors
    /// `NoSpace` on a full disk, else `Index`.
    pub fn open(path: &Path, cache: u64) -> Result<Self, StoreError> {
        remove_generating(path)?;
        let deadline = Instant::now() + LOCK_PATIENCE;
        loop {
            let opened = guard(|| {
                sled::Config::new()
                    .path(path)
                    .cache_capacity(cache - cache / ROWS - cache / FILTER)
                    .flush_every_ms(None)
                    .open()
            });
            match opened {
                Ok(db) => {
                    let file = OpenOptions::new().read(true).write(true).open(path.join("db"))?;
                    let rows = Rows::new(cache / ROWS);
                    let filter = Arc::new(Filter::new(cache / FILTER, db.is_empty()));
                    return Ok(Tree {
                        open: Some(Open {
                            db,
                            rows,
                            filter,
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
    fn with<T>(&self, work: impl FnOnce(&sled::Db) -> sled::Result<T>) -> Result<T, StoreError> {
        let open = self.open_db()?;
        guard(|| {
            #[cfg(test)]
            self.count_call();
            work(&open.db)
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
        let Open { rows, filter, .. } = self.open_db()?;
        let hashed = rows.hashed(key);
        let stamp = match rows.get(hashed) {
            Known::Row(row) => return Ok(row),
            Known::Nothing(_) if filter.is_absent(hashed.hash()) => {
                #[cfg(test)]
                guard(|| {
                    self.count_call();
                    Ok(())
                })?;
                return Ok(None);
            }
            Known::Nothing(stamp) => stamp,
        };
        let row = self.with(|db| db.get(key))?;
        // A copy, as sled's own may keep a whole page in memory.
        let copy = row.as_deref().map(Value::from);
        rows.keep(hashed, copy, stamp);
        Ok(row)
    }

    /// Writes or removes one key.
    pub fn set(&self, key: &[u8], value: Option<&[u8]>) -> Result<(), StoreError> {
        let value = value.map(Value::from);
        let Open { rows, filter, .. } = self.open_db()?;
        let hashed = rows.hashed(key);
        if value.is_some() {
            filter.note(hashed.hash());
        }
        let set = self.with(|db| match &value {
            Some(value) => db.insert(key, value.clone()).map(drop),
            None => db.remove(key).map(drop),
        });
        match set {
            Ok(()) => rows.written(hashed, value),
            Err(_) => rows.forget(hashed),
        }
        set
    }

    /// The filter of its keys, and what turns a key into the hash that it takes; for a scan of all entries that
    /// completes it.
    pub fn noting(&self) -> Option<Noting> {
        let open = self.open.as_ref()?;
        Some(Noting {
            filter: open.filter.clone(),
            hasher: open.rows.hasher(),
        })
    }

    /// Up to `limit` entries that begin with `prefix`, in order, after the key `after` where given.
    pub fn scan(&self, prefix: &[u8], after: Option<&[u8]>, limit: usize) -> Result<Vec<Entry>, StoreError> {
        self.with(|db| {
            let start = after.unwrap_or(prefix).to_vec();
            db.range(start..)
                .filter(|entry| !matches!((entry, after), (Ok((key, _)), Some(after)) if key == after))
                .take_while(|entry| entry.as_ref().map_or(true, |(key, _)| key.starts_with(prefix)))
                .take(limit)
                .collect()
        })
    }

    /// Up to `limit` entries that begin with `prefix`, the last first, before the key `before` where given.
    pub fn scan_back(
        &self,
        prefix: &[u8],
        before: Option<&[u8]>,
        limit: usize,
    ) -> Result<Vec<Entry>, StoreError> {
        self.with(|db| {
            let entries = match before {
                Some(before) => db.range(prefix..before),
                None => db.scan_prefix(prefix),
            };
            entries.rev().take(limit).collect()
        })
    }

    /// How many entries begin with `prefix`.
    pub fn count(&self, prefix: &[u8]) -> Result<usize, StoreError> {
        self.with(|db| {
            db.scan_prefix(prefix)
                .keys()
                .try_fold(0, |count, key| key.map(|_| count + 1))
        })
    }

    /// Makes what has been written survive a power cut. sled's own flush only starts writeback.
    pub fn checkpoint(&self) -> Result<(), StoreError> {
        let synced = self
            .with(|db| db.flush())
            .and_then(|_| Ok(self.open_db()?.file.sync_data()?));
        if synced.is_err() {
            self.unsynced.store(true, Ordering::Relaxed);
        }
        synced
    }

    /// Whether every checkpoint so far has succeeded.
    pub fn is_sound(&self) -> bool {
        !self.unsynced.load(Ordering::Relaxed)
    }

    /// Sees to it that the next `bytes` that sled appends have their place on the disk: behind the end of its file,
    /// which stays where it is. Cheap where they have it already; without effect where the file system cannot.
    ///
    /// # Errors
    /// Where the disk has no room for them.
    pub fn reserve(&self, bytes: u64) -> io::Result<()> {
        let Ok(Open { file, .. }) = self.open_db() else {
            return Ok(());
        };
        let end = file.metadata()?.len();
        loop {
            match rustix::fs::fallocate(file, FallocateFlags::KEEP_SIZE, end, bytes) {
                Err(Errno::INTR) => continue,
                Err(Errno::OPNOTSUPP | Errno::NOSYS) => return Ok(()),
                result => return Ok(result?),
            }
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

    /// Bytes on disk.
    pub fn size_on_disk(&self) -> Result<u64, StoreError> {
        self.with(|db| db.size_on_disk())
    }
}

#[cfg(test)]
impl Tree {
    /// Panics in the call behind the next `calls`, and in every further one. Look-ups that the filter answers count.
    pub fn fail_after(&self, calls: u64) {
        self.calls_left.store(calls, Ordering::Relaxed);
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

fn guard<T>(work: impl FnOnce() -> sled::Result<T>) -> Result<T, StoreError> {
    match catch_unwind(AssertUnwindSafe(work)) {
        Ok(result) => result.map_err(|error| StoreError::Index(format!("{error:?}"))),
        Err(_) => Err(StoreError::Index("sled panicked".into())),
    }
}

/// Bytes of the snapshots of the index at `path`: an open writes one of this size anew. 0 where there is no index.
pub fn snapshot_bytes(path: &Path) -> io::Result<u64> {
    let entries = match std::fs::read_dir(path) {
        Ok(entries) => entries,
        Err(error) if is_no_index(&error) => return Ok(0),
        Err(error) => return Err(error),
    };
    let mut bytes = 0;
    for entry in entries {
        let entry = entry?;
        if entry.file_name().to_string_lossy().starts_with("snap.") {
            bytes += entry.metadata()?.len();
        }
    }
    Ok(bytes)
}

/// Nothing is there, or something that is no index; the open will say so.
fn is_no_index(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
    )
}

/// Gives up what `Index::reserve` reserved for the index at `path`, which is not open.
pub fn give_up_reserve(path: &Path) -> io::Result<()> {
    let file = match OpenOptions::new().write(true).open(path.join("db")) {
        Err(error) if is_no_index(&error) => return Ok(()),
        file => file?,
    };
    // Cutting a file where it ends frees what is behind.
    file.set_len(file.metadata()?.len())
}

/// A snapshot that a power cut tore while sled was writing it stops every later open.
fn remove_generating(path: &Path) -> Result<(), StoreError> {
    let entries = match std::fs::read_dir(path) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error.into()),
    };
    for entry in entries {
        let entry = entry?;
        if entry.file_name().to_string_lossy().ends_with(".generating") {
            std::fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}
