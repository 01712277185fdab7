//! The write barrier: what publications refer to while a pass of collection runs.
//!
//! The mark sees the index as it is while it scans. Whatever a publication relies on that is committed after the
//! pass began is noted here by the committer, before it is in the index, and is not dropped in this pass.

use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::mark::fingerprint;
use crate::chunk::Digest;

/// Digests that are noted at most, about 32 MiB of memory; beyond it the pass drops nothing more.
const CAPACITY: usize = 2 << 20;

/// Chunks and manifests that may not be dropped for now.
#[derive(Debug, Default)]
pub struct Barrier {
    raised: AtomicBool,
    noted: Mutex<Noted>,
}

#[derive(Debug, Default)]
struct Noted {
    fingerprints: HashSet<u64>,
    overflow: bool,
}

impl Barrier {
    /// From now on digests are noted. The committer may be in a group that began before: a fence behind this call
    /// says when it no longer is.
    pub fn raise(&self) {
        *self.lock() = Noted::default();
        self.raised.store(true, Ordering::SeqCst);
    }

    /// Nothing is noted any more, and nothing may be dropped.
    pub fn lower(&self) {
        self.raised.store(false, Ordering::SeqCst);
        *self.lock() = Noted::default();
    }

    /// A publication that is being committed relies on these.
    pub fn note<'a>(&self, digests: impl IntoIterator<Item = &'a Digest>) {
        if !self.raised.load(Ordering::SeqCst) {
            return;
        }
        let mut noted = self.lock();
        for digest in digests {
            if noted.fingerprints.len() >= CAPACITY {
                noted.overflow = true;
                return;
            }
            noted.fingerprints.insert(fingerprint(digest));
        }
    }

    /// Whether a digest may not be dropped. Without a barrier nothing may.
    pub fn holds(&self, digest: &Digest) -> bool {
        if !self.raised.load(Ordering::SeqCst) {
            return true;
        }
        let noted = self.lock();
        noted.overflow || noted.fingerprints.contains(&fingerprint(digest))
    }

    fn lock(&self) -> MutexGuard<'_, Noted> {
        self.noted.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_was_noted_behind_it_is_held() {
        let barrier = Barrier::default();
        let [early, late, other] = [b"early", b"later", b"other"].map(|text| Digest::of(text));
        assert!(barrier.holds(&other), "without a barrier nothing may be dropped");
        barrier.note([&early]);
        barrier.raise();
        barrier.note([&late]);
        assert!(barrier.holds(&late));
        assert!(!barrier.holds(&early) && !barrier.holds(&other));
        barrier.lower();
        barrier.raise();
        assert!(!barrier.holds(&late), "each pass begins anew");
    }

    #[test]
    fn what_is_too_much_to_note_is_all_held() {
        let barrier = Barrier::default();
        barrier.raise();
        barrier.lock().fingerprints = (0..CAPACITY as u64).collect();
        barrier.note([&Digest::of(b"one too many")]);
        assert!(barrier.holds(&Digest::of(b"never noted")));
    }
}
