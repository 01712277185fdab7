//! Listing and removing packages through the management API (API.md §6).

use serde_json::Value;
use sha2::Digest as _;

use crate::support::{Daemon, MIB, Request, Response, Rng, Setup, file_path, seeded_bytes, together, within};
use crate::support::{PATIENCE, basic};

fn daemon() -> Daemon {
    Setup::default().policy("*/*", "package").start()
}

fn list(daemon: &Daemon, path: &str) -> Response {
    let answer = daemon.as_admin(Request::get(&format!("/api/v1/packages/{path}")));
    assert_eq!(answer.status, 200, "{path}: {}", answer.text());
    answer
}

fn names(answer: &Response) -> Vec<String> {
    let items = answer.json();
    let shown = |item: &Value| format!("{} {}", item["name"], item["version"]).replace('"', "");
    items.as_array().unwrap().iter().map(shown).collect()
}

fn total(answer: &Response) -> u64 {
    answer.header("x-total-count").unwrap().parse().unwrap()
}

#[test]
fn versions_are_listed_newest_first_page_by_page() {
    let daemon = daemon();
    let mut expected = Vec::new();
    let mut random = Rng::new(7);
    for number in 0..60 {
        let package = ["App", "lib-app", "tool"][random.below(3)];
        assert_eq!(
            daemon.put(&file_path("admin", package, &number.to_string(), "f"), "x"),
            201
        );
        expected.insert(0, format!("{package} {number}"));
    }
    let all = list(&daemon, "admin");
    assert_eq!(names(&all), expected[..30]);
    assert_eq!(total(&all), 60);
    assert_eq!(names(&list(&daemon, "admin?limit=1000")), expected[..50]);
    let third = list(&daemon, "admin?page=3&limit=7&type=generic");
    assert_eq!(names(&third), expected[14..21]);
    let links = third.header("link").unwrap().to_owned();
    for part in [
        "?type=generic&page=4&limit=7>; rel=\"next\"",
        "?type=generic&page=9&limit=7>; rel=\"last\"",
        "?type=generic&page=1&limit=7>; rel=\"first\"",
        "?type=generic&page=2&limit=7>; rel=\"prev\"",
    ] {
        assert!(links.contains(part), "{links}");
    }
    assert!(names(&list(&daemon, "admin?page=10&limit=7")).is_empty());
    let apps: Vec<String> = expected
        .iter()
        .filter(|name| name.to_lowercase().contains("app"))
        .cloned()
        .collect();
    let found = list(&daemon, "admin?q=aPP&limit=50");
    assert_eq!((names(&found), total(&found)), (apps.clone(), apps.len() as u64));
    assert_eq!(total(&list(&daemon, "admin?type=npm")), 0);
    let tools: Vec<String> = expected
        .iter()
        .filter(|name| name.starts_with("tool"))
        .cloned()
        .collect();
    let found = list(&daemon, "admin/generic/TOOL?limit=5&page=2");
    assert_eq!(
        (names(&found), total(&found)),
        (tools[5..10].to_vec(), tools.len() as u64)
    );
    let latest = list(&daemon, "admin/generic/tool/-/latest").json();
    assert_eq!(format!("tool {}", latest["version"]).replace('"', ""), tools[0]);
    assert_eq!(latest["owner"]["login"], "admin");
    assert_eq!(latest["creator"]["login"], "admin");
    assert_eq!(
        (&latest["type"], &latest["repository"]),
        (&"generic".into(), &Value::Null)
    );
}

