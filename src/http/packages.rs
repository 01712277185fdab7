//! Packages, versions and files, in Gitea's own shapes (API.md §6).

use actix_web::HttpResponse;

use super::auth;
use super::error::{Door, Refusal};
use super::head::Head;
use super::json::package::{Package, PackageFile};
use super::json::user::User;
use super::openapi::{AtName, AtOwner, AtVersion, BadQuery, Missing, Paging, Refused, Search, Writing};
use super::paging::{DEFAULT_LIMIT, MAX_LIMIT, paged, window};
use super::state::{Engine, State};
use crate::access::{Action, Caller, Target, permit};
use crate::artifact::browse::{Listed, Page, Window};
use crate::artifact::checksums::MAX_FILES;
use crate::store::model::Account;

/// The versions of all packages of an owner, the last created first
///
/// A page has 30 versions unless asked for fewer or more, and at most 50.
#[utoipa::path(
    get,
    operation_id = "list_packages",
    path = "/api/v1/packages/{owner}",
    tag = "packages",
    params(AtOwner, Search, Paging),
    responses(
        (status = 200, description = "A page; the header `Link` leads to the others.", body = [Package], headers(
            ("X-Total-Count" = u64, description = "How many there are on all pages."),
            ("Link" = Option<String>, description = "The next, last, first and previous page, as far as there are."),
        )),
        BadQuery, Missing, Refused
    )
)]
pub async fn list(state: &State, head: Head<'_>, owner: &str) -> Result<HttpResponse, Refusal> {
    let (engine, _, owner) = permitted(state, head, owner, None, Action::List).await?;
    let window = window(head, DEFAULT_LIMIT, MAX_LIMIT)?;
    // There are no packages of other types.
    let other_type = head
        .query("type")
        .is_some_and(|kind| !kind.is_empty() && kind != "generic");
    let page = match other_type {
        true => Page {
            items: Vec::new(),
            total: 0,
        },
        false => engine.artifacts.list(&owner, head.query("q"), window).await?,
    };
    versions(engine, &owner, page, window, head)
}

/// The versions of a package, the last created first
///
/// A page has 30 versions unless asked for fewer or more, and at most 50.
#[utoipa::path(
    get,
    operation_id = "list_versions",
    path = "/api/v1/packages/{owner}/generic/{package_name}",
    tag = "packages",
    params(AtOwner, AtName, Paging),
    responses(
        (status = 200, description = "A page; the header `Link` leads to the others.", body = [Package], headers(
            ("X-Total-Count" = u64, description = "How many there are on all pages."),
            ("Link" = Option<String>, description = "The next, last, first and previous page, as far as there are."),
        )),
        BadQuery, Missing, Refused
    )
)]
pub async fn package(
    state: &State,
    head: Head<'_>,
    owner: &str,
    name: &str,
) -> Result<HttpResponse, Refusal> {
    let (engine, _, owner) = permitted(state, head, owner, Some(name), Action::List).await?;
    let window = window(head, DEFAULT_LIMIT, MAX_LIMIT)?;
    let page = engine.artifacts.list_versions(&owner, name, window).await?;
    versions(engine, &owner, page, window, head)
}

/// The version of a package that was created last
#[utoipa::path(
    get,
    operation_id = "latest_version",
    path = "/api/v1/packages/{owner}/generic/{package_name}/-/latest",
    tag = "packages",
    params(AtOwner, AtName),
    responses(
        (status = 200, description = "The version.", body = Package),
        Missing, Refused
    )
)]
pub async fn latest(state: &State, head: Head<'_>, owner: &str, name: &str) -> Result<HttpResponse, Refusal> {
    let (engine, _, owner) = permitted(state, head, owner, Some(name), Action::List).await?;
    let found = engine.artifacts.latest(&owner, name)?;
    Ok(HttpResponse::Ok().json(shown_version(engine, &owner, &found, head)?))
}

/// A version of a package
#[utoipa::path(
    get,
    operation_id = "get_version",
    path = "/api/v1/packages/{owner}/generic/{package_name}/{package_version}",
    tag = "packages",
    params(AtOwner, AtName, AtVersion),
    responses(
        (status = 200, description = "The version.", body = Package),
        Missing, Refused
    )
)]
pub async fn version(
    state: &State,
    head: Head<'_>,
    owner: &str,
    name: &str,
    version: &str,
) -> Result<HttpResponse, Refusal> {
    let (engine, _, owner) = permitted(state, head, owner, Some(name), Action::List).await?;
    let found = engine.artifacts.version(&owner, name, version)?;
    Ok(HttpResponse::Ok().json(shown_version(engine, &owner, &found, head)?))
}

