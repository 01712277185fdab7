//! The levels against a map: whatever is written, made a run, merged, closed and opened, every look-up and scan says the
//! same; and what got lost is noticed.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::Duration;

use proptest::prelude::*;

use super::keys::{self, Key};
use super::levels::{Found, Levels, MergeRoom};
use super::merged::RunRows;
use super::rows::Rows;
use super::run::RunInfo;
use super::span::{Order, Span};
use crate::chunk::Digest;
use crate::store::error::StoreError;

/// Opens a database, once whoever had it open has let go of it: sled's own threads may do so late.
fn open(dir: &Path) -> sled::Db {
    for _ in 0..1000 {
        match sled::Config::new().path(dir).flush_every_ms(None).open() {
            Err(sled::Error::Io(error)) if error.to_string().contains("WouldBlock") => {
                std::thread::sleep(Duration::from_millis(10));
            }
            opened => return opened.unwrap(),
        }
    }
    panic!("somebody still has it open");
}

/// A disk that has room, always.
struct Roomy;

impl MergeRoom for Roomy {
    fn for_merge(&self, _: u64) -> bool {
        true
    }

    fn for_step(&self) -> bool {
        true
    }
}

/// Levels, and the sled below them.
struct Opened {
    db: sled::Db,
    levels: Levels,
    rows: Rows,
}

impl Opened {
    fn open(dir: &Path) -> Self {
        let db = open(dir);
        let levels = Levels::open(&db).unwrap();
        let rows = Rows::new(0, levels.hasher());
        Opened { db, levels, rows }
    }

    fn set(&self, key: &[u8], value: Option<&[u8]>) {
        self.levels
            .set(self.rows.hashed(key), value.map(sled::IVec::from));
    }

    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        let (Found::InMemory(value) | Found::InRun(value)) = self.levels.get(self.rows.hashed(key))?;
        Ok(value.map(|value| value.to_vec()))
    }

    fn scan(&self, prefix: &[u8], span: Span, order: Order, limit: usize) -> Vec<(Key, Vec<u8>)> {
        let entries = self.levels.scan(prefix, span, order, limit).unwrap();
        let owned = entries.iter().map(|(key, value)| (key.to_vec(), value.to_vec()));
        owned.collect()
    }

    fn flush(&self) {
        self.levels.flush().unwrap();
    }

    fn merge(&self) {
        while self.levels.merge_step(&Roomy).unwrap() {}
        self.levels.drop_retired(self.levels.retired()).unwrap();
    }
}

#[derive(Clone, Debug)]
enum Step {
    Set(Key, Vec<u8>),
    Remove(Key),
    Freeze,
    FlushFrozen,
    Flush,
    MergeSome,
    Merge,
    Reopen,
    /// What no run has is lost.
    Crash,
    Scan(Key, Key, usize),
}

/// Names of few versions and digests of few chunks, so that keys are written again and again.
fn key() -> impl Strategy<Value = Key> {
    prop_oneof![
        (0..4_u64, 0..20_u8).prop_map(|(version, name)| [keys::files(version), vec![b'n', name, 0]].concat()),
        (0..40_u8).prop_map(|chunk| keys::chunk(&Digest::of(&[chunk]))),
        (0..3_u8).prop_map(|word| vec![b'm', word]),
    ]
}

