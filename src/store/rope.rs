//! Bytes in pieces, kept as they came.

use bytes::{Bytes, BytesMut};

/// Pieces below this many bytes are copied together.
const SMALL: usize = 16 << 10;

/// Bytes at which what was copied together becomes a piece.
const GATHERED: usize = 64 << 10;

/// Bytes in the order they came, without copying them, except small pieces: those would keep a whole receive buffer
/// alive each, and there could be very many.
#[derive(Debug, Default)]
pub struct Rope {
    pieces: Vec<Bytes>,
    /// Small pieces since the last large one, copied together.
    gathered: BytesMut,
    len: u64,
}

impl Rope {
    /// Length in bytes.
    pub fn len(&self) -> u64 {
        self.len
    }

    /// Whether there is nothing in it.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Adds to the end.
    pub fn push(&mut self, piece: Bytes) {
        self.len += piece.len() as u64;
        if piece.len() < SMALL {
            self.gathered.extend_from_slice(&piece);
            if self.gathered.len() >= GATHERED {
                self.close_gathered();
            }
        } else {
            self.close_gathered();
            self.pieces.push(piece);
        }
    }

    /// The pieces so far; none is empty.
    pub fn pieces(&mut self) -> &[Bytes] {
        self.close_gathered();
        &self.pieces
    }

    /// The pieces; none is empty.
    pub fn into_pieces(mut self) -> Vec<Bytes> {
        self.close_gathered();
        self.pieces
    }

    fn close_gathered(&mut self) {
        if !self.gathered.is_empty() {
            self.pieces.push(self.gathered.split().freeze());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_pieces_are_gathered_and_large_ones_kept() {
        let large = Bytes::from(vec![7; SMALL]);
        let mut rope = Rope::default();
        let mut expected = Vec::new();
        for piece in [&b""[..], b"a", b"b", &large, b"c", b""] {
            let piece = if piece.len() == SMALL {
                large.clone()
            } else {
                Bytes::copy_from_slice(piece)
            };
            expected.extend_from_slice(&piece);
            rope.push(piece);
        }
        assert_eq!(rope.len(), expected.len() as u64);
        let pieces = rope.into_pieces();
        assert_eq!(pieces.concat(), expected);
        assert_eq!(pieces.len(), 3);
        assert_eq!(pieces[1].as_ptr(), large.as_ptr(), "large pieces are not copied");
        assert!(Rope::default().is_empty());
    }

    #[test]
    fn a_body_in_single_bytes_is_few_pieces() {
        let mut rope = Rope::default();
        for n in 0..1_000_000u32 {
            rope.push(Bytes::copy_from_slice(&[n as u8]));
        }
        let pieces = rope.into_pieces();
        assert_eq!(pieces.len(), 1_000_000usize.div_ceil(GATHERED));
        assert!(
            pieces
                .concat()
                .iter()
                .enumerate()
                .all(|(n, &byte)| byte == n as u8)
        );
    }
}
