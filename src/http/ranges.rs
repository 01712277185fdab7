//! Which bytes of a file a `Range` header asks for, and how several ranges go into one body (RFC 9110 §14).

use std::ops::Range;

/// A request for more ranges than these is answered with the whole file.
const MAX_RANGES: usize = 64;

/// What to send of a file. Ranges are not empty and lie inside the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Plan {
    /// 200: no range is asked for, or none that is worth the effort.
    Whole,
    /// 206 with this range.
    Single(Range<u64>),
    /// 206 with `multipart/byteranges`, in the order asked for.
    Multiple(Vec<Range<u64>>),
    /// 416: well formed, but no range has a byte of the file.
    Unsatisfiable,
}

/// What the `Range` header, if there is one, means for a file of `len` bytes.
///
/// A header that is malformed, names another unit, more than 64 ranges or more bytes than the file has does not count;
/// neither does any header on an empty file, of which nothing could be sent in part.
pub fn plan(header: Option<&str>, len: u64) -> Plan {
    let Some(specs) = header.filter(|_| len > 0).and_then(parse) else {
        return Plan::Whole;
    };
    let mut ranges: Vec<_> = specs.iter().filter_map(|spec| spec.within(len)).collect();
    let sum: u128 = ranges.iter().map(|range| u128::from(size(range))).sum();
    if sum > u128::from(len) {
        return Plan::Whole;
    }
    match ranges.len() {
        0 => Plan::Unsatisfiable,
        1 => Plan::Single(ranges.remove(0)),
        _ => Plan::Multiple(ranges),
    }
}

/// The value of `Content-Range` for a range, which must not be empty.
pub fn content_range(range: &Range<u64>, len: u64) -> String {
    format!("bytes {}-{}/{len}", range.start, range.end.saturating_sub(1))
}

/// The value of `Content-Range` that goes with [`Plan::Unsatisfiable`].
pub fn unsatisfied_range(len: u64) -> String {
    format!("bytes */{len}")
}

/// One element of the header, before the length of the file is known.
#[derive(Clone, Copy, Debug)]
enum Spec {
    /// `a-b`, both inclusive
    Between(u64, u64),
    /// `a-`
    From(u64),
    /// `-n`
    Last(u64),
}

impl Spec {
    /// The bytes that a file of `len` bytes has of this.
    fn within(self, len: u64) -> Option<Range<u64>> {
        let range = match self {
            Spec::Between(first, last) => first..last.saturating_add(1).min(len),
            Spec::From(first) => first..len,
            Spec::Last(count) => len.saturating_sub(count)..len,
        };
        (!range.is_empty()).then_some(range)
    }
}

/// The elements of a well-formed header of at most [`MAX_RANGES`].
fn parse(header: &str) -> Option<Vec<Spec>> {
    let (unit, set) = header.split_once('=')?;
    if !unit.trim_matches(BLANK).eq_ignore_ascii_case("bytes") {
        return None;
    }
    let specs = set
        .split(',')
        .map(|element| element.trim_matches(BLANK))
        // RFC 9110 §5.6.1.2: a recipient takes empty list elements for nothing.
        .filter(|element| !element.is_empty())
        .take(MAX_RANGES + 1)
        .map(parse_spec)
        .collect::<Option<Vec<_>>>()?;
    (1..=MAX_RANGES).contains(&specs.len()).then_some(specs)
}

const BLANK: [char; 2] = [' ', '\t'];

fn parse_spec(element: &str) -> Option<Spec> {
    match element.split_once('-')? {
        ("", count) => Some(Spec::Last(number(count)?)),
        (first, "") => Some(Spec::From(number(first)?)),
        (first, last) => {
            let (first, last) = (number(first)?, number(last)?);
            (first <= last).then_some(Spec::Between(first, last))
        }
    }
}

/// Digits only. What does not fit lies behind every file, and so does the largest number that does.
fn number(digits: &str) -> Option<u64> {
    let well_formed = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    well_formed.then(|| digits.parse().unwrap_or(u64::MAX))
}

fn size(range: &Range<u64>) -> u64 {
    range.end.saturating_sub(range.start)
}

