//! docs/format.md says all of it: a decoder that goes by that page, and takes the layout of payloads from it,
//! explains every byte of a store and finds the files that the API served.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use serde_json::{Value, json};

use crate::fixture;
use crate::support::{Daemon, PATIENCE, Request, Setup, file_path, found, seeded_bytes, within};

/// Types of records that carry another digest than that of their payload: chunks have it, too, but a manifest and
/// checksums have their blob's.
const OF_THEIR_BLOB: [u64; 2] = [2, 21];
/// All types but quarantine, which takes damage, and the steps that sweep what is large: these have tests of their own.
const EVERY_TYPE: &[u64] = &[
    1, 2, 3, 4, 5, 6, 7, 8, 9, 11, 13, 14, 15, 16, 17, 18, 20, 21, 22, 32, 33, 34, 40,
];

/// Runs the decoder on a data directory or a backup.
pub fn decode(data: &Path) -> Output {
    let repository = Path::new(env!("CARGO_MANIFEST_DIR"));
    Command::new("python3")
        .arg(repository.join("tests/format/decode.py"))
        .arg(repository.join("docs/format.md"))
        .arg(data)
        .output()
        .expect("python3 runs")
}

/// What the decoder found, which must explain everything.
pub fn decoded(data: &Path) -> Value {
    let output = decode(data);
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    serde_json::from_slice(&output.stdout).expect("JSON")
}

/// The bytes at these places of the log.
fn bytes_at(data: &Path, extents: &Value) -> Vec<u8> {
    let mut bytes = Vec::new();
    for extent in extents.as_array().unwrap() {
        let file = fs::read(data.join(extent[0].as_str().unwrap())).unwrap();
        let (at, len) = (
            extent[1].as_u64().unwrap() as usize,
            extent[2].as_u64().unwrap() as usize,
        );
        bytes.extend(&file[at..at + len]);
    }
    bytes
}

/// The live files by package, version and name; what their bytes are must be what their digests say.
pub fn live(data: &Path, decoded: &Value) -> BTreeMap<[String; 3], Vec<u8>> {
    let files = decoded["live"].as_array().unwrap().iter();
    files
        .map(|file| {
            let name = ["package", "version", "file"].map(|key| file[key].as_str().unwrap().to_owned());
            let bytes = bytes_at(data, &file["extents"]);
            assert_eq!(file["size"], bytes.len(), "{name:?}");
            assert_eq!(file["blob"], blake3::hash(&bytes).to_hex().as_str(), "{name:?}");
            (name, bytes)
        })
        .collect()
}

/// The digests of records are those of what they hold. Returns the types that there are.
pub fn types(data: &Path, decoded: &Value) -> BTreeSet<u64> {
    let mut types = BTreeSet::new();
    for record in decoded["records"].as_array().unwrap() {
        let type_ = record["type"].as_u64().unwrap();
        types.insert(type_);
        if !OF_THEIR_BLOB.contains(&type_) {
            let at = record["at"].as_u64().unwrap() + 64;
            let held = bytes_at(data, &json!([[record["file"], at, record["len"]]]));
            assert_eq!(
                record["digest"],
                blake3::hash(&held).to_hex().as_str(),
                "{record}"
            );
        }
    }
    types
}

/// What is in the data directory and not in the drawing of it.
fn not_drawn(data: &Path) -> BTreeSet<String> {
    let page = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/format.md")).unwrap();
    let tree = page.split("```").nth(1).unwrap();
    let drawn: BTreeSet<&str> = tree
        .lines()
        .filter(|line| line.starts_with("  "))
        .flat_map(|line| line.split_whitespace().take(2))
        .map(|name| name.split('/').next().unwrap())
        .collect();
    let names = fs::read_dir(data)
        .unwrap()
        .map(|entry| entry.unwrap().file_name());
    let names = names.map(|name| name.into_string().unwrap());
    names.filter(|name| !drawn.contains(name.as_str())).collect()
}

