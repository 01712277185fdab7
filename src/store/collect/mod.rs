//! Collection: finds what no name leads to any more and takes it out of the index; then compaction gives the space
//! back.
//!
//! A pass is mark and sweep, without clocks and beside traffic, over an index that is known to be whole:
//!
//! 1. The **barrier** goes up: from here on the committer notes what publications rely on.
//! 2. The **mark**: every file in the index, also of removed versions that are still being swept, and every chunk
//!    that its manifest lists. In rounds over ranges of digests, so that memory is bounded.
//! 3. The blobs that are open for reading are marked as well.
//! 4. **Check and drop**: every chunk and manifest in the index that is not marked, not behind the barrier and not
//!    pinned by an upload is taken out of the index by a record of the log. Until that is done whoever asks for the
//!    chunk waits.
//!
//! 5. **Compaction** of segments and journal, see [`compact`](super::compact).
//!
//! What is in doubt is kept: the next pass finds it. A manifest that is damaged is brought back from the footer of its
//! journal file, which repeats it, so that its chunks are not taken for garbage.

pub mod barrier;
pub mod mark;
#[cfg(test)]
mod model;
mod restore;
mod roots;
mod sweep;
#[cfg(test)]
pub(super) mod tests;

use std::fmt;
use std::sync::mpsc::channel;
use std::sync::{Arc, TryLockError};
use std::time::{Duration, Instant};

use futures_util::future::BoxFuture;
use serde::{Deserialize, Serialize};

use super::change::{CommitError, Freed};
use super::committer::Message;
use super::compact::compact;
use super::error::StoreError;
use super::pace::Pace;
use super::sweeps;
use super::{Health, Inner, Store};
use mark::{MAX_MARKS, Marks};

/// How long a thorough pass waits for removed versions to be swept.
const SWEEP_PATIENCE: Duration = Duration::from_secs(30);

/// What a pass shall do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Drop garbage and give back the space that is cheap to give back.
    Usual,
    /// The same, and give back all the space there is.
    Full,
    /// Only find out what a pass would drop.
    Preview,
}

/// What a pass did, or would do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Collected {
    /// Chunks that were dropped.
    pub chunks: u64,
    /// Manifests that were dropped.
    pub manifests: u64,
    /// Bytes of those chunks.
    pub bytes: u64,
    /// Files in the index when the pass looked.
    pub files: u64,
    /// Manifests of files that could not be read: their chunks are not known.
    pub damaged: u64,
    /// Log files that were removed.
    pub log_files: u64,
    /// Bytes by which the log files became smaller.
    pub freed: u64,
}

/// How a pass ended, for those who asked for it.
pub type Outcome = Result<Collected, String>;

/// A pass that was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Requested {
    /// Its number, to ask for its outcome.
    pub run: u64,
    /// Another pass is under way, and this one follows it.
    pub queued: bool,
}

/// Makes passes for those who ask.
pub trait Passes: fmt::Debug + Send + Sync {
    /// Asks for a pass. One of the same kind that waits for its turn is joined.
    fn request(&self, kind: Kind) -> Requested;

    /// How a pass ended; `None` while it waits or is under way.
    fn outcome(&self, run: u64) -> Option<Outcome>;

    /// Waits until a pass has ended. Cancel safe.
    fn ended(&self, run: u64) -> BoxFuture<'_, Outcome>;
}

/// Why a pass did not come to its end. What it had dropped until then is dropped.
#[derive(Debug, thiserror::Error)]
pub enum CollectError {
    /// Another pass is under way.
    #[error("another pass of collection is under way")]
    Running,
    /// It was told to stop.
    #[error("collection was stopped because the store is closing")]
    Stopped,
    /// A look-up or read failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A drop could not be committed.
    #[error(transparent)]
    Commit(#[from] CommitError),
}

impl Store {
    /// Makes a pass. Blocks, for long: only for a thread of its own, while the committer runs.
    ///
    /// # Errors
    /// `Running` if there is another; `Stopped` when `pace` says so.
    pub fn collect(&self, kind: Kind, pace: &dyn Pace) -> Result<Collected, CollectError> {
        let _only = match self.inner.collecting.try_lock() {
            Ok(only) => only,
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            Err(TryLockError::WouldBlock) => return Err(CollectError::Running),
        };
        let pass = Pass {
            inner: &self.inner,
            pace,
            most_marks: MAX_MARKS,
            freed: Arc::default(),
            kind,
        };
        pass.wait_for_proof()?;
        let mut collected = pass.run(kind)?;
        if kind != Kind::Preview {
            pass.compact(kind == Kind::Full, &mut collected)?;
        }
        Ok(collected)
    }

