//! Reading blobs from real segments, good ones and damaged ones.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::fs::{self, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::PathBuf;

use super::*;
use crate::chunk::{ChunkerParams, Digest};
use crate::store::bulk::testing::{Kit, PARAMS};
use crate::store::log::files;
use crate::store::log::format::RECORD_HEADER_LEN;
use crate::store::log::testing::noise;
use crate::store::model::{FileKind, Place};

/// Chunks larger than a piece, which are read on blocking threads.
pub(super) const LARGE: ChunkerParams = ChunkerParams {
    min_size: 256 << 10,
    avg_size: 512 << 10,
    max_size: 1 << 20,
};

pub(super) const PLENTY: u64 = 64 << 20;

async fn collect(mut reader: BlobReader) -> Result<Vec<u8>, StoreError> {
    let mut bytes = Vec::new();
    while let Some(piece) = reader.next().await? {
        assert!(!piece.is_empty() && piece.len() <= PIECE as usize);
        bytes.extend_from_slice(&piece);
    }
    assert!(reader.next().await?.is_none(), "the end stays the end");
    Ok(bytes)
}

pub(super) fn place(kit: &Kit, digest: &Digest) -> Place {
    kit.index.0.lock().unwrap()[digest]
}

pub(super) fn segment(kit: &Kit, number: u64) -> PathBuf {
    files::path(kit.data(), FileKind::Segment, number)
}

/// Changes a byte of the chunk's payload on disk.
pub(super) fn damage(kit: &Kit, digest: &Digest, at: u64) {
    let place = place(kit, digest);
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .open(segment(kit, place.file))
        .unwrap();
    let at = place.offset + RECORD_HEADER_LEN as u64 + at;
    let mut byte = [0];
    file.read_exact_at(&mut byte, at).unwrap();
    file.write_all_at(&[byte[0] ^ 1], at).unwrap();
}

#[tokio::test]
async fn an_empty_blob_has_no_pieces() {
    let kit = Kit::new(PARAMS);
    let blob = Blob::new(Arc::new(kit.readers(PLENTY)), Digest::of(b""), []);
    assert_eq!(blob.size(), 0);
    assert!(collect(blob.read(0..0)).await.unwrap().is_empty());
    assert!(collect(blob.read(5..9)).await.unwrap().is_empty());
}

/// Small and large chunks; read inline, on blocking threads, with and without room for whole chunks.
#[tokio::test]
async fn every_range_reads_back_on_every_path() {
    for (params, len) in [(PARAMS, 300_000), (LARGE, 5 << 20)] {
        let kit = Kit::new(params);
        let body = noise(len, 1);
        let ways = [
            kit.readers(PLENTY),
            kit.readers(PLENTY).without_cached_reads(),
            kit.readers(0),
            kit.readers(0).without_cached_reads(),
            kit.readers(1 << 20),
        ];
        for readers in ways {
            let blob = kit.blob(&body, readers).await;
            assert_eq!(blob.size(), len as u64);
            assert_eq!(collect(blob.read(0..len as u64)).await.unwrap(), body);
            let first_end = blob.ends[0];
            let ranges = [
                0..0,
                0..1,
                0..first_end,
                first_end - 1..first_end + 1,
                first_end..first_end + 70_000,
                12_345..len as u64 - 54_321,
                len as u64 - 1..len as u64,
                len as u64 - 10..u64::MAX,
            ];
            for range in ranges {
                let expected = &body[range.start as usize..range.end.min(len as u64) as usize];
                assert_eq!(collect(blob.read(range)).await.unwrap(), expected);
            }
        }
    }
}

#[tokio::test]
async fn damaged_bytes_are_never_handed_out() {
    for (params, len) in [(PARAMS, 300_000), (LARGE, 5 << 20)] {
        let kit = Kit::new(params);
        let body = noise(len, 2);
        for (readers, cached) in [(PLENTY, true), (PLENTY, false), (0, true), (0, false)] {
            let readers = kit.readers(readers);
            let readers = if cached {
                readers
            } else {
                readers.without_cached_reads()
            };
            let blob = kit.blob(&body, readers).await;
            let bad = blob.chunks[2];
            let at = u64::from(bad.len) - 1;
            damage(&kit, &bad.digest, at);
            let mut reader = blob.read(0..blob.size());
            let mut read = 0;
            let error = loop {
                match reader.next().await {
                    Ok(piece) => {
                        let piece = piece.expect("the damage is noticed");
                        assert_eq!(piece, body[read..read + piece.len()]);
                        read += piece.len();
                    }
                    Err(error) => break error,
                }
            };
            assert_eq!(
                read as u64, blob.ends[1],
                "all before the damaged chunk, nothing of it"
            );
            let StoreError::Damaged(why) = error else {
                panic!("not damage: {error}");
            };
            assert!(why.contains(&bad.digest.to_string()), "{why}");
            let first_byte = blob.ends[1]..blob.ends[1] + 1;
            assert!(
                collect(blob.read(first_byte)).await.is_err(),
                "a part is not served either"
            );
            let rest = collect(blob.read(blob.ends[2]..blob.size())).await.unwrap();
            assert_eq!(rest, body[blob.ends[2] as usize..]);
            damage(&kit, &bad.digest, at);
        }
    }
}