fn prefix() -> impl Strategy<Value = Key> {
    prop_oneof![
        Just(Vec::new()),
        Just(vec![b'c']),
        Just(vec![b'f']),
        (0..5_u64).prop_map(keys::files),
        key(),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    let value = prop_oneof![
        4 => prop::collection::vec(any::<u8>(), 0..60),
        1 => prop::collection::vec(any::<u8>(), 1000..5000),
    ];
    prop_oneof![
        40 => (key(), value).prop_map(|(key, value)| Step::Set(key, value)),
        30 => key().prop_map(Step::Remove),
        6 => Just(Step::Freeze),
        4 => Just(Step::FlushFrozen),
        4 => Just(Step::Flush),
        2 => Just(Step::MergeSome),
        2 => Just(Step::Merge),
        1 => Just(Step::Reopen),
        1 => Just(Step::Crash),
        14 => (prefix(), key(), 1..60_usize).prop_map(|(prefix, from, limit)| Step::Scan(prefix, from, limit)),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn they_say_what_was_written(steps in prop::collection::vec(step(), 1..500)) {
        let dir = tempfile::tempdir().unwrap();
        let mut opened = Opened::open(dir.path());
        let mut model = BTreeMap::new();
        // As it was when the memtable was frozen that waits to become a run, and as runs have it.
        let (mut frozen, mut in_runs) = (None, BTreeMap::new());
        for step in steps {
            match step {
                Step::Set(key, value) => {
                    opened.set(&key, Some(&value));
                    model.insert(key, value);
                }
                Step::Remove(key) => {
                    opened.set(&key, None);
                    model.remove(&key);
                }
                Step::Freeze => {
                    let waits = opened.levels.is_frozen();
                    opened.levels.freeze();
                    if !waits && opened.levels.is_frozen() {
                        frozen = Some(model.clone());
                    }
                }
                Step::FlushFrozen => {
                    opened.levels.flush_frozen().unwrap();
                    in_runs = frozen.take().unwrap_or(in_runs);
                }
                Step::Flush => {
                    opened.flush();
                    (frozen, in_runs) = (None, model.clone());
                }
                Step::MergeSome => drop(opened.levels.merge_step(&Roomy).unwrap()),
                Step::Merge => opened.merge(),
                Step::Reopen => {
                    opened.flush();
                    (frozen, in_runs) = (None, model.clone());
                    drop(opened);
                    opened = Opened::open(dir.path());
                }
                Step::Crash => {
                    (frozen, model) = (None, in_runs.clone());
                    drop(opened);
                    opened = Opened::open(dir.path());
                }
                Step::Scan(prefix, from, limit) => {
                    prop_assert_eq!(opened.get(&from).unwrap(), model.get(&from).cloned());
                    let all: Vec<_> = model.iter().filter(|(key, _)| key.starts_with(&prefix)).collect();
                    let owned = |(key, value): (&Key, &Vec<u8>)| (key.clone(), value.clone());
                    for (span, bound) in [
                        (Span::of(&prefix), Vec::new()),
                        (Span::of(&prefix).after(&from), from.clone()),
                    ] {
                        let behind = all.iter().copied().filter(|(key, _)| **key > bound);
                        let expected: Vec<_> = behind.take(limit).map(owned).collect();
                        prop_assert_eq!(opened.scan(&prefix, span, Order::Forward, limit), expected);
                    }
                    let before = all.iter().rev().copied().filter(|(key, _)| **key < from);
                    let expected: Vec<_> = before.take(limit).map(owned).collect();
                    let span = Span::of(&prefix).before(&from);
                    prop_assert_eq!(opened.scan(&prefix, span, Order::Backward, limit), expected);
                    prop_assert_eq!(opened.levels.count(&prefix).unwrap(), all.len());
                }
            }
        }
        for (key, value) in &model {
            let found = opened.get(key).unwrap();
            prop_assert_eq!(found.as_ref(), Some(value));
        }
    }
}

fn number(number: u32) -> Key {
    [keys::files(7), number.to_be_bytes().to_vec()].concat()
}

/// Rows in several blocks, and in several runs.
fn filled() -> (tempfile::TempDir, Opened) {
    let dir = tempfile::tempdir().unwrap();
    let opened = Opened::open(dir.path());
    for run in 0..3 {
        for at in 0..400 {
            opened.set(&number(at * 3 + run), Some(&[run as u8; 40]));
        }
        opened.flush();
    }
    (dir, opened)
}

fn run_trees(db: &sled::Db) -> Vec<sled::IVec> {
    let names = db.tree_names().into_iter();
    names.filter(|name| name.starts_with(b"run-")).collect()
}

fn run_ids(db: &sled::Db) -> Vec<u64> {
    let ids = run_trees(db)
        .iter()
        .filter_map(|name| RunInfo::id_in(name))
        .collect::<BTreeSet<_>>();
    ids.into_iter().collect()
}

#[test]
fn a_block_that_got_lost_is_noticed_by_whoever_needs_it() {
    let (_dir, opened) = filled();
    let tree = opened.db.open_tree(&run_trees(&opened.db)[1]).unwrap();
    let blocks: Vec<_> = tree.iter().keys().map(Result::unwrap).collect();
    let blocks: Vec<_> = blocks.into_iter().filter(|key| key.starts_with(b"f")).collect();
    assert!(blocks.len() > 3, "{}", blocks.len());
    for at in [0, 1, blocks.len() - 1] {
        let lost = tree.remove(&blocks[at]).unwrap().unwrap();
        let failed =
            |result: Result<(), StoreError>| assert!(matches!(result, Err(StoreError::Index(_))), "{at}");
        failed(opened.get(&blocks[at]).map(drop));
        for order in [Order::Forward, Order::Backward] {
            let prefix = keys::files(7);
            failed(
                opened
                    .levels
                    .scan(&prefix, Span::of(&prefix), order, usize::MAX)
                    .map(drop),
            );
        }
        tree.insert(&blocks[at], lost).unwrap();
        assert!(opened.get(&blocks[at]).unwrap().is_some());
    }
}

#[test]
fn a_run_that_got_lost_and_a_filter_that_did_are_noticed_at_the_start() {
    let dir = tempfile::tempdir().unwrap();
    let opened = Opened::open(dir.path());
    (0..4000).for_each(|at| opened.set(&number(at), Some(b"x")));
    opened.flush();
    let names: Vec<_> = opened.levels.runs()[0].info.trees().collect();
    drop(opened);
    let db = open(dir.path());
    let tree = db.open_tree(names.last().unwrap()).unwrap();
    let pieces: Vec<_> = tree.range([0xff].as_slice()..).map(Result::unwrap).collect();
    assert!(pieces.len() > 1, "the length of the rest is that of a filter");
    for (piece, filter) in pieces {
        tree.remove(&piece).unwrap();
        assert!(matches!(Levels::open(&db), Err(StoreError::Index(_))));
        tree.insert(&piece, filter).unwrap();
        assert!(Levels::open(&db).is_ok());
    }
    db.drop_tree(&names[0]).unwrap();
    assert!(matches!(Levels::open(&db), Err(StoreError::Index(_))));
}

#[test]
fn what_a_crash_left_of_a_run_is_dropped() {
    let (dir, opened) = filled();
    let half = opened.db.open_tree(RunInfo::tree(99, 0)).unwrap();
    half.insert(b"f", b"half a run").unwrap();
    drop((half, opened));
    let opened = Opened::open(dir.path());
    assert_eq!(
        run_ids(&opened.db),
        [1, 2, 3, 99],
        "nothing is written before the first checkpoint"
    );
    opened.levels.drop_retired(opened.levels.retired()).unwrap();
    assert_eq!(run_ids(&opened.db), [1, 2, 3]);
    opened.set(b"m", Some(b"x"));
    opened.flush();
    assert_eq!(run_ids(&opened.db), [1, 2, 3, 100], "numbers are used once");
    assert_eq!(opened.levels.count(b"f").unwrap(), 1200);
}

#[test]
fn a_database_of_another_version_is_none() {
    let dir = tempfile::tempdir().unwrap();
    let db = open(dir.path());
    db.insert(b"f", b"a row as there were before").unwrap();
    assert!(matches!(Levels::open(&db), Err(StoreError::Index(_))));
}

#[test]
fn merged_runs_are_dropped_once_nobody_reads_them_and_that_is_durable() {
    let (_dir, opened) = filled();
    (5000..5400).for_each(|at| opened.set(&number(at), Some(b"x")));
    opened.flush();
    let read = RunRows::new(opened.levels.runs()[3].clone(), &Span::of(b""), Order::Forward).unwrap();
    while opened.levels.merge_step(&Roomy).unwrap() {}
    assert_eq!(
        run_ids(&opened.db),
        [1, 2, 3, 4, 5],
        "four that were merged, and what they became"
    );
    opened.levels.drop_retired(0).unwrap();
    assert_eq!(run_ids(&opened.db), [1, 2, 3, 4, 5], "no checkpoint yet");
    let retired = opened.levels.retired();
    opened.levels.drop_retired(retired).unwrap();
    assert_eq!(run_ids(&opened.db), [1, 5], "the first is still read");
    drop(read);
    opened.levels.drop_retired(retired).unwrap();
    assert_eq!(run_ids(&opened.db), [5]);
    assert_eq!(opened.levels.count(b"f").unwrap(), 1600);
}

#[test]
fn nothing_is_left_of_what_was_all_removed() {
    let (_dir, opened) = filled();
    for at in 0..1200 {
        opened.set(&number(at), None);
    }
    opened.flush();
    opened.merge();
    assert_eq!(run_trees(&opened.db).len(), 0);
    assert_eq!(opened.get(&number(7)).unwrap(), None);
}
