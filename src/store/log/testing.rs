//! A store's log for tests: a temporary directory, and a disk that fails or stalls when told to.

#![allow(clippy::unwrap_used)]

use std::fs::{self, File};
use std::io::{self, IoSlice};
use std::ops::Range;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::oneshot;

use super::disk::{Disk, Kernel};
use super::files::{LogFiles, directory};
use super::segment::{SegmentOptions, SegmentWriter};
use crate::chunk::Digest;
use crate::store::error::StoreError;
use crate::store::model::{FileKind, Place};

/// The uuid of every test store.
pub const STORE: [u8; 16] = [5; 16];

/// A data directory with an empty `segments`.
pub fn data_dir() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir(directory(dir.path(), FileKind::Segment)).unwrap();
    fs::create_dir(directory(dir.path(), FileKind::Journal)).unwrap();
    dir
}

/// Small segments under `data`, from number 1 on.
pub fn options(data: &Path) -> SegmentOptions {
    SegmentOptions {
        data: data.to_owned(),
        store: STORE,
        next_file: 1,
        first_size: 64 << 10,
        full_size: 1 << 20,
        queue_bytes: 1 << 20,
    }
}

/// A writer and the disk it works on.
pub fn writer(options: SegmentOptions) -> (SegmentWriter, Arc<Unsteady>) {
    let disk = Arc::new(Unsteady::default());
    (SegmentWriter::start(options, disk.clone()).unwrap(), disk)
}

/// Sends `body` to be appended; the answer says where it went.
pub async fn send(
    writer: &SegmentWriter,
    body: Bytes,
) -> Result<oneshot::Receiver<Result<Place, StoreError>>, StoreError> {
    let (reply, answer) = oneshot::channel();
    let (digest, len) = (Digest::of(&body), body.len() as u32);
    let written = Box::new(|result| drop(reply.send(result)));
    writer.append(digest, vec![body], len, written).await?;
    Ok(answer)
}

/// Appends `body`.
pub async fn put(writer: &SegmentWriter, body: Bytes) -> Result<Place, StoreError> {
    send(writer, body).await?.await.unwrap()
}

/// Readers of the files under `data`.
pub fn files(data: &Path) -> LogFiles {
    LogFiles::new(data, STORE, 8)
}

/// A copy of the directory as it is now: what a crash of the process would leave.
pub fn snapshot(data: &Path) -> tempfile::TempDir {
    let copy = data_dir();
    for kind in [FileKind::Segment, FileKind::Journal] {
        for entry in fs::read_dir(directory(data, kind)).unwrap() {
            let path: PathBuf = entry.unwrap().path();
            fs::copy(
                &path,
                directory(copy.path(), kind).join(path.file_name().unwrap()),
            )
            .unwrap();
        }
    }
    copy
}

/// Bytes that look random and differ by `seed`.
pub fn noise(len: usize, seed: u64) -> Bytes {
    crate::chunk::testing::noise(len, seed).into()
}

/// The kernel's disk, until it is told to fail with an error number or to stall.
#[derive(Debug, Default)]
pub struct Unsteady {
    /// Error number for allocations; 0 for none.
    pub allocate_fails: AtomicI32,
    /// Error number for writes; 0 for none. Half of the bytes are written.
    pub write_fails: AtomicI32,
    /// Error number for syncs; 0 for none.
    pub sync_fails: AtomicI32,
    /// Whether the next write panics.
    pub panics: AtomicBool,
    /// Stretches of files, by inode, that cannot be read.
    pub unreadable: Mutex<Vec<(u64, Range<u64>)>>,
    /// To what length somebody else cuts the next file that is read, just before.
    pub cut: Mutex<Option<u64>>,
    /// Syncs so far.
    pub syncs: AtomicUsize,
    /// Whether a call waits just now.
    pub stalling: AtomicBool,
    stalled: Mutex<bool>,
    released: Condvar,
}

impl Unsteady {
    /// Lets writes and syncs wait, or go on.
    pub fn stall(&self, stalled: bool) {
        *self.stalled.lock().unwrap() = stalled;
        self.released.notify_all();
    }

    /// Waits until a call is held back.
    pub async fn until_stalling(&self) {
        for _ in 0..30_000 {
            if self.stalling.load(Ordering::SeqCst) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        panic!("the disk was never asked");
    }

    fn pass(&self, fails: &AtomicI32) -> io::Result<()> {
        let mut stalled = self.stalled.lock().unwrap();
        while *stalled {
            self.stalling.store(true, Ordering::SeqCst);
            stalled = self.released.wait(stalled).unwrap();
        }
        self.stalling.store(false, Ordering::SeqCst);
        match fails.load(Ordering::SeqCst) {
            0 => Ok(()),
            code => Err(io::Error::from_raw_os_error(code)),
        }
    }
}

impl Disk for Unsteady {
    fn create(&self, path: &Path) -> io::Result<File> {
        Kernel.create(path)
    }

    fn open(&self, path: &Path) -> io::Result<File> {
        Kernel.open(path)
    }

    fn allocate(&self, file: &File, at: u64, len: u64) -> io::Result<u64> {
        self.pass(&self.allocate_fails)?;
        Kernel.allocate(file, at, len)
    }

    fn write_at(&self, file: &File, buffers: &mut [IoSlice<'_>], offset: u64) -> io::Result<()> {
        assert!(!self.panics.load(Ordering::SeqCst), "as told");
        if let Err(error) = self.pass(&self.write_fails) {
            let half = buffers.len() / 2;
            Kernel.write_at(file, &mut buffers[..half], offset)?;
            return Err(error);
        }
        Kernel.write_at(file, buffers, offset)
    }

    fn sync(&self, file: &File) -> io::Result<()> {
        self.syncs.fetch_add(1, Ordering::SeqCst);
        self.pass(&self.sync_fails)?;
        Kernel.sync(file)
    }

    fn read_at(&self, file: &File, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        if let Some(len) = self.cut.lock().unwrap().take() {
            file.set_len(len)?;
        }
        let asked = offset..offset + buffer.len() as u64;
        let rotten = self.unreadable.lock().unwrap();
        if rotten.iter().any(|(inode, bytes)| {
            *inode == file.metadata().unwrap().ino() && bytes.start < asked.end && asked.start < bytes.end
        }) {
            return Err(io::Error::from_raw_os_error(libc::EIO));
        }
        Kernel.read_at(file, buffer, offset)
    }

    fn set_len(&self, file: &File, len: u64) -> io::Result<()> {
        Kernel.set_len(file, len)
    }

    fn sync_all(&self, file: &File) -> io::Result<()> {
        Kernel.sync_all(file)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        Kernel.remove(path)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        Kernel.sync_dir(dir)
    }
}
