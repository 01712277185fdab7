//! The bytes of log files: file header, record header, group descriptor. `docs/format.md` draws them.
//!
//! All integers are little endian. Records are 8-byte aligned. A record's header checksum also covers the store's
//! uuid, the file and the offset, so stale bytes in recycled or preallocated space are never taken for records.

use crate::chunk::{Digest, crc32c};
use crate::store::model::FileKind;

/// Version of everything on disk; in `store.toml` and in each file header.
pub const FORMAT_VERSION: u32 = 2;

/// Length of a file's header in bytes; the first record begins here.
pub const FILE_HEADER_LEN: u64 = 4096;

/// Length of a record's header in bytes.
pub const RECORD_HEADER_LEN: usize = 64;

const RECORD_MAGIC: u32 = 0x4452_4c52; // "RLRD"
const JOURNAL_MAGIC: &[u8; 8] = b"LRDRJRNL";
const TRAILER_MAGIC: &[u8; 8] = b"LRDRTRLR";
const SEGMENT_MAGIC: &[u8; 8] = b"LRDRSEGM";

/// Bytes are not what they should be. `what` names the first field that is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{what}")]
pub struct FormatError {
    /// The field.
    pub what: &'static str,
}

fn wrong<T>(what: &'static str) -> Result<T, FormatError> {
    Err(FormatError { what })
}

/// `len` rounded up to the records' alignment.
pub const fn padded(len: u64) -> u64 {
    len.next_multiple_of(8)
}

/// What kernel and drive write as one, bytes: a power cut can ruin all of a block that is being written. Nothing is
/// written into a block that holds durable bytes.
pub const BLOCK: u64 = 4096;

/// `len` rounded up to the next block.
pub const fn block_end(len: u64) -> u64 {
    len.saturating_add(BLOCK - 1) / BLOCK * BLOCK
}

/// The numbers of groups are below this; a larger one is damage.
pub const GROUP_NUMBERS: u64 = 1 << 62;

/// The file that records are bound to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Binding {
    /// The store.
    pub store: [u8; 16],
    /// Journal or segment.
    pub kind: FileKind,
    /// Number of the file.
    pub file: u64,
}

impl Binding {
    fn seal(&self, header: &[u8], offset: u64) -> u32 {
        let mut bound = [0; 33];
        bound[..16].copy_from_slice(&self.store);
        bound[16] = kind_byte(self.kind);
        bound[17..25].copy_from_slice(&self.file.to_le_bytes());
        bound[25..].copy_from_slice(&offset.to_le_bytes());
        crc32c::append(crc32c::of(header), &bound)
    }

    /// The header of this file, [`FILE_HEADER_LEN`] bytes.
    pub fn encode_file_header(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(FILE_HEADER_LEN as usize);
        bytes.extend_from_slice(match self.kind {
            FileKind::Journal => JOURNAL_MAGIC,
            FileKind::Segment => SEGMENT_MAGIC,
        });
        bytes.extend_from_slice(&FORMAT_VERSION.to_le_bytes());
        bytes.extend_from_slice(&self.store);
        bytes.extend_from_slice(&self.file.to_le_bytes());
        let crc = crc32c::of(&bytes);
        bytes.extend_from_slice(&crc.to_le_bytes());
        bytes.resize(FILE_HEADER_LEN as usize, 0);
        bytes
    }

    /// Whether `bytes` begin with the whole header of a log file that is not this one: of another store, number, kind
    /// or format version. Never the trace of a crash.
    pub fn is_foreign(&self, bytes: &[u8]) -> bool {
        let Some(found) = bytes.get(..40) else {
            return false;
        };
        let magic = found[..8] == *JOURNAL_MAGIC || found[..8] == *SEGMENT_MAGIC;
        let whole = crc32c::of(&found[..36]).to_le_bytes() == found[36..40];
        magic && whole && *found != self.encode_file_header()[..40]
    }

    /// Checks that `bytes` begin with the header of this file.
    pub fn check_file_header(&self, bytes: &[u8]) -> Result<(), FormatError> {
        let expected = self.encode_file_header();
        let Some(found) = bytes.get(..40) else {
            return wrong("file header is cut short");
        };
        if found[..8] != expected[..8] {
            return wrong("file magic");
        }
        if found[8..12] != expected[8..12] {
            return wrong("file format version");
        }
        if found[12..36] != expected[12..36] {
            return wrong("file identity");
        }
        if found[36..40] != expected[36..40] {
            return wrong("file header checksum");
        }
        Ok(())
    }
}

const fn kind_byte(kind: FileKind) -> u8 {
    match kind {
        FileKind::Journal => 1,
        FileKind::Segment => 2,
    }
}

