//! Organisations, their members, narrowed tokens, and accounts that change and go (API.md §2 and §6).

use serde_json::{Value, json};

use crate::support::{Daemon, PATIENCE, Request, Setup, basic, bearer, file_path, within};

fn daemon() -> Daemon {
    let daemon = Setup::default().start();
    for name in ["alice", "bob"] {
        daemon.create_user(name, &password(name), "public");
    }
    daemon
}

fn password(name: &str) -> String {
    format!("{name}'s password")
}

fn as_user(daemon: &Daemon, name: &str, request: Request) -> u16 {
    let request = request.header("Authorization", basic(name, &password(name)));
    daemon.send(&request).status
}

fn organisation(daemon: &Daemon, name: &str, visibility: &str) {
    let fields = json!({"username": name, "visibility": visibility});
    let created = daemon.as_admin(Request::new("POST", "/api/v1/orgs").json(&fields));
    assert_eq!(created.status, 201, "{}", created.text());
}

fn member(organisation: &str, user: &str, permission: &str) -> Request {
    let path = format!("/api/v1/orgs/{organisation}/members/{user}");
    Request::new("PUT", &path).json(&json!({"permission": permission}))
}

fn narrowed(daemon: &Daemon, user: &str, name: &str, fields: Value) -> String {
    let mut token = json!({"name": name, "scopes": ["all"]});
    token
        .as_object_mut()
        .unwrap()
        .extend(fields.as_object().unwrap().clone());
    let path = format!("/api/v1/users/{user}/tokens");
    let created = daemon.as_admin(Request::new("POST", &path).json(&token));
    assert_eq!(created.status, 201, "{}", created.text());
    created.json()["sha1"].as_str().unwrap().to_owned()
}

#[test]
fn members_may_do_what_they_are_permitted() {
    let mut daemon = daemon();
    organisation(&daemon, "tools", "private");
    let file = |version: &str| file_path("tools", "app", version, "f");
    let put =
        |daemon: &Daemon, user: &str, version: &str| as_user(daemon, user, Request::put(&file(version), "x"));
    assert_eq!(daemon.put(&file("1"), "x"), 201);
    assert_eq!(as_user(&daemon, "bob", Request::get(&file("1"))), 401);
    for (permission, read, write) in [("read", 200, 401), ("write", 200, 201), ("admin", 200, 201)] {
        assert_eq!(daemon.as_admin(member("tools", "bob", permission)).status, 204);
        assert_eq!(
            as_user(&daemon, "bob", Request::get(&file("1"))),
            read,
            "{permission}"
        );
        assert_eq!(put(&daemon, "bob", permission), write, "{permission}");
    }
    // An admin of the organisation manages it; others do not.
    assert_eq!(as_user(&daemon, "bob", member("tools", "alice", "read")), 204);
    assert_eq!(as_user(&daemon, "alice", member("tools", "alice", "admin")), 403);
    assert_eq!(as_user(&daemon, "alice", Request::get(&file("1"))), 200);
    daemon.kill9();
    daemon.start();
    assert_eq!(as_user(&daemon, "alice", Request::get(&file("1"))), 200);
    let gone = Request::delete("/api/v1/orgs/tools/members/alice");
    assert_eq!(as_user(&daemon, "bob", gone), 204);
    assert_eq!(as_user(&daemon, "alice", Request::get(&file("1"))), 401);
    let gone = Request::delete("/api/v1/orgs/tools/members/alice");
    assert_eq!(as_user(&daemon, "bob", gone), 404);
}

