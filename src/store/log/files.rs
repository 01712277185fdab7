//! Log files open for reading, and records read from them and verified.

use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use foldhash::fast::RandomState;

use super::format::{Binding, RECORD_HEADER_LEN, RecordHeader, RecordKind};
use super::page_cache;
use crate::chunk::Digest;
use crate::store::error::StoreError;
use crate::store::model::{FileKind, Place};

/// The directory of the files of a kind in the data directory.
pub fn directory(data: &Path, kind: FileKind) -> PathBuf {
    match kind {
        FileKind::Journal => data.join("journal"),
        FileKind::Segment => data.join("segments"),
    }
}

/// The path of a log file in the data directory.
pub fn path(data: &Path, kind: FileKind, number: u64) -> PathBuf {
    let extension = extension(kind);
    directory(data, kind).join(format!("{number:016x}.{extension}"))
}

/// A place in words: `journal/0000000000000001.log at 4096`.
pub fn describe(place: &Place) -> String {
    let path = path(Path::new(""), place.kind, place.file);
    format!("{} at {}", path.display(), place.offset)
}

/// The number in the name of a log file; `None` for a name that is not one.
pub fn number(kind: FileKind, name: &str) -> Option<u64> {
    let (stem, end) = name.split_once('.')?;
    let digits = stem.len() == 16 && stem.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    if !digits || end != extension(kind) {
        return None;
    }
    u64::from_str_radix(stem, 16).ok()
}

/// The numbers of the log files of a kind, ascending. Other names are left alone.
pub fn list(data: &Path, kind: FileKind) -> io::Result<Vec<u64>> {
    let mut numbers = Vec::new();
    for entry in std::fs::read_dir(directory(data, kind))? {
        let name = entry?.file_name();
        numbers.extend(name.to_str().and_then(|name| number(kind, name)));
    }
    numbers.sort_unstable();
    Ok(numbers)
}

fn extension(kind: FileKind) -> &'static str {
    match kind {
        FileKind::Journal => "log",
        FileKind::Segment => "seg",
    }
}

/// Opens log files by number and keeps the ones used last open.
#[derive(Debug)]
pub struct LogFiles {
    data: PathBuf,
    store: [u8; 16],
    /// Most handles kept; more can be open while readers hold them.
    capacity: usize,
    cache: Mutex<Cache>,
}

#[derive(Debug, Default)]
struct Cache {
    handles: HashMap<(FileKind, u64), Handle, RandomState>,
    /// Counts uses.
    clock: u64,
}

#[derive(Debug)]
struct Handle {
    file: Arc<LogFile>,
    /// The clock at its last use.
    used: u64,
}

impl LogFiles {
    /// Files of the store with this uuid under `data`, at most `capacity` of them kept open.
    pub fn new(data: &Path, store: [u8; 16], capacity: usize) -> Self {
        LogFiles {
            data: data.to_owned(),
            store,
            capacity: capacity.max(1),
            cache: Mutex::default(),
        }
    }

    /// The file, open for reading. The handle stays good while it is held, whatever becomes of the file's name.
    ///
    /// # Errors
    /// `Io`, of kind `NotFound` where there is no such file (any more).
    pub fn open(&self, kind: FileKind, number: u64) -> Result<Arc<LogFile>, StoreError> {
        if let Some(file) = self.cache().find((kind, number)) {
            return Ok(file);
        }
        // Opened without the lock: others need not wait for the disk, and one handle too many does no harm.
        let file = Arc::new(LogFile {
            file: File::open(path(&self.data, kind, number))?,
            binding: Binding {
                store: self.store,
                kind,
                file: number,
            },
        });
        self.cache().keep((kind, number), file.clone(), self.capacity);
        // Its name may have gone, and been forgotten, before the handle was kept.
        if file.is_nameless()? {
            self.forget(kind, number);
        }
        Ok(file)
    }

