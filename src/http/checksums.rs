//! The checksums that a request wants its body to have (API.md §4).

use actix_web::http::header::HeaderMap;
use base64::Engine as _;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};

use super::dictionary::{self, Value};
use crate::artifact::ExpectedChecksums;
use crate::chunk::Digest;

const X_SHA256: &str = "X-Checksum-Sha256";
const X_BLAKE3: &str = "X-Checksum-Blake3";
const CONTENT_MD5: &str = "Content-MD5";
/// Both say the same of a body that has no content coding, and ours have none.
const DIGESTS: [&str; 2] = ["Content-Digest", "Repr-Digest"];

/// All of these, as header maps spell them: most requests have none, and one look tells.
const NAMES: [&str; 5] = [
    "x-checksum-sha256",
    "x-checksum-blake3",
    "content-md5",
    "content-digest",
    "repr-digest",
];

/// RFC 9651 §4.2.7: padding and the bits it covers are no reason to refuse a byte sequence.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new()
        .with_decode_padding_mode(DecodePaddingMode::Indifferent)
        .with_decode_allow_trailing_bits(true),
);

/// A checksum that cannot be compared with anything; 400.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{header} must {duty}")]
pub struct BadChecksum {
    /// The header.
    pub header: &'static str,
    /// What it should have done.
    duty: &'static str,
}

const BE_HEX: &str = "be 64 hexadecimal digits";
const BE_BASE64: &str = "be the base64 of 16 bytes";
const BE_DICTIONARY: &str =
    "be a dictionary like sha-256=:<base64 of 32 bytes>:, sha-512=:<base64 of 64 bytes>:";
const AGREE: &str = "agree with the other checksums of the request";

/// All checksums that the headers ask for.
///
/// # Errors
/// When one is malformed, or contradicts another.
pub fn expected(headers: &HeaderMap) -> Result<ExpectedChecksums, BadChecksum> {
    if !headers.keys().any(|name| NAMES.contains(&name.as_str())) {
        return Ok(ExpectedChecksums::default());
    }
    let mut sha256 = Expected::new(X_SHA256);
    for value in lines(headers, X_SHA256) {
        sha256.is(from_hex(&value), BE_HEX)?;
    }
    let mut blake3 = Expected::new(X_BLAKE3);
    for value in lines(headers, X_BLAKE3) {
        blake3.is(from_hex(&value), BE_HEX)?;
    }
    let mut md5 = Expected::new(CONTENT_MD5);
    for value in lines(headers, CONTENT_MD5) {
        md5.is(from_base64(&value), BE_BASE64)?;
    }
    let mut sha512 = Expected::new(DIGESTS[0]);
    for header in DIGESTS {
        (sha256.header, sha512.header) = (header, header);
        for value in lines(headers, header) {
            let duty = BE_DICTIONARY;
            for (algorithm, value) in dictionary::parse(&value).ok_or(BadChecksum { header, duty })? {
                match algorithm {
                    "sha-256" => sha256.is(from_value(value), duty)?,
                    "sha-512" => sha512.is(from_value(value), duty)?,
                    _ => {}
                }
            }
        }
    }
    Ok(ExpectedChecksums {
        blake3: blake3.bytes.map(Digest::from),
        sha256: sha256.bytes,
        sha512: sha512.bytes,
        md5: md5.bytes,
    })
}

/// One checksum, as far as the headers have been read.
struct Expected<const N: usize> {
    /// The header that is being read.
    header: &'static str,
    bytes: Option<[u8; N]>,
}

impl<const N: usize> Expected<N> {
    fn new(header: &'static str) -> Self {
        Expected { header, bytes: None }
    }

    /// Takes a value that the header gives, `None` if it is malformed.
    fn is(&mut self, bytes: Option<[u8; N]>, duty: &'static str) -> Result<(), BadChecksum> {
        let header = self.header;
        let bytes = bytes.ok_or(BadChecksum { header, duty })?;
        if self.bytes.is_some_and(|known| known != bytes) {
            return Err(BadChecksum { header, duty: AGREE });
        }
        self.bytes = Some(bytes);
        Ok(())
    }
}

