//! Logs: request ids, the access log and the slow-request log (issue 6).

use std::fs;
use std::time::Duration;

use serde_json::{Value, json};

use crate::support::{Daemon, MIB, PATIENCE, Request, Setup, path, seeded_bytes, within};

const TRACE: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

/// A daemon whose access log is a file in its home.
fn with_access_log(format: &str, more: &str) -> Daemon {
    Setup::default()
        .config(&format!(
            "[log]\nformat = \"json\"\naccess = \"{format}\"\naccess_to = \"access.log\"\n{more}"
        ))
        .start()
}

/// The lines of the access log, once one of them contains `last`.
fn lines(daemon: &Daemon, last: &str) -> Vec<String> {
    let file = daemon.home().join("access.log");
    let read = || fs::read_to_string(&file).unwrap_or_default();
    assert!(
        within(PATIENCE, || read().contains(last)),
        "no line with {last}: {}",
        read()
    );
    read().lines().map(str::to_owned).collect()
}

fn entry(daemon: &Daemon, id: &str) -> Value {
    let lines = lines(daemon, id);
    let line = lines.iter().find(|line| line.contains(id)).unwrap();
    serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"))
}

#[test]
fn every_answer_carries_the_id_of_its_request() {
    let daemon = Setup::default().start();
    let target = path("tool", "1", "f");
    let id = |request: Request| {
        let answer = daemon.send(&request);
        answer
            .header("x-request-id")
            .map(str::to_owned)
            .unwrap_or_default()
    };
    assert_eq!(
        id(Request::get("/livez").header("X-Request-Id", "build-17")),
        "build-17"
    );
    let refused = daemon
        .authorized(Request::put(&target, "x"))
        .header("X-Request-Id", "build-18");
    assert_eq!(
        id(refused.header("If-Match", "\"00\"")),
        "build-18",
        "also of a refusal"
    );
    // An early refusal answers from elsewhere.
    let expected = Request::put(&target, "x").header("Expect", "100-continue");
    assert_eq!(id(expected.header("X-Request-Id", "build-19")), "build-19");

    let made = [
        id(Request::get("/livez")),
        id(Request::get("/nowhere")),
        id(Request::get("/livez").header("X-Request-Id", "not fit \"for\" a log")),
        id(Request::get("/livez").header("X-Request-Id", "x".repeat(129))),
    ];
    for (n, id) in made.iter().enumerate() {
        assert!(
            id.len() == 16 && id.bytes().all(|b| b.is_ascii_hexdigit()),
            "{made:?}"
        );
        assert!(!made[..n].contains(id), "{made:?}");
    }
}

#[test]
fn the_access_log_says_who_did_what_and_keeps_secrets() {
    let daemon = with_access_log("json", "");
    let (target, body) = (path("tool", "1", "f"), seeded_bytes(501, MIB));
    let put = daemon.authorized(Request::put(&target, body.clone()));
    daemon.send(&put.header("X-Request-Id", "put-1").header("traceparent", TRACE));
    let token = daemon.admin_token();
    let get = Request::get(&format!("{target}?token={token}&x=1")).header("User-Agent", "tests \"1\"\\");
    assert_eq!(daemon.send(&get.header("X-Request-Id", "get-1")).body, body);
    daemon.send(&Request::delete(&target).header("X-Request-Id", "denied-1"));

    let put = entry(&daemon, "put-1");
    for (key, value) in [
        ("method", json!("PUT")),
        ("uri", json!(target)),
        ("status", json!(201)),
        ("account", json!("admin")),
        ("client", json!("127.0.0.1")),
        ("bytes_received", json!(MIB)),
        ("outcome", json!("finished")),
        ("traceparent", json!(TRACE)),
    ] {
        assert_eq!(put[key], value, "{key}: {put}");
    }
    assert!(put["seconds"].as_f64().unwrap() > 0.0, "{put}");
    let get = entry(&daemon, "get-1");
    assert_eq!(get["bytes_sent"], json!(MIB), "{get}");
    assert_eq!(get["uri"], json!(format!("{target}?token=REDACTED&x=1")), "{get}");
    assert_eq!(get["user_agent"], json!("tests \"1\"\\"), "{get}");
    let denied = entry(&daemon, "denied-1");
    assert_eq!(
        (&denied["status"], &denied["account"]),
        (&json!(401), &Value::Null),
        "{denied}"
    );
    let all = lines(&daemon, "get-1").join("\n") + &daemon.stderr();
    assert!(!all.contains(token), "a token is in the logs");
}

