//! The committer: one thread that owns the journal. It gathers waiting commits into a group, checks what each
//! expects, writes and syncs the group, brings the index up to it and tells the waiters.
//!
//! Group commit is self-clocking: while one sync runs the next group gathers.

mod waiters;
mod write;

use std::collections::{HashSet, VecDeque};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender};
use std::time::{Duration, Instant};

use super::bulk::Bulk;
use super::change::{Change, CommitError};
use super::collect::barrier::Barrier;
use super::counts::Counts;
use super::damage::Damage;
use super::error::StoreError;
use super::index::{Batch, Index, keys};
use super::log::files::LogFiles;
use super::log::format::FILE_HEADER_LEN;
use super::log::group::GroupBuilder;
use super::log::journal::{Journal, MIN_FILE};
use super::log::record::Record;
use super::model::{Id, Place};
use super::position::Applied;
use super::proof::Proof;
use super::shared::Shared;
use super::siblings::Siblings;
use super::stage::Stage;
use super::sweeps::{self, Removed};
use super::ticket::Settle;
use super::upload::Content;
use crate::chunk::Digest;
use waiters::{Filled, Waiters, gather};

/// Rest after a failed step of sweeping.
const SWEEP_REST: Duration = Duration::from_secs(5);
/// Rest of sweeping while the index has much to make durable, until it is looked at again.
const SWEEP_PAUSE: Duration = Duration::from_millis(5);
/// The longest that a step of sweeping is put off for that: however much is written, removed names go at last.
const SWEEP_PATIENCE: Duration = Duration::from_secs(1);

/// What comes to the committer's queue.
#[derive(Debug)]
pub enum Message {
    /// A change to commit.
    Commit(Box<Change>, Settle),
    /// The index failed: build it again.
    Rebuild,
    /// Make the index's files small again, if little is left in them.
    ShrinkIndex,
    /// Answer once everything committed before is in the index.
    Fence(Sender<()>),
    /// Finish what is queued, then stop.
    Close,
}

impl Message {
    /// Tells the waiter that this will not be done.
    pub fn settle(self, error: CommitError) {
        if let Message::Commit(_, settle) = self {
            settle.settle(Err(error));
        }
    }
}

/// The committer's state; lives on its thread.
pub struct Committer {
    pub(super) index: Arc<Index>,
    pub(super) shared: Arc<Shared>,
    pub(super) journal: Journal,
    pub(super) applied: Applied,
    /// Knows how far the segments are synced.
    pub(super) bulk: Arc<Bulk>,
    /// Copies that are not relied on.
    pub(super) damage: Arc<Damage>,
    /// Files that are there.
    pub(super) files: Arc<LogFiles>,
    /// Notes what is published while collection runs.
    pub(super) barrier: Arc<Barrier>,
    /// Seals a file that is full, off this thread.
    pub(super) seal: Box<dyn FnMut(Journal) + Send>,
    /// What is still to be swept.
    pub(super) sweeps: VecDeque<Removed>,
    /// When the last step of sweeping was made.
    pub(super) swept: Instant,
    /// Accounts whose removal has been staged.
    pub(super) removed: HashSet<Id>,
    /// Tell whether a removed file was the last one of its version.
    pub(super) siblings: Siblings,
    /// The last step of sweeping failed.
    pub(super) sweep_failed: bool,
    /// The proof of an index that was found on disk, until it is done.
    pub(super) proof: Option<Proof>,
    /// sled's page cache, bytes.
    pub(super) index_cache: u64,
    pub(super) buffer: Vec<u8>,
}

/// Chunks and blobs of which a change may have brought another copy.
fn brought(change: &Change) -> Vec<Digest> {
    match change {
        Change::Publish(publish) => {
            let mut digests = vec![publish.blob.digest];
            if let Content::Bulk(bulk) = &publish.blob.content {
                digests.extend(bulk.chunks.iter().map(|pinned| pinned.chunk.digest));
            }
            digests
        }
        Change::Copy(originals) => {
            let manifests = originals.iter().filter_map(|original| match original.record {
                Record::Manifest(blob, _) => Some(blob),
                _ => None,
            });
            manifests.collect()
        }
        _ => Vec::new(),
    }
}

