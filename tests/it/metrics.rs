//! `/metrics` after traffic, the health endpoints, and the pages that say what this is (API.md §7).

use serde_json::json;

use crate::support::{
    ADMIN_PASSWORD, Daemon, PATIENCE, Request, Setup, basic, bearer, binary, etag, file_path, output_within,
    path, seeded_bytes, version_path, within,
};

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
fn metrics_can_ask_for_a_token() {
    const TOKEN: &str = "scrape-0123456789abcdef";
    let config = format!("[metrics]\ntoken = \"{TOKEN}\"\n");
    let daemon = Setup::default().config(&config).start();
    let scrape = |authorization: &str| {
        let request = Request::get("/metrics").header("Authorization", authorization);
        daemon.send(&request).status
    };
    let refused = daemon.send(&Request::get("/metrics"));
    assert_eq!(refused.status, 401, "{}", refused.text());
    assert!(refused.header("www-authenticate").is_some());
    assert!(refused.text().contains("metrics.token"), "{}", refused.text());
    assert_eq!(scrape(&bearer(TOKEN)), 200);
    assert_eq!(scrape(&basic("prometheus", TOKEN)), 200);
    assert_eq!(scrape(&bearer("scrape-0123456789abcdeF")), 401);
    // The admin's password is another thing, and a token in a URL ends up in logs.
    assert_eq!(scrape(&basic("admin", ADMIN_PASSWORD)), 401);
    assert_eq!(
        daemon
            .send(&Request::get(&format!("/metrics?token={TOKEN}")))
            .status,
        401
    );
    assert_eq!(daemon.send(&Request::get("/livez")).status, 200);

    let shown = output_within(
        binary().args(["config", "--config"]).arg(daemon.config_path()),
        "",
    );
    let shown = String::from_utf8_lossy(&shown.stdout).into_owned();
    assert!(shown.contains("metrics.token"), "{shown}");
    assert!(
        !shown.contains(TOKEN) && !daemon.stderr().contains(TOKEN),
        "{shown}"
    );
}

#[test]
fn what_is_looked_for_and_what_need_not_travel() {
    let daemon = Setup::default().start();
    let body = seeded_bytes(62, 50_000);
    let file = path("tool", "1", "f");
    assert_eq!(daemon.put(&file, body.clone()), 201);
    assert_eq!(daemon.get(&file).status, 200);
    assert_eq!(daemon.send(&Request::head(&file)).status, 200);
    let unchanged = Request::get(&file).header("If-None-Match", etag(&body));
    assert_eq!(daemon.send(&unchanged).status, 304);
    assert_eq!(daemon.get(&path("tool", "2", "f")).status, 404);
    // Refused before it is sent: the name is taken.
    let mut conn = daemon.connect();
    let refused = Request::put(&file, body.clone()).header("Expect", "100-continue");
    let refused = daemon.authorized(refused);
    let head = refused.head_bytes();
    conn.write(&head).unwrap();
    assert_eq!(conn.read_response("PUT").unwrap().status, 400);

    let metric = |name: &str, label: &str| daemon.metric(name, label);
    assert_eq!(metric("larder_lookups_total", "hit"), 3);
    assert_eq!(metric("larder_lookups_total", "miss"), 1);
    assert_eq!(metric("larder_http_avoided_bytes_total", "not_modified"), 50_000);
    assert_eq!(metric("larder_http_avoided_bytes_total", "not_sent"), 50_000);
    assert_eq!(
        metric("larder_http_time_to_first_byte_seconds_count", "get_file"),
        metric("larder_http_requests_total", "get_file")
    );
    assert_eq!(metric("larder_http_requests_rejected_total", "taken"), 1);
    assert!(
        metric("larder_http_connections", "") >= 2,
        "this and that of /metrics"
    );
    assert_eq!(metric("larder_http_connections_limit", ""), 8192);
    assert_eq!(metric("larder_ready", ""), 1);
    assert_eq!(metric("larder_store_writing", ""), 1);
    assert!(metric("larder_index_size_bytes", "") > 0);
    assert!((0..40).contains(&metric("larder_index_runs", "")));
    let checkpoint = || metric("larder_index_checkpoint_timestamp_seconds", "") > 1_700_000_000;
    assert!(within(PATIENCE, checkpoint));
}

#[test]
fn a_backup_is_counted_by_the_daemon_and_remembered() {
    let mut daemon = Setup::default().start();
    daemon.put(&path("tool", "1", "f"), seeded_bytes(63, 1000));
    let backup = |daemon: &Daemon, to: &std::path::Path| {
        let output = daemon.run(&["backup", to.to_str().unwrap()], "");
        (
            output.status.code(),
            String::from_utf8_lossy(&output.stderr).into_owned(),
        )
    };
    let last = |daemon: &Daemon| daemon.metric("larder_backup_last_success_timestamp_seconds", "");
    assert_eq!(last(&daemon), 0);
    let to = tempfile::tempdir().unwrap();
    let (code, said) = backup(&daemon, &to.path().join("copy"));
    assert_eq!(code, Some(0), "{said}");
    assert_eq!(daemon.metric("larder_backup_runs_total", "ok"), 1);
    let first = last(&daemon);
    assert!(first > 1_700_000_000);
    // A file is no directory.
    std::fs::write(to.path().join("file"), "x").unwrap();
    assert_eq!(backup(&daemon, &to.path().join("file")).0, Some(1));
    assert_eq!(daemon.metric("larder_backup_runs_total", "failed"), 1);
    daemon.terminate();
    daemon.start();
    assert_eq!(last(&daemon), first);
}

#[test]
fn owners_figures_are_of_those_who_were_asked_for() {
    let mut daemon = Setup::default()
        .config("[metrics]\nowners = \"ADMIN, nobody\"\n")
        .start();
    daemon.create_user("other", "a long password", "public");
    assert_eq!(daemon.put(&path("tool", "1", "f"), vec![1; 5000]), 201);
    assert_eq!(
        daemon.put(&file_path("other", "tool", "1", "f"), vec![2; 300]),
        201
    );
    assert_eq!(
        daemon.put(&file_path("other", "tool", "2", "f"), vec![3; 400]),
        201
    );
    let quota = Request::new("PATCH", "/api/v1/admin/owners/admin")
        .json(&json!({"max_bytes": 9000, "max_versions": 7}));
    assert_eq!(daemon.as_admin(quota).status, 200);
    // They are looked up at every start.
    daemon.terminate();
    daemon.start();
    assert_eq!(daemon.metric("larder_owner_held_bytes", "owner=\"admin\""), 5000);
    assert_eq!(daemon.metric("larder_owner_held_versions", "owner=\"_other\""), 2);
    assert_eq!(daemon.metric("larder_owner_held_bytes", ""), 5700);
    for (owner, bytes, versions) in [("admin", 9000, 7), ("_other", 0, 0)] {
        let of = |family: &str| daemon.metric(family, &format!("owner=\"{owner}\""));
        assert_eq!(of("larder_owner_limit_bytes"), bytes);
        assert_eq!(of("larder_owner_limit_versions"), versions);
    }
    let series = daemon.metrics();
    let series = series
        .lines()
        .filter(|line| line.starts_with("larder_owner_held_bytes{"));
    assert_eq!(series.count(), 2);
}

#[test]
fn metrics_can_have_an_address_of_their_own() {
    let daemon = Setup::default()
        .config("[metrics]\nlisten = \"127.0.0.1:0\"\n")
        .start();
    assert_eq!(daemon.send(&Request::get("/metrics")).status, 404);
    assert_eq!(daemon.send(&Request::get("/livez")).status, 200);
}
