//! Bringing the index up to the log: after a crash from the last applied group, for a rebuild from the first. The
//! same code, started at different places.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

use super::Progress;
use super::error::StoreError;
use super::index::{Batch, Index};
use super::log::format::{Binding, FILE_HEADER_LEN, Trailer};
use super::log::journal;
use super::log::journal_footer;
use super::log::scan::{Found, RecordAt, Scan};
use super::metrics;
use super::model::{FileKind, Place};
use super::position::Applied;
use super::replay;

/// Index changes that are gathered before they are written while replaying.
const BATCH_RECORDS: usize = 4096;

/// What a recovery found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Groups that were applied.
    pub groups: u64,
    /// Records that were applied.
    pub records: u64,
    /// Damaged stretches of the journal: what could be read of them was applied.
    pub damaged: u64,
    /// Bytes cut from the end of the journal: never acknowledged.
    pub cut: u64,
    /// The index is not what the log says it should be, though nothing is damaged.
    pub differs: bool,
}

/// Where the log stands after recovery.
#[derive(Clone, Copy, Debug)]
pub struct Recovered {
    /// How far the index is.
    pub applied: Applied,
    /// Number for the next journal file.
    pub next_file: u64,
    /// What was found.
    pub report: Report,
}

/// Applies everything behind `from` to the index and seals every journal file, so that what is served after this is
/// on the disk.
pub fn recover(
    data: &Path,
    store: [u8; 16],
    index: &Index,
    from: Applied,
    progress: &dyn Progress,
) -> Result<Recovered, StoreError> {
    let files = journal::list(data)?;
    let first_unsealed = first_unsealed(data, store, &files)?;
    let mut replay = Replay::new(data, index, from);
    let total: u64 = lengths(data, files.iter().filter(|file| **file >= from.file))?;
    let mut done = 0;
    for (position, &number) in files.iter().enumerate() {
        let unsealed = position >= first_unsealed;
        if number < from.file && !unsealed {
            continue;
        }
        let binding = Binding {
            store,
            kind: FileKind::Journal,
            file: number,
        };
        let file = journal::open(data, number)?;
        let len = file.metadata()?.len();
        if unsealed {
            let later = files[position + 1..]
                .iter()
                .find_map(|later| first_group(data, store, *later));
            replay.unsealed(&file, binding, later)?;
        } else {
            replay.sealed(&file, binding)?;
        }
        done += len;
        progress.replayed(done.min(total), total);
    }
    replay.flush()?;
    // Only the end can be compared: compaction moves records behind groups whose sums include them.
    replay.report.differs = replay.report.damaged == 0 && replay.applied.index_sum != replay.expected_sum;
    let next_file = files.last().map_or(1, |last| last + 1);
    Ok(Recovered {
        applied: replay.applied,
        next_file,
        report: replay.report,
    })
}

/// Files are sealed in order, so those that are not are the last ones.
fn first_unsealed(data: &Path, store: [u8; 16], files: &[u64]) -> Result<usize, StoreError> {
    let mut first = files.len();
    for (position, &file) in files.iter().enumerate().rev() {
        let binding = Binding {
            store,
            kind: FileKind::Journal,
            file,
        };
        if journal::is_sealed(&journal::open(data, file)?, &binding)? {
            break;
        }
        first = position;
    }
    Ok(first)
}

fn lengths<'a>(data: &Path, files: impl Iterator<Item = &'a u64>) -> io::Result<u64> {
    files
        .map(|file| Ok(std::fs::metadata(journal::path(data, *file))?.len()))
        .sum()
}

/// The number of a file's first group, if it has one: all before it were durable when the file was begun.
fn first_group(data: &Path, store: [u8; 16], file: u64) -> Option<u64> {
    let binding = Binding {
        store,
        kind: FileKind::Journal,
        file,
    };
    let mut bytes = vec![0; 2 * FILE_HEADER_LEN as usize];
    let read = journal::open(data, file).ok()?.read_at(&mut bytes, 0).ok()?;
    Scan::new(&bytes[..read], binding, 0, 0).first_number()
}

struct Replay<'a> {
    data: &'a Path,
    index: &'a Index,
    batch: Batch<'a>,
    applied: Applied,
    /// The last group that the index had before.
    had: u64,
    /// What the last group said of the index after it.
    expected_sum: u128,
    pending: usize,
    report: Report,
}

impl<'a> Replay<'a> {
    fn new(data: &'a Path, index: &'a Index, from: Applied) -> Self {
        Replay {
            data,
            index,
            batch: Batch::new(index, from.index_sum),
            applied: from,
            had: from.group,
            expected_sum: from.index_sum,
            pending: 0,
            report: Report::default(),
        }
    }

