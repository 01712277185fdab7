//! Building a group of the journal in memory.

use bytes::Bytes;

use super::format::{
    Binding, Group, RECORD_HEADER_LEN, RecordHeader, RecordKind, SegmentPosition, block_end, padded,
};
use super::journal_footer::{Entry, EntryRecord};
use super::record::Record;
use crate::chunk::{Digest, crc32c};
use crate::store::model::Place;

/// A group under construction for a known place in a journal file. The buffer is reused from group to group.
#[derive(Debug)]
pub struct GroupBuilder {
    binding: Binding,
    offset: u64,
    number: u64,
    /// What the file's footer will say of the records.
    records: Vec<EntryRecord>,
    buffer: Vec<u8>,
    /// Over the records so far, while they are still in the processor's caches.
    body_crc: u32,
}

/// A group that is ready to be appended.
#[derive(Debug)]
pub struct FinishedGroup {
    /// What is written at the group's offset.
    pub bytes: Vec<u8>,
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
            body_crc: crc32c::of(&[]),
        }
    }

    /// Whether nothing has been added.
    pub fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    /// Bytes so far.
    pub fn len(&self) -> u64 {
        self.buffer.len() as u64
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
        let start = self.buffer.len();
        let offset = self.offset + start as u64;
        self.buffer.resize(start + RECORD_HEADER_LEN, 0);
        let mut crc = 0;
        for piece in pieces {
            crc = crc32c::append(crc, piece);
            self.buffer.extend_from_slice(piece);
        }
        let len = self.buffer.len() - start - RECORD_HEADER_LEN;
        let header = RecordHeader::raw(kind, self.number, digest, len as u32, crc);
        self.buffer[start..start + RECORD_HEADER_LEN].copy_from_slice(&header.encode(&self.binding, offset));
        self.buffer.resize(padded(self.buffer.len() as u64) as usize, 0);
        self.body_crc = crc32c::append(self.body_crc, &self.buffer[start..]);
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
        let (head, body) = self.buffer.split_at_mut(Group::RECORD_LEN as usize);
        let group = Group {
            body_len: body.len() as u64,
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
        head[..RECORD_HEADER_LEN].copy_from_slice(&header.encode(&self.binding, self.offset));
        head[RECORD_HEADER_LEN..].copy_from_slice(&payload);
        self.buffer
            .resize(block_end(self.buffer.len() as u64) as usize, 0);
        FinishedGroup {
            bytes: self.buffer,
            entry: Entry {
                number: self.number,
                head: payload.to_vec(),
                records: self.records,
            },
        }
    }
}
