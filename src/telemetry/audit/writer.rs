//! The thread that writes the audit log.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, LazyLock, Mutex, PoisonError};
use std::thread::JoinHandle;

use jiff::Timestamp;
use prometheus::IntCounter;

use super::{Event, Options, Output};
use crate::telemetry::metrics;

/// Bytes that are gathered before they are written, while more events wait.
const BATCH: usize = 64 * 1024;

static EVENTS: LazyLock<[IntCounter; 3]> = LazyLock::new(|| {
    let results = ["written", "dropped", "failed"];
    let family = metrics::counters(
        "larder_audit_events_total",
        "Events of the audit log: written, dropped because the queue was full, lost because writing failed.",
        &[("result", &results)],
    );
    results.map(|result| family.with_label_values(&[result]))
});

fn count(result: usize, events: u64) {
    EVENTS[result].inc_by(events);
}

const WRITTEN: usize = 0;
const DROPPED: usize = 1;
const FAILED: usize = 2;

/// The audit log. Clones share it.
#[derive(Clone, Debug)]
pub struct Audit(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    queue: SyncSender<Message>,
    reads: bool,
    /// Events lost that the log does not say yet.
    lost: Arc<AtomicU64>,
    /// The file is to be opened again.
    reopen: Arc<AtomicBool>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

enum Message {
    Event(Box<Event>),
    /// Look at what has been asked for.
    Wake,
    Close,
}

impl Audit {
    /// Opens the log and starts its thread; `None` where it is off.
    ///
    /// # Errors
    /// If the file cannot be opened.
    pub fn start(options: &Options) -> io::Result<Option<Self>> {
        LazyLock::force(&EVENTS);
        let Some(out) = open(&options.output)? else {
            return Ok(None);
        };
        let (queue, waiting) = sync_channel(options.queue.max(1));
        let (lost, reopen) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
        let writer = Writer {
            out,
            output: options.output.clone(),
            waiting,
            lost: lost.clone(),
            reopen: reopen.clone(),
            lines: Vec::new(),
            gathered: 0,
        };
        let thread = std::thread::Builder::new()
            .name("larder-audit".to_owned())
            .spawn(move || writer.work())?;
        Ok(Some(Audit(Arc::new(Shared {
            queue,
            reads: options.reads,
            lost,
            reopen,
            thread: Mutex::new(Some(thread)),
        }))))
    }

    /// Whether what changes nothing is recorded too.
    pub fn reads(&self) -> bool {
        self.0.reads
    }

    /// Records an event. Never waits: with a full queue the event is lost.
    pub fn record(&self, event: Event) {
        match self.0.queue.try_send(Message::Event(Box::new(event))) {
            Ok(()) => {}
            Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => {
                self.0.lost.fetch_add(1, Ordering::Relaxed);
                count(DROPPED, 1);
            }
        }
    }

    /// Opens the file again, after somebody has moved it away.
    pub fn reopen(&self) {
        self.0.reopen.store(true, Ordering::Release);
        // In a full queue there is an event that wakes it as well.
        let _ = self.0.queue.try_send(Message::Wake);
    }

    /// Writes what waits and ends the thread. Blocks.
    pub fn close(&self) {
        let thread = self
            .0
            .thread
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        let Some(thread) = thread else { return };
        let _ = self.0.queue.send(Message::Close);
        if thread.join().is_err() {
            tracing::error!("the thread of the audit log panicked");
        }
    }
}

enum Out {
    Stdout,
    File(File),
}

fn open(output: &Output) -> io::Result<Option<Out>> {
    Ok(match output {
        Output::Off => None,
        Output::Stdout => Some(Out::Stdout),
        Output::File(path) => {
            // Names of people and machines are in it.
            let file = OpenOptions::new()
                .append(true)
                .create(true)
                .mode(0o600)
                .open(path)?;
            Some(Out::File(file))
        }
    })
}

impl Out {
    fn write(&mut self, lines: &[u8]) -> io::Result<()> {
        match self {
            Out::Stdout => {
                let mut stdout = io::stdout().lock();
                stdout.write_all(lines)?;
                stdout.flush()
            }
            Out::File(file) => file.write_all(lines),
        }
    }
}

struct Writer {
    out: Out,
    output: Output,
    waiting: Receiver<Message>,
    lost: Arc<AtomicU64>,
    reopen: Arc<AtomicBool>,
    /// What is gathered to be written together.
    lines: Vec<u8>,
    /// Events in `lines`.
    gathered: u64,
}

impl Writer {
    fn work(mut self) {
        let mut open = true;
        while open {
            let Ok(mut message) = self.waiting.recv() else {
                return;
            };
            loop {
                match message {
                    Message::Event(event) => self.gather(&event),
                    Message::Wake => {}
                    Message::Close => open = false,
                }
                match self.waiting.try_recv() {
                    Ok(next) if self.lines.len() < BATCH => message = next,
                    // Nothing is thrown away: it begins the next batch.
                    Ok(next) => {
                        self.write();
                        message = next;
                    }
                    Err(_) => break,
                }
            }
            self.write();
        }
    }

    fn gather(&mut self, event: &Event) {
        // Strings and numbers: there is nothing in them that JSON cannot say.
        if serde_json::to_writer(&mut self.lines, event).is_ok() {
            self.lines.push(b'\n');
            self.gathered += 1;
        }
    }

    fn write(&mut self) {
        if self.reopen.swap(false, Ordering::Acquire) {
            match open(&self.output) {
                Ok(Some(out)) => self.out = out,
                Ok(None) => {}
                Err(error) => {
                    tracing::error!(%error, "the audit log could not be opened again; the old file is kept");
                }
            }
        }
        let lost = self.lost.swap(0, Ordering::Relaxed);
        if lost > 0 {
            let time = Timestamp::now();
            let note = format!("{{\"time\":\"{time:.3}\",\"action\":\"audit.lost\",\"events\":{lost}}}\n");
            self.lines.splice(0..0, note.into_bytes());
        }
        let gathered = std::mem::take(&mut self.gathered);
        match self.lines.is_empty() || self.out.write(&self.lines).inspect_err(failed).is_ok() {
            true => count(WRITTEN, gathered),
            false => {
                count(FAILED, gathered);
                self.lost.fetch_add(gathered + lost, Ordering::Relaxed);
            }
        }
        self.lines.clear();
    }
}

fn failed(error: &io::Error) {
    tracing::error!(%error, "the audit log could not be written");
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::fs;
    use std::path::Path;

    use super::super::Who;
    use super::*;

    fn event(object: &str) -> Event {
        Event {
            time: 0,
            who: Who::Anonymous,
            action: "get_file",
            method: None,
            object: object.to_owned(),
            target: None,
            changed: Vec::new(),
            status: Some(200),
            result: "done",
            code: None,
            bytes: 0,
            address: None,
            request_id: None,
        }
    }

    fn start(path: &Path, queue: usize) -> Audit {
        let options = Options {
            output: Output::File(path.to_owned()),
            queue,
            ..Options::default()
        };
        Audit::start(&options).unwrap().unwrap()
    }

    fn objects(path: &Path) -> Vec<String> {
        let text = fs::read_to_string(path).unwrap();
        let object = |line: &str| {
            let line: serde_json::Value = serde_json::from_str(line).unwrap();
            line["object"].as_str().unwrap_or("lost").to_owned()
        };
        text.lines().map(object).collect()
    }

    #[test]
    fn events_are_appended_in_order_for_the_owner_alone() {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("audit.log");
        for round in 0..2 {
            let audit = start(&path, 8192);
            (0..500).for_each(|number| audit.record(event(&format!("{round}/{number}"))));
            audit.close();
        }
        let objects = objects(&path);
        assert_eq!(objects.len(), 1000);
        assert_eq!((objects[0].as_str(), objects[999].as_str()), ("0/0", "1/499"));
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    }

    #[test]
    fn a_file_that_was_moved_away_is_followed_by_a_new_one() {
        let dir = tempfile::tempdir().unwrap();
        let (path, moved) = (dir.path().join("audit.log"), dir.path().join("audit.log.1"));
        let audit = start(&path, 100);
        audit.record(event("before"));
        audit.reopen();
        while !path.exists() || fs::read(&path).unwrap().is_empty() {
            std::thread::sleep(std::time::Duration::from_millis(1));
        }
        fs::rename(&path, &moved).unwrap();
        audit.reopen();
        audit.record(event("after"));
        audit.close();
        assert_eq!(objects(&moved), ["before"]);
        assert_eq!(objects(&path), ["after"]);
    }

    #[test]
    fn a_full_queue_loses_events_and_the_log_says_how_many() {
        let dir = tempfile::tempdir().unwrap();
        let fifo = dir.path().join("fifo");
        rustix::fs::mknodat(
            rustix::fs::CWD,
            &fifo,
            rustix::fs::FileType::Fifo,
            rustix::fs::Mode::from_raw_mode(0o600),
            0,
        )
        .unwrap();
        // A full pipe that nobody reads from is a disk that hangs.
        let mut pipe = OpenOptions::new()
            .read(true)
            .write(true)
            .custom_flags(libc::O_NONBLOCK)
            .open(&fifo)
            .unwrap();
        while io::Write::write(&mut pipe, &[b'\n'; 4096]).is_ok() {}
        let audit = start(&fifo, 10);
        let name = "x".repeat(1000);
        (0..1000).for_each(|_| audit.record(event(&name)));
        let closing = std::thread::spawn(move || audit.close());
        let mut read = Vec::new();
        loop {
            let ended = closing.is_finished();
            match io::Read::read_to_end(&mut pipe, &mut read) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                other => panic!("{other:?}"),
            }
            if ended {
                break;
            }
            std::thread::sleep(std::time::Duration::from_millis(1));
        }
        closing.join().unwrap();
        let text = String::from_utf8(read).unwrap();
        let lines = text.lines().filter(|line| !line.is_empty());
        let lines: Vec<serde_json::Value> = lines.map(|line| serde_json::from_str(line).unwrap()).collect();
        let (notes, events): (Vec<_>, Vec<_>) = lines.iter().partition(|line| line["action"] == "audit.lost");
        let lost: u64 = notes.iter().map(|note| note["events"].as_u64().unwrap()).sum();
        assert_eq!(lost + events.len() as u64, 1000);
        assert!(
            lost > 800,
            "{lost}: a queue of 10 and a batch of 64 KiB hold fewer than 200"
        );
    }

    #[test]
    fn off_is_nothing_and_a_file_that_cannot_be_opened_an_error() {
        assert!(Audit::start(&Options::default()).unwrap().is_none());
        let nowhere = Options {
            output: Output::File("/nonexistent/audit.log".into()),
            ..Options::default()
        };
        assert!(Audit::start(&nowhere).is_err());
    }
}
