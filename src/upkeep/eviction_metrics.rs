//! Metrics of eviction.

use std::sync::LazyLock;
use std::time::Duration;

use prometheus::{Histogram, IntCounter, IntCounterVec, IntGauge};

use super::retention_metrics::{PASS_SECONDS, seconds_now};
use crate::store::model::Millis;
use crate::telemetry::metrics::{counters, gauge, histogram};

/// Ages of what is evicted, seconds: from a minute, where the cache is far too small, to a year.
const AGES: [f64; 12] = [
    60.0,
    600.0,
    3600.0,
    14_400.0,
    43_200.0,
    86_400.0,
    259_200.0,
    604_800.0,
    1_209_600.0,
    2_592_000.0,
    7_776_000.0,
    31_536_000.0,
];

/// Why something is evicted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// Its owner is above its budget.
    Budget,
    /// The store is on its way to the high watermark.
    Watermark,
}

/// How a pass ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// Enough has gone.
    Enough,
    /// Everything that may go has gone, and it is not enough.
    Short,
    /// An error.
    Failed,
}

/// The families, registered at first use.
pub static METRICS: LazyLock<Families> = LazyLock::new(Families::register);

/// The families of eviction.
pub struct Families {
    runs: IntCounterVec,
    seconds: Histogram,
    last_success: IntGauge,
    /// Files and bytes, by budget and by watermark.
    evicted: [[IntCounter; 2]; 2],
    age: Histogram,
    oldest: IntGauge,
}

impl Families {
    fn register() -> Self {
        let reasons: &[&str] = &["budget", "watermark"];
        let files = counters(
            "larder_evicted_files_total",
            "Files of caches that were evicted, by what made room necessary.",
            &[("reason", reasons)],
        );
        let bytes = counters(
            "larder_evicted_bytes_total",
            "Bytes of the files that were evicted.",
            &[("reason", reasons)],
        );
        let by = |reason| {
            [
                files.with_label_values(&[reason]),
                bytes.with_label_values(&[reason]),
            ]
        };
        Families {
            runs: counters(
                "larder_eviction_runs_total",
                "Passes of eviction, by how they ended; short: all that may go has gone, and it is not enough.",
                &[("result", &["ok", "short", "failed"])],
            ),
            seconds: histogram(
                "larder_eviction_duration_seconds",
                "Time of a pass of eviction.",
                &PASS_SECONDS,
            ),
            last_success: gauge(
                "larder_eviction_last_success_timestamp_seconds",
                "When a pass of eviction last made enough room, in Unix time; 0: none since the start.",
            ),
            evicted: [by("budget"), by("watermark")],
            age: histogram(
                "larder_eviction_age_seconds",
                "How long what was evicted had not been used: small ages mean that the cache is too small.",
                &AGES,
            ),
            oldest: gauge(
                "larder_oldest_access_timestamp_seconds",
                "Last use of the file of a cache that has not been used for longest, as of the last look; 0: unknown.",
            ),
        }
    }

    /// A file was evicted.
    pub fn evicted(&self, reason: Reason, bytes: u64, idle: u64) {
        let [files, all_bytes] = &self.evicted[reason as usize];
        files.inc();
        all_bytes.inc_by(bytes);
        self.age.observe(idle as f64);
    }

    /// The last use of what has not been used for longest.
    pub fn oldest(&self, last_used: Option<Millis>) {
        self.oldest.set(last_used.unwrap_or(0) / 1000);
    }

    /// A pass has ended.
    pub fn ended(&self, how: Ended, time: Duration) {
        let result = match how {
            Ended::Enough => "ok",
            Ended::Short => "short",
            Ended::Failed => "failed",
        };
        self.runs.with_label_values(&[result]).inc();
        self.seconds.observe(time.as_secs_f64());
        if how == Ended::Enough {
            self.last_success.set(seconds_now());
        }
    }
}
