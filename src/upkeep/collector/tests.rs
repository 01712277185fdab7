#![allow(clippy::unwrap_used)]

use std::path::Path;

use bytes::Bytes;

use super::*;
use crate::store::change::{Change, Expected, Publish, RemoveFile};
use crate::store::counts::Quota;
use crate::store::model::{File, Package, Version};
use crate::store::{self, Progress};

/// Longer than anything takes here, also on a machine that is busy with other things.
const PATIENCE: Duration = Duration::from_secs(60);

struct Quiet;

impl Progress for Quiet {
    fn replayed(&self, _done: u64, _total: u64) {}
}

fn open(data: &Path) -> Store {
    let options = store::Options {
        index_cache: 4 << 20,
        ..store::Options::at(data)
    };
    Store::open(options, &Quiet).unwrap()
}

/// Publishes `bytes` and takes the name away again: garbage.
async fn make_garbage(store: &Store, bytes: &'static [u8]) {
    let mut writer = store.upload(None);
    writer.write(Bytes::from_static(bytes)).await.unwrap();
    let blob = Arc::new(writer.finish().await.unwrap());
    let (package, version) = (
        Package {
            id: store.next_id(),
            name: "p".into(),
            exact_case: false,
            created: 0,
        },
        Version {
            id: store.next_id(),
            name: "1".into(),
            created: 0,
            creator: 1,
        },
    );
    let file = File {
        id: store.next_id(),
        name: "f".into(),
        blob: blob.digest,
        size: blob.size,
        shape: blob.shape(),
        created: 0,
        creator: 1,
        sha256: None,
    };
    let publish = Publish {
        owner: 1,
        package: Expected::Absent(package.clone()),
        version: Expected::Absent(version.clone()),
        file: file.clone(),
        replaces: None,
        quota: Quota::default(),
        blob,
    };
    let remove = RemoveFile {
        owner: 1,
        package,
        version,
        file,
        spare_pinned: false,
    };
    for change in [Change::Publish(publish), Change::RemoveFile(remove)] {
        store.commit(change).settled().await.unwrap();
    }
}

#[tokio::test]
async fn a_pass_is_made_when_it_is_asked_for() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    make_garbage(&store, b"garbage").await;
    let collector = Collector::start(store.clone(), Options::default()).unwrap();
    // At once: in between the thread could take up what the next one shall join.
    let [preview, full, joined] = {
        let mut desk = lock(&collector.0.desk);
        [Kind::Preview, Kind::Full, Kind::Full].map(|kind| desk.request(kind).run)
    };
    assert_eq!(joined, full, "the same request is joined");
    assert_ne!(preview, full);
    let [would, did] = [collector.ended(preview).await, collector.ended(full).await];
    assert_eq!(would.unwrap().bytes, 7);
    assert_eq!(did.unwrap().bytes, 7);
    let again = collector.request(Kind::Full);
    assert_ne!(again.run, full);
    assert_eq!(collector.ended(again.run).await.unwrap().chunks, 0);
    assert!(collector.ended(again.run + 1).await.is_err(), "never asked for");
    collector.stop();
    assert!(collector.ended(collector.request(Kind::Full).run).await.is_err());
    store.close();
}

#[tokio::test]
async fn a_pass_is_made_by_itself_once_enough_is_removed() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let options = Options {
        after_removed: 10,
        ..Options::default()
    };
    let collector = Collector::start(store.clone(), options).unwrap();
    make_garbage(&store, b"little").await;
    tokio::time::sleep(3 * LOOK_EVERY).await;
    assert_eq!(lock(&collector.0.desk).last_run, 0);
    make_garbage(&store, b"enough by now").await;
    let deadline = Instant::now() + PATIENCE;
    while lock(&collector.0.desk).outcomes.is_empty() {
        assert!(Instant::now() < deadline, "no pass was made");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(collector.outcome(1).unwrap().unwrap().bytes, 19);
    collector.stop();
    store.close();
}

#[test]
fn a_stop_ends_a_slow_pass() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(make_garbage(&store, b"garbage"));
    let options = Options {
        after_removed: 1,
        rate: 1,
        ..Options::default()
    };
    let collector = Collector::start(store.clone(), options).unwrap();
    // At a byte a second: for half a day.
    runtime.block_on(make_garbage(&store, &[7; 50_000]));
    let deadline = Instant::now() + PATIENCE;
    while !lock(&collector.0.desk).running {
        assert!(Instant::now() < deadline, "no pass was begun");
        std::thread::sleep(Duration::from_millis(5));
    }
    let started = Instant::now();
    collector.stop();
    assert!(started.elapsed() < PATIENCE, "{:?}", started.elapsed());
    assert!(collector.outcome(1).unwrap().is_err());
    store.close();
}
