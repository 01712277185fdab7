//! A stretch of keys, and the order in which it is gone through.

use super::keys::Key;

/// Behind every key: they begin with a letter.
const BEHIND_ALL: u8 = 0xff;

/// In which order rows are wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// The smallest key first.
    Forward,
    /// The largest key first.
    Backward,
}

/// The keys from `start`, inclusive, to `end`, exclusive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Span {
    /// The first key that may be in it.
    pub start: Key,
    /// The first key behind it.
    pub end: Key,
}

impl Span {
    /// All keys that begin with `prefix`.
    pub fn of(prefix: &[u8]) -> Self {
        let mut end = prefix.to_vec();
        while end.pop_if(|last| *last == BEHIND_ALL).is_some() {}
        match end.last_mut() {
            Some(last) => *last += 1,
            None => end.push(BEHIND_ALL),
        }
        Span {
            start: prefix.to_vec(),
            end,
        }
    }

    /// What is left of it behind a key.
    pub fn after(mut self, key: &[u8]) -> Self {
        if key >= self.start.as_slice() {
            self.start = key.to_vec();
            self.start.push(0);
        }
        self
    }

    /// What is left of it before a key.
    pub fn before(mut self, key: &[u8]) -> Self {
        if key < self.end.as_slice() {
            self.end = key.to_vec();
        }
        self
    }

    /// What is left of it once everything up to a key has been seen.
    pub fn beyond(self, key: &[u8], order: Order) -> Self {
        match order {
            Order::Forward => self.after(key),
            Order::Backward => self.before(key),
        }
    }

    /// Whether no key can be in it.
    pub fn is_empty(&self) -> bool {
        self.start >= self.end
    }

    /// Whether a key is in it.
    pub fn contains(&self, key: &[u8]) -> bool {
        self.start.as_slice() <= key && key < self.end.as_slice()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_has_the_keys_that_begin_with_it() {
        for (prefix, inside, outside) in [
            (
                b"".as_slice(),
                [b"a".as_slice(), b"z\xff\xff"],
                [b"\xff".as_slice(), b"\xff\xff"],
            ),
            (b"f", [b"f", b"f\xff\xff"], [b"e\xff", b"g"]),
            (
                b"f\xff\xff",
                [b"f\xff\xff", b"f\xff\xff\xff"],
                [b"f\xff\xfe\xff", b"g"],
            ),
        ] {
            let span = Span::of(prefix);
            assert!(inside.iter().all(|key| span.contains(key)), "{span:?}");
            assert!(!outside.iter().any(|key| span.contains(key)), "{span:?}");
        }
    }

    #[test]
    fn what_has_been_seen_is_left_out() {
        let span = Span::of(b"f");
        assert!(!span.clone().after(b"f1").contains(b"f1") && span.clone().after(b"f1").contains(b"f1\0"));
        assert_eq!(span.clone().after(b"a"), span);
        assert!(span.clone().after(b"g").is_empty());
        assert!(
            !span.clone().before(b"f1").contains(b"f1") && span.clone().before(b"f1").contains(b"f0\xff")
        );
        assert_eq!(span.clone().before(b"z"), span);
        assert!(span.before(b"a").is_empty());
    }
}
