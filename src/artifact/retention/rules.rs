//! Rules of retention, checked and ready to be asked.
//!
//! A rule names packages, says which of their versions may go and when, and which stay. All rules that mean a package
//! count: a version goes when one of them says so and none says that it stays.

use globset::{GlobBuilder, GlobMatcher};

use super::decide::Verdict;
use crate::owner::Pattern;
use crate::store::model::{Millis, RetentionRule};

/// Rules that an owner, or the configuration, may have.
pub const MAX_RULES: usize = 32;
/// Globs in each list of a rule.
pub const MAX_GLOBS: usize = 16;
/// Length of a glob or a pattern of packages, bytes. Globs are matched in time linear in glob and name.
pub const MAX_GLOB: usize = 128;
/// Bytes of all rules of an owner as they are stored: they are one value of the index.
const MAX_STORED: usize = 4096;

/// What is wrong with a rule. The text names field, value and limit.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RuleError {
    /// More than [`MAX_RULES`].
    #[error("{given} rules are too many; the most is {MAX_RULES}")]
    TooMany {
        /// How many.
        given: usize,
    },
    /// All together are too long.
    #[error("the rules take {given} bytes as they are stored; the most is {MAX_STORED}")]
    TooLong {
        /// How long.
        given: usize,
    },
    /// Something in one of them.
    #[error("rules[{rule}]{what}")]
    Rule {
        /// Which, from 0.
        rule: usize,
        /// The way on to the field, and what is wrong with it.
        what: String,
    },
}

/// A checked rule.
#[derive(Clone, Debug)]
pub struct Rule {
    packages: Pattern,
    /// As it was written.
    pub given: RetentionRule,
    keep: Vec<GlobMatcher>,
    remove: Vec<GlobMatcher>,
}

/// Checked rules in the order in which they were written.
#[derive(Clone, Debug, Default)]
pub struct Rules(Vec<Rule>);

impl Rules {
    /// Checks rules whose `packages` are `owner/package`, as in the configuration.
    ///
    /// # Errors
    /// For the first rule that is wrong.
    pub fn of_configuration(given: Vec<RetentionRule>) -> Result<Self, RuleError> {
        Rules::new(given, |packages| packages.to_owned())
    }

    /// Checks rules of one owner, whose `packages` are names or globs of packages.
    ///
    /// # Errors
    /// For the first rule that is wrong, or if all together are too long to be stored.
    pub fn of_owner(owner: &str, given: Vec<RetentionRule>) -> Result<Self, RuleError> {
        let stored = postcard::to_stdvec(&given).map_or(usize::MAX, |bytes| bytes.len());
        if let Some(rule) = given.iter().position(|rule| rule.packages.contains('/')) {
            let packages = &given[rule].packages;
            let what =
                format!(".packages must be a package's name or a glob, without the owner, not {packages:?}");
            return Err(RuleError::Rule { rule, what });
        }
        let rules = Rules::new(given, |packages| format!("{owner}/{packages}"))?;
        match stored <= MAX_STORED {
            true => Ok(rules),
            false => Err(RuleError::TooLong { given: stored }),
        }
    }

    fn new(given: Vec<RetentionRule>, full: impl Fn(&str) -> String) -> Result<Self, RuleError> {
        if given.len() > MAX_RULES {
            return Err(RuleError::TooMany { given: given.len() });
        }
        let checked = given.into_iter().enumerate().map(|(rule, given)| {
            let packages = full(&given.packages);
            Rule::new(given, &packages).map_err(|what| RuleError::Rule { rule, what })
        });
        checked.collect::<Result<_, _>>().map(Rules)
    }

