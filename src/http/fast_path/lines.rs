//! The head of an answer, line by line.

use std::cell::Cell;
use std::fmt::Display;
use std::io::Write as _;
use std::time::{Duration, Instant, SystemTime};

use actix_web::http::StatusCode;
use actix_web::http::header::{CONNECTION, HeaderName, HeaderValue};

use crate::http::description::Headers;
use crate::http::request_id::{REQUEST_ID, hex_digits};
use crate::telemetry::request::{RequestContext, RequestId};

/// Length of a date as headers have it: `Sun, 06 Nov 1994 08:49:37 GMT`.
const DATE_LEN: usize = 29;

/// Headers as they go over the wire, behind a status line.
pub struct Lines<'a>(&'a mut Vec<u8>);

impl Headers for Lines<'_> {
    fn constant(&mut self, name: HeaderName, value: HeaderValue) {
        self.line(name.as_str(), value.as_bytes());
    }

    fn text(&mut self, name: HeaderName, value: &str) {
        self.line(name.as_str(), value.as_bytes());
    }

    fn shown(&mut self, name: HeaderName, value: impl Display) {
        self.0.extend_from_slice(name.as_str().as_bytes());
        // Writing to memory does not fail.
        let _ = write!(self.0, ": {value}\r\n");
    }
}

impl<'a> Lines<'a> {
    /// The lines of an answer with this status.
    pub fn begin(answer: &'a mut Vec<u8>, status: StatusCode) -> Self {
        let reason = status.canonical_reason().unwrap_or_default();
        for part in ["HTTP/1.1 ", status.as_str(), " ", reason, "\r\n"] {
            answer.extend_from_slice(part.as_bytes());
        }
        Lines(answer)
    }

    fn line(&mut self, name: &str, value: &[u8]) {
        for part in [name.as_bytes(), b": ", value, b"\r\n"] {
            self.0.extend_from_slice(part);
        }
    }

    /// Behind this answer the connection is closed.
    pub fn last(&mut self) {
        self.line(CONNECTION.as_str(), b"close");
    }

    /// How long the body is, in bytes.
    pub fn content_length(&mut self, len: u64) {
        self.line("content-length", itoa::Buffer::new().format(len).as_bytes());
    }

    /// The last lines: which request this answers, and when, which is about `now`.
    pub fn end(&mut self, context: &RequestContext, now: Instant) {
        if let RequestId::Ours(id) = context.id() {
            self.line(REQUEST_ID.as_str(), &hex_digits(*id));
        }
        self.line("date", &date(now));
        self.0.extend_from_slice(b"\r\n");
    }
}

/// The time of day at `now`, which is about now; written once a second.
fn date(now: Instant) -> [u8; DATE_LEN] {
    thread_local! {
        /// Until when it is good.
        static WRITTEN: Cell<Option<(Instant, [u8; DATE_LEN])>> = const { Cell::new(None) };
    }
    if let Some((until, text)) = WRITTEN.get()
        && now < until
    {
        return text;
    }
    let time = SystemTime::now();
    let begun = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let rest = Duration::from_secs(1) - Duration::from_nanos(begun.subsec_nanos().into());
    let mut text = [b' '; DATE_LEN];
    let written = httpdate::fmt_http_date(time);
    text.iter_mut()
        .zip(written.bytes())
        .for_each(|(to, from)| *to = from);
    WRITTEN.set(Some((now + rest, text)));
    text
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn the_date_goes_on_with_the_second() {
        let now = Instant::now();
        let first = date(now);
        let read = |text: [u8; DATE_LEN]| httpdate::parse_http_date(str::from_utf8(&text).unwrap()).unwrap();
        assert!(read(first) <= SystemTime::now());
        assert!(SystemTime::now().duration_since(read(first)).unwrap() < Duration::from_secs(60));
        std::thread::sleep(Duration::from_millis(1001));
        assert_eq!(date(now), first, "nobody looks at the clock within the second");
        assert!(read(date(Instant::now())) > read(first));
    }
}
