//! Bringing the index up to the log: after a crash from the last applied group, for a rebuild from the first. The
//! same code, started at different places.

use std::fs::File;
use std::io::{self, IoSlice};
use std::path::Path;

use super::Progress;
use super::error::StoreError;
use super::index::{Batch, Index};
use super::log::disk::Disk;
use super::log::files;
use super::log::format::{Binding, FILE_HEADER_LEN, Group, Trailer};
use super::log::journal;
use super::log::journal_footer::{self, FooterBuilder};
use super::log::rot::{Readable, read_around};
use super::log::scan::{ALL_DURABLE, Found, RecordAt, Scan};
use super::metrics;
use super::model::{FileKind, Place};
use super::position::{Applied, Witness};
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

/// What is known of the index before the replay.
#[derive(Clone, Copy, Debug)]
pub struct Start {
    /// How far the log is applied to it, at least.
    pub applied: Applied,
    /// Whether it may hold more than that: it was open when the process ended, and is not written in one step.
    pub may_be_ahead: bool,
}

/// Applies everything behind `start` to the index and seals every journal file, so that what is served after this is
/// on the disk.
///
/// # Errors
/// `Foreign` where a file is not this store's: then nothing has been touched.
pub fn recover(
    disk: &dyn Disk,
    data: &Path,
    store: [u8; 16],
    index: &Index,
    start: Start,
    progress: &dyn Progress,
) -> Result<Recovered, StoreError> {
    let from = start.applied;
    let files = Files::list(disk, data, store)?;
    files.refuse_foreign()?;
    let relevant: Vec<usize> = files.from(from.file)?.collect();
    let total: u64 = relevant
        .iter()
        .map(|position| files.len(*position))
        .sum::<io::Result<u64>>()?;
    let mut replay = Replay::new(disk, data, index, start);
    let mut done = 0;
    for position in relevant {
        let (file, binding) = files.open(position)?;
        let len = file.metadata()?.len();
        match journal_footer::trailer(disk, &file, &binding)? {
            Some(trailer) => replay.sealed(&file, binding, trailer)?,
            None => {
                let later = files.known_durable_behind(position);
                replay.unsealed(&file, binding, later)?;
            }
        }
        done += len;
        progress.replayed(done.min(total), total);
    }
    replay.finish()?;
    let next_file = files.numbers.last().map_or(1, |last| last.saturating_add(1));
    Ok(Recovered {
        applied: replay.applied,
        next_file,
        report: replay.report,
    })
}

/// Applies the whole journal up to `end` to an empty index, beside a store that is open but not writing: nothing is cut
/// or sealed. `step` is told how many bytes of how many are done, and ends it with an error. Returns the index's sum.
pub fn replay_through(
    disk: &dyn Disk,
    data: &Path,
    store: [u8; 16],
    index: &Index,
    end: Applied,
    step: &mut dyn FnMut(u64, u64) -> Result<(), StoreError>,
) -> Result<u128, StoreError> {
    let files = Files::list(disk, data, store)?;
    let count = files.numbers.partition_point(|number| *number <= end.file);
    let total = (0..count)
        .map(|position| files.len(position))
        .sum::<io::Result<u64>>()?;
    let start = Start {
        applied: Applied::START,
        may_be_ahead: false,
    };
    let mut replay = Replay::new(disk, data, index, start);
    let mut done = 0;
    step(done, total)?;
    for position in 0..count {
        let (file, binding) = files.open(position)?;
        let len = file.metadata()?.len();
        match journal_footer::trailer(disk, &file, &binding)? {
            Some(trailer) => replay.sealed(&file, binding, trailer)?,
            None if binding.file == end.file => replay.through(&file, binding, end.offset, end.group)?,
            None => {
                let durable = files.known_durable_behind(position).unwrap_or(ALL_DURABLE);
                replay.through(&file, binding, len, durable)?;
            }
        }
        done += len;
        step(done.min(total), total)?;
    }
    replay.finish()?;
    if replay.report.differs {
        tracing::error!("replaying the log does not give the index that was committed; please report this");
    }
    Ok(replay.applied.index_sum)
}

