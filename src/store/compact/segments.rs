//! Compaction of segments: chunks that are alive are copied into the active segment, mostly dead files first.

use std::sync::mpsc::{Receiver, channel};

use super::wait::wait;
use super::{Compacted, Fate, Pass, Step, reached};
use crate::chunk::Digest;
use crate::store::Inner;
use crate::store::bulk::ChunkPlaces;
use crate::store::change::{Change, Moved};
use crate::store::error::StoreError;
use crate::store::log::files::{LogFile, Record};
use crate::store::log::format::{FILE_HEADER_LEN, RecordKind};
use crate::store::log::segment::end_of;
use crate::store::log::segment_footer::{Footer, FooterEntry};
use crate::store::metrics;
use crate::store::model::{FileKind, Place};
use crate::store::pace::Pace;

/// Bytes that are copied before the copies are synced and committed.
const WINDOW_BYTES: u64 = 8 << 20;
/// Chunks, likewise.
const WINDOW_CHUNKS: usize = 512;
/// Files that share a checkpoint.
const RETIRE_TOGETHER: usize = 16;

/// Compacts segments that are mostly dead; `full`: all that are not wholly alive, the active one included. Blocks and
/// fails as [`compact`](super::compact()).
pub(super) fn segments(inner: &Inner, full: bool, pace: &dyn Pace) -> Result<Compacted, StoreError> {
    let mut pass = Pass::new(inner, full, pace)?;
    let mut ready = Vec::new();
    let room = &inner.bulk.room;
    for (live, number) in pass.candidates()? {
        if !room.stays_below_high(live) {
            // What has been copied already makes room for more.
            pass.retire(&ready)?;
            ready.clear();
        }
        if live > 0 && live > room.for_copies(FileKind::Segment) {
            // The others have more to copy.
            pass.retire(&ready)?;
            return Err(StoreError::NoSpace);
        }
        match pass.empty_segment(number)? {
            Fate::Forsaken => ready.push((FileKind::Segment, number)),
            Fate::Stopped => {
                pass.keep(Fate::Stopped);
                break;
            }
            fate => pass.keep(fate),
        }
        if ready.len() == RETIRE_TOGETHER {
            pass.retire(&ready)?;
            ready.clear();
        }
    }
    pass.retire(&ready)?;
    Ok(pass.done)
}

/// Copies that wait to be synced and committed.
#[derive(Default)]
struct Window {
    bytes: u64,
    copies: Vec<Copy>,
}

struct Copy {
    digest: Digest,
    from: Place,
    written: Receiver<Result<Place, StoreError>>,
}

impl Window {
    fn is_full(&self) -> bool {
        self.bytes >= WINDOW_BYTES || self.copies.len() >= WINDOW_CHUNKS
    }
}

