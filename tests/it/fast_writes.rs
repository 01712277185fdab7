//! Plain PUTs and plain DELETEs are taken before the dispatcher (src/http/fast_path): nobody may see a difference, and
//! nothing may be published that has not come to its end.

use std::time::Duration;

use crate::fast_path::{Essence, essence, fast, the_long_way};
use crate::support::{Conn, Daemon, MIB, PATIENCE, Request, Setup, bearer, path, seeded_bytes, within};

/// The shortest body that is not waited for, but taken as it comes, in bytes.
const LONG: usize = (64 << 10) + 1;

/// One step for each thing that can come of a write, to a package.
fn steps(package: &str) -> Vec<(&'static str, Request)> {
    let at = |version: &str, file: &str| path(package, version, file);
    let (one, two) = (seeded_bytes(1, 4000), seeded_bytes(2, 64 << 10));
    let (long, longer) = (seeded_bytes(3, LONG), seeded_bytes(4, 3 * MIB));
    vec![
        ("nothing is there", Request::delete(&at("1", "f"))),
        ("the first", Request::put(&at("1", "f"), one.clone())),
        ("the same bytes", Request::put(&at("1", "f"), one.clone())),
        ("other bytes", Request::put(&at("1", "f"), two.clone())),
        ("another file", Request::put(&at("1", "g"), two.clone())),
        ("known bytes", Request::put(&at("2", "f"), one.clone())),
        ("a long one", Request::put(&at("3", "f"), long.clone())),
        ("the same long one", Request::put(&at("3", "f"), long.clone())),
        ("a longer one", Request::put(&at("3", "f"), longer.clone())),
        ("another longer one", Request::put(&at("6", "f"), longer.clone())),
        ("the same longer one", Request::put(&at("6", "f"), longer)),
        ("a long one, badly named", Request::put(&at("5", "*"), long)),
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
                let goes_fast = (short.method() == "DELETE" && who == "the admin") || step != "no bytes";
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
    for len in [64 << 10, LONG, 700 << 10] {
        pipelined(&daemon, seeded_bytes(1, 5000), seeded_bytes(2, len));
    }
}

fn pipelined(daemon: &Daemon, old: Vec<u8>, new: Vec<u8>) {
    let target = path("tool", "1", "f");
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
        // Under the dispatcher, which the beginning of a head goes to, a GET is the last request where half of a body
        // follows.
        if cut < head && new.len() > 64 << 10 {
            continue;
        }
        let before = fast(daemon);
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
            let answer = conn.read_response(method);
            let answer = answer.unwrap_or_else(|error| panic!("{method}, cut at {cut}: {error}"));
            assert_eq!(answer.status, status, "{method}, cut at {cut}");
            assert!(answer.body == body, "{method}, cut at {cut}");
        }
        if cut == wire.len() {
            assert_eq!(fast(daemon), before + 6);
        }
    }
}

