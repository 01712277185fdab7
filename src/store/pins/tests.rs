//! Pins against a simple model, and under threads.

#![allow(clippy::unwrap_used)]

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};

use proptest::prelude::*;

use super::*;
use crate::store::model::FileKind;

fn place(offset: u64) -> Place {
    Place {
        kind: FileKind::Segment,
        file: 1,
        offset,
        stored_len: 1,
    }
}

fn digest(n: u8) -> Digest {
    // All in one shard, which must make no difference.
    let mut bytes = [n; 32];
    bytes[0] = 0;
    bytes.into()
}

fn sound(_: &Place) -> bool {
    true
}

fn absent(_: &Digest) -> Result<Option<Place>, StoreError> {
    Ok(None)
}

#[test]
fn a_known_chunk_is_pinned_where_it_lies() {
    let pins = Arc::new(Pins::default());
    let Acquired::Hit(pin, found) = pins.acquire(digest(1), |_| Ok(Some(place(8))), sound).unwrap() else {
        panic!("not a hit");
    };
    assert_eq!(found, place(8));
    let again = pins
        .acquire(digest(1), |_| panic!("a pinned chunk is not looked up"), sound)
        .unwrap();
    assert!(matches!(&again, Acquired::Hit(_, found) if *found == place(8)));
    drop(pin);
    assert!(pins.is_pinned(&digest(1)));
    assert_eq!(pins.with_unpinned(&digest(1), || ()), None);
    drop(again);
    assert!(!pins.is_pinned(&digest(1)));
    assert_eq!(pins.with_unpinned(&digest(1), || 7), Some(7));
    assert!(pins.is_empty());
}

#[test]
fn a_failed_lookup_pins_nothing() {
    let pins = Arc::new(Pins::default());
    let error = pins
        .acquire(digest(1), |_| Err(StoreError::Index("no".into())), sound)
        .unwrap_err();
    assert!(matches!(error, StoreError::Index(_)));
    assert!(pins.is_empty());
}

#[tokio::test]
async fn a_waiter_finds_what_was_placed() {
    let pins = Arc::new(Pins::default());
    let Acquired::Write(reservation) = pins.acquire(digest(1), absent, sound).unwrap() else {
        panic!("not new");
    };
    let Acquired::Wait(wait) = pins.acquire(digest(1), absent, sound).unwrap() else {
        panic!("not being written");
    };
    assert_eq!(pins.with_unpinned(&digest(1), || ()), None);
    let mut waiting = Box::pin(wait.settled());
    assert!(futures_util::poll!(&mut waiting).is_pending());
    let pin = reservation.placed(place(16));
    waiting.await;
    let found = pins.acquire(digest(1), absent, sound).unwrap();
    assert!(matches!(&found, Acquired::Hit(_, at) if *at == place(16)));
    drop((found, pin));
    assert!(pins.is_empty());
}

#[tokio::test]
async fn a_waiter_does_not_inherit_a_failed_append() {
    let pins = Arc::new(Pins::default());
    let reservation = pins.acquire(digest(1), absent, sound).unwrap();
    let Acquired::Wait(wait) = pins.acquire(digest(1), absent, sound).unwrap() else {
        panic!("not being written");
    };
    drop(reservation);
    wait.settled().await;
    assert!(matches!(
        pins.acquire(digest(1), absent, sound).unwrap(),
        Acquired::Write(_)
    ));
}

