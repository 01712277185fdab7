//! Bodies that cost next to nothing to make and to check: a slice of one random block for each page, with a stamp in
//! front that no other page ever carries.
//!
//! A store that cuts bodies into chunks of at least a page finds a stamp in each of them, so bodies of different
//! identity share no chunk; the block is larger than a compressor's window at the usual levels, so it gains nothing
//! either. What was read back is compared with the same slices, without hashing.

use std::io::IoSlice;
use std::ops::Range;

use crate::draw::mix;

/// The unit of stamping in bytes.
pub const PAGE: usize = 4096;
/// Identity and page number.
const STAMP: usize = 16;
const BLOCK: usize = 16 << 20;

/// Which bytes a body has.
#[derive(Clone, Debug)]
pub struct Body {
    /// Length in bytes.
    pub size: u64,
    /// Bodies of the same identity and size are equal, of different identity share no page.
    pub identity: u64,
    /// Pages taken from a body of another identity instead.
    pub edit: Option<Edit>,
}

/// The part in which a body differs from the one it resembles.
#[derive(Clone, Debug)]
pub struct Edit {
    /// The identity of the new pages.
    pub identity: u64,
    /// The new pages.
    pub pages: Range<u64>,
}

impl Body {
    /// How many pages the body has, the last of them perhaps short.
    pub fn pages(&self) -> u64 {
        self.size.div_ceil(PAGE as u64)
    }

    fn identity_of(&self, page: u64) -> u64 {
        match &self.edit {
            Some(edit) if edit.pages.contains(&page) => edit.identity,
            _ => self.identity,
        }
    }

    fn page_len(&self, page: u64) -> usize {
        (self.size - page * PAGE as u64).min(PAGE as u64) as usize
    }
}

/// The random bytes that all bodies are made of.
#[derive(Debug)]
pub struct Source {
    seed: u64,
    block: Vec<u8>,
}

impl Source {
    /// Other seeds give other bytes; a run against a store that is kept takes a new one.
    pub fn new(seed: u64) -> Self {
        let words = 0..(BLOCK + PAGE) as u64 / 8;
        let block = words.flat_map(|word| mix(mix(seed) ^ word).to_le_bytes());
        Source {
            seed,
            block: block.collect(),
        }
    }

    fn stamp(&self, identity: u64, page: u64) -> [u8; STAMP] {
        let mut stamp = [0; STAMP];
        stamp[..8].copy_from_slice(&mix(self.seed ^ identity).to_le_bytes());
        stamp[8..].copy_from_slice(&page.to_le_bytes());
        stamp
    }

    /// What follows the stamp.
    fn filling(&self, identity: u64, page: u64, len: usize) -> &[u8] {
        let start = (mix(identity) as usize % BLOCK + page as usize * PAGE) % BLOCK;
        &self.block[start..start + len]
    }

    /// True if `bytes` are those of `body` from `offset` on.
    pub fn matches(&self, body: &Body, offset: u64, mut bytes: &[u8]) -> bool {
        if offset + bytes.len() as u64 > body.size {
            return false;
        }
        let mut page = offset / PAGE as u64;
        let mut skip = (offset % PAGE as u64) as usize;
        while !bytes.is_empty() {
            let (now, rest) = bytes.split_at(bytes.len().min(PAGE - skip));
            if !self.matches_in_page(body, page, skip, now) {
                return false;
            }
            (bytes, skip, page) = (rest, 0, page + 1);
        }
        true
    }

    fn matches_in_page(&self, body: &Body, page: u64, skip: usize, bytes: &[u8]) -> bool {
        let identity = body.identity_of(page);
        let (stamped, filled) = bytes.split_at(STAMP.saturating_sub(skip).min(bytes.len()));
        let stamp = self.stamp(identity, page);
        let filling = self.filling(identity, page, PAGE - STAMP);
        let start = (skip + stamped.len()).saturating_sub(STAMP);
        stamp[skip.min(STAMP)..].starts_with(stamped) && filling[start..].starts_with(filled)
    }
}

/// How many pages leave in one vectored write.
const BATCH: usize = 128;

/// Shows a request as slices to be written, without copying its body.
#[derive(Debug)]
pub struct Stamps([[u8; STAMP]; BATCH]);

impl Default for Stamps {
    fn default() -> Self {
        Stamps([[0; STAMP]; BATCH])
    }
}

impl Stamps {
    /// Calls `write` with what follows the first `sent` bytes of `head` and `body`, or with the beginning of that.
    pub fn write<T>(
        &mut self,
        source: &Source,
        body: &Body,
        head: &[u8],
        sent: u64,
        write: impl FnOnce(&[IoSlice<'_>]) -> T,
    ) -> T {
        let offset = sent.saturating_sub(head.len() as u64);
        let first = offset / PAGE as u64;
        let pages = first..body.pages().min(first + BATCH as u64);
        for (stamp, page) in self.0.iter_mut().zip(pages.clone()) {
            *stamp = source.stamp(body.identity_of(page), page);
        }
        let mut slices = [IoSlice::new(&[]); 1 + 2 * BATCH];
        slices[0] = IoSlice::new(&head[head.len().min(sent as usize)..]);
        let mut used = 1;
        let mut skip = (offset % PAGE as u64) as usize;
        for (stamp, page) in self.0.iter().zip(pages) {
            let len = body.page_len(page);
            let filling = source.filling(body.identity_of(page), page, len.saturating_sub(STAMP));
            slices[used] = IoSlice::new(&stamp[skip.min(STAMP).min(len)..len.min(STAMP)]);
            slices[used + 1] = IoSlice::new(&filling[skip.saturating_sub(STAMP)..]);
            used += 2;
            skip = 0;
        }
        write(&slices[..used])
    }
}
