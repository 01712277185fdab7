//! The order of checks, the exact texts of errors, and problem details for clients that prefer JSON (API.md §1).

use serde_json::json;

use crate::support::{
    Daemon, MIB, PATIENCE, Request, Response, Setup, basic, bearer, file_path, path, seeded_bytes, within,
};

/// A daemon with one thing wrong for every check: a private owner, a taken version, a small limit.
fn daemon() -> Daemon {
    let daemon = Setup::default()
        .config("[limits]\nmax_file_size = \"1 MiB\"\n")
        .start();
    daemon.create_user("hermit", "password of hermit", "private");
    daemon.create_user("alice", "password of alice", "public");
    assert_eq!(daemon.put(&path("taken", "1", "f"), "first"), 201);
    daemon
}

#[test]
fn the_earlier_check_answers() {
    let daemon = daemon();
    let admin = bearer(daemon.admin_token());
    let alice = bearer(&daemon.create_token("alice", &["write:package"]));
    let wrong = bearer("lrd_nosuchtoken");
    let limited = bearer(&daemon.create_token("hermit", &["write:package", "public-only"]));
    let big = || seeded_bytes(1, 2 * MIB);
    let put = |target: &str, who: &str| Request::put(target, "x").header("Authorization", who);
    let bad_digest = |request: Request| request.header("X-Checksum-Sha256", "0".repeat(64));

    #[rustfmt::skip]
    let rows: Vec<(&str, Request, u16, &str)> = vec![
        ("credentials, then owner", put(&file_path("nobody", "-", "1", "f"), &wrong), 401, ""),
        ("owner, then permission", Request::put(&file_path("nobody", "-", "1", "f"), "x"), 404, ""),
        ("owner, then names", put(&file_path("nobody", "-", "1", "f"), &admin), 404, ""),
        ("permission, then names", put(&file_path("hermit", "-", "1", "f"), &alice), 401, ""),
        ("sign-in, then names", Request::put(&path("-", "1", "f"), "x"), 401, ""),
        ("public-only, then names", put(&file_path("hermit", "-", "1", "f"), &limited), 403, ""),
        ("package name first", put(&path("-", "-", "%2E"), &admin), 400, "invalid package name"),
        ("then the file name", put(&path("tool", "-", "%2E"), &admin), 400, "invalid filename"),
        ("then the version", put(&path("tool", "-", "f"), &admin), 400, "invalid package version"),
        (
            "names, then Content-Range",
            put(&path("tool", "-", "f"), &admin).header("Content-Range", "bytes 0-0/1"),
            400,
            "invalid package version",
        ),
        (
            "preconditions, then policy",
            put(&path("taken", "1", "f"), &admin).header("If-None-Match", "*"),
            412,
            "",
        ),
        (
            "policy, then size",
            Request::put(&path("taken", "1", "g"), big()).header("Authorization", admin.as_str()),
            400,
            "package version already exists",
        ),
        (
            "policy, then digests",
            bad_digest(put(&path("taken", "1", "g"), &admin)),
            400,
            "package version already exists",
        ),
    ];
    for (what, request, status, text) in rows {
        let answer = daemon.send(&request);
        assert_eq!(answer.status, status, "{what}: {}", answer.text());
        if !text.is_empty() {
            assert_eq!(answer.text(), text, "{what}");
        }
    }

    let range = daemon.send(
        &put(&path("taken", "1", "f"), &admin)
            .header("Content-Range", "bytes 0-0/1")
            .header("If-None-Match", "*"),
    );
    assert_eq!(
        range.status,
        400,
        "Content-Range, then preconditions: {}",
        range.text()
    );
    assert!(
        range.text().to_lowercase().contains("content-range"),
        "{}",
        range.text()
    );

    let size =
        bad_digest(Request::put(&path("new", "1", "f"), big()).header("Authorization", admin.as_str()));
    let size = daemon.send(&size);
    assert_eq!(size.status, 413, "size, then digests: {}", size.text());
    assert!(
        size.text().contains("1048576") || size.text().contains("1 MiB"),
        "names the limit: {}",
        size.text()
    );
    daemon.assert_serves(&path("taken", "1", "f"), b"first");
}

/// Starts a PUT, lets `meanwhile` happen when half of the body is there, then sends the rest.
fn overtaken(daemon: &Daemon, request: Request, meanwhile: impl FnOnce()) -> Response {
    let request = daemon.authorized(request);
    let body = request.body_bytes();
    let mut slow = daemon.connect();
    slow.write(&request.head_bytes()).unwrap();
    slow.write(&body[..body.len() / 2]).unwrap();
    // Long enough for the head to be judged before the rival comes; the outcome must not depend on it.
    std::thread::sleep(std::time::Duration::from_millis(200));
    meanwhile();
    slow.write(&body[body.len() / 2..]).unwrap();
    slow.read_response("PUT").unwrap()
}

