//! From claims to rights.

use globset::{GlobBuilder, GlobMatcher};
use serde_json::{Map, Value};

use crate::owner::Pattern;

/// Longest glob of a claim in bytes.
const MAX_GLOB: usize = 500;
/// Most claims of a rule.
const MAX_CLAIMS: usize = 16;
/// Issuers that give a token to whoever has an account there.
const OPEN_TO_ALL: [&str; 2] = [
    "https://token.actions.githubusercontent.com",
    "https://gitlab.com",
];
/// Claims by which one of these says whose job it is.
const WHOSE: [&str; 10] = [
    "sub",
    "repository",
    "repository_id",
    "repository_owner",
    "repository_owner_id",
    "job_workflow_ref",
    "project_path",
    "project_id",
    "namespace_path",
    "namespace_id",
];

/// What jobs may do whose tokens have these claims.
#[derive(Clone, Debug)]
pub struct Rule {
    /// Each with a glob that one of its values must match.
    claims: Vec<(String, GlobMatcher)>,
    packages: Pattern,
    write: bool,
    /// Claims and packages as they were written.
    given: (Vec<(String, String)>, String),
}

/// Matchers cannot be compared, but what they were made of.
impl PartialEq for Rule {
    fn eq(&self, other: &Self) -> bool {
        self.given == other.given && self.write == other.write
    }
}

impl Rule {
    /// A rule for tokens of `issuer`. `claims` are names with globs, in which `*` stops at a slash and `**` does not;
    /// `packages` is `owner/package`, each a name or a glob; `write` includes reading.
    ///
    /// # Errors
    /// What is wrong with it. A rule that no claim restricts would open the packages to strangers.
    pub fn new(
        issuer: &str,
        claims: &[(String, String)],
        packages: &str,
        write: bool,
    ) -> Result<Self, String> {
        if claims.len() > MAX_CLAIMS {
            return Err(format!(
                "a rule has at most {MAX_CLAIMS} claims, not {}",
                claims.len()
            ));
        }
        if !claims.iter().any(|(_, glob)| begins_literally(glob)) {
            return Err("at least one claim needs a value that does not begin with a wildcard".to_owned());
        }
        let says_whose =
            |(claim, glob): &(String, String)| WHOSE.contains(&claim.as_str()) && begins_literally(glob);
        if OPEN_TO_ALL.contains(&issuer.trim_end_matches('/')) && !claims.iter().any(says_whose) {
            return Err(format!(
                "anybody can get a token of {issuer}, so the rule must say whose job it is, by one of {}",
                WHOSE.join(", ")
            ));
        }
        Ok(Rule {
            claims: claims.iter().map(matcher).collect::<Result<_, _>>()?,
            packages: Pattern::new(packages).map_err(|error| error.to_string())?,
            write,
            given: (claims.to_vec(), packages.to_owned()),
        })
    }

    /// Whether it is about tokens with these claims: all of its own are among them.
    pub fn matches(&self, claims: &Map<String, Value>) -> bool {
        let holds = |(name, glob): &(String, GlobMatcher)| {
            claims.get(name).is_some_and(|value| value_matches(value, glob))
        };
        self.claims.iter().all(holds)
    }

    /// What it grants.
    pub fn grant(&self) -> (Pattern, bool) {
        (self.packages.clone(), self.write)
    }
}

fn begins_literally(glob: &str) -> bool {
    glob.starts_with(|first: char| !"*?[{!\\".contains(first))
}

fn matcher((name, glob): &(String, String)) -> Result<(String, GlobMatcher), String> {
    if glob.len() > MAX_GLOB {
        return Err(format!("the glob of {name} is longer than {MAX_GLOB} bytes"));
    }
    let built = GlobBuilder::new(glob)
        .literal_separator(true)
        .backslash_escape(true)
        .build();
    match built {
        Ok(glob) => Ok((name.clone(), glob.compile_matcher())),
        Err(error) => Err(format!("the glob of {name}: {}", error.kind())),
    }
}

