//! The Range header (RFC 9110 §14): which bytes of a file a client wants.

use std::ops::Range;

/// More ranges than this in one header are not worth their cost: the whole file is sent.
const MAX_RANGES: usize = 64;

/// What to send.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Selection {
    /// All of it: no range is asked for, or none that can be understood or is worth it.
    Whole,
    /// These bytes, in the order of the header: 206. At least one range, none empty, all inside the file.
    Parts(Vec<Range<u64>>),
    /// Nothing of what is asked for exists: 416.
    Unsatisfiable,
}

/// Applies a Range header to a file of `len` bytes.
pub fn select(header: &str, len: u64) -> Selection {
    let Some(specs) = parse(header) else {
        return Selection::Whole;
    };
    // An empty file has no byte to name, and is no error.
    if len == 0 || specs.len() > MAX_RANGES {
        return Selection::Whole;
    }
    let parts: Vec<Range<u64>> = specs.iter().filter_map(|spec| spec.resolve(len)).collect();
    if parts.is_empty() {
        return Selection::Unsatisfiable;
    }
    let sum = parts
        .iter()
        .fold(0_u64, |sum, part| sum.saturating_add(part.end - part.start));
    if sum > len {
        return Selection::Whole;
    }
    Selection::Parts(parts)
}

/// One element of the list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Spec {
    /// `first-` and `first-last`, both inclusive.
    From { first: u64, last: u64 },
    /// `-length`: the last bytes.
    Suffix { length: u64 },
}

impl Spec {
    /// The bytes of a file of `len` bytes, `len` > 0; `None` if there are none.
    fn resolve(self, len: u64) -> Option<Range<u64>> {
        let range = match self {
            Spec::From { first, last } => first..last.min(len - 1) + 1,
            Spec::Suffix { length } => len - length.min(len)..len,
        };
        (range.start < range.end).then_some(range)
    }
}

/// `None` if any of it is malformed: then the header does not count.
fn parse(header: &str) -> Option<Vec<Spec>> {
    let (unit, list) = header.split_once('=')?;
    if !unit.trim().eq_ignore_ascii_case("bytes") {
        return None;
    }
    let elements = list.split(',').map(|element| element.trim_matches([' ', '\t']));
    let specs: Option<Vec<Spec>> = elements.filter(|element| !element.is_empty()).map(spec).collect();
    specs.filter(|specs| !specs.is_empty())
}

fn spec(element: &str) -> Option<Spec> {
    let (first, last) = element.split_once('-')?;
    if first.is_empty() {
        let length = number(last)?;
        return Some(Spec::Suffix { length });
    }
    let first = number(first)?;
    let last = match last {
        "" => u64::MAX,
        last => number(last)?,
    };
    (first <= last).then_some(Spec::From { first, last })
}

/// Digits only. A number too large for any file is as good as the largest.
fn number(text: &str) -> Option<u64> {
    if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    Some(text.parse().unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parts<const N: usize>(parts: [Range<u64>; N]) -> Selection {
        Selection::Parts(parts.to_vec())
    }

    #[test]
    fn single_ranges() {
        for (header, range) in [
            ("bytes=0-0", 0..1),
            ("bytes=10-19", 10..20),
            ("bytes=990-", 990..1000),
            ("bytes=0-", 0..1000),
            ("bytes=990-5000", 990..1000),
            ("bytes=-10", 990..1000),
            ("bytes=-5000", 0..1000),
            ("Bytes= 10-19 ,", 10..20),
            ("bytes=10-19,2000-3000", 10..20),
            ("bytes=0-99999999999999999999999999", 0..1000),
        ] {
            assert_eq!(select(header, 1000), parts([range]), "{header}");
        }
    }

    #[test]
    fn several_ranges_keep_their_order() {
        assert_eq!(
            select("bytes=5-9,-1,0-0", 1000),
            parts([5..10, 999..1000, 0..1])
        );
        assert_eq!(select("bytes=0-499,500-999", 1000), parts([0..500, 500..1000]));
    }

    #[test]
    fn what_does_not_exist_is_unsatisfiable() {
        for header in [
            "bytes=1000-",
            "bytes=1000-2000",
            "bytes=-0",
            "bytes=5000-,6000-7000,-0",
            "bytes=99999999999999999999999999-",
        ] {
            assert_eq!(select(header, 1000), Selection::Unsatisfiable, "{header}");
        }
    }

    #[test]
    fn what_is_malformed_or_not_worth_it_is_the_whole_file() {
        let many = format!("bytes={}", vec!["0-0"; MAX_RANGES + 1].join(","));
        for header in [
            "",
            "bytes",
            "bytes=",
            "bytes=,",
            "bytes=abc",
            "bytes=5-2",
            "bytes=1-2-3",
            "bytes=--5",
            "bytes=+1-2",
            "bytes=1 - 2",
            "bytes=0x1-2",
            "bytes=0-1,x",
            "items=0-1",
            "bytes=0-999,0-999",
            "bytes=0-,-1",
            many.as_str(),
        ] {
            assert_eq!(select(header, 1000), Selection::Whole, "{header}");
        }
        let some = format!("bytes={}", vec!["0-0"; MAX_RANGES].join(","));
        assert!(matches!(select(&some, 1000), Selection::Parts(parts) if parts.len() == MAX_RANGES));
    }

    #[test]
    fn an_empty_file_has_no_ranges() {
        for header in ["bytes=0-0", "bytes=-1", "bytes=0-"] {
            assert_eq!(select(header, 0), Selection::Whole, "{header}");
        }
    }

    proptest! {
        #[test]
        fn parts_lie_in_the_file_and_never_cost_more(
            header in "bytes=[-0-9, ]{0,40}", other in ".*", len in 0_u64..2000
        ) {
            for header in [header, other] {
                if let Selection::Parts(parts) = select(&header, len) {
                    prop_assert!(!parts.is_empty());
                    prop_assert!(parts.iter().all(|part| part.start < part.end && part.end <= len));
                    prop_assert!(parts.iter().map(|part| part.end - part.start).sum::<u64>() <= len);
                }
            }
        }

        #[test]
        fn a_range_says_what_it_means(first in 0_u64..3000, more in 0_u64..3000, len in 1_u64..2000) {
            let last = first + more;
            let expected = match first < len {
                true => parts([first..(last + 1).min(len)]),
                false => Selection::Unsatisfiable,
            };
            prop_assert_eq!(select(&format!("bytes={first}-{last}"), len), expected);
        }
    }
}
