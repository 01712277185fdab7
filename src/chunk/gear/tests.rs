use proptest::prelude::*;

use super::*;
use crate::chunk::testing::noise;

type Way = Box<dyn Fn(&mut u64, &[u8], u64) -> Option<usize>>;

/// The ways to search, which all must find the same.
fn ways() -> Vec<(&'static str, Way)> {
    let gear = Gear::get();
    let as_it_comes: Way = Box::new(|hash, bytes, mask| gear.find(hash, bytes, mask));
    let in_lanes: Way = Box::new(|hash, bytes, mask| gear.find_in_lanes(hash, bytes, mask));
    #[allow(unused_mut)]
    let mut ways = vec![("as it comes", as_it_comes), ("in lanes", in_lanes)];
    #[cfg(target_arch = "x86_64")]
    match &gear.vectors {
        Some(planes) => {
            let with_vectors: Way =
                Box::new(|hash, bytes, mask| gear.find_with_vectors(planes, hash, bytes, mask));
            ways.push(("with vectors", with_vectors));
        }
        None => eprintln!("SKIPPED: this processor has no AVX-512 VBMI, so that search is not tested"),
    }
    ways
}

fn check(hash: u64, bytes: &[u8], mask: u64) -> Option<usize> {
    let mut expected = hash;
    let found = Gear::get().find_in_order(&mut expected, bytes, mask);
    for (way, find) in ways() {
        let mut after = hash;
        assert_eq!(find(&mut after, bytes, mask), found, "{way}");
        if found.is_none() {
            assert_eq!(after, expected, "the hash at the end, {way}");
        }
    }
    found
}

/// A mask that the hash at this place matches, and hardly another one.
fn mask_for(hash: u64, bytes: &[u8], at: usize) -> u64 {
    let there = bytes[..=at]
        .iter()
        .fold(hash, |hash, &byte| Gear::get().roll(hash, byte));
    !there & (u64::MAX >> 1)
}

/// At the borders of stretches and blocks, and where the hash still depends on what came before.
#[test]
fn a_match_is_found_wherever_it_is() {
    let hash = 0x0123_4567_89ab_cdef;
    for len in [1, 63, 64, 65, 2047, 2048, 4096, 5000, 16_384, 20_001] {
        let bytes = noise(len, len as u64);
        let borders = (0..len).filter(|at| at % 128 < 2 || at % 128 > 125 || *at < 70 || at + 300 > len);
        for at in borders {
            assert_eq!(
                check(hash, &bytes, mask_for(hash, &bytes, at)),
                Some(at),
                "of {len}"
            );
        }
        assert_eq!(check(hash, &bytes, u64::MAX >> 1), None, "of {len}");
    }
}

/// Every stretch of dull bytes has the same hashes, so that all lanes match at once.
#[test]
fn the_first_of_many_matches_is_found() {
    for byte in 0..=255 {
        let bytes = vec![byte; 33_000];
        let later = mask_for(7, &bytes, 20_000);
        assert!(check(7, &bytes, later).is_some_and(|at| at < 64), "{byte}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn all_ways_find_the_same(
        hash: u64,
        seed: u64,
        len in 0usize..70_000,
        strict in prop::bool::ANY,
        bits in 5u32..26,
    ) {
        let bytes = noise(len, seed);
        let wanted = v2020::MASKS[bits as usize];
        check(hash, &bytes, if strict { wanted } else { wanted & 0xffff_ffff });
    }
}
