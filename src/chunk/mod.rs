//! Bytes without places: what a chunk is called, where a body is cut, checksums. Pure code, no I/O.

mod chunker;
pub mod crc32c;
mod digest;
mod gear;
mod hasher;
mod params;
#[cfg(test)]
pub(crate) mod testing;
mod whole;

pub use chunker::Chunker;
pub use digest::{Digest, ParseDigestError};
pub use hasher::Hasher;
pub use params::{ChunkerParams, ChunkerParamsError};
pub use whole::{Span, WholeHasher};
