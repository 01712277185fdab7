//! The configuration read again by SIGHUP, by the API and by the command line; and what systemd is told (issue 6).

use std::fs;
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::sync::mpsc::{self, Receiver};

use serde_json::json;

use crate::support::{Daemon, PATIENCE, Request, Setup, bearer, file_path, path, within};

fn configure(daemon: &Daemon, text: &str) {
    fs::write(daemon.config_path(), text).unwrap();
}

fn reload(daemon: &Daemon) -> (u16, serde_json::Value) {
    let answer = daemon.as_admin(Request::new("POST", "/api/v1/admin/reload"));
    (answer.status, answer.json())
}

fn successes(daemon: &Daemon) -> u64 {
    daemon.metric("larder_config_last_reload_successful", "")
}

const CACHE: &str = "[[policies]]\npackages = \"*/*\"\npolicy = \"cache\"\n";

#[test]
fn policies_and_the_log_level_change_without_a_restart() {
    let daemon = Setup::default().config("[log]\nformat = \"json\"\n").start();
    let target = path("tool", "1", "f");
    assert_eq!(
        (daemon.put(&target, "one"), daemon.put(&target, "two")),
        (201, 400)
    );
    configure(
        &daemon,
        &format!("[log]\nformat = \"json\"\nlevel = \"warn\"\n[limits]\nuploads = 7\n{CACHE}"),
    );
    let (status, said) = reload(&daemon);
    assert_eq!(status, 202);
    assert_eq!(
        said,
        json!({"applied": ["log.level", "policies"], "needs_restart": ["limits.uploads"]})
    );
    assert_eq!(daemon.put(&target, "two"), 200, "the policy holds at once");
    let quiet = daemon.stderr().len();
    let (status, said) = reload(&daemon);
    assert_eq!((status, said), (202, json!({"applied": [], "needs_restart": []})));
    assert!(
        !daemon.stderr()[quiet..].contains("configuration read again"),
        "the level holds at once"
    );
}

#[test]
fn limits_quotas_and_the_metrics_token_change_without_a_restart() {
    let daemon = Setup::default().start();
    daemon.create_user("dev", "a long password", "public");
    let token = daemon.create_token("dev", &["all"]);
    let put = |version: &str| {
        let request = Request::put(&file_path("dev", "tool", version, "f"), vec![b'x'; 2000]);
        daemon
            .send(&request.header("Authorization", bearer(&token)))
            .status
    };
    let scrape = |token: Option<&str>| {
        let request = Request::get("/metrics");
        let request = match token {
            Some(token) => request.header("Authorization", bearer(token)),
            None => request,
        };
        daemon.send(&request).status
    };
    assert_eq!((put("1"), scrape(None)), (201, 200));
    let secret = "0123456789abcdef";
    configure(
        &daemon,
        &format!("[quotas]\nmax_versions = 1\n[metrics]\ntoken = \"{secret}\"\n"),
    );
    let (status, said) = reload(&daemon);
    let applied = json!({"applied": ["metrics.token", "quotas.max_versions"], "needs_restart": []});
    assert_eq!((status, said), (202, applied));
    assert_eq!((put("2"), scrape(None), scrape(Some(secret))), (403, 401, 200));
    // Another secret under the same name is a change too, and no secret is shown.
    configure(
        &daemon,
        "[metrics]\ntoken = \"another-secret-4711\"\n[limits]\nmax_file_size = \"1KiB\"\n",
    );
    let (status, said) = reload(&daemon);
    assert_eq!(status, 202, "{said}");
    assert!(
        !said.to_string().contains("4711") && said["applied"].to_string().contains("metrics.token"),
        "{said}"
    );
    assert_eq!(
        (scrape(Some(secret)), scrape(Some("another-secret-4711"))),
        (401, 200)
    );
    assert_eq!(put("3"), 413);
    assert!(!daemon.stderr().contains("4711") && !daemon.stderr().contains(secret));
}

#[test]
fn retention_and_eviction_change_without_a_restart() {
    let policies = "[[policies]]\npackages = \"dev/cache\"\npolicy = \"cache\"\n\
                    [[policies]]\npackages = \"*/*\"\npolicy = \"package\"\n";
    let daemon = Setup::default().config(policies).start();
    daemon.create_user("dev", "a long password", "public");
    daemon.set_owner("dev", json!({"max_bytes": 10_000}));
    for version in ["1", "2", "3"] {
        assert_eq!(daemon.put(&file_path("dev", "tool", version, "f"), "x"), 201);
        let entry = daemon.put(&file_path("dev", "cache", version, "f"), vec![b'x'; 3300]);
        assert_eq!(entry, 200);
    }
    let interval = || daemon.metric("larder_retention_interval_seconds", "");
    let evicted = || daemon.metric("larder_evicted_files_total", "reason=\"budget\"");
    let short = || daemon.metric("larder_eviction_runs_total", "result=\"short\"");
    assert!(within(PATIENCE, || short() > 0), "what is young stays");
    assert_eq!((interval(), evicted()), (24 * 3600, 0));
    configure(
        &daemon,
        &format!(
            "[eviction]\nmin_age = \"0s\"\naccess_memory = \"4MiB\"\n[retention]\nevery = \"2h\"\n\
             [[retention.rules]]\npackages = \"dev/tool\"\nremove = [\"*\"]\nkeep_newest = 1\n{policies}"
        ),
    );
    let (status, said) = reload(&daemon);
    let applied = ["eviction.min_age", "retention.every", "retention.rules"];
    let expected = json!({"applied": applied, "needs_restart": ["eviction.access_memory"]});
    assert_eq!((status, said), (202, expected));
    assert!(within(PATIENCE, || interval() == 2 * 3600), "{}", interval());
    assert!(within(PATIENCE, || evicted() > 0), "{}", daemon.stderr());
    assert_eq!(
        daemon
            .as_admin(Request::new("POST", "/api/v1/admin/retention"))
            .status,
        202
    );
    let left = |version: &str| daemon.get(&file_path("dev", "tool", version, "f")).status;
    assert!(within(PATIENCE, || left("1") == 404 && left("2") == 404));
    assert_eq!(left("3"), 200);
}

