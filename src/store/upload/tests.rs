//! Uploads into real segments.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::time::Duration;

use fastcdc::v2020::{FastCDC, Normalization};

use super::*;
use crate::store::bulk::testing::{INLINE_LIMIT, Kit, PARAMS, bulk_content, pieces};
use crate::store::log::segment::{SegmentOptions, end_of};
use crate::store::log::testing::{files, noise};

fn reference(body: &[u8]) -> Vec<ChunkRef> {
    let [min, avg, max] = [PARAMS.min_size, PARAMS.avg_size, PARAMS.max_size].map(|size| size as usize);
    FastCDC::with_level(body, min, avg, max, Normalization::Level2)
        .map(|chunk| ChunkRef {
            digest: Digest::of(&body[chunk.offset..][..chunk.length]),
            len: chunk.length as u32,
        })
        .collect()
}

fn chunks(blob: &NewBlob) -> Vec<ChunkRef> {
    bulk_content(blob)
        .chunks
        .iter()
        .map(|pinned| pinned.chunk)
        .collect()
}

/// What lies in the segments for the blob.
fn stored(kit: &Kit, blob: &NewBlob) -> Vec<u8> {
    let files = files(kit.data());
    let mut body = Vec::new();
    for pinned in &bulk_content(blob).chunks {
        assert!(kit.bulk.segments.durable() >= end_of(&pinned.place), "not synced");
        body.extend_from_slice(&files.record(&pinned.place).unwrap().payload);
    }
    body
}

#[tokio::test]
async fn small_bodies_are_carried_along() {
    let kit = Kit::new(PARAMS);
    for len in [0, 1, INLINE_LIMIT as usize] {
        for (piece, hint) in [(100, None), (5000, Some(0)), (5000, Some(len as u64))] {
            let body = noise(len, 1);
            let mut upload = kit.upload(hint);
            for piece in pieces(&body, piece) {
                upload.write(piece).await.unwrap();
            }
            let blob = upload.finish().await.unwrap();
            assert_eq!((blob.digest, blob.size), (Digest::of(&body), len as u64));
            assert_eq!(blob.shape(), Shape::Single);
            let Content::Inline(pieces) = &blob.content else {
                panic!("{len} bytes are not inline");
            };
            assert_eq!(pieces.concat(), body);
        }
    }
    assert!(kit.bulk.pins.is_empty());
    assert_eq!(kit.close_and_count_records(), 0);
}

#[tokio::test]
async fn a_small_body_in_one_piece_is_carried_along_as_it_is() {
    let kit = Kit::new(PARAMS);
    for len in [1, INLINE_LIMIT as usize] {
        let body = noise(len, 1);
        let blob = NewBlob::inline(&kit.bulk, &body).unwrap();
        assert_eq!((blob.digest, blob.size), (Digest::of(&body), len as u64));
        let Content::Inline(pieces) = &blob.content else {
            panic!("{len} bytes are not inline");
        };
        assert_eq!(pieces.len(), 1);
        assert_eq!(pieces[0].as_ptr(), body.as_ptr(), "not copied");
    }
    for len in [0, INLINE_LIMIT as usize + 1] {
        assert!(NewBlob::inline(&kit.bulk, &noise(len, 1)).is_none(), "{len}");
    }
}

#[tokio::test]
async fn bodies_up_to_the_chunk_limit_are_one_chunk() {
    let kit = Kit::new(PARAMS);
    for len in [INLINE_LIMIT as usize + 1, 30_000, PARAMS.max_size as usize] {
        let body = noise(len, len as u64);
        let blob = kit.store(&body, 1000).await.unwrap();
        assert_eq!((blob.digest, blob.size), (Digest::of(&body), len as u64));
        assert_eq!(blob.shape(), Shape::Single);
        let whole = ChunkRef {
            digest: blob.digest,
            len: len as u32,
        };
        assert_eq!(chunks(&blob), [whole]);
        assert_eq!(stored(&kit, &blob), body);
    }
}

