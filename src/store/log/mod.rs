//! The log: append-only files that hold everything that must not be lost.

pub mod format;
