//! Where a body is cut: FastCDC 2020, fed piece by piece.
//!
//! The cut points are those of [`fastcdc::v2020::FastCDC`] at normalization level 2 with seed 0, however the body is
//! split into pieces. The scan never copies: it keeps a hash and a length from one piece to the next.

use std::fmt;

use fastcdc::v2020::{self, Normalization};

use super::gear::Gear;
use super::params::{ChunkerParams, ChunkerParamsError};

/// What the hash is tested with, up to a length of the chunk.
#[derive(Clone, Copy, Debug)]
struct Zone {
    /// Length of the chunk at which the zone ends. Even.
    end: usize,
    mask: u64,
}

/// Finds cut points incrementally. A clone is in the same state.
#[derive(Clone)]
pub struct Chunker {
    min_size: usize,
    max_size: usize,
    /// Strict up to the average size, lenient up to the maximum.
    zones: [Zone; 2],
    gear: &'static Gear,
    /// Bytes of the current chunk so far.
    len: usize,
    /// Rolling hash over the bytes of the current chunk after `min_size`.
    hash: u64,
}

impl Chunker {
    /// A chunker at the start of a body.
    pub fn new(params: ChunkerParams) -> Result<Self, ChunkerParamsError> {
        params.check()?;
        let (strict, lenient) = v2020::select_masks(params.avg_size as usize, Normalization::Level2);
        let zone = |end: u32, mask: u64| Zone {
            end: end as usize,
            mask,
        };
        Ok(Chunker {
            min_size: params.min_size as usize,
            max_size: params.max_size as usize,
            zones: [zone(params.avg_size, strict), zone(params.max_size, lenient)],
            gear: Gear::get(),
            len: 0,
            hash: 0,
        })
    }

    /// Scans `piece`, the next bytes of the body. `Some(n)`: the current chunk ends after the first `n` bytes of
    /// `piece` and the next call begins a new chunk with the rest; `None`: all of `piece` belongs to the current chunk.
    ///
    /// `last`: the body ends with this piece. FastCDC looks at pairs of bytes and leaves an unpaired last byte
    /// alone, so it has to know.
    pub fn next_cut(&mut self, piece: &[u8], last: bool) -> Option<usize> {
        let begun = self.len;
        let window = &piece[..piece.len().min(self.max_size - begun)];
        let complete = last && window.len() == piece.len();
        let unpaired = usize::from(complete && !(begun + window.len()).is_multiple_of(2));
        let searched = window.len().saturating_sub(unpaired);
        let mut at = self.min_size.saturating_sub(begun).min(searched);
        for zone in self.zones {
            let stop = zone.end.saturating_sub(begun).min(searched);
            if at >= stop {
                continue;
            }
            if let Some(n) = self.gear.find(&mut self.hash, &window[at..stop], zone.mask) {
                self.reset();
                return Some(at + n);
            }
            at = stop;
        }
        self.len += window.len();
        if self.len < self.max_size {
            return None;
        }
        self.reset();
        Some(window.len())
    }

    fn reset(&mut self) {
        self.len = 0;
        self.hash = 0;
    }
}

impl fmt::Debug for Chunker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Chunker")
            .field("len", &self.len)
            .field("zones", &self.zones)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
