//! The segment writer over real files, with a disk that fails when told to.

#![allow(clippy::unwrap_used)]

use std::fs;
use std::sync::atomic::Ordering::SeqCst;

use super::super::disk::Kernel;
use super::super::files::path;
use super::super::format::FILE_HEADER_LEN;
use super::super::segment_footer::Footer;
use super::super::segment_recovery::recover_segments;
use super::super::testing::{STORE, data_dir, files, noise, options, put, send, snapshot, writer};
use super::*;
use crate::store::model::FileKind::Segment;

#[tokio::test]
async fn what_is_synced_can_be_read() {
    let dir = data_dir();
    let (writer, disk) = writer(options(dir.path()));
    let body = noise(1001, 1);
    let pieces = vec![body.slice(..1), body.slice(1..500), body.slice(500..)];
    let (reply, answer) = oneshot::channel();
    let written = Box::new(|result| drop(reply.send(result)));
    writer
        .append(Digest::of(&body), pieces, 1001, written)
        .await
        .unwrap();
    let place = answer.await.unwrap().unwrap();
    assert_eq!(
        (place.file, place.offset, place.stored_len),
        (1, FILE_HEADER_LEN, 1001)
    );
    assert!(
        writer.durable() < end_of(&place),
        "an append alone is not durable"
    );
    writer.sync(end_of(&place)).await.unwrap();
    assert_eq!(writer.durable(), end_of(&place));
    let syncs = disk.syncs.load(SeqCst);
    writer.sync(end_of(&place)).await.unwrap();
    assert_eq!(
        disk.syncs.load(SeqCst),
        syncs,
        "what is durable needs no further sync"
    );
    let record = files(dir.path()).record(&place).unwrap();
    assert_eq!(record.payload, body);
    assert_eq!(record.header.digest, Digest::of(&body));
    assert_eq!(writer.queued_bytes(), 0);
}

#[tokio::test]
async fn empty_payloads_and_those_larger_than_the_queue_fit() {
    let dir = data_dir();
    let (writer, _) = writer(SegmentOptions {
        queue_bytes: 10_000,
        ..options(dir.path())
    });
    for body in [Bytes::new(), noise(3 << 20, 1), noise(7, 2)] {
        let place = put(&writer, body.clone()).await.unwrap();
        assert_eq!(files(dir.path()).record(&place).unwrap().payload, body);
    }
}

#[tokio::test]
async fn a_position_that_was_never_written_is_refused() {
    let dir = data_dir();
    let (writer, _) = writer(options(dir.path()));
    let place = put(&writer, noise(10, 1)).await.unwrap();
    let mut beyond = end_of(&place);
    beyond.offset += 8;
    assert!(matches!(writer.sync(beyond).await, Err(StoreError::Io(_))));
    assert!(!writer.poisoned());
}

#[tokio::test]
async fn segments_grow_and_are_sealed_with_their_chunks() {
    let dir = data_dir();
    let (writer, _) = writer(options(dir.path()));
    let mut places = Vec::new();
    for seed in 0..60 {
        places.push(put(&writer, noise(30_000, seed)).await.unwrap());
    }
    writer.close().unwrap();
    assert!(matches!(put(&writer, noise(1, 1)).await, Err(StoreError::Closed)));

    let files = files(dir.path());
    let last = places.last().unwrap().file;
    let mut listed = Vec::new();
    let mut lens = Vec::new();
    for number in 1..=last {
        let file = files.open(Segment, number).unwrap();
        lens.push(file.size().unwrap());
        let footer = Footer::read(&file).unwrap().unwrap();
        listed.extend(
            footer
                .entries
                .iter()
                .map(|entry| (number, entry.offset, entry.stored_len, entry.digest)),
        );
    }
    let written: Vec<_> = places
        .iter()
        .zip(0..)
        .map(|(place, seed)| {
            (
                place.file,
                place.offset,
                place.stored_len,
                Digest::of(&noise(30_000, seed)),
            )
        })
        .collect();
    assert_eq!(listed, written);
    assert_eq!(lens.len(), 4);
    assert!(
        lens[0] <= 64 << 10 && lens[1] <= 256 << 10 && lens[2] <= 1 << 20,
        "{lens:?}"
    );
    assert!(lens[0] > 32 << 10 && lens[1] > 200 << 10, "{lens:?}");
}

