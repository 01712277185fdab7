#![allow(clippy::unwrap_used)]

use std::fs;

use super::*;
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
    let footer = places[2].offset as usize + 64 + 704;
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
            && at < footer
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
