//! Accounts and tokens, in Gitea's own shapes (API.md §6).

use std::time::Duration;

use actix_web::HttpResponse;
use futures_util::StreamExt;
use jiff::Timestamp;
use serde_json::{Value, json};
use tokio::time::timeout;

use super::auth;
use super::error::{Door, Refusal};
use super::fields::{BadField, Fields};
use super::head::Head;
use super::incoming::Incoming;
use super::purge::remove_owner;
use super::state::{Engine, State};
use crate::access::{AccountEdit, Caller, NewToken, NewUser, Scopes, permit_admin, permit_tokens};
use crate::store::error::StoreError;
use crate::store::model::{Account, AccountKind, Grant, Millis, Token, Visibility};

/// Longest body of a call, in bytes.
const MAX_BODY: usize = 64 * 1024;

/// How long a body may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// POST /api/v1/admin/users
pub async fn create_user(state: &State, head: Head<'_>, body: &Incoming) -> Result<HttpResponse, Refusal> {
    let engine = before_user(state, head).await?;
    let fields = Fields::parse(&read(body).await?)?;
    let account = engine.access.create_user(new_user(&fields)?).await?;
    Ok(HttpResponse::Created().json(user(&account, head)))
}

/// What is known against it before its body has come.
pub async fn before_user<'a>(state: &'a State, head: Head<'_>) -> Result<&'a Engine, Refusal> {
    let engine = state.engine()?;
    let caller = auth::caller(state, engine, head, Door::Api).await?;
    permit_admin(&caller).map_err(|denied| Door::Api.denied(denied))?;
    Ok(engine)
}

/// GET /api/v1/admin/users
pub async fn users(state: &State, head: Head<'_>) -> Result<HttpResponse, Refusal> {
    let accounts = before_user(state, head).await?.access.accounts()?;
    let users = accounts
        .iter()
        .filter(|account| account.kind == AccountKind::User);
    let shown: Vec<Value> = users.map(|account| user(account, head)).collect();
    Ok(listed(shown))
}

fn new_user(fields: &Fields) -> Result<NewUser, BadField> {
    Ok(NewUser {
        name: fields.text("username")?.to_owned(),
        password: Some(fields.text("password")?.to_owned()),
        email: fields.optional_text("email")?.unwrap_or_default().to_owned(),
        visibility: visibility(fields)?.unwrap_or_default(),
        active: fields.flag("active", true)?,
        admin: fields.flag("admin", false)?,
    })
}

/// The field `visibility`.
pub fn visibility(fields: &Fields) -> Result<Option<Visibility>, BadField> {
    let (field, what) = ("visibility", "public, limited or private");
    match fields.optional_text(field)? {
        None | Some("") => Ok(None),
        Some("public") => Ok(Some(Visibility::Public)),
        Some("limited") => Ok(Some(Visibility::Limited)),
        Some("private") => Ok(Some(Visibility::Private)),
        Some(_) => Err(BadField::Wrong { field, what }),
    }
}

/// PATCH /api/v1/admin/users/{name}
pub async fn edit_user(
    state: &State,
    head: Head<'_>,
    name: &str,
    body: &Incoming,
) -> Result<HttpResponse, Refusal> {
    let engine = before_user(state, head).await?;
    let fields = Fields::parse(&read(body).await?)?;
    let edit = AccountEdit {
        password: fields.optional_text("password")?.map(str::to_owned),
        email: fields.optional_text("email")?.map(str::to_owned),
        visibility: visibility(&fields)?,
        active: fields.optional_flag("active")?,
        admin: fields.optional_flag("admin")?,
    };
    let account = engine.access.edit_user(name, edit).await?;
    Ok(HttpResponse::Ok().json(user(&account, head)))
}

/// DELETE /api/v1/admin/users/{name}
pub async fn delete_user(state: &State, head: Head<'_>, name: &str) -> Result<HttpResponse, Refusal> {
    let engine = before_user(state, head).await?;
    let account = engine.access.account(name)?;
    let account = account.filter(|account| account.kind == AccountKind::User);
    remove_owner(engine, &account.ok_or_else(Refusal::no_owner)?, head).await
}

