//! Download headers, ranges and conditional requests (API.md §3, RFC 9110).

use std::time::{Duration, SystemTime};

use crate::support::{Daemon, MIB, Request, Response, Rng, Setup, blake3_hex, etag, path, seeded_bytes};

const SIZE: usize = 1000;

fn thousand() -> Vec<u8> {
    seeded_bytes(3, SIZE)
}

/// A daemon that serves a file of 1,000 bytes, one of none, and one of several chunks.
fn daemon() -> (Daemon, String, Vec<u8>) {
    let daemon = Setup::default().start();
    let target = path("tool", "1", "file.bin");
    let body = thousand();
    assert_eq!(daemon.put(&target, body.clone()), 201);
    assert_eq!(daemon.put(&path("tool", "empty", "file.bin"), ""), 201);
    (daemon, target, body)
}

/// GET with headers.
fn get(daemon: &Daemon, target: &str, headers: &[(&str, &str)]) -> Response {
    let request = headers
        .iter()
        .fold(Request::get(target), |request, (name, value)| {
            request.header(name, *value)
        });
    daemon.send(&request)
}

#[test]
fn a_download_says_what_it_is() {
    let (daemon, target, body) = daemon();
    let hex = blake3_hex(&body);
    let tag = etag(&body);
    for request in [Request::get(&target), Request::head(&target)] {
        let answer = daemon.send(&request);
        let rows = [
            ("content-type", "application/octet-stream"),
            ("content-length", "1000"),
            ("accept-ranges", "bytes"),
            ("etag", tag.as_str()),
            ("x-checksum-blake3", hex.as_str()),
            ("x-content-type-options", "nosniff"),
        ];
        assert_eq!(answer.status, 200);
        for (name, value) in rows {
            assert_eq!(answer.header(name), Some(value), "{} {name}", request.method());
        }
        let mut directives: Vec<String> = answer
            .header("cache-control")
            .unwrap_or_default()
            .split(',')
            .map(|part| part.trim().to_owned())
            .collect();
        directives.sort();
        assert_eq!(directives, ["max-age=0", "must-revalidate", "private"]);
        assert_eq!(answer.header("content-encoding"), None);
        let published = httpdate::parse_http_date(answer.header("last-modified").unwrap()).unwrap();
        let age = SystemTime::now().duration_since(published).unwrap();
        assert!(age < Duration::from_secs(120), "published {age:?} ago");
    }
    let encoded = get(
        &daemon,
        &target,
        &[("Accept-Encoding", "gzip, br, zstd, deflate")],
    );
    assert_eq!((encoded.header("content-encoding"), &encoded.body), (None, &body));
}

#[test]
fn the_disposition_names_the_file() {
    let (daemon, ..) = daemon();
    let rows = [
        ("plain.tar.gz", "plain.tar.gz"),
        ("with%20space.bin", "with space.bin"),
        ("semi;colon=x.bin", "semi;colon=x.bin"),
        ("(paren)[x]{y}.bin", "(paren)[x]{y}.bin"),
    ];
    for (number, (segment, name)) in rows.iter().enumerate() {
        let target = path("named", &number.to_string(), segment);
        assert_eq!(daemon.put(&target, "x"), 201, "{segment}");
        let answer = daemon.get(&target);
        let disposition = answer.header("content-disposition").unwrap();
        let value = disposition
            .strip_prefix("attachment; filename=")
            .unwrap_or_else(|| panic!("{disposition}"));
        let token = name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte));
        match value.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')) {
            Some(quoted) => assert_eq!(quoted, *name),
            None => assert!(token && value == *name, "needs quotes: {disposition}"),
        }
    }
}

#[test]
fn a_checksum_that_is_known_is_shown() {
    let (daemon, ..) = daemon();
    // sha256 of "abc", from FIPS 180.
    let sha256 = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
    let target = path("known", "1", "f");
    let put = Request::put(&target, "abc").header("X-Checksum-Sha256", sha256);
    assert_eq!(daemon.as_admin(put).status, 201);
    assert_eq!(daemon.get(&target).header("x-checksum-sha256"), Some(sha256));
}

#[test]
fn single_ranges() {
    let (daemon, target, body) = daemon();
    let rows = [
        ("bytes=0-0", 0, 1),
        ("bytes=0-499", 0, 500),
        ("bytes=500-999", 500, 1000),
        ("bytes=10-19", 10, 20),
        ("bytes=999-999", 999, 1000),
        ("bytes=990-", 990, 1000),
        ("bytes=0-", 0, 1000),
        ("bytes=990-5000", 990, 1000),
        ("bytes=-10", 990, 1000),
        ("bytes=-1", 999, 1000),
        ("bytes=-5000", 0, 1000),
        ("bytes= 10-19", 10, 20),
        ("bytes=10-19,", 10, 20),
        ("bytes=10-19,2000-3000", 10, 20),
        ("bytes=0-99999999999999999999999999", 0, 1000),
    ];
    for (range, from, to) in rows {
        let answer = get(&daemon, &target, &[("Range", range)]);
        assert_eq!(answer.status, 206, "{range}: {}", answer.text().len());
        let content_range = format!("bytes {from}-{}/{SIZE}", to - 1);
        assert_eq!(
            answer.header("content-range"),
            Some(content_range.as_str()),
            "{range}"
        );
        assert_eq!(
            answer.header("content-length"),
            Some((to - from).to_string().as_str()),
            "{range}"
        );
        assert_eq!(answer.header("etag"), Some(etag(&body).as_str()), "{range}");
        assert!(answer.body == body[from..to], "{range}: wrong bytes");
    }
}

