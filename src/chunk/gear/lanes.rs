//! The search with what every processor has: a few stretches at once.

use super::Gear;

const LANES: usize = 4;

/// Bytes of a stretch. The stretches of a match are searched a second time, so they are short beside a chunk.
const STRETCH: usize = 1 << 10;

impl Gear {
    /// As [`Gear::find`].
    pub(super) fn find_in_lanes(&self, hash: &mut u64, bytes: &[u8], mask: u64) -> Option<usize> {
        let (stretches, _) = bytes.as_chunks::<STRETCH>();
        let (blocks, _) = stretches.as_chunks::<LANES>();
        for (index, block) in blocks.iter().enumerate() {
            match self.without_match(*hash, block, mask) {
                Some(after) => *hash = after,
                None => {
                    // In one of them, and perhaps in one before it too: which is the first?
                    let at = index * LANES * STRETCH;
                    return self
                        .find_in_order(hash, block.as_flattened(), mask)
                        .map(|found| at + found);
                }
            }
        }
        let at = blocks.len() * LANES * STRETCH;
        let found = self.find_in_order(hash, &bytes[at..], mask)?;
        Some(at + found)
    }

    /// The hash after the block, unless there is a match in it.
    fn without_match(&self, hash: u64, block: &[[u8; STRETCH]; LANES], mask: u64) -> Option<u64> {
        let mut hashes = [hash; LANES];
        for (hash, before) in hashes.iter_mut().skip(1).zip(block) {
            *hash = self.after(0, before);
        }
        for at in 0..STRETCH {
            for (hash, stretch) in hashes.iter_mut().zip(block) {
                *hash = self.roll(*hash, stretch[at]);
                if *hash & mask == 0 {
                    return None;
                }
            }
        }
        hashes.last().copied()
    }
}
