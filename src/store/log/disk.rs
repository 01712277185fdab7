//! What log files ask of the disk. Whatever changes them, and what recovery reads, goes through [`Disk`], so that
//! tests can let it fail and can cut the power between any two calls.

use std::fmt::Debug;
use std::fs::{self, File, OpenOptions};
use std::io::{self, IoSlice, Write};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;

use rustix::fs::FallocateFlags;
use rustix::io::Errno;

use crate::store::error::StoreError;

/// Buffers handed to one system call; the kernel takes at most 1024.
const VECTORS: usize = 512;

/// What the log does to its files and directories, and how recovery reads them.
pub trait Disk: Debug + Send + Sync + 'static {
    /// Creates a file that is not there yet, for reading and writing. Its name is not durable before
    /// [`Disk::sync_dir`].
    fn create(&self, path: &Path) -> io::Result<File>;

    /// Opens a file for reading and writing.
    fn open(&self, path: &Path) -> io::Result<File>;

    /// Gives the file `len` bytes of its own from `at` on, so that writing them cannot run out of space. Returns the
    /// end of what is reserved, which is `at` where the file system cannot.
    fn allocate(&self, file: &File, at: u64, len: u64) -> io::Result<u64>;

    /// Writes all of `buffers` at `offset`.
    fn write_at(&self, file: &File, buffers: &mut [IoSlice<'_>], offset: u64) -> io::Result<()>;

    /// Fills `buffer` from `offset`.
    fn read_at(&self, file: &File, buffer: &mut [u8], offset: u64) -> io::Result<()>;

    /// Cuts the file, or extends it with zeroes.
    fn set_len(&self, file: &File, len: u64) -> io::Result<()>;

    /// `fdatasync`. After an error what is on disk is unknown; the call is never repeated.
    fn sync(&self, file: &File) -> io::Result<()>;

    /// `fsync`.
    fn sync_all(&self, file: &File) -> io::Result<()>;

    /// Takes a name away, durably.
    fn remove(&self, path: &Path) -> io::Result<()>;

    /// Makes the names in a directory durable.
    fn sync_dir(&self, dir: &Path) -> io::Result<()>;
}

/// The kernel's own calls.
#[derive(Clone, Copy, Debug, Default)]
pub struct Kernel;

impl Disk for Kernel {
    fn create(&self, path: &Path) -> io::Result<File> {
        OpenOptions::new()
            .read(true)
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(path)
    }

    fn open(&self, path: &Path) -> io::Result<File> {
        OpenOptions::new().read(true).write(true).open(path)
    }

    fn allocate(&self, file: &File, at: u64, len: u64) -> io::Result<u64> {
        loop {
            match rustix::fs::fallocate(file, FallocateFlags::empty(), at, len) {
                Ok(()) => return Ok(at + len),
                Err(Errno::INTR) => continue,
                // The file then grows as it is written, and a full disk shows at the write.
                Err(Errno::OPNOTSUPP | Errno::NOSYS) => return Ok(at),
                Err(error) => return Err(error.into()),
            }
        }
    }

    fn write_at(&self, file: &File, mut buffers: &mut [IoSlice<'_>], mut offset: u64) -> io::Result<()> {
        IoSlice::advance_slices(&mut buffers, 0);
        while !buffers.is_empty() {
            let count = buffers.len().min(VECTORS);
            match rustix::io::pwritev(file, &buffers[..count], offset) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(written) => {
                    offset += written as u64;
                    IoSlice::advance_slices(&mut buffers, written);
                }
                Err(Errno::INTR) => continue,
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    fn read_at(&self, file: &File, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        file.read_exact_at(buffer, offset)
    }

    fn set_len(&self, file: &File, len: u64) -> io::Result<()> {
        file.set_len(len)
    }

    fn sync(&self, file: &File) -> io::Result<()> {
        file.sync_data()
    }

    fn sync_all(&self, file: &File) -> io::Result<()> {
        file.sync_all()
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        remove(path)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        sync_dir(dir)
    }
}

/// Makes the names in `dir` durable: files that were created, renamed or removed.
pub fn sync_dir(dir: &Path) -> io::Result<()> {
    File::open(dir)?.sync_all()
}

/// Gives a small file new content, all or nothing, durably. Only its owner may read a file that is new.
pub fn replace(path: &Path, content: &[u8]) -> io::Result<()> {
    let mut temporary = path.as_os_str().to_owned();
    temporary.push(".new");
    let mut file = OpenOptions::new()
        .create(true)
        .truncate(true)
        .write(true)
        .mode(0o600)
        .open(&temporary)?;
    file.write_all(content)?;
    file.sync_all()?;
    fs::rename(&temporary, path)?;
    path.parent().map_or(Ok(()), sync_dir)
}

/// Removes the file and makes that durable.
pub fn remove(path: &Path) -> io::Result<()> {
    fs::remove_file(path)?;
    match path.parent() {
        Some(dir) => sync_dir(dir),
        None => Ok(()),
    }
}

/// The store's word for a failed write: a full disk or quota is `NoSpace`, which clears by itself.
pub fn write_error(error: io::Error) -> StoreError {
    match is_no_space(&error) {
        true => StoreError::NoSpace,
        false => StoreError::Io(error),
    }
}

/// Whether the disk or a quota is full.
pub fn is_no_space(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded
    )
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn more_buffers_than_one_call_takes_are_all_written() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        let file = File::create(&path).unwrap();
        let bytes: Vec<u8> = (0..3000u32).flat_map(u32::to_le_bytes).collect();
        let mut buffers: Vec<IoSlice<'_>> = bytes.chunks(4).map(IoSlice::new).collect();
        buffers.insert(0, IoSlice::new(&[]));
        Kernel.write_at(&file, &mut buffers, 5).unwrap();
        assert_eq!(fs::read(&path).unwrap()[5..], bytes);
    }

    #[test]
    fn a_full_disk_is_told_from_a_broken_one() {
        let word = |code| write_error(io::Error::from_raw_os_error(code));
        assert!(matches!(word(libc::ENOSPC), StoreError::NoSpace));
        assert!(matches!(word(libc::EDQUOT), StoreError::NoSpace));
        assert!(matches!(word(libc::EIO), StoreError::Io(_)));
    }

    #[test]
    fn a_small_file_is_replaced_whole_or_not_at_all() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("small");
        replace(&path, b"the first one").unwrap();
        replace(&path, b"next").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"next");
        let obstacle = dir.path().join("small.new");
        fs::create_dir(&obstacle).unwrap();
        assert!(replace(&path, b"never").is_err());
        assert_eq!(fs::read(&path).unwrap(), b"next");
        fs::remove_dir(&obstacle).unwrap();
        replace(&path, b"last").unwrap();
        let names: Vec<_> = fs::read_dir(dir.path())
            .unwrap()
            .map(|entry| entry.unwrap().file_name())
            .collect();
        assert_eq!(names, ["small"]);
    }
}
