//! Conditional and checked writes (API.md §4).

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use md5::Md5;
use sha2::{Digest, Sha256, Sha512};

use crate::support::{Daemon, MIB, Request, Setup, blake3_hex, etag, path, seeded_bytes};

/// One package for each policy.
fn daemon() -> Daemon {
    ["release", "package", "write-once", "cache"]
        .iter()
        .fold(Setup::default(), |setup, policy| {
            setup.policy(&format!("admin/{policy}"), policy)
        })
        .start()
}

fn put(policy: &str, version: &str, body: &str) -> Request {
    Request::put(&path(policy, version, "f"), body)
}

#[test]
fn preconditions_come_before_the_policy() {
    let daemon = daemon();
    let current = etag(b"first");
    let list = format!("\"00\", {current}");
    // Policy, success of a first PUT, outcome of a matching If-Match.
    for (policy, created, matched) in [
        ("release", 201, 400),
        ("package", 201, 201),
        ("write-once", 201, 409),
        ("cache", 200, 200),
    ] {
        let rows: [(&str, &str, u16, &str); 6] = [
            ("If-None-Match", "*", 412, "first"),
            ("If-Match", "\"0000\"", 412, "first"),
            ("If-Match", &etag(b"second"), 412, "first"),
            ("If-Match", &format!("W/{current}"), 412, "first"),
            ("If-Match", &current, matched, "second"),
            ("If-Match", &list, matched, "second"),
        ];
        for (number, (name, value, status, after)) in rows.iter().enumerate() {
            let version = format!("v{number}");
            let what = format!("{policy}: {name}: {value}");
            assert_eq!(
                daemon.as_admin(put(policy, &version, "first")).status,
                created,
                "{what}"
            );
            let answer = daemon.as_admin(put(policy, &version, "second").header(name, *value));
            assert_eq!(answer.status, *status, "{what}: {}", answer.text());
            let replaced = matches!(status, 200 | 201);
            let expected = if replaced { *after } else { "first" };
            daemon.assert_serves(&path(policy, &version, "f"), expected.as_bytes());
        }
        for (name, value, status) in [
            ("If-None-Match", "*", created),
            ("If-Match", "*", 412),
            ("If-Match", current.as_str(), 412),
        ] {
            let version = format!("new-{}", value.len());
            let answer = daemon.as_admin(put(policy, &version, "first").header(name, value));
            assert_eq!(
                answer.status,
                status,
                "{policy}: {name}: {value} on a new file: {}",
                answer.text()
            );
            if status == 412 {
                daemon.assert_absent(&path(policy, &version, "f"));
            } else {
                assert_eq!(daemon.delete(&path(policy, &version, "f")), 204);
            }
        }
    }
}

/// Every header that names a digest of `body`.
fn digests(body: &[u8]) -> Vec<(&'static str, String)> {
    let sha256 = Sha256::digest(body);
    let sha512 = Sha512::digest(body);
    vec![
        ("X-Checksum-Sha256", hex::encode(sha256)),
        ("X-Checksum-Sha256", hex::encode_upper(sha256)),
        ("X-Checksum-Blake3", blake3_hex(body)),
        ("Content-MD5", STANDARD.encode(Md5::digest(body))),
        ("Content-Digest", format!("sha-256=:{}:", STANDARD.encode(sha256))),
        ("Content-Digest", format!("sha-512=:{}:", STANDARD.encode(sha512))),
        ("Repr-Digest", format!("sha-256=:{}:", STANDARD.encode(sha256))),
        ("Repr-Digest", format!("sha-512=:{}:", STANDARD.encode(sha512))),
        (
            "Content-Digest",
            format!(
                "sha-512=:{}:, sha-256=:{}:",
                STANDARD.encode(sha512),
                STANDARD.encode(sha256)
            ),
        ),
    ]
}

#[test]
fn a_body_that_matches_its_digest_is_published() {
    let daemon = daemon();
    for (kind, body) in [
        ("small", b"a small body".to_vec()),
        ("big", seeded_bytes(11, 3 * MIB)),
        ("empty", vec![]),
    ] {
        for (number, (name, value)) in digests(&body).into_iter().enumerate() {
            let target = path("release", &format!("{kind}-{number}"), "f");
            let request = Request::put(&target, body.clone()).header(name, value.as_str());
            let request = if number % 2 == 0 {
                request
            } else {
                request.chunked(50_000)
            };
            let answer = daemon.as_admin(request);
            assert_eq!(answer.status, 201, "{kind} {name}: {value}: {}", answer.text());
            daemon.assert_serves(&target, &body);
        }
    }
}

