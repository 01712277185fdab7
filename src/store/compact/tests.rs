//! Compaction of real stores: what is left of them, and what a crash at each step leaves.

#![allow(clippy::unwrap_used)]

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use proptest::prelude::*;

use super::*;
use crate::chunk::Digest;
use crate::store::collect::Kind;
use crate::store::collect::tests::{body, delete, open as open_small, options, put, read, upload};
use crate::store::crash_tests::{change, crashed};
use crate::store::index::keys;
use crate::store::log::files::{list, path};
use crate::store::model::{FileKind, Place, Token};
use crate::store::pace::Unthrottled;
use crate::store::tests::{
    Entries, Quiet, account, closed_entries, entries, find, publish_blob, remove_file, remove_version,
};
use crate::store::{Options, Store, rebuild_index};

type Watch = Box<dyn FnMut(Step)>;

thread_local! {
    static WATCH: RefCell<Option<Watch>> = const { RefCell::new(None) };
}

pub(super) fn reached(step: Step) {
    WATCH.with_borrow_mut(|watch| {
        if let Some(watch) = watch {
            watch(step);
        }
    });
}

/// Like the tests of collection, with larger bodies in the journal.
fn small(data: &Path) -> Options {
    Options {
        inline_limit: 16 << 10,
        ..options(data)
    }
}

fn open(data: &Path) -> Store {
    Store::open(small(data), &Quiet).unwrap()
}

fn collect(store: &Store) -> crate::store::collect::Collected {
    store.collect(Kind::Full, &Unthrottled).unwrap()
}

/// Bytes that the log takes on the disk.
fn log_bytes(data: &Path) -> u64 {
    let mut blocks = 0;
    for sub in ["journal", "segments"] {
        for entry in fs::read_dir(data.join(sub)).unwrap() {
            blocks += entry.unwrap().metadata().unwrap().blocks();
        }
    }
    blocks * 512
}

fn place(store: &Store, body: &[u8]) -> Place {
    let key = keys::chunk(&Digest::of(body));
    store.inner.index.get_as(&key).unwrap().unwrap()
}

#[tokio::test]
async fn a_store_from_which_all_is_deleted_is_small_again() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(
        Options {
            index_cache: 4 << 20,
            ..Options::at(dir.path())
        },
        &Quiet,
    )
    .unwrap();
    for (number, len) in [3_000_000, 200_000, 9_000_000, 200_000, 500]
        .into_iter()
        .enumerate()
    {
        put(&store, &number.to_string(), &body(number as u64, len)).await;
    }
    assert!(log_bytes(dir.path()) > 12_000_000);
    for number in 0..5 {
        delete(&store, &number.to_string()).await;
    }
    let collected = collect(&store);
    assert!(collected.freed > 12_000_000, "{collected:?}");
    let left = log_bytes(dir.path());
    assert!(left <= 1 << 20, "{left} bytes are left");
    // Nothing is left to do, so nothing is done.
    assert_eq!(collect(&store).log_files, 0);
    assert_eq!(list(dir.path(), FileKind::Journal).unwrap().len(), 1);
    assert!(list(dir.path(), FileKind::Segment).unwrap().is_empty());
    // The numbers of segments go on.
    store.close();
    drop(store);
    let store = open(dir.path());
    put(&store, "new", &body(7, 60_000)).await;
    assert!(list(dir.path(), FileKind::Segment).unwrap()[0] > 1);
    assert_eq!(read(&store, "new").await, body(7, 60_000));
}

#[tokio::test]
async fn what_is_alive_is_moved_and_a_usual_pass_leaves_what_is_mostly_alive() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    for number in 0..4 {
        put(&store, &number.to_string(), &body(number, 100_000)).await;
    }
    store.close();
    drop(store);
    let store = open(dir.path());
    delete(&store, "0").await;
    assert_eq!(store.collect(Kind::Usual, &Unthrottled).unwrap().log_files, 0);
    delete(&store, "1").await;
    delete(&store, "2").await;
    let collected = store.collect(Kind::Usual, &Unthrottled).unwrap();
    assert_eq!(collected.log_files, 1, "{collected:?}");
    assert!((150_000..320_000).contains(&collected.freed), "{collected:?}");
    assert_eq!(read(&store, "3").await, body(3, 100_000));
    // An index that was built from what is left says the same, to the last place.
    store.close();
    drop(store);
    let live = closed_entries(dir.path());
    assert_eq!(rebuild_index(small(dir.path()), &Quiet).unwrap().damaged, 0);
    assert_eq!(closed_entries(dir.path()), live);
}

