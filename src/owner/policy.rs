//! What happens to a name that is taken.

use std::borrow::Cow;
use std::collections::HashMap;

use globset::{GlobBuilder, GlobMatcher};
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
///
/// Names are compared in lower case. A literal owner beats a glob owner, then a literal package beats a glob package,
/// then more literal characters win, then the later entry.
#[derive(Clone, Debug, Default)]
pub struct PolicyTable {
    /// Patterns without a wildcard, by `owner/package`: nothing is more specific.
    literal: HashMap<String, Policy>,
    /// The others, most specific first.
    globs: Vec<Rule>,
}

/// A pattern that is not `owner/package-glob`. The text names the pattern.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct PatternError(pub String);

/// A pattern with a wildcard, and what it says.
#[derive(Clone, Debug)]
struct Rule {
    owner: Part,
    package: Part,
    policy: Policy,
}

/// One side of a pattern, in lower case.
#[derive(Clone, Debug)]
enum Part {
    Literal(String),
    Glob { matcher: GlobMatcher, literals: usize },
}

impl PolicyTable {
    /// Builds the table from `(pattern, policy)` in the order of the configuration.
    ///
    /// # Errors
    /// For the first pattern that is not two non-empty names or globs with one slash between them.
    pub fn new(rules: &[(String, Policy)]) -> Result<Self, PatternError> {
        let mut table = PolicyTable::default();
        for (pattern, policy) in rules {
            let (owner, package) = split(pattern)?;
            match (Part::new(pattern, owner)?, Part::new(pattern, package)?) {
                (Part::Literal(owner), Part::Literal(package)) => {
                    table.literal.insert(format!("{owner}/{package}"), *policy);
                }
                (owner, package) => table.globs.push(Rule {
                    owner,
                    package,
                    policy: *policy,
                }),
            }
        }
        // The sort is stable: reversed first, the later of two equals comes first.
        table.globs.reverse();
        table
            .globs
            .sort_by_key(|rule| std::cmp::Reverse(rule.specificity()));
        Ok(table)
    }

    /// The policy of a package.
    pub fn policy(&self, owner: &str, package: &str) -> Policy {
        if self.literal.is_empty() && self.globs.is_empty() {
            return Policy::default();
        }
        let (owner, package) = (lower(owner), lower(package));
        if !self.literal.is_empty()
            && let Some(policy) = self.literal.get(&format!("{owner}/{package}"))
        {
            return *policy;
        }
        self.globs
            .iter()
            .find(|rule| rule.owner.matches(&owner) && rule.package.matches(&package))
            .map(|rule| rule.policy)
            .unwrap_or_default()
    }
}

impl Rule {
    fn specificity(&self) -> (bool, bool, usize) {
        (
            self.owner.is_literal(),
            self.package.is_literal(),
            self.owner.literals() + self.package.literals(),
        )
    }
}

impl Part {
    fn new(pattern: &str, part: &str) -> Result<Self, PatternError> {
        let part = part.to_ascii_lowercase();
        if !part.contains(['*', '?', '[', ']', '{', '}', '\\']) {
            return Ok(Part::Literal(part));
        }
        let glob = GlobBuilder::new(&part)
            .backslash_escape(true)
            .build()
            .map_err(|error| bad(pattern, &error.kind().to_string()))?;
        Ok(Part::Glob {
            matcher: glob.compile_matcher(),
            literals: count_literals(&part),
        })
    }

    fn is_literal(&self) -> bool {
        matches!(self, Part::Literal(_))
    }

    fn literals(&self) -> usize {
        match self {
            Part::Literal(text) => text.chars().count(),
            Part::Glob { literals, .. } => *literals,
        }
    }

    fn matches(&self, name: &str) -> bool {
        match self {
            Part::Literal(text) => text == name,
            Part::Glob { matcher, .. } => matcher.is_match(name),
        }
    }
}

fn split(pattern: &str) -> Result<(&str, &str), PatternError> {
    let (owner, package) = pattern
        .split_once('/')
        .ok_or_else(|| bad(pattern, "it needs a slash between owner and package"))?;
    if package.contains('/') {
        return Err(bad(pattern, "it has more than one slash"));
    }
    if owner.is_empty() {
        return Err(bad(pattern, "the owner is empty"));
    }
    if package.is_empty() {
        return Err(bad(pattern, "the package is empty"));
    }
    if pattern.contains(char::is_whitespace) {
        return Err(bad(pattern, "no name has white space"));
    }
    Ok((owner, package))
}

fn bad(pattern: &str, why: &str) -> PatternError {
    PatternError(format!("bad pattern {pattern:?}: {why}"))
}

/// Characters of a glob that stand for themselves, wherever they stand; sets and alternatives count as none.
fn count_literals(glob: &str) -> usize {
    let mut count = 0;
    let mut depth = 0usize;
    let mut chars = glob.chars();
    while let Some(c) = chars.next() {
        match c {
            '[' | '{' => depth += 1,
            ']' | '}' => depth = depth.saturating_sub(1),
            '*' | '?' => {}
            '\\' => {
                chars.next();
                count += usize::from(depth == 0);
            }
            _ => count += usize::from(depth == 0),
        }
    }
    count
}

fn lower(name: &str) -> Cow<'_, str> {
    if name.bytes().any(|b| b.is_ascii_uppercase()) {
        Cow::Owned(name.to_ascii_lowercase())
    } else {
        Cow::Borrowed(name)
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

    #[test]
    fn globs_know_sets_alternatives_and_escapes() {
        let table = table(&[
            ("ci/{bazel,ccache}", Policy::Cache),
            ("ci/v[0-9]", Policy::Package),
            ("ci/a\\b?", Policy::WriteOnce),
        ])
        .unwrap();
        assert_eq!(table.policy("ci", "ccache"), Policy::Cache);
        assert_eq!(table.policy("ci", "v7"), Policy::Package);
        assert_eq!(table.policy("ci", "v77"), Policy::Release);
        assert_eq!(table.policy("ci", "abc"), Policy::WriteOnce);
        assert_eq!(count_literals("a\\b?{cd,e}[fg]h"), 3);
    }

    #[test]
    fn bad_patterns_are_named() {
        for (pattern, why) in [
            ("app", "needs a slash"),
            ("/app", "owner is empty"),
            ("ci/", "package is empty"),
            ("a/b/c", "more than one slash"),
            ("ci/ app", "white space"),
            ("ci/a[", "unclosed"),
            ("ci/a{b", "unclosed"),
        ] {
            let error = table(&[("ok/*", Policy::Cache), (pattern, Policy::Cache)]).unwrap_err();
            assert!(error.0.contains(&format!("{pattern:?}")), "{error}");
            assert!(error.0.contains(why), "{error}");
        }
    }
}
