//! Rows of several sources, gone through in one order: of a key that several have, the newest says what it is.

use std::sync::Arc;

use super::block::{Block, Row};
use super::keys::Key;
use super::run::{Run, failed, lost, open_block};
use super::span::{Order, Span};
use super::tree::Value;
use crate::store::error::StoreError;

/// Rows of one source, in order.
#[derive(Debug)]
pub enum Source {
    /// Of a memtable.
    Memory(Vec<(Key, Option<Value>)>, usize),
    /// Of a run.
    Run(Box<RunRows>),
}

impl Source {
    /// The rows of a run.
    pub fn run(rows: RunRows) -> Self {
        Source::Run(Box::new(rows))
    }

    fn row(&self) -> Result<Option<Row<'_>>, StoreError> {
        match self {
            Source::Memory(rows, at) => Ok(rows.get(*at).map(|(key, value)| Row {
                key,
                value: value.as_deref(),
            })),
            Source::Run(rows) => rows.row(),
        }
    }

    fn advance(&mut self) -> Result<(), StoreError> {
        match self {
            Source::Memory(_, at) => *at += 1,
            Source::Run(rows) => rows.advance()?,
        }
        Ok(())
    }
}

/// The rows of a run, from one end of a span on; they go on behind its other end.
pub struct RunRows {
    run: Arc<Run>,
    order: Order,
    /// The part that is gone through.
    part: usize,
    blocks: sled::Iter,
    block: Option<Block>,
    /// The next row of the block; backward, the one behind it.
    at: usize,
    /// By what the next block is known. Forward: the last key of this one. Backward: the last key of the next one, empty
    /// where there is none.
    chain: Key,
}

impl RunRows {
    /// From the beginning of the span, or from its end.
    ///
    /// # Errors
    /// `Index` where sled fails or a block got lost.
    pub fn new(run: Arc<Run>, span: &Span, order: Order) -> Result<Self, StoreError> {
        let bound = match order {
            Order::Forward => &span.start,
            Order::Backward => &span.end,
        };
        let first = run.block_at(bound)?;
        let last = run.info.last();
        let chain = match (order, &first) {
            (Order::Forward, Some((last, _))) => last.to_vec(),
            (Order::Backward, Some((_, block))) => block.fence().to_vec(),
            // Forward nothing is left; backward everything is.
            (_, None) => last.to_vec(),
        };
        let part = run.part_at(&chain).min(run.parts.len() - 1);
        let blocks = match order {
            Order::Forward => run.parts[part].range(behind(&chain)..),
            Order::Backward => run.parts[part].range(..=chain.as_slice()),
        };
        let at = match &first {
            Some((_, block)) => block.lower_bound(bound)?,
            None => 0,
        };
        let mut rows = RunRows {
            run,
            order,
            part,
            blocks,
            block: first.map(|(_, block)| block),
            at,
            chain,
        };
        rows.settle()?;
        Ok(rows)
    }

    fn row(&self) -> Result<Option<Row<'_>>, StoreError> {
        let Some(block) = &self.block else { return Ok(None) };
        match self.order {
            Order::Forward => block.row(self.at).map(Some),
            Order::Backward => block.row(self.at - 1).map(Some),
        }
    }

    fn advance(&mut self) -> Result<(), StoreError> {
        match self.order {
            Order::Forward => self.at += 1,
            Order::Backward => self.at -= 1,
        }
        self.settle()
    }

    /// Goes to the next block where this one has no more rows.
    fn settle(&mut self) -> Result<(), StoreError> {
        match (self.order, &self.block) {
            (Order::Forward, Some(block)) if self.at < block.len() => Ok(()),
            (Order::Backward, Some(_)) if self.at > 0 => Ok(()),
            (Order::Forward, _) => self.next_forward(),
            (Order::Backward, _) => self.next_backward(),
        }
    }

    fn next_forward(&mut self) -> Result<(), StoreError> {
        self.block = None;
        if self.chain == self.run.info.last() {
            return Ok(());
        }
        if self.chain == self.run.info.parts[self.part] {
            self.part += 1;
            self.blocks = self.run.parts[self.part].iter();
        }
        let (last, block) = self.blocks.next().ok_or_else(lost)?.map_err(failed)?;
        let block = open_block(&last, block)?;
        if block.fence() != self.chain {
            return Err(lost());
        }
        (self.at, self.chain) = (0, last.to_vec());
        self.block = Some(block);
        Ok(())
    }

    fn next_backward(&mut self) -> Result<(), StoreError> {
        self.block = None;
        if self.chain.is_empty() {
            return Ok(());
        }
        let part = self.run.part_at(&self.chain);
        if part != self.part {
            self.part = part;
            self.blocks = self.run.parts.get(part).ok_or_else(lost)?.iter();
        }
        let (last, block) = self.blocks.next_back().ok_or_else(lost)?.map_err(failed)?;
        if *last != *self.chain {
            return Err(lost());
        }
        let block = open_block(&last, block)?;
        (self.at, self.chain) = (block.len(), block.fence().to_vec());
        self.block = Some(block);
        Ok(())
    }
}

impl std::fmt::Debug for RunRows {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RunRows")
            .field("run", &self.run.info)
            .field("order", &self.order)
            .finish_non_exhaustive()
    }
}

/// The first key behind `key`.
fn behind(key: &[u8]) -> Key {
    [key, &[0]].concat()
}

/// The rows of all sources.
#[derive(Debug)]
pub struct Merged {
    /// The newest first.
    sources: Vec<Source>,
    order: Order,
    /// Those that are at the present key, the newest first.
    present: Vec<usize>,
}

impl Merged {
    /// Of sources in the same order, the newest first.
    ///
    /// # Errors
    /// `Index` where one of them fails.
    pub fn new(sources: Vec<Source>, order: Order) -> Result<Self, StoreError> {
        let mut merged = Merged {
            present: Vec::with_capacity(sources.len()),
            sources,
            order,
        };
        merged.choose()?;
        Ok(merged)
    }

    /// The present row; `None` at the end.
    ///
    /// # Errors
    /// `Index` where it cannot be read.
    pub fn row(&self) -> Result<Option<Row<'_>>, StoreError> {
        match self.present.first() {
            Some(newest) => self.sources[*newest].row(),
            None => Ok(None),
        }
    }

    /// Goes on to the next key.
    ///
    /// # Errors
    /// `Index` where a source fails.
    pub fn advance(&mut self) -> Result<(), StoreError> {
        for source in &self.present {
            self.sources[*source].advance()?;
        }
        self.choose()
    }

    fn choose(&mut self) -> Result<(), StoreError> {
        self.present.clear();
        let mut best: Option<&[u8]> = None;
        for (number, source) in self.sources.iter().enumerate() {
            let Some(row) = source.row()? else { continue };
            let order = match (best, self.order) {
                (None, _) => std::cmp::Ordering::Less,
                (Some(best), Order::Forward) => row.key.cmp(best),
                (Some(best), Order::Backward) => best.cmp(row.key),
            };
            if order.is_lt() {
                best = Some(row.key);
                self.present.clear();
            }
            if order.is_le() {
                self.present.push(number);
            }
        }
        Ok(())
    }
}
