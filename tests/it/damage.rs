//! Damage is no miss and is never served (API.md §1, Damage): stored bytes are changed behind the daemon's back.

use std::fs;
use std::os::unix::fs::FileExt;
use std::path::Path;

use crate::support::{Daemon, MIB, Request, Setup, path, seeded_bytes};

/// Flips one bit of every place on disk that holds `piece`; returns the number of places.
fn damage(directory: &Path, piece: &[u8]) -> usize {
    let mut places = 0;
    for entry in fs::read_dir(directory).expect("the data directory can be read") {
        let file = entry.expect("an entry can be read").path();
        if file.is_dir() {
            places += damage(&file, piece);
            continue;
        }
        let Ok(bytes) = fs::read(&file) else { continue };
        for (at, window) in bytes.windows(piece.len()).enumerate() {
            if window == piece {
                let opened = fs::File::options()
                    .write(true)
                    .open(&file)
                    .expect("a file of the store");
                opened
                    .write_all_at(&[window[0] ^ 1], at as u64)
                    .expect("a byte can be changed");
                places += 1;
            }
        }
    }
    places
}

/// Publishes `body` under `name`, stops, damages the bytes around `at`, and starts again.
fn damaged(daemon: &mut Daemon, name: &str, body: &[u8], at: usize) -> String {
    let target = path(name, "1", "f");
    let status = daemon.put(&target, body);
    assert!(matches!(status, 200 | 201), "{name}: {status}");
    daemon.terminate();
    assert!(
        damage(&daemon.data(), &body[at..at + 24]) > 0,
        "{name}: the bytes are on disk as they are"
    );
    daemon.start();
    target
}

#[test]
fn damage_is_500_and_under_cache_a_miss() {
    let mut daemon = Setup::default().policy("admin/cache*", "cache").start();
    for (size, kind) in [(5_000, "small"), (700_000, "middle"), (5 * MIB, "big")] {
        let release = damaged(&mut daemon, &format!("tool-{kind}"), &seeded_bytes(81, size), 100);
        let answer = daemon.get(&release);
        assert_eq!(
            (answer.status, answer.text().as_str()),
            (500, "stored data is damaged"),
            "{kind}"
        );
        let cached = damaged(
            &mut daemon,
            &format!("cache-{kind}"),
            &seeded_bytes(82, size),
            100,
        );
        assert_eq!(daemon.get(&cached).status, 404, "{kind}, cache");
        assert_eq!(daemon.put(&cached, "built again"), 200, "{kind}, cache");
        daemon.assert_serves(&cached, b"built again");
    }
    assert_eq!(
        daemon.send(&Request::get("/readyz")).status,
        200,
        "damage does not make the daemon unready"
    );
}

#[test]
fn a_download_stops_before_damaged_bytes() {
    let mut daemon = Setup::default().start();
    let body = seeded_bytes(83, 12 * MIB);
    let target = damaged(&mut daemon, "late", &body, 11 * MIB);
    let mut connection = daemon.connect();
    connection
        .write(&daemon.authorized(Request::get(&target)).head_bytes())
        .unwrap();
    match connection.read_response("GET") {
        // Too late for a status: the body must end early, and the client knows from the length.
        Err(error) => assert_eq!(error.kind(), std::io::ErrorKind::UnexpectedEof, "{error}"),
        Ok(answer) => assert_eq!(answer.status, 500),
    }
    let fine = daemon.send(&Request::get(&target).header("Range", "bytes=0-99"));
    assert_eq!(
        (fine.status, fine.body.as_slice()),
        (206, &body[..100]),
        "what is not damaged is served"
    );
}

#[test]
fn the_same_bytes_heal_and_others_are_for_the_policy() {
    let mut daemon = Setup::default().start();
    for (kind, size) in [("small", 5_000), ("big", 5 * MIB)] {
        let body = seeded_bytes(84, size);
        let target = damaged(&mut daemon, kind, &body, 100);
        assert_eq!(daemon.get(&target).status, 500, "{kind}");
        assert_eq!(
            daemon.put(&target, "other bytes"),
            400,
            "{kind}: a release is no less taken for being damaged"
        );
        assert_eq!(
            daemon.put(&target, body.clone()),
            201,
            "{kind}: the recorded bytes heal it"
        );
        daemon.assert_serves(&target, &body);
        daemon.kill9();
        daemon.start();
        daemon.assert_serves(&target, &body);
    }
}
