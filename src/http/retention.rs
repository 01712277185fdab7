//! Rules of retention, their preview, and pins (API.md §6).

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use actix_web::HttpResponse;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::admin::{before_user, read, time};
use super::error::Refusal;
use super::fields::BadField;
use super::head::Head;
use super::incoming::Incoming;
use super::packages::{paged, window};
use super::state::{Engine, State};
use crate::artifact::retention::decide::Verdict;
use crate::artifact::retention::{Judged, RuleError, Rules, Source};
use crate::store::model::{Account, Millis, RetentionRule};

/// Versions on a page of a preview, unless asked for fewer or more.
const DEFAULT_LIMIT: NonZeroUsize = NonZeroUsize::new(100).unwrap();
/// Most versions on a page of a preview.
const MAX_LIMIT: NonZeroUsize = NonZeroUsize::new(1000).unwrap();

/// Rules as a client writes and sees them.
#[derive(Debug, Serialize, Deserialize)]
struct RulesBody {
    /// `null`: none of its own; those of the configuration count.
    #[serde(deserialize_with = "Option::deserialize")]
    rules: Option<Vec<RuleBody>>,
}

/// A rule as a client writes and sees it.
#[derive(Debug, Serialize, Deserialize)]
struct RuleBody {
    /// Packages: a name or a glob.
    #[serde(default = "everything")]
    packages: String,
    /// So many of the newest versions of those that it means stay.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    keep_newest: Option<u32>,
    /// Versions that stay: globs.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    keep: Vec<String>,
    /// Versions that the rule means: globs; without any, all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    remove: Vec<String>,
    /// How long after its creation a version goes: `14d`, `2weeks`.
    #[serde(default, with = "humantime_text", skip_serializing_if = "Option::is_none")]
    remove_older_than: Option<Millis>,
    /// How long after its last download a version goes.
    #[serde(default, with = "humantime_text", skip_serializing_if = "Option::is_none")]
    remove_unused_for: Option<Millis>,
}

fn everything() -> String {
    "*".to_owned()
}

/// A duration in human units, as in the configuration.
mod humantime_text {
    use serde::de::Error;
    use serde::{Deserialize, Deserializer, Serializer};

    use super::{Duration, Millis};

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Millis>, D::Error> {
        let Some(text) = Option::<String>::deserialize(deserializer)? else {
            return Ok(None);
        };
        let span = humantime::parse_duration(&text).map_err(|_| {
            D::Error::custom(format!(
                "{text:?} is not a duration; write \"14d\" or \"12h 30m\""
            ))
        })?;
        Ok(Some(Millis::try_from(span.as_millis()).unwrap_or(Millis::MAX)))
    }

    pub fn serialize<S: Serializer>(span: &Option<Millis>, serializer: S) -> Result<S::Ok, S::Error> {
        let span = Duration::from_millis(span.unwrap_or_default().unsigned_abs());
        serializer.collect_str(&humantime::format_duration(span))
    }
}

impl From<RuleBody> for RetentionRule {
    fn from(body: RuleBody) -> Self {
        RetentionRule {
            packages: body.packages,
            keep_newest: body.keep_newest,
            keep: body.keep,
            remove: body.remove,
            older_than: body.remove_older_than,
            unused_for: body.remove_unused_for,
        }
    }
}

impl From<&RetentionRule> for RuleBody {
    fn from(rule: &RetentionRule) -> Self {
        RuleBody {
            packages: rule.packages.clone(),
            keep_newest: rule.keep_newest,
            keep: rule.keep.clone(),
            remove: rule.remove.clone(),
            remove_older_than: rule.older_than,
            remove_unused_for: rule.unused_for,
        }
    }
}

impl From<RuleError> for Refusal {
    fn from(error: RuleError) -> Self {
        BadField::Bad(error.to_string()).into()
    }
}

/// What is known against a call about an owner's rules before its body has come.
pub async fn before<'a>(
    state: &'a State,
    head: Head<'_>,
    owner: &str,
) -> Result<(&'a Engine, Account), Refusal> {
    let engine = before_user(state, head).await?;
    let owner = engine.access.account(owner)?.ok_or_else(Refusal::no_owner)?;
    Ok((engine, owner))
}

/// GET /api/v1/admin/owners/{owner}/retention
pub async fn get(state: &State, head: Head<'_>, owner: &str) -> Result<HttpResponse, Refusal> {
    let (engine, owner) = before(state, head, owner).await?;
    shown(engine, &owner)
}

/// PUT /api/v1/admin/owners/{owner}/retention
pub async fn put(
    state: &State,
    head: Head<'_>,
    owner: &str,
    body: &Incoming,
) -> Result<HttpResponse, Refusal> {
    let (engine, owner) = before(state, head, owner).await?;
    let rules = parse(&read(body).await?, &owner)?;
    engine
        .artifacts
        .set_retention_rules(&owner, rules.as_ref())
        .await?;
    shown(engine, &owner)
}

fn shown(engine: &Engine, owner: &Account) -> Result<HttpResponse, Refusal> {
    let (rules, source) = engine.artifacts.retention_rules(owner)?;
    let rules: Vec<RuleBody> = rules.given().map(RuleBody::from).collect();
    Ok(HttpResponse::Ok().json(json!({"rules": rules, "source": source_name(source)})))
}

fn source_name(source: Source) -> &'static str {
    match source {
        Source::Owner => "owner",
        Source::Configuration => "configuration",
    }
}

/// The rules of a body; `None`: it takes the owner's own away.
fn parse(body: &[u8], owner: &Account) -> Result<Option<Rules>, Refusal> {
    let body: RulesBody = super::fields::parse(body)?;
    let Some(rules) = body.rules else { return Ok(None) };
    let rules = rules.into_iter().map(RetentionRule::from).collect();
    Ok(Some(Rules::of_owner(&owner.name, rules)?))
}

