//! Metrics of the actors and their admission.

use std::sync::LazyLock;
use std::time::Duration;

use prometheus::{Histogram, IntCounter, IntGauge};

use super::decide::Refusal;
use crate::telemetry::metrics::{counter, counters, gauge, histograms};

/// Seconds that a write may wait.
const WAITS: [f64; 15] = [
    0.00001, 0.0001, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0,
];

/// Why writes are refused.
const REASONS: [&str; 7] = [
    "precondition",
    "version_exists",
    "file_exists",
    "quota",
    "missing",
    "uploads_busy",
    "removals_busy",
];

/// The families, registered in the default registry at first use.
pub static METRICS: LazyLock<OwnerMetrics> = LazyLock::new(OwnerMetrics::register);

/// Handles resolved once, so that counting costs no look-up.
#[derive(Debug)]
pub struct OwnerMetrics {
    actors: IntGauge,
    uploads: IntGauge,
    uploads_limit: IntGauge,
    wait_admission: Histogram,
    wait_actor: Histogram,
    wait_commit: Histogram,
    asked_again: IntCounter,
    precondition: IntCounter,
    version_exists: IntCounter,
    file_exists: IntCounter,
    quota: IntCounter,
    missing: IntCounter,
    uploads_busy: IntCounter,
    removals_busy: IntCounter,
}

impl OwnerMetrics {
    fn register() -> Self {
        let actors = gauge("larder_owner_actors", "Owner actors that are running.");
        let wait = histograms(
            "larder_owner_wait_seconds",
            "Time that a write waited: for an upload's turn, for the owner's actor, for the commit.",
            &[("for", &["admission", "actor", "commit"])],
            &WAITS,
        );
        let asked_again = counter(
            "larder_owner_asked_again_total",
            "Decisions taken again, because a commit they relied on did not come about or the actor was gone.",
        );
        let refused = counters(
            "larder_owner_refused_total",
            "Writes refused by preconditions, policies, quotas or bounds.",
            &[("reason", &REASONS)],
        );
        OwnerMetrics {
            actors,
            uploads: gauge("larder_uploads_in_progress", "Uploads that have their turn."),
            uploads_limit: gauge(
                "larder_uploads_limit",
                "Uploads that may be in progress (limits.uploads).",
            ),
            wait_admission: wait.with_label_values(&["admission"]),
            wait_actor: wait.with_label_values(&["actor"]),
            wait_commit: wait.with_label_values(&["commit"]),
            asked_again,
            precondition: refused.with_label_values(&["precondition"]),
            version_exists: refused.with_label_values(&["version_exists"]),
            file_exists: refused.with_label_values(&["file_exists"]),
            quota: refused.with_label_values(&["quota"]),
            missing: refused.with_label_values(&["missing"]),
            uploads_busy: refused.with_label_values(&["uploads_busy"]),
            removals_busy: refused.with_label_values(&["removals_busy"]),
        }
    }

    /// So many uploads may be in progress.
    pub fn bound(&self, uploads: usize) {
        self.uploads_limit.set(i64::try_from(uploads).unwrap_or(i64::MAX));
    }

    /// An upload got its turn after this time, or gave up.
    pub fn waited_for_admission(&self, time: Duration) {
        self.wait_admission.observe(time.as_secs_f64());
    }

    /// The actor answered after this time.
    pub fn waited_for_actor(&self, time: Duration) {
        self.wait_actor.observe(time.as_secs_f64());
    }

    /// What an answer depended on was settled after this time.
    pub fn waited_for_commit(&self, time: Duration) {
        self.wait_commit.observe(time.as_secs_f64());
    }

    /// A decision has to be taken again.
    pub fn asks_again(&self) {
        self.asked_again.inc();
    }

    /// The names did not allow a write.
    pub fn refused(&self, refusal: Refusal) {
        match refusal {
            Refusal::Precondition => self.precondition.inc(),
            Refusal::VersionExists => self.version_exists.inc(),
            Refusal::FileExists => self.file_exists.inc(),
            Refusal::OverBytes | Refusal::OverVersions => self.quota.inc(),
            Refusal::NoVersion | Refusal::NoFile => self.missing.inc(),
            // Upkeep counts what it spares.
            Refusal::Pinned => {}
        }
    }

    /// An upload did not get its turn in time.
    pub fn upload_refused(&self) {
        self.uploads_busy.inc();
    }

    /// Too many removals were under way.
    pub fn removal_refused(&self) {
        self.removals_busy.inc();
    }
}

/// Counts an upload for as long as it is in progress.
#[derive(Debug)]
pub struct LiveUpload(());

impl LiveUpload {
    /// One more.
    pub fn new() -> Self {
        METRICS.uploads.inc();
        LiveUpload(())
    }
}

impl Drop for LiveUpload {
    fn drop(&mut self) {
        METRICS.uploads.dec();
    }
}

/// Counts an actor for as long as it lives, however it ends.
#[derive(Debug)]
pub struct LiveActor(());

impl LiveActor {
    /// One more.
    pub fn new() -> Self {
        METRICS.actors.inc();
        LiveActor(())
    }
}

impl Drop for LiveActor {
    fn drop(&mut self) {
        METRICS.actors.dec();
    }
}
