//! The store's metric families.

use std::sync::LazyLock;
use std::time::Duration;

use prometheus::{Histogram, IntCounter, IntCounterVec, IntGauge, IntGaugeVec};

use super::model::FileKind;
use super::room::{Reason, RoomState};
use super::stats::Stats;
use crate::telemetry::metrics::{counter, counters, gauge, gauges, histogram};

/// Commits that can share a group.
const GROUP_SIZES: [f64; 9] = [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0];
/// Bytes of a group.
const GROUP_BYTES: [f64; 9] = [
    256.0, 1024.0, 4096.0, 16384.0, 65536.0, 262144.0, 1048576.0, 4194304.0, 16777216.0,
];
/// Seconds of a sync.
pub(super) const SYNC_SECONDS: [f64; 14] = [
    1e-4, 2.5e-4, 5e-4, 1e-3, 2.5e-3, 5e-3, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5,
];

struct Families {
    new_bytes: IntCounter,
    known_bytes: IntCounter,
    group_commits: Histogram,
    group_bytes: Histogram,
    sync_seconds: Histogram,
    files_known: IntCounter,
    rows_known: IntCounter,
    index_stalls: IntCounter,
    rows_asked: IntCounter,
    damaged: IntCounter,
    damaged_chunks: IntGauge,
    room: RoomGauges,
    refused: IntCounterVec,
    index_rebuilds: IntCounter,
    compactions: IntCounter,
    compaction_copied: IntCounter,
    compaction_freed: IntCounter,
    log_files_removed: IntCounterVec,
    holds: Holds,
    log_live: IntGaugeVec,
    log_dead: IntGaugeVec,
}

/// What the store holds, at the last count.
struct Holds {
    logical: IntGauge,
    unique: IntGauge,
    physical: IntGauge,
    packages: IntGauge,
    versions: IntGauge,
    files: IntGauge,
    blobs: IntGauge,
    chunks: IntGauge,
}

impl Holds {
    fn register() -> Self {
        Holds {
            logical: gauge(
                "larder_store_logical_bytes",
                "Length of all files together, each counted in full, at the last count.",
            ),
            unique: gauge(
                "larder_store_unique_bytes",
                "Length of all chunks together, each counted once, at the last count.",
            ),
            physical: gauge(
                "larder_store_physical_bytes",
                "What the data directory takes on the disk, at the last count.",
            ),
            packages: gauge("larder_store_packages", "Packages, at the last count."),
            versions: gauge("larder_store_versions", "Versions, at the last count."),
            files: gauge("larder_store_files", "Files, at the last count."),
            blobs: gauge(
                "larder_store_blobs",
                "Different bodies among the files, at the last count.",
            ),
            chunks: gauge("larder_store_chunks", "Chunks stored, at the last count."),
        }
    }
}

struct RoomGauges {
    used: IntGauge,
    limit: IntGauge,
    reserved: IntGauge,
    ballast: IntGauge,
    above_high: IntGauge,
    disk_free: IntGauge,
    disk_size: IntGauge,
    inodes_free: IntGauge,
}

impl RoomGauges {
    fn register() -> Self {
        RoomGauges {
            used: gauge("larder_store_used_bytes", "Bytes written to log files."),
            limit: gauge(
                "larder_store_limit_bytes",
                "Bytes that log files may take (store.max_size); 0: the disk decides.",
            ),
            reserved: gauge(
                "larder_store_reserved_bytes",
                "Bytes held on disk beyond those used: room in active log files and for the index, and the ballast.",
            ),
            ballast: gauge(
                "larder_store_ballast_bytes",
                "Bytes reserved for removals and starts on a full disk.",
            ),
            above_high: gauge(
                "larder_store_above_high",
                "1 from the high watermark on until the store is below the low one: uploads are refused.",
            ),
            disk_free: gauge(
                "larder_disk_free_bytes",
                "Bytes that the store's disk has left for us.",
            ),
            disk_size: gauge("larder_disk_size_bytes", "Bytes of the store's disk."),
            inodes_free: gauge(
                "larder_disk_inodes_free",
                "Files that the store's disk can still take; -1 where it does not count them.",
            ),
        }
    }
}

/// Label values for the two kinds of log file.
const KINDS: &[&str] = &["journal", "segment"];