#[tokio::test]
async fn larger_bodies_are_cut_by_content_however_they_arrive() {
    let kit = Kit::new(PARAMS);
    for len in [PARAMS.max_size as usize + 1, 700_001, 1_000_000] {
        let body = noise(len, 7);
        let hint = Some(len as u64);
        for (piece, hint) in [(len, None), (997, None), (100_000, hint), (300_000, hint)] {
            let mut upload = kit.upload(hint);
            for piece in pieces(&body, piece) {
                upload.write(piece).await.unwrap();
                upload.write(Bytes::new()).await.unwrap();
            }
            let blob = upload.finish().await.unwrap();
            assert_eq!((blob.digest, blob.size), (Digest::of(&body), len as u64));
            assert_eq!(blob.shape(), Shape::Chunked);
            assert_eq!(chunks(&blob), reference(&body));
            assert_eq!(stored(&kit, &blob), body);
        }
    }
    assert!(kit.bulk.pins.is_empty());
}

/// The last byte of a body is no place to cut before where FastCDC has no second byte to look at with it.
#[tokio::test]
async fn an_unpaired_last_byte_stays_with_its_chunk() {
    let kit = Kit::new(PARAMS);
    let body = noise(1_000_000, 7);
    let mut end = 0;
    let ends = reference(&body).into_iter().filter_map(|chunk| {
        end += chunk.len as usize;
        (end > PARAMS.max_size as usize && chunk.len % 2 == 0).then_some(end)
    });
    for end in ends.take(5) {
        let body = body.slice(..end + 1);
        let expected = reference(&body);
        assert!(expected.iter().all(|chunk| chunk.len > 1));
        for hint in [None, Some(end as u64 + 1)] {
            let mut upload = kit.upload(hint);
            for piece in pieces(&body, 9999) {
                upload.write(piece).await.unwrap();
            }
            assert_eq!(chunks(&upload.finish().await.unwrap()), expected);
        }
    }
}

#[tokio::test]
async fn a_body_that_was_announced_larger_than_it_is_comes_through() {
    let kit = Kit::new(PARAMS);
    for len in [0, 10, 3000] {
        let body = noise(len, 3);
        let mut upload = kit.upload(Some(1 << 30));
        upload.write(body.clone()).await.unwrap();
        let blob = upload.finish().await.unwrap();
        assert_eq!((blob.digest, blob.size), (Digest::of(&body), len as u64));
        assert_eq!(blob.shape(), Shape::Single);
        match &blob.content {
            Content::Inline(pieces) => assert_eq!(pieces.concat(), body),
            Content::Bulk(_) => assert_eq!(stored(&kit, &blob), body),
        }
    }
}

#[tokio::test]
async fn what_is_published_is_not_written_again() {
    let kit = Kit::new(PARAMS);
    let body = noise(500_000, 1);
    let first = kit.store(&body, 9999).await.unwrap();
    kit.publish(&first);
    let records = chunks(&first).len();
    drop(first);
    assert!(kit.bulk.pins.is_empty());
    let edited = [&body[..250_000], b"a few new bytes", &body[250_000..]].concat();
    let second = kit.store(&Bytes::from(edited.clone()), 9999).await.unwrap();
    assert_eq!(stored(&kit, &second), edited);
    let new = kit.close_and_count_records() - records;
    assert!((1..=4).contains(&new), "{new} new chunks for a small change");
}

#[tokio::test]
async fn concurrent_uploads_of_the_same_bytes_write_them_once() {
    let kit = Kit::new(PARAMS);
    let body = noise(800_000, 1);
    let uploads = (0..6).map(|n| {
        let (kit, body) = (&kit, &body);
        async move { kit.store(body, 5000 + 777 * n).await.unwrap() }
    });
    let blobs = futures_util::future::join_all(uploads).await;
    for blob in &blobs {
        assert_eq!(chunks(blob), reference(&body));
        assert_eq!(stored(&kit, blob), body);
    }
    assert_eq!(kit.bulk.pins.len(), reference(&body).len());
    drop(blobs);
    assert!(kit.bulk.pins.is_empty());
    assert_eq!(kit.close_and_count_records(), reference(&body).len());
}

#[tokio::test]
async fn a_chunk_that_repeats_within_a_body_is_written_once() {
    let kit = Kit::new(PARAMS);
    let body = Bytes::from(vec![0; 1 << 20]);
    let blob = kit.store(&body, 50_000).await.unwrap();
    assert_eq!(chunks(&blob).len(), 16);
    assert_eq!(stored(&kit, &blob), body);
    drop(blob);
    assert!(kit.bulk.pins.is_empty());
    assert_eq!(kit.close_and_count_records(), 1);
}

