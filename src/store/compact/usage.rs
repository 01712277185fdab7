//! What is alive in each log file, by one scan of the index. Hints: the index changes meanwhile.

use std::collections::HashMap;
use std::io;

use super::Pass;
use crate::store::Inner;
use crate::store::error::StoreError;
use crate::store::index::decode;
use crate::store::log::files;
use crate::store::log::format::{FILE_HEADER_LEN, RECORD_HEADER_LEN, SegmentPosition, padded};
use crate::store::metrics;
use crate::store::model::{FileKind, Place};
use crate::store::position::Applied;

/// Entries of the index that are read at once.
const SCAN_STEP: usize = 1024;
/// What a bulk chunk takes in a places record, and again in the footer that repeats it, bytes.
const PLACED: u64 = 2 * 52;
/// What a record takes beside the value in the index, and again in the footer: header, names, ids, at most, bytes.
const RECORD: u64 = 2 * 192;

/// Live bytes by file.
#[derive(Debug, Default)]
pub struct Usage {
    live: HashMap<(FileKind, u64), u64>,
    /// About what names, accounts, tokens and the places of bulk chunks take in a compacted journal.
    metadata: u64,
}

impl Usage {
    /// Live bytes of a segment.
    pub fn of_segment(&self, number: u64) -> u64 {
        self.live.get(&(FileKind::Segment, number)).copied().unwrap_or(0)
    }

    /// Live bytes of all segments.
    pub fn of_segments(&self) -> u64 {
        let segments = self
            .live
            .iter()
            .filter(|((kind, _), _)| *kind == FileKind::Segment);
        segments.map(|(_, bytes)| bytes).sum()
    }

    /// About as many bytes as the journal would have if all that is dead were gone.
    pub fn of_journal(&self) -> u64 {
        let bodies = self
            .live
            .iter()
            .filter(|((kind, _), _)| *kind == FileKind::Journal);
        bodies.map(|(_, bytes)| bytes).sum::<u64>() + self.metadata
    }

    /// About what has to be copied of a journal file of `len` bytes, where all of them have `total`. Nobody knows which
    /// file has how much of the metadata, so each counts by its length.
    pub fn of_journal_file(&self, number: u64, len: u64, total: u64) -> u64 {
        let bodies = self.live.get(&(FileKind::Journal, number)).copied().unwrap_or(0);
        let share = u128::from(self.metadata) * u128::from(len) / u128::from(total.max(1));
        (bodies + share as u64).min(len)
    }

    /// Counts an entry of the index.
    pub fn add(&mut self, key: &[u8], value: &[u8]) -> Result<(), StoreError> {
        let len = value.len() as u64;
        match key.first() {
            Some(b'c' | b'b') => {
                let place: Place = decode(value)?;
                let record = padded(RECORD_HEADER_LEN as u64 + u64::from(place.stored_len));
                *self.live.entry((place.kind, place.file)).or_default() += record;
                self.metadata += PLACED;
                if key.first() == Some(&b'b') {
                    // The footer repeats manifests.
                    self.metadata += u64::from(place.stored_len);
                }
            }
            Some(b'f') => self.metadata += 2 * (len + key.len() as u64) + RECORD,
            Some(b'v' | b'p' | b'a' | b't') => self.metadata += 2 * len + RECORD,
            _ => {}
        }
        Ok(())
    }
}

/// Bytes of the log files of a kind that have been written so far.
#[derive(Debug)]
pub struct Sizes(Vec<(u64, u64)>);

impl Sizes {
    /// All files: number and length, oldest first.
    pub fn files(&self) -> &[(u64, u64)] {
        &self.0
    }

    /// Bytes together.
    pub fn total(&self) -> u64 {
        self.0.iter().map(|(_, len)| len).sum()
    }
}

impl Pass<'_> {
    /// What is alive where. `None`: the store is closing.
    pub(super) fn usage(&self) -> Result<Option<Usage>, StoreError> {
        let mut usage = Usage::default();
        let mut after: Option<Vec<u8>> = None;
        loop {
            let entries = self.inner.index.scan(b"", after.as_deref(), SCAN_STEP)?;
            let mut read = 0;
            for (key, value) in &entries {
                read += (key.len() + value.len()) as u64;
                usage.add(key, value)?;
            }
            if !self.pace.spend(read) {
                return Ok(None);
            }
            match entries.last() {
                Some((key, _)) => after = Some(key.to_vec()),
                None => break,
            }
        }
        let journal = self.inner.log_sizes(FileKind::Journal)?.total();
        metrics::log_usage(FileKind::Journal, usage.of_journal(), journal);
        let segments = self.inner.log_sizes(FileKind::Segment)?;
        let live = segments
            .files()
            .iter()
            .map(|(number, _)| usage.of_segment(*number));
        metrics::log_usage(FileKind::Segment, live.sum(), segments.total());
        Ok(Some(usage))
    }

    /// How far the index is.
    pub(super) fn applied(&self) -> Result<Option<Applied>, StoreError> {
        Applied::load(&self.inner.index)
    }
}

impl Inner {
    /// How long the files of a kind are, without the room that is kept for what comes.
    pub(in crate::store) fn log_sizes(&self, kind: FileKind) -> Result<Sizes, StoreError> {
        let data = &self.data;
        let end = match kind {
            FileKind::Journal => Applied::load(&self.index)?.map(|applied| SegmentPosition {
                file: applied.file,
                offset: applied.offset,
            }),
            FileKind::Segment => Some(self.bulk.segments.durable()),
        };
        let mut sizes = Vec::new();
        for number in files::list(data, kind)? {
            let len = match std::fs::metadata(files::path(data, kind, number)) {
                Ok(meta) => meta.len(),
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) => return Err(error.into()),
            };
            let written = match end {
                Some(end) if number == end.file => len.min(end.offset),
                Some(end) if number > end.file => FILE_HEADER_LEN,
                _ => len,
            };
            sizes.push((number, written));
        }
        Ok(Sizes(sizes))
    }
}
