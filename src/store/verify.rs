//! Everything that can be checked of a store that is not in use. Nothing is written below the data directory.
//!
//! Every record of every file is read. The index is compared on a temporary copy, because opening sled writes; it also
//! names the files that use what is damaged.

use std::collections::{HashMap, HashSet};
use std::fs::{self, File, TryLockError};
use std::io;
use std::path::Path;

use serde::Serialize;

use super::affected::{Affected, Search};
use super::check::{self, Finding, Target};
use super::error::StoreError;
use super::identity::Identity;
use super::index::{Index, sum};
use super::log::disk::Kernel;
use super::log::files::{self, LogFiles};
use super::log::format::{Binding, SegmentPosition};
use super::log::scan::{ALL_DURABLE, Found, Scan};
use super::log::{journal, journal_footer};
use super::model::FileKind;
use super::pace::Pace;
use super::position::Applied;
use super::{OpenError, Progress, trust};
use crate::chunk::Digest;

/// Names shown for each damaged place.
const NAMES: usize = 20;
/// Files kept open while manifests are read.
const OPEN_FILES: usize = 64;

/// A damaged place.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Problem {
    /// Kind of the log file; `None` where the index is meant.
    pub kind: Option<FileKind>,
    /// Number of the log file.
    pub file: Option<u64>,
    /// Where the damage begins, bytes.
    pub offset: u64,
    /// How many bytes cannot be relied on.
    pub len: u64,
    /// What is wrong.
    pub what: String,
    /// Files that use it, as `owner/package/version/file`; none where nothing does, or no index can tell.
    pub used_by: Vec<String>,
    /// How many there are beyond those.
    pub used_by_more: u64,
}

/// What was read and found.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct VerifyReport {
    /// Log files.
    pub files: u64,
    /// Their records.
    pub records: u64,
    /// Their bytes.
    pub bytes: u64,
    /// What is damaged.
    pub problems: Vec<Problem>,
    /// What is no damage and worth knowing.
    pub notes: Vec<String>,
}

/// Reads the store at `data`. `index`: the index too, with `cache` bytes of memory.
///
/// # Errors
/// `InUse` while another process has the store; `Format` where it is none.
pub fn verify(
    data: &Path,
    index: bool,
    cache: u64,
    progress: &dyn Progress,
) -> Result<VerifyReport, OpenError> {
    let _lock = lock(data)?;
    let identity = Identity::load(data)?;
    let mut run = Run {
        data,
        store: identity.uuid,
        progress,
        done: std::sync::atomic::AtomicU64::new(0),
        total: 0,
        report: VerifyReport::default(),
        findings: Vec::new(),
        last: LastGroup::default(),
    };
    run.log()?;
    let findings = std::mem::take(&mut run.findings);
    let copy = match index || !findings.is_empty() {
        true => run.copy_of_index()?,
        false => None,
    };
    let opened = match &copy {
        Some(copy) => run.open(&copy.path().join("index"), cache),
        None => None,
    };
    if index {
        match &opened {
            Some(opened) => run.compare(opened)?,
            None => run.report.notes.push("there is no index to compare".to_owned()),
        }
    }
    let users = match &opened {
        Some(opened) => run.users(opened, &findings),
        None => HashMap::new(),
    };
    let problems = findings.iter().map(|finding| problem(finding, &users));
    run.report.problems.extend(problems);
    Ok(run.report)
}

/// The lock, without making a file where there is none; others may verify at the same time.
fn lock(data: &Path) -> Result<Option<File>, OpenError> {
    let file = match File::open(data.join("LOCK")) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(StoreError::from(error).into()),
    };
    match file.try_lock_shared() {
        Ok(()) => Ok(Some(file)),
        Err(TryLockError::WouldBlock) => Err(OpenError::InUse(data.to_owned())),
        Err(TryLockError::Error(error)) => Err(StoreError::from(error).into()),
    }
}

/// What the last group of the journal says.
#[derive(Clone, Copy, Debug, Default)]
struct LastGroup {
    number: u64,
    index_sum: u128,
    durable_segments: SegmentPosition,
}