#[test]
fn a_body_that_does_not_match_its_digest_is_refused_and_leaves_nothing() {
    let daemon = daemon();
    let other = digests(b"other bytes");
    for (kind, body) in [
        ("small", b"a small body".to_vec()),
        ("big", seeded_bytes(12, 3 * MIB)),
        ("empty", vec![]),
    ] {
        for (number, (name, value)) in other.iter().enumerate() {
            let target = path("release", &format!("{kind}-{number}"), "f");
            let request = Request::put(&target, body.clone()).header(name, value.as_str());
            let request = if number % 2 == 0 {
                request
            } else {
                request.chunked(50_000)
            };
            let answer = daemon.as_admin(request);
            assert_eq!(answer.status, 400, "{kind} {name}: {}", answer.text());
            daemon.assert_absent(&target);
            // Nothing was decided about the name either.
            assert_eq!(daemon.put(&target, "free"), 201, "{kind} {name}");
        }
    }
}

#[test]
fn the_refusal_names_header_expected_and_computed_value() {
    let daemon = daemon();
    let (wrong, right) = (blake3_hex(b"wrong"), blake3_hex(b"right"));
    let request = put("release", "1", "right").header("X-Checksum-Blake3", wrong.as_str());
    let text = daemon.as_admin(request).text();
    assert!(text.contains(&wrong) && text.contains(&right), "{text}");
    assert!(text.to_lowercase().contains("blake3"), "{text}");
    let (wrong, right) = (
        hex::encode(Sha256::digest(b"wrong")),
        hex::encode(Sha256::digest(b"right")),
    );
    let request = put("release", "1", "right").header("X-Checksum-Sha256", wrong.as_str());
    let text = daemon.as_admin(request).text();
    assert!(text.contains(&wrong) && text.contains(&right), "{text}");
}

#[test]
fn one_wrong_digest_among_right_ones_is_enough() {
    let daemon = daemon();
    let request = put("release", "1", "body")
        .header("X-Checksum-Blake3", blake3_hex(b"body"))
        .header("X-Checksum-Sha256", hex::encode(Sha256::digest(b"other")));
    assert_eq!(daemon.as_admin(request).status, 400);
    daemon.assert_absent(&path("release", "1", "f"));
}

#[test]
fn digests_that_cannot_be_read_are_400() {
    let daemon = daemon();
    let rows = [
        ("X-Checksum-Sha256", "abc"),
        ("X-Checksum-Sha256", ""),
        ("X-Checksum-Blake3", "zz"),
        ("Content-MD5", "not base64!"),
        ("Content-MD5", "YWJj"),
        ("Content-Digest", "sha-256=abc"),
        ("Content-Digest", "sha-256=:YWJj:"),
        ("Repr-Digest", "sha-512=:!!:"),
    ];
    for (name, value) in rows {
        let answer = daemon.as_admin(put("release", "1", "body").header(name, value));
        assert_eq!(answer.status, 400, "{name}: {value}: {}", answer.text());
        daemon.assert_absent(&path("release", "1", "f"));
    }
}

#[test]
fn a_wrong_digest_does_not_replace_what_is_there() {
    let daemon = daemon();
    assert_eq!(daemon.as_admin(put("cache", "1", "first")).status, 200);
    let request = put("cache", "1", "second").header("X-Checksum-Blake3", blake3_hex(b"third"));
    assert_eq!(daemon.as_admin(request).status, 400);
    daemon.assert_serves(&path("cache", "1", "f"), b"first");
}

#[test]
fn content_range_is_never_taken_for_a_whole_file() {
    let daemon = daemon();
    for policy in ["release", "cache"] {
        for value in ["bytes 0-3/4", "bytes 0-3/100", "bytes */4", "nonsense"] {
            let answer = daemon.as_admin(put(policy, "1", "body").header("Content-Range", value));
            assert_eq!(answer.status, 400, "{policy} {value}: {}", answer.text());
            daemon.assert_absent(&path(policy, "1", "f"));
        }
    }
}
