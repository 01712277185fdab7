//! Packages, versions and files, in Gitea's own shapes (API.md §6).

use std::num::NonZeroUsize;

use actix_web::HttpResponse;
use serde_json::{Value, json};

use super::admin::{time, user};
use super::auth;
use super::error::{Door, Refusal};
use super::fields::BadField;
use super::head::Head;
use super::state::{Engine, State};
use crate::access::{Action, Target, permit};
use crate::artifact::browse::{Listed, Page, Window};
use crate::artifact::checksums::MAX_FILES;
use crate::store::model::{Account, Checksums, File, Id};

/// Items on a page of versions, unless asked for fewer or more.
const DEFAULT_LIMIT: NonZeroUsize = NonZeroUsize::new(30).unwrap();
/// Most items on a page of versions.
const MAX_LIMIT: NonZeroUsize = NonZeroUsize::new(50).unwrap();

/// GET /api/v1/packages/{owner}
pub async fn list(state: &State, head: Head<'_>, owner: &str) -> Result<HttpResponse, Refusal> {
    let (engine, owner) = permitted(state, head, owner, None, Action::List).await?;
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

/// GET /api/v1/packages/{owner}/generic/{name}
pub async fn package(
    state: &State,
    head: Head<'_>,
    owner: &str,
    name: &str,
) -> Result<HttpResponse, Refusal> {
    let (engine, owner) = permitted(state, head, owner, Some(name), Action::List).await?;
    let window = window(head, DEFAULT_LIMIT, MAX_LIMIT)?;
    let page = engine.artifacts.list_versions(&owner, name, window)?;
    versions(engine, &owner, page, window, head)
}

/// GET /api/v1/packages/{owner}/generic/{name}/-/latest
pub async fn latest(state: &State, head: Head<'_>, owner: &str, name: &str) -> Result<HttpResponse, Refusal> {
    let (engine, owner) = permitted(state, head, owner, Some(name), Action::List).await?;
    let found = engine.artifacts.latest(&owner, name)?;
    Ok(HttpResponse::Ok().json(shown_version(engine, &owner, &found, head)?))
}

/// GET /api/v1/packages/{owner}/generic/{name}/{version}
pub async fn version(
    state: &State,
    head: Head<'_>,
    owner: &str,
    name: &str,
    version: &str,
) -> Result<HttpResponse, Refusal> {
    let (engine, owner) = permitted(state, head, owner, Some(name), Action::List).await?;
    let found = engine.artifacts.version(&owner, name, version)?;
    Ok(HttpResponse::Ok().json(shown_version(engine, &owner, &found, head)?))
}

/// GET /api/v1/packages/{owner}/generic/{name}/{version}/files
pub async fn files(
    state: &State,
    head: Head<'_>,
    owner: &str,
    name: &str,
    version: &str,
) -> Result<HttpResponse, Refusal> {
    let (engine, owner) = permitted(state, head, owner, Some(name), Action::List).await?;
    let window = window(head, MAX_FILES, MAX_FILES)?;
    let found = engine.artifacts.version(&owner, name, version)?;
    let page = engine.artifacts.files(&found.version, window).await?;
    let items = page
        .items
        .iter()
        .map(|(file, sums)| shown_file(file, sums.as_ref()));
    Ok(paged(items.collect(), page.total, window, head))
}

/// DELETE /api/v1/packages/{owner}/generic/{name}
pub async fn delete_package(
    state: &State,
    head: Head<'_>,
    owner: &str,
    name: &str,
) -> Result<HttpResponse, Refusal> {
    let (engine, owner) = permitted(state, head, owner, Some(name), Action::Delete).await?;
    engine.artifacts.remove_package(&owner, name).await?;
    Ok(HttpResponse::NoContent().finish())
}

/// DELETE /api/v1/packages/{owner}/generic/{name}/{version}
pub async fn delete_version(
    state: &State,
    head: Head<'_>,
    owner: &str,
    name: &str,
    version: &str,
) -> Result<HttpResponse, Refusal> {
    let (engine, owner) = permitted(state, head, owner, Some(name), Action::Delete).await?;
    engine.artifacts.remove_version(&owner, name, version).await?;
    Ok(HttpResponse::NoContent().finish())
}

/// The owner, if the sender, who must have signed in, may do this there.
async fn permitted<'a>(
    state: &'a State,
    head: Head<'_>,
    owner: &str,
    package: Option<&str>,
    action: Action,
) -> Result<(&'a Engine, Account), Refusal> {
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
    Ok((engine, owner))
}