    /// Whether there is such a file.
    pub fn has(&self, kind: FileKind, number: u64) -> Result<bool, StoreError> {
        match self.open(kind, number) {
            Ok(_) => Ok(true),
            Err(StoreError::Io(error)) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Closes the kept handle of a file whose name is gone, so that its space can be freed.
    pub fn forget(&self, kind: FileKind, number: u64) {
        self.cache().handles.remove(&(kind, number));
    }

    /// Reads and verifies the record at `place`.
    ///
    /// # Errors
    /// As [`LogFiles::open`] and [`LogFile::record`].
    pub fn record(&self, place: &Place) -> Result<Record, StoreError> {
        self.open(place.kind, place.file)?.record(place)
    }

    fn cache(&self) -> std::sync::MutexGuard<'_, Cache> {
        self.cache.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Cache {
    fn find(&mut self, key: (FileKind, u64)) -> Option<Arc<LogFile>> {
        self.clock += 1;
        let handle = self.handles.get_mut(&key)?;
        handle.used = self.clock;
        Some(handle.file.clone())
    }

    fn keep(&mut self, key: (FileKind, u64), file: Arc<LogFile>, capacity: usize) {
        let used = self.clock;
        self.handles.insert(key, Handle { file, used });
        while self.handles.len() > capacity {
            let oldest = self.handles.iter().min_by_key(|(_, handle)| handle.used);
            let Some((&oldest, _)) = oldest else { return };
            self.handles.remove(&oldest);
        }
    }
}

/// A log file open for reading.
#[derive(Debug)]
pub struct LogFile {
    file: File,
    binding: Binding,
}

/// A record that was found whole and unchanged.
#[derive(Clone, Debug)]
pub struct Record {
    /// Its header.
    pub header: RecordHeader,
    /// Its payload as stored.
    pub payload: Bytes,
}

impl LogFile {
    /// What the file's records are bound to.
    pub fn binding(&self) -> &Binding {
        &self.binding
    }

    /// The file itself.
    pub(super) fn handle(&self) -> &File {
        &self.file
    }

    /// Whether the file has been deleted and lives only as long as it is open.
    fn is_nameless(&self) -> io::Result<bool> {
        Ok(self.file.metadata()?.nlink() == 0)
    }

    /// Length of the file in bytes, preallocated ones included.
    pub fn size(&self) -> io::Result<u64> {
        Ok(self.file.metadata()?.len())
    }

    /// Fills `buffer` from `offset`.
    pub fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        self.file.read_exact_at(buffer, offset)
    }

    /// `len` bytes from `offset`, in a buffer that is not zeroed first.
    ///
    /// # Errors
    /// `UnexpectedEof` where the file ends before.
    pub fn read(&self, len: usize, offset: u64) -> io::Result<Vec<u8>> {
        let mut buffer = Vec::with_capacity(len);
        while buffer.len() < len {
            let at = offset + buffer.len() as u64;
            match rustix::io::pread(&self.file, rustix::buffer::spare_capacity(&mut buffer), at) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
        buffer.truncate(len);
        Ok(buffer)
    }

    /// Like [`LogFile::read`], but only from the page cache: `None` where that does not hold all of it.
    ///
    /// # Errors
    /// `Unsupported` or `InvalidInput` where the kernel or file system cannot tell what is cached.
    pub fn read_cached(&self, len: usize, offset: u64) -> io::Result<Option<Vec<u8>>> {
        let mut buffer = Vec::with_capacity(len);
        Ok(self.append_cached(&mut buffer, len, offset)?.then_some(buffer))
    }

    /// Appends what [`LogFile::read_cached`] reads to `buffer`. False, and nothing is appended, where the page cache does
    /// not hold all of it.
    ///
    /// # Errors
    /// As [`LogFile::read_cached`]; nothing is appended.
    pub fn append_cached(&self, buffer: &mut Vec<u8>, len: usize, offset: u64) -> io::Result<bool> {
        let before = buffer.len();
        match page_cache::read_cached(&self.file, buffer, len, offset) {
            Ok(read) if read == len => Ok(true),
            Ok(_) => {
                buffer.truncate(before);
                Ok(false)
            }
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted
                ) =>
            {
                Ok(false)
            }
            Err(error) => Err(error),
        }
    }

    /// Whether the page cache holds the byte at `offset`; false where nobody can tell.
    pub fn is_cached(&self, offset: u64) -> bool {
        matches!(
            page_cache::read_cached(&self.file, &mut Vec::new(), 1, offset),
            Ok(1)
        )
    }

    /// Sends up to `len` bytes from `offset` to a socket, straight from the page cache; returns how many.
    ///
    /// # Errors
    /// `WouldBlock` where the socket takes nothing now; `UnexpectedEof` where the file ends before.
    pub fn send(&self, socket: impl AsFd, offset: u64, len: u64) -> io::Result<u64> {
        let count = usize::try_from(len).unwrap_or(usize::MAX);
        let mut at = offset;
        match rustix::fs::sendfile(socket, &self.file, Some(&mut at), count)? {
            0 if count > 0 => Err(io::ErrorKind::UnexpectedEof.into()),
            sent => Ok(sent as u64),
        }
    }

    /// Reads and verifies the record at `place`: header and, of a chunk, the digest, else the payload's checksum.
    ///
    /// # Errors
    /// `Damaged` where the bytes are not the record they should be; `Io` where they cannot be read.
    pub fn record(&self, place: &Place) -> Result<Record, StoreError> {
        let len = RECORD_HEADER_LEN + place.stored_len as usize;
        let bytes = self.read(len, place.offset).map_err(cut_short)?;
        self.verify(place, Bytes::from(bytes))
    }

    /// Verifies `bytes`, read from `place`, as [`LogFile::record`] does.
    pub fn verify(&self, place: &Place, bytes: Bytes) -> Result<Record, StoreError> {
        let header = self.header(place, &bytes)?;
        let payload = bytes.slice(RECORD_HEADER_LEN..);
        // The digest of a chunk says all that the checksum does, and more.
        if header.kind != RecordKind::Chunk {
            header.check_payload(&payload).map_err(damaged)?;
        } else if payload.len() != header.stored_len as usize || Digest::of(&payload) != header.digest {
            return Err(StoreError::Damaged("payload digest".to_owned()));
        }
        Ok(Record { header, payload })
    }

    /// Reads the header that `bytes`, read from `place`, begin with.
    pub fn header(&self, place: &Place, bytes: &[u8]) -> Result<RecordHeader, StoreError> {
        let header = RecordHeader::decode(bytes, &self.binding, place.offset).map_err(damaged)?;
        if header.stored_len != place.stored_len {
            return Err(StoreError::Damaged("record length".to_owned()));
        }
        Ok(header)
    }
}

fn damaged(error: super::format::FormatError) -> StoreError {
    StoreError::Damaged(error.to_string())
}

/// Bytes that a record should have and the file does not are damage, not an I/O error.
pub(super) fn cut_short(error: io::Error) -> StoreError {
    match error.kind() {
        io::ErrorKind::UnexpectedEof => StoreError::Damaged("file is cut short".to_owned()),
        _ => StoreError::Io(error),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::fs;

    use super::*;
    use crate::chunk::crc32c;

    const STORE: [u8; 16] = [3; 16];

    fn put(data: &Path, number: u64, payload: &[u8]) -> Place {
        let binding = Binding {
            store: STORE,
            kind: FileKind::Segment,
            file: number,
        };
        let len = payload.len() as u32;
        let header = RecordHeader::raw(
            RecordKind::Chunk,
            0,
            Digest::of(payload),
            len,
            crc32c::of(payload),
        );
        let mut bytes = binding.encode_file_header();
        let offset = bytes.len() as u64;
        bytes.extend_from_slice(&header.encode(&binding, offset));
        bytes.extend_from_slice(payload);
        fs::create_dir_all(directory(data, FileKind::Segment)).unwrap();
        fs::write(path(data, FileKind::Segment, number), bytes).unwrap();
        Place {
            kind: FileKind::Segment,
            file: number,
            offset,
            stored_len: len,
        }
    }

    #[test]
    fn names_round_trip() {
        let path = path(Path::new("/d"), FileKind::Journal, 0xab);
        assert_eq!(path, Path::new("/d/journal/00000000000000ab.log"));
        assert_eq!(number(FileKind::Journal, "00000000000000ab.log"), Some(0xab));
        for wrong in [
            "00000000000000ab.seg",
            "ab.log",
            "00000000000000AB.log",
            "+0000000000000ab.log",
            "x",
        ] {
            assert_eq!(number(FileKind::Journal, wrong), None, "{wrong}");
        }
    }

    #[test]
    fn a_flipped_bit_is_never_returned() {
        let dir = tempfile::tempdir().unwrap();
        let place = put(dir.path(), 1, b"some bytes");
        let good = fs::read(path(dir.path(), FileKind::Segment, 1)).unwrap();
        for byte in place.offset as usize..good.len() {
            let mut bad = good.clone();
            bad[byte] ^= 0x10;
            fs::write(path(dir.path(), FileKind::Segment, 1), bad).unwrap();
            let files = LogFiles::new(dir.path(), STORE, 4);
            assert!(
                matches!(files.record(&place), Err(StoreError::Damaged(_))),
                "byte {byte}"
            );
        }
        fs::write(path(dir.path(), FileKind::Segment, 1), &good[..good.len() - 1]).unwrap();
        let files = LogFiles::new(dir.path(), STORE, 4);
        assert!(matches!(files.record(&place), Err(StoreError::Damaged(_))));
    }

    #[test]
    fn a_held_handle_outlives_the_file() {
        let dir = tempfile::tempdir().unwrap();
        let place = put(dir.path(), 1, b"some bytes");
        let files = LogFiles::new(dir.path(), STORE, 4);
        let held = files.open(FileKind::Segment, 1).unwrap();
        fs::remove_file(path(dir.path(), FileKind::Segment, 1)).unwrap();
        files.forget(FileKind::Segment, 1);
        assert_eq!(held.record(&place).unwrap().payload, b"some bytes"[..]);
        let gone = files.open(FileKind::Segment, 1).unwrap_err();
        assert!(matches!(gone, StoreError::Io(error) if error.kind() == io::ErrorKind::NotFound));
    }

    #[test]
    fn only_the_files_used_last_stay_open() {
        let dir = tempfile::tempdir().unwrap();
        for number in 1..=3 {
            put(dir.path(), number, b"x");
        }
        let files = LogFiles::new(dir.path(), STORE, 2);
        let first = files.open(FileKind::Segment, 1).unwrap();
        let second = Arc::downgrade(&files.open(FileKind::Segment, 2).unwrap());
        files.open(FileKind::Segment, 1).unwrap();
        files.open(FileKind::Segment, 3).unwrap();
        assert!(
            second.upgrade().is_none(),
            "the least recently used one is closed"
        );
        assert!(Arc::ptr_eq(&first, &files.open(FileKind::Segment, 1).unwrap()));
    }

    #[test]
    fn cached_reads_return_the_bytes_or_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let place = put(dir.path(), 1, b"some bytes");
        let files = LogFiles::new(dir.path(), STORE, 2);
        let file = files.open(FileKind::Segment, 1).unwrap();
        let payload = place.offset + RECORD_HEADER_LEN as u64;
        assert_eq!(file.read(10, payload).unwrap(), b"some bytes");
        match file.read_cached(10, payload) {
            Ok(read) => assert!(read.is_none_or(|bytes| bytes == b"some bytes")),
            Err(error) => assert!(matches!(
                error.kind(),
                io::ErrorKind::Unsupported | io::ErrorKind::InvalidInput
            )),
        }
        assert!(matches!(file.read_cached(11, payload), Ok(None) | Err(_)));
    }
}