#[tokio::test]
async fn many_appends_and_syncs_share_few_syncs() {
    const UPLOADS: u64 = 200;
    let dir = data_dir();
    let (writer, disk) = writer(SegmentOptions {
        first_size: 16 << 20,
        full_size: 16 << 20,
        queue_bytes: 256 << 10,
        ..options(dir.path())
    });
    let writer = Arc::new(writer);
    disk.stall(true);
    let uploads: Vec<_> = (0..UPLOADS)
        .map(|seed| {
            let writer = writer.clone();
            tokio::spawn(async move {
                let place = put(&writer, noise(5000, seed)).await.unwrap();
                writer.sync(end_of(&place)).await.unwrap();
                assert!(writer.durable() >= end_of(&place));
                (seed, place)
            })
        })
        .collect();
    disk.until_stalling().await;
    let before = disk.syncs.load(SeqCst);
    disk.stall(false);
    let files = files(dir.path());
    for upload in uploads {
        let (seed, place) = upload.await.unwrap();
        assert_eq!(files.record(&place).unwrap().payload, noise(5000, seed));
    }
    let syncs = disk.syncs.load(SeqCst) - before;
    assert!(
        (1..UPLOADS as usize).contains(&syncs),
        "{syncs} syncs for {UPLOADS} uploads"
    );
    assert_eq!(writer.queued_bytes(), 0);
}

/// However many wait, each is answered: a gathering ends between two requests, not with one in its hand.
#[tokio::test]
async fn no_request_is_lost_where_a_gathering_ends() {
    const APPENDS: u64 = 1000;
    let dir = data_dir();
    let (writer, disk) = writer(SegmentOptions {
        first_size: 16 << 20,
        full_size: 16 << 20,
        queue_bytes: 64 << 20,
        ..options(dir.path())
    });
    disk.stall(true);
    let mut answers = Vec::new();
    for seed in 0..APPENDS {
        let (reply, written) = oneshot::channel();
        let payload = noise(10, seed);
        let digest = Digest::of(&payload);
        let answer = Box::new(move |result| drop(reply.send(result)));
        let len = payload.len() as u32;
        writer.append(digest, vec![payload], len, answer).await.unwrap();
        answers.push(written);
    }
    disk.stall(false);
    for written in answers {
        written.await.unwrap().unwrap();
    }
}

#[tokio::test]
async fn waiting_syncs_share_one() {
    let dir = data_dir();
    let (writer, disk) = writer(options(dir.path()));
    let place = put(&writer, noise(100, 1)).await.unwrap();
    disk.stall(true);
    let blocked = send(&writer, noise(1, 2)).await.unwrap();
    disk.until_stalling().await;
    let before = disk.syncs.load(SeqCst);
    let waiters = futures_util::future::join_all((0..50).map(|_| writer.sync(end_of(&place))));
    let (answers, ()) = tokio::join!(waiters, async { disk.stall(false) });
    assert!(answers.iter().all(Result::is_ok));
    assert_eq!(disk.syncs.load(SeqCst) - before, 1);
    blocked.await.unwrap().unwrap();
}

#[tokio::test]
async fn the_queue_is_bounded_in_bytes() {
    let dir = data_dir();
    let (writer, disk) = writer(SegmentOptions {
        queue_bytes: 100_000,
        ..options(dir.path())
    });
    disk.stall(true);
    let first = send(&writer, noise(40_000, 1)).await.unwrap();
    let second = send(&writer, noise(40_000, 2)).await.unwrap();
    let mut third = Box::pin(send(&writer, noise(40_000, 3)));
    assert!(
        futures_util::poll!(&mut third).is_pending(),
        "120,000 bytes do not fit"
    );
    assert!(writer.queued_bytes() >= 80_000);
    disk.stall(false);
    for answer in [first, second, third.await.unwrap()] {
        answer.await.unwrap().unwrap();
    }
}

#[tokio::test]
async fn a_full_disk_fails_its_upload_and_clears_by_itself() {
    let dir = data_dir();
    let (writer, disk) = writer(options(dir.path()));
    disk.allocate_fails.store(libc::ENOSPC, SeqCst);
    for seed in 0..3 {
        assert!(matches!(
            put(&writer, noise(10, seed)).await,
            Err(StoreError::NoSpace)
        ));
    }
    assert_eq!(
        fs::read_dir(dir.path().join("segments")).unwrap().count(),
        0,
        "nothing is left behind"
    );
    disk.allocate_fails.store(0, SeqCst);
    let place = put(&writer, noise(10, 9)).await.unwrap();
    writer.sync(end_of(&place)).await.unwrap();
    assert_eq!(place.file, 4, "a number is used once");
}

#[tokio::test]
async fn a_broken_segment_keeps_its_good_records_and_a_new_one_is_begun() {
    let dir = data_dir();
    let (writer, disk) = writer(options(dir.path()));
    let good = put(&writer, noise(999, 1)).await.unwrap();
    disk.write_fails.store(libc::EIO, SeqCst);
    assert!(matches!(
        put(&writer, noise(999, 2)).await,
        Err(StoreError::Io(_))
    ));
    disk.write_fails.store(0, SeqCst);
    let next = put(&writer, noise(999, 3)).await.unwrap();
    assert_eq!((good.file, next.file), (1, 2));
    assert!(writer.durable() >= end_of(&good));
    writer.close().unwrap();
    let files = files(dir.path());
    assert_eq!(files.record(&good).unwrap().payload, noise(999, 1));
    assert_eq!(files.record(&next).unwrap().payload, noise(999, 3));
}