/// POST /api/v1/users/{user}/tokens
pub async fn create_token(
    state: &State,
    head: Head<'_>,
    name: &str,
    body: &Incoming,
) -> Result<HttpResponse, Refusal> {
    let (engine, account) = before_token(state, head, name).await?;
    let fields = Fields::parse(&read(body).await?)?;
    let (created, secret) = engine.access.create_token(&account, &new_token(&fields)?).await?;
    Ok(HttpResponse::Created().json(token(&created, None, secret.expose())))
}

/// What is known against it, and against any other call about a user's tokens, before its body has come.
pub async fn before_token<'a>(
    state: &'a State,
    head: Head<'_>,
    name: &str,
) -> Result<(&'a Engine, Account), Refusal> {
    let engine = state.engine()?;
    let caller = auth::caller(state, engine, head, Door::Api).await?;
    let denied = |denied| Door::Api.denied(denied);
    match engine.access.account(name)? {
        Some(account) => {
            permit_tokens(&caller, &account).map_err(denied)?;
            Ok((engine, account))
        }
        None => {
            // Only admins learn who does not exist.
            permit_admin(&caller).map_err(denied)?;
            Err(Refusal::no_owner())
        }
    }
}

/// GET /api/v1/users/{user}/tokens
pub async fn tokens(state: &State, head: Head<'_>, name: &str) -> Result<HttpResponse, Refusal> {
    let (engine, account) = before_token(state, head, name).await?;
    let tokens = engine.access.tokens(&account)?;
    let shown: Result<Vec<Value>, StoreError> = tokens
        .iter()
        .map(|known| Ok(token(known, engine.access.last_use(known)?, "")))
        .collect();
    Ok(listed(shown?))
}

fn new_token(fields: &Fields) -> Result<NewToken, BadField> {
    Ok(NewToken {
        name: fields.text("name")?.to_owned(),
        scopes: fields.texts("scopes")?.into_iter().map(str::to_owned).collect(),
        expires: fields.time("expires_at")?,
        grants: fields
            .objects("grants")?
            .iter()
            .map(grant)
            .collect::<Result<_, _>>()?,
    })
}

fn grant(fields: &Fields) -> Result<Grant, BadField> {
    let (field, what) = ("permission", "read or write");
    Ok(Grant {
        packages: fields.text("packages")?.to_owned(),
        write: match fields.text(field)? {
            "read" => false,
            "write" => true,
            _ => return Err(BadField::Wrong { field, what }),
        },
    })
}

/// A list as a response.
pub fn listed(items: Vec<Value>) -> HttpResponse {
    HttpResponse::Ok()
        .insert_header(("x-total-count", items.len().to_string()))
        .json(items)
}

/// DELETE /api/v1/users/{user}/tokens/{id or name}
pub async fn revoke_token(
    state: &State,
    head: Head<'_>,
    name: &str,
    id_or_name: &str,
) -> Result<HttpResponse, Refusal> {
    let (engine, account) = before_token(state, head, name).await?;
    engine.access.revoke_token(&account, id_or_name).await?;
    Ok(HttpResponse::NoContent().finish())
}

/// GET /api/v1/user
pub async fn me(state: &State, head: Head<'_>) -> Result<HttpResponse, Refusal> {
    let engine = state.engine()?;
    let caller: Caller = auth::caller(state, engine, head, Door::Api).await?;
    let account = &auth::signed_in(&caller, Door::Api)?.account;
    Ok(HttpResponse::Ok().json(user(account, head)))
}

/// The whole body, within bounds.
pub async fn read(body: &Incoming) -> Result<Vec<u8>, Refusal> {
    let mut body = body.clone();
    let collect = async {
        let mut collected = Vec::new();
        while let Some(piece) = body.next().await {
            let piece = piece.map_err(|error| Refusal::bad_request("incomplete-body", error.to_string()))?;
            if collected.len() + piece.len() > MAX_BODY {
                return Err(Refusal::body_too_large(MAX_BODY));
            }
            collected.extend_from_slice(&piece);
        }
        Ok(collected)
    };
    let slow = |_| Refusal::slow_body(PATIENCE.as_secs());
    timeout(PATIENCE, collect).await.map_err(slow)?
}

