//! Early refusal: answered at once, still seen by a client that sends everything first, and polite to the connection
//! (API.md §1, Early refusal).

use std::time::{Duration, Instant};

use crate::support::{Daemon, MIB, Request, Setup, bearer, path, seeded_bytes, version_path};

const AT_ONCE: Duration = Duration::from_secs(20);

/// A daemon on which there is a reason for every refusal.
fn daemon() -> Daemon {
    let daemon = Setup::default()
        .config("[limits]\nmax_file_size = \"9 MiB\"\n")
        .policy("admin/joined", "package")
        .start();
    assert_eq!(daemon.put(&path("taken", "1", "f"), "first"), 201);
    assert_eq!(daemon.put(&path("joined", "1", "f"), "first"), 201);
    daemon
}

/// Refusals that need no body: (what, request, status).
fn refusals(daemon: &Daemon, body: &[u8]) -> Vec<(&'static str, Request, u16)> {
    let put = |target: &str| Request::put(target, body);
    let admin = |request: Request| daemon.authorized(request);
    let new = path("new", "1", "f");
    vec![
        ("release, taken", admin(put(&path("taken", "1", "g"))), 400),
        ("package, taken", admin(put(&path("joined", "1", "f"))), 409),
        ("bad name", admin(put(&path("-", "1", "f"))), 400),
        (
            "Content-Range",
            admin(put(&new)).header("Content-Range", "bytes 0-1/2"),
            400,
        ),
        (
            "precondition",
            admin(put(&path("taken", "1", "f"))).header("If-None-Match", "*"),
            412,
        ),
        ("no credentials", put(&new), 401),
        (
            "wrong credentials",
            put(&new).header("Authorization", bearer("lrd_wrong")),
            401,
        ),
        (
            "unknown owner",
            admin(put("/api/packages/nobody/generic/tool/1/f")),
            404,
        ),
        ("version path", admin(put(&version_path("new", "1"))), 405),
        ("POST", admin(Request::new("POST", &new).body(body)), 405),
        (
            "unknown path",
            admin(put("/api/packages/admin/generic/a/b/c/d/e")),
            404,
        ),
        ("outside", admin(put("/nowhere")), 404),
    ]
}

#[test]
fn a_client_that_sends_everything_first_sees_the_status() {
    let daemon = daemon();
    let body = seeded_bytes(21, 8 * MIB);
    for (what, request, status) in refusals(&daemon, &body) {
        for request in [request.clone(), request.chunked(100_000)] {
            let answer = daemon.connect().send(&request);
            let answer = answer.unwrap_or_else(|error| panic!("{what}: the status was lost: {error}"));
            assert_eq!(answer.status, status, "{what}: {}", answer.text());
        }
    }
    daemon.assert_absent(&path("new", "1", "f"));
}

#[test]
fn too_large_is_413_by_its_length_and_by_its_bytes() {
    let daemon = daemon();
    let body = seeded_bytes(22, 12 * MIB);
    let target = path("large", "1", "f");
    for request in [
        Request::put(&target, body.clone()),
        Request::put(&target, body).chunked(100_000),
    ] {
        let answer = daemon.as_admin(request);
        assert_eq!(answer.status, 413, "{}", answer.text());
        assert!(
            answer.text().contains("9437184") || answer.text().contains("9 MiB"),
            "names the limit: {}",
            answer.text()
        );
        daemon.assert_absent(&target);
    }
    let fits = seeded_bytes(23, 9 * MIB);
    assert_eq!(daemon.put(&target, fits.clone()), 201);
    daemon.assert_serves(&target, &fits);
}

#[test]
fn a_refusal_does_not_wait_for_the_body() {
    let daemon = daemon();
    let body = vec![0; 8 * MIB];
    let mut rows = refusals(&daemon, &body);
    let large = Request::put(&path("large", "1", "f"), vec![0; 12 * MIB]);
    rows.push(("too large", daemon.authorized(large), 413));
    for (what, request, status) in rows {
        let begin = Instant::now();
        let mut connection = daemon.connect();
        connection.read_limit(AT_ONCE);
        connection.write(&request.head_bytes()).unwrap();
        let answer = connection.read_response(request.method());
        let answer = answer.unwrap_or_else(|error| panic!("{what}: no answer before the body: {error}"));
        assert_eq!(answer.status, status, "{what}: {}", answer.text());
        assert!(begin.elapsed() < AT_ONCE, "{what}: {:?}", begin.elapsed());
    }
}