/// The framing of several ranges in one body: `multipart/byteranges`.
///
/// The body is, for each range, its [`head`](Multipart::head) and then its bytes, and at the end the
/// [`tail`](Multipart::tail).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Multipart {
    /// Separates the parts; must not occur in the file, see [`random_boundary`].
    pub boundary: String,
    /// The type of the file, said in every part.
    pub content_type: String,
    /// Length of the whole file, bytes.
    pub len: u64,
    /// What to send, as in [`Plan::Multiple`].
    pub ranges: Vec<Range<u64>>,
}

impl Multipart {
    /// The `Content-Type` of the answer.
    pub fn answer_type(&self) -> String {
        format!("multipart/byteranges; boundary={}", self.boundary)
    }

    /// The text before the bytes of the range with this index; `None` past the last.
    pub fn head(&self, index: usize) -> Option<String> {
        let range = self.ranges.get(index)?;
        let line_end = if index == 0 { "" } else { "\r\n" };
        Some(format!(
            "{line_end}--{}\r\nContent-Type: {}\r\nContent-Range: {}\r\n\r\n",
            self.boundary,
            self.content_type,
            content_range(range, self.len)
        ))
    }

    /// The text after the last range.
    pub fn tail(&self) -> String {
        format!("\r\n--{}--\r\n", self.boundary)
    }

    /// The length of the body, framing and ranges, bytes.
    pub fn content_length(&self) -> u64 {
        let heads = (0..).map_while(|index| self.head(index));
        let framing = heads.map(|head| head.len()).sum::<usize>() + self.tail().len();
        self.ranges
            .iter()
            .map(size)
            .fold(framing as u64, u64::saturating_add)
    }
}

