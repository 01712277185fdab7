//! Syncs that fail under the real daemon, by `strace`: writing ends, reading goes on, a restart is clean.

use std::fs;
use std::process::{Child, Command, Stdio};

use crate::support::{Daemon, PATIENCE, Request, Setup, alone, found, path, seeded_bytes, within};

/// Lets every `fdatasync` of the daemon fail with `EIO` from its `from`-th on, counted for each thread.
fn fail_syncs(daemon: &Daemon, from: u32) -> Option<Child> {
    let tracer = Command::new("strace")
        .args(["-f", "-q", "-e", "trace=fdatasync", "-e"])
        .arg(format!("inject=fdatasync:error=EIO:when={from}+"))
        .args(["-o", "/dev/null", "-p", &daemon.pid().to_string()])
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .spawn();
    let mut tracer = tracer.expect("strace starts");
    let mut gone = false;
    let traced = within(PATIENCE, || {
        gone = tracer.try_wait().expect("strace can be waited for").is_some();
        gone || all_threads_traced(daemon)
    });
    assert!(traced, "strace does not attach");
    if gone {
        eprintln!("SKIPPED: strace may not trace processes here");
        return None;
    }
    Some(tracer)
}

fn all_threads_traced(daemon: &Daemon) -> bool {
    let threads = fs::read_dir(format!("/proc/{}/task", daemon.pid())).expect("the daemon runs");
    threads.map_while(Result::ok).all(|thread| {
        let status = fs::read_to_string(thread.path().join("status")).unwrap_or_default();
        !status.contains("TracerPid:\t0\n")
    })
}

fn a_failed_sync(name: &str, body: &[u8], from: u32) {
    let mut daemon = Setup::default().start();
    let before = path("before", "1", "f");
    assert_eq!(daemon.put(&before, seeded_bytes(1, 300_000)), 201);
    let Some(mut tracer) = fail_syncs(&daemon, from) else {
        return;
    };
    let mut acknowledged = Vec::new();
    for number in 1..from {
        let target = path("good", &number.to_string(), "f");
        assert_eq!(daemon.put(&target, seeded_bytes(u64::from(number), 2000)), 201);
        acknowledged.push((target, seeded_bytes(u64::from(number), 2000)));
    }
    let unknown = path(name, "1", "f");
    // A 5xx: whether it is there shows after a restart.
    let refused = daemon.put(&unknown, body);
    assert!((500..600).contains(&refused), "its sync failed: {refused}");
    assert_eq!(
        daemon.put(&path(name, "2", "f"), "small"),
        503,
        "writing has ended"
    );
    assert_eq!(daemon.delete(&before), 503, "writing has ended");
    daemon.assert_serves(&before, &seeded_bytes(1, 300_000));
    for (target, body) in &acknowledged {
        daemon.assert_serves(target, body);
    }
    daemon.assert_absent(&unknown);
    assert_eq!(daemon.send(&Request::get("/readyz")).status, 503);

    tracer.kill().expect("strace can be killed");
    tracer.wait().expect("strace can be waited for");
    assert_eq!(daemon.put(&path(name, "3", "f"), "small"), 503, "until a restart");
    daemon.kill9();
    daemon.start();
    daemon.assert_serves(&before, &seeded_bytes(1, 300_000));
    for (target, body) in &acknowledged {
        daemon.assert_serves(target, body);
    }
    let answer = daemon.get(&unknown);
    assert!(
        answer.status == 404 || answer.body == body,
        "whole or absent: {}",
        answer.status
    );
    daemon.assert_absent(&path(name, "2", "f"));
    assert_eq!(daemon.put(&path("after", "1", "f"), "new"), 201);
    assert_eq!(daemon.metric("larder_store_damaged_stretches_total", ""), 0);
    daemon.terminate();
}

#[test]
fn after_a_failed_sync_writing_ends_reading_goes_on_and_a_restart_is_clean() {
    if !found("failed syncs", &["strace"]) {
        return;
    }
    let _alone = alone();
    // In the journal; there after three that go well; in a segment.
    a_failed_sync("small", &seeded_bytes(7, 5000), 1);
    a_failed_sync("later", &seeded_bytes(8, 5000), 4);
    a_failed_sync("large", &seeded_bytes(9, 3 << 20), 1);
}
