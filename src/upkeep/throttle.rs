//! The pace of background work: so many bytes a second, less while requests have to wait, and an end at once when the
//! daemon stops.
//!
//! Whether requests have to wait is told by the committer: how long the last group took from its first check until it
//! was in the index. Every write of a name passes there, and a disk or a CPU that background work keeps busy shows in
//! it first.

use std::sync::{Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};

use crate::store::Store;
use crate::store::pace::Pace;

/// How much slower work goes while requests have to wait.
const YIELD: u32 = 10;
/// Work that was not done is made up for at most this long.
const BURST: Duration = Duration::from_millis(100);
/// Waits shorter than this are saved up.
const SHORT: Duration = Duration::from_millis(5);

/// What has taken no longer than this altogether is done without a rest.
const AT_ONCE: Duration = Duration::from_millis(50);
/// Then it rests so many times as long as it worked.
const REST: u32 = 9;
/// So many times while the daemon has other work.
const BUSY_REST: u32 = 49;
/// The daemon has work while it takes more than one part in so many of a core.
const BUSY: u32 = 10;

/// Says once and for all that work shall end.
#[derive(Debug, Default)]
pub struct Stop {
    stopped: Mutex<bool>,
    told: Condvar,
}

impl Stop {
    /// Work shall end.
    pub fn stop(&self) {
        *self.stopped.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.told.notify_all();
    }

    /// Waits for `time`, or until work shall end. True: it shall.
    pub fn wait(&self, time: Duration) -> bool {
        let stopped = self.stopped.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = self.told.wait_timeout_while(stopped, time, |stopped| !*stopped);
        *waited.unwrap_or_else(PoisonError::into_inner).0
    }

    /// Whether work shall end.
    pub fn is_stopped(&self) -> bool {
        self.wait(Duration::ZERO)
    }
}

/// Bytes a second, in one thread.
pub struct Throttle<'a> {
    stop: &'a Stop,
    rate: u64,
    /// What a write has to wait just now.
    latency: Box<dyn Fn() -> Duration + Send + Sync + 'a>,
    yield_above: Duration,
    /// When what has been spent is paid off.
    paid: Mutex<Instant>,
}

impl<'a> Throttle<'a> {
    /// At most `rate` bytes a second, a tenth of that while a commit of `store` takes longer than `yield_above`.
    pub fn new(stop: &'a Stop, store: &'a Store, rate: u64, yield_above: Duration) -> Self {
        Throttle::watching(stop, rate, yield_above, || store.commit_latency())
    }

    fn watching(
        stop: &'a Stop,
        rate: u64,
        yield_above: Duration,
        latency: impl Fn() -> Duration + Send + Sync + 'a,
    ) -> Self {
        Throttle {
            stop,
            rate: rate.max(1),
            latency: Box::new(latency),
            yield_above,
            paid: Mutex::new(Instant::now()),
        }
    }
}

impl Pace for Throttle<'_> {
    fn spend(&self, bytes: u64) -> bool {
        let mut cost = Duration::from_secs_f64(bytes as f64 / self.rate as f64);
        if (self.latency)() > self.yield_above {
            cost *= YIELD;
        }
        let wait = {
            let mut paid = self.paid.lock().unwrap_or_else(PoisonError::into_inner);
            let now = Instant::now();
            let behind = now.checked_sub(BURST).unwrap_or(now);
            *paid = (*paid).max(behind) + cost;
            paid.saturating_duration_since(now)
        };
        match wait > SHORT {
            true => !self.stop.wait(wait),
            false => !self.stop.is_stopped(),
        }
    }
}

/// A tenth of one core, a fiftieth while there is other work, but for what is done in moments; an end at once.
#[derive(Debug)]
pub struct Aside<'a> {
    stop: &'a Stop,
    state: Mutex<AsideState>,
}

#[derive(Debug)]
struct AsideState {
    /// Since when it works.
    since: Instant,
    /// How long it has worked before.
    worked: Duration,
    /// How many times as long as it works it rests.
    rest: u32,
}

impl<'a> Aside<'a> {
    /// Work begins.
    pub fn new(stop: &'a Stop) -> Self {
        Aside {
            stop,
            state: Mutex::new(AsideState {
                since: Instant::now(),
                worked: Duration::ZERO,
                rest: REST,
            }),
        }
    }

