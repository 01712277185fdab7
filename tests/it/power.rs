//! Power cuts under the real daemon: its data lies on ext4 on a loop device, whose image is cloned in one step while
//! the daemon is under load. What the clone holds is what a machine finds whose power went just then: everything
//! that had been handed to the device, and nothing of the page cache.
//!
//! The clone is a reflink on xfs or btrfs, which the kernel makes under the lock that the loop device's writes take;
//! a copy with `cp` would mix moments, `fsfreeze` would be no cut, and snapshots of the device mapper are not in every
//! kernel. A drive that reorders its cache is simulated elsewhere (`store/power_cut_tests.rs`).
//!
//! `LARDER_TEST_LOOP_CUTS` sets how many (20 otherwise).

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use crate::durability::{Expected, Ledger, setting, verify, write_until_killed};
use crate::support::{Daemon, Rng, Setup, alone, found, runs};

const GIB: u64 = 1 << 30;

/// Then a new disk, before this one is full and comparing all of it takes long.
const CUTS_PER_DISK: u64 = 20;

/// File systems on loop devices, unmounted at the end in any case.
struct Mounts {
    directory: tempfile::TempDir,
    mounted: Vec<PathBuf>,
}

impl Mounts {
    /// A file system that can clone files, in which the images lie; `None` where there can be none.
    fn new() -> Option<Self> {
        // SAFETY: geteuid(2) takes nothing and cannot fail.
        if unsafe { libc::geteuid() } != 0 {
            eprintln!("SKIPPED: power cuts on loop devices: not root");
            return None;
        }
        if !found(
            "power cuts on loop devices",
            &["mkfs.ext4", "mount", "umount", "cp"],
        ) {
            return None;
        }
        let directory = tempfile::Builder::new().prefix("larder-power-").tempdir();
        let mut mounts = Mounts {
            directory: directory.expect("a temporary directory"),
            mounted: Vec::new(),
        };
        let (image, host) = (mounts.directory.path().join("host.img"), mounts.host());
        fs::create_dir(&host).expect("a directory can be made");
        for mkfs in [["mkfs.xfs", "-q"], ["mkfs.btrfs", "-q"]] {
            sparse(&image, 6 * GIB);
            if runs(mkfs[0], &[mkfs[1], text(&image)]) && mounts.mount(&image, &host) {
                return Some(mounts);
            }
            fs::remove_file(&image).expect("the image can be removed");
        }
        eprintln!("SKIPPED: power cuts on loop devices: neither xfs nor btrfs can be made and mounted here");
        None
    }

    fn host(&self) -> PathBuf {
        self.directory.path().join("host")
    }

    fn mount(&mut self, image: &Path, at: &Path) -> bool {
        let mounted = runs("mount", &["-o", "loop", text(image), text(at)]);
        if mounted {
            self.mounted.push(at.to_owned());
        }
        mounted
    }

    fn unmount(&mut self, at: &Path) {
        assert!(runs("umount", &[text(at)]), "{} can be unmounted", at.display());
        self.mounted.retain(|mounted| mounted != at);
    }

    /// Mounts an ext4 as the data directory of a daemon that has not been started.
    fn mount_data(&mut self, image: &Path, daemon: &Daemon) {
        fs::create_dir(daemon.data()).expect("a directory can be made");
        assert!(self.mount(image, &daemon.data()), "ext4 can be mounted");
    }
}

impl Drop for Mounts {
    fn drop(&mut self) {
        for mounted in self.mounted.iter().rev() {
            // A daemon of a test that failed may still be there.
            runs("umount", &["-l", text(mounted)]);
        }
    }
}

fn text(path: &Path) -> &str {
    path.to_str().expect("a path in UTF-8")
}

fn sparse(path: &Path, len: u64) {
    let file = File::create_new(path).expect("an image can be made");
    file.set_len(len).expect("it can be sparse");
}

/// What must hold of a cut between the two moments: what was asked for in between may have been done.
fn between(before: Ledger, after: &Ledger) -> Ledger {
    let settled = |(target, expected): (String, Expected)| {
        let expected = match (expected, after[&target]) {
            (Expected::There(seed, size), Expected::There(..)) => Expected::There(seed, size),
            (Expected::Gone, _) => Expected::Gone,
            (Expected::There(seed, size) | Expected::Either(seed, size), _) => Expected::Either(seed, size),
        };
        (target, expected)
    };
    before.into_iter().map(settled).collect()
}

/// Starts a daemon on the clone and compares it with what was known.
fn verify_cut(mounts: &mut Mounts, clone: &Path, origin: &Daemon, mut known: Ledger, what: &str) {
    let mut daemon = Setup::default().prepare();
    mounts.mount_data(clone, &daemon);
    daemon.share_token(origin);
    daemon.start();
    verify(&daemon, &mut known, what);
    assert!(
        daemon.stderr().contains("the index is rebuilt from the log"),
        "{what}: the cut was not seen as one"
    );
    daemon.kill9();
    let data = daemon.data();
    mounts.unmount(&data);
}

/// A disk that is cut so many times; returns how many names it then knew.
fn live(mounts: &mut Mounts, cuts: u64, seed: u64) -> usize {
    let image = mounts.host().join("disk.img");
    let clone = mounts.host().join("cut.img");
    sparse(&image, 3 * GIB);
    assert!(runs("mkfs.ext4", &["-q", text(&image)]), "ext4 can be made");
    let mut daemon = Setup::default().prepare();
    mounts.mount_data(&image, &daemon);
    daemon.start();
    daemon.fetch_admin_token();
    let mut rng = Rng::new(seed);
    let ledger = Mutex::new(Ledger::new());
    let names = AtomicU64::new(0);
    for cut in 0..cuts {
        let stop = AtomicBool::new(false);
        let delay = Duration::from_millis(20 + rng.below(200) as u64);
        let known = std::thread::scope(|scope| {
            for writer in 0..3 {
                let (daemon, ledger, names, stop) = (&daemon, &ledger, &names, &stop);
                let seed = seed ^ (cut << 32) ^ (writer << 16);
                scope.spawn(move || write_until_killed(daemon, ledger, seed, names, stop));
            }
            std::thread::sleep(delay);
            let before = ledger.lock().unwrap().clone();
            let cloned = runs("cp", &["--reflink=always", text(&image), text(&clone)]);
            let known = between(before, &ledger.lock().unwrap());
            stop.store(true, Ordering::Relaxed);
            assert!(cloned, "the image can be cloned");
            known
        });
        let what = format!("seed {seed}, cut {cut} after {delay:?}");
        verify_cut(mounts, &clone, &daemon, known, &what);
        fs::remove_file(&clone).expect("the clone can be removed");
    }
    daemon.terminate();
    let data = daemon.data();
    mounts.unmount(&data);
    fs::remove_file(&image).expect("the image can be removed");
    ledger.into_inner().unwrap().len()
}

#[test]
fn what_was_acknowledged_survives_power_cuts_on_a_loop_device() {
    let _alone = alone();
    let Some(mut mounts) = Mounts::new() else { return };
    let (cuts, seed) = (
        setting("LARDER_TEST_LOOP_CUTS", 20),
        setting("LARDER_TEST_SEED", 0x10ad),
    );
    let mut known = 0;
    for first in (0..cuts).step_by(CUTS_PER_DISK as usize) {
        known += live(&mut mounts, CUTS_PER_DISK.min(cuts - first), seed + first);
    }
    println!("{cuts} cuts survived, {known} names");
    assert!(known as u64 > cuts, "the load was no load");
    let host = mounts.host();
    mounts.unmount(&host);
}
