//! Clients that break off, lie about lengths, stall, or send garbage: the documented refusal at most, nothing left
//! behind, and the daemon goes on.

use std::time::{Duration, Instant};

use crate::support::{Conn, Daemon, MIB, Request, Rng, Setup, path, response_of, seeded_bytes, within};

/// Sends `wire`, says that nothing more comes, and returns all that the server sends back.
fn exchange(daemon: &Daemon, wire: &[u8]) -> Vec<u8> {
    let mut connection = daemon.connect();
    // The server may close before it has read everything, which is its right here.
    let _ = connection.write(wire);
    connection.finish_writing();
    connection.drain(Duration::from_secs(15))
}

/// The status codes of an answer; more than one when requests were pipelined.
fn status_of(answer: &[u8]) -> Option<u16> {
    let text = String::from_utf8_lossy(answer);
    text.strip_prefix("HTTP/1.1 ")
        .or_else(|| text.strip_prefix("HTTP/1.0 "))?
        .get(..3)?
        .parse()
        .ok()
}

#[test]
fn an_upload_that_ends_early_leaves_nothing() {
    let daemon = Setup::default().start();
    for size in [10, 100_000, 5 * MIB] {
        for (way, sent) in [("nothing", 0), ("half", size / 2), ("all but one byte", size - 1)] {
            for chunked in [false, true] {
                let target = path("broken", &format!("{size}-{sent}-{chunked}"), "f");
                let request = daemon.authorized(Request::put(&target, seeded_bytes(31, size)));
                let request = if chunked {
                    request.chunked(size.div_ceil(3))
                } else {
                    request
                };
                let wire = [request.head_bytes(), request.body_bytes()[..sent].to_vec()].concat();
                let status = status_of(&exchange(&daemon, &wire));
                let fine = status.is_none_or(|status| (400..500).contains(&status));
                assert!(fine, "{way} of {size} bytes (chunked: {chunked}): {status:?}");
                daemon.assert_absent(&target);
                assert_eq!(
                    daemon.put(&target, "free"),
                    201,
                    "{way} of {size} bytes (chunked: {chunked})"
                );
            }
        }
    }
}

#[test]
fn a_client_that_vanishes_leaves_nothing() {
    let daemon = Setup::default().start();
    for (number, size) in [50_000, 3 * MIB, 10 * MIB].into_iter().enumerate() {
        let target = path("vanished", &number.to_string(), "f");
        let body = seeded_bytes(32, size);
        let request = daemon.authorized(Request::put(&target, body.clone()));
        let mut connection = daemon.connect();
        connection.write(&request.head_bytes()).unwrap();
        connection.write(&body[..size * 2 / 3]).unwrap();
        drop(connection);
        std::thread::sleep(Duration::from_millis(100));
        daemon.assert_absent(&target);
        assert_eq!(daemon.put(&target, body.clone()), 201);
        daemon.assert_serves(&target, &body);
    }
}

#[test]
fn bytes_beyond_the_length_are_not_part_of_the_body() {
    let daemon = Setup::default().start();
    let target = path("overlong", "1", "f");
    let head = daemon.authorized(Request::put(&target, "hello")).head_bytes();
    let mut connection = daemon.connect();
    connection
        .write(&[head, b"hello, and some garbage\r\n\r\n".to_vec()].concat())
        .unwrap();
    assert_eq!(connection.read_response("PUT").unwrap().status, 201);
    assert_eq!(
        connection.read_response("GET").unwrap().status,
        400,
        "the rest is no request"
    );
    assert!(
        connection.is_closed_within(Duration::from_secs(15)),
        "after garbage the connection closes"
    );
    daemon.assert_serves(&target, b"hello");
}

