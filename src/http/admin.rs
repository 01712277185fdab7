//! Accounts and tokens, in Gitea's own shapes (API.md §6).

use actix_web::HttpResponse;

use super::auth;
use super::error::{Door, Refusal};
use super::head::Head;
use super::incoming::Incoming;
use super::json;
use super::json::problem::ApiError;
use super::json::token::{AccessToken, CreateToken};
use super::json::user::{CreateUser, EditUser, User};
use super::openapi::{AtUser, BadBody, BadQuery, Missing, Paging, Purge, Refused, Writing};
use super::paging::listed;
use super::purge::remove_owner;
use super::state::{Engine, State};
use crate::access::{AccountEdit, Caller, NewToken, NewUser, permit_admin, permit_tokens};
use crate::store::model::{Account, AccountKind};
use crate::telemetry::audit::Kind;

/// Create a user
#[utoipa::path(
    post,
    path = "/api/v1/admin/users",
    tag = "accounts",
    request_body = CreateUser,
    responses((status = 201, description = "Created.", body = User), BadBody, Refused, Writing)
)]
pub async fn create_user(state: &State, head: Head<'_>, body: &Incoming) -> Result<HttpResponse, Refusal> {
    let engine = before_user(state, head).await?;
    let new = NewUser::from(json::read::<CreateUser>(head, body).await?);
    head.about((Kind::User, new.name.as_str()));
    let account = engine.access.create_user(new).await?;
    head.about(&account);
    Ok(HttpResponse::Created().json(User::of(&account, head)))
}

/// What is known against it before its body has come.
pub async fn before_user<'a>(state: &'a State, head: Head<'_>) -> Result<&'a Engine, Refusal> {
    let engine = state.engine()?;
    let caller = auth::caller(state, engine, head, Door::Api).await?;
    permit_admin(&caller).map_err(|denied| Door::Api.denied(denied))?;
    Ok(engine)
}

/// All users
///
/// A page has 30 users unless asked for fewer or more, and at most 50.
#[utoipa::path(
    get,
    operation_id = "list_users",
    path = "/api/v1/admin/users",
    tag = "accounts",
    params(Paging),
    responses(
        (status = 200, description = "By name.", body = [User],
            headers(
                ("X-Total-Count" = u64, description = "How many there are on all pages."),
                ("Link" = Option<String>, description = "The next, last, first and previous page, as far as there are."),
            )),
        BadQuery, Refused
    )
)]
pub async fn users(state: &State, head: Head<'_>) -> Result<HttpResponse, Refusal> {
    let accounts = before_user(state, head).await?.access.accounts()?;
    let is_user = |account: &Account| account.kind == AccountKind::User;
    let users: Vec<Account> = accounts.into_iter().filter(is_user).collect();
    listed(&users, |account| Ok(User::of(account, head)), head)
}

/// Change a user
#[utoipa::path(
    patch,
    path = "/api/v1/admin/users/{user}",
    tag = "accounts",
    params(AtUser),
    request_body = EditUser,
    responses((status = 200, description = "As it is now.", body = User), BadBody, Missing, Refused, Writing)
)]
pub async fn edit_user(
    state: &State,
    head: Head<'_>,
    name: &str,
    body: &Incoming,
) -> Result<HttpResponse, Refusal> {
    let engine = before_user(state, head).await?;
    let edit = AccountEdit::from(json::read::<EditUser>(head, body).await?);
    head.changes(edit.fields());
    let account = engine.access.edit_user(name, edit).await?;
    head.about(&account);
    Ok(HttpResponse::Ok().json(User::of(&account, head)))
}

/// Remove a user
///
/// Refused with 422 while the user owns packages, unless these are to go, too.
#[utoipa::path(
    delete,
    path = "/api/v1/admin/users/{user}",
    tag = "accounts",
    params(AtUser, Purge),
    responses(
        (status = 204, description = "Removed."),
        (status = 422, description = "The user owns packages, is the last admin, or a parameter is wrong.",
            body = ApiError),
        Missing, Refused, Writing
    )
)]
pub async fn delete_user(state: &State, head: Head<'_>, name: &str) -> Result<HttpResponse, Refusal> {
    let engine = before_user(state, head).await?;
    let account = engine.access.account(name)?;
    let account = account.filter(|account| account.kind == AccountKind::User);
    remove_owner(engine, &account.ok_or_else(Refusal::no_owner)?, head).await
}

/// Create a token
///
/// Its secret is in the answer, as `sha1`, and is never shown again.
#[utoipa::path(
    post,
    path = "/api/v1/users/{user}/tokens",
    tag = "accounts",
    params(AtUser),
    request_body = CreateToken,
    responses((status = 201, description = "Created.", body = AccessToken), BadBody, Missing, Refused, Writing)
)]
pub async fn create_token(
    state: &State,
    head: Head<'_>,
    name: &str,
    body: &Incoming,
) -> Result<HttpResponse, Refusal> {
    let (engine, account) = before_token(state, head, name).await?;
    let new = NewToken::from(json::read::<CreateToken>(head, body).await?);
    head.about((Kind::Token, new.name.as_str()));
    let (created, secret) = engine.access.create_token(&account, &new).await?;
    head.about(&created);
    Ok(HttpResponse::Created().json(AccessToken::of(&created, None, secret.expose())))
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

/// The tokens of a user
#[utoipa::path(
    get,
    operation_id = "list_tokens",
    path = "/api/v1/users/{user}/tokens",
    tag = "accounts",
    params(AtUser, Paging),
    responses(
        (status = 200, description = "Without their secrets.", body = [AccessToken],
            headers(
                ("X-Total-Count" = u64, description = "How many there are on all pages."),
                ("Link" = Option<String>, description = "The next, last, first and previous page, as far as there are."),
            )),
        BadQuery, Missing, Refused
    )
)]
pub async fn tokens(state: &State, head: Head<'_>, name: &str) -> Result<HttpResponse, Refusal> {
    let (engine, account) = before_token(state, head, name).await?;
    let show = |known: &_| Ok(AccessToken::of(known, engine.access.last_use(known)?, ""));
    listed(&engine.access.tokens(&account)?, show, head)
}

/// Revoke a token, at once
#[utoipa::path(
    delete,
    path = "/api/v1/users/{user}/tokens/{token}",
    tag = "accounts",
    params(AtUser, ("token" = String, Path, description = "Its id or name.")),
    responses((status = 204, description = "Revoked."), Missing, Refused, Writing)
)]
pub async fn revoke_token(
    state: &State,
    head: Head<'_>,
    name: &str,
    id_or_name: &str,
) -> Result<HttpResponse, Refusal> {
    let (engine, account) = before_token(state, head, name).await?;
    let revoked = engine.access.revoke_token(&account, id_or_name).await?;
    head.about(&revoked);
    Ok(HttpResponse::NoContent().finish())
}

/// Who am I
#[utoipa::path(
    get,
    operation_id = "current_user",
    path = "/api/v1/user",
    tag = "accounts",
    responses((status = 200, description = "The account that has signed in.", body = User), Refused)
)]
pub async fn me(state: &State, head: Head<'_>) -> Result<HttpResponse, Refusal> {
    let engine = state.engine()?;
    let caller: Caller = auth::caller(state, engine, head, Door::Api).await?;
    let account = &auth::signed_in(&caller, Door::Api)?.account;
    Ok(HttpResponse::Ok().json(User::of(account, head)))
}
