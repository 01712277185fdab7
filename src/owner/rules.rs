//! What governs an owner's packages: what is set on the owner, else what the configuration says.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwap;

use super::pattern::PatternError;
use super::policy::{Policy, PolicyTable};
use super::quota::Limits;
use crate::store::model::{Id, OwnerSettings, PackagePolicy};

/// Most policies of packages that can be set on one owner: its settings must stay small in the index.
pub const MAX_POLICIES: usize = 64;
/// Longest name or glob of one of them, in bytes,
pub const MAX_PATTERN: usize = 255;
/// and of all together.
pub const MAX_PATTERNS: usize = 3072;
/// Owners whose patterns are kept ready.
const KEPT: usize = 1024;

/// The rules of a server.
#[derive(Debug, Default)]
pub struct Rules {
    /// May be exchanged while the server runs.
    configured: ArcSwap<Configured>,
    ready: Mutex<HashMap<Id, Arc<Ready>>>,
}

#[derive(Debug, Default)]
struct Configured {
    policies: PolicyTable,
    limits: Limits,
}

/// Set policies, made ready to be asked.
#[derive(Debug)]
struct Ready {
    policies: Vec<PackagePolicy>,
    table: PolicyTable,
}

/// Settings that cannot be set. The text names the entry and says what is allowed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadPolicies {
    /// More than [`MAX_POLICIES`].
    #[error("policies must have at most {MAX_POLICIES} entries, not {0}")]
    TooMany(usize),
    /// More than [`MAX_PATTERN`].
    #[error("policies[{entry}].packages must have at most {MAX_PATTERN} bytes, not {bytes}")]
    TooLong {
        /// Which.
        entry: usize,
        /// How long it is.
        bytes: usize,
    },
    /// More than [`MAX_PATTERNS`].
    #[error("the packages of all policies must have at most {MAX_PATTERNS} bytes together, not {0}")]
    TooLongTogether(usize),
    /// Not a name or glob.
    #[error(
        "policies[{entry}].packages must be a package's name or a glob like \"app-*\", without the owner: {why}"
    )]
    Pattern {
        /// Which.
        entry: usize,
        /// What is wrong with it.
        why: PatternError,
    },
}

impl Rules {
    /// What the configuration says: policies by pattern, and the limits of every owner.
    pub fn new(policies: PolicyTable, limits: Limits) -> Self {
        Rules {
            configured: ArcSwap::from_pointee(Configured { policies, limits }),
            ready: Mutex::default(),
        }
    }

    /// The configuration says something else from now on.
    pub fn configure(&self, policies: PolicyTable, limits: Limits) {
        self.configured.store(Arc::new(Configured { policies, limits }));
    }

    /// The policy of a package of an owner for whom this is set.
    pub fn policy(&self, (id, name): (Id, &str), settings: &OwnerSettings, package: &str) -> Policy {
        let among_set = match settings.policies.is_empty() {
            true => None,
            false => self.ready(id, settings).table.find(&id.to_string(), package),
        };
        among_set
            .or(settings.policy)
            .unwrap_or_else(|| self.configured.load().policies.policy(name, package))
    }

    /// The limits of an owner for whom this is set.
    pub fn limits(&self, settings: &OwnerSettings) -> Limits {
        self.configured.load().limits.unless_set(settings)
    }

    /// Patterns are compiled once, until others are set.
    fn ready(&self, owner: Id, settings: &OwnerSettings) -> Arc<Ready> {
        let lock = || self.ready.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(ready) = lock().get(&owner)
            && ready.policies == settings.policies
        {
            return ready.clone();
        }
        let table = table(owner, &settings.policies).unwrap_or_else(|error| {
            tracing::error!(owner, %error, "policies set on an owner cannot be used");
            PolicyTable::default()
        });
        let ready = Arc::new(Ready {
            policies: settings.policies.clone(),
            table,
        });
        let mut kept = lock();
        if kept.len() >= KEPT {
            kept.clear();
        }
        kept.insert(owner, ready.clone());
        ready
    }
}

/// Whether these policies can be set on an owner.
///
/// # Errors
/// With the first entry that cannot.
pub fn check_policies(policies: &[PackagePolicy]) -> Result<(), BadPolicies> {
    if policies.len() > MAX_POLICIES {
        return Err(BadPolicies::TooMany(policies.len()));
    }
    for (entry, PackagePolicy { packages, .. }) in policies.iter().enumerate() {
        if packages.len() > MAX_PATTERN {
            let bytes = packages.len();
            return Err(BadPolicies::TooLong { entry, bytes });
        }
        super::pattern::check_package(packages).map_err(|why| BadPolicies::Pattern { entry, why })?;
    }
    match policies.iter().map(|policy| policy.packages.len()).sum() {
        ..=MAX_PATTERNS => Ok(()),
        bytes => Err(BadPolicies::TooLongTogether(bytes)),
    }
}

