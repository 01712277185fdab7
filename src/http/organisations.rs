//! Organisations and their members (API.md §6).

use actix_web::HttpResponse;

use super::auth;
use super::error::{Door, Refusal};
use super::head::Head;
use super::incoming::Incoming;
use super::json;
use super::json::organisation::{CreateOrganization, EditOrganization, Member, Organization, PutMember};
use super::json::problem::ApiError;
use super::openapi::{AtOrganization, AtUser, BadBody, BadQuery, Missing, Paging, Purge, Refused, Writing};
use super::paging::listed;
use super::purge::remove_owner;
use super::state::{Engine, State};
use crate::access::{
    Action, Caller, Denied, Target, permit, permit_admin, permit_management, permit_new_organisation,
    permit_removal,
};
use crate::store::model::{Account, Permission};
use crate::telemetry::audit::Kind;

/// Create an organisation
///
/// Whoever creates it becomes its first admin.
#[utoipa::path(
    post,
    operation_id = "create_organization",
    path = "/api/v1/orgs",
    tag = "accounts",
    request_body = CreateOrganization,
    responses((status = 201, description = "Created.", body = Organization), BadBody, Refused, Writing)
)]
pub async fn create(state: &State, head: Head<'_>, body: &Incoming) -> Result<HttpResponse, Refusal> {
    let (engine, caller) = before_create(state, head).await?;
    let new: CreateOrganization = json::read(head, body).await?;
    head.about((Kind::Organisation, new.username.as_str()));
    let creator = &auth::signed_in(&caller, Door::Api)?.account;
    let created = engine
        .access
        .create_organisation(&new.username, new.visibility.unwrap_or_default(), Some(creator))
        .await?;
    head.about(&created);
    Ok(HttpResponse::Created().json(Organization::of(&created, head)))
}

/// What is known against it before its body has come.
pub async fn before_create<'a>(state: &'a State, head: Head<'_>) -> Result<(&'a Engine, Caller), Refusal> {
    let engine = state.engine()?;
    let caller = auth::caller(state, engine, head, Door::Api).await?;
    let open = state.options().users_create_organisations;
    permit_new_organisation(&caller, open).map_err(|denied| Door::Api.denied(denied))?;
    Ok((engine, caller))
}

/// An organisation
#[utoipa::path(
    get,
    operation_id = "get_organization",
    path = "/api/v1/orgs/{org}",
    tag = "accounts",
    params(AtOrganization),
    responses((status = 200, description = "As it is.", body = Organization), Missing, Refused)
)]
pub async fn get(state: &State, head: Head<'_>, name: &str) -> Result<HttpResponse, Refusal> {
    let (_, found) = visible(state, head, name).await?;
    Ok(HttpResponse::Ok().json(Organization::of(&found, head)))
}

/// Change an organisation
#[utoipa::path(
    patch,
    operation_id = "edit_organization",
    path = "/api/v1/orgs/{org}",
    tag = "accounts",
    params(AtOrganization),
    request_body = EditOrganization,
    responses(
        (status = 200, description = "As it is now.", body = Organization),
        BadBody, Missing, Refused, Writing
    )
)]
pub async fn edit(
    state: &State,
    head: Head<'_>,
    name: &str,
    body: &Incoming,
) -> Result<HttpResponse, Refusal> {
    let (engine, found) = managed(state, head, name).await?;
    let EditOrganization { visibility } = json::read(head, body).await?;
    head.about(&found);
    head.changes(visibility.iter().map(|_| "visibility").collect());
    let edited = engine.access.edit_organisation(&found, visibility).await?;
    Ok(HttpResponse::Ok().json(Organization::of(&edited, head)))
}

/// Remove an organisation
///
/// Refused with 422 while it owns packages, unless these are to go, too.
#[utoipa::path(
    delete,
    operation_id = "delete_organization",
    path = "/api/v1/orgs/{org}",
    tag = "accounts",
    params(AtOrganization, Purge),
    responses(
        (status = 204, description = "Removed."),
        (status = 422, description = "The organisation owns packages, or a parameter is wrong.", body = ApiError),
        Missing, Refused, Writing
    )
)]
pub async fn delete(state: &State, head: Head<'_>, name: &str) -> Result<HttpResponse, Refusal> {
    let (engine, found) = managed(state, head, name).await?;
    remove_owner(engine, &found, head).await
}

/// The members of an organisation
#[utoipa::path(
    get,
    operation_id = "list_members",
    path = "/api/v1/orgs/{org}/members",
    tag = "accounts",
    params(AtOrganization, Paging),
    responses(
        (status = 200, description = "With what they may do.", body = [Member],
            headers(
                ("X-Total-Count" = u64, description = "How many there are on all pages."),
                ("Link" = Option<String>, description = "The next, last, first and previous page, as far as there are."),
            )),
        BadQuery, Missing, Refused
    )
)]
pub async fn members(state: &State, head: Head<'_>, name: &str) -> Result<HttpResponse, Refusal> {
    let (engine, found) = visible(state, head, name).await?;
    let members = engine.access.members(&found)?;
    let show = |(account, permission): &(_, _)| Ok(Member::of(account, *permission, head));
    listed(&members, show, head)
}

/// Make a user a member, or change what a member may do
#[utoipa::path(
    put,
    path = "/api/v1/orgs/{org}/members/{user}",
    tag = "accounts",
    params(AtOrganization, AtUser),
    request_body = PutMember,
    responses((status = 204, description = "So it is."), BadBody, Missing, Refused, Writing)
)]
pub async fn put_member(
    state: &State,
    head: Head<'_>,
    name: &str,
    user: &str,
    body: &Incoming,
) -> Result<HttpResponse, Refusal> {
    let (engine, found) = managed(state, head, name).await?;
    let PutMember { permission } = json::read(head, body).await?;
    head.changes(vec!["permission"]);
    engine.access.put_member(&found, user, permission).await?;
    Ok(HttpResponse::NoContent().finish())
}

/// Take a member out of an organisation
///
/// Whoever manages it may, and a member may leave.
#[utoipa::path(
    delete,
    path = "/api/v1/orgs/{org}/members/{user}",
    tag = "accounts",
    params(AtOrganization, AtUser),
    responses((status = 204, description = "Out."), Missing, Refused, Writing)
)]
pub async fn remove_member(
    state: &State,
    head: Head<'_>,
    name: &str,
    user: &str,
) -> Result<HttpResponse, Refusal> {
    let may = |caller: &Caller, membership| permit_removal(caller, user, membership);
    let (engine, found) = permitted(state, head, name, may).await?;
    engine.access.remove_member(&found, user).await?;
    Ok(HttpResponse::NoContent().finish())
}

/// The organisation, if the caller may manage it. What is known against it before a body has come.
pub async fn managed<'a>(
    state: &'a State,
    head: Head<'_>,
    name: &str,
) -> Result<(&'a Engine, Account), Refusal> {
    permitted(state, head, name, permit_management).await
}

/// The organisation, if `permit` says so of the caller and what they are in it.
async fn permitted<'a>(
    state: &'a State,
    head: Head<'_>,
    name: &str,
    permit: impl FnOnce(&Caller, Option<Permission>) -> Result<(), Denied>,
) -> Result<(&'a Engine, Account), Refusal> {
    let engine = state.engine()?;
    let caller = auth::caller(state, engine, head, Door::Api).await?;
    auth::not_anonymous(&caller, Door::Api)?;
    let found = engine.access.organisation(name)?.ok_or_else(Refusal::no_owner)?;
    let membership = engine.access.membership(&caller, &found)?;
    match permit(&caller, membership) {
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
