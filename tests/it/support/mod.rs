//! What every test needs: a daemon, a client, bytes from a seed, and patience with a limit.

mod accounts;
mod client;
mod daemon;
mod documented;
mod issuer;
mod observe;
mod owners;
mod programs;
mod recipes;
mod rng;
mod small_disk;
#[cfg(feature = "tls")]
mod tls;

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

pub use accounts::{basic, bearer};
pub use client::{Conn, Request, Response, response_of};
pub use daemon::{ADMIN_PASSWORD, Daemon, Setup, binary, ended, listening, output_within};
pub use issuer::{Issuer, Signer};
pub use owners::Used;
pub use programs::{found, runs};
pub use recipes::recipe;
pub use rng::{Rng, seeded_bytes};
pub use small_disk::SmallDisk;
#[cfg(feature = "tls")]
pub use tls::Authority;

/// One mebibyte.
pub const MIB: usize = 1024 * 1024;

/// Longest that anything on loopback may take before a test gives up.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// Path of a file of a package of `owner`.
pub fn file_path(owner: &str, name: &str, version: &str, file: &str) -> String {
    format!("/api/packages/{owner}/generic/{name}/{version}/{file}")
}

/// Path of a file of a package of `admin`, the owner that every store has.
pub fn path(name: &str, version: &str, file: &str) -> String {
    file_path("admin", name, version, file)
}

/// Path of a version of a package of `admin`.
pub fn version_path(name: &str, version: &str) -> String {
    format!("/api/packages/admin/generic/{name}/{version}")
}

/// Lower-case hexadecimal blake3 of `bytes`.
pub fn blake3_hex(bytes: &[u8]) -> String {
    blake3::hash(bytes).to_hex().to_string()
}

/// The `ETag` that `bytes` must have.
pub fn etag(bytes: &[u8]) -> String {
    format!("\"{}\"", blake3_hex(bytes))
}

/// Asks `done` until it says yes; `false` when it did not within `limit`.
pub fn within(limit: Duration, mut done: impl FnMut() -> bool) -> bool {
    let deadline = Instant::now() + limit;
    loop {
        if done() {
            return true;
        }
        if Instant::now() >= deadline {
            return false;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Tests that load the whole machine hold this, so that they measure the daemon and not each other.
pub fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Runs `work` on `count` threads that start together; results in thread order. A panic in one fails the test.
pub fn together<T: Send>(count: usize, work: impl Fn(usize) -> T + Sync) -> Vec<T> {
    let start = std::sync::Barrier::new(count);
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..count)
            .map(|number| {
                let (start, work) = (&start, &work);
                scope.spawn(move || {
                    start.wait();
                    work(number)
                })
            })
            .collect();
        threads
            .into_iter()
            .map(|thread| thread.join().expect("a client thread panicked"))
            .collect()
    })
}

/// How often each value occurs, as `400 x63, 201 x1`: what a race test compares and shows.
pub fn tally(statuses: &[u16]) -> String {
    let mut counts = std::collections::BTreeMap::new();
    for status in statuses {
        *counts.entry(*status).or_insert(0) += 1;
    }
    let parts: Vec<String> = counts
        .iter()
        .map(|(status, count)| format!("{status} x{count}"))
        .collect();
    parts.join(", ")
}
