//! How large chunks are to be.

use std::ops::RangeInclusive;

use fastcdc::v2020;
use serde::{Deserialize, Serialize};

/// Chunk sizes in bytes. They are fixed when a store is created and kept in its `store.toml`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ChunkerParams {
    /// No cut before this many bytes of a chunk. Even.
    pub min_size: u32,
    /// The size that cuts gather around. A power of two.
    pub avg_size: u32,
    /// A cut at the latest here. Even. A body up to this size is one chunk.
    pub max_size: u32,
}

impl Default for ChunkerParams {
    fn default() -> Self {
        ChunkerParams {
            min_size: 256 * 1024,
            avg_size: 512 * 1024,
            max_size: 2 * 1024 * 1024,
        }
    }
}

/// Chunk sizes that FastCDC cannot work with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ChunkerParamsError {
    /// One of the sizes is too small or too large.
    #[error("the {name} chunk size must be between {least} and {most} bytes")]
    OutOfRange {
        /// Which of the three sizes.
        name: &'static str,
        /// Its lower bound.
        least: usize,
        /// Its upper bound.
        most: usize,
    },
    /// The scan takes two bytes at a time.
    #[error("the {0} chunk size must be even")]
    Odd(&'static str),
    /// The masks are made for powers of two.
    #[error("the average chunk size must be a power of two")]
    NotAPowerOfTwo,
    /// The sizes are not in order.
    #[error("chunk sizes must grow from minimum over average to maximum")]
    NotInOrder,
}

impl ChunkerParams {
    /// Whether a [`Chunker`](super::Chunker) can work with these sizes.
    pub fn check(&self) -> Result<(), ChunkerParamsError> {
        in_range("minimum", self.min_size, v2020::MINIMUM_MIN..=v2020::MINIMUM_MAX)?;
        in_range("average", self.avg_size, v2020::AVERAGE_MIN..=v2020::AVERAGE_MAX)?;
        in_range("maximum", self.max_size, v2020::MAXIMUM_MIN..=v2020::MAXIMUM_MAX)?;
        if !self.min_size.is_multiple_of(2) {
            return Err(ChunkerParamsError::Odd("minimum"));
        }
        if !self.max_size.is_multiple_of(2) {
            return Err(ChunkerParamsError::Odd("maximum"));
        }
        if !self.avg_size.is_power_of_two() {
            return Err(ChunkerParamsError::NotAPowerOfTwo);
        }
        if self.min_size >= self.avg_size || self.avg_size >= self.max_size {
            return Err(ChunkerParamsError::NotInOrder);
        }
        Ok(())
    }
}

fn in_range(name: &'static str, size: u32, range: RangeInclusive<usize>) -> Result<(), ChunkerParamsError> {
    if range.contains(&(size as usize)) {
        return Ok(());
    }
    Err(ChunkerParamsError::OutOfRange {
        name,
        least: *range.start(),
        most: *range.end(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bad_sizes_are_refused() {
        use ChunkerParamsError::*;
        let check = |min_size, avg_size, max_size| {
            ChunkerParams {
                min_size,
                avg_size,
                max_size,
            }
            .check()
        };
        assert_eq!(check(64, 256, 1024), Ok(()));
        assert_eq!(check(65, 256, 1024), Err(Odd("minimum")));
        assert_eq!(check(64, 256, 1025), Err(Odd("maximum")));
        assert_eq!(check(64, 258, 1024), Err(NotAPowerOfTwo));
        assert_eq!(check(256, 256, 1024), Err(NotInOrder));
        assert_eq!(check(64, 2048, 1024), Err(NotInOrder));
        for (min, avg, max) in [(0, 256, 1024), (64, 0, 1024), (64, 256, 1 << 25)] {
            assert!(matches!(check(min, avg, max), Err(OutOfRange { .. })));
        }
    }
}
