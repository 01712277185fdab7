//! What is set for an owner, and what it holds beside its limits (API.md §6).

use std::str::FromStr;

use actix_web::HttpResponse;
use bytesize::ByteSize;
use serde::Deserialize;
use serde_json::{Value, json};

use super::admin::{before_user, read};
use super::error::Refusal;
use super::fields::{BadField, Fields};
use super::head::Head;
use super::incoming::Incoming;
use super::state::{Engine, State};
use crate::artifact::settings::{Governed, SettingsEdit};
use crate::store::model::{Account, Limit, PackagePolicy, Policy};

/// The word for a limit that is switched off, as in the configuration.
const NONE: &str = "none";
/// Largest limit: what every JSON library reads without loss is less, what can be stored is not more.
const MOST: u64 = i64::MAX as u64;

/// GET /api/v1/admin/owners/{owner}
pub async fn show(state: &State, head: Head<'_>, name: &str) -> Result<HttpResponse, Refusal> {
    let (engine, owner) = before(state, head, name).await?;
    Ok(answer(&owner, &engine.artifacts.governed(&owner)?))
}

/// PATCH /api/v1/admin/owners/{owner}
pub async fn change(
    state: &State,
    head: Head<'_>,
    name: &str,
    body: &Incoming,
) -> Result<HttpResponse, Refusal> {
    let (engine, owner) = before(state, head, name).await?;
    let edit = edit(&Fields::parse(&read(body).await?)?)?;
    engine.artifacts.change_settings(&owner, &edit).await?;
    Ok(answer(&owner, &engine.artifacts.governed(&owner)?))
}

/// What is known against either before a body has come.
pub async fn before<'a>(
    state: &'a State,
    head: Head<'_>,
    name: &str,
) -> Result<(&'a Engine, Account), Refusal> {
    let engine = before_user(state, head).await?;
    let owner = engine.access.account(name)?.ok_or_else(Refusal::no_owner)?;
    Ok((engine, owner))
}

fn edit(fields: &Fields) -> Result<SettingsEdit, BadField> {
    Ok(SettingsEdit {
        policy: fields.setting("policy", |_, value| policy("policy", value))?,
        policies: fields
            .setting("policies", policies)?
            .map(Option::unwrap_or_default),
        max_bytes: fields.setting("max_bytes", size)?,
        max_versions: fields.setting("max_versions", count)?,
        max_file_size: fields.setting("max_file_size", size)?,
    })
}

fn policies(field: &'static str, value: &Value) -> Result<Vec<PackagePolicy>, BadField> {
    let what = "a list of objects with packages and policy";
    let items = value.as_array().ok_or(BadField::Wrong { field, what })?;
    let package_policy = |(entry, item): (usize, &Value)| {
        let item = item.as_object().ok_or(BadField::Wrong { field, what })?;
        let packages = match item.get("packages") {
            Some(Value::String(packages)) => packages.clone(),
            _ => {
                return Err(BadField::Bad(format!(
                    "{field}[{entry}].packages must be a string"
                )));
            }
        };
        let named = item.get("policy").unwrap_or(&Value::Null);
        let policy = policy(&format!("{field}[{entry}].policy"), named)?;
        Ok(PackagePolicy { packages, policy })
    };
    items.iter().enumerate().map(package_policy).collect()
}

fn policy(field: &str, value: &Value) -> Result<Policy, BadField> {
    let known = Policy::deserialize(value);
    known.map_err(|_| BadField::Bad(format!("{field} must be release, package, write-once or cache")))
}

/// A number of bytes, also in human units.
fn size(field: &'static str, value: &Value) -> Result<Limit, BadField> {
    let what = "a number of bytes, a size like \"10GiB\", \"none\" or null";
    let of_text = |text: &str| ByteSize::from_str(text.trim()).ok().map(|size| size.as_u64());
    limit(field, value, what, of_text)
}

fn count(field: &'static str, value: &Value) -> Result<Limit, BadField> {
    limit(field, value, "a whole number from 0, \"none\" or null", |_| None)
}

fn limit(
    field: &'static str,
    value: &Value,
    what: &'static str,
    of_text: impl FnOnce(&str) -> Option<u64>,
) -> Result<Limit, BadField> {
    let most = match value {
        Value::String(text) if text == NONE => return Ok(Limit::Unlimited),
        Value::String(text) => of_text(text),
        Value::Number(number) => number.as_u64(),
        _ => None,
    };
    match most {
        None => Err(BadField::Wrong { field, what }),
        // Sizes that are too large for a number are parsed as the largest one.
        Some(most) if most > MOST => Err(BadField::Bad(format!("{field} must be at most {MOST}"))),
        Some(most) => Ok(Limit::AtMost(most)),
    }
}

