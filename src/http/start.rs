//! The start page: what this is, how it is, and the first lines to type, with this server's address in them. HTML for
//! browsers, text for curl; no scripts.

use std::fmt::Write as _;

use actix_web::HttpResponse;
use actix_web::http::StatusCode;
use actix_web::http::header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY, VARY, X_CONTENT_TYPE_OPTIONS};

use super::accept::prefers_html;
use super::documents::DOCUMENTS;
use super::head::Head;
use super::state::{Phase, State};
use crate::store::{Health, RoomState};

/// This build.
const VERSION: &str = env!("CARGO_PKG_VERSION");

/// The page for browsers.
const PAGE: &str = include_str!("start/page.html");

/// Nothing but what is in the page itself.
const POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'";

/// What else there is to look at.
const LINKS: [(&str, &str); 4] = [
    ("/readyz?verbose", "health, with reasons"),
    ("/metrics", "for Prometheus"),
    ("/api/swagger.json", "the API, for machines (OpenAPI)"),
    ("/api/v1/version", "the version, for clients of Gitea"),
];

/// A page that says what this is
#[utoipa::path(
    get,
    operation_id = "start_page",
    path = "/",
    tag = "operations",
    security(()),
    responses(
        (status = 200, description = "The page.",
            content((String = "text/plain; charset=utf-8"), (String = "text/html; charset=utf-8"))),
        (status = 503, description = "The same page, while the store is being opened.",
            content((String = "text/plain; charset=utf-8"), (String = "text/html; charset=utf-8")))
    )
)]
pub fn page(state: &State, head: Head<'_>) -> HttpResponse {
    let (is_ready, says) = condition(state);
    let status = match state.engine() {
        Ok(_) => StatusCode::OK,
        Err(_) => StatusCode::SERVICE_UNAVAILABLE,
    };
    let (kind, body) = match prefers_html(head.headers) {
        true => (
            "text/html; charset=utf-8",
            html(is_ready, &says, &head.base_url()),
        ),
        false => ("text/plain; charset=utf-8", text(&says, &head.base_url())),
    };
    HttpResponse::build(status)
        .content_type(kind)
        .insert_header((X_CONTENT_TYPE_OPTIONS, "nosniff"))
        .insert_header((CONTENT_SECURITY_POLICY, POLICY))
        .insert_header((CACHE_CONTROL, "no-store"))
        .insert_header((VARY, "Accept"))
        .body(body)
}

/// Whether everything works, and how it is in a few words.
fn condition(state: &State) -> (bool, String) {
    match (state.phase(), state.engine()) {
        (Phase::Draining, _) => (false, "shutting down".to_owned()),
        (Phase::Starting { done, total }, _) if total > 0 => {
            let percent = done.saturating_mul(100) / total;
            (false, format!("starting, {percent} % of the log replayed"))
        }
        (_, Err(_)) => (false, "starting".to_owned()),
        (_, Ok(engine)) => of_store(&engine.store.health(), &engine.store.room()),
    }
}

fn of_store(health: &Health, room: &RoomState) -> (bool, String) {
    match health {
        Health::Rebuilding { .. } => (false, "rebuilding the index; requests wait for it".to_owned()),
        Health::Poisoned(_) => (false, "read-only after an I/O error, until a restart".to_owned()),
        Health::Ready if room.above_high || room.resting => (
            false,
            "full: uploads are refused, everything else works".to_owned(),
        ),
        Health::Ready => (true, "ready".to_owned()),
    }
}

/// The first lines to type.
fn lines(url: &str) -> String {
    let file = format!("{url}/api/packages/OWNER/generic/NAME/VERSION/FILE");
    format!(
        "curl --fail --user OWNER:TOKEN --upload-file FILE {file}\n\
         curl --fail --remote-name {file}\n\
         curl --fail --user OWNER:TOKEN --request DELETE {file}"
    )
}

fn text(says: &str, url: &str) -> String {
    let mut text = format!(
        "Larder {VERSION} keeps CI artifacts and build caches.\nState: {says}\n\n\
         Publish, download, remove:\n\n"
    );
    for line in lines(url).lines() {
        // Writing to a string cannot fail.
        let _ = writeln!(text, "    {line}");
    }
    text.push_str("\nLook:\n\n");
    for (path, says) in LINKS {
        let _ = writeln!(text, "    {url}{path}  {says}");
    }
    text.push_str("\nRead:\n\n");
    for document in DOCUMENTS {
        let _ = writeln!(text, "    {url}/api/docs/{}  {}", document.name, document.title());
    }
    text
}

fn html(is_ready: bool, says: &str, url: &str) -> String {
    let rows = |rows: &mut dyn Iterator<Item = (String, String)>| {
        rows.fold(String::new(), |mut all, (path, says)| {
            let (path, says, url) = (escaped(&path), escaped(&says), escaped(url));
            let _ = writeln!(all, "<dt><a href=\"{url}{path}\">{path}</a></dt><dd>{says}</dd>");
            all
        })
    };
    let links = rows(
        &mut LINKS
            .iter()
            .map(|(path, says)| ((*path).to_owned(), (*says).to_owned())),
    );
    let documents = rows(&mut DOCUMENTS.iter().map(|document| {
        (
            format!("/api/docs/{}", document.name),
            document.title().to_owned(),
        )
    }));
    PAGE.replace("{{version}}", VERSION)
        .replace("{{class}}", if is_ready { "ready" } else { "" })
        .replace("{{state}}", &escaped(says))
        .replace("{{lines}}", &escaped(&lines(url)))
        .replace("{{links}}", &links)
        .replace("{{documents}}", &documents)
}

/// As text or an attribute of HTML.
fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            other => escaped.push(other),
        }
    }
    escaped
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::http::Options;
    use crate::store::Disk;

    fn room() -> RoomState {
        RoomState {
            used: 0,
            limit: None,
            reserved: 0,
            ballast: 0,
            disk: Disk {
                size: 10,
                free: 5,
                inodes: 7,
            },
            above_high: false,
            pressed: true,
            above_low: 0,
            resting: false,
        }
    }

    #[test]
    fn the_state_is_said_in_a_few_words_and_without_paths() {
        let rebuilding = Health::Rebuilding {
            why: "/srv/secret".to_owned(),
            done: 1,
            total: 2,
        };
        let full = RoomState {
            above_high: true,
            ..room()
        };
        for (health, room, ready, begins) in [
            (Health::Ready, room(), true, "ready"),
            (Health::Ready, full, false, "full"),
            (rebuilding, room(), false, "rebuilding"),
            (
                Health::Poisoned("/srv/secret".to_owned()),
                room(),
                false,
                "read-only",
            ),
        ] {
            let (is_ready, says) = of_store(&health, &room);
            assert!(
                is_ready == ready && says.starts_with(begins) && !says.contains("srv"),
                "{says}"
            );
        }
        let state = State::new(Options::default());
        assert_eq!(condition(&state), (false, "starting".to_owned()));
        state.progress(5, 20);
        assert_eq!(
            condition(&state),
            (false, "starting, 25 % of the log replayed".to_owned())
        );
        state.drain();
        assert_eq!(condition(&state), (false, "shutting down".to_owned()));
    }

    #[test]
    fn what_clients_send_is_escaped_and_every_place_is_filled() {
        let page = html(true, "ready", "http://x\"><script>&");
        assert!(!page.contains("<script") && !page.contains("{{"), "{page}");
        assert!(page.contains("http://x&quot;&gt;&lt;script&gt;&amp;/api/packages/OWNER/generic/"));
    }
}