/// An upload that relies on bytes which another one has only appended does not wait for it, and syncs them itself.
#[tokio::test]
async fn nobody_depends_on_how_fast_another_client_is() {
    let kit = Kit::new(PARAMS);
    let body = noise(400_000, 1);
    let mut stalled = kit.upload(Some(1 << 20));
    stalled.write(body.clone()).await.unwrap();
    let blob = tokio::time::timeout(Duration::from_secs(20), kit.store(&body, 10_000)).await;
    let blob = blob.expect("waits for a stalled client").unwrap();
    assert_eq!(stored(&kit, &blob), body);
    drop(stalled);
    assert_eq!(kit.bulk.pins.len(), chunks(&blob).len());
    assert_eq!(kit.close_and_count_records(), chunks(&blob).len());
}

#[tokio::test]
async fn an_upload_dropped_midway_leaves_no_pin() {
    let kit = Kit::new(PARAMS);
    let body = noise(600_000, 1);
    kit.disk.stall(true);
    let mut upload = kit.upload(Some(1 << 20));
    let write = tokio::time::timeout(Duration::from_millis(50), upload.write(body.clone()));
    assert!(write.await.is_err(), "the disk stalls, and so does the upload");
    assert!(!kit.bulk.pins.is_empty());
    assert!(
        upload.write(body.clone()).await.is_err(),
        "bytes were lost with the write"
    );
    assert!(upload.finish().await.is_err());
    kit.disk.stall(false);
    let blob = kit.store(&body, 10_000).await.unwrap();
    assert_eq!(stored(&kit, &blob), body);
    drop(blob);
    kit.bulk.segments.close().unwrap();
    assert!(kit.bulk.pins.is_empty());
}

/// Two uploads of the same bytes, and the first one's append fails: the other makes its own.
#[tokio::test]
async fn a_waiter_does_not_inherit_a_failed_append() {
    let kit = Kit::new(PARAMS);
    let body = noise(50_000, 1);
    kit.disk.stall(true);
    let mut first = Box::pin(kit.store(&body, 50_000));
    assert!(futures_util::poll!(&mut first).is_pending());
    let mut second = Box::pin(kit.store(&body, 50_000));
    assert!(futures_util::poll!(&mut second).is_pending());
    kit.disk.until_stalling().await;
    kit.disk.allocate_fails.store(libc::ENOSPC, SeqCst);
    kit.disk.stall(false);
    assert!(matches!(first.await, Err(StoreError::NoSpace)));
    kit.disk.allocate_fails.store(0, SeqCst);
    let blob = second.await.unwrap();
    assert_eq!(stored(&kit, &blob), body);
    drop(blob);
    assert!(kit.bulk.pins.is_empty());
}

#[tokio::test]
async fn a_full_disk_is_told_to_the_upload() {
    let kit = Kit::new(PARAMS);
    kit.disk.allocate_fails.store(libc::ENOSPC, SeqCst);
    let refused = kit.store(&noise(1_000_000, 1), 100_000).await.unwrap_err();
    assert!(matches!(refused, StoreError::NoSpace));
    kit.bulk.segments.close().unwrap();
    assert!(kit.bulk.pins.is_empty());
}

#[tokio::test]
async fn a_failed_sync_is_told_to_the_upload() {
    let kit = Kit::new(PARAMS);
    kit.disk.sync_fails.store(libc::EIO, SeqCst);
    let refused = kit.store(&noise(30_000, 1), 10_000).await.unwrap_err();
    assert!(matches!(refused, StoreError::Poisoned));
    kit.disk.sync_fails.store(0, SeqCst);
    assert!(matches!(
        kit.store(&noise(30_000, 2), 10_000).await,
        Err(StoreError::Poisoned)
    ));
    let inline = kit.store(&noise(10, 2), 10).await.unwrap();
    assert!(
        matches!(inline.content, Content::Inline(_)),
        "what stays in memory is not refused here"
    );
}

