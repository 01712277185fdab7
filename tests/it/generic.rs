//! Generic packages: the table of requests and the rules for names (API.md §1).

use crate::support::{Request, Setup, blake3_hex, etag, path, seeded_bytes, version_path};

#[test]
fn publish_download_and_remove() {
    let daemon = Setup::default().start();
    let target = path("tool", "1.0.0", "tool.tar.gz");
    let body = b"some bytes of an artifact".to_vec();

    let put = daemon.as_admin(Request::put(&target, body.clone()));
    assert_eq!((put.status, put.text().as_str()), (201, ""));
    assert_eq!(put.header("etag"), Some(etag(&body).as_str()));
    assert_eq!(put.header("x-checksum-blake3"), Some(blake3_hex(&body).as_str()));

    let get = daemon.send(&Request::get(&target));
    assert_eq!((get.status, &get.body), (200, &body));

    let head = daemon.send(&Request::head(&target));
    assert_eq!(head.status, 200);
    assert!(head.body.is_empty());
    for name in [
        "content-length",
        "content-type",
        "etag",
        "last-modified",
        "accept-ranges",
        "content-disposition",
    ] {
        assert!(head.header(name).is_some(), "HEAD has no {name}");
        assert_eq!(
            head.header(name),
            get.header(name),
            "HEAD and GET differ in {name}"
        );
    }

    let removed = daemon.as_admin(Request::delete(&target));
    assert_eq!((removed.status, removed.body.len()), (204, 0));
    assert_eq!(daemon.get(&target).text(), "package does not exist");
    assert_eq!(daemon.send(&Request::head(&target)).status, 404);
    assert_eq!(daemon.delete(&target), 404);
    assert_eq!(daemon.put(&target, "published again"), 201);
    daemon.assert_serves(&target, b"published again");
}

#[test]
fn release_refuses_the_second_put_of_a_version() {
    let daemon = Setup::default().start();
    assert_eq!(daemon.put(&path("tool", "1", "a"), "first"), 201);
    for file in ["a", "b"] {
        let again = daemon.as_admin(Request::put(&path("tool", "1", file), "second"));
        assert_eq!(
            (again.status, again.text().as_str()),
            (400, "package version already exists"),
            "file {file}"
        );
    }
    daemon.assert_serves(&path("tool", "1", "a"), b"first");
    daemon.assert_absent(&path("tool", "1", "b"));
    assert_eq!(daemon.put(&path("tool", "2", "a"), "another version"), 201);
    assert_eq!(daemon.put(&path("tool2", "1", "a"), "another package"), 201);
}

#[test]
fn what_is_missing_says_what_is_missing() {
    let daemon = Setup::default().start();
    daemon.put(&path("tool", "1", "a"), "x");
    let table = [
        ("GET", path("tool", "1", "b"), "package file does not exist"),
        ("GET", path("tool", "2", "a"), "package does not exist"),
        ("GET", path("other", "1", "a"), "package does not exist"),
        ("DELETE", path("tool", "1", "b"), "package file does not exist"),
        ("DELETE", path("tool", "2", "a"), "package does not exist"),
        ("DELETE", version_path("tool", "2"), "package does not exist"),
        ("DELETE", version_path("other", "1"), "package does not exist"),
    ];
    for (method, target, text) in table {
        let answer = daemon.as_admin(Request::new(method, &target));
        assert_eq!(
            (answer.status, answer.text().as_str()),
            (404, text),
            "{method} {target}"
        );
    }
    for target in [path("tool", "1", "b"), path("tool", "2", "a")] {
        let answer = daemon.as_admin(Request::head(&target));
        assert_eq!(answer.status, 404, "HEAD {target}");
    }
    daemon.assert_serves(&path("tool", "1", "a"), b"x");
}

#[test]
fn the_last_file_takes_the_version_with_it() {
    let daemon = Setup::default().policy("admin/*", "package").start();
    for file in ["a", "b"] {
        assert_eq!(daemon.put(&path("tool", "1", file), file), 201);
    }
    assert_eq!(daemon.delete(&path("tool", "1", "a")), 204);
    assert_eq!(
        daemon.get(&path("tool", "1", "a")).text(),
        "package file does not exist"
    );
    daemon.assert_serves(&path("tool", "1", "b"), b"b");
    assert_eq!(daemon.delete(&path("tool", "1", "b")), 204);
    assert_eq!(
        daemon.get(&path("tool", "1", "b")).text(),
        "package does not exist"
    );

    for file in ["a", "b", "c"] {
        assert_eq!(daemon.put(&path("tool", "1", file), file), 201);
    }
    assert_eq!(daemon.delete(&version_path("tool", "1")), 204);
    for file in ["a", "b", "c"] {
        assert_eq!(
            daemon.get(&path("tool", "1", file)).text(),
            "package does not exist",
            "file {file}"
        );
    }
    assert_eq!(daemon.delete(&version_path("tool", "1")), 404);
}

