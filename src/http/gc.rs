//! Collection by hand (API.md §6).

use actix_web::HttpResponse;

use super::admin;
use super::error::Refusal;
use super::head::Head;
use super::json::health::Collection;
use super::openapi::{BadQuery, DryRun, Refused};
use super::state::State;
use crate::store::collect::{Kind, Requested};

/// Collect garbage: start a full pass, or see what one would drop
#[utoipa::path(
    post,
    operation_id = "collect_garbage",
    path = "/api/v1/admin/gc",
    tag = "administration",
    params(DryRun),
    responses((status = 202, description = "The number of the pass, or what would go.", body = Collection),
        BadQuery, Refused)
)]
pub async fn collect(state: &State, head: Head<'_>) -> Result<HttpResponse, Refusal> {
    let engine = admin::before_user(state, head).await?;
    if !head.query_flag("dry_run")? {
        let requested = engine.passes.request(Kind::Full);
        let Requested { run, queued } = requested;
        return Ok(HttpResponse::Accepted().json(Collection::Requested { run, queued }));
    }
    let requested = engine.passes.request(Kind::Preview);
    let ended = engine.passes.ended(requested.run).await;
    let found = ended.map_err(|why| Refusal::unavailable("collection-failed", why))?;
    Ok(HttpResponse::Accepted().json(Collection::from(&found)))
}
