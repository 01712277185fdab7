//! How much the store may still take: its own limit, what the disk has left, and what is kept for removals,
//! collection and the index.
//!
//! Three thresholds, from the roomiest to the tightest:
//! - above the **high watermark** no upload begins, until the store is below the **low** one: collection and eviction
//!   aim at the latter, and service does not flap in between;
//! - an upload that is under way goes on until it would touch what is **kept**;
//! - removals, collection and the index use what is kept, and in the end the [`Ballast`].
//!
//! `used` counts the bytes written to log files that are there: headers, records and footers, without reserved room.

mod counted;
mod marks;
mod space;

use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use super::ballast::Ballast;
use super::error::StoreError;
use super::index::Index;
use super::metrics;
use super::model::FileKind;
pub use counted::Counted;
use marks::Step;
pub use marks::{Disk, Limits, Reason};
use space::Space;
pub use space::disk as disk_of;

/// For so long after a write failed for want of space no upload is begun; then one may try.
const REST: Duration = Duration::from_secs(1);
/// What sled may append before it is looked after again: two of its segments.
const INDEX_AHEAD: u64 = 1 << 20;
/// With less than this it is not let on, bytes.
const LEAST_INDEX_AHEAD: u64 = 256 << 10;
/// With this much free, bytes, a second's reserve is enough for the index.
const ROOMY: u64 = 1 << 30;
/// A file is given at most this part of the free space in advance, so that reserving does not fill the disk.
const SPARE_PART: u64 = 8;
/// A segment is at most this part of the limit or of the disk: compaction needs room for the copies of one, and uploads
/// go on beside it.
const FILE_PART: u64 = 32;
/// A file is given this much in advance wherever it can be had, bytes.
const LEAST_SPARE: u64 = 1 << 20;
/// Rounds of [`Room::keep`] after which what is reserved is added up again: it looks at every log file.
const RESERVED_EVERY: u64 = 30;

/// Counts the bytes of log files against the limit and the disk.
#[derive(Debug)]
pub struct Room {
    data: PathBuf,
    limits: Limits,
    space: Space,
    ballast: Ballast,
    /// Bytes written to log files.
    used: AtomicU64,
    /// Bytes that uploads have been promised and not yet written.
    promised: AtomicU64,
    /// Bytes on disk beyond `used`, as last added up.
    reserved: AtomicU64,
    /// Whether uploads are refused until the store is below the low watermark.
    full: AtomicBool,
    begun: Instant,
    /// Until when, in milliseconds since `begun`, uploads are refused because a write failed.
    resting_until: AtomicU64,
    rounds: AtomicU64,
    /// Not even the index has room; has been logged.
    index_starves: AtomicBool,
}

/// What the store takes and may take. Bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RoomState {
    /// Written to log files.
    pub used: u64,
    /// `max_size`.
    pub limit: Option<u64>,
    /// Held on disk beyond that: room reserved in active log files and for the index, and the ballast. Added up every
    /// 30 seconds.
    pub reserved: u64,
    /// The ballast's part of it.
    pub ballast: u64,
    /// What the disk has.
    pub disk: Disk,
    /// Uploads are refused until the store is below the low watermark.
    pub above_high: bool,
    /// The store is halfway from the low watermark to the high one, or beyond.
    pub pressed: bool,
    /// What has to go until it is: 0 where it is.
    pub above_low: u64,
    /// A write failed for want of space less than a second ago.
    pub resting: bool,
}

/// Bytes promised to an upload; given back when dropped.
#[derive(Debug)]
pub struct Promise {
    room: Arc<Room>,
    bytes: u64,
}

