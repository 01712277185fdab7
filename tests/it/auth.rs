//! Who may do what: every form of credentials, the table of refusals, visibility (API.md §2).

use serde_json::json;

use crate::support::{ADMIN_PASSWORD, Daemon, Request, Response, Setup, basic, bearer, file_path};

const CHALLENGE: &str = "Basic realm=\"Larder Package API\"";
const PASSWORDS: [(&str, &str, &str); 3] = [
    ("alice", "alice's password", "public"),
    ("limes", "limes's password", "limited"),
    ("priya", "priya's password", "private"),
];

/// A daemon with one user for each visibility, each with one published file `tool/1/f`.
fn daemon() -> Daemon {
    let daemon = Setup::default().start();
    for (name, password, visibility) in PASSWORDS {
        daemon.create_user(name, password, visibility);
        assert_eq!(daemon.put(&file_path(name, "tool", "1", "f"), name), 201);
    }
    daemon
}

fn read(owner: &str) -> Request {
    Request::get(&file_path(owner, "tool", "1", "f"))
}

fn write(owner: &str, version: &str) -> Request {
    Request::put(&file_path(owner, "tool", version, "f"), "x")
}

#[track_caller]
fn assert_refused(answer: &Response, status: u16, challenged: bool, what: &str) {
    assert_eq!(answer.status, status, "{what}: {}", answer.text());
    let expected = challenged.then_some(CHALLENGE);
    assert_eq!(
        answer.header("www-authenticate"),
        expected,
        "{what}: WWW-Authenticate"
    );
}

#[test]
fn all_forms_of_credentials_are_equal() {
    let daemon = daemon();
    let token = daemon.create_token("priya", &["write:package"]);
    #[rustfmt::skip]
    let forms: [(&str, Option<String>, String); 13] = [
        ("user and password", Some(basic("priya", "priya's password")), String::new()),
        ("token as password", Some(basic("anything", &token)), String::new()),
        ("token as password of the user", Some(basic("priya", &token)), String::new()),
        ("token as user", Some(basic(&token, "")), String::new()),
        ("token as user, x-oauth-basic", Some(basic(&token, "x-oauth-basic")), String::new()),
        ("token scheme", Some(format!("token {token}")), String::new()),
        ("bearer scheme", Some(format!("Bearer {token}")), String::new()),
        ("bearer in lower case", Some(format!("bearer {token}")), String::new()),
        ("token in upper case", Some(format!("TOKEN {token}")), String::new()),
        ("basic in upper case", Some(basic("priya", &token).replacen("Basic", "BASIC", 1)), String::new()),
        ("query token", None, format!("?token={token}")),
        ("query access_token", None, format!("?access_token={token}")),
        ("a query beats the header", Some(bearer("lrd_wrong")), format!("?token={token}")),
    ];
    for (number, (what, header, query)) in forms.iter().enumerate() {
        let target = format!("{}{query}", file_path("priya", "forms", &number.to_string(), "f"));
        let with = |request: Request| match header {
            Some(value) => request.header("Authorization", value.as_str()),
            None => request,
        };
        let put = daemon.send(&with(Request::put(&target, *what)));
        assert_eq!(put.status, 201, "PUT with {what}: {}", put.text());
        let get = daemon.send(&with(Request::get(&target)));
        assert_eq!((get.status, get.text().as_str()), (200, *what), "GET with {what}");
        let delete = daemon.send(&with(Request::delete(&target)));
        assert_eq!(delete.status, 204, "DELETE with {what}: {}", delete.text());
    }
}

#[test]
fn wrong_credentials_are_401_without_a_challenge_even_on_public_files() {
    let daemon = daemon();
    let token = daemon.create_token("alice", &["read:package"]);
    let mut altered = token.clone();
    let last = altered.pop().unwrap();
    altered.push(if last == 'a' { 'b' } else { 'a' });
    let wrong = [
        basic("alice", "not her password"),
        basic("nobody", "any password"),
        basic("alice", ""),
        bearer(&altered),
        bearer("0123456789abcdef0123456789abcdef01234567"),
        bearer(""),
        format!("Bearer {token} {token}"),
        "Basic !!!not base64!!!".to_owned(),
        "Basic".to_owned(),
        format!("Digest {token}"),
    ];
    for value in &wrong {
        let answer = daemon.send(&read("alice").header("Authorization", value.as_str()));
        assert_refused(&answer, 401, false, value);
    }
    for query in ["?token=lrd_wrong", "?access_token=lrd_wrong"] {
        let target = format!("{}{query}", file_path("alice", "tool", "1", "f"));
        assert_refused(&daemon.send(&Request::get(&target)), 401, false, query);
        let both = Request::get(&target).header("Authorization", bearer(&token));
        assert_refused(
            &daemon.send(&both),
            401,
            false,
            "a wrong query beats a right header",
        );
    }
    assert_eq!(
        daemon
            .send(&read("alice").header("Authorization", bearer(&token)))
            .status,
        200
    );
    assert_eq!(daemon.send(&read("alice")).status, 200);
}

