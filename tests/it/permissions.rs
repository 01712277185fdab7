//! The permission table against the running daemon: who, with which credential, may do what to whose packages
//! (API.md §2). The unit test of `access::permission` reads the same file.

use serde_json::json;

use crate::support::{Daemon, Request, Response, Setup, basic, bearer, file_path};

const TABLE: &str = include_str!("../../src/access/permission_table.txt");
const VISIBILITIES: [&str; 3] = ["public", "limited", "private"];
const CHALLENGE: &str = "Basic realm=\"Larder Package API\"";

/// One user or organisation for each visibility, and everybody of the table.
fn daemon() -> Daemon {
    let daemon = Setup::default().start();
    for name in ["unrelated", "reader", "writer", "manager", "gone"] {
        daemon.create_user(name, &password(name), "public");
    }
    daemon.create_user_with(json!({"username": "chief", "password": password("chief"), "admin": true}));
    for visibility in VISIBILITIES {
        for kind in ["user", "inactive"] {
            let name = format!("{kind}-{visibility}");
            daemon.create_user(&name, &password(&name), visibility);
        }
        let name = format!("organisation-{visibility}");
        let fields = json!({"username": name, "visibility": visibility});
        let created = daemon.as_admin(Request::new("POST", "/api/v1/orgs").json(&fields));
        assert_eq!(created.status, 201, "{}", created.text());
        for (user, permission) in [
            ("reader", "read"),
            ("writer", "write"),
            ("manager", "admin"),
            ("gone", "write"),
        ] {
            let path = format!("/api/v1/orgs/{name}/members/{user}");
            let request = Request::new("PUT", &path).json(&json!({"permission": permission}));
            assert_eq!(daemon.as_admin(request).status, 204);
        }
        for kind in ["user", "inactive", "organisation"] {
            let file = file_path(&format!("{kind}-{visibility}"), "tool", "1", "f");
            assert_eq!(daemon.put(&file, "x"), 201);
        }
    }
    daemon
}

fn password(name: &str) -> String {
    format!("{name}'s password")
}

/// The account that a word of the table means, and the owner whose packages it is about.
fn cast(kind: &str, who: &str, visibility: &str) -> (String, String) {
    let owner = match (kind, who) {
        ("user", "inactive") => format!("inactive-{visibility}"),
        _ => format!("{kind}-{visibility}"),
    };
    let account = match (kind, who) {
        ("user", "owner" | "inactive") => owner.clone(),
        ("organisation", "inactive") => "gone".to_owned(),
        (_, "admin") => "chief".to_owned(),
        (_, who) => who.to_owned(),
    };
    (account, owner)
}

/// Everything that a row of the table needs, made while everybody is active.
struct Row {
    words: Vec<&'static str>,
    /// For each visibility: the owner, and what to send.
    cases: Vec<(String, Option<String>)>,
}

fn prepare(daemon: &Daemon) -> Vec<Row> {
    let lines = TABLE.lines().filter(|line| !line.starts_with('#'));
    let rows = lines.map(|line| line.split_whitespace().collect::<Vec<_>>());
    let rows = rows.filter(|row| !row.is_empty()).skip(1).enumerate();
    rows.map(|(number, words)| {
        let cases = VISIBILITIES.map(|visibility| {
            let (account, owner) = cast(words[0], words[1], visibility);
            let credentials = match words[2] {
                "none" => None,
                "password" => Some(basic(&account, &password(&account))),
                scopes => Some(bearer(&token(
                    daemon,
                    &account,
                    scopes,
                    &format!("{number} {visibility}"),
                ))),
            };
            (owner, credentials)
        });
        Row {
            words,
            cases: cases.into(),
        }
    })
    .collect()
}

fn token(daemon: &Daemon, account: &str, scopes: &str, name: &str) -> String {
    let scope = |name| match name {
        "read" => "read:package",
        "write" => "write:package",
        other => other,
    };
    let scopes: Vec<&str> = scopes.split(',').map(scope).collect();
    let body = json!({"name": name, "scopes": scopes});
    let path = format!("/api/v1/users/{account}/tokens");
    let created = daemon.as_admin(Request::new("POST", &path).json(&body));
    assert_eq!(created.status, 201, "{}", created.text());
    created.json()["sha1"].as_str().unwrap().to_owned()
}

#[test]
fn everyone_may_do_what_the_table_says() {
    let daemon = daemon();
    let rows = prepare(&daemon);
    for name in ["gone", "inactive-public", "inactive-limited", "inactive-private"] {
        let edit = Request::new("PATCH", &format!("/api/v1/admin/users/{name}"));
        assert_eq!(daemon.as_admin(edit.json(&json!({"active": false}))).status, 200);
    }
    let mut checked = 0;
    for (number, row) in rows.iter().enumerate() {
        for (column, (owner, credentials)) in row.cases.iter().enumerate() {
            let cell = row.words[3 + column];
            for (place, expected) in cell.chars().enumerate() {
                let what = format!("{:?} at {owner}, place {place} ({expected})", &row.words[..3]);
                let request = request(place, owner, number, cell.contains('w'));
                let request = match credentials {
                    Some(value) => request.header("Authorization", value.as_str()),
                    None => request,
                };
                check(&daemon.send(&request), place, expected, row.words[1], &what);
                checked += 1;
            }
        }
    }
    assert_eq!(checked, rows.len() * 12);
    for visibility in VISIBILITIES {
        for kind in ["user", "inactive", "organisation"] {
            let owner = format!("{kind}-{visibility}");
            let left = daemon.get(&format!("/api/v1/packages/{owner}"));
            assert_eq!(
                left.header("x-total-count"),
                Some("1"),
                "{owner}: refused writes leave nothing, refused removals everything"
            );
        }
    }
}

/// Read, list, write, delete; whoever may write deletes what he has written.
fn request(place: usize, owner: &str, number: usize, writes: bool) -> Request {
    let version = format!("by-{number}");
    match place {
        0 => Request::get(&file_path(owner, "tool", "1", "f")),
        1 => Request::get(&format!("/api/v1/packages/{owner}")),
        2 => Request::put(&file_path(owner, "tool", &version, "f"), "x"),
        _ if writes => Request::delete(&file_path(owner, "tool", &version, "f")),
        _ => Request::delete(&file_path(owner, "tool", "1", "f")),
    }
}

fn check(answer: &Response, place: usize, expected: char, who: &str, what: &str) {
    let is_list = place == 1;
    let status = match (expected, is_list) {
        ('r' | 'l', _) => 200,
        ('w', _) => 201,
        ('d', _) => 204,
        ('?', _) | ('-', false) => 401,
        ('-', true) | ('!', _) => 403,
        other => panic!("{other:?} in {what}"),
    };
    assert_eq!(answer.status, status, "{what}: {}", answer.text());
    // An account that is inactive has proved itself, and another try would not help.
    let challenged = status == 401 && !is_list && who != "inactive";
    assert_eq!(
        answer.header("www-authenticate"),
        challenged.then_some(CHALLENGE),
        "{what}"
    );
}
