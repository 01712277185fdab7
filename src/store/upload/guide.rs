//! Bodies that were taken in before, as guides to bodies that begin like them.
//!
//! A body is cut where its content says, and finding that out is the dearest step of a large upload. Where a body has
//! had the same bytes as one before, it is cut where that one was: nothing is searched, and of the digest of the whole
//! nothing but the spans that differ is computed. Each chunk is hashed all the same, and that decides; a guide that
//! leads nowhere costs one chunk that is looked at twice.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use crate::chunk::{Digest, Span};
use crate::store::model::ChunkRef;

/// Memory for guides, in bytes.
const CAPACITY: usize = 8 << 20;
/// Chunks ahead in which a body that has left its guide is looked for.
const AHEAD: usize = 64;

/// How a body was cut.
#[derive(Debug)]
pub struct Guide {
    chunks: Vec<ChunkRef>,
    /// Values of its whole spans.
    spans: Vec<Span>,
}

/// The guides to recent bodies, found by their first chunk, in bounded memory.
#[derive(Debug, Default)]
pub struct Guides(Mutex<Generations>);

/// The older one is dropped whole when the younger one is full.
#[derive(Debug, Default)]
struct Generations {
    young: HashMap<Digest, Arc<Guide>>,
    young_bytes: usize,
    old: HashMap<Digest, Arc<Guide>>,
}

impl Guides {
    /// Remembers a body of several chunks.
    pub fn remember(&self, chunks: Vec<ChunkRef>, spans: Vec<Span>) {
        let bytes = 256 + chunks.len() * size_of::<ChunkRef>() + spans.len() * size_of::<Span>();
        let (Some(first), true) = (chunks.first(), bytes <= CAPACITY / 2) else {
            return;
        };
        let first = first.digest;
        let mut generations = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if generations.young_bytes + bytes > CAPACITY / 2 {
            generations.old = std::mem::take(&mut generations.young);
            generations.young_bytes = 0;
        }
        generations.young_bytes += bytes;
        generations.young.insert(first, Arc::new(Guide { chunks, spans }));
    }

    /// The guide to a body that begins with this chunk.
    fn find(&self, first: &Digest) -> Option<Arc<Guide>> {
        let generations = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let found = generations
            .young
            .get(first)
            .or_else(|| generations.old.get(first));
        found.cloned()
    }
}

/// A body on its way along a guide, or beside it.
#[derive(Debug, Default)]
pub struct Following {
    guide: Option<Arc<Guide>>,
    /// The guide's chunk that is expected next, where the body is on its way.
    next: usize,
    /// Where that begins in the guide's body.
    offset: u64,
    /// The last chunk was not the one expected.
    lost: bool,
}

impl Following {
    /// The chunk that is expected next, if any is. Never the guide's last one: it ends where that body did, not where
    /// its content says, and a body that goes on there is not to be cut for it.
    pub fn expected(&self) -> Option<ChunkRef> {
        let (_, inner) = self.guide.as_ref()?.chunks.split_last()?;
        inner.get(self.next).copied().filter(|_| !self.lost)
    }

    /// The values of the spans of the guide's body, if the expected chunk begins at `offset` in both bodies.
    pub fn spans_at(&self, offset: u64) -> &[Span] {
        match &self.guide {
            Some(guide) if self.offset == offset => &guide.spans,
            _ => &[],
        }
    }

    /// The expected chunk has come.
    pub fn advance(&mut self) {
        if let Some(expected) = self.expected() {
            self.offset += u64::from(expected.len);
            self.next += 1;
        }
    }

    /// Something else has come.
    pub fn lose(&mut self) {
        self.lost = true;
    }

    /// A chunk that was found by its content has come: perhaps the guide goes on from there.
    pub fn found(&mut self, chunk: &ChunkRef, is_first: bool, guides: &Guides) {
        if is_first {
            self.guide = guides.find(&chunk.digest);
        }
        let Some(guide) = &self.guide else { return };
        let mut offset = self.offset;
        for (index, known) in guide.chunks.iter().enumerate().skip(self.next).take(AHEAD) {
            offset += u64::from(known.len);
            if known == chunk {
                *self = Following {
                    guide: self.guide.take(),
                    next: index + 1,
                    offset,
                    lost: false,
                };
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chunk(number: u32) -> ChunkRef {
        ChunkRef {
            digest: Digest::of(&number.to_le_bytes()),
            len: 100 + number,
        }
    }

    fn chunks(numbers: std::ops::Range<u32>) -> Vec<ChunkRef> {
        numbers.map(chunk).collect()
    }

    #[test]
    fn a_body_is_followed_lost_and_found_again() {
        let guides = Guides::default();
        guides.remember(chunks(0..10), vec![[1; 32]]);
        let mut following = Following::default();
        assert_eq!(following.expected(), None);
        following.found(&chunk(0), true, &guides);
        assert_eq!(following.expected(), Some(chunk(1)));
        following.advance();
        assert_eq!(following.expected(), Some(chunk(2)));
        assert_eq!(following.spans_at(201).len(), 1);
        assert!(following.spans_at(200).is_empty(), "elsewhere in the body");
        following.lose();
        assert_eq!(following.expected(), None);
        following.found(&chunk(77), false, &guides);
        assert_eq!(following.expected(), None);
        following.found(&chunk(4), false, &guides);
        assert_eq!(following.expected(), Some(chunk(5)));
        assert_eq!(following.spans_at(100 + 101 + 102 + 103 + 104).len(), 1);
        (5..8).for_each(|_| following.advance());
        assert_eq!(following.expected(), Some(chunk(8)));
        following.advance();
        assert_eq!(following.expected(), None, "the last chunk is searched for");
    }

    #[test]
    fn a_body_that_begins_otherwise_has_no_guide() {
        let guides = Guides::default();
        guides.remember(chunks(0..10), Vec::new());
        let mut following = Following::default();
        following.found(&chunk(1), true, &guides);
        following.found(&chunk(2), false, &guides);
        assert_eq!(following.expected(), None);
    }

    #[test]
    fn memory_is_bounded_and_the_recent_remembered() {
        let guides = Guides::default();
        for first in 0..1000 {
            guides.remember(chunks(first..first + 1000), Vec::new());
            assert!(guides.find(&chunk(first).digest).is_some());
        }
        let known = (0..1000)
            .filter(|&first| guides.find(&chunk(first).digest).is_some())
            .count();
        assert!(known * 1000 * size_of::<ChunkRef>() <= CAPACITY, "{known}");
        guides.remember(chunks(5000..200_000), Vec::new());
        assert!(
            guides.find(&chunk(5000).digest).is_none(),
            "too long to be remembered"
        );
    }
}