/// The same order of precedence as in the configuration; the owner of every pattern is the one it is set on.
fn table(owner: Id, policies: &[PackagePolicy]) -> Result<PolicyTable, PatternError> {
    let rules: Vec<_> = policies
        .iter()
        .map(|set| (format!("{owner}/{}", set.packages), set.policy))
        .collect();
    PolicyTable::new(&rules)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use Policy::{Cache, Package, Release, WriteOnce};

    const CI: (Id, &str) = (7, "ci");

    fn rules() -> Rules {
        let configured = [("ci/app".to_owned(), Cache), ("*/*".to_owned(), WriteOnce)];
        Rules::new(PolicyTable::new(&configured).unwrap(), Limits::default())
    }

    fn set(policy: Option<Policy>, policies: &[(&str, Policy)]) -> OwnerSettings {
        let set = |(packages, policy): &(&str, Policy)| PackagePolicy {
            packages: (*packages).to_owned(),
            policy: *policy,
        };
        OwnerSettings {
            policy,
            policies: policies.iter().map(set).collect(),
            ..OwnerSettings::default()
        }
    }

    #[test]
    fn what_is_set_on_the_owner_beats_the_configuration() {
        let rules = rules();
        let policy = |settings: &OwnerSettings, package| rules.policy(CI, settings, package);
        let nothing = set(None, &[]);
        assert_eq!(
            (policy(&nothing, "app"), policy(&nothing, "x")),
            (Cache, WriteOnce)
        );
        // Even where the configuration names the package.
        let all = set(Some(Release), &[]);
        assert_eq!((policy(&all, "app"), policy(&all, "x")), (Release, Release));
        let some = set(None, &[("x*", Package)]);
        assert_eq!((policy(&some, "app"), policy(&some, "X1")), (Cache, Package));
        let both = set(Some(Release), &[("x*", Package), ("x1", Cache)]);
        assert_eq!(policy(&both, "app"), Release);
        assert_eq!((policy(&both, "x2"), policy(&both, "x1")), (Package, Cache));
    }

    #[test]
    fn other_settings_count_at_once_and_for_their_owner_only() {
        let rules = rules();
        for policy in [Package, Cache, Release, Package] {
            assert_eq!(rules.policy(CI, &set(None, &[("x", policy)]), "x"), policy);
            assert_eq!(rules.policy((8, "co"), &set(None, &[("x", Cache)]), "x"), Cache);
        }
        for owner in 0..2 * KEPT as Id {
            let settings = set(None, &[("x", Cache)]);
            assert_eq!(rules.policy((owner, "any"), &settings, "x"), Cache);
        }
        assert!(rules.ready.lock().unwrap().len() <= KEPT);
    }

    #[test]
    fn what_cannot_be_set_is_named() {
        let check = |patterns: &[&str]| {
            let policies: Vec<_> = patterns.iter().map(|pattern| (*pattern, Cache)).collect();
            check_policies(&set(None, &policies).policies).map_err(|error| error.to_string())
        };
        assert_eq!(check(&["app", "a*", "{x,y}-[0-9]?"]), Ok(()));
        let long = "a".repeat(MAX_PATTERN + 1);
        for (patterns, text) in [
            (vec!["x"; 65], "at most 64 entries, not 65"),
            (
                vec!["x", &long],
                "policies[1].packages must have at most 255 bytes, not 256",
            ),
            (vec![&long[1..]; 13], "at most 3072 bytes together, not 3315"),
            (
                vec![""],
                "policies[0].packages must be a package's name or a glob like",
            ),
            (vec!["x", "ci/app"], "policies[1].packages must be"),
            (vec!["a b"], "white space"),
            (vec!["a["], "unclosed"),
        ] {
            let error = check(&patterns).unwrap_err();
            assert!(error.contains(text), "{error}");
        }
    }

    /// The worst patterns that can be set compile, and match in time that grows with their length only.
    #[test]
    fn no_pattern_is_a_trap() {
        let rules = rules();
        for pattern in ["?", "[!a]", "*a", "{a,b}", "{a*,{b?,[!c]}}", "\\*"] {
            let pattern = pattern.repeat(MAX_PATTERN / pattern.len());
            let settings = set(None, &[(&pattern, Cache)]);
            check_policies(&settings.policies).unwrap();
            rules.policy(CI, &settings, &"a".repeat(255));
        }
    }
}
