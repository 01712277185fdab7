//! A block: some rows of a run, in order, that are one value of sled.
//!
//! | bytes | |
//! |---|---|
//! | 2 | length of the fence |
//! | | the fence: the last key of the block before; empty in the first block of a run |
//! | 2 | number of rows, at least 1 |
//! | 4 each | where each row ends, from where the first begins |
//! | | the rows: length of the key (2), the key, then 1 and the value, or 0 where there is none any more |
//!
//! Numbers are little endian. By its fence it is known of a key that is not in a block whether the block that should
//! have it got lost.

use super::tree::Value;
use crate::store::error::StoreError;

/// A row of a block: `None` where the key has no value any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Row<'a> {
    /// The key.
    pub key: &'a [u8],
    /// Its value.
    pub value: Option<&'a [u8]>,
}

/// A block that is read.
#[derive(Clone, Debug)]
pub struct Block {
    bytes: Value,
    /// Rows in it.
    count: usize,
    /// Where the table of ends begins.
    ends: usize,
}

impl Block {
    /// Reads a block.
    ///
    /// # Errors
    /// `Index` where it is none.
    pub fn open(bytes: Value) -> Result<Self, StoreError> {
        let fence = usize::from(number(&bytes, 0)?);
        let count = usize::from(number(&bytes, 2 + fence)?);
        let block = Block {
            ends: 4 + fence,
            count,
            bytes,
        };
        match count > 0 && block.row_begin(count)? == block.bytes.len() {
            true => Ok(block),
            false => Err(malformed()),
        }
    }

    /// Rows in it.
    pub fn len(&self) -> usize {
        self.count
    }

    /// The last key of the block before.
    pub fn fence(&self) -> &[u8] {
        self.bytes.get(2..self.ends - 2).unwrap_or_default()
    }

    /// A row, counted from 0.
    ///
    /// # Errors
    /// `Index` where it is none.
    pub fn row(&self, at: usize) -> Result<Row<'_>, StoreError> {
        let (begin, end) = (self.row_begin(at)?, self.row_begin(at + 1)?);
        let row = self.bytes.get(begin..end).ok_or_else(malformed)?;
        let (key, rest) = row
            .split_at_checked(2)
            .and_then(|(len, rest)| rest.split_at_checked(u16::from_le_bytes([len[0], len[1]]).into()))
            .ok_or_else(malformed)?;
        let value = match rest.split_first() {
            Some((1, value)) => Some(value),
            Some((0, [])) => None,
            _ => return Err(malformed()),
        };
        Ok(Row { key, value })
    }

    /// The first row whose key is not before `key`.
    ///
    /// # Errors
    /// `Index` where a row is none.
    pub fn lower_bound(&self, key: &[u8]) -> Result<usize, StoreError> {
        let (mut low, mut high) = (0, self.count);
        while low < high {
            let middle = low.midpoint(high);
            match self.row(middle)?.key < key {
                true => low = middle + 1,
                false => high = middle,
            }
        }
        Ok(low)
    }

    /// Where a row begins, which is where the one before ends.
    fn row_begin(&self, at: usize) -> Result<usize, StoreError> {
        let rows = self.ends + 4 * self.count;
        let Some(before) = at.checked_sub(1) else {
            return Ok(rows);
        };
        let end = self.ends + 4 * before;
        let end = self.bytes.get(end..end + 4).and_then(|end| end.try_into().ok());
        Ok(rows + u32::from_le_bytes(end.ok_or_else(malformed)?) as usize)
    }
}

fn number(bytes: &[u8], at: usize) -> Result<u16, StoreError> {
    let number = bytes.get(at..at + 2).and_then(|number| number.try_into().ok());
    Ok(u16::from_le_bytes(number.ok_or_else(malformed)?))
}

fn malformed() -> StoreError {
    StoreError::Index("a block of rows is malformed".into())
}

