//! docs/format.md says what is on disk: a decoder written from it alone explains every byte of a store that has all
//! kinds of content, and finds in it what was uploaded.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use larder::chunk::ChunkerParams;
use larder::store::{Options, Store};
use serde_json::{Value, json};

use crate::fixture::{Quiet, SIZES, body, fixture};
use crate::support::{
    Daemon, PATIENCE, Request, Setup, blake3_hex, found, path, seeded_bytes, version_path, within,
};

/// A live file as the decoder names it: package, version, file, size, blake3.
type Name = (String, String, String, u64, String);

fn name(package: &str, version: &str, file: &str, body: &[u8]) -> Name {
    let owned = [package, version, file].map(str::to_owned);
    let [package, version, file] = owned;
    (package, version, file, body.len() as u64, blake3_hex(body))
}

fn run_decoder(data: &Path) -> Output {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/format/decode.py");
    let output = Command::new("python3").arg(script).arg(data).output();
    output.expect("python3 runs")
}

/// What the decoder says of a store that it explains.
#[track_caller]
fn decoded(data: &Path) -> (BTreeSet<Name>, Value) {
    let output = run_decoder(data);
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let said: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let names = said["names"].as_array().expect("names").iter().map(|item| {
        let text = |field: &str| item[field].as_str().expect("a text").to_owned();
        let size = item["size"].as_u64().expect("a size");
        (
            text("package"),
            text("version"),
            text("file"),
            size,
            text("blake3"),
        )
    });
    (names.collect(), said["records"].clone())
}

#[test]
fn the_fixture_is_explained() {
    if !found("the_fixture_is_explained", &["python3"]) {
        return;
    }
    let (names, _) = decoded(fixture());
    let mut expected = BTreeSet::new();
    for number in (0..SIZES.len()).filter(|number| *number != 4) {
        expected.insert(name("Tool", &format!("1.{number}"), "App.bin", &body(number)));
    }
    for number in 0..3 {
        expected.insert(name("kept", "1", &format!("F{number}"), b"kept"));
    }
    expected.insert(name("cached", "Key", "blob", &body(2)));
    expected.insert(name("again", "1", "same", &body(4)));
    assert_eq!(names, expected);
}

#[test]
fn a_store_of_all_kinds_of_content_is_explained_and_a_flipped_byte_is_not() {
    if !found("a_store_of_all_kinds_of_content_is_explained", &["python3"]) {
        return;
    }
    let mut daemon = prepared();
    daemon.start();
    daemon.fetch_admin_token();
    let expected = publish(&daemon);
    set_all_kinds(&daemon);
    // The files of a run are sealed when it ends, and only sealed ones are compacted.
    daemon.terminate();
    daemon.start();
    remove(&daemon);
    daemon.terminate();
    let (names, records) = decoded(&daemon.data());
    assert_eq!(names, expected);
    for kind in KINDS {
        assert!(records[kind].as_u64() > Some(0), "no {kind}: {records}");
    }
    daemon.start();
    collect(&daemon);
    // Files that are not sealed, with their preallocated ends.
    daemon.kill9();
    let (names, records) = decoded(&daemon.data());
    assert_eq!(names, expected, "not sealed");
    assert!(records["file not sealed"].as_u64() > Some(0), "{records}");
    daemon.start();
    daemon.terminate();
    let (names, records) = decoded(&daemon.data());
    assert_eq!(names, expected, "after a collection");
    assert!(records["drop"].as_u64() > Some(0), "{records}");
    assert_flips_are_found(&daemon.data());
}

/// What is asked for below; of the types in docs/format.md only those are missing that take thousands of files
/// (sweep), damage (quarantine) or a collection (drop).
const KINDS: [&str; 21] = [
    "checksums",
    "chunk of a segment",
    "chunk of the journal",
    "manifest",
    "places",
    "publish",
    "remove file",
    "remove version",
    "remove package",
    "account",
    "remove account",
    "token",
    "token revoked",
    "token uses",
    "member",
    "member left",
    "totals",
    "settings",
    "pin",
    "unpin",
    "rules",
];

/// A daemon on a new store whose chunks are small.
fn prepared() -> Daemon {
    let daemon = Setup::default()
        .config("[store]\ninline_limit = \"2KiB\"\n\n")
        .policy("*/kept", "write-once")
        .prepare();
    let mut small = Options::at(daemon.data());
    small.chunking = ChunkerParams {
        min_size: 1024,
        avg_size: 2048,
        max_size: 4096,
    };
    Store::open(small, &Quiet).expect("a store").close();
    daemon
}

