//! What is set for an owner, and what changes it.

use std::str::FromStr;

use bytesize::ByteSize;
use serde::de::Error;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Value;
use utoipa::ToSchema;
use utoipa::openapi::{ObjectBuilder, OneOfBuilder, Schema, Type};

use crate::artifact::settings::{Governed, SettingsEdit};
use crate::store::model::{self, Account, Id, Limit, Policy};

/// The word for a limit that is switched off, as in the configuration.
const NONE: &str = "none";
/// Largest limit: what every JSON library reads without loss is less, what can be stored is not more.
const MOST: u64 = i64::MAX as u64;

/// The fields of a change as they are set, then what follows from them.
#[derive(Serialize, ToSchema)]
pub struct Owner {
    id: Id,
    owner: String,
    /// What happens to a name that is taken; null: as the configuration says.
    #[schema(value_type = Option<PolicyName>, required = true)]
    policy: Option<Policy>,
    policies: Vec<PackagePolicy>,
    /// Null: as the configuration says.
    #[schema(schema_with = count_schema, required = true)]
    max_bytes: Option<Shown>,
    /// Null: as the configuration says.
    #[schema(schema_with = count_schema, required = true)]
    max_versions: Option<Shown>,
    /// Null: as the configuration says.
    #[schema(schema_with = count_schema, required = true)]
    max_file_size: Option<Shown>,
    limits: Limits,
    used: Used,
}

/// The limits that hold; null is none.
#[derive(Serialize, ToSchema)]
struct Limits {
    #[schema(required = true)]
    bytes: Option<u64>,
    #[schema(required = true)]
    versions: Option<u64>,
    #[schema(required = true)]
    file_size: Option<u64>,
}

/// What the owner holds.
#[derive(Serialize, ToSchema)]
struct Used {
    bytes: u64,
    versions: u64,
    files: u64,
}

impl Owner {
    /// As it stands.
    pub fn of(owner: &Account, governed: &Governed) -> Self {
        let Governed {
            settings,
            limits,
            used,
        } = governed;
        let policies = settings.policies.iter().map(|set| PackagePolicy {
            packages: set.packages.clone(),
            policy: set.policy,
        });
        Owner {
            id: owner.id,
            owner: owner.name.clone(),
            policy: settings.policy,
            policies: policies.collect(),
            max_bytes: settings.max_bytes.map(Shown),
            max_versions: settings.max_versions.map(Shown),
            max_file_size: settings.max_file_size.map(Shown),
            limits: Limits {
                bytes: limits.bytes,
                versions: limits.versions,
                file_size: limits.file_size,
            },
            used: Used {
                bytes: used.bytes,
                versions: used.versions,
                files: used.files,
            },
        }
    }
}

/// A limit as it is sent.
struct Shown(Limit);

impl Serialize for Shown {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            Limit::Unlimited => serializer.serialize_str(NONE),
            Limit::AtMost(most) => serializer.serialize_u64(most),
        }
    }
}

/// A number, `none` for no limit, or null for nothing said.
fn count_schema() -> Schema {
    limit_schema("^none$")
}

/// The same, and numbers with a unit.
fn size_schema() -> Schema {
    limit_schema("^([0-9]{1,6} ?([kKMG]i?)?B|none)$")
}

fn limit_schema(text: &str) -> Schema {
    let of = |kind| ObjectBuilder::new().schema_type(kind);
    let number = of(Type::Integer).minimum(Some(0)).maximum(Some(MOST));
    OneOfBuilder::new()
        .item(number)
        .item(of(Type::String).pattern(Some(text)))
        .item(of(Type::Null))
        .build()
        .into()
}

/// What is to change; what is absent stays as it is, and null clears it, so that the configuration counts.
#[derive(Deserialize, ToSchema)]
pub struct EditOwner {
    #[serde(default, deserialize_with = "setting")]
    #[schema(value_type = Option<PolicyName>)]
    policy: Option<Option<Named>>,
    /// For globs of packages; the most specific match wins.
    #[serde(default, deserialize_with = "setting")]
    #[schema(value_type = Option<Vec<PackagePolicy>>)]
    policies: Option<Option<Vec<PackagePolicy>>>,
    /// Bytes of all files: a number, a size like `10GiB`, or `none`.
    #[serde(default, deserialize_with = "setting")]
    #[schema(schema_with = size_schema)]
    max_bytes: Option<Option<Size>>,
    /// Versions: a number, or `none`.
    #[serde(default, deserialize_with = "setting")]
    #[schema(schema_with = count_schema)]
    max_versions: Option<Option<Count>>,
    /// Bytes of one file: a number, a size like `10GiB`, or `none`.
    #[serde(default, deserialize_with = "setting")]
    #[schema(schema_with = size_schema)]
    max_file_size: Option<Option<Size>>,
}

