//! What was asked for recently, in bounded memory: a younger generation and an older one, which is dropped whole when
//! the younger is full. What is asked for while it is in the older one joins the younger again.

use hashbrown::HashTable;

/// Something that is kept under a hash.
pub trait Entry {
    /// The hash.
    fn hash(&self) -> u64;
    /// What it counts for, in bytes.
    fn bytes(&self) -> usize;
}

/// A generation that had to go. To be dropped outside of any lock: there may be thousands of entries in it.
pub type Dropped<E> = Option<HashTable<E>>;

/// Two generations of entries.
#[derive(Debug)]
pub struct Generations<E> {
    young: HashTable<E>,
    young_bytes: usize,
    old: HashTable<E>,
}

impl<E> Default for Generations<E> {
    fn default() -> Self {
        Generations {
            young: HashTable::new(),
            young_bytes: 0,
            old: HashTable::new(),
        }
    }
}

impl<E: Entry> Generations<E> {
    /// Works on the entry that is meant, which belongs to the younger generation from then on; that has at most `limit`
    /// bytes.
    pub fn with<R>(
        &mut self,
        hash: u64,
        is: impl Fn(&E) -> bool,
        limit: usize,
        work: impl FnOnce(&mut E) -> R,
    ) -> (Option<R>, Dropped<E>) {
        if let Some(entry) = self.young.find_mut(hash, &is) {
            let before = entry.bytes();
            let result = work(entry);
            self.young_bytes = self.young_bytes + entry.bytes() - before;
            return (Some(result), None);
        }
        let Some(mut entry) = self.take_old(hash, is) else {
            return (None, None);
        };
        let result = work(&mut entry);
        (Some(result), self.insert(entry, limit))
    }

    /// Adds an entry that is in neither generation, if it is no larger than `limit`.
    pub fn insert(&mut self, entry: E, limit: usize) -> Dropped<E> {
        let bytes = entry.bytes();
        if bytes > limit {
            return None;
        }
        let full = self.young_bytes + bytes > limit;
        let dropped = full.then(|| {
            self.young_bytes = 0;
            // The next one becomes about as long.
            let next = HashTable::with_capacity(self.young.len());
            std::mem::replace(&mut self.old, std::mem::replace(&mut self.young, next))
        });
        self.young_bytes += bytes;
        self.young.insert_unique(entry.hash(), entry, E::hash);
        dropped
    }

    /// Takes the entry that is meant out.
    pub fn remove(&mut self, hash: u64, is: impl Fn(&E) -> bool) -> Option<E> {
        match self.young.find_entry(hash, &is) {
            Ok(entry) => {
                let (entry, _) = entry.remove();
                self.young_bytes -= entry.bytes();
                Some(entry)
            }
            Err(_) => self.take_old(hash, is),
        }
    }

    fn take_old(&mut self, hash: u64, is: impl Fn(&E) -> bool) -> Option<E> {
        let entry = self.old.find_entry(hash, is).ok()?;
        Some(entry.remove().0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A number, and how large it is.
    struct Number(u64, usize);

    impl Entry for Number {
        fn hash(&self) -> u64 {
            self.0
        }

        fn bytes(&self) -> usize {
            self.1
        }
    }

    const LIMIT: usize = 10;

    fn knows(numbers: &mut Generations<Number>, number: u64) -> bool {
        let found = numbers.with(number, |entry| entry.0 == number, LIMIT, |_| ());
        found.0.is_some()
    }

    #[test]
    fn what_is_asked_for_stays_and_the_rest_goes_with_its_generation() {
        let mut numbers = Generations::default();
        for number in 0..5 {
            assert!(numbers.insert(Number(number, 2), LIMIT).is_none());
        }
        // The younger generation is full.
        assert!(
            numbers
                .insert(Number(5, 2), LIMIT)
                .is_some_and(|dropped| dropped.is_empty())
        );
        assert!(knows(&mut numbers, 0));
        for number in 6..9 {
            assert!(numbers.insert(Number(number, 2), LIMIT).is_none());
        }
        let dropped = numbers.insert(Number(9, 2), LIMIT);
        assert_eq!(
            dropped.map(|dropped| dropped.len()),
            Some(4),
            "0 has been asked for"
        );
        let known = (0..10).filter(|&number| knows(&mut numbers, number));
        assert_eq!(known.collect::<Vec<_>>(), [0, 5, 6, 7, 8, 9]);
    }

    #[test]
    fn what_grows_counts_for_more_and_what_is_removed_for_nothing() {
        let mut numbers = Generations::default();
        numbers.insert(Number(1, 2), LIMIT);
        numbers.with(1, |_| true, LIMIT, |entry| entry.1 = 8);
        numbers.insert(Number(2, 2), LIMIT);
        assert!(
            numbers.insert(Number(3, 1), LIMIT).is_some(),
            "1 and 2 fill a generation"
        );
        assert_eq!(
            numbers.remove(1, |entry| entry.0 == 1).map(|entry| entry.1),
            Some(8)
        );
        assert!(!knows(&mut numbers, 1));
        assert_eq!(
            numbers.remove(3, |entry| entry.0 == 3).map(|entry| entry.1),
            Some(1)
        );
        assert!(
            numbers.insert(Number(4, 10), LIMIT).is_none(),
            "3 no longer counts"
        );
    }

    #[test]
    fn what_is_larger_than_a_generation_is_not_kept() {
        let mut numbers = Generations::default();
        numbers.insert(Number(1, 1), LIMIT);
        assert!(numbers.insert(Number(2, 11), LIMIT).is_none());
        assert!(!knows(&mut numbers, 2) && knows(&mut numbers, 1));
    }
}
