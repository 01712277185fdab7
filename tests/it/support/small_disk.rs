//! A file system of a few MiB for one test: a tmpfs in a mount namespace of the test's own thread, which only this
//! thread and the processes it starts can see. It needs root; without, the test is skipped, loudly.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

use super::Daemon;

/// The mounted file system. Dropped, it is unmounted, which the daemon must have left by then.
#[derive(Debug)]
pub struct SmallDisk {
    directory: TempDir,
}

impl SmallDisk {
    /// Mounts one with these options (`size=64m`); `None`, after a line on stderr, where that is not possible.
    pub fn mount(options: &str) -> Option<Self> {
        // SAFETY: unshare(2) takes one integer; CLONE_NEWNS concerns the calling thread alone.
        let unshared = unsafe { libc::unshare(libc::CLONE_NEWNS) } == 0;
        let directory = tempfile::Builder::new()
            .prefix("larder-disk-")
            .tempdir()
            .expect("a temporary directory");
        let mounted = unshared
            && run(Command::new("mount").args(["--make-rprivate", "/"]))
            && run(Command::new("mount")
                .args(["-t", "tmpfs", "-o", options, "larder-test"])
                .arg(directory.path()));
        if !mounted {
            eprintln!("SKIPPED: a file system of {options} cannot be mounted here (it needs root)");
            return None;
        }
        Some(SmallDisk { directory })
    }

    /// Lets a daemon that was not started yet keep its data here.
    pub fn give_to(&self, daemon: &Daemon) {
        fs::create_dir(self.directory.path().join("data")).expect("a directory on the small disk");
        std::os::unix::fs::symlink(self.directory.path().join("data"), daemon.data())
            .expect("a symbolic link");
    }

    /// Changes its options: its size, for one.
    pub fn remount(&self, options: &str) {
        let options = format!("remount,{options}");
        assert!(run(Command::new("mount")
            .args(["-o", &options])
            .arg(self.directory.path())));
    }

    /// Writes a file of others until not a byte is left.
    pub fn fill(&self) {
        let mut file = File::options()
            .create(true)
            .append(true)
            .open(self.filler())
            .expect("a file on the small disk");
        for size in [1 << 20, 4096, 1] {
            let piece = vec![0xf1; size];
            while file.write(&piece).is_ok_and(|written| written > 0) {}
        }
    }

    /// Takes that file away.
    pub fn clear(&self) {
        fs::remove_file(self.filler()).expect("the file of others");
    }

    /// Makes empty files until there is no inode left; the number of them.
    pub fn fill_inodes(&self) -> usize {
        fs::create_dir_all(self.directory.path().join("others")).expect("a directory");
        (0..10_000)
            .take_while(|number| File::create(self.other(*number)).is_ok())
            .count()
    }

    /// Takes the files with these numbers away.
    pub fn clear_inodes(&self, numbers: std::ops::Range<usize>) {
        for number in numbers {
            fs::remove_file(self.other(number)).expect("a file of others");
        }
    }

    fn filler(&self) -> PathBuf {
        self.directory.path().join("filler")
    }

    fn other(&self, number: usize) -> PathBuf {
        self.directory.path().join("others").join(number.to_string())
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        unmount(self.directory.path());
    }
}

fn unmount(path: &Path) {
    if !run(Command::new("umount").arg("--lazy").arg(path)) {
        eprintln!("{} stays mounted until the test's thread ends", path.display());
    }
}

fn run(command: &mut Command) -> bool {
    command.output().is_ok_and(|output| output.status.success())
}
