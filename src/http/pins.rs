//! Pins of versions (API.md §6, docs/retention.md).

use actix_web::HttpResponse;

use super::auth::publisher;
use super::error::Refusal;
use super::head::Head;
use super::openapi::{AtName, AtOwner, AtVersion, Missing, Refused, Writing};
use super::packages::permitted;
use super::state::State;
use crate::access::Action;
use crate::store::model::Pin;

/// Pin a version
///
/// Retention and eviction leave it alone; who may publish may pin. A DELETE of the version by name is not refused.
#[utoipa::path(
    put,
    operation_id = "pin_version",
    path = "/api/v1/packages/{owner}/generic/{package_name}/{package_version}/-/pin",
    tag = "packages",
    params(AtOwner, AtName, AtVersion),
    responses((status = 204, description = "It is pinned."), Missing, Refused, Writing)
)]
pub async fn put(
    state: &State,
    head: Head<'_>,
    owner: &str,
    name: &str,
    version: &str,
) -> Result<HttpResponse, Refusal> {
    let (engine, caller, owner) = permitted(state, head, owner, Some(name), Action::Write).await?;
    let since = jiff::Timestamp::now().as_millisecond();
    let (by, _) = publisher(&caller, &owner)?;
    let pin = Pin { by, since };
    engine.artifacts.pin(&owner, name, version, Some(pin)).await?;
    Ok(HttpResponse::NoContent().finish())
}

/// Take the pin of a version away
#[utoipa::path(
    delete,
    operation_id = "unpin_version",
    path = "/api/v1/packages/{owner}/generic/{package_name}/{package_version}/-/pin",
    tag = "packages",
    params(AtOwner, AtName, AtVersion),
    responses((status = 204, description = "It is not pinned."), Missing, Refused, Writing)
)]
pub async fn delete(
    state: &State,
    head: Head<'_>,
    owner: &str,
    name: &str,
    version: &str,
) -> Result<HttpResponse, Refusal> {
    let (engine, _, owner) = permitted(state, head, owner, Some(name), Action::Write).await?;
    engine.artifacts.pin(&owner, name, version, None).await?;
    Ok(HttpResponse::NoContent().finish())
}
