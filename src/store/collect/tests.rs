//! Passes over a real store.

#![allow(clippy::unwrap_used)]

use std::os::unix::fs::FileExt;
use std::path::Path;

use bytes::Bytes;

use super::*;
use crate::chunk::{ChunkerParams, Digest};
use crate::store::index::keys;
use crate::store::log::files;
use crate::store::model::Place;
use crate::store::pace::Unthrottled;
use crate::store::tests::{
    Quiet, closed_entries, entries, find, publish, publish_blob, remove_file, remove_version,
};
use crate::store::upload::NewBlob;
use crate::store::{Health, Options, rebuild_index};

pub(in crate::store) fn options(data: &Path) -> Options {
    Options {
        index_cache: 4 << 20,
        inline_limit: 1024,
        chunking: ChunkerParams {
            min_size: 4096,
            avg_size: 8192,
            max_size: 16384,
        },
        ..Options::at(data)
    }
}

pub(in crate::store) fn open(data: &Path) -> Store {
    Store::open(options(data), &Quiet).unwrap()
}

/// Bytes that no chunker cuts evenly.
pub(in crate::store) fn body(seed: u64, len: usize) -> Vec<u8> {
    crate::chunk::testing::noise(len, seed)
}

pub(in crate::store) async fn upload(store: &Store, body: &[u8]) -> Arc<NewBlob> {
    let mut writer = store.upload(Some(body.len() as u64));
    writer.write(Bytes::copy_from_slice(body)).await.unwrap();
    Arc::new(writer.finish().await.unwrap())
}

pub(in crate::store) async fn put(store: &Store, version: &str, body: &[u8]) {
    let blob = upload(store, body).await;
    publish_blob(store, "p", version, "f", blob)
        .settled()
        .await
        .unwrap();
}

pub(in crate::store) async fn delete(store: &Store, version: &str) {
    let ticket = remove_file(store, "p", version, "f").unwrap();
    ticket.settled().await.unwrap();
}

pub(in crate::store) async fn read(store: &Store, version: &str) -> Vec<u8> {
    let (_, _, file) = find(store, "p", version, "f").unwrap();
    let blob = store.open_file(&file).unwrap();
    read_blob(&blob).await
}

pub(in crate::store) async fn read_blob(blob: &crate::store::blob::Blob) -> Vec<u8> {
    let mut reader = blob.read(0..blob.size());
    let mut bytes = Vec::new();
    while let Some(piece) = reader.next().await.unwrap() {
        bytes.extend_from_slice(&piece);
    }
    bytes
}

/// A pass on a thread of its own, as it must be.
async fn collect(store: &Store, kind: Kind) -> Result<Collected, CollectError> {
    let store = store.clone();
    let pass = move || store.collect(kind, &Unthrottled);
    tokio::task::spawn_blocking(pass).await.unwrap()
}

fn stored(store: &Store) -> usize {
    let entries = entries(&store.inner.index);
    entries.keys().filter(|key| matches!(key[0], b'c' | b'b')).count()
}

/// A pass whose marks must fit into `most`.
fn pass(store: &Store, most: usize) -> Collected {
    let pass = Pass {
        inner: &store.inner,
        pace: &Unthrottled,
        most_marks: most,
        freed: Arc::default(),
        kind: Kind::Usual,
    };
    pass.run(Kind::Full).unwrap()
}

