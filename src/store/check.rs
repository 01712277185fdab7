//! Reading all of a log file and finding what is wrong with it: every record, dead ones too, the groups, the footer.
//!
//! Scrub and `larder verify` share it. Nothing is written and nothing decided: a [`Finding`] says what is damaged, and
//! which copies of chunks and manifests with it.

mod footer;
mod walk;
mod windows;

use std::io;
use std::path::Path;

use super::error::StoreError;
use super::log::files;
use super::log::format::{Binding, FILE_HEADER_LEN};
use super::model::{FileKind, Place};
use super::pace::Pace;
use crate::chunk::Digest;
use walk::Walk;
pub use windows::Windows;

/// Damaged bytes of a log file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// Kind of the file.
    pub kind: FileKind,
    /// Number of the file.
    pub file: u64,
    /// Where the damage begins, bytes from the start.
    pub offset: u64,
    /// How many bytes cannot be relied on.
    pub len: u64,
    /// What is wrong.
    pub what: String,
    /// Copies of chunks and manifests that are lost with it.
    pub copies: Vec<(Digest, Place)>,
}

/// What reading a file gave.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Checked {
    /// Records that were read, footers not counted.
    pub records: u64,
    /// Bytes that were read.
    pub bytes: u64,
    /// Whether the file ends with a footer.
    pub sealed: bool,
    /// What is wrong.
    pub findings: Vec<Finding>,
}

/// A file to be read.
#[derive(Clone, Copy, Debug)]
pub struct Target<'a> {
    /// The data directory.
    pub data: &'a Path,
    /// What its records must be bound to.
    pub binding: Binding,
    /// Where the records of a file that is not sealed end, where that is known.
    pub end: Option<u64>,
}

/// Reads all of a file, at the pace given.
///
/// # Errors
/// `Io` where it cannot be opened; `Closed` where the pace says that it is time to end. Bytes that cannot be read are
/// a finding.
pub fn file(target: Target<'_>, pace: &dyn Pace) -> Result<Checked, StoreError> {
    let Binding { kind, file, .. } = target.binding;
    let mut windows = Windows::open(&files::path(target.data, kind, file), pace)?;
    let size = windows.size();
    let footer = footer::Footer::find(&mut windows, &target.binding)?;
    let end = match &footer {
        Some(footer) => footer.offset,
        None => target.end.unwrap_or(size).min(size),
    };
    let mut walk = Walk::new(target.binding, end, footer.is_some() || target.end.is_some());
    check_file_header(&mut walk, &mut windows)?;
    walk.run(&mut windows)?;
    let mut checked = Checked {
        records: walk.records,
        bytes: size,
        sealed: footer.is_some(),
        findings: walk.findings,
    };
    if let Some(footer) = footer {
        footer.check(&walk.seen, &mut checked.findings);
    }
    for (offset, why) in windows.into_unreadable() {
        checked
            .findings
            .push(finding(&target.binding, offset, windows::PAGE, why));
    }
    Ok(checked)
}

fn check_file_header(walk: &mut Walk, windows: &mut Windows<'_>) -> Result<(), StoreError> {
    let mut header = Vec::new();
    windows.read(0, FILE_HEADER_LEN, &mut header)?;
    if let Err(error) = walk.binding.check_file_header(&header) {
        walk.findings
            .push(finding(&walk.binding, 0, FILE_HEADER_LEN, error.to_string()));
    }
    Ok(())
}

fn finding(binding: &Binding, offset: u64, len: u64, what: String) -> Finding {
    Finding {
        kind: binding.kind,
        file: binding.file,
        offset,
        len,
        what,
        copies: Vec::new(),
    }
}

/// Whether the error says that there is no such file any more.
pub fn is_gone(error: &StoreError) -> bool {
    matches!(error, StoreError::Io(error) if error.kind() == io::ErrorKind::NotFound)
}

#[cfg(test)]
mod tests;
