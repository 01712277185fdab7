//! The search with AVX-512: sixteen stretches at once.
//!
//! The low half of a hash depends on the low halves of the numbers alone. So sixteen hashes of 32 bits find the places
//! where the low half of the mask matches; there, one in some hundreds, the whole hash is looked at. The numbers are
//! looked up without a memory access: the low half is four bytes, and VBMI looks one byte up for 64 others at once.

use std::arch::x86_64::*;

use super::{Gear, REACH};

/// Stretches of a block, one for each 32 bits of a register.
const LANES: usize = 16;

/// Bytes of each stretch that are looked at before the next one's turn.
const STEPS: usize = 16;

/// Bytes of a stretch, at least and at most. Longer ones are warmed up less often, but then a block is many pages, in
/// which the processor does not fetch ahead: 1 KiB is slower, up to half as fast where memory is busy.
const LEAST: usize = 8 * STEPS;
const MOST: usize = 256;

/// Bytes that the low half of a hash depends on.
const HALF_REACH: usize = REACH / 2;

/// Bits of the mask's low half from which on candidates are rare enough.
const LEAST_BITS: u32 = 8;

/// For each step, a bit for each stretch in which it may end in a match. By fours, which are looked at together.
type Candidates = [[u16; 4]; MOST / 4];

/// The lowest four bytes of the numbers, the lowest first, each for all 256 bytes.
pub(super) struct Planes([[u8; 256]; 4]);

/// Whether so many bytes and this mask are what this search is for.
pub(super) fn pays(len: usize, mask: u64) -> bool {
    len >= LANES * LEAST && (mask as u32).count_ones() >= LEAST_BITS
}

impl Planes {
    /// Those of `table`, where the processor can use them.
    pub fn where_supported(table: &[u64; 256]) -> Option<Self> {
        let supported = is_x86_feature_detected!("avx512f")
            && is_x86_feature_detected!("avx512bw")
            && is_x86_feature_detected!("avx512vbmi");
        supported.then(|| {
            Planes(std::array::from_fn(|plane| {
                std::array::from_fn(|byte| table[byte].to_le_bytes()[plane])
            }))
        })
    }
}

impl Gear {
    /// As [`Gear::find`]. What is left for less than a block is searched in order.
    pub(super) fn find_with_vectors(
        &self,
        planes: &Planes,
        hash: &mut u64,
        bytes: &[u8],
        mask: u64,
    ) -> Option<usize> {
        let mut candidates: Candidates = [[0; 4]; MOST / 4];
        let mut at = 0;
        while bytes.len() - at >= LANES * LEAST {
            let stretch = ((bytes.len() - at) / LANES).min(MOST) / STEPS * STEPS;
            let block = &bytes[at..at + LANES * stretch];
            let candidates = &mut candidates[..stretch / 4];
            // SAFETY: there are planes only where the processor has what this needs; the block is sixteen stretches
            // of a multiple of sixteen bytes, of which each is longer than `HALF_REACH`.
            #[allow(unsafe_code)]
            unsafe {
                look_for_candidates(planes, *hash as u32, block, stretch, mask as u32, candidates)
            };
            if let Some(found) = self.first_match(*hash, block, stretch, mask, candidates) {
                return Some(at + found);
            }
            *hash = self.after(*hash, block);
            at += block.len();
        }
        let found = self.find_in_order(hash, &bytes[at..], mask)?;
        Some(at + found)
    }

    /// The first candidate whose whole hash matches.
    fn first_match(
        &self,
        hash: u64,
        block: &[u8],
        stretch: usize,
        mask: u64,
        candidates: &[[u16; 4]],
    ) -> Option<usize> {
        let mut first = None;
        for (index, four) in candidates.iter().enumerate() {
            if *four == [0; 4] {
                continue;
            }
            for (step, mut lanes) in four.iter().copied().enumerate() {
                while lanes != 0 {
                    let at = lanes.trailing_zeros() as usize * stretch + 4 * index + step;
                    lanes &= lanes - 1;
                    let is_first = first.is_none_or(|first| at < first);
                    if is_first && self.after(hash, &block[..=at]) & mask == 0 {
                        first = Some(at);
                    }
                }
            }
        }
        first
    }
}

