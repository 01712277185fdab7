//! Metrics of the scrub.

use std::sync::LazyLock;
use std::time::Duration;

use prometheus::{Histogram, IntCounter, IntGauge};

use crate::telemetry::metrics::{counter, counters, gauge, histogram};

/// Seconds of a pass: from a small store to weeks.
const PASS_SECONDS: [f64; 12] = [
    0.1,
    1.0,
    10.0,
    60.0,
    600.0,
    3600.0,
    21_600.0,
    86_400.0,
    259_200.0,
    604_800.0,
    1_209_600.0,
    2_592_000.0,
];

/// The families, registered at first use.
pub static METRICS: LazyLock<Families> = LazyLock::new(Families::register);

/// The families of the scrub.
pub struct Families {
    finished: IntCounter,
    failed: IntCounter,
    interval: IntGauge,
    seconds: Histogram,
    bytes: IntCounter,
    last_success: IntGauge,
    damaged: IntGauge,
}

impl Families {
    fn register() -> Self {
        let runs = counters(
            "larder_scrub_runs_total",
            "Passes of the scrub over the whole log that came to their end, and tries that failed.",
            &[("result", &["ok", "failed"])],
        );
        Families {
            finished: runs.with_label_values(&["ok"]),
            failed: runs.with_label_values(&["failed"]),
            interval: gauge(
                "larder_scrub_interval_seconds",
                "From the end of a pass of the scrub to the beginning of the next (scrub.every); 0: there is no scrub.",
            ),
            seconds: histogram(
                "larder_scrub_duration_seconds",
                "Time of a pass of the scrub that came to its end, restarts in between included.",
                &PASS_SECONDS,
            ),
            bytes: counter(
                "larder_scrub_bytes_total",
                "Bytes of the log that the scrub has read.",
            ),
            last_success: gauge(
                "larder_scrub_last_success_timestamp_seconds",
                "When the last whole pass of the scrub ended, in Unix time; 0 before the first.",
            ),
            damaged: gauge(
                "larder_scrub_damaged",
                "Damaged places of the log that the scrub has found in its current or last pass.",
            ),
        }
    }

    /// Shows the families, and how often passes are due.
    pub fn start(&self, every: Option<Duration>) {
        self.interval.set(whole(every.unwrap_or_default().as_secs()));
    }

    /// So many bytes have been read.
    pub fn read(&self, bytes: u64) {
        self.bytes.inc_by(bytes);
    }

    /// So many damaged places are known of this pass.
    pub fn damaged(&self, places: u64) {
        self.damaged.set(whole(places));
    }

    /// A pass came to its end after so many seconds.
    pub fn finished(&self, seconds: u64) {
        self.finished.inc();
        self.seconds.observe(seconds as f64);
    }

    /// A pass could not go on.
    pub fn failed(&self) {
        self.failed.inc();
    }

    /// When the last pass ended, in Unix time.
    pub fn last_success(&self, at: u64) {
        self.last_success.set(whole(at));
    }
}

fn whole(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}
