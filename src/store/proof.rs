//! The proof of an index that was believed at the start: one slow scan whose sum must be the running sum.
//!
//! sled checks its pages when it reads them, and the index notices a block that is missing; this proves the rest. Every
//! index that was found on disk is scanned once, in small steps between the groups, by the committer, which is the only
//! one that writes. A group that changes a key that was scanned already changes the sum of the scan by the same amount,
//! so the two can be compared at the end although writing went on.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::error::StoreError;
use super::index::{Batch, Index, sum};
use super::shared::Shared;

/// Entries of one step: about a millisecond.
const STEP: usize = 256;
/// Rest between steps, so that the scan takes a small part of one core.
const REST: Duration = Duration::from_millis(8);
/// The same while changes are committed, which wait for a step.
const BUSY_REST: Duration = Duration::from_millis(40);

/// A scan under way.
#[derive(Debug)]
pub struct Proof {
    /// The last key that was scanned.
    cursor: Option<Vec<u8>>,
    sum: u128,
    entries: u64,
    next_step: Instant,
    shared: Arc<Shared>,
}

/// What a step has shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Nothing yet.
    Open,
    /// The index holds exactly what the log says; so many entries were seen.
    Right(u64),
    /// It does not.
    Wrong,
}

impl Proof {
    /// Nothing has been scanned.
    pub fn new(shared: Arc<Shared>) -> Self {
        Proof {
            cursor: None,
            sum: 0,
            entries: 0,
            next_step: Instant::now() + REST,
            shared,
        }
    }

    /// How long until the next step is due: no time where somebody waits for the proof.
    pub fn rest(&self) -> Duration {
        match self.shared.proof_is_urgent() {
            true => Duration::ZERO,
            false => self.next_step.saturating_duration_since(Instant::now()),
        }
    }

    /// Scans some more of an index whose running sum is `expected`.
    ///
    /// # Errors
    /// `Index` where it fails.
    pub fn step(&mut self, index: &Index, expected: u128) -> Result<Verdict, StoreError> {
        let entries = index.scan(b"", self.cursor.as_deref(), STEP)?;
        for (key, value) in &entries {
            self.sum = self.sum.wrapping_add(sum::entry(key, value));
        }
        self.entries += entries.len() as u64;
        let rest = match self.shared.commit_latency().is_zero() {
            true => REST,
            false => BUSY_REST,
        };
        self.next_step = Instant::now() + rest;
        if let Some((last, _)) = entries.last() {
            self.cursor = Some(last.to_vec());
            return Ok(Verdict::Open);
        }
        match self.sum == expected {
            true => Ok(Verdict::Right(self.entries)),
            false => Ok(Verdict::Wrong),
        }
    }

    /// A batch is about to be written.
    pub fn follow(&mut self, batch: &Batch<'_>) {
        if let Some(cursor) = &self.cursor {
            self.sum = self.sum.wrapping_add(batch.sum_of_changes_through(cursor));
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn key(number: u32) -> Vec<u8> {
        [b"f".as_slice(), &number.to_be_bytes()].concat()
    }

    /// An index of `count` entries and its sum.
    fn filled(count: u32) -> (tempfile::TempDir, Arc<Index>, u128) {
        let dir = tempfile::tempdir().unwrap();
        let index = Arc::new(Index::open(&dir.path().join("index"), 1 << 20).unwrap());
        let mut batch = Batch::new(&index, 0);
        for number in 0..count {
            batch.put(key(number), &number).unwrap();
        }
        let sum = batch.sum();
        batch.write().unwrap();
        (dir, index, sum)
    }

    fn proof(index: &Arc<Index>) -> Proof {
        Proof::new(Arc::new(Shared::new(1, index.clone())))
    }

    fn run(proof: &mut Proof, index: &Index, sum: u128) -> Verdict {
        loop {
            let verdict = proof.step(index, sum).unwrap();
            if verdict != Verdict::Open {
                return verdict;
            }
        }
    }

    #[test]
    fn writes_before_and_behind_the_cursor_are_followed() {
        let (_dir, index, mut sum) = filled(2000);
        let mut proof = proof(&index);
        for round in 0..12_u32 {
            if round < 7 {
                assert_eq!(proof.step(&index, sum).unwrap(), Verdict::Open);
            }
            let mut batch = Batch::new(&index, sum);
            batch.put(key(round * 97), &(round + 5000)).unwrap();
            batch.put(key(round * 97), &(round + 6000)).unwrap();
            batch.remove(key(round * 31 + 1)).unwrap();
            batch.put(key(1500 - round), &7).unwrap();
            batch.put(key(3000 + round), &7).unwrap();
            proof.follow(&batch);
            sum = batch.sum();
            batch.write().unwrap();
        }
        assert!(matches!(run(&mut proof, &index, sum), Verdict::Right(_)));
    }

    #[test]
    fn it_rests_longer_while_changes_are_committed() {
        let (_dir, index, sum) = filled(1000);
        let mut proof = proof(&index);
        proof.shared.committed(0, Duration::from_millis(1));
        let before = Instant::now();
        assert_eq!(proof.step(&index, sum).unwrap(), Verdict::Open);
        assert!(proof.next_step >= before + BUSY_REST);
        proof.shared.hurry_proof();
        assert_eq!(proof.rest(), Duration::ZERO, "somebody waits for it");
    }

    #[test]
    fn a_lost_and_a_changed_entry_are_found() {
        let (_dir, index, sum) = filled(1000);
        assert_eq!(run(&mut proof(&index), &index, sum), Verdict::Right(1000));
        let value = index.get(&key(500)).unwrap().unwrap();
        index.set(&key(500), None).unwrap();
        assert_eq!(run(&mut proof(&index), &index, sum), Verdict::Wrong);
        index.set(&key(500), Some(b"other")).unwrap();
        assert_eq!(run(&mut proof(&index), &index, sum), Verdict::Wrong);
        index.set(&key(500), Some(&value)).unwrap();
        assert_eq!(run(&mut proof(&index), &index, sum), Verdict::Right(1000));
    }
}