/// With a disk that does not move, uploads stop taking bytes once the queue and their own few chunks are full.
#[tokio::test]
async fn memory_is_bounded_by_the_queue_and_a_few_chunks() {
    const UPLOADS: u64 = 8;
    const QUEUE: u64 = 256 << 10;
    const PIECE: u64 = 8 << 10;
    let kit = Kit::with(PARAMS, |options| SegmentOptions {
        queue_bytes: QUEUE,
        ..options
    });
    kit.disk.stall(true);
    let mut taken = Vec::new();
    for seed in 0..UPLOADS {
        let (bulk, size) = (kit.bulk.clone(), Arc::new(AtomicU64::new(0)));
        taken.push(size.clone());
        tokio::spawn(async move {
            let mut upload = BlobWriter::new(bulk, Some(8 << 20));
            for piece in pieces(&noise(8 << 20, seed), PIECE as usize) {
                upload.write(piece).await.unwrap();
                size.store(upload.size(), SeqCst);
            }
        });
    }
    let mut before = u64::MAX;
    let total: u64 = loop {
        tokio::time::sleep(Duration::from_millis(100)).await;
        let total = taken.iter().map(|size| size.load(SeqCst)).sum();
        // Nothing yet: this machine has other things to do.
        if total > 0 && total == before {
            break total;
        }
        before = total;
    };
    let bound = QUEUE + UPLOADS * 3 * (u64::from(PARAMS.max_size) + PIECE);
    assert!(
        total > 0 && total <= bound,
        "{total} bytes were taken, {bound} are allowed"
    );
    kit.disk.stall(false);
}

#[tokio::test]
async fn steps_of_a_large_piece_leave_room_for_others() {
    let kit = Kit::new(PARAMS);
    let turns = std::cell::Cell::new(0);
    let other = async {
        loop {
            turns.set(turns.get() + 1);
            tokio::task::yield_now().await;
        }
    };
    let mut upload = kit.upload(Some(1 << 30));
    tokio::select! {
        biased;
        written = upload.write(Bytes::from(vec![0; 4 << 20])) => written.unwrap(),
        () = other => {}
    }
    assert!(turns.get() >= 15, "{} turns in 16 steps", turns.get());
    assert_eq!(upload.finish().await.unwrap().size, 4 << 20);
}

#[test]
fn an_upload_can_move_between_threads() {
    fn is_send<T: Send>(_: T) {}
    let kit = Kit::new(PARAMS);
    let mut upload = kit.upload(None);
    is_send(upload.write(Bytes::new()));
    is_send(upload.finish());
}

/// Bodies that resemble one before, in every way that matters: what comes out is right whatever was expected.
#[tokio::test]
async fn a_guide_changes_neither_digest_nor_bytes() {
    let old = noise(3 << 20, 21);
    let len = old.len();
    let join = |parts: &[&[u8]]| Bytes::from(parts.concat());
    let news = [
        old.clone(),
        join(&[&old[..len / 2], &noise(30_000, 22), &old[len / 2 + 30_000..]]),
        join(&[&old[..100_000], b"inserted", &old[100_000..]]),
        join(&[&old[..2_000_000], &old[2_000_100..]]),
        old.slice(..len - 1),
        old.slice(..1 << 20),
        old.slice(..100_001),
        join(&[&old, b"appended"]),
        join(&[&old, &noise(1 << 20, 23)]),
        join(&[&noise(10, 24), &old]),
        join(&[&old[..200_000], &old[..2_500_000]]),
    ];
    for piece in [1000, 70_000, 4 << 20] {
        for new in &news {
            let kit = Kit::new(PARAMS);
            let first = kit.store(&old, 100_000).await.unwrap();
            kit.publish(&first);
            let second = kit.store(new, piece).await.unwrap();
            assert_eq!((second.digest, second.size), (Digest::of(new), new.len() as u64));
            assert!(stored(&kit, &second) == *new);
            kit.publish(&second);
            // The body that was taken in last is the guide of the next.
            let third = kit.store(&old, piece).await.unwrap();
            assert_eq!(third.digest, first.digest);
            assert!(stored(&kit, &third) == old);
        }
    }
}

/// A body along a guide is cut as it would be without one, but for the chunk in front of what has changed.
#[tokio::test]
async fn cuts_along_a_guide_are_those_of_the_content() {
    let kit = Kit::new(PARAMS);
    let old = noise(3 << 20, 25);
    for _ in 0..2 {
        let blob = kit.store(&old, 50_000).await.unwrap();
        assert_eq!(chunks(&blob), reference(&old));
        kit.publish(&blob);
    }
    let mut grown = old.to_vec();
    for round in 0..5 {
        grown.extend_from_slice(&noise(100, round));
        let body = Bytes::from(grown.clone());
        let blob = kit.store(&body, 50_000).await.unwrap();
        assert_eq!(
            chunks(&blob),
            reference(&body),
            "a body that grows is not cut where it ended before"
        );
        kit.publish(&blob);
    }
}
