//! Plain downloads are answered before the dispatcher (src/http/fast_path): nobody may see a difference, whatever comes
//! before, between and behind them on a connection. Writes are in `fast_writes`.

use std::fs::File;
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::fs::{Advice, fadvise};
use serde_json::json;

use crate::support::{Daemon, MIB, PATIENCE, Request, Response, Setup, bearer, path, seeded_bytes, within};

/// A header that only the dispatcher takes; it means nothing.
pub fn the_long_way(request: Request) -> Request {
    request.header("X-Nothing", "at all")
}

/// Requests that the fast path has answered.
pub fn fast(daemon: &Daemon) -> u64 {
    daemon.metric("larder_http_fast_path_requests_total", "")
}

/// Status, headers and body.
pub type Essence = (u16, Vec<(String, String)>, Vec<u8>);

/// Everything that must be the same.
pub fn essence(answer: &Response) -> Essence {
    let mut headers = answer.headers.clone();
    for (name, value) in &mut headers {
        if ["date", "x-request-id"].contains(&name.as_str()) {
            *value = format!("{} characters", value.len());
        }
    }
    headers.sort();
    (answer.status, headers, answer.body.clone())
}

#[test]
fn answers_are_those_of_the_dispatcher() {
    let daemon = Setup::default().start();
    let files = [0, 4000, 32 << 10, 70_000, 300 << 10, 3 * MIB]
        .map(|size| (size, path("tool", &size.to_string(), "f")));
    for (size, target) in &files {
        assert_eq!(daemon.put(target, seeded_bytes(*size as u64, *size)), 201);
    }
    daemon.create_user("other", "a password of theirs", "private");
    let token = daemon.create_token("other", &["read:package"]);
    let theirs = "/api/packages/other/generic/tool/1/f".to_owned();
    let missing = [
        path("tool", "0", "none"),
        path("tool", "none", "f"),
        path("none", "1", "f"),
        theirs,
    ];
    let targets: Vec<String> = files
        .into_iter()
        .map(|(_, target)| target)
        .chain(missing)
        .collect();
    let callers = [
        ("nobody", None),
        ("the admin", Some(bearer(daemon.admin_token()))),
        ("another", Some(bearer(&token))),
        ("a token in the wrong place", Some(format!("Basic {token}"))),
        ("somebody unknown", Some(bearer("lrd_unknown"))),
    ];
    let mut expected = fast(&daemon);
    for target in &targets {
        for (who, authorization) in &callers {
            for request in [Request::get(target), Request::head(target)] {
                let request = request.header("User-Agent", "test").header("Accept", "*/*");
                let request = match authorization {
                    Some(value) => request.header("Authorization", value.clone()),
                    None => request,
                };
                let short = daemon.send(&request);
                // By now the bytes have been verified, and where they are is known.
                let again = daemon.send(&request);
                let long = daemon.send(&the_long_way(request));
                assert_eq!(essence(&short), essence(&long), "{target}, {who}");
                assert_eq!(essence(&again), essence(&long), "{target}, {who}, again");
                let refused = matches!(short.status, 401 | 403) || short.text() == "Not found.";
                // Who may not see an owner learns so from the dispatcher.
                let hidden = target.contains("/other/") && *who == "nobody";
                expected += 2 * u64::from(!refused && !hidden);
            }
        }
    }
    assert_eq!(fast(&daemon), expected);
}

#[test]
fn a_connection_is_handed_over_with_every_byte() {
    let daemon = Setup::default().policy("admin/tool", "cache").start();
    let (old, new) = (seeded_bytes(1, 5000), seeded_bytes(2, 300 << 10));
    assert_eq!(daemon.put(&path("tool", "1", "f"), old.clone()), 200);
    let get = Request::get(&path("tool", "1", "f"));
    let put = daemon.authorized(Request::put(&path("tool", "1", "f"), new.clone()));
    let wire: Vec<u8> = [&get, &get, &put, &get, &get]
        .iter()
        .flat_map(|request| [request.head_bytes(), request.body_bytes()].concat())
        .collect();
    // In one piece, and cut so that the first write ends in a head, behind one, and within the body.
    let (head, long) = (get.head_bytes().len(), put.head_bytes().len());
    for cut in [
        wire.len(),
        1,
        head - 1,
        head,
        head + 1,
        2 * head + 10,
        2 * head + long,
        2 * head + long + 7,
    ] {
        assert_eq!(daemon.put(&path("tool", "1", "f"), old.clone()), 200, "{cut}");
        let mut conn = daemon.connect();
        conn.write(&wire[..cut]).expect("a part");
        std::thread::sleep(Duration::from_millis(20));
        conn.write(&wire[cut..]).expect("the rest");
        for (method, expected) in [
            ("GET", &old),
            ("GET", &old),
            ("PUT", &Vec::new()),
            ("GET", &new),
            ("GET", &new),
        ] {
            let answer = conn.read_response(method).expect("an answer");
            assert_eq!(answer.status, 200, "{method}, cut at {cut}");
            assert!(answer.body == *expected, "{method}, cut at {cut}");
        }
    }
}

