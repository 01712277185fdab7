//! The ballast: bytes that are reserved while the disk has them and given up when it has none, so that a start on a
//! full disk, removals and the index still find room.
//!
//! It holds no data and is found again by its length, so it needs no order and no sync: after a crash in the middle it
//! is as long as it happens to be, and what is missing is reserved again when there is room. It is cut, never
//! unlinked, so that its inode is there as well.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use rustix::fs::FallocateFlags;
use rustix::io::Errno;

use super::index;
use super::room::disk_of;
use super::trust;

/// Length for a store of next to nothing, bytes.
pub const LEAST: u64 = 1 << 20;
/// Length for the largest store, bytes.
const MOST: u64 = 256 << 20;
/// It is given up in pieces of this many bytes.
const PIECE: u64 = 256 << 10;
/// What a start writes before the store is open, next to sled's snapshot: footers, a journal file, the index's log.
const START_NEEDS: u64 = 4 << 20;

/// The file `ballast` of a data directory.
#[derive(Debug)]
pub struct Ballast {
    file: File,
    /// Bytes reserved.
    len: Mutex<u64>,
}

impl Ballast {
    /// Opens it, or makes an empty one.
    pub fn open(data: &Path) -> io::Result<Self> {
        let file = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .mode(0o600)
            .open(data.join("ballast"))?;
        let len = file.metadata()?.len();
        Ok(Ballast {
            file,
            len: Mutex::new(len),
        })
    }

    /// The length for a store of this many bytes on a disk of this many: a hundredth of the lesser.
    pub fn wanted(stored: u64, disk: u64) -> u64 {
        (stored.min(disk) / 100).clamp(LEAST, MOST)
    }

    /// Bytes reserved.
    pub fn len(&self) -> u64 {
        *self.len.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Gives up at least `bytes`, but stays as long as `least`. False: it had nothing to give.
    pub fn give_up(&self, bytes: u64, least: u64) -> bool {
        let mut len = self.len.lock().unwrap_or_else(PoisonError::into_inner);
        if *len <= least {
            return false;
        }
        let left = len
            .saturating_sub(bytes.div_ceil(PIECE).saturating_mul(PIECE))
            .max(least);
        match self.file.set_len(left) {
            Ok(()) => {
                tracing::warn!(
                    given = *len - left,
                    left,
                    "the disk is full; ballast was given up"
                );
                *len = left;
                true
            }
            Err(error) => {
                tracing::error!(%error, "the disk is full and the ballast could not be given up");
                false
            }
        }
    }

    /// Reserves up to `wanted` bytes. Without effect where the file system cannot reserve.
    ///
    /// # Errors
    /// Where there is no room; it is then as long as before.
    pub fn grow(&self, wanted: u64) -> io::Result<()> {
        let mut len = self.len.lock().unwrap_or_else(PoisonError::into_inner);
        if wanted <= *len {
            return Ok(());
        }
        loop {
            match rustix::fs::fallocate(&self.file, FallocateFlags::empty(), *len, wanted - *len) {
                Ok(()) => {
                    *len = wanted;
                    return Ok(());
                }
                Err(Errno::INTR) => continue,
                Err(Errno::OPNOTSUPP | Errno::NOSYS) => return Ok(()),
                Err(errno) => {
                    // Some file systems leave what they could reserve.
                    self.file.set_len(*len)?;
                    return Err(errno.into());
                }
            }
        }
    }
}

/// Before a store is opened: gives up the ballast, what the index has in reserve, and an index that was not believed,
/// in this order, where the disk has too little left to open it.
pub fn make_way(data: &Path) -> io::Result<()> {
    let index = data.join("index");
    // The index writes its snapshot anew beside the old one.
    let needed = START_NEEDS + 2 * index::snapshot_bytes(&index)?;
    if disk_of(data)?.free >= needed {
        return Ok(());
    }
    if data.join("ballast").try_exists()? {
        Ballast::open(data)?.give_up(needed, 0);
    }
    if disk_of(data)?.free < needed {
        index::give_up_reserve(&index)?;
        trust::remove_aside(data).map_err(io::Error::other)?;
    }
    Ok(())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::os::unix::fs::MetadataExt;

    use super::*;

    #[test]
    fn it_is_a_hundredth_of_the_lesser_within_bounds() {
        assert_eq!(Ballast::wanted(0, 1 << 40), LEAST);
        assert_eq!(Ballast::wanted(5_000 << 20, 1 << 40), 50 << 20);
        assert_eq!(Ballast::wanted(1 << 40, 5_000 << 20), 50 << 20);
        assert_eq!(Ballast::wanted(1 << 50, 1 << 50), MOST);
    }

    #[test]
    fn it_is_given_up_in_pieces_and_found_again_as_it_is() {
        let data = tempfile::tempdir().unwrap();
        let path = data.path().join("ballast");
        let ballast = Ballast::open(data.path()).unwrap();
        assert!(!ballast.give_up(1, 0), "there is nothing to give");
        ballast.grow(LEAST).unwrap();
        assert!(path.metadata().unwrap().blocks() * 512 >= LEAST);
        assert!(ballast.give_up(1, 0));
        assert_eq!(ballast.len(), LEAST - PIECE);
        assert!(path.metadata().unwrap().blocks() * 512 <= LEAST - PIECE);
        drop(ballast);
        let ballast = Ballast::open(data.path()).unwrap();
        assert_eq!(ballast.len(), LEAST - PIECE);
        ballast.grow(LEAST / 2).unwrap();
        assert_eq!(ballast.len(), LEAST - PIECE, "it does not shrink by growing");
        assert!(ballast.give_up(LEAST, LEAST / 2));
        assert_eq!(ballast.len(), LEAST / 2, "the rest is for others");
        assert!(!ballast.give_up(1, LEAST / 2));
        assert!(ballast.give_up(u64::MAX / 2, 0));
        assert_eq!((ballast.len(), path.metadata().unwrap().len()), (0, 0));
        ballast.grow(LEAST).unwrap();
        assert_eq!(path.metadata().unwrap().len(), LEAST);
    }
}
