//! The index over the log. The only room that says sled.

mod batch;
pub mod keys;
mod rows;
pub mod sum;
mod tree;

pub use batch::Batch;
pub use tree::{Index, decode, give_up_reserve, snapshot_bytes};
