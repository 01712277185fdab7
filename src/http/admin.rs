//! Users and tokens, in Gitea's shapes (API.md §6). Always signed in.

use actix_web::dev::RequestHead;
use actix_web::http::StatusCode;
use actix_web::{HttpRequest, HttpResponse, web};
use futures_util::StreamExt;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::error::Refusal;
use super::gate::{authenticate, engine};
use super::state::{AppState, Engine};
use crate::access::{AccountError, AuthError, Caller, Denied, NewUser, Scopes, permit_admin, permit_tokens};
use crate::store::model::{Account, Millis, Token, Visibility};

/// Longest body that is read, bytes.
const MAX_BODY: usize = 64 * 1024;

type Answer = Result<HttpResponse, ApiError>;

/// A refusal under `/api/v1`, where "may not" is 403 and the body is JSON.
#[derive(Debug)]
pub struct ApiError(Refusal);

impl std::fmt::Display for ApiError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0.message)
    }
}

impl actix_web::ResponseError for ApiError {
    fn status_code(&self) -> StatusCode {
        self.0.status
    }

    fn error_response(&self) -> HttpResponse {
        self.0.respond_api()
    }
}

impl From<Refusal> for ApiError {
    fn from(refusal: Refusal) -> Self {
        ApiError(Refusal {
            challenge: false,
            ..refusal
        })
    }
}

impl From<Denied> for ApiError {
    fn from(denied: Denied) -> Self {
        ApiError(match denied {
            Denied::SignIn => Refusal::new(StatusCode::UNAUTHORIZED, "sign-in-required", "token is required"),
            Denied::Permission | Denied::PublicOnly => {
                Refusal::new(StatusCode::FORBIDDEN, "permission-denied", denied.to_string())
            }
        })
    }
}

impl From<AccountError> for ApiError {
    fn from(error: AccountError) -> Self {
        let status = match error {
            AccountError::NameTaken
            | AccountError::BadName(_)
            | AccountError::BadPassword(_)
            | AccountError::BadEmail => StatusCode::UNPROCESSABLE_ENTITY,
            AccountError::BadScopes(_) | AccountError::BadTokenName | AccountError::TokenNameTaken => {
                StatusCode::BAD_REQUEST
            }
            AccountError::NoSuchUser | AccountError::NoSuchToken => StatusCode::NOT_FOUND,
            AccountError::Commit(error) => return ApiError(error.into()),
            AccountError::Store(error) => return ApiError(error.into()),
        };
        ApiError(Refusal::new(status, error.code(), error.to_string()))
    }
}

/// `GET /api/v1/user`
pub async fn who_am_i(request: HttpRequest, state: web::Data<AppState>) -> Answer {
    let (_, caller) = sign_in(&state, request.head()).await?;
    match caller {
        Caller::Anonymous => Err(Denied::SignIn.into()),
        Caller::User(signed_in) => Ok(HttpResponse::Ok().json(user(&signed_in.account))),
    }
}

/// `GET /api/v1/admin/users`
pub async fn list_users(request: HttpRequest, state: web::Data<AppState>) -> Answer {
    let (engine, caller) = sign_in(&state, request.head()).await?;
    permit_admin(&caller)?;
    let accounts = engine.access.accounts().map_err(Refusal::from)?;
    Ok(HttpResponse::Ok().json(accounts.iter().map(user).collect::<Vec<_>>()))
}

#[derive(Deserialize)]
struct CreateUser {
    username: String,
    password: String,
    #[serde(default)]
    email: String,
    #[serde(default)]
    visibility: Option<Visibility>,
    active: Option<bool>,
    admin: Option<bool>,
}

/// `POST /api/v1/admin/users`
pub async fn create_user(request: HttpRequest, payload: web::Payload, state: web::Data<AppState>) -> Answer {
    let (engine, caller) = sign_in(&state, request.head()).await?;
    permit_admin(&caller)?;
    let new: CreateUser = body(payload).await?;
    let account = engine
        .access
        .create_user(NewUser {
            name: new.username,
            password: new.password,
            email: new.email,
            visibility: new.visibility.unwrap_or_default(),
            active: new.active.unwrap_or(true),
            admin: new.admin.unwrap_or(false),
        })
        .await?;
    Ok(HttpResponse::Created().json(user(&account)))
}

/// `GET /api/v1/users/{name}/tokens`
pub async fn list_tokens(
    request: HttpRequest,
    name: web::Path<String>,
    state: web::Data<AppState>,
) -> Answer {
    let (engine, account) = token_owner(&state, request.head(), &name).await?;
    let tokens = engine.access.tokens(&account).map_err(Refusal::from)?;
    Ok(HttpResponse::Ok().json(tokens.iter().map(|listed| token(listed, "")).collect::<Vec<_>>()))
}

