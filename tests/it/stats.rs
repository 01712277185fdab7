//! `larder stats`: the same figures from a running daemon, offline and as gauges.

use serde_json::Value;

use crate::support::{Daemon, MIB, PATIENCE, Setup, binary, output_within, path, seeded_bytes, within};

fn stats(daemon: &Daemon, json: bool) -> String {
    let mut command = binary();
    command.arg("stats").arg("--data").arg(daemon.data());
    if json {
        command.arg("--json");
    }
    let output = output_within(&mut command, "");
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).expect("text")
}

fn figures(daemon: &Daemon) -> Value {
    serde_json::from_str(&stats(daemon, true)).expect("JSON")
}

#[test]
fn the_figures_are_the_same_from_a_daemon_as_gauges_and_offline() {
    let mut daemon = Setup::default().start();
    let (large, small) = (seeded_bytes(81, 5 * MIB), seeded_bytes(82, 5000));
    assert_eq!(daemon.put(&path("large", "1", "f"), large.clone()), 201);
    assert_eq!(daemon.put(&path("large", "2", "f"), large), 201);
    assert_eq!(daemon.put(&path("small", "1", "f"), small), 201);
    let found = figures(&daemon);
    let sizes =
        |found: &Value| ["logical_bytes", "unique_bytes"].map(|name| found[name].as_u64().expect("a number"));
    assert_eq!(
        sizes(&found),
        [10 * MIB as u64 + 5000, 5 * MIB as u64 + 5000],
        "{found}"
    );
    let counts = |found: &Value| {
        ["packages", "versions", "files", "blobs"].map(|name| found[name].as_u64().expect("a number"))
    };
    assert_eq!(counts(&found), [2, 3, 3, 2], "{found}");
    for (gauge, name) in [
        ("larder_store_logical_bytes", "logical_bytes"),
        ("larder_store_unique_bytes", "unique_bytes"),
        ("larder_store_physical_bytes", "physical_bytes"),
        ("larder_store_packages", "packages"),
        ("larder_store_versions", "versions"),
        ("larder_store_files", "files"),
        ("larder_store_blobs", "blobs"),
        ("larder_store_chunks", "chunks"),
    ] {
        assert_eq!(Some(daemon.metric(gauge, "")), found[name].as_u64(), "{gauge}");
    }
    let live: u64 = ["journal", "segment"]
        .iter()
        .map(|kind| daemon.metric("larder_log_live_bytes", &format!("kind=\"{kind}\"")))
        .sum();
    assert_eq!(Some(live), found["live_bytes"].as_u64());
    let text = stats(&daemon, false);
    for name in [
        "logical", "unique", "live", "dead", "reserved", "physical", "dedupe",
    ] {
        assert!(text.contains(name), "{name}: {text}");
    }
    daemon.terminate();
    let offline = figures(&daemon);
    assert_eq!(sizes(&offline), sizes(&found));
    assert_eq!(counts(&offline), counts(&found));
    assert_eq!(offline["dedupe_ratio"], found["dedupe_ratio"]);
}

#[test]
fn the_gauges_come_by_themselves_after_a_start() {
    let mut daemon = Setup::default().start();
    assert_eq!(daemon.put(&path("p", "1", "f"), "some bytes"), 201);
    daemon.terminate();
    daemon.start();
    let counted = within(PATIENCE, || {
        daemon.metric("larder_store_files", "") == 1 && daemon.metric("larder_store_logical_bytes", "") == 10
    });
    assert!(counted, "nobody asked for them");
}