#[test]
fn a_member_may_leave_but_take_nobody_along() {
    let daemon = daemon();
    organisation(&daemon, "tools", "private");
    let leave = |name: &str| Request::delete(&format!("/api/v1/orgs/tools/members/{name}"));
    for name in ["alice", "bob"] {
        assert_eq!(daemon.as_admin(member("tools", name, "write")).status, 204);
    }
    assert_eq!(as_user(&daemon, "alice", leave("bob")), 403);
    let narrow = narrowed(&daemon, "alice", "narrow", json!({"scopes": ["write:package"]}));
    let refused = leave("alice").header("Authorization", bearer(&narrow));
    assert_eq!(daemon.send(&refused).status, 403);
    assert_eq!(as_user(&daemon, "alice", leave("Alice")), 204);
    // Whoever is out does not see a private organisation any more.
    assert_eq!(as_user(&daemon, "alice", leave("alice")), 404);
    assert_eq!(as_user(&daemon, "bob", Request::get("/api/v1/orgs/tools")), 200);
    let members = daemon.get("/api/v1/orgs/tools/members").json();
    let named = |name: &str| {
        members
            .as_array()
            .unwrap()
            .iter()
            .any(|member| member["login"] == name)
    };
    assert!(named("bob") && !named("alice"), "{members}");
}

#[test]
fn an_organisation_is_seen_by_those_who_may() {
    let daemon = daemon();
    organisation(&daemon, "open", "public");
    organisation(&daemon, "hidden", "private");
    let look = |user: &str, name: &str| as_user(&daemon, user, Request::get(&format!("/api/v1/orgs/{name}")));
    let anonymous = daemon.send(&Request::get("/api/v1/orgs/open"));
    assert_eq!(anonymous.status, 401);
    assert_eq!(look("bob", "open"), 200);
    assert_eq!(look("bob", "hidden"), 404);
    assert_eq!(look("bob", "nothing"), 404);
    assert_eq!(look("bob", "alice"), 404, "a user is no organisation");
    let members = daemon.as_admin(Request::get("/api/v1/orgs/hidden/members"));
    assert_eq!(members.json()[0]["login"], "admin");
    assert_eq!(members.json()[0]["permission"], "admin");
    let fields = json!({"username": "mine"});
    let create = Request::new("POST", "/api/v1/orgs").json(&fields);
    assert_eq!(as_user(&daemon, "bob", create), 403);
    for (fields, status) in [
        (json!({"username": "OPEN"}), 422),
        (json!({"username": "alice"}), 422),
        (json!({"username": "a b"}), 422),
        (json!({}), 422),
        (json!({"username": "fine", "visibility": "some"}), 422),
    ] {
        let answer = daemon.as_admin(Request::new("POST", "/api/v1/orgs").json(&fields));
        assert_eq!(answer.status, status, "{fields}: {}", answer.text());
    }
    for (user, permission, status) in [
        ("nobody", "read", 404),
        ("bob", "own", 422),
        ("open", "read", 404),
    ] {
        let answer = daemon.as_admin(member("hidden", user, permission));
        assert_eq!(answer.status, status, "{user} {permission}: {}", answer.text());
    }
}

/// Every developer reads, only CI writes.
#[test]
fn everybody_reads_and_only_ci_writes() {
    let daemon = daemon();
    organisation(&daemon, "ci", "limited");
    let token = narrowed(
        &daemon,
        "admin",
        "ci",
        json!({"grants": [{"packages": "ci/*", "permission": "write"}]}),
    );
    let file = file_path("ci", "app", "1", "f");
    let put = Request::put(&file, "x");
    assert_eq!(as_user(&daemon, "bob", put.clone()), 401);
    let by_ci = |request: Request| {
        daemon
            .send(&request.header("Authorization", bearer(&token)))
            .status
    };
    assert_eq!(by_ci(put), 201);
    assert_eq!(as_user(&daemon, "bob", Request::get(&file)), 200);
    assert_eq!(daemon.send(&Request::get(&file)).status, 401);
    assert_eq!(
        by_ci(Request::put(&file_path("admin", "app", "1", "f"), "x")),
        401
    );
    assert_eq!(by_ci(Request::get("/api/v1/admin/users")), 403, "narrowed");
}

