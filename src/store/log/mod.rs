//! The log: append-only files that hold everything that must not be lost.

pub mod disk;
pub mod files;
pub mod footer;
pub mod format;
mod page_cache;
pub mod segment;
mod segment_file;
pub mod segment_recovery;
mod segment_thread;
#[cfg(test)]
pub mod testing;
