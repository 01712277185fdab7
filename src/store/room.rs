//! How much the store may still take: its own limit, and what the disk has left.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use super::error::StoreError;

/// Bytes that are left to the index and to removals on a disk that fills up, as are those of the limit.
const KEPT_FREE: u64 = 4 << 20;

/// Counts the bytes of log files against the limit.
#[derive(Debug)]
pub struct Room {
    data: PathBuf,
    limit: Option<u64>,
    used: AtomicU64,
}

impl Room {
    /// For the store at `data`; `limit` in bytes. Adds up the log files that are there.
    pub fn new(data: &Path, limit: Option<u64>) -> io::Result<Self> {
        let mut used = 0;
        for dir in ["journal", "segments"] {
            for entry in std::fs::read_dir(data.join(dir))? {
                used += entry?.metadata()?.len();
            }
        }
        Ok(Room {
            data: data.to_owned(),
            limit,
            used: AtomicU64::new(used),
        })
    }

    /// Counts bytes that were appended to a log file.
    pub fn take(&self, bytes: u64) {
        self.used.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Counts bytes of log files that were removed.
    pub fn give_back(&self, bytes: u64) {
        // More is never given back than was taken; were it, a wrap-around would refuse uploads for good.
        let less = |used: u64| Some(used.saturating_sub(bytes));
        let _ = self.used.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less);
    }

    /// Whether `bytes` more can be taken.
    ///
    /// # Errors
    /// `NoSpace` beyond the limit, or where the disk has too little left.
    pub fn check(&self, bytes: u64) -> Result<(), StoreError> {
        if let Some(limit) = self.limit
            && self.used.load(Ordering::Relaxed).saturating_add(bytes) > limit.saturating_sub(KEPT_FREE)
        {
            return Err(StoreError::NoSpace);
        }
        let disk = rustix::fs::statvfs(&self.data).map_err(io::Error::from)?;
        if disk.f_bavail.saturating_mul(disk.f_frsize) < bytes.saturating_add(KEPT_FREE) {
            return Err(StoreError::NoSpace);
        }
        Ok(())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn the_limit_counts_what_is_there_and_what_comes() {
        let dir = tempfile::tempdir().unwrap();
        for sub in ["journal", "segments"] {
            std::fs::create_dir(dir.path().join(sub)).unwrap();
        }
        std::fs::write(dir.path().join("journal/x"), vec![0; 1000]).unwrap();
        let room = Room::new(dir.path(), Some(KEPT_FREE + 3000)).unwrap();
        assert!(room.check(2000).is_ok());
        assert!(matches!(room.check(2001), Err(StoreError::NoSpace)));
        room.take(1500);
        assert!(matches!(room.check(501), Err(StoreError::NoSpace)));
        let unlimited = Room::new(dir.path(), None).unwrap();
        assert!(unlimited.check(1).is_ok());
        assert!(matches!(unlimited.check(u64::MAX), Err(StoreError::NoSpace)));
    }
}