/// What is left on the disk at a step, and what the index says then.
type Cut = (Step, tempfile::TempDir, Entries);

#[tokio::test]
async fn a_crash_at_any_step_loses_nothing_and_brings_nothing_back() {
    let dir = tempfile::tempdir().unwrap();
    let lengths = [12_000, 60_000, 500, 90_000];
    let mut tokens = Vec::new();
    for life in 0..3_u64 {
        let store = open(dir.path());
        let account = account(&store, life);
        let created = Change::PutAccount {
            expect: None,
            account: account.clone(),
        };
        store.commit(created).settled().await.unwrap();
        let token = Token {
            id: store.next_id(),
            account: account.id,
            name: "ci".into(),
            hash: [life as u8; 32],
            last_eight: "12345678".into(),
            scopes: 1,
            created: 0,
            expires: None,
            grants: Vec::new(),
        };
        store
            .commit(Change::PutToken(token.clone()))
            .settled()
            .await
            .unwrap();
        tokens.push(token);
        for (number, len) in lengths.into_iter().enumerate() {
            let number = life * 10 + number as u64;
            put(&store, &format!("keep{number}"), &body(number, len)).await;
            put(&store, &format!("drop{number}"), &body(100 + number, len)).await;
        }
        store.close();
    }
    let store = open(dir.path());
    for life in 0..3 {
        for number in 0..4 {
            delete(&store, &format!("drop{}", life * 10 + number)).await;
        }
    }
    store
        .commit(Change::RemoveToken(tokens.remove(0)))
        .settled()
        .await
        .unwrap();

    let cuts: std::rc::Rc<RefCell<Vec<Cut>>> = Default::default();
    let (watched, data, taken) = (store.clone(), dir.path().to_owned(), cuts.clone());
    WATCH.set(Some(Box::new(move |step| {
        let cut = (step, crashed(&data), entries(&watched.inner.index));
        taken.borrow_mut().push(cut);
    })));
    let collected = collect(&store);
    WATCH.set(None);
    assert!(collected.log_files >= 6, "{collected:?}");
    let cuts = cuts.take();
    for step in [Step::Copied, Step::Moved, Step::Checkpointed, Step::Unlinked] {
        assert!(cuts.iter().any(|cut| cut.0 == step), "{step:?} was never reached");
    }
    for (number, (step, data, live)) in cuts.into_iter().enumerate() {
        let store = open(data.path());
        assert_eq!(entries(&store.inner.index), live, "cut {number}, {step:?}");
        for life in 0..3 {
            for (index, len) in lengths.into_iter().enumerate() {
                let number = life * 10 + index as u64;
                assert_eq!(read(&store, &format!("keep{number}")).await, body(number, len));
                assert!(find(&store, "p", &format!("drop{number}"), "f").is_none());
            }
        }
        assert_eq!(store.token(&[0; 32]).unwrap(), None);
        assert_eq!(store.token(&[1; 32]).unwrap().as_ref(), Some(&tokens[0]));
    }
}

#[tokio::test]
async fn a_segment_stays_while_an_upload_relies_on_it() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let pinned = upload(&store, &body(1, 60_000)).await;
    put(&store, "2", &body(2, 60_000)).await;
    store.inner.bulk.segments.rotate().await.unwrap();
    delete(&store, "2").await;
    collect(&store);
    assert_eq!(list(dir.path(), FileKind::Segment).unwrap(), [1]);
    publish_blob(&store, "p", "1", "f", pinned)
        .settled()
        .await
        .unwrap();
    collect(&store);
    assert_eq!(list(dir.path(), FileKind::Segment).unwrap(), [2]);
    assert_eq!(read(&store, "1").await, body(1, 60_000));
}