    /// How long it has worked, without its rests.
    pub fn worked(&self) -> Duration {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.worked + state.since.elapsed()
    }
}

impl Pace for Aside<'_> {
    fn spend(&self, _bytes: u64) -> bool {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let step = state.since.elapsed();
        state.worked += step;
        if state.worked <= AT_ONCE {
            state.since = Instant::now();
            return !self.stop.is_stopped();
        }
        let (begun, cpu) = (Instant::now(), process_time());
        let stopped = self.stop.wait(step * state.rest);
        // While this thread rests only others work.
        let others = process_time().saturating_sub(cpu);
        state.rest = match others * BUSY > begun.elapsed() {
            true => BUSY_REST,
            false => REST,
        };
        state.since = Instant::now();
        !stopped
    }
}

/// What all threads of the daemon have worked together.
fn process_time() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    Duration::new(time.tv_sec.unsigned_abs(), time.tv_nsec.unsigned_abs() as u32)
}

/// As fast as it goes, until work shall end.
#[derive(Debug)]
pub struct Unbraked<'a>(pub &'a Stop);

impl Pace for Unbraked<'_> {
    fn spend(&self, _bytes: u64) -> bool {
        !self.0.is_stopped()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn work_aside_rests_once_it_takes_long_and_does_not_count_its_rests() {
        let (stop, begun) = (Stop::default(), Instant::now());
        let aside = Aside::new(&stop);
        assert!(aside.spend(1));
        let counted = || aside.state.lock().unwrap().worked;
        let before = counted();
        std::thread::sleep(AT_ONCE + Duration::from_millis(1));
        assert!(aside.spend(1));
        // However late this thread goes on: what was counted is over, and its rest has been.
        let rested = (counted() - before) * REST;
        let (worked, passed) = (aside.worked(), begun.elapsed());
        assert!(worked > AT_ONCE && rested > AT_ONCE, "{worked:?} {rested:?}");
        assert!(
            worked + rested <= passed,
            "{worked:?} and {rested:?} of {passed:?}"
        );
        stop.stop();
        assert!(!aside.spend(1), "it ends at once");
    }

    #[test]
    fn work_aside_rests_longer_while_there_is_other_work() {
        let (stop, done) = (Stop::default(), std::sync::atomic::AtomicBool::new(false));
        let aside = Aside::new(&stop);
        aside.state.lock().unwrap().worked = AT_ONCE;
        let rest_after = |step: Duration| {
            std::thread::sleep(step);
            assert!(aside.spend(1));
            aside.state.lock().unwrap().rest
        };
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while !done.load(std::sync::atomic::Ordering::Relaxed) {
                    std::hint::black_box(process_time());
                }
            });
            let busy = (0..100).any(|_| rest_after(Duration::from_millis(1)) == BUSY_REST);
            done.store(true, std::sync::atomic::Ordering::Relaxed);
            assert!(busy, "somebody works all the time");
        });
    }

    fn time_for(bytes: u64, latency: Duration) -> Duration {
        let stop = Stop::default();
        let pace = Throttle::watching(&stop, 1 << 20, Duration::from_millis(100), || latency);
        let started = Instant::now();
        for _ in 0..64 {
            assert!(pace.spend(bytes / 64));
        }
        started.elapsed()
    }

    #[test]
    fn bytes_take_their_time_and_ten_times_as_long_when_commits_are_slow() {
        let calm = time_for(256 << 10, Duration::from_millis(5));
        assert!(calm >= Duration::from_millis(140), "{calm:?}");
        let busy = time_for(64 << 10, Duration::from_millis(500));
        assert!(busy >= Duration::from_millis(515), "{busy:?}");
    }

    #[test]
    fn a_stop_ends_the_wait() {
        let stop = Stop::default();
        let pace = Throttle::watching(&stop, 1, Duration::ZERO, || Duration::ZERO);
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| pace.spend(1 << 30));
            std::thread::sleep(Duration::from_millis(20));
            assert!(!waiting.is_finished());
            stop.stop();
            assert_eq!(waiting.join().ok(), Some(false));
        });
        assert!(!Unbraked(&stop).spend(0));
    }
}
