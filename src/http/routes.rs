//! The routes, on one screen, and the way of every request through them.

use std::time::{Duration, Instant};

use actix_web::body::{BodySize, MessageBody};
use actix_web::http::StatusCode;
use actix_web::{HttpRequest, HttpResponse, web};

use super::error::{Form, Refusal};
use super::head::Head;
use super::incoming::Incoming;
use super::metrics::{METRICS, Op};
use super::path::{self, BadEscape, Route};
use super::refuse::{self, Bounds};
use super::request_id;
use super::state::State;
use super::trail::Trail;
use super::{
    admin, documents, download, gc, generic, health, organisations, owners, packages, pins, reload,
    retention, scrape, start,
};
use crate::telemetry::request::RequestContext;

/// How long a request waits for an index that is being built again (API.md §7).
const INDEX_PATIENCE: Duration = Duration::from_secs(10);

/// What an address serves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Serves {
    /// Everything.
    All,
    /// Everything but `/metrics`, which has an address of its own.
    AllButMetrics,
    /// `/metrics` and health.
    MetricsOnly,
}

/// Where a connection came in.
#[derive(Clone, Copy, Debug)]
pub struct Entrance {
    /// What is to be found there.
    pub serves: Serves,
    /// Whether TLS is spoken.
    pub tls: bool,
}

/// Every request of every connection comes in here.
pub async fn entry(
    state: State,
    entrance: Entrance,
    request: HttpRequest,
    payload: web::Payload,
) -> HttpResponse {
    let context = request_id::context(request.headers());
    let work = respond(&state, entrance, &request, payload, &context);
    let mut response = context.clone().scope(work).await;
    request_id::stamp(response.headers_mut(), &context);
    response
}

async fn respond(
    state: &State,
    entrance: Entrance,
    request: &HttpRequest,
    payload: web::Payload,
    context: &RequestContext,
) -> HttpResponse {
    let head = Head::from(request).through(state.options(), entrance.tls);
    let record = state.requests().map(|log| log.begin(head, context));
    let head = head.recorded(record.as_deref());
    let parsed = path::parse(head.path);
    let op = Op::of(&parsed, head.method);
    let trail = Trail::begin(state, &parsed, op, head, context);
    let head = head.audited(trail.as_ref());
    let watch = METRICS.begin(op).logged(context.clone(), record.clone());
    let watch = watch.audited(trail.clone()).past_dispatcher(head.outlet.cloned());
    let incoming = Incoming::new(payload.into_inner(), METRICS.received(op));
    let incoming = incoming.recorded(record.clone()).audited(trail.clone());
    let answer = patiently(
        state,
        || incoming.is_untouched(),
        async || {
            let route = checked(state, entrance.serves, &parsed, head)?;
            answer(state, route, head, &incoming).await
        },
    )
    .await;
    let response = answer.unwrap_or_else(|refusal| refusal.respond(Form::of(&parsed, head), head));
    let response = watch.send(response);
    let bounds = bounds(state, response.status());
    let response = refuse::finish(response, incoming, head.content_length(), bounds).await;
    if let Some(outlet) = head.outlet
        && !matches!(response.body().size(), BodySize::None | BodySize::Sized(0))
    {
        outlet.hold();
    }
    response
}

/// Tries again what found the index failed, once that is back, as long as it `may` be repeated; gives up after a while.
pub async fn patiently<T>(
    state: &State,
    may: impl Fn() -> bool,
    mut work: impl AsyncFnMut() -> Result<T, Refusal>,
) -> Result<T, Refusal> {
    let deadline = Instant::now() + INDEX_PATIENCE;
    loop {
        match work().await {
            Err(refusal) if refusal.is_index_failed() && may() && state.index_restored(deadline).await => {}
            other => return other,
        }
    }
}

/// Each request's state is allocated as large as its own route needs it, not as the greediest one does.
async fn answer(
    state: &State,
    route: &Route,
    head: Head<'_>,
    body: &Incoming,
) -> Result<HttpResponse, Refusal> {
    match (route, head.method.as_str()) {
        (Route::File { owner, at }, "GET") => Box::pin(download::get(state, head, owner, at)).await,
        (Route::File { owner, at }, "HEAD") => Box::pin(download::head(state, head, owner, at)).await,
        (Route::File { owner, at }, "PUT") => Box::pin(generic::put(state, head, owner, at, body)).await,
        (Route::File { owner, at }, "DELETE") => Box::pin(generic::delete_file(state, head, owner, at)).await,
        _ => Box::pin(answer_rarer(state, route, head, body)).await,
    }
}