#[tokio::test]
async fn part_of_a_chunk_that_was_verified_is_read_alone() {
    let kit = Kit::new(LARGE);
    let body = noise(3 << 20, 3);
    let blob = kit.blob(&body, kit.readers(PLENTY)).await;
    assert_eq!(collect(blob.read(100..200)).await.unwrap(), body[100..200]);
    damage(&kit, &blob.chunks[0].digest, 5000);
    assert_eq!(
        collect(blob.read(100..200)).await.unwrap(),
        body[100..200],
        "verified a moment ago"
    );
    let whole = collect(blob.read(0..blob.ends[0])).await;
    assert!(
        matches!(whole, Err(StoreError::Damaged(_))),
        "a whole chunk is always verified"
    );
    let fresh = Blob::new(
        Arc::new(kit.readers(PLENTY)),
        Digest::of(b""),
        blob.chunks.clone(),
    );
    assert!(matches!(
        collect(fresh.read(100..200)).await,
        Err(StoreError::Damaged(_))
    ));
}

#[tokio::test]
async fn a_chunk_without_place_or_file_is_damaged() {
    let kit = Kit::new(PARAMS);
    let body = noise(30_000, 1);
    let blob = kit.blob(&body, kit.readers(PLENTY)).await;
    let digest = blob.chunks[0].digest;
    let place = place(&kit, &digest);
    fs::remove_file(segment(&kit, place.file)).unwrap();
    assert!(matches!(
        collect(blob.read(0..10)).await,
        Err(StoreError::Damaged(_))
    ));
    kit.index.0.lock().unwrap().clear();
    assert!(matches!(
        collect(blob.read(0..10)).await,
        Err(StoreError::Damaged(_))
    ));
}

#[tokio::test]
async fn a_place_of_another_chunk_is_damage() {
    let kit = Kit::new(PARAMS);
    let blob = kit.blob(&noise(30_000, 1), kit.readers(PLENTY)).await;
    let other = kit.blob(&noise(30_000, 2), kit.readers(PLENTY)).await;
    let mut wrong = place(&kit, &other.chunks[0].digest);
    kit.index.0.lock().unwrap().insert(blob.chunks[0].digest, wrong);
    assert!(matches!(
        collect(blob.read(0..10)).await,
        Err(StoreError::Damaged(_))
    ));
    wrong.stored_len = u32::MAX;
    kit.index.0.lock().unwrap().insert(blob.chunks[0].digest, wrong);
    assert!(matches!(
        collect(blob.read(0..10)).await,
        Err(StoreError::Damaged(_))
    ));
}

/// The index's answer changes between two lookups, as when compaction moves a chunk.
struct Moving {
    answers: std::sync::Mutex<Vec<Place>>,
}

impl crate::store::bulk::ChunkPlaces for Moving {
    fn place(&self, _: &Digest) -> Result<Option<Place>, StoreError> {
        let mut answers = self.answers.lock().unwrap();
        Ok(if answers.len() > 1 {
            answers.pop()
        } else {
            answers.first().copied()
        })
    }
}

#[tokio::test]
async fn a_chunk_whose_file_is_gone_is_looked_up_once_more() {
    for gone in [true, false] {
        let kit = Kit::new(PARAMS);
        let body = noise(30_000, 1);
        let blob = kit.blob(&body, kit.readers(PLENTY)).await;
        let now = place(&kit, &blob.chunks[0].digest);
        let before = match gone {
            true => Place { file: 99, ..now },
            false => Place {
                offset: now.offset + 8,
                ..now
            },
        };
        let moving = Arc::new(Moving {
            answers: std::sync::Mutex::new(vec![now, before]),
        });
        let files = Arc::new(crate::store::log::testing::files(kit.data()));
        let readers = Readers::new(files, moving, PLENTY, 0).without_cached_reads();
        let blob = Blob::new(Arc::new(readers), Digest::of(b""), blob.chunks.clone());
        assert_eq!(collect(blob.read(0..blob.size())).await.unwrap(), body);
    }
}

#[tokio::test]
async fn buffers_count_until_their_last_slice_is_gone() {
    let kit = Kit::new(LARGE);
    let body = noise(4 << 20, 4);
    let blob = kit.blob(&body, kit.readers(PLENTY)).await;
    let free = || blob.readers.free_buffer_bytes();
    let mut reader = blob.read(0..blob.size());
    let piece = reader.next().await.unwrap().unwrap();
    assert!(free() <= PLENTY - u64::from(blob.chunks[0].len));
    drop(reader);
    // The chunk read ahead may still be on its way; it goes, the one that the piece is part of stays.
    for _ in 0..30_000 {
        if free() == PLENTY - u64::from(blob.chunks[0].len) {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(2)).await;
    }
    assert_eq!(free(), PLENTY - u64::from(blob.chunks[0].len));
    drop(piece);
    assert_eq!(free(), PLENTY);
}

