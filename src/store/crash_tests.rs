//! Stores that crashed, rotted or were tampered with, one story each.
//!
//! A crash is a copy of the log while the store runs: what a machine finds after a power cut that came just then (the
//! index of the copy is another file, so it is never believed).

#![allow(clippy::unwrap_used)]

use std::fs;
use std::path::{Path, PathBuf};

use super::log::format::FILE_HEADER_LEN;
use super::log::simulated::Simulated;
use super::log::testing::Unsteady;
use super::tests::{Quiet, account, closed_entries, entries, find, open, publish, remove_file};
use super::*;
use crate::store::model::{Place, Token};

pub(super) fn crashed(data: &Path) -> tempfile::TempDir {
    let copy = tempfile::tempdir().unwrap();
    fs::copy(data.join("store.toml"), copy.path().join("store.toml")).unwrap();
    for sub in ["journal", "segments"] {
        fs::create_dir_all(copy.path().join(sub)).unwrap();
        for entry in fs::read_dir(data.join(sub)).unwrap() {
            let entry = entry.unwrap();
            fs::copy(entry.path(), copy.path().join(sub).join(entry.file_name())).unwrap();
        }
    }
    copy
}

fn file(data: &Path, number: u64) -> PathBuf {
    log::journal::path(data, number)
}

pub(super) fn change(path: &Path, at: usize) {
    let mut bytes = fs::read(path).unwrap();
    bytes[at] ^= 0x55;
    fs::write(path, bytes).unwrap();
}

fn position_of(path: &Path, needle: &[u8]) -> usize {
    let bytes = fs::read(path).unwrap();
    bytes
        .windows(needle.len())
        .position(|window| window == needle)
        .unwrap()
}

/// The first journal file of a new store; its first group begins at 4096, its first chunk's bytes 192 further.
const FIRST_CHUNK: usize = 4096 + 128 + 64;

#[tokio::test]
async fn an_idle_crash_is_no_damage() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let copy = crashed(dir.path());
    drop(store);
    let report = rebuild_index(Options::at(copy.path()), &Quiet).unwrap();
    assert_eq!((report.damaged, report.groups), (0, 0));
    assert!(
        !file(copy.path(), 1).exists(),
        "a file without a group is removed"
    );
}

#[tokio::test]
async fn a_torn_first_group_is_cut_and_neither_its_ids_nor_its_number_come_back() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    publish(&store, "p", "1", "f", &[3; 9000])
        .settled()
        .await
        .unwrap();
    let copy = crashed(dir.path());
    // A sector that was never written: the group was not synced when the machine went down.
    change(&file(copy.path(), 1), FIRST_CHUNK + 4000);
    let store = open(copy.path());
    assert!(find(&store, "p", "1", "f").is_none());
    publish(&store, "q", "1", "f", b"other").settled().await.unwrap();
    let applied = position::Applied::load(&store.inner.index).unwrap().unwrap();
    assert_eq!(applied.group, 2, "the number of the torn group is not used again");
}

#[tokio::test]
async fn rot_costs_no_more_than_what_rotted() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    for (name, body) in [("a", b"aaaa"), ("b", b"bbbb"), ("c", b"cccc")] {
        publish(&store, "p", name, "f", body).settled().await.unwrap();
    }
    let copy = crashed(dir.path());
    let rotten = file(copy.path(), 1);
    change(&rotten, position_of(&rotten, b"bbbb"));
    let store = open(copy.path());
    for name in ["a", "b", "c"] {
        // The names are all there: a damaged body is damage, never an absence.
        assert!(find(&store, "p", name, "f").is_some(), "{name}");
    }
    let (_, _, damaged) = find(&store, "p", "b", "f").unwrap();
    let read = store.open_file(&damaged).unwrap().read(0..4).next().await;
    assert!(matches!(read, Err(StoreError::Damaged(_))), "{read:?}");
    assert!(store.is_damaged(&damaged).unwrap());
    publish(&store, "other", "1", "f", b"bbbb")
        .settled()
        .await
        .unwrap();
    assert!(!store.is_damaged(&damaged).unwrap(), "the same bytes heal it");
    let read = store
        .open_file(&damaged)
        .unwrap()
        .read(0..4)
        .next()
        .await
        .unwrap();
    assert_eq!(read.as_deref(), Some(&b"bbbb"[..]));
}

