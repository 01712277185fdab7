//! Plain small PUTs and plain DELETEs are taken before the dispatcher (src/http/fast_path): nobody may see a difference,
//! and nothing may be published that has not come to its end.

use std::time::Duration;

use crate::fast_path::{essence, fast, the_long_way};
use crate::support::{Conn, Daemon, PATIENCE, Request, Setup, bearer, path, seeded_bytes, within};

/// More than the fast path takes, in bytes.
const TOO_LONG: usize = (64 << 10) + 1;

/// One step for each thing that can come of a write, to a package.
fn steps(package: &str) -> Vec<(&'static str, Request)> {
    let at = |version: &str, file: &str| path(package, version, file);
    let (one, two) = (seeded_bytes(1, 4000), seeded_bytes(2, 64 << 10));
    vec![
        ("nothing is there", Request::delete(&at("1", "f"))),
        ("the first", Request::put(&at("1", "f"), one.clone())),
        ("the same bytes", Request::put(&at("1", "f"), one.clone())),
        ("other bytes", Request::put(&at("1", "f"), two.clone())),
        ("another file", Request::put(&at("1", "g"), two.clone())),
        ("known bytes", Request::put(&at("2", "f"), one.clone())),
        ("too long", Request::put(&at("3", "f"), seeded_bytes(3, TOO_LONG))),
        ("no bytes", Request::put(&at("4", "f"), "")),
        ("a bad name", Request::put(&at("5", "*"), one.clone())),
        ("a bad package", Request::put(&path("'", "5", "f"), one.clone())),
        (
            "no such owner",
            Request::put("/api/packages/nobody/generic/p/1/f", one),
        ),
        ("no such file", Request::delete(&at("1", "h"))),
        ("no such version", Request::delete(&at("9", "f"))),
        ("it goes", Request::delete(&at("1", "f"))),
        ("it has gone", Request::delete(&at("1", "f"))),
        ("a new one", Request::put(&at("1", "f"), two)),
    ]
}

#[test]
fn answers_are_those_of_the_dispatcher() {
    let policies = ["release", "package", "write-once", "cache"];
    let setup = policies.iter().fold(Setup::default(), |setup, policy| {
        setup.policy(&format!("admin/{policy}-*"), policy)
    });
    let daemon = setup.start();
    let reader = daemon.create_token("admin", &["read:package"]);
    let callers = [
        ("the admin", Some(daemon.admin_token())),
        ("a reader", Some(reader.as_str())),
        ("somebody unknown", Some("lrd_unknown")),
        ("nobody", None),
    ];
    let mut expected = fast(&daemon);
    for policy in policies {
        for (who, token) in callers {
            let (short, long) = (format!("{policy}-short"), format!("{policy}-long"));
            for ((step, short), (_, long)) in steps(&short).into_iter().zip(steps(&long)) {
                let sent = |request: Request| {
                    let request = request.header("User-Agent", "test").header("Accept", "*/*");
                    daemon.send(&match token {
                        Some(token) => request.header("Authorization", bearer(token)),
                        None => request,
                    })
                };
                let goes_fast = (short.method() == "DELETE" && who == "the admin")
                    || !["too long", "no bytes"].contains(&step);
                let (short, long) = (sent(short), sent(the_long_way(long)));
                assert_eq!(essence(&short), essence(&long), "{step}, {policy}, {who}");
                // Whether these are the bytes that are there is known only when they have come.
                let compared = policy == "write-once" && who == "the admin";
                let answered = matches!(short.status, 200 | 201 | 204)
                    || (short.status == 409 && compared)
                    || ["package does not exist", "package file does not exist"]
                        .contains(&short.text().as_str());
                expected += u64::from(goes_fast && answered);
                assert_eq!(
                    fast(&daemon),
                    expected,
                    "{step}, {policy}, {who}: {}",
                    short.status
                );
            }
        }
    }
}

