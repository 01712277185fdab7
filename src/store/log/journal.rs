//! The journal's files: the active one that groups are appended to, and the sealing of those before it.

use std::fs::File;
use std::io::{self, IoSlice};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::disk::{Disk, is_no_space};
use super::files;
use super::format::{Binding, FILE_HEADER_LEN};
use super::group::FinishedGroup;
use super::journal_footer::FooterBuilder;
use crate::store::model::FileKind;

/// Size of a new store's first file, bytes.
pub const MIN_FILE: u64 = 1 << 20;
/// A file this long is followed by a new one, bytes.
pub const MAX_FILE: u64 = 64 << 20;

/// Path of a journal file.
pub fn path(data: &Path, file: u64) -> PathBuf {
    files::path(data, FileKind::Journal, file)
}

/// Zeroes written ahead of groups, in bytes: a sync of space that was written before is done without the file system's
/// own journal, in half the time.
const AHEAD: u64 = 256 << 10;
static ZEROES: [u8; AHEAD as usize] = [0; AHEAD as usize];
/// Of longer groups so much is written that they gain nothing.
const SHORT: u64 = 32 << 10;

/// Why a group could not be appended.
#[derive(Debug)]
pub enum AppendError {
    /// There was no room to extend the file; nothing that counts was written.
    NoSpace,
    /// A write into space that was ours failed: writing must end.
    Failed(io::Error),
}

/// The file that groups are appended to.
#[derive(Debug)]
pub struct Journal {
    disk: Arc<dyn Disk>,
    data: PathBuf,
    binding: Binding,
    file: File,
    offset: u64,
    allocated: u64,
    /// Up to here the file has been written, be it with zeroes.
    written: u64,
    size: u64,
    footer: FooterBuilder,
}

impl Journal {
    /// Creates file number `file`, preallocated to `size` bytes where the file system can.
    pub fn create(
        disk: Arc<dyn Disk>,
        data: &Path,
        store: [u8; 16],
        file: u64,
        size: u64,
    ) -> io::Result<Self> {
        let binding = Binding {
            store,
            kind: FileKind::Journal,
            file,
        };
        let size = size.clamp(MIN_FILE, MAX_FILE);
        let path = path(data, file);
        let handle = disk.create(&path)?;
        let reserved = match disk.allocate(&handle, 0, size) {
            // It then grows as it is written: on a full disk there may be room for a removal.
            Err(error) if is_no_space(&error) => Ok(0),
            reserved => reserved,
        };
        let created = reserved.and_then(|allocated| {
            disk.write_at(&handle, &mut [IoSlice::new(&binding.encode_file_header())], 0)?;
            disk.sync_all(&handle)?;
            disk.sync_dir(&files::directory(data, FileKind::Journal))?;
            Ok(allocated)
        });
        match created {
            Ok(allocated) => Ok(Journal {
                disk,
                data: data.to_owned(),
                binding,
                file: handle,
                offset: FILE_HEADER_LEN,
                allocated,
                written: FILE_HEADER_LEN,
                size,
                footer: FooterBuilder::default(),
            }),
            Err(error) => {
                // Nothing refers to it yet; leaving it would only waste the space that is short.
                let _ = disk.remove(&path);
                Err(error)
            }
        }
    }

    /// Creates the file after this one, see [`Journal::next_size`].
    pub fn create_next(&self, size: u64) -> io::Result<Self> {
        let Binding { store, file, .. } = self.binding;
        Journal::create(self.disk.clone(), &self.data, store, file + 1, size)
    }

    /// Identity of the file.
    pub fn binding(&self) -> Binding {
        self.binding
    }

    /// Where the file is.
    pub fn path(&self) -> PathBuf {
        path(&self.data, self.binding.file)
    }

    /// The data directory it is in.
    pub fn data(&self) -> &Path {
        &self.data
    }

    /// What it is written through.
    pub fn disk(&self) -> &dyn Disk {
        &*self.disk
    }

    /// Where the next group goes.
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// Whether the file has reached its size.
    pub fn is_full(&self) -> bool {
        self.offset >= self.size
    }

    /// Size for the file after this one: they grow as data comes.
    pub fn next_size(&self) -> u64 {
        self.size.saturating_mul(4).clamp(MIN_FILE, MAX_FILE)
    }

    /// Writes a group at [`Journal::offset`] and notes it for the footer. Not durable before [`Journal::sync`]. Where
    /// there is no room it can be tried again.
    pub fn append(&mut self, group: &mut FinishedGroup) -> Result<(), AppendError> {
        let end = self.offset + group.written_len();
        if end > self.allocated {
            match self
                .disk
                .allocate(&self.file, self.allocated, end - self.allocated)
            {
                Ok(allocated) => self.allocated = self.allocated.max(allocated),
                Err(error) => {
                    // Nothing has been written, so nothing but this group is lost.
                    tracing::warn!(%error, "no room could be reserved in the journal");
                    return Err(AppendError::NoSpace);
                }
            }
        }
        let written = self.disk.write_at(&self.file, &mut group.slices(), self.offset);
        match written {
            Ok(()) => {
                self.write_ahead(end);
                self.offset = end;
                let listed = self.footer.add(std::mem::take(&mut group.entry));
                listed.map_err(|error| AppendError::Failed(io::Error::other(error)))
            }
            Err(error) if is_no_space(&error) && end > self.allocated => {
                // What was written of it must not be found behind the next group.
                self.disk
                    .set_len(&self.file, self.offset)
                    .map_err(AppendError::Failed)?;
                Err(AppendError::NoSpace)
            }
            Err(error) => Err(AppendError::Failed(error)),
        }
    }