#[tokio::test]
async fn ids_go_on_behind_records_saved_from_a_damaged_group() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    publish(&store, "p", "1", "f", b"aaaa").settled().await.unwrap();
    publish(&store, "p", "2", "f", b"bbbb").settled().await.unwrap();
    store.close();
    drop(store);
    let copy = crashed(dir.path());
    let path = file(copy.path(), 1);
    let bytes = fs::read(&path).unwrap();
    let footer = bytes.len() - log::format::Trailer::LEN;
    // The footer is gone, and the first group's body with it.
    change(&path, footer - 40);
    change(&path, position_of(&path, b"aaaa"));
    let store = open(copy.path());
    let highest = ["1", "2"].map(|version| find(&store, "p", version, "f").unwrap().2.id);
    assert!(store.next_id() > *highest.iter().max().unwrap());
}

#[tokio::test]
async fn a_half_written_footer_is_written_again_and_is_no_tear() {
    let dir = tempfile::tempdir().unwrap();
    for round in ["1", "2"] {
        let store = open(dir.path());
        publish(&store, "p", round, "f", b"body").settled().await.unwrap();
        store.close();
    }
    for rot in [false, true] {
        let copy = crashed(dir.path());
        let path = file(copy.path(), 1);
        let mut bytes = fs::read(&path).unwrap();
        bytes.truncate(bytes.len() - log::format::Trailer::LEN);
        fs::write(&path, bytes).unwrap();
        if rot {
            change(&path, position_of(&path, b"body"));
        }
        let store = open(copy.path());
        for round in ["1", "2"] {
            assert!(find(&store, "p", round, "f").is_some(), "rot {rot}: {round}");
        }
        assert!(
            log::journal_footer::trailer(
                &log::disk::Kernel,
                &fs::File::open(&path).unwrap(),
                &log::format::Binding {
                    store: store.inner.identity.uuid,
                    kind: model::FileKind::Journal,
                    file: 1
                }
            )
            .unwrap()
            .is_some()
        );
    }
}

#[tokio::test]
async fn a_journal_of_another_store_is_refused_and_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    publish(&store, "p", "1", "f", b"x").settled().await.unwrap();
    store.close();
    drop(store);
    let identity = dir.path().join("store.toml");
    let text = fs::read_to_string(&identity).unwrap();
    let at = text.find("uuid = \"").unwrap() + 8;
    change(&identity, at);
    let text = fs::read_to_string(&identity).unwrap();
    let digit = if text.as_bytes()[at].is_ascii_hexdigit() {
        ""
    } else {
        "0"
    };
    fs::write(
        &identity,
        format!("{}{digit}{}", &text[..at], &text[at + digit.len()..]),
    )
    .unwrap();
    fs::remove_dir_all(dir.path().join("index")).unwrap();
    let before = fs::read(file(dir.path(), 1)).unwrap();
    let error = Store::open(Options::at(dir.path()), &Quiet).unwrap_err();
    assert!(matches!(error, OpenError::Format(_)), "{error}");
    assert_eq!(fs::read(file(dir.path(), 1)).unwrap(), before);
}

#[tokio::test]
async fn a_file_too_short_to_hold_anything_is_no_obstacle() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    publish(&store, "p", "1", "f", b"x").settled().await.unwrap();
    store.close();
    drop(store);
    fs::write(file(dir.path(), 9), b"x").unwrap();
    let store = open(dir.path());
    assert!(find(&store, "p", "1", "f").is_some());
}

#[tokio::test]
async fn a_clean_start_replays_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    for version in 0..50 {
        publish(&store, "p", &version.to_string(), "f", b"x")
            .settled()
            .await
            .unwrap();
    }
    remove_file(&store, "p", "3", "f")
        .unwrap()
        .settled()
        .await
        .unwrap();
    store.close();
    let uuid = store.inner.identity.uuid;
    drop(store);
    let before = closed_entries(dir.path());
    let (index, start) = trust::open(dir.path(), uuid, 1 << 20).unwrap();
    let recovered = recovery::recover(&log::disk::Kernel, dir.path(), uuid, &index, start, &Quiet).unwrap();
    assert_eq!(recovered.report, recovery::Report::default());
    assert_eq!(entries(&index), before);
}

