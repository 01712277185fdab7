//! Checksums that a client wants verified before anything is published (API.md §4).

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