/// Says of every step of the stretches of `block` whether the low half of the hash has none of the bits of `mask`.
/// `hash` is the low half before the block.
///
/// # Safety
/// The processor must have the features. The block must be sixteen stretches, `stretch` a multiple of sixteen above
/// `HALF_REACH`.
#[allow(unsafe_code)]
#[target_feature(enable = "avx512f,avx512bw,avx512vbmi")]
unsafe fn look_for_candidates(
    planes: &Planes,
    hash: u32,
    block: &[u8],
    stretch: usize,
    mask: u32,
    candidates: &mut [[u16; 4]],
) {
    debug_assert!(block.len() == LANES * stretch && stretch > HALF_REACH && stretch.is_multiple_of(STEPS));
    // SAFETY: each plane is 256 bytes, four registers.
    let planes: [[__m512i; 4]; 4] = planes.0.each_ref().map(|plane| {
        std::array::from_fn(|part| unsafe { _mm512_loadu_si512(plane.as_ptr().add(64 * part).cast()) })
    });
    let mask = _mm512_set1_epi32(mask.cast_signed());

    // The hash at the end of a stretch is where the next one begins.
    let mut ends = _mm512_setzero_si512();
    for at in (stretch - HALF_REACH..stretch).step_by(STEPS) {
        // SAFETY: sixteen bytes from there on are in every stretch.
        for columns in unsafe { transposed(block, stretch, at) } {
            for numbers in looked_up(&planes, columns) {
                ends = rolled(ends, numbers);
            }
        }
    }
    let mut hashes = _mm512_alignr_epi32::<15>(ends, _mm512_set1_epi32(hash.cast_signed()));

    let (by_sixteen, _) = candidates.as_chunks_mut::<4>();
    for (index, sixteen) in by_sixteen.iter_mut().enumerate() {
        // SAFETY: as above.
        let columns = unsafe { transposed(block, stretch, STEPS * index) };
        for (columns, four) in columns.into_iter().zip(sixteen) {
            for (numbers, lanes) in looked_up(&planes, columns).into_iter().zip(four) {
                hashes = rolled(hashes, numbers);
                *lanes = _mm512_testn_epi32_mask(hashes, mask);
            }
        }
    }
}

#[inline]
#[target_feature(enable = "avx512f")]
fn rolled(hashes: __m512i, numbers: __m512i) -> __m512i {
    _mm512_add_epi32(_mm512_add_epi32(hashes, hashes), numbers)
}

/// Sixteen bytes of each stretch, from `at` on, four of each in a register: in each quarter of it the first bytes of
/// four stretches, then their second ones, and so on.
///
/// # Safety
/// The block must have sixteen stretches of this length, which must be at least `at` and sixteen.
#[allow(unsafe_code)]
#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
unsafe fn transposed(block: &[u8], stretch: usize, at: usize) -> [__m512i; 4] {
    // The quarters are bytes of the stretches 0, 4, 8 and 12, those of the next row of 1, 5, 9 and 13.
    let row = |first: usize| {
        // SAFETY: the caller vouches for the length.
        let quarter = |index: usize| unsafe {
            _mm_loadu_si128(block.as_ptr().add((first + 4 * index) * stretch + at).cast())
        };
        let row = _mm512_castsi128_si512(quarter(0));
        let row = _mm512_inserti32x4::<1>(row, quarter(1));
        let row = _mm512_inserti32x4::<2>(row, quarter(2));
        _mm512_inserti32x4::<3>(row, quarter(3))
    };
    let [a, b, c, d] = [row(0), row(1), row(2), row(3)];
    let (ab, cd) = (_mm512_unpacklo_epi32(a, b), _mm512_unpacklo_epi32(c, d));
    let (ab_high, cd_high) = (_mm512_unpackhi_epi32(a, b), _mm512_unpackhi_epi32(c, d));
    let by_stretch = [
        _mm512_unpacklo_epi64(ab, cd),
        _mm512_unpackhi_epi64(ab, cd),
        _mm512_unpacklo_epi64(ab_high, cd_high),
        _mm512_unpackhi_epi64(ab_high, cd_high),
    ];
    let by_step = _mm512_broadcast_i32x4(_mm_setr_epi8(
        0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15,
    ));
    by_stretch.map(|four| _mm512_shuffle_epi8(four, by_step))
}

/// The low halves of the numbers of these bytes, for each of four steps.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vbmi")]
fn looked_up(planes: &[[__m512i; 4]; 4], bytes: __m512i) -> [__m512i; 4] {
    let upper = _mm512_movepi8_mask(bytes);
    let [a, b, c, d] = planes.each_ref().map(|[first, second, third, fourth]| {
        let low = _mm512_permutex2var_epi8(*first, bytes, *second);
        let high = _mm512_permutex2var_epi8(*third, bytes, *fourth);
        _mm512_mask_blend_epi8(upper, low, high)
    });
    let (ab, cd) = (_mm512_unpacklo_epi8(a, b), _mm512_unpacklo_epi8(c, d));
    let (ab_high, cd_high) = (_mm512_unpackhi_epi8(a, b), _mm512_unpackhi_epi8(c, d));
    [
        _mm512_unpacklo_epi16(ab, cd),
        _mm512_unpackhi_epi16(ab, cd),
        _mm512_unpacklo_epi16(ab_high, cd_high),
        _mm512_unpackhi_epi16(ab_high, cd_high),
    ]
}