/// A PUT, a GET of it, another PUT, a GET, a DELETE and a GET of nothing, all sent before anything is read.
#[test]
fn what_stands_behind_a_body_is_the_next_request() {
    let daemon = Setup::default().policy("admin/tool", "cache").start();
    let target = path("tool", "1", "f");
    let (old, new) = (seeded_bytes(1, 5000), seeded_bytes(2, 64 << 10));
    let requests = [
        Request::put(&target, old.clone()),
        Request::get(&target),
        Request::put(&target, new.clone()),
        Request::get(&target),
        Request::delete(&target),
        Request::get(&target),
    ]
    .map(|request| daemon.authorized(request));
    let parts: Vec<Vec<u8>> = requests
        .iter()
        .map(|request| [request.head_bytes(), request.body_bytes()].concat())
        .collect();
    let wire = parts.concat();
    let (head, first) = (requests[0].head_bytes().len(), parts[0].len());
    let third = first + parts[1].len();
    for cut in [
        wire.len(),
        1,
        head - 1,
        head,
        head + 1,
        first - 1,
        first,
        first + 1,
        third + 10,
        third + head + 17,
        third + head + (32 << 10),
        wire.len() - 3,
    ] {
        let before = fast(&daemon);
        let mut conn = daemon.connect();
        conn.write(&wire[..cut]).expect("a part");
        std::thread::sleep(Duration::from_millis(20));
        conn.write(&wire[cut..]).expect("the rest");
        for (method, status, body) in [
            ("PUT", 200, &b""[..]),
            ("GET", 200, &old),
            ("PUT", 200, b""),
            ("GET", 200, &new),
            ("DELETE", 204, b""),
            ("GET", 404, b"package does not exist"),
        ] {
            let answer = conn.read_response(method).expect("an answer");
            assert_eq!(answer.status, status, "{method}, cut at {cut}");
            assert!(answer.body == body, "{method}, cut at {cut}");
        }
        if cut == wire.len() {
            assert_eq!(fast(&daemon), before + 6);
        }
    }
}

/// Whether the pauses are so short that it is waited for, or so long that the dispatcher goes on with it.
#[test]
fn a_body_may_come_in_pieces() {
    let daemon = Setup::default().start();
    for pause in [0, 5, 400] {
        for size in [5, 4000, 64 << 10] {
            let (target, body) = (
                path("tool", &pause.to_string(), &size.to_string()),
                seeded_bytes(pause, size),
            );
            let target = target.replace(&format!("/{pause}/"), &format!("/{pause}.{size}/"));
            let request = daemon.authorized(Request::put(&target, body.clone()));
            let mut conn = daemon.connect();
            conn.write(&request.head_bytes()).expect("a head");
            for piece in body.chunks(size.div_ceil(3)) {
                std::thread::sleep(Duration::from_millis(pause));
                conn.write(piece).expect("a piece");
            }
            let answer = conn.read_response("PUT").expect("an answer");
            assert_eq!(answer.status, 201, "{target}");
            let answer = conn
                .send(&daemon.authorized(Request::get(&target)))
                .expect("an answer");
            assert!(answer.status == 200 && answer.body == body, "{target}");
        }
    }
}

/// Whether a body travels inside the journal is the store's business.
#[test]
fn a_small_body_may_lie_in_a_segment() {
    let daemon = Setup::default()
        .config("[store]\ninline_limit = \"1 KiB\"\n")
        .start();
    let before = fast(&daemon);
    for size in [1, 1024, 1025, 64 << 10] {
        let (target, body) = (path("tool", &size.to_string(), "f"), seeded_bytes(1, size));
        assert_eq!(daemon.put(&target, body.clone()), 201, "{size}");
        daemon.assert_serves(&target, &body);
    }
    assert_eq!(fast(&daemon), before + 8);
}

/// The head of a PUT of `body`, and the half of it.
fn half_sent(daemon: &Daemon, target: &str, body: &[u8]) -> Conn {
    let request = daemon.authorized(Request::put(target, body));
    let mut conn = daemon.connect();
    conn.write(&request.head_bytes()).expect("a head");
    conn.write(&body[..body.len() / 2]).expect("a half");
    conn
}

#[test]
fn half_a_body_publishes_nothing() {
    let daemon = Setup::default().start();
    for (size, pause) in [(10, 0), (4000, 20), (4000, 400), (64 << 10, 20)] {
        let target = path("tool", &format!("{size}.{pause}"), "f");
        let body = seeded_bytes(1, size);
        let conn = half_sent(&daemon, &target, &body);
        std::thread::sleep(Duration::from_millis(pause));
        drop(conn);
        // The connection that asks is one too.
        assert!(within(PATIENCE, || daemon.metric("larder_http_connections", "") == 1));
        daemon.assert_absent(&target);
        assert_eq!(daemon.put(&target, body), 201, "it is free");
    }
}

/// A body that stops is the dispatcher's, whose rules are those for bodies of any length.
#[test]
fn a_body_that_stops_is_cut_off() {
    let daemon = Setup::default()
        .config("[limits]\nstall_window = \"1s\"\nstall_bytes = \"1 KiB\"\n")
        .start();
    let target = path("tool", "1", "f");
    let mut conn = half_sent(&daemon, &target, &seeded_bytes(1, 1000));
    let answer = conn.read_response("PUT").expect("an answer");
    assert_eq!((answer.status, answer.keeps_alive()), (408, false));
    daemon.assert_absent(&target);
}

