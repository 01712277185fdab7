//! Reading the journal: the groups of a file, what is damaged, and where it ends.
//!
//! Pure functions over the bytes of a file. What counts as a torn tail and what as rot is decided here:
//! a group is only begun when the one before it is synced, so damage up to the highest group known to be durable is
//! rot (its good records are saved, reading goes on behind it); damage above it is a tear (the file ends there,
//! whatever follows, because writeback keeps no order).

use super::format::{
    BLOCK, Binding, FILE_HEADER_LEN, GROUP_NUMBERS, Group, RECORD_HEADER_LEN, RecordHeader, RecordKind,
    block_end,
};
use super::record::Record;
use crate::chunk::crc32c;

/// A record and where it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecordAt {
    /// Number of the group it was written with.
    pub number: u64,
    /// Offset of the header in the file.
    pub offset: u64,
    /// Length of the payload as stored.
    pub stored_len: u32,
    /// The record.
    pub record: Record,
}

/// What is found, in the order of the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found {
    /// A whole group.
    Group {
        /// Its number.
        number: u64,
        /// Offset of its head in the file.
        start: u64,
        /// Offset in the file at which it ends.
        end: u64,
        /// Its head.
        head: Group,
        /// Its records.
        records: Vec<RecordAt>,
    },
    /// Rot: bytes that were durable once and are damaged now.
    Damaged {
        /// Offset of the first damaged group.
        from: u64,
        /// Offset at which reading goes on.
        to: u64,
        /// The last group that was in it.
        durable: u64,
        /// The records in between that are whole.
        saved: Vec<RecordAt>,
    },
}

/// For [`Scan::new`]: everything in the file has been synced.
pub const ALL_DURABLE: u64 = u64::MAX - 1;

/// Reads the groups of one file.
#[derive(Debug)]
pub struct Scan<'a> {
    bytes: &'a [u8],
    binding: Binding,
    offset: u64,
    next_number: u64,
    known_durable: u64,
}

impl<'a> Scan<'a> {
    /// Over the whole content of a file. `next_number`: the first group's number, or less. `known_durable`: the
    /// highest group known, from elsewhere, to have been synced.
    pub fn new(bytes: &'a [u8], binding: Binding, next_number: u64, known_durable: u64) -> Self {
        Scan {
            bytes,
            binding,
            offset: FILE_HEADER_LEN,
            next_number,
            known_durable,
        }
    }

    /// Where the accepted groups end: at the end of a block.
    pub fn end(&self) -> u64 {
        self.offset
    }

    /// The number of the file's first group, if its head is whole.
    pub fn first_number(&self) -> Option<u64> {
        Some(self.head_at(FILE_HEADER_LEN)?.0)
    }

    /// The next finding; `None` at the end of the file or at a tear.
    #[allow(clippy::should_implement_trait)]
    pub fn next(&mut self) -> Option<Found> {
        if let Some((number, head)) = self.head_at(self.offset)
            && let Some(records) = self.body(self.offset, &head)
        {
            let start = self.offset;
            self.offset = block_end(start + Group::RECORD_LEN + head.body_len);
            self.next_number = number + 1;
            return Some(Found::Group {
                number,
                start,
                end: self.offset,
                head,
                records,
            });
        }
        self.damage()
    }

    /// A group's head at `offset`, if it is whole.
    fn head_at(&self, offset: u64) -> Option<(u64, Group)> {
        let bytes = self
            .bytes
            .get(offset as usize..(offset + Group::RECORD_LEN) as usize)?;
        let header = RecordHeader::decode(bytes, &self.binding, offset).ok()?;
        let payload = &bytes[RECORD_HEADER_LEN..];
        let possible = self.next_number..GROUP_NUMBERS;
        if header.kind != RecordKind::Group || !possible.contains(&header.number) {
            return None;
        }
        header.check_payload(payload).ok()?;
        Some((header.number, Group::decode(payload).ok()?))
    }

    /// The records of a group, if its checksum holds.
    fn body(&self, offset: u64, head: &Group) -> Option<Vec<RecordAt>> {
        let start = offset + Group::RECORD_LEN;
        let end = start.checked_add(head.body_len)?;
        let body = self.bytes.get(start as usize..end as usize)?;
        if crc32c::of(body) != head.body_crc {
            return None;
        }
        Some(self.records(start, end))
    }