/// Whether the pauses are so short that it is waited for, or so long that the dispatcher goes on with it.
#[test]
fn a_body_may_come_in_pieces() {
    let daemon = Setup::default().start();
    for pause in [0, 5, 400] {
        for size in [5, 4000, 64 << 10, LONG, 2 * MIB] {
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
    for size in [1, 1024, 1025, 64 << 10, LONG] {
        let (target, body) = (path("tool", &size.to_string(), "f"), seeded_bytes(1, size));
        assert_eq!(daemon.put(&target, body.clone()), 201, "{size}");
        daemon.assert_serves(&target, &body);
    }
    assert_eq!(fast(&daemon), before + 10);
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
    for (size, pause) in [
        (10, 0),
        (4000, 20),
        (4000, 400),
        (64 << 10, 20),
        (LONG, 20),
        (5 * MIB, 20),
    ] {
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

/// What comes of half a body of this length, both ways, and whether the connection is closed behind that.
fn half_of(daemon: &Daemon, len: usize, and_then: impl Fn(&mut Conn)) -> [(Essence, bool); 2] {
    let request = daemon.authorized(Request::put(
        &path("half", &len.to_string(), "f"),
        seeded_bytes(1, len),
    ));
    let before = fast(daemon);
    let answers = [request.clone(), the_long_way(request)].map(|request| {
        let mut conn = daemon.connect();
        conn.write(&request.head_bytes()).expect("a head");
        conn.write(&request.body_bytes()[..len / 2]).expect("a half");
        and_then(&mut conn);
        let answer = conn.read_response("PUT").expect("an answer");
        (essence(&answer), conn.is_closed_within(PATIENCE))
    });
    assert_eq!(fast(daemon), before + 1);
    answers
}

#[test]
fn a_long_body_that_stops_is_cut_off_as_by_the_dispatcher() {
    let daemon = Setup::default()
        .config("[limits]\nstall_window = \"1s\"\nstall_bytes = \"1 KiB\"\n")
        .start();
    for len in [LONG, 3 * MIB] {
        let [short, long] = half_of(&daemon, len, |_| {});
        assert_eq!(short, long);
        assert_eq!((short.0.0, short.1), (408, true));
    }
}

/// A client that has nothing more to say is told that this was not all of it.
#[test]
fn a_long_body_that_ends_early_is_refused_as_by_the_dispatcher() {
    let daemon = Setup::default().start();
    for len in [LONG, 3 * MIB] {
        let [short, long] = half_of(&daemon, len, |conn| conn.finish_writing());
        assert_eq!(short, long);
        assert_eq!((short.0.0, short.1), (400, true));
    }
}

/// The store is filled by others while a body is on its way: the answer comes behind a short rest of it, or before a
/// long one that is thrown away.
#[test]
fn a_long_body_that_finds_no_room_is_refused_as_by_the_dispatcher() {
    for (len, others) in [(12 * MIB, 88 * MIB), (40 * MIB, 70 * MIB)] {
        let refused = [false, true].map(|takes_the_long_way| {
            let daemon = Setup::default()
                .config("[store]\nmax_size = \"96 MiB\"\n")
                .start();
            let request = daemon.authorized(Request::put(&path("tool", "1", "f"), seeded_bytes(1, len)));
            let request = match takes_the_long_way {
                true => the_long_way(request),
                false => request,
            };
            let body = request.body_bytes();
            let (begin, rest) = body.split_at(MIB);
            let mut conn = daemon.connect();
            conn.write(&request.head_bytes()).expect("a head");
            conn.write(begin).expect("the beginning");
            daemon.takes_up("put_file");
            assert_eq!(fast(&daemon), u64::from(!takes_the_long_way));
            let filler = Request::put(&path("tool", "2", "f"), seeded_bytes(2, others));
            assert_eq!(daemon.as_admin(the_long_way(filler)).status, 201);
            // With another request behind it: where the fast path closes, that must not take the answer away.
            let behind = [rest, b"GET /readyz HTTP/1.1\r\nHost: x\r\n\r\n"].concat();
            conn.write(&behind).expect("the rest is taken");
            let answer = conn.read_response("PUT").expect("an answer");
            let ended = takes_the_long_way || answer.keeps_alive() || conn.ends_in_order();
            assert!(ended, "{len}");
            daemon.assert_absent(&path("tool", "1", "f"));
            essence(&answer)
        });
        assert_eq!(refused[0], refused[1]);
        assert_eq!(refused[0].0, 507);
    }
}

/// Whoever has to wait for a turn waits under the dispatcher.
#[test]
fn a_long_body_that_must_wait_for_its_turn_is_handed_over() {
    let daemon = Setup::default()
        .config("[limits]\nuploads_per_owner = 1\nupload_wait = \"1s\"\n")
        .start();
    let (target, body) = (path("tool", "1", "f"), seeded_bytes(1, 3 * MIB));
    let before = fast(&daemon);
    let mut first = half_sent(&daemon, &target, &body);
    assert!(within(PATIENCE, || fast(&daemon) == before + 1));
    let second = daemon.as_admin(Request::put(&path("tool", "2", "f"), seeded_bytes(2, LONG)));
    assert_eq!(second.status, 503, "{}", second.text());
    assert_eq!(fast(&daemon), before + 1);
    first.write(&body[body.len() / 2..]).expect("the rest");
    let answer = first.read_response("PUT").expect("an answer");
    assert_eq!((answer.status, answer.keeps_alive()), (201, true));
    daemon.assert_serves(&target, &body);
}

/// A small body that stops is the dispatcher's, whose rules are those for bodies of any length.
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
    for len in [4000, LONG] {
        finishes_at_shutdown(seeded_bytes(1, len));
    }
}

fn finishes_at_shutdown(body: Vec<u8>) {
    let mut daemon = Setup::default().start();
    let target = path("tool", "1", "f");
    let mut conn = half_sent(&daemon, &target, &body);
    std::thread::sleep(Duration::from_millis(50));
    daemon.signal_term();
    std::thread::sleep(Duration::from_millis(600));
    assert!(daemon.wait(Duration::ZERO).is_none(), "it waits for the body");
    conn.write(&body[body.len() / 2..]).expect("the rest");
    let answer = conn.read_response("PUT").expect("an answer");
    assert_eq!(answer.status, 201);
    assert!(body.len() < LONG || !answer.keeps_alive(), "it says so");
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
        (
            Request::put(&path("tool", "2", "f"), seeded_bytes(2, 300_000)),
            201,
        ),
        // Which hands the connection over.
        (Request::put(&target, seeded_bytes(3, 700)), 409),
    ] {
        let answer = conn.send(&daemon.authorized(request)).expect("an answer");
        assert_eq!(answer.status, status);
    }
    assert_eq!(signed_in(&daemon), before + 6, "each is counted once");
    for (name, label, value) in [
        ("larder_http_requests_total", "code=\"201\",op=\"put_file\"", 3),
        ("larder_http_requests_total", "code=\"409\",op=\"put_file\"", 1),
        ("larder_http_requests_total", "code=\"204\",op=\"delete_file\"", 1),
        ("larder_http_requests_total", "code=\"404\",op=\"delete_file\"", 1),
        ("larder_http_requests_rejected_total", "taken", 1),
        ("larder_http_request_body_bytes_total", "put_file", 305_700),
        ("larder_http_request_duration_seconds_count", "put_file", 4),
        ("larder_http_request_duration_seconds_count", "delete_file", 2),
        ("larder_http_time_to_first_byte_seconds_count", "put_file", 4),
        ("larder_http_requests_in_flight", "put_file", 0),
        ("larder_http_requests_in_flight", "delete_file", 0),
        ("larder_http_fast_path_requests_total", "", 5),
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
        Request::put(&path("tool", "3", "f"), seeded_bytes(1, 400_000)),
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
    assert!(within(PATIENCE, || lines().len() == 8), "{:?}", lines());
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
    for bytes in [4000, 400_000] {
        let received = lines
            .iter()
            .filter(|line| line["bytes_received"] == bytes)
            .count();
        assert_eq!(received, 2, "{bytes}: {lines:?}");
    }
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
