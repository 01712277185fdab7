//! When something was last used, for eviction and for rules about downloads: noted in memory on the read path.
//!
//! Neither memory nor time grows with what is stored. The table is a blocked Bloom filter whose bits are times: an id
//! picks one cache line and in it [`PROBES`] of 16 slots, a use writes the time into each of them, and the last use is
//! the oldest of them. Others may have written there since, so an answer can be **too young and never too old**:
//! nothing that was used is taken for unused, and a little of what is unused passes for used. How much depends on how
//! many different ids were used in the time that is asked about (a download uses two: its file and its version), next
//! to the slots, of which the default 8 MiB have two million. A sixteenth of them, 131,072 ids: of what is idle 2 %
//! looks used; an eighth: 7 %; a quarter: 20 %; as many as there are slots: 86 %
//! (`idle_entries_rarely_look_used` measures it). Beyond that eviction still removes only what is idle, but finds less
//! of it; a larger table helps.
//!
//! A use costs a read of the clock and a few loads in one line, and stores only where the second has changed, so that
//! readers of one file do not fight over it. There is no lock and no allocation.

mod saved;

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use crate::store::model::{Id, Millis};

/// Slots of a cache line.
const SLOTS: usize = 16;
/// Slots that a use writes.
const PROBES: usize = 3;
/// Bytes of a line.
const LINE: u64 = 64;

/// Times in seconds since the epoch; 0: never.
#[derive(Debug, Default)]
#[repr(align(64))]
struct Line([AtomicU32; SLOTS]);

/// The table. Its memory is fixed when it is made.
#[derive(Debug)]
pub struct LastUses {
    lines: Box<[Line]>,
    /// Something was noted since it was last saved.
    changed: AtomicBool,
}

impl LastUses {
    /// An empty table of about `bytes`, one line at least.
    pub fn new(bytes: u64) -> Self {
        let lines = usize::try_from(bytes / LINE).unwrap_or(usize::MAX).max(1);
        LastUses {
            lines: (0..lines).map(|_| Line::default()).collect(),
            changed: AtomicBool::new(false),
        }
    }

    /// Notes that these are used now.
    pub fn note(&self, used: [Id; 2]) {
        let now = now();
        for id in used {
            self.note_at(id, now);
        }
    }

    fn note_at(&self, id: Id, second: u32) {
        let (line, slots) = self.place(id);
        for slot in slots {
            // Two that note at once may leave the older of two neighbouring seconds.
            if line.0[slot].load(Ordering::Relaxed) < second {
                line.0[slot].store(second, Ordering::Relaxed);
                if !self.changed.load(Ordering::Relaxed) {
                    self.changed.store(true, Ordering::Relaxed);
                }
            }
        }
    }

    /// When it was last used, to the second: never too old, perhaps too young. `None`: not since the table began.
    pub fn last(&self, id: Id) -> Option<Millis> {
        let (line, slots) = self.place(id);
        let oldest = slots
            .iter()
            .map(|slot| line.0[*slot].load(Ordering::Relaxed))
            .min();
        oldest
            .filter(|second| *second > 0)
            .map(|second| Millis::from(second) * 1000)
    }

    fn place(&self, id: Id) -> (&Line, [usize; PROBES]) {
        let hash = mix(id);
        let line = ((hash >> 32) * self.lines.len() as u64) >> 32;
        let (first, step) = (hash as usize % SLOTS, (hash as usize / SLOTS % SLOTS) | 1);
        // An odd step never meets itself within 16 slots.
        let slots = std::array::from_fn(|probe| (first + probe * step) % SLOTS);
        (&self.lines[line as usize], slots)
    }
}

/// SplitMix64's finish: every bit of the id reaches every bit of the hash.
fn mix(id: Id) -> u64 {
    let mixed = id.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

fn now() -> u32 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| u32::try_from(since.as_secs()).unwrap_or(u32::MAX))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Whatever else is used: what was used is never taken for older than that.
        #[test]
        fn no_use_is_forgotten(uses in prop::collection::vec((0_u64..300, 1_u32..1000), 0..500)) {
            let uses_of = LastUses::new(1024);
            let mut last = std::collections::HashMap::new();
            for (id, second) in uses {
                uses_of.note_at(id, second);
                let latest = last.entry(id).or_insert(second);
                *latest = second.max(*latest);
            }
            for (id, second) in last {
                prop_assert!(uses_of.last(id) >= Some(Millis::from(second) * 1000));
            }
        }
    }

    /// The figures of the module's text, for the default size.
    #[test]
    fn idle_entries_rarely_look_used() {
        let measured = |part: u64| {
            let table = LastUses::new(8 << 20);
            // Ids are numbers in a row, and what is used of them is spread.
            (0..(2 << 20) / part).for_each(|id| table.note_at(id * 7, 100));
            let idle = (0..100_000).filter(|id| table.last(id * 7 + 1).is_some());
            idle.count() as f64 / 100_000.0
        };
        for (part, expected) in [(16, 0.02), (8, 0.07), (4, 0.20), (1, 0.86)] {
            let found = measured(part);
            eprintln!("1/{part} of the slots: {found:.3} of what is idle look used");
            assert!(
                (found - expected).abs() < 0.1 * expected + 0.005,
                "1/{part}: {found}"
            );
        }
    }

    #[test]
    fn a_use_now_is_a_use_now() {
        let table = LastUses::new(0);
        assert_eq!(table.last(5), None);
        let before = Millis::from(now()) * 1000;
        table.note([5, 6]);
        assert!(table.last(5) >= Some(before) && table.last(6) >= Some(before));
    }
}
