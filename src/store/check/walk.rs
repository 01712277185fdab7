//! From record to record, and over what is none.

use super::windows::Windows;
use super::{Finding, finding};
use crate::chunk::{Digest, crc32c};
use crate::store::error::StoreError;
use crate::store::log::format::{
    Binding, FILE_HEADER_LEN, Group, RECORD_HEADER_LEN, RecordHeader, RecordKind, block_end,
};
use crate::store::log::record::Record;
use crate::store::model::{FileKind, Place};

/// Records begin at multiples of this, bytes.
const ALIGNMENT: u64 = 8;
/// Bytes searched at a time for the next record.
const STRIDE: u64 = 64 << 10;

/// A record that has a good header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seen {
    /// What it is.
    pub kind: RecordKind,
    /// Its content address.
    pub digest: Digest,
    /// Where it stands.
    pub offset: u64,
    /// Length of its payload.
    pub stored_len: u32,
}

/// The group that the walk is in.
#[derive(Debug)]
struct OpenGroup {
    number: u64,
    head: Group,
    begun: u64,
    end: u64,
    crc: u32,
    records: u32,
    /// Something in it has been found wrong already.
    broken: bool,
}

/// A walk over the records of a file.
#[derive(Debug)]
pub struct Walk {
    pub(super) binding: Binding,
    /// Where the records end.
    end: u64,
    /// Whether they certainly reach to the end; else zeroes are room that was never used.
    exact: bool,
    at: u64,
    group: Option<OpenGroup>,
    /// In a segment, the number of the next record, where the one before could be read.
    next_number: Option<u64>,
    /// Records that were read.
    pub records: u64,
    /// Each record but groups, in order.
    pub seen: Vec<Seen>,
    /// What is wrong.
    pub findings: Vec<Finding>,
}

impl Walk {
    /// A walk up to `end`.
    pub fn new(binding: Binding, end: u64, exact: bool) -> Self {
        Walk {
            binding,
            end,
            exact,
            at: FILE_HEADER_LEN,
            group: None,
            next_number: Some(0),
            records: 0,
            seen: Vec::new(),
            findings: Vec::new(),
        }
    }

    /// Goes to the end.
    pub fn run(&mut self, windows: &mut Windows<'_>) -> Result<(), StoreError> {
        let mut bytes = Vec::new();
        while self.at < self.end {
            windows.read(self.at, RECORD_HEADER_LEN as u64, &mut bytes)?;
            match RecordHeader::decode(&bytes, &self.binding, self.at) {
                Ok(header) if self.at + header.record_len() <= self.end => {
                    windows.read(self.at, header.record_len(), &mut bytes)?;
                    self.record(&header, &bytes);
                    self.at += header.record_len();
                }
                Ok(_) => self.stretch(windows, "the file ends inside a record")?,
                Err(_) if self.skips_to_block(windows)? => {}
                Err(error) => self.stretch(windows, error.what)?,
            }
            self.close_group();
        }
        if let Some(group) = self.group.take().filter(|group| !group.broken) {
            self.find(group.begun, self.end - group.begun, "the group is cut short");
        }
        Ok(())
    }

    fn record(&mut self, header: &RecordHeader, bytes: &[u8]) {
        self.records += 1;
        self.next_number = header.number.checked_add(1);
        let payload = bytes
            .get(RECORD_HEADER_LEN..RECORD_HEADER_LEN + header.stored_len as usize)
            .unwrap_or_default();
        if header.kind == RecordKind::Group {
            return self.open_group(header, payload);
        }
        self.seen.push(Seen {
            kind: header.kind,
            digest: header.digest,
            offset: self.at,
            stored_len: header.stored_len,
        });
        let number = header.number;
        let mut wrong = self.wrong(header, payload);
        match &mut self.group {
            Some(group) => {
                group.crc = crc32c::append(group.crc, bytes);
                group.records += 1;
                if group.number != number {
                    wrong = wrong.or(Some("a record of another group"));
                }
            }
            None if self.binding.kind == FileKind::Journal => {
                wrong = wrong.or(Some("a record outside of every group"));
            }
            None => {}
        }
        if let Some(what) = wrong {
            self.find(self.at, header.record_len(), what);
            if matches!(header.kind, RecordKind::Chunk | RecordKind::Manifest)
                && let Some(finding) = self.findings.last_mut()
            {
                let place = Place {
                    kind: self.binding.kind,
                    file: self.binding.file,
                    offset: self.at,
                    stored_len: header.stored_len,
                };
                finding.copies.push((header.digest, place));
            }
        }
    }

