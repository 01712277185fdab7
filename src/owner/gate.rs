//! Admission: how many uploads and removals may be in progress at once.
//!
//! A mailbox's bound does not bind when every request clones the address (each clone has a guaranteed slot), so the
//! bound is ours, and it is taken before a byte of the body is read.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout_at};

use super::metrics::{LiveUpload, METRICS};

/// The uploads of one owner. Clones share it; whoever holds one keeps the owner's actor from retiring.
#[derive(Clone, Debug)]
pub struct Gate(Arc<Semaphore>);

impl Gate {
    /// A gate that lets `max` uploads through at a time.
    pub fn new(max: usize) -> Self {
        Gate(semaphore(max))
    }

    /// Whether this is the only handle: no clone, no permit, nobody who waits for one.
    pub fn is_unused(&self) -> bool {
        Arc::strong_count(&self.0) == 1
    }
}

/// The bounds over all owners.
#[derive(Debug)]
pub struct Admission {
    uploads: Arc<Semaphore>,
    removals: Arc<Semaphore>,
    wait: Duration,
}

/// The right to upload; goes back when dropped.
#[derive(Debug)]
pub struct UploadPermit {
    _owner: OwnedSemaphorePermit,
    _total: OwnedSemaphorePermit,
    _counted: LiveUpload,
    waited: bool,
}

impl UploadPermit {
    /// Whether it had to be waited for, so that what was checked before may have changed.
    pub fn waited(&self) -> bool {
        self.waited
    }
}

/// The right to remove something; goes back when dropped.
#[derive(Debug)]
pub struct RemovalPermit {
    _total: OwnedSemaphorePermit,
}

impl Admission {
    /// `uploads` and `removals` may be in progress; an upload waits up to `wait` for its turn.
    pub fn new(uploads: usize, removals: usize, wait: Duration) -> Self {
        METRICS.bound(uploads);
        Admission {
            uploads: semaphore(uploads),
            removals: semaphore(removals),
            wait,
        }
    }

    /// Waits for the turn of an upload, in order of arrival; `None` if it does not come in time.
    ///
    /// The owner's permit comes first, so that the waiters of a busy owner hold none of everybody's.
    pub async fn upload(&self, gate: &Gate) -> Option<UploadPermit> {
        if let Some(permit) = self.upload_now(gate) {
            return Some(permit);
        }
        let began = Instant::now();
        let deadline = began + self.wait;
        let owner = timeout_at(deadline, gate.0.clone().acquire_owned()).await;
        let permit = match owner {
            Ok(Ok(owner)) => timeout_at(deadline, self.uploads.clone().acquire_owned())
                .await
                .ok()
                .and_then(Result::ok)
                .map(|total| UploadPermit {
                    _owner: owner,
                    _total: total,
                    _counted: LiveUpload::new(),
                    waited: true,
                }),
            _ => None,
        };
        METRICS.waited_for_admission(began.elapsed());
        if permit.is_none() {
            METRICS.upload_refused();
        }
        permit
    }

    /// Lets an upload in whose turn it is at once; `None`, and nobody has been refused yet.
    pub fn upload_now(&self, gate: &Gate) -> Option<UploadPermit> {
        let owner = gate.0.clone().try_acquire_owned().ok()?;
        let total = self.uploads.clone().try_acquire_owned().ok()?;
        METRICS.waited_for_admission(Duration::ZERO);
        Some(UploadPermit {
            _owner: owner,
            _total: total,
            _counted: LiveUpload::new(),
            waited: false,
        })
    }

    /// Lets a removal in, or says `None` at once.
    pub fn removal(&self) -> Option<RemovalPermit> {
        match self.removals.clone().try_acquire_owned() {
            Ok(total) => Some(RemovalPermit { _total: total }),
            Err(_) => {
                METRICS.removal_refused();
                None
            }
        }
    }
}

fn semaphore(permits: usize) -> Arc<Semaphore> {
    Arc::new(Semaphore::new(permits.min(Semaphore::MAX_PERMITS)))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    const WAIT: Duration = Duration::from_secs(10);

    #[tokio::test(start_paused = true)]
    async fn an_owner_cannot_take_more_than_its_share() {
        let admission = Admission::new(3, 1, WAIT);
        let (busy, quiet) = (Gate::new(2), Gate::new(2));
        let first = admission.upload(&busy).await.unwrap();
        let _second = admission.upload(&busy).await.unwrap();
        let began = Instant::now();
        assert!(admission.upload(&busy).await.is_none());
        assert_eq!(began.elapsed(), WAIT);
        // Whoever waits for the owner's permit holds none of everybody's.
        let waiting = tokio::spawn({
            let busy = busy.clone();
            async move { Admission::upload(&admission, &busy).await.map(|p| (p, admission)) }
        });
        tokio::task::yield_now().await;
        drop(first);
        let (permit, admission) = waiting.await.unwrap().unwrap();
        assert!(permit.waited());
        let third = admission.upload(&quiet).await.unwrap();
        assert!(!third.waited());
        assert!(admission.upload(&quiet).await.is_none(), "three in all");
    }

    #[tokio::test(start_paused = true)]
    async fn a_gate_is_used_while_anyone_holds_or_waits() {
        let admission = Admission::new(1, 1, WAIT);
        let gate = Gate::new(1);
        assert!(gate.is_unused());
        let permit = admission.upload(&gate).await.unwrap();
        assert!(!gate.is_unused());
        drop(permit);
        assert!(gate.is_unused());
        let held = gate.clone();
        assert!(!gate.is_unused());
        drop(held);
        assert!(gate.is_unused());
    }

    #[test]
    fn removals_are_refused_at_once() {
        let admission = Admission::new(1, 2, WAIT);
        let first = admission.removal().unwrap();
        let _second = admission.removal().unwrap();
        assert!(admission.removal().is_none());
        drop(first);
        assert!(admission.removal().is_some());
    }
}