#[tokio::test]
async fn what_no_name_leads_to_goes_and_everything_else_stays() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    // One chunk in the journal, one in a segment, many; the last shares its first half with another.
    let bodies: Vec<Vec<u8>> = [500, 3000, 200_000, 200_000]
        .map(|len| body(len as u64, len))
        .into();
    let mut half = bodies[2].clone();
    half.truncate(100_000);
    half.extend(body(9, 50_000));
    for (number, body) in bodies.iter().chain([&half]).enumerate() {
        put(&store, &number.to_string(), body).await;
        put(&store, &format!("again{number}"), body).await;
    }
    let before = stored(&store);
    assert_eq!(collect(&store, Kind::Full).await.unwrap().chunks, 0);
    for number in 0..5 {
        delete(&store, &number.to_string()).await;
    }
    delete(&store, "again2").await;
    delete(&store, "again3").await;
    delete(&store, "again0").await;
    let preview = collect(&store, Kind::Preview).await.unwrap();
    assert_eq!(stored(&store), before, "a preview drops nothing");
    let collected = collect(&store, Kind::Full).await.unwrap();
    assert_eq!(
        (preview.chunks, preview.bytes),
        (collected.chunks, collected.bytes)
    );
    assert_eq!((collected.manifests, collected.files), (1, 2));
    assert!(
        collected.chunks > 5 && collected.bytes > 100_500 && collected.bytes < 130_000,
        "{collected:?}"
    );
    assert_eq!(
        stored(&store),
        before - (collected.chunks + collected.manifests) as usize
    );
    assert_eq!(read(&store, "again1").await, bodies[1]);
    assert_eq!(read(&store, "again4").await, half);

    // What is gone can come again, and what stays is still found by those who bring it.
    put(&store, "new", &bodies[2]).await;
    assert_eq!(read(&store, "new").await, bodies[2]);
    for version in ["again1", "again4", "new"] {
        delete(&store, version).await;
    }
    collect(&store, Kind::Full).await.unwrap();
    assert_eq!(stored(&store), 0);
}

#[tokio::test]
async fn a_rebuild_brings_nothing_back() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    for number in 0..20 {
        put(
            &store,
            &number.to_string(),
            &body(number, 900 * number as usize + 10),
        )
        .await;
    }
    for number in 0..10 {
        delete(&store, &number.to_string()).await;
    }
    assert!(collect(&store, Kind::Usual).await.unwrap().chunks >= 10);
    put(&store, "3", &body(3, 2710)).await;
    store.close();
    drop(store);
    let live = closed_entries(dir.path());
    let report = rebuild_index(options(dir.path()), &Quiet).unwrap();
    assert_eq!((report.damaged, closed_entries(dir.path())), (0, live));
    let store = open(dir.path());
    assert_eq!(collect(&store, Kind::Preview).await.unwrap().chunks, 0);
    assert_eq!(read(&store, "3").await, body(3, 2710));
    assert_eq!(read(&store, "19").await, body(19, 17110));
}

#[tokio::test]
async fn many_rounds_find_the_same_as_one() {
    let mut found = Vec::new();
    for most in [16, 1 << 20] {
        let dir = tempfile::tempdir().unwrap();
        let store = open(dir.path());
        for number in 0..12 {
            put(&store, &number.to_string(), &body(number, 60_000)).await;
        }
        for number in 0..6 {
            delete(&store, &number.to_string()).await;
        }
        found.push(pass(&store, most));
        for number in 6..12 {
            assert_eq!(read(&store, &number.to_string()).await, body(number, 60_000));
        }
    }
    assert!(found[0].chunks > 20, "{found:?}");
    assert_eq!(found[0], found[1]);
}

#[tokio::test]
async fn an_open_file_is_read_to_its_end() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    put(&store, "1", &body(1, 150_000)).await;
    let (_, _, file) = find(&store, "p", "1", "f").unwrap();
    let blob = store.open_file(&file).unwrap();
    delete(&store, "1").await;
    assert_eq!(collect(&store, Kind::Full).await.unwrap().chunks, 0);
    assert_eq!(read_blob(&blob).await, body(1, 150_000));
    drop(blob);
    assert!(collect(&store, Kind::Full).await.unwrap().chunks > 5);
    assert_eq!(stored(&store), 0);
}

#[tokio::test]
async fn what_an_upload_relies_on_stays_until_it_has_its_name() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let bytes = body(1, 150_000);
    put(&store, "1", &bytes).await;
    let pinned = upload(&store, &bytes).await;
    delete(&store, "1").await;
    let collected = collect(&store, Kind::Full).await.unwrap();
    // The manifest is the committer's, which writes it again.
    assert_eq!((collected.chunks, collected.manifests), (0, 1));
    publish_blob(&store, "p", "2", "f", pinned)
        .settled()
        .await
        .unwrap();
    assert_eq!(read(&store, "2").await, bytes);
    assert_eq!(collect(&store, Kind::Full).await.unwrap().chunks, 0);
}

