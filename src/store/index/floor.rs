//! Where the rows of a prefix begin, once many before them are gone.
//!
//! What is removed bit by bit, from the beginning on, is looked for from the beginning on, and a removed row is passed
//! like any other until runs are merged: without this the steps of a sweep would take longer and longer.

use super::keys::Key;

/// Passing fewer removed rows is not worth remembering. Few for tests, so that they meet floors often.
pub const WORTHWHILE: usize = if cfg!(test) { 3 } else { 64 };
/// Prefixes that are remembered.
const MOST: usize = 4;

/// The prefixes of which something is known.
#[derive(Debug, Default)]
pub struct Floors {
    /// Prefix and first key that may have a value; what was learnt last comes last.
    known: Vec<(Key, Key)>,
    /// Values written so far.
    writes: u64,
}

/// Keeps a scan from remembering what was written behind its back.
#[derive(Clone, Copy, Debug)]
pub struct Stamp(u64);

impl Floors {
    /// The first key with this prefix that may have a value, as far as is known, and what goes to [`Floors::learn`].
    pub fn of(&self, prefix: &[u8]) -> (Option<&Key>, Stamp) {
        let known = self.known.iter().find(|(known, _)| known == prefix);
        (known.map(|(_, floor)| floor), Stamp(self.writes))
    }

    /// A scan of a prefix has found no value before the key `floor`, and passed [`WORTHWHILE`] removed rows or more.
    pub fn learn(&mut self, prefix: &[u8], floor: Key, Stamp(writes): Stamp) {
        if writes != self.writes {
            return;
        }
        self.known.retain(|(known, _)| known != prefix);
        if self.known.len() == MOST {
            self.known.remove(0);
        }
        self.known.push((prefix.to_vec(), floor));
    }

    /// A value is written.
    pub fn written(&mut self, key: &[u8]) {
        self.writes += 1;
        if !self.known.is_empty() {
            self.known
                .retain(|(prefix, floor)| !key.starts_with(prefix) || key >= floor.as_slice());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(floors: &Floors, prefix: &[u8]) -> Option<Key> {
        floors.of(prefix).0.cloned()
    }

    #[test]
    fn a_floor_stands_until_something_is_written_below_it() {
        let mut floors = Floors::default();
        let (_, stamp) = floors.of(b"f1");
        floors.learn(b"f1", b"f150".to_vec(), stamp);
        for elsewhere in [b"f150".as_slice(), b"f16", b"f0", b"f2"] {
            floors.written(elsewhere);
            assert_eq!(of(&floors, b"f1"), Some(b"f150".to_vec()));
        }
        floors.written(b"f14");
        assert_eq!(of(&floors, b"f1"), None);
    }

    #[test]
    fn what_was_written_during_the_scan_keeps_it_from_being_remembered() {
        let mut floors = Floors::default();
        let (_, stamp) = floors.of(b"f");
        floors.written(b"f1");
        floors.learn(b"f", b"f5".to_vec(), stamp);
        assert_eq!(of(&floors, b"f"), None);
    }

    #[test]
    fn the_last_ones_are_remembered() {
        let mut floors = Floors::default();
        for number in 0..10_u8 {
            let (_, stamp) = floors.of(&[number]);
            floors.learn(&[number], vec![number, 1], stamp);
            floors.learn(&[number], vec![number, 2], stamp);
        }
        assert_eq!(of(&floors, &[5]), None);
        assert!((6..10).all(|number| of(&floors, &[number]) == Some(vec![number, 2])));
    }
}
