//! The store's metric families.

use std::sync::LazyLock;
use std::time::Duration;

use prometheus::{Histogram, IntCounter, IntCounterVec, histogram_opts, opts};

struct Families {
    new_bytes: IntCounter,
    known_bytes: IntCounter,
    group_commits: Histogram,
    group_bytes: Histogram,
    sync_seconds: Histogram,
    damaged: IntCounter,
}

static FAMILIES: LazyLock<Families> = LazyLock::new(|| {
    let uploaded = IntCounterVec::new(
        opts!(
            "larder_upload_bytes_total",
            "Bytes of published bodies, by whether the store had them already"
        ),
        &["dedupe"],
    );
    let uploaded = register(uploaded);
    Families {
        new_bytes: uploaded.with_label_values(&["new"]),
        known_bytes: uploaded.with_label_values(&["known"]),
        group_commits: register(Histogram::with_opts(histogram_opts!(
            "larder_commit_group_commits",
            "Commits that shared one sync of the journal",
            vec![1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0]
        ))),
        group_bytes: register(Histogram::with_opts(histogram_opts!(
            "larder_commit_group_bytes",
            "Bytes written to the journal by one group",
            (0..9).map(|power| 256.0 * 4f64.powi(power)).collect()
        ))),
        sync_seconds: register(Histogram::with_opts(histogram_opts!(
            "larder_commit_sync_seconds",
            "Time of one sync of the journal",
            vec![
                1e-4, 2.5e-4, 5e-4, 1e-3, 2.5e-3, 5e-3, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5
            ]
        ))),
        damaged: register(IntCounter::new(
            "larder_store_damaged_stretches_total",
            "Damaged stretches of the journal met while reading it",
        )),
    }
});

/// Registers a family of static name; that cannot fail but by a name that is taken, which a test would show.
fn register<C: prometheus::core::Collector + Clone + 'static>(family: prometheus::Result<C>) -> C {
    #[allow(clippy::expect_used)]
    let family = family.expect("a valid metric family");
    let _ = prometheus::register(Box::new(family.clone()));
    family
}

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

/// Damaged bytes were met in the journal.
pub fn damaged_stretch() {
    FAMILIES.damaged.inc();
}
