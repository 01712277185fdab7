//! The disk as segments see it: what they write is counted, and they reserve no more than a full disk can spare.

use std::fs::File;
use std::io::{self, IoSlice};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::Room;
use crate::store::log::disk::{Disk, is_no_space};

/// A disk whose writes are counted by a [`Room`].
pub struct Counted<D> {
    disk: D,
    room: Arc<Room>,
    /// Where the file that is being written ends, as counted. One thread writes one file after the other.
    end: AtomicU64,
}

impl<D: Disk> Counted<D> {
    /// Counts what is written to `disk`.
    pub fn new(disk: D, room: Arc<Room>) -> Self {
        Counted {
            disk,
            room,
            end: AtomicU64::new(0),
        }
    }

    fn noted<T>(&self, result: io::Result<T>) -> io::Result<T> {
        if result.as_ref().is_err_and(is_no_space) {
            self.room.write_failed();
        }
        result
    }
}

impl<D: Disk> Disk for Counted<D> {
    fn allocate(&self, file: &File, len: u64) -> io::Result<()> {
        let len = self.room.spare(len);
        self.noted(self.disk.allocate(file, len))?;
        self.room.reserved_on_disk(len);
        Ok(())
    }

    fn write_at(&self, file: &File, buffers: &mut [IoSlice<'_>], offset: u64) -> io::Result<()> {
        let len: u64 = buffers.iter().map(|buffer| buffer.len() as u64).sum();
        self.noted(self.disk.write_at(file, buffers, offset))?;
        let end = offset + len;
        if offset == 0 {
            // The header of a new file counts with its first record: without one the file is removed again.
            self.end.store(0, Ordering::Relaxed);
        } else {
            let before = self.end.swap(end, Ordering::Relaxed);
            self.room.take(end.saturating_sub(before));
        }
        Ok(())
    }

    fn sync(&self, file: &File) -> io::Result<()> {
        self.disk.sync(file)
    }
}