    /// What is wrong with a record whose header is good.
    fn wrong(&self, header: &RecordHeader, payload: &[u8]) -> Option<&'static str> {
        if let Err(error) = header.check_payload(payload) {
            return Some(error.what);
        }
        // The digest of a manifest is the blob's.
        if header.kind != RecordKind::Manifest && Digest::of(payload) != header.digest {
            return Some("payload digest");
        }
        match (self.binding.kind, header.kind) {
            (FileKind::Segment, RecordKind::Chunk) => None,
            (FileKind::Segment, _) => Some("a record that no segment has"),
            (FileKind::Journal, _) => Record::decode(header, payload).err().map(|error| error.what),
        }
    }

    fn open_group(&mut self, header: &RecordHeader, payload: &[u8]) {
        if let Some(before) = self.group.take().filter(|group| !group.broken) {
            self.find(before.begun, self.at - before.begun, "the group is cut short");
        }
        let head = match header
            .check_payload(payload)
            .and_then(|()| Group::decode(payload))
        {
            Ok(head) => head,
            Err(error) => return self.find(self.at, header.record_len(), error.what),
        };
        self.group = Some(OpenGroup {
            number: header.number,
            head,
            begun: self.at,
            end: self
                .at
                .saturating_add(header.record_len())
                .saturating_add(head.body_len),
            crc: 0,
            records: 0,
            broken: false,
        });
    }

    /// Ends the group at its end.
    fn close_group(&mut self) {
        let Some(group) = self.group.take_if(|group| self.at >= group.end) else {
            return;
        };
        let good = group.crc == group.head.body_crc && group.records == group.head.records;
        if !group.broken && !good {
            self.find(group.begun, group.end - group.begun, "group checksum");
        }
    }

    /// Goes over the rest of a block that was left free: behind a group, and behind a record that was synced before
    /// the next one came.
    fn skips_to_block(&mut self, windows: &mut Windows<'_>) -> Result<bool, StoreError> {
        let next = block_end(self.at).min(self.end);
        if next == self.at || self.group.is_some() || !is_zero(windows, self.at, next)? {
            return Ok(false);
        }
        if next < self.end {
            let mut bytes = Vec::new();
            windows.read(next, RECORD_HEADER_LEN as u64, &mut bytes)?;
            let follows = RecordHeader::decode(&bytes, &self.binding, next).is_ok_and(|header| {
                self.binding.kind == FileKind::Journal || Some(header.number) == self.next_number
            });
            if !follows {
                return Ok(false);
            }
        }
        self.at = next;
        Ok(true)
    }

    /// Nothing readable begins here: goes on at the next good header.
    fn stretch(&mut self, windows: &mut Windows<'_>, what: &'static str) -> Result<(), StoreError> {
        let from = self.at;
        self.next_number = None;
        let next = self.next_header(windows, from + ALIGNMENT)?;
        self.at = next.unwrap_or(self.end);
        let unused = !self.exact && next.is_none() && is_zero(windows, from, self.end)?;
        if !unused {
            self.find(from, self.at - from, what);
        }
        Ok(())
    }

    fn next_header(&self, windows: &mut Windows<'_>, from: u64) -> Result<Option<u64>, StoreError> {
        let mut bytes = Vec::new();
        let mut start = from;
        while start < self.end {
            let len = (STRIDE + RECORD_HEADER_LEN as u64).min(self.end - start);
            windows.read(start, len, &mut bytes)?;
            for at in (0..bytes.len().min(STRIDE as usize)).step_by(ALIGNMENT as usize) {
                let offset = start + at as u64;
                if RecordHeader::decode(&bytes[at..], &self.binding, offset).is_ok() {
                    return Ok(Some(offset));
                }
            }
            start += STRIDE;
        }
        Ok(None)
    }

    fn find(&mut self, offset: u64, len: u64, what: &str) {
        if let Some(group) = &mut self.group {
            group.broken = true;
        }
        self.findings
            .push(finding(&self.binding, offset, len, what.to_owned()));
    }
}

fn is_zero(windows: &mut Windows<'_>, from: u64, end: u64) -> Result<bool, StoreError> {
    let mut bytes = Vec::new();
    let mut at = from;
    while at < end {
        windows.read(at, STRIDE.min(end - at), &mut bytes)?;
        if bytes.iter().any(|byte| *byte != 0) {
            return Ok(false);
        }
        at += STRIDE;
    }
    Ok(true)
}
