//! Recovery of segments that a crash left behind, cut and damaged at many places.

#![allow(clippy::unwrap_used)]

use std::fs;
use std::os::unix::fs::FileExt;

use bytes::Bytes;

use super::super::disk::Kernel;
use super::super::segment::end_of;
use super::super::testing::{STORE, data_dir, files, noise, options, put, snapshot, writer};
use super::*;
use crate::chunk::Digest;
use crate::store::model::FileKind::Segment;
use crate::store::model::Place;

const NOWHERE: SegmentPosition = SegmentPosition { file: 0, offset: 0 };

/// What a crash leaves after appending bodies of these lengths, and where they went.
async fn crashed(lens: &[usize]) -> (tempfile::TempDir, Vec<(Place, Bytes)>) {
    let dir = data_dir();
    let (writer, _) = writer(options(dir.path()));
    let mut written = Vec::new();
    for (seed, &len) in lens.iter().enumerate() {
        let body = noise(len, seed as u64);
        written.push((put(&writer, body.clone()).await.unwrap(), body));
    }
    (snapshot(dir.path()), written)
}

fn recover(data: &Path, durable: SegmentPosition) -> Recovered {
    recover_segments(&Kernel, data, STORE, durable).unwrap()
}

fn footer(data: &Path, number: u64) -> Vec<(u64, Digest)> {
    let file = files(data).open(Segment, number).unwrap();
    let footer = Footer::read(&file).unwrap().unwrap();
    footer
        .entries
        .iter()
        .map(|entry| (entry.offset, entry.digest))
        .collect()
}

fn writable(data: &Path, number: u64) -> io::Result<fs::File> {
    Kernel.open(&files::path(data, Segment, number))
}

fn overwrite(data: &Path, number: u64, offset: u64, bytes: &[u8]) {
    writable(data, number)
        .unwrap()
        .write_all_at(bytes, offset)
        .unwrap();
}

#[test]
fn a_new_store_has_nothing_to_recover() {
    let dir = data_dir();
    fs::write(dir.path().join("segments/notes.txt"), "mine").unwrap();
    let recovered = recover(dir.path(), NOWHERE);
    assert_eq!(
        recovered,
        Recovered {
            next_file: 1,
            ..Recovered::default()
        }
    );
    assert!(dir.path().join("segments/notes.txt").exists());
}

#[tokio::test]
async fn records_up_to_the_durable_position_are_kept_and_no_more() {
    let (dir, written) = crashed(&[100, 4096, 7, 1000, 9000]).await;
    for durable in 0..=written.len() {
        let copy = snapshot(dir.path());
        let offset = match durable {
            0 => FILE_HEADER_LEN,
            count => end_of(&written[count - 1].0).offset,
        };
        let position = SegmentPosition { file: 1, offset };
        let recovered = recover(copy.path(), position);
        assert!(recovered.damage.is_empty());
        assert_eq!(recovered.next_file, 2);
        assert!(recovered.cut > 0);
        if durable == 0 {
            assert_eq!(recovered.removed, [1]);
            assert_eq!(fs::read_dir(copy.path().join("segments")).unwrap().count(), 0);
            continue;
        }
        let kept: Vec<_> = written[..durable]
            .iter()
            .map(|(place, body)| (place.offset, Digest::of(body)))
            .collect();
        assert_eq!(footer(copy.path(), 1), kept);
        let files = files(copy.path());
        for (index, (place, body)) in written.iter().enumerate() {
            match index < durable {
                true => assert_eq!(files.record(place).unwrap().payload, body),
                false => assert!(files.record(place).is_err()),
            }
        }
        let again = recover(copy.path(), position);
        assert_eq!(
            (again.sealed, again.removed, again.cut),
            (vec![], vec![], 0),
            "the second time there is no work"
        );
        assert_eq!(again.last_len, recovered.last_len);
    }
}

/// The file ends, or its bytes stop making sense, anywhere above the durable position: nothing durable is lost.
#[tokio::test]
async fn whatever_is_above_the_durable_position_is_cut() {
    let (dir, written) = crashed(&[300, 200, 500]).await;
    let durable = end_of(&written[1].0);
    let last = end_of(&written[2].0).offset;
    for offset in (durable.offset..=last).step_by(4) {
        let copy = snapshot(dir.path());
        overwrite(copy.path(), 1, offset, &[0xee; 600]);
        assert_two_kept(&recover(copy.path(), durable), copy.path(), &written);

        let copy = snapshot(dir.path());
        writable(copy.path(), 1).unwrap().set_len(offset).unwrap();
        assert_two_kept(&recover(copy.path(), durable), copy.path(), &written);
    }
}

fn assert_two_kept(recovered: &Recovered, data: &Path, written: &[(Place, Bytes)]) {
    assert_eq!(recovered.damage, []);
    assert_eq!(footer(data, 1).len(), 2);
    let files = files(data);
    for (place, body) in &written[..2] {
        assert_eq!(files.record(place).unwrap().payload, body);
    }
}

