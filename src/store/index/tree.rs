//! sled behind a narrow face. It is an index: disposable, rebuilt from the log, never the truth.
//!
//! sled 0.34.7 can panic where others return errors, and its `flush` does not reach the disk on Linux; both are dealt
//! with here (evidence: docs/format.md, "The index").

use std::fs::File;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use serde::de::DeserializeOwned;

use super::keys;
use crate::chunk::Digest;
use crate::store::bulk::ChunkPlaces;
use crate::store::error::StoreError;
use crate::store::model::Place;

/// How long an open waits for the lock that a dying process may still hold.
const LOCK_PATIENCE: Duration = Duration::from_secs(10);

/// Entries that [`Index::each`] takes at a time.
const STEP: usize = 512;

/// The open index.
#[derive(Debug)]
pub struct Index {
    db: sled::Db,
    /// For our own fdatasync.
    file: File,
    path: PathBuf,
    /// A checkpoint failed: what is on the disk is unknown for good, a later success proves nothing.
    unsynced: AtomicBool,
}

impl Index {
    /// Opens or creates the index at `path`. `cache`: bytes of sled's page cache.
    pub fn open(path: &Path, cache: u64) -> Result<Self, StoreError> {
        remove_generating(path)?;
        let deadline = Instant::now() + LOCK_PATIENCE;
        loop {
            let opened = guard(|| {
                sled::Config::new()
                    .path(path)
                    .cache_capacity(cache)
                    .flush_every_ms(None)
                    .open()
            });
            match opened {
                Ok(db) => {
                    let file = File::open(path.join("db"))?;
                    return Ok(Index {
                        db,
                        file,
                        path: path.to_owned(),
                        unsynced: AtomicBool::new(false),
                    });
                }
                Err(StoreError::Index(why)) if why.contains("WouldBlock") && Instant::now() < deadline => {
                    std::thread::sleep(Duration::from_millis(50));
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// The value of a key.
    pub fn get(&self, key: &[u8]) -> Result<Option<sled::IVec>, StoreError> {
        guard(|| self.db.get(key))
    }

    /// The value of a key, decoded.
    pub fn get_as<T: DeserializeOwned>(&self, key: &[u8]) -> Result<Option<T>, StoreError> {
        self.get(key)?.map(|value| decode(&value)).transpose()
    }

    /// Writes or removes one key.
    pub fn set(&self, key: &[u8], value: Option<&[u8]>) -> Result<(), StoreError> {
        guard(|| match value {
            Some(value) => self.db.insert(key, value).map(drop),
            None => self.db.remove(key).map(drop),
        })
    }

    /// Up to `limit` entries that begin with `prefix`, in order, after the key `after` where given.
    pub fn scan(
        &self,
        prefix: &[u8],
        after: Option<&[u8]>,
        limit: usize,
    ) -> Result<Vec<(sled::IVec, sled::IVec)>, StoreError> {
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

    /// Hands every entry that begins with `prefix` to `visit`, in small steps: the index goes on meanwhile.
    pub fn each(
        &self,
        prefix: &[u8],
        mut visit: impl FnMut(&[u8], &[u8]) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        let mut after: Option<sled::IVec> = None;
        loop {
            let entries = self.scan(prefix, after.as_deref(), STEP)?;
            for (key, value) in &entries {
                visit(key, value)?;
            }
            match entries.into_iter().last() {
                Some((key, _)) => after = Some(key),
                None => return Ok(()),
            }
        }
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
