//! Segments after a shutdown that was not clean: every one is sealed again, what was never durable is cut off.
//!
//! A record counts only if all of it is at or below the durable position, since publications refer to nothing
//! above it. What is unreadable below that position is rot: it is reported and left where it is.

use std::io::{self, IoSlice};
use std::path::Path;

use super::disk::Disk;
use super::files::{self, LogFile, LogFiles, directory};
use super::format::{
    FILE_HEADER_LEN, RECORD_HEADER_LEN, RecordHeader, RecordKind, SegmentPosition, block_end, padded,
};
use super::rot::{is_medium, read_around};
use super::segment_footer::{Footer, FooterEntry, footer_offset};
use crate::store::error::StoreError;
use crate::store::model::FileKind;

/// Bytes read at a time where a record has to be searched for.
const WINDOW: u64 = 1 << 20;

/// Records begin at multiples of this.
const ALIGNMENT: usize = 8;

/// What was found and done.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Recovered {
    /// The next free number for a segment.
    pub next_file: u64,
    /// Length of the last segment in bytes, 0 if there is none: how large a store this is.
    pub last_len: u64,
    /// Segments that had no valid end and have been given one.
    pub sealed: Vec<u64>,
    /// Segments without a record, removed.
    pub removed: Vec<u64>,
    /// Bytes of preallocated room and of records that were never durable, cut off or removed.
    pub cut: u64,
    /// Unreadable bytes that were durable once.
    pub damage: Vec<Damage>,
}

/// Bytes of a segment that should hold records and do not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Damage {
    /// Number of the segment.
    pub file: u64,
    /// Where they begin.
    pub offset: u64,
    /// How many there are.
    pub len: u64,
}

/// Seals the segments of the store with this uuid under `data`. `durable`: the position in the last good journal
/// group; segments with smaller numbers are durable as far as they go.
///
/// On return everything that is kept is synced, and so are the names. Run again after a crash, it ends the same.
///
/// # Errors
/// `Io` where a file cannot be read or written; nothing below the durable position has then been lost.
pub fn recover_segments(
    disk: &dyn Disk,
    data: &Path,
    store: [u8; 16],
    durable: SegmentPosition,
) -> Result<Recovered, StoreError> {
    let numbers = files::list(data, FileKind::Segment)?;
    let files = LogFiles::new(data, store, 1);
    let mut recovered = Recovered {
        next_file: numbers.iter().copied().fold(durable.file, u64::max) + 1,
        ..Recovered::default()
    };
    for &number in &numbers {
        let file = files.open(FileKind::Segment, number)?;
        if is_sealed(disk, &file)? {
            if number >= durable.file {
                // Sealed, perhaps, only in the page cache.
                disk.sync_all(&disk.open(&files::path(data, FileKind::Segment, number))?)?;
            }
        } else if number > durable.file {
            recovered.remove(disk, data, number, file.size()?)?;
        } else {
            let bound = (number == durable.file).then_some(durable.offset);
            recovered.reseal(disk, data, &file, bound)?;
        }
    }
    for &number in numbers.iter().rev() {
        if !recovered.removed.contains(&number) {
            recovered.last_len = files.open(FileKind::Segment, number)?.size()?;
            break;
        }
    }
    if !numbers.is_empty() {
        disk.sync_dir(&directory(data, FileKind::Segment))?;
    }
    Ok(recovered)
}

/// A trailer that cannot be read is none.
fn is_sealed(disk: &dyn Disk, file: &LogFile) -> io::Result<bool> {
    let sealed = footer_offset(file.size()?, file.binding(), |trailer, at| {
        disk.read_at(file.handle(), trailer, at)
    });
    match sealed {
        Err(error) if is_medium(&error) => Ok(false),
        sealed => Ok(sealed?.is_some()),
    }
}

impl Recovered {
    fn remove(&mut self, disk: &dyn Disk, data: &Path, number: u64, len: u64) -> io::Result<()> {
        disk.remove(&files::path(data, FileKind::Segment, number))?;
        self.removed.push(number);
        self.cut += len;
        Ok(())
    }

    /// Cuts the file where its good records end and writes a footer there.
    fn reseal(&mut self, disk: &dyn Disk, data: &Path, file: &LogFile, bound: Option<u64>) -> io::Result<()> {
        let number = file.binding().file;
        let len = file.size()?;
        let walk = Walk::over(disk, file, len, bound)?;
        if walk.footer.entries.is_empty() && walk.damage.is_empty() {
            return self.remove(disk, data, number, len);
        }
        let writer = disk.open(&files::path(data, FileKind::Segment, number))?;
        let end = block_end(walk.end);
        disk.set_len(&writer, walk.end)?;
        let footer = walk.footer.encode(file.binding(), end)?;
        disk.write_at(&writer, &mut [IoSlice::new(&footer)], end)?;
        disk.sync_all(&writer)?;
        self.sealed.push(number);
        self.cut += len.saturating_sub(end);
        self.damage.extend(walk.damage);
        Ok(())
    }
}

