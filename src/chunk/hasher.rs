//! The digest of bytes that come in pieces, at the price of one piece.
//!
//! blake3 is fastest where sixteen of its blocks of 1 KiB lie in a row. What a piece has before the first multiple of
//! sixteen, counted from the beginning, and behind the last one is hashed in ever smaller groups, each of which takes
//! about as long as sixteen: in pieces of 128 KiB a body costs a third more than whole, in pieces of 16 KiB four times as
//! much. So the end of a piece waits for the beginning of the next, and both are copied together.

use blake3::hazmat::{ChainingValue, HasherExt};

use super::Digest;

/// Bytes that are hashed side by side. A power of two, and so is what blake3 makes of a row of them.
const ROW: usize = 16 << 10;

/// Over bytes that come in pieces.
#[derive(Debug, Default)]
pub struct Hasher {
    /// Over whole rows.
    rows: blake3::Hasher,
    /// What has come of the next row; never all of it, and no memory before there is anything.
    row: Vec<u8>,
}

impl Hasher {
    /// The next bytes.
    pub fn update(&mut self, mut bytes: &[u8]) {
        if !self.row.is_empty() {
            let (missing, rest) = bytes.split_at(bytes.len().min(ROW - self.row.len()));
            self.row.extend_from_slice(missing);
            if self.row.len() < ROW {
                return;
            }
            self.rows.update(&self.row);
            self.row.clear();
            bytes = rest;
        }
        let (rows, begun) = bytes.split_at(bytes.len() - bytes.len() % ROW);
        self.rows.update(rows);
        if !begun.is_empty() {
            self.row.reserve_exact(ROW);
            self.row.extend_from_slice(begun);
        }
    }

    /// The digest of all of them; the next bytes begin anew.
    pub fn finish(&mut self) -> Digest {
        let digest = self.complete().finalize().into();
        self.reset();
        digest
    }

    /// The value of the subtree over all of them, of which there are some.
    pub(super) fn finish_subtree(&mut self) -> ChainingValue {
        self.complete().finalize_non_root()
    }

    /// Begins anew with a subtree of a body that begins there in it.
    pub(super) fn begin_subtree(&mut self, offset: u64) {
        self.row.clear();
        // A reset keeps the offset, and takes no other then.
        self.rows = blake3::Hasher::new();
        self.rows.set_input_offset(offset);
    }

    /// Forgets all of them.
    pub fn reset(&mut self) {
        self.rows.reset();
        self.row.clear();
    }

    fn complete(&mut self) -> &blake3::Hasher {
        self.rows.update(&self.row);
        self.row.clear();
        &self.rows
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::noise;
    use super::*;

    #[test]
    fn it_is_the_digest_however_the_bytes_come() {
        let bytes = noise(5 * ROW + 777, 1);
        let mut hasher = Hasher::default();
        for len in [0, 1, ROW - 1, ROW, ROW + 1, 2 * ROW, 3 * ROW + 5, bytes.len()] {
            let bytes = &bytes[..len];
            for piece in [
                1000,
                1024,
                ROW - 1,
                ROW,
                ROW + 1,
                2 * ROW,
                2 * ROW + 3,
                bytes.len().max(1),
            ] {
                bytes.chunks(piece).for_each(|piece| hasher.update(piece));
                assert_eq!(hasher.finish(), Digest::of(bytes), "{len} in pieces of {piece}");
            }
            hasher.update(bytes);
            hasher.update(b"and more");
            hasher.reset();
        }
    }
}