#[test]
fn a_refused_client_that_sends_nothing_more_is_let_go() {
    let daemon = daemon();
    let request = Request::put(&path("taken", "1", "g"), vec![0; 8 * MIB]);
    let mut connection = daemon.connect();
    connection
        .write(&daemon.authorized(request).head_bytes())
        .unwrap();
    assert_eq!(connection.read_response("PUT").unwrap().status, 400);
    // The body is waited for up to 10 s.
    assert!(
        connection.is_closed_within(Duration::from_secs(20)),
        "the connection stays open"
    );
}

#[test]
fn continue_is_sent_when_the_body_is_wanted() {
    let daemon = daemon();
    for (version, body) in [("small", vec![7; 10]), ("big", seeded_bytes(24, 3 * MIB))] {
        let target = path("expected", version, "f");
        let request = daemon.authorized(Request::put(&target, body.clone()).header("Expect", "100-continue"));
        let mut connection = daemon.connect();
        connection.read_limit(AT_ONCE);
        connection.write(&request.head_bytes()).unwrap();
        let interim = connection.read_response("PUT").unwrap();
        assert_eq!(interim.status, 100, "{version}");
        connection.write(&request.body_bytes()).unwrap();
        assert_eq!(connection.read_response("PUT").unwrap().status, 201, "{version}");
        daemon.assert_serves(&target, &body);
    }
}

#[test]
fn the_final_status_comes_instead_of_continue() {
    let daemon = daemon();
    let body = vec![0; 8 * MIB];
    let mut rows = refusals(&daemon, &body);
    let large = Request::put(&path("large", "1", "f"), vec![0; 12 * MIB]);
    rows.push(("too large", daemon.authorized(large), 413));
    let mut wrong = Vec::new();
    for (what, request, status) in rows {
        let request = request.header("Expect", "100-continue");
        let mut connection = daemon.connect();
        connection.read_limit(AT_ONCE);
        connection.write(&request.head_bytes()).unwrap();
        let answer = connection.read_response(request.method());
        let answer = answer.unwrap_or_else(|error| panic!("{what}: {error}"));
        if answer.status != status {
            wrong.push(format!("{what}: {} instead of {status}", answer.status));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn a_connection_survives_what_was_read_to_its_end() {
    let daemon = daemon();
    let mut connection = daemon.connect();
    let big = seeded_bytes(25, 8 * MIB);
    #[rustfmt::skip]
    let rows = [
        ("404", Request::get(&path("none", "1", "f")), 404),
        ("404 by HEAD", Request::head(&path("none", "1", "f")), 404),
        ("404 by DELETE", Request::delete(&path("none", "1", "f")), 404),
        ("refused small body", Request::put(&path("taken", "1", "g"), "small"), 400),
        ("refused small chunked body", Request::put(&path("taken", "1", "g"), "small").chunked(2), 400),
        (
            "wrong digest",
            Request::put(&path("new", "1", "f"), "x").header("X-Checksum-Sha256", "0".repeat(64)),
            400,
        ),
        ("refused large body", Request::put(&path("taken", "1", "g"), big), 400),
        ("precondition", Request::put(&path("taken", "1", "f"), "x").header("If-Match", "\"00\""), 412),
        ("published", Request::put(&path("new", "2", "f"), "x"), 201),
        ("download", Request::get(&path("new", "2", "f")), 200),
        ("method", Request::new("PATCH", &path("new", "2", "f")).body("x"), 405),
        ("download again", Request::get(&path("new", "2", "f")), 200),
    ];
    let mut closing = Vec::new();
    for (what, request, status) in rows {
        let answer = connection.send(&daemon.authorized(request));
        let answer = answer.unwrap_or_else(|error| panic!("{what}: the connection is gone: {error}"));
        assert_eq!(answer.status, status, "{what}: {}", answer.text());
        if !answer.keeps_alive() {
            closing.push(what);
            connection = daemon.connect();
        }
    }
    assert!(closing.is_empty(), "these closed the connection: {closing:?}");
}

#[test]
fn many_requests_on_one_connection_stay_in_order() {
    let daemon = daemon();
    let mut connection = daemon.connect();
    let mut wire = Vec::new();
    for number in 0..20 {
        let target = path("pipe", &number.to_string(), "f");
        let put = daemon.authorized(Request::put(&target, format!("body {number}")));
        wire.extend([put.head_bytes(), put.body_bytes()].concat());
        wire.extend(Request::get(&target).head_bytes());
        wire.extend(Request::get(&path("pipe", "none", "f")).head_bytes());
    }
    connection.write(&wire).unwrap();
    for number in 0..20 {
        assert_eq!(
            connection.read_response("PUT").unwrap().status,
            201,
            "PUT {number}"
        );
        let get = connection.read_response("GET").unwrap();
        assert_eq!((get.status, get.text()), (200, format!("body {number}")));
        assert_eq!(
            connection.read_response("GET").unwrap().status,
            404,
            "GET {number}"
        );
    }
}