#[tokio::test]
async fn two_tokens_of_a_name_never_share_a_group() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let account = account(&store, 1);
    store
        .commit(Change::PutAccount {
            expect: None,
            account: account.clone(),
        })
        .settled()
        .await
        .unwrap();
    let put = |hash: u8| {
        store.commit(Change::PutToken(Token {
            id: store.next_id(),
            account: account.id,
            name: "ci".into(),
            hash: [hash; 32],
            last_eight: "12345678".into(),
            scopes: 1,
            created: 0,
            expires: None,
            grants: Vec::new(),
        }))
    };
    let tickets: Vec<_> = (0..50).map(put).collect();
    let mut won = 0;
    for ticket in tickets {
        won += usize::from(ticket.settled().await.is_ok());
    }
    assert_eq!((won, store.tokens_of(account.id).unwrap().len()), (1, 1));
}

/// Where the footer of a sealed file begins.
fn footer_at(path: &Path) -> usize {
    let bytes = fs::read(path).unwrap();
    let trailer = &bytes[bytes.len() - log::format::Trailer::LEN..];
    u64::from_le_bytes(trailer[8..16].try_into().unwrap()) as usize
}

/// The power went while the footer was written: neither its head nor the trailer is there.
fn tear_footer(path: &Path) {
    let at = footer_at(path);
    let mut bytes = fs::read(path).unwrap();
    bytes.truncate(bytes.len() - log::format::Trailer::LEN);
    bytes[at..at + 64].fill(0);
    fs::write(path, bytes).unwrap();
}

fn applied_group(store: &Store) -> u64 {
    position::Applied::load(&store.inner.index)
        .unwrap()
        .unwrap()
        .group
}

#[tokio::test]
async fn a_broken_footer_of_a_rotated_file_is_neither_a_group_nor_a_tear() {
    for groups_behind in [true, false] {
        let dir = tempfile::tempdir().unwrap();
        let store = open(dir.path());
        publish(&store, "p", "1", "f", b"one").settled().await.unwrap();
        store.close();
        drop(store);
        let store = open(dir.path());
        if groups_behind {
            publish(&store, "p", "2", "f", b"two").settled().await.unwrap();
        }
        let copy = crashed(dir.path());
        tear_footer(&file(copy.path(), 1));
        let store = open(copy.path());
        assert!(applied_group(&store) < 10, "no sentinel is a group's number");
        publish(&store, "p", "3", "f", b"three").settled().await.unwrap();
        let again = crashed(copy.path());
        let store = open(again.path());
        assert!(find(&store, "p", "1", "f").is_some());
        assert_eq!(find(&store, "p", "2", "f").is_some(), groups_behind);
        assert!(find(&store, "p", "3", "f").is_some());
    }
}

#[tokio::test]
async fn rot_at_the_end_of_a_file_whose_footer_is_broken_costs_no_later_group() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    publish(&store, "p", "1", "f", b"aaaa").settled().await.unwrap();
    publish(&store, "p", "2", "f", b"bbbb").settled().await.unwrap();
    store.close();
    drop(store);
    let store = open(dir.path());
    let copy = crashed(dir.path());
    drop(store);
    let path = file(copy.path(), 1);
    tear_footer(&path);
    change(&path, position_of(&path, b"bbbb"));
    for round in ["3", "4"] {
        let store = open(copy.path());
        assert!(applied_group(&store) < 10, "no sentinel is a group's number");
        publish(&store, "p", round, "f", b"x").settled().await.unwrap();
    }
    let again = crashed(copy.path());
    let store = open(again.path());
    for version in ["1", "2", "3", "4"] {
        assert!(find(&store, "p", version, "f").is_some(), "{version}");
    }
}

#[tokio::test]
async fn remains_of_a_group_that_was_never_acknowledged_do_not_come_back_with_a_footer() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    for (name, body) in [("a", b"aaaa"), ("b", b"bbbb"), ("c", b"cccc")] {
        publish(&store, "p", name, "f", body).settled().await.unwrap();
    }
    let copy = crashed(dir.path());
    let path = file(copy.path(), 1);
    // Rot in b; and of c, never synced, all is there but the head.
    change(&path, position_of(&path, b"bbbb"));
    let head = position_of(&path, b"cccc") / 4096 * 4096;
    change(&path, head);
    let store = open(copy.path());
    assert!(find(&store, "p", "c", "f").is_none());
    store.close();
    drop(store);
    rebuild_index(Options::at(copy.path()), &Quiet).unwrap();
    let store = open(copy.path());
    assert!(find(&store, "p", "b", "f").is_some());
    assert!(find(&store, "p", "c", "f").is_none());
}