    /// The whole records between two offsets; what does not decode is skipped.
    fn records(&self, start: u64, end: u64) -> Vec<RecordAt> {
        let mut records = Vec::new();
        let mut offset = start;
        while offset + RECORD_HEADER_LEN as u64 <= end {
            let Ok(header) = RecordHeader::decode(&self.bytes[offset as usize..], &self.binding, offset)
            else {
                offset += 8;
                continue;
            };
            let payload_at = offset as usize + RECORD_HEADER_LEN;
            let payload = self
                .bytes
                .get(payload_at..payload_at + header.stored_len as usize);
            if let Some(record) = payload.and_then(|payload| whole(&header, payload)) {
                records.push(RecordAt {
                    number: header.number,
                    offset,
                    stored_len: header.stored_len,
                    record,
                });
                offset += header.record_len();
            } else if header.kind == RecordKind::Group {
                offset += header.record_len();
            } else {
                offset += 8;
            }
        }
        records
    }

    /// Nothing readable begins here: the end, a tear, or rot.
    fn damage(&mut self) -> Option<Found> {
        let from = self.offset;
        let rest = self.bytes.get(from as usize..).unwrap_or_default();
        let ended = self.known_durable == ALL_DURABLE && rest.iter().all(|byte| *byte == 0);
        if ended || self.at_footer() {
            return None;
        }
        let last = self.bytes.len() as u64;
        let next = (from + BLOCK..last)
            .step_by(BLOCK as usize)
            .find_map(|offset| Some((offset, self.head_at(offset)?)));
        let known_durable = match next {
            Some((_, (_, head))) => head.durable_group.max(self.known_durable),
            None => self.known_durable,
        };
        if known_durable < self.next_number && !self.next_had_begun() {
            return None;
        }
        let (to, durable) = match next {
            Some((offset, (number, _))) => (offset, number.saturating_sub(1)),
            None if known_durable >= GROUP_NUMBERS => (last, self.last_seen(from, last)),
            None => (last, known_durable.max(self.next_number)),
        };
        self.offset = block_end(to);
        self.next_number = durable + 1;
        let mut saved = self.records(from, to);
        saved.retain(|record| record.number <= durable);
        Some(Found::Damaged {
            from,
            to,
            durable,
            saved,
        })
    }

    /// The highest number among the records of a stretch; that of the group expected there if none can be read.
    fn last_seen(&self, from: u64, to: u64) -> u64 {
        let numbers = self.records(from, to).into_iter().map(|record| record.number);
        let numbers = numbers.filter(|number| *number < GROUP_NUMBERS);
        numbers.max().unwrap_or(0).max(self.next_number)
    }

    /// Whether the footer of a file begins here: it may be written half.
    pub fn at_footer(&self) -> bool {
        let bytes = self.bytes.get(self.offset as usize..).unwrap_or_default();
        RecordHeader::decode(bytes, &self.binding, self.offset)
            .is_ok_and(|header| header.kind == RecordKind::Footer)
    }

    /// Whether something was written behind the group that should be here. It was synced then, and what is wrong
    /// with it came later.
    fn next_had_begun(&self) -> bool {
        let end = self
            .head_at(self.offset)
            .and_then(|(_, head)| (self.offset + Group::RECORD_LEN).checked_add(head.body_len));
        // Not in its own last block: a cut can have left anything there.
        let behind = end.and_then(|end| self.bytes.get(usize::try_from(block_end(end)).ok()?..));
        behind.is_some_and(|behind| behind.iter().any(|byte| *byte != 0))
    }
}