/// What a record is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum RecordKind {
    /// Raw bytes of a chunk.
    Chunk = 1,
    /// The chunks of a blob; `digest` is the blob's.
    Manifest = 2,
    /// Where bulk chunks lie that this group's publications are first to use.
    Places = 3,
    /// A file was published.
    Publish = 4,
    /// A file was removed.
    RemoveFile = 5,
    /// A version was removed.
    RemoveVersion = 6,
    /// An account was created or changed.
    Account = 7,
    /// A token was created.
    Token = 8,
    /// A token was revoked.
    RemoveToken = 9,
    /// A step of sweeping away the files of a removed version.
    Sweep = 10,
    /// Chunks and manifests were dropped by collection.
    Drop = 11,
    /// A copy of a chunk or manifest was found damaged.
    Quarantine = 12,
    /// An account was removed, with its tokens and memberships.
    RemoveAccount = 13,
    /// Somebody became a member of an organisation, or has another permission there.
    Member = 14,
    /// Somebody left an organisation.
    RemoveMember = 15,
    /// A package was removed with all its versions.
    RemovePackage = 18,
    /// A step of sweeping away the versions of a removed package.
    SweepPackage = 19,
    /// What owners and packages hold.
    Totals = 20,
    /// Checksums of a blob; `digest` is the blob's.
    Checksums = 21,
    /// A version was pinned.
    Pin = 32,
    /// A version's pin was taken away.
    Unpin = 33,
    /// An owner's rules of retention.
    Rules = 34,
    /// When tokens were last used.
    TokenUses = 40,
    /// What is set for an owner was changed.
    Settings = 22,
    /// Begins a group of the journal; the payload is a [`Group`].
    Group = 16,
    /// Begins the footer of a sealed file.
    Footer = 17,
}

impl RecordKind {
    pub(super) fn from_byte(byte: u8) -> Result<Self, FormatError> {
        use RecordKind::*;
        const ALL: [RecordKind; 26] = [
            Chunk,
            Manifest,
            Places,
            Publish,
            RemoveFile,
            RemoveVersion,
            Account,
            Token,
            RemoveToken,
            Sweep,
            Drop,
            Quarantine,
            RemoveAccount,
            Member,
            RemoveMember,
            RemovePackage,
            SweepPackage,
            Totals,
            Checksums,
            Pin,
            Unpin,
            Rules,
            TokenUses,
            Settings,
            Group,
            Footer,
        ];
        match ALL.into_iter().find(|kind| *kind as u8 == byte) {
            Some(kind) => Ok(kind),
            None => wrong("record type"),
        }
    }
}

/// How a payload is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Codec {
    /// As it is.
    Raw = 0,
}

/// The fixed part of every record.
///
/// ```text
///  0 u32 magic       4 u8 type    5 u8 codec    6 u16 payload version
///  8 u32 raw length  12 u32 stored length       16 u64 number
/// 24 [32] blake3 of the raw bytes (blob digest for a manifest)
/// 56 u32 crc32c of the payload  60 u32 crc32c of bytes 0..60, store uuid, file kind, file number, offset
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RecordHeader {
    /// What it is.
    pub kind: RecordKind,
    /// How the payload is stored.
    pub codec: Codec,
    /// Version of the payload's encoding.
    pub version: u16,
    /// Length of the content, bytes.
    pub raw_len: u32,
    /// Length of the payload as stored, without padding, bytes.
    pub stored_len: u32,
    /// Journal: number of the group. Segment: number of the record in the file.
    pub number: u64,
    /// Content address.
    pub digest: Digest,
    /// Checksum of the payload as stored.
    pub payload_crc: u32,
}

impl RecordHeader {
    /// A header for a raw payload whose checksum is `payload_crc`.
    pub fn raw(kind: RecordKind, number: u64, digest: Digest, len: u32, payload_crc: u32) -> Self {
        RecordHeader {
            kind,
            codec: Codec::Raw,
            version: 1,
            raw_len: len,
            stored_len: len,
            number,
            digest,
            payload_crc,
        }
    }

    /// Length of the whole record in the file: header, payload, padding.
    pub fn record_len(&self) -> u64 {
        padded(RECORD_HEADER_LEN as u64 + u64::from(self.stored_len))
    }