    fn sealed(&mut self, file: &File, binding: Binding) -> Result<(), StoreError> {
        let Some(trailer) = journal_footer::trailer(file, &binding)? else {
            return self.unsealed(file, binding, None);
        };
        if binding.file == self.applied.file && trailer.footer == self.applied.offset {
            return Ok(());
        }
        match journal_footer::read(file, &binding, trailer)? {
            Some(all) => all
                .into_iter()
                .try_for_each(|found| self.found(found, binding.file, trailer.footer)),
            None => self.damaged_footer(file, binding, trailer),
        }
    }

    /// The footer is lost; the records it repeats are read instead.
    fn damaged_footer(&mut self, file: &File, binding: Binding, trailer: Trailer) -> Result<(), StoreError> {
        tracing::error!(
            file = binding.file,
            "the footer of a journal file is damaged; the file is read whole"
        );
        metrics::damaged_stretch();
        self.report.damaged += 1;
        let bytes = read_to(file, trailer.footer)?;
        let mut scan = Scan::new(&bytes, binding, 0, u64::MAX - 1);
        while scan.end() < trailer.footer {
            let Some(found) = scan.next() else { break };
            let end = scan.end();
            self.found(found, binding.file, end)?;
        }
        Ok(())
    }

    /// A file that was being written, or not yet sealed, when the process ended. `later`: the first group of a
    /// later file.
    fn unsealed(&mut self, file: &File, binding: Binding, later: Option<u64>) -> Result<(), StoreError> {
        let bytes = read_to(file, file.metadata()?.len())?;
        if let Err(error) = binding.check_file_header(&bytes) {
            if bytes.iter().all(|byte| *byte == 0) {
                // Begun, but its header never reached the disk: nothing was ever written to it.
                return Ok(journal::remove(self.data, binding.file)?);
            }
            tracing::error!(file = binding.file, %error, "the header of a journal file is damaged");
            self.report.damaged += 1;
        }
        let known_durable = later.map_or(self.applied.group, |later| later - 1);
        let mut scan = Scan::new(&bytes, binding, 0, known_durable);
        while let Some(found) = scan.next() {
            let end = scan.end();
            self.found(found, binding.file, end)?;
        }
        let tail = &bytes[scan.end() as usize..];
        if tail.iter().any(|byte| *byte != 0) {
            // Its number is not used again, so that no later copy of it can be taken for another group.
            self.applied.group += 1;
            self.report.cut += tail.len() as u64;
            tracing::warn!(
                file = binding.file,
                offset = scan.end(),
                "the journal ends in an unfinished group; it was never acknowledged and is cut"
            );
        }
        match scan.end() {
            FILE_HEADER_LEN => journal::remove(self.data, binding.file)?,
            end => journal::seal(file, binding, end)?,
        }
        Ok(())
    }

    fn found(&mut self, found: Found, file: u64, end: u64) -> Result<(), StoreError> {
        let (number, head, records) = match found {
            Found::Group {
                number,
                head,
                records,
            } => (number, head, records),
            Found::Damaged { from, to, saved } => {
                tracing::error!(
                    file,
                    from,
                    to,
                    saved = saved.len(),
                    "a stretch of the journal is damaged"
                );
                metrics::damaged_stretch();
                self.report.damaged += 1;
                return self.records(saved, file);
            }
        };
        if number <= self.had {
            return Ok(());
        }
        self.records(records, file)?;
        self.report.groups += 1;
        self.expected_sum = head.index_sum;
        self.applied = Applied {
            group: number,
            file,
            offset: end,
            next_id: head.next_id,
            index_sum: self.batch.sum(),
            durable_segments: head.durable_segments,
        };
        if self.pending >= BATCH_RECORDS {
            self.flush()?;
        }
        Ok(())
    }

    fn records(&mut self, records: Vec<RecordAt>, file: u64) -> Result<(), StoreError> {
        for RecordAt {
            offset,
            stored_len,
            record,
        } in &records
        {
            let place = Place {
                kind: FileKind::Journal,
                file,
                offset: *offset,
                stored_len: *stored_len,
            };
            replay::apply(&mut self.batch, place, record)?;
        }
        self.pending += records.len();
        self.report.records += records.len() as u64;
        Ok(())
    }

    fn flush(&mut self) -> Result<(), StoreError> {
        let sum = self.batch.sum();
        std::mem::replace(&mut self.batch, Batch::new(self.index, sum)).write()?;
        self.applied.index_sum = sum;
        self.pending = 0;
        self.applied.store(self.index)
    }
}

fn read_to(file: &File, end: u64) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; end as usize];
    file.read_exact_at(&mut bytes, 0)?;
    Ok(bytes)
}
