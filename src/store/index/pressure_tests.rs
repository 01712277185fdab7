//! An index that is written to faster than runs are made of it: nothing is missed meanwhile, memory stays bounded, and
//! what a crash leaves is a beginning of what was written.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::sync_channel;
use std::thread;
use std::time::Duration;

use super::handle::Index;
use super::keys::{self, Key};
use crate::chunk::Digest;

/// Keys that are written in turn.
const KEYS: u64 = 2_000;
/// Each write is noted here behind it, like how far the log is applied.
const NOTE: &[u8] = b"mnote";

/// Names and digests in turn.
fn key(number: u64) -> Key {
    match number % 2 {
        0 => [keys::files(7), number.to_be_bytes().to_vec()].concat(),
        _ => keys::chunk(&Digest::of(&number.to_be_bytes())),
    }
}

fn write(index: &Index, number: u64) {
    index
        .set(&key(number % KEYS), Some(&[number.to_be_bytes(); 9].concat()))
        .unwrap();
    index.set(NOTE, Some(&number.to_be_bytes())).unwrap();
}

fn number(value: Option<sled::IVec>) -> u64 {
    value.map_or(0, |value| u64::from_be_bytes(value[..8].try_into().unwrap()))
}

/// Whether each key has what was last written to it up to the note, or something later, which may be half written.
fn assert_has(index: &Index, noted: u64) {
    for at in 0..KEYS {
        let last = noted - (noted + KEYS - at) % KEYS;
        let found = number(index.get(&key(at)).unwrap());
        assert!(
            found >= last && found % KEYS == at,
            "{at}: {found} after {last} of {noted}"
        );
    }
}

#[test]
fn what_a_crash_leaves_is_a_beginning_of_what_was_written() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("index");
    let (mut written, mut lost) = (KEYS, 0);
    for round in 0..6 {
        let index = Arc::new(Index::open(&path, 1 << 20).unwrap());
        let noted = number(index.get(NOTE).unwrap());
        lost += u64::from(round > 0 && noted < written);
        if round == 0 {
            (1..=KEYS).for_each(|number| write(&index, number));
        } else {
            assert_has(&index, noted);
            written = noted;
        }
        let (wake, woken) = sync_channel(1);
        index.on_full(move || {
            let _ = wake.try_send(());
        });
        let done = &AtomicBool::new(false);
        let ahead = AtomicU64::new(written);
        thread::scope(|scope| {
            let runs = index.clone();
            scope.spawn(move || {
                while !done.load(Ordering::Relaxed) {
                    if woken.recv_timeout(Duration::from_millis(1)).is_ok() && runs.is_behind() {
                        runs.checkpoint().unwrap();
                    }
                    let _ = runs.merge_step().unwrap();
                }
            });
            scope.spawn(|| {
                while !done.load(Ordering::Relaxed) {
                    assert_has(&index, ahead.load(Ordering::Acquire));
                }
            });
            for _ in 0..6_000 {
                written += 1;
                write(&index, written);
                ahead.store(written, Ordering::Release);
            }
            done.store(true, Ordering::Relaxed);
        });
        assert!(index.runs().unwrap() > 0);
        // No last checkpoint: what no run has is gone.
    }
    assert!(lost > 0, "each checkpoint came at the very end");
}

#[test]
fn whoever_writes_waits_only_when_the_next_memtable_is_full_too() {
    let dir = tempfile::tempdir().unwrap();
    let index = Index::open(&dir.path().join("index"), 1 << 20).unwrap();
    let asked = Arc::new(AtomicU64::new(0));
    let asks = asked.clone();
    index.on_full(move || {
        asks.fetch_add(1, Ordering::Relaxed);
    });
    let mut rows = 0_u64;
    let mut fill_until = |enough: &dyn Fn() -> bool| {
        let before = rows;
        while !enough() && rows < 10_000 {
            rows += 1;
            index
                .set(
                    &[keys::files(7), rows.to_be_bytes().to_vec()].concat(),
                    Some(&[0; 100]),
                )
                .unwrap();
        }
        rows - before
    };
    let until_asked = fill_until(&|| asked.load(Ordering::Relaxed) > 0);
    assert_eq!(index.runs().unwrap(), 0, "somebody else should make it");
    // Nobody does.
    let until_made = fill_until(&|| index.runs().unwrap() > 0);
    assert!(
        until_made.abs_diff(until_asked) < 9,
        "{until_asked} and then {until_made}"
    );
    assert!(!index.is_behind());
    assert_eq!(index.count(b"f").unwrap() as u64, rows);
}

#[test]
fn where_nobody_makes_runs_whoever_writes_does_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let index = Index::open(&dir.path().join("index"), 1 << 20).unwrap();
    for row in 0..2_000_u64 {
        index
            .set(
                &[keys::files(7), row.to_be_bytes().to_vec()].concat(),
                Some(&[0; 100]),
            )
            .unwrap();
    }
    // 2,000 rows of 181 bytes are five memtables and a half.
    assert_eq!(index.runs().unwrap(), 5);
}
