//! Makes one run of several: which ones, and step by step, so that whoever does it can do something else in between.

use std::hash::BuildHasher;
use std::sync::Arc;

use foldhash::quality::FixedState;

use super::levels::is_known;
use super::merged::{Merged, RunRows, Source};
use super::run::{Run, RunInfo};
use super::run_writer::RunWriter;
use super::span::{Order, Span};
use crate::store::error::StoreError;

/// So many runs of one size become one of the next.
const FAN_IN: u64 = 4;
/// Runs with fewer rows are all of the smallest size. Few for tests, so that runs of several sizes come about.
const SMALL: u64 = if cfg!(test) { 8 } else { 1024 };
/// Rows of one step: a millisecond or two. Few for tests, so that much happens between two steps.
const STEP: usize = if cfg!(test) { 50 } else { 8192 };

/// How many of the runs, the newest first, are to become one; `None`: they are well as they are.
pub fn due(runs: &[Arc<Run>]) -> Option<usize> {
    let infos: Vec<_> = runs.iter().map(|run| &run.info).collect();
    newest_to_merge(&infos)
}

fn newest_to_merge(runs: &[&RunInfo]) -> Option<usize> {
    let rows: u64 = runs.iter().map(|run| run.rows).sum();
    let removed: u64 = runs.iter().map(|run| run.removed).sum();
    // A removal and what it removes are half of what stands there.
    if runs.len() > 1 && rows > SMALL * FAN_IN && removed * 2 >= rows {
        return Some(runs.len());
    }
    let sizes: Vec<u32> = runs.iter().map(|run| size(run.rows)).collect();
    let largest = sizes.iter().copied().max()?;
    (0..=largest).find_map(|size| {
        let newest = sizes.iter().take_while(|other| **other <= size).count();
        let equal = sizes[..newest].iter().filter(|other| **other == size).count();
        (equal as u64 >= FAN_IN).then_some(newest)
    })
}

/// The size of a run: one more for each factor of [`FAN_IN`].
fn size(rows: u64) -> u32 {
    (rows / SMALL).max(1).ilog(FAN_IN)
}

/// Some runs on their way to become one.
#[derive(Debug)]
pub struct Merge {
    inputs: Vec<Arc<Run>>,
    /// Those that stay behind them.
    older: Vec<Arc<Run>>,
    rows: Merged,
    writer: RunWriter,
    hasher: FixedState,
}

/// What a merge has led to.
#[derive(Debug)]
pub struct Exchange {
    /// Are to be given up.
    pub inputs: Vec<Arc<Run>>,
    /// Takes their place; nothing, where all their rows are gone.
    pub output: Option<Arc<Run>>,
}

impl Merge {
    /// Begins to make run `id` of the `newest` of these.
    ///
    /// # Errors
    /// `Index` where sled fails or rows got lost.
    pub fn begin(
        db: &sled::Db,
        id: u64,
        runs: &[Arc<Run>],
        newest: usize,
        hasher: FixedState,
    ) -> Result<Self, StoreError> {
        let (inputs, older) = runs.split_at(newest);
        let all = Span::of(b"");
        let sources = inputs
            .iter()
            .map(|run| RunRows::new(run.clone(), &all, Order::Forward).map(Source::run))
            .collect::<Result<_, _>>()?;
        let rows = inputs.iter().map(|run| run.info.rows).sum();
        Ok(Merge {
            rows: Merged::new(sources, Order::Forward)?,
            writer: RunWriter::begin(db, id, rows, hasher.clone()),
            inputs: inputs.to_vec(),
            older: older.to_vec(),
            hasher,
        })
    }

    /// Goes over some more rows. Removals are left out where nothing older says otherwise. Whether those were the last.
    ///
    /// # Errors
    /// `Index` where sled fails or rows got lost.
    pub fn step(&mut self) -> Result<bool, StoreError> {
        for _ in 0..STEP {
            let Some(row) = self.rows.row()? else {
                return Ok(true);
            };
            if row.value.is_some() || is_known(&self.older, self.hasher.hash_one(row.key)) {
                self.writer.push(row)?;
            }
            self.rows.advance()?;
        }
        Ok(false)
    }

    /// What it has led to, behind the last step.
    ///
    /// # Errors
    /// `Index` where sled fails.
    pub fn finish(self) -> Result<Exchange, StoreError> {
        Ok(Exchange {
            inputs: self.inputs,
            output: self.writer.finish()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn info(rows: u64, removed: u64) -> RunInfo {
        RunInfo {
            id: 0,
            rows,
            removed,
            bytes: 0,
            filter: [0; 32],
            parts: Vec::new(),
        }
    }

    fn due(rows: &[u64]) -> Option<usize> {
        let infos: Vec<_> = rows.iter().map(|rows| info(*rows, 0)).collect();
        newest_to_merge(&infos.iter().collect::<Vec<_>>())
    }

    #[test]
    fn four_of_a_size_are_merged_with_the_smaller_ones_before_them() {
        assert_eq!(due(&[]), None);
        assert_eq!(due(&[1, 1, 1]), None);
        assert_eq!(due(&[1, 1, 1, 1]), Some(4));
        assert_eq!(due(&[1, 1, 1, 9_000, 1]), None);
        assert_eq!(due(&[1, 9_000, 1, 1, 9_000, 9_000, 9_000, 100_000, 1]), Some(7));
    }

    #[test]
    fn the_number_of_runs_stays_small_and_so_does_the_work() {
        let (mut runs, mut rewritten, mut most) = (Vec::<u64>::new(), 0, 0);
        let mut random = 7_u64;
        for _ in 0..20_000 {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            runs.insert(0, 1 + (random >> 33) % 5_000);
            while let Some(newest) = due(&runs) {
                let rows = runs.drain(..newest).sum();
                runs.insert(0, rows);
                rewritten += rows;
            }
            most = most.max(runs.len());
        }
        let rows: u64 = runs.iter().sum();
        assert!(most <= 40, "{most} runs");
        assert!(
            rewritten / rows <= 10,
            "each row was written {} times",
            rewritten / rows
        );
    }

    #[test]
    fn where_half_is_removals_everything_is_merged() {
        let (few, many) = (
            [info(50_000, 0), info(30_000, 30_000)],
            [info(40_000, 0), info(45_000, 45_000)],
        );
        assert_eq!(newest_to_merge(&few.iter().collect::<Vec<_>>()), None);
        assert_eq!(newest_to_merge(&many.iter().collect::<Vec<_>>()), Some(2));
    }
}
