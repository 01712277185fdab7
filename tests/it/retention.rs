//! Rules of retention, their preview and their passes, and pins (API.md §6, docs/retention.md).

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::{Value, json};

use crate::support::{Daemon, PATIENCE, Request, Response, Setup, basic, bearer, file_path, path, within};

const RULES: &str = "/api/v1/admin/owners/admin/retention";

fn daemon() -> Daemon {
    Setup::default().policy("*/*", "package").start()
}

fn set_rules(daemon: &Daemon, rules: &Value) -> Response {
    daemon.as_admin(Request::new("PUT", RULES).json(&json!({"rules": rules})))
}

fn preview(daemon: &Daemon, query: &str) -> Response {
    let answer = daemon.as_admin(Request::new("POST", &format!("{RULES}/preview{query}")));
    assert_eq!(answer.status, 200, "{}", answer.text());
    answer
}

fn passes(daemon: &Daemon) -> u64 {
    daemon.metric("larder_retention_runs_total", "result=\"ok\"")
}

/// Makes a pass and waits for its end.
fn pass(daemon: &Daemon) {
    let before = passes(daemon);
    let answer = daemon.as_admin(Request::new("POST", "/api/v1/admin/retention"));
    assert_eq!(answer.status, 202, "{}", answer.text());
    assert!(within(PATIENCE, || passes(daemon) > before), "no pass");
}

fn pin_path(owner: &str, package: &str, version: &str) -> String {
    format!("/api/v1/packages/{owner}/generic/{package}/{version}/-/pin")
}

fn pin(daemon: &Daemon, package: &str, version: &str) {
    let answer = daemon.as_admin(Request::new("PUT", &pin_path("admin", package, version)));
    assert_eq!(answer.status, 204, "{}", answer.text());
}

/// `package version` of some listed or previewed versions.
fn names<'a>(versions: impl IntoIterator<Item = &'a Value>, package: &str) -> BTreeSet<String> {
    let name = |item: &Value| {
        let text = |field: &str| item[field].as_str().unwrap_or_default().to_owned();
        format!("{} {}", text(package), text("version"))
    };
    versions.into_iter().map(name).collect()
}

fn stored(daemon: &Daemon) -> BTreeSet<String> {
    let answer = daemon.as_admin(Request::get("/api/v1/packages/admin?limit=50"));
    names(answer.json().as_array().unwrap(), "name")
}

