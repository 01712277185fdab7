//! Eviction: the files of `cache` packages that were used least recently.
//!
//! There is no list of them in the order of their last use, since memory must not grow with what is stored. A pass
//! reads them twice in small steps: the first [`Scan`] counts their bytes by how long they have been idle ([`Ages`]),
//! which tells from what age on they must go, and the second takes those.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use super::retention::spared;
use super::{ArtifactError, Artifacts};
use crate::owner::Policy;
use crate::owner::names::FileName;
use crate::store::error::StoreError;
use crate::store::model::{Account, File, Holder, Id, Millis, Package};

/// The part of a quota that eviction keeps free, so that uploads seldom meet the quota itself: a tenth.
const HEADROOM: u64 = 10;
/// Packages that are looked up at a time.
const PACKAGES: usize = 64;
/// Versions that are looked up at a time.
const VERSIONS: usize = 256;
/// Files that are looked up in a step.
const FILES: usize = 1024;
/// Ages up to this many seconds are told apart exactly.
const EXACT: u64 = 32;
/// From there on, ages that are told apart between an age and twice that age.
const PARTS: u64 = EXACT / 2;
/// Ages that are told apart in all: up to more than a thousand years.
const STEPS: usize = 512;

/// A file that may go.
#[derive(Clone, Debug)]
pub struct Candidate {
    /// Whose.
    pub owner: Arc<Account>,
    /// Its package.
    pub package: Arc<Package>,
    /// The name of its version.
    pub version: Arc<str>,
    /// The file.
    pub file: File,
    /// When it was last asked for or published.
    pub last_used: Millis,
}

impl Candidate {
    /// How long it has been idle, in seconds.
    pub fn idle(&self, now: Millis) -> u64 {
        u64::try_from(now.saturating_sub(self.last_used) / 1000).unwrap_or(0)
    }
}

/// A walk over the files of the cache packages of some owners that are not pinned, with their last use.
#[derive(Debug)]
pub struct Scan {
    artifacts: Artifacts,
    owners: VecDeque<Arc<Account>>,
    /// The last package that was looked up of the first owner.
    after_package: Option<String>,
    packages: VecDeque<Package>,
    /// The package that the walk is in, and the last version that was looked up.
    package: Option<(Arc<Package>, Option<Id>)>,
    versions: VecDeque<(Id, String)>,
    /// The version that the walk is in, and the last file that was looked up.
    version: Option<(Id, Arc<str>, Option<String>)>,
}

impl Scan {
    /// The next files, perhaps none; `None` at the end. Blocks, for moments.
    pub fn step(&mut self) -> Result<Option<Vec<Candidate>>, StoreError> {
        let Some(owner) = self.owners.front().cloned() else {
            return Ok(None);
        };
        let Some((package, before)) = self.package.clone() else {
            self.next_package(&owner)?;
            return Ok(Some(Vec::new()));
        };
        if let Some((version, name, after)) = self.version.take() {
            let store = &self.artifacts.store;
            let files = store.files_after(&package, version, after.as_deref(), FILES)?;
            if let Some(last) = files.last() {
                self.version = Some((version, name.clone(), Some(last.name.clone())));
            }
            let candidate = |file: File| Candidate {
                last_used: file.created.max(self.artifacts.uses.last(file.id).unwrap_or(0)),
                owner: owner.clone(),
                package: package.clone(),
                version: name.clone(),
                file,
            };
            return Ok(Some(files.into_iter().map(candidate).collect()));
        }
        match self.versions.pop_front() {
            Some((version, name)) => {
                if self.artifacts.store.pin(version)?.is_none() {
                    self.version = Some((version, name.into(), None));
                }
            }
            None => {
                self.versions = self
                    .artifacts
                    .store
                    .newest_versions(package.id, before, VERSIONS)?
                    .into();
                self.package = self.versions.back().map(|(last, _)| (package, Some(*last)));
            }
        }
        Ok(Some(Vec::new()))
    }

    fn next_package(&mut self, owner: &Account) -> Result<(), StoreError> {
        if self.packages.is_empty() {
            let after = self.after_package.as_deref();
            self.packages = self.artifacts.store.packages(owner.id, after, PACKAGES)?.into();
            self.after_package = self.packages.back().map(|last| last.name.clone());
        }
        match self.packages.pop_front() {
            None => {
                self.owners.pop_front();
            }
            Some(package) if self.artifacts.policy(owner, &package.name)? == Policy::Cache => {
                self.package = Some((Arc::new(package), None));
            }
            Some(_) => {}
        }
        Ok(())
    }
}

impl Artifacts {
    /// A walk over what may be evicted of these owners.
    pub fn scan(&self, owners: impl IntoIterator<Item = Account>) -> Scan {
        Scan {
            artifacts: self.clone(),
            owners: owners.into_iter().map(Arc::new).collect(),
            after_package: None,
            packages: VecDeque::new(),
            package: None,
            versions: VecDeque::new(),
            version: None,
        }
    }

    /// Evicts a file, unless it was used, replaced, removed or its version pinned since it was looked up: then false.
    /// Durable on return.
    pub async fn evict(&self, candidate: &Candidate) -> Result<bool, ArtifactError> {
        if self.uses.last(candidate.file.id) > Some(candidate.last_used) {
            return Ok(false);
        }
        let at = FileName {
            package: candidate.package.name.clone(),
            version: candidate.version.to_string(),
            file: candidate.file.name.clone(),
        };
        let (owner, file) = (candidate.owner.id, candidate.file.id);
        spared(self.owners.evict_file(owner, at, file).await)
    }

