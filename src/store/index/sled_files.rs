//! The files of a sled database, past sled.

use std::fs::{File, OpenOptions};
use std::io;
use std::path::Path;

use rustix::fs::FallocateFlags;
use rustix::io::Errno;

use crate::store::error::StoreError;

/// Gives so many bytes behind the end of a file their place on the disk.
pub fn allocate(file: &File, bytes: u64) -> io::Result<()> {
    let end = file.metadata()?.len();
    loop {
        match rustix::fs::fallocate(file, FallocateFlags::KEEP_SIZE, end, bytes) {
            Err(Errno::INTR) => continue,
            Err(Errno::OPNOTSUPP | Errno::NOSYS) => return Ok(()),
            result => return Ok(result?),
        }
    }
}

/// Whether the disk is full, or what somebody may have of it.
pub fn is_full(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded
    )
}

/// Bytes of the snapshots of the index at `path`: an open writes one of this size anew. 0 where there is no index.
pub fn snapshot_bytes(path: &Path) -> io::Result<u64> {
    let entries = match std::fs::read_dir(path) {
        Ok(entries) => entries,
        Err(error) if is_no_index(&error) => return Ok(0),
        Err(error) => return Err(error),
    };
    let mut bytes = 0;
    for entry in entries {
        let entry = entry?;
        if entry.file_name().to_string_lossy().starts_with("snap.") {
            bytes += entry.metadata()?.len();
        }
    }
    Ok(bytes)
}

/// Nothing is there, or something that is no index; the open will say so.
fn is_no_index(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
    )
}

/// Gives up what `Index::reserve` reserved for the index at `path`, which is not open.
pub fn give_up_reserve(path: &Path) -> io::Result<()> {
    let file = match OpenOptions::new().write(true).open(path.join("db")) {
        Err(error) if is_no_index(&error) => return Ok(()),
        file => file?,
    };
    // Cutting a file where it ends frees what is behind.
    file.set_len(file.metadata()?.len())
}

/// A snapshot that a power cut tore while sled was writing it stops every later open.
pub fn remove_generating(path: &Path) -> Result<(), StoreError> {
    let entries = match std::fs::read_dir(path) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error.into()),
    };
    for entry in entries {
        let entry = entry?;
        if entry.file_name().to_string_lossy().ends_with(".generating") {
            std::fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}
