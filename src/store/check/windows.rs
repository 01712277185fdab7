//! A file read from front to back without pushing what others use out of the page cache: what was not cached before
//! is not cached afterwards.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

use rustix::fs::{Advice, fadvise};

use crate::store::error::StoreError;
use crate::store::log::page_cache;
use crate::store::pace::Pace;

/// Bytes read at a time.
const WINDOW: u64 = 256 << 10;
/// Bytes that are given up where the disk cannot read them.
pub const PAGE: u64 = 4096;

/// The file and the part of it in memory.
pub struct Windows<'a> {
    file: File,
    pace: &'a dyn Pace,
    size: u64,
    start: u64,
    bytes: Vec<u8>,
    /// Pages that the disk could not read; they read as zeroes.
    unreadable: Vec<(u64, String)>,
}

impl<'a> Windows<'a> {
    /// Opens the file. Each window is a step of the pace.
    pub fn open(path: &Path, pace: &'a dyn Pace) -> io::Result<Self> {
        let file = File::open(path)?;
        // Read-ahead would make the next window look as if somebody used it. A hint: without it more is dropped.
        let _ = fadvise(&file, 0, None, Advice::Random);
        let size = file.metadata()?.len();
        Ok(Windows {
            file,
            pace,
            size,
            start: 0,
            bytes: Vec::new(),
            unreadable: Vec::new(),
        })
    }

    /// Length of the file when it was opened.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// The pages that could not be read, and why not.
    pub fn into_unreadable(self) -> Vec<(u64, String)> {
        self.unreadable
    }

    /// Fills `into` with `len` bytes from `offset`, fewer where the file ends.
    ///
    /// # Errors
    /// `Closed` where the pace says that it is time to end.
    pub fn read(&mut self, offset: u64, len: u64, into: &mut Vec<u8>) -> Result<(), StoreError> {
        into.clear();
        let end = offset.saturating_add(len).min(self.size);
        let mut at = offset;
        while at < end {
            if at < self.start || at >= self.start + self.bytes.len() as u64 {
                self.load(at - at % WINDOW)?;
            }
            let from = (at - self.start) as usize;
            let to = (end - self.start).min(self.bytes.len() as u64) as usize;
            let Some(bytes) = self.bytes.get(from..to).filter(|bytes| !bytes.is_empty()) else {
                break;
            };
            into.extend_from_slice(bytes);
            at += bytes.len() as u64;
        }
        Ok(())
    }

    fn load(&mut self, start: u64) -> Result<(), StoreError> {
        let len = WINDOW.min(self.size - start);
        if !self.pace.spend(len) {
            return Err(StoreError::Closed);
        }
        self.start = start;
        self.bytes.clear();
        let cached = page_cache::read_cached(&self.file, &mut self.bytes, len as usize, start);
        if matches!(cached, Ok(read) if read as u64 == len) {
            return Ok(());
        }
        self.bytes.clear();
        self.bytes.resize(len as usize, 0);
        if self.file.read_exact_at(&mut self.bytes, start).is_err() {
            self.load_pages();
        }
        // Only advice; where it is not taken the cache holds a little more.
        let _ = fadvise(
            &self.file,
            start,
            std::num::NonZeroU64::new(len),
            Advice::DontNeed,
        );
        Ok(())
    }

    /// Reads the window page by page, so that one bad sector costs one page.
    fn load_pages(&mut self) {
        for (index, page) in self.bytes.chunks_mut(PAGE as usize).enumerate() {
            let offset = self.start + index as u64 * PAGE;
            if let Err(error) = self.file.read_exact_at(page, offset) {
                page.fill(0);
                if self.unreadable.iter().all(|(known, _)| *known != offset) {
                    self.unreadable.push((offset, format!("cannot be read: {error}")));
                }
            }
        }
    }
}