/// A walk from record to record.
struct Walk<'a> {
    disk: &'a dyn Disk,
    file: &'a LogFile,
    /// Where the walk ends: the durable position or the end of the file.
    limit: u64,
    /// Whether everything up to the limit is known to have been durable; else zeros are room never used.
    exact: bool,
    /// Where to go on.
    at: u64,
    /// Where the last thing to be kept ends.
    end: u64,
    footer: Footer,
    damage: Vec<Damage>,
}

impl<'a> Walk<'a> {
    fn over(disk: &'a dyn Disk, file: &'a LogFile, len: u64, bound: Option<u64>) -> io::Result<Self> {
        let mut walk = Walk {
            disk,
            file,
            limit: bound.map_or(len, |bound| bound.min(len)),
            exact: bound.is_some(),
            at: FILE_HEADER_LEN,
            end: FILE_HEADER_LEN,
            footer: Footer::default(),
            damage: Vec::new(),
        };
        walk.check_file_header(len)?;
        while walk.step()? {}
        let missing = bound.unwrap_or(0).saturating_sub(len.max(FILE_HEADER_LEN));
        if missing > 0 {
            walk.damaged(padded(len.max(FILE_HEADER_LEN)), missing);
        }
        Ok(walk)
    }

    fn check_file_header(&mut self, len: u64) -> io::Result<()> {
        let header = self.read(len.min(FILE_HEADER_LEN), 0)?;
        // A file that was never durable may well have none.
        if self.limit > FILE_HEADER_LEN && self.file.binding().check_file_header(&header).is_err() {
            self.damage.push(Damage {
                file: self.file.binding().file,
                offset: 0,
                len: FILE_HEADER_LEN,
            });
        }
        Ok(())
    }

    /// Goes over one record, or over a stretch without any; false at the end.
    fn step(&mut self) -> io::Result<bool> {
        if self.at >= self.limit {
            return Ok(false);
        }
        if let Some(header) = self.header_at(self.at)? {
            return Ok(self.keep(&header));
        }
        if self.skips_to_block()? {
            return Ok(true);
        }
        let begun = self.at;
        let (next, used) = self.search(begun)?;
        self.at = next;
        let until = match next < self.limit || self.exact {
            true => next,
            false => padded(used),
        };
        if until > begun {
            self.damaged(begun, until - begun);
        }
        Ok(true)
    }

    /// Goes over the rest of a block that was left free behind a synced record.
    fn skips_to_block(&mut self) -> io::Result<bool> {
        let next = block_end(self.at).min(self.limit);
        let rest = self.read(next - self.at, self.at)?;
        let free = next > self.at && rest.iter().all(|byte| *byte == 0);
        let skips = free && (next == self.limit || self.header_at(next)?.is_some());
        if skips {
            self.at = next;
        }
        Ok(skips)
    }

    fn read(&self, len: u64, at: u64) -> io::Result<Vec<u8>> {
        Ok(read_around(self.disk, self.file.handle(), at, len as usize)?.bytes)
    }

    /// Goes over the record at hand; false where the records end.
    fn keep(&mut self, header: &RecordHeader) -> bool {
        let (begun, next) = (self.at, self.at + header.record_len());
        self.at = next;
        if next > padded(self.limit) {
            self.damaged(begun, self.limit - begun);
            return false;
        }
        match header.kind {
            RecordKind::Chunk => self.footer.entries.push(FooterEntry {
                digest: header.digest,
                offset: begun,
                stored_len: header.stored_len,
            }),
            // Written by a seal that did not come to its end; it is done again.
            RecordKind::Footer if !self.exact => return false,
            _ => self.damaged(begun, next - begun),
        }
        self.end = self.end.max(next);
        true
    }

    fn damaged(&mut self, offset: u64, len: u64) {
        self.end = self.end.max(padded(offset + len));
        self.damage.push(Damage {
            file: self.file.binding().file,
            offset,
            len,
        });
    }

    fn header_at(&self, at: u64) -> io::Result<Option<RecordHeader>> {
        if at + RECORD_HEADER_LEN as u64 > self.limit {
            return Ok(None);
        }
        let bytes = self.read(RECORD_HEADER_LEN as u64, at)?;
        Ok(RecordHeader::decode(&bytes, self.file.binding(), at).ok())
    }

    /// The offset of the next header after `from`, or the limit; and where the last byte before it that is not zero
    /// ends.
    fn search(&self, from: u64) -> io::Result<(u64, u64)> {
        let mut used = from;
        let mut window = from;
        while window < self.limit {
            // Windows overlap by a header, so that one across their border is found.
            let len = (WINDOW + RECORD_HEADER_LEN as u64).min(self.limit - window);
            let bytes = self.read(len, window)?;
            for (index, word) in bytes.chunks(ALIGNMENT).enumerate() {
                if word.iter().all(|&byte| byte == 0) {
                    continue;
                }
                let offset = window + (index * ALIGNMENT) as u64;
                let header = &bytes[index * ALIGNMENT..];
                if offset > from && RecordHeader::decode(header, self.file.binding(), offset).is_ok() {
                    return Ok((offset, used));
                }
                used = used.max(offset + word.len() as u64);
            }
            window += WINDOW;
        }
        Ok((self.limit, used))
    }
}

#[cfg(test)]
mod tests;