#[tokio::test]
async fn damage_below_the_durable_position_is_reported_and_never_cut() {
    let (dir, written) = crashed(&[300, 200, 500]).await;
    let durable = end_of(&written[2].0);
    let rotten = written[1].0;
    overwrite(dir.path(), 1, rotten.offset + 20, b"rot");
    let recovered = recover(dir.path(), durable);
    let len = end_of(&rotten).offset - rotten.offset;
    assert_eq!(
        recovered.damage,
        [Damage {
            file: 1,
            offset: rotten.offset,
            len
        }]
    );
    assert_eq!(
        footer(dir.path(), 1),
        [&written[0], &written[2]].map(|(place, body)| (place.offset, Digest::of(body)))
    );
    let files = files(dir.path());
    assert_eq!(files.record(&written[2].0).unwrap().payload, written[2].1);
    let kept = files
        .open(Segment, 1)
        .unwrap()
        .read(4, rotten.offset + 19)
        .unwrap();
    assert_eq!(&kept[1..], b"rot", "rot is evidence");
}

#[tokio::test]
async fn a_rotten_last_record_is_not_taken_for_a_tear() {
    let (dir, written) = crashed(&[300, 200]).await;
    let durable = end_of(&written[1].0);
    let rotten = written[1].0;
    overwrite(dir.path(), 1, rotten.offset, &[0; 64]);
    let recovered = recover(dir.path(), durable);
    let len = durable.offset - rotten.offset;
    assert_eq!(
        recovered.damage,
        [Damage {
            file: 1,
            offset: rotten.offset,
            len
        }]
    );
    let file = files(dir.path()).open(Segment, 1).unwrap();
    assert_eq!(
        footer_offset(file.size().unwrap(), file.binding(), |bytes, at| file
            .read_exact_at(bytes, at))
        .unwrap(),
        Some(block_end(durable.offset))
    );
}

#[tokio::test]
async fn a_file_that_lost_durable_bytes_is_damaged() {
    let (dir, written) = crashed(&[300, 200]).await;
    let durable = end_of(&written[1].0);
    let lost_from = written[1].0.offset + 100;
    writable(dir.path(), 1).unwrap().set_len(lost_from).unwrap();
    let recovered = recover(dir.path(), durable);
    assert_eq!(footer(dir.path(), 1).len(), 1);
    let damaged: u64 = recovered.damage.iter().map(|damage| damage.len).sum();
    assert_eq!(damaged, durable.offset - written[1].0.offset);
}

#[tokio::test]
async fn a_broken_file_header_is_damage_and_the_records_are_kept() {
    let (dir, written) = crashed(&[300]).await;
    overwrite(dir.path(), 1, 3, b"?");
    let recovered = recover(dir.path(), end_of(&written[0].0));
    assert_eq!(
        recovered.damage,
        [Damage {
            file: 1,
            offset: 0,
            len: FILE_HEADER_LEN
        }]
    );
    assert_eq!(footer(dir.path(), 1).len(), 1);
}

#[tokio::test]
async fn earlier_files_keep_all_they_have_and_later_ones_go() {
    let (dir, written) = crashed(&[40_000, 40_000, 100_000, 100_000, 100_000]).await;
    assert_eq!(
        written.iter().map(|(place, _)| place.file).collect::<Vec<_>>(),
        [1, 2, 2, 2, 3]
    );
    // The seals of 1 and 2 never reached the disk; 2 even lost its length.
    for (number, len) in [(1, 64 << 10), (2, 256 << 10)] {
        let end = written
            .iter()
            .rfind(|(place, _)| place.file == number)
            .map(|(place, _)| end_of(place).offset);
        let file = writable(dir.path(), number).unwrap();
        file.set_len(end.unwrap()).unwrap();
        file.set_len(len).unwrap();
    }
    let recovered = recover(
        dir.path(),
        SegmentPosition {
            file: 2,
            offset: end_of(&written[2].0).offset,
        },
    );
    assert_eq!(recovered.sealed, [1, 2]);
    assert_eq!(recovered.removed, [3]);
    assert_eq!(recovered.next_file, 4);
    assert_eq!(recovered.damage, []);
    assert_eq!((footer(dir.path(), 1).len(), footer(dir.path(), 2).len()), (1, 2));
    assert!(files(dir.path()).record(&written[3].0).is_err());

    let number = recover(dir.path(), SegmentPosition { file: 9, offset: 0 }).next_file;
    assert_eq!(number, 10, "a number that was promised is not used again");
}

#[tokio::test]
async fn garbage_after_the_records_of_an_earlier_file_is_reported() {
    let (dir, written) = crashed(&[300]).await;
    let end = end_of(&written[0].0).offset;
    overwrite(dir.path(), 1, end + 800, b"what is this");
    let recovered = recover(dir.path(), SegmentPosition { file: 2, offset: 0 });
    assert_eq!(
        recovered.damage,
        [Damage {
            file: 1,
            offset: end,
            len: 816
        }]
    );
    assert_eq!(footer(dir.path(), 1).len(), 1);
}

#[tokio::test]
async fn a_record_across_the_border_of_search_windows_is_found() {
    let dir = data_dir();
    let (writer, _) = writer(super::super::segment::SegmentOptions {
        first_size: 8 << 20,
        full_size: 8 << 20,
        ..options(dir.path())
    });
    // The second header stands across the border of the first window of the search.
    let first = noise(WINDOW as usize - 64 - 32, 1);
    let mut places = Vec::new();
    for body in [first, noise(10, 2)] {
        places.push(put(&writer, body).await.unwrap());
    }
    let copy = snapshot(dir.path());
    overwrite(copy.path(), 1, places[0].offset, &[1]);
    let recovered = recover(copy.path(), end_of(&places[1]));
    assert_eq!(recovered.damage.len(), 1);
    assert_eq!(
        footer(copy.path(), 1),
        [(places[1].offset, Digest::of(&noise(10, 2)))]
    );
}