#[tokio::test]
async fn a_damaged_copy_is_written_again_and_its_pins_go_over() {
    let pins = Arc::new(Pins::default());
    let known = |_: &Digest| Ok(Some(place(8)));
    let is_sound = |at: &Place| *at != place(8);
    let old = pins.acquire(digest(1), known, sound).unwrap();
    let older = pins.acquire(digest(1), known, sound).unwrap();
    assert!(matches!(&old, Acquired::Hit(_, at) if *at == place(8)));
    // Now it is found damaged. A writer that fails leaves things as they were.
    let failed = pins.acquire(digest(1), absent, is_sound).unwrap();
    let Acquired::Wait(wait) = pins.acquire(digest(1), absent, is_sound).unwrap() else {
        panic!("nobody is writing it");
    };
    drop(older);
    assert!(matches!(failed, Acquired::Write(_)));
    drop(failed);
    wait.settled().await;
    let Acquired::Write(reservation) = pins.acquire(digest(1), absent, is_sound).unwrap() else {
        panic!("a damaged copy is relied on");
    };
    let new = reservation.placed(place(16));
    let found = pins.acquire(digest(1), absent, is_sound).unwrap();
    assert!(matches!(&found, Acquired::Hit(_, at) if *at == place(16)));
    drop((found, new));
    assert!(pins.is_pinned(&digest(1)), "the first pin still holds it");
    drop(old);
    assert!(pins.is_empty());
}

#[test]
fn a_pin_that_goes_while_its_copy_is_healed_leaves_nothing() {
    let pins = Arc::new(Pins::default());
    let old = pins.acquire(digest(1), |_| Ok(Some(place(8))), sound).unwrap();
    let writing = pins.acquire(digest(1), absent, |_| false).unwrap();
    drop(old);
    drop(writing);
    assert!(pins.is_empty());
}

#[tokio::test]
async fn who_asks_for_a_chunk_that_is_being_dropped_waits_and_looks_again() {
    let pins = Arc::new(Pins::default());
    let dropping = pins.reserve_drop(digest(1)).unwrap();
    assert!(pins.reserve_drop(digest(1)).is_none());
    let Acquired::Wait(wait) = pins.acquire(digest(1), |_| Ok(Some(place(8))), sound).unwrap() else {
        panic!("it is pinned while it goes");
    };
    let mut waiting = Box::pin(wait.settled());
    assert!(futures_util::poll!(&mut waiting).is_pending());
    drop(dropping);
    waiting.await;
    let new = pins.acquire(digest(1), absent, sound).unwrap();
    assert!(matches!(new, Acquired::Write(_)));
    assert!(pins.reserve_drop(digest(1)).is_none(), "it is being written");
}

/// Threads take and drop a few chunks while a collector drops what nobody has pinned. A chunk that is pinned must
/// be there, and no two may write it at once.
#[test]
fn a_pinned_chunk_is_never_dropped_under_threads() {
    const CHUNKS: usize = 4;
    const UPLOADERS: usize = 4;
    let pins = Arc::new(Pins::default());
    let exists: [AtomicBool; CHUNKS] = Default::default();
    let writers: [AtomicUsize; CHUNKS] = Default::default();
    let [hits, dropped, ended]: [AtomicUsize; 3] = Default::default();
    let lookup = |n: usize| exists[n].load(SeqCst).then_some(place(n as u64));
    let upload = |round: usize| {
        let n = round % CHUNKS;
        match pins.acquire(digest(n as u8), |_| Ok(lookup(n)), sound).unwrap() {
            Acquired::Hit(_pin, at) => {
                assert_eq!(at, place(n as u64));
                assert!(exists[n].load(SeqCst), "a pinned chunk is gone");
                hits.fetch_add(1, SeqCst);
            }
            Acquired::Write(reservation) => {
                assert_eq!(writers[n].fetch_add(1, SeqCst), 0, "two write the same chunk");
                exists[n].store(true, SeqCst);
                writers[n].fetch_sub(1, SeqCst);
                if !round.is_multiple_of(3) {
                    let _pin = reservation.placed(place(n as u64));
                    assert!(exists[n].load(SeqCst), "a written chunk is gone");
                }
            }
            Acquired::Wait(_) => {}
        }
    };
    std::thread::scope(|scope| {
        for thread in 0..UPLOADERS {
            let (upload, ended) = (&upload, &ended);
            scope.spawn(move || {
                (0..5000).for_each(|round| upload(round * 7 + thread));
                ended.fetch_add(1, SeqCst);
            });
        }
        // Goes on until the uploads have ended, and once more over what they leave.
        scope.spawn(|| {
            let mut last = false;
            while !last {
                last = ended.load(SeqCst) == UPLOADERS;
                for (n, exists) in exists.iter().enumerate() {
                    // As collection does it: the index forgets the chunk while the reservation is held, but not
                    // under the lock.
                    if let Some(_reservation) = pins.reserve_drop(digest(n as u8)) {
                        std::thread::yield_now();
                        if exists.swap(false, SeqCst) {
                            dropped.fetch_add(1, SeqCst);
                        }
                    }
                }
            }
        });
    });
    assert!(pins.is_empty());
    assert!(
        hits.load(SeqCst) > 0 && dropped.load(SeqCst) > 0,
        "nothing was tried"
    );
}