#[test]
fn visibility_decides_who_reads_and_nobody_else_writes() {
    let daemon = daemon();
    daemon.create_user("stranger", "stranger's password", "public");
    let mut callers = vec![("anonymous", None), ("admin", Some(bearer(daemon.admin_token())))];
    for name in ["stranger", "alice", "limes", "priya"] {
        callers.push((name, Some(bearer(&daemon.create_token(name, &["write:package"])))));
    }
    for (caller, credentials) in &callers {
        for (owner, _, visibility) in PASSWORDS {
            let with = |request: Request| match credentials {
                Some(value) => daemon.send(&request.header("Authorization", value.as_str())),
                None => daemon.send(&request),
            };
            let master = *caller == owner || *caller == "admin";
            let reads =
                master || visibility == "public" || (visibility == "limited" && *caller != "anonymous");
            let what = format!("{caller} at {owner} ({visibility})");
            for (request, hit) in [
                (read(owner), 200),
                (Request::get(&file_path(owner, "none", "1", "f")), 404),
            ] {
                let answer = with(request);
                match reads {
                    true => assert_eq!(answer.status, hit, "{what} reads: {}", answer.text()),
                    false => assert_refused(&answer, 401, true, &what),
                }
            }
            let version = format!("by-{caller}");
            let target = file_path(owner, "tool", &version, "f");
            for (request, success) in [(write(owner, &version), 201), (Request::delete(&target), 204)] {
                let answer = with(request);
                match master {
                    true => assert_eq!(answer.status, success, "{what} writes: {}", answer.text()),
                    false => assert_refused(&answer, 401, true, &what),
                }
            }
            assert_eq!(daemon.get(&target).status, 404, "{what}: nothing may remain");
        }
    }
}

#[test]
fn an_unknown_owner_is_404_for_everybody() {
    let daemon = daemon();
    for request in [
        read("nobody"),
        write("nobody", "1"),
        Request::delete(&file_path("nobody", "tool", "1", "f")),
    ] {
        assert_eq!(daemon.send(&request).status, 404, "{request:?}");
        assert_eq!(daemon.as_admin(request.clone()).status, 404, "{request:?}");
    }
}

#[test]
fn scopes_limit_what_a_token_may_do() {
    let daemon = daemon();
    // Scopes of alice's token, then what reading and writing her public packages gives.
    let table: [(&[&str], u16, u16); 6] = [
        (&["read:package"], 200, 401),
        (&["write:package"], 200, 201),
        (&["all"], 200, 201),
        (&["read:package", "write:package"], 200, 201),
        (&["admin"], 401, 401),
        (&["read:package", "public-only"], 200, 401),
    ];
    for (number, (scopes, reads, writes)) in table.iter().enumerate() {
        let credentials = bearer(&daemon.create_token("alice", scopes));
        let get = daemon.send(&read("alice").header("Authorization", credentials.as_str()));
        let version = format!("scope-{number}");
        let put = daemon.send(&write("alice", &version).header("Authorization", credentials.as_str()));
        for (answer, status, verb) in [(get, *reads, "read"), (put, *writes, "write")] {
            let what = format!("{scopes:?} {verb}");
            match status {
                401 => assert_refused(&answer, 401, true, &what),
                _ => assert_eq!(answer.status, status, "{what}: {}", answer.text()),
            }
        }
    }
}

#[test]
fn public_only_tokens_are_403_on_owners_that_are_not_public() {
    let daemon = daemon();
    for (owner, _, visibility) in PASSWORDS {
        let token = bearer(&daemon.create_token(owner, &["write:package", "public-only"]));
        let get = daemon.send(&read(owner).header("Authorization", token.as_str()));
        let put = daemon.send(&write(owner, "2").header("Authorization", token.as_str()));
        let expected = if visibility == "public" {
            (200, 201)
        } else {
            (403, 403)
        };
        assert_eq!(
            (get.status, put.status),
            expected,
            "{owner} ({visibility}): {}",
            get.text()
        );
    }
}

#[test]
fn an_inactive_account_is_401_everywhere_but_its_packages_stay_readable() {
    let daemon = daemon();
    daemon.create_user_with(json!({
        "username": "gone", "password": "password of gone", "visibility": "public", "active": false,
    }));
    let token = daemon.create_token("gone", &["all"]);
    assert_eq!(daemon.as_admin(write("gone", "1")).status, 201);
    for credentials in [basic("gone", "password of gone"), bearer(&token)] {
        for request in [read("gone"), write("gone", "2"), read("alice")] {
            let answer = daemon.send(&request.header("Authorization", credentials.as_str()));
            assert_eq!(answer.status, 401, "{}", answer.text());
        }
        let body = json!({"name": "more", "scopes": ["all"]});
        let request = Request::new("POST", "/api/v1/users/gone/tokens").json(&body);
        assert_eq!(
            daemon
                .send(&request.header("Authorization", credentials.as_str()))
                .status,
            403
        );
    }
    assert_eq!(daemon.send(&read("gone")).text(), "x");
}

#[test]
fn secrets_do_not_reach_the_log() {
    let daemon = Setup::default().config("[log]\nlevel = \"trace\"\n").start();
    daemon.create_user("alice", "alice's password", "public");
    let token = daemon.create_token("alice", &["all"]);
    let query = format!("{}?token={token}", file_path("alice", "tool", "1", "f"));
    let encoded = basic("alice", "alice's password");
    #[rustfmt::skip]
    let answers = [
        daemon.send(&Request::put(&query, "contents of the artifact")).status,
        daemon.send(&Request::get(&query)).status,
        daemon.send(&write("alice", "2").header("Authorization", encoded.as_str())).status,
        daemon.send(&write("alice", "2").header("Authorization", bearer(&token))).status,
        daemon.send(&read("alice").header("Authorization", basic("alice", "a mistyped password"))).status,
    ];
    assert_eq!(answers, [201, 200, 201, 400, 401]);
    let log = daemon.stderr();
    #[rustfmt::skip]
    let secrets = [
        token.as_str(), "alice's password", "a mistyped password", &encoded[6..], ADMIN_PASSWORD,
        daemon.admin_token(), "contents of the artifact",
    ];
    for secret in secrets {
        assert!(!log.contains(secret), "{secret:?} is in the log:\n{log}");
    }
}