/// A sync fails, the process is restarted and accepts the group from the page cache, and then the power goes.
#[tokio::test]
async fn a_group_that_only_the_page_cache_has_is_written_before_a_footer_speaks_for_it() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    publish(&store, "p", "1", "f", b"old").settled().await.unwrap();
    let new = [9; 20_000];
    publish(&store, "p", "1", "f", &new).settled().await.unwrap();
    for call in 1..16 {
        let cached = crashed(dir.path());
        let path = file(cached.path(), 1);
        let at = position_of(&path, &new[..100]) as u64;
        let disk = Simulated::over(cached.path(), call);
        disk.forget(&path, at..at + 20_000);
        let image = Arc::new(Mutex::new(None));
        let cut = image.clone();
        disk.cut_at([call], move |left| *cut.lock().unwrap() = Some(left));
        let options = Options {
            disk: disk.clone(),
            ..Options::at(cached.path())
        };
        drop(Store::open(options, &Quiet).unwrap());
        let left = tempfile::tempdir().unwrap();
        fs::copy(cached.path().join("store.toml"), left.path().join("store.toml")).unwrap();
        image
            .lock()
            .unwrap()
            .take()
            .unwrap_or_else(|| disk.cut())
            .write_to(left.path());
        let store = open(left.path());
        let (_, _, found) = find(&store, "p", "1", "f").unwrap();
        let read = store.open_file(&found).unwrap().read(0..found.size).next().await;
        assert!(read.is_ok(), "cut at call {call}: {read:?}");
    }
}

#[tokio::test]
async fn segment_bytes_that_saved_records_rely_on_are_kept() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    publish(&store, "p", "1", "f", b"aaaa").settled().await.unwrap();
    let body: Vec<u8> = (0..600_000u32).map(|n| (n * 7 % 251) as u8).collect();
    let mut upload = store.upload(Some(body.len() as u64));
    upload.write(bytes::Bytes::from(body)).await.unwrap();
    let blob = Arc::new(upload.finish().await.unwrap());
    let replaces = find(&store, "p", "1", "f").unwrap();
    let large = store.commit(Change::Publish(change::Publish {
        owner: 1,
        package: change::Expected::Present(replaces.0),
        version: change::Expected::Present(replaces.1),
        file: File {
            id: store.next_id(),
            blob: blob.digest,
            size: blob.size,
            shape: blob.shape(),
            ..replaces.2.clone()
        },
        replaces: Some(replaces.2.id),
        quota: counts::Quota::default(),
        blob,
    }));
    large.settled().await.unwrap();
    // The journal has been sealed, the segment has not.
    let copy = crashed(dir.path());
    store.close();
    let path = file(copy.path(), 1);
    fs::copy(file(dir.path(), 1), &path).unwrap();
    let bytes = fs::read(&path).unwrap();
    let footer = footer_at(&path);
    let last = (4096..footer)
        .step_by(4096)
        .rfind(|at| bytes[*at..].starts_with(b"RLRD") && bytes[at + 4] == 16)
        .unwrap();
    change(&path, footer + 70);
    change(&path, last + 64 + 8);
    let store = open(copy.path());
    let (_, _, found) = find(&store, "p", "1", "f").unwrap();
    assert_eq!(found.size, 600_000);
    let mut reader = store.open_file(&found).unwrap().read(0..600_000);
    while reader.next().await.unwrap().is_some() {}
}

/// Opens a store of whose file `path` some bytes cannot be read while it opens.
fn open_around(data: &Path, path: &Path, bytes: std::ops::Range<u64>) -> Store {
    use std::os::unix::fs::MetadataExt;
    let disk = Unsteady::default();
    let inode = fs::metadata(path).unwrap().ino();
    disk.unreadable.lock().unwrap().push((inode, bytes));
    let options = Options {
        disk: Arc::new(disk),
        ..Options::at(data)
    };
    Store::open(options, &Quiet).unwrap()
}