#[test]
fn every_way_of_sending_a_body_stores_its_bytes() {
    let daemon = Setup::default().start();
    let binary = seeded_bytes(7, 300_000);
    let put = |version: &str, body: &[u8]| Request::put(&path("ways", version, "f"), body);
    #[rustfmt::skip]
    let table: [(&str, Request, &[u8]); 8] = [
        ("length", put("length", &binary), &binary),
        ("chunked", put("chunked", &binary).chunked(10_000), &binary),
        ("one-byte-chunks", put("one-byte-chunks", b"slow but fine").chunked(1), b"slow but fine"),
        ("empty", put("empty", b""), b""),
        ("empty-chunked", put("empty-chunked", b"").chunked(1), b""),
        ("no-length", Request::new("PUT", &path("ways", "no-length", "f")), b""),
        (
            "urlencoded",
            put("urlencoded", b"a=1&b=%20+raw").header("Content-Type", "application/x-www-form-urlencoded"),
            b"a=1&b=%20+raw",
        ),
        ("json", put("json", b"{\"a\":1}").header("Content-Type", "application/json"), b"{\"a\":1}"),
    ];
    for (version, request, body) in table {
        let answer = daemon.as_admin(request);
        assert_eq!(answer.status, 201, "{version}: {}", answer.text());
        assert_eq!(answer.header("etag"), Some(etag(body).as_str()), "{version}");
        daemon.assert_serves(&path("ways", version, "f"), body);
    }
}

/// A part of a form: parameters of its Content-Disposition, its bytes.
type Part<'a> = (&'a str, &'a [u8]);

fn multipart(version: &str, parts: &[Part]) -> Request {
    let mut body = Vec::new();
    for (parameters, bytes) in parts {
        body.extend_from_slice(b"--xxBOUNDxx\r\nContent-Disposition: form-data; ");
        body.extend_from_slice(parameters.as_bytes());
        body.extend_from_slice(b"\r\n\r\n");
        body.extend_from_slice(bytes);
        body.extend_from_slice(b"\r\n");
    }
    body.extend_from_slice(b"--xxBOUNDxx--\r\n");
    Request::put(&path("form", version, "f"), body)
        .header("Content-Type", "multipart/form-data; boundary=xxBOUNDxx")
}

#[test]
fn multipart_stores_the_first_file_part() {
    let daemon = Setup::default().start();
    let big = seeded_bytes(8, 5_000_000);
    #[rustfmt::skip]
    let table: [(&str, &[Part], &[u8]); 3] = [
        ("one", &[("name=\"file\"; filename=\"x.bin\"", b"the file")], b"the file"),
        (
            "second",
            &[
                ("name=\"note\"", b"just a field"),
                (
                    "name=\"file\"; filename=\"x.bin\"",
                    b"the file\r\n--xxBOUND almost",
                ),
                ("name=\"file2\"; filename=\"y.bin\"", b"another file"),
            ],
            b"the file\r\n--xxBOUND almost",
        ),
        ("big", &[("name=\"file\"; filename=\"x.bin\"", &big)], &big),
    ];
    for (version, parts, stored) in table {
        let answer = daemon.as_admin(multipart(version, parts));
        assert_eq!(answer.status, 201, "{version}: {}", answer.text());
        daemon.assert_serves(&path("form", version, "f"), stored);
    }
    let none = daemon.as_admin(multipart("none", &[("name=\"note\"", b"just a field")]));
    assert_eq!(none.status, 400, "a form without a file: {}", none.text());
    daemon.assert_absent(&path("form", "none", "f"));
}

#[test]
fn a_broken_multipart_body_publishes_nothing() {
    let daemon = Setup::default().start();
    let head = "multipart/form-data; boundary=xxBOUNDxx";
    let part = "--xxBOUNDxx\r\nContent-Disposition: form-data; name=\"file\"; filename=\"x\"\r\n\r\nbytes";
    #[rustfmt::skip]
    let table = [
        ("no-boundary", "multipart/form-data", format!("{part}\r\n--xxBOUNDxx--\r\n")),
        ("cut-in-part", head, part.to_owned()),
        ("not-multipart", head, "just text".to_owned()),
        ("empty", head, String::new()),
    ];
    for (version, content_type, body) in table {
        let target = path("form", version, "f");
        let answer = daemon.as_admin(Request::put(&target, body).header("Content-Type", content_type));
        assert_eq!(answer.status, 400, "{version}: {}", answer.text());
        daemon.assert_absent(&target);
    }
}

