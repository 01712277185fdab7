//! What happens to a name that is taken.

use std::collections::HashMap;

use super::pattern::{Pattern, PatternError, lower};
pub use crate::store::model::Policy;

impl Policy {
    /// Whether version and file names are keys that must match exactly.
    pub fn exact_case(self) -> bool {
        matches!(self, Policy::WriteOnce | Policy::Cache)
    }
}

/// Which policy holds for which package: the most specific pattern wins.
///
/// Names are compared in lower case. A literal owner beats a glob owner, then a literal package beats a glob package,
/// then more literal characters win, then the later entry.
#[derive(Clone, Debug, Default)]
pub struct PolicyTable {
    /// Patterns without a wildcard, by `owner/package`: nothing is more specific.
    literal: HashMap<String, Policy>,
    /// The others, most specific first.
    globs: Vec<(Pattern, Policy)>,
}

impl PolicyTable {
    /// Builds the table from `(pattern, policy)` in the order of the configuration.
    ///
    /// # Errors
    /// For the first pattern that is not two non-empty names or globs with one slash between them.
    pub fn new(rules: &[(String, Policy)]) -> Result<Self, PatternError> {
        let mut table = PolicyTable::default();
        for (pattern, policy) in rules {
            let pattern = Pattern::new(pattern)?;
            match pattern.literal() {
                Some(literal) => drop(table.literal.insert(literal, *policy)),
                None => table.globs.push((pattern, *policy)),
            }
        }
        // The sort is stable: reversed first, the later of two equals comes first.
        table.globs.reverse();
        table
            .globs
            .sort_by_key(|(pattern, _)| std::cmp::Reverse(pattern.specificity()));
        Ok(table)
    }

    /// The policy of a package.
    pub fn policy(&self, owner: &str, package: &str) -> Policy {
        self.find(owner, package).unwrap_or_default()
    }

    /// The policy of a package that some pattern means.
    pub fn find(&self, owner: &str, package: &str) -> Option<Policy> {
        if self.literal.is_empty() && self.globs.is_empty() {
            return None;
        }
        let (owner, package) = (lower(owner), lower(package));
        if !self.literal.is_empty()
            && let Some(policy) = self.literal.get(&format!("{owner}/{package}"))
        {
            return Some(*policy);
        }
        self.globs
            .iter()
            .find(|(pattern, _)| pattern.matches(&owner, &package))
            .map(|(_, policy)| *policy)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn table(rules: &[(&str, Policy)]) -> Result<PolicyTable, PatternError> {
        let rules: Vec<_> = rules.iter().map(|(p, policy)| (p.to_string(), *policy)).collect();
        PolicyTable::new(&rules)
    }

    #[test]
    fn without_a_match_the_policy_is_release() {
        assert_eq!(PolicyTable::default().policy("ci", "app"), Policy::Release);
        let table = table(&[("ci/app", Policy::Cache)]).unwrap();
        assert_eq!(table.policy("ci", "ap"), Policy::Release);
        assert_eq!(table.policy("ci/app", ""), Policy::Release);
    }

    #[test]
    fn names_and_patterns_are_compared_in_lower_case() {
        let table = table(&[("CI/App", Policy::Cache), ("ci/LIB-*", Policy::Package)]).unwrap();
        assert_eq!(table.policy("cI", "aPP"), Policy::Cache);
        assert_eq!(table.policy("ci", "Lib-x"), Policy::Package);
    }

    #[test]
    fn the_most_specific_pattern_wins_whatever_the_order() {
        // From the most to the least specific, by the rule that decides against the next one.
        let ranked = [
            ("ci/app-x", Policy::Cache),    // literal owner, literal package
            ("ci/app*x", Policy::Package),  // more literal characters than the next
            ("ci/app*", Policy::WriteOnce), // literal owner beats a literal package
            ("c*/app-x", Policy::Release),  // literal package beats a glob package
            ("ci*/app-*", Policy::Cache),   // more literal characters
            ("*/app-*", Policy::Package),
            ("*/*", Policy::WriteOnce),
        ];
        for first in 0..ranked.len() {
            let mut rules = ranked[first..].to_vec();
            let expected = rules[0].1;
            assert_eq!(
                table(&rules).unwrap().policy("ci", "app-x"),
                expected,
                "{rules:?}"
            );
            rules.reverse();
            assert_eq!(
                table(&rules).unwrap().policy("ci", "app-x"),
                expected,
                "{rules:?}"
            );
        }
    }

    #[test]
    fn of_equals_the_later_entry_wins() {
        let rules = [("ci/a*", Policy::Cache), ("ci/*a", Policy::Package)];
        assert_eq!(table(&rules).unwrap().policy("ci", "aa"), Policy::Package);
        let rules = [("ci/*a", Policy::Package), ("ci/a*", Policy::Cache)];
        assert_eq!(table(&rules).unwrap().policy("ci", "aa"), Policy::Cache);
        let rules = [("ci/a", Policy::Package), ("CI/A", Policy::Cache)];
        assert_eq!(table(&rules).unwrap().policy("ci", "a"), Policy::Cache);
    }
}
