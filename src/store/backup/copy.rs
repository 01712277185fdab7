//! One file from one place to another: as a link, as a clone that shares its blocks, or byte by byte.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use crate::store::check::Windows;
use crate::store::error::StoreError;
use crate::store::pace::Unthrottled;

/// Bytes copied at a time.
const STEP: u64 = 256 << 10;

/// How a file came to its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// It has blocks of its own.
    Copied,
    /// It shares them with the source.
    Shared,
}

/// A file at its place, durable.
#[derive(Debug)]
pub struct Copied {
    /// Hex blake3 of its bytes.
    pub blake3: String,
    /// How it came there.
    pub way: Way,
}

/// Puts the first `len` bytes of `source` at `target`, in place of anything that is there. `link`: as a hard link
/// where the file system can; the source must then be `len` bytes long and never change.
pub fn place(source: &Path, target: &Path, len: u64, link: bool) -> io::Result<Copied> {
    match fs::remove_file(target) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    // A link may be refused for many reasons (another file system, too many links): then it is a copy.
    if link && fs::hard_link(source, target).is_ok() {
        let file = File::open(target)?;
        file.sync_all()?;
        return Ok(Copied {
            blake3: digest(target, len, |_| Ok(()))?,
            way: Way::Shared,
        });
    }
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(target)?;
    let cloned = rustix::fs::ioctl_ficlone(&file, File::open(source)?).is_ok();
    let copied = if cloned {
        file.set_len(len)?;
        Copied {
            blake3: digest(target, len, |_| Ok(()))?,
            way: Way::Shared,
        }
    } else {
        Copied {
            blake3: digest(source, len, |bytes| file.write_all(bytes))?,
            way: Way::Copied,
        }
    };
    file.sync_all()?;
    Ok(copied)
}

/// Reads the first `len` bytes of a file, hands them on and hashes them.
fn digest(path: &Path, len: u64, mut each: impl FnMut(&[u8]) -> io::Result<()>) -> io::Result<String> {
    let mut windows = Windows::open(path, &Unthrottled)?;
    let mut hasher = blake3::Hasher::new();
    let mut bytes = Vec::new();
    let mut at = 0;
    while at < len {
        windows
            .read(at, STEP.min(len - at), &mut bytes)
            .map_err(io_error)?;
        if bytes.is_empty() {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        hasher.update(&bytes);
        each(&bytes)?;
        at += bytes.len() as u64;
    }
    if let Some((offset, why)) = windows.into_unreadable().first() {
        return Err(io::Error::other(format!(
            "byte {offset} of {}: {why}",
            path.display()
        )));
    }
    Ok(hasher.finalize().to_hex().to_string())
}

fn io_error(error: StoreError) -> io::Error {
    match error {
        StoreError::Io(error) => error,
        other => io::Error::other(other),
    }
}