static FAMILIES: LazyLock<Families> = LazyLock::new(|| {
    let uploaded = counters(
        "larder_upload_bytes_total",
        "Bytes of published bodies, by whether the store had them already.",
        &[("dedupe", &["new", "known"])],
    );
    let lookups = counters(
        "larder_index_lookups_total",
        "Look-ups in the index, by what answered: a whole file located before, rows in memory or the tree.",
        &[("by", &["file", "memory", "tree"])],
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
        files_known: lookups.with_label_values(&["file"]),
        rows_known: lookups.with_label_values(&["memory"]),
        rows_asked: lookups.with_label_values(&["tree"]),
        index_stalls: counter(
            "larder_index_write_stalls_total",
            "Times that a write waited because the index was written to faster than runs were made of it.",
        ),
        damaged: counter(
            "larder_store_damaged_stretches_total",
            "Damaged stretches of the log met while reading it.",
        ),
        index_rebuilds: counter(
            "larder_index_rebuilds_total",
            "Times that the index was built again from the log, from its beginning.",
        ),
        damaged_chunks: gauge(
            "larder_store_damaged_chunks",
            "Chunks and manifests in quarantine; the same bytes, published again, heal them.",
        ),
        room: RoomGauges::register(),
        refused: counters(
            "larder_store_refused_total",
            "Uploads refused for want of room, by what was full.",
            &[("reason", &["limit", "watermark", "disk", "inodes", "write"])],
        ),
        compactions: counter(
            "larder_compaction_runs_total",
            "Passes of compaction over the journal or the segments.",
        ),
        compaction_copied: counter(
            "larder_compaction_copied_bytes_total",
            "Live bytes that compaction wrote again.",
        ),
        compaction_freed: counter(
            "larder_compaction_freed_bytes_total",
            "Bytes of log files that compaction removed.",
        ),
        log_files_removed: counters(
            "larder_compaction_removed_files_total",
            "Log files that compaction removed.",
            &[("kind", KINDS)],
        ),
        holds: Holds::register(),
        log_live: gauges(
            "larder_log_live_bytes",
            "Bytes of the log that the index leads to, at the last scan; of the journal's metadata an estimate.",
            &[("kind", KINDS)],
        ),
        log_dead: gauges(
            "larder_log_dead_bytes",
            "Bytes of the log that nothing needs any more, at the last scan.",
            &[("kind", KINDS)],
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

/// The index is built again.
pub fn index_rebuild() {
    FAMILIES.index_rebuilds.inc();
}

/// Damaged bytes were met in the log.
pub fn damaged_stretch() {
    FAMILIES.damaged.inc();
}

/// A file has been located in memory, with one look-up in place of one for each row.
pub fn file_lookup() {
    FAMILIES.files_known.inc();
}

/// A row of the index has been looked up; `known`: it was in memory.
pub fn index_lookup(known: bool) {
    match known {
        true => FAMILIES.rows_known.inc(),
        false => FAMILIES.rows_asked.inc(),
    }
}

/// A writer waits for a run of the index.
pub fn index_stall() {
    FAMILIES.index_stalls.inc();
}

/// What the store takes and may take.
pub fn room(state: &RoomState) {
    let set = |gauge: &IntGauge, value: u64| gauge.set(i64::try_from(value).unwrap_or(-1));
    let gauges = &FAMILIES.room;
    set(&gauges.used, state.used);
    set(&gauges.limit, state.limit.unwrap_or(0));
    set(&gauges.reserved, state.reserved);
    set(&gauges.ballast, state.ballast);
    set(&gauges.above_high, u64::from(state.above_high));
    set(&gauges.disk_free, state.disk.free);
    set(&gauges.disk_size, state.disk.size);
    set(&gauges.inodes_free, state.disk.inodes);
}

/// An upload was refused for want of room.
pub fn refused_for_room(reason: Reason) {
    let reason = match reason {
        Reason::Limit => "limit",
        Reason::Watermark => "watermark",
        Reason::Disk => "disk",
        Reason::Inodes => "inodes",
        Reason::Write => "write",
    };
    FAMILIES.refused.with_label_values(&[reason]).inc();
}

/// A pass of compaction has begun.
pub fn compaction() {
    FAMILIES.compactions.inc();
}

/// Compaction wrote live bytes again.
pub fn compaction_copied(bytes: u64) {
    FAMILIES.compaction_copied.inc_by(bytes);
}

/// Compaction removed a file of this many bytes.
pub fn log_file_removed(kind: FileKind, bytes: u64) {
    FAMILIES.compaction_freed.inc_by(bytes);
    FAMILIES.log_files_removed.with_label_values(&[label(kind)]).inc();
}

/// The store has been counted.
pub fn stats(stats: &Stats) {
    let holds = &FAMILIES.holds;
    for (gauge, value) in [
        (&holds.logical, stats.logical_bytes),
        (&holds.unique, stats.unique_bytes),
        (&holds.physical, stats.physical_bytes),
        (&holds.packages, stats.packages),
        (&holds.versions, stats.versions),
        (&holds.files, stats.files),
        (&holds.blobs, stats.blobs),
        (&holds.chunks, stats.chunks),
    ] {
        gauge.set(i64::try_from(value).unwrap_or(i64::MAX));
    }
}

/// The log files of a kind were found to hold `live` bytes of `total`.
pub fn log_usage(kind: FileKind, live: u64, total: u64) {
    let label = &[label(kind)];
    let bytes = |bytes: u64| i64::try_from(bytes).unwrap_or(i64::MAX);
    FAMILIES
        .log_live
        .with_label_values(label)
        .set(bytes(live.min(total)));
    FAMILIES
        .log_dead
        .with_label_values(label)
        .set(bytes(total.saturating_sub(live)));
}

fn label(kind: FileKind) -> &'static str {
    match kind {
        FileKind::Journal => KINDS[0],
        FileKind::Segment => KINDS[1],
    }
}