    /// Bytes of files whose names went since the store was opened. A hint for when a pass is worth its while.
    pub fn removed_bytes(&self) -> u64 {
        self.inner.shared.removed_bytes()
    }

    /// How long a commit took just now; zero while there is none.
    pub fn commit_latency(&self) -> Duration {
        self.inner.shared.commit_latency()
    }
}

/// A pass under way.
struct Pass<'a> {
    inner: &'a Inner,
    pace: &'a dyn Pace,
    most_marks: usize,
    freed: Arc<Freed>,
    kind: Kind,
}

/// Takes the barrier down when the pass ends, well or not.
struct Raised<'a>(&'a Inner);

impl Drop for Raised<'_> {
    fn drop(&mut self) {
        self.0.barrier.lower();
    }
}

impl Pass<'_> {
    fn run(&self, kind: Kind) -> Result<Collected, CollectError> {
        if kind == Kind::Full {
            self.wait_for_sweeps()?;
        }
        let mut collected = Collected::default();
        let mut from = Some(0);
        while let Some(start) = from {
            let end = self.round(start, kind, &mut collected)?;
            from = end.checked_add(1);
        }
        collected.chunks = self.freed.chunks();
        collected.manifests = self.freed.manifests();
        collected.bytes = self.freed.bytes();
        Ok(collected)
    }

    /// Marks and drops from the fingerprint `from` upwards, as far as the marks fit into memory; returns how far.
    fn round(&self, from: u64, kind: Kind, collected: &mut Collected) -> Result<u64, CollectError> {
        self.inner.barrier.raise();
        let _raised = Raised(self.inner);
        self.fence()?;
        let mut marks = Marks::from(from, self.most_marks);
        let roots = self.mark_files(&mut marks)?;
        collected.files = roots.files;
        collected.damaged = roots.damaged;
        let open = self.inner.readers.open_blobs();
        open.wait_for_looks();
        open.for_each(|chunks| chunks.iter().for_each(|chunk| marks.mark(&chunk.digest)));
        let marked = marks.finish();
        self.sweep(&marked, kind == Kind::Preview)?;
        Ok(*marked.range().end())
    }

    /// Gives the space back, the index's included.
    fn compact(&self, full: bool, collected: &mut Collected) -> Result<(), CollectError> {
        let compacted = compact(self.inner, full, self.pace)?;
        collected.log_files = compacted.files;
        collected.freed = compacted.freed.saturating_sub(compacted.copied);
        let _ = self.inner.commits.send(Message::ShrinkIndex);
        self.fence()
    }

    /// Waits until what is being committed is in the index.
    fn fence(&self) -> Result<(), CollectError> {
        let (passed, wait) = channel();
        // The queue is bounded, so this may wait; the committer always works it off.
        let sent = self.inner.commits.send(Message::Fence(passed));
        sent.map_err(|_| CommitError::Closed)?;
        wait.recv().map_err(|_| CommitError::Closed)?;
        self.may_go_on(0)
    }

    /// What an index that was found on disk has lost would look like garbage, so nothing is dropped or removed before it is
    /// known to be whole.
    fn wait_for_proof(&self) -> Result<(), CollectError> {
        if self.kind == Kind::Full {
            self.inner.shared.hurry_proof();
        }
        while self.kind != Kind::Preview && !self.inner.shared.is_proven() {
            self.may_go_on(0)?;
            std::thread::sleep(Duration::from_millis(10));
            if self.inner.shared.health() == Health::Ready {
                // It says where there is no committer any more that could prove anything.
                self.fence()?;
            }
        }
        Ok(())
    }

    /// Removed versions with many files leave the index in steps; until then their files count as live.
    fn wait_for_sweeps(&self) -> Result<(), CollectError> {
        let deadline = Instant::now() + SWEEP_PATIENCE;
        while Instant::now() < deadline && !sweeps::pending(&self.inner.index)?.is_empty() {
            self.may_go_on(0)?;
            std::thread::sleep(Duration::from_millis(10));
        }
        Ok(())
    }

    fn may_go_on(&self, spent: u64) -> Result<(), CollectError> {
        match self.pace.spend(spent) {
            true => Ok(()),
            false => Err(CollectError::Stopped),
        }
    }
}