    /// The header's bytes for its place in a file.
    pub fn encode(&self, binding: &Binding, offset: u64) -> [u8; RECORD_HEADER_LEN] {
        let mut bytes = [0; RECORD_HEADER_LEN];
        bytes[0..4].copy_from_slice(&RECORD_MAGIC.to_le_bytes());
        bytes[4] = self.kind as u8;
        bytes[5] = self.codec as u8;
        bytes[6..8].copy_from_slice(&self.version.to_le_bytes());
        bytes[8..12].copy_from_slice(&self.raw_len.to_le_bytes());
        bytes[12..16].copy_from_slice(&self.stored_len.to_le_bytes());
        bytes[16..24].copy_from_slice(&self.number.to_le_bytes());
        bytes[24..56].copy_from_slice(self.digest.as_bytes());
        bytes[56..60].copy_from_slice(&self.payload_crc.to_le_bytes());
        let crc = binding.seal(&bytes[..60], offset);
        bytes[60..64].copy_from_slice(&crc.to_le_bytes());
        bytes
    }

    /// Reads a header that must stand at `offset` of the file.
    pub fn decode(bytes: &[u8], binding: &Binding, offset: u64) -> Result<Self, FormatError> {
        let Some(bytes) = bytes.first_chunk::<RECORD_HEADER_LEN>() else {
            return wrong("record header is cut short");
        };
        if u32_at(bytes, 0) != RECORD_MAGIC {
            return wrong("record magic");
        }
        if u32_at(bytes, 60) != binding.seal(&bytes[..60], offset) {
            return wrong("record header checksum");
        }
        if bytes[5] != Codec::Raw as u8 {
            return wrong("record codec");
        }
        let mut digest = [0; Digest::LEN];
        digest.copy_from_slice(&bytes[24..56]);
        Ok(RecordHeader {
            kind: RecordKind::from_byte(bytes[4])?,
            codec: Codec::Raw,
            version: u16::from_le_bytes([bytes[6], bytes[7]]),
            raw_len: u32_at(bytes, 8),
            stored_len: u32_at(bytes, 12),
            number: u64_at(bytes, 16),
            digest: digest.into(),
            payload_crc: u32_at(bytes, 56),
        })
    }

    /// Whether `payload` is the one this header was written for.
    pub fn check_payload(&self, payload: &[u8]) -> Result<(), FormatError> {
        if payload.len() != self.stored_len as usize {
            return wrong("payload is cut short");
        }
        if crc32c::of(payload) != self.payload_crc {
            return wrong("payload checksum");
        }
        Ok(())
    }
}

fn u32_at(bytes: &[u8; RECORD_HEADER_LEN], at: usize) -> u32 {
    u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

fn u64_at(bytes: &[u8; RECORD_HEADER_LEN], at: usize) -> u64 {
    u64::from(u32_at(bytes, at)) | u64::from(u32_at(bytes, at + 4)) << 32
}

/// The last bytes of a sealed file: they lead to its footer.
///
/// ```text
///  0 [8] magic   8 u64 offset of the first footer record   16 u32 zero   20 u32 crc32c bound to file and offset
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Trailer {
    /// Offset of the first footer record; the file's records end there.
    pub footer: u64,
}

impl Trailer {
    /// Length in bytes.
    pub const LEN: usize = 24;

    /// The trailer's bytes for its place in a file.
    pub fn encode(&self, binding: &Binding, offset: u64) -> [u8; Self::LEN] {
        let mut bytes = [0; Self::LEN];
        bytes[0..8].copy_from_slice(TRAILER_MAGIC);
        bytes[8..16].copy_from_slice(&self.footer.to_le_bytes());
        let crc = binding.seal(&bytes[..20], offset);
        bytes[20..24].copy_from_slice(&crc.to_le_bytes());
        bytes
    }

    /// Reads a trailer that must stand at `offset` of the file.
    pub fn decode(bytes: &[u8], binding: &Binding, offset: u64) -> Result<Self, FormatError> {
        let Some(bytes) = bytes.first_chunk::<{ Trailer::LEN }>() else {
            return wrong("trailer is cut short");
        };
        if bytes[0..8] != *TRAILER_MAGIC {
            return wrong("trailer magic");
        }
        let mut crc = [0; 4];
        crc.copy_from_slice(&bytes[20..24]);
        if u32::from_le_bytes(crc) != binding.seal(&bytes[..20], offset) {
            return wrong("trailer checksum");
        }
        let mut footer = [0; 8];
        footer.copy_from_slice(&bytes[8..16]);
        Ok(Trailer {
            footer: u64::from_le_bytes(footer),
        })
    }
}

/// How far the segments are synced: everything in files before `file`, and `offset` bytes of `file`.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, serde::Serialize, serde::Deserialize,
)]
pub struct SegmentPosition {
    /// Number of the segment.
    pub file: u64,
    /// Bytes of it, from its start.
    pub offset: u64,
}

