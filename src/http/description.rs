//! The headers that describe a file, the same wherever an answer is put together.

use std::fmt::Display;
use std::time::{Duration, UNIX_EPOCH};

use actix_web::HttpResponseBuilder;
use actix_web::http::header::{
    ACCEPT_RANGES, CACHE_CONTROL, CONTENT_DISPOSITION, ETAG, HeaderName, HeaderValue, LAST_MODIFIED,
    X_CONTENT_TYPE_OPTIONS,
};
use httpdate::HttpDate;

use super::disposition::attachment;
use crate::chunk::Digest;
use crate::store::model::File;

/// What every file is: bytes.
pub const OCTETS: &str = "application/octet-stream";

/// The same as a value, checked when this is compiled.
pub const OCTET_STREAM: HeaderValue = HeaderValue::from_static(OCTETS);

const BYTES: HeaderValue = HeaderValue::from_static("bytes");
const ASK_AGAIN: HeaderValue = HeaderValue::from_static("private, max-age=0, must-revalidate");
/// Browsers are to believe `Content-Type`.
pub const NO_SNIFF: HeaderValue = HeaderValue::from_static("nosniff");
const BLAKE3: HeaderName = HeaderName::from_static("x-checksum-blake3");
const SHA256: HeaderName = HeaderName::from_static("x-checksum-sha256");

/// The head of an answer in the making.
pub trait Headers {
    /// Adds a header whose value is always the same.
    fn constant(&mut self, name: HeaderName, value: HeaderValue);
    /// Adds a header with this value, which has no control characters.
    fn text(&mut self, name: HeaderName, value: &str);
    /// The same for a value as it is displayed.
    fn shown(&mut self, name: HeaderName, value: impl Display);
}

impl Headers for HttpResponseBuilder {
    fn constant(&mut self, name: HeaderName, value: HeaderValue) {
        self.insert_header((name, value));
    }

    fn text(&mut self, name: HeaderName, value: &str) {
        self.insert_header((name, value));
    }

    fn shown(&mut self, name: HeaderName, value: impl Display) {
        self.insert_header((name, value.to_string()));
    }
}

/// All of them.
pub fn describe(headers: &mut impl Headers, file: &File) {
    let published = UNIX_EPOCH + Duration::from_millis(file.created.max(0).unsigned_abs());
    identify(headers, &file.blob);
    headers.constant(ACCEPT_RANGES, BYTES);
    headers.constant(CACHE_CONTROL, ASK_AGAIN);
    headers.text(CONTENT_DISPOSITION, &attachment(&file.name));
    headers.shown(LAST_MODIFIED, HttpDate::from(published));
    headers.constant(X_CONTENT_TYPE_OPTIONS, NO_SNIFF);
    if let Some(sha256) = file.sha256 {
        headers.text(SHA256, &hex::encode(sha256));
    }
}

/// Names the bytes of a file with this digest: `ETag`, strong, for the digest is that of the very bytes, and
/// `X-Checksum-Blake3`.
pub fn identify(headers: &mut impl Headers, digest: &Digest) {
    let mut quoted = [b'"'; 2 * Digest::LEN + 2];
    let hex = 1..=2 * Digest::LEN;
    // The slice has the length it must have, and digits are text.
    let _ = hex::encode_to_slice(digest.as_bytes(), &mut quoted[hex.clone()]);
    let quoted = str::from_utf8(&quoted).unwrap_or_default();
    headers.text(ETAG, quoted);
    headers.text(BLAKE3, quoted.get(hex).unwrap_or_default());
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::super::etags::etag;
    use super::*;

    #[test]
    fn a_file_is_identified_by_its_digest() {
        let digest = Digest::of(b"larder");
        let mut response = actix_web::HttpResponse::Ok();
        identify(&mut response, &digest);
        let response = response.finish();
        let value = |name: HeaderName| response.headers().get(name).map(HeaderValue::as_bytes);
        assert_eq!(value(ETAG), Some(etag(&digest).as_bytes()));
        assert_eq!(value(BLAKE3), Some(digest.to_string().as_bytes()));
    }
}