struct Run<'a> {
    data: &'a Path,
    store: [u8; 16],
    progress: &'a dyn Progress,
    done: std::sync::atomic::AtomicU64,
    total: u64,
    report: VerifyReport,
    findings: Vec<Finding>,
    last: LastGroup,
}

/// Counts for the progress and never waits.
impl Pace for Run<'_> {
    fn spend(&self, bytes: u64) -> bool {
        let done = self.done.fetch_add(bytes, std::sync::atomic::Ordering::Relaxed) + bytes;
        self.progress.replayed(done.min(self.total), self.total);
        true
    }
}

impl Run<'_> {
    /// The journal first: it says how far the segments were synced.
    fn log(&mut self) -> Result<(), StoreError> {
        let journals = files::list(self.data, FileKind::Journal)?;
        let segments = files::list(self.data, FileKind::Segment)?;
        for (kind, numbers) in [(FileKind::Journal, &journals), (FileKind::Segment, &segments)] {
            for number in numbers {
                self.total += fs::metadata(files::path(self.data, kind, *number))?.len();
            }
        }
        for (position, number) in journals.iter().enumerate() {
            let end = self.groups(*number, position + 1 == journals.len())?;
            self.file(FileKind::Journal, *number, end)?;
        }
        for number in segments {
            let durable = self.last.durable_segments;
            let end = match number.cmp(&durable.file) {
                std::cmp::Ordering::Less => None,
                std::cmp::Ordering::Equal => Some(durable.offset),
                std::cmp::Ordering::Greater => Some(0),
            };
            self.file(FileKind::Segment, number, end)?;
        }
        Ok(())
    }

    /// Notes what a journal file's groups say; returns where they end in a file that is not sealed.
    fn groups(&mut self, number: u64, last: bool) -> Result<Option<u64>, StoreError> {
        let binding = self.binding(FileKind::Journal, number);
        let path = journal::path(self.data, number);
        let file = File::open(&path)?;
        if let Some(trailer) = journal_footer::trailer(&Kernel, &file, &binding)? {
            let found = journal_footer::read(&Kernel, &file, &binding, trailer)?;
            found.into_iter().flatten().for_each(|found| self.note(&found));
            return Ok(None);
        }
        let bytes = fs::read(&path)?;
        let known_durable = if last { 0 } else { ALL_DURABLE };
        let mut scan = Scan::new(&bytes, binding, 0, known_durable);
        while let Some(found) = scan.next() {
            self.note(&found);
        }
        let tail = bytes.get(scan.end() as usize..).unwrap_or_default();
        if tail.iter().any(|byte| *byte != 0) {
            self.report.notes.push(format!(
                "{} ends in an unfinished write, which the next start cuts off",
                path.display()
            ));
        }
        Ok(Some(scan.end()))
    }

    fn note(&mut self, found: &Found) {
        match found {
            Found::Group { number, head, .. } => {
                self.last = LastGroup {
                    number: *number,
                    index_sum: head.index_sum,
                    durable_segments: self.last.durable_segments.max(head.durable_segments),
                };
            }
            Found::Damaged { saved, .. } => {
                let relied_on = saved.iter().filter_map(|record| record.record.relies_on()).max();
                let durable = &mut self.last.durable_segments;
                *durable = (*durable).max(relied_on.unwrap_or_default());
            }
        }
    }

    fn file(&mut self, kind: FileKind, number: u64, end: Option<u64>) -> Result<(), StoreError> {
        let target = Target {
            data: self.data,
            binding: self.binding(kind, number),
            end,
        };
        let checked = check::file(target, &*self)?;
        self.report.files += 1;
        self.report.records += checked.records;
        self.report.bytes += checked.bytes;
        self.findings.extend(checked.findings);
        Ok(())
    }

    fn binding(&self, kind: FileKind, file: u64) -> Binding {
        Binding {
            store: self.store,
            kind,
            file,
        }
    }

    /// A copy of the index in the system's directory for temporary files; `None` where there is no index.
    fn copy_of_index(&self) -> Result<Option<Temporary>, StoreError> {
        let source = self.data.join("index");
        if !source.is_dir() {
            return Ok(None);
        }
        let copy = Temporary::new()?;
        copy_directory(&source, &copy.path().join("index"))?;
        Ok(Some(copy))
    }

    fn open(&mut self, path: &Path, cache: u64) -> Option<Index> {
        match Index::open(path, cache) {
            Ok(index) => Some(index),
            Err(error) => {
                let what = format!("the index does not open: {error}");
                self.report.problems.push(index_problem(what));
                None
            }
        }
    }

    /// Whether the index is what the last group says.
    fn compare(&mut self, index: &Index) -> Result<(), StoreError> {
        let applied = Applied::load(index)?.unwrap_or(Applied::START);
        if !trust::is_clean(index)? {
            let note = "the index was not closed in order; the next start brings it up to the log";
            self.report.notes.push(note.to_owned());
            return Ok(());
        }
        let mut scanned: u128 = 0;
        index.each(&[], |key, value| {
            scanned = scanned.wrapping_add(sum::entry(key, value));
            Ok(())
        })?;
        if scanned != applied.index_sum {
            let what = "the index is not what it was when it was closed; larder rebuild-index makes it again";
            self.report.problems.push(index_problem(what.to_owned()));
        } else if self.findings.is_empty()
            && (applied.group < self.last.number
                || (applied.group == self.last.number && applied.index_sum != self.last.index_sum))
        {
            let what = "the index is not what the log says; larder rebuild-index makes it again";
            self.report.problems.push(index_problem(what.to_owned()));
        }
        Ok(())
    }

    /// The files that use what was found damaged.
    fn users(&mut self, index: &Index, findings: &[Finding]) -> HashMap<Digest, Affected> {
        let digests: HashSet<Digest> = findings
            .iter()
            .flat_map(|finding| &finding.copies)
            .map(|(digest, _)| *digest)
            .collect();
        let files = LogFiles::new(self.data, self.store, OPEN_FILES);
        let search = Search {
            index,
            files: &files,
            limit: NAMES,
            go_on: &|| true,
        };
        search.users(&digests).unwrap_or_else(|error| {
            let note = format!("the files that use what is damaged cannot be named: {error}");
            self.report.notes.push(note);
            HashMap::new()
        })
    }
}

