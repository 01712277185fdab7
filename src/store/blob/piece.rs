//! What a reader hands out: verified bytes, in memory or where they lie.

use std::io;
use std::os::fd::AsFd;
use std::sync::Arc;

use bytes::Bytes;

use crate::store::log::files::LogFile;

/// Size of a page of memory, in bytes.
const PAGE: u64 = 4096;

/// Some bytes of a blob.
#[derive(Debug)]
pub enum Piece {
    /// In memory.
    Bytes(Bytes),
    /// In the page cache, verified not long ago.
    File(FileRange),
}

/// Bytes of a log file, to be sent from the page cache without being copied.
///
/// Those before the first boundary of a page are copied all the same: the kernel sends 16 pages at a time, and 64 KiB
/// that begin anywhere else lie on 17.
#[derive(Debug)]
pub struct FileRange {
    /// The bytes before the first boundary.
    head: Vec<u8>,
    file: Arc<LogFile>,
    offset: u64,
    len: u64,
}

impl Piece {
    /// Length in bytes.
    pub fn len(&self) -> u64 {
        match self {
            Piece::Bytes(bytes) => bytes.len() as u64,
            Piece::File(range) => range.len(),
        }
    }

    /// Whether nothing is left of it.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl FileRange {
    /// `len` bytes from `offset`; `None` where the page cache does not hold the first of them.
    pub(super) fn cached(file: Arc<LogFile>, offset: u64, len: u64) -> Option<Self> {
        let mut head = Vec::new();
        let range = Self::behind(&mut head, file, offset, len)?;
        Some(FileRange { head, ..range })
    }

    /// The same with its head at the end of `buffer`, where nothing is appended in case of `None`.
    pub(super) fn behind(buffer: &mut Vec<u8>, file: Arc<LogFile>, offset: u64, len: u64) -> Option<Self> {
        let before = (offset.next_multiple_of(PAGE) - offset).min(len);
        let is_there = before == 0 || file.append_cached(buffer, before as usize, offset).ok()?;
        is_there.then_some(FileRange {
            head: Vec::new(),
            file,
            offset: offset + before,
            len: len - before,
        })
    }

    fn len(&self) -> u64 {
        self.head.len() as u64 + self.len
    }

    /// Whether nothing is left of it.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether there are bytes to be sent before the rest.
    pub fn has_head(&self) -> bool {
        !self.head.is_empty()
    }

    /// The bytes to be sent before the rest, which are no longer part of it.
    pub fn take_head(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.head)
    }

    /// Sends some of what is behind its head, and keeps the rest. Returns how many bytes went out.
    ///
    /// # Errors
    /// `WouldBlock` where the socket takes nothing now; `UnexpectedEof` where the file ends before.
    pub fn send(&mut self, socket: impl AsFd) -> io::Result<u64> {
        let sent = self.file.send(socket, self.offset, self.len)?;
        self.offset += sent;
        self.len -= sent;
        Ok(sent)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::store::log::files::{LogFiles, directory, path};
    use crate::store::model::FileKind;

    #[test]
    fn a_range_begins_at_a_page_behind_its_head() {
        let dir = tempfile::tempdir().unwrap();
        let bytes: Vec<u8> = (0..40_000_u32).map(|at| (at % 251) as u8).collect();
        std::fs::create_dir_all(directory(dir.path(), FileKind::Segment)).unwrap();
        std::fs::write(path(dir.path(), FileKind::Segment, 1), &bytes).unwrap();
        let file = LogFiles::new(dir.path(), [1; 16], 4)
            .open(FileKind::Segment, 1)
            .unwrap();
        for (offset, len, head) in [
            (0, 20_000, 0),
            (4096, 20_000, 0),
            (1, 20_000, 4095),
            (8191, 9_000, 1),
            (100, 50, 50),
        ] {
            let Some(mut range) = FileRange::cached(file.clone(), offset, len) else {
                println!("SKIPPED: nobody can tell what is cached here");
                return;
            };
            assert_eq!(range.len(), len);
            let before = range.take_head();
            assert_eq!(before, bytes[offset as usize..][..head]);
            assert_eq!(
                (range.offset, range.len),
                (offset + head as u64, len - head as u64)
            );
        }
        // The first bytes are not there.
        assert!(FileRange::cached(file, 40_001, 10).is_none());
    }
}