/// The files of a version, with checksums
///
/// By name. A page has 1000 files unless asked for fewer. Checksums that nobody has asked for yet are computed now,
/// which takes as long as reading the files.
#[utoipa::path(
    get,
    operation_id = "list_files",
    path = "/api/v1/packages/{owner}/generic/{package_name}/{package_version}/files",
    tag = "packages",
    params(AtOwner, AtName, AtVersion, Paging),
    responses(
        (status = 200, description = "A page; the header `Link` leads to the others.", body = [PackageFile], headers(
            ("X-Total-Count" = u64, description = "How many there are on all pages."),
            ("Link" = Option<String>, description = "The next, last, first and previous page, as far as there are."),
        )),
        BadQuery, Missing, Refused
    )
)]
pub async fn files(
    state: &State,
    head: Head<'_>,
    owner: &str,
    name: &str,
    version: &str,
) -> Result<HttpResponse, Refusal> {
    let (engine, _, owner) = permitted(state, head, owner, Some(name), Action::List).await?;
    let window = window(head, MAX_FILES, MAX_FILES)?;
    let found = engine.artifacts.version(&owner, name, version)?;
    let page = engine.artifacts.files(&found.version, window).await?;
    let items = page
        .items
        .iter()
        .map(|(file, sums)| PackageFile::of(file, sums.as_ref()));
    Ok(paged::<Vec<PackageFile>>(
        items.collect(),
        page.total,
        window,
        head,
    ))
}

/// Remove a package with all its versions
#[utoipa::path(
    delete,
    operation_id = "delete_package",
    path = "/api/v1/packages/{owner}/generic/{package_name}",
    tag = "packages",
    params(AtOwner, AtName),
    responses(
        (status = 204, description = "Removed."),
        Missing, Refused, Writing
    )
)]
pub async fn delete_package(
    state: &State,
    head: Head<'_>,
    owner: &str,
    name: &str,
) -> Result<HttpResponse, Refusal> {
    let (engine, _, owner) = permitted(state, head, owner, Some(name), Action::Delete).await?;
    engine.artifacts.remove_package(&owner, name).await?;
    Ok(HttpResponse::NoContent().finish())
}

/// Remove a version with all its files
#[utoipa::path(
    delete,
    operation_id = "delete_package_version",
    path = "/api/v1/packages/{owner}/generic/{package_name}/{package_version}",
    tag = "packages",
    params(AtOwner, AtName, AtVersion),
    responses(
        (status = 204, description = "Removed."),
        Missing, Refused, Writing
    )
)]
pub async fn delete_version(
    state: &State,
    head: Head<'_>,
    owner: &str,
    name: &str,
    version: &str,
) -> Result<HttpResponse, Refusal> {
    let (engine, _, owner) = permitted(state, head, owner, Some(name), Action::Delete).await?;
    engine.artifacts.remove_version(&owner, name, version).await?;
    Ok(HttpResponse::NoContent().finish())
}

/// The sender, who must have signed in, and the owner, if the sender may do this there.
pub async fn permitted<'a>(
    state: &'a State,
    head: Head<'_>,
    owner: &str,
    package: Option<&str>,
    action: Action,
) -> Result<(&'a Engine, Caller, Account), Refusal> {
    let engine = state.engine()?;
    let caller = auth::caller(state, engine, head, Door::Api).await?;
    auth::not_anonymous(&caller, Door::Api)?;
    let owner = engine.access.account(owner)?.ok_or_else(Refusal::no_owner)?;
    let target = Target {
        owner: &owner,
        package,
        membership: engine.access.membership(&caller, &owner)?,
    };
    permit(&caller, target, action).map_err(|denied| Door::Api.denied(denied))?;
    Ok((engine, caller, owner))
}

fn versions(
    engine: &Engine,
    owner: &Account,
    page: Page<Listed>,
    window: Window,
    head: Head<'_>,
) -> Result<HttpResponse, Refusal> {
    let items: Result<Vec<Package>, Refusal> = page
        .items
        .iter()
        .map(|listed| shown_version(engine, owner, listed, head))
        .collect();
    Ok(paged(items?, page.total, window, head))
}

fn shown_version(
    engine: &Engine,
    owner: &Account,
    listed: &Listed,
    head: Head<'_>,
) -> Result<Package, Refusal> {
    let creator = match engine.store.account_by_id(listed.version.creator)? {
        Some(account) => User::of(&account, head),
        None => User::ghost(),
    };
    let is_pinned = engine.artifacts.pin_of(&listed.version)?.is_some();
    Ok(Package::of(listed, owner, creator, is_pinned, head))
}
