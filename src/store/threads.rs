//! The store's own threads beside the segment writer: committer, sealer, checkpointer; and how they end.

use std::io;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, SyncSender, channel, sync_channel};
use std::thread::{Builder, JoinHandle};
use std::time::{Duration, Instant};

use super::committer::{Committer, Message};
use super::flow;
use super::index::{Index, MANY_RUNS};
use super::log::journal::Journal;
use super::position::Applied;
use super::room::Room;

/// How often the index is made durable: what a kill -9 leaves to replay is bounded by it.
const CHECKPOINT_EVERY: Duration = Duration::from_secs(1);

/// With so many runs merging has time: look-ups are cheap.
const FEW_RUNS: usize = 16;

/// Rest behind a step of a merge then, in times that it took: merging takes a tenth of a core at most.
const CALM_MERGE_REST: u32 = 9;

/// The same where runs are not few: a third of a core.
const MERGE_REST: u32 = 2;

/// How often the reserves are looked after.
const KEEP_EVERY: Duration = Duration::from_secs(1);

/// What wakes the checkpointer before it is time.
#[derive(Clone, Copy, Debug)]
enum Wake {
    /// Much has been written to the index.
    Full,
    /// The store is closing.
    Stop,
}

/// The running threads.
#[derive(Debug)]
pub struct Threads {
    committer: JoinHandle<(Journal, Applied)>,
    sealer: JoinHandle<()>,
    checkpointer: JoinHandle<()>,
    wake_checkpointer: SyncSender<Wake>,
    keeper: JoinHandle<()>,
    stop_keeper: Sender<()>,
    room: Arc<Room>,
}

impl Threads {
    /// Starts them. Up to `queue` commits wait for the committer.
    pub fn start(
        queue: usize,
        index: Arc<Index>,
        room: Arc<Room>,
        committer: impl FnOnce(Box<dyn FnMut(Journal) + Send>) -> Committer,
    ) -> io::Result<(SyncSender<Message>, Self)> {
        let (commits, committer_queue) = sync_channel(queue);
        let wake = commits.clone();
        index.on_failure(move || {
            // A committer whose queue is full is awake.
            let _ = wake.try_send(Message::Rebuild);
        });
        let (to_seal, full_files) = channel::<Journal>();
        let (wake_checkpointer, woken) = sync_channel(1);
        let full = wake_checkpointer.clone();
        index.on_full(move || {
            // One that has been told already will look.
            let _ = full.try_send(Wake::Full);
        });
        let (stop_keeper, keeper_stopped) = channel();
        let sealer_room = room.clone();
        let sealer = thread("larder-seal", move || {
            full_files
                .into_iter()
                .for_each(|journal| seal(journal, &sealer_room));
        })?;
        let (kept, kept_index) = (room.clone(), index.clone());
        let keeper = thread("larder-room", move || keep(&kept, &kept_index, &keeper_stopped))?;
        let checkpointer = thread("larder-index", move || checkpoint(&index, &woken))?;
        let committer = committer(Box::new(move |journal| {
            // The sealer outlives the committer; were it gone, recovery would seal the file.
            let _ = to_seal.send(journal);
        }));
        let committer = thread("larder-commit", move || committer.run(committer_queue))?;
        Ok((
            commits,
            Threads {
                committer,
                sealer,
                checkpointer,
                wake_checkpointer,
                keeper,
                stop_keeper,
                room,
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
        let _ = self.wake_checkpointer.send(Wake::Stop);
        let _ = self.checkpointer.join();
        drop(self.stop_keeper);
        let _ = self.keeper.join();
        let (journal, applied) = committer.ok()?;
        if sound() {
            seal(journal, &self.room);
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

fn seal(journal: Journal, room: &Room) {
    let (file, end) = (journal.binding().file, journal.offset());
    let path = journal.path();
    match journal.seal() {
        // The groups have been counted, the footer has not. One without any group is gone.
        Ok(()) => room.take(std::fs::metadata(path).map_or(0, |meta| meta.len().saturating_sub(end))),
        Err(error) => {
            tracing::error!(file, %error, "a journal file could not be sealed; the next start does it")
        }
    }
}

fn keep(room: &Room, index: &Index, stopped: &Receiver<()>) {
    while stopped.recv_timeout(KEEP_EVERY) == Err(RecvTimeoutError::Timeout) {
        room.keep(index);
    }
}

fn checkpoint(index: &Index, woken: &Receiver<Wake>) {
    let mut due = Instant::now() + CHECKPOINT_EVERY;
    let (mut merge_at, mut succeeds) = (None, true);
    loop {
        let next = merge_at.map_or(due, |at| due.min(at));
        match woken.recv_timeout(next.saturating_duration_since(Instant::now())) {
            // Where checkpoints fail, as on a full disk, the next one has time.
            Ok(Wake::Full) if succeeds && index.is_behind() => due = Instant::now(),
            Ok(Wake::Full) | Err(RecvTimeoutError::Timeout) => {}
            Ok(Wake::Stop) | Err(RecvTimeoutError::Disconnected) => return,
        }
        if due <= Instant::now() {
            succeeds = checkpoint_now(index);
            due = Instant::now() + CHECKPOINT_EVERY;
            merge_at.get_or_insert_with(Instant::now);
        }
        if merge_at.is_some_and(|at| at <= Instant::now()) {
            merge_at = merge(index).map(|rest| Instant::now() + rest);
        }
    }
}

/// Merges some of the index; the rest until it goes on, if there is more to do.
fn merge(index: &Index) -> Option<Duration> {
    let begun = Instant::now();
    // An index that fails says so itself.
    let more = index.merge_step().unwrap_or(false);
    let rest = match index.runs().unwrap_or_default() {
        runs if runs > MANY_RUNS => 0,
        runs if runs > FEW_RUNS => MERGE_REST,
        _ => CALM_MERGE_REST,
    };
    more.then(|| begun.elapsed() * rest)
}

/// Whether that succeeded.
fn checkpoint_now(index: &Index) -> bool {
    let begun = Instant::now();
    let made = index.checkpoint();
    match &made {
        Ok(()) => flow::checkpoint(begun.elapsed()),
        Err(error) => {
            tracing::warn!(%error, "the index could not be made durable; a restart replays more of the log");
        }
    }
    made.is_ok()
}
