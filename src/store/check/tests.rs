#![allow(clippy::unwrap_used)]

use std::fs;

use super::*;
use crate::store::log::segment::end_of;
use crate::store::log::testing::{self, STORE, data_dir, noise};
use crate::store::pace::Unthrottled;

fn check(data: &Path, kind: FileKind) -> Checked {
    let binding = Binding {
        store: STORE,
        kind,
        file: 1,
    };
    let target = Target {
        data,
        binding,
        end: None,
    };
    super::file(target, &Unthrottled).unwrap()
}

/// A sealed segment of three chunks.
async fn segment(data: &Path) -> Vec<Place> {
    let (writer, _) = testing::writer(testing::options(data));
    let mut places = Vec::new();
    for (n, len) in [300, 4000, 700].into_iter().enumerate() {
        places.push(testing::put(&writer, noise(len, n as u64)).await.unwrap());
    }
    writer.close().unwrap();
    places
}

#[tokio::test]
async fn every_flipped_byte_of_a_sealed_segment_is_found_and_blamed_on_its_chunk() {
    let dir = data_dir();
    let places = segment(dir.path()).await;
    let clean = check(dir.path(), FileKind::Segment);
    assert_eq!((clean.records, clean.sealed), (3, true));
    assert_eq!(clean.findings, []);
    let path = files::path(dir.path(), FileKind::Segment, 1);
    let bytes = fs::read(&path).unwrap();
    // Between them, room that was left free so that no durable block is written again.
    let footer = end_of(&places[2]).offset.next_multiple_of(4096) as usize;
    for at in (0..40).chain(4096..bytes.len()) {
        let padding = places.iter().any(|place| {
            let end = place.offset as usize + 64 + place.stored_len as usize;
            (end..end.next_multiple_of(8)).contains(&at)
        });
        let footer_padding = at > footer + 64 && at < bytes.len() - 24 && bytes[at] == 0;
        let trailer_zeroes = at >= bytes.len() - 24;
        // Payloads are long and alike: some of their bytes speak for all.
        let deep = places.iter().any(|place| {
            let payload = place.offset as usize + 64;
            (payload..payload + place.stored_len as usize).contains(&at) && at % 61 != 0
        });
        if deep || padding || footer_padding || trailer_zeroes {
            continue; // nothing depends on padding; without a trailer the file is not sealed
        }
        let mut damaged = bytes.clone();
        damaged[at] ^= 0x40;
        fs::write(&path, damaged).unwrap();
        let found = check(dir.path(), FileKind::Segment).findings;
        assert!(!found.is_empty(), "byte {at}");
        if let Some(place) = places.iter().rev().find(|place| at as u64 >= place.offset)
            && (at as u64) < end_of(place).offset
        {
            let blamed: Vec<_> = found.iter().flat_map(|found| &found.copies).collect();
            assert_eq!(blamed.len(), 1, "byte {at}: {found:?}");
            assert_eq!(blamed[0].1, *place, "byte {at}");
        }
    }
}

#[tokio::test]
async fn a_window_border_inside_a_record_is_no_damage() {
    let dir = data_dir();
    let (writer, _) = testing::writer(testing::options(dir.path()));
    for n in 0..3 {
        testing::put(&writer, noise(200_000, n)).await.unwrap();
    }
    writer.close().unwrap();
    assert_eq!(check(dir.path(), FileKind::Segment).findings, []);
}

/// Three small records, each synced before the next came, and so each in a block of its own.
async fn synced_one_by_one(data: &Path) -> Vec<Place> {
    let (writer, _) = testing::writer(testing::options(data));
    let mut places = Vec::new();
    for n in 0..3 {
        let place = testing::put(&writer, noise(300, n)).await.unwrap();
        writer.sync(end_of(&place)).await.unwrap();
        places.push(place);
    }
    writer.close().unwrap();
    places
}

#[tokio::test]
async fn room_left_free_behind_a_sync_is_no_damage() {
    let dir = data_dir();
    let places = synced_one_by_one(dir.path()).await;
    assert_eq!(places[2].offset, 3 * 4096);
    let clean = check(dir.path(), FileKind::Segment);
    assert_eq!((clean.records, clean.findings), (3, vec![]));
}

#[tokio::test]
async fn a_record_that_became_zeroes_is_not_taken_for_free_room() {
    for zeroed in 0..3 {
        let dir = data_dir();
        let places = synced_one_by_one(dir.path()).await;
        let path = files::path(dir.path(), FileKind::Segment, 1);
        let mut bytes = fs::read(&path).unwrap();
        let begin = places[zeroed].offset as usize;
        bytes[begin..begin + 400].fill(0);
        fs::write(&path, bytes).unwrap();
        let found = check(dir.path(), FileKind::Segment).findings;
        let copies: Vec<_> = found.iter().flat_map(|found| &found.copies).collect();
        assert_eq!(copies.len(), 1, "{found:?}");
        assert_eq!(copies[0].1, places[zeroed]);
    }
    // Two in one block, so that the free room begins where a record was.
    let dir = data_dir();
    let (writer, _) = testing::writer(testing::options(dir.path()));
    let mut places = Vec::new();
    for n in 0..4 {
        places.push(testing::put(&writer, noise(300, n)).await.unwrap());
        if n % 2 == 1 {
            writer.sync(end_of(&places[n as usize])).await.unwrap();
        }
    }
    writer.close().unwrap();
    let path = files::path(dir.path(), FileKind::Segment, 1);
    let good = fs::read(&path).unwrap();
    for zeroed in [1, 3] {
        let mut bytes = good.clone();
        let begin = places[zeroed].offset as usize;
        bytes[begin..begin + 400].fill(0);
        fs::write(&path, bytes).unwrap();
        let found = check(dir.path(), FileKind::Segment).findings;
        let copies: Vec<_> = found.iter().flat_map(|found| &found.copies).collect();
        assert_eq!(copies.len(), 1, "{found:?}");
        assert_eq!(copies[0].1, places[zeroed]);
    }
}

#[tokio::test]
async fn reading_ends_when_the_pace_says_so() {
    struct Ended;
    impl Pace for Ended {
        fn spend(&self, _bytes: u64) -> bool {
            false
        }
    }
    let dir = data_dir();
    segment(dir.path()).await;
    let binding = Binding {
        store: STORE,
        kind: FileKind::Segment,
        file: 1,
    };
    let target = Target {
        data: dir.path(),
        binding,
        end: None,
    };
    assert!(matches!(super::file(target, &Ended), Err(StoreError::Closed)));
}
