//! The access log's file: written by a thread of its own, behind a bounded queue, so that no request waits for it.

use std::fs::{File, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{self, Receiver, SyncSender, TrySendError};
use std::time::Duration;

use super::dropped::DROPPED;
use super::rate::PerSecond;

/// Where lines go, and how many.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// Where to; `None` is stderr.
    pub file: Option<PathBuf>,
    /// Lines in a second, at most; `None` is all.
    pub rate: Option<u32>,
    /// Lines that may wait.
    pub queue: usize,
}

/// Takes lines. Clones write to the same place.
#[derive(Clone, Debug)]
pub struct AccessLog {
    messages: SyncSender<Message>,
    rate: Option<std::sync::Arc<PerSecond>>,
}

#[derive(Debug)]
enum Message {
    /// With its line end.
    Line(String),
    /// The file has been moved away.
    Reopen,
    /// Tell when everything before is written.
    Flush(SyncSender<()>),
}

impl AccessLog {
    /// Opens the file, appending, and starts the thread.
    pub fn open(options: &Options) -> io::Result<Self> {
        let output = Output::open(options.file.as_deref())?;
        let (messages, inbox) = mpsc::sync_channel(options.queue.max(1));
        let file = options.file.clone();
        std::thread::Builder::new()
            .name("access-log".to_owned())
            .spawn(move || write_all(inbox, output, file.as_deref()))?;
        Ok(AccessLog {
            messages,
            rate: options.rate.map(|rate| std::sync::Arc::new(PerSecond::new(rate))),
        })
    }

    /// Whether a line may be written now; if not, it has been counted as dropped. Asked before the line is made.
    pub fn admits(&self) -> bool {
        let admitted = self.rate.as_ref().is_none_or(|rate| rate.take());
        if !admitted {
            DROPPED.access_rate.inc();
        }
        admitted
    }

    /// Hands a line over, with its line end. Never waits: with a full queue the line is dropped and counted.
    pub fn write(&self, line: String) {
        if let Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) =
            self.messages.try_send(Message::Line(line))
        {
            DROPPED.access_queue.inc();
        }
    }

    /// Goes on in a new file of the same name, after whoever rotates logs has moved the old one.
    pub fn reopen(&self) {
        // May wait for the queue; the thread always empties it.
        let _ = self.messages.send(Message::Reopen);
    }

    /// Waits until everything is written, but no longer than this.
    pub fn flush(&self, patience: Duration) {
        let (done, written) = mpsc::sync_channel(1);
        if self.messages.send(Message::Flush(done)).is_ok() {
            let _ = written.recv_timeout(patience);
        }
    }
}

fn write_all(inbox: Receiver<Message>, mut output: Output, file: Option<&Path>) {
    let mut next = inbox.recv().ok();
    while let Some(message) = next {
        match message {
            Message::Line(line) => output.write(&line),
            Message::Reopen => match Output::open(file) {
                Ok(new) => output = new,
                Err(error) => tracing::error!(%error, ?file, "the access log stays in its old file"),
            },
            Message::Flush(done) => {
                output.flush();
                let _ = done.send(());
            }
        }
        // Written out whenever there is nothing more to write.
        next = inbox.try_recv().ok().or_else(|| {
            output.flush();
            inbox.recv().ok()
        });
    }
    output.flush();
}

enum Output {
    Stderr,
    File { writer: BufWriter<File>, lines: u64 },
}

impl Output {
    fn open(file: Option<&Path>) -> io::Result<Self> {
        let Some(path) = file else {
            return Ok(Output::Stderr);
        };
        // Who asked for what is not for everybody's eyes.
        let file = OpenOptions::new()
            .create(true)
            .append(true)
            .mode(0o640)
            .open(path)?;
        Ok(Output::File {
            writer: BufWriter::with_capacity(64 * 1024, file),
            lines: 0,
        })
    }

    fn write(&mut self, line: &str) {
        match self {
            Output::Stderr => {
                if io::stderr().lock().write_all(line.as_bytes()).is_err() {
                    DROPPED.access_write.inc();
                }
            }
            Output::File { writer, lines } => {
                *lines += 1;
                if writer.write_all(line.as_bytes()).is_err() {
                    self.lost();
                }
            }
        }
    }

    fn flush(&mut self) {
        match self {
            Output::Stderr => {}
            Output::File { writer, lines } => match writer.flush() {
                Ok(()) => *lines = 0,
                Err(_) => self.lost(),
            },
        }
    }

    /// The disk is full or worse. What is in the buffer would only come out torn later.
    fn lost(&mut self) {
        if let Output::File { writer, lines } = self {
            DROPPED.access_write.inc_by(*lines);
            *lines = 0;
            if let Ok(file) = writer.get_ref().try_clone() {
                let old = std::mem::replace(writer, BufWriter::with_capacity(64 * 1024, file));
                drop(old.into_parts());
            }
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::telemetry::rate;

    fn options(file: &Path) -> Options {
        Options {
            file: Some(file.to_owned()),
            rate: None,
            queue: 100,
        }
    }

    #[test]
    fn lines_are_appended_and_a_moved_file_is_let_go_of() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("access.log");
        std::fs::write(&path, "before\n").unwrap();
        let log = AccessLog::open(&options(&path)).unwrap();
        log.write("one\n".to_owned());
        log.flush(Duration::from_secs(60));
        let moved = directory.path().join("access.log.1");
        std::fs::rename(&path, &moved).unwrap();
        log.reopen();
        log.write("two\n".to_owned());
        log.flush(Duration::from_secs(60));
        assert_eq!(std::fs::read_to_string(moved).unwrap(), "before\none\n");
        assert_eq!(std::fs::read_to_string(path).unwrap(), "two\n");
    }

    #[test]
    fn a_full_disk_and_a_full_queue_lose_lines_but_hold_nobody_up() {
        let before = (DROPPED.access_write.get(), DROPPED.access_queue.get());
        let log = AccessLog::open(&Options {
            file: Some("/dev/full".into()),
            rate: None,
            queue: 1,
        });
        let log = log.unwrap();
        for _ in 0..20_000 {
            log.write("a line that finds no room\n".to_owned());
        }
        log.flush(Duration::from_secs(60));
        let lost = DROPPED.access_write.get() - before.0 + DROPPED.access_queue.get() - before.1;
        assert_eq!(lost, 20_000);
    }

    #[test]
    fn a_rate_bounds_the_lines() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("access.log");
        let log = AccessLog::open(&Options {
            rate: Some(5),
            ..options(&path)
        });
        let log = log.unwrap();
        let first = rate::second();
        let admitted = (0..1000).filter(|_| log.admits()).count();
        // Seconds turn while they are counted: more of them on a busy machine.
        let seconds = (rate::second() - first + 1) as usize;
        assert!(
            seconds < 200 && (5..=5 * seconds).contains(&admitted),
            "{admitted} in {seconds} s"
        );
    }
}