/// Small, medium and large files, duplicates, and what [`remove`] takes away; what is left then.
fn publish(daemon: &Daemon) -> BTreeSet<Name> {
    let mut left = BTreeSet::new();
    for (number, size) in [0, 1, 900, 3_000, 60_000].into_iter().enumerate() {
        let bytes = seeded_bytes(size as u64, size);
        for package in ["app", "twin"] {
            let version = format!("1.{number}");
            assert_eq!(
                daemon.put(&path(package, &version, "App.bin"), bytes.clone()),
                201
            );
            left.insert(name(package, &version, "App.bin", &bytes));
        }
    }
    // The sha256 of "abc", from FIPS 180.
    let sha256 = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
    let checked = Request::put(&path("app", "checked", "abc"), "abc").header("X-Checksum-Sha256", sha256);
    assert_eq!(daemon.as_admin(checked).status, 201);
    left.insert(name("app", "checked", "abc", b"abc"));
    for file in ["f", "F"] {
        assert_eq!(daemon.put(&path("kept", "1", file), file), 201);
        left.insert(name("kept", "1", file, file.as_bytes()));
    }
    for (package, version, seed) in [
        ("app", "file", 1),
        ("app", "version", 2),
        ("gone", "1", 3),
        ("gone", "2", 4),
    ] {
        let bytes = seeded_bytes(seed, 50_000);
        assert_eq!(daemon.put(&path(package, version, "f"), bytes), 201);
    }
    left
}

/// Accounts, members, tokens, settings, rules, pins and checksums.
fn set_all_kinds(daemon: &Daemon) {
    let ask = |method: &str, target: &str, fields: Value| {
        let answer = daemon.as_admin(Request::new(method, target).json(&fields));
        let status = answer.status;
        assert!(
            (200..300).contains(&status),
            "{method} {target}: {}",
            answer.text()
        );
        answer
    };
    daemon.create_user("alice", "password of alice", "limited");
    daemon.create_user("bob", "password of bob", "private");
    ask(
        "POST",
        "/api/v1/orgs",
        json!({"username": "tools", "visibility": "private"}),
    );
    for user in ["alice", "bob"] {
        let member = format!("/api/v1/orgs/tools/members/{user}");
        ask("PUT", &member, json!({"permission": "write"}));
    }
    assert_eq!(daemon.delete("/api/v1/orgs/tools/members/alice"), 204);
    daemon.create_token("bob", &["read:package"]);
    let narrowed = json!({"name": "ci", "scopes": ["all"], "packages": ["tools/app*"], "expires_at": "2099-01-01T00:00:00Z"});
    let token = ask("POST", "/api/v1/users/alice/tokens", narrowed).json();
    let revoked = format!("/api/v1/users/alice/tokens/{}", token["id"]);
    assert_eq!(daemon.delete(&revoked), 204);
    assert_eq!(daemon.delete("/api/v1/admin/users/bob?purge=true"), 204);
    daemon.set_owner(
        "alice",
        json!({"policy": "cache", "max_bytes": "1GiB", "max_versions": 7}),
    );
    let rules = json!([{"packages": "none*", "keep_newest": 3, "keep": ["v*"], "remove": ["n*"], "remove_older_than": "1h"}]);
    ask(
        "PUT",
        "/api/v1/admin/owners/admin/retention",
        json!({"rules": rules}),
    );
    for version in ["1.0", "1.1"] {
        let pin = format!("/api/v1/packages/admin/generic/app/{version}/-/pin");
        assert_eq!(daemon.as_admin(Request::new("PUT", &pin)).status, 204);
    }
    assert_eq!(daemon.delete("/api/v1/packages/admin/generic/app/1.1/-/pin"), 204);
    let files = daemon.get("/api/v1/packages/admin/generic/app/1.4/files");
    assert!(files.text().contains("sha256"), "{}", files.text());
}

fn remove(daemon: &Daemon) {
    assert_eq!(daemon.delete(&path("app", "file", "f")), 204);
    assert_eq!(daemon.delete(&version_path("app", "version")), 204);
    assert_eq!(daemon.delete("/api/v1/packages/admin/generic/gone"), 204);
}

/// A full pass and the compaction in it.
fn collect(daemon: &Daemon) {
    let passes = || daemon.metric("larder_gc_runs_total", "result=\"ok\"");
    let before = passes();
    let answer = daemon.as_admin(Request::new("POST", "/api/v1/admin/gc"));
    assert_eq!(answer.status, 202, "{}", answer.text());
    let expected = before + 1 + u64::from(answer.json()["queued"] == true);
    assert!(within(PATIENCE, || passes() >= expected), "no pass");
    let removed = daemon.metric("larder_compaction_removed_files_total", "kind=\"segment\"");
    assert!(removed > 0, "nothing was compacted");
}

/// A byte of another value, anywhere: header, payload, padding, footer, trailer.
fn assert_flips_are_found(data: &Path) {
    let first = |part: &str| -> PathBuf {
        let entries = fs::read_dir(data.join(part)).expect("a directory");
        let mut files: Vec<_> = entries.map(|entry| entry.expect("an entry").path()).collect();
        files.sort();
        files.swap_remove(0)
    };
    for part in ["journal", "segments"] {
        let path = first(part);
        let bytes = fs::read(&path).expect("a log file");
        for at in [9, 100, 4096 + 20, 4096 + 70, bytes.len() - 30, bytes.len() - 6] {
            let mut harmed = bytes.clone();
            harmed[at] ^= 4;
            fs::write(&path, &harmed).expect("it can be written");
            let output = run_decoder(data);
            let said = String::from_utf8_lossy(&output.stderr).into_owned();
            assert_eq!(output.status.code(), Some(1), "{part} at {at}: {said}");
            let file = path.file_name().expect("a name").to_string_lossy();
            assert!(said.contains(&*file), "{part} at {at}: {said}");
        }
        fs::write(&path, &bytes).expect("it can be written");
    }
}