#[derive(Clone, Debug)]
enum Step {
    Acquire(u8),
    Place(usize),
    DropReservation(usize),
    DropPin(usize),
    Collect(u8),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (0u8..3).prop_map(Step::Acquire),
        2 => any::<usize>().prop_map(Step::Place),
        1 => any::<usize>().prop_map(Step::DropReservation),
        3 => any::<usize>().prop_map(Step::DropPin),
        1 => (0u8..3).prop_map(Step::Collect),
    ]
}

/// What the pins should say of one chunk.
#[derive(Default)]
struct Model {
    /// Where the index has it.
    stored: Option<Place>,
    writing: bool,
    pins: usize,
}

fn pick<T>(from: &mut Vec<T>, which: usize) -> Option<T> {
    (!from.is_empty()).then(|| from.swap_remove(which % from.len()))
}

proptest! {
    #[test]
    fn pins_agree_with_a_model(steps in prop::collection::vec(step(), 1..120)) {
        let pins = Arc::new(Pins::default());
        let mut model: [Model; 3] = Default::default();
        let (mut held, mut reserved, mut waits) = (Vec::new(), Vec::new(), Vec::new());
        for (number, step) in (0..).zip(steps) {
            match step {
                Step::Acquire(n) => {
                    let chunk = &mut model[usize::from(n)];
                    let acquired = pins.acquire(digest(n), |_| Ok(chunk.stored), sound).unwrap();
                    match acquired {
                        Acquired::Hit(pin, at) => {
                            prop_assert!(!chunk.writing);
                            prop_assert_eq!(Some(at), chunk.stored);
                            chunk.pins += 1;
                            held.push((n, pin));
                        }
                        Acquired::Write(reservation) => {
                            prop_assert!(!chunk.writing && chunk.stored.is_none());
                            chunk.writing = true;
                            reserved.push((n, reservation));
                        }
                        Acquired::Wait(wait) => {
                            prop_assert!(chunk.writing);
                            waits.push((n, wait));
                        }
                    }
                }
                Step::Place(which) => if let Some((n, reservation)) = pick(&mut reserved, which) {
                    held.push((n, reservation.placed(place(number))));
                    model[usize::from(n)] = Model { stored: Some(place(number)), writing: false, pins: 1 };
                },
                Step::DropReservation(which) => if let Some((n, _)) = pick(&mut reserved, which) {
                    model[usize::from(n)].writing = false;
                },
                Step::DropPin(which) => if let Some((n, _)) = pick(&mut held, which) {
                    model[usize::from(n)].pins -= 1;
                },
                Step::Collect(n) => {
                    let chunk = &mut model[usize::from(n)];
                    let free = chunk.pins == 0 && !chunk.writing;
                    prop_assert_eq!(pins.with_unpinned(&digest(n), || chunk.stored = None).is_some(), free);
                }
            }
            for (n, chunk) in (0..).zip(&model) {
                prop_assert_eq!(pins.is_pinned(&digest(n)), chunk.pins > 0 || chunk.writing);
            }
            // Whoever waits is released exactly when the append that it found has ended.
            waits.retain(|(n, wait)| {
                assert!(wait.0.is_cancelled() || model[usize::from(*n)].writing);
                !wait.0.is_cancelled()
            });
        }
        drop((held, reserved));
        prop_assert!(pins.is_empty());
    }
}
