//! Health, and the pages that say what this is (API.md §7).

use actix_web::HttpResponse;
use actix_web::http::StatusCode;
use actix_web::http::header::{CACHE_CONTROL, X_CONTENT_TYPE_OPTIONS};

use super::error::Refusal;
use super::head::Head;
use super::json::health as json;
use super::openapi::{self, Unready, Verbose, file};
use super::state::{Phase, State};
use crate::store::{Disk, Health, RoomState};

/// This build.
const VERSION: &str = env!("CARGO_PKG_VERSION");

/// Whether the process answers
#[utoipa::path(
    get,
    path = "/livez",
    tag = "operations",
    security(()),
    responses((status = 200, description = "It does.", body = String, content_type = "text/plain"))
)]
pub fn livez() -> HttpResponse {
    text(StatusCode::OK, "ok\n".to_owned())
}

/// Whether requests are welcome, and with `?verbose` why
#[utoipa::path(
    get,
    path = "/readyz",
    tag = "operations",
    security(()),
    params(Verbose),
    responses(
        (status = 200, description = "Ready.", body = String, content_type = "text/plain"),
        (status = 503, description = "Not ready; a line for each reason.", body = String, content_type = "text/plain"),
    )
)]
pub fn readyz(state: &State, head: Head<'_>) -> HttpResponse {
    let checks = Checks::of(state);
    let verbose = head.uri.query().is_some_and(|query| {
        let mut keys = query.split('&').map(|pair| pair.split('=').next());
        keys.any(|key| key == Some("verbose"))
    });
    let mut body = String::new();
    for check in checks.0.iter().filter(|check| verbose || !check.passes) {
        let sign = if check.passes { '+' } else { '-' };
        body += &format!("[{sign}] {}: {}\n", check.name, check.says);
    }
    body += if checks.pass() { "ready\n" } else { "not ready\n" };
    text(checks.status(), body)
}

/// Whether `/readyz` passes.
pub fn is_ready(state: &State) -> bool {
    Checks::of(state).pass()
}

/// The same as `/readyz`
#[utoipa::path(
    get,
    path = "/healthz",
    tag = "operations",
    security(()),
    params(Verbose),
    responses(
        (status = 200, description = "Ready.", body = String, content_type = "text/plain"),
        (status = 503, description = "Not ready; a line for each reason.", body = String, content_type = "text/plain"),
    )
)]
pub fn healthz(state: &State, head: Head<'_>) -> HttpResponse {
    readyz(state, head)
}

/// Whether requests are welcome, as Gitea says it
#[utoipa::path(
    get,
    path = "/api/healthz",
    tag = "operations",
    security(()),
    responses(
        (status = 200, description = "Ready.", body = json::Health),
        (status = 503, description = "Not ready.", body = json::Health),
    )
)]
pub fn api_healthz(state: &State) -> HttpResponse {
    let checks = Checks::of(state);
    let details = checks.0.iter().map(|check| {
        let detail = json::HealthCheck {
            status: check.passes.into(),
            output: check.says.clone(),
        };
        (check.name.to_owned(), vec![detail])
    });
    HttpResponse::build(checks.status())
        .insert_header((CACHE_CONTROL, "no-store"))
        .json(json::Health {
            status: checks.pass().into(),
            description: "Larder",
            checks: details.collect(),
        })
}

/// The version, as Gitea's clients read it
#[utoipa::path(
    get,
    path = "/api/v1/version",
    tag = "operations",
    security(()),
    responses((status = 200, description = "The version.", body = json::ServerVersion), Unready)
)]
pub fn version() -> HttpResponse {
    HttpResponse::Ok().json(json::ServerVersion {
        version: format!("1.27.0+larder-{VERSION}"),
    })
}

/// This document
#[utoipa::path(
    get,
    operation_id = "api_document",
    path = "/api/swagger.json",
    tag = "operations",
    security(()),
    responses((status = 200, description = "OpenAPI 3.1.", body = Object), file::Unready)
)]
pub fn swagger() -> Result<HttpResponse, Refusal> {
    let document = openapi::document().map_err(Refusal::internal)?;
    Ok(HttpResponse::Ok().content_type("application/json").body(document))
}

fn text(status: StatusCode, body: String) -> HttpResponse {
    HttpResponse::build(status)
        .content_type("text/plain; charset=utf-8")
        .insert_header((X_CONTENT_TYPE_OPTIONS, "nosniff"))
        .insert_header((CACHE_CONTROL, "no-store"))
        .body(body)
}

/// What readiness depends on.
struct Checks(Vec<Check>);

struct Check {
    name: &'static str,
    passes: bool,
    says: String,
}

impl Checks {
    fn of(state: &State) -> Self {
        let phase = state.phase();
        let mut checks = vec![Check {
            name: "shutdown",
            passes: phase != Phase::Draining,
            says: match phase {
                Phase::Draining => "under way".to_owned(),
                _ => "none".to_owned(),
            },
        }];
        match (state.engine(), phase) {
            (Ok(engine), _) => {
                checks.extend(store_checks(&engine.store.health()));
                checks.push(room_check(&engine.store.room()));
            }
            (Err(_), Phase::Starting { done, total }) if total > 0 => checks.push(Check {
                name: "store",
                passes: false,
                says: format!("opening, {done} of {total} bytes of log replayed"),
            }),
            (Err(_), _) => checks.push(Check {
                name: "store",
                passes: false,
                says: "opening".to_owned(),
            }),
        }
        Checks(checks)
    }

