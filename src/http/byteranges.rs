//! The layout of a response to a Range request: what stands before, between and after the bytes.

use std::ops::Range;

use bytes::Bytes;

/// Text, then bytes of the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    /// What stands before the bytes; empty for a response with one range.
    pub head: Bytes,
    /// The bytes of the file.
    pub range: Range<u64>,
}

/// A body made of parts of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layout {
    /// In order.
    pub parts: Vec<Part>,
    /// What stands after the last part.
    pub tail: Bytes,
}

impl Layout {
    /// One range and nothing around it.
    pub fn single(range: Range<u64>) -> Self {
        Layout {
            parts: vec![Part {
                head: Bytes::new(),
                range,
            }],
            tail: Bytes::new(),
        }
    }

    /// `multipart/byteranges` over a file of `len` bytes. The boundary must not be guessable by whoever made the file.
    pub fn multipart(ranges: Vec<Range<u64>>, len: u64, content_type: &str, boundary: &str) -> Self {
        let mut separator = format!("--{boundary}\r\n");
        let mut parts = Vec::with_capacity(ranges.len());
        for range in ranges {
            let head = format!(
                "{separator}Content-Type: {content_type}\r\nContent-Range: {}\r\n\r\n",
                content_range(&range, len)
            );
            parts.push(Part {
                head: head.into(),
                range,
            });
            separator = format!("\r\n--{boundary}\r\n");
        }
        Layout {
            parts,
            tail: format!("\r\n--{boundary}--\r\n").into(),
        }
    }

    /// The Content-Length.
    pub fn len(&self) -> u64 {
        let part = |part: &Part| part.head.len() as u64 + (part.range.end - part.range.start);
        self.parts.iter().map(part).sum::<u64>() + self.tail.len() as u64
    }
}

/// The value of Content-Range; `range` is not empty.
pub fn content_range(range: &Range<u64>, len: u64) -> String {
    format!("bytes {}-{}/{len}", range.start, range.end - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The body that a layout describes, over a file that is `a`, `b`, `c`, ...
    fn body(layout: &Layout) -> String {
        let mut body = String::new();
        for part in &layout.parts {
            body += std::str::from_utf8(&part.head).unwrap_or("?");
            body.extend(part.range.clone().map(|at| char::from(b'a' + at as u8)));
        }
        body + std::str::from_utf8(&layout.tail).unwrap_or("?")
    }

    #[test]
    fn a_single_range_is_just_its_bytes() {
        let layout = Layout::single(2..5);
        assert_eq!(body(&layout), "cde");
        assert_eq!(layout.len(), 3);
        assert_eq!(content_range(&(2..5), 26), "bytes 2-4/26");
    }

    #[test]
    fn several_ranges_are_parts() {
        let layout = Layout::multipart(vec![0..1, 5..8], 26, "text/x", "BOUND");
        let expected = "--BOUND\r\nContent-Type: text/x\r\nContent-Range: bytes 0-0/26\r\n\r\na\
                        \r\n--BOUND\r\nContent-Type: text/x\r\nContent-Range: bytes 5-7/26\r\n\r\nfgh\
                        \r\n--BOUND--\r\n";
        assert_eq!(body(&layout), expected);
        assert_eq!(layout.len(), expected.len() as u64);
    }
}