#[test]
fn ranges_outside_the_file_are_416() {
    let (daemon, target, _) = daemon();
    for range in [
        "bytes=1000-",
        "bytes=1000-2000",
        "bytes=-0",
        "bytes=5000-,6000-7000",
    ] {
        let answer = get(&daemon, &target, &[("Range", range)]);
        assert_eq!(answer.status, 416, "{range}");
        assert_eq!(answer.header("content-range"), Some("bytes */1000"), "{range}");
    }
}

#[test]
fn ranges_that_do_not_apply_give_the_whole_file() {
    let (daemon, target, body) = daemon();
    let many = format!("bytes={}", vec!["0-"; 100].join(","));
    for range in [
        "items=0-1",
        "bytes=0-999,0-999",
        "bytes=0-600,300-999",
        "bytes=0-,-1",
        many.as_str(),
    ] {
        let answer = get(&daemon, &target, &[("Range", range)]);
        assert_eq!((answer.status, answer.body == body), (200, true), "{range}");
        assert_eq!(answer.header("content-range"), None, "{range}");
    }
    // RFC 9110 lets a server ignore these or refuse them; a part of the file would be wrong.
    for range in [
        "bytes=abc",
        "bytes=5-2",
        "bytes=",
        "bytes=1-2-3",
        "bytes=--5",
        "bytes",
        "bytes=0x1-2",
        "bytes=1 - 2",
    ] {
        let answer = get(&daemon, &target, &[("Range", range)]);
        assert!(
            matches!(answer.status, 200 | 400 | 416),
            "{range}: {}",
            answer.status
        );
    }
    let empty = get(
        &daemon,
        &path("tool", "empty", "file.bin"),
        &[("Range", "bytes=0-0")],
    );
    assert_eq!(
        (empty.status, empty.header("content-length")),
        (200, Some("0")),
        "a range of an empty file"
    );
    let head = daemon.send(&Request::head(&target).header("Range", "bytes=0-0"));
    assert_eq!(
        (head.status, head.header("content-length")),
        (200, Some("1000")),
        "ranges are for GET"
    );
}

/// The parts of a multipart/byteranges body: (Content-Range, bytes).
fn parts(answer: &Response) -> Vec<(String, Vec<u8>)> {
    let kind = answer.header("content-type").unwrap();
    let boundary = kind
        .strip_prefix("multipart/byteranges; boundary=")
        .unwrap_or_else(|| panic!("{kind}"));
    let dashes = format!("--{}", boundary.trim_matches('"')).into_bytes();
    let find = |from: usize, needle: &[u8]| {
        answer.body[from..]
            .windows(needle.len())
            .position(|window| window == needle)
            .map(|at| from + at)
    };
    let mut parts = Vec::new();
    let mut at = find(0, &dashes).expect("a first boundary") + dashes.len();
    while !answer.body[at..].starts_with(b"--") {
        let end_of_head = find(at, b"\r\n\r\n").expect("a part has headers");
        let head = String::from_utf8_lossy(&answer.body[at..end_of_head]).into_owned();
        let range = head
            .lines()
            .find_map(|line| {
                line.to_lowercase()
                    .strip_prefix("content-range:")
                    .map(|value| value.trim().to_owned())
            })
            .expect("a part has a Content-Range");
        let end = find(end_of_head + 4, &dashes).expect("a part ends with a boundary");
        parts.push((range, answer.body[end_of_head + 4..end - 2].to_vec()));
        at = end + dashes.len();
    }
    parts
}

#[test]
fn several_ranges_come_as_parts() {
    let (daemon, target, body) = daemon();
    let rows: [(&str, &[(usize, usize)]); 3] = [
        ("bytes=0-0,5-9,-1", &[(0, 1), (5, 10), (999, 1000)]),
        ("bytes=100-199, 300-399", &[(100, 200), (300, 400)]),
        ("bytes=0-9,20-29,5000-", &[(0, 10), (20, 30)]),
    ];
    for (range, expected) in rows {
        let answer = get(&daemon, &target, &[("Range", range)]);
        assert_eq!(answer.status, 206, "{range}");
        assert_eq!(answer.header("content-range"), None, "{range}");
        assert_eq!(
            answer.header("content-length"),
            Some(answer.body.len().to_string().as_str()),
            "{range}"
        );
        let expected: Vec<(String, Vec<u8>)> = expected
            .iter()
            .map(|(from, to)| {
                (
                    format!("bytes {from}-{}/{SIZE}", to - 1),
                    body[*from..*to].to_vec(),
                )
            })
            .collect();
        assert_eq!(parts(&answer), expected, "{range}");
    }
}

