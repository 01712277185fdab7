//! Health, and the pages that say what this is (API.md §7).

use actix_web::HttpResponse;
use actix_web::http::StatusCode;
use actix_web::http::header::{CACHE_CONTROL, X_CONTENT_TYPE_OPTIONS};
use serde_json::json;

use super::head::Head;
use super::state::{Phase, State};
use crate::store::{Disk, Health, RoomState};

/// This build.
const VERSION: &str = env!("CARGO_PKG_VERSION");

/// What can be asked here, for machines.
const OPENAPI: &str = include_str!("openapi.json");

/// GET /livez: the process answers.
pub fn livez() -> HttpResponse {
    text(StatusCode::OK, "ok\n".to_owned())
}

/// GET /readyz and /healthz: whether requests are welcome; with `?verbose`, why.
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

/// GET /api/healthz: the same as Gitea says it.
pub fn healthz(state: &State) -> HttpResponse {
    let checks = Checks::of(state);
    let word = |passes| if passes { "pass" } else { "fail" };
    let mut details = serde_json::Map::new();
    for check in &checks.0 {
        let detail = json!([{"status": word(check.passes), "output": check.says}]);
        details.insert(check.name.to_owned(), detail);
    }
    let body = json!({
        "status": word(checks.pass()),
        "description": "Larder",
        "checks": details,
    });
    HttpResponse::build(checks.status())
        .insert_header((CACHE_CONTROL, "no-store"))
        .json(body)
}

/// GET /api/v1/version. Gitea's clients read the number before the plus.
pub fn version() -> HttpResponse {
    HttpResponse::Ok().json(json!({"version": format!("1.27.0+larder-{VERSION}")}))
}

fn openapi() -> String {
    OPENAPI.replace("@VERSION@", VERSION)
}

/// GET /api/swagger.json
pub fn swagger() -> HttpResponse {
    HttpResponse::Ok()
        .content_type("application/json")
        .body(openapi())
}

/// GET /
pub fn front(head: Head<'_>) -> HttpResponse {
    let file = format!("{}/api/packages/OWNER/generic/NAME/VERSION/FILE", head.base_url());
    let body = format!(
        "Larder {VERSION} keeps CI artifacts and build caches.\n\n\
         Publish:   curl --fail --user OWNER:PASSWORD_OR_TOKEN --upload-file FILE {file}\n\
         Download:  curl --fail --remote-name {file}\n"
    );
    text(StatusCode::OK, body)
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

    use super::*;
    use crate::http::Options;
    use crate::http::path::{self, Route};

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
        let (status, body) = said(healthz(&state));
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

    #[test]
    fn what_machines_are_told_is_what_there_is() {
        let document: serde_json::Value = serde_json::from_str(&openapi()).unwrap();
        assert_eq!(document["info"]["version"], json!(VERSION));
        let mut known = 0;
        for (path, item) in document["paths"].as_object().unwrap() {
            let route = path::parse(&path.replace(['{', '}'], "")).unwrap();
            assert!(route.exists(), "{path}");
            let mut listed: Vec<String> = item
                .as_object()
                .unwrap()
                .keys()
                .filter(|key| *key != "parameters")
                .map(|key| key.to_uppercase())
                .collect();
            // HEAD goes without saying beside GET, except where it has its own answer.
            if !matches!(route, Route::File { .. }) && listed.contains(&"GET".to_owned()) {
                listed.push("HEAD".to_owned());
            }
            listed.sort();
            let mut allowed = route.methods().to_vec();
            allowed.sort_unstable();
            assert_eq!(listed, allowed, "{path}");
            known += 1;
        }
        assert_eq!(known, 26);
    }
}
