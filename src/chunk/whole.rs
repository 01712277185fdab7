//! The digest of a whole body, without hashing again what is known.
//!
//! blake3 is a tree. Its subtrees over aligned spans of 1 MiB have values of their own, from which the root follows.
//! Whoever has found bytes to be those of a body it knows, at the same place, can give the values that the spans had
//! there: [`WholeHasher::known`].

use blake3::hazmat::{ChainingValue, Mode, merge_subtrees_non_root, merge_subtrees_root};
use bytes::Bytes;

use super::{Digest, Hasher};

/// Bytes of a span. A power of two.
const SPAN: u64 = 1 << 20;

/// The value of the subtree over a whole span.
pub type Span = ChainingValue;

/// Over a body, from its beginning. Holds at most one span of it in memory, and 32 bytes for each span before.
#[derive(Debug, Default)]
pub struct WholeHasher {
    /// Over what has been hashed of the current span.
    hasher: Hasher,
    /// Bytes of the current span, in all.
    len: u64,
    /// Known bytes that the current span began with, not hashed, and its value if nothing else comes in it.
    known: Vec<Bytes>,
    value: Option<Span>,
    /// The spans before.
    spans: Vec<Span>,
}

impl WholeHasher {
    /// The next bytes of the body.
    pub fn update(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            self.begin_span_if_full();
            self.hash_known();
            let (now, rest) = bytes.split_at(self.room(bytes.len()));
            self.hasher.update(now);
            self.len += now.len() as u64;
            bytes = rest;
        }
    }

    /// The next bytes of the body, of a body that has the same bytes at the same place. `spans` are the values of all
    /// its whole spans.
    pub fn known(&mut self, mut bytes: Bytes, spans: &[Span]) {
        while !bytes.is_empty() {
            self.begin_span_if_full();
            let now = bytes.split_to(self.room(bytes.len()));
            let value = spans.get(self.spans.len());
            let unbroken = self.len == 0 || self.value.is_some();
            self.len += now.len() as u64;
            match value {
                Some(value) if unbroken => {
                    self.value = Some(*value);
                    self.known.push(now);
                }
                _ => {
                    self.hash_known();
                    self.hasher.update(&now);
                }
            }
        }
    }

    /// The digest, and the values of the whole spans of the body.
    pub fn finish(mut self) -> (Digest, Vec<Span>) {
        if self.spans.is_empty() {
            self.hash_known();
            return (self.hasher.finish(), Vec::new());
        }
        let whole = self.spans.len() + usize::from(self.len == SPAN);
        self.end_span();
        let middle = left_spans(self.spans.len());
        let (left, right) = (merged(&self.spans[..middle]), merged(&self.spans[middle..]));
        let root = merge_subtrees_root(&left, &right, Mode::Hash);
        self.spans.truncate(whole);
        (root.into(), self.spans)
    }

    /// How many of `len` bytes the current span takes.
    fn room(&self, len: usize) -> usize {
        (SPAN - self.len).min(len as u64) as usize
    }

    /// Not before there are more bytes: the last span may be the root.
    fn begin_span_if_full(&mut self) {
        if self.len == SPAN {
            self.end_span();
        }
    }

    fn end_span(&mut self) {
        let value = match self.value {
            Some(value) if self.len == SPAN => value,
            _ => {
                self.hash_known();
                self.hasher.finish_subtree()
            }
        };
        self.spans.push(value);
        self.known.clear();
        self.value = None;
        self.len = 0;
        self.hasher.begin_subtree(self.spans.len() as u64 * SPAN);
    }

    /// What else is in the span is not known: its known bytes must be hashed after all.
    fn hash_known(&mut self) {
        self.value = None;
        for bytes in self.known.drain(..) {
            self.hasher.update(&bytes);
        }
    }
}

/// The value of the subtree over these spans, of which there is at least one.
fn merged(spans: &[Span]) -> Span {
    match spans {
        [] => Span::default(),
        [span] => *span,
        _ => {
            let (left, right) = spans.split_at(left_spans(spans.len()));
            merge_subtrees_non_root(&merged(left), &merged(right), Mode::Hash)
        }
    }
}

/// The left subtree has the largest power of two that leaves something for the right one.
fn left_spans(count: usize) -> usize {
    count.div_ceil(2).next_power_of_two().max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn noise(len: usize) -> Bytes {
        let mut bytes = vec![0; len];
        blake3::Hasher::new().finalize_xof().fill(&mut bytes);
        bytes.into()
    }

    const LENGTHS: [usize; 9] = [
        0,
        1,
        (1 << 20) - 1,
        1 << 20,
        (1 << 20) + 1,
        2 << 20,
        (2 << 20) + 1,
        (5 << 20) + 12_345,
        8 << 20,
    ];

    fn spans_of(body: &[u8]) -> Vec<Span> {
        let mut hasher = WholeHasher::default();
        hasher.update(body);
        hasher.finish().1
    }

    #[test]
    fn it_is_the_digest_whatever_the_pieces() {
        let all = noise(8 << 20);
        for len in LENGTHS {
            let body = &all[..len];
            for piece in [1 << 16, 999_999, 9 << 20] {
                let mut hasher = WholeHasher::default();
                body.chunks(piece).for_each(|piece| hasher.update(piece));
                let (digest, spans) = hasher.finish();
                assert_eq!(digest, Digest::of(body), "{len} in pieces of {piece}");
                assert_eq!(spans.len(), if len > 1 << 20 { len >> 20 } else { 0 });
            }
        }
    }

    #[test]
    fn known_bytes_count_wherever_they_end() {
        let all = noise(8 << 20);
        let mut other = all.to_vec();
        other[(3 << 20) + 77] ^= 1;
        let spans = spans_of(&other);
        for len in LENGTHS {
            for (from, to) in [(0, len), (0, len / 2), (len / 3, len), (len / 3, 2 * len / 3)] {
                let mut body = other[..len].to_vec();
                // Differs from the known body outside of the known part.
                body[..from].iter_mut().for_each(|byte| *byte ^= 0x55);
                body[to..].iter_mut().for_each(|byte| *byte ^= 0x55);
                let body = Bytes::from(body);
                let mut hasher = WholeHasher::default();
                hasher.update(&body[..from]);
                for at in (from..to).step_by(300_000) {
                    hasher.known(body.slice(at..to.min(at + 300_000)), &spans);
                }
                hasher.update(&body[to..]);
                assert_eq!(hasher.finish().0, Digest::of(&body), "{from}..{to} of {len}");
            }
        }
    }

    #[test]
    fn known_spans_are_not_hashed() {
        let body = noise(4 << 20);
        let mut spans = spans_of(&body);
        spans[1] = [7; 32];
        let mut hasher = WholeHasher::default();
        hasher.known(body.clone(), &spans);
        assert_ne!(
            hasher.finish().0,
            Digest::of(&body),
            "the value given for the span is what counts"
        );
    }
}