/// The header's lines. Bytes that are not UTF-8 become a letter that no checksum has.
fn lines(headers: &HeaderMap, name: &str) -> impl Iterator<Item = String> {
    headers
        .get_all(name)
        .map(|line| String::from_utf8_lossy(line.as_bytes()).trim().to_owned())
}

fn from_hex<const N: usize>(text: &str) -> Option<[u8; N]> {
    let mut bytes = [0; N];
    hex::decode_to_slice(text, &mut bytes).ok()?;
    Some(bytes)
}

fn from_base64<const N: usize>(text: &str) -> Option<[u8; N]> {
    BASE64.decode(text).ok()?.try_into().ok()
}

fn from_value<const N: usize>(value: Value<'_>) -> Option<[u8; N]> {
    match value {
        Value::Bytes(base64) => from_base64(base64),
        Value::Other => None,
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use actix_web::http::header::{HeaderName, HeaderValue};
    use base64::prelude::BASE64_STANDARD;
    use proptest::prelude::*;

    use super::*;

    const CONTENT_DIGEST: &str = DIGESTS[0];
    const REPR_DIGEST: &str = DIGESTS[1];
    const ALL: [&str; 5] = [X_SHA256, X_BLAKE3, CONTENT_MD5, CONTENT_DIGEST, REPR_DIGEST];

    fn read(lines: &[(&str, &str)]) -> Result<ExpectedChecksums, BadChecksum> {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            let name: HeaderName = name.parse().unwrap();
            headers.append(name, HeaderValue::from_bytes(value.as_bytes()).unwrap());
        }
        expected(&headers)
    }

    fn sf<const N: usize>(bytes: [u8; N]) -> String {
        format!(":{}:", BASE64_STANDARD.encode(bytes))
    }

    #[test]
    fn each_header_asks_for_its_checksum() {
        let none = ExpectedChecksums::default;
        let (a, b) = ([0xaa; 32], [0xbb; 64]);
        let sha256 = ExpectedChecksums {
            sha256: Some(a),
            ..none()
        };
        let sha512 = ExpectedChecksums {
            sha512: Some(b),
            ..none()
        };
        let both = ExpectedChecksums {
            sha256: Some(a),
            sha512: Some(b),
            ..none()
        };
        let blake3 = ExpectedChecksums {
            blake3: Some(a.into()),
            ..none()
        };
        let md5 = ExpectedChecksums {
            md5: Some([0xcc; 16]),
            ..none()
        };
        let (a, b, md5_text) = (sf(a), sf(b), BASE64_STANDARD.encode([0xcc; 16]));
        let table = [
            (X_SHA256, "aa".repeat(32), &sha256),
            (X_SHA256, "aA".repeat(32), &sha256),
            (X_BLAKE3, "AA".repeat(32), &blake3),
            (CONTENT_MD5, md5_text.clone(), &md5),
            (CONTENT_MD5, md5_text.trim_end_matches('=').to_owned(), &md5),
            (CONTENT_DIGEST, format!("sha-256={a}"), &sha256),
            (CONTENT_DIGEST, format!("sha-256={a}, sha-512={b}"), &both),
            (REPR_DIGEST, format!("sha-512={b};p=\"1,2\"\t,sha-256={a}"), &both),
            (
                REPR_DIGEST,
                format!("crc32c=:AAAA:, new=(1 2), sha-512={b}, md5=1"),
                &sha512,
            ),
            (CONTENT_DIGEST, "unixsum=:AAAA:".to_owned(), &none()),
            (CONTENT_DIGEST, String::new(), &none()),
        ];
        for (header, value, expected) in table {
            assert_eq!(
                read(&[(header, &value)]).as_ref(),
                Ok(expected),
                "{header}: {value}"
            );
        }
        assert_eq!(read(&[]), Ok(none()));
    }

    #[test]
    fn malformed_values_are_refused_by_name() {
        let table = [
            (X_SHA256, "", BE_HEX),
            (X_SHA256, "abc", BE_HEX),
            (X_SHA256, "é", BE_HEX),
            (X_BLAKE3, &"aa".repeat(33), BE_HEX),
            (X_BLAKE3, &"xx".repeat(32), BE_HEX),
            (CONTENT_MD5, "", BE_BASE64),
            (CONTENT_MD5, &"a".repeat(32), BE_BASE64),
            (CONTENT_MD5, "****", BE_BASE64),
            (CONTENT_DIGEST, "sha-256", BE_DICTIONARY),
            (CONTENT_DIGEST, "sha-256=abc", BE_DICTIONARY),
            (CONTENT_DIGEST, "sha-256=:YWJj:", BE_DICTIONARY),
            (CONTENT_DIGEST, "SHA-256=:YWJj:", BE_DICTIONARY),
            (REPR_DIGEST, "sha-512=:****:", BE_DICTIONARY),
            (REPR_DIGEST, "md5=:YWJj", BE_DICTIONARY),
        ];
        for (header, value, duty) in table {
            assert_eq!(
                read(&[(header, value)]),
                Err(BadChecksum { header, duty }),
                "{header}: {value}"
            );
        }
        assert_eq!(
            read(&[(X_SHA256, "abc")]).unwrap_err().to_string(),
            "X-Checksum-Sha256 must be 64 hexadecimal digits"
        );
    }

    #[test]
    fn headers_agree_or_are_refused() {
        let (a, b) = (
            format!("sha-256={}", sf([0xaa; 32])),
            format!("sha-256={}", sf([0xbb; 32])),
        );
        let both = format!("{a}, {b}");
        let (hex_a, hex_b) = ("aa".repeat(32), "bb".repeat(32));
        let agreeing: &[&[(&str, &str)]] = &[
            &[(X_SHA256, &hex_a), (CONTENT_DIGEST, &a), (REPR_DIGEST, &a)],
            &[(X_SHA256, &hex_a), (X_SHA256, &hex_a), (X_BLAKE3, &hex_b)],
        ];
        for lines in agreeing {
            assert_eq!(read(lines).unwrap().sha256, Some([0xaa; 32]), "{lines:?}");
        }
        let contradicting: &[(&[(&str, &str)], &str)] = &[
            (&[(X_SHA256, &hex_a), (X_SHA256, &hex_b)], X_SHA256),
            (&[(X_BLAKE3, &hex_a), (X_BLAKE3, &hex_b)], X_BLAKE3),
            (&[(X_SHA256, &hex_a), (CONTENT_DIGEST, &b)], CONTENT_DIGEST),
            (&[(CONTENT_DIGEST, &a), (REPR_DIGEST, &b)], REPR_DIGEST),
            (&[(REPR_DIGEST, &both)], REPR_DIGEST),
        ];
        for (lines, header) in contradicting {
            assert_eq!(read(lines), Err(BadChecksum { header, duty: AGREE }), "{lines:?}");
        }
    }

    proptest! {
        #[test]
        fn no_header_is_too_odd(
            header in prop::sample::select(&ALL[..]),
            value in prop_oneof![
                prop::collection::vec(any::<u8>(), 0..90),
                "sha-(256|512)=:[A-Za-z0-9+/=]{0,90}:".prop_map(String::into_bytes),
            ],
        ) {
            let Ok(value) = HeaderValue::from_bytes(&value) else { return Ok(()) };
            let mut headers = HeaderMap::new();
            headers.append(header.parse().unwrap(), value);
            if let Err(error) = expected(&headers) {
                prop_assert_eq!(error.header, header);
            }
        }

        #[test]
        fn what_was_written_out_is_read_back(
            sha256: [u8; 32],
            blake3: [u8; 32],
            sha512 in prop::collection::vec(any::<u8>(), 64),
            md5: [u8; 16],
        ) {
            let sha512: [u8; 64] = sha512.try_into().unwrap();
            let digests = format!("sha-256={}, sha-512={}", sf(sha256), sf(sha512));
            let read = read(&[
                (X_SHA256, &hex::encode_upper(sha256)),
                (X_BLAKE3, &hex::encode(blake3)),
                (CONTENT_MD5, &BASE64_STANDARD.encode(md5)),
                (CONTENT_DIGEST, &digests),
            ]);
            let expected = ExpectedChecksums {
                blake3: Some(blake3.into()),
                sha256: Some(sha256),
                sha512: Some(sha512),
                md5: Some(md5),
            };
            prop_assert_eq!(read, Ok(expected));
        }
    }
}
