//! A committer in memory, for tests: it keeps the rules of the real one, and can stall and fail on command.

use std::collections::{BTreeMap, HashSet, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;

use super::Options;
use super::names::{FileName, Names, Standing};
use super::policy::{Policy, PolicyTable};
use super::quota::{Limits, decide_quota};
use super::rules::Rules;
use crate::chunk::Digest;
use crate::store::change::{Change, CommitError, Expected, Publish};
use crate::store::error::StoreError;
use crate::store::model::{File, Id, OwnerSettings, Package, Totals, Version};
use crate::store::ticket::{Outcome, Settle, Ticket, ticket};
use crate::store::upload::{Content, NewBlob};

/// The owner of everything in these tests.
pub const OWNER: Id = 1;

/// Names as a committer sees them: the sequential truth.
#[derive(Clone, Debug, Default)]
pub struct Committed {
    packages: BTreeMap<String, Package>,
    versions: BTreeMap<(Id, String), Version>,
    files: BTreeMap<(Id, String), File>,
}

/// A store without bytes.
#[derive(Debug, Default)]
pub struct Fake {
    state: Mutex<State>,
    ids: AtomicU64,
}

#[derive(Debug, Default)]
struct State {
    committed: Committed,
    /// What was committed, in order.
    log: Vec<Change>,
    queue: VecDeque<(Change, Settle)>,
    /// Whether commits are carried out as they come, or by [`Fake::step`].
    manual: bool,
    /// More commits than this do not wait; they are refused at once.
    queue_limit: Option<usize>,
    /// Outcomes for the next commits, in place of success.
    faults: VecDeque<CommitError>,
    damaged: HashSet<Digest>,
    pinned: HashSet<Id>,
    settings: OwnerSettings,
}

impl Fake {
    /// Commits are carried out as they come.
    pub fn prompt() -> Arc<Self> {
        Arc::new(Fake::default())
    }

    /// Commits wait for [`Fake::step`].
    pub fn stalled() -> Arc<Self> {
        let fake = Fake::default();
        fake.state().manual = true;
        Arc::new(fake)
    }

    /// Carries the oldest waiting commit out; `None`: none waits.
    pub fn step(&self) -> Option<Outcome> {
        let mut state = self.state();
        let (change, settle) = state.queue.pop_front()?;
        let outcome = match state.faults.pop_front() {
            Some(fault) => Err(fault),
            None => state.carry_out(change),
        };
        drop(state);
        settle.settle(outcome.clone());
        Some(outcome)
    }

    /// Commits that wait.
    pub fn waiting(&self) -> usize {
        self.state().queue.len()
    }

    /// The next commit that is carried out fails like this.
    pub fn fail_next(&self, fault: CommitError) {
        self.state().faults.push_back(fault);
    }

    pub fn limit_queue(&self, limit: Option<usize>) {
        self.state().queue_limit = limit;
    }

    /// The stored bytes with this digest are known to be damaged.
    pub fn damage(&self, body: &[u8]) {
        self.state().damaged.insert(Digest::of(body));
    }

    /// A version is pinned, whether anybody has looked already or not.
    pub fn pin(&self, version: Id) {
        self.state().pinned.insert(version);
    }

    /// This is set for the owner from now on.
    pub fn set(&self, settings: OwnerSettings) {
        self.state().settings = settings;
    }

    pub fn log_len(&self) -> usize {
        self.state().log.len()
    }

    pub fn take_log(&self) -> Vec<Change> {
        std::mem::take(&mut self.state().log)
    }

    pub fn standing(&self, at: &FileName) -> Standing {
        self.state().committed.standing(at)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn carry_out(&mut self, change: Change) -> Outcome {
        let spared = match &change {
            Change::RemoveFile(remove) if remove.spare_pinned => Some(remove.version.id),
            Change::RemoveVersion(remove) if remove.spare_pinned => Some(remove.version.id),
            _ => None,
        };
        if !self.committed.meets(&change) || spared.is_some_and(|version| self.pinned.contains(&version)) {
            return Err(CommitError::Conflict);
        }
        self.committed.apply(&change);
        self.log.push(change);
        Ok(())
    }
}

impl Names for Fake {
    fn package(&self, owner: Id, name: &str) -> Result<Option<Package>, StoreError> {
        assert_eq!(owner, OWNER);
        Ok(self.state().committed.package(name).cloned())
    }

    fn version(&self, package: &Package, name: &str) -> Result<Option<Version>, StoreError> {
        Ok(self.state().committed.version(package, name).cloned())
    }

    fn file(&self, package: &Package, version: &Version, name: &str) -> Result<Option<File>, StoreError> {
        Ok(self.state().committed.file(package, version, name).cloned())
    }

    fn is_damaged(&self, file: &File) -> Result<bool, StoreError> {
        Ok(self.state().damaged.contains(&file.blob))
    }

    fn is_pinned(&self, version: &Version) -> Result<bool, StoreError> {
        Ok(self.state().pinned.contains(&version.id))
    }

    fn settings(&self, owner: Id) -> Result<OwnerSettings, StoreError> {
        assert_eq!(owner, OWNER);
        Ok(self.state().settings.clone())
    }

    fn held(&self, owner: Id) -> Result<Totals, StoreError> {
        assert_eq!(owner, OWNER);
        Ok(self.state().committed.held())
    }

    fn next_id(&self) -> Id {
        100 + self.ids.fetch_add(1, Ordering::Relaxed)
    }

    fn commit(&self, change: Change) -> Ticket {
        let (settle, ticket) = ticket();
        let mut state = self.state();
        if state.queue_limit.is_some_and(|limit| state.queue.len() >= limit) {
            settle.settle(Err(CommitError::Busy));
        } else {
            state.queue.push_back((change, settle));
        }
        let manual = state.manual;
        drop(state);
        if !manual {
            self.step();
        }
        ticket
    }
}

impl Committed {
    pub fn standing(&self, at: &FileName) -> Standing {
        let package = self.package(&at.package);
        let version = package.and_then(|package| self.version(package, &at.version));
        let file = package
            .zip(version)
            .and_then(|(package, version)| self.file(package, version, &at.file));
        Standing {
            package: package.cloned(),
            version: version.cloned(),
            file: file.cloned(),
        }
    }

    /// Counted anew.
    pub fn held(&self) -> Totals {
        Totals {
            bytes: self.files.values().map(|file| file.size).sum(),
            files: self.files.len() as u64,
            versions: self.versions.len() as u64,
        }
    }

    pub fn apply(&mut self, change: &Change) {
        match change {
            Change::Publish(publish) => {
                let (package, version) = (publish.package.get(), publish.version.get());
                self.packages
                    .insert(package.name.to_ascii_lowercase(), package.clone());
                self.versions
                    .insert((package.id, key(package, &version.name)), version.clone());
                self.files.insert(
                    (version.id, key(package, &publish.file.name)),
                    publish.file.clone(),
                );
            }
            Change::RemoveFile(remove) => {
                let (package, version) = (&remove.package, &remove.version);
                self.files.remove(&(version.id, key(package, &remove.file.name)));
                if !self.files.keys().any(|(id, _)| *id == version.id) {
                    self.drop_version(package, version);
                }
            }
            Change::RemoveVersion(remove) => {
                self.files.retain(|(id, _), _| *id != remove.version.id);
                self.drop_version(&remove.package, &remove.version);
            }
            other => unreachable!("not about names: {other:?}"),
        }
    }

    /// The package goes with its last version.
    fn drop_version(&mut self, package: &Package, version: &Version) {
        self.versions.remove(&(package.id, key(package, &version.name)));
        if !self.versions.keys().any(|(id, _)| *id == package.id) {
            self.packages.remove(&package.name.to_ascii_lowercase());
        }
    }

    /// Whether the change finds what it expects.
    fn meets(&self, change: &Change) -> bool {
        match change {
            Change::Publish(publish) => self.meets_publish(publish),
            Change::RemoveFile(remove) => {
                let file = self.file(&remove.package, &remove.version, &remove.file.name);
                self.has(&remove.package, &remove.version)
                    && file.is_some_and(|file| file.id == remove.file.id)
            }
            Change::RemoveVersion(remove) => self.has(&remove.package, &remove.version),
            other => unreachable!("not about names: {other:?}"),
        }
    }

    fn meets_publish(&self, publish: &Publish) -> bool {
        let package = publish.package.get();
        let version = publish.version.get();
        let package_met = match (&publish.package, self.package(&package.name)) {
            (Expected::Present(expected), Some(found)) => expected.id == found.id,
            (Expected::Absent(_), None) => true,
            _ => false,
        };
        let version_met = match (&publish.version, self.version(package, &version.name)) {
            (Expected::Present(expected), Some(found)) => expected.id == found.id,
            (Expected::Absent(_), None) => true,
            _ => false,
        };
        let current = self.file(package, version, &publish.file.name);
        let standing = Standing {
            package: None,
            version: self.version(package, &version.name).cloned(),
            file: current.cloned(),
        };
        package_met
            && version_met
            && current.map(|file| file.id) == publish.replaces
            && decide_quota(publish.quota, self.held(), &standing, publish.file.size).is_ok()
    }

    fn has(&self, package: &Package, version: &Version) -> bool {
        self.version(package, &version.name)
            .is_some_and(|found| found.id == version.id)
    }

    fn package(&self, name: &str) -> Option<&Package> {
        self.packages.get(&name.to_ascii_lowercase())
    }

    fn version(&self, package: &Package, name: &str) -> Option<&Version> {
        self.versions.get(&(package.id, key(package, name)))
    }

    fn file(&self, package: &Package, version: &Version, name: &str) -> Option<&File> {
        self.files.get(&(version.id, key(package, name)))
    }
}

fn key(package: &Package, name: &str) -> String {
    if package.exact_case {
        name.to_owned()
    } else {
        name.to_ascii_lowercase()
    }
}

/// The name of an owner whose packages have this policy by [`options`].
pub fn owner_with(policy: Policy) -> String {
    format!("{policy:?}")
}

/// Policies that go by the name of the owner.
pub fn options(limits: Limits) -> Options {
    let policies = [Policy::Release, Policy::Package, Policy::WriteOnce, Policy::Cache];
    let configured = policies.map(|policy| (format!("{}/*", owner_with(policy)), policy));
    Options {
        rules: Arc::new(Rules::new(
            PolicyTable::new(&configured).unwrap_or_default(),
            limits,
        )),
        ..Options::default()
    }
}

/// A small body that waits for a name.
pub fn blob(body: &'static [u8]) -> Arc<NewBlob> {
    Arc::new(NewBlob {
        digest: Digest::of(body),
        size: body.len() as u64,
        content: Content::Inline(vec![Bytes::from_static(body)]),
    })
}

pub fn at(package: &str, version: &str, file: &str) -> FileName {
    FileName {
        package: package.into(),
        version: version.into(),
        file: file.into(),
    }
}
