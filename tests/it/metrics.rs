//! `/metrics` after traffic, the health endpoints, and the pages that say what this is (API.md §7).

use serde_json::json;

use crate::support::{Daemon, Request, Setup, path, seeded_bytes, version_path};

#[test]
fn every_family_is_there_after_traffic() {
    let daemon = Setup::default().start();
    let body = seeded_bytes(61, 100_000);
    assert_eq!(daemon.put(&path("tool", "1", "f"), body.clone()), 201);
    assert_eq!(daemon.put(&path("tool", "2", "f"), body.clone()), 201);
    assert_eq!(daemon.put(&path("tool", "2", "f"), body), 400);
    assert_eq!(daemon.get(&path("tool", "1", "f")).status, 200);
    assert_eq!(daemon.get(&path("tool", "3", "f")).status, 404);
    assert_eq!(daemon.delete(&path("tool", "1", "f")), 204);

    let answer = daemon.send(&Request::get("/metrics"));
    assert!(
        answer
            .header("content-type")
            .unwrap_or_default()
            .starts_with("text/plain")
    );
    let text = answer.text();
    let families: Vec<(&str, &str)> = text
        .lines()
        .filter_map(|line| line.strip_prefix("# TYPE ")?.split_once(' '))
        .collect();
    for (family, _) in &families {
        assert!(
            family.starts_with("larder_") || family.starts_with("process_"),
            "{family}"
        );
        assert!(
            text.contains(&format!("# HELP {family} ")),
            "{family} has no help"
        );
    }
    let has = |part: &str, kind: &str| {
        families
            .iter()
            .any(|(family, known)| family.contains(part) && *known == kind)
    };
    // What issue 2 asks for: (a part of the family's name, its kind).
    let wanted = [
        ("http_requests_total", "counter"),
        ("http_request_duration_seconds", "histogram"),
        ("artifact_bytes", "histogram"),
        ("http_request_body_bytes_total", "counter"),
        ("http_response_body_bytes_total", "counter"),
        ("upload_bytes_total", "counter"),
        ("commit_group", "histogram"),
        ("fsync_seconds", "histogram"),
        ("owner_actors", "gauge"),
        ("process_resident_memory_bytes", "gauge"),
        ("process_open_fds", "gauge"),
    ];
    for (part, kind) in wanted {
        assert!(has(part, kind), "no {kind} {part} among {families:?}");
    }
    assert!(daemon.metric("larder_http_requests_total", "code=\"201\"") >= 3);
    assert!(daemon.metric("larder_http_requests_total", "code=\"400\"") >= 1);
    assert!(daemon.metric("larder_http_requests_total", "code=\"404\"") >= 1);
    assert_eq!(
        daemon.metric("larder_upload_bytes_total", "dedupe=\"new\""),
        100_000
    );
    assert_eq!(
        daemon.metric("larder_upload_bytes_total", "dedupe=\"known\""),
        100_000
    );
    assert!(daemon.metric("larder_http_request_body_bytes_total", "") >= 200_000);
    assert!(daemon.metric("larder_http_response_body_bytes_total", "") >= 100_000);
}

#[test]
fn labels_stay_few_whatever_clients_send() {
    let daemon = Setup::default().start();
    let series = |daemon: &Daemon| {
        daemon
            .metrics()
            .lines()
            .filter(|line| !line.starts_with('#'))
            .count()
    };
    for number in 0..2 {
        daemon.get(&path("warm", &number.to_string(), "f"));
    }
    daemon.send(&Request::new("BREW", "/nowhere"));
    daemon.send(&Request::get("/nowhere"));
    let before = series(&daemon);
    for number in 0..40 {
        daemon.get(&path(&format!("package{number}"), &number.to_string(), "f"));
        daemon.send(&Request::new(
            &format!("METHOD{number}"),
            &format!("/nowhere/{number}"),
        ));
    }
    let grown = series(&daemon).saturating_sub(before);
    assert!(grown < 40, "80 odd requests made {grown} new series");
}

#[test]
fn health_endpoints() {
    let daemon = Setup::default().start();
    for target in ["/livez", "/readyz", "/readyz?verbose", "/healthz", "/api/healthz"] {
        let answer = daemon.send(&Request::get(target));
        assert_eq!(answer.status, 200, "{target}: {}", answer.text());
    }
    assert_eq!(
        daemon.send(&Request::get("/api/healthz")).json()["status"],
        json!("pass")
    );
    let verbose = daemon.send(&Request::get("/readyz?verbose")).text();
    assert!(
        verbose.len() > daemon.send(&Request::get("/readyz")).text().len(),
        "{verbose:?}"
    );
    let version = daemon.send(&Request::get("/api/v1/version")).json();
    let expected = format!("1.27.0+larder-{}", env!("CARGO_PKG_VERSION"));
    assert_eq!(version, json!({"version": expected}));
    let front = daemon.send(&Request::get("/"));
    assert_eq!(front.status, 200);
    // The address is the one that the client used.
    assert!(
        front.text().contains("curl") && front.text().contains("http://larder.test/"),
        "{}",
        front.text()
    );
}

#[test]
fn health_does_not_count_on_credentials_or_names() {
    let daemon = Setup::default().start();
    let wrong = |target: &str| Request::get(target).header("Authorization", "Bearer lrd_wrong");
    for target in ["/livez", "/readyz", "/metrics"] {
        assert_eq!(daemon.send(&wrong(target)).status, 200, "{target}");
    }
    assert_eq!(daemon.send(&Request::head("/livez")).status, 200);
    assert_eq!(
        daemon.send(&Request::get(&version_path("livez", "1"))).status,
        405
    );
}

#[test]
fn metrics_can_have_an_address_of_their_own() {
    let daemon = Setup::default()
        .config("[metrics]\nlisten = \"127.0.0.1:0\"\n")
        .start();
    assert_eq!(daemon.send(&Request::get("/metrics")).status, 404);
    assert_eq!(daemon.send(&Request::get("/livez")).status, 200);
}
