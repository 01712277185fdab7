//! Bytes without places: what a chunk is called and where a body is cut. Pure code, no I/O.

mod chunker;
mod digest;
mod gear;
mod params;
mod whole;

pub use chunker::Chunker;
pub use digest::{Digest, ParseDigestError};
pub use params::{ChunkerParams, ChunkerParamsError};
pub use whole::{Span, WholeHasher};
