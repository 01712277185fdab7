//! Checksums that a client wants verified before anything is published (API.md §4).

use md5::Md5;
use sha2::{Digest as _, Sha256, Sha512};

use crate::chunk::Digest;

/// What the body must hash to; `None`: not asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ExpectedChecksums {
    /// `X-Checksum-Blake3`.
    pub blake3: Option<Digest>,
    /// `X-Checksum-Sha256`, `Content-Digest` or `Repr-Digest` with sha-256.
    pub sha256: Option<[u8; 32]>,
    /// `Content-Digest` or `Repr-Digest` with sha-512.
    pub sha512: Option<[u8; 64]>,
    /// `Content-MD5`.
    pub md5: Option<[u8; 16]>,
}

/// A checksum that does not match. Texts in the header's own encoding.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{name} does not match the body: expected {expected}, computed {computed}")]
pub struct ChecksumMismatch {
    /// The checksum, for instance `sha-256`.
    pub name: &'static str,
    /// What the client sent, in hexadecimal.
    pub expected: String,
    /// What the body hashes to, in hexadecimal.
    pub computed: String,
}

/// Computes what was asked for while the body goes by, and nothing else: the store takes the blake3 anyway.
#[derive(Debug)]
pub struct Checksums {
    expected: ExpectedChecksums,
    sha256: Option<Sha256>,
    sha512: Option<Sha512>,
    md5: Option<Md5>,
}

impl Checksums {
    /// Ready for the first byte.
    pub fn new(expected: ExpectedChecksums) -> Self {
        Checksums {
            sha256: expected.sha256.map(|_| Sha256::new()),
            sha512: expected.sha512.map(|_| Sha512::new()),
            md5: expected.md5.map(|_| Md5::new()),
            expected,
        }
    }

    /// Takes the next bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        if let Some(sha256) = &mut self.sha256 {
            sha256.update(bytes);
        }
        if let Some(sha512) = &mut self.sha512 {
            sha512.update(bytes);
        }
        if let Some(md5) = &mut self.md5 {
            md5.update(bytes);
        }
    }

    /// Compares everything that was asked for; gives the SHA-256 back if it was among it.
    ///
    /// # Errors
    /// The first of blake3, sha-256, sha-512 and md5 that does not match.
    pub fn verify(self, blake3: Digest) -> Result<Option<[u8; 32]>, ChecksumMismatch> {
        compare(
            "blake3",
            self.expected.blake3.as_ref().map(Digest::as_bytes),
            Some(blake3.as_bytes()),
        )?;
        let sha256 = self.sha256.map(|hash| <[u8; 32]>::from(hash.finalize()));
        compare("sha-256", self.expected.sha256.as_ref(), sha256.as_ref())?;
        let sha512 = self.sha512.map(|hash| <[u8; 64]>::from(hash.finalize()));
        compare("sha-512", self.expected.sha512.as_ref(), sha512.as_ref())?;
        let md5 = self.md5.map(|hash| <[u8; 16]>::from(hash.finalize()));
        compare("md5", self.expected.md5.as_ref(), md5.as_ref())?;
        Ok(sha256)
    }
}

fn compare<const N: usize>(
    name: &'static str,
    expected: Option<&[u8; N]>,
    computed: Option<&[u8; N]>,
) -> Result<(), ChecksumMismatch> {
    match (expected, computed) {
        (Some(expected), Some(computed)) if expected != computed => Err(ChecksumMismatch {
            name,
            expected: hex::encode(expected),
            computed: hex::encode(computed),
        }),
        _ => Ok(()),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    const SHA256: &str = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
    const SHA512: &str = "ddaf35a193617abacc417349ae20413112e6fa4e89a97ea20a9eeee64b55d39a\
                          2192992a274fc1a836ba3c23a3feebbd454d4423643ce80e2a9ac94fa54ca49f";
    const MD5: &str = "900150983cd24fb0d6963f7d28e17f72";

    fn bytes<const N: usize>(text: &str) -> [u8; N] {
        hex::decode(text).unwrap().try_into().unwrap()
    }

    /// The published vectors for "abc".
    fn abc() -> ExpectedChecksums {
        ExpectedChecksums {
            blake3: Some(Digest::of(b"abc")),
            sha256: Some(bytes(SHA256)),
            sha512: Some(bytes(SHA512)),
            md5: Some(bytes(MD5)),
        }
    }

    fn verify(expected: ExpectedChecksums, body: &[u8]) -> Result<Option<[u8; 32]>, ChecksumMismatch> {
        let mut checksums = Checksums::new(expected);
        for byte in body.chunks(1) {
            checksums.update(byte);
        }
        checksums.verify(Digest::of(body))
    }

    #[test]
    fn the_right_body_passes_and_its_sha256_is_known() {
        assert_eq!(verify(abc(), b"abc"), Ok(Some(bytes(SHA256))));
    }

    #[test]
    fn nothing_is_computed_that_was_not_asked_for() {
        assert_eq!(verify(ExpectedChecksums::default(), b"abc"), Ok(None));
        let md5_only = ExpectedChecksums {
            md5: abc().md5,
            ..Default::default()
        };
        let checksums = Checksums::new(md5_only.clone());
        assert!(checksums.sha256.is_none() && checksums.sha512.is_none());
        assert_eq!(verify(md5_only, b"abc"), Ok(None));
    }

    #[test]
    fn each_checksum_is_compared_and_named() {
        let none = ExpectedChecksums::default;
        let only = [
            (
                "blake3",
                ExpectedChecksums {
                    blake3: abc().blake3,
                    ..none()
                },
            ),
            (
                "sha-256",
                ExpectedChecksums {
                    sha256: abc().sha256,
                    ..none()
                },
            ),
            (
                "sha-512",
                ExpectedChecksums {
                    sha512: abc().sha512,
                    ..none()
                },
            ),
            (
                "md5",
                ExpectedChecksums {
                    md5: abc().md5,
                    ..none()
                },
            ),
        ];
        for (name, expected) in only {
            assert!(verify(expected.clone(), b"abc").is_ok(), "{name}");
            let mismatch = verify(expected, b"abd").unwrap_err();
            assert_eq!(mismatch.name, name);
            assert_ne!(mismatch.expected, mismatch.computed);
        }
        let mismatch = verify(
            ExpectedChecksums {
                md5: abc().md5,
                ..none()
            },
            b"",
        )
        .unwrap_err();
        assert_eq!(
            mismatch.to_string(),
            format!("md5 does not match the body: expected {MD5}, computed d41d8cd98f00b204e9800998ecf8427e")
        );
    }
}
