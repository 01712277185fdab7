//! Compaction of the journal, from its oldest file.

use std::time::{Duration, Instant};

use bytes::Bytes;

use super::{Compacted, Fate, Pass, Step, reached};
use crate::store::Inner;
use crate::store::change::{Change, Original};
use crate::store::error::StoreError;
use crate::store::index::keys;
use crate::store::log::files::{self, LogFile};
use crate::store::log::format::RECORD_HEADER_LEN;
use crate::store::log::journal::MIN_FILE;
use crate::store::log::journal_footer;
use crate::store::log::record::{OwnerRules, Record};
use crate::store::log::scan::{ALL_DURABLE, Found, RecordAt, Scan};
use crate::store::metrics;
use crate::store::model::{self, FileKind, Place};
use crate::store::pace::Pace;
use crate::store::sweeps;

/// Bytes of records that are copied by one commit: others wait while it is synced.
const COPY_BYTES: u64 = 1 << 20;
/// Records, likewise.
const COPY_RECORDS: usize = 256;
/// A journal of this many bytes is not worth compacting unless all of it is asked for.
const SMALL_JOURNAL: u64 = 4 << 20;
/// How long a full pass waits for a file to be sealed, or for removed versions to be swept.
const PATIENCE: Duration = Duration::from_secs(30);
/// How often it looks.
const LOOK_EVERY: Duration = Duration::from_millis(10);

/// Compacts the journal from its oldest file, until most of it is alive; `full`: until nearly all of it is, what was
/// the active file included. Blocks and fails as [`compact`](super::compact()).
pub(super) fn journal(inner: &Inner, full: bool, pace: &dyn Pace) -> Result<Compacted, StoreError> {
    let mut pass = Pass::new(inner, full, pace)?;
    let Some(usage) = pass.usage()? else {
        return Ok(pass.done);
    };
    let live = usage.of_journal();
    let mut total = pass.inner.log_sizes(FileKind::Journal)?.total();
    // On a full disk the room that the active file has left is for removals.
    let can_rotate = inner.bulk.room.for_copies(FileKind::Journal) >= MIN_FILE;
    if full && can_rotate && pass.is_worth_it(total.saturating_sub(live), total) {
        pass.commit(Change::Mark { last_of_file: true })?;
        // So that the index no longer relies on the file before.
        pass.commit(Change::Mark { last_of_file: false })?;
    }
    let end = pass.applied()?.map_or(0, |applied| applied.file);
    let sizes = pass.inner.log_sizes(FileKind::Journal)?;
    for &(number, len) in sizes.files() {
        let is_small = !full && total < SMALL_JOURNAL;
        if number >= end || is_small || !pass.is_worth_it(total.saturating_sub(live), total) {
            break;
        }
        let (before, alive) = (pass.done.copied, usage.of_journal_file(number, len, total));
        if alive > inner.bulk.room.for_copies(FileKind::Journal) {
            return Err(StoreError::NoSpace);
        }
        let fate = pass.empty_journal_file(number)?;
        if fate != Fate::Forsaken {
            pass.keep(fate);
            break;
        }
        if !pass.retire(&[(FileKind::Journal, number)])? {
            break;
        }
        total = total.saturating_sub(len) + (pass.done.copied - before);
    }
    Ok(pass.done)
}

/// Records of a file that are to be written again.
#[derive(Default)]
struct Copies {
    bytes: u64,
    originals: Vec<Original>,
}

/// What a file holds.
struct Contents {
    records: Vec<RecordAt>,
    /// Some of it was lost before the file was sealed.
    has_gaps: bool,
}