/// Does everything that leaves a record; returns what is live at the end.
fn fill(daemon: &Daemon) -> BTreeMap<[String; 3], Vec<u8>> {
    let call = |method: &str, path: &str, fields: Value| {
        let answer = daemon.as_admin(Request::new(method, path).json(&fields));
        assert!(
            (200..300).contains(&answer.status),
            "{method} {path}: {}",
            answer.text()
        );
        answer
    };
    let mut files = BTreeMap::new();
    let mut put = |package: &str, version: &str, body: Vec<u8>| {
        assert_eq!(
            daemon.put(&file_path("admin", package, version, "F"), body.clone()),
            201
        );
        files.insert([package, version, "F"].map(str::to_owned), body);
    };
    for (number, size) in [0, 1, 700, 5_000, 300_000, 3_000_000].into_iter().enumerate() {
        put("sizes", &number.to_string(), seeded_bytes(number as u64, size));
    }
    // The sha256 of "abc", from FIPS 180: a file that has one in its own record.
    let sha256 = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
    let target = file_path("admin", "checked", "1", "F");
    let checked = Request::put(&target, "abc").header("X-Checksum-Sha256", sha256);
    assert_eq!(daemon.as_admin(checked).status, 201);
    put("again", "1", seeded_bytes(5, 3_000_000));
    for version in ["1", "2"] {
        put("whole", version, seeded_bytes(50, 900_000));
        put("single", version, seeded_bytes(51, 400));
    }
    put("file", "1", seeded_bytes(52, 400_000));
    for (method, path, fields) in [
        (
            "POST",
            "/api/v1/admin/users",
            json!({"username": "alice", "password": "a long password"}),
        ),
        (
            "POST",
            "/api/v1/admin/users",
            json!({"username": "bob", "password": "a long password"}),
        ),
        ("POST", "/api/v1/orgs", json!({"username": "crew"})),
        (
            "PUT",
            "/api/v1/orgs/crew/members/alice",
            json!({"permission": "write"}),
        ),
        (
            "PUT",
            "/api/v1/orgs/crew/members/bob",
            json!({"permission": "read"}),
        ),
        (
            "POST",
            "/api/v1/users/bob/tokens",
            json!({"name": "old", "scopes": ["read:package"]}),
        ),
        (
            "POST",
            "/api/v1/users/alice/tokens",
            json!({
                "name": "ci", "scopes": ["all"], "expires_at": "2099-01-01T00:00:00Z",
                "grants": [{"packages": "crew/app*", "permission": "write"}],
            }),
        ),
        (
            "PATCH",
            "/api/v1/admin/owners/admin",
            json!({"max_bytes": 1_000_000_000}),
        ),
        (
            "PATCH",
            "/api/v1/admin/owners/alice",
            json!({"policy": "cache", "policies": [{"packages": "rel-*", "policy": "release"}], "max_versions": 7}),
        ),
        (
            "PUT",
            "/api/v1/admin/owners/admin/retention",
            json!({"rules": [{"packages": "sizes", "keep_newest": 50, "keep": ["1*"], "remove_older_than": "90d"}]}),
        ),
        ("PUT", "/api/v1/packages/admin/generic/sizes/1/-/pin", json!({})),
        ("PUT", "/api/v1/packages/admin/generic/sizes/2/-/pin", json!({})),
        (
            "DELETE",
            "/api/v1/packages/admin/generic/sizes/2/-/pin",
            json!({}),
        ),
        ("DELETE", "/api/v1/users/bob/tokens/old", json!({})),
        ("DELETE", "/api/v1/orgs/crew/members/bob", json!({})),
        ("DELETE", "/api/v1/admin/users/bob", json!({})),
        ("GET", "/api/v1/packages/admin/generic/sizes/4/files", json!({})),
        ("DELETE", "/api/v1/packages/admin/generic/whole", json!({})),
        ("DELETE", "/api/packages/admin/generic/single/1", json!({})),
        ("DELETE", "/api/packages/admin/generic/file/1/F", json!({})),
    ] {
        call(method, path, fields);
    }
    files.insert(["checked", "1", "F"].map(str::to_owned), b"abc".to_vec());
    files.retain(|[package, version, _], _| match package.as_str() {
        "whole" | "file" => false,
        "single" => version != "1",
        _ => true,
    });
    files
}

#[test]
fn every_byte_of_a_store_is_as_the_document_draws_it() {
    if !found("every_byte_of_a_store_is_as_the_document_draws_it", &["python3"]) {
        return;
    }
    let mut daemon = Setup::default().start();
    let files = fill(&daemon);
    daemon.terminate();
    let data = daemon.data();
    assert_eq!(not_drawn(&data), BTreeSet::<String>::new());
    let all = decoded(&data);
    assert_eq!(live(&data, &all), files);
    let mut seen = types(&data, &all);

    // Collected and compacted, and not sealed: as `kill -9` leaves it.
    daemon.start();
    assert_eq!(
        daemon.as_admin(Request::new("POST", "/api/v1/admin/gc")).status,
        202
    );
    let collected = || daemon.metric("larder_gc_runs_total", "result=\"ok\"") == 1;
    assert!(within(PATIENCE, collected));
    let compacted = daemon.metric("larder_compaction_removed_files_total", "kind=\"segment\"");
    assert!(compacted > 0, "no segment was compacted");
    assert_eq!(
        daemon.put(&file_path("admin", "late", "1", "F"), seeded_bytes(60, 700_000)),
        201
    );
    daemon.kill9();
    let all = decoded(&data);
    let late = live(&data, &all);
    assert!(files.iter().all(|file| late.get(file.0) == Some(file.1)));
    assert_eq!(late.len(), files.len() + 1);
    seen.extend(types(&data, &all));
    let missing: Vec<_> = EVERY_TYPE.iter().filter(|type_| !seen.contains(type_)).collect();
    assert!(
        missing.is_empty(),
        "the store has no records of types {missing:?}"
    );
}

