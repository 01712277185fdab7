//! The footer of a sealed journal file: its records again, without the small bodies, so that a rebuild of the index
//! reads metadata only.

use std::fs::File;
use std::io;

use serde::{Deserialize, Serialize};

use super::disk::Disk;
use super::format::{
    Binding, Codec, FormatError, GROUP_NUMBERS, Group, RECORD_HEADER_LEN, RecordHeader, RecordKind, Trailer,
    block_end,
};
use super::record::Record;
use super::rot::is_medium;
use super::scan::{Found, RecordAt};
use crate::chunk::{Digest, crc32c};

/// A footer record is closed when its payload exceeds this, bytes.
const RECORD_TARGET: usize = 1 << 20;

/// A group as the footer lists it.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Entry {
    /// Number of the group; of the last one in a damaged stretch.
    pub(super) number: u64,
    /// [`Group::encode`]; empty for records saved from a damaged stretch.
    pub(super) head: Vec<u8>,
    pub(super) records: Vec<EntryRecord>,
}

/// A record as the footer lists it; a chunk without its bytes.
#[derive(Debug, Serialize, Deserialize)]
pub struct EntryRecord {
    /// Number of the group it was written with.
    pub(super) number: u64,
    pub(super) offset: u64,
    pub(super) stored_len: u32,
    pub(super) kind: u8,
    pub(super) digest: Digest,
    pub(super) payload: Vec<u8>,
}

impl EntryRecord {
    fn of(at: &RecordAt) -> Result<Self, postcard::Error> {
        let (kind, digest, payload) = at.record.encode()?;
        let digest = digest.unwrap_or_else(|| Digest::of(&payload));
        Ok(EntryRecord {
            number: at.number,
            offset: at.offset,
            stored_len: at.stored_len,
            kind: kind as u8,
            digest,
            payload,
        })
    }

    fn read(self) -> Result<RecordAt, FormatError> {
        let header = RecordHeader {
            kind: RecordKind::from_byte(self.kind)?,
            codec: Codec::Raw,
            version: 1,
            raw_len: self.payload.len() as u32,
            stored_len: self.payload.len() as u32,
            number: 0,
            digest: self.digest,
            payload_crc: 0,
        };
        let record = Record::decode(&header, &self.payload)?;
        Ok(RecordAt {
            number: self.number,
            offset: self.offset,
            stored_len: self.stored_len,
            record,
        })
    }
}

/// Collects a footer while groups are appended to a file, or found in it. Holds what the footer will: the metadata
/// of the groups, never more than they take in the file.
#[derive(Debug, Default)]
pub struct FooterBuilder {
    pending: Vec<Entry>,
    pending_bytes: usize,
    /// The payloads of the footer's records.
    payloads: Vec<Vec<u8>>,
}

impl FooterBuilder {
    /// Adds what was found in the file.
    pub fn add_found(&mut self, found: &Found) -> Result<(), postcard::Error> {
        let (number, head, records) = match found {
            Found::Group {
                number,
                head,
                records,
                ..
            } => (*number, head.encode().to_vec(), records),
            Found::Damaged { durable, saved, .. } => (*durable, Vec::new(), saved),
        };
        let records = records
            .iter()
            .map(EntryRecord::of)
            .collect::<Result<Vec<_>, _>>()?;
        self.add(Entry {
            number,
            head,
            records,
        })
    }

    /// Adds a group that stands in the file.
    pub fn add(&mut self, entry: Entry) -> Result<(), postcard::Error> {
        let records = entry.records.iter().map(|record| 48 + record.payload.len());
        self.pending_bytes += 80 + records.sum::<usize>();
        self.pending.push(entry);
        if self.pending_bytes > RECORD_TARGET {
            self.flush()?;
        }
        Ok(())
    }

    fn flush(&mut self) -> Result<(), postcard::Error> {
        // It takes about what it was counted for: growing to that step by step would cost as much as filling it.
        let payload = Vec::with_capacity(self.pending_bytes);
        self.payloads.push(postcard::to_extend(&self.pending, payload)?);
        self.pending.clear();
        self.pending_bytes = 0;
        Ok(())
    }

