//! The headers that say what a body must hash to (API.md §4).

use actix_web::http::header::{HeaderMap, HeaderValue};
use base64::Engine;
use base64::alphabet;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig};
use base64::engine::DecodePaddingMode;

use crate::artifact::ExpectedChecksums;
use crate::artifact::checksum::ChecksumMismatch;

const SHA256: &str = "X-Checksum-Sha256";
const BLAKE3: &str = "X-Checksum-Blake3";
const MD5: &str = "Content-MD5";
const DIGESTS: [&str; 2] = ["Content-Digest", "Repr-Digest"];

/// Padding may be left out, as RFC 8941 says.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// A checksum header that cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadChecksum {
    /// Not what the header should hold.
    #[error("{header}: not {what}")]
    Malformed {
        /// Which header.
        header: &'static str,
        /// What it should hold.
        what: &'static str,
    },
    /// Two headers want different values of one checksum.
    #[error("{header}: contradicts another header")]
    Contradiction {
        /// The later one.
        header: &'static str,
    },
}

/// What the headers of a PUT say.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wanted {
    /// What the body must hash to.
    pub checksums: ExpectedChecksums,
    /// Which header wants sha-256, sha-512.
    sources: [Option<&'static str>; 2],
}

impl Wanted {
    /// Reads all checksum headers.
    pub fn parse(headers: &HeaderMap) -> Result<Self, BadChecksum> {
        let mut wanted = Wanted::default();
        for value in headers.get_all(BLAKE3) {
            let digest: [u8; 32] = from_hex(BLAKE3, value)?;
            agree(&mut wanted.checksums.blake3, digest.into(), BLAKE3)?;
        }
        for value in headers.get_all(SHA256) {
            wanted.want_sha256(from_hex(SHA256, value)?, SHA256)?;
        }
        for value in headers.get_all(MD5) {
            let md5 = from_base64(MD5, text(value), "the base64 of 16 bytes")?;
            agree(&mut wanted.checksums.md5, md5, MD5)?;
        }
        for header in DIGESTS {
            for value in headers.get_all(header) {
                wanted.read_dictionary(header, text(value))?;
            }
        }
        Ok(wanted)
    }

    /// The text of a refusal, which begins with the header.
    pub fn explain(&self, mismatch: &ChecksumMismatch) -> String {
        let header = match mismatch.name {
            "blake3" => Some(BLAKE3),
            "md5" => Some(MD5),
            "sha-256" => self.sources[0],
            "sha-512" => self.sources[1],
            _ => None,
        };
        match header {
            Some(header) => format!("{header}: {mismatch}"),
            None => mismatch.to_string(),
        }
    }

    /// `sha-256=:base64:, sha-512=:base64:` (RFC 9530). Algorithms that we do not know are left to others.
    fn read_dictionary(&mut self, header: &'static str, dictionary: &str) -> Result<(), BadChecksum> {
        let members = dictionary.split(',').map(str::trim);
        for member in members.filter(|member| !member.is_empty()) {
            let (algorithm, value) = member.split_once('=').unwrap_or((member, ""));
            if algorithm.eq_ignore_ascii_case("sha-256") {
                let sha256 = byte_sequence(header, value, "sha-256=:(the base64 of 32 bytes):")?;
                self.want_sha256(sha256, header)?;
            } else if algorithm.eq_ignore_ascii_case("sha-512") {
                let sha512 = byte_sequence(header, value, "sha-512=:(the base64 of 64 bytes):")?;
                agree(&mut self.checksums.sha512, sha512, header)?;
                self.sources[1].get_or_insert(header);
            }
        }
        Ok(())
    }

    fn want_sha256(&mut self, sha256: [u8; 32], header: &'static str) -> Result<(), BadChecksum> {
        agree(&mut self.checksums.sha256, sha256, header)?;
        self.sources[0].get_or_insert(header);
        Ok(())
    }
}

/// Sets a value that must not be set to another one.
fn agree<T: PartialEq>(slot: &mut Option<T>, value: T, header: &'static str) -> Result<(), BadChecksum> {
    match slot {
        Some(earlier) if *earlier != value => Err(BadChecksum::Contradiction { header }),
        _ => {
            *slot = Some(value);
            Ok(())
        }
    }
}

/// What is no text decodes to nothing, and is refused as such.
fn text(value: &HeaderValue) -> &str {
    value.to_str().unwrap_or_default().trim()
}

fn from_hex(header: &'static str, value: &HeaderValue) -> Result<[u8; 32], BadChecksum> {
    let mut digest = [0; 32];
    let what = "64 hexadecimal digits";
    hex::decode_to_slice(text(value), &mut digest).map_err(|_| BadChecksum::Malformed { header, what })?;
    Ok(digest)
}

/// A byte sequence of RFC 8941, with or without parameters.
fn byte_sequence<const N: usize>(
    header: &'static str,
    value: &str,
    what: &'static str,
) -> Result<[u8; N], BadChecksum> {
    let item = value.split(';').next().unwrap_or_default().trim();
    let inner = item.strip_prefix(':').and_then(|rest| rest.strip_suffix(':'));
    from_base64(header, inner.unwrap_or_default(), what)
}