impl Committer {
    /// Works until it is told to close, or every sender is gone. Returns what a clean shutdown needs.
    pub fn run(mut self, queue: Receiver<Message>) -> (Journal, Applied) {
        let _guard = PoisonOnPanic(self.shared.clone());
        let mut open = true;
        while open {
            if self.index.failure().is_some() {
                open = self.restore_index(&queue);
                continue;
            }
            let mut messages = Vec::new();
            let mut fence = None;
            match self.next(&queue) {
                Ok(Message::Commit(change, settle)) => messages.push((*change, settle)),
                Ok(Message::ShrinkIndex) => self.shrink_index(),
                Ok(Message::Fence(passed)) => fence = Some(passed),
                Ok(Message::Rebuild) | Err(RecvTimeoutError::Timeout) => {}
                Ok(Message::Close) | Err(RecvTimeoutError::Disconnected) => open = false,
            }
            if fence.is_none() {
                open &= gather(&queue, &mut messages, &mut fence);
            }
            self.commit(messages);
            if let Some(passed) = fence {
                // Nobody to tell where the collector has given up.
                let _ = passed.send(());
            }
            if open && !self.sweeps.is_empty() {
                self.sweep();
            }
            if open && self.proof.as_ref().is_some_and(|proof| proof.rest().is_zero()) {
                self.proof_step();
            }
        }
        self.give_up_failed_index();
        (self.journal, self.applied)
    }

    /// The next message. Sweeping goes on while there is none, and rests a while when it failed.
    fn next(&self, queue: &Receiver<Message>) -> Result<Message, RecvTimeoutError> {
        match (self.sweeps.is_empty(), self.sweep_failed) {
            (true, _) => match &self.proof {
                Some(proof) => queue.recv_timeout(proof.rest()),
                None => queue.recv().map_err(|_| RecvTimeoutError::Disconnected),
            },
            (false, false) if self.index.is_behind() => queue.recv_timeout(SWEEP_PAUSE),
            (false, false) => queue.recv_timeout(Duration::ZERO),
            (false, true) => queue.recv_timeout(SWEEP_REST),
        }
    }

    /// Commits what has gathered; what does not fit into a group goes into further ones.
    fn commit(&mut self, messages: Vec<(Change, Settle)>) {
        let mut messages = messages.into_iter().peekable();
        while messages.peek().is_some() {
            if let Some(error) = self.cannot_write() {
                for (_, settle) in messages {
                    settle.settle(Err(error.clone()));
                }
                return;
            }
            let mut waiters = Waiters::default();
            let room = self.bulk.room.clone();
            let outcome = self.group(|stage| waiters.stage(&mut messages, &room, stage));
            // Whatever the outcome: what was written to the log is true, even where the index has failed behind it.
            if waiters.changes.iter().any(Change::changes_sign_in) {
                self.shared.sign_in_changed();
            }
            let removal =
                |change: &Change| matches!(change, Change::RemoveVersion(_) | Change::RemovePackage(_));
            if outcome.is_ok() {
                if waiters.changes.iter().any(removal) {
                    self.note_sweeps();
                }
                self.note_marks(&waiters.changes);
                self.note_healed(&waiters.changes);
            }
            waiters.settle(outcome);
        }
    }

    /// Why nothing can be written now, if so.
    fn cannot_write(&self) -> Option<CommitError> {
        self.shared.writing_ended().or_else(|| {
            let room = self.bulk.room.index_has_room(&self.index);
            (!room).then_some(CommitError::NoSpace)
        })
    }

    /// Goes on sweeping, unless requests would soon have to wait for the index.
    fn sweep(&mut self) {
        if self.index.is_behind() && self.swept.elapsed() < SWEEP_PATIENCE {
            self.index.hurry_checkpoint();
            return;
        }
        self.sweep_step();
        self.swept = Instant::now();
    }

