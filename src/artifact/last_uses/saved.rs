//! The table on disk: written whole every few minutes, read at the start. It is a hint, not a record: what a crash
//! loses are the uses since it was last written, and a file that does not read is left aside.
//!
//! `LRDRUSES`, format version (4 bytes), number of lines (8 bytes), the slots (4 bytes each), a checksum over all of
//! it (4 bytes); numbers are little-endian.

use std::fs;
use std::io::{self, ErrorKind};
use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};

use super::{LINE, LastUses, Line, SLOTS};
use crate::chunk::crc32c;

const MAGIC: &[u8; 8] = b"LRDRUSES";
const VERSION: u32 = 1;
/// Bytes before the slots.
const HEAD: usize = 20;
/// Bytes after them.
const TAIL: usize = 4;

impl LastUses {
    /// The table as it was saved at `path`, brought to `bytes`; an empty one where there is none.
    ///
    /// # Errors
    /// Where there is a file that cannot be read or is damaged.
    pub fn load(path: &Path, bytes: u64) -> io::Result<Self> {
        let saved = match fs::read(path) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(LastUses::new(bytes)),
            saved => saved?,
        };
        let table = decode(&saved).ok_or_else(|| {
            let what = "it is damaged or of another version";
            io::Error::new(ErrorKind::InvalidData, what)
        })?;
        Ok(table.resized(bytes))
    }

    /// Writes the table to `path` if anything was noted since the last time. Blocks.
    ///
    /// # Errors
    /// Where it cannot be written; the one that was there stays.
    pub fn save(&self, path: &Path) -> io::Result<()> {
        if !self.changed.swap(false, Ordering::Relaxed) {
            return Ok(());
        }
        let new = path.with_extension("new");
        let saved = fs::write(&new, self.encode()).and_then(|()| fs::rename(&new, path));
        if saved.is_err() {
            self.changed.store(true, Ordering::Relaxed);
        }
        saved
    }

    fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(HEAD + self.lines.len() * LINE as usize + TAIL);
        bytes.extend_from_slice(MAGIC);
        bytes.extend_from_slice(&VERSION.to_le_bytes());
        bytes.extend_from_slice(&(self.lines.len() as u64).to_le_bytes());
        for slot in self.lines.iter().flat_map(|line| &line.0) {
            bytes.extend_from_slice(&slot.load(Ordering::Relaxed).to_le_bytes());
        }
        let checksum = crc32c::of(&bytes);
        bytes.extend_from_slice(&checksum.to_le_bytes());
        bytes
    }

    /// The same times in a table of another size: a line keeps the latest of the lines that it stands for, so nothing
    /// looks older than before.
    fn resized(self, bytes: u64) -> Self {
        let new = LastUses::new(bytes);
        let (from, to) = (self.lines.len() as u128, new.lines.len() as u128);
        if from == to {
            return self;
        }
        for (number, line) in new.lines.iter().enumerate() {
            let number = number as u128;
            let last = ((number + 1) * from - 1) / to;
            for old in &self.lines[(number * from / to) as usize..=last as usize] {
                for (slot, time) in line.0.iter().zip(&old.0) {
                    slot.fetch_max(time.load(Ordering::Relaxed), Ordering::Relaxed);
                }
            }
        }
        new
    }
}

fn decode(saved: &[u8]) -> Option<LastUses> {
    let (body, checksum) = saved.split_last_chunk::<TAIL>()?;
    let (head, slots) = body.split_at_checked(HEAD)?;
    let lines = u64::from_le_bytes(head[12..].try_into().ok()?);
    let is_ours = head[..8] == *MAGIC && head[8..12] == VERSION.to_le_bytes();
    let is_whole = crc32c::of(body).to_le_bytes() == *checksum;
    if !is_ours || !is_whole || lines == 0 || lines.checked_mul(LINE) != Some(slots.len() as u64) {
        return None;
    }
    let (words, _) = slots.as_chunks::<4>();
    let line = |words: &[[u8; 4]]| {
        Line(std::array::from_fn(|slot| {
            AtomicU32::new(u32::from_le_bytes(words[slot]))
        }))
    };
    Some(LastUses {
        lines: words.chunks_exact(SLOTS).map(line).collect(),
        changed: false.into(),
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    const KIB: u64 = 1024;

    #[test]
    fn what_is_saved_is_there_again_in_a_table_of_any_size() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("uses");
        let table = LastUses::load(&path, 8 * KIB).unwrap();
        (0..200_u32).for_each(|id| table.note_at(u64::from(id), id + 1));
        table.save(&path).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().len(), 8 * KIB + 24);
        for bytes in [8 * KIB, 64 * KIB, 1000, 3000, 10_000] {
            let loaded = LastUses::load(&path, bytes).unwrap();
            assert_eq!(loaded.lines.len() as u64, bytes / LINE);
            for id in 0..200 {
                let (was, is) = (table.last(id), loaded.last(id));
                assert!(is >= was, "{bytes}: {id} looks older: {was:?}, {is:?}");
                if bytes >= 8 * KIB && bytes.is_multiple_of(8 * KIB) {
                    assert_eq!(is, was, "{bytes}: {id}");
                }
            }
        }
    }

    #[test]
    fn only_changes_are_written() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("uses");
        let table = LastUses::new(KIB);
        table.save(&path).unwrap();
        assert!(!path.exists());
        table.note([1, 2]);
        table.save(&dir.path().join("no/such/directory")).unwrap_err();
        table.save(&path).unwrap();
        assert!(path.exists(), "a failed attempt does not count");
    }

    #[test]
    fn a_damaged_file_is_told_from_none() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("uses");
        let table = LastUses::new(KIB);
        table.note([1, 2]);
        let whole = table.encode();
        for damage in [
            whole[..whole.len() - 1].to_vec(),
            [&whole[..100], &[whole[100] ^ 1], &whole[101..]].concat(),
            Vec::new(),
            b"LRDRUSES".to_vec(),
            vec![0; 2000],
        ] {
            fs::write(&path, damage).unwrap();
            assert_eq!(
                LastUses::load(&path, KIB).unwrap_err().kind(),
                ErrorKind::InvalidData
            );
        }
    }
}
