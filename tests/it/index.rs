//! The index is disposable: deleted or rebuilt, the daemon serves the same, byte for byte (DESIGN.md §7, invariant 4).

use std::fs;

use serde_json::json;

use crate::support::{
    Daemon, MIB, Request, Setup, basic, bearer, blake3_hex, file_path, path, seeded_bytes, version_path,
};

/// A daemon with a past: publications of all sizes and policies, replacements, removals, accounts and tokens.
struct Past {
    daemon: Daemon,
    /// Every name that was ever published.
    targets: Vec<String>,
    /// Tokens of users, with the owner they write to.
    tokens: Vec<(String, String)>,
}

impl Past {
    fn new() -> Self {
        let daemon = Setup::default()
            .policy("admin/cached*", "cache")
            .policy("admin/joined*", "package")
            .policy("*/kept", "write-once")
            .start();
        let mut past = Past {
            daemon,
            targets: Vec::new(),
            tokens: Vec::new(),
        };
        past.publish_files();
        past.create_accounts();
        past
    }

    fn publish(&mut self, target: String, body: Vec<u8>) {
        let status = self.daemon.put(&target, body);
        assert!(matches!(status, 200 | 201), "PUT {target}: {status}");
        if !self.targets.contains(&target) {
            self.targets.push(target);
        }
    }

    fn publish_files(&mut self) {
        for number in 0..30_u64 {
            let size = [0, 1, 900, 70_000, 300_000, 3 * MIB][number as usize % 6];
            self.publish(
                path("Tool", &format!("1.{number}"), "App.bin"),
                seeded_bytes(number, size),
            );
        }
        for number in 0..12_u64 {
            self.publish(
                path("joined", "1", &format!("f{number}")),
                seeded_bytes(100 + number, 5_000),
            );
            // The same key again and again: only the last counts. And equal bytes under several names.
            self.publish(
                path("cached", "Key", &format!("k{}", number % 3)),
                seeded_bytes(200 + number, 40_000),
            );
            self.publish(
                path("kept", "%C3%BC%2Fx", &format!("K{}", number % 2)),
                vec![7; 100],
            );
        }
        for number in (0..30).step_by(4) {
            assert_eq!(
                self.daemon
                    .delete(&path("tool", &format!("1.{number}"), "App.bin")),
                204
            );
        }
        assert_eq!(self.daemon.delete(&path("joined", "1", "f3")), 204);
        assert_eq!(self.daemon.delete(&version_path("kept", "%C3%BC%2Fx")), 204);
        self.publish(path("kept", "%C3%BC%2Fx", "K1"), b"published again".to_vec());
        assert_eq!(self.daemon.delete(&path("cached", "Key", "k2")), 204);
        self.publish(path("tool", "1.4", "app.BIN"), b"a second life".to_vec());
    }

    fn create_accounts(&mut self) {
        for (name, visibility) in [("alice", "public"), ("priya", "private"), ("Limes", "limited")] {
            self.daemon
                .create_user(name, &format!("password of {name}"), visibility);
            let token = self.daemon.create_token(name, &["write:package"]);
            self.tokens.push((token, name.to_owned()));
            self.publish(file_path(name, "tool", "1", "f"), name.as_bytes().to_vec());
        }
        self.daemon.create_user_with(json!({
            "username": "gone", "password": "password of gone", "visibility": "public", "active": false,
        }));
    }

    /// Everything a client can see, as text: one line for each name and each caller.
    fn view(&self) -> String {
        let mut view = String::new();
        for target in &self.targets {
            let answer = self.daemon.get(target);
            let header = |name: &str| answer.header(name).unwrap_or("-").to_owned();
            view += &format!(
                "{target}: {} {} {} {} {} {}\n",
                answer.status,
                answer.body.len(),
                blake3_hex(&answer.body),
                header("etag"),
                header("last-modified"),
                header("content-disposition"),
            );
            view += &format!(
                "  anonymous: {}\n",
                self.daemon.send(&Request::get(target)).status
            );
            for (token, name) in &self.tokens {
                let status = self
                    .daemon
                    .send(&Request::get(target).header("Authorization", bearer(token)))
                    .status;
                view += &format!("  {name}: {status}\n");
            }
        }
        for name in ["alice", "gone"] {
            let credentials = basic(name, &format!("password of {name}"));
            let request = Request::get(&path("none", "1", "f")).header("Authorization", credentials);
            view += &format!("password of {name}: {}\n", self.daemon.send(&request).status);
        }
        view
    }

