//! The store's own threads beside the segment writer: committer, sealer, checkpointer; and how they end.

use std::io;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, SyncSender, channel, sync_channel};
use std::thread::{Builder, JoinHandle};
use std::time::Duration;

use super::committer::{Committer, Message};
use super::index::Index;
use super::log::journal::Journal;
use super::position::Applied;

/// How often the index is made durable: what a kill -9 leaves to replay is bounded by it.
const CHECKPOINT_EVERY: Duration = Duration::from_secs(1);

/// The running threads.
#[derive(Debug)]
pub struct Threads {
    committer: JoinHandle<(Journal, Applied)>,
    sealer: JoinHandle<()>,
    checkpointer: JoinHandle<()>,
    stop_checkpointer: Sender<()>,
}

impl Threads {
    /// Starts them. Up to `queue` commits wait for the committer.
    pub fn start(
        queue: usize,
        index: Arc<Index>,
        committer: impl FnOnce(Box<dyn FnMut(Journal) + Send>) -> Committer,
    ) -> io::Result<(SyncSender<Message>, Self)> {
        let (commits, committer_queue) = sync_channel(queue);
        let wake = commits.clone();
        index.on_failure(move || {
            // A committer whose queue is full is awake.
            let _ = wake.try_send(Message::Rebuild);
        });
        let (full, full_files) = channel::<Journal>();
        let (stop_checkpointer, stopped) = channel();
        let sealer = thread("larder-seal", move || full_files.into_iter().for_each(seal))?;
        let checkpointer = thread("larder-index", move || checkpoint(&index, &stopped))?;
        let committer = committer(Box::new(move |journal| {
            // The sealer outlives the committer; were it gone, recovery would seal the file.
            let _ = full.send(journal);
        }));
        let committer = thread("larder-commit", move || committer.run(committer_queue))?;
        Ok((
            commits,
            Threads {
                committer,
                sealer,
                checkpointer,
                stop_checkpointer,
            },
        ))
    }

    /// Waits for the committer, which has been told to close, and ends the others. Returns where the log ends, or
    /// `None` if the committer panicked.
    ///
    /// The active file is sealed if `sound` says so by then: after a failed sync nobody knows what is in it, and only
    /// a restart may find out.
    pub fn join(self, sound: impl FnOnce() -> bool) -> Option<Applied> {
        let committer = self.committer.join();
        let _ = self.sealer.join();
        drop(self.stop_checkpointer);
        let _ = self.checkpointer.join();
        let (journal, applied) = committer.ok()?;
        if sound() {
            seal(journal);
        }
        Some(applied)
    }
}

fn thread<T: Send + 'static>(
    name: &str,
    work: impl FnOnce() -> T + Send + 'static,
) -> io::Result<JoinHandle<T>> {
    Builder::new().name(name.into()).spawn(work)
}

fn seal(journal: Journal) {
    let file = journal.binding().file;
    if let Err(error) = journal.seal() {
        tracing::error!(file, %error, "a journal file could not be sealed; the next start does it");
    }
}

fn checkpoint(index: &Index, stopped: &Receiver<()>) {
    while stopped.recv_timeout(CHECKPOINT_EVERY) == Err(RecvTimeoutError::Timeout) {
        if let Err(error) = index.checkpoint() {
            tracing::warn!(%error, "the index could not be made durable; a restart replays more of the log");
        }
    }
}
