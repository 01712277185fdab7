//! Keeps the figures of the store at hand: counts them again and again, rarely enough to cost next to nothing.

use std::io;
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use prometheus::IntGauge;

use super::throttle::{Aside, Stop, Unbraked};
use crate::store::error::StoreError;
use crate::store::pace::Pace;
use crate::store::stats::Stats;
use crate::store::{Health, Store};
use crate::telemetry::metrics::gauge;

/// The figures are never counted more often by themselves.
const AT_MOST_EVERY: Duration = Duration::from_secs(60);
/// Counting takes at most one part in so many of one core, over the time; a tenth of one while it lasts.
const PART: u32 = 200;
/// Who asks waits for a count that takes no longer than this; else the last one has to do.
const PATIENCE: Duration = Duration::from_secs(2);

static AGE: LazyLock<IntGauge> = LazyLock::new(|| {
    gauge(
        "larder_store_counted_timestamp_seconds",
        "When the figures of what the store holds were counted, in Unix time; 0: not yet.",
    )
});

/// Figures and how old they are.
#[derive(Clone, Copy, Debug)]
pub struct Counted {
    /// The figures.
    pub stats: Stats,
    /// When counting ended.
    pub at: Instant,
    /// How long it took, without rests.
    pub took: Duration,
}

/// The handle; clones share the thread.
#[derive(Clone, Debug)]
pub struct Statistics(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    store: Store,
    stop: Stop,
    last: Mutex<Option<Counted>>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl Statistics {
    /// Starts the thread.
    pub fn start(store: Store) -> io::Result<Self> {
        LazyLock::force(&AGE);
        let statistics = Statistics(Arc::new(Inner {
            store,
            stop: Stop::default(),
            last: Mutex::default(),
            thread: Mutex::default(),
        }));
        let worker = statistics.clone();
        let thread = std::thread::Builder::new()
            .name("larder-stats".to_owned())
            .spawn(move || worker.work())?;
        *lock(&statistics.0.thread) = Some(thread);
        Ok(statistics)
    }

    /// Ends the thread. Blocks, for moments.
    pub fn stop(&self) {
        self.0.stop.stop();
        let thread = lock(&self.0.thread).take();
        if let Some(thread) = thread
            && thread.join().is_err()
        {
            tracing::error!("the thread that counts what the store holds panicked");
        }
    }

    /// The figures of now, or the last ones where counting takes long. Blocks.
    ///
    /// # Errors
    /// As [`Store::stats`].
    pub fn now(&self) -> Result<Counted, StoreError> {
        let last = *lock(&self.0.last);
        match last.filter(|last| last.took > PATIENCE) {
            Some(last) => Ok(last),
            None => {
                let begun = Instant::now();
                self.count(&Unbraked(&self.0.stop), || begun.elapsed())
            }
        }
    }

    fn work(&self) {
        let mut rest = Duration::ZERO;
        while !self.0.stop.wait(rest) {
            rest = AT_MOST_EVERY;
            if matches!(self.0.store.health(), Health::Rebuilding { .. }) {
                continue;
            }
            let aside = Aside::new(&self.0.stop);
            match self.count(&aside, || aside.worked()) {
                Ok(counted) => rest = rest.max(counted.took * PART),
                Err(StoreError::Closed) => return,
                Err(error) => tracing::warn!(%error, "what the store holds could not be counted"),
            }
        }
    }

    fn count(&self, pace: &dyn Pace, took: impl Fn() -> Duration) -> Result<Counted, StoreError> {
        let stats = self.0.store.stats(pace)?;
        let counted = Counted {
            stats,
            at: Instant::now(),
            took: took(),
        };
        *lock(&self.0.last) = Some(counted);
        if let Ok(now) = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH) {
            AGE.set(now.as_secs() as i64);
        }
        Ok(counted)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