#[derive(Deserialize)]
struct CreateToken {
    name: String,
    #[serde(default)]
    scopes: Vec<String>,
}

/// `POST /api/v1/users/{name}/tokens`
pub async fn create_token(
    request: HttpRequest,
    name: web::Path<String>,
    payload: web::Payload,
    state: web::Data<AppState>,
) -> Answer {
    let (engine, account) = token_owner(&state, request.head(), &name).await?;
    let new: CreateToken = body(payload).await?;
    let (created, secret) = engine
        .access
        .create_token(&account, &new.name, &new.scopes)
        .await?;
    Ok(HttpResponse::Created().json(token(&created, secret.expose())))
}

/// `DELETE /api/v1/users/{name}/tokens/{id or name}`
pub async fn revoke_token(
    request: HttpRequest,
    path: web::Path<(String, String)>,
    state: web::Data<AppState>,
) -> Answer {
    let (name, token) = path.into_inner();
    let (engine, account) = token_owner(&state, request.head(), &name).await?;
    engine.access.revoke_token(&account, &token).await?;
    Ok(HttpResponse::NoContent().finish())
}

/// Anything else under `/api/v1`.
pub async fn unknown() -> HttpResponse {
    Refusal::not_found("not found").respond_api()
}

/// Who asks. Under `/api/v1` an inactive account is 403.
async fn sign_in(state: &AppState, head: &RequestHead) -> Result<(Engine, Caller), ApiError> {
    let engine = engine(state)?;
    match authenticate(state, &engine, head).await {
        Ok(Caller::Anonymous) => Err(Denied::SignIn.into()),
        Ok(caller) => Ok((engine, caller)),
        Err(AuthError::Inactive) => Err(Denied::Permission.into()),
        Err(error) => Err(Refusal::from(error).into()),
    }
}

async fn token_owner(
    state: &AppState,
    head: &RequestHead,
    name: &str,
) -> Result<(Engine, Account), ApiError> {
    let (engine, caller) = sign_in(state, head).await?;
    let account = engine.access.account(name).map_err(Refusal::from)?;
    // Whether somebody exists is for admins to know; for others it is as if they may not.
    let Some(account) = account else {
        permit_admin(&caller)?;
        return Err(AccountError::NoSuchUser.into());
    };
    permit_tokens(&caller, &account)?;
    Ok((engine, account))
}

/// Reads a JSON body. Unknown fields are ignored, as Gitea does.
async fn body<T: DeserializeOwned>(mut payload: web::Payload) -> Result<T, ApiError> {
    let mut bytes = Vec::new();
    while let Some(piece) = payload.next().await {
        let piece = piece.map_err(|error| {
            Refusal::new(
                StatusCode::BAD_REQUEST,
                "incomplete-body",
                format!("the body is incomplete: {error}"),
            )
        })?;
        if bytes.len() + piece.len() > MAX_BODY {
            let message = format!("the body is longer than {MAX_BODY} bytes");
            return Err(Refusal::new(StatusCode::PAYLOAD_TOO_LARGE, "body-too-large", message).into());
        }
        bytes.extend_from_slice(&piece);
    }
    let mut reader = serde_json::Deserializer::from_slice(&bytes);
    serde_path_to_error::deserialize(&mut reader).map_err(|error| {
        let (path, error) = (error.path().to_string(), error.into_inner());
        let status = if error.is_data() {
            StatusCode::UNPROCESSABLE_ENTITY
        } else {
            StatusCode::BAD_REQUEST
        };
        let message = if error.is_data() {
            format!("{path}: {error}")
        } else {
            format!("invalid JSON: {error}")
        };
        Refusal::new(status, "bad-json", message).into()
    })
}

/// Gitea's User.
fn user(account: &Account) -> Value {
    json!({
        "id": account.id,
        "login": account.name,
        "login_name": "",
        "source_id": 0,
        "full_name": "",
        "email": account.email,
        "avatar_url": "",
        "html_url": "",
        "language": "",
        "is_admin": account.admin,
        "last_login": "0001-01-01T00:00:00Z",
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

/// Gitea's AccessToken. The secret is shown once, when it is made.
fn token(token: &Token, secret: &str) -> Value {
    json!({
        "id": token.id,
        "name": token.name,
        "sha1": secret,
        "token_last_eight": token.last_eight,
        "scopes": Scopes(token.scopes).names(),
        "created_at": time(token.created),
    })
}

fn time(millis: Millis) -> String {
    jiff::Timestamp::from_millisecond(millis)
        .map(|time| format!("{time:.0}"))
        .unwrap_or_default()
}
