//! The audit log: who did what, as lines of JSON, without secrets.

use std::fs;

use serde_json::{Value, json};

use crate::support::{
    ADMIN_PASSWORD, Daemon, PATIENCE, Request, Setup, basic, bearer, file_path, path, within,
};

pub(crate) fn setup(more: &str) -> Setup {
    Setup::default().config(&format!("[audit]\noutput = \"audit.log\"\n{more}\n"))
}

/// The events so far; the daemon's working directory is its home.
pub(crate) fn events(daemon: &Daemon) -> Vec<Value> {
    let text = fs::read_to_string(daemon.home().join("audit.log")).unwrap_or_default();
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

/// The event about this object and action, once it is there.
pub(crate) fn event(daemon: &Daemon, action: &str, object: &str) -> Value {
    let mut found = None;
    within(PATIENCE, || {
        found = events(daemon)
            .into_iter()
            .rev()
            .find(|event| event["action"] == action && event["object"] == object);
        found.is_some()
    });
    found.unwrap_or_else(|| panic!("no {action} of {object} in {:#?}", events(daemon)))
}

#[test]
fn who_did_what_is_written_down() {
    let daemon = setup("").start();
    daemon.create_user("alice", "alice's password", "public");
    let token = daemon.create_token("alice", &["write:package"]);
    let file = file_path("alice", "tool", "1", "f");
    let put = Request::put(&file, "seven b").header("Authorization", bearer(&token));
    let put = daemon.send(&put.header("X-Request-Id", "build-17"));
    assert_eq!((put.status, put.header("x-request-id")), (201, Some("build-17")));
    let seen = event(&daemon, "put_file", "alice/tool/1/f");
    let tokens = daemon.get("/api/v1/users/alice/tokens").json();
    assert_eq!(
        seen["who"],
        json!({"kind": "account", "id": seen["who"]["id"], "name": "alice", "token": tokens[0]["id"]})
    );
    for (field, value) in [
        ("method", json!("PUT")),
        ("status", json!(201)),
        ("result", json!("done")),
        ("bytes", json!(7)),
        ("address", json!("127.0.0.1")),
        ("request_id", json!("build-17")),
    ] {
        assert_eq!(seen[field], value, "{field}");
    }
    assert!(seen["time"].as_str().unwrap().ends_with('Z'));

    let get = daemon.send(&Request::get(&format!("{file}?token={token}")));
    assert_eq!(get.status, 200);
    let seen = event(&daemon, "get_file", "alice/tool/1/f");
    assert_eq!((&seen["bytes"], &seen["result"]), (&json!(7), &json!("done")));
    assert_eq!(daemon.send(&Request::delete(&file)).status, 401);
    let seen = event(&daemon, "delete_file", "alice/tool/1/f");
    assert_eq!(
        (&seen["who"]["kind"], &seen["result"], &seen["code"]),
        (&json!("anonymous"), &json!("refused"), &json!("sign-in-needed"))
    );
    let wrong =
        Request::get(&path("tool", "1", "f")).header("Authorization", basic("admin", "a slip of mine"));
    assert_eq!(daemon.send(&wrong).status, 401);
    let seen = event(&daemon, "get_file", "admin/tool/1/f");
    assert_eq!(
        (&seen["who"]["kind"], &seen["code"]),
        (&json!("rejected"), &json!("bad-credentials"))
    );
    // Refused before its body was asked for.
    let mut conn = daemon.connect();
    let expecting = Request::put(&file_path("alice", "tool", "9", "f"), "x").header("Expect", "100-continue");
    conn.write(&expecting.head_bytes()).unwrap();
    assert_eq!(conn.read_response("PUT").unwrap().status, 401);
    event(&daemon, "put_file", "alice/tool/9/f");
    assert_eq!(event(&daemon, "admin", "/api/v1/admin/users")["method"], "POST");

    let done = daemon.run(&["account", "token", "revoke", "alice", &token_name(&tokens)], "");
    assert!(done.status.success(), "{done:?}");
    let seen = event(&daemon, "token.revoke", "alice");
    assert_eq!(seen["who"], json!({"kind": "command-line"}));

    let text = fs::read_to_string(daemon.home().join("audit.log")).unwrap();
    for secret in [
        token.as_str(),
        "alice's password",
        "a slip of mine",
        ADMIN_PASSWORD,
        daemon.admin_token(),
    ] {
        assert!(!text.contains(secret), "{secret}");
    }
    assert!(daemon.metric("larder_audit_events_total", "result=\"written\"") >= 8);
    assert_eq!(
        daemon.metric("larder_audit_events_total", "result=\"dropped\""),
        0
    );
}

fn token_name(tokens: &Value) -> String {
    tokens[0]["name"].as_str().unwrap().to_owned()
}

#[test]
fn an_upload_that_breaks_off_is_aborted() {
    let daemon = setup("").start();
    let target = path("tool", "1", "f");
    let whole = daemon.authorized(Request::put(&target, vec![7; 100_000]));
    let mut conn = daemon.connect();
    conn.write(&whole.head_bytes()).unwrap();
    conn.write(&[7; 50_000]).unwrap();
    std::thread::sleep(std::time::Duration::from_millis(200));
    drop(conn);
    let seen = event(&daemon, "put_file", "admin/tool/1/f");
    assert_ne!(seen["result"], "done");
    assert_eq!(seen["bytes"], 50_000);
}

#[test]
fn reads_may_be_left_out_but_not_refused_ones() {
    let daemon = setup("reads = false").start();
    assert_eq!(daemon.put(&path("tool", "1", "f"), "x"), 201);
    assert_eq!(daemon.get(&path("tool", "1", "f")).status, 200);
    assert_eq!(daemon.get(&path("tool", "2", "f")).status, 404);
    let refused = Request::get(&path("tool", "3", "f")).header("Authorization", bearer("lrd_wrong"));
    assert_eq!(daemon.send(&refused).status, 401);
    event(&daemon, "get_file", "admin/tool/3/f");
    let reads = events(&daemon);
    assert_eq!(
        reads.iter().filter(|event| event["action"] == "get_file").count(),
        1
    );
}

#[test]
fn it_may_go_to_stdout_and_a_bad_path_is_said_at_the_start() {
    let daemon = Setup::default().config("[audit]\noutput = \"stdout\"\n").start();
    assert_eq!(daemon.put(&path("tool", "1", "f"), "x"), 201);
    let is_there = || {
        let lines = daemon.stdout();
        assert!(lines[0].starts_with("larder listening on"));
        lines.iter().any(|line| line.contains("\"action\":\"put_file\""))
    };
    assert!(within(PATIENCE, is_there));

    let mut broken = Setup::default()
        .config("[audit]\noutput = \"/nonexistent/audit.log\"\n")
        .prepare();
    broken.spawn();
    assert_eq!(broken.wait(PATIENCE).unwrap().code(), Some(1));
    assert!(
        broken.stderr().contains("cannot open the audit log"),
        "{}",
        broken.stderr()
    );
}

#[test]
fn the_command_line_leaves_its_traces_while_no_daemon_runs() {
    let mut daemon = Setup::default().start();
    daemon.terminate();
    let log = daemon.home().join("offline.log");
    let config = daemon.home().join("offline.toml");
    fs::write(&config, format!("[audit]\noutput = \"{}\"\n", log.display())).unwrap();
    let arguments = [
        "account",
        "organisation",
        "create",
        "tools",
        "--config",
        config.to_str().unwrap(),
    ];
    let done = daemon.run(&arguments, "");
    assert!(done.status.success(), "{done:?}");
    let text = fs::read_to_string(&log).unwrap();
    assert!(
        text.contains("\"action\":\"organisation.create\",\"object\":\"tools\""),
        "{text}"
    );
}

#[test]
fn a_hangup_makes_it_go_on_in_a_new_file() {
    let daemon = setup("").start();
    assert_eq!(daemon.put(&path("tool", "1", "f"), "x"), 201);
    event(&daemon, "put_file", "admin/tool/1/f");
    let (log, moved) = (daemon.home().join("audit.log"), daemon.home().join("audit.log.1"));
    fs::rename(&log, &moved).unwrap();
    daemon.signal_hangup();
    // The file is made again with the signal, not with the next event.
    let mut version = 1;
    let begun = within(PATIENCE, || {
        version += 1;
        daemon.put(&path("tool", &version.to_string(), "f"), "x") == 201 && log.exists()
    });
    assert!(begun, "no new file after SIGHUP");
    let last = format!("admin/tool/{}/f", version + 1);
    assert_eq!(
        daemon.put(&path("tool", &(version + 1).to_string(), "f"), "x"),
        201
    );
    event(&daemon, "put_file", &last);
    assert!(!fs::read_to_string(&moved).unwrap().contains(&last));
}

/// Not only what comes over HTTP: whoever has a shell collects, copies and changes settings, too.
#[test]
fn what_is_asked_for_from_a_shell_is_written_down() {
    let mut daemon = setup("").start();
    let backup = daemon.home().join("copy");
    let backup = backup.to_str().unwrap();
    let run = |daemon: &Daemon, arguments: &[&str]| {
        let done = daemon.run(arguments, "");
        assert!(done.status.success(), "{arguments:?}: {done:?}");
    };
    run(&daemon, &["gc", "--dry-run"]);
    run(&daemon, &["gc"]);
    run(&daemon, &["backup", backup]);
    let config = fs::read_to_string(daemon.config_path()).unwrap();
    fs::write(
        daemon.config_path(),
        format!("{config}[quotas]\nmax_versions = 7\n"),
    )
    .unwrap();
    run(&daemon, &["reload"]);
    fs::write(
        daemon.config_path(),
        format!("{config}[quotas]\nmax_versions = x\n"),
    )
    .unwrap();
    assert_eq!(daemon.run(&["reload"], "").status.code(), Some(1));
    fs::write(daemon.config_path(), &config).unwrap();
    daemon.signal_hangup();
    let from_shell = |daemon: &Daemon| -> Vec<[String; 3]> {
        let fields = |event: &Value| {
            ["action", "object", "result"].map(|field| event[field].as_str().unwrap().to_owned())
        };
        let events = events(daemon);
        let events = events
            .iter()
            .filter(|event| event["who"] == json!({"kind": "command-line"}));
        events.map(fields).collect()
    };
    assert!(
        within(PATIENCE, || from_shell(&daemon).len() >= 5),
        "{:?}",
        from_shell(&daemon)
    );
    let expected = [
        ["gc", "store", "done"],
        ["backup", "store", "done"],
        ["reload", "quotas.max_versions", "done"],
        ["reload", "configuration", "refused"],
        ["reload", "quotas.max_versions", "done"],
    ];
    assert_eq!(from_shell(&daemon), expected);

    daemon.terminate();
    let offline = ["--config", daemon.config_path().to_str().unwrap()].map(str::to_owned);
    let offline = offline.each_ref().map(String::as_str);
    // The relative path of the audit log counts from where the command runs.
    let in_home = |arguments: &[&str]| {
        let done = std::process::Command::new(env!("CARGO_BIN_EXE_larder"))
            .current_dir(daemon.home())
            .args(arguments)
            .args(offline)
            .arg("--data")
            .arg(daemon.data())
            .output()
            .unwrap();
        assert!(done.status.success(), "{arguments:?}: {done:?}");
    };
    in_home(&["gc"]);
    in_home(&["backup", backup]);
    assert_eq!(
        from_shell(&daemon)[expected.len()..],
        [["gc", "store", "done"], ["backup", "store", "done"]]
    );
}

#[test]
fn what_rules_remove_is_written_down() {
    let daemon = setup("").policy("admin/*", "package").start();
    for version in ["1", "2", "3"] {
        assert_eq!(daemon.put(&path("tool", version, "f"), "x"), 201);
    }
    let rules = Request::new("PUT", "/api/v1/admin/owners/admin/retention");
    let rules = rules.json(&json!({"rules": [{"packages": "tool", "remove": ["*"], "keep_newest": 1}]}));
    assert_eq!(daemon.as_admin(rules).status, 200);
    let run = Request::new("POST", "/api/v1/admin/retention");
    assert_eq!(daemon.as_admin(run).status, 202);
    for version in ["1", "2"] {
        let seen = event(&daemon, "version.remove", &format!("admin/tool/{version}"));
        assert_eq!(
            (&seen["who"], &seen["result"]),
            (&json!({"kind": "retention", "rule": 0}), &json!("done"))
        );
    }
}