/// Everything but files.
async fn answer_rarer(
    state: &State,
    route: &Route,
    head: Head<'_>,
    body: &Incoming,
) -> Result<HttpResponse, Refusal> {
    match (route, head.method.as_str()) {
        (
            Route::Version {
                owner,
                package,
                version,
            },
            "DELETE",
        ) => generic::delete_version(state, head, owner, package, version).await,
        (Route::AdminUsers, "POST") => admin::create_user(state, head, body).await,
        (Route::AdminUsers, _) => admin::users(state, head).await,
        (Route::AdminUser { user }, "PATCH") => admin::edit_user(state, head, user, body).await,
        (Route::AdminUser { user }, _) => admin::delete_user(state, head, user).await,
        (Route::AdminOwner { owner }, "PATCH") => owners::change(state, head, owner, body).await,
        (Route::AdminOwner { owner }, _) => owners::show(state, head, owner).await,
        (Route::Organisations, _) => organisations::create(state, head, body).await,
        (Route::Organisation { name }, "PATCH") => organisations::edit(state, head, name, body).await,
        (Route::Organisation { name }, "DELETE") => organisations::delete(state, head, name).await,
        (Route::Organisation { name }, _) => organisations::get(state, head, name).await,
        (Route::Members { organisation }, _) => organisations::members(state, head, organisation).await,
        (Route::Member { organisation, user }, "PUT") => {
            organisations::put_member(state, head, organisation, user, body).await
        }
        (Route::Member { organisation, user }, _) => {
            organisations::remove_member(state, head, organisation, user).await
        }
        (Route::AdminRetention, _) => retention::start(state, head).await,
        (Route::OwnerRetention { owner }, "PUT") => retention::put(state, head, owner, body).await,
        (Route::OwnerRetention { owner }, _) => retention::get(state, head, owner).await,
        (Route::RetentionPreview { owner }, _) => retention::preview(state, head, owner, body).await,
        (Route::Pin { owner, name, version }, "PUT") => pins::put(state, head, owner, name, version).await,
        (Route::Pin { owner, name, version }, _) => pins::delete(state, head, owner, name, version).await,
        (Route::AdminGc, "POST") => gc::collect(state, head).await,
        (Route::AdminReload, "POST") => reload::reload(state, head).await,
        (Route::Tokens { user }, "POST") => admin::create_token(state, head, user, body).await,
        (Route::Tokens { user }, _) => admin::tokens(state, head, user).await,
        (Route::Token { user, token }, "DELETE") => admin::revoke_token(state, head, user, token).await,
        (Route::OwnerPackages { owner }, _) => packages::list(state, head, owner).await,
        (Route::Package { owner, name }, "DELETE") => {
            packages::delete_package(state, head, owner, name).await
        }
        (Route::Package { owner, name }, _) => packages::package(state, head, owner, name).await,
        (Route::LatestVersion { owner, name }, _) => packages::latest(state, head, owner, name).await,
        (Route::PackageVersion { owner, name, version }, "DELETE") => {
            packages::delete_version(state, head, owner, name, version).await
        }
        (Route::PackageVersion { owner, name, version }, _) => {
            packages::version(state, head, owner, name, version).await
        }
        (Route::VersionFiles { owner, name, version }, _) => {
            packages::files(state, head, owner, name, version).await
        }
        (Route::Me, _) => admin::me(state, head).await,
        (Route::ApiVersion, _) => Ok(health::version()),
        (Route::Swagger, _) => health::swagger(),
        (Route::Livez, _) => Ok(health::livez()),
        (Route::Readyz, _) => Ok(health::readyz(state, head)),
        (Route::Healthz, _) => Ok(health::healthz(state, head)),
        (Route::ApiHealthz, _) => Ok(health::api_healthz(state)),
        (Route::Metrics, _) => scrape::metrics(state, head),
        (Route::Document { name }, _) => documents::document(name),
        (Route::Front, _) => Ok(start::page(state, head)),
        _ => Err(Refusal::no_page()),
    }
}

/// Refuses what can be refused by the path, the method and the state of the daemon alone.
fn checked<'a>(
    state: &State,
    serves: Serves,
    parsed: &'a Result<Route, BadEscape>,
    head: Head<'_>,
) -> Result<&'a Route, Refusal> {
    let always_there = parsed.as_ref().is_ok_and(Route::is_always_there);
    let elsewhere = match serves {
        Serves::All => false,
        Serves::AllButMetrics => *parsed == Ok(Route::Metrics),
        Serves::MetricsOnly => !always_there,
    };
    if elsewhere {
        return Err(Refusal::no_page());
    }
    // The start page says itself how things are.
    if !always_there && *parsed != Ok(Route::Front) {
        state.engine()?;
    }
    let route = parsed.as_ref().map_err(|error| Refusal::from(*error))?;
    if !route.exists() {
        return Err(Refusal::no_page());
    }
    if !route.methods().contains(&head.method.as_str()) {
        return Err(Refusal::method(route.methods()));
    }
    Ok(route)
}

/// What is known against a request before its body has come. The handlers check the same again.
pub async fn before_body(
    state: &State,
    serves: Serves,
    parsed: &Result<Route, BadEscape>,
    head: Head<'_>,
) -> Result<(), Refusal> {
    let check = async || match (checked(state, serves, parsed, head)?, head.method.as_str()) {
        (Route::File { owner, at }, "PUT") => generic::before_body(state, head, owner, at).await.map(drop),
        (Route::AdminOwner { owner }, "PATCH")
        | (Route::OwnerRetention { owner }, "PUT")
        | (Route::RetentionPreview { owner }, _) => owners::before(state, head, owner).await.map(drop),
        (Route::AdminUsers | Route::AdminGc | Route::AdminReload | Route::AdminRetention, "POST")
        | (Route::AdminUser { .. }, "PATCH") => admin::before_user(state, head).await.map(drop),
        (Route::Organisations, "POST") => organisations::before_create(state, head).await.map(drop),
        (Route::Organisation { name }, "PATCH") => organisations::managed(state, head, name).await.map(drop),
        (Route::Member { organisation, .. }, "PUT") => {
            organisations::managed(state, head, organisation).await.map(drop)
        }
        (Route::Tokens { user }, "POST") => admin::before_token(state, head, user).await.map(drop),
        _ => Ok(()),
    };
    patiently(state, || true, check).await
}

/// How much of a body is thrown away behind an answer with this status.
pub fn bounds(state: &State, status: StatusCode) -> Bounds {
    let options = state.options();
    Bounds {
        bytes: options.drain_bytes,
        time: match status {
            // Whoever was too slow is not waited for again.
            StatusCode::REQUEST_TIMEOUT => std::time::Duration::ZERO,
            _ => options.drain_time,
        },
    }
}