    /// Behind a short group that ends at `end`: zeroes for the next ones, which this group's sync makes durable as well.
    /// Space that is reserved reads as zeroes anyway.
    fn write_ahead(&mut self, end: u64) {
        let begun = self.written.max(end);
        self.written = begun;
        let ahead = AHEAD.min(self.allocated.saturating_sub(begun));
        if begun > end || end - self.offset > SHORT || ahead == 0 {
            return;
        }
        // Without them the next sync takes longer, which is all.
        let zeroes = &mut [IoSlice::new(&ZEROES[..ahead as usize])];
        if self.disk.write_at(&self.file, zeroes, begun).is_ok() {
            self.written += ahead;
        }
    }

    /// Makes every appended group durable. After an error nothing may be written any more.
    pub fn sync(&self) -> io::Result<()> {
        self.disk.sync(&self.file)
    }

    /// Seals this file; deletes it if it holds no group.
    pub fn seal(self) -> io::Result<()> {
        if self.offset == FILE_HEADER_LEN {
            return self.disk.remove(&path(&self.data, self.binding.file));
        }
        seal(&*self.disk, &self.file, self.binding, self.offset, self.footer)
    }
}

/// Ends a file whose groups reach to `end`: cuts what is behind them, writes the footer and makes all of it durable.
pub fn seal(
    disk: &dyn Disk,
    file: &File,
    binding: Binding,
    end: u64,
    footer: FooterBuilder,
) -> io::Result<()> {
    let footer = footer.finish(&binding, end).map_err(io::Error::other)?;
    disk.set_len(file, end)?;
    let mut footer: Vec<_> = footer.iter().map(|part| IoSlice::new(part)).collect();
    disk.write_at(file, &mut footer, end)?;
    disk.sync_all(file)
}
#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::fs;

    use bytes::Bytes;

    use super::*;
    use crate::chunk::Digest;
    use crate::store::log::disk::Kernel;
    use crate::store::log::format::SegmentPosition;
    use crate::store::log::group::{GroupBuilder, GroupContext, LARGE};
    use crate::store::log::journal_footer;
    use crate::store::log::record::{Record, Sweep};
    use crate::store::log::scan::{ALL_DURABLE, Scan};
    use crate::store::log::testing::Unsteady;

    const STORE: [u8; 16] = [7; 16];

    fn binding() -> Binding {
        Binding {
            store: STORE,
            kind: FileKind::Journal,
            file: 1,
        }
    }

    /// Some chunks, of which two are not copied, and some records of metadata.
    fn group(journal: &Journal, number: u64) -> FinishedGroup {
        let mut group = GroupBuilder::new(journal.binding(), journal.offset(), number, Vec::new());
        for body in [b"first".as_slice(), &[number as u8; 300]] {
            group.push_chunk(Digest::of(body), &[body.to_vec().into()]);
        }
        for len in [LARGE - 1, LARGE, 50_001] {
            let body = Bytes::from(vec![number as u8; len]);
            let (first, second) = (body.slice(..len / 3), body.slice(len / 3..));
            group.push_chunk(Digest::of(&body), &[first, second]);
        }
        for version in 0..40 {
            let sweep = Record::Sweep(Sweep {
                version,
                through: vec![1; 40],
                done: true,
            });
            group.push(&sweep).unwrap();
        }
        group.finish(GroupContext {
            durable_group: number - 1,
            durable_segments: SegmentPosition { file: 0, offset: 0 },
            next_id: 9,
            index_sum: 5,
        })
    }

    #[test]
    fn a_file_that_is_being_sealed_has_no_trailer_yet() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(files::directory(dir.path(), FileKind::Journal)).unwrap();
        let mut journal = Journal::create(Arc::new(Kernel), dir.path(), STORE, 1, MIN_FILE).unwrap();
        journal.append(&mut group(&journal, 1)).unwrap();
        let disk = Unsteady::default();
        *disk.cut.lock().unwrap() = Some(journal.offset());
        let trailer = || journal_footer::trailer(&disk, &journal.file, &journal.binding).unwrap();
        assert_eq!(trailer(), None);
        journal.seal().unwrap();
        let file = File::open(path(dir.path(), 1)).unwrap();
        assert!(
            journal_footer::trailer(&disk, &file, &binding())
                .unwrap()
                .is_some()
        );
    }

    #[test]
    fn the_footer_collected_while_appending_is_that_of_a_scan() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(files::directory(dir.path(), FileKind::Journal)).unwrap();
        let mut journal = Journal::create(Arc::new(Kernel), dir.path(), STORE, 1, MIN_FILE).unwrap();
        // Enough for a footer of several records.
        for number in 1..=400 {
            let mut group = group(&journal, number);
            journal.append(&mut group).unwrap();
        }
        let (binding, end) = (journal.binding(), journal.offset());
        journal.seal().unwrap();
        let collected = fs::read(path(dir.path(), 1)).unwrap();
        assert!(collected.len() as u64 > end + (1 << 20));
        let mut scanned = FooterBuilder::default();
        let mut scan = Scan::new(&collected[..end as usize], binding, 0, ALL_DURABLE);
        while let Some(found) = scan.next() {
            scanned.add_found(&found).unwrap();
        }
        assert!(collected[end as usize..] == scanned.finish(&binding, end).unwrap().concat());
    }
}
