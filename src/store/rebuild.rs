//! An index that fails while the store is open is built again from the log, beside everybody who holds it.
//!
//! The committer does it: it alone knows where the log ends, and nothing is written meanwhile. Look-ups fail with
//! `Index` until the new tree stands, commits with `Rebuilding`; nothing is ever taken for absent.

use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use super::change::CommitError;
use super::committer::{Committer, Message};
use super::error::StoreError;
use super::position::Applied;
use super::proof::Verdict;
use super::{metrics, recovery, sweeps, trust};

/// Rest after a rebuild that failed; doubled with each further one.
const FIRST_REST: Duration = Duration::from_millis(500);
/// The longest rest.
const LONGEST_REST: Duration = Duration::from_secs(30);

impl Committer {
    /// Builds the index again, however often it takes. False: it is time to close.
    pub(super) fn restore_index(&mut self, queue: &Receiver<Message>) -> bool {
        let mut rest = FIRST_REST;
        loop {
            let started = Instant::now();
            match self.rebuild_index(queue) {
                Ok(()) => {
                    tracing::info!(
                        seconds = started.elapsed().as_secs_f64(),
                        "the index is built again"
                    );
                    return true;
                }
                Err(StoreError::Closed) => return false,
                Err(error) => {
                    tracing::error!(%error, rest = ?rest, "the index could not be built again; it is tried anew");
                }
            }
            if !refuse_for(queue, rest) {
                return false;
            }
            rest = (rest * 2).min(LONGEST_REST);
        }
    }

    /// A process that ends with a failed index leaves none that its successor might believe.
    pub(super) fn give_up_failed_index(&self) {
        if self.index.failure().is_some()
            && let Err(error) = trust::move_aside(self.journal.data())
        {
            tracing::error!(%error, "an index that failed could not be moved aside; delete it by hand");
        }
    }

    /// Scans some more of the index.
    pub(super) fn proof_step(&mut self) {
        let Some(proof) = &mut self.proof else { return };
        match proof.step(&self.index, self.applied.index_sum) {
            Ok(Verdict::Open) => return,
            Ok(Verdict::Right(entries)) => {
                tracing::info!(entries, "the index is exactly what the log says");
                self.shared.proven();
            }
            Ok(Verdict::Wrong) => {
                tracing::error!("the index is not what the log says; it is built again");
                self.index.fail("it is not what the log says");
            }
            // It has failed, and says so itself.
            Err(_) => {}
        }
        self.proof = None;
    }

    /// Makes the index's files small again, if little is left in them.
    pub(super) fn shrink_index(&self) {
        match trust::shrink(&self.index, self.index_cache) {
            Ok(true) => tracing::info!("the index's files have been made small again"),
            Ok(false) => {}
            Err(error) => tracing::warn!(%error, "the index's files could not be made smaller"),
        }
    }

    fn rebuild_index(&mut self, queue: &Receiver<Message>) -> Result<(), StoreError> {
        metrics::index_rebuild();
        let data = self.journal.data();
        self.shared.rebuilding(0, 0);
        // Closed and deleted first: on a full disk its room is needed.
        self.index.close_failed();
        trust::move_aside(data)?;
        trust::remove_aside(data)?;
        let store = self.journal.binding().store;
        let (fresh, _) = trust::open(data, store, self.index_cache)?;
        let shared = self.shared.clone();
        let disk = self.journal.disk();
        let sum = recovery::replay_through(disk, data, store, &fresh, self.applied, &mut |done, total| {
            shared.rebuilding(done, total);
            match refuse_for(queue, Duration::ZERO) {
                true => Ok(()),
                false => Err(StoreError::Closed),
            }
        })?;
        let applied = Applied {
            index_sum: sum,
            ..self.applied
        };
        applied.store(&fresh)?;
        fresh.checkpoint()?;
        self.sweeps = sweeps::pending(&fresh)?;
        self.applied = applied;
        self.proof = None;
        self.shared.proven();
        self.index.adopt(fresh);
        // Whoever was looked up in the tree that failed is looked up again.
        self.shared.sign_in_changed();
        Ok(())
    }
}

/// Refuses what comes to the queue meanwhile. False: it is time to close.
fn refuse_for(queue: &Receiver<Message>, rest: Duration) -> bool {
    let deadline = Instant::now() + rest;
    loop {
        match queue.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
            Ok(Message::Close) | Err(RecvTimeoutError::Disconnected) => return false,
            Ok(message) => message.settle(CommitError::Rebuilding),
            Err(RecvTimeoutError::Timeout) => return true,
        }
    }
}
