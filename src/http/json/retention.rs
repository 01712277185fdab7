//! Rules of retention, and what they make of the versions of an owner.

use std::time::Duration;

use serde::de::Error;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use utoipa::ToSchema;

use super::time;
use crate::artifact::retention::decide::Verdict;
use crate::artifact::retention::{Judged, Preview, Rules, Source};
use crate::store::model::{Id, Millis, RetentionRule};

/// Rules that are to count for an owner.
#[derive(Deserialize, ToSchema)]
pub struct EditRules {
    /// `null`: none of its own, so that those of the configuration count.
    #[serde(deserialize_with = "Option::deserialize")]
    #[schema(required = true, max_items = 32)]
    rules: Option<Vec<Rule>>,
}

impl EditRules {
    /// The rules, unless there shall be none of its own.
    pub fn into_rules(self) -> Option<Vec<RetentionRule>> {
        let rules = self.rules?;
        Some(rules.into_iter().map(RetentionRule::from).collect())
    }
}

/// The rules that count for an owner.
#[derive(Serialize, ToSchema)]
pub struct OwnerRules {
    rules: Vec<Rule>,
    source: RulesSource,
}

/// Who wrote the rules.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
enum RulesSource {
    Owner,
    Configuration,
}

impl OwnerRules {
    /// As they stand.
    pub fn of(rules: &Rules, source: Source) -> Self {
        OwnerRules {
            rules: rules.given().map(Rule::from).collect(),
            source: match source {
                Source::Owner => RulesSource::Owner,
                Source::Configuration => RulesSource::Configuration,
            },
        }
    }
}

/// A rule: a version goes when some rule removes it and none keeps it.
#[derive(Serialize, Deserialize, ToSchema)]
#[schema(as = RetentionRule)]
struct Rule {
    /// Packages: a name or a glob, everything if left out; `owner/package` in rules of the configuration.
    #[serde(default = "everything")]
    #[schema(example = "app-*", min_length = 1, max_length = 128)]
    packages: String,
    /// So many of the newest versions stay, of those that the rule means.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(maximum = 4294967295u32)]
    keep_newest: Option<u32>,
    /// Versions that stay: globs.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schema(max_items = 16)]
    keep: Vec<String>,
    /// Versions that the rule means: globs; without any, all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schema(max_items = 16)]
    remove: Vec<String>,
    /// How long after its creation a version goes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, pattern = r"^[1-9][0-9]{0,2}(days|h|m)( [1-9][0-9]?(h|m))?$", example = "14days")]
    remove_older_than: Option<Span>,
    /// How long after its last download a version goes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, pattern = r"^[1-9][0-9]{0,2}(days|h|m)( [1-9][0-9]?(h|m))?$", example = "7days 12h")]
    remove_unused_for: Option<Span>,
}

fn everything() -> String {
    "*".to_owned()
}

/// A duration in human units, as in the configuration.
#[derive(Clone, Copy)]
struct Span(Millis);

impl<'de> Deserialize<'de> for Span {
    fn deserialize<D: Deserializer<'de>>(json: D) -> Result<Self, D::Error> {
        let what = "must be a duration like \"14days\" or \"12h 30m\"";
        let text = String::deserialize(json).map_err(|_| D::Error::custom(what))?;
        let span = humantime::parse_duration(&text).map_err(|_| D::Error::custom(what))?;
        Ok(Span(Millis::try_from(span.as_millis()).unwrap_or(Millis::MAX)))
    }
}

impl Serialize for Span {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let span = Duration::from_millis(self.0.unsigned_abs());
        serializer.collect_str(&humantime::format_duration(span))
    }
}

impl From<Rule> for RetentionRule {
    fn from(rule: Rule) -> Self {
        let millis = |span: Option<Span>| span.map(|Span(millis)| millis);
        RetentionRule {
            packages: rule.packages,
            keep_newest: rule.keep_newest,
            keep: rule.keep,
            remove: rule.remove,
            older_than: millis(rule.remove_older_than),
            unused_for: millis(rule.remove_unused_for),
        }
    }
}

impl From<&RetentionRule> for Rule {
    fn from(rule: &RetentionRule) -> Self {
        Rule {
            packages: rule.packages.clone(),
            keep_newest: rule.keep_newest,
            keep: rule.keep.clone(),
            remove: rule.remove.clone(),
            remove_older_than: rule.older_than.map(Span),
            remove_unused_for: rule.unused_for.map(Span),
        }
    }
}

/// What a pass would do now.
#[derive(Serialize, ToSchema)]
pub struct RetentionPreview {
    /// The time that ages are counted to.
    #[schema(format = DateTime)]
    at: String,
    /// Versions that stay.
    kept: u64,
    /// Versions that will go, unless something changes.
    due: u64,
    /// Versions that go now.
    removed: u64,
    /// By package, the newest first.
    versions: Vec<JudgedVersion>,
}