/// The journal's files.
struct Files<'a> {
    disk: &'a dyn Disk,
    data: &'a Path,
    store: [u8; 16],
    numbers: Vec<u64>,
}

impl<'a> Files<'a> {
    fn list(disk: &'a dyn Disk, data: &'a Path, store: [u8; 16]) -> io::Result<Self> {
        Ok(Files {
            disk,
            data,
            store,
            numbers: files::list(data, FileKind::Journal)?,
        })
    }

    fn open(&self, position: usize) -> io::Result<(File, Binding)> {
        let number = self.numbers[position];
        let binding = Binding {
            store: self.store,
            kind: FileKind::Journal,
            file: number,
        };
        Ok((self.disk.open(&journal::path(self.data, number))?, binding))
    }

    fn len(&self, position: usize) -> io::Result<u64> {
        Ok(std::fs::metadata(journal::path(self.data, self.numbers[position]))?.len())
    }

    /// The oldest and the newest file speak for all: a wrong uuid is wrong in every one.
    fn refuse_foreign(&self) -> Result<(), StoreError> {
        for position in [0, self.numbers.len().saturating_sub(1)] {
            if position >= self.numbers.len() {
                return Ok(());
            }
            let (file, binding) = self.open(position)?;
            let mut bytes = [0; 40];
            if self.disk.read_at(&file, &mut bytes, 0).is_ok() && binding.is_foreign(&bytes) {
                return Err(StoreError::Foreign(format!(
                    "{} belongs to another store, or was written by another version of larder",
                    journal::path(self.data, binding.file).display()
                )));
            }
        }
        Ok(())
    }

    /// Positions of the files from number `file` on, and of those before that have not been sealed. Files are
    /// sealed in order, so the search goes back only as far as it finds such.
    fn from(&self, file: u64) -> io::Result<impl Iterator<Item = usize> + use<>> {
        let mut first = self.numbers.partition_point(|number| *number < file);
        while let Some(before) = first.checked_sub(1) {
            let (handle, binding) = self.open(before)?;
            if journal_footer::trailer(self.disk, &handle, &binding)?.is_some() {
                break;
            }
            first = before;
        }
        Ok(first..self.numbers.len())
    }

    /// How far a file is known to be durable because of later ones, which are begun only when it is.
    fn known_durable_behind(&self, position: usize) -> Option<u64> {
        let later = position + 1..self.numbers.len();
        if later.is_empty() {
            return None;
        }
        let first_group = later.into_iter().find_map(|later| self.first_group(later));
        Some(first_group.map_or(ALL_DURABLE, |first| first.saturating_sub(1)))
    }

    fn first_group(&self, position: usize) -> Option<u64> {
        let (file, binding) = self.open(position).ok()?;
        let mut bytes = vec![0; (FILE_HEADER_LEN + Group::RECORD_LEN) as usize];
        self.disk.read_at(&file, &mut bytes, 0).ok()?;
        Scan::new(&bytes, binding, 0, 0).first_number()
    }
}

struct Replay<'a> {
    disk: &'a dyn Disk,
    data: &'a Path,
    index: &'a Index,
    batch: Batch<'a>,
    applied: Applied,
    /// The last group that the index had before.
    had: u64,
    may_be_ahead: bool,
    /// What the last group said of the index after it.
    expected_sum: u128,
    pending: usize,
    report: Report,
}

impl<'a> Replay<'a> {
    fn new(disk: &'a dyn Disk, data: &'a Path, index: &'a Index, start: Start) -> Self {
        let Start {
            applied,
            may_be_ahead,
        } = start;
        Replay {
            disk,
            data,
            index,
            batch: Batch::new(index, applied.index_sum),
            applied,
            had: applied.group,
            may_be_ahead,
            expected_sum: applied.index_sum,
            pending: 0,
            report: Report::default(),
        }
    }