    fn pass(&self) -> bool {
        self.0.iter().all(|check| check.passes)
    }

    fn status(&self) -> StatusCode {
        match self.pass() {
            true => StatusCode::OK,
            false => StatusCode::SERVICE_UNAVAILABLE,
        }
    }
}

/// Why exactly is in the log: health needs no credentials.
fn store_checks(health: &Health) -> [Check; 3] {
    let rebuilding = match health {
        Health::Rebuilding { total: 0, .. } => "rebuilding".to_owned(),
        Health::Rebuilding { done, total, .. } => {
            format!("rebuilding, {done} of {total} bytes of log replayed")
        }
        Health::Ready | Health::Poisoned(_) => String::new(),
    };
    let check = |name, passes, bad: &str| Check {
        name,
        passes,
        says: if passes { "ok" } else { bad }.to_owned(),
    };
    [
        check("store", true, ""),
        check(
            "writing",
            !matches!(health, Health::Poisoned(_)),
            "stopped after an I/O error, restart the daemon",
        ),
        check("index", rebuilding.is_empty(), &rebuilding),
    ]
}

/// A full store is ready: it serves and removes. So this never fails; it says how things stand.
fn room_check(room: &RoomState) -> Check {
    let uploads = match (room.above_high, room.resting) {
        (true, _) => format!("uploads are refused until {} bytes less are held", room.above_low),
        (false, true) => "uploads are refused, a write has just found the disk full".to_owned(),
        (false, false) => "uploads are taken".to_owned(),
    };
    let limit = room
        .limit
        .map_or("no limit".to_owned(), |limit| format!("of {limit} bytes"));
    let Disk { size, free, .. } = room.disk;
    Check {
        name: "room",
        passes: true,
        says: format!(
            "{uploads}; {} bytes used, {limit}; {free} of {size} bytes of the disk free",
            room.used
        ),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use actix_web::body::MessageBody;
    use actix_web::test::TestRequest;

    use serde_json::json;

    use super::*;
    use crate::http::Options;

    fn said(response: HttpResponse) -> (u16, String) {
        let status = response.status().as_u16();
        let body = response.into_body().try_into_bytes().unwrap();
        (status, String::from_utf8(body.to_vec()).unwrap())
    }

    fn ready(state: &State, target: &str) -> (u16, String) {
        let request = TestRequest::with_uri(target).to_http_request();
        said(readyz(state, Head::from(&request)))
    }

    #[tokio::test]
    async fn readiness_says_what_it_waits_for() {
        let state = State::new(Options::default());
        assert_eq!(
            ready(&state, "/readyz"),
            (503, "[-] store: opening\nnot ready\n".to_owned())
        );
        state.progress(5, 20);
        let opening = "[-] store: opening, 5 of 20 bytes of log replayed\nnot ready\n";
        assert_eq!(ready(&state, "/readyz"), (503, opening.to_owned()));
        let verbose = (503, format!("[+] shutdown: none\n{opening}"));
        assert_eq!(ready(&state, "/readyz?verbose"), verbose);
        assert_eq!(ready(&state, "/readyz?x&verbose=1"), verbose);
        state.drain();
        assert!(
            ready(&state, "/readyz")
                .1
                .starts_with("[-] shutdown: under way\n")
        );
        let (status, body) = said(api_healthz(&state));
        let body: serde_json::Value = serde_json::from_str(&body).unwrap();
        assert_eq!((status, &body["status"]), (503, &json!("fail")));
        assert_eq!(body["checks"]["shutdown"][0]["status"], json!("fail"));
    }

    #[test]
    fn a_failed_store_is_not_ready() {
        let passing = |health: &Health| store_checks(health).map(|check| check.passes);
        assert_eq!(passing(&Health::Ready), [true, true, true]);
        assert_eq!(passing(&Health::Poisoned("disk".to_owned())), [true, false, true]);
        let rebuilding = Health::Rebuilding {
            why: "/srv/secret/path".to_owned(),
            done: 5,
            total: 20,
        };
        assert_eq!(passing(&rebuilding), [true, true, false]);
        let [_, _, index] = store_checks(&rebuilding);
        assert_eq!(index.says, "rebuilding, 5 of 20 bytes of log replayed");
    }

    #[test]
    fn a_full_store_is_ready_and_says_why_it_refuses() {
        let mut room = RoomState {
            used: 95,
            limit: Some(100),
            reserved: 0,
            ballast: 0,
            disk: Disk {
                size: 1000,
                free: 500,
                inodes: 7,
            },
            above_high: true,
            pressed: true,
            above_low: 10,
            resting: false,
        };
        let check = room_check(&room);
        assert!(check.passes);
        assert_eq!(
            check.says,
            "uploads are refused until 10 bytes less are held; 95 bytes used, of 100 bytes; \
             500 of 1000 bytes of the disk free"
        );
        (room.above_high, room.limit) = (false, None);
        assert_eq!(
            room_check(&room).says,
            "uploads are taken; 95 bytes used, no limit; 500 of 1000 bytes of the disk free"
        );
        room.resting = true;
        assert!(
            room_check(&room)
                .says
                .contains("a write has just found the disk full")
        );
    }
}
