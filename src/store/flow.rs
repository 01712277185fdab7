//! Metrics of what waits on its way to the disk, and of how far it has come: queues, syncs, checkpoints.
//!
//! What changes with every request is counted where it happens; the rest is looked up when somebody asks
//! ([`Store::measure`]).

use std::sync::LazyLock;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use prometheus::{Histogram, IntCounter, IntGauge};

use super::metrics::SYNC_SECONDS;
use super::{Health, Store};
use crate::telemetry::metrics::{counter, gauge, gauges, histogram};

/// The format of the log that this build writes, as a label.
const FORMAT: &[&str] = &["2"];

struct Families {
    writing: IntGauge,
    index_ready: IntGauge,
    index_proven: IntGauge,
    index_bytes: IntGauge,
    index_runs: IntGauge,
    checkpoint_at: IntGauge,
    checkpoint_seconds: Histogram,
    commits: IntGauge,
    commits_limit: IntGauge,
    commits_refused: IntCounter,
    segment_queue: IntGauge,
    segment_queue_limit: IntGauge,
    segment_sync: Histogram,
}

static FAMILIES: LazyLock<Families> = LazyLock::new(|| {
    gauges(
        "larder_store_format_info",
        "The format of the log that this build writes; always 1.",
        &[("version", FORMAT)],
    )
    .with_label_values(FORMAT)
    .set(1);
    Families {
        writing: gauge(
            "larder_store_writing",
            "1 while the store takes writes; 0 from a failed write or sync on, until a restart.",
        ),
        index_ready: gauge(
            "larder_index_ready",
            "1 while names can be looked up; 0 while the index is built again.",
        ),
        index_proven: gauge(
            "larder_index_proven",
            "1 once the index is known to hold exactly what the log says; one found on disk is proven after each start.",
        ),
        index_bytes: gauge("larder_index_size_bytes", "Bytes of the index on disk."),
        index_runs: gauge(
            "larder_index_runs",
            "Sorted runs that the index consists of beside what was written last; merging keeps them few.",
        ),
        checkpoint_at: gauge(
            "larder_index_checkpoint_timestamp_seconds",
            "When the index was last made durable, in Unix time: a crash replays the log from there.",
        ),
        checkpoint_seconds: histogram(
            "larder_index_checkpoint_seconds",
            "Time that it took to make the index durable.",
            &SYNC_SECONDS,
        ),
        commits: gauge(
            "larder_commit_waiting",
            "Changes handed to the committer that are not yet durable or refused.",
        ),
        commits_limit: gauge(
            "larder_commit_waiting_limit",
            "Changes that may wait for the committer (store.commit_queue).",
        ),
        commits_refused: counter(
            "larder_commit_queue_full_total",
            "Changes refused because too many were waiting for the committer.",
        ),
        segment_queue: gauge(
            "larder_segment_queue_bytes",
            "Bytes of uploads that wait in memory to be appended to a segment.",
        ),
        segment_queue_limit: gauge(
            "larder_segment_queue_limit_bytes",
            "Bytes of uploads that may wait in memory (store.segment_queue).",
        ),
        segment_sync: histogram(
            "larder_segment_fsync_seconds",
            "Time of one sync of a segment.",
            &SYNC_SECONDS,
        ),
    }
});

/// Shows the families before anything has happened, with the bounds.
pub fn start(commit_queue: usize, segment_queue: u64) {
    set(&FAMILIES.commits_limit, commit_queue as u64);
    set(&FAMILIES.segment_queue_limit, segment_queue);
}

/// The index was made durable and it took so long.
pub fn checkpoint(took: Duration) {
    FAMILIES.checkpoint_seconds.observe(took.as_secs_f64());
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    set(&FAMILIES.checkpoint_at, now.unwrap_or_default().as_secs());
}

/// A segment was synced.
pub fn segment_synced(took: Duration) {
    FAMILIES.segment_sync.observe(took.as_secs_f64());
}

/// The committer's queue was full.
pub fn commit_refused() {
    FAMILIES.commits_refused.inc();
}

/// Counts a change for as long as nobody knows what becomes of it.
#[derive(Debug)]
pub struct Waiting(());

impl Waiting {
    /// One more.
    pub fn begin() -> Self {
        FAMILIES.commits.inc();
        Waiting(())
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        FAMILIES.commits.dec();
    }
}

impl Store {
    /// Brings those metrics up to date that are not counted as things happen. Cheap: a few look-ups in memory and of
    /// the size of files.
    pub fn measure(&self) {
        let health = self.health();
        let is = |yes: bool| u64::from(yes);
        set(&FAMILIES.writing, is(!matches!(health, Health::Poisoned(_))));
        set(
            &FAMILIES.index_ready,
            is(!matches!(health, Health::Rebuilding { .. })),
        );
        set(&FAMILIES.index_proven, is(self.index_is_proven()));
        set(&FAMILIES.segment_queue, self.inner.bulk.segments.queued_bytes());
        // While it is built again it has no size that means something.
        if let Ok(bytes) = self.inner.index.size_on_disk() {
            set(&FAMILIES.index_bytes, bytes);
        }
        if let Ok(runs) = self.inner.index.runs() {
            set(&FAMILIES.index_runs, runs as u64);
        }
    }
}

fn set(gauge: &IntGauge, value: u64) {
    gauge.set(i64::try_from(value).unwrap_or(i64::MAX));
}
