//! Retention: which versions of an owner stay, which go, and when.
//!
//! [`decide`] says it, for the preview as for the pass that removes. The rules are the owner's own, which are kept in
//! the log, or else those of the configuration.

pub mod decide;
mod preview;
pub mod rules;
pub mod survey;

use std::sync::Arc;

use tokio::sync::watch;

use super::{ArtifactError, Artifacts};
use crate::owner::OwnerError;
use crate::owner::decide::Refusal;
use crate::store::change::{Change, CommitError};
use crate::store::error::StoreError;
use crate::store::log::record::OwnerRules;
use crate::store::model::{Account, Millis, RetentionRule};
pub use preview::{Preview, Tally};
pub use rules::{RuleError, Rules};
pub use survey::{Judged, Survey};

/// Who wrote the rules that count for an owner.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// They were set for the owner.
    Owner,
    /// The configuration's, as none were set.
    Configuration,
}

/// Passes that are asked for by hand: who asks raises the number, who makes passes watches it.
#[derive(Clone, Debug)]
pub struct Wanted(Arc<watch::Sender<u64>>);

impl Default for Wanted {
    fn default() -> Self {
        Wanted(Arc::new(watch::Sender::new(0)))
    }
}

impl Wanted {
    /// Asks for a pass; returns how often one has been asked for.
    pub fn ask(&self) -> u64 {
        let mut number = 0;
        self.0.send_modify(|asked| {
            *asked += 1;
            number = *asked;
        });
        number
    }

    /// Sees each request, or several as one.
    pub fn watch(&self) -> watch::Receiver<u64> {
        self.0.subscribe()
    }
}

impl Artifacts {
    /// The rules that count for an owner, and who wrote them.
    ///
    /// # Errors
    /// Where the index cannot be asked, or what is stored is not understood: then nothing is removed.
    pub fn retention_rules(&self, owner: &Account) -> Result<(Arc<Rules>, Source), ArtifactError> {
        match self.store.retention_rules(owner.id)? {
            None => Ok((self.retention.load_full(), Source::Configuration)),
            Some(given) => match Rules::of_owner(&owner.name, given) {
                Ok(rules) => Ok((Arc::new(rules), Source::Owner)),
                Err(error) => {
                    let what = format!("the stored rules of {} are not understood: {error}", owner.name);
                    Err(StoreError::Foreign(what).into())
                }
            },
        }
    }

    /// Gives an owner rules of its own, perhaps none at all, or takes them away again. Durable on return.
    ///
    /// # Errors
    /// `NoOwner` where the account is gone by now.
    pub async fn set_retention_rules(
        &self,
        owner: &Account,
        rules: Option<&Rules>,
    ) -> Result<(), ArtifactError> {
        self.check_writes()?;
        let given = rules.map(|rules| rules.given().cloned().collect::<Vec<RetentionRule>>());
        let change = Change::PutRules(OwnerRules {
            owner: owner.id,
            rules: given,
        });
        match self.store.commit(change).settled().await {
            Err(CommitError::Conflict) => Err(ArtifactError::NoOwner),
            settled => Ok(settled?),
        }
    }

    /// A walk over all versions of an owner under these rules.
    pub fn survey(&self, owner: &Account, rules: Arc<Rules>, now: Millis) -> Survey {
        Survey::new(self.store.clone(), self.uses.clone(), owner.clone(), rules, now)
    }

    /// Removes a version that has been judged by `rules`, unless it was pinned, removed or replaced meanwhile, or
    /// used and the rule asks for that: then false, and the next pass judges anew. Durable on return.
    pub async fn retire(
        &self,
        owner: &Account,
        rules: &Rules,
        judged: &Judged,
    ) -> Result<bool, ArtifactError> {
        let (package, version) = (&judged.package.name, &judged.version);
        if self.uses.last(version.id) > judged.last_used && rules.ask_for_uses(&judged.verdict) {
            return Ok(false);
        }
        spared(self.owners.retire_version(owner.id, package, version).await)
    }

    /// Passes of retention that are asked for by hand.
    pub fn wanted_retention(&self) -> &Wanted {
        &self.wanted_retention
    }
}

/// False where something was spared, for it is pinned or no longer what was judged.
pub(super) fn spared(removed: Result<(), OwnerError>) -> Result<bool, ArtifactError> {
    match removed {
        Ok(()) => Ok(true),
        Err(OwnerError::Refused(Refusal::Pinned | Refusal::NoVersion | Refusal::NoFile)) => Ok(false),
        Err(error) => Err(error.into()),
    }
}
