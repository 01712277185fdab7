//! Recognises plain requests: GET, HEAD, PUT and DELETE of a file as build tools send them, with nothing in the head that
//! would ask for anything but the whole file, to be sent, stored or removed. The length of a plain PUT is known.
//!
//! Strict on purpose. A head that is not all there, another method, an escape in the path, a query, any header that is not
//! listed here: whatever could mean more than these lines know is not plain, and is read by the dispatcher instead.

use std::net::IpAddr;

use crate::http::head::is_form;
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
    /// [`Op::GetFile`], [`Op::HeadFile`], [`Op::PutFile`] or [`Op::DeleteFile`].
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
    /// The length of the body behind it, in bytes: at least 1 for [`Op::PutFile`], 0 for the others.
    pub body: usize,
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
            ("PUT", 1) => Op::PutFile,
            ("DELETE", 1) => Op::DeleteFile,
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
            body: 0,
        };
        let takes_all = request.headers.iter().all(|header| plain.takes(*header));
        let has_all = plain.op != Op::PutFile || plain.body > 0;
        (takes_all && has_all).then_some(plain)
    }

    /// Whether it changes anything.
    pub fn writes(&self) -> bool {
        matches!(self.op, Op::PutFile | Op::DeleteFile)
    }

    /// What is written down of it; it has no query and no secrets in its path.
    pub fn seen(&self, client: Option<IpAddr>) -> Seen<'a> {
        Seen {
            client,
            method: match self.op {
                Op::HeadFile => "HEAD",
                Op::PutFile => "PUT",
                Op::DeleteFile => "DELETE",
                _ => "GET",
            },
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
        if self.op == Op::PutFile && is("content-length") {
            let first = self.body == 0;
            self.body = length(header.value).unwrap_or(0);
            return first && self.body > 0;
        }
        if self.op == Op::PutFile && is("content-type") {
            return !is_form(header.value);
        }
        IGNORED.iter().any(|name| is(name))
    }
}

/// The length of a body that is not empty.
fn length(value: &[u8]) -> Option<usize> {
    let digits = value.iter().all(u8::is_ascii_digit);
    let length = str::from_utf8(value).ok().filter(|_| digits)?.parse().ok()?;
    (length > 0).then_some(length)
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
            body: 0,
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
        let remove = bare.replace("HEAD", "DELETE");
        let plain = parse(&remove).unwrap();
        assert_eq!((plain.op, plain.body), (Op::DeleteFile, 0));
    }

    #[test]
    fn a_body_of_known_length_is_plain() {
        for (headers, body) in [
            ("Content-Length: 1", Some(1)),
            ("content-length: 065536", Some(65_536)),
            ("content-length: 18446744073709551615", Some(usize::MAX)),
            (
                "Content-Length: 5\r\nContent-Type: application/x-www-form-urlencoded",
                Some(5),
            ),
            (
                "Content-Type: application/octet-stream\r\nContent-Length: 5\r\nAccept: */*",
                Some(5),
            ),
            ("Content-Length: 0", None),
            ("Content-Length: 18446744073709551617", None),
            ("Content-Length: +5", None),
            ("Content-Length: 5, 5", None),
            ("Content-Length:", None),
            ("Content-Length: 5\r\nContent-Length: 5", None),
            ("Content-Length: 5\r\nContent-Length: 0", None),
            ("Content-Length: 0\r\nContent-Length: 5", None),
            (
                "Content-Length: 5\r\nContent-Type: Multipart/Form-Data; boundary=x",
                None,
            ),
            (
                "Content-Length: 5\r\nContent-Type: text/plain\r\nContent-Type: multipart/form-data",
                None,
            ),
            ("Content-Length: 5\r\nTransfer-Encoding: chunked", None),
            ("Content-Length: 5\r\nExpect: 100-continue", None),
            ("Content-Length: 5\r\nIf-None-Match: *", None),
            ("Content-Length: 5\r\nIf-Match: \"x\"", None),
            ("Content-Length: 5\r\nIf-Unmodified-Since: x", None),
            ("Content-Length: 5\r\nContent-MD5: x", None),
            ("Content-Length: 5\r\nContent-Digest: x", None),
            ("Content-Length: 5\r\nX-Checksum-Sha256: x", None),
            ("Content-Length: 5\r\nContent-Range: bytes 0-4/5", None),
            ("Content-Length: 5\r\nContent-Encoding: gzip", None),
            ("Content-Length: 5\r\nX-Anything: a", None),
            ("Content-Type: text/plain", None),
            ("Host: h", None),
        ] {
            let head = format!("PUT /api/packages/o/generic/p/v/f HTTP/1.1\r\n{headers}\r\n\r\n");
            let plain = parse(&head);
            assert_eq!(plain.map(|plain| plain.body), body, "{headers}");
            for other in ["GET", "HEAD", "DELETE"] {
                assert_eq!(parse(&head.replace("PUT", other)).is_some(), headers == "Host: h");
            }
        }
    }

    #[test]
    fn whatever_means_more_is_not() {
        let path = "/api/packages/o/generic/p/v/f";
        for line in [
            format!("PUT {path} HTTP/1.1"),
            format!("POST {path} HTTP/1.1"),
            "DELETE /api/packages/o/generic/p/v HTTP/1.1".to_owned(),
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
            for method in ["GET", "PUT"] {
                let line = format!("{method} /api/packages/o/generic/p/v/f HTTP/1.1\r\n");
                let head = [line.as_bytes(), bytes.as_slice(), b"\r\n\r\n"].concat();
                let _ = Plain::parse(&head, "");
            }
        }

        /// What stands behind a head, be it a body, the next request or anything, does not matter to it.
        #[test]
        fn a_head_ends_where_it_ends(body in 1..=usize::MAX, behind in prop::collection::vec(any::<u8>(), 0..100)) {
            let head = format!("PUT /api/packages/o/generic/p/v/f HTTP/1.1\r\nContent-Length: {body}\r\n\r\n");
            let bytes = [head.as_bytes(), &behind].concat();
            let plain = Plain::parse(&bytes, "").unwrap();
            prop_assert_eq!((plain.len, plain.body), (head.len(), body));
        }

        #[test]
        fn a_length_is_digits(value in "[ +-]?[0-9]{0,7}[ ,.a-f]?") {
            let expected = value.parse().ok().filter(|length| *length > 0);
            let digits = value.bytes().all(|byte| byte.is_ascii_digit());
            prop_assert_eq!(length(value.as_bytes()), expected.filter(|_| digits));
        }
    }
}