impl Drop for Promise {
    fn drop(&mut self) {
        self.room.promised.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

impl Room {
    /// For the store at `data`, all of whose log files are sealed. Adds them up.
    pub fn new(data: &Path, limits: Limits) -> io::Result<Self> {
        let mut used = 0;
        each_log_file(data, |meta| used += meta.len())?;
        let room = Room {
            data: data.to_owned(),
            limits,
            space: Space::of(data)?,
            ballast: Ballast::open(data)?,
            used: AtomicU64::new(used),
            promised: AtomicU64::new(0),
            reserved: AtomicU64::new(0),
            full: AtomicBool::new(false),
            begun: Instant::now(),
            resting_until: AtomicU64::new(0),
            rounds: AtomicU64::new(0),
            index_starves: AtomicBool::new(false),
        };
        room.observe(room.space.now());
        Ok(room)
    }

    /// Counts bytes that were appended to a log file.
    pub fn take(&self, bytes: u64) {
        self.used.fetch_add(bytes, Ordering::Relaxed);
        self.space.written(bytes);
    }

    /// Counts bytes of log files that were removed.
    pub fn give_back(&self, bytes: u64) {
        // More is never given back than was taken; were it, a wrap-around would refuse uploads for good.
        let less = |used: u64| Some(used.saturating_sub(bytes));
        let _ = self.used.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less);
    }

    /// Notes that a file was given `bytes` in advance.
    pub fn reserved_on_disk(&self, bytes: u64) {
        self.space.written(bytes);
    }

    /// Whether an upload of `bytes` may begin.
    ///
    /// # Errors
    /// `NoSpace` above the watermark, beyond the limit, or where the disk has too little left.
    pub fn check(&self, bytes: u64) -> Result<(), StoreError> {
        let refusal = self.twice(|disk| {
            if self.observe(disk) {
                return Err(Reason::Watermark);
            }
            self.limits.fits(Step::Body, self.spoken_for(), bytes, disk)
        });
        self.refuse(refusal)
    }

    /// Promises `bytes` to an upload that is under way.
    ///
    /// # Errors
    /// `NoSpace` where they would touch what is kept.
    pub fn promise(self: &Arc<Self>, bytes: u64) -> Result<Promise, StoreError> {
        // First, so that two who ask at once do not both see the same room.
        let before = self.promised.fetch_add(bytes, Ordering::Relaxed);
        let promise = Promise {
            room: self.clone(),
            bytes,
        };
        let others = |used: u64| used.saturating_add(before);
        let refusal = self.twice(|disk| {
            let used = others(self.used.load(Ordering::Relaxed));
            let disk = Disk {
                free: disk.free.saturating_sub(before),
                ..disk
            };
            self.limits.fits(Step::Body, used, bytes, disk)
        });
        self.refuse(refusal).map(|()| promise)
    }

    /// Whether the journal may take a publication with `bytes` of its own.
    ///
    /// # Errors
    /// `NoSpace` as for bodies, but half of what is kept may be used.
    pub fn admit(&self, bytes: u64) -> Result<(), StoreError> {
        let used = self.used.load(Ordering::Relaxed);
        let refusal = self.twice(|disk| self.limits.fits(Step::Commit, used, bytes, disk));
        self.refuse(refusal)
    }

    /// A write failed because the disk or a quota is full, whatever the disk says.
    pub fn write_failed(&self) {
        let until = (self.begun.elapsed() + REST).as_millis() as u64;
        self.resting_until.store(until, Ordering::Relaxed);
        self.space.now();
    }

    /// How much of `wanted` a file may be given in advance. It grows by itself beyond that.
    pub fn spare(&self, wanted: u64) -> u64 {
        let most = self.space.recent().free / SPARE_PART;
        wanted.min(most.max(LEAST_SPARE))
    }

    /// How large a file may become that is to be compacted in one step, bytes.
    pub fn share_of_a_file(&self) -> u64 {
        let disk = self.space.recent().size;
        self.limits.max_size.map_or(disk, |limit| limit.min(disk)) / FILE_PART
    }

    /// Gives up `bytes` of the ballast for removals or collection. False: nothing is left of it.
    pub fn give_up_ballast(&self, bytes: u64) -> bool {
        self.ballast.give_up(bytes, 0)
    }

    /// The same for compaction's copies, which leave half of it to removals. False: nothing is left for them.
    pub fn give_up_ballast_for_copies(&self, bytes: u64) -> bool {
        self.ballast.give_up(bytes, self.kept_ballast())
    }

    /// Bytes that compaction may write again before it has removed a file. What is kept stays untouched, and so does
    /// half the ballast; the store's own limit does not count, since the copies soon take the place of more than they
    /// are.
    pub fn for_copies(&self, to: FileKind) -> u64 {
        let disk = self.space.now();
        let ballast = match to {
            FileKind::Journal => self.ballast.len().saturating_sub(self.kept_ballast()),
            FileKind::Segment => 0,
        };
        disk.free.saturating_sub(marks::kept(disk.size)) + ballast
    }

    /// Whether uploads would go on if the log had `bytes` more, in a segment that may have to be begun for them.
    pub fn stays_below_high(&self, bytes: u64) -> bool {
        let disk = self.space.now();
        let bytes = bytes.saturating_add(self.spare(self.share_of_a_file()));
        let used = self.used.load(Ordering::Relaxed).saturating_add(bytes);
        let after = Disk {
            free: disk.free.saturating_sub(bytes),
            ..disk
        };
        !self.limits.above_high(used, after)
    }

    fn kept_ballast(&self) -> u64 {
        let used = self.used.load(Ordering::Relaxed);
        Ballast::wanted(used, self.space.recent().size) / 2
    }

    /// Whether sled will find room for what a group may write. False: nothing may be written.
    pub fn index_has_room(&self, index: &Index) -> bool {
        // The last second's reserve is enough where nobody fills the disk that fast.
        self.space.recent().free > ROOMY || self.reserve_for_index(index)
    }

    /// Sees to it that sled finds room for what it appends next, with ballast where need be: it does not survive a full
    /// disk.
    fn reserve_for_index(&self, index: &Index) -> bool {
        loop {
            match index.reserve(INDEX_AHEAD) {
                Ok(()) => {
                    self.index_starves.store(false, Ordering::Relaxed);
                    return true;
                }
                Err(_) => self.write_failed(),
            }
            if !self.ballast.give_up(INDEX_AHEAD, 0) {
                break;
            }
        }
        let least = index.reserve(LEAST_INDEX_AHEAD);
        if !self.index_starves.swap(least.is_err(), Ordering::Relaxed)
            && let Err(error) = &least
        {
            tracing::warn!(%error, "no room is left for the index; nothing can be written");
        }
        least.is_ok()
    }

    /// Looks after the reserves and the metrics. Called every second.
    pub fn keep(&self, index: &Index) {
        let disk = self.space.now();
        self.reserve_for_index(index);
        if !self.observe(disk) {
            self.restore_ballast(disk);
        }
        if self
            .rounds
            .fetch_add(1, Ordering::Relaxed)
            .is_multiple_of(RESERVED_EVERY)
            && let Err(error) = self.add_up_reserved(index)
        {
            tracing::warn!(%error, "what the store reserves cannot be added up");
        }
        metrics::room(&self.state());
    }

    /// What the store takes and may take. Cheap.
    pub fn state(&self) -> RoomState {
        let disk = self.space.recent();
        let used = self.used.load(Ordering::Relaxed);
        RoomState {
            used,
            limit: self.limits.max_size,
            reserved: self.reserved.load(Ordering::Relaxed),
            ballast: self.ballast.len(),
            disk,
            above_high: self.observe(disk),
            pressed: self.limits.is_pressed(used, disk),
            above_low: self.limits.above_low(used, disk),
            resting: self.resting(),
        }
    }

    fn spoken_for(&self) -> u64 {
        let promised = self.promised.load(Ordering::Relaxed);
        self.used.load(Ordering::Relaxed).saturating_add(promised)
    }

    fn resting(&self) -> bool {
        self.resting_until.load(Ordering::Relaxed) > self.begun.elapsed().as_millis() as u64
    }

    /// Asks with what is known of the disk, and again before a refusal: the disk may have room by now.
    fn twice(&self, ask: impl Fn(Disk) -> Result<(), Reason>) -> Result<(), Reason> {
        if self.resting() {
            return Err(Reason::Write);
        }
        ask(self.space.recent()).or_else(|_| ask(self.space.now()))
    }

    fn refuse(&self, answer: Result<(), Reason>) -> Result<(), StoreError> {
        answer.map_err(|reason| {
            metrics::refused_for_room(reason);
            StoreError::NoSpace
        })
    }

    /// Whether uploads are refused, after a look at the watermarks.
    fn observe(&self, disk: Disk) -> bool {
        let used = self.used.load(Ordering::Relaxed);
        let above = |disk| self.limits.above_high(used, disk);
        let was_full = self.full.load(Ordering::Relaxed);
        // What is known of the disk is less than it has: what was given to a file counts again when it is written. It
        // would take until the low watermark to take a mistake back.
        let disk = if was_full || !above(disk) {
            disk
        } else {
            self.space.now()
        };
        if above(disk) {
            if !self.full.swap(true, Ordering::Relaxed) {
                let Disk { free, .. } = disk;
                tracing::warn!(used, free, "above the high watermark; uploads are refused");
            }
            true
        } else if self.limits.above_low(used, disk) == 0 {
            if self.full.swap(false, Ordering::Relaxed) {
                tracing::info!(used, "below the low watermark; uploads are taken again");
            }
            false
        } else {
            self.full.load(Ordering::Relaxed)
        }
    }

    fn restore_ballast(&self, disk: Disk) {
        let used = self.used.load(Ordering::Relaxed);
        let wanted = Ballast::wanted(used, disk.size);
        let missing = wanted.saturating_sub(self.ballast.len());
        let after = Disk {
            free: disk.free.saturating_sub(missing),
            ..disk
        };
        if missing == 0 || self.limits.above_low(used, after) > 0 {
            return;
        }
        match self.ballast.grow(wanted) {
            Ok(()) => self.space.written(missing),
            Err(error) => tracing::debug!(%error, "no room for the ballast"),
        }
    }

    fn add_up_reserved(&self, index: &Index) -> io::Result<()> {
        let mut on_disk = self.ballast.len() + index.reserved()?;
        // On 512-byte blocks, whatever the file system's own are.
        each_log_file(&self.data, |meta| on_disk += meta.blocks() * 512)?;
        let used = self.used.load(Ordering::Relaxed);
        self.reserved
            .store(on_disk.saturating_sub(used), Ordering::Relaxed);
        Ok(())
    }
}

fn each_log_file(data: &Path, mut visit: impl FnMut(std::fs::Metadata)) -> io::Result<()> {
    for dir in ["journal", "segments"] {
        for entry in std::fs::read_dir(data.join(dir))? {
            match entry?.metadata() {
                Ok(meta) => visit(meta),
                // Removed since it was listed.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
    }
    Ok(())
}

#[cfg(test)]
impl Room {
    /// The second behind a failed write is over.
    pub fn end_rest(&self) {
        self.resting_until.store(0, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests;
