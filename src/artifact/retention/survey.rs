//! Goes over all versions of an owner, in steps of bounded work and memory, and judges each.

use std::collections::VecDeque;
use std::sync::Arc;

use super::decide::{Facts, Judge, Verdict};
use super::rules::Rules;
use crate::artifact::last_uses::LastUses;
use crate::store::Store;
use crate::store::error::StoreError;
use crate::store::model::{Account, Id, Millis, Package, Version};

/// Packages that are looked up at a time.
const PACKAGES: usize = 64;
/// Versions that are looked up and judged in a step.
const VERSIONS: usize = 256;

/// A version and what becomes of it.
#[derive(Clone, Debug)]
pub struct Judged {
    /// The package.
    pub package: Arc<Package>,
    /// The version.
    pub version: Version,
    /// When a file of it was last asked for, as far as is known.
    pub last_used: Option<Millis>,
    /// What becomes of it.
    pub verdict: Verdict,
}

/// A walk over the versions of one owner: package by package, each from its newest version to its oldest.
#[derive(Debug)]
pub struct Survey {
    store: Store,
    uses: Arc<LastUses>,
    owner: Account,
    rules: Arc<Rules>,
    now: Millis,
    packages: VecDeque<Package>,
    /// The last package that was looked up.
    after: Option<String>,
    current: Option<Current>,
}

/// The package that the walk is in.
#[derive(Debug)]
struct Current {
    package: Arc<Package>,
    /// How many versions each of its rules has met.
    met: Vec<u32>,
    /// The last version that was looked up.
    before: Option<Id>,
}

impl Survey {
    /// Before the first version. Versions that are published later may be left out.
    pub(super) fn new(
        store: Store,
        uses: Arc<LastUses>,
        owner: Account,
        rules: Arc<Rules>,
        now: Millis,
    ) -> Self {
        Survey {
            store,
            uses,
            owner,
            rules,
            now,
            packages: VecDeque::new(),
            after: None,
            current: None,
        }
    }

    /// The next versions, perhaps none; `None` at the end. Blocks, for moments.
    ///
    /// # Errors
    /// Where the index cannot be asked; the walk goes on where it was.
    pub fn step(&mut self) -> Result<Option<Vec<Judged>>, StoreError> {
        let Some(Current { package, met, before }) = self.current.take() else {
            return self.next_package();
        };
        let names = match self.store.newest_versions(package.id, before, VERSIONS) {
            Ok(names) => names,
            Err(error) => {
                self.current = Some(Current { package, met, before });
                return Err(error);
            }
        };
        let Some((last, _)) = names.last() else {
            return Ok(Some(Vec::new()));
        };
        let last = *last;
        let (judged, met) = self.judge(&package, met, names)?;
        self.current = Some(Current {
            package,
            met,
            before: Some(last),
        });
        Ok(Some(judged))
    }

    fn judge(
        &self,
        package: &Arc<Package>,
        met: Vec<u32>,
        names: Vec<(Id, String)>,
    ) -> Result<(Vec<Judged>, Vec<u32>), StoreError> {
        let rules = self.rules.of_package(&self.owner.name, &package.name);
        let mut judge = Judge::new(rules, met, self.now);
        let mut judged = Vec::with_capacity(names.len());
        for (_, name) in names {
            // One that was removed since it was listed is left out.
            let Some(version) = self.store.version(package, &name)? else {
                continue;
            };
            let last_used = self.uses.last(version.id);
            let verdict = judge.judge(Facts {
                name: &version.name,
                created: version.created,
                last_used,
                is_pinned: self.store.pin(version.id)?.is_some(),
            });
            judged.push(Judged {
                package: package.clone(),
                version,
                last_used,
                verdict,
            });
        }
        Ok((judged, judge.into_met()))
    }

    fn next_package(&mut self) -> Result<Option<Vec<Judged>>, StoreError> {
        if self.packages.is_empty() {
            self.packages = self
                .store
                .packages(self.owner.id, self.after.as_deref(), PACKAGES)?
                .into();
            self.after = self.packages.back().map(|last| last.name.clone());
        }
        let Some(package) = self.packages.pop_front() else {
            return Ok(None);
        };
        self.current = Some(Current {
            package: Arc::new(package),
            met: Vec::new(),
            before: None,
        });
        Ok(Some(Vec::new()))
    }
}
