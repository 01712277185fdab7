//! Rules of retention and their preview (API.md §6, docs/retention.md).

use std::num::NonZeroUsize;
use std::sync::Arc;

use actix_web::HttpResponse;

use super::admin::before_user;
use super::error::Refusal;
use super::fields::{self, BadField};
use super::head::Head;
use super::incoming::Incoming;
use super::json;
use super::json::retention::{EditRules, OwnerRules, RetentionPreview, RetentionRun};
use super::openapi::{AtOwner, BadBody, Missing, Paging, Refused, Verdicts, Writing};
use super::owners::before;
use super::paging::{paged, window};
use super::state::{Engine, State};
use crate::artifact::retention::{RuleError, Rules};
use crate::store::model::Account;

/// Versions on a page of a preview, unless asked for fewer or more.
const DEFAULT_LIMIT: NonZeroUsize = NonZeroUsize::new(100).unwrap();
/// Most versions on a page of a preview.
const MAX_LIMIT: NonZeroUsize = NonZeroUsize::new(1000).unwrap();

impl From<RuleError> for Refusal {
    fn from(error: RuleError) -> Self {
        BadField::Mistyped(error.to_string()).into()
    }
}

/// The rules of retention that count for an owner
#[utoipa::path(
    get,
    operation_id = "get_retention",
    path = "/api/v1/admin/owners/{owner}/retention",
    tag = "administration",
    params(AtOwner),
    responses((status = 200, description = "The rules, and whether they are the owner's or the configuration's.",
        body = OwnerRules), Missing, Refused)
)]
pub async fn get(state: &State, head: Head<'_>, owner: &str) -> Result<HttpResponse, Refusal> {
    let (engine, owner) = before(state, head, owner).await?;
    shown(engine, &owner)
}

/// Set the rules of retention of an owner
///
/// They count instead of the configuration's, an empty list too; null takes them away again.
#[utoipa::path(
    put,
    operation_id = "set_retention",
    path = "/api/v1/admin/owners/{owner}/retention",
    tag = "administration",
    params(AtOwner),
    request_body = EditRules,
    responses((status = 200, description = "As they count now.", body = OwnerRules), BadBody, Missing, Refused,
        Writing)
)]
pub async fn put(
    state: &State,
    head: Head<'_>,
    owner: &str,
    body: &Incoming,
) -> Result<HttpResponse, Refusal> {
    let (engine, owner) = before(state, head, owner).await?;
    let rules = checked(json::read(head, body).await?, &owner)?;
    head.about(&owner);
    head.changes(vec!["rules"]);
    engine
        .artifacts
        .set_retention_rules(&owner, rules.as_ref())
        .await?;
    shown(engine, &owner)
}

fn shown(engine: &Engine, owner: &Account) -> Result<HttpResponse, Refusal> {
    let (rules, source) = engine.artifacts.retention_rules(owner)?;
    Ok(HttpResponse::Ok().json(OwnerRules::of(&rules, source)))
}

fn checked(body: EditRules, owner: &Account) -> Result<Option<Rules>, RuleError> {
    let rules = body.into_rules();
    rules.map(|rules| Rules::of_owner(&owner.name, rules)).transpose()
}

/// What a pass of retention would do now, and why
///
/// With the rules that count, or with those of the body, which are not set by that. By package, the newest version
/// first; a page has 100 versions unless asked for fewer or more, and at most 1,000.
#[utoipa::path(
    post,
    operation_id = "preview_retention",
    path = "/api/v1/admin/owners/{owner}/retention/preview",
    tag = "administration",
    params(AtOwner, Verdicts, Paging),
    request_body = Option<EditRules>,
    responses(
        (status = 200, description = "A page of the versions, and how many there are of each verdict.",
            body = RetentionPreview,
            headers(("X-Total-Count" = u64, description = "How many there are on all pages."))),
        BadBody, Missing, Refused
    )
)]
pub async fn preview(
    state: &State,
    head: Head<'_>,
    owner: &str,
    body: &Incoming,
) -> Result<HttpResponse, Refusal> {
    let (engine, owner) = before(state, head, owner).await?;
    let body = json::collect(head, body).await?;
    let tried = match body.is_empty() {
        true => None,
        false => checked(fields::parse(&body)?, &owner)?,
    };
    let rules = match tried {
        Some(rules) => Arc::new(rules),
        None => engine.artifacts.retention_rules(&owner)?.0,
    };
    let window = window(head, DEFAULT_LIMIT, MAX_LIMIT)?;
    let only_removed = only_removed(head)?;
    let now = jiff::Timestamp::now().as_millisecond();
    let preview = engine
        .artifacts
        .preview_retention(&owner, rules, now, window, only_removed)
        .await?;
    Ok(paged(
        RetentionPreview::of(&preview, now),
        preview.total,
        window,
        head,
    ))
}

fn only_removed(head: Head<'_>) -> Result<bool, BadField> {
    match head.query("verdict").as_deref() {
        None | Some("") => Ok(false),
        Some("removed") => Ok(true),
        Some(given) => {
            let (field, what, given) = ("verdict", "removed, or left out", given.to_owned());
            Err(BadField::Wrong { field, what, given })
        }
    }
}

/// Start a pass of retention over all owners
#[utoipa::path(
    post,
    operation_id = "start_retention",
    path = "/api/v1/admin/retention",
    tag = "administration",
    responses((status = 202, description = "It begins, or follows the one under way.", body = RetentionRun), Refused)
)]
pub async fn start(state: &State, head: Head<'_>) -> Result<HttpResponse, Refusal> {
    let engine = before_user(state, head).await?;
    let run = engine.artifacts.wanted_retention().ask();
    Ok(HttpResponse::Accepted().json(RetentionRun { run }))
}
