//! Accounts and tokens through the management API (API.md §2 and §6).

use serde_json::json;

use crate::support::{ADMIN_PASSWORD, Daemon, Request, Setup, basic, bearer, file_path};

/// A daemon with two users.
fn daemon() -> Daemon {
    let daemon = Setup::default().start();
    for name in ["alice", "priya"] {
        daemon.create_user(name, &format!("{name}'s password"), "public");
    }
    daemon
}

fn write(owner: &str, version: &str) -> Request {
    Request::put(&file_path(owner, "tool", version, "f"), "x")
}

#[test]
fn the_management_api_has_its_own_statuses() {
    let daemon = daemon();
    let new_user = |name: &str| {
        let fields = json!({"username": name, "password": "a long password"});
        Request::new("POST", "/api/v1/admin/users").json(&fields)
    };
    let anonymous = daemon.send(&new_user("one"));
    assert_eq!(anonymous.status, 401);
    assert_eq!(anonymous.json()["message"], json!("token is required"));
    assert!(anonymous.json()["url"].is_string(), "{}", anonymous.text());
    #[rustfmt::skip]
    let callers = [
        ("a wrong token", bearer("lrd_wrong"), 401),
        ("a user's password", basic("alice", "alice's password"), 403),
        ("a user's token", bearer(&daemon.create_token("alice", &["all"])), 403),
        ("a user's admin scope", bearer(&daemon.create_token("alice", &["admin"])), 403),
        ("the admin's package token", bearer(&daemon.create_token("admin", &["write:package"])), 403),
        ("the admin's admin token", bearer(&daemon.create_token("admin", &["admin"])), 201),
        ("the admin's password", basic("admin", ADMIN_PASSWORD), 201),
    ];
    for (number, (what, credentials, status)) in callers.iter().enumerate() {
        let answer =
            daemon.send(&new_user(&format!("user{number}")).header("Authorization", credentials.as_str()));
        assert_eq!(answer.status, *status, "{what}: {}", answer.text());
        if *status != 201 {
            assert!(answer.json()["message"].is_string(), "{what}: {}", answer.text());
        }
        let lookup = daemon.get(&file_path(&format!("user{number}"), "none", "1", "f"));
        let exists = lookup.text() == "package does not exist";
        assert_eq!(exists, *status == 201, "{what}: the account");
    }
}

#[test]
fn accounts_are_checked_when_created() {
    let daemon = daemon();
    let create = |fields: serde_json::Value| {
        daemon.as_admin(Request::new("POST", "/api/v1/admin/users").json(&fields))
    };
    for name in ["alice", "ALICE", "admin"] {
        let taken = create(json!({"username": name, "password": "a long password"}));
        assert_eq!(taken.status, 422, "{name}: {}", taken.text());
    }
    for password in ["seven77", &"x".repeat(257)] {
        let refused = create(json!({"username": "fresh", "password": password}));
        assert!(
            matches!(refused.status, 400 | 422),
            "{} characters: {}",
            password.len(),
            refused.status
        );
    }
    let rest = [
        json!({"username": "", "password": "a long password"}),
        json!({"username": "with space", "password": "a long password"}),
        json!({"username": "a/b", "password": "a long password"}),
        json!({"username": "fresh"}),
        json!({"username": "fresh", "password": "a long password", "visibility": "secret"}),
        json!({"username": 5, "password": "a long password"}),
        json!([]),
    ];
    for fields in rest {
        let refused = create(fields.clone());
        assert!(
            matches!(refused.status, 400 | 422),
            "{fields}: {} {}",
            refused.status,
            refused.text()
        );
    }
    let torn = Request::new("POST", "/api/v1/admin/users").body("{\"username\": ");
    let torn = daemon.as_admin(torn.header("Content-Type", "application/json"));
    assert!(matches!(torn.status, 400 | 422), "torn JSON: {}", torn.status);

    let accepted = create(json!({
        "username": "fresh", "password": "8 bytes!", "email": "f@example.org", "must_change_password": true,
        "send_notify": false, "full_name": "Fresh", "login_name": "fresh", "source_id": 0,
    }));
    assert_eq!(accepted.status, 201, "{}", accepted.text());
    assert_eq!(accepted.json()["login"], json!("fresh"));
    assert!(
        !accepted.text().contains("8 bytes!"),
        "the password is not repeated"
    );
    assert_eq!(
        create(json!({"username": "longest", "password": "x".repeat(256)})).status,
        201
    );
    let put = write("fresh", "1").header("Authorization", basic("fresh", "8 bytes!"));
    assert_eq!(daemon.send(&put).status, 201);
}

