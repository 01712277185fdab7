use proptest::prelude::*;

use super::*;
use crate::chunk::testing::noise;

const SMALL: ChunkerParams = ChunkerParams {
    min_size: 64,
    avg_size: 256,
    max_size: 1024,
};

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

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// Long enough for the stretches of a search, cut at any place by the pieces, the zones and the minimum.
    #[test]
    fn large_chunks_agree_too(
        seed: u64,
        len in 0usize..600_000,
        avg_bits in 13u32..18,
        min_half in 32u32..2000,
        splits in prop::collection::vec(prop_oneof![1usize..200, 1usize..90_000], 0..60),
    ) {
        let params = ChunkerParams {
            min_size: 2 * min_half,
            avg_size: 1 << avg_bits,
            max_size: 3 << avg_bits,
        };
        let body = noise(len, seed);
        prop_assert_eq!(lengths(&body, params, splits), reference(&body, params));
    }
}
