//! Every version of the on-disk format that was ever written still opens (DESIGN.md §7, invariant 7).
//!
//! `LARDER_WRITE_FIXTURE=1 cargo test --test it fixture` writes `tests/fixtures/format-2` anew; nothing else does.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use larder::chunk::ChunkerParams;
use larder::store::{Options, Progress, Store};

use crate::support::{Daemon, Request, Setup, basic, bearer, file_path, seeded_bytes, version_path};

/// Where the store is; written first, once, if that was asked for.
fn fixture() -> &'static Path {
    static FIXTURE: LazyLock<PathBuf> = LazyLock::new(|| {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/format-2");
        if std::env::var_os("LARDER_WRITE_FIXTURE").is_some() {
            write_fixture(&path);
        }
        path
    });
    &FIXTURE
}

/// What is in it besides the files of a store: the text of alice's token.
const TOKEN: &str = "token.txt";

/// Sizes from nothing to several chunks of the fixture's small chunk sizes.
const SIZES: [usize; 6] = [0, 1, 700, 1800, 9_000, 14_000];

fn body(number: usize) -> Vec<u8> {
    seeded_bytes(number as u64 + 77, SIZES[number % SIZES.len()])
}

fn target(number: usize) -> String {
    file_path("alice", "Tool", &format!("1.{number}"), "App.bin")
}

fn setup() -> Setup {
    Setup::default()
        .config("[store]\ninline_limit = \"2KiB\"\n\n")
        .policy("*/cached", "cache")
        .policy("*/kept", "write-once")
}

struct Quiet;

impl Progress for Quiet {
    fn replayed(&self, _done: u64, _total: u64) {}
}

fn write_fixture(to: &Path) {
    let mut daemon = setup().prepare();
    let mut small = Options::at(daemon.data());
    small.chunking = ChunkerParams {
        min_size: 1024,
        avg_size: 2048,
        max_size: 4096,
    };
    Store::open(small, &Quiet).expect("a store").close();
    daemon.start();
    daemon.fetch_admin_token();
    daemon.create_user("alice", "password of alice", "public");
    let token = daemon.create_token("alice", &["write:package"]);
    for number in 0..SIZES.len() {
        assert_eq!(daemon.put(&target(number), body(number)), 201);
    }
    for number in 0..3 {
        let cached = file_path("alice", "cached", "Key", "blob");
        assert_eq!(daemon.put(&cached, body(number)), 200);
        assert_eq!(
            daemon.put(&file_path("alice", "kept", "1", &format!("F{number}")), "kept"),
            201
        );
    }
    // The bytes of a removed file that another one has too, and a version that goes whole.
    assert_eq!(
        daemon.put(&file_path("alice", "again", "1", "same"), body(4)),
        201
    );
    assert_eq!(daemon.delete(&target(4)), 204);
    assert_eq!(daemon.put(&file_path("alice", "gone", "1", "f"), "gone"), 201);
    assert_eq!(
        daemon.delete(&version_path("gone", "1").replace("admin", "alice")),
        204
    );
    daemon.terminate();
    let _ = fs::remove_dir_all(to);
    for part in ["journal", "segments"] {
        copy_dir(&daemon.data().join(part), &to.join(part));
    }
    fs::copy(daemon.data().join("store.toml"), to.join("store.toml")).unwrap();
    fs::write(to.join(TOKEN), token).unwrap();
}

fn copy_dir(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
    }
}

/// A daemon on a copy of the fixture.
pub fn prepared() -> Daemon {
    let daemon = setup().prepare();
    for part in ["journal", "segments"] {
        copy_dir(&fixture().join(part), &daemon.data().join(part));
    }
    fs::copy(fixture().join("store.toml"), daemon.data().join("store.toml")).unwrap();
    daemon
}

/// The text of alice's token.
pub fn token() -> String {
    fs::read_to_string(fixture().join(TOKEN)).unwrap()
}

#[test]
fn the_store_of_format_2_opens_and_serves_what_it_did() {
    let token = token();
    let mut daemon = prepared();
    daemon.start();
    // The second time with the index that the first one made.
    for run in ["from the log", "from its own index"] {
        assert_content(&daemon, &token, run);
        daemon.terminate();
        daemon.start();
    }
    let put =
        Request::put(&file_path("alice", "new", "1", "f"), "new").header("Authorization", bearer(&token));
    assert_eq!(daemon.send(&put).status, 201, "it goes on");
}

#[track_caller]
fn assert_content(daemon: &Daemon, token: &str, run: &str) {
    // Anonymously: alice is public.
    let get = |target: &str| daemon.send(&Request::get(target));
    let serves = |target: &str, body: &[u8]| {
        let answer = get(target);
        assert!(
            answer.status == 200 && answer.body == body,
            "{run}: {target}: {}",
            answer.status
        );
    };
    for number in 0..SIZES.len() {
        match number {
            4 => assert_eq!(get(&target(4)).status, 404, "{run}: a removed file"),
            _ => serves(&target(number), &body(number)),
        }
    }
    serves(&file_path("alice", "again", "1", "same"), &body(4));
    serves(&file_path("alice", "cached", "Key", "blob"), &body(2));
    serves(&file_path("alice", "kept", "1", "F1"), b"kept");
    assert_eq!(
        get(&file_path("alice", "kept", "1", "f1")).status,
        404,
        "{run}: case counts"
    );
    assert_eq!(
        get(&file_path("alice", "gone", "1", "f")).status,
        404,
        "{run}: a removed version"
    );
    for credentials in [bearer(token), basic("alice", "password of alice")] {
        let me = Request::get("/api/v1/user").header("Authorization", credentials);
        let answer = daemon.send(&me);
        assert_eq!(
            (answer.status, answer.json()["login"].as_str()),
            (200, Some("alice")),
            "{run}"
        );
    }
}

#[test]
fn stores_of_another_format_are_refused_by_name() {
    let journal = |data: &Path| {
        let mut files: Vec<_> = fs::read_dir(data.join("journal"))
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .collect();
        files.sort();
        files.pop().unwrap()
    };
    let store_toml = |data: &Path| data.join("store.toml");
    type Find = fn(&Path) -> PathBuf;
    type Harm = fn(&mut Vec<u8>);
    let cases: [(Find, Harm); 2] = [
        (store_toml, |bytes| {
            *bytes = String::from_utf8_lossy(bytes)
                .replace("format = 2", "format = 1")
                .into_bytes();
        }),
        (journal, |bytes| {
            bytes[8] = 1;
            let sum = crc32c::crc32c(&bytes[..36]);
            bytes[36..40].copy_from_slice(&sum.to_le_bytes());
        }),
    ];
    for (file, harm) in cases {
        let mut daemon = prepared();
        let path = file(&daemon.data());
        let mut bytes = fs::read(&path).unwrap();
        harm(&mut bytes);
        fs::write(&path, &bytes).unwrap();
        daemon.spawn();
        let status = daemon.wait(crate::support::PATIENCE).expect("it does not serve");
        assert!(!status.success());
        let said = daemon.stderr();
        assert!(said.contains("version of larder"), "{said}");
        let name = path.file_name().unwrap().to_string_lossy();
        assert!(said.contains(&*name), "{said}");
        assert_eq!(fs::read(&path).unwrap(), bytes, "nothing is touched");
    }
}
