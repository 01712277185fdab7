//! The index over the log. The only room that says sled.

mod batch;
mod block;
mod changes;
mod digests;
mod filter;
mod floor;
mod generations;
mod handle;
pub mod keys;
mod levels;
mod locate;
mod located;
mod manifest;
mod memtable;
mod merge;
mod merged;
mod retired;
mod rewrite;
mod rows;
mod run;
mod run_writer;
mod sled_files;
mod span;
pub mod sum;
mod tree;

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod levels_tests;
#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod pressure_tests;

pub use batch::Batch;
pub use handle::{Index, decode};
pub use locate::{Located, Missing};
pub use rewrite::clear_unfinished;
pub use sled_files::{give_up_reserve, snapshot_bytes};
pub use tree::{Entry, MANY_RUNS};
