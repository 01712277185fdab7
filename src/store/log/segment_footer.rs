//! The end of a sealed segment: a list of its chunks, and a trailer by which that list is found from the end.

use std::io;

use serde::{Deserialize, Serialize};

use super::files::{LogFile, cut_short};
use super::format::{Binding, FormatError, RECORD_HEADER_LEN, RecordHeader, RecordKind, Trailer, padded};
use crate::chunk::{Digest, crc32c};
use crate::store::error::StoreError;
use crate::store::model::Place;

/// Length of the trailer in bytes.
const TRAILER_LEN: u64 = Trailer::LEN as u64;

/// Most bytes that one entry takes in the encoded list: the digest, an offset and a length as variable integers.
const ENTRY_ROOM: u64 = 32 + 10 + 5;

/// A chunk of a sealed segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FooterEntry {
    /// Names the chunk.
    pub digest: Digest,
    /// Offset of its record, in bytes.
    pub offset: u64,
    /// Length of its payload as stored, in bytes.
    pub stored_len: u32,
}

/// The list of chunks that ends a sealed segment.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Footer {
    /// In the order of the file.
    pub entries: Vec<FooterEntry>,
}

impl Footer {
    /// Bytes to keep free for a footer of `entries` entries and its trailer.
    pub fn room(entries: usize) -> u64 {
        padded(RECORD_HEADER_LEN as u64 + 10 + entries as u64 * ENTRY_ROOM) + TRAILER_LEN
    }

    /// The bytes of footer and trailer that end the file from `offset`.
    pub fn encode(&self, binding: &Binding, offset: u64) -> io::Result<Vec<u8>> {
        let payload = postcard::to_stdvec(self).map_err(io::Error::other)?;
        let len = u32::try_from(payload.len()).map_err(io::Error::other)?;
        let crc = crc32c::of(&payload);
        let header = RecordHeader::raw(
            RecordKind::Footer,
            self.entries.len() as u64,
            Digest::of(&payload),
            len,
            crc,
        );
        let mut bytes = Vec::with_capacity((header.record_len() + TRAILER_LEN) as usize);
        bytes.extend_from_slice(&header.encode(binding, offset));
        bytes.extend_from_slice(&payload);
        bytes.resize(header.record_len() as usize, 0);
        let end = offset + header.record_len();
        bytes.extend_from_slice(&Trailer { footer: offset }.encode(binding, end));
        Ok(bytes)
    }

    /// The footer of `file`; `None` where it has no valid trailer, so that it was never sealed.
    ///
    /// # Errors
    /// `Damaged` where the trailer is good and the footer is not.
    pub fn read(file: &LogFile) -> Result<Option<Footer>, StoreError> {
        let Some(offset) = footer_offset(file.size()?, file.binding(), |trailer, at| {
            file.read_exact_at(trailer, at)
        })?
        else {
            return Ok(None);
        };
        let header = file.read(RECORD_HEADER_LEN, offset).map_err(cut_short)?;
        let header = RecordHeader::decode(&header, file.binding(), offset).map_err(damaged)?;
        if header.kind != RecordKind::Footer || header.version != 1 {
            return Err(damaged("record type"));
        }
        let record = file.record(&Place {
            kind: file.binding().kind,
            file: file.binding().file,
            offset,
            stored_len: header.stored_len,
        })?;
        postcard::from_bytes(&record.payload).map(Some).map_err(damaged)
    }
}

/// The footer in `bytes`, which begin at `start` of the file.
///
/// # Errors
/// `Damaged` where they are no footer.
pub fn parse(bytes: &[u8], binding: &Binding, start: u64) -> Result<Footer, FormatError> {
    let header = RecordHeader::decode(bytes, binding, start)?;
    let payload = bytes
        .get(RECORD_HEADER_LEN..RECORD_HEADER_LEN + header.stored_len as usize)
        .ok_or(FormatError {
            what: "footer is cut short",
        })?;
    header.check_payload(payload)?;
    if header.kind != RecordKind::Footer || header.version != 1 {
        return Err(FormatError { what: "record type" });
    }
    postcard::from_bytes(payload).map_err(|_| FormatError {
        what: "footer encoding",
    })
}

/// Offset of the footer record in a file of `len` bytes, read with `read`; `None` where it has no valid trailer.
pub fn footer_offset(
    len: u64,
    binding: &Binding,
    read: impl FnOnce(&mut [u8], u64) -> io::Result<()>,
) -> io::Result<Option<u64>> {
    let Some(at) = len.checked_sub(TRAILER_LEN) else {
        return Ok(None);
    };
    let mut trailer = [0; Trailer::LEN];
    read(&mut trailer, at)?;
    let offset = Trailer::decode(&trailer, binding, at)
        .ok()
        .map(|trailer| trailer.footer);
    Ok(offset.filter(|offset| *offset < at))
}

fn damaged(why: impl std::fmt::Display) -> StoreError {
    StoreError::Damaged(format!("segment footer: {why}"))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::store::model::FileKind;

    const BINDING: Binding = Binding {
        store: [7; 16],
        kind: FileKind::Segment,
        file: 1,
    };

    fn footer(entries: u64) -> Footer {
        let entry = |n: u64| FooterEntry {
            digest: Digest::of(&n.to_le_bytes()),
            offset: u64::MAX - n,
            stored_len: u32::MAX,
        };
        Footer {
            entries: (0..entries).map(entry).collect(),
        }
    }

    #[test]
    fn the_room_is_enough() {
        for entries in [0, 1, 127, 128, 5000] {
            let len = footer(entries).encode(&BINDING, 4096).unwrap().len() as u64;
            assert!(len <= Footer::room(entries as usize), "{entries} entries");
        }
    }

    #[test]
    fn golden_bytes() {
        let footer = Footer {
            entries: vec![FooterEntry {
                digest: [0xaa; 32].into(),
                offset: 4096,
                stored_len: 300,
            }],
        };
        let bytes = footer.encode(&BINDING, 8192).unwrap();
        let payload = [&[1][..], &[0xaa; 32], &[0x80, 0x20], &[0xac, 0x02]].concat();
        assert_eq!(
            bytes[RECORD_HEADER_LEN..RECORD_HEADER_LEN + payload.len()],
            payload
        );
        assert_eq!(
            hex::encode(&bytes[bytes.len() - Trailer::LEN..]),
            "4c52445254524c520020000000000000000000001e8d86a2"
        );
    }
}
