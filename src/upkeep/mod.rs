//! Background work, in small steps with a pace.

pub mod backups;
pub mod collector;
mod eviction_metrics;
pub mod evictor;
mod metrics;
mod rest;
pub mod retention;
mod retention_metrics;
mod scrub_metrics;
pub mod scrubber;
pub mod statistics;
pub mod throttle;

pub use collector::Collector;
pub use evictor::Evictor;
pub use throttle::Throttle;

use std::time::Duration;

/// When collection runs by itself, and how fast.
#[derive(Clone, Debug)]
pub struct Options {
    /// Whether it runs by itself at all.
    pub enabled: bool,
    /// A pass begins when files of so many bytes have lost their names since the last one.
    pub after_removed: u64,
    /// And so long after the last one in any case.
    pub every: Duration,
    /// Bytes of log and index that a pass may read and write in a second.
    pub rate: u64,
    /// While a commit takes longer than this, a pass goes at a tenth of its rate.
    pub yield_above: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Options {
            enabled: true,
            after_removed: 256 << 20,
            every: Duration::from_secs(86_400),
            rate: 32 << 20,
            yield_above: Duration::from_millis(100),
        }
    }
}