#[tokio::test]
async fn damage_keeps_a_file_until_it_is_healed() {
    for (len, kind) in [(16_000, FileKind::Segment), (12_000, FileKind::Journal)] {
        let dir = tempfile::tempdir().unwrap();
        let options = Options {
            inline_limit: 13_000,
            ..options(dir.path())
        };
        let store = Store::open(options.clone(), &Quiet).unwrap();
        for number in 0..4 {
            put(&store, &number.to_string(), &body(number, len)).await;
        }
        store.close();
        drop(store);
        let store = Store::open(options, &Quiet).unwrap();
        let rotten = place(&store, &body(1, len));
        assert_eq!((rotten.kind, rotten.file), (kind, 1));
        change(&path(dir.path(), kind, 1), rotten.offset as usize + 1000);
        delete(&store, "2").await;
        delete(&store, "3").await;
        let done = compact_after_collection(&store);
        assert_eq!(done.damaged, 1, "{kind:?}");
        assert!(path(dir.path(), kind, 1).exists());
        assert_eq!(place(&store, &body(1, len)), rotten, "damage is not copied");
        assert_ne!(place(&store, &body(0, len)).file, 1, "the others are");
        assert_eq!(read(&store, "0").await, body(0, len));
        // The same bytes again.
        put(&store, "again", &body(1, len)).await;
        assert_eq!(read(&store, "1").await, body(1, len));
        assert_eq!(compact_after_collection(&store).damaged, 0);
        assert!(!path(dir.path(), kind, 1).exists());
        assert_eq!(read(&store, "1").await, body(1, len));
    }
}

fn compact_after_collection(store: &Store) -> Compacted {
    collect(store);
    compact(&store.inner, true, &Unthrottled).unwrap()
}

#[tokio::test]
async fn a_journal_file_that_cannot_be_read_whole_stays() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    put(&store, "1", &body(1, 12_000)).await;
    put(&store, "2", &body(2, 12_000)).await;
    put(&store, "3", &body(3, 12_000)).await;
    store.close();
    drop(store);
    let store = open(dir.path());
    delete(&store, "2").await;
    delete(&store, "3").await;
    let oldest = path(dir.path(), FileKind::Journal, 1);
    let len = fs::metadata(&oldest).unwrap().len() as usize;
    let gone = place(&store, &body(2, 12_000)).offset as usize;
    // A record, and the footer that repeats it.
    change(&oldest, len - 40);
    change(&oldest, gone + 70);
    assert_eq!(compact_after_collection(&store).damaged, 1);
    assert!(oldest.exists());
    // With the record whole again, the file itself says what the footer did.
    change(&oldest, gone + 70);
    compact_after_collection(&store);
    assert!(!oldest.exists());
    assert_eq!(read(&store, "1").await, body(1, 12_000));
}

#[tokio::test]
async fn what_lay_in_a_lost_file_is_written_again() {
    // Chunks of a segment, a body inside the journal, and the manifest of chunks that are still there.
    for (len, lost) in [
        (60_000, FileKind::Segment),
        (12_000, FileKind::Journal),
        (60_000, FileKind::Journal),
    ] {
        let dir = tempfile::tempdir().unwrap();
        let store = open(dir.path());
        put(&store, "1", &body(1, len)).await;
        store.close();
        drop(store);
        // The index is up to another file of the journal, and so believed.
        let store = open(dir.path());
        put(&store, "other", &body(2, 100)).await;
        store.close();
        drop(store);
        fs::remove_file(path(dir.path(), lost, 1)).unwrap();
        let store = open(dir.path());
        put(&store, "2", &body(1, len)).await;
        for version in ["1", "2"] {
            assert_eq!(read(&store, version).await, body(1, len), "{len} bytes, {lost:?}");
        }
    }
}

#[tokio::test]
async fn nothing_is_removed_once_writing_has_ended() {
    let dir = tempfile::tempdir().unwrap();
    let store = open_small(dir.path());
    put(&store, "1", &body(1, 60_000)).await;
    delete(&store, "1").await;
    store.inner.shared.poison("for a test".into());
    let refused = compact(&store.inner, true, &Unthrottled);
    assert!(matches!(refused, Err(StoreError::Poisoned)), "{refused:?}");
    assert!(path(dir.path(), FileKind::Segment, 1).exists());
}

#[derive(Clone, Debug)]
enum Act {
    Put(u8, u8, u8),
    RemoveFile(u8, u8),
    RemoveVersion(u8),
    Collect(Kind),
    Reopen { in_order: bool },
    Rebuild,
}