#[test]
fn combined_lines_are_combined_and_cannot_be_forged() {
    let daemon = with_access_log("combined", "");
    let forged = "x\" 200 1 \"-\" \"-\"";
    let request = Request::get("/livez").header("User-Agent", forged);
    daemon.send(&request.header("X-Request-Id", "line-1"));
    let lines = lines(&daemon, "line-1");
    let line = lines.iter().find(|line| line.contains("line-1")).unwrap();
    assert!(line.starts_with("127.0.0.1 - - ["), "{line}");
    assert!(
        line.contains("] \"GET /livez HTTP/1.1\" 200 3 \"-\" \"x\\x22 200 1 "),
        "{line}"
    );
    assert_eq!(line.matches('"').count(), 6, "{line}");
}

#[test]
fn the_access_log_is_bounded_and_says_what_it_left_out() {
    let daemon = with_access_log("json", "access_rate = 10\n");
    let dropped = || daemon.metric("larder_log_lines_dropped_total", "log=\"access\",reason=\"rate\"");
    let file = daemon.home().join("access.log");
    let written = || fs::read_to_string(&file).unwrap().matches("livez").count() as u64;
    // Again on a machine so slow that there are not many more in a second than may be.
    let (mut connection, mut sent) = (daemon.connect(), 0);
    let many_were_dropped = within(PATIENCE, || {
        (0..500).for_each(|_| {
            assert_eq!(connection.send(&Request::get("/livez")).unwrap().status, 200);
        });
        sent += 500;
        dropped() > 100
    });
    assert!(many_were_dropped, "{} of {sent}", dropped());
    // Lines come when their thread gets to them.
    let all = || written() + dropped() >= sent;
    assert!(
        within(PATIENCE, all),
        "{} of {sent} written, {} dropped",
        written(),
        dropped()
    );
    // A few of those dropped are requests for the figures.
    assert!(written() + 50 < sent, "{} of {sent} written", written());
}

#[test]
fn a_full_disk_under_the_access_log_costs_lines_and_no_requests() {
    let daemon = Setup::default()
        .config("[log]\naccess = \"json\"\naccess_to = \"/dev/full\"\n")
        .start();
    assert_eq!(daemon.put(&path("tool", "1", "f"), "x"), 201);
    let lost = || {
        daemon.metric(
            "larder_log_lines_dropped_total",
            "log=\"access\",reason=\"write\"",
        ) > 0
    };
    assert!(within(PATIENCE, lost), "the loss is counted");
}

#[test]
fn a_slow_request_is_reported_with_its_id() {
    let daemon = Setup::default()
        .config("[log]\nformat = \"json\"\nslow = \"1s\"\n")
        .start();
    assert_eq!(daemon.put(&path("quick", "1", "f"), "x"), 201);
    let request = daemon.authorized(Request::put(&path("slow", "1", "f"), "0123456789"));
    let request = request
        .header("X-Request-Id", "slow-1")
        .header("traceparent", TRACE);
    let mut connection = daemon.connect();
    connection.write(&request.head_bytes()).unwrap();
    connection.write(b"01234").unwrap();
    // Its time runs from when the daemon has taken it up.
    daemon.takes_up("put_file");
    std::thread::sleep(Duration::from_millis(1100));
    connection.write(b"56789").unwrap();
    assert_eq!(connection.read_response("PUT").unwrap().status, 201);
    assert!(
        within(PATIENCE, || daemon.stderr().contains("slow request")),
        "{}",
        daemon.stderr()
    );
    let stderr = daemon.stderr();
    let slow: Vec<Value> = stderr
        .lines()
        .filter(|line| line.contains("slow request") && line.contains("/slow/"))
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(slow.len(), 1, "{stderr}");
    for (key, value) in [
        ("request_id", json!("slow-1")),
        ("traceparent", json!(TRACE)),
        ("status", json!(201)),
        ("bytes_received", json!(10)),
        ("account", json!("admin")),
    ] {
        assert_eq!(slow[0][key], value, "{key}: {stderr}");
    }
}

#[test]
fn an_access_log_that_cannot_be_opened_stops_the_start() {
    let daemon = Setup::default()
        .config("[log]\naccess = \"json\"\naccess_to = \"/nowhere/access.log\"\n")
        .prepare();
    let config = daemon.config_path();
    let output = daemon.run(
        &[
            "serve",
            "--listen",
            "127.0.0.1:0",
            "--config",
            config.to_str().unwrap(),
        ],
        "",
    );
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("/nowhere/access.log"), "{said}");
}
