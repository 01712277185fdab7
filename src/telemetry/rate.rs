//! So many in a second, and no more.

use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

/// Counts what happens in the present second. Lock-free; at the turn of a second a few too many may pass.
#[derive(Debug)]
pub struct PerSecond {
    limit: u32,
    /// The second in the upper half, the count in the lower.
    state: AtomicU64,
}

impl PerSecond {
    /// At most `limit` in a second.
    pub fn new(limit: u32) -> Self {
        PerSecond {
            limit,
            state: AtomicU64::new(0),
        }
    }

    /// Whether one more may pass now.
    pub fn take(&self) -> bool {
        self.take_in(second())
    }

    fn take_in(&self, second: u32) -> bool {
        let state = self.state.load(Ordering::Relaxed);
        if (state >> 32) as u32 != second {
            self.state.store((u64::from(second) << 32) | 1, Ordering::Relaxed);
            return self.limit > 0;
        }
        // The count stops at the limit, long before it could run over into the second.
        if (state & u64::from(u32::MAX)) >= u64::from(self.limit) {
            return false;
        }
        self.state.fetch_add(1, Ordering::Relaxed);
        true
    }
}

/// Seconds since the first use; begins with 1, so that the first second differs from a fresh state.
pub fn second() -> u32 {
    static START: LazyLock<Instant> = LazyLock::new(Instant::now);
    u32::try_from(START.elapsed().as_secs().saturating_add(1)).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_second_has_its_share() {
        let rate = PerSecond::new(3);
        let passed = |second| (0..10).filter(|_| rate.take_in(second)).count();
        assert_eq!((passed(1), passed(1), passed(2)), (3, 0, 3));
        assert!(!PerSecond::new(0).take());
    }
}