#[test]
fn what_is_not_there_or_not_permitted_is_said_as_gitea_does() {
    let daemon = daemon();
    daemon.create_user("bob", "bob's password", "private");
    assert_eq!(daemon.put(&file_path("admin", "app", "1", "f"), "x"), 201);
    assert_eq!(daemon.put(&file_path("bob", "app", "1", "f"), "x"), 201);
    let anonymous = |path: &str| daemon.send(&Request::get(path)).status;
    let bob = |request: Request| {
        let request = request.header("Authorization", basic("bob", "bob's password"));
        daemon.send(&request).status
    };
    let path = |rest: &str| format!("/api/v1/packages/{rest}");
    assert_eq!(anonymous(&path("admin")), 401, "also for a public owner");
    assert_eq!(bob(Request::get(&path("admin"))), 200);
    assert_eq!(bob(Request::get(&path("nobody"))), 404);
    assert_eq!(bob(Request::delete(&path("admin/generic/app"))), 403);
    assert_eq!(bob(Request::delete(&path("admin/generic/app/1"))), 403);
    daemon.create_user("eve", "eve's password", "public");
    let eve = Request::get(&path("bob")).header("Authorization", basic("eve", "eve's password"));
    assert_eq!(daemon.send(&eve).status, 403);
    for missing in [
        "bob/generic/none",
        "bob/generic/none/-/latest",
        "bob/generic/app/2",
        "bob/generic/app/2/files",
        "bob/npm/app",
    ] {
        assert_eq!(bob(Request::get(&path(missing))), 404, "{missing}");
    }
    assert_eq!(bob(Request::delete(&path("bob/generic/none"))), 404);
    assert_eq!(bob(Request::delete(&path("bob/generic/app/2"))), 404);
    assert_eq!(bob(Request::get(&path("bob?page=x"))), 422);
    assert_eq!(bob(Request::new("POST", &path("bob"))), 405);
}

#[test]
fn files_are_shown_with_checksums_that_are_kept() {
    let mut daemon = daemon();
    let bodies = [
        ("B.bin", seeded_bytes(1, 3 * MIB)),
        ("a.txt", b"abc".to_vec()),
        ("empty", Vec::new()),
    ];
    for (name, body) in &bodies {
        assert_eq!(
            daemon.put(&file_path("admin", "app", "1", name), body.clone()),
            201
        );
    }
    for round in 0..2 {
        let answer = list(&daemon, "admin/generic/app/1/files");
        assert_eq!(total(&answer), 3);
        let items = answer.json();
        let order: Vec<&str> = items
            .as_array()
            .unwrap()
            .iter()
            .map(|item| item["name"].as_str().unwrap())
            .collect();
        assert_eq!(order, ["a.txt", "B.bin", "empty"]);
        for (name, body) in &bodies {
            let item = items
                .as_array()
                .unwrap()
                .iter()
                .find(|item| item["name"] == *name)
                .unwrap();
            assert_eq!(item["size"], body.len());
            assert_eq!(
                item["sha256"],
                hex::encode(sha2::Sha256::digest(body)),
                "round {round}"
            );
            assert_eq!(item["sha512"], hex::encode(sha2::Sha512::digest(body)));
            assert_eq!(item["md5"], hex::encode(md5::Md5::digest(body)));
            assert_eq!(item["sha1"].as_str().unwrap().len(), 40);
            assert_eq!(item["blake3"], crate::support::blake3_hex(body));
        }
        let second = list(&daemon, "admin/generic/app/1/files?limit=2&page=2").json();
        assert_eq!(second.as_array().unwrap().len(), 1);
        daemon.kill9();
        daemon.start();
    }
}

#[test]
fn packages_and_versions_go_and_stay_gone() {
    let mut daemon = daemon();
    for version in 0..20 {
        assert_eq!(
            daemon.put(&file_path("admin", "app", &version.to_string(), "f"), "x"),
            201
        );
        assert_eq!(
            daemon.put(&file_path("admin", "keep", &version.to_string(), "f"), "x"),
            201
        );
    }
    assert_eq!(daemon.delete("/api/v1/packages/admin/generic/keep/3"), 204);
    assert_eq!(daemon.delete("/api/v1/packages/admin/generic/APP"), 204);
    let gone = |daemon: &Daemon| {
        assert_eq!(daemon.get(&file_path("admin", "app", "5", "f")).status, 404);
        assert_eq!(daemon.get(&file_path("admin", "keep", "3", "f")).status, 404);
        assert_eq!(total(&list(daemon, "admin")), 19);
    };
    gone(&daemon);
    daemon.kill9();
    daemon.start();
    gone(&daemon);
    assert_eq!(daemon.put(&file_path("admin", "app", "5", "f"), "new"), 201);
    assert!(within(PATIENCE, || total(&list(&daemon, "admin/generic/app")) == 1));
    daemon.assert_serves(&file_path("admin", "app", "5", "f"), b"new");
}