#[test]
fn a_half_sent_body_may_finish_at_shutdown() {
    let mut daemon = Setup::default().start();
    let (target, body) = (path("tool", "1", "f"), seeded_bytes(1, 4000));
    let mut conn = half_sent(&daemon, &target, &body);
    std::thread::sleep(Duration::from_millis(50));
    daemon.signal_term();
    std::thread::sleep(Duration::from_millis(600));
    assert!(daemon.wait(Duration::ZERO).is_none(), "it waits for the body");
    conn.write(&body[body.len() / 2..]).expect("the rest");
    assert_eq!(conn.read_response("PUT").expect("an answer").status, 201);
    assert!(conn.is_closed_within(PATIENCE));
    let status = daemon.wait(PATIENCE).expect("it ends when the upload has");
    assert_eq!(status.code(), Some(0));
    daemon.start();
    daemon.assert_serves(&target, &body);
}

#[test]
fn writes_are_counted_like_any_other() {
    let daemon = Setup::default().policy("*/*", "package").start();
    let target = path("tool", "1", "f");
    let signed_in =
        |daemon: &Daemon| daemon.metric("larder_auth_attempts_total", "method=\"token\",result=\"ok\"");
    let before = signed_in(&daemon);
    let mut conn = daemon.connect();
    for (request, status) in [
        (Request::put(&target, seeded_bytes(1, 4000)), 201),
        (Request::delete(&target), 204),
        (Request::delete(&target), 404),
        (Request::put(&target, seeded_bytes(2, 1000)), 201),
        // Which hands the connection over.
        (Request::put(&target, seeded_bytes(3, 700)), 409),
    ] {
        let answer = conn.send(&daemon.authorized(request)).expect("an answer");
        assert_eq!(answer.status, status);
    }
    assert_eq!(signed_in(&daemon), before + 5, "each is counted once");
    for (name, label, value) in [
        ("larder_http_requests_total", "code=\"201\",op=\"put_file\"", 2),
        ("larder_http_requests_total", "code=\"409\",op=\"put_file\"", 1),
        ("larder_http_requests_total", "code=\"204\",op=\"delete_file\"", 1),
        ("larder_http_requests_total", "code=\"404\",op=\"delete_file\"", 1),
        ("larder_http_requests_rejected_total", "taken", 1),
        ("larder_http_request_body_bytes_total", "put_file", 5700),
        ("larder_http_request_duration_seconds_count", "put_file", 3),
        ("larder_http_request_duration_seconds_count", "delete_file", 2),
        ("larder_http_time_to_first_byte_seconds_count", "put_file", 3),
        ("larder_http_requests_in_flight", "put_file", 0),
        ("larder_http_requests_in_flight", "delete_file", 0),
        ("larder_http_fast_path_requests_total", "", 4),
    ] {
        assert_eq!(daemon.metric(name, label), value, "{name} {label}");
    }
}

/// The access log says of a write what it says of one that goes the long way.
#[test]
fn the_access_log_has_every_write() {
    let daemon = Setup::default()
        .config("[log]\naccess = \"json\"\naccess_to = \"access.log\"\n")
        .start();
    for request in [
        Request::put(&path("tool", "1", "f"), seeded_bytes(1, 4000)),
        Request::delete(&path("tool", "1", "f")),
        Request::delete(&path("tool", "2", "f")),
    ] {
        let request = daemon.authorized(request.header("User-Agent", "a test"));
        daemon.send(&request);
        daemon.send(&the_long_way(request));
    }
    let lines = || -> Vec<serde_json::Value> {
        let text = std::fs::read_to_string(daemon.home().join("access.log")).unwrap_or_default();
        let lines = text.lines().filter_map(|line| serde_json::from_str(line).ok());
        lines
            .filter(|line: &serde_json::Value| line["user_agent"] == "a test")
            .collect()
    };
    assert!(within(PATIENCE, || lines().len() == 6), "{:?}", lines());
    let mut lines = lines();
    lines.sort_by_key(|line| format!("{} {}", line["uri"], line["method"]));
    for pair in lines.chunks(2) {
        for field in [
            "client",
            "account",
            "method",
            "uri",
            "protocol",
            "outcome",
            "bytes_received",
            "referer",
        ] {
            assert_eq!(pair[0][field], pair[1][field], "{field}");
        }
        assert_eq!(pair[0]["account"], "admin");
    }
    let received = lines.iter().filter(|line| line["bytes_received"] == 4000).count();
    assert_eq!(received, 2, "{lines:?}");
}

/// Lines of the audit log are written by the dispatcher's way alone, so no write goes past it where there is one.
#[test]
fn an_audit_log_of_writes_is_whole() {
    let daemon = Setup::default()
        .config("[audit]\noutput = \"audit.log\"\nreads = false\n")
        .start();
    let target = path("tool", "1", "f");
    assert_eq!(daemon.put(&target, "x"), 201);
    assert_eq!(daemon.get(&target).status, 200);
    assert_eq!(daemon.delete(&target), 204);
    assert_eq!(fast(&daemon), 1, "the download");
    let audit = || std::fs::read_to_string(daemon.home().join("audit.log")).unwrap_or_default();
    assert!(within(PATIENCE, || audit().contains("put_file")
        && audit().contains("delete_file")));
}