/// Where a file is, is remembered; what becomes of it is noticed all the same, by every connection.
#[test]
fn what_is_replaced_or_removed_is_not_served_again() {
    let daemon = Setup::default().policy("admin/tool", "cache").start();
    let target = path("tool", "1", "f");
    let (get, head) = (Request::get(&target), Request::head(&target));
    let mut connections: Vec<_> = (0..6).map(|_| daemon.connect()).collect();
    let mut asked = 0;
    let mut all_see = |body: Option<&[u8]>, round: usize| {
        for conn in &mut connections {
            for _ in 0..2 {
                let answer = conn.send(&get).expect("an answer");
                let known = conn.send(&head).expect("an answer");
                let length = body.map(|body| body.len().to_string());
                match body {
                    Some(body) => {
                        assert!(
                            (answer.status, &*answer.body) == (200, body),
                            "{round}: {answer:?}"
                        );
                        assert_eq!(known.header("content-length"), length.as_deref(), "{round}");
                    }
                    None => assert_eq!((answer.status, known.status), (404, 404), "{round}"),
                }
                asked += 2;
            }
        }
    };
    let before = fast(&daemon);
    let written = 4 * 3;
    for round in 0..4 {
        for (seed, length) in [(2 * round, 3000), (2 * round + 1, 80_000 + round)] {
            let body = seeded_bytes(seed as u64, length);
            assert!([200, 201].contains(&daemon.put(&target, body.clone())));
            all_see(Some(&body), round);
        }
        assert_eq!(daemon.delete(&target), 204);
        all_see(None, round);
    }
    let writes = fast(&daemon) - before - asked;
    assert!(
        writes <= written,
        "{writes} more, and everything was asked for on the short way"
    );
}

/// A file that was to be had at once, and has left the page cache, is read as any other.
#[test]
fn a_file_that_has_left_the_page_cache_is_no_reason_for_the_dispatcher() {
    let daemon = Setup::default().policy("admin/tool", "package").start();
    for (length, file) in [(4000, "a"), (100_000, "b")] {
        let target = path("tool", "1", file);
        let body = seeded_bytes(length as u64, length);
        assert_eq!(daemon.put(&target, body.clone()), 201);
        let mut conn = daemon.connect();
        for round in 0..6 {
            let before = fast(&daemon);
            if round % 2 == 1 {
                forget_cached(&daemon.data());
            }
            let answer = conn.send(&Request::get(&target)).expect("an answer");
            assert!(
                (answer.status, answer.body) == (200, body.clone()),
                "{length}, {round}"
            );
            assert_eq!(fast(&daemon), before + 1, "{length}, {round}");
        }
    }
}

/// Has the page cache forget the log, as far as it is on the disk.
fn forget_cached(data: &Path) {
    for directory in ["journal", "segments"] {
        for entry in std::fs::read_dir(data.join(directory)).expect("the log") {
            let file = File::open(entry.expect("a file").path()).expect("a file");
            file.sync_all().expect("on the disk");
            fadvise(&file, 0, None, Advice::DontNeed).expect("advice");
        }
    }
}

#[test]
fn a_head_may_come_byte_by_byte() {
    let daemon = Setup::default().start();
    let body = seeded_bytes(1, 100);
    assert_eq!(daemon.put(&path("tool", "1", "f"), body.clone()), 201);
    let mut conn = daemon.connect();
    for byte in Request::get(&path("tool", "1", "f")).head_bytes() {
        conn.write(&[byte]).expect("a byte");
    }
    let answer = conn.read_response("GET").expect("an answer");
    assert_eq!((answer.status, answer.body == body), (200, true));
}