/// A boundary of 128 random bits: no file contains it but by a chance nobody will see.
///
/// # Errors
/// When the operating system has no random numbers to give.
pub fn random_boundary() -> Result<String, getrandom::Error> {
    let mut bits = [0; 16];
    getrandom::fill(&mut bits)?;
    Ok(hex::encode(bits))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::single_range_in_vec_init)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_header_that_counts() {
        let table = [
            ("bytes=0-0", Plan::Single(0..1)),
            ("bytes=2-5", Plan::Single(2..6)),
            ("bytes=0-9", Plan::Single(0..10)),
            ("bytes=8-200", Plan::Single(8..10)),
            ("bytes=8-18446744073709551615", Plan::Single(8..10)),
            ("bytes=8-99999999999999999999999", Plan::Single(8..10)),
            ("bytes=3-", Plan::Single(3..10)),
            ("bytes=-3", Plan::Single(7..10)),
            ("bytes=-30", Plan::Single(0..10)),
            ("BYTES=1-1", Plan::Single(1..2)),
            ("bytes=, 1-1 ,", Plan::Single(1..2)),
            ("bytes=1-1,20-30", Plan::Single(1..2)),
            ("bytes=0-1,4-5", Plan::Multiple(vec![0..2, 4..6])),
            ("bytes=-1 \t,\t 0-0", Plan::Multiple(vec![9..10, 0..1])),
            ("bytes=0-4,5-9", Plan::Multiple(vec![0..5, 5..10])),
            ("bytes=10-", Plan::Unsatisfiable),
            ("bytes=10-12,99999999999999999999999-", Plan::Unsatisfiable),
            ("bytes=-0", Plan::Unsatisfiable),
        ];
        for (header, expected) in table {
            assert_eq!(plan(Some(header), 10), expected, "{header}");
        }
    }

    #[test]
    fn a_header_that_does_not() {
        let malformed = [
            "",
            "bytes",
            "bytes=",
            "bytes=,",
            "bytes=-",
            "bytes=a-b",
            "bytes=5-4",
            "bytes=0-1,5-4",
            "bytes=+1-2",
            "bytes=1--2",
            "bytes=--2",
            "bytes=1 - 2",
            "bytes=1",
            "bytes=1-2;3-4",
            "lines=1-2",
            "=1-2",
            "bytes=0-1,x",
            "bytes=٣-",
        ];
        for header in malformed {
            assert_eq!(plan(Some(header), 10), Plan::Whole, "{header}");
        }
        assert_eq!(plan(None, 10), Plan::Whole);
    }

    #[test]
    fn nothing_is_sent_in_part_of_an_empty_file() {
        for header in ["bytes=0-0", "bytes=-1", "bytes=5-", "x"] {
            assert_eq!(plan(Some(header), 0), Plan::Whole, "{header}");
        }
    }

    #[test]
    fn more_bytes_or_ranges_than_sense_get_the_whole_file() {
        assert_eq!(plan(Some("bytes=0-5,4-9"), 10), Plan::Whole);
        assert_eq!(plan(Some("bytes=0-,0-,0-"), u64::MAX), Plan::Whole);

        let header = |count: usize| format!("bytes={}", vec!["0-0"; count].join(","));
        assert_eq!(plan(Some(&header(64)), 1000), Plan::Multiple(vec![0..1; 64]));
        assert_eq!(plan(Some(&header(65)), 1000), Plan::Whole);
    }

    #[test]
    fn the_framing_reads_as_the_rfc_writes_it() {
        let multipart = Multipart {
            boundary: "b0".into(),
            content_type: "application/octet-stream".into(),
            len: 10,
            ranges: vec![0..2, 9..10],
        };
        assert_eq!(multipart.answer_type(), "multipart/byteranges; boundary=b0");
        assert_eq!(
            multipart.head(0).unwrap(),
            "--b0\r\nContent-Type: application/octet-stream\r\nContent-Range: bytes 0-1/10\r\n\r\n"
        );
        assert_eq!(
            multipart.head(1).unwrap(),
            "\r\n--b0\r\nContent-Type: application/octet-stream\r\nContent-Range: bytes 9-9/10\r\n\r\n"
        );
        assert_eq!(multipart.head(2), None);
        assert_eq!(multipart.tail(), "\r\n--b0--\r\n");
        assert_eq!(unsatisfied_range(10), "bytes */10");
    }

    #[test]
    fn boundaries_differ_and_are_tokens() {
        let (one, other) = (random_boundary().unwrap(), random_boundary().unwrap());
        assert_ne!(one, other);
        assert!(one.len() == 32 && one.bytes().all(|byte| byte.is_ascii_hexdigit()));
    }

    /// Headers near the edge of being well formed.
    fn headers() -> impl Strategy<Value = String> {
        prop_oneof![
            any::<String>(),
            "bytes=[0-9, -]{0,40}",
            "bytes=([0-9]{0,3}-[0-9]{0,3},){1,5}"
        ]
    }

    proptest! {
        #[test]
        fn every_planned_range_has_bytes_of_the_file(header in headers(), len in prop_oneof![0..200_u64, any::<u64>()]) {
            let ranges = match plan(Some(&header), len) {
                Plan::Whole | Plan::Unsatisfiable => vec![],
                Plan::Single(range) => vec![range],
                Plan::Multiple(ranges) => {
                    prop_assert!((2..=MAX_RANGES).contains(&ranges.len()));
                    ranges
                }
            };
            prop_assert!(ranges.iter().all(|range| range.start < range.end && range.end <= len));
            prop_assert!(ranges.iter().map(|range| u128::from(size(range))).sum::<u128>() <= u128::from(len));
        }

        #[test]
        fn what_is_asked_for_is_what_is_planned(first in 0..100_u64, more in 0..100_u64, len in 1..200_u64) {
            let last = first + more;
            let asked: Vec<u64> = (first..=last).filter(|byte| *byte < len).collect();
            let planned: Vec<u64> = match plan(Some(&format!("bytes={first}-{last}")), len) {
                Plan::Single(range) => range.collect(),
                Plan::Unsatisfiable => vec![],
                other => panic!("{other:?}"),
            };
            prop_assert_eq!(planned, asked);
        }

        #[test]
        fn the_content_length_is_that_of_the_body_written_out(
            boundary in "[a-z0-9]{1,40}",
            ranges in prop::collection::vec((0..500_u64, 1..500_u64), 1..10),
        ) {
            let ranges: Vec<_> = ranges.into_iter().map(|(start, size)| start..start + size).collect();
            let multipart = Multipart { boundary, content_type: "text/plain".into(), len: 1000, ranges };
            let mut body = Vec::new();
            for (index, range) in multipart.ranges.iter().enumerate() {
                body.extend(multipart.head(index).unwrap().bytes());
                body.extend(range.clone().map(|byte| byte as u8));
            }
            body.extend(multipart.tail().bytes());
            prop_assert_eq!(multipart.content_length(), body.len() as u64);
        }
    }
}
