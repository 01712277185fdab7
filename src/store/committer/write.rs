//! Writing a group: the journal's part of a commit.

use std::time::Instant;

use super::Committer;
use super::waiters::Filled;
use crate::store::change::CommitError;
use crate::store::index::Batch;
use crate::store::log::format::FILE_HEADER_LEN;
use crate::store::log::group::{FinishedGroup, GroupBuilder, GroupContext};
use crate::store::log::journal::AppendError;
use crate::store::metrics;
use crate::store::position::{Applied, Witness};

impl Committer {
    /// Writes and syncs the group: the moment its commits become true.
    pub(super) fn write(
        &mut self,
        group: GroupBuilder,
        batch: &Batch<'_>,
        filled: Filled,
    ) -> Result<(), CommitError> {
        let durable_segments = self.bulk.segments.durable();
        let next_id = self.shared.peek_next_id();
        let mut group = group.finish(GroupContext {
            durable_group: self.applied.group,
            durable_segments,
            next_id,
            index_sum: batch.sum(),
        });
        let start = self.journal.offset();
        self.append(&mut group, filled)?;
        let started = Instant::now();
        if let Err(error) = self.journal.sync() {
            return Err(self.poison("sync", &error));
        }
        metrics::group(filled.commits, group.written_len(), started.elapsed());
        self.applied = Applied {
            group: self.applied.group + 1,
            file: self.journal.binding().file,
            offset: self.journal.offset(),
            next_id,
            index_sum: batch.sum(),
            durable_segments,
            witness: Witness {
                number: self.applied.group + 1,
                offset: start,
            },
        };
        self.buffer = group.into_buffer();
        if self.journal.is_full() {
            self.rotate(self.journal.next_size());
        }
        Ok(())
    }

    /// Appends a group; one that leads to more room with the help of the ballast.
    fn append(&mut self, group: &mut FinishedGroup, filled: Filled) -> Result<(), CommitError> {
        let (room, begun) = (self.bulk.room.clone(), self.journal.offset());
        loop {
            match self.journal.append(group) {
                Ok(()) => break,
                Err(AppendError::Failed(error)) => return Err(self.poison("write", &error)),
                Err(AppendError::NoSpace) => {
                    room.write_failed();
                    let needed = group.written_len();
                    let given = match filled {
                        Filled { frees: false, .. } => false,
                        Filled {
                            only_copies: true, ..
                        } => room.give_up_ballast_for_copies(needed),
                        _ => room.give_up_ballast(needed),
                    };
                    if !given {
                        return Err(CommitError::NoSpace);
                    }
                }
            }
        }
        // A file without a group is removed again, so its header counts with the first one.
        let from = if begun == FILE_HEADER_LEN { 0 } else { begun };
        room.take(self.journal.offset() - from);
        Ok(())
    }

    /// Begins the next file, of `size` bytes. Where that fails the old one simply goes on growing.
    pub(super) fn rotate(&mut self, size: u64) {
        let size = self.bulk.room.spare(size);
        match self.journal.create_next(size) {
            Ok(next) => (self.seal)(std::mem::replace(&mut self.journal, next)),
            Err(error) => tracing::warn!(%error, "no new journal file could be begun; the old one goes on"),
        }
    }
}