/// The fields of PATCH as they are set, then what follows from them.
fn answer(owner: &Account, governed: &Governed) -> HttpResponse {
    let Governed {
        settings,
        limits,
        used,
    } = governed;
    let policies: Vec<Value> = settings
        .policies
        .iter()
        .map(|set| json!({"packages": set.packages, "policy": set.policy}))
        .collect();
    HttpResponse::Ok().json(json!({
        "id": owner.id,
        "owner": owner.name,
        "policy": settings.policy,
        "policies": policies,
        "max_bytes": settings.max_bytes.map(shown),
        "max_versions": settings.max_versions.map(shown),
        "max_file_size": settings.max_file_size.map(shown),
        "limits": {
            "bytes": limits.bytes,
            "versions": limits.versions,
            "file_size": limits.file_size,
        },
        "used": {
            "bytes": used.bytes,
            "versions": used.versions,
            "files": used.files,
        },
    }))
}

fn shown(limit: Limit) -> Value {
    match limit {
        Limit::Unlimited => json!(NONE),
        Limit::AtMost(most) => json!(most),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> Result<SettingsEdit, String> {
        edit(&Fields::parse(text.as_bytes()).unwrap()).map_err(|error| error.to_string())
    }

    #[test]
    fn absent_stays_null_clears_and_the_rest_sets() {
        assert_eq!(parsed(r#"{"other": [5]}"#), Ok(SettingsEdit::default()));
        let cleared = SettingsEdit {
            policy: Some(None),
            policies: Some(Vec::new()),
            max_bytes: Some(None),
            max_versions: Some(None),
            max_file_size: Some(None),
        };
        let nulls = r#"{"policy": null, "policies": null, "max_bytes": null, "max_versions": null,
            "max_file_size": null}"#;
        assert_eq!(parsed(nulls), Ok(cleared));
        let set = SettingsEdit {
            policy: Some(Some(Policy::WriteOnce)),
            policies: Some(vec![PackagePolicy {
                packages: "a*".to_owned(),
                policy: Policy::Cache,
            }]),
            max_bytes: Some(Some(Limit::AtMost(10 << 30))),
            max_versions: Some(Some(Limit::Unlimited)),
            max_file_size: Some(Some(Limit::AtMost(0))),
        };
        let text = r#"{"policy": "write-once", "policies": [{"packages": "a*", "policy": "cache", "more": 1}],
            "max_bytes": "10 GiB", "max_versions": "none", "max_file_size": 0}"#;
        assert_eq!(parsed(text), Ok(set));
    }

    #[test]
    fn what_is_wrong_names_its_field_and_what_is_allowed() {
        let size = "must be a number of bytes, a size like \"10GiB\", \"none\" or null";
        let count = "must be a whole number from 0, \"none\" or null";
        let policy = "must be release, package, write-once or cache";
        let list = "must be a list of objects with packages and policy";
        let most = "must be at most 9223372036854775807";
        for (field, value, what) in [
            ("max_bytes", "-1", size),
            ("max_bytes", "1.5", size),
            ("max_bytes", "1e3", size),
            ("max_bytes", "true", size),
            ("max_bytes", "[1]", size),
            ("max_bytes", r#""ten""#, size),
            ("max_bytes", r#""-1GiB""#, size),
            ("max_bytes", r#""""#, size),
            ("max_bytes", "9223372036854775808", most),
            ("max_bytes", "100000000000000000000", size),
            ("max_file_size", r#""99999999999GiB""#, most),
            ("max_versions", "-1", count),
            ("max_versions", r#""10""#, count),
            ("max_versions", r#""10GiB""#, count),
            ("max_versions", "0.5", count),
            ("policy", r#""keep""#, policy),
            ("policy", r#""Cache""#, policy),
            ("policy", "5", policy),
            ("policies", "{}", list),
            ("policies", "[5]", list),
        ] {
            let error = parsed(&format!("{{\"{field}\": {value}}}")).unwrap_err();
            assert_eq!(error, format!("{field} {what}"), "{value}");
        }
        for (item, error) in [
            (
                r#"{"policy": "cache"}"#,
                "policies[1].packages must be a string".to_owned(),
            ),
            (r#"{"packages": "x"}"#, format!("policies[1].policy {policy}")),
            (
                r#"{"packages": "x", "policy": null}"#,
                format!("policies[1].policy {policy}"),
            ),
        ] {
            let text = format!(r#"{{"policies": [{{"packages": "a", "policy": "cache"}}, {item}]}}"#);
            assert_eq!(parsed(&text), Err(error), "{item}");
        }
    }
}
