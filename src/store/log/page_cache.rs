//! Two calls about the page cache that only `libc` offers in the form needed here. All of the store's `unsafe`.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;

/// Asks the kernel to begin writing out these bytes of the file, and does not wait for it. A hint, never a promise
/// of durability, so its errors are nobody's concern: the sync that must follow reports what went wrong.
#[allow(unsafe_code)]
pub fn start_writeback(file: &File, offset: u64, len: u64) {
    let (Ok(offset), Ok(len)) = (offset.try_into(), len.try_into()) else {
        return;
    };
    // SAFETY: takes numbers only; the descriptor is open for as long as `file` is borrowed.
    unsafe { libc::sync_file_range(file.as_raw_fd(), offset, len, libc::SYNC_FILE_RANGE_WRITE) };
}

/// Appends to `buffer` up to `len` bytes of the file from `offset` that the page cache holds already, without
/// waiting for a disk, and returns how many. The buffer's spare room is filled without being zeroed first.
///
/// # Errors
/// `WouldBlock` where nothing is cached; `Unsupported` or `InvalidInput` where the kernel or file system cannot tell.
#[allow(unsafe_code)]
pub fn read_cached(file: &File, buffer: &mut Vec<u8>, len: usize, offset: u64) -> io::Result<usize> {
    let offset = offset.try_into().map_err(|_| io::ErrorKind::InvalidInput)?;
    buffer.reserve(len);
    let spare = buffer.spare_capacity_mut();
    let target = libc::iovec {
        iov_base: spare.as_mut_ptr().cast(),
        iov_len: len.min(spare.len()),
    };
    // SAFETY: `target` is one vector over spare capacity that `buffer` owns and nobody else touches meanwhile.
    let read = unsafe { libc::preadv2(file.as_raw_fd(), &raw const target, 1, offset, libc::RWF_NOWAIT) };
    let read = usize::try_from(read).map_err(|_| io::Error::last_os_error())?;
    // SAFETY: the kernel has written the first `read` bytes of the spare capacity.
    unsafe { buffer.set_len(buffer.len() + read) };
    Ok(read)
}