    /// The footer and trailer in parts, to be written at `offset`, where the groups end: it may be as large as a file, and
    /// is not copied.
    pub fn finish(mut self, binding: &Binding, offset: u64) -> Result<Vec<Vec<u8>>, postcard::Error> {
        self.flush()?;
        let (mut at, mut parts) = (offset, Vec::with_capacity(2 * self.payloads.len() + 1));
        for mut payload in self.payloads {
            let crc = crc32c::of(&payload);
            let digest = Digest::of(&payload);
            let header = RecordHeader::raw(RecordKind::Footer, 0, digest, payload.len() as u32, crc);
            parts.push(header.encode(binding, at).to_vec());
            at += header.record_len();
            payload.resize(payload.len().next_multiple_of(8), 0);
            parts.push(payload);
        }
        parts.push(Trailer { footer: offset }.encode(binding, at).to_vec());
        Ok(parts)
    }
}

/// The trailer of a file; `None` if it has not been sealed, or is being sealed just now (or its end is damaged).
pub fn trailer(disk: &dyn Disk, file: &File, binding: &Binding) -> io::Result<Option<Trailer>> {
    let len = file.metadata()?.len();
    let Some(at) = len.checked_sub(Trailer::LEN as u64) else {
        return Ok(None);
    };
    let mut bytes = [0; Trailer::LEN];
    match disk.read_at(file, &mut bytes, at) {
        // Sealing cuts what was reserved, maybe between the look at the length and here.
        Err(error) if is_medium(&error) || error.kind() == io::ErrorKind::UnexpectedEof => Ok(None),
        read => read.map(|()| Trailer::decode(&bytes, binding, at).ok()),
    }
}

/// What the footer of a sealed file lists; `None` if the footer is damaged (the file itself must be scanned then).
pub fn read(
    disk: &dyn Disk,
    file: &File,
    binding: &Binding,
    trailer: Trailer,
) -> io::Result<Option<Vec<Found>>> {
    let len = file.metadata()?.len();
    let Some(footer_len) = (len - Trailer::LEN as u64).checked_sub(trailer.footer) else {
        return Ok(None);
    };
    let mut bytes = vec![0; footer_len as usize];
    match disk.read_at(file, &mut bytes, trailer.footer) {
        Err(error) if is_medium(&error) => Ok(None),
        read => read.map(|()| parse(&bytes, binding, trailer.footer).ok()),
    }
}

/// What footer records say, which begin at `start` of the file.
pub fn parse(bytes: &[u8], binding: &Binding, start: u64) -> Result<Vec<Found>, FormatError> {
    let mut found = Vec::new();
    let mut at = 0;
    while at < bytes.len() {
        let header = RecordHeader::decode(&bytes[at..], binding, start + at as u64)?;
        let payload = bytes
            .get(at + RECORD_HEADER_LEN..at + RECORD_HEADER_LEN + header.stored_len as usize)
            .ok_or(FormatError {
                what: "footer is cut short",
            })?;
        header.check_payload(payload)?;
        if header.kind != RecordKind::Footer || header.version != 1 {
            return Err(FormatError { what: "record type" });
        }
        let entries: Vec<Entry> = postcard::from_bytes(payload).map_err(|_| FormatError {
            what: "footer encoding",
        })?;
        for entry in entries {
            let records = entry
                .records
                .into_iter()
                .map(EntryRecord::read)
                .collect::<Result<Vec<_>, _>>()?;
            if entry.number >= GROUP_NUMBERS {
                return Err(FormatError { what: "group number" });
            }
            found.push(if entry.head.is_empty() {
                Found::Damaged {
                    from: 0,
                    to: 0,
                    durable: entry.number,
                    saved: records,
                }
            } else {
                let head = Group::decode(&entry.head)?;
                let body = records.first().map_or(0, |first| first.offset);
                Found::Group {
                    number: entry.number,
                    start: body.saturating_sub(Group::RECORD_LEN),
                    end: block_end(body.saturating_add(head.body_len)),
                    head,
                    records,
                }
            });
        }
        at += header.record_len() as usize;
    }
    Ok(found)
}
