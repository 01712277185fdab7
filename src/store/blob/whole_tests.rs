//! Whole chunks that are to be had at once: the same bytes as through a reader, and never damaged ones.

#![allow(clippy::unwrap_used)]

use super::tests::{LARGE, PLENTY, damage, place, segment};
use super::*;
use crate::store::bulk::testing::Kit;
use crate::store::log::testing::noise;
use crate::store::model::Place;

/// Bytes that are read, verified, and not longer than a chunk of [`LARGE`].
const LENGTHS: [usize; 8] = [
    3000,
    4096,
    32 << 10,
    (32 << 10) + 1,
    64 << 10,
    200_000,
    PIECE as usize,
    600_000,
];

/// What `append_to` leaves behind the word `head`, sent as a connection sends it.
fn sent(whole: Whole) -> Option<Vec<u8>> {
    let mut bytes = b"head".to_vec();
    let Some(piece) = whole.append_to(&mut bytes) else {
        assert_eq!(bytes, b"head", "nothing is appended");
        return None;
    };
    match piece {
        Piece::Bytes(rest) => bytes.extend_from_slice(&rest),
        Piece::File(mut range) => {
            assert!(!range.has_head(), "it stands in the buffer");
            let (near, mut far) = std::os::unix::net::UnixStream::pair().unwrap();
            // More than a socket takes in would wait for whoever reads.
            near.set_nonblocking(true).unwrap();
            while !range.is_empty() {
                let mut some = vec![0; range.send(&near).unwrap() as usize];
                std::io::Read::read_exact(&mut far, &mut some).unwrap();
                bytes.extend_from_slice(&some);
            }
        }
    }
    assert!(bytes.starts_with(b"head"));
    Some(bytes.split_off(4))
}

async fn stored(kit: &Kit, body: &Bytes) -> (Arc<Readers>, ChunkRef) {
    let blob = kit.blob(body, kit.readers(PLENTY)).await;
    assert_eq!(blob.chunks().len(), 1);
    (blob.readers.clone(), blob.chunks()[0])
}

async fn read(readers: &Arc<Readers>, chunk: ChunkRef) -> Result<Option<Bytes>, StoreError> {
    Blob::new(readers.clone(), chunk.digest, [chunk])
        .read(0..u64::MAX)
        .next()
        .await
}

#[tokio::test]
async fn a_chunk_is_the_same_bytes_before_and_after_it_was_verified() {
    let kit = Kit::new(LARGE);
    for len in LENGTHS {
        let body = noise(len, len as u64);
        let (readers, chunk) = stored(&kit, &body).await;
        let place = place(&kit, &chunk.digest);
        for in_place in [false, true, false, true] {
            let whole = readers.whole(chunk, place, in_place);
            if !readers.tells_cached() {
                println!("SKIPPED: nobody can tell what is cached here");
                return;
            }
            let expected = match (in_place, readers.is_verified(&chunk)) {
                (true, known) => known || len <= PIECE as usize,
                (false, _) => len <= 32 << 10,
            };
            assert_eq!(whole.is_some(), expected, "{len}, {in_place}");
            if let Some(whole) = whole {
                assert_eq!(sent(whole).unwrap(), body, "{len}, {in_place}");
            }
        }
        // Now it has been verified, whatever its length.
        read(&readers, chunk).await.unwrap();
        assert_eq!(
            sent(readers.whole(chunk, place, true).unwrap()).unwrap(),
            body,
            "{len}"
        );
    }
}

#[tokio::test]
async fn whatever_is_wrong_with_a_chunk_it_is_not_had_at_once() {
    let kit = Kit::new(LARGE);
    let (readers, chunk) = stored(&kit, &noise(4000, 1)).await;
    let (_, other) = stored(&kit, &noise(4000, 2)).await;
    let is_there = |place| readers.whole(chunk, place, true).is_some();
    let good = place(&kit, &chunk.digest);
    assert!(
        !is_there(place(&kit, &other.digest)),
        "another chunk of the same length"
    );
    assert!(!is_there(Place {
        stored_len: 3999,
        ..good
    }));
    assert!(!is_there(Place {
        offset: good.offset + 8,
        ..good
    }));
    assert!(!is_there(Place { file: 99, ..good }));
    damage(&kit, &chunk.digest, 3999);
    assert!(!is_there(good), "its last byte is another");
    damage(&kit, &chunk.digest, 3999);
    assert!(is_there(good) || !readers.tells_cached());
    // Found damaged by somebody who looked again, within the minute for which it is trusted.
    readers.damage().report(chunk.digest, Some(good));
    assert!(!is_there(good));
    assert!(matches!(read(&readers, chunk).await, Err(StoreError::Damaged(_))));
}

#[tokio::test]
async fn a_chunk_in_hand_stays_whole_when_its_file_goes() {
    let kit = Kit::new(LARGE);
    let body = noise(100_000, 3);
    let (readers, chunk) = stored(&kit, &body).await;
    read(&readers, chunk).await.unwrap();
    let at = place(&kit, &chunk.digest);
    let Some(whole) = readers.whole(chunk, at, true) else {
        assert!(!readers.tells_cached());
        return;
    };
    std::fs::remove_file(segment(&kit, at.file)).unwrap();
    readers.files().forget(at.kind, at.file);
    assert_eq!(sent(whole).unwrap(), body);
    assert!(readers.whole(chunk, at, true).is_none());
}

#[tokio::test]
async fn what_the_file_no_longer_holds_is_not_sent() {
    let kit = Kit::new(LARGE);
    for len in [4000, 100_000] {
        let (readers, chunk) = stored(&kit, &noise(len, 4)).await;
        read(&readers, chunk).await.unwrap();
        let at = place(&kit, &chunk.digest);
        let Some(whole) = readers.whole(chunk, at, true) else {
            assert!(!readers.tells_cached());
            return;
        };
        let file = std::fs::OpenOptions::new()
            .write(true)
            .open(segment(&kit, at.file))
            .unwrap();
        let size = file.metadata().unwrap().len();
        // Not even its first page is whole.
        file.set_len(at.offset + 100).unwrap();
        assert_eq!(sent(whole), None, "{len}");
        file.set_len(size).unwrap();
    }
}