#[test]
fn malformed_chunks_publish_nothing() {
    let daemon = Setup::default().start();
    let bodies: [(&str, &[u8]); 7] = [
        ("size-is-no-number", b"xyz\r\nhello\r\n0\r\n\r\n"),
        ("size-is-negative", b"-5\r\nhello\r\n0\r\n\r\n"),
        ("size-overflows", b"ffffffffffffffffffff\r\nhello\r\n0\r\n\r\n"),
        ("size-is-huge", b"fffffffffffffff\r\nhello"),
        ("chunk-too-long", b"3\r\nhello\r\n0\r\n\r\n"),
        ("no-last-chunk", b"5\r\nhello\r\n"),
        ("no-line-end", b"5hello0"),
    ];
    for (what, body) in bodies {
        let target = path("chunks", what, "f");
        let head = daemon
            .authorized(Request::put(&target, "").chunked(1))
            .head_bytes();
        let status = status_of(&exchange(&daemon, &[&head, body].concat()));
        assert!(
            status.is_none_or(|status| (400..500).contains(&status)),
            "{what}: {status:?}"
        );
        daemon.assert_absent(&target);
    }
}

/// Names and values.
type Headers<'a> = &'a [(&'a str, &'a str)];

#[test]
fn two_opinions_about_the_length_are_not_believed() {
    let daemon = Setup::default().start();
    // What a request hidden in the body would publish, if one parser believed the other length.
    let hidden = path("smuggled", "1", "f");
    let inner = daemon.authorized(Request::put(&hidden, "x"));
    let inner = [inner.head_bytes(), inner.body_bytes()].concat();
    let beyond = (inner.len() + 5).to_string();
    #[rustfmt::skip]
    let rows: [(Headers, &[u8]); 5] = [
        (&[("Content-Length", &beyond), ("Transfer-Encoding", "chunked")], b"0\r\n\r\n"),
        (&[("Transfer-Encoding", "chunked"), ("Content-Length", &beyond)], b"0\r\n\r\n"),
        (&[("Content-Length", "0"), ("Content-Length", "5")], b""),
        (&[("Content-Length", "+0")], b""),
        (&[("Transfer-Encoding", "xchunked")], b"0\r\n\r\n"),
    ];
    let rows = rows.map(|(headers, before)| {
        let outer = daemon.authorized(Request::new("PUT", &path("smuggled", "outer", "f")));
        let outer = headers
            .iter()
            .fold(outer, |outer, (name, value)| outer.header(name, *value));
        [outer.head_bytes(), before.to_vec(), inner.clone()].concat()
    });
    for wire in rows {
        let status = status_of(&exchange(&daemon, &wire));
        assert!(
            status.is_none_or(|status| status < 500),
            "{status:?} to {}",
            String::from_utf8_lossy(&wire)
        );
        let smuggled = daemon.get(&hidden).status;
        assert_eq!(
            smuggled,
            404,
            "a hidden request was run: {}",
            String::from_utf8_lossy(&wire)
        );
    }
}

#[test]
fn a_stalled_upload_is_cut_off() {
    let daemon = Setup::default()
        .config("[limits]\nstall_window = \"2s\"\nstall_bytes = \"1 KiB\"\n")
        .start();
    for (way, drip) in [("silent", false), ("dripping", true)] {
        let target = path("stalled", way, "f");
        let body = seeded_bytes(33, 100_000);
        let request = daemon.authorized(Request::put(&target, body.clone()));
        let mut connection = daemon.connect();
        connection.write(&request.head_bytes()).unwrap();
        connection.write(&body[..50_000]).unwrap();
        connection.read_limit(Duration::from_millis(100));
        let begin = Instant::now();
        let mut answer = None;
        let mut sent = 50_000;
        let ended = within(Duration::from_secs(30), || {
            if drip && connection.write(&body[sent..=sent]).is_ok() {
                sent += 1;
            }
            match connection.read_response("PUT") {
                Ok(response) => answer = Some(response.status),
                Err(error) => {
                    return !matches!(
                        error.kind(),
                        std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut
                    );
                }
            }
            true
        });
        assert!(ended, "{way}: still open after {:?}", begin.elapsed());
        assert!(answer.is_none_or(|status| status == 408), "{way}: {answer:?}");
        daemon.assert_absent(&target);
        assert_eq!(daemon.put(&target, "free"), 201);
    }
}