/// A text, a number or a truth value as it is written; of a list, any.
fn value_matches(value: &Value, glob: &GlobMatcher) -> bool {
    match value {
        Value::String(text) => glob.is_match(text),
        Value::Number(number) => glob.is_match(number.to_string()),
        Value::Bool(flag) => glob.is_match(flag.to_string()),
        Value::Array(values) => values.iter().any(|value| match value {
            Value::Array(_) => false,
            value => value_matches(value, glob),
        }),
        Value::Object(_) | Value::Null => false,
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use serde_json::json;

    use super::*;

    fn rule(claims: &[(&str, &str)]) -> Result<Rule, String> {
        let claims: Vec<_> = claims
            .iter()
            .map(|(name, glob)| ((*name).to_owned(), (*glob).to_owned()))
            .collect();
        Rule::new("https://issuer.example", &claims, "ci/*", true)
    }

    #[test]
    fn every_claim_of_a_rule_must_match_whole() {
        let rule = rule(&[("repository", "acme/*"), ("ref", "refs/heads/main")]).unwrap();
        for (repository, git_ref, expected) in [
            ("acme/app", "refs/heads/main", true),
            ("acme/app", "refs/heads/maintenance", false),
            ("acme/app", "xrefs/heads/main", false),
            ("acme/app/deep", "refs/heads/main", false),
            ("evil/acme/app", "refs/heads/main", false),
            ("ACME/app", "refs/heads/main", false),
        ] {
            let claims = json!({"repository": repository, "ref": git_ref, "more": 1});
            assert_eq!(
                rule.matches(claims.as_object().unwrap()),
                expected,
                "{repository} {git_ref}"
            );
        }
        let only_one = json!({"repository": "acme/app"});
        assert!(!rule.matches(only_one.as_object().unwrap()));
    }

    #[test]
    fn values_of_all_types_are_compared_as_they_are_written() {
        let matches = |glob: &str, value: Value| {
            let rule = rule(&[("sub", "a"), ("x", glob)]).unwrap();
            rule.matches(json!({"sub": "a", "x": value}).as_object().unwrap())
        };
        assert!(matches("17", json!(17)) && !matches("17", json!(170)));
        assert!(matches("true", json!(true)));
        assert!(matches("b*", json!(["a", "bc"])) && !matches("b*", json!([["b"]])));
        assert!(!matches("*", json!(null)) && !matches("*", json!({"b": 1})));
        assert!(matches("a/**", json!("a/b/c")) && !matches("a/*", json!("a/b/c")));
    }

    #[test]
    fn a_rule_that_restricts_nothing_is_refused() {
        for claims in [
            &[][..],
            &[("repository", "*")],
            &[("a", "**"), ("b", "{x,y}")],
            &[("a", "")],
        ] {
            assert!(rule(claims).unwrap_err().contains("wildcard"), "{claims:?}");
        }
        assert!(rule(&[("sub", "a["), ("x", "y")]).unwrap_err().contains("sub"));
        let long = "x".repeat(501);
        assert!(rule(&[("sub", &long)]).unwrap_err().contains("longer"));
        let many: Vec<_> = (0..17).map(|_| ("sub", "x")).collect();
        assert!(rule(&many).unwrap_err().contains("17"));
        let bad = Rule::new(
            "https://i",
            &[("sub".to_owned(), "x".to_owned())],
            "no slash",
            true,
        );
        assert!(bad.is_err());
    }

    #[test]
    fn a_rule_for_a_public_issuer_says_whose_job_it_is() {
        let make = |claim: &str, glob: &str| {
            let claims = [(claim.to_owned(), glob.to_owned())];
            Rule::new("https://gitlab.com", &claims, "ci/*", true)
        };
        assert!(make("ref", "main").unwrap_err().contains("whose job"));
        assert!(make("project_path", "*/app").is_err());
        assert!(make("project_path", "acme/app").is_ok());
    }
}
