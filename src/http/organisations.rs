//! Organisations and their members (API.md §6).

use actix_web::HttpResponse;
use serde_json::{Value, json};

use super::admin::{listed, read, user, visibility};
use super::auth;
use super::error::{Door, Refusal};
use super::fields::{BadField, Fields};
use super::head::Head;
use super::incoming::Incoming;
use super::purge::remove_owner;
use super::state::{Engine, State};
use crate::access::{
    Action, Caller, Target, permit, permit_admin, permit_management, permit_new_organisation,
};
use crate::store::model::{Account, Permission};

/// POST /api/v1/orgs
pub async fn create(state: &State, head: Head<'_>, body: &Incoming) -> Result<HttpResponse, Refusal> {
    let (engine, caller) = before_create(state, head).await?;
    let fields = Fields::parse(&read(body).await?)?;
    let visibility = visibility(&fields)?.unwrap_or_default();
    let creator = &auth::signed_in(&caller, Door::Api)?.account;
    let created = engine
        .access
        .create_organisation(fields.text("username")?, visibility, Some(creator))
        .await?;
    Ok(HttpResponse::Created().json(organisation(&created, head)))
}

/// What is known against it before its body has come.
pub async fn before_create<'a>(state: &'a State, head: Head<'_>) -> Result<(&'a Engine, Caller), Refusal> {
    let engine = state.engine()?;
    let caller = auth::caller(state, engine, head, Door::Api).await?;
    let open = state.options().users_create_organisations;
    permit_new_organisation(&caller, open).map_err(|denied| Door::Api.denied(denied))?;
    Ok((engine, caller))
}

/// GET /api/v1/orgs/{org}
pub async fn get(state: &State, head: Head<'_>, name: &str) -> Result<HttpResponse, Refusal> {
    let (_, found) = visible(state, head, name).await?;
    Ok(HttpResponse::Ok().json(organisation(&found, head)))
}

/// PATCH /api/v1/orgs/{org}
pub async fn edit(
    state: &State,
    head: Head<'_>,
    name: &str,
    body: &Incoming,
) -> Result<HttpResponse, Refusal> {
    let (engine, found) = managed(state, head, name).await?;
    let fields = Fields::parse(&read(body).await?)?;
    let edited = engine
        .access
        .edit_organisation(&found, visibility(&fields)?)
        .await?;
    Ok(HttpResponse::Ok().json(organisation(&edited, head)))
}

/// DELETE /api/v1/orgs/{org}
pub async fn delete(state: &State, head: Head<'_>, name: &str) -> Result<HttpResponse, Refusal> {
    let (engine, found) = managed(state, head, name).await?;
    remove_owner(engine, &found, head).await
}

/// GET /api/v1/orgs/{org}/members
pub async fn members(state: &State, head: Head<'_>, name: &str) -> Result<HttpResponse, Refusal> {
    let (engine, found) = visible(state, head, name).await?;
    let members = engine.access.members(&found)?;
    let shown = members.iter().map(|(account, permission)| {
        let mut shown = user(account, head);
        shown["permission"] = json!(permission);
        shown
    });
    Ok(listed(shown.collect()))
}

/// PUT /api/v1/orgs/{org}/members/{user}
pub async fn put_member(
    state: &State,
    head: Head<'_>,
    name: &str,
    user: &str,
    body: &Incoming,
) -> Result<HttpResponse, Refusal> {
    let (engine, found) = managed(state, head, name).await?;
    let fields = Fields::parse(&read(body).await?)?;
    let permission = match fields.text("permission")? {
        "read" => Permission::Read,
        "write" => Permission::Write,
        "admin" => Permission::Admin,
        _ => {
            let (field, what) = ("permission", "read, write or admin");
            return Err(BadField::Wrong { field, what }.into());
        }
    };
    engine.access.put_member(&found, user, permission).await?;
    Ok(HttpResponse::NoContent().finish())
}

/// DELETE /api/v1/orgs/{org}/members/{user}
pub async fn remove_member(
    state: &State,
    head: Head<'_>,
    name: &str,
    user: &str,
) -> Result<HttpResponse, Refusal> {
    let (engine, found) = managed(state, head, name).await?;
    engine.access.remove_member(&found, user).await?;
    Ok(HttpResponse::NoContent().finish())
}

/// The organisation, if the caller may manage it. What is known against it before a body has come.
pub async fn managed<'a>(
    state: &'a State,
    head: Head<'_>,
    name: &str,
) -> Result<(&'a Engine, Account), Refusal> {
    let engine = state.engine()?;
    let caller = auth::caller(state, engine, head, Door::Api).await?;
    auth::not_anonymous(&caller, Door::Api)?;
    let found = engine.access.organisation(name)?.ok_or_else(Refusal::no_owner)?;
    let membership = engine.access.membership(&caller, &found)?;
    match permit_management(&caller, membership) {
        Ok(()) => Ok((engine, found)),
        Err(_) if !sees(&caller, &found, membership) => Err(Refusal::no_owner()),
        Err(denied) => Err(Door::Api.denied(denied)),
    }
}

/// Whether the caller may know that there is such an organisation.
fn sees(caller: &Caller, organisation: &Account, membership: Option<Permission>) -> bool {
    let target = Target {
        owner: organisation,
        package: None,
        membership,
    };
    permit_admin(caller).is_ok() || permit(caller, target, Action::List).is_ok()
}

/// The organisation, if the caller may see it; one that may not be seen is not there.
async fn visible<'a>(state: &'a State, head: Head<'_>, name: &str) -> Result<(&'a Engine, Account), Refusal> {
    let engine = state.engine()?;
    let caller = auth::caller(state, engine, head, Door::Api).await?;
    auth::not_anonymous(&caller, Door::Api)?;
    let found = engine.access.organisation(name)?.ok_or_else(Refusal::no_owner)?;
    let membership = engine.access.membership(&caller, &found)?;
    match sees(&caller, &found, membership) {
        true => Ok((engine, found)),
        false => Err(Refusal::no_owner()),
    }
}

/// Gitea's `Organization`. What Larder does not have is there with the value of "none".
fn organisation(account: &Account, head: Head<'_>) -> Value {
    json!({
        "id": account.id,
        "name": account.name,
        "full_name": "",
        "email": account.email,
        "avatar_url": "",
        "html_url": format!("{}/{}", head.base_url(), account.name),
        "description": "",
        "website": "",
        "location": "",
        "visibility": account.visibility,
        "repo_admin_change_team_access": false,
        "username": account.name,
    })
}
