//! Metrics of retention.

use std::sync::LazyLock;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use prometheus::{Histogram, IntCounter, IntCounterVec, IntGauge};

use crate::telemetry::metrics::{counter, counters, gauge, histogram};

/// Seconds of a pass: from an empty store to millions of versions.
pub const PASS_SECONDS: [f64; 9] = [0.01, 0.1, 1.0, 10.0, 60.0, 300.0, 1800.0, 7200.0, 28_800.0];

/// The families, registered at first use.
pub static METRICS: LazyLock<Families> = LazyLock::new(Families::register);

/// The families of retention.
pub struct Families {
    runs: IntCounterVec,
    seconds: Histogram,
    last_success: IntGauge,
    interval: IntGauge,
    removed: IntCounter,
}

impl Families {
    fn register() -> Self {
        Families {
            runs: counters(
                "larder_retention_runs_total",
                "Passes of retention that have ended, by how.",
                &[("result", &["ok", "failed"])],
            ),
            seconds: histogram(
                "larder_retention_duration_seconds",
                "Time of a pass of retention.",
                &PASS_SECONDS,
            ),
            last_success: gauge(
                "larder_retention_last_success_timestamp_seconds",
                "When the last pass of retention came to its end, in Unix time; 0: none since the start.",
            ),
            interval: gauge(
                "larder_retention_interval_seconds",
                "How long after a pass of retention the next one begins (retention.every); 0: never by itself.",
            ),
            removed: counter(
                "larder_retention_removed_versions_total",
                "Versions that retention has removed.",
            ),
        }
    }

    /// Shows the families, and how often passes are due by themselves.
    pub fn start(&self, every: Option<Duration>) {
        let seconds = every.unwrap_or_default().as_secs();
        self.interval.set(i64::try_from(seconds).unwrap_or(i64::MAX));
    }

    /// A version was removed.
    pub fn removed(&self) {
        self.removed.inc();
    }

    /// A pass has ended.
    pub fn ended(&self, well: bool, time: Duration) {
        let result = if well { "ok" } else { "failed" };
        self.runs.with_label_values(&[result]).inc();
        self.seconds.observe(time.as_secs_f64());
        if well {
            self.last_success.set(seconds_now());
        }
    }
}

/// Unix time.
pub fn seconds_now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| i64::try_from(since.as_secs()).unwrap_or(i64::MAX))
}
