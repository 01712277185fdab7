//! Recognises plain requests: GET and HEAD of a file as build tools send them, with nothing in the head that would ask
//! for anything but the whole file.
//!
//! Strict on purpose. A head that is not all there, another method, an escape in the path, a query, any header that is not
//! listed here: whatever could mean more than these lines know is not plain, and is read by the dispatcher instead.

use std::net::IpAddr;

use crate::http::metrics::Op;
use crate::http::request_log::Seen;

/// More headers than a plain request has.
const MAX_HEADERS: usize = 16;

/// Headers that say nothing about what to answer.
const IGNORED: [&str; 6] = [
    "host",
    "accept-encoding",
    "accept-language",
    "cache-control",
    "keep-alive",
    "pragma",
];

/// The head of a plain request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Plain<'a> {
    /// [`Op::GetFile`] or [`Op::HeadFile`].
    pub op: Op,
    /// The path, as sent.
    pub path: &'a str,
    /// Whose package.
    pub owner: &'a str,
    /// The package.
    pub package: &'a str,
    /// The version.
    pub version: &'a str,
    /// The file.
    pub file: &'a str,
    /// The value of `Authorization`.
    pub authorization: Option<&'a [u8]>,
    /// The value of `User-Agent`.
    pub agent: Option<&'a [u8]>,
    /// Its length in bytes, the empty line included.
    pub len: usize,
}

impl<'a> Plain<'a> {
    /// The plain request that `bytes` begin with, below this base path.
    pub fn parse(bytes: &'a [u8], base_path: &str) -> Option<Self> {
        let mut headers = [httparse::EMPTY_HEADER; MAX_HEADERS];
        let mut request = httparse::Request::new(&mut headers);
        let httparse::Status::Complete(len) = request.parse(bytes).ok()? else {
            return None;
        };
        let path = request.path?;
        let op = match (request.method?, request.version?) {
            ("GET", 1) => Op::GetFile,
            ("HEAD", 1) => Op::HeadFile,
            _ => return None,
        };
        let [owner, package, version, file] = names(path, base_path)?;
        let mut plain = Plain {
            op,
            path,
            owner,
            package,
            version,
            file,
            authorization: None,
            agent: None,
            len,
        };
        request
            .headers
            .iter()
            .all(|header| plain.takes(*header))
            .then_some(plain)
    }
}

impl<'a> Plain<'a> {
    /// What is written down of it; it has no query and no secrets in its path.
    pub fn seen(&self, client: Option<IpAddr>) -> Seen<'a> {
        Seen {
            client,
            method: if self.op == Op::HeadFile { "HEAD" } else { "GET" },
            target: self.path.to_owned(),
            protocol: "HTTP/1.1",
            referer: None,
            agent: self.agent,
        }
    }

    /// Takes a header in; false where it asks for something.
    fn takes(&mut self, header: httparse::Header<'a>) -> bool {
        let is = |name: &str| header.name.eq_ignore_ascii_case(name);
        if is("authorization") {
            return self.authorization.replace(header.value).is_none();
        }
        if is("user-agent") {
            return self.agent.replace(header.value).is_none();
        }
        if is("accept") {
            // Whoever prefers something gets refusals in another form.
            return header.value == b"*/*";
        }
        if is("connection") {
            return header.value.eq_ignore_ascii_case(b"keep-alive");
        }
        IGNORED.iter().any(|name| is(name))
    }
}

/// Owner, package, version and file of a path without escapes and empty segments.
fn names<'a>(path: &'a str, base_path: &str) -> Option<[&'a str; 4]> {
    if !path.bytes().all(is_plain) {
        return None;
    }
    let path = path.strip_prefix(base_path)?.strip_prefix("/api/packages/")?;
    let mut segments = path.split('/');
    let mut next = || segments.next().filter(|segment| !segment.is_empty());
    let (owner, kind) = (next()?, next()?);
    let names = [owner, next()?, next()?, next()?];
    (kind == "generic" && segments.next().is_none()).then_some(names)
}