fn from_base64<const N: usize>(
    header: &'static str,
    text: &str,
    what: &'static str,
) -> Result<[u8; N], BadChecksum> {
    let decoded = BASE64.decode(text).ok();
    let digest = decoded.and_then(|bytes| bytes.try_into().ok());
    digest.ok_or(BadChecksum::Malformed { header, what })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use actix_web::http::header::HeaderName;
    use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};
    use proptest::prelude::*;

    use super::*;

    fn headers(rows: &[(&str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in rows {
            let name = HeaderName::try_from(*name).unwrap();
            headers.append(name, HeaderValue::from_str(value).unwrap());
        }
        headers
    }

    fn parse(rows: &[(&str, &str)]) -> Result<ExpectedChecksums, BadChecksum> {
        Wanted::parse(&headers(rows)).map(|wanted| wanted.checksums)
    }

    #[test]
    fn every_header_says_its_checksum() {
        let (sha256, sha512, md5) = ([1; 32], [2; 64], [3; 16]);
        let none = ExpectedChecksums::default();
        let only_sha256 = ExpectedChecksums {
            sha256: Some(sha256),
            ..none.clone()
        };
        let hex = hex::encode([0xab; 32]);
        let blake3 = ExpectedChecksums {
            blake3: Some([0xab; 32].into()),
            ..none.clone()
        };
        let both = ExpectedChecksums {
            sha256: Some(sha256),
            sha512: Some(sha512),
            ..none.clone()
        };
        let md5_only = ExpectedChecksums {
            md5: Some(md5),
            ..none.clone()
        };
        let dictionary = format!(
            "sha-512=:{}:;q=1 ,unixsum=7, SHA-256=:{}:",
            STANDARD.encode(sha512),
            STANDARD_NO_PAD.encode(sha256)
        );
        assert_eq!(parse(&[]), Ok(none.clone()));
        assert_eq!(
            parse(&[("x-checksum-sha256", &hex::encode(sha256))]),
            Ok(only_sha256)
        );
        for text in [hex.clone(), hex.to_uppercase()] {
            assert_eq!(parse(&[("X-Checksum-Blake3", &text)]), Ok(blake3.clone()));
        }
        assert_eq!(
            parse(&[("Content-MD5", &STANDARD.encode(md5))]),
            Ok(md5_only)
        );
        for name in DIGESTS {
            assert_eq!(parse(&[(name, &dictionary)]), Ok(both.clone()), "{name}");
        }
        assert_eq!(parse(&[("Content-Digest", "md5=:YWJj:, crc32c=:!:")]), Ok(none));
    }

    #[test]
    fn what_cannot_be_read_names_its_header() {
        for (name, value) in [
            ("X-Checksum-Sha256", "abc"),
            ("X-Checksum-Sha256", ""),
            ("X-Checksum-Blake3", "zz"),
            ("Content-MD5", "not base64!"),
            ("Content-MD5", "YWJj"),
            ("Content-Digest", "sha-256=abc"),
            ("Content-Digest", "sha-256"),
            ("Content-Digest", "sha-256=:YWJj:"),
            ("Repr-Digest", "sha-512=:!!:"),
        ] {
            let error = parse(&[(name, value)]).unwrap_err();
            assert!(error.to_string().starts_with(name), "{value}: {error}");
        }
    }

    #[test]
    fn headers_must_not_contradict_each_other() {
        let (one, two) = (hex::encode([1; 32]), hex::encode([2; 32]));
        let same = format!("sha-256=:{}:", STANDARD.encode([1; 32]));
        assert!(parse(&[("X-Checksum-Sha256", &one), ("Content-Digest", &same)]).is_ok());
        let error = parse(&[("X-Checksum-Sha256", &two), ("Content-Digest", &same)]).unwrap_err();
        assert_eq!(error.to_string(), "Content-Digest: contradicts another header");
        assert!(parse(&[("X-Checksum-Sha256", &one), ("X-Checksum-Sha256", &two)]).is_err());
    }

    #[test]
    fn a_mismatch_names_the_header_that_wanted_it() {
        let dictionary = format!("sha-256=:{}:", STANDARD.encode([1; 32]));
        let wanted = Wanted::parse(&headers(&[("Repr-Digest", &dictionary)])).unwrap();
        let mismatch = |name| ChecksumMismatch {
            name,
            expected: "1".to_owned(),
            computed: "2".to_owned(),
        };
        assert_eq!(
            wanted.explain(&mismatch("sha-256")),
            "Repr-Digest: sha-256 does not match the body: expected 1, computed 2"
        );
        assert!(wanted.explain(&mismatch("blake3")).starts_with("X-Checksum-Blake3: blake3"));
    }

    proptest! {
        #[test]
        fn any_value_is_read_or_refused(value in "[ -~]{0,80}", member in "(sha-256|sha-512|,|=|:|;|[A-Za-z0-9+/]){0,12}") {
            for name in [SHA256, BLAKE3, MD5, DIGESTS[0], DIGESTS[1]] {
                let _ = parse(&[(name, &value)]);
                let _ = parse(&[(name, &member)]);
            }
        }
    }
}