#[test]
fn steps_that_sweep_what_is_large_are_as_the_document_draws_them() {
    if !found(
        "steps_that_sweep_what_is_large_are_as_the_document_draws_them",
        &["python3"],
    ) {
        return;
    }
    let mut daemon = Setup::default().policy("admin/*", "package").start();
    // More files than are removed in one step.
    for package in ["many", "more"] {
        for number in 0..300 {
            let target = file_path("admin", package, "1", &format!("F{number}"));
            assert_eq!(daemon.put(&target, "many"), 201);
        }
    }
    assert_eq!(daemon.put(&file_path("admin", "stays", "1", "F"), "many"), 201);
    assert_eq!(daemon.delete("/api/packages/admin/generic/many/1"), 204);
    assert_eq!(daemon.delete("/api/v1/packages/admin/generic/more"), 204);
    daemon.terminate();
    daemon.start();
    daemon.terminate();
    let data = daemon.data();
    let all = decoded(&data);
    let left = BTreeMap::from([(["stays", "1", "F"].map(str::to_owned), b"many".to_vec())]);
    assert_eq!(live(&data, &all), left);
    let seen = types(&data, &all);
    assert!(
        [6, 10, 18, 19].iter().all(|type_| seen.contains(type_)),
        "{seen:?}"
    );
}

/// Flips a bit of the first byte of a chunk, behind the store's back; done twice it is as it was.
fn flip(data: &Path, extent: &Value) {
    let path = data.join(extent[0].as_str().unwrap());
    let mut bytes = fs::read(&path).unwrap();
    bytes[extent[1].as_u64().unwrap() as usize] ^= 1;
    fs::write(path, bytes).unwrap();
}

#[test]
fn a_quarantine_is_as_the_document_draws_it() {
    if !found("a_quarantine_is_as_the_document_draws_it", &["python3"]) {
        return;
    }
    let mut daemon = Setup::default().config("[scrub]\nenabled = false\n").start();
    let (small, large) = (seeded_bytes(70, 5_000), seeded_bytes(71, 3_000_000));
    let targets = [("small", &small), ("large", &large)].map(|(package, body)| {
        let target = file_path("admin", package, "1", "F");
        assert_eq!(daemon.put(&target, body.clone()), 201);
        (target, body)
    });
    daemon.terminate();
    let data = daemon.data();
    let whole = decoded(&data);
    assert_eq!(whole["quarantined"], json!({}));
    let files = whole["live"].as_array().unwrap().iter();
    let first_chunks: Vec<&Value> = files.map(|file| &file["extents"][0]).collect();
    first_chunks.iter().for_each(|chunk| flip(&data, chunk));
    daemon.start();
    for (target, _) in &targets {
        assert_eq!(daemon.get(target).status, 500, "{target}");
    }
    assert!(within(PATIENCE, || daemon
        .metric("larder_store_damaged_chunks", "")
        == 2));
    daemon.terminate();
    assert_eq!(decode(&data).status.code(), Some(1), "damage is not explained");
    first_chunks.iter().for_each(|chunk| flip(&data, chunk));
    let after = decoded(&data);
    assert!(types(&data, &after).contains(&12));
    let copies: BTreeSet<String> = after["quarantined"]
        .as_object()
        .unwrap()
        .iter()
        .map(|(digest, copy)| {
            let bytes = bytes_at(&data, &json!([copy]));
            assert_eq!(digest, blake3::hash(&bytes).to_hex().as_str());
            copy.to_string()
        })
        .collect();
    let flipped = first_chunks.iter().map(|chunk| chunk.to_string()).collect();
    assert_eq!(copies, flipped);

    // The same bytes at another place lift it.
    daemon.start();
    for (target, body) in &targets {
        assert_eq!(daemon.put(target, (*body).clone()), 201);
    }
    daemon.terminate();
    assert_eq!(decoded(&data)["quarantined"], json!({}));
}

#[test]
fn the_fixture_is_as_the_document_draws_it_and_a_changed_byte_is_not() {
    if !found(
        "the_fixture_is_as_the_document_draws_it_and_a_changed_byte_is_not",
        &["python3"],
    ) {
        return;
    }
    let daemon = fixture::prepared();
    let data = daemon.data();
    let all = decoded(&data);
    types(&data, &all);
    assert!(live(&data, &all).len() > 5);
    for file in ["journal/0000000000000001.log", "segments/0000000000000001.seg"] {
        let whole = fs::read(data.join(file)).unwrap();
        for part in 0..16 {
            let mut harmed = whole.clone();
            let at = whole.len() * part / 16 + part;
            harmed[at] ^= 0x10;
            fs::write(data.join(file), harmed).unwrap();
            assert_eq!(decode(&data).status.code(), Some(1), "{file}: byte {at}");
        }
        fs::write(data.join(file), whole).unwrap();
    }
}
