//! What the store holds and what it takes: the figures of `larder stats` and of the gauges.
//!
//! They are counted by one scan of the index beside traffic, so nothing on the way of a request keeps them. Where
//! they come from, in bytes on the disk:
//!
//! ```text
//! log      = live + dead                                  what was written to journal/ and segments/
//! reserved = blocks of journal/ and segments/ - log
//!          + blocks of the ballast + blocks behind the end of index/db
//! physical = log + reserved + index (+ a few small files)  what du says of the data directory
//! ```

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::collect::mark::{MAX_MARKS, Marks};
use super::compact::usage::Usage;
use super::error::StoreError;
use super::index::{decode, keys};
use super::metrics;
use super::model::{File, FileKind, Place};
use super::pace::Pace;
use super::{Inner, Store};

/// Entries of the index that are read at once.
const SCAN_STEP: usize = 1024;

/// What a store holds and takes. Sizes in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stats {
    /// Packages.
    pub packages: u64,
    /// Versions.
    pub versions: u64,
    /// Files, those of removed versions included until they are swept.
    pub files: u64,
    /// Different bodies among those files.
    pub blobs: u64,
    /// Chunks that are stored, those included that collection has not dropped yet.
    pub chunks: u64,
    /// Length of all files together, each counted in full.
    pub logical_bytes: u64,
    /// Length of all chunks together, each counted once.
    pub unique_bytes: u64,
    /// Written to log files: headers, records, footers and the rest of blocks.
    pub log_bytes: u64,
    /// The part of the log that the index leads to; of the journal's metadata an estimate.
    pub live_bytes: u64,
    /// The part of the log that compaction can take away.
    pub dead_bytes: u64,
    /// Held on the disk for what comes: room in the active log files and for the index, and the ballast.
    pub reserved_bytes: u64,
    /// What the index takes on the disk, without the room reserved for it.
    pub index_bytes: u64,
    /// What the data directory takes on the disk, as `du` counts.
    pub physical_bytes: u64,
}

impl Stats {
    /// How many bytes of files each stored byte stands for; `None` where nothing is stored.
    pub fn dedupe_ratio(&self) -> Option<f64> {
        (self.unique_bytes > 0).then(|| self.logical_bytes as f64 / self.unique_bytes as f64)
    }
}

impl Store {
    /// Counts, and sets the gauges. Blocks: about a second for a million files.
    ///
    /// # Errors
    /// `Closed` where the pace says that it is time to end; `Index` or `Io` where something cannot be looked up.
    pub fn stats(&self, pace: &dyn Pace) -> Result<Stats, StoreError> {
        let mut count = Count::default();
        self.inner
            .each_entry(b"", pace, |key, value| count.add(key, value))?;
        let stats = count.finish(&self.inner, pace)?;
        metrics::stats(&stats);
        Ok(stats)
    }
}

/// Figures while the index is scanned.
struct Count {
    stats: Stats,
    usage: Usage,
    blobs: Marks,
}

impl Default for Count {
    fn default() -> Self {
        Count {
            stats: Stats::default(),
            usage: Usage::default(),
            blobs: Marks::from(0, MAX_MARKS),
        }
    }
}

impl Count {
    fn add(&mut self, key: &[u8], value: &[u8]) -> Result<(), StoreError> {
        let stats = &mut self.stats;
        match key.first() {
            Some(b'p') => stats.packages += 1,
            Some(b'v') => stats.versions += 1,
            Some(b'c') => {
                let place: Place = decode(value)?;
                stats.chunks += 1;
                stats.unique_bytes += u64::from(place.stored_len);
            }
            Some(b'f') => {
                let file: File = decode(value)?;
                stats.files += 1;
                stats.logical_bytes += file.size;
                self.blobs.mark(&file.blob);
            }
            _ => {}
        }
        self.usage.add(key, value)
    }

    fn finish(self, inner: &Inner, pace: &dyn Pace) -> Result<Stats, StoreError> {
        let mut stats = self.stats;
        stats.blobs = inner.count_blobs(self.blobs, pace)?;
        let journal = inner.log_sizes(FileKind::Journal)?.total();
        let segments = inner.log_sizes(FileKind::Segment)?.total();
        // Estimates, and the index goes on meanwhile: never more than there is.
        let live_journal = self.usage.of_journal().min(journal);
        let live_segments = self.usage.of_segments().min(segments);
        metrics::log_usage(FileKind::Journal, live_journal, journal);
        metrics::log_usage(FileKind::Segment, live_segments, segments);
        stats.log_bytes = journal + segments;
        stats.live_bytes = live_journal + live_segments;
        stats.dead_bytes = stats.log_bytes - stats.live_bytes;
        let blocks = |name: &str| blocks_below(&inner.data.join(name));
        let log_blocks = blocks("journal")? + blocks("segments")?;
        let behind_index = inner.index.reserved()?;
        stats.reserved_bytes = log_blocks.saturating_sub(stats.log_bytes) + blocks("ballast")? + behind_index;
        stats.index_bytes = blocks("index")?.saturating_sub(behind_index);
        stats.physical_bytes = blocks_below(&inner.data)?;
        Ok(stats)
    }
}

impl Inner {
    /// How many different blobs there are: those that fitted into the first scan, then the rest in further ones.
    fn count_blobs(&self, first: Marks, pace: &dyn Pace) -> Result<u64, StoreError> {
        let mut marked = first.finish();
        let mut count = marked.count() as u64;
        while let Some(from) = marked.range().end().checked_add(1) {
            let mut marks = Marks::from(from, MAX_MARKS);
            self.each_entry(&keys::all_files(), pace, |_, value| {
                marks.mark(&decode::<File>(value)?.blob);
                Ok(())
            })?;
            marked = marks.finish();
            count += marked.count() as u64;
        }
        Ok(count)
    }

    fn each_entry(
        &self,
        prefix: &[u8],
        pace: &dyn Pace,
        mut visit: impl FnMut(&[u8], &[u8]) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        let mut after: Option<Vec<u8>> = None;
        loop {
            let entries = self.index.scan(prefix, after.as_deref(), SCAN_STEP)?;
            let mut read = 0;
            for (key, value) in &entries {
                read += (key.len() + value.len()) as u64;
                visit(key, value)?;
            }
            if !pace.spend(read) {
                return Err(StoreError::Closed);
            }
            match entries.last() {
                Some((key, _)) => after = Some(key.to_vec()),
                None => return Ok(()),
            }
        }
    }
}

/// Bytes on the disk of a file, or of a directory with all that is in it; 0 where there is none.
fn blocks_below(path: &Path) -> io::Result<u64> {
    let meta = match fs::symlink_metadata(path) {
        // Removed since it was listed.
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(0),
        meta => meta?,
    };
    let mut bytes = meta.blocks() * 512;
    if meta.is_dir() {
        for entry in fs::read_dir(path)? {
            bytes += blocks_below(&entry?.path())?;
        }
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests;
