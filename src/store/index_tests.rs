//! An index that is lost or wrong, while the store is open and between two openings: what was acknowledged is found,
//! what was removed is not, and nobody is told otherwise in between.

#![allow(clippy::unwrap_used)]

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::bulk::ChunkPlaces;
use super::tests::{Quiet, entries, open, publication, publish, remove_file};
use super::*;
use crate::store::model::Token;

const PATIENCE: Duration = Duration::from_secs(60);

/// Publishes 40 files, removes every fifth; returns the names that stand and those that do not.
async fn fill(store: &Store) -> (Vec<String>, Vec<String>) {
    let mut tickets = Vec::new();
    for number in 0..40 {
        let body = format!("body of {number}").repeat(number % 7 * 300 + 1);
        tickets.push(publish(store, "p", &format!("{number}"), "f", body.as_bytes()));
        if number == 0 {
            // The package stands from here on.
            tickets.pop().unwrap().settled().await.unwrap();
        }
    }
    for ticket in tickets {
        ticket.settled().await.unwrap();
    }
    let mut gone = Vec::new();
    for number in (0..40).step_by(5) {
        let name = number.to_string();
        let ticket = remove_file(store, "p", &name, "f").unwrap();
        ticket.settled().await.unwrap();
        gone.push(name);
    }
    let stand = (0..40)
        .map(|number| number.to_string())
        .filter(|name| !gone.contains(name))
        .collect();
    (stand, gone)
}

fn find(store: &Store, version: &str) -> Result<Option<File>, StoreError> {
    let Some(package) = store.package(1, "p")? else {
        return Ok(None);
    };
    let Some(version) = store.version(&package, version)? else {
        return Ok(None);
    };
    store.file(&package, &version, "f")
}

/// The same, waiting where the index is being built again.
fn find_in_time(store: &Store, version: &str) -> Option<File> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match find(store, version) {
            Ok(found) => return found,
            Err(StoreError::Index(_)) if Instant::now() < deadline => {
                std::thread::sleep(Duration::from_millis(2));
            }
            Err(error) => panic!("{version}: {error}"),
        }
    }
}

#[track_caller]
fn assert_serves(store: &Store, stand: &[String], gone: &[String], what: &str) {
    for name in stand {
        let file = find_in_time(store, name).unwrap_or_else(|| panic!("{what}: {name} is lost"));
        let number: usize = name.parse().unwrap();
        let body = format!("body of {number}").repeat(number % 7 * 300 + 1);
        assert_eq!(file.blob, Digest::of(body.as_bytes()), "{what}: {name}");
        let place = store.inner.index.place_in_time(&file.blob).unwrap();
        assert!(place.is_some(), "{what}: {name} has no bytes");
    }
    for name in gone {
        assert_eq!(find_in_time(store, name), None, "{what}: {name} is back");
    }
}

fn wait_until(what: &str, mut done: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !done() {
        assert!(Instant::now() < deadline, "{what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

#[tokio::test]
async fn an_index_that_fails_while_open_is_built_again_and_writes_go_on() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let (stand, gone) = fill(&store).await;
    for round in 0..3 {
        store.inner.index.fail("for a test");
        assert!(
            find(&store, "1").is_err() || store.health() == Health::Ready,
            "no absence"
        );
        assert_serves(&store, &stand, &gone, "after a failure");
        wait_until("it is ready again", || store.health() == Health::Ready);
        let name = format!("after {round}");
        publish(&store, "p", &name, "f", b"x").settled().await.unwrap();
        assert!(find(&store, &name).unwrap().is_some());
    }
    store.close();
    drop(store);
    // The rebuilt index was closed cleanly, at the end of the log.
    let store = open(dir.path());
    assert_serves(&store, &stand, &gone, "after a restart");
    assert!(find(&store, "after 2").unwrap().is_some());
}

#[tokio::test]
async fn a_rebuilt_index_equals_the_live_one_also_while_open() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    fill(&store).await;
    let live = entries(&store.inner.index);
    store.inner.index.fail("for a test");
    store.index_restored().await;
    assert_eq!(entries(&store.inner.index), live);
}

#[tokio::test]
async fn a_commit_that_meets_a_failing_index_is_whole_or_nothing_and_says_which() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    fill(&store).await;
    let (mut unwritten, mut unknown) = (0, 0);
    for countdown in 0..24 {
        let name = format!("v{countdown}");
        // The committer's look-ups and writes, one after another.
        let change = Change::Publish(publication(&store, "p", &name, "f", b"y"));
        store.inner.index.fail_after(countdown);
        let outcome = store.commit(change).settled().await;
        store.inner.index.fail_after(u64::MAX);
        let found = find_in_time(&store, &name).is_some();
        match outcome {
            Ok(()) => assert!(found, "{countdown}"),
            Err(CommitError::Rebuilding) => {
                unwritten += 1;
                assert!(!found, "{countdown}: said to be unwritten");
            }
            Err(CommitError::IndexFailed) => {
                unknown += 1;
                assert!(found, "{countdown}: it was synced before the index failed");
            }
            Err(error) => panic!("{countdown}: {error}"),
        }
        wait_until("it is ready again", || store.health() == Health::Ready);
    }
    // Few look-ups reach the tree: the rows of the package are in memory.
    assert!(unwritten > 1 && unknown > 2, "{unwritten} {unknown}");
}