/// Slow readers that together hold the whole budget do not keep others from reading.
#[tokio::test]
async fn without_budget_readers_go_on_with_small_buffers() {
    let kit = Kit::new(LARGE);
    let body = noise(4 << 20, 5);
    let blob = kit.blob(&body, kit.readers(2 << 20)).await;
    let mut slow = Vec::new();
    for _ in 0..20 {
        let mut reader = blob.read(0..blob.size());
        let piece = reader.next().await.unwrap().unwrap();
        slow.push((reader, piece));
    }
    assert!(blob.readers.free_buffer_bytes() < 1 << 20, "the budget is in use");
    assert_eq!(collect(blob.read(0..blob.size())).await.unwrap(), body);
    for (reader, piece) in slow {
        let rest = collect(reader).await.unwrap();
        assert_eq!([&piece[..], &rest].concat(), body);
    }
    assert_eq!(blob.readers.free_buffer_bytes(), 2 << 20);
}

#[test]
fn a_reader_can_move_between_threads() {
    fn is_send<T: Send>(_: T) {}
    let kit = Kit::new(PARAMS);
    let blob = Blob::new(Arc::new(kit.readers(PLENTY)), Digest::of(b""), []);
    let mut reader = blob.read(0..0);
    is_send(reader.next());
}

/// Everything the reader hands out in place, sent through a socket; and how many pieces were not in memory.
async fn collect_in_place(reader: BlobReader) -> Result<(Vec<u8>, usize), StoreError> {
    let mut reader = reader.in_place();
    let (near, far) = std::os::unix::net::UnixStream::pair().unwrap();
    let receiver = std::thread::spawn(move || {
        let mut bytes = Vec::new();
        std::io::Read::read_to_end(&mut &far, &mut bytes).unwrap();
        bytes
    });
    let mut from_files = 0;
    let outcome = loop {
        match reader.next_piece().await {
            Ok(Some(Piece::Bytes(bytes))) => std::io::Write::write_all(&mut &near, &bytes).unwrap(),
            Ok(Some(Piece::File(mut range))) => {
                from_files += 1;
                std::io::Write::write_all(&mut &near, &range.take_head()).unwrap();
                while !range.is_empty() {
                    range.send(&near).unwrap();
                }
            }
            Ok(None) => break Ok(()),
            Err(error) => break Err(error),
        }
    };
    drop(near);
    let bytes = receiver.join().unwrap();
    outcome.map(|()| (bytes, from_files))
}

#[tokio::test]
async fn what_is_sent_in_place_are_the_same_bytes() {
    for (params, len) in [(PARAMS, 300_000), (LARGE, 5 << 20)] {
        let kit = Kit::new(params);
        let body = noise(len, 6);
        for readers in [
            kit.readers(PLENTY),
            kit.readers(0),
            kit.readers(PLENTY).without_cached_reads(),
        ] {
            let blob = kit.blob(&body, readers).await;
            for range in [
                0..len as u64,
                0..1,
                12_345..len as u64 - 54_321,
                5..u64::MAX,
                7..7,
            ] {
                let expected = &body[range.start as usize..range.end.min(len as u64) as usize];
                let (bytes, _) = collect_in_place(blob.read(range)).await.unwrap();
                assert_eq!(bytes, expected);
            }
        }
    }
}

/// The first time a chunk is read it is verified; for a while after that it is sent from where it lies.
#[tokio::test]
async fn only_verified_chunks_are_sent_in_place() {
    let kit = Kit::new(LARGE);
    let body = noise(5 << 20, 7);
    let blob = kit.blob(&body, kit.readers(PLENTY)).await;
    let bad = blob.chunks[1];
    damage(&kit, &bad.digest, 3);
    for _ in 0..2 {
        let refused = collect_in_place(blob.read(0..blob.size())).await;
        assert!(matches!(refused, Err(StoreError::Damaged(_))));
    }
    damage(&kit, &bad.digest, 3);
    let fresh = Blob::new(
        Arc::new(kit.readers(PLENTY)),
        Digest::of(&body),
        blob.chunks.clone(),
    );
    assert_eq!(
        collect_in_place(fresh.read(0..blob.size())).await.unwrap().0,
        body
    );
    let (again, from_files) = collect_in_place(fresh.read(0..blob.size())).await.unwrap();
    assert_eq!(again, body);
    if fresh.readers.tells_cached() {
        assert_eq!(from_files, fresh.chunks.len());
    }
}