    fn sealed(&mut self, file: &File, binding: Binding, trailer: Trailer) -> Result<(), StoreError> {
        // The run that sealed it may have been killed before it was synced.
        self.disk.sync_all(file)?;
        if binding.file == self.applied.file && trailer.footer == self.applied.offset {
            return Ok(());
        }
        match journal_footer::read(self.disk, file, &binding, trailer)? {
            Some(all) => all
                .into_iter()
                .try_for_each(|found| self.found(found, binding.file)),
            None => self.damaged_footer(file, binding, trailer),
        }
    }

    /// The footer is lost; the records it repeats are read instead.
    fn damaged_footer(&mut self, file: &File, binding: Binding, trailer: Trailer) -> Result<(), StoreError> {
        tracing::error!(
            file = binding.file,
            "the footer of a journal file is damaged; the file is read whole"
        );
        self.damaged();
        let len = trailer.footer.min(file.metadata()?.len());
        let read = self.read(file, &binding, len)?;
        let mut scan = Scan::new(&read.bytes, binding, 0, ALL_DURABLE);
        while let Some(found) = scan.next() {
            self.found(found, binding.file)?;
        }
        Ok(())
    }

    /// The groups of a file that is not sealed, up to `end`; those up to number `durable` were synced.
    fn through(&mut self, file: &File, binding: Binding, end: u64, durable: u64) -> Result<(), StoreError> {
        let read = self.read(file, &binding, end)?;
        let mut scan = Scan::new(&read.bytes, binding, 0, durable);
        while let Some(found) = scan.next() {
            self.found(found, binding.file)?;
        }
        Ok(())
    }

    /// A file that was being written, or not yet sealed, when the process ended.
    fn unsealed(&mut self, file: &File, binding: Binding, later: Option<u64>) -> Result<(), StoreError> {
        let mut read = self.read(file, &binding, file.metadata()?.len())?;
        if read.bytes.len() < FILE_HEADER_LEN as usize {
            // Begun, but not even its header was written: no group ever was.
            return Ok(self.disk.remove(&journal::path(self.data, binding.file))?);
        }
        // A file behind the applied position begins behind the applied group.
        let next_number = if binding.file > self.applied.file {
            self.applied.group + 1
        } else {
            0
        };
        let known_durable = later.unwrap_or(self.applied.group);
        let mut scan = Scan::new(&read.bytes, binding, next_number, known_durable);
        let mut all = Vec::new();
        while let Some(found) = scan.next() {
            all.push(found);
        }
        let end = scan.end();
        let tail = read.bytes.get(end as usize..).unwrap_or_default();
        let mut footer = FooterBuilder::default();
        all.iter()
            .try_for_each(|found| footer.add_found(found))
            .map_err(io::Error::other)?;
        // In a file with a successor every group was synced: what is behind them is a broken footer.
        let torn = later.is_none() && tail.iter().any(|byte| *byte != 0) && !scan.at_footer();
        let cut = tail.len() as u64;
        all.into_iter()
            .try_for_each(|found| self.found(found, binding.file))?;
        if torn {
            // Its number is not used again, so that no later copy of it can be taken for another group.
            self.applied.group += 1;
            self.report.cut += cut;
            tracing::warn!(
                file = binding.file,
                offset = end,
                "the journal ends in an unfinished group; it was never acknowledged and is cut"
            );
        }
        if end == FILE_HEADER_LEN {
            return Ok(self.disk.remove(&journal::path(self.data, binding.file))?);
        }
        // All of it durable before there is a footer. One that is written over remains of an unfinished group can make
        // that group look as if something had been written behind it.
        self.disk.set_len(file, end)?;
        read.bytes.truncate(end as usize);
        self.write_again(file, &read)?;
        self.disk.sync(file)?;
        Ok(journal::seal(self.disk, file, binding, end, footer)?)
    }

