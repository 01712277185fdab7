//! Check and drop: takes what is not marked out of the index, unless somebody has come to rely on it.

use super::mark::{Marked, fingerprint};
use super::roots::SCAN_STEP;
use super::{CollectError, Pass};
use crate::chunk::Digest;
use crate::store::change::{Change, CommitError, Garbage};
use crate::store::committer::Message;
use crate::store::index::{decode, keys};
use crate::store::model::Place;
use crate::store::ticket::ticket;

/// What the pace counts for dropping an entry, bytes: about what the record and the index take.
const ENTRY_COST: u64 = 128;

/// An entry of the index for a chunk or a manifest.
struct Entry {
    digest: Digest,
    place: Place,
}

impl Pass<'_> {
    /// Drops the chunks and manifests in the range of the marks that have none. `preview`: only counts them.
    pub(super) fn sweep(&self, marked: &Marked, preview: bool) -> Result<(), CollectError> {
        self.each_unmarked(b'c', marked, &mut |found| match preview {
            true => {
                let bytes = found.iter().map(|entry| u64::from(entry.place.stored_len)).sum();
                self.freed.add(found.len() as u64, 0, bytes);
                Ok(())
            }
            false => self.drop_chunks(found),
        })?;
        self.each_unmarked(b'b', marked, &mut |found| match preview {
            true => {
                self.freed.add(0, found.len() as u64, 0);
                Ok(())
            }
            false => self.drop_manifests(found),
        })
    }

    /// Calls `visit` with the entries of a kind in the range of the marks that have none, some at a time.
    fn each_unmarked(
        &self,
        kind: u8,
        marked: &Marked,
        visit: &mut dyn FnMut(Vec<Entry>) -> Result<(), CollectError>,
    ) -> Result<(), CollectError> {
        // Shorter than every key, so none is equal to it.
        let mut after = [&[kind][..], &marked.range().start().to_be_bytes()].concat();
        loop {
            let entries = self.inner.index.scan(&[kind], Some(&after), SCAN_STEP)?;
            let mut found = Vec::new();
            for (key, value) in &entries {
                let Some(digest) = keys::digest(key) else { continue };
                if fingerprint(&digest) > *marked.range().end() {
                    return visit(found);
                }
                if !marked.has(&digest) && !self.inner.barrier.holds(&digest) {
                    let place = decode(value)?;
                    found.push(Entry { digest, place });
                }
            }
            self.may_go_on(entries.len() as u64 * ENTRY_COST)?;
            visit(found)?;
            match entries.last() {
                Some((key, _)) => after = key.to_vec(),
                None => return Ok(()),
            }
        }
    }

    /// A bulk chunk is looked up and pinned by uploads themselves, so it is reserved first: whoever has pinned it and
    /// published it before this has been noted by the barrier, which the committer asks again.
    fn drop_chunks(&self, found: Vec<Entry>) -> Result<(), CollectError> {
        let mut garbage = self.garbage();
        for Entry { digest, place } in found {
            if let Some(reservation) = self.inner.bulk.pins.reserve_drop(digest) {
                garbage.reservations.push(reservation);
                garbage.chunks.push((digest, place.stored_len));
            }
        }
        self.drop_garbage(garbage)
    }

    /// A manifest is looked up by the committer alone.
    fn drop_manifests(&self, found: Vec<Entry>) -> Result<(), CollectError> {
        let mut garbage = self.garbage();
        garbage.manifests = found.into_iter().map(|entry| entry.digest).collect();
        self.drop_garbage(garbage)
    }

    fn garbage(&self) -> Garbage {
        Garbage {
            freed: self.freed.clone(),
            ..Garbage::default()
        }
    }

    fn drop_garbage(&self, garbage: Garbage) -> Result<(), CollectError> {
        match garbage.chunks.is_empty() && garbage.manifests.is_empty() {
            true => Ok(()),
            false => self.commit(Change::Drop(garbage)),
        }
    }

    /// Commits a change and waits until it is in the index.
    pub(super) fn commit(&self, change: Change) -> Result<(), CollectError> {
        let (settle, ticket) = ticket();
        let message = Message::Commit(Box::new(change), settle);
        // The queue is bounded, so this may wait; the committer always works it off.
        let sent = self.inner.commits.send(message);
        sent.map_err(|_| CommitError::Closed)?;
        self.fence()?;
        let outcome = ticket.peek().cloned();
        Ok(outcome.unwrap_or(Err(CommitError::Closed))?)
    }
}
