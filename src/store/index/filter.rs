//! Which keys a tree may have: a look-up for a key that it certainly has not need not go there.
//!
//! A PUT asks for two keys that are not there, its file and its chunk, and each descent to find that out costs as much
//! as writing them. A Bloom filter in memory knows: every key that is written is noted first, and it answers only once
//! every key that the tree held when it was opened has been noted as well. Removals leave it as it is, so it says
//! "perhaps" for what is gone, until the next start.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// Bits of one block: a key's bits share a line of the processor's cache.
const BLOCK: usize = 512;
/// Words of one block.
const WORDS: usize = BLOCK / 64;
/// Bits of one key. With ten bits of memory a key, one answer in a hundred is a needless "perhaps".
const BITS: u32 = 6;

/// A Bloom filter over the keys of one tree.
#[derive(Debug)]
pub struct Filter {
    words: Box<[AtomicU64]>,
    complete: AtomicBool,
}

impl Filter {
    /// Knows of no key, in at most `bytes` of memory. `complete`: there is none.
    pub fn new(bytes: u64, complete: bool) -> Self {
        let blocks = usize::try_from(bytes).unwrap_or(usize::MAX) / (BLOCK / 8);
        Filter {
            words: (0..blocks.max(1) * WORDS).map(|_| AtomicU64::new(0)).collect(),
            complete: AtomicBool::new(complete),
        }
    }

    /// Notes a key, given its hash, before it is written.
    pub fn note(&self, hash: u64) {
        for (word, bit) in self.places(hash) {
            let word = &self.words[word];
            // Most bits of a well filled filter are set: a plain load leaves the line to the other cores.
            if word.load(Ordering::Relaxed) & bit == 0 {
                word.fetch_or(bit, Ordering::SeqCst);
            }
        }
    }

    /// Every key that the tree held when it was opened has been noted.
    pub fn all_noted(&self) {
        self.complete.store(true, Ordering::SeqCst);
    }

    /// Whether the key with this hash is certainly not in the tree.
    pub fn is_absent(&self, hash: u64) -> bool {
        let mut places = self.places(hash);
        self.complete.load(Ordering::SeqCst)
            && places.any(|(word, bit)| self.words[word].load(Ordering::SeqCst) & bit == 0)
    }

    /// Word and bit of each of the key's bits.
    fn places(&self, hash: u64) -> impl Iterator<Item = (usize, u64)> + use<> {
        let blocks = (self.words.len() / WORDS) as u64;
        // The upper half chooses the block; the rest is spread over the bits by a multiplication.
        let block = (((hash >> 32) * blocks) >> 32) as usize;
        let bits = (hash | 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        (0..BITS).map(move |number| {
            let bit = (bits >> (number * 9 + 8)) as usize % BLOCK;
            (block * WORDS + bit / 64, 1 << (bit % 64))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hash(number: u64) -> u64 {
        use std::hash::{BuildHasher, BuildHasherDefault, DefaultHasher};
        BuildHasherDefault::<DefaultHasher>::default().hash_one(number)
    }

    #[test]
    fn no_key_that_was_noted_is_absent() {
        let filter = Filter::new(64 << 10, true);
        for number in 0..50_000 {
            assert!(number > 100 || filter.is_absent(hash(number + 100_000)));
            filter.note(hash(number));
        }
        assert!((0..50_000).all(|number| !filter.is_absent(hash(number))));
        let found = (50_000..150_000)
            .filter(|&number| filter.is_absent(hash(number)))
            .count();
        assert!(found > 96_000, "{found} of 100,000 absent keys are found out");
    }

    #[test]
    fn it_says_nothing_before_it_knows_everything() {
        let filter = Filter::new(1 << 10, false);
        filter.note(hash(1));
        assert!(!filter.is_absent(hash(2)));
        filter.all_noted();
        assert!(filter.is_absent(hash(2)) && !filter.is_absent(hash(1)));
    }
}