    fn read(&mut self, file: &File, binding: &Binding, len: u64) -> io::Result<Readable> {
        let read = read_around(self.disk, file, 0, len as usize)?;
        for range in &read.unreadable {
            tracing::error!(
                file = binding.file,
                from = range.start,
                to = range.end,
                "a stretch of the journal cannot be read"
            );
        }
        Ok(read)
    }

    /// Writes what was read, so that it is synced even if the kernel believes, after a failed sync, that it was. What
    /// could not be read is left alone: another day it may be.
    fn write_again(&self, file: &File, read: &Readable) -> io::Result<()> {
        let end = read.bytes.len() as u64;
        let mut from = 0;
        for gap in read.unreadable.iter().chain([&(end..end)]) {
            let to = gap.start.min(end);
            let bytes = &read.bytes[from as usize..to as usize];
            self.disk.write_at(file, &mut [IoSlice::new(bytes)], from)?;
            from = gap.end.min(end);
        }
        Ok(())
    }

    fn found(&mut self, found: Found, file: u64) -> Result<(), StoreError> {
        match found {
            Found::Group { number, .. } if number <= self.had => Ok(()),
            Found::Group {
                number,
                start,
                end,
                head,
                records,
            } => {
                if records.len() != head.records as usize {
                    return Err(StoreError::Foreign(format!(
                        "group {number} of the journal has records that this version of larder cannot read"
                    )));
                }
                self.records(records, file)?;
                self.report.groups += 1;
                self.expected_sum = head.index_sum;
                self.applied = Applied {
                    group: number,
                    file,
                    offset: end,
                    next_id: head.next_id.max(self.applied.next_id),
                    index_sum: self.sum(),
                    durable_segments: head.durable_segments,
                    witness: Witness {
                        number,
                        offset: start,
                    },
                };
                if self.pending >= BATCH_RECORDS {
                    self.flush()
                } else {
                    Ok(())
                }
            }
            Found::Damaged {
                from,
                to,
                durable,
                mut saved,
            } => {
                tracing::error!(
                    file,
                    from,
                    to,
                    saved = saved.len(),
                    "a stretch of the journal is damaged"
                );
                self.damaged();
                // What the index has already is newer than what is saved here.
                saved.retain(|record| record.number > self.had);
                let highest = saved
                    .iter()
                    .map(|record| record.record.highest_id())
                    .max()
                    .unwrap_or(0);
                self.applied.next_id = self.applied.next_id.max(highest.saturating_add(1));
                self.applied.group = self.applied.group.max(durable);
                // What a durable group relied on was synced before it.
                let relied_on = saved.iter().filter_map(|record| record.record.relies_on()).max();
                self.applied.durable_segments =
                    self.applied.durable_segments.max(relied_on.unwrap_or_default());
                self.records(saved, file)
            }
        }
    }

    fn damaged(&mut self) {
        metrics::damaged_stretch();
        self.report.damaged += 1;
    }

    fn records(&mut self, records: Vec<RecordAt>, file: u64) -> Result<(), StoreError> {
        for RecordAt {
            offset,
            stored_len,
            record,
            ..
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

    /// The sum of the index as it is now. One that was ahead of what it said cannot be summed up by changes; the log
    /// knows better.
    fn sum(&self) -> u128 {
        if self.may_be_ahead {
            self.expected_sum
        } else {
            self.batch.sum()
        }
    }

    fn flush(&mut self) -> Result<(), StoreError> {
        let sum = self.sum();
        std::mem::replace(&mut self.batch, Batch::new(self.index, sum)).write()?;
        self.applied.index_sum = sum;
        self.pending = 0;
        self.applied.store(self.index)
    }

    fn finish(&mut self) -> Result<(), StoreError> {
        self.flush()?;
        // Only the end can be compared: compaction moves records behind groups whose sums include them.
        self.report.differs = self.report.damaged == 0 && self.applied.index_sum != self.expected_sum;
        Ok(())
    }
}