#[tokio::test]
async fn a_rebuild_that_fails_is_tried_again_and_a_close_meanwhile_leaves_no_index() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let (stand, gone) = fill(&store).await;
    let journal = dir.path().join("journal");
    let hidden = dir.path().join("hidden");
    fs::rename(&journal, &hidden).unwrap();
    store.inner.index.fail("for a test");
    wait_until("it is built again", || {
        matches!(store.health(), Health::Rebuilding { .. })
    });
    assert!(find(&store, "1").is_err());
    let refused = publish_anything(&store).settled().await;
    assert_eq!(refused, Err(CommitError::Rebuilding));
    fs::rename(&hidden, &journal).unwrap();
    assert_serves(&store, &stand, &gone, "after a second try");
    // Again, and closed before the next try.
    fs::rename(&journal, &hidden).unwrap();
    store.inner.index.fail("for a test");
    store.close();
    drop(store);
    assert!(
        !dir.path().join("index").exists(),
        "nothing that could be believed"
    );
    fs::rename(&hidden, &journal).unwrap();
    assert_serves(&open(dir.path()), &stand, &gone, "after a restart");
}

fn publish_anything(store: &Store) -> Ticket {
    store.commit(Change::RemoveToken(Token {
        id: 1,
        account: 1,
        name: "t".into(),
        hash: [1; 32],
        last_eight: "12345678".into(),
        scopes: 1,
        created: 0,
        expires: None,
        grants: Vec::new(),
    }))
}

#[tokio::test]
async fn an_entry_that_got_lost_is_noticed_by_the_proof() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let (stand, gone) = fill(&store).await;
    store.close();
    drop(store);
    {
        let index = Index::open(&dir.path().join("index"), 1 << 20).unwrap();
        let package: Package = index.get_as(&keys::package(1, "p")).unwrap().unwrap();
        index.set(&keys::version(&package, "7"), None).unwrap();
        index.checkpoint().unwrap();
    }
    let store = open(dir.path());
    wait_until("the proof refutes it", || {
        find(&store, "7").is_ok_and(|found| found.is_some())
    });
    assert_serves(&store, &stand, &gone, "after the proof");
}

/// xorshift: a seed gives the same damage again.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % bound.max(1)
    }
}

fn files_below(dir: &Path) -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> = fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.is_file())
        .collect();
    files.sort();
    files
}

/// Damages the index in one of many ways; says which.
fn damage(index: &Path, random: &mut Random) -> String {
    let files = files_below(index);
    let file = &files[random.below(files.len() as u64) as usize];
    let mut bytes = fs::read(file).unwrap();
    let len = bytes.len() as u64;
    let from = random.below(len) as usize;
    let reach = if random.below(2) == 0 { 64 } else { len };
    let to = (from + 1 + random.below(reach) as usize).min(bytes.len());
    let how = random.below(9);
    match how {
        0 | 1 => bytes[from..to]
            .iter_mut()
            .for_each(|byte| *byte ^= 1 + random.below(255) as u8),
        2 => bytes[from..to].fill(0),
        3 => bytes.truncate(from),
        4 => bytes.fill_with(|| random.below(256) as u8),
        5 => bytes.extend((0..random.below(5000)).map(|byte| byte as u8)),
        6 => {
            fs::remove_file(file).unwrap();
            return format!("{} deleted", file.display());
        }
        7 => {
            fs::remove_dir_all(index).unwrap();
            fs::write(index, b"not a directory").unwrap();
            return "a file in place of the directory".into();
        }
        _ => {
            let torn = index.join("snap.0000000000000FFF.generating");
            fs::write(torn, &bytes[from..to]).unwrap();
            return "a torn snapshot".into();
        }
    }
    fs::write(file, &bytes).unwrap();
    format!("{} way {how}, {from}..{to} of {len}", file.display())
}

