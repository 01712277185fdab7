//! A set rate of requests that does not slow down with the server.
//!
//! A client that waits for an answer before it sends the next request asks least when the server is slowest, and the
//! slow moments vanish from its figures (coordinated omission). Here every request has a moment at which it is due,
//! whoever is free takes the next one, and its latency counts from that moment, the wait for a free client included.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Deals out the moments at which requests are due.
#[derive(Debug)]
pub struct Pace {
    start: Instant,
    rate: f64,
    dealt: AtomicU64,
}

impl Pace {
    /// `rate` requests a second from `start` on.
    pub fn new(start: Instant, rate: f64) -> Self {
        Pace {
            start,
            rate,
            dealt: AtomicU64::new(0),
        }
    }

    /// When the next request is due.
    pub fn next(&self) -> Instant {
        let number = self.dealt.fetch_add(1, Ordering::Relaxed);
        self.start + Duration::from_secs_f64(number as f64 / self.rate)
    }

    /// How many of the requests due before `end` nobody took.
    pub fn untaken(&self, end: Instant) -> u64 {
        let due = (end - self.start).as_secs_f64() * self.rate;
        (due as u64).saturating_sub(self.dealt.load(Ordering::Relaxed))
    }
}
