//! Patterns of packages: `owner/package`, each a name or a glob.

use std::borrow::Cow;

use globset::{GlobBuilder, GlobMatcher};

/// Names are compared in lower case. Globs have `*`, `?`, sets, alternatives and backslash escapes.
#[derive(Clone, Debug)]
pub struct Pattern {
    owner: Part,
    package: Part,
}

/// A pattern that is not `owner/package`. The text names the pattern.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("bad pattern {pattern:?}: {why}")]
pub struct PatternError {
    pattern: String,
    why: String,
}

impl PatternError {
    /// The same about a pattern that somebody wrote otherwise: without its owner.
    pub fn of(self, written: &str) -> Self {
        PatternError {
            pattern: written.to_owned(),
            ..self
        }
    }
}

/// How exactly a pattern says what it means; the greater one wins.
pub type Specificity = (bool, bool, usize);

/// One side of a pattern, in lower case.
#[derive(Clone, Debug)]
enum Part {
    Literal(String),
    /// `*`, the most common glob, and nothing to be looked for.
    Everything,
    Glob {
        matcher: GlobMatcher,
        literals: usize,
    },
}

impl Pattern {
    /// Reads a pattern.
    ///
    /// # Errors
    /// If it is not two non-empty names or globs with one slash between them.
    pub fn new(pattern: &str) -> Result<Self, PatternError> {
        let (owner, package) = split(pattern)?;
        Ok(Pattern {
            owner: Part::new(pattern, owner)?,
            package: Part::new(pattern, package)?,
        })
    }

    /// Whether it means this package.
    pub fn matches(&self, owner: &str, package: &str) -> bool {
        self.owner.matches(&lower(owner)) && self.package.matches(&lower(package))
    }

    /// Whether it means every package of this owner, as far as its text shows: its package is `*`.
    pub fn matches_all_of(&self, owner: &str) -> bool {
        self.package.is_everything() && self.owner.matches(&lower(owner))
    }

    /// A literal owner beats a glob owner, then a literal package beats a glob package, then more literal characters.
    pub fn specificity(&self) -> Specificity {
        (
            self.owner.is_literal(),
            self.package.is_literal(),
            self.owner.literals() + self.package.literals(),
        )
    }

    /// The `owner/package` that it means, in lower case, if it is without a wildcard.
    pub fn literal(&self) -> Option<String> {
        match (&self.owner, &self.package) {
            (Part::Literal(owner), Part::Literal(package)) => Some(format!("{owner}/{package}")),
            _ => None,
        }
    }
}

impl Part {
    fn new(pattern: &str, part: &str) -> Result<Self, PatternError> {
        let part = part.to_ascii_lowercase();
        if !part.contains(['*', '?', '[', ']', '{', '}', '\\']) {
            return Ok(Part::Literal(part));
        }
        if part == "*" {
            return Ok(Part::Everything);
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

    fn is_everything(&self) -> bool {
        matches!(self, Part::Everything)
    }

    fn is_literal(&self) -> bool {
        matches!(self, Part::Literal(_))
    }

    fn literals(&self) -> usize {
        match self {
            Part::Literal(text) => text.chars().count(),
            Part::Everything => 0,
            Part::Glob { literals, .. } => *literals,
        }
    }

    fn matches(&self, name: &str) -> bool {
        match self {
            Part::Literal(text) => text == name,
            Part::Everything => true,
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

/// Whether a text is a name or glob of packages, without an owner.
///
/// # Errors
/// If it is not.
pub(super) fn check_package(pattern: &str) -> Result<(), PatternError> {
    if pattern.contains('/') {
        return Err(bad(pattern, "no package has a slash in its name"));
    }
    if pattern.is_empty() {
        return Err(bad(pattern, "it is empty"));
    }
    if pattern.contains(char::is_whitespace) {
        return Err(bad(pattern, "no name has white space"));
    }
    Part::new(pattern, pattern).map(drop)
}

fn bad(pattern: &str, why: &str) -> PatternError {
    PatternError {
        pattern: pattern.to_owned(),
        why: why.to_owned(),
    }
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

/// In lower case.
pub(super) fn lower(name: &str) -> Cow<'_, str> {
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

    fn pattern(text: &str) -> Pattern {
        Pattern::new(text).unwrap()
    }

    #[test]
    fn globs_know_sets_alternatives_and_escapes() {
        for (text, package, matches) in [
            ("ci/{bazel,ccache}", "ccache", true),
            ("ci/v[0-9]", "v7", true),
            ("ci/v[0-9]", "v77", false),
            ("ci/a\\b?", "abc", true),
            ("CI/App", "aPP", true),
        ] {
            assert_eq!(pattern(text).matches("cI", package), matches, "{text}");
        }
        assert_eq!(count_literals("a\\b?{cd,e}[fg]h"), 3);
    }

    #[test]
    fn all_of_an_owner_is_a_star() {
        assert!(pattern("ci/*").matches_all_of("CI"));
        assert!(pattern("*/*").matches_all_of("ci"));
        assert!(!pattern("ci/a*").matches_all_of("ci"));
        assert!(!pattern("ci/*").matches_all_of("co"));
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
            let error = Pattern::new(pattern).unwrap_err().to_string();
            assert!(error.contains(&format!("{pattern:?}")), "{error}");
            assert!(error.contains(why), "{error}");
        }
    }
}
