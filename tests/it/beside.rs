//! docs/format.md on the files beside the log, on backups, and on what another version has written: read by the decoder
//! that goes by that page, and refused or passed over as it says.

use std::fs;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::Value;

use crate::format::{decode, decoded, live};
use crate::support::{Daemon, MIB, PATIENCE, Setup, file_path, found, seeded_bytes, within};
use crate::support::{binary, output_within};

fn seconds() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}

/// The configuration of a scrub that reads so many bytes in a second.
fn scrub_at(rate: &str) -> String {
    format!("[scrub]\nrate = \"{rate}\"\nevery = \"1s\"\n")
}

#[track_caller]
fn backed_up(data: &Path, dir: &Path) {
    let output = output_within(binary().arg("backup").arg(dir).arg("--data").arg(data), "");
    assert!(output.status.success(), "{output:?}");
}

/// Why the decoder refuses `path` with these bytes in place of its own, which it has again afterwards.
fn refusal(data: &Path, path: &Path, bytes: &[u8]) -> String {
    let whole = fs::read(path).unwrap();
    fs::write(path, bytes).unwrap();
    let output = decode(data);
    fs::write(path, whole).unwrap();
    assert_eq!(
        output.status.code(),
        Some(1),
        "{} explains anything",
        path.display()
    );
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn the_files_beside_the_log_are_as_the_document_draws_them() {
    if !found(
        "the_files_beside_the_log_are_as_the_document_draws_them",
        &["python3"],
    ) {
        return;
    }
    let begun = seconds();
    let mut daemon = Setup::default().config(&scrub_at("1MiB")).start();
    for name in ["used", "idle"] {
        assert_eq!(
            daemon.put(&file_path("admin", name, "1", "F"), seeded_bytes(1, 10 * MIB)),
            201
        );
    }
    let used = file_path("admin", "used", "1", "F");
    daemon.assert_serves(&used, &seeded_bytes(1, 10 * MIB));
    daemon.terminate();
    // The files of that run are sealed now, so they are scrubbed: the segment takes ten seconds.
    daemon.start();
    let data = daemon.data();
    let scrub = data.join("scrub.json");
    let has_begun = || fs::read_to_string(&scrub).is_ok_and(|text| text.contains("Journal"));
    assert!(within(PATIENCE, has_begun));
    daemon.terminate();
    let under_way = decoded(&data)["json"]["scrub.json"].take();
    assert_eq!(under_way["read"][0], "Journal", "{under_way}");

    let slow = fs::read_to_string(daemon.config_path()).unwrap();
    let fast = slow.replace(&scrub_at("1MiB"), &scrub_at("1GiB"));
    fs::write(daemon.config_path(), fast).unwrap();
    daemon.start();
    backed_up(&data, &daemon.home().join("backup"));
    assert!(within(PATIENCE, || data.join("backup.json").exists()));
    let scrubbed = || daemon.metric("larder_scrub_runs_total", "result=\"ok\"") > 0;
    assert!(within(PATIENCE, scrubbed));
    daemon.terminate();
    let all = decoded(&data);
    let now = seconds();
    let is_now = |at: &Value| (begun..=now).contains(&at.as_u64().unwrap());
    for file in all["live"].as_array().unwrap() {
        for at in file["last_used"].as_array().unwrap() {
            match file["package"].as_str() {
                Some("used") => assert!(is_now(at), "{file}"),
                _ => assert_eq!(at, 0, "{file}"),
            }
        }
    }
    let scrub = &all["json"]["scrub.json"];
    assert!(is_now(&scrub["begun"]) && is_now(&scrub["finished"]), "{scrub}");
    assert_eq!(scrub["damaged"], 0);
    assert!(is_now(&all["json"]["backup.json"]["finished"]), "{all}");

    let path = data.join("last-uses");
    let table = fs::read(&path).unwrap();
    let mut flipped = table.clone();
    flipped[table.len() / 2] ^= 1;
    assert!(refusal(&data, &path, &flipped).contains("checksum"));
    assert!(refusal(&data, &path, &table[..table.len() - 64]).contains("drawn"));
    let one_more = br#"{"read":null,"begun":1,"finished":1,"damaged":0,"more":1}"#;
    assert!(refusal(&data, &data.join("scrub.json"), one_more).contains("scrub.json"));
    fs::write(data.join("strange"), "").unwrap();
    assert_eq!(
        decode(&data).status.code(),
        Some(1),
        "a file that the page does not have"
    );
}

#[test]
fn a_backup_is_as_the_document_draws_it() {
    if !found("a_backup_is_as_the_document_draws_it", &["python3"]) {
        return;
    }
    let mut daemon = Setup::default().start();
    let put = |daemon: &Daemon, version: &str, len| {
        let target = file_path("admin", "tool", version, "F");
        assert_eq!(daemon.put(&target, seeded_bytes(2, len)), 201);
    };
    put(&daemon, "1", 3 * MIB);
    daemon.terminate();
    daemon.start();
    put(&daemon, "2", 700);
    put(&daemon, "3", 5 * MIB);
    let dir = daemon.home().join("backup");
    backed_up(&daemon.data(), &dir);
    let all = decoded(&dir);
    let bodies: Vec<usize> = live(&dir, &all).values().map(Vec::len).collect();
    assert_eq!(bodies, [3 * MIB, 700, 5 * MIB]);
    let files = all["json"]["backup.json"]["files"].as_array().unwrap();
    let partial = files.iter().filter(|file| file["name"] != file["path"]);
    assert_eq!(
        partial.count(),
        3,
        "identity, a journal and a segment under way: {files:?}"
    );
    for file in files {
        let bytes = fs::read(dir.join(file["name"].as_str().unwrap())).unwrap();
        assert_eq!(file["blake3"], blake3::hash(&bytes).to_hex().as_str(), "{file}");
    }
}