impl From<EditOwner> for SettingsEdit {
    fn from(edit: EditOwner) -> Self {
        let policies = edit.policies.map(Option::unwrap_or_default);
        let policies =
            policies.map(|policies| policies.into_iter().map(model::PackagePolicy::from).collect());
        SettingsEdit {
            policy: edit.policy.map(|policy| policy.map(|Named(policy)| policy)),
            policies,
            max_bytes: edit.max_bytes.map(|size| size.map(|Size(limit)| limit)),
            max_versions: edit.max_versions.map(|count| count.map(|Count(limit)| limit)),
            max_file_size: edit.max_file_size.map(|size| size.map(|Size(limit)| limit)),
        }
    }
}

/// The policy of some packages of an owner.
#[derive(Serialize, Deserialize, ToSchema)]
struct PackagePolicy {
    /// A glob of package names.
    #[schema(example = "app-*")]
    packages: String,
    #[serde(deserialize_with = "policy")]
    #[schema(value_type = PolicyName)]
    policy: Policy,
}

impl From<PackagePolicy> for model::PackagePolicy {
    fn from(set: PackagePolicy) -> Self {
        model::PackagePolicy {
            packages: set.packages,
            policy: set.policy,
        }
    }
}

/// What happens to a name that is taken.
#[derive(ToSchema)]
#[schema(rename_all = "kebab-case")]
#[expect(dead_code, reason = "only described, never made")]
enum PolicyName {
    Release,
    Package,
    WriteOnce,
    Cache,
}

/// A policy by name.
#[derive(Deserialize)]
struct Named(#[serde(deserialize_with = "policy")] Policy);

fn policy<'de, D: Deserializer<'de>>(json: D) -> Result<Policy, D::Error> {
    let known = Policy::deserialize(Value::deserialize(json)?);
    known.map_err(|_| D::Error::custom("must be release, package, write-once or cache"))
}

/// A number of bytes, also in human units.
struct Size(Limit);

impl<'de> Deserialize<'de> for Size {
    fn deserialize<D: Deserializer<'de>>(json: D) -> Result<Self, D::Error> {
        let what = "must be a number of bytes, a size like \"10GiB\", \"none\" or null";
        let of_text = |text: &str| ByteSize::from_str(text.trim()).ok().map(|size| size.as_u64());
        limit(json, what, of_text).map(Size)
    }
}

/// A number of things.
struct Count(Limit);

impl<'de> Deserialize<'de> for Count {
    fn deserialize<D: Deserializer<'de>>(json: D) -> Result<Self, D::Error> {
        limit(json, "must be a whole number from 0, \"none\" or null", |_| None).map(Count)
    }
}

fn limit<'de, D: Deserializer<'de>>(
    json: D,
    what: &'static str,
    of_text: impl FnOnce(&str) -> Option<u64>,
) -> Result<Limit, D::Error> {
    let most = match Value::deserialize(json)? {
        Value::String(text) if text == NONE => return Ok(Limit::Unlimited),
        Value::String(text) => of_text(&text),
        Value::Number(number) => number.as_u64(),
        _ => None,
    };
    match most {
        None => Err(D::Error::custom(what)),
        // Sizes that are too large for a number are parsed as the largest one.
        Some(most) if most > MOST => Err(D::Error::custom(format!("must be at most {MOST}"))),
        Some(most) => Ok(Limit::AtMost(most)),
    }
}

/// What is to become of a setting: `None` where the field is absent, `Some(None)` where it is `null`.
fn setting<'de, D: Deserializer<'de>, T: Deserialize<'de>>(json: D) -> Result<Option<Option<T>>, D::Error> {
    Option::<T>::deserialize(json).map(Some)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::http::fields::parse;
    use crate::store::model::PackagePolicy;

    fn parsed(text: &str) -> Result<SettingsEdit, String> {
        let edit = parse::<EditOwner>(text.as_bytes());
        edit.map(SettingsEdit::from).map_err(|error| error.to_string())
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
        ] {
            let error = parsed(&format!("{{\"{field}\": {value}}}")).unwrap_err();
            assert_eq!(error, format!("{field} {what}"), "{value}");
        }
        for (item, error) in [
            (
                r#"{"policy": "cache"}"#,
                "policies[1].packages is missing".to_owned(),
            ),
            (r#"{"packages": "x"}"#, "policies[1].policy is missing".to_owned()),
            (
                r#"{"packages": 5, "policy": "cache"}"#,
                "policies[1].packages must be a string, not a number".to_owned(),
            ),
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
