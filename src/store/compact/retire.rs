//! The end of a log file: the last pass over what was in it, and its removal.

use super::{Pass, Step, reached};
use crate::chunk::Digest;
use crate::store::change::Change;
use crate::store::error::StoreError;
use crate::store::index::{decode, keys};
use crate::store::log::files;
use crate::store::metrics;
use crate::store::model::{FileKind, Place};

/// Entries of the index that are read at once.
const SCAN_STEP: usize = 1024;

/// A log file.
pub type FileId = (FileKind, u64);

impl Pass<'_> {
    /// Whether neither the index nor a pin leads to this chunk in the file. Once that is so it stays so: whoever asks
    /// for the chunk finds it through the index.
    pub(super) fn is_chunk_elsewhere(&self, file: FileId, digest: &Digest) -> Result<bool, StoreError> {
        let look = || self.is_elsewhere(file, &keys::chunk(digest));
        let looked = self.inner.bulk.pins.unless_pinned_in(digest, file, look);
        looked.unwrap_or(Ok(false))
    }

    /// Whether this key of the index does not lead into the file.
    pub(super) fn is_elsewhere(&self, file: FileId, key: &[u8]) -> Result<bool, StoreError> {
        let place: Option<Place> = self.inner.index.get_as(key)?;
        Ok(place.is_none_or(|place| (place.kind, place.file) != file))
    }

    /// Whether anything in the index leads into the file, by a scan of all of it.
    pub(super) fn is_known(&self, file: FileId) -> Result<bool, StoreError> {
        for kind in [b'c', b'b'] {
            let mut after: Option<Vec<u8>> = None;
            loop {
                let entries = self.inner.index.scan(&[kind], after.as_deref(), SCAN_STEP)?;
                for (_, value) in &entries {
                    let place: Place = decode(value)?;
                    if (place.kind, place.file) == file {
                        return Ok(true);
                    }
                }
                match entries.last() {
                    Some((key, _)) => after = Some(key.to_vec()),
                    None => break,
                }
            }
        }
        Ok(false)
    }

    /// Removes files that nothing leads into, in this order. False: some had to stay, because a backup copies them.
    pub(super) fn retire(&mut self, retired: &[FileId]) -> Result<bool, StoreError> {
        if retired.is_empty() {
            return Ok(true);
        }
        self.keep_segment_numbers(retired)?;
        self.inner.index.checkpoint()?;
        if !self.inner.index.is_sound() {
            return Err(StoreError::Index("an earlier checkpoint failed".into()));
        }
        reached(Step::Checkpointed);
        for &(kind, number) in retired {
            let path = files::path(&self.inner.data, kind, number);
            let len = std::fs::metadata(&path)?.len();
            // Durable before the next one goes: a file of the journal that came back without those behind it would
            // bring back what they removed.
            let Some(removed) = self.inner.holds.unless_held(|| self.inner.disk.remove(&path)) else {
                self.done.waiting += 1;
                return Ok(false);
            };
            removed?;
            self.inner.readers.files().forget(kind, number);
            self.inner.bulk.room.give_back(len);
            self.done.files += 1;
            self.done.freed += len;
            metrics::log_file_removed(kind, len);
            tracing::info!(
                ?kind,
                file = number,
                bytes = len,
                "a log file was compacted and removed"
            );
            reached(Step::Unlinked);
        }
        Ok(true)
    }

    /// A segment's number is not used again, because the journal says how far they have come.
    fn keep_segment_numbers(&self, retired: &[FileId]) -> Result<(), StoreError> {
        let highest = retired
            .iter()
            .filter(|(kind, _)| *kind == FileKind::Segment)
            .map(|(_, number)| *number)
            .max();
        let said = self.applied()?.map(|applied| applied.durable_segments.file);
        match highest > said {
            true => self.commit(Change::Mark { last_of_file: false }),
            false => Ok(()),
        }
    }
}