/// Gitea's `User`. What Larder does not have is there with the value of "none".
pub fn user(account: &Account, head: Head<'_>) -> Value {
    json!({
        "id": account.id,
        "login": account.name,
        "login_name": "",
        "source_id": 0,
        "full_name": "",
        "email": account.email,
        "avatar_url": "",
        "html_url": format!("{}/{}", head.base_url(), account.name),
        "language": "",
        "is_admin": account.admin,
        "last_login": time(0),
        "created": time(account.created),
        "restricted": false,
        "active": account.active,
        "prohibit_login": false,
        "location": "",
        "website": "",
        "description": "",
        "visibility": account.visibility,
        "followers_count": 0,
        "following_count": 0,
        "starred_repos_count": 0,
        "username": account.name,
    })
}

/// Gitea's `AccessToken`. `sha1` is the secret, shown once.
fn token(token: &Token, last_used: Option<Millis>, secret: &str) -> Value {
    json!({
        "id": token.id,
        "name": token.name,
        "sha1": secret,
        "token_last_eight": token.last_eight,
        "scopes": Scopes(token.scopes).names(),
        "created_at": time(token.created),
        "last_used_at": last_used.map(time),
        "expires_at": token.expires.map(time),
        "grants": token.grants.iter().map(shown_grant).collect::<Vec<_>>(),
    })
}

fn shown_grant(grant: &Grant) -> Value {
    json!({
        "packages": grant.packages,
        "permission": if grant.write { "write" } else { "read" },
    })
}

/// RFC 3339, in whole seconds as Gitea has it.
pub fn time(millis: Millis) -> String {
    let time = Timestamp::from_second(millis.div_euclid(1000)).unwrap_or(Timestamp::UNIX_EPOCH);
    time.to_string()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use actix_web::test::TestRequest;

    use super::*;

    fn parsed(text: &str) -> Result<NewUser, String> {
        new_user(&Fields::parse(text.as_bytes()).unwrap()).map_err(|error| error.to_string())
    }

    #[test]
    fn users_are_public_and_active_unless_said_otherwise() {
        let user = parsed(r#"{"username": "ann", "password": "p", "must_change_password": true}"#).unwrap();
        assert_eq!(
            (user.visibility, user.active, user.admin),
            (Visibility::Public, true, false)
        );
        assert_eq!((user.name.as_str(), user.email.as_str()), ("ann", ""));
        let user = parsed(
            r#"{"username": "bot", "password": "p", "visibility": "private", "active": false, "admin": true}"#,
        );
        let user = user.unwrap();
        assert_eq!(
            (user.visibility, user.active, user.admin),
            (Visibility::Private, false, true)
        );
    }

    #[test]
    fn what_is_wrong_with_a_user_is_named() {
        for (text, message) in [
            (r#"{"password": "p"}"#, "username is required"),
            (r#"{"username": 5, "password": "p"}"#, "username must be a string"),
            (
                r#"{"username": "a", "password": "p", "admin": "yes"}"#,
                "admin must be true or false",
            ),
            (
                r#"{"username": "a", "password": "p", "visibility": "secret"}"#,
                "visibility must be public, limited or private",
            ),
        ] {
            assert_eq!(parsed(text).err().as_deref(), Some(message), "{text}");
        }
    }

    #[tokio::test]
    async fn users_and_tokens_have_giteas_shape_and_no_secrets() {
        let account = Account {
            id: 7,
            name: "Ann".to_owned(),
            kind: crate::store::model::AccountKind::User,
            visibility: Visibility::Limited,
            active: true,
            admin: false,
            email: "ann@example.org".to_owned(),
            password: Some("$argon2id$secret".to_owned()),
            created: 1_234_567_890_123,
        };
        let request = TestRequest::get()
            .insert_header(("host", "example.org"))
            .to_http_request();
        let shown = user(&account, Head::from(&request));
        assert_eq!(shown["login"], "Ann");
        assert_eq!(shown["visibility"], "limited");
        assert_eq!(shown["created"], "2009-02-13T23:31:30Z");
        assert_eq!(shown["html_url"], "http://example.org/Ann");
        assert!(!shown.to_string().contains("argon2"));

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
        assert_eq!(token(&known, Some(7_000), "s"), expected);
    }
}
