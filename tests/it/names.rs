//! Rules for names: what is legal, how a path is decoded, and which spellings are the same name (API.md §1, Names).

use crate::support::{Daemon, Request, Setup, file_path, path, version_path};

/// Publishes, downloads and removes a name that is legal, in the spelling of the path.
fn assert_legal(daemon: &Daemon, target: &str) {
    let body = format!("body of {target}").into_bytes();
    let put = daemon.as_admin(Request::put(target, body.clone()));
    assert_eq!(put.status, 201, "PUT {target}: {}", put.text());
    daemon.assert_serves(target, &body);
    assert_eq!(daemon.delete(target), 204, "DELETE {target}");
    daemon.assert_absent(target);
}

/// An illegal name is 400 with its text on PUT and just 404 elsewhere.
fn assert_illegal(daemon: &Daemon, target: &str, text: &str) {
    let put = daemon.as_admin(Request::put(target, "x"));
    assert_eq!((put.status, put.text().as_str()), (400, text), "PUT {target}");
    for method in ["GET", "HEAD", "DELETE"] {
        let answer = daemon.as_admin(Request::new(method, target));
        assert_eq!(answer.status, 404, "{method} {target}: {}", answer.text());
    }
}

#[test]
fn package_names() {
    let daemon = Setup::default().start();
    let longest = "n".repeat(255);
    #[rustfmt::skip]
    let legal = [
        "a", "7", "Z", "...", "--", "-a", "_x", "a+b", "A.b_c-D+9", "a%2Eb", longest.as_str(),
    ];
    for name in legal {
        assert_legal(&daemon, &path(name, "1", "f"));
    }
    let too_long = "n".repeat(256);
    #[rustfmt::skip]
    let illegal = [
        "%2E", "%2E%2E", "%2e%2e", ".", "..", "-", "_", "+", "%2B", "a%20b", "a%2Fb", "%20a", "a%0A", "a%00",
        "%C3%BC", "a@b", "a~b", "a%25b", "a!", too_long.as_str(),
    ];
    for name in illegal {
        assert_illegal(&daemon, &path(name, "1", "f"), "invalid package name");
    }
}

#[test]
fn versions() {
    let daemon = Setup::default().start();
    let longest = "9".repeat(255);
    let longest_utf8 = "%C3%BC".repeat(127);
    #[rustfmt::skip]
    let legal = [
        "1", "v1.2.3-rc.1+build.5", "feature%2Fbranch", "%2F", "a%20b", "%C3%BC", "%E7%89%88", "100%25",
        "%2525", "%F0%9F%A6%80", "--", "_", "a%22b", "a%3Fb%23c", "a%5Cb", longest.as_str(),
        longest_utf8.as_str(),
    ];
    for version in legal {
        assert_legal(&daemon, &path("tool", version, "f"));
    }
    let too_long = "9".repeat(256);
    let too_long_utf8 = "%C3%BC".repeat(128);
    #[rustfmt::skip]
    let illegal = [
        "-", "%2D", ".", "..", "%2E", "%2E%2E", "%20", "%20a", "a%20", "%09a", "a%0A", "a%00b", "a%07b",
        "a%7Fb", "%E3%80%80a",
        "a%C2%A0", "a%C2%85b", too_long.as_str(), too_long_utf8.as_str(),
    ];
    for version in illegal {
        assert_illegal(&daemon, &path("tool", version, "f"), "invalid package version");
    }
}

#[test]
fn file_names() {
    let daemon = Setup::default().start();
    let mut legal: Vec<String> = "-_+=:;.()[]{}~!@#$%^& "
        .bytes()
        .map(|byte| format!("a%{byte:02X}b"))
        .collect();
    legal.extend(["-", "...", "a+b", "a=b;c:d", "%2D", ".hidden", "A%20z.tar.gz"].map(str::to_owned));
    legal.push("f".repeat(255));
    for file in &legal {
        assert_legal(&daemon, &path("tool", "1", file));
    }
    let too_long = "f".repeat(256);
    #[rustfmt::skip]
    let illegal = [
        "%2E", "%2E%2E", "..", ".", "%20a", "a%20", "%20", "a%2Fb", "a%5Cb", "a%22b", "a%27b", "a%2Cb",
        "a%2Ab", "a%3Fb", "a%3Cb", "a%7Cb", "a%0Ab", "a%09b", "a%00", "%C3%BC", too_long.as_str(),
    ];
    for file in illegal {
        assert_illegal(&daemon, &path("tool", "1", file), "invalid filename");
    }
}

