//! What the disk has left, asked at most ten times a second: a system call for each upload would be felt.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use super::marks::Disk;

/// How old an answer may be.
const MAX_AGE: Duration = Duration::from_millis(100);
/// Bytes of our own after which it is asked again whatever its age.
const MAX_WRITTEN: u64 = 8 << 20;

/// The file system that a directory is on.
#[derive(Debug)]
pub struct Space {
    directory: PathBuf,
    begun: Instant,
    /// When it was asked, in milliseconds since `begun`.
    asked: AtomicU64,
    size: AtomicU64,
    free: AtomicU64,
    inodes: AtomicU64,
    /// Bytes that we wrote since.
    written: AtomicU64,
}

impl Space {
    /// Asks for the first time.
    ///
    /// # Errors
    /// Where the system does not say.
    pub fn of(directory: &Path) -> io::Result<Self> {
        let space = Space {
            directory: directory.to_owned(),
            begun: Instant::now(),
            asked: AtomicU64::new(0),
            size: AtomicU64::new(0),
            free: AtomicU64::new(0),
            inodes: AtomicU64::new(0),
            written: AtomicU64::new(0),
        };
        space.ask()?;
        Ok(space)
    }

    /// We wrote, or gave a file, `bytes`.
    pub fn written(&self, bytes: u64) {
        self.written.fetch_add(bytes, Ordering::Relaxed);
    }

    /// What the disk has, not older than a tenth of a second.
    pub fn recent(&self) -> Disk {
        let asked = Duration::from_millis(self.asked.load(Ordering::Relaxed));
        let old = self.begun.elapsed() > asked + MAX_AGE;
        if old || self.written.load(Ordering::Relaxed) > MAX_WRITTEN {
            return self.now();
        }
        self.known()
    }

    /// What the disk has now. Where the system does not say, what it said last.
    pub fn now(&self) -> Disk {
        if let Err(error) = self.ask() {
            tracing::warn!(%error, "the disk's free space is not known");
        }
        self.known()
    }

    fn known(&self) -> Disk {
        let free = self.free.load(Ordering::Relaxed);
        Disk {
            size: self.size.load(Ordering::Relaxed),
            free: free.saturating_sub(self.written.load(Ordering::Relaxed)),
            inodes: self.inodes.load(Ordering::Relaxed),
        }
    }

    fn ask(&self) -> io::Result<()> {
        let now = self.begun.elapsed().as_millis() as u64;
        self.asked.store(now, Ordering::Relaxed);
        // Before the question: what is written meanwhile counts twice rather than not at all.
        self.written.store(0, Ordering::Relaxed);
        let found = disk(&self.directory)?;
        self.size.store(found.size, Ordering::Relaxed);
        self.free.store(found.free, Ordering::Relaxed);
        self.inodes.store(found.inodes, Ordering::Relaxed);
        Ok(())
    }
}

/// What the file system of `directory` has.
pub fn disk(directory: &Path) -> io::Result<Disk> {
    let found = rustix::fs::statvfs(directory)?;
    Ok(Disk {
        size: found.f_blocks.saturating_mul(found.f_frsize),
        free: found.f_bavail.saturating_mul(found.f_frsize),
        // btrfs and others make inodes as they need them, and say 0 of 0.
        inodes: if found.f_files == 0 {
            u64::MAX
        } else {
            found.f_favail
        },
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn our_own_writes_count_until_the_system_is_asked_again() {
        let directory = tempfile::tempdir().unwrap();
        let space = Space::of(directory.path()).unwrap();
        // The machine's disk is not ours alone: what was asked is changed behind its back.
        let before = space.known();
        assert!(before.size > 0 && before.inodes > 0);
        // Again, should this thread not have come to ask in time.
        let counted = (0..100).any(|_| {
            space.now();
            space.free.store(10_000, Ordering::Relaxed);
            space.written(1000);
            space.recent().free == 9000
        });
        assert!(counted);
        space.written(u64::MAX / 2);
        assert!(space.recent().free > 9000, "much was written: asked again");
        space.free.store(10_000, Ordering::Relaxed);
        std::thread::sleep(MAX_AGE + Duration::from_millis(5));
        assert!(space.recent().free > 10_000, "old: asked again");
    }
}
