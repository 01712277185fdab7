//! The pass of retention: judges every version of every owner that has rules, and removes what has expired.

use std::time::{Duration, Instant};

use futures_util::{StreamExt, stream};
use tokio::sync::watch;
use tokio::time::timeout;

use super::rest::Rest;
use super::retention_metrics::METRICS;
use crate::artifact::retention::decide::Verdict;
use crate::artifact::retention::{Judged, Rules, Survey};
use crate::artifact::{ArtifactError, Artifacts, walk};
use crate::store::error::StoreError;
use crate::store::model::{Account, Millis};
use crate::store::{Health, Store};
use crate::telemetry::audit::{Audit, Event, Who};

/// The first pass that nobody asks for comes this long after the start, or earlier.
const FIRST: Duration = Duration::from_secs(3600);
/// Removals under way at a time: they share the syncs of the journal.
const AT_ONCE: usize = 64;
/// How often a removal is tried that found the store busy, and how long apart.
const TRIES: u32 = 20;
const PAUSE: Duration = Duration::from_millis(250);

/// When passes are made.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Whether they come by themselves.
    pub enabled: bool,
    /// How long after the beginning of one the next one begins.
    pub every: Duration,
    /// While a commit takes longer than this, a pass rests longer.
    pub yield_above: Duration,
}

/// Makes passes, one at a time, for ever: by the clock, and when one is asked for. What is
/// set may change meanwhile. To be run on a thread that does
/// little else, as owners' actors may be started there.
pub async fn run(
    artifacts: Artifacts,
    store: Store,
    mut options: watch::Receiver<Options>,
    audit: Option<Audit>,
) {
    let mut wanted = artifacts.wanted_retention().watch();
    let (mut begun, mut longest) = (Instant::now(), FIRST);
    loop {
        let now = *options.borrow_and_update();
        METRICS.start(now.enabled.then_some(now.every));
        let rest = match now.enabled {
            true => now.every.min(longest).saturating_sub(begun.elapsed()),
            false => Duration::MAX,
        };
        tokio::select! {
            Ok(()) = options.changed() => continue,
            // The sender lives as long as `artifacts`.
            _ = timeout(rest, wanted.changed()) => {}
        }
        (begun, longest) = (Instant::now(), Duration::MAX);
        if store.health() == Health::Ready {
            let _ = pass(&artifacts, &store, now.yield_above, audit.as_ref()).await;
        }
    }
}

/// Makes a pass; returns how many versions it removed. Each is an event of the audit log.
pub async fn pass(
    artifacts: &Artifacts,
    store: &Store,
    yield_above: Duration,
    audit: Option<&Audit>,
) -> Result<u64, ArtifactError> {
    let begun = Instant::now();
    let pass = Pass {
        artifacts,
        store,
        yield_above,
        audit,
    };
    let outcome = pass.run().await;
    METRICS.ended(outcome.is_ok(), begun.elapsed());
    match &outcome {
        Ok(removed) => tracing::info!(
            removed,
            seconds = begun.elapsed().as_secs_f64(),
            "retention has ended"
        ),
        Err(error) => tracing::error!(%error, "retention failed"),
    }
    outcome
}

struct Pass<'a> {
    artifacts: &'a Artifacts,
    store: &'a Store,
    yield_above: Duration,
    audit: Option<&'a Audit>,
}

impl Pass<'_> {
    /// An owner whose rules cannot be applied does not keep the others from theirs, but makes the pass a failure.
    async fn run(&self) -> Result<u64, ArtifactError> {
        let (mut removed, mut failed) = (0, None);
        for owner in self.store.accounts()? {
            match self.owner(&owner, &mut removed).await {
                Ok(()) => {}
                Err(error @ ArtifactError::Store(StoreError::Foreign(_))) => {
                    tracing::error!(owner = owner.name, %error, "nothing of this owner is removed");
                    failed = Some(error);
                }
                Err(error) => return Err(error),
            }
        }
        failed.map_or(Ok(removed), Err)
    }

    async fn owner(&self, owner: &Account, removed: &mut u64) -> Result<(), ArtifactError> {
        let (rules, _) = self.artifacts.retention_rules(owner)?;
        if rules.is_empty() {
            return Ok(());
        }
        let mut survey = self.artifacts.survey(owner, rules.clone(), now());
        let mut rest = Rest::new(self.store, self.yield_above);
        loop {
            let judged;
            (survey, judged) = walk::step(survey, Survey::step).await?;
            let Some(judged) = judged? else { return Ok(()) };
            let expired: Vec<Judged> = judged
                .into_iter()
                .filter(|judged| matches!(judged.verdict, Verdict::Expired { .. }))
                .collect();
            // Whoever takes a rule back means at once.
            let (standing, _) = self.artifacts.retention_rules(owner)?;
            if !expired.is_empty() && !standing.given().eq(rules.given()) {
                tracing::info!(
                    owner = owner.name,
                    "the rules have changed; the next pass goes by them"
                );
                return Ok(());
            }
            *removed += self.remove(owner, &rules, &expired).await?;
            rest.rest().await;
        }
    }

    async fn remove(&self, owner: &Account, rules: &Rules, expired: &[Judged]) -> Result<u64, ArtifactError> {
        let removals = expired.iter().map(async |judged| {
            let removed = patiently(async || self.artifacts.retire(owner, rules, judged).await).await;
            (judged, removed)
        });
        let mut removals = stream::iter(removals).buffer_unordered(AT_ONCE);
        let mut removed = 0;
        while let Some((judged, outcome)) = removals.next().await {
            if outcome? {
                removed += 1;
                METRICS.removed();
                self.record(owner, judged);
            }
        }
        Ok(removed)
    }

    fn record(&self, owner: &Account, judged: &Judged) {
        if let (Some(audit), Verdict::Expired { rule, .. }) = (self.audit, &judged.verdict) {
            let object = format!("{}/{}/{}", owner.name, judged.package.name, judged.version.name);
            let who = Who::Retention { rule: *rule };
            audit.record(Event::now(who, "version.remove", object, "done"));
        }
    }
}

/// Tries again what found the store busy.
pub(super) async fn patiently<T>(
    mut work: impl AsyncFnMut() -> Result<T, ArtifactError>,
) -> Result<T, ArtifactError> {
    for _ in 0..TRIES {
        match work().await {
            Err(ArtifactError::Busy(_)) => tokio::time::sleep(PAUSE).await,
            done => return done,
        }
    }
    work().await
}

/// Milliseconds since the epoch.
pub(super) fn now() -> Millis {
    jiff::Timestamp::now().as_millisecond()
}

#[cfg(test)]
#[path = "retention_tests.rs"]
mod tests;
