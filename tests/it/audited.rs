//! What the audit log says about accounts, tokens and settings: what was created, and which fields were set.

use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::{Value, json};

use crate::audit::{event, events, setup};
use crate::support::{Daemon, PATIENCE, Request, within};

const SECRET: &str = "a password of mine";

/// Sends a call as the admin and shows the line about it: status, target without its id, names of fields.
fn line(daemon: &Daemon, method: &'static str, path: &str, body: Value) -> (Value, Value, Value) {
    static CALLS: AtomicUsize = AtomicUsize::new(0);
    let id = format!("call-{}", CALLS.fetch_add(1, Ordering::Relaxed));
    let request = Request::new(method, path).header("X-Request-Id", id.as_str());
    let answer = daemon.as_admin(request.json(&body));
    // By its id: lines of others about the same path may come later than they were answered.
    let mut seen = None;
    within(PATIENCE, || {
        seen = events(daemon).into_iter().find(|event| event["request_id"] == id);
        seen.is_some()
    });
    let seen = seen.unwrap_or_else(|| panic!("no line of {method} {path}: {}", answer.text()));
    assert_eq!(
        (&seen["action"], &seen["object"]),
        (&json!("admin"), &json!(path))
    );
    (
        seen["status"].clone(),
        seen["target"].clone(),
        seen["changed"].clone(),
    )
}

#[test]
fn what_was_created_is_named() {
    let daemon = setup("").start();
    let user = json!({"username": "ann", "password": SECRET});
    let (status, target, changed) = line(&daemon, "POST", "/api/v1/admin/users", user.clone());
    let known = daemon.get("/api/v1/admin/users?limit=50").json();
    let ann = known
        .as_array()
        .unwrap()
        .iter()
        .find(|user| user["login"] == "ann")
        .unwrap();
    assert_eq!(
        (status, target, changed),
        (
            json!(201),
            json!({"kind": "user", "name": "ann", "id": ann["id"]}),
            Value::Null
        )
    );
    // What was not created has no id.
    let (status, target, _) = line(&daemon, "POST", "/api/v1/admin/users", user);
    assert_eq!(
        (status, target),
        (json!(422), json!({"kind": "user", "name": "ann"}))
    );

    let (status, target, _) = line(&daemon, "POST", "/api/v1/orgs", json!({"username": "tools"}));
    let id = daemon.get("/api/v1/orgs/tools").json()["id"].clone();
    assert_eq!(
        (status, target),
        (
            json!(201),
            json!({"kind": "organisation", "name": "tools", "id": id})
        )
    );

    let token = json!({"name": "ci", "scopes": ["write:package"]});
    let (status, target, _) = line(&daemon, "POST", "/api/v1/users/ann/tokens", token);
    let known = daemon.get("/api/v1/users/ann/tokens").json()[0].clone();
    let expected = json!({"kind": "token", "name": "ci", "id": known["id"]});
    assert_eq!((status, target), (json!(201), expected.clone()));
    // Its path says only what was asked for.
    let path = format!("/api/v1/users/ann/tokens/{}", known["id"]);
    let (status, target, _) = line(&daemon, "DELETE", &path, json!({}));
    assert_eq!((status, target), (json!(204), expected));
    let text = json!(events(&daemon)).to_string();
    assert!(!text.contains(SECRET) && !text.contains(known["token_last_eight"].as_str().unwrap()));
}

#[test]
fn the_fields_that_were_set_are_named_without_their_values() {
    let daemon = setup("").start();
    daemon.create_user("ann", "ann's password", "public");
    let org = Request::new("POST", "/api/v1/orgs").json(&json!({"username": "tools"}));
    assert_eq!(daemon.as_admin(org).status, 201);
    for (method, path, body, status, fields) in [
        (
            "PATCH",
            "/api/v1/admin/users/ann",
            json!({"password": SECRET, "active": true, "email": null, "full_name": "Ann"}),
            200,
            json!(["password", "active"]),
        ),
        (
            "PATCH",
            "/api/v1/orgs/tools",
            json!({"visibility": "private"}),
            200,
            json!(["visibility"]),
        ),
        (
            "PUT",
            "/api/v1/orgs/tools/members/ann",
            json!({"permission": "write"}),
            204,
            json!(["permission"]),
        ),
        (
            "PATCH",
            "/api/v1/admin/owners/ann",
            json!({"max_bytes": 4096, "policy": null}),
            200,
            json!(["policy", "max_bytes"]),
        ),
        (
            "PUT",
            "/api/v1/admin/owners/ann/retention",
            json!({"rules": []}),
            200,
            json!(["rules"]),
        ),
        // A refused change is one that was tried.
        (
            "PATCH",
            "/api/v1/admin/users/ann",
            json!({"password": "short"}),
            422,
            json!(["password"]),
        ),
    ] {
        let (answered, _, changed) = line(&daemon, method, path, body);
        assert_eq!((answered, changed), (json!(status), fields), "{method} {path}");
    }
    let text = json!(events(&daemon)).to_string();
    assert!(!text.contains(SECRET) && !text.contains("4096"));
}

#[test]
fn the_command_line_says_as_much() {
    let daemon = setup("").start();
    let run = |arguments: &[&str], stdin: &str| {
        let done = daemon.run(arguments, stdin);
        assert!(done.status.success(), "{arguments:?}: {done:?}");
    };
    run(&["account", "organisation", "create", "tools"], "");
    run(
        &["account", "create", "ann", "--member", "tools=write"],
        &format!("{SECRET}\n"),
    );
    let created = event(&daemon, "account.create", "ann");
    let id = created["target"]["id"].clone();
    assert_eq!(
        created["target"],
        json!({"kind": "user", "name": "ann", "id": id})
    );
    assert!(id.is_u64());
    event(&daemon, "member.put", "tools/ann");
    run(
        &[
            "account",
            "edit",
            "ann",
            "--email",
            "ann@example.org",
            "--admin",
            "true",
        ],
        "",
    );
    let edited = event(&daemon, "account.edit", "ann");
    assert_eq!(
        (&edited["changed"], &edited["target"]["id"]),
        (&json!(["email", "admin"]), &id)
    );
    run(&["account", "password", "ann"], &format!("{SECRET} 2\n"));
    assert_eq!(
        event(&daemon, "account.password", "ann")["changed"],
        json!(["password"])
    );

    run(&["account", "token", "create", "ann", "ci", "--scope", "all"], "");
    let token = daemon.get("/api/v1/users/ann/tokens").json()[0]["id"].clone();
    let target = json!({"kind": "token", "name": "ci", "id": token});
    assert_eq!(event(&daemon, "token.create", "ann/ci")["target"], target);
    run(&["account", "token", "revoke", "ann", &token.to_string()], "");
    assert_eq!(event(&daemon, "token.revoke", "ann")["target"], target);
    let text = json!(events(&daemon)).to_string();
    assert!(!text.contains(SECRET) && !text.contains("ann@example.org"));
}
