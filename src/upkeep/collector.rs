//! The collector: one thread that makes passes of collection, one at a time, when they are asked for or when enough
//! has lost its name.

use std::collections::VecDeque;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use futures_util::future::BoxFuture;
use tokio::sync::watch;

use super::Options;
use super::metrics::METRICS;
use super::throttle::{Stop, Throttle, Unbraked};
use crate::store::collect::{CollectError, Kind, Outcome, Passes, Requested};
use crate::store::{Health, Store};

/// How often the collector looks whether there is something to do.
const LOOK_EVERY: Duration = Duration::from_millis(200);
/// The first pass that nothing asks for comes this long after the start, or earlier.
const FIRST: Duration = Duration::from_secs(3600);
/// Outcomes that are remembered for those who ask.
const REMEMBERED: usize = 16;

/// The handle; clones share the collector.
#[derive(Clone, Debug)]
pub struct Collector(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    store: Store,
    options: Options,
    stop: Stop,
    desk: Mutex<Desk>,
    /// Counts the passes that have ended.
    ended: watch::Sender<u64>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

/// What is asked for and what came of it.
#[derive(Debug, Default)]
struct Desk {
    last_run: u64,
    /// At most one of a kind: who asks for the same joins.
    wanted: VecDeque<(u64, Kind)>,
    running: bool,
    outcomes: VecDeque<(u64, Outcome)>,
    closed: bool,
}

impl Desk {
    fn request(&mut self, kind: Kind) -> Requested {
        let joined = self.wanted.iter().find(|(_, wanted)| *wanted == kind);
        let run = match joined {
            Some((run, _)) => *run,
            None => {
                self.last_run += 1;
                self.wanted.push_back((self.last_run, kind));
                self.last_run
            }
        };
        Requested {
            run,
            queued: self.running,
        }
    }

    fn end(&mut self, run: u64, outcome: Outcome) {
        self.running = false;
        self.outcomes.push_back((run, outcome));
        if self.outcomes.len() > REMEMBERED {
            self.outcomes.pop_front();
        }
    }

    /// The outcome of a pass; `None` while it has none.
    fn outcome(&self, run: u64) -> Option<Outcome> {
        let found = self.outcomes.iter().find(|(ended, _)| *ended == run);
        match found {
            Some((_, outcome)) => Some(outcome.clone()),
            None if self.closed => Some(Err(CollectError::Stopped.to_string())),
            None => {
                let oldest = self.outcomes.front().map_or(0, |(run, _)| *run);
                let forgotten = run == 0 || run > self.last_run || run < oldest;
                forgotten.then(|| Err("the outcome of this pass is no longer known".to_owned()))
            }
        }
    }
}

impl Collector {
    /// Starts the thread.
    pub fn start(store: Store, options: Options) -> io::Result<Self> {
        METRICS.start(options.enabled.then_some(options.every));
        // Here, not on the thread: what is removed from now on counts, however late that begins.
        let due = Due::new(&options, store.removed_bytes());
        let collector = Collector(Arc::new(Inner {
            store,
            options,
            stop: Stop::default(),
            desk: Mutex::default(),
            ended: watch::Sender::new(0),
            thread: Mutex::default(),
        }));
        let worker = collector.clone();
        let thread = std::thread::Builder::new()
            .name("larder-gc".to_owned())
            .spawn(move || worker.work(due))?;
        *lock(&collector.0.thread) = Some(thread);
        Ok(collector)
    }

    /// Ends the pass under way and the thread. Blocks, for moments.
    pub fn stop(&self) {
        self.0.stop.stop();
        let thread = lock(&self.0.thread).take();
        if let Some(thread) = thread
            && thread.join().is_err()
        {
            tracing::error!("the collector panicked");
        }
        lock(&self.0.desk).closed = true;
        self.0.ended.send_modify(|count| *count += 1);
    }

    fn work(&self, mut due: Due) {
        while !self.0.stop.wait(LOOK_EVERY) {
            let removed = self.0.store.removed_bytes();
            if due.is_due(&self.0.options, removed) && self.0.store.health() == Health::Ready {
                self.request(Kind::Usual);
            }
            let next = {
                let mut desk = lock(&self.0.desk);
                let next = desk.wanted.pop_front();
                desk.running = next.is_some();
                next
            };
            let Some((run, kind)) = next else { continue };
            if kind != Kind::Preview {
                due = Due::after_pass(&self.0.options, removed);
            }
            let outcome = self.pass(kind);
            lock(&self.0.desk).end(run, outcome);
            self.0.ended.send_modify(|count| *count += 1);
        }
    }

    fn pass(&self, kind: Kind) -> Outcome {
        let Inner {
            store, options, stop, ..
        } = &*self.0;
        let started = Instant::now();
        if kind == Kind::Preview {
            return store
                .collect(kind, &Unbraked(stop))
                .map_err(|error| error.to_string());
        }
        METRICS.begins();
        let outcome = match kind {
            Kind::Usual => {
                let pace = Throttle::new(stop, store, options.rate, options.yield_above);
                store.collect(kind, &pace)
            }
            Kind::Full | Kind::Preview => store.collect(kind, &Unbraked(stop)),
        };
        METRICS.ended(&outcome, started.elapsed());
        match &outcome {
            Ok(collected) => tracing::info!(
                chunks = collected.chunks,
                bytes = collected.bytes,
                files = collected.log_files,
                freed = collected.freed,
                seconds = started.elapsed().as_secs_f64(),
                "collection has ended"
            ),
            Err(CollectError::Stopped) => tracing::info!("collection was stopped"),
            Err(error) => tracing::error!(%error, "collection failed"),
        }
        outcome.map_err(|error| error.to_string())
    }
}

impl Passes for Collector {
    fn request(&self, kind: Kind) -> Requested {
        lock(&self.0.desk).request(kind)
    }

    fn outcome(&self, run: u64) -> Option<Outcome> {
        lock(&self.0.desk).outcome(run)
    }

    fn ended(&self, run: u64) -> BoxFuture<'_, Outcome> {
        Box::pin(async move {
            let mut ended = self.0.ended.subscribe();
            loop {
                ended.borrow_and_update();
                if let Some(outcome) = self.outcome(run) {
                    return outcome;
                }
                // The sender lives as long as this handle.
                let _ = ended.changed().await;
            }
        })
    }
}

/// When the next pass comes by itself.
#[derive(Debug)]
struct Due {
    at: Instant,
    /// Bytes that had lost their names when the last pass began.
    removed: u64,
}

impl Due {
    fn new(options: &Options, removed: u64) -> Self {
        Due {
            at: Instant::now() + options.every.min(FIRST),
            removed,
        }
    }

    fn after_pass(options: &Options, removed: u64) -> Self {
        Due {
            at: Instant::now() + options.every,
            removed,
        }
    }

    fn is_due(&self, options: &Options, removed: u64) -> bool {
        let since = removed.saturating_sub(self.removed);
        options.enabled && (since >= options.after_removed || Instant::now() >= self.at)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