    /// Takes some of what was removed as a whole out of the index.
    fn sweep_step(&mut self) {
        let Some(removed) = self.sweeps.pop_front() else {
            return;
        };
        let mut done = false;
        let swept = match self.cannot_write() {
            Some(error) => Err(error),
            None => self.group(|stage| {
                done = match removed {
                    Removed::Version(version) => stage.sweep(version)?,
                    Removed::Package(package) => stage.sweep_package(package)?,
                };
                Ok(Filled {
                    commits: 0,
                    frees: true,
                    only_copies: false,
                })
            }),
        };
        self.sweep_failed = swept.is_err();
        if swept.is_err() || !done {
            self.sweeps.push_back(removed);
        }
        if matches!(removed, Removed::Package(_)) {
            // It may have left versions behind that are too large for a step.
            self.note_sweeps();
        }
    }

    /// Makes one group of what `fill` stages. An empty group is not written.
    fn group(
        &mut self,
        fill: impl FnOnce(&mut Stage<'_, '_>) -> Result<Filled, StoreError>,
    ) -> Result<(), CommitError> {
        let started = Instant::now();
        let index = self.index.clone();
        let mut batch = Batch::new(&index, self.applied.index_sum);
        let buffer = std::mem::take(&mut self.buffer);
        let number = self.applied.group + 1;
        let mut group = GroupBuilder::new(self.journal.binding(), self.journal.offset(), number, buffer);
        let mut stage = Stage {
            batch: &mut batch,
            group: &mut group,
            damage: &self.damage,
            files: &self.files,
            counts: Counts::default(),
            removed: &mut self.removed,
            siblings: &mut self.siblings,
            barrier: &self.barrier,
            removed_bytes: 0,
        };
        let filled = fill(&mut stage).and_then(|filled| stage.count().map(|()| filled));
        let removed_bytes = stage.removed_bytes;
        let filled = filled.map_err(|error| self.unanswered(error))?;
        if group.is_empty() {
            self.buffer = group.into_buffer();
            return Ok(());
        }
        self.write(group, &batch, filled)?;
        self.apply(batch)?;
        self.shared.committed(removed_bytes, started.elapsed());
        Ok(())
    }

    /// Looks for what is to be swept. Where that fails, the next start does it.
    fn note_sweeps(&mut self) {
        match sweeps::pending(&self.index) {
            Ok(pending) => self.sweeps = pending,
            Err(error) => tracing::warn!(%error, "removed names could not be listed for sweeping"),
        }
    }

    /// Begins a new file where that was asked for, unless one has just been begun.
    fn note_marks(&mut self, changes: &[Change]) {
        let asked = changes
            .iter()
            .any(|change| matches!(change, Change::Mark { last_of_file: true }));
        if asked && self.journal.offset() > FILE_HEADER_LEN {
            self.rotate(MIN_FILE);
        }
    }

    /// Copies that were written again in place of damaged ones.
    fn note_healed(&self, changes: &[Change]) {
        if self.damage.is_empty() {
            return;
        }
        for change in changes {
            for digest in brought(change) {
                for key in [keys::chunk(&digest), keys::manifest(&digest)] {
                    if let Ok(Some(place)) = self.index.get_as::<Place>(&key) {
                        self.damage.healed(&digest, Some(place));
                    }
                }
            }
        }
    }

    fn apply(&mut self, batch: Batch<'_>) -> Result<(), CommitError> {
        if let Some(proof) = &mut self.proof {
            proof.follow(&batch);
        }
        batch
            .write()
            .and_then(|()| self.applied.store(&self.index))
            .map_err(|error| self.index_failed(error))
    }

    fn poison(&self, what: &str, error: &std::io::Error) -> CommitError {
        tracing::error!(%error, "journal {what} failed; no more writes until a restart");
        self.shared.poison(format!("journal {what} failed: {error}"));
        CommitError::Poisoned
    }

    fn index_failed(&self, error: StoreError) -> CommitError {
        tracing::error!(%error, "the index failed behind a group; it is built again");
        CommitError::IndexFailed
    }

    /// The index did not answer before anything was written.
    fn unanswered(&self, error: StoreError) -> CommitError {
        tracing::error!(%error, "the index failed; it is built again");
        CommitError::Rebuilding
    }
}

/// A committer that panicked may have written half a group: nobody may write behind it.
struct PoisonOnPanic(Arc<Shared>);

impl Drop for PoisonOnPanic {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.poison("the committer panicked".into());
        }
    }
}
