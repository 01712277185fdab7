//! The mark: which chunks and manifests something still leads to, as sorted fingerprints within bounded memory.

use std::ops::RangeInclusive;

use crate::chunk::Digest;

/// Fingerprints that are held at most: 64 MiB.
pub const MAX_MARKS: usize = 8 << 20;

/// The first bytes of a digest as a number, so that fingerprints sort as the index's keys do. Two digests that share
/// one only keep each other alive.
pub fn fingerprint(digest: &Digest) -> u64 {
    let [a, b, c, d, e, f, g, h, ..] = *digest.as_bytes();
    u64::from_be_bytes([a, b, c, d, e, f, g, h])
}

/// Marks within a range of fingerprints. When they become too many the range shrinks: the rest is for another round.
#[derive(Debug)]
pub struct Marks {
    range: RangeInclusive<u64>,
    marks: Vec<u64>,
    most: usize,
}

impl Marks {
    /// No marks yet, from the fingerprint `from` upwards; holds at most `most`.
    pub fn from(from: u64, most: usize) -> Self {
        Marks {
            range: from..=u64::MAX,
            marks: Vec::new(),
            most: most.max(2),
        }
    }

    /// The range that the marks speak for.
    pub fn range(&self) -> RangeInclusive<u64> {
        self.range.clone()
    }

    /// Marks a digest, if it is in the range.
    pub fn mark(&mut self, digest: &Digest) {
        let mark = fingerprint(digest);
        if !self.range.contains(&mark) {
            return;
        }
        if self.marks.len() >= self.most {
            self.make_room();
            if !self.range.contains(&mark) {
                return;
            }
        }
        // Doubling would overshoot the bound.
        if self.marks.len() == self.marks.capacity() {
            let more = self.marks.len().max(1024);
            self.marks.reserve_exact(more.min(self.most - self.marks.len()));
        }
        self.marks.push(mark);
    }

    /// Equal marks become one; when that is not enough, the upper half of the range is given up.
    fn make_room(&mut self) {
        self.marks.sort_unstable();
        self.marks.dedup();
        if self.marks.len() > self.most / 2 {
            let last = self.marks[self.most / 2 - 1];
            self.range = *self.range.start()..=last;
            self.marks.truncate(self.most / 2);
        }
    }

    /// No more marks come: they can be asked for.
    pub fn finish(mut self) -> Marked {
        self.marks.sort_unstable();
        self.marks.dedup();
        Marked {
            range: self.range,
            marks: self.marks,
        }
    }
}

/// Complete marks within a range.
#[derive(Debug)]
pub struct Marked {
    range: RangeInclusive<u64>,
    marks: Vec<u64>,
}

impl Marked {
    /// The range that the marks speak for.
    pub fn range(&self) -> RangeInclusive<u64> {
        self.range.clone()
    }

    /// How many different ones there are.
    pub fn count(&self) -> usize {
        self.marks.len()
    }

    /// Whether a digest of the range is marked.
    pub fn has(&self, digest: &Digest) -> bool {
        self.marks.binary_search(&fingerprint(digest)).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn digest(n: u64) -> Digest {
        let mut bytes = [7; 32];
        bytes[..8].copy_from_slice(&n.to_be_bytes());
        bytes.into()
    }

    /// Rounds over the same roots until the whole range has been spoken for, as a pass does.
    fn rounds(roots: &[u64], most: usize) -> (usize, Vec<u64>) {
        let (mut from, mut rounds, mut marked) = (0, 0, Vec::new());
        loop {
            let mut marks = Marks::from(from, most);
            for root in roots {
                marks.mark(&digest(*root));
                assert!(marks.marks.len() <= most && marks.marks.capacity() <= most.max(1024));
            }
            let found = marks.finish();
            marked.extend(&found.marks);
            rounds += 1;
            let end = *found.range().end();
            match end.checked_add(1) {
                Some(next) => from = next,
                None => return (rounds, marked),
            }
        }
    }

    #[test]
    fn rounds_cover_everything_once_and_within_the_bound() {
        let mut seed = 1_u64;
        let mut roots: Vec<u64> = (0..5000)
            .map(|_| {
                seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                // A few values come often.
                if seed & (1 << 40) == 0 {
                    seed
                } else {
                    seed >> 56 << 50
                }
            })
            .collect();
        roots.extend([0, u64::MAX]);
        let mut expected = roots.clone();
        expected.sort_unstable();
        expected.dedup();
        for most in [64, 1000, 100_000] {
            let (count, marked) = rounds(&roots, most);
            assert_eq!(marked, expected, "at most {most}");
            assert_eq!(count == 1, most == 100_000, "{count} rounds at most {most}");
        }
    }

    #[test]
    fn fingerprints_sort_as_digests() {
        let mut digests: Vec<Digest> = (0..100_u8).map(|n| Digest::of(&[n])).collect();
        digests.sort_unstable_by_key(|digest| *digest.as_bytes());
        assert!(digests.is_sorted_by_key(fingerprint));
    }
}
