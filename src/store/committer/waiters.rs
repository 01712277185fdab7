//! Who waits for a group: changes gather, are staged until the group is full, and are told what became of it.

use std::sync::mpsc::{Receiver, Sender, TryRecvError};

use super::Message;
use crate::store::change::{Change, CommitError};
use crate::store::error::StoreError;
use crate::store::room::Room;
use crate::store::stage::{Stage, Staged};
use crate::store::ticket::Settle;
use crate::store::upload::Content;

/// Commits in one group at most.
const GROUP_COMMITS: usize = 256;
/// A group is closed when it is this long, bytes.
const GROUP_BYTES: u64 = 4 << 20;

/// Commits that wait for the group, and how they will be told.
#[derive(Default)]
pub(super) struct Waiters {
    accepted: Vec<Settle>,
    refused: Vec<(Settle, CommitError)>,
    /// Changes stay alive until the index knows their chunks: they hold the pins.
    pub changes: Vec<Change>,
}

/// What a group was filled with.
#[derive(Clone, Copy)]
pub(super) struct Filled {
    pub commits: usize,
    /// Some of it leads to more room.
    pub frees: bool,
    /// All of that are compaction's copies.
    pub only_copies: bool,
}

impl Waiters {
    /// Stages changes until the group is full. Publications for which there is no room are refused.
    pub fn stage(
        &mut self,
        messages: &mut impl Iterator<Item = (Change, Settle)>,
        room: &Room,
        stage: &mut Stage<'_, '_>,
    ) -> Result<Filled, StoreError> {
        while self.changes.len() < GROUP_COMMITS && stage.group.len() < GROUP_BYTES {
            let Some((change, settle)) = messages.next() else {
                break;
            };
            if !change.frees() && room.admit(stage.group.len() + body_of(&change)).is_err() {
                drop(change);
                settle.settle(Err(CommitError::NoSpace));
                continue;
            }
            let staged = stage.change(&change);
            self.changes.push(change);
            match staged.map(Staged::refusal) {
                Ok(None) => self.accepted.push(settle),
                Ok(Some(refusal)) => self.refused.push((settle, refusal)),
                Err(error) => {
                    self.accepted.push(settle);
                    return Err(error);
                }
            }
        }
        let mut freeing = self.changes.iter().filter(|change| change.frees()).peekable();
        Ok(Filled {
            commits: self.accepted.len(),
            frees: freeing.peek().is_some(),
            only_copies: freeing.all(Change::copies),
        })
    }

    pub fn settle(self, outcome: Result<(), CommitError>) {
        // The pins first: whoever is told may publish the same bytes again at once.
        drop(self.changes);
        for settle in self.accepted {
            settle.settle(outcome.clone());
        }
        // Not before the group they lost against is in the index, so that deciding again sees it.
        for (settle, refusal) in self.refused {
            settle.settle(outcome.clone().and(Err(refusal)));
        }
    }
}

/// Bytes of a body that the journal would take.
fn body_of(change: &Change) -> u64 {
    match change {
        Change::Publish(publish) if matches!(publish.blob.content, Content::Inline(_)) => publish.blob.size,
        _ => 0,
    }
}

/// Takes what is waiting up to a fence, without waiting. False: time to close.
pub(super) fn gather(
    queue: &Receiver<Message>,
    messages: &mut Vec<(Change, Settle)>,
    fence: &mut Option<Sender<()>>,
) -> bool {
    while messages.len() < GROUP_COMMITS {
        match queue.try_recv() {
            Ok(Message::Commit(change, settle)) => messages.push((*change, settle)),
            Ok(Message::Fence(passed)) => {
                *fence = Some(passed);
                break;
            }
            Ok(Message::Close) | Err(TryRecvError::Disconnected) => return false,
            // Both are asked for again.
            Ok(Message::Rebuild | Message::ShrinkIndex) | Err(TryRecvError::Empty) => break,
        }
    }
    true
}