#[test]
fn a_narrowed_token_does_less_and_ends() {
    let daemon = daemon();
    let grants = json!({"grants": [
        {"packages": "alice/app-*", "permission": "write"},
        {"packages": "alice/lib", "permission": "read"},
    ]});
    let token = narrowed(&daemon, "alice", "ci", grants.clone());
    let put = |package: &str, token: &str| {
        let request = Request::put(&file_path("alice", package, "1", "f"), "x");
        daemon
            .send(&request.header("Authorization", bearer(token)))
            .status
    };
    assert_eq!(put("app-x", &token), 201);
    assert_eq!(put("lib", &token), 401);
    assert_eq!(put("other", &token), 401);
    let listed = daemon.as_admin(Request::get("/api/v1/users/alice/tokens"));
    assert_eq!(listed.json()[0]["grants"], grants["grants"]);
    // A longer time where the machine did not come to use it within the shorter one.
    let lived = [2, 10, 30].into_iter().any(|seconds| {
        let soon = jiff::Timestamp::now() + std::time::Duration::from_secs(seconds);
        let expires = json!({"expires_at": soon.to_string()});
        let short = narrowed(&daemon, "alice", &format!("short-{seconds}"), expires);
        if put(&format!("b{seconds}"), &short) != 201 {
            return false;
        }
        let ends = || put(&format!("c{seconds}"), &short) == 401;
        assert!(within(PATIENCE, ends), "the token ends");
        true
    });
    assert!(lived);
    for (fields, status) in [
        (json!({"expires_at": "2001-01-01T00:00:00Z"}), 422),
        (json!({"expires_at": "tomorrow"}), 422),
        (
            json!({"grants": [{"packages": "no-slash", "permission": "read"}]}),
            400,
        ),
        (json!({"grants": [{"packages": "a/b", "permission": "own"}]}), 422),
        (json!({"grants": "all"}), 422),
        (
            json!({"grants": vec![json!({"packages": "a/b", "permission": "read"}); 17]}),
            400,
        ),
    ] {
        let mut token = json!({"name": "bad", "scopes": ["all"]});
        token
            .as_object_mut()
            .unwrap()
            .extend(fields.as_object().unwrap().clone());
        let answer = daemon.as_admin(Request::new("POST", "/api/v1/users/alice/tokens").json(&token));
        assert_eq!(answer.status, status, "{fields}: {}", answer.text());
    }
}

#[test]
fn accounts_change_and_go() {
    let mut daemon = daemon();
    let edit = |daemon: &Daemon, name: &str, fields: Value| {
        daemon
            .as_admin(Request::new("PATCH", &format!("/api/v1/admin/users/{name}")).json(&fields))
            .status
    };
    let me = Request::get("/api/v1/user");
    assert_eq!(edit(&daemon, "bob", json!({"active": false})), 200);
    assert_eq!(as_user(&daemon, "bob", me.clone()), 403);
    assert_eq!(
        edit(
            &daemon,
            "BOB",
            json!({"active": true, "password": "another password"})
        ),
        200
    );
    assert_eq!(as_user(&daemon, "bob", me.clone()), 401);
    assert_eq!(edit(&daemon, "bob", json!({"active": "yes"})), 422);
    assert_eq!(edit(&daemon, "bob", json!({"password": "short"})), 422);
    assert_eq!(edit(&daemon, "nobody", json!({})), 404);
    assert_eq!(
        edit(&daemon, "admin", json!({"admin": false})),
        422,
        "the last admin"
    );
    assert_eq!(
        as_user(
            &daemon,
            "alice",
            Request::new("PATCH", "/api/v1/admin/users/bob").json(&json!({}))
        ),
        403
    );

    let delete = |daemon: &Daemon, path: &str| daemon.as_admin(Request::delete(path)).status;
    assert_eq!(delete(&daemon, "/api/v1/admin/users/admin"), 422);
    assert_eq!(delete(&daemon, "/api/v1/admin/users/bob"), 204);
    assert_eq!(delete(&daemon, "/api/v1/admin/users/bob"), 404);
    let token = daemon.create_token("alice", &["all"]);
    let files: Vec<_> = (0..3)
        .map(|n| file_path("alice", &format!("app{n}"), "1", "f"))
        .collect();
    for file in &files {
        assert_eq!(daemon.put(file, "x"), 201);
    }
    assert_eq!(delete(&daemon, "/api/v1/admin/users/alice"), 422);
    assert_eq!(delete(&daemon, "/api/v1/admin/users/alice?purge=maybe"), 422);
    assert_eq!(daemon.get(&files[0]).status, 200);
    assert_eq!(delete(&daemon, "/api/v1/admin/users/alice?purge=true"), 204);
    let gone = |daemon: &Daemon| {
        for file in &files {
            assert_eq!(daemon.get(file).status, 404);
        }
        let request = Request::get("/api/v1/user").header("Authorization", bearer(&token));
        assert_eq!(daemon.send(&request).status, 401);
    };
    gone(&daemon);
    daemon.kill9();
    daemon.start();
    gone(&daemon);
    daemon.create_user("alice", &password("alice"), "public");
    assert_eq!(
        daemon.get(&files[0]).status,
        404,
        "nothing comes back with the name"
    );

    organisation(&daemon, "tools", "public");
    assert_eq!(daemon.put(&file_path("tools", "app", "1", "f"), "x"), 201);
    assert_eq!(delete(&daemon, "/api/v1/orgs/alice"), 404);
    assert_eq!(delete(&daemon, "/api/v1/admin/users/tools"), 404);
    assert_eq!(delete(&daemon, "/api/v1/orgs/tools"), 422);
    assert_eq!(delete(&daemon, "/api/v1/orgs/tools?purge=true"), 204);
    assert_eq!(delete(&daemon, "/api/v1/orgs/tools"), 404);
}