#[test]
fn tokens_are_created_by_their_user_or_an_admin_and_shown_once() {
    let daemon = daemon();
    let create = |fields: serde_json::Value, credentials: &str| {
        let request = Request::new("POST", "/api/v1/users/alice/tokens").json(&fields);
        daemon.send(&request.header("Authorization", credentials))
    };
    let alice = basic("alice", "alice's password");
    let made = create(json!({"name": "ci", "scopes": ["write:package"]}), &alice);
    assert_eq!(made.status, 201, "{}", made.text());
    let secret = made.json()["sha1"].as_str().unwrap().to_owned();
    assert!(secret.starts_with("lrd_") && secret.len() == 44, "{secret}");
    assert!(
        secret[4..].bytes().all(|byte| byte.is_ascii_alphanumeric()),
        "{secret}"
    );
    assert_eq!(made.json()["name"], json!("ci"));

    #[rustfmt::skip]
    let rows = [
        ("a taken name", json!({"name": "ci", "scopes": ["read:package"]}), alice.clone(), 400),
        ("no scopes", json!({"name": "a"}), alice.clone(), 400),
        ("empty scopes", json!({"name": "b", "scopes": []}), alice.clone(), 400),
        ("an unknown scope", json!({"name": "c", "scopes": ["read:everything"]}), alice.clone(), 400),
        ("another user", json!({"name": "d", "scopes": ["all"]}), basic("priya", "priya's password"), 403),
        ("an admin", json!({"name": "e", "scopes": ["all"]}), bearer(daemon.admin_token()), 201),
    ];
    for (what, fields, credentials, status) in rows {
        let answer = create(fields, &credentials);
        assert_eq!(answer.status, status, "{what}: {}", answer.text());
    }
    let unknown =
        Request::new("POST", "/api/v1/users/nobody/tokens").json(&json!({"name": "x", "scopes": ["all"]}));
    assert_eq!(daemon.as_admin(unknown).status, 404);
    assert_eq!(
        daemon
            .send(&write("alice", "2").header("Authorization", bearer(&secret)))
            .status,
        201
    );
}

#[test]
fn the_last_use_of_a_token_is_shown_and_survives_a_restart() {
    let mut daemon = daemon();
    let token = daemon.create_token("alice", &["write:package"]);
    let shown = |daemon: &Daemon| daemon.get("/api/v1/users/alice/tokens").json()[0]["last_used_at"].clone();
    assert_eq!(shown(&daemon), json!(null));
    let put = write("alice", "1").header("Authorization", bearer(&token));
    assert_eq!(daemon.send(&put).status, 201);
    let used = shown(&daemon);
    assert!(used.is_string(), "{used}");
    daemon.terminate();
    daemon.start();
    assert_eq!(shown(&daemon), used);
    let rebuilt = {
        daemon.terminate();
        daemon.run(&["rebuild-index"], "")
    };
    assert!(rebuilt.status.success(), "{rebuilt:?}");
    daemon.start();
    assert_eq!(shown(&daemon), used, "it is in the log");
    let revoked = daemon.as_admin(Request::delete(
        "/api/v1/users/alice/tokens/token%20write:package",
    ));
    assert_eq!(revoked.status, 204, "{}", revoked.text());
    let put = write("alice", "2").header("Authorization", bearer(&token));
    assert_eq!(daemon.send(&put).status, 401);
}