#[test]
fn pages_are_asked_for_in_numbers() {
    let daemon = daemon();
    for version in 0..3 {
        assert_eq!(
            daemon.put(&file_path("admin", "app", &version.to_string(), "f"), "x"),
            201
        );
    }
    let ask = |path: &str| daemon.as_admin(Request::get(&format!("/api/v1/packages/{path}")));
    for path in ["admin", "admin/generic/app", "admin/generic/app/1/files"] {
        // Zero is unsaid, as with Gitea; what is beyond the end is empty, however far.
        for fine in [
            "page=0&limit=0",
            "page=&limit=",
            "limit=51",
            "limit=18446744073709551615",
        ] {
            let answer = ask(&format!("{path}?{fine}"));
            assert_eq!(answer.status, 200, "{path}?{fine}");
            assert!(!answer.json().as_array().unwrap().is_empty(), "{path}?{fine}");
        }
        for beyond in [
            "page=18446744073709551615",
            "page=18446744073709551615&limit=50",
            "page=9",
        ] {
            let answer = ask(&format!("{path}?{beyond}"));
            assert_eq!(
                (answer.status, answer.text().as_str()),
                (200, "[]"),
                "{path}?{beyond}"
            );
            // The list of files has no pages.
            let back = answer.header("link").unwrap_or_default();
            assert!(
                back.contains("page=1&limit=") && back.ends_with("; rel=\"prev\"") || path.ends_with("files"),
                "{path}?{beyond}: {back}"
            );
            assert!(!back.contains("page=8&") && !back.contains("1844674"), "{back}");
        }
        for field in ["page", "limit"] {
            for (bad, shown) in [
                ("x", "x"),
                ("-1", "-1"),
                ("1.5", "1.5"),
                ("18446744073709551616", "18446744073709551616"),
                ("100000000000000000000000", "100000000000000000000000"),
                ("1%00", "1\\0"),
                ("+", " "),
            ] {
                let answer = ask(&format!("{path}?{field}={bad}"));
                let says =
                    format!("{field} must be a whole number from 0 to 18446744073709551615, not \"{shown}\"");
                assert_eq!(answer.status, 422, "{path}?{field}={bad}");
                assert_eq!(answer.json()["message"], says.as_str());
            }
        }
    }
}

#[test]
fn a_package_without_versions_is_not_there() {
    let daemon = daemon();
    assert_eq!(daemon.put(&file_path("admin", "app", "1", "f"), "x"), 201);
    assert_eq!(daemon.delete(&file_path("admin", "app", "1", "f")), 204);
    for gone in ["app", "app/-/latest", "app/1", "app/1/files"] {
        let answer = daemon.as_admin(Request::get(&format!("/api/v1/packages/admin/generic/{gone}")));
        assert_eq!(answer.status, 404, "{gone}");
    }
    assert_eq!(total(&list(&daemon, "admin")), 0);
}

#[test]
fn names_are_escaped_in_the_page_of_a_version() {
    let daemon = daemon();
    assert_eq!(
        daemon.put(&file_path("admin", "App", "a%2Fb%20%22C", "f"), "x"),
        201
    );
    let version = list(&daemon, "admin/generic/app/a%2Fb%20%22c").json();
    assert_eq!(version["version"], "a/b \"C");
    assert_eq!(
        version["html_url"],
        "http://larder.test/admin/-/packages/generic/app/a%2Fb%20%22c"
    );
}

#[test]
fn many_who_ask_first_get_the_same_checksums() {
    let daemon = daemon();
    let body = seeded_bytes(5, 4 * MIB);
    assert_eq!(
        daemon.put(&file_path("admin", "app", "1", "f"), body.clone()),
        201
    );
    let answers = together(16, |_| {
        list(&daemon, "admin/generic/app/1/files").json()[0].clone()
    });
    for answer in answers {
        assert_eq!(answer["sha512"], hex::encode(sha2::Sha512::digest(&body)));
    }
}