#[test]
fn what_the_preview_says_is_what_goes() {
    let mut daemon = daemon();
    for number in 0..12 {
        let version = format!("nightly-{number}");
        assert_eq!(daemon.put(&path("app", &version, "f"), version.as_str()), 201);
        assert_eq!(daemon.put(&path("app", &version, "g"), "two files"), 201);
    }
    for version in ["v1", "v2", "nightly-keep"] {
        assert_eq!(daemon.put(&path("app", version, "f"), version), 201);
    }
    for version in ["1", "2", "3"] {
        assert_eq!(daemon.put(&path("other", version, "f"), version), 201);
    }
    pin(&daemon, "app", "nightly-3");
    let rules = json!([
        {"packages": "app", "remove": ["nightly-*"], "keep_newest": 3, "keep": ["*-keep"]},
        {"packages": "o*", "remove_older_than": "1h"},
    ]);
    assert_eq!(set_rules(&daemon, &rules).status, 200);
    let all = preview(&daemon, "").json();
    assert_eq!(
        (&all["kept"], &all["due"], &all["removed"]),
        (&json!(6), &json!(3), &json!(9)),
        "{all}"
    );
    let by_name = |name: &str| -> Value {
        let versions = all["versions"].as_array().unwrap();
        versions
            .iter()
            .find(|item| item["version"] == name)
            .unwrap()
            .clone()
    };
    for (name, verdict, reason) in [
        ("nightly-keep", "kept", "rules[0] keeps \"*-keep\""),
        ("nightly-11", "kept", "number 2 of the newest that rules[0] keeps"),
        ("nightly-9", "removed", "rules[0] removes it"),
        ("nightly-3", "kept", "pinned"),
        ("v1", "kept", "no rule removes it"),
        ("2", "due", "rules[1] removes it then, unless something changes"),
    ] {
        let shown = by_name(name);
        assert_eq!(
            (&shown["verdict"], &shown["reason"]),
            (&json!(verdict), &json!(reason)),
            "{shown}"
        );
    }
    assert!(by_name("2")["due_at"].as_str() > by_name("2")["created_at"].as_str());
    // Page by page it is the same list.
    let mut goes = BTreeSet::new();
    for page in 1..=3 {
        let answer = preview(&daemon, &format!("?verdict=removed&limit=3&page={page}"));
        assert_eq!(answer.header("x-total-count"), Some("9"));
        goes.extend(names(answer.json()["versions"].as_array().unwrap(), "package"));
    }
    let before = stored(&daemon);
    assert_eq!((goes.len(), before.len()), (9, 18));
    pass(&daemon);
    let after = stored(&daemon);
    assert_eq!(&before - &goes, after);
    assert_eq!(daemon.metric("larder_retention_removed_versions_total", ""), 9);
    daemon.assert_absent(&path("app", "nightly-0", "g"));
    daemon.assert_serves(&path("app", "nightly-3", "g"), b"two files");
    // Nothing more goes a second time, nor after a restart on an index built anew.
    pass(&daemon);
    daemon.terminate();
    assert_eq!(daemon.run(&["rebuild-index"], "").status.code(), Some(0));
    daemon.start();
    let shown = daemon.as_admin(Request::get(RULES)).json();
    assert_eq!(
        (&shown["source"], shown["rules"].as_array().unwrap().len()),
        (&json!("owner"), 2)
    );
    pass(&daemon);
    assert_eq!(stored(&daemon), after);
}

#[test]
fn what_is_downloaded_stays() {
    let daemon = daemon();
    for version in ["used", "idle", "headed"] {
        assert_eq!(daemon.put(&path("app", version, "f"), version), 201);
    }
    assert_eq!(
        set_rules(&daemon, &json!([{"remove_unused_for": "3s"}])).status,
        200
    );
    let used = || {
        daemon.assert_serves(&path("app", "used", "f"), b"used");
        assert_eq!(
            daemon.as_admin(Request::head(&path("app", "headed", "f"))).status,
            200
        );
    };
    let idle_goes = within(PATIENCE, || {
        used();
        let found = preview(&daemon, "").json();
        found["removed"] == 1
    });
    assert!(idle_goes, "{}", preview(&daemon, "").text());
    used();
    pass(&daemon);
    let left = stored(&daemon);
    assert_eq!(left, ["app headed", "app used"].map(str::to_owned).into());
}

#[test]
fn rules_can_be_tried_before_they_are_set_and_taken_back() {
    let configured = "[[retention.rules]]\npackages = \"admin/app\"\nremove = [\"x*\"]\n\n";
    let daemon = Setup::default()
        .policy("*/*", "package")
        .config(configured)
        .start();
    for version in ["x1", "y1"] {
        assert_eq!(daemon.put(&path("app", version, "f"), version), 201);
    }
    let shown = |daemon: &Daemon| daemon.as_admin(Request::get(RULES)).json();
    assert_eq!(
        shown(&daemon),
        json!({"source": "configuration", "rules": [{"packages": "admin/app", "remove": ["x*"]}]})
    );
    let removed = |body: Option<&Value>| {
        let request = Request::new("POST", &format!("{RULES}/preview?verdict=removed"));
        let answer = daemon.as_admin(match body {
            Some(body) => request.json(body),
            None => request,
        });
        names(answer.json()["versions"].as_array().unwrap(), "package")
    };
    assert_eq!(removed(None), ["app x1".to_owned()].into());
    let tried = json!({"rules": [{"packages": "app", "remove": ["y*"]}]});
    assert_eq!(removed(Some(&tried)), ["app y1".to_owned()].into());
    assert_eq!(removed(None), ["app x1".to_owned()].into(), "trying sets nothing");
    // Own rules, if only none, count instead of the configuration's.
    assert_eq!(set_rules(&daemon, &json!([])).status, 200);
    assert_eq!(shown(&daemon), json!({"source": "owner", "rules": []}));
    pass(&daemon);
    assert_eq!(stored(&daemon).len(), 2);
    assert_eq!(set_rules(&daemon, &Value::Null).status, 200);
    pass(&daemon);
    assert_eq!(stored(&daemon), ["app y1".to_owned()].into());
}