#[tokio::test]
async fn what_is_published_after_the_mark_is_not_dropped() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    for (number, len) in [(1, 500), (2, 3000), (3, 90_000)] {
        put(&store, &number.to_string(), &body(number, len)).await;
        delete(&store, &number.to_string()).await;
    }
    let pass = Pass {
        inner: &store.inner,
        pace: &Unthrottled,
        most_marks: MAX_MARKS,
        freed: Arc::default(),
        kind: Kind::Usual,
    };
    store.inner.barrier.raise();
    pass.fence().unwrap();
    let mut marks = Marks::from(0, MAX_MARKS);
    assert_eq!(pass.mark_files(&mut marks).unwrap().files, 0);
    for (number, len) in [(1, 500), (2, 3000), (3, 90_000)] {
        put(&store, &format!("again{number}"), &body(number, len)).await;
    }
    pass.sweep(&marks.finish(), false).unwrap();
    store.inner.barrier.lower();
    for (number, len) in [(1, 500), (2, 3000), (3, 90_000)] {
        assert_eq!(read(&store, &format!("again{number}")).await, body(number, len));
    }
    assert_eq!(pass.freed.chunks() + pass.freed.manifests(), 0);
}

#[tokio::test]
async fn a_full_pass_waits_for_a_large_version_to_be_swept() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    for file in 0..600_u64 {
        publish(&store, "p", "1", &format!("f{file}"), &file.to_le_bytes())
            .settled()
            .await
            .unwrap();
    }
    remove_version(&store, "p", "1").unwrap().settled().await.unwrap();
    let collected = collect(&store, Kind::Full).await.unwrap();
    assert_eq!((collected.chunks, collected.files), (600, 0));
    assert_eq!(store.removed_bytes(), 600 * 8);
}

/// Where the manifest of a file of this content lies, as the index says.
fn manifest_place(store: &Store, bytes: &[u8]) -> Place {
    let key = keys::manifest(&Digest::of(bytes));
    store.inner.index.get_as(&key).unwrap().unwrap()
}

fn rot(data: &Path, place: &Place, offset: u64) {
    let path = files::path(data, place.kind, place.file);
    let file = std::fs::File::options().write(true).open(path).unwrap();
    file.write_all_at(b"rot", offset).unwrap();
}

async fn with_three_files(data: &Path) -> Store {
    let store = open(data);
    for seed in 1..=3 {
        put(&store, &seed.to_string(), &body(seed, 100_000)).await;
    }
    delete(&store, "3").await;
    store
}

#[tokio::test]
async fn a_manifest_that_is_damaged_twice_does_not_stop_a_pass() {
    let dir = tempfile::tempdir().unwrap();
    let store = with_three_files(dir.path()).await;
    let place = manifest_place(&store, &body(1, 100_000));
    store.close();
    drop(store);
    let store = open(dir.path());
    let len = std::fs::metadata(files::path(dir.path(), place.kind, place.file))
        .unwrap()
        .len();
    rot(dir.path(), &place, place.offset + 70);
    rot(dir.path(), &place, len - 100);
    let collected = collect(&store, Kind::Usual).await.unwrap();
    assert_eq!((collected.damaged, collected.manifests), (1, 1));
    assert_eq!(read(&store, "2").await, body(2, 100_000));
    // The bytes, brought again, heal it.
    assert!(store.open_file(&find(&store, "p", "1", "f").unwrap().2).is_err());
    put(&store, "1", &body(1, 100_000)).await;
    assert_eq!(read(&store, "1").await, body(1, 100_000));
}