fn problem(finding: &Finding, users: &HashMap<Digest, Affected>) -> Problem {
    let mut used_by: Vec<String> = Vec::new();
    let mut used_by_more = 0;
    for (digest, _) in &finding.copies {
        if let Some(affected) = users.get(digest) {
            used_by.extend(affected.names.iter().cloned());
            used_by_more += affected.more;
        }
    }
    used_by.sort_unstable();
    used_by.dedup();
    used_by_more += used_by.len().saturating_sub(NAMES) as u64;
    used_by.truncate(NAMES);
    Problem {
        kind: Some(finding.kind),
        file: Some(finding.file),
        offset: finding.offset,
        len: finding.len,
        what: finding.what.clone(),
        used_by,
        used_by_more,
    }
}

fn index_problem(what: String) -> Problem {
    Problem {
        kind: None,
        file: None,
        offset: 0,
        len: 0,
        what,
        used_by: Vec::new(),
        used_by_more: 0,
    }
}

/// A directory that goes when it is dropped.
struct Temporary(std::path::PathBuf);

impl Temporary {
    fn new() -> io::Result<Self> {
        use std::os::unix::fs::DirBuilderExt;
        let mut random = [0; 8];
        getrandom::fill(&mut random).map_err(io::Error::from)?;
        let path = std::env::temp_dir().join(format!("larder-verify-{}", hex::encode(random)));
        fs::DirBuilder::new().mode(0o700).create(&path)?;
        Ok(Temporary(path))
    }

    fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        // What is left is the system's to clear away.
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn copy_directory(source: &Path, target: &Path) -> io::Result<()> {
    fs::create_dir(target)?;
    for entry in fs::read_dir(source)? {
        let entry = entry?;
        let to = target.join(entry.file_name());
        match entry.file_type()?.is_dir() {
            true => copy_directory(&entry.path(), &to)?,
            false => drop(fs::copy(entry.path(), to)?),
        }
    }
    Ok(())
}