fn acts() -> impl Strategy<Value = Vec<Act>> {
    let act = prop_oneof![
        6 => (0..3_u8, 0..3_u8, 0..12_u8).prop_map(|(version, file, body)| Act::Put(version, file, body)),
        3 => (0..3_u8, 0..3_u8).prop_map(|(version, file)| Act::RemoveFile(version, file)),
        1 => (0..3_u8).prop_map(Act::RemoveVersion),
        2 => prop::sample::select(vec![Kind::Full, Kind::Full, Kind::Usual]).prop_map(Act::Collect),
        1 => any::<bool>().prop_map(|in_order| Act::Reopen { in_order }),
        1 => Just(Act::Rebuild),
    ];
    prop::collection::vec(act, 20..40)
}

fn a_body(number: u8) -> Vec<u8> {
    let len = [300, 9_000, 14_000, 50_000][usize::from(number % 4)];
    body(u64::from(number), len)
}

/// What the store must hold: the body's number by version and file.
type Model = BTreeMap<(u8, u8), u8>;

async fn step(store: &Store, model: &mut Model, act: &Act) {
    match *act {
        Act::Put(version, file, number) => {
            let blob = upload(store, &a_body(number)).await;
            let (version_name, name) = (format!("v{version}"), format!("f{file}"));
            let ticket = publish_blob(store, "p", &version_name, &name, blob);
            ticket.settled().await.unwrap();
            model.insert((version, file), number);
        }
        Act::RemoveFile(version, file) => {
            let ticket = remove_file(store, "p", &format!("v{version}"), &format!("f{file}"));
            assert_eq!(ticket.is_some(), model.remove(&(version, file)).is_some());
            if let Some(ticket) = ticket {
                ticket.settled().await.unwrap();
            }
        }
        Act::RemoveVersion(version) => {
            if model.keys().any(|(of, _)| *of == version) {
                let ticket = remove_version(store, "p", &format!("v{version}")).unwrap();
                ticket.settled().await.unwrap();
                model.retain(|(of, _), _| *of != version);
            }
        }
        Act::Collect(kind) => drop(store.collect(kind, &Unthrottled).unwrap()),
        Act::Reopen { .. } | Act::Rebuild => {}
    }
}

async fn check(store: &Store, model: &Model) {
    for version in 0..3 {
        for file in 0..3 {
            let found = find(store, "p", &format!("v{version}"), &format!("f{file}"));
            assert_eq!(found.is_some(), model.contains_key(&(version, file)));
            let Some((_, _, file_found)) = found else { continue };
            let blob = store.open_file(&file_found).unwrap();
            let bytes = crate::store::collect::tests::read_blob(&blob).await;
            assert_eq!(bytes, a_body(model[&(version, file)]));
        }
    }
}

async fn play(acts: &[Act]) {
    let dir = tempfile::tempdir().unwrap();
    let mut model = Model::new();
    let mut store = open(dir.path());
    for act in acts {
        step(&store, &mut model, act).await;
        if let Act::Reopen { in_order: false } = act {
            drop(store);
            store = open(dir.path());
        } else if let Act::Reopen { .. } | Act::Rebuild = act {
            store.close();
            drop(store);
            if matches!(act, Act::Rebuild) {
                let live = closed_entries(dir.path());
                rebuild_index(small(dir.path()), &Quiet).unwrap();
                assert_eq!(closed_entries(dir.path()), live);
            }
            store = open(dir.path());
        }
        check(&store, &model).await;
    }
    collect(&store);
    check(&store, &model).await;
    store.close();
    drop(store);
    let live = closed_entries(dir.path());
    rebuild_index(small(dir.path()), &Quiet).unwrap();
    assert_eq!(closed_entries(dir.path()), live);
}

proptest! {
    // LARDER_TEST_ROUNDS asks for more.
    #![proptest_config(ProptestConfig {
        cases: std::env::var("LARDER_TEST_ROUNDS").ok().and_then(|rounds| rounds.parse().ok()).unwrap_or(8),
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn a_store_is_what_its_history_says_however_often_it_is_compacted(acts in acts()) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(play(&acts));
    }
}
