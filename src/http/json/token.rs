//! Gitea's `AccessToken`, and what makes one.

use jiff::Timestamp;
use serde::{Deserialize, Deserializer, Serialize};
use utoipa::ToSchema;

use super::super::fields::word;
use super::time;
use crate::access::{NewToken, Scopes};
use crate::store::model::{self, Id, Millis, Token};

/// A token.
#[derive(Serialize, ToSchema)]
pub struct AccessToken {
    id: Id,
    name: String,
    /// The token itself, once: when it has just been created. Otherwise empty.
    sha1: String,
    token_last_eight: String,
    scopes: Vec<&'static str>,
    #[schema(format = DateTime)]
    created_at: String,
    /// When it was last used, to the second or so; null: not that anybody knows.
    #[schema(format = DateTime, required = true)]
    last_used_at: Option<String>,
    /// From when on it is wrong; null: never.
    #[schema(format = DateTime, required = true)]
    expires_at: Option<String>,
    /// What it is narrowed to; empty: everything that its account may do.
    grants: Vec<Grant>,
}

impl AccessToken {
    /// As it is shown; `secret` is empty except right after its creation.
    pub fn of(token: &Token, last_used: Option<Millis>, secret: &str) -> Self {
        AccessToken {
            id: token.id,
            name: token.name.clone(),
            sha1: secret.to_owned(),
            token_last_eight: token.last_eight.clone(),
            scopes: Scopes(token.scopes).names(),
            created_at: time(token.created),
            last_used_at: last_used.map(time),
            expires_at: token.expires.map(time),
            grants: token.grants.iter().map(Grant::from).collect(),
        }
    }
}

/// A part of what an account may do.
#[derive(Serialize, Deserialize, ToSchema)]
pub struct Grant {
    /// `owner/package`, each a name or a glob.
    #[schema(example = "acme/app-*")]
    packages: String,
    #[serde(deserialize_with = "word")]
    permission: GrantPermission,
}

/// What a token may do with what it is narrowed to.
#[derive(Clone, Copy, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
enum GrantPermission {
    /// Download.
    Read,
    /// Publish and remove, too.
    Write,
}

impl From<&model::Grant> for Grant {
    fn from(grant: &model::Grant) -> Self {
        Grant {
            packages: grant.packages.clone(),
            permission: match grant.write {
                true => GrantPermission::Write,
                false => GrantPermission::Read,
            },
        }
    }
}

impl From<Grant> for model::Grant {
    fn from(grant: Grant) -> Self {
        model::Grant {
            packages: grant.packages,
            write: matches!(grant.permission, GrantPermission::Write),
        }
    }
}

/// A token to be created.
#[derive(Deserialize, ToSchema)]
pub struct CreateToken {
    /// Unique among the tokens of its user.
    #[schema(min_length = 1, max_length = 255)]
    name: String,
    /// `read:package`, `write:package` (which reads, too), `all`, `admin`; `public-only` narrows the others.
    #[schema(value_type = Vec<ScopeName>, required = true, min_items = 1, example = json!(["write:package"]))]
    scopes: Option<Vec<String>>,
    /// From when on it is wrong; never, if absent.
    #[serde(default, deserialize_with = "moment")]
    #[schema(value_type = Option<String>, format = DateTime, example = "2027-01-31T12:00:00Z")]
    expires_at: Option<Timestamp>,
    /// What it is narrowed to; nothing: everything that its account may do.
    grants: Option<Vec<Grant>>,
}

impl From<CreateToken> for NewToken {
    fn from(token: CreateToken) -> Self {
        let grants = token.grants.unwrap_or_default();
        NewToken {
            name: token.name,
            scopes: token.scopes.unwrap_or_default(),
            expires: token.expires_at.map(Timestamp::as_millisecond),
            grants: grants.into_iter().map(model::Grant::from).collect(),
        }
    }
}

/// What a token may be used for.
#[derive(ToSchema)]
#[expect(dead_code, reason = "only described, never made")]
enum ScopeName {
    #[schema(rename = "read:package")]
    ReadPackage,
    #[schema(rename = "write:package")]
    WritePackage,
    #[schema(rename = "all")]
    All,
    #[schema(rename = "admin")]
    Admin,
    #[schema(rename = "public-only")]
    PublicOnly,
}

/// A time in RFC 3339 that may be absent or `null`.
fn moment<'de, D: Deserializer<'de>>(json: D) -> Result<Option<Timestamp>, D::Error> {
    let text = Option::<String>::deserialize(json)?;
    let moment = text.map(|text| text.parse()).transpose();
    moment.map_err(|_| serde::de::Error::custom("must be a time like 2027-01-31T12:00:00Z"))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::http::fields::parse;

    #[test]
    fn tokens_have_giteas_shape() {
        let known = Token {
            id: 8,
            account: 7,
            name: "ci".to_owned(),
            hash: [9; 32],
            last_eight: "12345678".to_owned(),
            scopes: Scopes::WRITE_PACKAGE.0,
            created: 0,
            expires: None,
            grants: Vec::new(),
        };
        let expected = json!({
            "id": 8, "name": "ci", "sha1": "s", "token_last_eight": "12345678", "scopes": ["write:package"],
            "created_at": "1970-01-01T00:00:00Z", "last_used_at": "1970-01-01T00:00:07Z", "expires_at": null,
            "grants": [],
        });
        assert_eq!(
            serde_json::to_value(AccessToken::of(&known, Some(7_000), "s")).unwrap(),
            expected
        );
    }

    #[test]
    fn what_is_wrong_with_a_token_is_named() {
        let wrong = |text: &str| {
            parse::<CreateToken>(text.as_bytes())
                .err()
                .map(|error| error.to_string())
        };
        let grants =
            r#"{"name": "x", "grants": [{"packages": "a/b", "permission": "read"}, {"packages": 5}]}"#;
        for (text, message) in [
            (
                r#"{"name": "x", "scopes": null, "expires_at": null, "grants": null}"#,
                None,
            ),
            (
                r#"{"name": "x", "scopes": ["y", 5]}"#,
                Some("scopes[1] must be a string, not a number"),
            ),
            (
                r#"{"name": "x", "expires_at": "tomorrow"}"#,
                Some("expires_at must be a time like 2027-01-31T12:00:00Z"),
            ),
            (grants, Some("grants[1].packages must be a string, not a number")),
        ] {
            assert_eq!(wrong(text).as_deref(), message, "{text}");
        }
    }
}