#[test]
fn ranges_of_a_file_of_many_chunks() {
    let (daemon, ..) = daemon();
    let target = path("tool", "big", "file.bin");
    let body = seeded_bytes(4, 7 * MIB + 13);
    assert_eq!(daemon.put(&target, body.clone()), 201);
    let mut rng = Rng::new(5);
    for round in 0..60 {
        let from = rng.below(body.len());
        let length = if round % 3 == 0 {
            1 + rng.below(10)
        } else {
            1 + rng.below(3 * MIB)
        };
        let to = (from + length).min(body.len());
        let range = format!("bytes={from}-{}", to - 1);
        let answer = get(&daemon, &target, &[("Range", &range)]);
        assert_eq!(answer.status, 206, "{range}");
        assert!(answer.body == body[from..to], "{range}: wrong bytes");
    }
}

#[test]
fn conditional_downloads() {
    let (daemon, target, body) = daemon();
    let tag = etag(&body);
    let weak = format!("W/{tag}");
    let list = format!("\"other\", {tag}");
    let modified = daemon.get(&target).header("last-modified").unwrap().to_owned();
    let modified = modified.as_str();
    let (old, future) = ("Mon, 01 Jan 2001 00:00:00 GMT", "Fri, 01 Jan 2100 00:00:00 GMT");
    let other = "\"0000\"";
    #[rustfmt::skip]
    let rows: Vec<(Vec<(&str, &str)>, u16)> = vec![
        (vec![("If-None-Match", &tag)], 304),
        (vec![("If-None-Match", &weak)], 304),
        (vec![("If-None-Match", &list)], 304),
        (vec![("If-None-Match", "*")], 304),
        (vec![("If-None-Match", other)], 200),
        (vec![("If-Match", &tag)], 200),
        (vec![("If-Match", &list)], 200),
        (vec![("If-Match", "*")], 200),
        (vec![("If-Match", other)], 412),
        (vec![("If-Match", &weak)], 412),
        (vec![("If-Modified-Since", modified)], 304),
        (vec![("If-Modified-Since", future)], 304),
        (vec![("If-Modified-Since", old)], 200),
        (vec![("If-Modified-Since", "not a date")], 200),
        (vec![("If-Unmodified-Since", modified)], 200),
        (vec![("If-Unmodified-Since", old)], 412),
        (vec![("If-Unmodified-Since", "not a date")], 200),
        // Tags beat dates.
        (vec![("If-None-Match", other), ("If-Modified-Since", modified)], 200),
        (vec![("If-None-Match", &tag), ("If-Modified-Since", old)], 304),
        (vec![("If-Match", &tag), ("If-Unmodified-Since", old)], 200),
        // Conditions come before ranges.
        (vec![("If-None-Match", &tag), ("Range", "bytes=0-0")], 304),
        (vec![("If-Match", other), ("Range", "bytes=0-0")], 412),
        (vec![("If-Range", &tag), ("Range", "bytes=0-0")], 206),
        (vec![("If-Range", other), ("Range", "bytes=0-0")], 200),
        (vec![("If-Range", &weak), ("Range", "bytes=0-0")], 200),
        (vec![("If-Range", old), ("Range", "bytes=0-0")], 200),
        (vec![("If-Range", &tag), ("Range", "bytes=5000-")], 416),
        (vec![("If-Range", other), ("Range", "bytes=5000-")], 200),
        (vec![("If-Range", other)], 200),
    ];
    for (headers, status) in rows {
        let answer = get(&daemon, &target, &headers);
        assert_eq!(answer.status, status, "{headers:?}");
        if status == 200 {
            assert!(answer.body == body, "{headers:?}: wrong bytes");
        }
        if status == 304 {
            assert_eq!(answer.header("etag"), Some(tag.as_str()), "{headers:?}");
        }
        let head = headers.iter().filter(|(name, _)| !name.contains("ange"));
        let head = head.fold(Request::head(&target), |request, (name, value)| {
            request.header(name, *value)
        });
        let without_range = if matches!(status, 206 | 416) { 200 } else { status };
        assert_eq!(daemon.send(&head).status, without_range, "HEAD {headers:?}");
    }
    let missing = get(&daemon, &path("none", "1", "f"), &[("If-Match", "*")]);
    assert_eq!(
        missing.status, 404,
        "a missing file is 404, whatever the condition"
    );
}

#[test]
fn a_304_keeps_the_connection_usable() {
    let (daemon, target, body) = daemon();
    let mut connection = daemon.connect();
    for _ in 0..3 {
        let unchanged = connection
            .send(&Request::get(&target).header("If-None-Match", etag(&body)))
            .unwrap();
        assert_eq!(unchanged.status, 304);
        assert_eq!(connection.send(&Request::get(&target)).unwrap().body, body);
    }
}