/// The page that the query asks for. Zero and what is beyond the bounds count as unsaid, as with Gitea.
fn window(head: Head<'_>, default: NonZeroUsize, most: NonZeroUsize) -> Result<Window, BadField> {
    let number = |field: &'static str| match head.query(field).as_deref() {
        None | Some("") => Ok(None),
        Some(text) => match text.parse() {
            Ok(number) => Ok(NonZeroUsize::new(number)),
            Err(_) => {
                let what = "a whole number";
                Err(BadField::Wrong { field, what })
            }
        },
    };
    Ok(Window {
        page: number("page")?.unwrap_or(NonZeroUsize::MIN),
        limit: number("limit")?.unwrap_or(default).min(most),
    })
}

fn versions(
    engine: &Engine,
    owner: &Account,
    page: Page<Listed>,
    window: Window,
    head: Head<'_>,
) -> Result<HttpResponse, Refusal> {
    let items: Result<Vec<Value>, Refusal> = page
        .items
        .iter()
        .map(|listed| shown_version(engine, owner, listed, head))
        .collect();
    Ok(paged(items?, page.total, window, head))
}

/// A page as a response, with what Gitea says about the others.
fn paged(items: Vec<Value>, total: u64, window: Window, head: Head<'_>) -> HttpResponse {
    let mut response = HttpResponse::Ok();
    response
        .insert_header(("x-total-count", total.to_string()))
        .insert_header(("access-control-expose-headers", "X-Total-Count, Link"));
    let (page, limit) = (window.page.get() as u64, window.limit.get() as u64);
    let last = total.div_ceil(limit).max(1);
    let link = |page: u64, relation: &str| {
        let url = format!("{}{}", head.base_url(), head.uri.path());
        format!(
            "<{url}?{}>; rel=\"{relation}\"",
            with_page(head.uri.query(), page, limit)
        )
    };
    let mut links = Vec::new();
    if page < last {
        links.extend([link(page + 1, "next"), link(last, "last")]);
    }
    if page > 1 {
        links.extend([link(1, "first"), link(page - 1, "prev")]);
    }
    if !links.is_empty() {
        response.insert_header(("link", links.join(",")));
    }
    response.json(items)
}

/// The query with another page; tokens in it are left out.
fn with_page(query: Option<&str>, page: u64, limit: u64) -> String {
    let mut query: Vec<String> = query
        .unwrap_or_default()
        .split('&')
        .filter(|pair| ["q=", "type="].iter().any(|kept| pair.starts_with(kept)))
        .map(str::to_owned)
        .collect();
    query.extend([format!("page={page}"), format!("limit={limit}")]);
    query.join("&")
}

/// Gitea's `Package`: one version.
fn shown_version(
    engine: &Engine,
    owner: &Account,
    listed: &Listed,
    head: Head<'_>,
) -> Result<Value, Refusal> {
    let Listed { package, version } = listed;
    Ok(json!({
        "id": version.id,
        "owner": user(owner, head),
        "repository": null,
        "creator": creator(engine, version.creator, head)?,
        "type": "generic",
        "name": package.name,
        "version": version.name,
        "html_url": format!(
            "{}/{}/-/packages/generic/{}/{}",
            head.base_url(), owner.name, package.name.to_ascii_lowercase(), version.name.to_ascii_lowercase()
        ),
        "created_at": time(version.created),
    }))
}

/// The account, or Gitea's ghost where it is gone.
fn creator(engine: &Engine, id: Id, head: Head<'_>) -> Result<Value, Refusal> {
    Ok(match engine.store.account_by_id(id)? {
        Some(account) => user(&account, head),
        None => json!({"id": -1, "login": "Ghost", "username": "Ghost"}),
    })
}

/// Gitea's `PackageFile`, with the blake3 beside its checksums.
fn shown_file(file: &File, checksums: Option<&Checksums>) -> Value {
    let shown = |bytes: Option<&[u8]>| bytes.map(hex::encode);
    json!({
        "id": file.id,
        "size": file.size,
        "name": file.name,
        "md5": shown(checksums.map(|sums| &sums.md5[..])),
        "sha1": shown(checksums.map(|sums| &sums.sha1[..])),
        "sha256": shown(checksums.map(|sums| &sums.sha256[..])),
        "sha512": shown(checksums.map(|sums| sums.sha512.as_flattened())),
        "blake3": file.blob.to_string(),
    })
}