#[test]
fn when_the_body_has_arrived_digests_come_before_preconditions_and_policy() {
    let daemon = daemon();
    let rival = |version: &str| assert_eq!(daemon.put(&path("late", version, "f"), "rival"), 201);
    let put = |version: &str| Request::put(&path("late", version, "f"), "late body");

    let digest = put("1")
        .header("X-Checksum-Sha256", "0".repeat(64))
        .header("If-None-Match", "*");
    let answer = overtaken(&daemon, digest, || rival("1"));
    assert_eq!(answer.status, 400);
    assert!(
        answer.text().to_lowercase().contains("sha"),
        "names the digest: {}",
        answer.text()
    );

    let answer = overtaken(&daemon, put("2").header("If-None-Match", "*"), || rival("2"));
    assert_eq!(
        answer.status,
        412,
        "preconditions again, before the policy: {}",
        answer.text()
    );

    let answer = overtaken(&daemon, put("3"), || rival("3"));
    assert_eq!(
        (answer.status, answer.text().as_str()),
        (400, "package version already exists")
    );
    for version in ["1", "2", "3"] {
        daemon.assert_serves(&path("late", version, "f"), b"rival");
    }
}

#[test]
fn errors_are_one_line_of_text() {
    let daemon = daemon();
    let requests = [
        Request::get(&path("none", "1", "f")),
        Request::get(&path("taken", "1", "g")),
        Request::put(&path("taken", "1", "f"), "x"),
        Request::put(&path("-", "1", "f"), "x"),
        Request::put(&path("new", "1", "f"), "x").header("X-Checksum-Sha256", "0".repeat(64)),
        Request::get(&path("none", "1", "f")).header("Accept", "*/*"),
        Request::get(&path("none", "1", "f")).header("Accept", "text/plain, application/json;q=0.5"),
        Request::get(&path("none", "1", "f")).header("Accept", "text/html,*/*;q=0.8"),
    ];
    for request in requests {
        let answer = daemon.as_admin(request.clone());
        let kind = answer
            .header("content-type")
            .unwrap_or_default()
            .replace(' ', "")
            .to_lowercase();
        assert_eq!(kind, "text/plain;charset=utf-8", "{request:?}");
        assert_eq!(
            answer.header("x-content-type-options"),
            Some("nosniff"),
            "{request:?}"
        );
        let text = answer.text();
        assert!(!text.is_empty() && !text.contains('\n'), "{request:?}: {text:?}");
    }
}

#[test]
fn clients_that_prefer_json_get_problem_details() {
    let daemon = daemon();
    #[rustfmt::skip]
    let rows = [
        (Request::get(&path("none", "1", "f")), 404, "package does not exist"),
        (Request::get(&path("taken", "1", "g")), 404, "package file does not exist"),
        (Request::put(&path("taken", "1", "f"), "x"), 400, "package version already exists"),
        (Request::put(&path("-", "1", "f"), "x"), 400, "invalid package name"),
    ];
    for accept in [
        "application/json",
        "application/problem+json",
        "application/json, text/plain;q=0.1",
    ] {
        for (request, status, detail) in rows.clone() {
            let answer = daemon.as_admin(request.header("Accept", accept));
            assert_eq!(answer.status, status, "{accept}");
            let kind = answer.header("content-type").unwrap_or_default();
            assert!(kind.starts_with("application/problem+json"), "{accept}: {kind}");
            let problem = answer.json();
            assert_eq!(problem["status"], json!(status), "{accept}: {problem}");
            assert!(problem["title"].is_string(), "{accept}: {problem}");
            assert!(problem.to_string().contains(detail), "{accept}: {problem}");
        }
    }
    let denied = daemon.send(&Request::put(&path("new", "1", "f"), "x").header("Accept", "application/json"));
    assert_eq!(denied.status, 401);
    assert_eq!(denied.json()["status"], json!(401));
}

#[test]
fn a_password_counts_like_a_token() {
    let daemon = daemon();
    let request = Request::put(&file_path("alice", "tool", "1", "f"), "x")
        .header("Authorization", basic("alice", "password of alice"));
    assert_eq!(daemon.send(&request).status, 201);
    let seen = within(PATIENCE, || {
        daemon
            .send(&Request::get(&file_path("alice", "tool", "1", "f")))
            .status
            == 200
    });
    assert!(seen);
}
