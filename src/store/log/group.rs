//! Building a group of the journal in memory.

use std::io::IoSlice;

use bytes::Bytes;

use super::format::{
    Binding, Group, RECORD_HEADER_LEN, RecordHeader, RecordKind, SegmentPosition, block_end, padded,
};
use super::journal_footer::{Entry, EntryRecord};
use super::record::Record;
use crate::chunk::{Digest, crc32c};
use crate::store::model::Place;

/// Chunks from this many bytes on are written from where they are; smaller ones are copied together.
pub(super) const LARGE: usize = 16 << 10;

/// A group under construction for a known place in a journal file. The buffer is reused from group to group.
#[derive(Debug)]
pub struct GroupBuilder {
    binding: Binding,
    offset: u64,
    number: u64,
    /// What the file's footer will say of the records.
    records: Vec<EntryRecord>,
    /// All but the large chunks.
    buffer: Vec<u8>,
    large: Vec<Large>,
    /// Bytes of the large chunks.
    large_len: u64,
    /// Over the records so far, while they are still in the processor's caches.
    body_crc: u32,
}

/// The bytes of a large chunk.
#[derive(Debug)]
struct Large {
    /// Where in the buffer they belong.
    at: usize,
    pieces: Vec<Bytes>,
}

/// A group that is ready to be appended.
#[derive(Debug)]
pub struct FinishedGroup {
    buffer: Vec<u8>,
    large: Vec<Large>,
    len: u64,
    /// What the footer of the file says of it.
    pub(super) entry: Entry,
}

/// What a group's head says beside what the builder knows.
#[derive(Clone, Copy, Debug)]
pub struct GroupContext {
    /// See [`Group::durable_group`].
    pub durable_group: u64,
    /// See [`Group::durable_segments`].
    pub durable_segments: SegmentPosition,
    /// See [`Group::next_id`].
    pub next_id: u64,
    /// See [`Group::index_sum`].
    pub index_sum: u128,
}

impl GroupBuilder {
    /// An empty group number `number` at `offset` of a file. `buffer` is cleared and used.
    pub fn new(binding: Binding, offset: u64, number: u64, mut buffer: Vec<u8>) -> Self {
        buffer.clear();
        buffer.resize(Group::RECORD_LEN as usize, 0);
        GroupBuilder {
            binding,
            offset,
            number,
            records: Vec::new(),
            buffer,
            large: Vec::new(),
            large_len: 0,
            body_crc: crc32c::of(&[]),
        }
    }

    /// Whether nothing has been added.
    pub fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    /// Bytes so far.
    pub fn len(&self) -> u64 {
        self.buffer.len() as u64 + self.large_len
    }

    /// Adds a record; returns where it will stand.
    pub fn push(&mut self, record: &Record) -> Result<Place, postcard::Error> {
        let (kind, digest, payload) = record.encode()?;
        let digest = digest.unwrap_or_else(|| Digest::of(&payload));
        let payload = Bytes::from(payload);
        let place = self.push_raw(kind, digest, std::slice::from_ref(&payload));
        self.list(place, kind, digest, payload.into());
        Ok(place)
    }

    /// Adds a chunk whose bytes are `pieces`.
    pub fn push_chunk(&mut self, digest: Digest, pieces: &[Bytes]) -> Place {
        let place = self.push_raw(RecordKind::Chunk, digest, pieces);
        self.list(place, RecordKind::Chunk, digest, Vec::new());
        place
    }

    /// Notes a record for the footer.
    fn list(&mut self, place: Place, kind: RecordKind, digest: Digest, payload: Vec<u8>) {
        self.records.push(EntryRecord {
            number: self.number,
            offset: place.offset,
            stored_len: place.stored_len,
            kind: kind as u8,
            digest,
            payload,
        });
    }

    fn push_raw(&mut self, kind: RecordKind, digest: Digest, pieces: &[Bytes]) -> Place {
        let offset = self.offset + self.len();
        let len: usize = pieces.iter().map(Bytes::len).sum();
        let crc = pieces.iter().fold(0, |crc, piece| crc32c::append(crc, piece));
        let header = RecordHeader::raw(kind, self.number, digest, len as u32, crc);
        let start = self.buffer.len();
        self.buffer
            .extend_from_slice(&header.encode(&self.binding, offset));
        let body = self.buffer.len();
        let (copied, large) = match len < LARGE {
            true => (pieces, &[][..]),
            false => (&[][..], pieces),
        };
        for piece in copied {
            self.buffer.extend_from_slice(piece);
        }
        if !large.is_empty() {
            self.large_len += len as u64;
            self.large.push(Large {
                at: body,
                pieces: large.to_vec(),
            });
        }
        let padding = padded(self.len()) - self.len();
        self.buffer.resize(self.buffer.len() + padding as usize, 0);

        let crc = crc32c::append(self.body_crc, &self.buffer[start..body]);
        let crc = large.iter().fold(crc, |crc, piece| crc32c::append(crc, piece));
        self.body_crc = crc32c::append(crc, &self.buffer[body..]);
        Place {
            kind: self.binding.kind,
            file: self.binding.file,
            offset,
            stored_len: len as u32,
        }
    }

    /// Gives the buffer back unused.
    pub fn into_buffer(self) -> Vec<u8> {
        self.buffer
    }

    /// Completes the head, and the group to whole blocks.
    pub fn finish(mut self, context: GroupContext) -> FinishedGroup {
        let len = self.len();
        let group = Group {
            body_len: len - Group::RECORD_LEN,
            body_crc: self.body_crc,
            records: self.records.len() as u32,
            durable_group: context.durable_group,
            durable_segments: context.durable_segments,
            next_id: context.next_id,
            index_sum: context.index_sum,
        };
        let payload = group.encode();
        let digest = Digest::of(&payload);
        let header = RecordHeader::raw(
            RecordKind::Group,
            self.number,
            digest,
            Group::LEN as u32,
            crc32c::of(&payload),
        );
        let head = &mut self.buffer[..Group::RECORD_LEN as usize];
        head[..RECORD_HEADER_LEN].copy_from_slice(&header.encode(&self.binding, self.offset));
        head[RECORD_HEADER_LEN..].copy_from_slice(&payload);
        let padding = block_end(len) - len;
        self.buffer.resize(self.buffer.len() + padding as usize, 0);
        FinishedGroup {
            buffer: self.buffer,
            large: self.large,
            len: len + padding,
            entry: Entry {
                number: self.number,
                head: payload.to_vec(),
                records: self.records,
            },
        }
    }
}

impl FinishedGroup {
    /// Bytes that are written at the group's offset: whole blocks.
    pub fn written_len(&self) -> u64 {
        self.len
    }

    /// These bytes.
    pub fn slices(&self) -> Vec<IoSlice<'_>> {
        let mut slices = Vec::with_capacity(1 + 3 * self.large.len());
        let mut begin = 0;
        for Large { at, pieces } in &self.large {
            slices.push(IoSlice::new(&self.buffer[begin..*at]));
            slices.extend(pieces.iter().map(|piece| IoSlice::new(piece)));
            begin = *at;
        }
        slices.push(IoSlice::new(&self.buffer[begin..]));
        slices
    }

    /// Gives the buffer back.
    pub fn into_buffer(self) -> Vec<u8> {
        self.buffer
    }
}