/// A record with good checksums. A chunk counts even with damaged bytes, so that its damage is met when it is read
/// and never taken for an absence.
fn whole(header: &RecordHeader, payload: &[u8]) -> Option<Record> {
    if header.kind != RecordKind::Chunk && header.check_payload(payload).is_err() {
        return None;
    }
    Record::decode(header, payload).ok()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::chunk::Digest;
    use crate::store::log::format::SegmentPosition;
    use crate::store::log::group::{GroupBuilder, GroupContext};
    use crate::store::log::record::Sweep;
    use crate::store::model::FileKind;

    const AT: Binding = Binding {
        store: [1; 16],
        kind: FileKind::Journal,
        file: 1,
    };

    fn sweep(version: u64) -> Record {
        Record::Sweep(Sweep {
            version,
            through: vec![version as u8; 30],
            done: true,
        })
    }

    /// A file of `groups` groups, preallocated to `len`; returns the groups' offsets and the end of the last, and
    /// where the bytes of each end.
    fn file(groups: u64, len: usize) -> (Vec<u8>, Vec<u64>, Vec<u64>) {
        let mut bytes = AT.encode_file_header();
        let (mut offsets, mut ends) = (vec![], vec![]);
        for number in 1..=groups {
            offsets.push(bytes.len() as u64);
            let mut group = GroupBuilder::new(AT, bytes.len() as u64, number, Vec::new());
            let body = vec![number as u8; 100 * number as usize];
            group.push_chunk(Digest::of(&body), &[Bytes::from(body)]);
            group.push(&sweep(number)).unwrap();
            ends.push(bytes.len() as u64 + group.len());
            let context = GroupContext {
                durable_group: number - 1,
                durable_segments: SegmentPosition::default(),
                next_id: number,
                index_sum: 0,
            };
            let group = group.finish(context);
            group
                .slices()
                .iter()
                .for_each(|slice| bytes.extend_from_slice(slice));
        }
        offsets.push(bytes.len() as u64);
        bytes.resize(len.max(bytes.len()), 0);
        (bytes, offsets, ends)
    }

    fn read(bytes: &[u8], known_durable: u64) -> (Vec<u64>, Vec<(u64, u64, usize)>, u64) {
        let mut scan = Scan::new(bytes, AT, 1, known_durable);
        let (mut groups, mut damage) = (vec![], vec![]);
        while let Some(found) = scan.next() {
            match found {
                Found::Group { number, records, .. } => {
                    assert_eq!(records.len(), 2);
                    groups.push(number);
                }
                Found::Damaged { from, to, saved, .. } => damage.push((from, to, saved.len())),
            }
        }
        (groups, damage, scan.end())
    }

    #[test]
    fn a_clean_file_reads_whole() {
        let (bytes, offsets, _) = file(3, 32768);
        assert_eq!(read(&bytes, 3), (vec![1, 2, 3], vec![], offsets[3]));
    }

    #[test]
    fn the_last_group_cut_at_every_byte_is_a_tear() {
        let (bytes, offsets, ends) = file(3, 0);
        for cut in offsets[2]..offsets[3] {
            let mut torn = bytes[..cut as usize].to_vec();
            if cut >= ends[2] {
                let whole = (vec![1, 2, 3], vec![], offsets[3]);
                assert_eq!(read(&torn, 0), whole, "only free room is missing from {cut}");
                continue;
            }
            assert_eq!(read(&torn, 0), (vec![1, 2], vec![], offsets[2]), "cut at {cut}");
            if bytes[cut as usize..].iter().all(|byte| *byte == 0) {
                continue; // only padding is missing, and zeroes bring it back
            }
            torn.resize(32768, 0);
            assert_eq!(
                read(&torn, 2),
                (vec![1, 2], vec![], offsets[2]),
                "zeroes from {cut}"
            );
        }
    }

    #[test]
    fn a_missing_end_below_the_durable_point_is_rot() {
        let (bytes, offsets, _) = file(3, 0);
        let (groups, damage, _) = read(&bytes[..offsets[2] as usize + 10], 3);
        assert_eq!((groups, damage.len()), (vec![1, 2], 1));
    }

    #[test]
    fn every_flipped_byte_before_the_last_group_is_rot_and_loses_at_most_its_group() {
        let (bytes, offsets, ends) = file(3, 32768);
        for at in offsets[1]..ends[1] {
            let mut damaged = bytes.clone();
            damaged[at as usize] ^= 0x40;
            let (groups, damage, end) = read(&damaged, 0);
            assert_eq!((groups, end), (vec![1, 3], offsets[3]), "byte {at}");
            assert_eq!((damage[0].0, damage[0].1), (offsets[1], offsets[2]));
            assert!(
                damage[0].2 >= 1,
                "at least one of the two records is whole: byte {at}"
            );
        }
    }

    #[test]
    fn what_a_cut_leaves_in_the_last_block_of_a_group_does_not_prove_that_the_group_was_synced() {
        let (mut bytes, offsets, ends) = file(3, 32768);
        bytes[offsets[2] as usize + 200] ^= 0x40;
        bytes[ends[2] as usize] = 0x11;
        assert_eq!(read(&bytes, 0), (vec![1, 2], vec![], offsets[2]));
        bytes[offsets[3] as usize] = 0x11;
        assert_eq!(read(&bytes, 0).1.len(), 1, "something behind the block does");
    }

    #[test]
    fn a_group_number_out_of_bounds_is_damage() {
        for number in [GROUP_NUMBERS, ALL_DURABLE, u64::MAX] {
            let mut bytes = AT.encode_file_header();
            let mut group = GroupBuilder::new(AT, bytes.len() as u64, number, Vec::new());
            group.push(&sweep(1)).unwrap();
            let context = GroupContext {
                durable_group: 0,
                durable_segments: SegmentPosition::default(),
                next_id: 1,
                index_sum: 0,
            };
            let group = group.finish(context);
            group
                .slices()
                .iter()
                .for_each(|slice| bytes.extend_from_slice(slice));
            for known_durable in [0, 1, ALL_DURABLE] {
                let (groups, _, _) = read(&bytes, known_durable);
                assert_eq!(groups, [0; 0], "{number:x} {known_durable:x}");
            }
        }
    }

    #[test]
    fn bytes_of_another_file_are_not_taken_for_groups() {
        let (bytes, _, _) = file(3, 0);
        let other = Binding { file: 2, ..AT };
        assert_eq!(Scan::new(&bytes, other, 1, 0).next(), None);
    }
}
