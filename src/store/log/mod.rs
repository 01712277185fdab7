//! The log: append-only files that hold everything that must not be lost.

pub mod footer;
pub mod format;
pub mod group;
pub mod journal;
pub mod record;
pub mod scan;
