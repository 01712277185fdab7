#![allow(clippy::unwrap_used)]

use super::*;
use crate::store::collect::Kind;
use crate::store::collect::tests::{body, delete, open, put};
use crate::store::pace::Unthrottled;
use crate::store::tests::publish;

fn stats(store: &Store) -> Stats {
    store.stats(&Unthrottled).unwrap()
}

#[tokio::test]
async fn what_is_there_twice_is_logical_twice_and_unique_once() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let empty = stats(&store);
    assert_eq!((empty.files, empty.chunks, empty.dedupe_ratio()), (0, 0, None));
    put(&store, "1", &body(1, 100_000)).await;
    put(&store, "2", &body(1, 100_000)).await;
    publish(&store, "p", "2", "g", b"0123456789")
        .settled()
        .await
        .unwrap();
    publish(&store, "q", "1", "f", b"0123456789")
        .settled()
        .await
        .unwrap();
    let full = stats(&store);
    assert_eq!(
        (full.packages, full.versions, full.files, full.blobs),
        (2, 3, 4, 2)
    );
    assert_eq!((full.logical_bytes, full.unique_bytes), (200_020, 100_010));
    assert!(full.chunks > 5, "one small body and the chunks of a large one");
    assert_eq!(full.dedupe_ratio(), Some(2.0));
    assert_eq!(full.log_bytes, full.live_bytes + full.dead_bytes);
    assert!(
        full.live_bytes > full.unique_bytes,
        "headers are live too: {full:?}"
    );
    assert!(full.reserved_bytes > 0);
    let parts = full.log_bytes + full.reserved_bytes + full.index_bytes;
    assert!(
        (parts..parts + (64 << 10)).contains(&full.physical_bytes),
        "the parts are all there is but for small files: {full:?}"
    );
}

#[tokio::test]
async fn what_was_removed_is_dead_once_it_is_dropped_and_gone_once_it_is_compacted() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    put(&store, "1", &body(1, 100_000)).await;
    put(&store, "2", &body(2, 50_000)).await;
    delete(&store, "1").await;
    let removed = stats(&store);
    assert_eq!((removed.logical_bytes, removed.unique_bytes), (50_000, 150_000));
    let collecting = store.clone();
    tokio::task::spawn_blocking(move || collecting.collect(Kind::Full, &Unthrottled))
        .await
        .unwrap()
        .unwrap();
    let after = stats(&store);
    assert_eq!((after.logical_bytes, after.unique_bytes), (50_000, 50_000));
    assert!(after.log_bytes < 90_000, "{after:?}");
    assert!(after.dead_bytes < removed.dead_bytes + 100_000, "{after:?}");
}

#[tokio::test]
async fn counting_ends_when_the_pace_says_so() {
    struct Ended;
    impl Pace for Ended {
        fn spend(&self, _bytes: u64) -> bool {
            false
        }
    }
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    assert!(matches!(store.stats(&Ended), Err(StoreError::Closed)));
}

#[tokio::test]
async fn blobs_that_do_not_fit_into_one_round_are_counted_in_several() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    for file in 0..40_u64 {
        let bytes = (file / 2).to_le_bytes();
        publish(&store, "p", "1", &format!("f{file}"), &bytes)
            .settled()
            .await
            .unwrap();
    }
    let mut few = Marks::from(0, 4);
    store
        .inner
        .each_entry(&keys::all_files(), &Unthrottled, |_, value| {
            few.mark(&decode::<File>(value)?.blob);
            Ok(())
        })
        .unwrap();
    assert_eq!(store.inner.count_blobs(few, &Unthrottled).unwrap(), 20);
}
