//! Lines that were not written: logs are bounded, and what is left out is counted.

use std::sync::LazyLock;

use prometheus::IntCounter;

use super::metrics;

/// The counters.
pub static DROPPED: LazyLock<Dropped> = LazyLock::new(Dropped::register);

/// Registers them, so that they are exported from 0 on and not from the first line that is lost.
pub fn init() {
    LazyLock::force(&DROPPED);
}

/// By log and reason.
#[derive(Debug)]
pub struct Dropped {
    /// Of the daemon's log: one place in the code said too much in a second.
    pub daemon_rate: IntCounter,
    /// Of the access log: more than its rate.
    pub access_rate: IntCounter,
    /// Of the access log: the disk or whoever reads does not keep up.
    pub access_queue: IntCounter,
    /// Of the access log: the disk has refused them.
    pub access_write: IntCounter,
}

impl Dropped {
    fn register() -> Self {
        let family = metrics::counters(
            "larder_log_lines_dropped_total",
            "Log lines left out, by log and reason.",
            &[
                ("log", &["daemon", "access"]),
                ("reason", &["rate", "queue", "write"]),
            ],
        );
        Dropped {
            daemon_rate: family.with_label_values(&["daemon", "rate"]),
            access_rate: family.with_label_values(&["access", "rate"]),
            access_queue: family.with_label_values(&["access", "queue"]),
            access_write: family.with_label_values(&["access", "write"]),
        }
    }
}
