//! What a reader hands out: verified bytes, in memory or where they lie.

use std::io;
use std::os::fd::AsFd;
use std::sync::Arc;

use bytes::Bytes;

use crate::store::log::files::LogFile;

/// Some bytes of a blob.
#[derive(Debug)]
pub enum Piece {
    /// In memory.
    Bytes(Bytes),
    /// In the page cache, verified not long ago.
    File(FileRange),
}

/// Bytes of a log file, to be sent from the page cache without being copied.
#[derive(Debug)]
pub struct FileRange {
    file: Arc<LogFile>,
    offset: u64,
    len: u64,
}

impl Piece {
    /// Length in bytes.
    pub fn len(&self) -> u64 {
        match self {
            Piece::Bytes(bytes) => bytes.len() as u64,
            Piece::File(range) => range.len,
        }
    }

    /// Whether nothing is left of it.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl FileRange {
    pub(super) fn new(file: Arc<LogFile>, offset: u64, len: u64) -> Self {
        FileRange { file, offset, len }
    }

    /// Whether nothing is left of it.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Sends some of it, and keeps the rest. Returns how many bytes went out.
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
