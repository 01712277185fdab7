//! The disk as segments see it: what they write is counted, and they reserve no more than a full disk can spare.

use std::fs::File;
use std::io::{self, IoSlice};
use std::sync::Arc;

use super::Room;
use crate::store::log::disk::{Disk, is_no_space};
use crate::store::log::format::FILE_HEADER_LEN;

/// A disk whose writes are counted by a [`Room`].
pub struct Counted<D> {
    disk: D,
    room: Arc<Room>,
}

impl<D: Disk> Counted<D> {
    /// Counts what is written to `disk`.
    pub fn new(disk: D, room: Arc<Room>) -> Self {
        Counted { disk, room }
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
        // A file without a record is removed again, so its header counts with the first one.
        match offset {
            0 => {}
            FILE_HEADER_LEN => self.room.take(len + FILE_HEADER_LEN),
            _ => self.room.take(len),
        }
        Ok(())
    }

    fn sync(&self, file: &File) -> io::Result<()> {
        self.disk.sync(file)
    }
}