#[tokio::test]
async fn what_cannot_be_read_at_a_start_is_no_obstacle() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    for (name, body) in [("a", [1; 9000]), ("b", [2; 9000]), ("c", [3; 9000])] {
        publish(&store, "p", name, "f", &body).settled().await.unwrap();
    }
    let unsealed = crashed(dir.path());
    store.close();
    let sealed = crashed(dir.path());
    let path = |data: &tempfile::TempDir| file(data.path(), 1);
    let body = position_of(&path(&unsealed), &[2; 5000]) as u64;
    let footer = footer_at(&path(&sealed)) as u64;
    let end = fs::metadata(path(&sealed)).unwrap().len();
    for (data, bytes) in [
        (&unsealed, body + 4096..body + 4097),
        (&unsealed, 0..FILE_HEADER_LEN),
        (&sealed, footer..footer + 64),
        (&sealed, end - 1..end),
    ] {
        let copy = crashed(data.path());
        let store = open_around(copy.path(), &path(&copy), bytes.clone());
        for name in ["a", "b", "c"] {
            let (_, _, found) = find(&store, "p", name, "f").unwrap();
            // It was unreadable for a while only.
            let read = store.open_file(&found).unwrap().read(0..9000).next().await;
            assert!(read.is_ok(), "{name} {bytes:?} {read:?}");
        }
    }
}

#[tokio::test]
async fn an_index_of_another_log_is_not_believed() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    publish(&store, "p", "1", "f", b"one").settled().await.unwrap();
    publish(&store, "p", "2", "f", b"two").settled().await.unwrap();
    store.close();
    let uuid = store.inner.identity.uuid;
    drop(store);
    let start = || {
        let (index, start) = trust::open(dir.path(), uuid, 1 << 20).unwrap();
        trust::mark_clean(&index).unwrap();
        start.applied
    };
    let applied = start();
    assert_eq!((applied.group, start()), (2, applied), "it is believed");
    {
        let index = Index::open(&dir.path().join("index"), 1 << 20).unwrap();
        let mut other = applied;
        other.witness.number += 1;
        other.store(&index).unwrap();
        index.checkpoint().unwrap();
    }
    assert_eq!(
        start(),
        position::Applied::START,
        "the log has another group there"
    );
}

/// The entry of a quarantined copy of `body`, if there is one.
fn quarantined(store: &Store, body: &[u8]) -> Option<Place> {
    let key = keys::quarantine(&Digest::of(body));
    store.inner.index.get_as(&key).unwrap()
}

#[tokio::test]
async fn quarantine_outlives_restart_and_rebuild_and_is_lifted_by_the_same_bytes() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    publish(&store, "p", "1", "f", b"bbbb").settled().await.unwrap();
    let path = file(dir.path(), 1);
    let at = position_of(&path, b"bbbb");
    let (_, _, found) = find(&store, "p", "1", "f").unwrap();
    // Behind the store's back, in place.
    let rot = |bytes: &[u8]| {
        use std::os::unix::fs::FileExt;
        let file = fs::File::options().write(true).open(&path).unwrap();
        file.write_all_at(bytes, at as u64).unwrap();
    };
    rot(b"xbbb");
    let read = store.open_file(&found).unwrap().read(0..4).next().await;
    assert!(matches!(read, Err(StoreError::Damaged(_))), "{read:?}");
    for _ in 0..6000 {
        if quarantined(&store, b"bbbb").is_some() {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    assert!(quarantined(&store, b"bbbb").is_some(), "it is written down");
    store.close();
    drop(store);
    // Were the copy looked at again, it would be found good.
    rot(b"bbbb");
    for rebuild in [false, true] {
        if rebuild {
            rebuild_index(Options::at(dir.path()), &Quiet).unwrap();
        }
        let store = open(dir.path());
        let read = store.open_file(&found).unwrap().read(0..4).next().await;
        assert!(matches!(read, Err(StoreError::Damaged(_))), "{rebuild}: {read:?}");
        assert!(store.is_damaged(&found).unwrap());
        store.close();
    }
    let store = open(dir.path());
    publish(&store, "q", "1", "f", b"bbbb").settled().await.unwrap();
    assert_eq!(quarantined(&store, b"bbbb"), None);
    assert!(!store.is_damaged(&found).unwrap());
    assert!(
        store.inner.readers.damage().is_empty(),
        "nothing is remembered for nothing"
    );
    let live = entries(&store.inner.index);
    store.close();
    drop(store);
    rebuild_index(Options::at(dir.path()), &Quiet).unwrap();
    assert_eq!(closed_entries(dir.path()), live);
    let store = open(dir.path());
    let read = store.open_file(&found).unwrap().read(0..4).next().await.unwrap();
    assert_eq!(read.as_deref(), Some(&b"bbbb"[..]));
}
