//! The journal's files: the active one that groups are appended to, and the sealing of those before it.

use std::fs::File;
use std::io::{self, IoSlice};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::disk::{Disk, is_no_space};
use super::files;
use super::format::{Binding, FILE_HEADER_LEN};
use super::journal_footer::FooterBuilder;
use super::scan::{ALL_DURABLE, Scan};
use crate::store::model::FileKind;

/// Size of a new store's first file, bytes.
pub const MIN_FILE: u64 = 1 << 20;
/// A file this long is followed by a new one, bytes.
pub const MAX_FILE: u64 = 64 << 20;

/// Path of a journal file.
pub fn path(data: &Path, file: u64) -> PathBuf {
    files::path(data, FileKind::Journal, file)
}

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
    size: u64,
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
        let created = disk.allocate(&handle, 0, size).and_then(|allocated| {
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
                size,
            }),
            Err(error) => {
                // Nothing refers to it yet; leaving it would only waste the space that is short.
                let _ = disk.remove(&path);
                Err(error)
            }
        }
    }

    /// Creates the file after this one. They grow as data comes.
    pub fn create_next(&self) -> io::Result<Self> {
        let Binding { store, file, .. } = self.binding;
        let size = self.size.saturating_mul(4);
        Journal::create(self.disk.clone(), &self.data, store, file + 1, size)
    }

    /// Identity of the file.
    pub fn binding(&self) -> Binding {
        self.binding
    }

    /// Where the next group goes.
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// Whether the file has reached its size.
    pub fn is_full(&self) -> bool {
        self.offset >= self.size
    }

    /// Writes a group at [`Journal::offset`]. Not durable before [`Journal::sync`].
    pub fn append(&mut self, group: &[u8]) -> Result<(), AppendError> {
        let end = self.offset + group.len() as u64;
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
        let written = self
            .disk
            .write_at(&self.file, &mut [IoSlice::new(group)], self.offset);
        match written {
            Ok(()) => {
                self.offset = end;
                Ok(())
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

    /// Makes every appended group durable. After an error nothing may be written any more.
    pub fn sync(&self) -> io::Result<()> {
        self.disk.sync(&self.file)
    }

    /// Seals this file; deletes it if it holds no group.
    pub fn seal(self) -> io::Result<()> {
        if self.offset == FILE_HEADER_LEN {
            return self.disk.remove(&path(&self.data, self.binding.file));
        }
        let mut bytes = vec![0; self.offset as usize];
        self.disk.read_at(&self.file, &mut bytes, 0)?;
        let mut footer = FooterBuilder::new(self.binding, self.offset);
        // All of it has been written as durable, so nothing in it is a tear.
        let mut scan = Scan::new(&bytes, self.binding, 0, ALL_DURABLE);
        while scan.end() < self.offset {
            let Some(found) = scan.next() else { break };
            footer.add(&found).map_err(io::Error::other)?;
        }
        seal(&*self.disk, &self.file, footer)
    }
}

/// Ends a file where its groups do: cuts what is behind them, writes the footer and makes all of it durable.
pub fn seal(disk: &dyn Disk, file: &File, footer: FooterBuilder) -> io::Result<()> {
    let end = footer.offset();
    let bytes = footer.finish().map_err(io::Error::other)?;
    disk.set_len(file, end)?;
    disk.write_at(file, &mut [IoSlice::new(&bytes)], end)?;
    disk.sync_all(file)
}
