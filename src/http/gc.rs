//! Collection by hand (API.md §6).

use actix_web::HttpResponse;
use serde_json::json;

use super::admin;
use super::error::Refusal;
use super::head::Head;
use super::state::State;
use crate::store::collect::{Collected, Kind};

/// POST /api/v1/admin/gc: starts a full pass, or with `?dry_run=true` answers what one would drop.
pub async fn collect(state: &State, head: Head<'_>) -> Result<HttpResponse, Refusal> {
    let engine = admin::before_user(state, head).await?;
    if !is_dry_run(head.uri.query().unwrap_or_default())? {
        let requested = engine.passes.request(Kind::Full);
        let answer = json!({"run": requested.run, "queued": requested.queued});
        return Ok(HttpResponse::Accepted().json(answer));
    }
    let requested = engine.passes.request(Kind::Preview);
    let ended = engine.passes.ended(requested.run).await;
    let found = ended.map_err(|why| Refusal::unavailable("collection-failed", why))?;
    Ok(HttpResponse::Accepted().json(preview(&found)))
}

fn preview(found: &Collected) -> serde_json::Value {
    json!({
        "dry_run": true,
        "chunks": found.chunks,
        "manifests": found.manifests,
        "bytes": found.bytes,
        "files": found.files,
        "damaged": found.damaged,
    })
}

fn is_dry_run(query: &str) -> Result<bool, Refusal> {
    let mut dry_run = false;
    for pair in query.split('&') {
        let (name, value) = pair.split_once('=').unwrap_or((pair, "true"));
        if name != "dry_run" {
            continue;
        }
        dry_run = match value {
            "true" | "1" => true,
            "false" | "0" => false,
            _ => return Err(Refusal::bad_request("bad-query", "dry_run must be true or false")),
        };
    }
    Ok(dry_run)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_dry_run_is_asked_for_clearly_or_refused() {
        for (query, expected) in [
            ("", Some(false)),
            ("other=1", Some(false)),
            ("dry_run", Some(true)),
            ("dry_run=true", Some(true)),
            ("a=b&dry_run=1&c", Some(true)),
            ("dry_run=false", Some(false)),
            ("dry_run=yes", None),
            ("dry_run=", None),
        ] {
            assert_eq!(is_dry_run(query).ok(), expected, "{query}");
        }
    }
}
