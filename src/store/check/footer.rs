//! The footer of a sealed file against its records.

use std::collections::HashSet;

use super::walk::Seen;
use super::windows::Windows;
use super::{Finding, finding};
use crate::chunk::Digest;
use crate::store::error::StoreError;
use crate::store::log::format::{Binding, RECORD_HEADER_LEN, RecordKind, Trailer, padded};
use crate::store::log::record::Record;
use crate::store::log::scan::Found;
use crate::store::log::{journal_footer, segment_footer};
use crate::store::model::{FileKind, Place};

/// What the end of a sealed file says.
pub struct Footer {
    binding: Binding,
    /// Where it begins.
    pub offset: u64,
    len: u64,
    /// What it lists; `None` where it is damaged.
    listed: Option<Vec<Seen>>,
}

impl Footer {
    /// The footer of a file; `None` where it has no valid trailer.
    pub fn find(windows: &mut Windows<'_>, binding: &Binding) -> Result<Option<Self>, StoreError> {
        let Some(at) = windows.size().checked_sub(Trailer::LEN as u64) else {
            return Ok(None);
        };
        let mut bytes = Vec::new();
        windows.read(at, Trailer::LEN as u64, &mut bytes)?;
        let trailer = Trailer::decode(&bytes, binding, at).ok();
        let Some(Trailer { footer: offset }) = trailer.filter(|trailer| trailer.footer < at) else {
            return Ok(None);
        };
        windows.read(offset, at - offset, &mut bytes)?;
        let listed = match binding.kind {
            FileKind::Segment => segment_footer::parse(&bytes, binding, offset).map(of_segment),
            FileKind::Journal => journal_footer::parse(&bytes, binding, offset).map(of_journal),
        };
        Ok(Some(Footer {
            binding: *binding,
            offset,
            len: at - offset,
            listed: listed.ok(),
        }))
    }

    /// Compares it with the records that were seen, and adds to each finding the copies that it costs.
    pub fn check(&self, seen: &[Seen], findings: &mut Vec<Finding>) {
        let Some(listed) = &self.listed else {
            findings.push(finding(&self.binding, self.offset, self.len, "footer".to_owned()));
            return;
        };
        if findings.is_empty() && listed != seen {
            findings.extend(self.differences(listed, seen));
        }
        let copies = listed
            .iter()
            .filter(|seen| matches!(seen.kind, RecordKind::Chunk | RecordKind::Manifest));
        for seen in copies {
            let place = Place {
                kind: self.binding.kind,
                file: self.binding.file,
                offset: seen.offset,
                stored_len: seen.stored_len,
            };
            for finding in findings.iter_mut() {
                // A group's checksum blames nothing in particular.
                let inside = finding.offset <= seen.offset && seen.offset < finding.offset + finding.len;
                if inside && finding.what != GROUP && finding.copies.iter().all(|(_, known)| *known != place)
                {
                    finding.copies.push((seen.digest, place));
                }
            }
        }
    }
}

impl Footer {
    /// Records that are listed and not there, as where zeroes took their place; else that there are others.
    fn differences(&self, listed: &[Seen], seen: &[Seen]) -> Vec<Finding> {
        let there: HashSet<u64> = seen.iter().map(|seen| seen.offset).collect();
        let missing = listed.iter().filter(|listed| !there.contains(&listed.offset));
        let missing: Vec<Finding> = missing
            .map(|listed| {
                let len = padded(RECORD_HEADER_LEN as u64 + u64::from(listed.stored_len));
                finding(
                    &self.binding,
                    listed.offset,
                    len,
                    "the record is missing".to_owned(),
                )
            })
            .collect();
        if !missing.is_empty() {
            return missing;
        }
        let what = "the footer does not list the records of the file".to_owned();
        vec![finding(&self.binding, self.offset, self.len, what)]
    }
}

/// What a walk says of a group whose records are good one by one.
const GROUP: &str = "group checksum";

fn of_segment(footer: segment_footer::Footer) -> Vec<Seen> {
    let seen = |entry: &segment_footer::FooterEntry| Seen {
        kind: RecordKind::Chunk,
        digest: entry.digest,
        offset: entry.offset,
        stored_len: entry.stored_len,
    };
    footer.entries.iter().map(seen).collect()
}

fn of_journal(found: Vec<Found>) -> Vec<Seen> {
    let records = found.into_iter().flat_map(|found| match found {
        Found::Group { records, .. } => records,
        Found::Damaged { saved, .. } => saved,
    });
    let seen = |offset, stored_len, record: &Record| {
        // What was decoded from a footer encodes again.
        let (kind, digest, payload) = record.encode().ok()?;
        Some(Seen {
            kind,
            digest: digest.unwrap_or_else(|| Digest::of(&payload)),
            offset,
            stored_len,
        })
    };
    records
        .filter_map(|at| seen(at.offset, at.stored_len, &at.record))
        .collect()
}
