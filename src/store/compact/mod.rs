//! Compaction: gives back the space of what collection, removals and replacements have left behind.
//!
//! Nothing is changed in place. What is alive in a file is written again at the end of the log, the committer lets the
//! index lead to the copies, and the file is retired:
//!
//! 1. **Copy**: bulk chunks, verified, to another segment, which is synced; records of the journal to its end. The
//!    committer takes only what the index still leads to, so a change that was faster always wins.
//! 2. **Last pass**: under the lock of each chunk's pins, neither the index nor a pin leads into the file. Nothing can
//!    come to, since both are found through the index. A file that does not pass waits for the next time.
//! 3. **Checkpoint**: the index, copies included, is made durable.
//! 4. **Unlink**, and the directory is synced before the next file goes. Readers that have the file open keep it.
//!
//! A crash between any two of these leaves copies that nothing leads to, or a file that nothing needs.
//!
//! Segments go in any order. The journal goes strictly from its oldest file: a removal hides what is older, so it is
//! needed exactly as long as there is something older. Records of the oldest file that remove things are not copied.
//!
//! **Damage** is never compacted away. A live chunk that does not verify stays where it is, and so does its file; a
//! journal file whose list of records cannot be read whole stays too, and with it everything behind it. Both go when
//! the bytes are published again or nothing needs them any more.

mod journal;
mod retire;
mod segments;
#[cfg(test)]
mod tests;
pub(super) mod usage;
mod wait;

use std::sync::mpsc::channel;

use journal::journal;
use segments::segments;

use super::Inner;
use super::change::{Change, CommitError};
use super::committer::Message;
use super::error::StoreError;
use super::metrics;
use super::pace::Pace;
use super::ticket::ticket;

/// Percent of a file that may be dead without being worth the copying.
const TOLERATED: u64 = 50;
/// The same in a full pass.
const TOLERATED_IN_FULL: u64 = 5;
/// Dead bytes that are not worth a new file in a full pass.
const LEAST_DEAD: u64 = 16 << 10;

/// What compaction did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Compacted {
    /// Files that were removed.
    pub files: u64,
    /// Their length, bytes.
    pub freed: u64,
    /// Bytes that were written again.
    pub copied: u64,
    /// Files that had to stay because something in them is damaged.
    pub damaged: u64,
    /// Files that had to stay because something is being done with them, or the pace said to stop.
    pub waiting: u64,
}

/// Compacts segments and the journal, as far as it is worth it; `full`: as far as it goes, the active files included.
///
/// Blocks, for long: only for a thread of its own, while the committer runs and while neither collection nor another
/// compaction does.
///
/// # Errors
/// `Poisoned` after a failed write or sync, `Closed`, `Index`, `Io`: what was done until then stands. `NoSpace` where
/// the disk has no room for copies, once what could be freed without is freed. `Foreign` where a record of the
/// journal cannot be understood.
pub(super) fn compact(inner: &Inner, full: bool, pace: &dyn Pace) -> Result<Compacted, StoreError> {
    let segments = segments(inner, full, pace);
    let no_space = matches!(segments, Err(StoreError::NoSpace));
    let mut done = match segments {
        Err(StoreError::NoSpace) => Compacted::default(),
        segments => segments?,
    };
    done.add(journal(inner, full, pace)?);
    match no_space {
        true => Err(StoreError::NoSpace),
        false => Ok(done),
    }
}

impl Compacted {
    fn add(&mut self, other: Compacted) {
        self.files += other.files;
        self.freed += other.freed;
        self.copied += other.copied;
        self.damaged += other.damaged;
        self.waiting += other.waiting;
    }
}

/// What became of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    /// Nothing leads into it: it can be retired.
    Forsaken,
    /// An upload relies on it, or it is not sealed yet.
    Waiting,
    /// Something alive in it cannot be read.
    Damaged,
    /// The store is closing.
    Stopped,
}

/// Where a pass is, for tests that let it crash there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    /// Chunks have been written again; the index does not know.
    Copied,
    /// The index leads to the copies.
    Moved,
    /// That is durable.
    Checkpointed,
    /// A file is gone.
    Unlinked,
}

/// A pass under way.
struct Pass<'a> {
    inner: &'a Inner,
    pace: &'a dyn Pace,
    full: bool,
    done: Compacted,
}

impl<'a> Pass<'a> {
    fn new(inner: &'a Inner, full: bool, pace: &'a dyn Pace) -> Result<Self, StoreError> {
        // After a failed sync nobody knows what is on the disk, so nothing is removed from it.
        match inner.shared.writing_ended() {
            Some(CommitError::IndexFailed) => return Err(StoreError::Index("it has failed".into())),
            Some(_) => return Err(StoreError::Poisoned),
            None => {}
        }
        metrics::compaction();
        Ok(Pass {
            inner,
            pace,
            full,
            done: Compacted::default(),
        })
    }

    /// Whether `dead` of `total` bytes are worth copying the rest.
    fn is_worth_it(&self, dead: u64, total: u64) -> bool {
        match self.full {
            true => dead > (total / 100 * TOLERATED_IN_FULL).max(LEAST_DEAD),
            false => dead > total / 100 * TOLERATED,
        }
    }

    /// Counts a file that has to stay.
    fn keep(&mut self, fate: Fate) {
        match fate {
            Fate::Damaged => self.done.damaged += 1,
            Fate::Waiting | Fate::Stopped => self.done.waiting += 1,
            Fate::Forsaken => {}
        }
    }

    /// Commits a change and waits until the index knows.
    fn commit(&self, change: Change) -> Result<(), StoreError> {
        let (settle, ticket) = ticket();
        let (passed, wait) = channel();
        // The queue is bounded, so this may wait; the committer always works it off.
        for message in [Message::Commit(Box::new(change), settle), Message::Fence(passed)] {
            self.inner.commits.send(message).map_err(|_| StoreError::Closed)?;
        }
        wait.recv().map_err(|_| StoreError::Closed)?;
        match ticket.peek() {
            Some(Ok(())) => Ok(()),
            Some(Err(CommitError::NoSpace)) => Err(StoreError::NoSpace),
            Some(Err(CommitError::Poisoned)) => Err(StoreError::Poisoned),
            Some(Err(CommitError::Closed)) | None => Err(StoreError::Closed),
            Some(Err(error)) => Err(StoreError::Index(error.to_string())),
        }
    }
}

/// Tells a test that watches this thread where the pass is.
fn reached(_step: Step) {
    #[cfg(test)]
    tests::reached(_step);
}
