//! The head of an answer, line by line.

use std::cell::Cell;
use std::io::Write as _;
use std::time::SystemTime;

use actix_web::http::header::{HeaderName, HeaderValue};

use crate::http::description::Headers;

/// Length of a date as headers have it: `Sun, 06 Nov 1994 08:49:37 GMT`.
const DATE_LEN: usize = 29;

/// Headers as they go over the wire, behind a status line.
pub struct Lines<'a>(pub &'a mut Vec<u8>);

impl Headers for Lines<'_> {
    fn constant(&mut self, name: HeaderName, value: HeaderValue) {
        self.line(name.as_str(), value.as_bytes());
    }

    fn text(&mut self, name: HeaderName, value: &str) {
        self.line(name.as_str(), value.as_bytes());
    }
}

impl Lines<'_> {
    fn line(&mut self, name: &str, value: &[u8]) {
        for part in [name.as_bytes(), b": ", value, b"\r\n"] {
            self.0.extend_from_slice(part);
        }
    }

    /// How long the body is, in bytes.
    pub fn content_length(&mut self, len: u64) {
        // Writing to memory does not fail.
        let _ = write!(self.0, "content-length: {len}\r\n");
    }

    /// The last line: when this is.
    pub fn date(&mut self) {
        self.line("date", &date());
        self.0.extend_from_slice(b"\r\n");
    }
}

/// The present time, written once a second.
fn date() -> [u8; DATE_LEN] {
    thread_local! {
        static WRITTEN: Cell<(u64, [u8; DATE_LEN])> = const { Cell::new((0, [b' '; DATE_LEN])) };
    }
    let now = SystemTime::now();
    let second = now
        .duration_since(SystemTime::UNIX_EPOCH)
        .map_or(0, |since| since.as_secs());
    let (of, mut text) = WRITTEN.get();
    if of != second
        && let Ok(written) = httpdate::fmt_http_date(now).as_bytes().try_into()
    {
        text = written;
        WRITTEN.set((second, text));
    }
    text
}