#[test]
fn bad_rules_are_named_and_change_nothing() {
    let daemon = daemon();
    let good = json!([{"remove": ["old-*"]}]);
    assert_eq!(set_rules(&daemon, &good).status, 200);
    for (rules, message) in [
        (
            json!([{}]),
            "rules[0] says neither what to remove nor what to keep",
        ),
        (
            json!([{"keep": ["a"]}, {"remove": ["["]}]),
            "rules[1].remove[0]: bad glob \"[\"",
        ),
        (
            json!([{"remove": ["x".repeat(129)]}]),
            "rules[0].remove[0] has 129 bytes; the most is 128",
        ),
        (
            json!([{"packages": "a/b", "keep": ["x"]}]),
            "rules[0].packages must be a package's name or a glob, without the owner, not \"a/b\"",
        ),
        (
            json!([{"packages": "a[", "keep": ["x"]}]),
            "rules[0].packages: bad pattern \"a[\": unclosed character class",
        ),
        (
            json!([{"keep": ["x"]}, 5]),
            "rules[1] must be an object, not a number",
        ),
        (
            json!([{"remove_older_than": "soon"}]),
            "rules[0].remove_older_than must be a duration like \"14days\"",
        ),
        (json!([{"remove_older_than": 5}]), "remove_older_than"),
        (json!([{"keep_newest": -1}]), "keep_newest"),
        (json!("all"), "rules"),
        (
            Value::Array(vec![json!({"keep": ["x"]}); 33]),
            "33 rules are too many; the most is 32",
        ),
    ] {
        for method in ["PUT", "POST"] {
            let target = if method == "PUT" {
                RULES.to_owned()
            } else {
                format!("{RULES}/preview")
            };
            let answer = daemon.as_admin(Request::new(method, &target).json(&json!({"rules": rules})));
            assert_eq!(answer.status, 422, "{rules}: {}", answer.text());
            let said = answer.json()["message"].as_str().unwrap().to_owned();
            assert!(said.contains(message), "{rules}: {said}");
        }
    }
    for (body, status) in [("", 400), ("{", 400), ("[]", 422), ("{}", 422)] {
        let answer = daemon.as_admin(Request::new("PUT", RULES).body(body));
        assert!(
            [400, 422].contains(&answer.status),
            "{body:?}: {} {status}",
            answer.status
        );
    }
    let answer = daemon.as_admin(Request::new("POST", &format!("{RULES}/preview?verdict=all")));
    assert_eq!(answer.status, 422, "{}", answer.text());
    let shown = daemon.as_admin(Request::get(RULES)).json();
    assert_eq!(shown["rules"][0]["remove"], json!(["old-*"]));
}

#[test]
fn only_admins_see_and_set_rules() {
    let daemon = daemon();
    daemon.create_user("bob", "bob's password", "public");
    let admin = "/api/v1/admin";
    for (method, target) in [
        ("GET", format!("{admin}/owners/bob/retention")),
        ("PUT", format!("{admin}/owners/bob/retention")),
        ("POST", format!("{admin}/owners/bob/retention/preview")),
        ("POST", format!("{admin}/retention")),
    ] {
        let request = Request::new(method, &target).body("{\"rules\": []}");
        assert_eq!(daemon.send(&request).status, 401, "{method} {target}");
        let own = request.header("Authorization", basic("bob", "bob's password"));
        assert_eq!(daemon.send(&own).status, 403, "{method} {target}");
    }
    let nobody = daemon.as_admin(Request::get(&format!("{admin}/owners/nobody/retention")));
    assert_eq!(nobody.status, 404);
    assert_eq!(daemon.as_admin(Request::delete(RULES)).status, 405);
}

