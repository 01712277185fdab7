//! Where a body is cut: FastCDC 2020, fed piece by piece.
//!
//! The cut points are those of [`fastcdc::v2020::FastCDC`] at normalization level 2 with seed 0, however the body is
//! split into pieces. The scan never copies: it keeps a hash and a length from one piece to the next.

use std::fmt;
use std::ops::RangeInclusive;
use std::sync::LazyLock;

use fastcdc::v2020::{self, Normalization};
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
    /// Whether a [`Chunker`] can work with these sizes.
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

/// The gear tables as arrays: a byte as the index then needs no bounds check.
struct Gear {
    plain: [u64; 256],
    /// Shifted left by one, for the first byte of a pair.
    shifted: [u64; 256],
}

static GEAR: LazyLock<Gear> = LazyLock::new(|| {
    let (plain, shifted) = v2020::get_gear_with_seed(0);
    Gear {
        plain: std::array::from_fn(|byte| plain[byte]),
        shifted: std::array::from_fn(|byte| shifted[byte]),
    }
});

/// What the hash is tested with, up to a length of the chunk.
#[derive(Clone, Copy, Debug)]
struct Zone {
    /// Length of the chunk at which the zone ends. Even.
    end: usize,
    mask: u64,
    /// The mask for the first byte of a pair.
    mask_shifted: u64,
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
            mask_shifted: mask << 1,
        };
        Ok(Chunker {
            min_size: params.min_size as usize,
            max_size: params.max_size as usize,
            zones: [zone(params.avg_size, strict), zone(params.max_size, lenient)],
            gear: &GEAR,
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
        let mut at = self.min_size.saturating_sub(begun).min(window.len());
        let complete = last && window.len() == piece.len();
        for zone in self.zones {
            let stop = zone.end.saturating_sub(begun).min(window.len());
            if at >= stop {
                continue;
            }
            let first_is_odd = !(begun + at).is_multiple_of(2);
            if let Some(n) = self.scan(&window[at..stop], zone, first_is_odd, complete) {
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

    /// Rolls the hash over `bytes`; the index of the first byte of the next chunk, if it is among them.
    /// `first_is_odd`: the first byte is the second one of a pair that began in the last piece.
    #[inline]
    fn scan(&mut self, bytes: &[u8], zone: Zone, first_is_odd: bool, complete: bool) -> Option<usize> {
        let gear = self.gear;
        let mut hash = self.hash;
        let mut rest = bytes;
        if first_is_odd && let Some((&odd, after)) = bytes.split_first() {
            hash = hash.wrapping_add(gear.plain[usize::from(odd)]);
            if hash & zone.mask == 0 {
                return Some(0);
            }
            rest = after;
        }
        let skipped = bytes.len() - rest.len();
        let (pairs, unpaired) = rest.as_chunks::<2>();
        for (index, &[even, odd]) in pairs.iter().enumerate() {
            hash = (hash << 2).wrapping_add(gear.shifted[usize::from(even)]);
            if hash & zone.mask_shifted == 0 {
                return Some(skipped + 2 * index);
            }
            hash = hash.wrapping_add(gear.plain[usize::from(odd)]);
            if hash & zone.mask == 0 {
                return Some(skipped + 2 * index + 1);
            }
        }
        if let [even] = unpaired
            && !complete
        {
            hash = (hash << 2).wrapping_add(gear.shifted[usize::from(*even)]);
            if hash & zone.mask_shifted == 0 {
                return Some(bytes.len() - 1);
            }
        }
        self.hash = hash;
        None
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
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SMALL: ChunkerParams = ChunkerParams {
        min_size: 64,
        avg_size: 256,
        max_size: 1024,
    };

    /// Bytes that are the same on every machine.
    fn noise(len: usize, seed: u64) -> Vec<u8> {
        let mut bytes = vec![0; len];
        blake3::Hasher::new()
            .update(&seed.to_le_bytes())
            .finalize_xof()
            .fill(&mut bytes);
        bytes
    }

    fn reference(body: &[u8], params: ChunkerParams) -> Vec<usize> {
        let [min, avg, max] = [params.min_size, params.avg_size, params.max_size].map(|size| size as usize);
        v2020::FastCDC::with_level(body, min, avg, max, Normalization::Level2)
            .map(|chunk| chunk.length)
            .collect()
    }

    fn lengths(body: &[u8], params: ChunkerParams, splits: impl IntoIterator<Item = usize>) -> Vec<usize> {
        let mut chunker = Chunker::new(params).unwrap();
        let mut splits = splits.into_iter();
        let (mut lengths, mut current, mut rest) = (Vec::new(), 0, body);
        while !rest.is_empty() {
            let (mut piece, after) = rest.split_at(splits.next().unwrap_or(rest.len()).clamp(1, rest.len()));
            while !piece.is_empty() {
                match chunker.next_cut(piece, after.is_empty()) {
                    Some(n) => {
                        lengths.push(current + n);
                        (current, piece) = (0, &piece[n..]);
                    }
                    None => (current, piece) = (current + piece.len(), &[]),
                }
            }
            rest = after;
        }
        lengths.extend((current > 0).then_some(current));
        lengths
    }

    const GOLDEN: [usize; 14] = [
        491_952, 794_099, 562_062, 345_052, 532_654, 538_320, 796_891, 724_494, 587_918, 492_728, 541_704,
        819_798, 541_750, 619_186,
    ];

    /// Stored chunks are found again only as long as these stay what they are.
    #[test]
    fn golden_cut_points() {
        let body = noise(8 << 20, 1);
        let cuts = lengths(&body, ChunkerParams::default(), []);
        assert_eq!(cuts, GOLDEN);
        assert_eq!(cuts, reference(&body, ChunkerParams::default()));
    }

    #[test]
    fn repetitive_bodies_are_cut_at_the_maximum() {
        let body = vec![0; 3000];
        assert_eq!(lengths(&body, SMALL, [1; 3000]), [1024, 1024, 952]);
        assert_eq!(lengths(&body[..2048], SMALL, [7; 400]), [1024, 1024]);
        assert!(lengths(&[], SMALL, []).is_empty());
    }

    /// An unpaired last byte is never a cut, wherever the body is made to end.
    #[test]
    fn every_length_agrees_with_the_reference() {
        let body = noise(3000, 2);
        for len in 0..body.len() {
            let expected = reference(&body[..len], SMALL);
            assert_eq!(lengths(&body[..len], SMALL, []), expected, "{len} bytes at once");
            assert_eq!(
                lengths(&body[..len], SMALL, [1; 3000]),
                expected,
                "{len} bytes one by one"
            );
        }
    }

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
        assert!(Chunker::new(ChunkerParams { avg_size: 0, ..SMALL }).is_err());
    }

    proptest! {
        #[test]
        fn any_split_agrees_with_the_reference(
            seed: u64,
            len in 0usize..20_000,
            avg_bits in 8u32..11,
            splits in prop::collection::vec(1usize..700, 0..200),
        ) {
            let params = ChunkerParams { min_size: 64 + 2 * (seed % 90) as u32, avg_size: 1 << avg_bits, max_size: 4096 };
            let body = noise(len, seed);
            prop_assert_eq!(lengths(&body, params, splits), reference(&body, params));
        }

        /// Few different bytes: long runs without a cut, so that all zones and the maximum are met.
        #[test]
        fn dull_bodies_agree_too(
            body in prop::collection::vec(0u8..3, 0..6000),
            splits in prop::collection::vec(1usize..300, 0..60),
        ) {
            prop_assert_eq!(lengths(&body, SMALL, splits), reference(&body, SMALL));
        }
    }
}
