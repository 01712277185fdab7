//! The segment that is being written: created, appended to, synced, sealed. Used by the segment thread alone.

use std::fs::File;
use std::io::{self, IoSlice};
use std::path::{Path, PathBuf};

use bytes::Bytes;

use super::disk::Disk;
use super::files::{directory, path};
use super::format::{BLOCK, Binding, FILE_HEADER_LEN, RecordHeader, RecordKind, SegmentPosition, block_end};
use super::page_cache::start_writeback;
use super::segment_footer::{Footer, FooterEntry};
use crate::chunk::{Digest, crc32c};
use crate::store::model::{FileKind, Place};

/// Appended bytes after which the kernel is asked to begin writing, so that the sync has little left to do.
const WRITEBACK_EVERY: u64 = 8 << 20;

/// A chunk to be appended.
#[derive(Debug)]
pub(super) struct Chunk {
    /// Names it.
    pub digest: Digest,
    /// Its bytes.
    pub pieces: Vec<Bytes>,
    /// Their length in bytes.
    pub len: u32,
}

/// A segment file with room left.
#[derive(Debug)]
pub(super) struct SegmentFile {
    file: File,
    path: PathBuf,
    binding: Binding,
    /// Bytes that the file was given at its creation.
    size: u64,
    /// Where the next record goes.
    end: u64,
    /// Where the last sync found the end.
    synced: u64,
    /// Up to where the kernel has been asked to begin writing.
    written_back: u64,
    footer: Footer,
}

impl SegmentFile {
    /// Creates the file, durably, with at least `size` bytes and room for a record of `record_len`.
    pub fn create(
        disk: &dyn Disk,
        data: &Path,
        store: [u8; 16],
        number: u64,
        size: u64,
        record_len: u64,
    ) -> io::Result<Self> {
        let path = path(data, FileKind::Segment, number);
        let file = disk.create(&path)?;
        let binding = Binding {
            store,
            kind: FileKind::Segment,
            file: number,
        };
        let size = size.max(FILE_HEADER_LEN + record_len + 2 * BLOCK + Footer::room(1));
        let prepared = prepare(disk, data, &file, &binding, size);
        if let Err(error) = prepared {
            discard(disk, &path);
            return Err(error);
        }
        Ok(SegmentFile {
            file,
            path,
            binding,
            size,
            end: FILE_HEADER_LEN,
            synced: FILE_HEADER_LEN,
            written_back: FILE_HEADER_LEN,
            footer: Footer::default(),
        })
    }

    /// Whether a record of this length fits, with a footer after it.
    pub fn fits(&self, record_len: u64) -> bool {
        self.end + record_len + 2 * BLOCK + Footer::room(self.footer.entries.len() + 1) <= self.size
    }

    /// Whether there is no record in it.
    pub fn is_empty(&self) -> bool {
        self.footer.entries.is_empty()
    }

    /// How far it is durable.
    pub fn durable(&self) -> SegmentPosition {
        SegmentPosition {
            file: self.binding.file,
            offset: self.synced,
        }
    }

    /// Writes the chunk's record. Not durable yet. After an error the end is where it was.
    pub fn append(&mut self, disk: &dyn Disk, chunk: &Chunk) -> io::Result<Place> {
        let crc = chunk
            .pieces
            .iter()
            .fold(0, |crc, piece| crc32c::append(crc, piece));
        let number = self.footer.entries.len() as u64;
        let header = RecordHeader::raw(RecordKind::Chunk, number, chunk.digest, chunk.len, crc);
        let begin = self.next_record();
        let head = header.encode(&self.binding, begin);
        let padding = [0; 8];
        let pad = header.record_len() - head.len() as u64 - u64::from(chunk.len);
        let mut buffers = Vec::with_capacity(chunk.pieces.len() + 2);
        buffers.push(IoSlice::new(&head));
        buffers.extend(chunk.pieces.iter().map(|piece| IoSlice::new(piece)));
        buffers.push(IoSlice::new(&padding[..pad as usize]));
        disk.write_at(&self.file, &mut buffers, begin)?;

        let place = Place {
            kind: FileKind::Segment,
            file: self.binding.file,
            offset: begin,
            stored_len: chunk.len,
        };
        self.footer.entries.push(FooterEntry {
            digest: chunk.digest,
            offset: begin,
            stored_len: chunk.len,
        });
        self.end = begin + header.record_len();
        if self.end - self.written_back >= WRITEBACK_EVERY {
            start_writeback(&self.file, self.written_back, self.end - self.written_back);
            self.written_back = self.end;
        }
        Ok(place)
    }

    /// Behind a synced record the next one begins a block: the one that holds durable bytes is not written again.
    fn next_record(&self) -> u64 {
        match self.end == self.synced {
            true => block_end(self.end),
            false => self.end,
        }
    }

    /// Makes every record so far durable; no system call if they all are.
    pub fn sync(&mut self, disk: &dyn Disk) -> io::Result<()> {
        if self.synced < self.end {
            disk.sync(&self.file)?;
            self.synced = self.end;
        }
        Ok(())
    }

    /// Ends the synced file with its footer and gives back what it does not need. The sync that makes this durable
    /// is the caller's: see [`SegmentFile::sync_seal`].
    pub fn seal(&self, disk: &dyn Disk) -> io::Result<()> {
        let at = block_end(self.end);
        let bytes = self.footer.encode(&self.binding, at)?;
        // First: it makes room for the footer on a full disk, and takes away what a failed append left.
        disk.set_len(&self.file, self.end)?;
        let written = disk.write_at(&self.file, &mut [IoSlice::new(&bytes)], at);
        if written.is_err() {
            disk.set_len(&self.file, self.end)?;
        }
        written
    }

    /// Makes the footer durable.
    pub fn sync_seal(&self, disk: &dyn Disk) -> io::Result<()> {
        disk.sync(&self.file)
    }

    /// Removes the file.
    pub fn discard(self, disk: &dyn Disk) {
        discard(disk, &self.path);
    }
}

fn prepare(disk: &dyn Disk, data: &Path, file: &File, binding: &Binding, size: u64) -> io::Result<()> {
    disk.allocate(file, 0, size)?;
    disk.write_at(file, &mut [IoSlice::new(&binding.encode_file_header())], 0)?;
    disk.sync_all(file)?;
    disk.sync_dir(&directory(data, binding.kind))
}

/// A file without records is of no use to anyone; one that cannot be removed is left to the next recovery.
fn discard(disk: &dyn Disk, path: &Path) {
    if let Err(error) = disk.remove(path) {
        tracing::warn!(path = %path.display(), %error, "an empty segment could not be removed");
    }
}