#[test]
fn other_methods_are_405_with_allow() {
    let daemon = Setup::default().start();
    let file = path("tool", "1", "a");
    let version = version_path("tool", "1");
    daemon.put(&file, "x");
    let table: [(&str, &str, &[&str]); 8] = [
        ("POST", &file, &["GET", "HEAD", "PUT", "DELETE"]),
        ("PATCH", &file, &["GET", "HEAD", "PUT", "DELETE"]),
        ("BREW", &file, &["GET", "HEAD", "PUT", "DELETE"]),
        ("GET", &version, &["DELETE"]),
        ("HEAD", &version, &["DELETE"]),
        ("PUT", &version, &["DELETE"]),
        ("POST", &version, &["DELETE"]),
        ("PATCH", &version, &["DELETE"]),
    ];
    for (method, target, allowed) in table {
        let answer = daemon.as_admin(Request::new(method, target));
        assert_eq!(answer.status, 405, "{method} {target}: {}", answer.text());
        let allow = answer
            .header("allow")
            .unwrap_or_else(|| panic!("{method} {target}: no Allow"));
        let mut named: Vec<&str> = allow.split(',').map(str::trim).collect();
        let mut expected = allowed.to_vec();
        named.sort_unstable();
        expected.sort_unstable();
        assert_eq!(named, expected, "{method} {target}");
    }
    daemon.assert_serves(&file, b"x");
}

#[test]
fn other_paths_are_404() {
    let daemon = Setup::default().start();
    daemon.put(&path("tool", "1", "a"), "x");
    let paths = [
        "/api/packages",
        "/api/packages/",
        "/api/packages/admin",
        "/api/packages/admin/generic",
        "/api/packages/admin/generic/tool",
        "/api/packages/admin/npm/tool/1/a",
        "/api/packages/admin/Generic/tool/1/a",
        "/api/packages/admin/generic/tool/1/a/b",
        "/API/packages/admin/generic/tool/1/a",
        "/nowhere",
    ];
    for target in paths {
        for method in ["GET", "PUT", "DELETE", "POST"] {
            let answer = daemon.as_admin(Request::new(method, target));
            assert_eq!(answer.status, 404, "{method} {target}: {}", answer.text());
        }
    }
    daemon.assert_serves(&path("tool", "1", "a"), b"x");
}

#[test]
fn slashes_collapse() {
    let daemon = Setup::default().start();
    assert_eq!(daemon.put("//api//packages/admin///generic/tool/1//a/", "x"), 201);
    for target in [
        "/api/packages/admin/generic/tool/1/a",
        "/api/packages/admin/generic/tool/1/a//",
        "//api/packages//admin/generic/tool//1/a",
    ] {
        daemon.assert_serves(target, b"x");
    }
    // An empty version cannot be said: the path is that of a version, which takes only DELETE.
    assert_eq!(daemon.put("/api/packages/admin/generic/tool//a", "x"), 405);
    assert_eq!(daemon.delete("/api/packages/admin/generic/tool//1/"), 204);
    daemon.assert_absent(&path("tool", "1", "a"));
}

#[test]
fn a_full_store_refuses_uploads_and_goes_on_serving() {
    let daemon = Setup::default()
        .config("[store]\nmax_size = \"64 MiB\"\n")
        .start();
    let body_of = |number: u64| seeded_bytes(900 + number, 1024 * 1024);
    let statuses: Vec<u16> = (0..80)
        .map(|number| daemon.put(&path("fill", &number.to_string(), "f"), body_of(number)))
        .collect();
    let stored = statuses.iter().take_while(|status| **status == 201).count();
    assert!(
        (32..=64).contains(&stored),
        "a store of 64 MiB took {stored} MiB: {statuses:?}"
    );
    assert!(
        statuses[stored..].iter().all(|status| *status == 507),
        "{statuses:?}"
    );
    for (number, status) in (0..).zip(&statuses) {
        let target = path("fill", &u64::to_string(&number), "f");
        match status {
            201 => daemon.assert_serves(&target, &body_of(number)),
            _ => daemon.assert_absent(&target),
        }
    }
    assert_eq!(daemon.delete(&path("fill", "0", "f")), 204);
    daemon.assert_absent(&path("fill", "0", "f"));
}