impl RetentionPreview {
    /// What it came to at this time.
    pub fn of(preview: &Preview, at: Millis) -> Self {
        RetentionPreview {
            at: time(at),
            kept: preview.tally.kept,
            due: preview.tally.due,
            removed: preview.tally.removed,
            versions: preview.versions.iter().map(JudgedVersion::of).collect(),
        }
    }
}

/// A version, what becomes of it, and why.
#[derive(Serialize, ToSchema)]
struct JudgedVersion {
    package: String,
    version: String,
    id: Id,
    #[schema(format = DateTime)]
    created_at: String,
    /// The last download, as far as is known.
    #[schema(format = DateTime, required = true)]
    last_used_at: Option<String>,
    verdict: Fate,
    /// For people.
    reason: String,
    /// The place of the rule that decides, the first one being 0.
    #[serde(skip_serializing_if = "Option::is_none")]
    rule: Option<usize>,
    /// Since when it may go, or from when on.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(format = DateTime)]
    due_at: Option<String>,
}

/// What becomes of a version.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
enum Fate {
    Kept,
    Due,
    Removed,
}

impl JudgedVersion {
    fn of(judged: &Judged) -> Self {
        let version = &judged.version;
        let (verdict, reason, rule, at) = explain(&judged.verdict);
        JudgedVersion {
            package: judged.package.name.clone(),
            version: version.name.clone(),
            id: version.id,
            created_at: time(version.created),
            last_used_at: judged.last_used.map(time),
            verdict,
            reason,
            rule,
            due_at: at.map(time),
        }
    }
}

/// Verdict, reason, place of the rule from 0, and when it is or was due.
fn explain(verdict: &Verdict) -> (Fate, String, Option<usize>, Option<Millis>) {
    match verdict {
        Verdict::Pinned => (Fate::Kept, "pinned".to_owned(), None, None),
        Verdict::Unmentioned => (Fate::Kept, "no rule removes it".to_owned(), None, None),
        Verdict::Newest { rule, place } => {
            let reason = format!("number {place} of the newest that rules[{rule}] keeps");
            (Fate::Kept, reason, Some(*rule), None)
        }
        Verdict::Named { rule, glob } => {
            let reason = format!("rules[{rule}] keeps {glob:?}");
            (Fate::Kept, reason, Some(*rule), None)
        }
        Verdict::Due { rule, at } => {
            let reason = format!("rules[{rule}] removes it then, unless something changes");
            (Fate::Due, reason, Some(*rule), Some(*at))
        }
        Verdict::Expired { rule, since } => {
            let reason = format!("rules[{rule}] removes it");
            (Fate::Removed, reason, Some(*rule), Some(*since))
        }
    }
}

/// A pass that was asked for.
#[derive(Serialize, ToSchema)]
pub struct RetentionRun {
    /// How many have been asked for since the start.
    pub run: u64,
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::http::fields;

    fn read(text: &str) -> Result<Option<Vec<RetentionRule>>, String> {
        let body: EditRules = fields::parse(text.as_bytes()).map_err(|error| error.to_string())?;
        Ok(body.into_rules())
    }

    #[test]
    fn rules_are_read_and_shown_alike() {
        let text = r#"{"rules":[{"packages":"*","keep_newest":3,"keep":["v*"],"remove":["nightly-*"],
            "remove_older_than":"14days","remove_unused_for":"1h 30m"},{"packages":"app","keep":["*"]}]}"#;
        let given = read(text).unwrap().unwrap();
        assert_eq!(given[0].unused_for, Some(5_400_000));
        let rules = Rules::of_owner("ci", given).unwrap();
        let shown = serde_json::to_value(OwnerRules::of(&rules, Source::Owner)).unwrap();
        let text: serde_json::Value = serde_json::from_str(text).unwrap();
        assert_eq!(shown["rules"], text["rules"]);
        assert_eq!(shown["source"], "owner");
        assert_eq!(read(r#"{"rules": null}"#), Ok(None));
        assert_eq!(read(r#"{"rules": []}"#), Ok(Some(Vec::new())));
        assert_eq!(read(r#"{"rules": [{}]}"#).unwrap().unwrap()[0].packages, "*");
    }

    #[test]
    fn what_cannot_be_read_is_named() {
        for (text, message) in [
            ("{}", "rules is missing"),
            (r#"{"rules": {}}"#, "rules must be an array, not an object"),
            (
                r#"{"rules": [{"keep_newest": -1}]}"#,
                "rules[0].keep_newest must be a whole number from 0 to 4294967295, not -1",
            ),
            (
                r#"{"rules": [{}, {"remove_older_than": 14}]}"#,
                "rules[1].remove_older_than must be a duration like \"14days\"",
            ),
            (
                r#"{"rules": [{"remove_unused_for": "14"}]}"#,
                "rules[0].remove_unused_for must be a duration",
            ),
            (
                r#"{"rules": [{"keep": "v*"}]}"#,
                "rules[0].keep must be an array, not a string",
            ),
        ] {
            let said = read(text).unwrap_err();
            assert!(said.starts_with(message), "{text}: {said}");
        }
    }
}
