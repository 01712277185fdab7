//! A room over a directory of files, and one whose disk says what the test wants.

#![allow(clippy::unwrap_used)]

use super::*;
use crate::store::error::StoreError;

const MIB: u64 = 1 << 20;

fn room(max_size: Option<u64>) -> (tempfile::TempDir, Arc<Room>) {
    let dir = tempfile::tempdir().unwrap();
    for sub in ["journal", "segments"] {
        std::fs::create_dir(dir.path().join(sub)).unwrap();
    }
    std::fs::write(dir.path().join("journal/x"), vec![0; 1000]).unwrap();
    let limits = Limits {
        max_size,
        ..Limits::default()
    };
    let room = Arc::new(Room::new(dir.path(), limits).unwrap());
    (dir, room)
}

fn refused<T>(answer: Result<T, StoreError>) -> bool {
    match answer {
        Ok(_) => false,
        Err(StoreError::NoSpace) => true,
        Err(error) => panic!("{error}"),
    }
}

#[test]
fn the_limit_counts_what_is_there_what_is_promised_and_what_comes() {
    let (_dir, room) = room(Some(64 * MIB));
    let most = 60 * MIB - 1000;
    assert!(!refused(room.check(most)));
    assert!(refused(room.check(most + 1)));
    let promise = room.promise(20 * MIB).unwrap();
    assert!(refused(room.check(most)));
    assert!(refused(room.promise(most)));
    drop(promise);
    assert!(!refused(room.promise(most)), "what was not used is given back");
    room.take(most);
    assert!(refused(room.promise(1)));
    assert!(
        !refused(room.admit(MIB)),
        "a publication may use some of what is kept"
    );
    assert!(refused(room.admit(3 * MIB)));
    assert!(refused(room.admit(u64::MAX)));
}

#[test]
fn uploads_are_refused_from_the_high_watermark_down_to_the_low_one() {
    let (_dir, room) = room(Some(100 * MIB));
    room.take(89 * MIB);
    assert!(!refused(room.check(MIB)));
    assert_eq!(room.state().above_low, 4 * MIB + 1000);
    room.take(MIB);
    assert!(refused(room.check(0)));
    assert!(room.state().above_high);
    assert!(
        !refused(room.promise(MIB)),
        "an upload that is under way is not cut off there"
    );
    room.give_back(4 * MIB);
    assert!(refused(room.check(0)), "between the two nothing changes");
    room.give_back(MIB + 1000);
    assert!(!room.state().above_high);
    assert!(!refused(room.check(MIB)));
    room.take(4 * MIB);
    assert!(!refused(room.check(MIB)), "between the two nothing changes");
}

/// What is known of the disk between two questions is a guess on the safe side, and no reason to refuse uploads until the
/// store is below the low watermark.
#[test]
fn a_guess_does_not_shut_uploads_out() {
    let (_dir, room) = room(None);
    let guessed = Disk {
        free: 0,
        ..room.space.now()
    };
    assert!(!room.observe(guessed));
    assert!(!refused(room.check(1)));
}

#[test]
fn a_write_that_failed_stops_uploads_for_a_second() {
    let (_dir, room) = room(None);
    // Again, should this thread not have come to ask within that second.
    let rests = (0..100).any(|_| {
        room.write_failed();
        let refused_all = refused(room.check(1)) && refused(room.promise(1)) && refused(room.admit(1));
        refused_all && room.state().resting
    });
    assert!(rests);
    std::thread::sleep(REST + Duration::from_millis(5));
    assert!(!refused(room.check(1)));
}

#[test]
fn more_given_back_than_taken_is_nothing() {
    let (_dir, room) = room(None);
    room.give_back(MIB);
    assert_eq!(room.state().used, 0);
}

#[test]
fn files_are_given_in_advance_what_can_be_spared() {
    let (_dir, room) = room(None);
    assert_eq!(room.spare(LEAST_SPARE), LEAST_SPARE);
    let free = room.space.now().free;
    assert!(room.spare(u64::MAX) <= free / SPARE_PART + MIB);
    room.space.written(free);
    assert_eq!(room.spare(64 * MIB).min(LEAST_SPARE), LEAST_SPARE);
}

/// What uploads wrote, counted as it came, is what lies in the files afterwards: also after appends that failed.
#[tokio::test]
async fn what_is_counted_is_what_is_on_disk() {
    use crate::store::log::segment::{SegmentOptions, SegmentWriter};
    use crate::store::log::testing::{Unsteady, options, put};

    let (dir, room) = room(None);
    let disk = Arc::new(Unsteady::default());
    let options = SegmentOptions {
        first_size: 64 << 10,
        full_size: 256 << 10,
        ..options(dir.path())
    };
    let counted = Counted::new(disk.clone(), room.clone());
    let segments = SegmentWriter::start(options, Arc::new(counted)).unwrap();
    let mut failed = 0;
    for number in 0..60_u8 {
        // Also the footer of its segment then.
        let full = number % 10 == 9;
        let code = if full { libc::ENOSPC } else { 0 };
        disk.write_fails.store(code, Ordering::SeqCst);
        let body = vec![number; 10_000 + usize::from(number)];
        failed += usize::from(put(&segments, body.into()).await.is_err());
    }
    disk.write_fails.store(0, Ordering::SeqCst);
    segments.close().unwrap();
    assert_eq!(failed, 6);
    let again = Room::new(dir.path(), Limits::default()).unwrap();
    assert_eq!(room.state().used, again.state().used);
}
