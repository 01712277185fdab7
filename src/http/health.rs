//! Health endpoints (API.md §7).

use actix_web::http::StatusCode;
use actix_web::{HttpRequest, HttpResponse, web};
use serde_json::json;

use super::state::{AppState, Readiness};
use crate::store::Health;

/// The version of Gitea's API that clients take this for.
const GITEA_VERSION: &str = "1.27.0";

/// The process is there.
pub async fn live() -> HttpResponse {
    HttpResponse::Ok()
        .content_type("text/plain; charset=utf-8")
        .body("ok\n")
}

/// Whether requests can be served; `?verbose` says more.
pub async fn ready(request: HttpRequest, state: web::Data<AppState>) -> HttpResponse {
    let (ready, why) = judge(&state);
    let status = if ready {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    };
    let verbose = request
        .query_string()
        .split('&')
        .any(|word| word == "verbose" || word == "verbose=1");
    let text = match (ready, verbose) {
        (true, false) => "ok\n".to_owned(),
        (true, true) => format!("ready: {why}\nversion: {}\n", env!("CARGO_PKG_VERSION")),
        (false, _) => format!("not ready: {why}\n"),
    };
    HttpResponse::build(status)
        .content_type("text/plain; charset=utf-8")
        .body(text)
}

/// Gitea's own form of the same.
pub async fn gitea(state: web::Data<AppState>) -> HttpResponse {
    let (ready, why) = judge(&state);
    let (status, word) = if ready {
        (StatusCode::OK, "pass")
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, "fail")
    };
    HttpResponse::build(status).json(json!({
        "status": word,
        "description": "Larder",
        "checks": { "store:status": [{ "status": word, "output": if ready { String::new() } else { why } }] },
    }))
}

/// The version, in the form that Gitea's clients parse.
pub async fn version() -> HttpResponse {
    HttpResponse::Ok()
        .json(json!({ "version": format!("{GITEA_VERSION}+larder-{}", env!("CARGO_PKG_VERSION")) }))
}

fn judge(state: &AppState) -> (bool, String) {
    match state.readiness() {
        Readiness::Starting { done, total: 0 } => (
            false,
            format!("the store is being opened, {done} bytes of the log are read"),
        ),
        Readiness::Starting { done, total } => (
            false,
            format!("the store is being opened, {done} of {total} bytes of the log are read"),
        ),
        Readiness::Draining => (false, "the daemon is ending".to_owned()),
        Readiness::Ready(engine) => match engine.store.health() {
            Health::Ready => (true, "the store is open and takes writes".to_owned()),
            Health::Poisoned(_) => (
                false,
                "the store takes no writes after an I/O error; restart the daemon".to_owned(),
            ),
            Health::IndexFailed(_) => (
                false,
                "the index failed; it is rebuilt when the daemon is restarted".to_owned(),
            ),
        },
    }
}
