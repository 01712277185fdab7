//! The evictor: keeps caches within their owners' budgets and the store below its high watermark, by removing what
//! was used least recently; and keeps the times of last use for the next run.

use std::collections::{HashMap, HashSet};
use std::time::{Duration, Instant};

use futures_util::{StreamExt, stream};
use tokio::sync::watch;

use super::collector::Collector;
use super::eviction_metrics::{Ended, METRICS, Reason};
use super::rest::Rest;
use super::retention::{now, patiently};
use crate::artifact::eviction::{Ages, Candidate, Scan};
use crate::artifact::{ArtifactError, Artifacts, walk};
use crate::chunk::Digest;
use crate::store::collect::{Kind, Passes};
use crate::store::model::{Account, Id, Millis};
use crate::store::{Health, Store};

/// How often it looks whether there is something to do.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// How often it looks at budgets though no cache has grown: they may have been lowered.
const BUDGETS_EVERY: Duration = Duration::from_secs(30);
/// How often it looks how old the oldest file is, whether room is needed or not.
const SURVEY_EVERY: Duration = Duration::from_secs(3600);
/// Removals under way at a time: they share the syncs of the journal.
const AT_ONCE: usize = 64;
/// Passes of eviction and collection in a row before it counts as short.
const ROUNDS: usize = 6;
/// After a pass that was short it looks again after this time, then after twice that, up to the longest.
const RETRY: Duration = Duration::from_secs(1);
const LONGEST_RETRY: Duration = Duration::from_secs(600);
/// An owner above its budget comes down to this part of it, in percent, so that not every upload needs a pass.
const DOWN_TO: u64 = 95;

/// When and what.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Whether at all.
    pub enabled: bool,
    /// What was published or used within this time stays.
    pub min_age: Duration,
    /// How often the times of last use are kept.
    pub save_every: Duration,
    /// While a commit takes longer than this, a pass that is not urgent rests longer.
    pub yield_above: Duration,
}

/// The evictor.
#[derive(Debug)]
pub struct Evictor {
    artifacts: Artifacts,
    store: Store,
    collector: Collector,
    /// What is set; may change.
    settings: watch::Receiver<Options>,
    /// What was set when it last looked.
    options: Options,
    saved: Instant,
    surveyed: Option<Instant>,
    /// Bytes that had lost their names when collection last ran for this.
    collected: Option<u64>,
    /// When owners' budgets were last looked at.
    looked: Option<Instant>,
    watermark: Backoff,
    /// Of owners above their budgets.
    budgets: HashMap<Id, Backoff>,
}

/// When to look again after passes that were short.
#[derive(Debug, Default)]
struct Backoff {
    until: Option<Instant>,
    pause: Duration,
}

impl Backoff {
    fn is_over(&self) -> bool {
        self.until.is_none_or(|until| Instant::now() >= until)
    }

    fn after(&mut self, how: Ended) {
        if how == Ended::Enough {
            *self = Backoff::default();
            return;
        }
        self.pause = (self.pause * 2).clamp(RETRY, LONGEST_RETRY);
        self.until = Some(Instant::now() + self.pause);
    }
}

impl Evictor {
    /// For the caches of this store.
    pub fn new(
        artifacts: Artifacts,
        store: Store,
        collector: Collector,
        settings: watch::Receiver<Options>,
    ) -> Self {
        std::sync::LazyLock::force(&METRICS);
        let options = *settings.borrow();
        Evictor {
            artifacts,
            store,
            collector,
            options,
            settings,
            saved: Instant::now(),
            surveyed: None,
            collected: None,
            looked: None,
            watermark: Backoff::default(),
            budgets: HashMap::new(),
        }
    }

    /// Looks and works, for ever. To be run on a thread that does little else, as owners' actors may be started there.
    pub async fn run(mut self) {
        loop {
            tokio::time::sleep(LOOK_EVERY).await;
            self.options = *self.settings.borrow();
            if self.saved.elapsed() >= self.options.save_every {
                self.save().await;
            }
            if self.options.enabled && self.store.health() == Health::Ready {
                self.look().await;
            }
        }
    }

    async fn save(&mut self) {
        self.saved = Instant::now();
        let artifacts = self.artifacts.clone();
        let saved = actix_rt::task::spawn_blocking(move || artifacts.save_uses()).await;
        if let Ok(Err(error)) = saved {
            tracing::warn!(%error, "the times of last use could not be kept");
        }
    }

    async fn look(&mut self) {
        if self.watermark.is_over() && self.store.room().pressed {
            let how = self.measured(Evictor::relieve).await;
            self.watermark.after(how);
        }
        let is_due = self.looked.is_none_or(|last| last.elapsed() >= BUDGETS_EVERY);
        if self.artifacts.has_grown() || is_due || !self.budgets.is_empty() {
            self.looked = Some(Instant::now());
            self.keep_budgets().await;
        }
        if self.surveyed.is_none_or(|last| last.elapsed() >= SURVEY_EVERY) {
            let all = self.store.accounts().unwrap_or_default();
            if let Err(error) = self.survey(&all, false).await {
                tracing::warn!(%error, "caches could not be looked at");
            }
            self.surveyed = Some(Instant::now());
        }
    }

    async fn measured(&mut self, pass: impl AsyncFnOnce(&mut Self) -> Result<Ended, ArtifactError>) -> Ended {
        let begun = Instant::now();
        let how = pass(self).await.unwrap_or_else(|error| {
            tracing::error!(%error, "eviction failed");
            Ended::Failed
        });
        METRICS.ended(how, begun.elapsed());
        how
    }

