//! `larder verify`: what it says, its exit codes, and that it changes nothing.

use std::fs;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::Output;

use crate::support::{MIB, PATIENCE, Setup, path, seeded_bytes, within};
use crate::support::{binary, output_within};

fn verify(data: &Path, flags: &[&str]) -> (Option<i32>, String) {
    let Output { status, stdout, .. } =
        output_within(binary().arg("verify").arg("--data").arg(data).args(flags), "");
    (status.code(), String::from_utf8_lossy(&stdout).into_owned())
}

/// Flips a bit of the first place in `directory` that holds `piece`.
fn rot(directory: &Path, piece: &[u8]) {
    for entry in fs::read_dir(directory).expect("a directory of the store") {
        let file = entry.expect("an entry").path();
        let bytes = fs::read(&file).expect("a file of the store");
        if let Some(at) = bytes.windows(piece.len()).position(|window| window == piece) {
            let opened = fs::File::options().write(true).open(&file).expect("it opens");
            opened
                .write_all_at(&[piece[0] ^ 1], at as u64)
                .expect("it can be changed");
            return;
        }
    }
    panic!("the bytes are not there");
}

/// Every file below with its bytes and the time of its last change.
fn contents(directory: &Path) -> Vec<(String, Vec<u8>, std::time::SystemTime)> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory).expect("a directory") {
        let file = entry.expect("an entry").path();
        if file.is_dir() {
            found.extend(contents(&file));
        } else {
            let changed = fs::metadata(&file)
                .and_then(|meta| meta.modified())
                .expect("a time");
            found.push((
                file.display().to_string(),
                fs::read(&file).expect("a file"),
                changed,
            ));
        }
    }
    found.sort();
    found
}

#[test]
fn it_finds_and_names_what_is_damaged_and_changes_nothing() {
    let mut daemon = Setup::default().config("[scrub]\nenabled = false\n").start();
    let (small, large) = (seeded_bytes(71, 5000), seeded_bytes(72, 5 * MIB));
    assert_eq!(daemon.put(&path("small", "1", "f"), small.clone()), 201);
    assert_eq!(daemon.put(&path("large", "1", "f"), large.clone()), 201);
    assert_eq!(verify(&daemon.data(), &[]).0, Some(3), "in use");
    daemon.kill9();
    let (code, text) = verify(&daemon.data(), &["--index"]);
    assert_eq!(code, Some(0), "after a kill: {text}");
    daemon.start();
    daemon.terminate();
    let before = contents(&daemon.data());
    let (code, text) = verify(&daemon.data(), &["--index"]);
    assert_eq!(code, Some(0), "{text}");
    rot(&daemon.data().join("journal"), &small[100..150]);
    rot(&daemon.data().join("segments"), &large[4 * MIB..4 * MIB + 50]);
    let rotten = contents(&daemon.data());
    assert_ne!(before, rotten);
    let (code, text) = verify(&daemon.data(), &[]);
    assert_eq!(code, Some(1), "{text}");
    for part in [
        "journal/",
        "segments/",
        "used by admin/small/1/f",
        "used by admin/large/1/f",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
    let (code, text) = verify(&daemon.data(), &["--json", "--index"]);
    let report: serde_json::Value = serde_json::from_str(&text).expect("it is JSON");
    assert_eq!(code, Some(1));
    assert_eq!(report["problems"].as_array().map(Vec::len), Some(2), "{text}");
    assert!(contents(&daemon.data()) == rotten, "nothing is written");
}

#[test]
fn the_scrub_finds_damage_that_nobody_asked_for_and_the_same_bytes_heal_it() {
    let mut daemon = Setup::default()
        .config("[scrub]\nrate = \"1GiB\"\nevery = \"1s\"\n")
        .start();
    let (small, large) = (seeded_bytes(73, 5000), seeded_bytes(74, 5 * MIB));
    let files = [
        (path("small", "1", "f"), small.clone()),
        (path("large", "1", "f"), large.clone()),
    ];
    for (target, body) in &files {
        assert_eq!(daemon.put(target, body.clone()), 201);
    }
    daemon.terminate();
    rot(&daemon.data().join("journal"), &small[100..150]);
    rot(&daemon.data().join("segments"), &large[100..150]);
    daemon.start();
    let named = within(PATIENCE, || {
        let log = daemon.stderr();
        log.contains("admin/small/1/f") && log.contains("admin/large/1/f")
    });
    assert!(named, "the log names the files: {}", daemon.stderr());
    assert_eq!(daemon.metric("larder_store_damaged_chunks", ""), 2);
    // Files are named while the pass is still under way.
    let counted = within(PATIENCE, || {
        daemon.metric("larder_scrub_damaged", "") >= 2
            && daemon.metric("larder_scrub_bytes_total", "") > 5 * MIB as u64
    });
    assert!(counted, "what the pass found and read is counted");
    // Nobody waits until it is written down, but commits come in order.
    assert_eq!(daemon.put(&path("behind", "1", "f"), "x"), 201);
    daemon.kill9();
    daemon.start();
    assert_eq!(
        daemon.metric("larder_store_damaged_chunks", ""),
        2,
        "known at once"
    );
    for (target, body) in &files {
        let answer = daemon.get(target);
        assert_eq!(answer.status, 500, "{target}: {}", answer.text());
        assert_eq!(daemon.put(target, body.clone()), 201, "{target} heals");
        daemon.assert_serves(target, body);
    }
    assert_eq!(daemon.metric("larder_store_damaged_chunks", ""), 0);
    daemon.kill9();
    daemon.start();
    for (target, body) in &files {
        daemon.assert_serves(target, body);
    }
    assert_eq!(daemon.metric("larder_store_damaged_chunks", ""), 0);
}
