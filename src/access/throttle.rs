//! Slows down whoever keeps guessing a password.

use std::net::IpAddr;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use super::aging::{Aged, Aging};
use super::locked;

/// Failures that cost nothing but the time of the verification.
const FREE_FAILURES: u32 = 5;
/// The longest wait.
const MAX_DELAY: Duration = Duration::from_secs(30);
/// Failures are forgotten this long after the last one.
const LIFETIME: Duration = Duration::from_secs(15 * 60);
/// Guessers known at a time, at about 60 bytes each.
const CAPACITY: usize = 10_000;

/// Counts failures of an account name tried from an address. Whether there is such an account does not matter.
pub(super) struct Throttle {
    failures: Mutex<Aging<Guesser, u32>>,
}

/// Who guesses: an account name from an address, hashed so that long names cost no memory.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Guesser([u8; 32]);

impl Guesser {
    /// `name` as sent; `from`: the peer's address, where known. An IPv6 address counts by its /64, which is what one
    /// customer has.
    pub(super) fn new(name: &str, from: Option<IpAddr>) -> Self {
        let network = match from.map(|address| address.to_canonical()) {
            None => 0,
            Some(IpAddr::V4(address)) => u64::from(address.to_bits()),
            Some(IpAddr::V6(address)) => (address.to_bits() >> 64) as u64,
        };
        let mut hasher = blake3::Hasher::new();
        hasher.update(&network.to_le_bytes());
        hasher.update(name.to_ascii_lowercase().as_bytes());
        Guesser(*hasher.finalize().as_bytes())
    }
}

impl Throttle {
    /// Knows of no failures.
    pub(super) fn new() -> Self {
        Throttle {
            failures: Mutex::new(Aging::new(CAPACITY, LIFETIME)),
        }
    }

    /// How long the guesser has to wait before the next attempt is looked at.
    pub(super) fn wait(&self, guesser: &Guesser, now: Instant) -> Option<Duration> {
        let failures = locked(&self.failures);
        let Aged { value, touched } = failures.get(guesser, now)?;
        let since = now.saturating_duration_since(*touched);
        delay(*value).checked_sub(since).filter(|wait| !wait.is_zero())
    }

    /// Counts a failure.
    pub(super) fn failed(&self, guesser: &Guesser, now: Instant) {
        let mut failures = locked(&self.failures);
        let before = failures.get(guesser, now).map_or(0, |entry| entry.value);
        failures.put(*guesser, before.saturating_add(1), now);
    }

    /// Forgets the failures.
    pub(super) fn succeeded(&self, guesser: &Guesser) {
        locked(&self.failures).remove(guesser);
    }

    /// How many failures count against the guesser now.
    #[cfg(test)]
    pub(super) fn failures_of(&self, guesser: &Guesser, now: Instant) -> u32 {
        locked(&self.failures)
            .get(guesser, now)
            .map_or(0, |entry| entry.value)
    }
}

/// 1, 2, 4, 8, 16, 30, 30 … seconds, from the last free failure on.
fn delay(failures: u32) -> Duration {
    match failures.checked_sub(FREE_FAILURES) {
        None => Duration::ZERO,
        Some(doublings) => Duration::from_secs(1 << doublings.min(5)).min(MAX_DELAY),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn address(text: &str) -> Option<IpAddr> {
        Some(text.parse().unwrap())
    }

    #[test]
    fn waits_double_from_the_fifth_failure_up_to_thirty_seconds() {
        let throttle = Throttle::new();
        let guesser = Guesser::new("ann", address("192.0.2.1"));
        let mut now = Instant::now();
        let mut waits = Vec::new();
        for _ in 0..12 {
            throttle.failed(&guesser, now);
            let wait = throttle.wait(&guesser, now).unwrap_or_default();
            waits.push(wait.as_secs());
            now += wait;
            assert_eq!(throttle.wait(&guesser, now), None);
        }
        assert_eq!(waits, [0, 0, 0, 0, 1, 2, 4, 8, 16, 30, 30, 30]);
    }

    #[test]
    fn success_and_time_forgive() {
        let throttle = Throttle::new();
        let guesser = Guesser::new("ann", None);
        let start = Instant::now();
        let fail = |now| (0..9).for_each(|_| throttle.failed(&guesser, now));
        fail(start);
        assert!(throttle.wait(&guesser, start).is_some());
        throttle.succeeded(&guesser);
        assert_eq!(throttle.wait(&guesser, start), None);
        fail(start);
        throttle.failed(&guesser, start + LIFETIME);
        assert_eq!(throttle.wait(&guesser, start + LIFETIME), None);
    }

    #[test]
    fn a_guesser_is_a_folded_name_and_a_network() {
        let base = Guesser::new("Ann", address("192.0.2.1"));
        assert!(base == Guesser::new("aNN", address("::ffff:192.0.2.1")));
        assert!(base != Guesser::new("Ann", address("192.0.2.2")));
        assert!(base != Guesser::new("Anna", address("192.0.2.1")));
        assert!(base != Guesser::new("Ann", None));
        let v6 = Guesser::new("Ann", address("2001:db8::1"));
        assert!(v6 == Guesser::new("Ann", address("2001:db8::2:3:4:5")));
        assert!(v6 != Guesser::new("Ann", address("2001:db8:0:1::1")));
    }
}
