//! What is set for an owner in place of the configuration, and what it holds beside its limits.

use super::{ArtifactError, Artifacts};
use crate::owner::Limits;
use crate::owner::rules::{BadPolicies, check_policies};
use crate::store::change::{Change, CommitError};
use crate::store::model::{Account, Holder, Limit, OwnerSettings, PackagePolicy, Policy, Totals};
use crate::telemetry::audit::set_fields;

/// How often a change that others got ahead of is made anew.
const ATTEMPTS: usize = 64;

/// What is to be set for an owner: `None` stays as it is, `Some(None)` is cleared.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SettingsEdit {
    /// The policy of packages that `policies` does not mean.
    pub policy: Option<Option<Policy>>,
    /// Policies of some packages; all of them, empty for none.
    pub policies: Option<Vec<PackagePolicy>>,
    /// Most bytes of all files together.
    pub max_bytes: Option<Option<Limit>>,
    /// Most versions.
    pub max_versions: Option<Option<Limit>>,
    /// Most bytes of one file.
    pub max_file_size: Option<Option<Limit>>,
}

/// Why settings were not changed.
#[derive(Debug, thiserror::Error)]
pub enum SettingsError {
    /// Policies that cannot be set.
    #[error(transparent)]
    BadPolicies(#[from] BadPolicies),
    /// The store could not say or do it.
    #[error(transparent)]
    Failed(#[from] ArtifactError),
}

/// An owner, what is set for it, what follows from that, and what it holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Governed {
    /// What is set.
    pub settings: OwnerSettings,
    /// What holds, the configuration included.
    pub limits: Limits,
    /// What the owner holds.
    pub used: Totals,
}

/// What an owner holds beside what it may hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Held {
    /// Its name.
    pub owner: String,
    /// What it holds.
    pub used: Totals,
    /// What it may hold, the configuration included.
    pub limits: Limits,
}

impl SettingsEdit {
    /// Names of the fields that it sets or clears, as the API calls them.
    pub fn fields(&self) -> Vec<&'static str> {
        set_fields([
            (self.policy.is_some(), "policy"),
            (self.policies.is_some(), "policies"),
            (self.max_bytes.is_some(), "max_bytes"),
            (self.max_versions.is_some(), "max_versions"),
            (self.max_file_size.is_some(), "max_file_size"),
        ])
    }

    fn applied(&self, before: &OwnerSettings) -> OwnerSettings {
        OwnerSettings {
            policy: self.policy.unwrap_or(before.policy),
            policies: self.policies.clone().unwrap_or_else(|| before.policies.clone()),
            max_bytes: self.max_bytes.unwrap_or(before.max_bytes),
            max_versions: self.max_versions.unwrap_or(before.max_versions),
            max_file_size: self.max_file_size.unwrap_or(before.max_file_size),
        }
    }
}

impl Artifacts {
    /// What is set for an owner, and what it holds.
    pub fn governed(&self, owner: &Account) -> Result<Governed, ArtifactError> {
        let settings = self.store.settings(owner.id)?;
        Ok(Governed {
            limits: self.rules.limits(&settings),
            used: self.store.totals(Holder::Owner(owner.id))?,
            settings,
        })
    }

    /// The `count` owners that hold the most bytes, the largest first. Reads one small entry for each owner that holds
    /// anything: for a scrape now and then, not for every request.
    pub fn largest_owners(&self, count: usize) -> Result<Vec<Held>, ArtifactError> {
        let mut largest = Vec::new();
        for (id, used) in self.store.largest_owners(count)? {
            // One that was removed since then is left out.
            let Some(owner) = self.store.account_by_id(id)? else {
                continue;
            };
            largest.push(Held {
                owner: owner.name,
                used,
                limits: self.rules.limits(&self.store.settings(id)?),
            });
        }
        Ok(largest)
    }

    /// Sets something for an owner. Durable when this returns, and from then on every publication is decided by it.
    ///
    /// # Errors
    /// `BadPolicies` where a policy names no packages, or there are too many.
    pub async fn change_settings(&self, owner: &Account, edit: &SettingsEdit) -> Result<(), SettingsError> {
        check_policies(edit.policies.as_deref().unwrap_or_default())?;
        for _ in 0..ATTEMPTS {
            let expect = self.store.settings(owner.id).map_err(ArtifactError::from)?;
            let settings = edit.applied(&expect);
            if settings == expect {
                return Ok(());
            }
            let change = Change::PutSettings {
                owner: owner.id,
                expect,
                settings,
            };
            match self.store.commit(change).settled().await {
                Err(CommitError::Conflict) => {}
                settled => return Ok(settled.map_err(ArtifactError::from)?),
            }
        }
        Err(ArtifactError::from(CommitError::Conflict).into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_edit_changes_what_it_names() {
        let before = OwnerSettings {
            policy: Some(Policy::Cache),
            policies: vec![PackagePolicy {
                packages: "a*".into(),
                policy: Policy::Release,
            }],
            max_bytes: Some(Limit::AtMost(1)),
            max_versions: Some(Limit::AtMost(2)),
            max_file_size: None,
        };
        assert_eq!(SettingsEdit::default().applied(&before), before);
        let edit = SettingsEdit {
            policy: Some(None),
            max_bytes: Some(Some(Limit::Unlimited)),
            max_file_size: Some(Some(Limit::AtMost(3))),
            ..SettingsEdit::default()
        };
        let expected = OwnerSettings {
            policy: None,
            max_bytes: Some(Limit::Unlimited),
            max_file_size: Some(Limit::AtMost(3)),
            ..before.clone()
        };
        assert_eq!(edit.applied(&before), expected);
        let cleared = SettingsEdit {
            policies: Some(Vec::new()),
            ..SettingsEdit::default()
        };
        assert!(cleared.applied(&before).policies.is_empty());
    }
}