#[test]
fn users_tokens_and_members_come_in_pages() {
    let daemon = daemon();
    let as_admin = |method: &str, path: &str, fields: serde_json::Value| {
        let made = daemon.as_admin(Request::new(method, path).json(&fields));
        assert!(matches!(made.status, 200 | 201 | 204), "{path}: {}", made.text());
    };
    as_admin("POST", "/api/v1/orgs", json!({"username": "crew"}));
    for number in 0..55 {
        let user = format!("user{number:02}");
        as_admin(
            "POST",
            "/api/v1/admin/users",
            json!({"username": user, "password": "a long password"}),
        );
        as_admin(
            "PUT",
            &format!("/api/v1/orgs/crew/members/{user}"),
            json!({"permission": "read"}),
        );
        let token = json!({"name": format!("t{number}"), "scopes": ["read:package"]});
        as_admin("POST", "/api/v1/users/user00/tokens", token);
    }
    for list in [
        "/api/v1/admin/users",
        "/api/v1/orgs/crew/members",
        "/api/v1/users/user00/tokens",
    ] {
        let get = |query: &str| daemon.as_admin(Request::get(&format!("{list}{query}")));
        let total: usize = get("").header("x-total-count").unwrap().parse().unwrap();
        assert!(total >= 55, "{list}: {total}");
        let len = |query: &str| get(query).json().as_array().unwrap().len();
        let last = total.div_ceil(20);
        assert_eq!(
            (
                len(""),
                len("?limit=1000"),
                len("?limit=20&page=2"),
                len("?page=9")
            ),
            (30, 50, 20, 0),
            "{list}"
        );
        assert_eq!(
            len(&format!("?limit=20&page={last}")),
            total - 20 * (last - 1),
            "{list}"
        );
        let second = get("?limit=20&page=2");
        let links = second.header("link").unwrap();
        for part in [
            "page=3&limit=20>; rel=\"next\"",
            &format!("page={last}&limit=20>; rel=\"last\""),
            "page=1&limit=20>; rel=\"prev\"",
        ] {
            assert!(links.contains(part), "{list}: {links}");
        }
        assert_ne!(second.json(), get("?limit=20").json(), "{list}");
        assert_eq!(get("?page=one").status, 422, "{list}");
    }
}

#[test]
fn a_permission_of_the_wrong_type_is_422_and_named() {
    let daemon = Setup::default().start();
    daemon.create_user("bob", "a password", "public");
    let tools = json!({"username": "tools"});
    assert_eq!(
        daemon
            .as_admin(Request::new("POST", "/api/v1/orgs").json(&tools))
            .status,
        201
    );
    for wrong in [
        json!(null),
        json!(1),
        json!(["read"]),
        json!({"read": null}),
        json!("own"),
    ] {
        let member =
            Request::new("PUT", "/api/v1/orgs/tools/members/bob").json(&json!({"permission": wrong}));
        let grant = json!({
            "name": "ci", "scopes": ["all"], "grants": [{"packages": "tools/*", "permission": wrong}],
        });
        let token = Request::new("POST", "/api/v1/users/bob/tokens").json(&grant);
        for (asked, field) in [
            (member, "permission must be "),
            (token, "grants[0].permission must be "),
        ] {
            let refused = daemon.as_admin(asked);
            assert_eq!(refused.status, 422, "{wrong}: {}", refused.text());
            let message = refused.json()["message"].to_string();
            assert!(message.contains(field), "{wrong}: {message}");
        }
    }
}

#[test]
fn a_broken_escape_is_refused_in_the_shape_of_the_management_api() {
    let daemon = Setup::default().start();
    for target in ["/api/v1/packages/%zz", "//api/v1//admin/users/a%2", "/api/v1/%"] {
        let refused = daemon.as_admin(Request::get(target));
        assert_eq!(refused.status, 400, "{target}: {}", refused.text());
        assert!(
            refused.json()["message"].is_string(),
            "{target}: {}",
            refused.text()
        );
    }
}
