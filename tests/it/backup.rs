//! `larder backup` and `larder restore`, beside a running daemon.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Output;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::support::{Daemon, MIB, PATIENCE, Request, Setup, bearer, path, seeded_bytes, within};
use crate::support::{binary, output_within};

fn backup(data: &Path, dir: &Path) -> Output {
    output_within(binary().arg("backup").arg(dir).arg("--data").arg(data), "")
}

fn restore(dir: &Path, data: &Path) -> Output {
    output_within(binary().arg("restore").arg(dir).arg(data), "")
}

#[track_caller]
fn succeeded(output: &Output) -> String {
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{output:?}");
    text
}

/// A daemon on what is restored from `dir`.
fn restored(dir: &Path) -> Daemon {
    let mut daemon = Setup::default().prepare();
    succeeded(&restore(dir, &daemon.data()));
    daemon.start();
    daemon
}

#[track_caller]
fn assert_serves(daemon: &Daemon, token: &str, target: &str, body: &[u8]) {
    // The token is that of the store that was backed up.
    let answer = daemon.send(&Request::get(target).header("Authorization", bearer(token)));
    assert_eq!(answer.status, 200, "{target}: {}", answer.text());
    assert!(answer.body == body, "{target} has other bytes");
}

#[test]
fn a_backup_under_load_has_everything_acknowledged_before_it_began() {
    let mut daemon = Setup::default().start();
    let large = seeded_bytes(90, 9 * MIB);
    assert_eq!(daemon.put(&path("large", "1", "f"), large.clone()), 201);
    let acknowledged = Mutex::new(BTreeMap::new());
    let ended = AtomicBool::new(false);
    let dir = daemon.home().join("backup");
    let before = std::thread::scope(|scope| {
        for writer in 0..3_u64 {
            let (daemon, acknowledged, ended) = (&daemon, &acknowledged, &ended);
            scope.spawn(move || {
                for n in 0..400 {
                    if ended.load(Ordering::Relaxed) {
                        break;
                    }
                    let len = if n % 5 == 0 { 600_000 } else { 20_000 };
                    let body = seeded_bytes(1000 * writer + n, len);
                    let target = path(&format!("load-{writer}"), &n.to_string(), "f");
                    assert_eq!(daemon.put(&target, body.clone()), 201);
                    acknowledged.lock().unwrap().insert(target, body);
                }
            });
        }
        assert!(within(PATIENCE, || acknowledged.lock().unwrap().len() > 5));
        let mut before = BTreeMap::new();
        for _ in 0..2 {
            before = acknowledged.lock().unwrap().clone();
            succeeded(&backup(&daemon.data(), &dir));
        }
        ended.store(true, Ordering::Relaxed);
        before
    });
    let copy = restored(&dir);
    assert_serves(&copy, daemon.admin_token(), &path("large", "1", "f"), &large);
    for (target, body) in &before {
        assert_serves(&copy, daemon.admin_token(), target, body);
    }
    // Again with the daemon down: the copy is brought up to date.
    daemon.terminate();
    succeeded(&backup(&daemon.data(), &dir));
    let copy = restored(&dir);
    for (target, body) in acknowledged.lock().unwrap().iter() {
        assert_serves(&copy, daemon.admin_token(), target, body);
    }
    let unchanged = succeeded(&backup(&daemon.data(), &dir));
    assert!(unchanged.contains("0 B copied, 0 B linked"), "{unchanged}");
}

#[test]
fn a_killed_backup_leaves_the_former_one() {
    let daemon = Setup::default().start();
    let first = seeded_bytes(91, MIB);
    assert_eq!(daemon.put(&path("first", "1", "f"), first.clone()), 201);
    let dir = daemon.home().join("backup");
    succeeded(&backup(&daemon.data(), &dir));
    for round in 0..4 {
        let body = seeded_bytes(92 + round, 12 * MIB);
        assert_eq!(daemon.put(&path("more", &round.to_string(), "f"), body), 201);
        let mut command = binary();
        command.arg("backup").arg(&dir).arg("--data").arg(daemon.data());
        let mut child = command.spawn().expect("it starts");
        std::thread::sleep(Duration::from_millis(20 * (round + 1)));
        // It may have ended already.
        let _ = child.kill();
        child.wait().expect("it can be waited for");
        let copy = restored(&dir);
        assert_serves(&copy, daemon.admin_token(), &path("first", "1", "f"), &first);
    }
    succeeded(&backup(&daemon.data(), &dir));
    let copy = restored(&dir);
    let body = seeded_bytes(95, 12 * MIB);
    assert_serves(&copy, daemon.admin_token(), &path("more", "3", "f"), &body);
}
