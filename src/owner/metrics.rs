//! Metrics of the actors and their admission.

use std::sync::LazyLock;
use std::time::Duration;

use prometheus::{Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, Opts};

use super::decide::Refusal;

/// The families, registered in the default registry at first use.
pub static METRICS: LazyLock<OwnerMetrics> = LazyLock::new(OwnerMetrics::register);

/// Handles resolved once, so that counting costs no look-up.
#[derive(Debug)]
pub struct OwnerMetrics {
    actors: IntGauge,
    wait_admission: Histogram,
    wait_actor: Histogram,
    wait_commit: Histogram,
    asked_again: IntCounter,
    precondition: IntCounter,
    version_exists: IntCounter,
    file_exists: IntCounter,
    missing: IntCounter,
    uploads_busy: IntCounter,
    removals_busy: IntCounter,
}

impl OwnerMetrics {
    #[expect(
        clippy::expect_used,
        reason = "names and labels are constants, and the families are registered once"
    )]
    fn register() -> Self {
        let actors = IntGauge::new("larder_owner_actors", "Owner actors that are running").expect("constant");
        let wait = HistogramVec::new(
            HistogramOpts::new(
                "larder_owner_wait_seconds",
                "Time that a write waited: for an upload's turn, for the owner's actor, for the commit",
            )
            .buckets(vec![
                0.00001, 0.0001, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0,
            ]),
            &["for"],
        )
        .expect("constant");
        let asked_again = IntCounter::new(
            "larder_owner_asked_again_total",
            "Decisions taken again, because a commit they relied on did not come about or the actor was gone",
        )
        .expect("constant");
        let refused = IntCounterVec::new(
            Opts::new(
                "larder_owner_refused_total",
                "Writes refused by preconditions, policies or bounds",
            ),
            &["reason"],
        )
        .expect("constant");
        let registry = prometheus::default_registry();
        registry.register(Box::new(actors.clone())).expect("first");
        registry.register(Box::new(wait.clone())).expect("first");
        registry.register(Box::new(asked_again.clone())).expect("first");
        registry.register(Box::new(refused.clone())).expect("first");
        OwnerMetrics {
            actors,
            wait_admission: wait.with_label_values(&["admission"]),
            wait_actor: wait.with_label_values(&["actor"]),
            wait_commit: wait.with_label_values(&["commit"]),
            asked_again,
            precondition: refused.with_label_values(&["precondition"]),
            version_exists: refused.with_label_values(&["version_exists"]),
            file_exists: refused.with_label_values(&["file_exists"]),
            missing: refused.with_label_values(&["missing"]),
            uploads_busy: refused.with_label_values(&["uploads_busy"]),
            removals_busy: refused.with_label_values(&["removals_busy"]),
        }
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
