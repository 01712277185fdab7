//! Which keys a run may have: a look-up for a key that it certainly has not need not go there.
//!
//! A PUT asks for two keys that are not there, its file and its chunk. A Bloom filter for each run, in memory, knows so
//! for nearly every run.

/// Bits of one block: a key's bits share a line of the processor's cache.
const BLOCK: usize = 512;
/// Words of one block.
const WORDS: usize = BLOCK / 64;
/// Bits of one key.
const BITS: u32 = 6;
/// Bits of memory for a key: with ten, one answer in a hundred is a needless "perhaps".
const MEMORY: usize = 10;

/// A Bloom filter over the keys of a run.
#[derive(Debug)]
pub struct Filter {
    words: Box<[u64]>,
}

impl Filter {
    /// Knows of no key; good for so many.
    pub fn new(keys: usize) -> Self {
        let blocks = (keys * MEMORY).div_ceil(BLOCK).max(1);
        Filter {
            words: vec![0; blocks * WORDS].into(),
        }
    }

    /// What [`Filter::bytes`] gave, if it can be that.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (words, rest) = bytes.as_chunks::<8>();
        let whole = rest.is_empty() && !words.is_empty() && words.len().is_multiple_of(WORDS);
        whole.then(|| Filter {
            words: words.iter().copied().map(u64::from_le_bytes).collect(),
        })
    }

    /// Its bits, for the next start.
    pub fn bytes(&self) -> Vec<u8> {
        self.words.iter().flat_map(|word| word.to_le_bytes()).collect()
    }

    /// Notes a key, given its hash.
    pub fn note(&mut self, hash: u64) {
        for (word, bit) in self.places(hash) {
            self.words[word] |= bit;
        }
    }

    /// Whether the key with this hash has certainly not been noted.
    pub fn is_absent(&self, hash: u64) -> bool {
        self.places(hash).any(|(word, bit)| self.words[word] & bit == 0)
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
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn hash(number: u64) -> u64 {
        use std::hash::{BuildHasher, BuildHasherDefault, DefaultHasher};
        BuildHasherDefault::<DefaultHasher>::default().hash_one(number)
    }

    #[test]
    fn no_key_that_was_noted_is_absent() {
        let mut filter = Filter::new(50_000);
        for number in 0..50_000 {
            assert!(number > 100 || filter.is_absent(hash(number + 100_000)));
            filter.note(hash(number));
        }
        let filter = Filter::from_bytes(&filter.bytes()).unwrap();
        assert!((0..50_000).all(|number| !filter.is_absent(hash(number))));
        let found = (50_000..150_000)
            .filter(|&number| filter.is_absent(hash(number)))
            .count();
        assert!(found > 96_000, "{found} of 100,000 absent keys are found out");
    }

    #[test]
    fn what_is_no_filter_is_none() {
        let bytes = Filter::new(1).bytes();
        assert!(Filter::from_bytes(&bytes).is_some());
        assert!(Filter::from_bytes(&bytes[1..]).is_none());
        assert!(Filter::from_bytes(&bytes[8..]).is_none());
        assert!(Filter::from_bytes(b"").is_none());
    }
}