#[tokio::test]
async fn after_a_failed_sync_nothing_is_written_and_no_sync_repeated() {
    let dir = data_dir();
    let (writer, disk) = writer(options(dir.path()));
    let safe = put(&writer, noise(10, 1)).await.unwrap();
    writer.sync(end_of(&safe)).await.unwrap();
    let lost = put(&writer, noise(10, 2)).await.unwrap();
    disk.sync_fails.store(libc::EIO, SeqCst);
    let answers = futures_util::future::join_all((0..5).map(|_| writer.sync(end_of(&lost)))).await;
    assert!(
        answers
            .iter()
            .all(|answer| matches!(answer, Err(StoreError::Poisoned)))
    );
    disk.sync_fails.store(0, SeqCst);
    let syncs = disk.syncs.load(SeqCst);
    assert!(writer.poisoned());
    assert!(matches!(
        put(&writer, noise(10, 3)).await,
        Err(StoreError::Poisoned)
    ));
    assert!(matches!(
        writer.sync(end_of(&lost)).await,
        Err(StoreError::Poisoned)
    ));
    writer.sync(end_of(&safe)).await.unwrap();
    assert!(matches!(writer.close(), Err(StoreError::Poisoned)));
    assert_eq!(disk.syncs.load(SeqCst), syncs);
    assert_eq!(writer.durable(), end_of(&safe));
}

#[tokio::test]
async fn a_failed_sync_while_rolling_poisons_too() {
    let dir = data_dir();
    let (writer, disk) = writer(options(dir.path()));
    put(&writer, noise(50_000, 1)).await.unwrap();
    disk.sync_fails.store(libc::EIO, SeqCst);
    assert!(matches!(
        put(&writer, noise(50_000, 2)).await,
        Err(StoreError::Poisoned)
    ));
    assert!(writer.poisoned());
}

#[tokio::test]
async fn a_panic_poisons_at_once() {
    let dir = data_dir();
    let (writer, disk) = writer(options(dir.path()));
    disk.panics.store(true, SeqCst);
    let unheard = send(&writer, noise(10, 1)).await.unwrap();
    assert!(unheard.await.is_err());
    for _ in 0..60_000 {
        if writer.poisoned() {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(1)).await;
    }
    assert!(writer.poisoned(), "before anybody closes it");
    let refused = put(&writer, noise(10, 2)).await;
    assert!(matches!(refused, Err(StoreError::Poisoned)));
}

#[tokio::test]
async fn a_record_behind_a_synced_one_begins_a_block() {
    let dir = data_dir();
    let (writer, _) = writer(options(dir.path()));
    let first = put(&writer, noise(10, 1)).await.unwrap();
    let second = put(&writer, noise(10, 2)).await.unwrap();
    assert_eq!(second.offset, end_of(&first).offset, "one sync for both");
    writer.sync(end_of(&second)).await.unwrap();
    let third = put(&writer, noise(10, 3)).await.unwrap();
    assert_eq!(third.offset, 8192);
    writer.sync(end_of(&third)).await.unwrap();
    let copy = snapshot(dir.path());
    let recovered = recover_segments(&Kernel, copy.path(), STORE, writer.durable()).unwrap();
    assert_eq!(recovered.damage, [], "what is skipped is no damage");
    let files = files(copy.path());
    for (seed, place) in [(1, first), (2, second), (3, third)] {
        assert_eq!(files.record(&place).unwrap().payload, noise(10, seed));
    }
}

#[tokio::test]
async fn a_writer_that_is_dropped_seals_too() {
    let dir = data_dir();
    let (writer, _) = writer(options(dir.path()));
    put(&writer, noise(50, 1)).await.unwrap();
    let thread = writer.thread.lock().unwrap().take().unwrap();
    drop(writer);
    thread.join().unwrap();
    let file = files(dir.path()).open(Segment, 1).unwrap();
    assert_eq!(Footer::read(&file).unwrap().unwrap().entries.len(), 1);
    assert_eq!(
        fs::metadata(path(dir.path(), Segment, 1)).unwrap().len(),
        file.size().unwrap()
    );
}

#[test]
fn sizes_follow_the_store() {
    assert_eq!(SegmentOptions::size_after(0), 4 << 20);
    assert_eq!(SegmentOptions::size_after(5 << 20), 20 << 20);
    assert_eq!(SegmentOptions::size_after(200 << 20), 256 << 20);
}