/// What a path may have without an escape (RFC 3986, §3.3).
fn is_plain(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"/-._~!$&'()*+,;=:@".contains(&byte)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parse(text: &str) -> Option<Plain<'_>> {
        Plain::parse(text.as_bytes(), "")
    }

    #[test]
    fn what_build_tools_send_is_plain() {
        let head = "GET /api/packages/ci/generic/app/1.0/app.tar HTTP/1.1\r\nHost: localhost:8080\r\n\
                    User-Agent: curl/8.5.0\r\nAccept: */*\r\nAuthorization: Bearer t\r\nConnection: Keep-Alive\r\n\r\n";
        let plain = Plain {
            op: Op::GetFile,
            path: "/api/packages/ci/generic/app/1.0/app.tar",
            owner: "ci",
            package: "app",
            version: "1.0",
            file: "app.tar",
            authorization: Some(b"Bearer t"),
            agent: Some(b"curl/8.5.0"),
            len: head.len(),
        };
        assert_eq!(parse(head), Some(plain));
        let pipelined = format!("{head}{head}");
        assert_eq!(parse(&pipelined), Some(plain));
        let below = head.replace("/api", "/larder/api");
        assert_eq!(parse(&below), None);
        assert!(Plain::parse(below.as_bytes(), "/larder").is_some());
        let bare = "HEAD /api/packages/o/generic/p/v/f HTTP/1.1\r\n\r\n";
        let plain = parse(bare).unwrap();
        assert_eq!((plain.op, plain.authorization), (Op::HeadFile, None));
    }

    #[test]
    fn whatever_means_more_is_not() {
        let path = "/api/packages/o/generic/p/v/f";
        for line in [
            format!("PUT {path} HTTP/1.1"),
            format!("DELETE {path} HTTP/1.1"),
            format!("get {path} HTTP/1.1"),
            format!("GET {path} HTTP/1.0"),
            format!("GET {path}/ HTTP/1.1"),
            format!("GET {path}/x HTTP/1.1"),
            format!("GET {path}?token=t HTTP/1.1"),
            format!("GET {path}%20 HTTP/1.1"),
            format!("GET {path}\"<> HTTP/1.1"),
            format!("GET {path}\u{e9} HTTP/1.1"),
            format!("GET http://host{path} HTTP/1.1"),
            format!("GET /{path} HTTP/1.1"),
            "GET /api/packages/o/generic/p//f HTTP/1.1".to_owned(),
            "GET /api/packages/o/generic/p/v HTTP/1.1".to_owned(),
            "GET /api/packages/o/other/p/v/f HTTP/1.1".to_owned(),
            "GET /api/v1/version HTTP/1.1".to_owned(),
            "GET / HTTP/1.1".to_owned(),
        ] {
            assert_eq!(parse(&format!("{line}\r\n\r\n")), None, "{line}");
        }
        for header in [
            "Range: bytes=0-1",
            "If-None-Match: \"x\"",
            "If-Modified-Since: x",
            "Accept: application/json",
            "Connection: close",
            "Connection: Upgrade",
            "Content-Length: 0",
            "Content-Length: 5",
            "Transfer-Encoding: chunked",
            "Expect: 100-continue",
            "Upgrade: h2c",
            "X-Request-Id: a",
            "traceparent: a",
            "X-Forwarded-For: 10.0.0.1",
            "Forwarded: for=10.0.0.1",
            "X-Anything: a",
            "Authorization: Bearer a\r\nAuthorization: Bearer b",
            " folded: a",
        ] {
            let head = format!("GET {path} HTTP/1.1\r\nHost: h\r\n{header}\r\n\r\n");
            assert_eq!(parse(&head), None, "{header}");
        }
    }

    proptest! {
        /// A head is plain as a whole or not at all, wherever it is cut.
        #[test]
        fn a_part_of_a_head_is_not_plain(cut in 0_usize..70) {
            let head = "GET /api/packages/o/generic/p/v/f HTTP/1.1\r\nHost: localhost:8080\r\n\r\n";
            prop_assume!(cut < head.len());
            prop_assert_eq!(parse(&head[..cut]), None);
        }

        #[test]
        fn no_bytes_are_too_strange(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = Plain::parse(&bytes, "");
            let head = [b"GET /api/packages/o/generic/p/v/f HTTP/1.1\r\n", bytes.as_slice(), b"\r\n\r\n"].concat();
            let _ = Plain::parse(&head, "");
        }
    }
}