fn copy_dir(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        match entry.file_type().unwrap().is_dir() {
            true => copy_dir(&entry.path(), &to.join(entry.file_name())),
            false => drop(fs::copy(entry.path(), to.join(entry.file_name())).unwrap()),
        }
    }
}

/// `LARDER_TEST_ROUNDS` multiplies the cases.
fn rounds() -> u64 {
    std::env::var("LARDER_TEST_ROUNDS")
        .ok()
        .and_then(|rounds| rounds.parse().ok())
        .unwrap_or(1)
}

#[tokio::test]
async fn whatever_happens_to_its_files_between_two_runs_no_answer_is_wrong() {
    let dir = tempfile::tempdir().unwrap();
    let (clean, killed) = (dir.path().join("clean"), dir.path().join("killed"));
    let store = open(&clean);
    let (stand, gone) = fill(&store).await;
    // As kill -9 leaves it, but for the identity of sled's file, which a copy cannot have.
    store.inner.index.checkpoint().unwrap();
    copy_dir(&clean, &killed);
    store.close();
    drop(store);
    // Written to a second time, so that there is a snapshot too.
    drop(open(&clean));
    let store = open(&clean);
    store.close();
    drop(store);
    for case in 0..70 * rounds() {
        let mut random = Random(case * 7919 + 13);
        let data = dir.path().join("case");
        copy_dir(if case % 4 == 0 { &killed } else { &clean }, &data);
        let how = format!("case {case}: {}", damage(&data.join("index"), &mut random));
        let store = open(&data);
        settle_proof(&store);
        assert_serves(&store, &stand, &gone, &how);
        store.close();
        drop(store);
        fs::remove_dir_all(&data).unwrap();
    }
}

/// Waits until what is wrong has been noticed: until then a name that was lost may be missing.
fn settle_proof(store: &Store) {
    wait_until("the proof ends", || {
        store.inner.shared.is_proven() && store.health() == Health::Ready
    });
}

#[tokio::test]
async fn an_old_copy_and_one_from_the_future_are_noticed() {
    let dir = tempfile::tempdir().unwrap();
    let (data, old) = (dir.path().join("data"), dir.path().join("old"));
    let store = open(&data);
    publish(&store, "p", "old", "f", b"old").settled().await.unwrap();
    store.close();
    drop(store);
    copy_dir(&data, &old);
    let store = open(&data);
    let (stand, gone) = fill(&store).await;
    store.close();
    drop(store);
    // An old index under a new log: what is missing is replayed.
    let swap = |from: &Path, to: &Path| {
        fs::remove_dir_all(to.join("index")).unwrap();
        copy_dir(&from.join("index"), &to.join("index"));
    };
    let newer = dir.path().join("newer");
    copy_dir(&data, &newer);
    swap(&old, &data);
    assert_serves(&open(&data), &stand, &gone, "older than the log");
    // A new index over an old log: it knows names that the log does not have.
    swap(&newer, &old);
    let store = open(&old);
    assert_eq!(find_in_time(&store, "1"), None);
    assert!(find_in_time(&store, "old").is_some());
}

#[tokio::test]
async fn damage_at_the_end_of_the_log_behind_a_clean_close_is_rot() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    fill(&store).await;
    let uuid = store.inner.identity.uuid;
    store.close();
    drop(store);
    let (index, start) = trust::open(dir.path(), uuid, 1 << 20).unwrap();
    let last = log::journal::path(dir.path(), start.applied.file);
    let mut bytes = fs::read(&last).unwrap();
    bytes[start.applied.witness.offset as usize + 200..].fill(0xee);
    fs::write(&last, &bytes).unwrap();
    let before = entries(&index);
    // The index knows that what is damaged was there.
    let recovered = recovery::recover(&log::disk::Kernel, dir.path(), uuid, &index, start, &Quiet).unwrap();
    assert_eq!((recovered.report.damaged, recovered.report.cut), (1, 0));
    assert!(recovered.applied.group >= start.applied.group);
    assert_eq!(entries(&index), before);
}
