//! Reads the whole log over and over at a bounded rate, so that damage is found while the client that could heal it
//! is still around.

use std::fs;
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

use super::scrub_metrics::METRICS;
use crate::store::Store;
use crate::store::error::StoreError;
use crate::store::log::disk::replace;
use crate::store::model::FileKind;
use crate::store::pace::Pace;

/// The file in the data directory that says how far the pass has come. Losing it costs a second reading.
const POSITION: &str = "scrub.json";
/// Rest after a pass that failed.
const RETRY: Duration = Duration::from_secs(60);

/// When and how fast.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// Whether at all.
    pub enabled: bool,
    /// Bytes read in a second.
    pub rate: u64,
    /// From the end of a pass to the beginning of the next.
    pub every: Duration,
}

/// The running worker.
#[derive(Debug)]
pub struct Scrubber {
    brake: Arc<Brake>,
    thread: JoinHandle<()>,
}

/// Slows the worker down and stops it.
#[derive(Debug)]
struct Brake {
    rate: u64,
    stopped: Mutex<bool>,
    told: Condvar,
}

/// How far a pass has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Position {
    /// The last file that was read, in a pass under way.
    read: Option<(FileKind, u64)>,
    /// When the pass under way began, seconds since the epoch; before that, the last one.
    #[serde(default)]
    begun: u64,
    /// When the last pass ended, seconds since the epoch.
    finished: u64,
    /// Damaged places found so far.
    damaged: u64,
}

struct Worker {
    store: Store,
    every: Duration,
    brake: Arc<Brake>,
    path: PathBuf,
    position: Position,
}

impl Scrubber {
    /// Starts the worker; `None` where it is not wanted. Stop it before the store is closed.
    pub fn start(store: Store, options: Options) -> io::Result<Option<Self>> {
        METRICS.start(options.enabled.then_some(options.every));
        if !options.enabled {
            return Ok(None);
        }
        let brake = Arc::new(Brake {
            rate: options.rate.max(1),
            stopped: Mutex::new(false),
            told: Condvar::new(),
        });
        let path = store.data().join(POSITION);
        let worker = Worker {
            store,
            every: options.every,
            brake: brake.clone(),
            position: load(&path),
            path,
        };
        let thread = std::thread::Builder::new()
            .name("larder-scrub".to_owned())
            .spawn(move || worker.run())?;
        Ok(Some(Scrubber { brake, thread }))
    }

    /// Ends it, within a step. Blocks.
    pub fn stop(self) {
        *self.brake.stopped.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.brake.told.notify_all();
        if self.thread.join().is_err() {
            tracing::error!("the scrub panicked");
        }
    }
}

impl Brake {
    /// Waits; false when it is time to end.
    fn wait(&self, time: Duration) -> bool {
        let stopped = self.stopped.lock().unwrap_or_else(PoisonError::into_inner);
        let (stopped, _) = self
            .told
            .wait_timeout_while(stopped, time, |stopped| !*stopped)
            .unwrap_or_else(PoisonError::into_inner);
        !*stopped
    }
}

impl Pace for Brake {
    fn spend(&self, bytes: u64) -> bool {
        self.wait(Duration::from_secs_f64(bytes as f64 / self.rate as f64))
    }
}

impl Worker {
    fn run(mut self) {
        METRICS.last_success(self.position.finished);
        METRICS.damaged(self.position.damaged);
        loop {
            let since = Duration::from_secs(now().saturating_sub(self.position.finished));
            let due = match self.position.read {
                Some(_) => Duration::ZERO,
                None => self.every.saturating_sub(since),
            };
            if !self.brake.wait(due) {
                return;
            }
            match self.pass() {
                Ok(()) => {}
                Err(StoreError::Closed) => return,
                Err(error) => {
                    METRICS.failed();
                    tracing::warn!(%error, "the scrub could not go on");
                    if !self.brake.wait(RETRY) {
                        return;
                    }
                }
            }
        }
    }

    /// The rest of a pass, or all of one.
    fn pass(&mut self) -> Result<(), StoreError> {
        if self.position.read.is_none() {
            self.position.damaged = 0;
            self.position.begun = now();
        }
        for (kind, file) in self.store.log_files()? {
            if self.position.read.is_some_and(|read| (kind, file) <= read) {
                continue;
            }
            if let Some(scrubbed) = self.store.scrub(kind, file, &*self.brake)? {
                METRICS.read(scrubbed.bytes);
                self.position.damaged += scrubbed.damaged;
                METRICS.damaged(self.position.damaged);
            }
            self.position.read = Some((kind, file));
            self.save();
        }
        self.position.read = None;
        self.position.finished = now();
        self.save();
        METRICS.finished(self.position.finished.saturating_sub(self.position.begun));
        METRICS.last_success(self.position.finished);
        tracing::debug!(damaged = self.position.damaged, "a pass of the scrub is done");
        Ok(())
    }

    fn save(&self) {
        let saved = serde_json::to_vec(&self.position)
            .map_err(io::Error::from)
            .and_then(|text| replace(&self.path, &text));
        if let Err(error) = saved {
            tracing::warn!(%error, "the position of the scrub could not be kept");
        }
    }
}

/// The kept position; from the beginning where there is none that can be read.
fn load(path: &std::path::Path) -> Position {
    let text = fs::read(path).unwrap_or_default();
    serde_json::from_slice(&text).unwrap_or_default()
}

fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| since.as_secs())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::time::Instant;

    use super::*;
    use crate::store::{self, Progress};

    struct Quiet;

    impl Progress for Quiet {
        fn replayed(&self, _done: u64, _total: u64) {}
    }

    #[test]
    fn the_brake_keeps_the_rate_and_lets_go_at_once() {
        let brake = Arc::new(Brake {
            rate: 1000,
            stopped: Mutex::new(false),
            told: Condvar::new(),
        });
        let begun = Instant::now();
        assert!(brake.spend(100));
        assert!(begun.elapsed() >= Duration::from_millis(100));
        let other = brake.clone();
        let waiting = std::thread::spawn(move || other.spend(1_000_000));
        *brake.stopped.lock().unwrap() = true;
        brake.told.notify_all();
        assert!(!waiting.join().unwrap());
        assert!(
            begun.elapsed() < Duration::from_secs(500),
            "half of what the bytes would take"
        );
    }

    #[test]
    fn a_pass_goes_on_where_it_was_and_the_next_one_waits() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(store::Options::at(dir.path()), &Quiet).unwrap();
        let options = Options {
            enabled: true,
            rate: u64::MAX,
            every: Duration::from_secs(3600),
        };
        let under_way = Position {
            read: Some((FileKind::Segment, 7)),
            begun: 4,
            finished: 5,
            damaged: 3,
        };
        let path = dir.path().join(POSITION);
        fs::write(&path, serde_json::to_vec(&under_way).unwrap()).unwrap();
        let scrubber = Scrubber::start(store.clone(), options).unwrap().unwrap();
        let begun = Instant::now();
        while load(&path).read.is_some() && begun.elapsed() < Duration::from_secs(60) {
            std::thread::sleep(Duration::from_millis(5));
        }
        scrubber.stop();
        let done = load(&path);
        assert_eq!(
            (done.read, done.damaged),
            (None, 3),
            "what it found before counts"
        );
        assert!(done.finished > 5);
        let scrubber = Scrubber::start(store.clone(), options).unwrap().unwrap();
        std::thread::sleep(Duration::from_millis(100));
        scrubber.stop();
        assert_eq!(load(&path), done, "the next pass is not due");
        store.close();
    }
}