impl Pass<'_> {
    /// Copies what is alive in the oldest file to the end of the journal.
    fn empty_journal_file(&mut self, number: u64) -> Result<Fate, StoreError> {
        let id = (FileKind::Journal, number);
        let file = self.inner.readers.files().open(id.0, id.1)?;
        let contents = match self.contents(&file)? {
            Ok(contents) => contents,
            Err(fate) => return Ok(fate),
        };
        let fate = self.copy_records(&file, &contents.records)?;
        if fate != Fate::Forsaken {
            return Ok(fate);
        }
        for at in &contents.records {
            let is_elsewhere = match &at.record {
                Record::Chunk(digest) => self.is_chunk_elsewhere(id, digest)?,
                Record::Manifest(blob, _) => self.is_elsewhere(id, &keys::manifest(blob))?,
                _ => true,
            };
            if !is_elsewhere {
                return Ok(Fate::Waiting);
            }
        }
        if contents.has_gaps && self.is_known(id)? {
            return Ok(Fate::Damaged);
        }
        // A removal whose files are still being swept, and those files, are in the index and not among the copies.
        match self.wait_until(|pass| Ok(sweeps::pending(&pass.inner.index)?.is_empty()))? {
            true => Ok(Fate::Forsaken),
            false => Ok(Fate::Waiting),
        }
    }

    /// The records of a sealed file, from its footer, or from the file itself where that is damaged.
    fn contents(&self, file: &LogFile) -> Result<Result<Contents, Fate>, StoreError> {
        let number = file.binding().file;
        let path = files::path(&self.inner.data, FileKind::Journal, number);
        let disk = &*self.inner.disk;
        let handle = disk.open(&path)?;
        let trailer = || journal_footer::trailer(disk, &handle, file.binding());
        let sealed = |_: &Self| Ok(trailer()?.is_some());
        if !self.wait_until(sealed)? {
            return Ok(Err(Fate::Waiting));
        }
        let Some(trailer) = trailer()? else {
            return Ok(Err(Fate::Waiting));
        };
        let mut contents = Contents {
            records: Vec::new(),
            has_gaps: false,
        };
        if let Some(listed) = journal_footer::read(disk, &handle, file.binding(), trailer)? {
            for found in listed {
                contents.add(found)?;
            }
            return Ok(Ok(contents));
        }
        let mut bytes = vec![0; trailer.footer.min(file.size()?) as usize];
        disk.read_at(&handle, &mut bytes, 0)?;
        let mut scan = Scan::new(&bytes, *file.binding(), 0, ALL_DURABLE);
        while let Some(found) = scan.next() {
            contents.add(found)?;
        }
        if contents.has_gaps || scan.end() < trailer.footer {
            // The index may hold what nothing else does any more.
            tracing::error!(file = number, "a damaged journal file cannot be compacted");
            return Ok(Err(Fate::Damaged));
        }
        Ok(Ok(contents))
    }

    fn copy_records(&mut self, file: &LogFile, records: &[RecordAt]) -> Result<Fate, StoreError> {
        let mut copies = Copies::default();
        let mut damaged = 0;
        for at in records {
            let place = Place {
                kind: FileKind::Journal,
                file: file.binding().file,
                offset: at.offset,
                stored_len: at.stored_len,
            };
            if !self.may_stand(&at.record, &place)? {
                continue;
            }
            let bytes = match &at.record {
                Record::Chunk(digest) => match self.read_live(file, digest, &place)? {
                    Some(record) => record.payload,
                    None => {
                        damaged += 1;
                        continue;
                    }
                },
                _ => Bytes::new(),
            };
            let len = RECORD_HEADER_LEN as u64 + u64::from(at.stored_len);
            copies.bytes += len;
            copies.originals.push(Original {
                place,
                record: at.record.clone(),
                bytes,
            });
            let go_on = self.pace.spend(2 * len);
            if copies.bytes >= COPY_BYTES || copies.originals.len() >= COPY_RECORDS || !go_on {
                self.commit_copies(std::mem::take(&mut copies))?;
            }
            if !go_on {
                return Ok(Fate::Stopped);
            }
        }
        self.commit_copies(copies)?;
        match damaged {
            0 => Ok(Fate::Forsaken),
            _ => Ok(Fate::Damaged),
        }
    }

    /// Whether it is worth asking the committer, which alone knows.
    fn may_stand(&self, record: &Record, place: &Place) -> Result<bool, StoreError> {
        let index = &self.inner.index;
        Ok(match record {
            Record::Chunk(digest) => index.get_as(&keys::chunk(digest))? == Some(*place),
            Record::Manifest(blob, _) => index.get_as(&keys::manifest(blob))? == Some(*place),
            Record::Publish(published) => {
                let key = keys::file(&published.package, published.version.id, &published.file.name);
                let stands: Option<model::File> = index.get_as(&key)?;
                stands.is_some_and(|file| file.id == published.file.id)
            }
            Record::Places(places) => !places.is_empty(),
            Record::Account(_)
            | Record::Token(_)
            | Record::TokenUses(_)
            | Record::Member(_)
            | Record::Quarantine(_)
            | Record::Totals(_)
            | Record::Pin(_)
            | Record::Rules(OwnerRules { rules: Some(_), .. })
            | Record::Settings(_)
            | Record::Checksums(..) => true,
            Record::RemoveFile(_)
            | Record::RemoveVersion(_)
            | Record::RemovePackage(_)
            | Record::RemoveToken(_)
            | Record::RemoveAccount(_)
            | Record::RemoveMember(_)
            | Record::Sweep(_)
            | Record::SweepPackage(_)
            | Record::Unpin(_)
            | Record::Rules(OwnerRules { rules: None, .. })
            | Record::Drop(_) => false,
        })
    }

    fn commit_copies(&mut self, copies: Copies) -> Result<(), StoreError> {
        if copies.originals.is_empty() {
            return Ok(());
        }
        self.commit(Change::Copy(copies.originals))?;
        reached(Step::Moved);
        self.done.copied += copies.bytes;
        metrics::compaction_copied(copies.bytes);
        Ok(())
    }

    /// Waits for something that others are about to do; in a pass that is not full, just looks.
    fn wait_until(&self, ready: impl Fn(&Self) -> Result<bool, StoreError>) -> Result<bool, StoreError> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if ready(self)? {
                return Ok(true);
            }
            if !self.full || Instant::now() >= deadline || !self.pace.spend(0) {
                return Ok(false);
            }
            std::thread::sleep(LOOK_EVERY);
        }
    }
}

impl Contents {
    fn add(&mut self, found: Found) -> Result<(), StoreError> {
        match found {
            Found::Group { head, records, .. } => {
                if records.len() != head.records as usize {
                    return Err(StoreError::Foreign(
                        "the journal has records that this version of larder cannot read".into(),
                    ));
                }
                self.records.extend(records);
            }
            Found::Damaged { saved, .. } => {
                self.has_gaps = true;
                self.records.extend(saved);
            }
        }
        Ok(())
    }
}