    /// The rules that mean a package, with their numbers from 0.
    pub fn of_package<'a>(&'a self, owner: &str, package: &str) -> Vec<(usize, &'a Rule)> {
        let rules = self.0.iter().enumerate();
        rules
            .filter(|(_, rule)| rule.packages.matches(owner, package))
            .collect()
    }

    /// Whether the rule by which a version has expired asks when it was last used.
    pub fn ask_for_uses(&self, verdict: &Verdict) -> bool {
        let Verdict::Expired { rule, .. } = verdict else {
            return false;
        };
        let rule = self.0.get(*rule);
        rule.is_some_and(|rule| rule.given.unused_for.is_some())
    }

    /// As they were written.
    pub fn given(&self) -> impl Iterator<Item = &RetentionRule> {
        self.0.iter().map(|rule| &rule.given)
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl Rule {
    fn new(given: RetentionRule, packages: &str) -> Result<Self, String> {
        check_length("packages", &given.packages)?;
        for (field, span) in [
            ("remove_older_than", given.older_than),
            ("remove_unused_for", given.unused_for),
        ] {
            if span.is_some_and(|span| span <= 0) {
                return Err(format!(".{field} must be longer than nothing"));
            }
        }
        let rule = Rule {
            packages: Pattern::new(packages)
                .map_err(|error| format!(".packages: {}", error.of(&given.packages)))?,
            keep: globs("keep", &given.keep)?,
            remove: globs("remove", &given.remove)?,
            given,
        };
        if !rule.removes() && rule.keep.is_empty() && rule.given.keep_newest.is_none() {
            return Err(" says neither what to remove nor what to keep".to_owned());
        }
        Ok(rule)
    }

    /// Whether it removes anything at all.
    pub fn removes(&self) -> bool {
        let given = &self.given;
        !self.remove.is_empty() || given.older_than.is_some() || given.unused_for.is_some()
    }

    /// Whether a version is one of those that may go: `remove` names it, or is not there.
    pub fn means(&self, version: &str) -> bool {
        self.remove.is_empty() || self.remove.iter().any(|glob| glob.is_match(version))
    }

    /// The glob of `keep` that names a version.
    pub fn kept_by(&self, version: &str) -> Option<&str> {
        let found = self.keep.iter().position(|glob| glob.is_match(version))?;
        self.given.keep.get(found).map(String::as_str)
    }

    /// From when on a version that it means may go, if it removes anything.
    pub fn due(&self, created: Millis, last_used: Millis) -> Option<Millis> {
        let old = self.given.older_than.map(|span| created.saturating_add(span));
        let unused = self.given.unused_for.map(|span| last_used.saturating_add(span));
        self.removes()
            .then(|| created.max(old.unwrap_or(created)).max(unused.unwrap_or(created)))
    }
}

fn globs(field: &str, given: &[String]) -> Result<Vec<GlobMatcher>, String> {
    if given.len() > MAX_GLOBS {
        return Err(format!(
            ".{field} has {} globs; the most is {MAX_GLOBS}",
            given.len()
        ));
    }
    let compiled = given.iter().enumerate().map(|(n, text)| {
        let field = format!("{field}[{n}]");
        check_length(&field, text)?;
        let glob = GlobBuilder::new(text)
            .case_insensitive(true)
            .backslash_escape(true)
            .build();
        match glob {
            Ok(glob) => Ok(glob.compile_matcher()),
            Err(error) => Err(format!(".{field}: bad glob {text:?}: {}", error.kind())),
        }
    });
    compiled.collect()
}

fn check_length(field: &str, text: &str) -> Result<(), String> {
    match text.len() {
        0 => Err(format!(".{field} is empty; \"*\" means everything")),
        1..=MAX_GLOB => Ok(()),
        long => Err(format!(".{field} has {long} bytes; the most is {MAX_GLOB}")),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn rule(packages: &str) -> RetentionRule {
        RetentionRule {
            packages: packages.into(),
            keep_newest: Some(1),
            ..RetentionRule::default()
        }
    }

    fn why(change: impl Fn(&mut RetentionRule)) -> String {
        let mut given = rule("*");
        change(&mut given);
        Rules::of_owner("ci", vec![rule("a"), given])
            .unwrap_err()
            .to_string()
    }

    #[test]
    fn what_is_wrong_is_named_with_its_limit() {
        let long = "x".repeat(129);
        for (message, expected) in [
            (
                why(|rule| rule.keep_newest = None),
                "rules[1] says neither what to remove nor what to keep",
            ),
            (
                why(|rule| rule.packages = "a/b".into()),
                "rules[1].packages must be a package's name or a glob, without the owner, not \"a/b\"",
            ),
            (
                why(|rule| rule.packages = String::new()),
                "rules[1].packages is empty; \"*\" means everything",
            ),
            (
                why(|rule| rule.packages = "a[".into()),
                "rules[1].packages: bad pattern \"a[\": unclosed character class; missing ']'",
            ),
            (
                why(|rule| rule.keep = vec!["v[".into()]),
                "rules[1].keep[0]: bad glob \"v[\": unclosed character class; missing ']'",
            ),
            (
                why(|rule| rule.remove = vec![long.clone()]),
                "rules[1].remove[0] has 129 bytes; the most is 128",
            ),
            (
                why(|rule| rule.remove = vec!["a".into(); 17]),
                "rules[1].remove has 17 globs; the most is 16",
            ),
            (
                why(|rule| rule.older_than = Some(0)),
                "rules[1].remove_older_than must be longer than nothing",
            ),
        ] {
            assert_eq!(message, expected);
        }
        let many = Rules::of_owner("ci", vec![rule("a"); 33]).unwrap_err();
        assert_eq!(many.to_string(), "33 rules are too many; the most is 32");
        let mut wordy = rule("a");
        wordy.keep = vec!["y".repeat(128); 16];
        let long = Rules::of_owner("ci", vec![wordy; 2]).unwrap_err();
        assert!(long.to_string().ends_with("the most is 4096"), "{long}");
    }

    /// A glob that would take a backtracking matcher for ever.
    #[test]
    fn no_glob_is_catastrophic() {
        let mut given = rule("*");
        given.remove = vec![format!("{}b", "*a".repeat(60))];
        let rules = Rules::of_owner("ci", vec![given]).unwrap();
        let (_, rule) = rules.of_package("ci", "p")[0];
        let begun = std::time::Instant::now();
        assert!(!rule.means(&"a".repeat(255)));
        assert!(begun.elapsed().as_secs() < 5, "{:?}", begun.elapsed());
        let mut nested = "{a,".repeat(40);
        nested.push_str(&"}".repeat(40));
        let mut given = crate::store::model::RetentionRule {
            packages: "*".into(),
            ..Default::default()
        };
        given.remove = vec![nested.chars().take(128).collect()];
        // Refused or taken, but neither slow nor a panic.
        let _ = Rules::of_owner("ci", vec![given]);
        assert!(begun.elapsed().as_secs() < 5, "{:?}", begun.elapsed());
    }

    #[test]
    fn rules_mean_packages_and_versions_in_any_case() {
        let mut given = rule("App-*");
        given.remove = vec!["Nightly-*".into()];
        let rules = Rules::of_owner("ci", vec![rule("lib"), given.clone()]).unwrap();
        let found = rules.of_package("CI", "APP-x");
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].0, 1);
        assert!(found[0].1.means("nightly-1/x") && !found[0].1.means("v1"));
        assert!(rules.of_package("other", "app-x").is_empty());
        given.packages = "c*/app-*".into();
        let rules = Rules::of_configuration(vec![given]).unwrap();
        assert_eq!(rules.of_package("ci", "app-x").len(), 1);
        assert!(rules.of_package("dev", "app-x").is_empty());
    }
}