#[tokio::test]
async fn a_damaged_manifest_is_brought_back_from_the_footer() {
    for kind in [Kind::Usual, Kind::Full] {
        let dir = tempfile::tempdir().unwrap();
        let store = with_three_files(dir.path()).await;
        let place = manifest_place(&store, &body(1, 100_000));
        rot(dir.path(), &place, place.offset + 70);
        // Somebody meets the damage first.
        assert!(store.open_file(&find(&store, "p", "1", "f").unwrap().2).is_err());
        let collected = collect(&store, Kind::Preview).await.unwrap();
        assert_eq!(
            collected.damaged, 1,
            "a preview neither writes nor ends the active file"
        );
        let collected = collect(&store, kind).await.unwrap();
        assert_eq!((collected.damaged, collected.manifests), (0, 1), "{kind:?}");
        assert_eq!(read(&store, "1").await, body(1, 100_000), "{kind:?}");
        assert!(store.inner.readers.damage().is_empty(), "{kind:?}: it is healed");
    }
}

#[tokio::test]
async fn an_upload_that_relies_on_a_copy_found_damaged_meanwhile_is_not_acknowledged() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let bytes = body(1, 3000);
    put(&store, "1", &bytes).await;
    let relying = upload(&store, &bytes).await;
    let digest = Digest::of(&bytes);
    let place = store.inner.bulk.places.place(&digest).unwrap();
    store.inner.readers.damage().report(digest, place);
    let refused = publish_blob(&store, "p", "2", "f", relying.clone())
        .settled()
        .await;
    assert_eq!(refused, Err(CommitError::Damaged));
    // The same bytes, sent again while the first upload still pins the damaged copy, heal both.
    put(&store, "3", &bytes).await;
    assert_ne!(store.inner.bulk.places.place(&digest).unwrap(), place);
    publish_blob(&store, "p", "2", "f", relying)
        .settled()
        .await
        .unwrap();
    for version in ["1", "2", "3"] {
        assert_eq!(read(&store, version).await, bytes);
    }
}

#[tokio::test]
async fn what_the_index_has_lost_is_not_taken_for_garbage() {
    for kind in [Kind::Full, Kind::Usual] {
        let dir = tempfile::tempdir().unwrap();
        let store = open(dir.path());
        put(&store, "1", &body(1, 100_000)).await;
        put(&store, "2", &body(2, 100)).await;
        let (package, version, _) = find(&store, "p", "1", "f").unwrap();
        store.close();
        drop(store);
        let index = crate::store::index::Index::open(&dir.path().join("index"), 1 << 20).unwrap();
        index.set(&keys::file(&package, version.id, "f"), None).unwrap();
        index.checkpoint().unwrap();
        drop(index);
        let store = open(dir.path());
        let collected = collect(&store, kind).await;
        // It may have met the index while that was built again.
        if let Ok(collected) = collected {
            assert_eq!(collected.chunks, 0, "{kind:?}");
        }
        while store.health() != Health::Ready || !store.index_is_proven() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        assert_eq!(read(&store, "1").await, body(1, 100_000), "{kind:?}");
    }
}

#[tokio::test]
async fn a_pass_stops_when_the_pace_says_so_and_only_one_runs() {
    struct Never;
    impl Pace for Never {
        fn spend(&self, _bytes: u64) -> bool {
            false
        }
    }
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    put(&store, "1", &body(1, 5000)).await;
    delete(&store, "1").await;
    let before = stored(&store);
    assert!(matches!(
        store.collect(Kind::Full, &Never),
        Err(CollectError::Stopped)
    ));
    assert_eq!(stored(&store), before);
    let running = store.inner.collecting.lock().unwrap();
    assert!(matches!(
        store.collect(Kind::Full, &Unthrottled),
        Err(CollectError::Running)
    ));
    drop(running);
    assert!(store.inner.barrier.holds(&Digest::of(b"")), "the barrier is down");
    store.close();
    let closed = collect(&store, Kind::Full).await;
    assert!(
        matches!(closed, Err(CollectError::Commit(CommitError::Closed))),
        "{closed:?}"
    );
}
