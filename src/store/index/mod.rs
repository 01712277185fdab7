//! The index over the log. The only room that says sled.

mod batch;
mod filter;
mod handle;
pub mod keys;
mod rewrite;
mod rows;
pub mod sum;
mod tree;

pub use batch::Batch;
pub use handle::{Index, decode};
pub use rewrite::clear_unfinished;
pub use tree::{Entry, Noting, give_up_reserve, snapshot_bytes};
