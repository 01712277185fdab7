//! What a token is narrowed to, made ready to be asked.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use super::permission::Action;
use super::{AccountError, locked};
use crate::owner::Pattern;
use crate::store::model::{Grant, Id, Token};

/// Most grants of one token: its value must stay small in the index.
pub(super) const MAX_GRANTS: usize = 16;
/// Longest pattern of a grant in bytes.
const MAX_PATTERN: usize = 200;
/// Narrowed tokens whose patterns are kept ready.
const KEPT: usize = 1024;

/// The grants of a narrowed token.
#[derive(Clone, Debug)]
pub struct Grants(Arc<[(Pattern, bool)]>);

impl Grants {
    /// Reads stored grants.
    ///
    /// # Errors
    /// `BadGrants` where there are too many, or one has no pattern in it.
    pub(super) fn new(grants: &[Grant]) -> Result<Self, AccountError> {
        if grants.len() > MAX_GRANTS {
            return Err(AccountError::BadGrants(format!(
                "a token has at most {MAX_GRANTS} grants, not {}",
                grants.len()
            )));
        }
        let ready: Result<Arc<[_]>, AccountError> = grants.iter().enumerate().map(ready).collect();
        ready.map(Grants)
    }

    /// What several rules grant together.
    #[cfg_attr(not(feature = "oidc"), allow(dead_code))]
    pub(super) fn of_rules(granted: Vec<(Pattern, bool)>) -> Self {
        Grants(granted.into())
    }

    /// Whether they cover this action on a package; without one, on everything that the owner has.
    pub(super) fn cover(&self, owner: &str, package: Option<&str>, action: Action) -> bool {
        self.0.iter().any(|(pattern, write)| {
            let means = match package {
                Some(package) => pattern.matches(owner, package),
                None => pattern.matches_all_of(owner),
            };
            means && (*write || !action.writes())
        })
    }
}

fn ready((n, grant): (usize, &Grant)) -> Result<(Pattern, bool), AccountError> {
    if grant.packages.len() > MAX_PATTERN {
        return Err(AccountError::BadGrants(format!(
            "grants[{n}].packages must have at most {MAX_PATTERN} bytes, not {}",
            grant.packages.len()
        )));
    }
    let bad = |error| AccountError::BadGrants(format!("grants[{n}].packages: {error}"));
    let pattern = Pattern::new(&grant.packages).map_err(bad)?;
    Ok((pattern, grant.write))
}

/// The grants of tokens seen lately. Those of a token never change, so none has to be forgotten in time.
#[derive(Default)]
pub(super) struct KnownGrants(Mutex<HashMap<Id, Grants>>);

impl KnownGrants {
    /// The grants of a token; `None` for one that is not narrowed.
    pub(super) fn of(&self, token: &Token) -> Result<Option<Grants>, AccountError> {
        if token.grants.is_empty() {
            return Ok(None);
        }
        if let Some(known) = locked(&self.0).get(&token.id) {
            return Ok(Some(known.clone()));
        }
        let grants = Grants::new(&token.grants)?;
        let mut known = locked(&self.0);
        if known.len() >= KEPT {
            known.clear();
        }
        known.insert(token.id, grants.clone());
        Ok(Some(grants))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn grants(grants: &[(&str, bool)]) -> Result<Grants, AccountError> {
        let grants: Vec<_> = grants
            .iter()
            .map(|(packages, write)| Grant {
                packages: (*packages).to_owned(),
                write: *write,
            })
            .collect();
        Grants::new(&grants)
    }

    #[test]
    fn a_grant_covers_what_its_pattern_means() {
        let grants = grants(&[("ci/*", false), ("ci/app-*", true)]).unwrap();
        for (package, action, covered) in [
            (Some("app-x"), Action::Write, true),
            (Some("APP-x"), Action::Delete, true),
            (Some("lib"), Action::Read, true),
            (Some("lib"), Action::Write, false),
            (None, Action::List, true),
            (None, Action::Write, false),
        ] {
            assert_eq!(
                grants.cover("CI", package, action),
                covered,
                "{package:?} {action:?}"
            );
        }
        assert!(!grants.cover("other", Some("app-x"), Action::Read));
    }

    #[test]
    fn what_is_no_grant_is_named() {
        for bad in ["ci", "ci/a[", "a/b/c", &format!("ci/{}", "a".repeat(200))] {
            let error = grants(&[(bad, true)]).unwrap_err();
            assert_eq!(error.code(), "bad-grants", "{bad}");
        }
        assert_eq!(grants(&[("ci/*", true); 17]).unwrap_err().code(), "bad-grants");
    }
}
