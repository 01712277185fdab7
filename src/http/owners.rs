//! What is set for an owner, and what it holds beside its limits (API.md §6).

use actix_web::HttpResponse;

use super::admin::before_user;
use super::error::Refusal;
use super::head::Head;
use super::incoming::Incoming;
use super::json;
use super::json::owner::{EditOwner, Owner};
use super::openapi::{AtOwner, BadBody, Missing, Refused, Writing};
use super::state::{Engine, State};
use crate::artifact::settings::SettingsEdit;
use crate::store::model::Account;

/// What is set for an owner, and what it holds
#[utoipa::path(
    get,
    operation_id = "get_owner",
    path = "/api/v1/admin/owners/{owner}",
    tag = "administration",
    params(AtOwner),
    responses((status = 200, description = "What is set, what follows from it, and what is used.", body = Owner),
        Missing, Refused)
)]
pub async fn show(state: &State, head: Head<'_>, name: &str) -> Result<HttpResponse, Refusal> {
    let (engine, owner) = before(state, head, name).await?;
    Ok(HttpResponse::Ok().json(Owner::of(&owner, &engine.artifacts.governed(&owner)?)))
}

/// Set policies and limits of an owner
///
/// What is absent stays as it is; null clears what was set, so that the configuration counts.
#[utoipa::path(
    patch,
    operation_id = "edit_owner",
    path = "/api/v1/admin/owners/{owner}",
    tag = "administration",
    params(AtOwner),
    request_body = EditOwner,
    responses((status = 200, description = "As it is now.", body = Owner), BadBody, Missing, Refused, Writing)
)]
pub async fn change(
    state: &State,
    head: Head<'_>,
    name: &str,
    body: &Incoming,
) -> Result<HttpResponse, Refusal> {
    let (engine, owner) = before(state, head, name).await?;
    let edit = SettingsEdit::from(json::read::<EditOwner>(head, body).await?);
    head.about(&owner);
    head.changes(edit.fields());
    engine.artifacts.change_settings(&owner, &edit).await?;
    Ok(HttpResponse::Ok().json(Owner::of(&owner, &engine.artifacts.governed(&owner)?)))
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
