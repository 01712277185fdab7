//! What happens to a name that is taken.

use serde::{Deserialize, Serialize};

/// A policy (API.md §5).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Policy {
    /// A version is published once, with one file.
    #[default]
    Release,
    /// New files join a version; a file is published once.
    Package,
    /// New files join; the same bytes again are fine, other bytes are refused.
    WriteOnce,
    /// New files join; a file is replaced; may be evicted.
    Cache,
}

impl Policy {
    /// Whether version and file names are keys that must match exactly.
    pub fn exact_case(self) -> bool {
        matches!(self, Policy::WriteOnce | Policy::Cache)
    }
}

/// Which policy holds for which package: the most specific pattern wins.
#[derive(Clone, Debug, Default)]
pub struct PolicyTable {}

/// A pattern that is not `owner/package-glob`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct PatternError(pub String);

impl PolicyTable {
    /// Builds the table from `(pattern, policy)` in the order of the configuration.
    pub fn new(rules: &[(String, Policy)]) -> Result<Self, PatternError> {
        let _ = rules;
        todo!()
    }

    /// The policy of a package.
    pub fn policy(&self, owner: &str, package: &str) -> Policy {
        let _ = (owner, package);
        todo!()
    }
}
