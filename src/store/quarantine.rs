//! Writes down which copies are damaged, so that they are refused at once after a restart too, and says in the log
//! which files use them. On a thread of its own: finding the names takes a scan of the index.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel};
use std::thread::JoinHandle;

use super::affected::{Affected, Search};
use super::change::Change;
use super::committer::Message;
use super::error::StoreError;
use super::index::Index;
use super::log::files::{self, LogFiles};
use super::model::Place;
use super::ticket;
use crate::chunk::Digest;

/// Names in one log line.
const NAMES: usize = 20;
/// Reports that share a scan of the index.
const BATCH: usize = 256;

/// A copy that was found damaged; without a place, one that should be there and is not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Damaged {
    /// The chunk, or the blob whose manifest it is.
    pub digest: Digest,
    /// Where the copy lies.
    pub place: Option<Place>,
}

/// The running thread.
#[derive(Debug)]
pub struct Quarantine {
    thread: JoinHandle<()>,
    ending: Arc<AtomicBool>,
    reports: Sender<Option<Damaged>>,
}

/// Where reports go.
pub type Reports = Sender<Option<Damaged>>;

struct Worker {
    index: Arc<Index>,
    files: Arc<LogFiles>,
    commits: SyncSender<Message>,
    ending: Arc<AtomicBool>,
}

impl Quarantine {
    /// Starts the thread. `files`: where manifests are read from.
    pub fn start(
        index: Arc<Index>,
        files: Arc<LogFiles>,
        commits: SyncSender<Message>,
    ) -> std::io::Result<Self> {
        let ending = Arc::new(AtomicBool::new(false));
        let (reports, inbox) = channel();
        let worker = Worker {
            index,
            files,
            commits,
            ending: ending.clone(),
        };
        let thread = std::thread::Builder::new()
            .name("larder-damage".to_owned())
            .spawn(move || worker.run(&inbox))?;
        Ok(Quarantine {
            thread,
            ending,
            reports,
        })
    }

    /// Where damage is reported to.
    pub fn reports(&self) -> Reports {
        self.reports.clone()
    }

    /// Ends the thread; a search for names is broken off.
    pub fn end(self) {
        self.ending.store(true, Ordering::Relaxed);
        let _ = self.reports.send(None);
        let _ = self.thread.join();
    }
}

impl Worker {
    fn run(&self, inbox: &Receiver<Option<Damaged>>) {
        while let Ok(Some(first)) = inbox.recv() {
            let mut found = vec![first];
            let mut more = inbox.try_iter();
            let mut open = true;
            while found.len() < BATCH {
                match more.next() {
                    Some(Some(damaged)) => found.push(damaged),
                    Some(None) => {
                        open = false;
                        break;
                    }
                    None => break,
                }
            }
            found.iter().for_each(|damaged| self.write_down(*damaged));
            self.name_files(&found);
            if !open {
                return;
            }
        }
    }

    /// Nobody waits for it: a copy that could not be written down is found again.
    fn write_down(&self, Damaged { digest, place }: Damaged) {
        if let Some(place) = place {
            let (settle, _) = ticket::ticket();
            let change = Box::new(Change::Quarantine { digest, place });
            // Fails once the committer has ended.
            let _ = self.commits.send(Message::Commit(change, settle));
        }
    }

    fn name_files(&self, found: &[Damaged]) {
        let search = Search {
            index: &self.index,
            files: &self.files,
            limit: NAMES,
            go_on: &|| !self.ending.load(Ordering::Relaxed),
        };
        let digests: HashSet<Digest> = found.iter().map(|damaged| damaged.digest).collect();
        let users = match search.users(&digests) {
            Ok(users) => users,
            Err(StoreError::Closed) => return,
            Err(error) => {
                tracing::warn!(%error, "the files that use damaged chunks cannot be named");
                return;
            }
        };
        for Damaged { digest, place } in found {
            let Affected { names, more } = users.get(digest).cloned().unwrap_or_default();
            tracing::error!(
                %digest,
                copy = place.map(|place| files::describe(&place)),
                files = names.join(", "),
                more_files = more,
                "a damaged chunk is quarantined; the same bytes, published again, heal it"
            );
        }
    }
}
