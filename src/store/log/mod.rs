//! The log: append-only files that hold everything that must not be lost.
//!
//! [`mod@format`] is the bytes. The journal: [`record`] and [`group`] make them, [`journal`] writes them, [`scan`] and
//! [`journal_footer`] read them back. Segments: [`segment`] writes them from one thread, [`segment_recovery`] puts
//! them in order after a crash. [`files`] reads records of both.

pub mod disk;
pub mod files;
pub mod format;
pub mod group;
pub mod journal;
pub mod journal_footer;
mod page_cache;
pub mod record;
pub mod rot;
pub mod scan;
pub mod segment;
mod segment_file;
pub mod segment_footer;
pub mod segment_recovery;
mod segment_thread;
#[cfg(test)]
pub mod simulated;
#[cfg(test)]
pub mod testing;
