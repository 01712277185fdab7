//! Bytes without places: what a chunk is called and where a body is cut. Pure code, no I/O.

mod chunker;
mod digest;
mod whole;

pub use chunker::{Chunker, ChunkerParams, ChunkerParamsError};
pub use digest::{Digest, ParseDigestError};
pub use whole::{Span, WholeHasher};