    /// Owners that hold more bytes than their budget, with what they hold and their budget: it is a tenth below their
    /// quota, which nothing may exceed, or lower still where an upload has just found too little room.
    ///
    /// # Errors
    /// Where the index cannot be asked.
    pub fn over_budget(&self) -> Result<Vec<(Account, u64, u64)>, ArtifactError> {
        let refused = self.cache_pressure.take_refused();
        let mut over = Vec::new();
        for owner in self.store.accounts()? {
            let limits = self.rules.limits(&self.store.settings(owner.id)?);
            let Some(quota) = limits.bytes else { continue };
            // What is larger than all of the quota finds no room, whatever goes.
            let wanted = refused.get(&owner.id).copied().filter(|wanted| *wanted <= quota);
            let budget = quota - (quota / HEADROOM).max(wanted.unwrap_or(0));
            let held = self.store.totals(Holder::Owner(owner.id))?.bytes;
            if held > budget {
                over.push((owner, held, budget));
            }
        }
        Ok(over)
    }

    /// Whether a file was published in some cache, or refused there, since this was last asked.
    pub fn has_grown(&self) -> bool {
        self.cache_pressure.grew.swap(false, Ordering::Relaxed)
    }
}

/// What uploads to caches tell eviction: owners may be above their budgets.
#[derive(Debug, Default)]
pub struct CachePressure {
    grew: AtomicBool,
    /// The largest upload of each owner that was refused for want of room.
    refused: Mutex<HashMap<Id, u64>>,
}

impl CachePressure {
    /// A file was published.
    pub fn grew(&self) {
        // Many publish, and the line stays shared.
        if !self.grew.load(Ordering::Relaxed) {
            self.grew.store(true, Ordering::Relaxed);
        }
    }

    /// An upload of so many bytes would have exceeded the owner's quota.
    pub fn refused(&self, owner: Id, bytes: u64) {
        let mut refused = self.refused.lock().unwrap_or_else(PoisonError::into_inner);
        let largest = refused.entry(owner).or_default();
        *largest = bytes.max(*largest);
        drop(refused);
        self.grew();
    }

    fn take_refused(&self) -> HashMap<Id, u64> {
        std::mem::take(&mut *self.refused.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Bytes by how long they have been idle: exact up to 32 seconds, then in steps of 3 to 6 %.
#[derive(Clone, Debug)]
pub struct Ages {
    bytes: Vec<u64>,
}

impl Default for Ages {
    fn default() -> Self {
        Ages {
            bytes: vec![0; STEPS],
        }
    }
}

impl Ages {
    /// Counts bytes that have been idle for so many seconds.
    pub fn add(&mut self, idle: u64, bytes: u64) {
        if let Some(sum) = self.bytes.get_mut(step_of(idle)) {
            *sum = sum.saturating_add(bytes);
        }
    }

    /// All that was counted.
    pub fn total(&self) -> u64 {
        self.bytes.iter().fold(0, |sum, bytes| sum.saturating_add(*bytes))
    }

    /// From how many idle seconds on everything has to go for `wanted` bytes to go: the longest time that is enough;
    /// if all together are not, `None`.
    pub fn threshold(&self, wanted: u64) -> Option<u64> {
        let mut sum = 0_u64;
        for (step, bytes) in self.bytes.iter().enumerate().rev() {
            sum = sum.saturating_add(*bytes);
            if sum >= wanted && *bytes > 0 {
                return Some(begin_of(step));
            }
        }
        None
    }
}

/// The step that an age falls into.
fn step_of(idle: u64) -> usize {
    // By how much an age is cut to leave a number below 32, of which the upper half is not known from smaller ages.
    let cut = u64::from(idle.max(1).ilog2().saturating_sub(PARTS.ilog2()));
    let step = cut * PARTS + (idle >> cut);
    usize::try_from(step).unwrap_or(usize::MAX).min(STEPS - 1)
}

/// The least age of a step.
fn begin_of(step: usize) -> u64 {
    let step = step as u64;
    match (step / PARTS).saturating_sub(1) {
        0 => step,
        cut => (PARTS + step % PARTS) << cut,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn steps_are_narrow_and_in_order(idle in 0_u64..1 << 34) {
            let begin = begin_of(step_of(idle));
            prop_assert!(begin <= idle && idle - begin <= idle / 16, "{idle} is in the step from {begin} on");
            prop_assert!(idle >= EXACT || begin == idle);
            prop_assert!(step_of(idle + 1) - step_of(idle) <= 1);
        }

        /// What is at least as old as the threshold is enough, and without its youngest step it is not.
        #[test]
        fn the_threshold_is_the_oldest_that_is_enough(
            files in prop::collection::vec((0_u64..100_000, 1_u64..1000), 1..50), wanted in 1_u64..30_000
        ) {
            let mut ages = Ages::default();
            files.iter().for_each(|(idle, bytes)| ages.add(*idle, *bytes));
            let from = |least: u64| -> u64 {
                files.iter().filter(|(idle, _)| *idle >= least).map(|(_, bytes)| bytes).sum()
            };
            match ages.threshold(wanted) {
                Some(threshold) => {
                    prop_assert!(from(threshold) >= wanted);
                    prop_assert!(from(begin_of(step_of(threshold) + 1)) < wanted);
                }
                None => prop_assert!(ages.total() < wanted && ages.total() == from(0)),
            }
        }
    }

    #[test]
    fn any_age_has_a_step() {
        assert_eq!(step_of(u64::MAX), STEPS - 1);
        let mut ages = Ages::default();
        ages.add(u64::MAX, u64::MAX);
        ages.add(0, 5);
        assert_eq!(ages.total(), u64::MAX);
        assert_eq!(ages.threshold(u64::MAX), Some(begin_of(STEPS - 1)));
    }
}
