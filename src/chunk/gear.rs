//! The gear hash, and the search for the place where some bits of it are zero.
//!
//! Each byte shifts the hash to the left by one and adds a number of its own. So a hash is known from the last 64 bytes
//! alone, and stretches of a body can be searched side by side, each warmed up over the bytes before it: one hash after
//! the other, the processor would wait for each. FastCDC takes two bytes at a time, with a table and masks shifted by
//! one for the first; that comes to the same hashes and tests, since no mask has the highest bit.

mod lanes;
#[cfg(target_arch = "x86_64")]
mod vectors;

use std::sync::LazyLock;

use fastcdc::v2020;

/// Bytes that a hash depends on.
const REACH: usize = 64;

/// The numbers of the bytes, and how to search.
pub(super) struct Gear {
    table: [u64; 256],
    #[cfg(target_arch = "x86_64")]
    vectors: Option<vectors::Planes>,
}

static GEAR: LazyLock<Gear> = LazyLock::new(|| {
    let table = table();
    Gear {
        #[cfg(target_arch = "x86_64")]
        vectors: vectors::Planes::where_supported(&table),
        table,
    }
});

fn table() -> [u64; 256] {
    let (plain, _) = v2020::get_gear_with_seed(0);
    // As an array: a byte as the index then needs no bounds check.
    std::array::from_fn(|byte| plain[byte])
}

impl Gear {
    /// FastCDC's, with seed 0.
    pub fn get() -> &'static Gear {
        &GEAR
    }

    /// Rolls `hash` over `bytes` until it has none of the bits of `mask`: the index of the byte that did it. `None`:
    /// it is that of all the bytes.
    pub fn find(&self, hash: &mut u64, bytes: &[u8], mask: u64) -> Option<usize> {
        #[cfg(target_arch = "x86_64")]
        if let Some(planes) = &self.vectors
            && vectors::pays(bytes.len(), mask)
        {
            return self.find_with_vectors(planes, hash, bytes, mask);
        }
        self.find_in_lanes(hash, bytes, mask)
    }

    fn roll(&self, hash: u64, byte: u8) -> u64 {
        (hash << 1).wrapping_add(self.table[usize::from(byte)])
    }

    fn find_in_order(&self, hash: &mut u64, bytes: &[u8], mask: u64) -> Option<usize> {
        let mut rolling = *hash;
        for (at, &byte) in bytes.iter().enumerate() {
            rolling = self.roll(rolling, byte);
            if rolling & mask == 0 {
                return Some(at);
            }
        }
        *hash = rolling;
        None
    }

    /// The hash after all of `bytes`, when it was `hash` before.
    fn after(&self, hash: u64, bytes: &[u8]) -> u64 {
        match bytes.last_chunk::<REACH>() {
            Some(reach) => self.of_reach(reach),
            None => bytes.iter().fold(hash, |hash, &byte| self.roll(hash, byte)),
        }
    }

    /// The hash after these bytes, whatever came before. In quarters, which do not wait for each other.
    fn of_reach(&self, bytes: &[u8; REACH]) -> u64 {
        const QUARTER: usize = REACH / 4;
        let mut quarters = [0; 4];
        for at in 0..QUARTER {
            for (index, quarter) in quarters.iter_mut().enumerate() {
                *quarter = self.roll(*quarter, bytes[QUARTER * index + at]);
            }
        }
        quarters
            .iter()
            .fold(0, |hash: u64, quarter| (hash << QUARTER).wrapping_add(*quarter))
    }
}

#[cfg(test)]
mod tests;