#[test]
fn segments_are_decoded_exactly_once() {
    let daemon = Setup::default().start();
    assert_eq!(daemon.put(&path("once", "a%2525b", "f"), "escaped twice"), 201);
    assert_eq!(daemon.put(&path("once", "a%25b", "f"), "escaped once"), 201);
    assert_eq!(daemon.put(&path("once", "a%2Fb", "f"), "a slash"), 201);
    assert_eq!(daemon.put(&path("once", "a%252Fb", "f"), "an escaped slash"), 201);
    assert_eq!(daemon.put(&path("once", "a+b", "f"), "a plus"), 201);
    assert_eq!(daemon.put(&path("once", "a%20b", "f"), "a space"), 201);
    daemon.assert_serves(&path("once", "a%2525b", "f"), b"escaped twice");
    daemon.assert_serves(&path("once", "a%25b", "f"), b"escaped once");
    daemon.assert_serves(&path("once", "a%2fb", "f"), b"a slash");
    daemon.assert_serves(&path("once", "a%252Fb", "f"), b"an escaped slash");
    daemon.assert_serves(&path("once", "a%2Bb", "f"), b"a plus");
    daemon.assert_serves(&path("once", "%61%20b", "%66"), b"a space");
    daemon.assert_serves(&file_path("%61dmin", "once", "a+b", "f"), b"a plus");
    assert_eq!(daemon.delete(&version_path("once", "a%2Fb")), 204);
    daemon.assert_absent(&path("once", "a%2Fb", "f"));
    daemon.assert_serves(&path("once", "a%252Fb", "f"), b"an escaped slash");
}

#[test]
fn escapes_that_cannot_be_decoded_are_400() {
    let daemon = Setup::default().start();
    for target in [
        path("tool", "%zz", "f"),
        path("tool", "1", "a%"),
        path("a%2", "1", "f"),
        path("tool", "1%G0", "f"),
    ] {
        let answer = daemon.as_admin(Request::put(&target, "x"));
        assert_eq!(answer.status, 400, "PUT {target}: {}", answer.text());
    }
}

#[test]
fn names_are_utf8() {
    let daemon = Setup::default().start();
    for target in [
        path("tool", "%FF", "f"),
        path("tool", "a%C3", "f"),
        path("%FF", "1", "f"),
        path("tool", "1", "%FF"),
    ] {
        assert_eq!(
            daemon.as_admin(Request::put(&target, "x")).status,
            400,
            "PUT {target}"
        );
        for method in ["GET", "HEAD", "DELETE"] {
            assert_eq!(
                daemon.as_admin(Request::new(method, &target)).status,
                404,
                "{method} {target}"
            );
        }
    }
}

#[test]
fn a_query_is_no_part_of_the_name() {
    let daemon = Setup::default().start();
    assert_eq!(daemon.put(&format!("{}?x=1", path("tool", "1", "f")), "x"), 201);
    daemon.assert_serves(&path("tool", "1", "f"), b"x");
    daemon.assert_serves(&format!("{}?y=2", path("tool", "1", "f")), b"x");
}

#[test]
fn release_and_package_match_names_without_case_and_show_the_first_spelling() {
    let daemon = Setup::default().policy("admin/joined", "package").start();
    for (name, taken) in [("Tool", 400), ("Joined", 409)] {
        assert_eq!(daemon.put(&path(name, "1.0-RC", "App.BIN"), "x"), 201);
        let spellings = [
            path(&name.to_lowercase(), "1.0-rc", "app.bin"),
            path(&name.to_uppercase(), "1.0-Rc", "APP.BIN"),
            file_path("ADMIN", name, "1.0-RC", "App.bin"),
        ];
        for target in &spellings {
            let answer = daemon.get(target);
            assert_eq!((answer.status, answer.text().as_str()), (200, "x"), "{target}");
            let shown = answer.header("content-disposition").unwrap_or_default();
            assert!(shown.contains("App.BIN"), "{target}: {shown}");
            assert_eq!(daemon.put(target, "y"), taken, "PUT {target}");
        }
        assert_eq!(daemon.delete(&spellings[0]), 204);
        daemon.assert_absent(&path(name, "1.0-RC", "App.BIN"));
    }
}

#[test]
fn cache_and_write_once_match_versions_and_files_exactly() {
    let daemon = Setup::default()
        .policy("admin/kept", "write-once")
        .policy("admin/cached", "cache")
        .start();
    for (name, created) in [("kept", 201), ("cached", 200)] {
        assert_eq!(daemon.put(&path(name, "Ab", "Key"), "Ab/Key"), created);
        for (version, file) in [("ab", "Key"), ("Ab", "key"), ("AB", "KEY")] {
            daemon.assert_absent(&path(name, version, file));
            assert_eq!(
                daemon.put(&path(name, version, file), format!("{version}/{file}")),
                created
            );
        }
        for (version, file) in [("Ab", "Key"), ("ab", "Key"), ("Ab", "key"), ("AB", "KEY")] {
            daemon.assert_serves(&path(name, version, file), format!("{version}/{file}").as_bytes());
            // Names of packages and owners are never keys.
            daemon.assert_serves(
                &file_path("Admin", &name.to_uppercase(), version, file),
                format!("{version}/{file}").as_bytes(),
            );
        }
        assert_eq!(daemon.delete(&path(name, "Ab", "Key")), 204);
        daemon.assert_absent(&path(name, "Ab", "Key"));
        daemon.assert_serves(&path(name, "Ab", "key"), b"Ab/key");
    }
}

#[test]
fn only_ascii_is_matched_without_case() {
    let daemon = Setup::default().start();
    assert_eq!(daemon.put(&path("tool", "%C3%BC", "f"), "small"), 201);
    assert_eq!(daemon.put(&path("tool", "%C3%9C", "f"), "capital"), 201);
    daemon.assert_serves(&path("tool", "%C3%BC", "f"), b"small");
    daemon.assert_serves(&path("tool", "%C3%9C", "f"), b"capital");
}