/// How long a connection may be silent is counted from its last request, whichever way that went.
#[test]
fn silence_is_counted_from_the_last_request() {
    const KEEP_ALIVE: Duration = Duration::from_secs(2);
    let daemon = Setup::default()
        .config("[server]\nkeep_alive = \"2s\"\nhead_timeout = \"1s\"\n")
        .start();
    assert_eq!(daemon.put(&path("tool", "1", "f"), b"x".to_vec()), 201);
    let get = Request::get(&path("tool", "1", "f"));
    let mut conn = daemon.connect();
    let (began, mut last) = (Instant::now(), Instant::now());
    while began.elapsed() < 2 * KEEP_ALIVE {
        let answer = conn.send(&get);
        // On a machine that stood still the connection may well be closed.
        if last.elapsed() > KEEP_ALIVE / 2 {
            println!("SKIPPED: the machine is too slow to tell");
            return;
        }
        assert_eq!(answer.expect("still open").status, 200);
        last = Instant::now();
        std::thread::sleep(Duration::from_millis(100));
    }
    assert!(conn.is_closed_within(PATIENCE), "a silent connection is closed");
    assert!(last.elapsed() >= KEEP_ALIVE / 2, "not at once");
}

/// A download that takes longer than silence may is no silence.
#[test]
fn silence_begins_behind_the_answer() {
    let daemon = Setup::default().config("[server]\nkeep_alive = \"2s\"\n").start();
    // More than the sockets hold.
    let body = seeded_bytes(1, 24 * MIB);
    let (large, small) = (path("tool", "1", "f"), path("tool", "2", "f"));
    assert_eq!(daemon.put(&large, body.clone()), 201);
    assert_eq!(daemon.put(&small, b"x".to_vec()), 201);
    let mut conn = daemon.connect();
    conn.write(&Request::get(&large).head_bytes()).expect("a request");
    std::thread::sleep(Duration::from_secs(3));
    assert!(conn.read_response("GET").expect("an answer").body == body);
    let last = Instant::now();
    std::thread::sleep(Duration::from_millis(200));
    let answer = conn.send(&Request::get(&small));
    if last.elapsed() > Duration::from_secs(1) {
        println!("SKIPPED: the machine is too slow to tell");
        return;
    }
    assert_eq!(answer.expect("still open").status, 200);
}

#[test]
fn who_says_nothing_is_told_so() {
    let daemon = Setup::default()
        .config("[server]\nhead_timeout = \"1s\"\n")
        .start();
    let mut silent = daemon.connect();
    let answer = silent.read_response("GET").expect("an answer");
    assert_eq!((answer.status, answer.keeps_alive()), (408, false));
    assert!(silent.is_closed_within(PATIENCE));
}

/// What has been asked for is still sent when the client says that it has nothing more to say.
#[test]
fn a_client_that_has_finished_gets_its_answers() {
    let daemon = Setup::default().start();
    let body = seeded_bytes(1, 3 * MIB);
    assert_eq!(daemon.put(&path("tool", "1", "f"), body.clone()), 201);
    let get = Request::get(&path("tool", "1", "f"));
    let mut conn = daemon.connect();
    conn.write(&[get.head_bytes(), get.head_bytes()].concat())
        .expect("two requests");
    conn.finish_writing();
    for _ in 0..2 {
        assert!(conn.read_response("GET").expect("an answer").body == body);
    }
    assert!(conn.is_closed_within(PATIENCE));
}

/// The access log says of a download what it says of one that goes the long way.
#[test]
fn the_access_log_has_every_download() {
    let daemon = Setup::default()
        .config("[log]\naccess = \"json\"\naccess_to = \"access.log\"\n")
        .start();
    assert_eq!(daemon.put(&path("tool", "1", "f"), seeded_bytes(1, 5000)), 201);
    let before = fast(&daemon);
    for file in ["f", "none"] {
        let request =
            daemon.authorized(Request::get(&path("tool", "1", file)).header("User-Agent", "a test"));
        daemon.send(&request);
        daemon.send(&the_long_way(request));
    }
    assert_eq!(fast(&daemon), before + 2);
    let lines = || -> Vec<serde_json::Value> {
        let text = std::fs::read_to_string(daemon.home().join("access.log")).unwrap_or_default();
        let lines = text.lines().filter_map(|line| serde_json::from_str(line).ok());
        lines
            .filter(|line: &serde_json::Value| line["method"] == "GET" && line["user_agent"] == "a test")
            .collect()
    };
    assert!(within(PATIENCE, || lines().len() == 4), "{:?}", lines());
    let mut lines = lines();
    // A line is written behind its answer, so the next request's may come first.
    lines.sort_by_key(|line| line["uri"].to_string());
    for pair in lines.chunks(2) {
        for field in [
            "client",
            "account",
            "uri",
            "protocol",
            "status",
            "outcome",
            "bytes_sent",
            "referer",
        ] {
            assert_eq!(pair[0][field], pair[1][field], "{field}");
        }
        assert_eq!(pair[0]["account"], "admin");
    }
}

