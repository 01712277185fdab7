//! The disk as segments see it: what they write is counted, and they reserve no more than a full disk can spare.

use std::fs::File;
use std::io::{self, IoSlice};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::Room;
use crate::store::log::disk::{Disk, is_no_space};

/// A disk whose writes are counted by a [`Room`].
#[derive(Debug)]
pub struct Counted {
    disk: Arc<dyn Disk>,
    room: Arc<Room>,
    /// Where the file that is being written ends, as counted. One thread writes one file after the other.
    end: AtomicU64,
}

impl Counted {
    /// Counts what is written to `disk`.
    pub fn new(disk: Arc<dyn Disk>, room: Arc<Room>) -> Self {
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

impl Disk for Counted {
    fn create(&self, path: &Path) -> io::Result<File> {
        self.noted(self.disk.create(path))
    }

    fn open(&self, path: &Path) -> io::Result<File> {
        self.disk.open(path)
    }

    fn allocate(&self, file: &File, at: u64, len: u64) -> io::Result<u64> {
        let len = self.room.spare(len);
        let end = self.noted(self.disk.allocate(file, at, len))?;
        self.room.reserved_on_disk(len);
        Ok(end)
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

    fn read_at(&self, file: &File, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        self.disk.read_at(file, buffer, offset)
    }

    fn set_len(&self, file: &File, len: u64) -> io::Result<()> {
        self.disk.set_len(file, len)
    }

    fn sync(&self, file: &File) -> io::Result<()> {
        self.disk.sync(file)
    }

    fn sync_all(&self, file: &File) -> io::Result<()> {
        self.disk.sync_all(file)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.disk.remove(path)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        self.disk.sync_dir(dir)
    }
}