impl Pass<'_> {
    /// Live bytes and numbers of the segments that are worth it, those with the least to copy first.
    fn candidates(&self) -> Result<Vec<(u64, u64)>, StoreError> {
        let Some(usage) = self.usage()? else {
            return Ok(Vec::new());
        };
        let mut candidates: Vec<(u64, u64)> = Vec::new();
        for &(number, len) in self.inner.log_sizes(FileKind::Segment)?.files() {
            let live = usage.of_segment(number);
            let total = len.saturating_sub(FILE_HEADER_LEN);
            if live == 0 || self.is_worth_it(total.saturating_sub(live), total) {
                candidates.push((live, number));
            }
        }
        let active = self.inner.bulk.segments.durable().file;
        if self.full && candidates.iter().any(|(_, number)| *number == active) {
            wait(self.inner.bulk.segments.rotate())?;
        }
        candidates.sort_unstable();
        Ok(candidates)
    }

    /// Copies what is alive in a segment elsewhere.
    fn empty_segment(&mut self, number: u64) -> Result<Fate, StoreError> {
        let file = self.inner.readers.files().open(FileKind::Segment, number)?;
        let footer = match Footer::read(&file) {
            Ok(Some(footer)) => footer,
            Ok(None) => return Ok(Fate::Waiting),
            Err(StoreError::Damaged(why)) => {
                tracing::warn!(segment = number, %why, "a segment cannot be compacted");
                return Ok(Fate::Damaged);
            }
            Err(error) => return Err(error),
        };
        let fate = self.copy_chunks(&file, &footer)?;
        if fate != Fate::Forsaken {
            return Ok(fate);
        }
        for entry in &footer.entries {
            if !self.is_chunk_elsewhere((FileKind::Segment, number), &entry.digest)? {
                return Ok(Fate::Waiting);
            }
        }
        Ok(Fate::Forsaken)
    }

    fn copy_chunks(&mut self, file: &LogFile, footer: &Footer) -> Result<Fate, StoreError> {
        let mut window = Window::default();
        let mut damaged = 0;
        for entry in &footer.entries {
            let from = place_of(file, entry);
            if self.inner.index.place(&entry.digest)? != Some(from) {
                continue;
            }
            let Some(record) = self.read_live(file, &entry.digest, &from)? else {
                damaged += 1;
                continue;
            };
            window.bytes += u64::from(from.stored_len);
            window.copies.push(Copy {
                digest: entry.digest,
                from,
                written: self.append(entry.digest, record)?,
            });
            // Read once, written once.
            let go_on = self.pace.spend(2 * u64::from(from.stored_len));
            if window.is_full() || !go_on {
                self.move_window(std::mem::take(&mut window))?;
            }
            if !go_on {
                return Ok(Fate::Stopped);
            }
        }
        self.move_window(window)?;
        match damaged {
            0 => Ok(Fate::Forsaken),
            _ => Ok(Fate::Damaged),
        }
    }

    /// The chunk, verified; `None`, reported, where it is damaged.
    pub(super) fn read_live(
        &self,
        file: &LogFile,
        digest: &Digest,
        place: &Place,
    ) -> Result<Option<Record>, StoreError> {
        let damage = self.inner.readers.damage();
        if damage.is_damaged(digest, Some(*place)) {
            return Ok(None);
        }
        let why = match file.record(place) {
            Ok(record) if record.header.kind == RecordKind::Chunk && record.header.digest == *digest => {
                return Ok(Some(record));
            }
            Ok(_) => "another record stands in its place".to_owned(),
            Err(StoreError::Damaged(why)) => why,
            Err(error) => return Err(error),
        };
        tracing::error!(%digest, file = place.file, %why, "a chunk is damaged; its file cannot be compacted");
        damage.report(*digest, Some(*place));
        Ok(None)
    }

    fn append(
        &self,
        digest: Digest,
        record: Record,
    ) -> Result<Receiver<Result<Place, StoreError>>, StoreError> {
        let (reply, written) = channel();
        let len = record.header.stored_len;
        let append = self.inner.bulk.segments.append(
            digest,
            vec![record.payload],
            len,
            Box::new(move |result| drop(reply.send(result))),
        );
        wait(append)?;
        Ok(written)
    }

    /// Syncs the copies, then lets the index lead to them.
    fn move_window(&mut self, window: Window) -> Result<(), StoreError> {
        let mut moves = Vec::with_capacity(window.copies.len());
        for Copy {
            digest,
            from,
            written,
        } in window.copies
        {
            let to = written.recv().unwrap_or(Err(StoreError::Closed))?;
            moves.push(Moved { digest, from, to });
        }
        let Some(end) = moves.iter().map(|moved| end_of(&moved.to)).max() else {
            return Ok(());
        };
        wait(self.inner.bulk.segments.sync(end))?;
        reached(Step::Copied);
        self.commit(Change::Move(moves))?;
        reached(Step::Moved);
        self.done.copied += window.bytes;
        metrics::compaction_copied(window.bytes);
        Ok(())
    }
}

fn place_of(file: &LogFile, entry: &FooterEntry) -> Place {
    Place {
        kind: FileKind::Segment,
        file: file.binding().file,
        offset: entry.offset,
        stored_len: entry.stored_len,
    }
}