/// Lines of the audit log are written by the dispatcher's way alone, so nothing goes past it where downloads have some.
#[test]
fn an_audit_log_of_downloads_is_whole() {
    let daemon = Setup::default()
        .config("[audit]\noutput = \"audit.log\"\nreads = true\n")
        .start();
    assert_eq!(daemon.get(&path("tool", "1", "none")).status, 404);
    assert_eq!(fast(&daemon), 0);
}

#[test]
fn it_is_counted_like_any_other() {
    let daemon = Setup::default().start();
    assert_eq!(daemon.put(&path("tool", "1", "f"), seeded_bytes(1, 5000)), 201);
    let before = fast(&daemon);
    let mut conn = daemon.connect();
    for (file, status) in [("f", 200), ("f", 200), ("none", 404)] {
        let answer = conn.send(&Request::get(&path("tool", "1", file)));
        assert_eq!(answer.expect("an answer").status, status);
    }
    let text = daemon.send(&the_long_way(Request::head(&path("tool", "1", "none"))));
    let text = text
        .header("content-length")
        .and_then(|length| length.parse::<u64>().ok());
    let text = text.expect("the length of the text");
    for (name, label, value) in [
        ("larder_http_requests_total", "code=\"200\",op=\"get_file\"", 2),
        ("larder_http_requests_total", "code=\"404\",op=\"get_file\"", 1),
        ("larder_lookups_total", "hit", 2),
        ("larder_lookups_total", "miss", 2),
        ("larder_http_response_body_bytes_total", "get_file", 10_000 + text),
        ("larder_http_request_duration_seconds_count", "get_file", 3),
        ("larder_http_time_to_first_byte_seconds_count", "get_file", 3),
        ("larder_http_requests_in_flight", "get_file", 0),
        ("larder_http_fast_path_requests_total", "", before + 3),
    ] {
        assert_eq!(daemon.metric(name, label), value, "{name} {label}");
    }
}

/// Who has been recognised is not looked up again for each request, and yet no longer let in once that is changed.
#[test]
fn a_change_of_token_and_account_counts_at_once() {
    let daemon = Setup::default().start();
    daemon.create_user("ann", "a password of hers", "private");
    let kept = daemon.create_token("ann", &["write:package"]);
    let token = daemon.create_token("ann", &["read:package"]);
    let target = "/api/packages/ann/generic/tool/1/f";
    let with = |request: Request, token: &str| request.header("Authorization", bearer(token));
    assert_eq!(daemon.send(&with(Request::put(target, b"x"), &kept)).status, 201);
    let asked = |request: Request| (0..3).map(move |_| request.clone());
    let mut conn = daemon.connect();
    let before = fast(&daemon);
    for get in asked(with(Request::get(target), &token)) {
        assert_eq!(conn.send(&get).expect("an answer").status, 200);
    }
    assert_eq!(fast(&daemon), before + 3);
    let revoked = daemon.as_admin(Request::delete("/api/v1/users/ann/tokens/token%20read:package"));
    assert_eq!(revoked.status, 204, "{}", revoked.text());
    let answer = conn.send(&with(Request::get(target), &token)).expect("an answer");
    assert_eq!(answer.status, 401);
    for get in asked(with(Request::get(target), &kept)) {
        assert_eq!(daemon.send(&get).status, 200);
    }
    let off = Request::new("PATCH", "/api/v1/admin/users/ann").json(&json!({"active": false}));
    let off = daemon.as_admin(off);
    assert_eq!(off.status, 200, "{}", off.text());
    assert_eq!(daemon.send(&with(Request::get(target), &kept)).status, 401);
}
