//! Metrics of collection.

use std::sync::LazyLock;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use prometheus::{Histogram, IntCounter, IntCounterVec, IntGauge};

use crate::store::collect::{CollectError, Collected};
use crate::telemetry::metrics::{counter, counters, gauge, histogram};

/// Seconds of a pass: from an empty store to a paced pass over terabytes.
const PASS_SECONDS: [f64; 12] = [
    0.01, 0.1, 0.5, 1.0, 5.0, 15.0, 60.0, 300.0, 1800.0, 7200.0, 28_800.0, 86_400.0,
];

/// The families, registered at first use.
pub static METRICS: LazyLock<Families> = LazyLock::new(Families::register);

/// The families of collection.
pub struct Families {
    runs: IntCounterVec,
    running: IntGauge,
    seconds: Histogram,
    last_success: IntGauge,
    interval: IntGauge,
    dropped_chunks: IntCounter,
    dropped_bytes: IntCounter,
    reclaimed_bytes: IntCounter,
}

impl Families {
    fn register() -> Self {
        Families {
            runs: counters(
                "larder_gc_runs_total",
                "Passes of collection that have ended, by how.",
                &[("result", &["ok", "stopped", "failed"])],
            ),
            running: gauge("larder_gc_running", "Whether a pass of collection is under way."),
            seconds: histogram(
                "larder_gc_duration_seconds",
                "Time of a pass of collection that came to its end.",
                &PASS_SECONDS,
            ),
            last_success: gauge(
                "larder_gc_last_success_timestamp_seconds",
                "When the last pass of collection came to its end, in Unix time; 0: none since the start.",
            ),
            interval: gauge(
                "larder_gc_interval_seconds",
                "How long after a pass of collection the next one begins at the latest (gc.every); 0: never by itself.",
            ),
            dropped_chunks: counter(
                "larder_gc_dropped_chunks_total",
                "Chunks that no name led to any more and collection dropped.",
            ),
            dropped_bytes: counter("larder_gc_dropped_bytes_total", "Bytes of the chunks dropped."),
            reclaimed_bytes: counter(
                "larder_gc_reclaimed_bytes_total",
                "Bytes by which collection made the log files smaller.",
            ),
        }
    }

    /// Shows the families, and how often passes are due by themselves.
    pub fn start(&self, every: Option<Duration>) {
        let seconds = every.unwrap_or_default().as_secs();
        self.interval.set(i64::try_from(seconds).unwrap_or(i64::MAX));
    }

    /// A pass begins.
    pub fn begins(&self) {
        self.running.set(1);
    }

    /// A pass has ended.
    pub fn ended(&self, outcome: &Result<Collected, CollectError>, time: Duration) {
        self.running.set(0);
        let result = match outcome {
            Ok(_) => "ok",
            Err(CollectError::Stopped) => "stopped",
            Err(_) => "failed",
        };
        self.runs.with_label_values(&[result]).inc();
        let Ok(collected) = outcome else { return };
        self.seconds.observe(time.as_secs_f64());
        self.dropped_chunks.inc_by(collected.chunks);
        self.dropped_bytes.inc_by(collected.bytes);
        self.reclaimed_bytes.inc_by(collected.freed);
        if let Ok(now) = SystemTime::now().duration_since(UNIX_EPOCH) {
            self.last_success.set(now.as_secs() as i64);
        }
    }
}