    fn remove_index(&self) {
        let index = self.daemon.data().join("index");
        assert!(index.is_dir(), "the index is where DESIGN.md says");
        fs::remove_dir_all(index).unwrap();
    }

    /// The store goes on: taken names are taken, tokens write, new names are free.
    fn assert_goes_on(&self, round: &str) {
        assert_eq!(
            self.daemon.put(&path("TOOL", "1.1", "other"), "x"),
            400,
            "release remembers"
        );
        assert_eq!(
            self.daemon.put(&path("joined", "1", "F1"), "x"),
            409,
            "package remembers"
        );
        for (token, name) in &self.tokens {
            let target = file_path(name, "after", round, "f");
            let put = Request::put(&target, "x").header("Authorization", bearer(token));
            assert_eq!(self.daemon.send(&put).status, 201, "{name}'s token");
        }
    }
}

#[track_caller]
fn assert_same(before: &str, after: &str, what: &str) {
    for (old, new) in before.lines().zip(after.lines()) {
        assert_eq!(old, new, "{what}");
    }
    assert_eq!(before.lines().count(), after.lines().count(), "{what}");
}

#[test]
fn a_deleted_index_is_built_again_from_the_log() {
    let mut past = Past::new();
    let before = past.view();
    assert!(before.contains(": 200 ") && before.contains(": 404 "), "{before}");

    past.daemon.terminate();
    past.remove_index();
    past.daemon.start();
    assert_same(&before, &past.view(), "deleted after a clean stop");
    past.assert_goes_on("clean");

    past.daemon.kill9();
    past.remove_index();
    past.daemon.start();
    assert_same(&before, &past.view(), "deleted after kill -9");
    past.assert_goes_on("killed");
}

#[test]
fn rebuild_index_builds_the_same() {
    let mut past = Past::new();
    let before = past.view();
    for (round, clean) in [("clean", true), ("killed", false)] {
        match clean {
            true => past.daemon.terminate(),
            false => past.daemon.kill9(),
        }
        let output = past.daemon.run(&["rebuild-index"], "");
        assert_eq!(
            output.status.code(),
            Some(0),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
        past.daemon.start();
        assert_same(&before, &past.view(), round);
        past.assert_goes_on(round);
    }
}

#[test]
fn rebuild_index_leaves_a_running_daemon_alone() {
    let daemon = Setup::default().start();
    assert_eq!(daemon.put(&path("tool", "1", "f"), "x"), 201);
    let output = daemon.run(&["rebuild-index"], "");
    assert_eq!(
        output.status.code(),
        Some(3),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    daemon.assert_serves(&path("tool", "1", "f"), b"x");
    assert_eq!(daemon.put(&path("tool", "2", "f"), "x"), 201);
}

#[test]
fn rebuild_index_of_no_store_says_so() {
    let daemon = Setup::default().prepare();
    let output = daemon.run(&["rebuild-index"], "");
    assert!(!output.status.success());
    assert!(!output.stderr.is_empty(), "says why");
    assert!(!daemon.data().join("store.toml").exists(), "and creates none");
}

#[test]
fn a_damaged_index_is_not_trusted() {
    let mut past = Past::new();
    let before = past.view();
    past.daemon.terminate();
    let index = past.daemon.data().join("index");
    for entry in fs::read_dir(&index).unwrap() {
        let file = entry.unwrap().path();
        if file.is_file() {
            // Not even the beginning of what was there.
            fs::write(&file, seeded_bytes(5, 4096)).unwrap();
        }
    }
    past.daemon.start();
    assert_same(&before, &past.view(), "index overwritten");
}

#[test]
fn damage_that_shows_only_later_is_never_a_404() {
    let mut past = Past::new();
    let before = past.view();
    past.daemon.terminate();
    // sled writes a snapshot as it opens: with one it opens without reading its pages.
    past.daemon.start();
    past.daemon.terminate();
    let path = past.daemon.data().join("index/db");
    let mut bytes = fs::read(&path).unwrap();
    let used = bytes.iter().rposition(|byte| *byte != 0).unwrap();
    for at in (0..used).step_by(512) {
        bytes[at] ^= 0x55;
    }
    fs::write(&path, &bytes).unwrap();
    past.daemon.start();
    assert_same(&before, &past.view(), "index damaged");
    past.assert_goes_on("damaged");
    assert_eq!(
        past.daemon.send(&Request::get("/readyz")).status,
        200,
        "and it is ready again"
    );
}