    /// Brings owners that are above their budgets down.
    async fn keep_budgets(&mut self) {
        let over = match self.artifacts.over_budget() {
            Ok(over) => over,
            Err(error) => return tracing::warn!(%error, "budgets could not be looked at"),
        };
        self.budgets
            .retain(|id, _| over.iter().any(|(owner, ..)| owner.id == *id));
        for (owner, held, budget) in over {
            let id = owner.id;
            if self.budgets.entry(id).or_default().is_over() {
                let excess = held.saturating_sub(budget / 100 * DOWN_TO);
                let pass = async |evictor: &mut Self| evictor.keep_budget(owner, excess).await;
                let how = self.measured(pass).await;
                self.budgets.entry(id).or_default().after(how);
            }
        }
    }

    async fn keep_budget(&self, owner: Account, excess: u64) -> Result<Ended, ArtifactError> {
        let owners = [owner];
        let ages = self.survey(&owners, true).await?;
        let gone = self.evict(&owners, &ages, excess, Reason::Budget).await?;
        Ok(if gone >= excess {
            Ended::Enough
        } else {
            Ended::Short
        })
    }

    /// Brings the store below its low watermark: collects what has no name any more, evicts what is missing, collects
    /// that, and looks again, since what is evicted may share its bytes with what stays.
    async fn relieve(&mut self) -> Result<Ended, ArtifactError> {
        for _ in 0..ROUNDS {
            if self.store.room().above_low == 0 {
                return Ok(Ended::Enough);
            }
            let all = self.store.accounts()?;
            let ages = self.survey(&all, true).await?;
            if ages.total() == 0 && self.collected == Some(self.store.removed_bytes()) {
                return Ok(Ended::Short);
            }
            self.collect().await;
            let excess = self.store.room().above_low;
            if excess > 0 {
                self.evict(&all, &ages, excess, Reason::Watermark).await?;
            }
            self.collect().await;
        }
        Ok(match self.store.room().above_low {
            0 => Ended::Enough,
            _ => Ended::Short,
        })
    }

    /// Has the space given back of what lost its name since the last time.
    async fn collect(&mut self) {
        let removed = self.store.removed_bytes();
        if self.collected == Some(removed) {
            return;
        }
        let run = self.collector.request(Kind::Full).run;
        if let Err(error) = self.collector.ended(run).await {
            tracing::warn!(error, "collection for eviction failed");
        }
        self.collected = Some(removed);
    }

    /// How long the bytes that may go have been idle. `urgent`: without rests.
    async fn survey(&self, owners: &[Account], urgent: bool) -> Result<Ages, ArtifactError> {
        let (mut ages, mut oldest) = (Ages::default(), None);
        let now = now();
        let open = self.store.open_blobs();
        let mut scan = self.artifacts.scan(owners.iter().cloned());
        let mut rest = Rest::new(&self.store, self.options.yield_above);
        loop {
            let found;
            (scan, found) = walk::step(scan, Scan::step).await?;
            let Some(found) = found? else { break };
            for candidate in &found {
                oldest = Some(candidate.last_used.min(oldest.unwrap_or(Millis::MAX)));
                if self.is_old_enough(candidate.idle(now)) && !open.contains(&candidate.file.blob) {
                    ages.add(candidate.idle(now), candidate.file.size.max(1));
                }
            }
            if !urgent && !found.is_empty() {
                rest.rest().await;
            }
        }
        METRICS.oldest(oldest);
        Ok(ages)
    }

    fn is_old_enough(&self, idle: u64) -> bool {
        Duration::from_secs(idle) >= self.options.min_age
    }

    /// Evicts `wanted` bytes of what has been idle for longest, or all that may go; returns how many went.
    async fn evict(
        &self,
        owners: &[Account],
        ages: &Ages,
        wanted: u64,
        reason: Reason,
    ) -> Result<u64, ArtifactError> {
        let threshold = ages.threshold(wanted).unwrap_or(0);
        let mut gone = 0;
        let mut scan = self.artifacts.scan(owners.iter().cloned());
        while gone < wanted {
            let found;
            (scan, found) = walk::step(scan, Scan::step).await?;
            let Some(found) = found? else { break };
            let now = now();
            let old: Vec<Candidate> = found
                .into_iter()
                .filter(|candidate| {
                    let idle = candidate.idle(now);
                    idle >= threshold && self.is_old_enough(idle)
                })
                .collect();
            for batch in old.chunks(AT_ONCE) {
                if gone < wanted {
                    gone += self.evict_batch(batch, wanted - gone, reason).await?;
                }
            }
        }
        tracing::info!(
            wanted,
            gone,
            idle = threshold,
            ?reason,
            "evicted what was used least recently"
        );
        Ok(gone)
    }

    /// Evicts files until `wanted` bytes have gone, but none that is being downloaded or was used meanwhile.
    async fn evict_batch(
        &self,
        batch: &[Candidate],
        wanted: u64,
        reason: Reason,
    ) -> Result<u64, ArtifactError> {
        let open: HashSet<Digest> = self.store.open_blobs();
        let (mut chosen, mut sum) = (Vec::new(), 0_u64);
        for candidate in batch {
            if sum < wanted && !open.contains(&candidate.file.blob) {
                chosen.push(candidate);
                sum += candidate.file.size.max(1);
            }
        }
        // Each try looks whether it was used meanwhile: a busy store may make them wait for seconds.
        let evictions = chosen.into_iter().map(async |candidate| {
            let evicted = patiently(async || self.artifacts.evict(candidate).await).await;
            (candidate, evicted)
        });
        let mut evictions = stream::iter(evictions).buffer_unordered(AT_ONCE);
        let (mut gone, now) = (0, now());
        while let Some((candidate, evicted)) = evictions.next().await {
            if evicted? {
                let size = candidate.file.size;
                METRICS.evicted(reason, size, candidate.idle(now));
                gone += size.max(1);
            }
        }
        Ok(gone)
    }
}