#[test]
fn an_organisation_that_may_not_be_seen_is_not_managed_either() {
    let daemon = daemon();
    organisation(&daemon, "hidden", "private");
    organisation(&daemon, "open", "public");
    let edit = |name: &str| {
        let path = format!("/api/v1/orgs/{name}");
        Request::new("PATCH", &path).json(&json!({"visibility": "limited"}))
    };
    for (name, status) in [("hidden", 404), ("open", 403), ("nothing", 404)] {
        assert_eq!(as_user(&daemon, "bob", edit(name)), status, "{name}");
        assert_eq!(
            as_user(&daemon, "bob", member(name, "bob", "admin")),
            status,
            "{name}"
        );
    }
    let edited = daemon.as_admin(edit("open"));
    assert_eq!(
        (edited.status, &edited.json()["visibility"]),
        (200, &json!("limited"))
    );
    let wrong = Request::new("PATCH", "/api/v1/orgs/open").json(&json!({"visibility": "some"}));
    assert_eq!(daemon.as_admin(wrong).status, 422);
}

#[test]
fn users_create_organisations_where_that_is_configured() {
    let setup = Setup::default().config("[accounts]\ncreate_organisations = \"users\"\n");
    let daemon = setup.start();
    daemon.create_user("bob", &password("bob"), "public");
    let create = |name: &str| Request::new("POST", "/api/v1/orgs").json(&json!({"username": name}));
    assert_eq!(as_user(&daemon, "bob", create("mine")), 201);
    assert_eq!(
        as_user(&daemon, "bob", member("mine", "admin", "read")),
        204,
        "he manages it"
    );
    let token = daemon.create_token("bob", &["write:package"]);
    let by_token = create("other").header("Authorization", bearer(&token));
    assert_eq!(daemon.send(&by_token).status, 403);
    assert_eq!(daemon.send(&create("third")).status, 401);
}

#[test]
fn an_upload_whose_owner_goes_meanwhile_finds_no_owner() {
    let daemon = Setup::default().start();
    daemon.create_user("alice", "alice's password", "public");
    let target = file_path("alice", "tool", "1", "f");
    let whole = daemon.authorized(Request::put(&target, vec![7; 100_000]));
    let mut connection = daemon.connect();
    connection.write(&whole.head_bytes()).unwrap();
    connection.write(&[7; 50_000]).unwrap();
    assert_eq!(daemon.delete("/api/v1/admin/users/alice?purge=true"), 204);
    connection.write(&[7; 50_000]).unwrap();
    let answer = connection.read_response("PUT").unwrap();
    assert_eq!((answer.status, answer.text().as_str()), (404, "Not found."));
    // Who gets the name then gets nothing of it.
    daemon.create_user("alice", "another password", "public");
    daemon.assert_nothing_of("alice", "tool", "1");
}