#[test]
fn a_mistake_changes_nothing_and_is_said() {
    let daemon = Setup::default().start();
    let target = path("tool", "1", "f");
    assert_eq!(daemon.put(&target, "one"), 201);
    configure(&daemon, &format!("[server]\nlissten = \"x\"\n{CACHE}"));
    let (status, said) = reload(&daemon);
    assert_eq!(status, 422);
    let message = said["message"].as_str().unwrap();
    assert!(
        message.contains("server.lissten") && message.contains("did you mean server.listen"),
        "{message}"
    );
    assert_eq!(daemon.put(&target, "two"), 400, "the old policy holds");
    assert_eq!(successes(&daemon), 0);
    configure(&daemon, CACHE);
    assert_eq!(reload(&daemon).0, 202);
    assert_eq!((successes(&daemon), daemon.put(&target, "two")), (1, 200));
    assert!(daemon.metric("larder_config_last_reload_success_timestamp_seconds", "") > 1_700_000_000);
}

#[test]
fn only_admins_reload() {
    let daemon = Setup::default().start();
    daemon.create_user("dev", "a long password", "public");
    let token = daemon.create_token("dev", &["all"]);
    let request = Request::new("POST", "/api/v1/admin/reload");
    assert_eq!(daemon.send(&request).status, 401);
    let answer = daemon.send(&request.header("Authorization", format!("Bearer {token}")));
    assert_eq!(answer.status, 403);
    assert_eq!(daemon.as_admin(Request::get("/api/v1/admin/reload")).status, 405);
}

#[test]
fn sighup_and_the_command_line_do_the_same() {
    let daemon = Setup::default().start();
    let target = path("tool", "1", "f");
    assert_eq!(daemon.put(&target, "one"), 201);
    configure(&daemon, CACHE);
    daemon.signal_hangup();
    assert!(
        within(PATIENCE, || daemon.put(&target, "two") == 200),
        "{}",
        daemon.stderr()
    );
    configure(&daemon, "");
    let output = daemon.run(&["reload"], "");
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(
        (output.status.code(), said.as_str()),
        (Some(0), "applied: policies\n")
    );
    assert_eq!(daemon.put(&target, "three"), 400);
    configure(&daemon, "nonsense");
    let output = daemon.run(&["reload"], "");
    assert_eq!(
        output.status.code(),
        Some(1),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
}

#[test]
fn a_moved_access_log_is_let_go_of() {
    let daemon = Setup::default()
        .config("[log]\naccess = \"json\"\naccess_to = \"access.log\"\n")
        .start();
    let (log, moved) = (
        daemon.home().join("access.log"),
        daemon.home().join("access.log.1"),
    );
    fs::rename(&log, &moved).unwrap();
    daemon.signal_hangup();
    assert!(within(PATIENCE, || log.exists()));
    daemon.send(&Request::get("/livez").header("X-Request-Id", "after-1"));
    let has = |file, text| fs::read_to_string(file).is_ok_and(|log| log.contains(text));
    assert!(within(PATIENCE, || has(&log, "after-1")));
    assert!(!has(&moved, "after-1"));
}

/// Takes messages as systemd does, all the time: the kernel holds few of them, and a daemon that is slow to start has more
/// to say before anybody asks.
fn listen_as_systemd(path: &Path) -> Receiver<String> {
    let socket = UnixDatagram::bind(path).unwrap();
    let (said, messages) = mpsc::channel();
    std::thread::spawn(move || {
        let mut message = [0; 4096];
        while let Ok(len) = socket.recv(&mut message) {
            if said
                .send(String::from_utf8_lossy(&message[..len]).into_owned())
                .is_err()
            {
                return;
            }
        }
    });
    messages
}

/// The messages to systemd until one contains `last`.
fn told(systemd: &Receiver<String>, last: &str) -> Vec<String> {
    let mut told = Vec::new();
    while let Ok(message) = systemd.recv_timeout(PATIENCE) {
        told.push(message);
        // Watchdogs come for ever.
        let enough = told.last().unwrap().contains(last) || told.len() > 10_000;
        if enough {
            break;
        }
    }
    let found = told.last().is_some_and(|message| message.contains(last));
    assert!(found, "systemd was never told {last}: {told:?}");
    told
}

#[test]
fn systemd_is_told_about_every_step() {
    let mut daemon = Setup::default().prepare();
    let path = daemon.home().join("notify");
    let systemd = listen_as_systemd(&path);
    daemon.set_env("NOTIFY_SOCKET", path.to_str().unwrap());
    daemon.set_env("WATCHDOG_USEC", "300000");
    daemon.start();
    let start = told(&systemd, "READY=1").join("\n");
    assert!(start.contains("EXTEND_TIMEOUT_USEC="), "{start}");
    told(&systemd, "WATCHDOG=1");
    told(&systemd, "WATCHDOG=1");
    daemon.signal_hangup();
    let again = told(&systemd, "READY=1").join("\n");
    assert!(again.contains("RELOADING=1\nMONOTONIC_USEC="), "{again}");
    daemon.signal_term();
    told(&systemd, "STOPPING=1");
    assert_eq!(daemon.wait(PATIENCE).unwrap().code(), Some(0));
}
