//! What the management API says about input that it cannot use: the field, the limit, the value, and what to do.

use serde_json::{Value, json};

use crate::support::{Daemon, Request, Setup};

/// Status and message of a call of the admin's.
fn said(daemon: &Daemon, method: &str, path: &str, body: &Value) -> (u16, String) {
    let answer = daemon.as_admin(Request::new(method, path).json(body));
    let message = answer.json()["message"].as_str().unwrap_or_default().to_owned();
    (answer.status, message)
}

#[test]
fn types_are_named_in_the_words_of_json() {
    let daemon = Setup::default().start();
    daemon.create_user("ann", "ann's password", "public");
    let (users, user) = ("/api/v1/admin/users", "/api/v1/admin/users/ann");
    let (owner, rules) = ("/api/v1/admin/owners/ann", "/api/v1/admin/owners/ann/retention");
    for (method, path, body, message) in [
        ("POST", users, json!({"username": "x"}), "password is missing"),
        (
            "POST",
            users,
            json!({"username": ["x"], "password": "secret"}),
            "username must be a string, not an array",
        ),
        (
            "POST",
            users,
            json!({"username": "x", "password": 1234567890}),
            "password must be a string, not a number",
        ),
        (
            "PATCH",
            user,
            json!({"active": "yes"}),
            "active must be true or false, not a string",
        ),
        (
            "PUT",
            rules,
            json!({"rules": 5}),
            "rules must be an array, not a number",
        ),
        (
            "PUT",
            rules,
            json!({"rules": ["x"]}),
            "rules[0] must be an object, not a string",
        ),
        (
            "PUT",
            rules,
            json!({"rules": [{"keep_newest": 4294967296_u64}]}),
            "rules[0].keep_newest must be a whole number from 0 to 4294967295, not 4294967296",
        ),
        (
            "PUT",
            rules,
            json!({"rules": [{"packages": "a["}]}),
            "rules[0].packages: bad pattern \"a[\": unclosed character class; missing ']'",
        ),
        (
            "PATCH",
            owner,
            json!({"policies": {}}),
            "policies must be an array, not an object",
        ),
        (
            "PATCH",
            owner,
            json!({"policies": [[]]}),
            "policies[0] must be an object, not an array",
        ),
        (
            "POST",
            "/api/v1/users/ann/tokens",
            json!({"name": "t", "scopes": ["all"], "grants": [{"packages": "a/b", "permission": "own"}]}),
            "grants[0].permission must be read or write, not \"own\"",
        ),
    ] {
        assert_eq!(
            said(&daemon, method, path, &body),
            (422, message.to_owned()),
            "{body}"
        );
    }
    let token =
        json!({"name": "t", "scopes": ["all"], "grants": [{"packages": "a/[", "permission": "read"}]});
    let (status, message) = said(&daemon, "POST", "/api/v1/users/ann/tokens", &token);
    assert!(
        status == 400 && message.starts_with("grants[0].packages: bad pattern \"a/[\""),
        "{status} {message}"
    );
}

#[test]
fn limits_are_named_with_the_value_but_a_password_only_with_its_length() {
    let daemon = Setup::default().start();
    daemon.create_user("ann", "ann's password", "public");
    let password = "long enough";
    let user = |name: &str, password: &str, email: &str| {
        let fields = json!({"username": name, "password": password, "email": email});
        said(&daemon, "POST", "/api/v1/admin/users", &fields)
    };
    for (given, message) in [
        (
            user(&"x".repeat(41), password, ""),
            "an account name has 1 to 40 characters, not 41",
        ),
        (
            user("a b", password, ""),
            "an account name is made of letters and digits, with single '-', '_' or '.' between them, unlike \"a b\"",
        ),
        (
            user("api", password, ""),
            "the account name \"api\" is reserved for the server's own pages: take another",
        ),
        (
            user("bob", "sesame", ""),
            "a password needs at least 8 characters, not 6: take a longer one",
        ),
        (
            user("bob", &"x".repeat(300), ""),
            "a password has at most 256 characters, not 300: take a shorter one",
        ),
        (
            user("bob", &"x".repeat(5000), ""),
            "a password has at most 256 characters, not more than 1000: take a shorter one",
        ),
        (
            user("bob", password, "not-an-email"),
            "an e-mail address is written name@domain in ASCII, without spaces, unlike \"not-an-email\"",
        ),
        (
            user("bob", password, &format!("a@{}", "b".repeat(253))),
            "an e-mail address has at most 254 bytes, not 255",
        ),
        (
            said(
                &daemon,
                "PATCH",
                "/api/v1/admin/users/ann",
                &json!({"email": "nobody"}),
            ),
            "an e-mail address is written name@domain in ASCII, without spaces, unlike \"nobody\"",
        ),
        (
            said(
                &daemon,
                "POST",
                "/api/v1/users/ann/tokens",
                &json!({"name": "x".repeat(256), "scopes": ["all"]}),
            ),
            "a token name has 1 to 255 bytes, not 256",
        ),
    ] {
        assert_eq!(given, (422, message.to_owned()));
    }
}

#[test]
fn a_compressed_body_is_refused_as_such() {
    let daemon = Setup::default().start();
    let fields = json!({"username": "ann", "password": "ann's password"});
    let post = || Request::new("POST", "/api/v1/admin/users").json(&fields);
    for encoding in ["gzip", "br", "identity, gzip"] {
        let refused = daemon.as_admin(post().header("Content-Encoding", encoding));
        assert_eq!(
            (refused.status, refused.header("accept-encoding")),
            (415, Some("identity"))
        );
        let message = refused.json()["message"].as_str().unwrap().to_owned();
        assert!(
            message.contains(&format!("{encoding:?}")) && message.contains("send the JSON as it is"),
            "{message}"
        );
    }
    let preview = Request::new("POST", "/api/v1/admin/owners/admin/retention/preview").body("");
    assert_eq!(
        daemon.as_admin(preview.header("Content-Encoding", "gzip")).status,
        415
    );
    assert_eq!(
        daemon
            .as_admin(post().header("Content-Encoding", "Identity"))
            .status,
        201
    );
}