#[test]
fn a_slow_but_steady_upload_is_not_cut_off() {
    let daemon = Setup::default()
        .config("[limits]\nstall_window = \"1s\"\nstall_bytes = \"1 KiB\"\n")
        .start();
    let target = path("steady", "1", "f");
    let body = seeded_bytes(34, 60_000);
    let request = daemon.authorized(Request::put(&target, body.clone()));
    let mut connection = daemon.connect();
    connection.write(&request.head_bytes()).unwrap();
    for piece in body.chunks(3_000) {
        connection.write(piece).unwrap();
        std::thread::sleep(Duration::from_millis(200));
    }
    assert_eq!(connection.read_response("PUT").unwrap().status, 201);
    daemon.assert_serves(&target, &body);
}

#[test]
fn malformed_requests_are_refused() {
    let daemon = Setup::default().start();
    let long = "x".repeat(1024 * 1024);
    #[rustfmt::skip]
    let rows: Vec<(&str, Vec<u8>)> = vec![
        ("empty lines", b"\r\n\r\n\r\n".to_vec()),
        ("no version", b"GET /\r\n\r\n".to_vec()),
        ("wrong version", b"GET / HTTP/9.9\r\nHost: x\r\n\r\n".to_vec()),
        ("no target", b"GET HTTP/1.1\r\nHost: x\r\n\r\n".to_vec()),
        ("relative target", b"GET livez HTTP/1.1\r\nHost: x\r\n\r\n".to_vec()),
        ("two spaces", b"GET  /livez HTTP/1.1\r\nHost: x\r\n\r\n".to_vec()),
        ("bad method", b"G\x01T / HTTP/1.1\r\nHost: x\r\n\r\n".to_vec()),
        ("nul in target", b"GET /\0 HTTP/1.1\r\nHost: x\r\n\r\n".to_vec()),
        (
            "raw bytes in target",
            b"GET /api/packages/\xff\xfe/generic/a/1/f HTTP/1.1\r\nHost: x\r\n\r\n".to_vec(),
        ),
        ("nul in header", b"GET /livez HTTP/1.1\r\nHost: x\r\nA: b\0c\r\n\r\n".to_vec()),
        ("no colon", b"GET /livez HTTP/1.1\r\nHost x\r\n\r\n".to_vec()),
        ("space before colon", b"GET /livez HTTP/1.1\r\nHost : x\r\n\r\n".to_vec()),
        ("folded header", b"GET /livez HTTP/1.1\r\nHost: x\r\nA: b\r\n c\r\n\r\n".to_vec()),
        ("bad length", b"PUT /livez HTTP/1.1\r\nHost: x\r\nContent-Length: five\r\n\r\nhello".to_vec()),
        (
            "huge length",
            b"PUT /livez HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999999999999999\r\n\r\n".to_vec(),
        ),
        ("binary", seeded_bytes(35, 5000)),
        ("long target", format!("GET /{long} HTTP/1.1\r\nHost: x\r\n\r\n").into_bytes()),
        ("long header", format!("GET /livez HTTP/1.1\r\nHost: x\r\nA: {long}\r\n\r\n").into_bytes()),
        (
            "many headers",
            format!(
                "GET /livez HTTP/1.1\r\nHost: x\r\n{}\r\n",
                "A: b\r\n".repeat(5000)
            )
            .into_bytes(),
        ),
        ("TLS", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03".to_vec()),
        ("HTTP/2", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec()),
    ];
    for (what, wire) in rows {
        let status = status_of(&exchange(&daemon, &wire));
        assert!(status.is_none_or(|status| status < 500), "{what}: {status:?}");
        assert_eq!(daemon.send(&Request::get("/livez")).status, 200, "after {what}");
    }
    let rows = ["GET", "PUT", "DELETE", "HEAD"].map(|method| Request::new(method, &path("none", "1", "f")));
    for request in rows {
        let odd = request
            .header("Range", "bytes=\u{7f}")
            .header("If-Match", "\"")
            .header("If-None-Match", "W/")
            .header("If-Range", ",,,")
            .header("Accept", ";;q=x,//")
            .header("Content-Type", "///");
        let answer = daemon.as_admin(odd);
        assert!(answer.status < 500, "{}", answer.status);
    }
}

/// Changes `wire` in one to four places: flips, inserts, removes, doubles or cuts.
fn mutate(wire: &mut Vec<u8>, rng: &mut Rng) {
    let spices: [&[u8]; 12] = [
        b"\r\n",
        b"\0",
        b"%",
        b"%00",
        b"/",
        b"..",
        b":",
        b" ",
        b"\xff",
        b"Transfer-Encoding: chunked\r\n",
        b"Content-Length: 7\r\n",
        b"bytes=0-,-1",
    ];
    for _ in 0..=rng.below(4) {
        let at = rng.below(wire.len().max(1)).min(wire.len().saturating_sub(1));
        match rng.below(5) {
            0 if !wire.is_empty() => wire[at] ^= 1 << rng.below(8),
            1 => {
                let spice = spices[rng.below(spices.len())];
                wire.splice(at..at, spice.iter().copied());
            }
            2 => {
                let to = (at + 1 + rng.below(12)).min(wire.len());
                wire.drain(at..to);
            }
            3 => {
                let to = (at + 1 + rng.below(40)).min(wire.len());
                let piece = wire[at..to].to_vec();
                wire.splice(at..at, piece);
            }
            _ => wire.truncate(at + rng.below(wire.len() - at + 1)),
        }
    }
}

#[test]
fn mutated_requests_never_cause_a_server_error() {
    let daemon = Setup::default()
        .policy("admin/package*", "package")
        .policy("admin/cache*", "cache")
        .start();
    let kept = path("kept", "1", "f");
    assert_eq!(daemon.put(&kept, "kept"), 201);
    #[rustfmt::skip]
    let templates = [
        Request::put(&path("fuzz", "1", "f"), "hello world").header("X-Checksum-Sha256", "0".repeat(64)),
        Request::put(&path("cachefuzz", "1", "f"), "hello").chunked(3).header("If-None-Match", "*"),
        Request::put(
            &path("packagefuzz", "1%2F2", "f"),
            "--b\r\nContent-Disposition: form-data; name=\"a\"; filename=\"b\"\r\n\r\nx\r\n--b--\r\n",
        )
        .header("Content-Type", "multipart/form-data; boundary=b"),
        Request::get(&kept).header("Range", "bytes=0-1,2-3").header("If-Range", "\"x\""),
        Request::head(&kept).header("If-Modified-Since", "Mon, 01 Jan 2001 00:00:00 GMT"),
        Request::delete(&path("fuzz", "2", "f")).header("If-Match", "\"x\""),
        Request::new("POST", "/api/v1/users/admin/tokens")
            .body("{\"name\":\"x\",\"scopes\":[\"read:package\"]}"),
    ];
    let templates = templates.map(|request| {
        let request = daemon.authorized(request);
        [request.head_bytes(), request.body_bytes()].concat()
    });
    let seed = 36;
    let mut rng = Rng::new(seed);
    for round in 0..400 {
        let mut wire = templates[round % templates.len()].clone();
        mutate(&mut wire, &mut rng);
        let mut connection = Conn::open(daemon.address()).unwrap();
        let _ = connection.write(&wire);
        connection.finish_writing();
        let answer = connection.drain(Duration::from_secs(15));
        let status = status_of(&answer);
        let fine = answer.is_empty() || status.is_some_and(|status| status < 500);
        assert!(
            fine,
            "seed {seed}, round {round}: {status:?} to\n{}",
            String::from_utf8_lossy(&wire)
        );
    }
    assert_eq!(
        response_of(daemon.address(), &Request::get("/readyz"))
            .unwrap()
            .status,
        200
    );
    daemon.assert_serves(&kept, b"kept");
    assert_eq!(daemon.put(&path("after", "1", "f"), "still here"), 201);
}
