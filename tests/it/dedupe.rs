//! Equal bytes are stored once: within an owner, across owners, and in parts of bodies.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use crate::support::{Daemon, MIB, Setup, file_path, path, seeded_bytes};

/// Bytes allocated on disk below `directory`.
fn allocated(directory: &Path) -> u64 {
    let mut sum = 0;
    for entry in fs::read_dir(directory).expect("the data directory can be read") {
        let entry = entry.expect("an entry can be read");
        match entry.metadata() {
            Ok(metadata) if metadata.is_dir() => sum += allocated(&entry.path()),
            Ok(metadata) => sum += metadata.blocks() * 512,
            // Files of the index come and go.
            Err(_) => {}
        }
    }
    sum
}

/// Bytes that uploads brought so far: (new to the store, known before).
fn uploaded(daemon: &Daemon) -> (u64, u64) {
    (
        daemon.metric("larder_upload_bytes_total", "dedupe=\"new\""),
        daemon.metric("larder_upload_bytes_total", "dedupe=\"known\""),
    )
}

/// Publishes `body` and returns how many of its bytes were new and how many known.
fn publish(daemon: &Daemon, target: &str, body: &[u8]) -> (u64, u64) {
    let before = uploaded(daemon);
    assert_eq!(daemon.put(target, body), 201, "{target}");
    let after = uploaded(daemon);
    (after.0 - before.0, after.1 - before.1)
}

#[test]
fn equal_bodies_are_stored_once_for_all_names_and_owners() {
    let daemon = Setup::default().start();
    daemon.create_user("alice", "a long password", "private");
    for (kind, size) in [("small", 5_000), ("middle", 700_000), ("big", 8 * MIB)] {
        let body = seeded_bytes(41, size);
        let size = size as u64;
        assert_eq!(
            publish(&daemon, &path(kind, "1", "f"), &body),
            (size, 0),
            "{kind}: first"
        );
        assert_eq!(
            publish(&daemon, &path(kind, "2", "g"), &body),
            (0, size),
            "{kind}: another version"
        );
        assert_eq!(
            publish(&daemon, &file_path("alice", kind, "1", "f"), &body),
            (0, size),
            "{kind}: another owner"
        );
        for target in [
            path(kind, "1", "f"),
            path(kind, "2", "g"),
            file_path("alice", kind, "1", "f"),
        ] {
            daemon.assert_serves(&target, &body);
        }
        // Removing one name does not take the bytes from the others.
        assert_eq!(daemon.delete(&path(kind, "1", "f")), 204);
        daemon.assert_serves(&path(kind, "2", "g"), &body);
    }
}

#[test]
fn the_disk_shows_it() {
    let daemon = Setup::default().start();
    let body = seeded_bytes(42, 16 * MIB);
    assert_eq!(daemon.put(&path("same", "0", "f"), body.clone()), 201);
    let before = allocated(&daemon.data());
    assert!(before >= body.len() as u64, "the first copy is there: {before}");
    for version in 1..12 {
        assert_eq!(
            daemon.put(&path("same", &version.to_string(), "f"), body.clone()),
            201
        );
    }
    let grown = allocated(&daemon.data()).saturating_sub(before);
    // Eleven copies are 176 MiB; what grows is names, and files that are allocated ahead.
    assert!(grown < 48 * MIB as u64, "eleven more names took {grown} bytes");
    daemon.assert_serves(&path("same", "11", "f"), &body);
}

#[test]
fn a_small_change_in_a_large_body_adds_little() {
    let daemon = Setup::default().start();
    let original = seeded_bytes(43, 16 * MIB);
    assert_eq!(
        publish(&daemon, &path("changed", "0", "f"), &original).0,
        original.len() as u64
    );

    let mut overwritten = original.clone();
    let (from, length) = (5 * MIB, original.len() / 100);
    overwritten[from..from + length].copy_from_slice(&seeded_bytes(44, length));
    let mut inserted = original.clone();
    inserted.splice(MIB..MIB, seeded_bytes(45, 100));
    let mut shortened = original.clone();
    shortened.drain(9 * MIB..9 * MIB + 77);
    let mut appended = original.clone();
    appended.extend(seeded_bytes(46, 1_000));
    let rows = [
        ("overwritten", overwritten),
        ("inserted", inserted),
        ("shortened", shortened),
        ("appended", appended),
    ];
    for (what, body) in rows {
        let (new, known) = publish(&daemon, &path("changed", what, "f"), &body);
        assert_eq!(new + known, body.len() as u64, "{what}");
        // The change itself, and the rest of the chunks (at most 2 MiB each) that it touches.
        assert!(new > 0 && new <= 6 * MIB as u64, "{what}: {new} new bytes");
        daemon.assert_serves(&path("changed", what, "f"), &body);
    }
}

#[test]
fn dedupe_survives_a_restart() {
    let mut daemon = Setup::default().start();
    let body = seeded_bytes(47, 4 * MIB);
    assert_eq!(daemon.put(&path("kept", "1", "f"), body.clone()), 201);
    for round in 0..2_u64 {
        match round {
            0 => daemon.kill9(),
            _ => daemon.terminate(),
        }
        daemon.start();
        let (new, known) = publish(&daemon, &path("kept", &format!("again-{round}"), "f"), &body);
        assert_eq!((new, known), (0, body.len() as u64), "round {round}");
    }
}
