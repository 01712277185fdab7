//! Reading files whose blocks may have become unreadable: recovery goes on with what is left.

use std::fs::File;
use std::io;
use std::ops::Range;

use super::disk::Disk;
use super::format::BLOCK;

/// Bytes asked for at once, while all is well.
const STEP: usize = 1 << 20;
/// Bytes asked for at once in a step that cannot be read.
const PART: usize = BLOCK as usize;
/// What an unreadable byte is given as: neither part of a record's magic nor room that was never used.
const UNREADABLE: u8 = 0xff;

/// A stretch of a file as far as it can be read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Readable {
    /// The bytes; [`UNREADABLE`] in place of those that cannot be read.
    pub bytes: Vec<u8>,
    /// Offsets in the file that cannot be read, ascending.
    pub unreadable: Vec<Range<u64>>,
}

/// Reads `len` bytes from `at`, around blocks that cannot be read.
///
/// # Errors
/// Where not a single byte can be read, since that is not the damage of a few blocks; and where the error is not one
/// of the medium.
pub fn read_around(disk: &dyn Disk, file: &File, at: u64, len: usize) -> io::Result<Readable> {
    let mut read = Readable {
        bytes: vec![0; len],
        unreadable: Vec::new(),
    };
    let mut readable = len == 0;
    let mut failed = None;
    for (index, step) in read.bytes.chunks_mut(STEP).enumerate() {
        let step_at = at + (index * STEP) as u64;
        match disk.read_at(file, step, step_at) {
            Ok(()) => {
                readable = true;
                continue;
            }
            Err(error) if is_medium(&error) => {}
            Err(error) => return Err(error),
        }
        for (index, block) in step.chunks_mut(PART).enumerate() {
            let block_at = step_at + (index * PART) as u64;
            match disk.read_at(file, block, block_at) {
                Ok(()) => readable = true,
                Err(error) if is_medium(&error) => {
                    block.fill(UNREADABLE);
                    note(&mut read.unreadable, block_at..block_at + block.len() as u64);
                    failed = Some(error);
                }
                Err(error) => return Err(error),
            }
        }
    }
    match failed {
        Some(error) if !readable => Err(error),
        _ => Ok(read),
    }
}

/// Whether an error says that bytes of the medium are lost: unreadable, or of a wrong checksum to the file system.
pub fn is_medium(error: &io::Error) -> bool {
    matches!(
        error.raw_os_error(),
        Some(libc::EIO | libc::EBADMSG | libc::EUCLEAN | libc::ENODATA)
    )
}

fn note(ranges: &mut Vec<Range<u64>>, block: Range<u64>) {
    match ranges.last_mut() {
        Some(last) if last.end == block.start => last.end = block.end,
        _ => ranges.push(block),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::fs;
    use std::os::unix::fs::MetadataExt;

    use super::*;
    use crate::store::log::testing::{Unsteady, noise};

    #[test]
    fn a_block_that_cannot_be_read_costs_no_more_than_itself() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        let bytes = noise((3 << 20) + 100, 1);
        fs::write(&path, &bytes).unwrap();
        let file = File::open(&path).unwrap();
        let disk = Unsteady::default();
        let rotten = (1 << 20) + 5000;
        let inode = file.metadata().unwrap().ino();
        disk.unreadable.lock().unwrap().push((inode, rotten..rotten + 1));
        let read = read_around(&disk, &file, 0, bytes.len()).unwrap();
        let gap = (1 << 20) + 4096..(1 << 20) + 8192;
        assert_eq!(read.unreadable.len(), 1);
        assert_eq!(read.unreadable[0], gap.start as u64..gap.end as u64);
        assert_eq!(read.bytes[..gap.start], bytes[..gap.start]);
        assert_eq!(read.bytes[gap.clone()], [UNREADABLE; 4096]);
        assert_eq!(read.bytes[gap.end..], bytes[gap.end..]);

        disk.unreadable.lock().unwrap().push((inode, 0..u64::MAX));
        let nothing = read_around(&disk, &file, 0, bytes.len());
        assert_eq!(nothing.unwrap_err().raw_os_error(), Some(libc::EIO));
    }
}