/// Describes a group of the journal: the unit that is written, synced and, after a crash, kept or dropped whole.
///
/// As the payload of a [`RecordKind::Group`] record it is [`Group::LEN`] bytes:
///
/// ```text
///  0 u64 body length   8 u32 body crc32c  12 u32 records   16 u64 durable group
/// 24 u64 durable segment  32 u64 durable offset  40 u64 next id  48 u128 index sum
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Group {
    /// Bytes of the records that follow, padding included.
    pub body_len: u64,
    /// crc32c over those bytes.
    pub body_crc: u32,
    /// How many records follow.
    pub records: u32,
    /// The highest group known to be durable when this one was written; damage up to it is rot, not a tear.
    pub durable_group: u64,
    /// How far the segments were durable when this group was written.
    pub durable_segments: SegmentPosition,
    /// The next free [`Id`](crate::store::model::Id) after this group.
    pub next_id: u64,
    /// Running sum over the whole index once this group is applied, see [`crate::store::index::sum`].
    pub index_sum: u128,
}

impl Group {
    /// Length of the payload in bytes.
    pub const LEN: usize = 64;
    /// Length of the whole group record: header and payload.
    pub const RECORD_LEN: u64 = (RECORD_HEADER_LEN + Self::LEN) as u64;

    /// The payload.
    pub fn encode(&self) -> [u8; Self::LEN] {
        let mut bytes = [0; Self::LEN];
        bytes[0..8].copy_from_slice(&self.body_len.to_le_bytes());
        bytes[8..12].copy_from_slice(&self.body_crc.to_le_bytes());
        bytes[12..16].copy_from_slice(&self.records.to_le_bytes());
        bytes[16..24].copy_from_slice(&self.durable_group.to_le_bytes());
        bytes[24..32].copy_from_slice(&self.durable_segments.file.to_le_bytes());
        bytes[32..40].copy_from_slice(&self.durable_segments.offset.to_le_bytes());
        bytes[40..48].copy_from_slice(&self.next_id.to_le_bytes());
        bytes[48..64].copy_from_slice(&self.index_sum.to_le_bytes());
        bytes
    }

    /// Reads a payload.
    pub fn decode(bytes: &[u8]) -> Result<Self, FormatError> {
        let Ok(bytes) = <&[u8; Self::LEN]>::try_from(bytes) else {
            return wrong("group length");
        };
        let mut sum = [0; 16];
        sum.copy_from_slice(&bytes[48..64]);
        Ok(Group {
            body_len: u64_at(bytes, 0),
            body_crc: u32_at(bytes, 8),
            records: u32_at(bytes, 12),
            durable_group: u64_at(bytes, 16),
            durable_segments: SegmentPosition {
                file: u64_at(bytes, 24),
                offset: u64_at(bytes, 32),
            },
            next_id: u64_at(bytes, 40),
            index_sum: u128::from_le_bytes(sum),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const AT: Binding = Binding {
        store: [7; 16],
        kind: FileKind::Journal,
        file: 3,
    };

    fn header() -> RecordHeader {
        RecordHeader::raw(
            RecordKind::Chunk,
            9,
            Digest::of(b"hello"),
            5,
            crc32c::of(b"hello"),
        )
    }

    #[test]
    fn record_header_round_trips_only_in_its_place() {
        let bytes = header().encode(&AT, 4096);
        assert_eq!(RecordHeader::decode(&bytes, &AT, 4096), Ok(header()));
        assert!(RecordHeader::decode(&bytes, &AT, 4104).is_err());
        assert!(RecordHeader::decode(&bytes, &Binding { file: 4, ..AT }, 4096).is_err());
        assert!(RecordHeader::decode(&bytes, &Binding { store: [8; 16], ..AT }, 4096).is_err());
        assert!(
            RecordHeader::decode(
                &bytes,
                &Binding {
                    kind: FileKind::Segment,
                    ..AT
                },
                4096
            )
            .is_err()
        );
    }

    #[test]
    fn every_flipped_bit_is_noticed() {
        let bytes = header().encode(&AT, 4096);
        for bit in 0..bytes.len() * 8 {
            let mut damaged = bytes;
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert!(RecordHeader::decode(&damaged, &AT, 4096).is_err(), "bit {bit}");
        }
    }

    #[test]
    fn golden_bytes() {
        let bytes = header().encode(&AT, 4096);
        assert_eq!(
            hex::encode(bytes),
            "524c5244010001000500000005000000090000000000000\
             0ea8f163db38682925e4491c5e58d4bb3506ef8c14eb78a86e908c5624a67200f4cbb719a47d79464"
        );
    }

    #[test]
    fn file_header_names_its_file() {
        let bytes = AT.encode_file_header();
        assert_eq!(bytes.len() as u64, FILE_HEADER_LEN);
        assert_eq!(AT.check_file_header(&bytes), Ok(()));
        assert!(Binding { file: 4, ..AT }.check_file_header(&bytes).is_err());
        assert!(AT.check_file_header(&bytes[..20]).is_err());
    }
}
