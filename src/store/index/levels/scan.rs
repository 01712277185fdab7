//! Scans: the memtables and the runs, merged.

use std::hash::BuildHasher;

use super::Levels;
use crate::store::error::StoreError;
use crate::store::index::floor::WORTHWHILE;
use crate::store::index::keys::family;
use crate::store::index::merged::{Merged, RunRows, Source};
use crate::store::index::span::{Order, Span};
use crate::store::index::tree::Entry;

/// Rows of a memtable that a scan takes at a time, at least and at most. Few for tests, so that scans go on often.
const GATHER: (usize, usize) = if cfg!(test) { (2, 8) } else { (64, 4096) };

impl Levels {
    /// Up to `limit` rows of a span, in this order. `prefix`: what all keys of the span begin with.
    ///
    /// # Errors
    /// `Index` where sled fails or rows got lost.
    pub fn scan(
        &self,
        prefix: &[u8],
        mut span: Span,
        order: Order,
        limit: usize,
    ) -> Result<Vec<Entry>, StoreError> {
        let (floor, stamp) = match (order, span.start == prefix) {
            (Order::Forward, true) => {
                let recent = self.read();
                let (floor, stamp) = recent.floors.of(prefix);
                (floor.cloned(), Some(stamp))
            }
            _ => (None, None),
        };
        if let Some(floor) = floor {
            span.start = floor;
        }
        let (mut entries, mut passed) = (Vec::<Entry>::new(), 0);
        'enough: while entries.len() < limit && !span.is_empty() {
            let gather = (limit - entries.len()).clamp(GATHER.0, GATHER.1);
            let (mut merged, horizon) = self.merged(prefix, &span, order, gather)?;
            while let Some(row) = merged.row()?
                && span.contains(row.key)
                && horizon
                    .as_ref()
                    .is_none_or(|horizon| !is_beyond(row.key, horizon, order))
            {
                match row.value {
                    Some(value) => entries.push((row.key.into(), value.into())),
                    None => passed += usize::from(entries.is_empty()),
                }
                if entries.len() == limit {
                    break 'enough;
                }
                merged.advance()?;
            }
            match horizon {
                Some(horizon) => span = span.beyond(&horizon, order),
                None => break,
            }
        }
        if let Some(stamp) = stamp
            && passed >= WORTHWHILE
        {
            let floor = entries.first().map_or(span.end, |(first, _)| first.to_vec());
            self.write().floors.learn(prefix, floor, stamp);
        }
        Ok(entries)
    }

    /// How many entries begin with `prefix`.
    ///
    /// # Errors
    /// `Index` where sled fails or rows got lost.
    pub fn count(&self, prefix: &[u8]) -> Result<usize, StoreError> {
        let (mut count, mut span) = (0, Span::of(prefix));
        loop {
            let entries = self.scan(prefix, span.clone(), Order::Forward, GATHER.1)?;
            let Some((last, _)) = entries.last() else {
                return Ok(count);
            };
            count += entries.len();
            span = span.after(last);
        }
    }

    /// All sources of a span, and up to which key they are whole: further rows of the memtables were not taken.
    fn merged(
        &self,
        prefix: &[u8],
        span: &Span,
        order: Order,
        gather: usize,
    ) -> Result<(Merged, Option<Vec<u8>>), StoreError> {
        let mut sources = Vec::new();
        let mut horizon: Option<Vec<u8>> = None;
        let runs = {
            let recent = self.read();
            for memtable in [Some(&recent.active), recent.frozen.as_deref()]
                .into_iter()
                .flatten()
            {
                let (rows, more) = memtable.rows(span, order, gather);
                if let Some((last, _)) = rows.last()
                    && more
                    && horizon
                        .as_ref()
                        .is_none_or(|horizon| is_beyond(horizon, last, order))
                {
                    horizon = Some(last.clone());
                }
                sources.push(Source::Memory(rows, 0));
            }
            recent.runs.clone()
        };
        let family = family(prefix).map(|family| self.hasher.hash_one(family));
        for run in &*runs {
            if family.is_none_or(|family| !run.is_absent(family)) {
                sources.push(Source::run(RunRows::new(run.clone(), span, order)?));
            }
        }
        Ok((Merged::new(sources, order)?, horizon))
    }
}

/// Whether one key comes behind another.
fn is_beyond(key: &[u8], other: &[u8], order: Order) -> bool {
    match order {
        Order::Forward => key > other,
        Order::Backward => key < other,
    }
}
