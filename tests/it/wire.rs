//! Downloads write themselves past the dispatcher's buffer: what must be so on the wire whatever their way is.

use std::time::Duration;

use crate::support::{Conn, Daemon, MIB, PATIENCE, Request, Response, Setup, path, seeded_bytes, within};

/// Sizes around every border: none, inside the dispatcher's buffer, past it, one chunk, several chunks.
const SIZES: [usize; 8] = [0, 1, 4_000, 16 << 10, (16 << 10) + 1, 70_000, 600_000, 5 * MIB];

fn body(size: usize) -> Vec<u8> {
    seeded_bytes(size as u64, size)
}

/// A daemon that holds a file of each size.
fn daemon() -> Daemon {
    let daemon = Setup::default().start();
    for size in SIZES {
        assert_eq!(daemon.put(&target(size), body(size)), 201);
    }
    daemon
}

fn target(size: usize) -> String {
    path("tool", &size.to_string(), "f")
}

/// Sends all requests in one write, then reads all answers.
fn pipelined(daemon: &Daemon, requests: &[Request]) -> Vec<Response> {
    let mut conn = daemon.connect();
    let bytes: Vec<u8> = requests.iter().flat_map(Request::head_bytes).collect();
    conn.write(&bytes).expect("the requests fit the socket");
    let read = |request: &Request| conn.read_response(request.method()).expect("an answer");
    requests.iter().map(read).collect()
}

/// Answers of every kind between downloads on one connection, each complete before the next begins. The first round
/// verifies, the second sends from the page cache.
#[test]
fn pipelined_answers_do_not_mix() {
    let daemon = daemon();
    for round in 0..2 {
        let requests: Vec<Request> = SIZES
            .iter()
            .flat_map(|&size| {
                [
                    Request::get(&target(size)),
                    Request::head(&target(size)),
                    Request::get(&target(size)).header("Range", "bytes=-29999"),
                    Request::get(&target(size)).header("If-None-Match", "*"),
                    Request::get(&target(size)),
                ]
            })
            .collect();
        let answers = pipelined(&daemon, &requests);
        for (size, answers) in SIZES.into_iter().zip(answers.chunks(5)) {
            let whole = body(size);
            let statuses: Vec<u16> = answers.iter().map(|answer| answer.status).collect();
            let of_range = if size > 0 { 206 } else { 200 };
            assert_eq!(statuses, [200, 200, of_range, 304, 200], "{size}, round {round}");
            assert_eq!(
                answers[1].header("content-length"),
                Some(size.to_string().as_str())
            );
            assert!(answers[0].body == whole, "{size}, round {round}");
            assert!(
                answers[2].body == whole[size - size.min(29_999)..],
                "{size}, round {round}"
            );
            assert!(answers[4].body == whole, "{size}, round {round}");
        }
    }
}

/// Refusals, whose bodies go through the dispatcher, between downloads that do not.
#[test]
fn pipelined_refusals_keep_their_place() {
    let daemon = daemon();
    let missing = Request::get(&path("tool", "none", "f"));
    let requests: Vec<Request> = SIZES
        .iter()
        .flat_map(|&size| [missing.clone(), Request::get(&target(size)), missing.clone()])
        .collect();
    let answers = pipelined(&daemon, &requests);
    for (size, answers) in SIZES.into_iter().zip(answers.chunks(3)) {
        let statuses: Vec<u16> = answers.iter().map(|answer| answer.status).collect();
        assert_eq!(statuses, [404, 200, 404], "{size}");
        assert!(answers[1].body == body(size), "{size}");
        assert_eq!(answers[0].text(), answers[2].text());
    }
}

/// Several ranges: text between bytes of the file.
#[test]
fn parts_and_the_text_between_them_keep_their_order() {
    let daemon = daemon();
    let whole = body(5 * MIB);
    let request = Request::get(&target(5 * MIB)).header("Range", "bytes=0-99999,2000000-4000000,-5");
    for _ in 0..2 {
        let answer = daemon.send(&request);
        assert_eq!(answer.status, 206);
        let mut rest = answer.body.as_slice();
        for range in [0..100_000, 2_000_000..4_000_001, 5 * MIB - 5..5 * MIB] {
            let end = rest.windows(4).position(|window| window == b"\r\n\r\n");
            rest = &rest[end.expect("a head of a part") + 4..];
            assert!(rest.starts_with(&whole[range.clone()]), "{range:?}");
            rest = &rest[range.len()..];
        }
        assert!(rest.starts_with(b"\r\n--") && rest.ends_with(b"--\r\n"));
    }
}

/// A reader that takes its time gets every byte, and nobody else waits for it.
#[test]
fn a_slow_reader_gets_everything_and_holds_nobody_up() {
    let daemon = Setup::default().config("[server]\nworkers = 1\n").start();
    let whole = body(24 * MIB);
    let big = target(24 * MIB);
    assert_eq!(daemon.put(&big, whole.clone()), 201);
    for _ in 0..2 {
        let mut slow = daemon.connect();
        slow.write(&daemon.authorized(Request::get(&big)).head_bytes())
            .expect("a request");
        std::thread::sleep(Duration::from_millis(300));
        assert_eq!(daemon.get(&big).body.len(), whole.len());
        let answer = slow.read_response("GET").expect("the rest comes");
        assert!(answer.body == whole);
        assert_eq!(
            slow.send(&Request::get("/livez"))
                .expect("the connection goes on")
                .status,
            200
        );
    }
}

/// What was sent is counted, also past the dispatcher; whoever leaves is noticed.
#[test]
fn bytes_and_aborts_are_counted() {
    let daemon = daemon();
    let sent = || daemon.metric("larder_http_response_body_bytes_total", "op=\"get_file\"");
    let aborted = || {
        daemon.metric(
            "larder_http_requests_aborted_total",
            "op=\"get_file\",side=\"client\"",
        )
    };
    let before = sent();
    for size in SIZES {
        assert!(daemon.get(&target(size)).body == body(size));
    }
    let all: usize = SIZES.iter().sum();
    assert!(
        within(PATIENCE, || sent() - before == all as u64),
        "{}",
        sent() - before
    );
    assert_eq!(daemon.put(&target(64 * MIB), body(64 * MIB)), 201);
    let mut leaver: Conn = daemon.connect();
    let request = daemon.authorized(Request::get(&target(64 * MIB)));
    leaver.write(&request.head_bytes()).expect("a request");
    leaver.await_answer().expect("the answer begins");
    drop(leaver);
    assert!(within(PATIENCE, || aborted() == 1));
}
