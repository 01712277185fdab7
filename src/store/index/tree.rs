//! sled behind a narrow face. It is an index: disposable, rebuilt from the log, never the truth.
//!
//! sled 0.34.7 can panic where others return errors, and its `flush` does not reach the disk on Linux; both are dealt
//! with here (evidence: docs/format.md, "The index").

use std::fs::{File, OpenOptions};
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rustix::fs::FallocateFlags;
use rustix::io::Errno;
use serde::de::DeserializeOwned;

use super::keys;
use super::rows::{Known, Rows};
use crate::chunk::Digest;
use crate::store::bulk::ChunkPlaces;
use crate::store::error::StoreError;
use crate::store::model::Place;

/// How long an open waits for the lock that a dying process may still hold.
const LOCK_PATIENCE: Duration = Duration::from_secs(10);

/// A value as it is stored.
pub type Value = sled::IVec;

/// Of the memory for the index, the part that holds rows: one in so many bytes. The rest holds sled's pages.
const ROWS: u64 = 4;

/// The open index.
#[derive(Debug)]
pub struct Index {
    db: sled::Db,
    rows: Rows,
    /// For our own fdatasync and reservations.
    file: File,
    path: PathBuf,
    /// A checkpoint failed: what is on the disk is unknown for good, a later success proves nothing.
    unsynced: AtomicBool,
}

impl Index {
    /// Opens or creates the index at `path`. `cache`: bytes of memory for rows and pages.
    pub fn open(path: &Path, cache: u64) -> Result<Self, StoreError> {
        remove_generating(path)?;
        let deadline = Instant::now() + LOCK_PATIENCE;
        loop {
            let opened = guard(|| {
                sled::Config::new()
                    .path(path)
                    .cache_capacity(cache - cache / ROWS)
                    .flush_every_ms(None)
                    .open()
            });
            match opened {
                Ok(db) => {
                    let file = OpenOptions::new().read(true).write(true).open(path.join("db"))?;
                    return Ok(Index {
                        db,
                        rows: Rows::new(cache / ROWS),
                        file,
                        path: path.to_owned(),
                        unsynced: AtomicBool::new(false),
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

    /// The value of a key.
    pub fn get(&self, key: &[u8]) -> Result<Option<Value>, StoreError> {
        let stamp = match self.rows.get(key) {
            Known::Row(row) => return Ok(row),
            Known::Nothing(stamp) => stamp,
        };
        let row = guard(|| self.db.get(key))?;
        // A copy, as sled's own may keep a whole page in memory.
        let copy = row.as_deref().map(Value::from);
        self.rows.keep(key, copy, stamp);
        Ok(row)
    }

    /// The value of a key, decoded.
    pub fn get_as<T: DeserializeOwned>(&self, key: &[u8]) -> Result<Option<T>, StoreError> {
        self.get(key)?.map(|value| decode(&value)).transpose()
    }

    /// Writes or removes one key.
    pub fn set(&self, key: &[u8], value: Option<&[u8]>) -> Result<(), StoreError> {
        let value = value.map(Value::from);
        let set = guard(|| match &value {
            Some(value) => self.db.insert(key, value.clone()).map(drop),
            None => self.db.remove(key).map(drop),
        });
        match set {
            Ok(()) => self.rows.written(key, value),
            Err(_) => self.rows.forget(key),
        }
        set
    }

    /// Up to `limit` entries that begin with `prefix`, in order, after the key `after` where given.
    pub fn scan(
        &self,
        prefix: &[u8],
        after: Option<&[u8]>,
        limit: usize,
    ) -> Result<Vec<(Value, Value)>, StoreError> {
        guard(|| {
            let start = after.unwrap_or(prefix).to_vec();
            self.db
                .range(start..)
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
    ) -> Result<Vec<(sled::IVec, sled::IVec)>, StoreError> {
        guard(|| {
            let entries = match before {
                Some(before) => self.db.range(prefix..before),
                None => self.db.scan_prefix(prefix),
            };
            entries.rev().take(limit).collect()
        })
    }

    /// How many entries begin with `prefix`.
    pub fn count(&self, prefix: &[u8]) -> Result<usize, StoreError> {
        guard(|| {
            self.db
                .scan_prefix(prefix)
                .keys()
                .try_fold(0, |count, key| key.map(|_| count + 1))
        })
    }

    /// Makes what has been written survive a power cut. sled's own flush only starts writeback.
    pub fn checkpoint(&self) -> Result<(), StoreError> {
        let synced = guard(|| self.db.flush()).and_then(|_| Ok(self.file.sync_data()?));
        if synced.is_err() {
            self.unsynced.store(true, Ordering::Relaxed);
        }
        synced
    }

    /// Whether every checkpoint so far has succeeded.
    pub fn is_sound(&self) -> bool {
        !self.unsynced.load(Ordering::Relaxed)
    }

    /// Device and inode of sled's file: a copy is another index.
    pub fn identity(&self) -> Result<(u64, u64), StoreError> {
        use std::os::unix::fs::MetadataExt;
        let meta = std::fs::metadata(self.path.join("db"))?;
        Ok((meta.dev(), meta.ino()))
    }

    /// Sees to it that the next `bytes` that sled appends have their place on the disk: behind the end of its file,
    /// which stays where it is. Cheap where they have it already; without effect where the file system cannot.
    ///
    /// # Errors
    /// Where the disk has no room for them.
    pub fn reserve(&self, bytes: u64) -> io::Result<()> {
        let end = self.file.metadata()?.len();
        loop {
            match rustix::fs::fallocate(&self.file, FallocateFlags::KEEP_SIZE, end, bytes) {
                Err(Errno::INTR) => continue,
                Err(Errno::OPNOTSUPP | Errno::NOSYS) => return Ok(()),
                result => return Ok(result?),
            }
        }
    }

    /// Bytes held on disk behind the end of sled's file.
    pub fn reserved(&self) -> io::Result<u64> {
        use std::os::unix::fs::MetadataExt;
        let meta = self.file.metadata()?;
        Ok((meta.blocks() * 512).saturating_sub(meta.len()))
    }

    /// Bytes on disk.
    pub fn size_on_disk(&self) -> Result<u64, StoreError> {
        guard(|| self.db.size_on_disk())
    }
}

impl ChunkPlaces for Index {
    fn place(&self, digest: &Digest) -> Result<Option<Place>, StoreError> {
        self.get_as(&keys::chunk(digest))
    }
}

/// Decodes a value. A value that does not decode is damage to the index, never an absence.
pub fn decode<T: DeserializeOwned>(value: &[u8]) -> Result<T, StoreError> {
    postcard::from_bytes(value)
        .map_err(|error| StoreError::Index(format!("a value does not decode: {error}")))
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
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(0),
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

/// Gives up what [`Index::reserve`] reserved for the index at `path`, which is not open.
pub fn give_up_reserve(path: &Path) -> io::Result<()> {
    let file = match OpenOptions::new().write(true).open(path.join("db")) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
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
