//! The head of an HTTP/1.1 answer.

/// What a client needs to know of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The status code.
    pub status: u16,
    /// Content-Length, if it was sent.
    pub length: Option<u64>,
    /// The server closes the connection afterwards.
    pub close: bool,
}

impl Answer {
    /// Reads a head without its final empty line. None if it is not HTTP/1.1.
    pub fn parse(head: &[u8]) -> Option<Self> {
        let mut lines = std::str::from_utf8(head).ok()?.split("\r\n");
        let status_line = lines.next()?.strip_prefix("HTTP/1.1 ")?;
        let mut answer = Answer {
            status: status_line.get(..3)?.parse().ok()?,
            length: None,
            close: false,
        };
        for line in lines {
            let (name, value) = line.split_once(':')?;
            if name.eq_ignore_ascii_case("content-length") {
                answer.length = Some(value.trim().parse().ok()?);
            } else if name.eq_ignore_ascii_case("connection") {
                answer.close = value.trim().eq_ignore_ascii_case("close");
            }
        }
        Some(answer)
    }
}

/// Where the head ends and where the body begins, if the end of the head is in `bytes`.
pub fn end_of_head(bytes: &[u8]) -> Option<(usize, usize)> {
    let end = bytes.windows(4).position(|four| four == b"\r\n\r\n")?;
    Some((end, end + 4))
}
