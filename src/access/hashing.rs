//! Where passwords are hashed: off the threads that serve requests, few at a time, each credential once.

use std::io;
use std::sync::Arc;

use tokio::sync::{Mutex, OwnedMutexGuard, Semaphore};

use super::remembered::Fingerprint;

/// Hashes that may run at a time, at 19 MiB each.
const SLOTS: usize = 2;
/// Credentials that may wait for a slot; the others wait for one of these.
const LANES: usize = 64;

/// The right to be the only one that verifies a credential.
pub(super) type Lane = OwnedMutexGuard<()>;

/// The bounds. Waiting requests are bounded by the connections that carry them; what waits for a slot, by the lanes.
pub(super) struct Hashing {
    slots: Arc<Semaphore>,
    lanes: Vec<Arc<Mutex<()>>>,
}

impl Hashing {
    /// Nothing runs yet.
    pub(super) fn new() -> Self {
        Hashing {
            slots: Arc::new(Semaphore::new(SLOTS)),
            lanes: (0..LANES).map(|_| Arc::default()).collect(),
        }
    }

    /// Waits until nobody else verifies this credential. Two credentials may share a lane and wait for each other,
    /// which they would do for a slot anyway.
    pub(super) async fn lane(&self, credential: &Fingerprint) -> Lane {
        let lane = &self.lanes[usize::from(credential[0]) % LANES];
        lane.clone().lock_owned().await
    }

    /// Runs `work` on the blocking pool when a slot is free. Once it runs it goes on to its end, slot in hand, even if
    /// the caller is gone by then.
    pub(super) async fn run<T, F>(&self, work: F) -> io::Result<T>
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static,
    {
        let slot = self
            .slots
            .clone()
            .acquire_owned()
            .await
            .map_err(io::Error::other)?;
        let running = tokio::task::spawn_blocking(move || {
            let _slot = slot;
            work()
        });
        Ok(running.await?)
    }

    /// Takes every slot, so that nothing can run.
    #[cfg(test)]
    #[allow(clippy::expect_used)]
    pub(super) async fn take_all_slots(&self) -> tokio::sync::OwnedSemaphorePermit {
        let slots = self.slots.clone().acquire_many_owned(SLOTS as u32).await;
        slots.expect("the semaphore is never closed")
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::sync::mpsc;
    use std::time::{Duration, Instant};

    use futures_util::future::join_all;

    use super::*;

    #[tokio::test]
    async fn at_most_two_run_at_a_time() {
        let hashing = Hashing::new();
        let running = Arc::new(AtomicUsize::new(0));
        let peak = Arc::new(AtomicUsize::new(0));
        let work = || {
            let (running, peak) = (running.clone(), peak.clone());
            hashing.run(move || {
                let now = running.fetch_add(1, Ordering::SeqCst) + 1;
                peak.fetch_max(now, Ordering::SeqCst);
                // Not before two have met, and then for so long that a third would.
                let begun = Instant::now();
                while peak.load(Ordering::SeqCst) < 2 && begun.elapsed() < Duration::from_secs(60) {
                    std::thread::sleep(Duration::from_millis(1));
                }
                std::thread::sleep(Duration::from_millis(5));
                running.fetch_sub(1, Ordering::SeqCst);
            })
        };
        for outcome in join_all((0..16).map(|_| work())).await {
            outcome.unwrap();
        }
        assert_eq!(peak.load(Ordering::SeqCst), SLOTS);
    }

    #[tokio::test]
    async fn work_that_lost_its_caller_keeps_its_slot_to_the_end() {
        let hashing = Hashing::new();
        let (finish, finished) = mpsc::channel::<()>();
        {
            let abandoned = hashing.run(move || finished.recv().ok());
            let moment = tokio::time::sleep(Duration::from_millis(20));
            tokio::select! {
                _ = abandoned => panic!("it waits to be told"),
                () = moment => {}
            }
        }
        assert_eq!(hashing.slots.available_permits(), SLOTS - 1);
        finish.send(()).unwrap();
        let both = tokio::time::timeout(Duration::from_secs(10), hashing.take_all_slots());
        assert!(both.await.is_ok());
    }

    #[tokio::test]
    async fn one_lane_for_one_credential() {
        let hashing = Hashing::new();
        let held = hashing.lane(&[7; 32]).await;
        let short = Duration::from_millis(20);
        assert!(tokio::time::timeout(short, hashing.lane(&[7; 32])).await.is_err());
        assert!(tokio::time::timeout(short, hashing.lane(&[8; 32])).await.is_ok());
        drop(held);
        assert!(tokio::time::timeout(short, hashing.lane(&[7; 32])).await.is_ok());
    }
}
