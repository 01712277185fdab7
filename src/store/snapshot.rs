//! Which bytes of which log files are the store at one moment, so that they can be copied while it goes on.
//!
//! The journal's position is taken first, then that of the segments: what a publication in the one refers to is below
//! the other.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::error::StoreError;
use super::log::files;
use super::log::format::{Binding, FILE_HEADER_LEN, SegmentPosition, Trailer};
use super::log::scan::{ALL_DURABLE, Scan};
use super::model::FileKind;

/// How far the log reached at a moment. Everything acknowledged before it is below.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogEnd {
    /// The store.
    #[serde(with = "hex::serde")]
    pub store: [u8; 16],
    /// The last journal file with a group.
    pub journal_file: u64,
    /// Where the last group in it ends, bytes.
    pub journal_offset: u64,
    /// The segment that was being written.
    pub segment_file: u64,
    /// How much of it was durable, bytes.
    pub segment_offset: u64,
}

/// Bytes of a log file that belong to the snapshot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Part {
    /// Kind of the file.
    pub kind: FileKind,
    /// Number of the file.
    pub file: u64,
    /// Bytes from the start.
    pub len: u64,
    /// It is the whole file, sealed: nobody writes to it again.
    pub sealed: bool,
}

impl LogEnd {
    /// At `journal`, file and offset, and the durable end of the segments after that was read.
    pub fn new(store: [u8; 16], journal: (u64, u64), segments: SegmentPosition) -> Self {
        LogEnd {
            store,
            journal_file: journal.0,
            journal_offset: journal.1,
            segment_file: segments.file,
            segment_offset: segments.offset,
        }
    }

    /// What there is to copy. The files must be held as long as it is used.
    pub fn parts(&self, data: &Path) -> Result<Vec<Part>, StoreError> {
        let mut parts = Vec::new();
        for kind in [FileKind::Segment, FileKind::Journal] {
            for file in files::list(data, kind)? {
                parts.extend(self.part(data, kind, file)?);
            }
        }
        Ok(parts)
    }

    fn part(&self, data: &Path, kind: FileKind, file: u64) -> Result<Option<Part>, StoreError> {
        let (last, offset) = match kind {
            FileKind::Journal => (self.journal_file, self.journal_offset),
            FileKind::Segment => (self.segment_file, self.segment_offset),
        };
        if file > last {
            return Ok(None);
        }
        let binding = Binding {
            store: self.store,
            kind,
            file,
        };
        let handle = File::open(files::path(data, kind, file))?;
        let size = handle.metadata()?.len();
        let sealed = sealed_at(&handle, &binding, size)?;
        let len = match (sealed, kind) {
            // A journal that was sealed since holds groups behind the moment.
            (Some(end), FileKind::Journal) if file == last && end != offset => offset,
            (Some(_), _) => {
                return Ok(Some(Part {
                    kind,
                    file,
                    len: size,
                    sealed: true,
                }));
            }
            (None, _) if file == last => offset,
            (None, FileKind::Journal) => groups_end(&handle, binding)?,
            (None, FileKind::Segment) => size,
        };
        let part = Part {
            kind,
            file,
            len,
            sealed: false,
        };
        Ok((len > FILE_HEADER_LEN).then_some(part))
    }
}

/// Whether nobody writes to the file again.
pub(super) fn is_sealed(file: &File, binding: &Binding) -> io::Result<bool> {
    Ok(sealed_at(file, binding, file.metadata()?.len())?.is_some())
}

/// Where the records of a sealed file end.
fn sealed_at(file: &File, binding: &Binding, size: u64) -> io::Result<Option<u64>> {
    let Some(at) = size.checked_sub(Trailer::LEN as u64) else {
        return Ok(None);
    };
    let mut bytes = [0; Trailer::LEN];
    match file.read_exact_at(&mut bytes, at) {
        // It was cut while it was being sealed.
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        read => read?,
    }
    Ok(Trailer::decode(&bytes, binding, at)
        .ok()
        .map(|trailer| trailer.footer))
}

/// Where the groups of a full file end that is still to be sealed. Nobody writes below that.
fn groups_end(file: &File, binding: Binding) -> io::Result<u64> {
    let mut bytes = vec![0; file.metadata()?.len() as usize];
    let mut read = 0;
    while read < bytes.len() {
        match file.read_at(&mut bytes[read..], read as u64)? {
            0 => break,
            more => read += more,
        }
    }
    bytes.truncate(read);
    let mut scan = Scan::new(&bytes, binding, 0, ALL_DURABLE);
    while scan.next().is_some() {}
    Ok(scan.end())
}