/// Makes the blocks of a run, one after the other.
#[derive(Debug, Default)]
pub struct BlockBuilder {
    fence: Vec<u8>,
    ends: Vec<u32>,
    rows: Vec<u8>,
    last: Vec<u8>,
}

impl BlockBuilder {
    /// Adds the next row. Keys are shorter than 64 KiB, and a block with all its rows shorter than 4 GiB.
    pub fn push(&mut self, Row { key, value }: Row<'_>) {
        self.rows.extend_from_slice(&(key.len() as u16).to_le_bytes());
        self.rows.extend_from_slice(key);
        self.rows.push(u8::from(value.is_some()));
        self.rows.extend_from_slice(value.unwrap_or_default());
        self.ends.push(self.rows.len() as u32);
        self.last.clear();
        self.last.extend_from_slice(key);
    }

    /// Bytes of rows so far.
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// The key of the last row of all blocks so far.
    pub fn last(&self) -> &[u8] {
        &self.last
    }

    /// The block, which is known by the key of its last row; `None` without a row. The next one begins.
    pub fn finish(&mut self) -> Option<Vec<u8>> {
        if self.ends.is_empty() {
            return None;
        }
        let mut bytes = Vec::with_capacity(4 + self.fence.len() + 4 * self.ends.len() + self.rows.len());
        bytes.extend_from_slice(&(self.fence.len() as u16).to_le_bytes());
        bytes.extend_from_slice(&self.fence);
        bytes.extend_from_slice(&(self.ends.len() as u16).to_le_bytes());
        bytes.extend(self.ends.iter().flat_map(|end| end.to_le_bytes()));
        bytes.extend_from_slice(&self.rows);
        self.fence.clone_from(&self.last);
        self.ends.clear();
        self.rows.clear();
        Some(bytes)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    type Owned = (Vec<u8>, Option<Vec<u8>>);

    fn built(rows: &[Owned], builder: &mut BlockBuilder) -> Block {
        for (key, value) in rows {
            let value = value.as_deref();
            builder.push(Row { key, value });
        }
        Block::open(builder.finish().unwrap().into()).unwrap()
    }

    fn rows() -> impl Strategy<Value = Vec<Owned>> {
        let bytes = || prop::collection::vec(any::<u8>(), 0..9);
        prop::collection::btree_map(bytes(), prop::option::of(bytes()), 1..40)
            .prop_map(|rows| rows.into_iter().collect())
    }

    proptest! {
        #[test]
        fn rows_come_back(rows in rows(), sought in prop::collection::vec(any::<u8>(), 0..9)) {
            let mut builder = BlockBuilder::default();
            let block = built(&rows, &mut builder);
            prop_assert_eq!(block.len(), rows.len());
            prop_assert_eq!(block.fence(), b"");
            for (at, (key, value)) in rows.iter().enumerate() {
                let value = value.as_deref();
                prop_assert_eq!(block.row(at).unwrap(), Row { key, value });
                prop_assert_eq!(block.lower_bound(key).unwrap(), at);
            }
            let bound = rows.partition_point(|(key, _)| *key < sought);
            prop_assert_eq!(block.lower_bound(&sought).unwrap(), bound);
            let next = built(&[(b"\xff".repeat(10), None)], &mut builder);
            prop_assert_eq!(next.fence(), rows.last().unwrap().0.as_slice());
        }

        #[test]
        fn no_bytes_are_too_strange(rows in rows(), at in any::<usize>(), byte in any::<u8>(), cut in any::<usize>()) {
            let block = built(&rows, &mut BlockBuilder::default());
            let mut bytes = block.bytes.to_vec();
            let at = at % bytes.len();
            bytes[at] = byte;
            bytes.truncate(cut % bytes.len() + 1);
            if let Ok(block) = Block::open(bytes.into()) {
                let _ = block.fence();
                let _ = block.lower_bound(b"k");
                let _ = (0..block.len()).filter(|at| block.row(*at).is_ok()).count();
            }
        }
    }
}