/// POST /api/v1/admin/owners/{owner}/retention/preview: what a pass would do now, with the rules that count or with
/// those of the body.
pub async fn preview(
    state: &State,
    head: Head<'_>,
    owner: &str,
    body: &Incoming,
) -> Result<HttpResponse, Refusal> {
    let (engine, owner) = before(state, head, owner).await?;
    let body = read(body).await?;
    let tried = match body.is_empty() {
        true => None,
        false => parse(&body, &owner)?,
    };
    let rules = match tried {
        Some(rules) => Arc::new(rules),
        None => engine.artifacts.retention_rules(&owner)?.0,
    };
    let window = window(head, DEFAULT_LIMIT, MAX_LIMIT)?;
    let only_removed = match head.query("verdict").as_deref() {
        None | Some("") => false,
        Some("removed") => true,
        Some(_) => {
            let (field, what) = ("verdict", "removed, or left out");
            return Err(BadField::Wrong { field, what }.into());
        }
    };
    let now = jiff::Timestamp::now().as_millisecond();
    let artifacts = &engine.artifacts;
    let preview = artifacts
        .preview_retention(&owner, rules, now, window, only_removed)
        .await?;
    let tally = preview.tally;
    let answer = json!({
        "at": time(now),
        "kept": tally.kept,
        "due": tally.due,
        "removed": tally.removed,
        "versions": preview.versions.iter().map(shown_verdict).collect::<Vec<_>>(),
    });
    Ok(paged(answer, preview.total, window, head))
}

/// A version of a preview: what becomes of it, and why.
fn shown_verdict(judged: &Judged) -> serde_json::Value {
    let version = &judged.version;
    let mut shown = json!({
        "package": judged.package.name,
        "version": version.name,
        "id": version.id,
        "created_at": time(version.created),
        "last_used_at": judged.last_used.map(time),
    });
    let (verdict, reason, rule, at) = explain(&judged.verdict);
    shown["verdict"] = verdict.into();
    shown["reason"] = reason.into();
    if let Some(rule) = rule {
        shown["rule"] = (rule + 1).into();
    }
    if let Some(at) = at {
        shown["due_at"] = time(at).into();
    }
    shown
}

/// Verdict, reason, number of the rule from 0, and when it is or was due.
fn explain(verdict: &Verdict) -> (&'static str, String, Option<usize>, Option<Millis>) {
    match verdict {
        Verdict::Pinned => ("kept", "pinned".to_owned(), None, None),
        Verdict::Unmentioned => ("kept", "no rule removes it".to_owned(), None, None),
        Verdict::Newest { rule, place } => {
            let reason = format!("number {place} of the newest that rule {} keeps", rule + 1);
            ("kept", reason, Some(*rule), None)
        }
        Verdict::Named { rule, glob } => {
            let reason = format!("rule {} keeps {glob:?}", rule + 1);
            ("kept", reason, Some(*rule), None)
        }
        Verdict::Due { rule, at } => {
            let reason = format!("rule {} removes it then, unless something changes", rule + 1);
            ("due", reason, Some(*rule), Some(*at))
        }
        Verdict::Expired { rule, since } => {
            let reason = format!("rule {} removes it", rule + 1);
            ("removed", reason, Some(*rule), Some(*since))
        }
    }
}

/// POST /api/v1/admin/retention: starts a pass.
pub async fn start(state: &State, head: Head<'_>) -> Result<HttpResponse, Refusal> {
    let engine = before_user(state, head).await?;
    let run = engine.artifacts.wanted_retention().ask();
    Ok(HttpResponse::Accepted().json(json!({"run": run})))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::store::model::{AccountKind, Visibility};

    fn owner() -> Account {
        Account {
            id: 1,
            name: "ci".into(),
            kind: AccountKind::User,
            visibility: Visibility::Public,
            active: true,
            admin: false,
            email: String::new(),
            password: None,
            created: 0,
        }
    }

    #[test]
    fn rules_are_read_and_shown_alike() {
        let text = r#"{"rules":[{"packages":"*","keep_newest":3,"keep":["v*"],"remove":["nightly-*"],
            "remove_older_than":"14days","remove_unused_for":"1h 30m"},{"packages":"app","keep":["*"]}]}"#;
        let rules = parse(text.as_bytes(), &owner()).unwrap().unwrap();
        let shown = RulesBody {
            rules: Some(rules.given().map(RuleBody::from).collect()),
        };
        let given: serde_json::Value = serde_json::from_str(text).unwrap();
        assert_eq!(serde_json::to_value(shown).unwrap(), given);
        assert_eq!(rules.given().next().unwrap().unused_for, Some(5_400_000));
        assert!(parse(br#"{"rules": null}"#, &owner()).unwrap().is_none());
        let none = parse(br#"{"rules": []}"#, &owner()).unwrap().unwrap();
        assert!(none.is_empty());
    }

    #[test]
    fn bad_rules_are_refused() {
        for text in [
            "{}",
            "[]",
            r#"{"rules": {}}"#,
            r#"{"rules": [{}]}"#,
            r#"{"rules": [{"keep_newest": -1}]}"#,
            r#"{"rules": [{"keep_newest": "3"}]}"#,
            r#"{"rules": [{"remove_older_than": 14}]}"#,
            r#"{"rules": [{"remove_older_than": "14"}]}"#,
            r#"{"rules": [{"remove_older_than": "0s"}]}"#,
            r#"{"rules": [{"keep": ["["]}]}"#,
            r#"{"rules": [{"keep": "v*"}]}"#,
        ] {
            assert!(parse(text.as_bytes(), &owner()).is_err(), "{text}");
        }
    }
}