#[test]
fn who_may_publish_may_pin() {
    let mut daemon = daemon();
    daemon.create_user("bob", "bob's password", "public");
    let [reads, writes] = ["read:package", "write:package"].map(|scope| daemon.create_token("bob", &[scope]));
    let with = |token: &str, method: &str, target: &str| {
        let request = Request::new(method, target).header("Authorization", bearer(token));
        daemon.send(&request).status
    };
    let put = Request::put(&file_path("bob", "app", "1", "f"), "x");
    assert_eq!(
        daemon.send(&put.header("Authorization", bearer(&writes))).status,
        201
    );
    let target = pin_path("bob", "app", "1");
    assert_eq!(daemon.send(&Request::new("PUT", &target)).status, 401);
    assert_eq!(with(&reads, "PUT", &target), 403);
    assert_eq!(with(&writes, "PUT", &pin_path("admin", "app", "1")), 403);
    assert_eq!(with(&writes, "PUT", &pin_path("bob", "app", "2")), 404);
    assert_eq!(with(&writes, "GET", &target), 405);
    let shown = |daemon: &Daemon| {
        let answer = daemon.as_admin(Request::get("/api/v1/packages/bob/generic/app/1"));
        answer.json()["pinned"].clone()
    };
    assert_eq!(shown(&daemon), json!(false));
    // Twice is as good as once.
    for _ in 0..2 {
        assert_eq!(with(&writes, "PUT", &target), 204);
    }
    daemon.kill9();
    daemon.start();
    assert_eq!(shown(&daemon), json!(true));
    let with = |token: &str, method: &str, target: &str| {
        let request = Request::new(method, target).header("Authorization", bearer(token));
        daemon.send(&request).status
    };
    assert_eq!(with(&reads, "DELETE", &target), 403);
    for _ in 0..2 {
        assert_eq!(with(&writes, "DELETE", &target), 204);
    }
    assert_eq!(shown(&daemon), json!(false));
    // A pin stands in nobody's way who says the name.
    assert_eq!(with(&writes, "PUT", &target), 204);
    assert_eq!(with(&writes, "DELETE", "/api/packages/bob/generic/app/1"), 204);
    assert_eq!(with(&writes, "PUT", &target), 404);
}

#[test]
fn passes_come_by_the_clock() {
    let bad = Setup::default().config("[retention]\nevery = \"1s\"\n").prepare();
    let checked = crate::support::output_within(
        crate::support::binary()
            .args(["check-config", "--config"])
            .arg(bad.config_path()),
        "",
    );
    assert_eq!(checked.status.code(), Some(2));
    let text = String::from_utf8_lossy(&checked.stderr).into_owned();
    assert!(text.contains("retention.every") && text.contains("1m"), "{text}");
    let bad = Setup::default()
        .config("[[retention.rules]]\npackages = \"app\"\nremove = [\"*\"]\n")
        .prepare();
    let checked = crate::support::output_within(
        crate::support::binary()
            .args(["check-config", "--config"])
            .arg(bad.config_path()),
        "",
    );
    let text = String::from_utf8_lossy(&checked.stderr).into_owned();
    assert_eq!(checked.status.code(), Some(2), "{text}");
    assert!(
        text.contains("retention.rules[0].packages") && text.contains("needs a slash"),
        "{text}"
    );
    let daemon = Setup::default().config("[retention]\nenabled = false\n").start();
    assert_eq!(daemon.metric("larder_retention_interval_seconds", ""), 0);
    std::thread::sleep(Duration::from_millis(100));
    assert_eq!(passes(&daemon), 0);
    pass(&daemon);
}
