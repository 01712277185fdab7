//! The store's metric families.

use std::sync::LazyLock;
use std::time::Duration;

use prometheus::{Histogram, IntCounter, IntGauge};

use crate::telemetry::metrics::{counter, counters, gauge, histogram};

/// Commits that can share a group.
const GROUP_SIZES: [f64; 9] = [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0];
/// Bytes of a group.
const GROUP_BYTES: [f64; 9] = [
    256.0, 1024.0, 4096.0, 16384.0, 65536.0, 262144.0, 1048576.0, 4194304.0, 16777216.0,
];
/// Seconds of a sync.
const SYNC_SECONDS: [f64; 14] = [
    1e-4, 2.5e-4, 5e-4, 1e-3, 2.5e-3, 5e-3, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5,
];

struct Families {
    new_bytes: IntCounter,
    known_bytes: IntCounter,
    group_commits: Histogram,
    group_bytes: Histogram,
    sync_seconds: Histogram,
    damaged: IntCounter,
    damaged_chunks: IntGauge,
}

static FAMILIES: LazyLock<Families> = LazyLock::new(|| {
    let uploaded = counters(
        "larder_upload_bytes_total",
        "Bytes of published bodies, by whether the store had them already.",
        &[("dedupe", &["new", "known"])],
    );
    Families {
        new_bytes: uploaded.with_label_values(&["new"]),
        known_bytes: uploaded.with_label_values(&["known"]),
        group_commits: histogram(
            "larder_commit_group_commits",
            "Commits that shared one sync of the journal.",
            &GROUP_SIZES,
        ),
        group_bytes: histogram(
            "larder_commit_group_bytes",
            "Bytes written to the journal by one group.",
            &GROUP_BYTES,
        ),
        sync_seconds: histogram(
            "larder_commit_fsync_seconds",
            "Time of one sync of the journal.",
            &SYNC_SECONDS,
        ),
        damaged: counter(
            "larder_store_damaged_stretches_total",
            "Damaged stretches of the log met while reading it.",
        ),
        damaged_chunks: gauge(
            "larder_store_damaged_chunks",
            "Chunks and manifests in quarantine; the same bytes, published again, heal them.",
        ),
    }
});

/// Makes the families show up before anything has happened.
pub fn init() {
    LazyLock::force(&FAMILIES);
}

/// Bytes of a publication that the store did not have.
pub fn new_bytes(bytes: u64) {
    FAMILIES.new_bytes.inc_by(bytes);
}

/// Bytes of a publication that the store had already.
pub fn known_bytes(bytes: u64) {
    FAMILIES.known_bytes.inc_by(bytes);
}

/// A group was written and synced.
pub fn group(commits: usize, bytes: u64, sync: Duration) {
    FAMILIES.group_commits.observe(commits as f64);
    FAMILIES.group_bytes.observe(bytes as f64);
    FAMILIES.sync_seconds.observe(sync.as_secs_f64());
}

/// So many chunks are known to be damaged.
pub fn damaged_chunks(count: usize) {
    FAMILIES
        .damaged_chunks
        .set(i64::try_from(count).unwrap_or(i64::MAX));
}

/// Damaged bytes were met in the log.
pub fn damaged_stretch() {
    FAMILIES.damaged.inc();
}
