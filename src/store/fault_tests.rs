//! Every call to the disk fails once: writing ends where it must, what was acknowledged is read all the while, and a
//! restart finds it whole.

#![allow(clippy::unwrap_used)]

use std::fs::{self, File};
use std::io::{self, IoSlice};
use std::path::Path;
use std::sync::{Arc, Mutex};

use bytes::Bytes;

use super::bulk::testing::PARAMS;
use super::change::{Expected, Publish};
use super::log::disk::{Disk, Kernel};
use super::log::testing::noise;
use super::tests::{Quiet, find};
use super::*;

/// What a call was for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Call {
    Names,
    Allocate,
    Write,
    SetLen,
    Sync,
    SyncAll,
}

/// The kernel's disk, of which one call fails.
#[derive(Debug)]
struct FailsOnce {
    /// Number of the call, from 1.
    at: usize,
    code: i32,
    seen: Mutex<(usize, Option<Call>)>,
}

impl FailsOnce {
    fn new(at: usize, code: i32) -> Arc<Self> {
        Arc::new(FailsOnce {
            at,
            code,
            seen: Mutex::new((0, None)),
        })
    }

    fn pass(&self, call: Call) -> io::Result<()> {
        let mut seen = self.seen.lock().unwrap();
        seen.0 += 1;
        if seen.0 == self.at {
            seen.1 = Some(call);
            return Err(io::Error::from_raw_os_error(self.code));
        }
        Ok(())
    }

    /// The call that failed.
    fn failed(&self) -> Option<Call> {
        self.seen.lock().unwrap().1
    }
}

impl Disk for FailsOnce {
    fn create(&self, path: &Path) -> io::Result<File> {
        self.pass(Call::Names)?;
        Kernel.create(path)
    }

    fn open(&self, path: &Path) -> io::Result<File> {
        Kernel.open(path)
    }

    fn allocate(&self, file: &File, at: u64, len: u64) -> io::Result<u64> {
        self.pass(Call::Allocate)?;
        Kernel.allocate(file, at, len)
    }

    fn write_at(&self, file: &File, buffers: &mut [IoSlice<'_>], offset: u64) -> io::Result<()> {
        if let Err(error) = self.pass(Call::Write) {
            // Some of it gets there.
            let bytes: Vec<u8> = buffers.iter().flat_map(|buffer| buffer.iter().copied()).collect();
            Kernel.write_at(file, &mut [IoSlice::new(&bytes[..bytes.len() / 2])], offset)?;
            return Err(error);
        }
        Kernel.write_at(file, buffers, offset)
    }

    fn read_at(&self, file: &File, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        Kernel.read_at(file, buffer, offset)
    }

    fn set_len(&self, file: &File, len: u64) -> io::Result<()> {
        self.pass(Call::SetLen)?;
        Kernel.set_len(file, len)
    }

    fn sync(&self, file: &File) -> io::Result<()> {
        self.pass(Call::Sync)?;
        Kernel.sync(file)
    }

    fn sync_all(&self, file: &File) -> io::Result<()> {
        self.pass(Call::SyncAll)?;
        Kernel.sync_all(file)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.pass(Call::Names)?;
        Kernel.remove(path)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        self.pass(Call::Names)?;
        Kernel.sync_dir(dir)
    }
}

fn options(data: &Path, disk: Arc<dyn Disk>) -> Options {
    Options {
        index_cache: 1 << 20,
        chunking: PARAMS,
        disk,
        ..Options::at(data)
    }
}

fn directory() -> tempfile::TempDir {
    tempfile::tempdir_in("/dev/shm")
        .or_else(|_| tempfile::tempdir())
        .unwrap()
}

/// A small one, large ones in segments, and enough to fill a journal file.
fn bodies() -> Vec<Bytes> {
    let lens = [10, 300_000, 200_000, 250_000, 250_000, 250_000, 20, 400_000, 30];
    lens.iter()
        .zip(0..)
        .map(|(len, seed)| noise(*len, seed))
        .collect()
}

/// How an upload ended.
#[derive(Debug)]
enum Ended {
    Acknowledged,
    Upload(StoreError),
    Commit(CommitError),
}

async fn put(store: &Store, name: usize, body: &Bytes) -> Ended {
    let mut upload = store.upload(Some(body.len() as u64));
    if let Err(error) = upload.write(body.clone()).await {
        return Ended::Upload(error);
    }
    let blob = match upload.finish().await {
        Ok(blob) => Arc::new(blob),
        Err(error) => return Ended::Upload(error),
    };
    let package = Package {
        id: store.next_id(),
        name: format!("p{name}"),
        exact_case: false,
        created: 1,
    };
    let version = Version {
        id: store.next_id(),
        name: "1".into(),
        created: 1,
        creator: 1,
    };
    let publish = Publish {
        owner: 1,
        package: Expected::Absent(package),
        version: Expected::Absent(version),
        file: model::File {
            id: store.next_id(),
            name: "f".into(),
            blob: blob.digest,
            size: blob.size,
            shape: blob.shape(),
            created: 1,
            creator: 1,
            sha256: None,
        },
        replaces: None,
        quota: counts::Quota::default(),
        blob,
    };
    match store.commit(Change::Publish(publish)).settled().await {
        Ok(()) => Ended::Acknowledged,
        Err(error) => Ended::Commit(error),
    }
}

/// Reads it; `None` where it is absent.
async fn read(store: &Store, name: usize) -> Option<Vec<u8>> {
    let (_, _, file) = find(store, &format!("p{name}"), "1", "f")?;
    let mut reader = store.open_file(&file).unwrap().read(0..file.size);
    let mut bytes = Vec::new();
    while let Some(piece) = reader.next().await.unwrap() {
        bytes.extend_from_slice(&piece);
    }
    Some(bytes)
}

/// Publishes everything over a disk that fails once; returns what was acknowledged.
async fn publish_all(store: &Store, disk: &FailsOnce, bodies: &[Bytes]) -> Vec<usize> {
    let mut acknowledged = Vec::new();
    let mut ended = false;
    for (name, body) in bodies.iter().enumerate() {
        let put = put(store, name, body).await;
        let poisoned = matches!(store.health(), Health::Poisoned(_));
        match &put {
            Ended::Acknowledged => acknowledged.push(name),
            Ended::Upload(StoreError::Poisoned) | Ended::Commit(CommitError::Poisoned) => {
                assert!(poisoned, "{put:?} while {:?}", store.health());
            }
            // These clear by themselves.
            Ended::Upload(StoreError::NoSpace | StoreError::Io(_)) | Ended::Commit(CommitError::NoSpace) => {
                assert!(!poisoned && disk.failed().is_some(), "{put:?}");
                store.inner.bulk.room.end_rest();
            }
            other => panic!("{other:?}"),
        }
        assert!(
            !ended || !matches!(put, Ended::Acknowledged),
            "nothing is written after poison"
        );
        ended |= poisoned;
        for name in &acknowledged {
            assert_eq!(read(store, *name).await.unwrap(), bodies[*name], "reads go on");
        }
    }
    acknowledged
}

/// One life in which call `at` fails; false when there were not so many.
async fn survives(at: usize, code: i32) -> bool {
    let data = directory();
    let disk = FailsOnce::new(at, code);
    let bodies = bodies();
    let mut acknowledged = Vec::new();
    if let Ok(store) = Store::open(options(data.path(), disk.clone()), &Quiet) {
        // A journal file that cannot be reserved on a full disk grows as it is written.
        let expected = disk
            .failed()
            .filter(|call| code != libc::ENOSPC || *call != Call::Allocate);
        assert_eq!(expected, None, "a store does not open over an error");
        acknowledged = publish_all(&store, &disk, &bodies).await;
        match disk.failed() {
            None => assert_eq!(acknowledged.len(), bodies.len()),
            Some(Call::Sync) => assert!(
                matches!(store.health(), Health::Poisoned(_)),
                "call {at}: a failed sync ends writing"
            ),
            // At most the one that met it is lost, unless writing ended.
            Some(call) if store.health() == Health::Ready => {
                let lost = bodies.len() - acknowledged.len();
                assert!(lost <= 1, "call {at}, {call:?}: {lost} were refused");
            }
            Some(_) => {}
        }
        store.close();
    }
    let seen = disk.failed();
    let store = Store::open(options(data.path(), Arc::new(Kernel)), &Quiet).unwrap();
    assert_eq!(store.health(), Health::Ready);
    for (name, body) in bodies.iter().enumerate() {
        let found = read(&store, name).await;
        let kept = found.as_ref().map(|found| found == body);
        let lost = acknowledged.contains(&name) && kept.is_none();
        assert!(
            kept != Some(false) && !lost,
            "call {at} ({seen:?}): {name} is {kept:?}"
        );
    }
    assert!(matches!(
        put(&store, 99, &noise(10, 99)).await,
        Ended::Acknowledged
    ));
    drop(store);
    fs::remove_dir_all(data.path()).unwrap();
    seen.is_some()
}

#[tokio::test]
async fn whichever_call_fails_writing_ends_where_it_must_and_a_restart_finds_what_was_acknowledged() {
    for code in [libc::EIO, libc::ENOSPC] {
        let mut calls = 0;
        while survives(calls + 1, code).await {
            calls += 1;
        }
        assert!(calls > 30, "{calls} calls are too few to mean anything");
        eprintln!("{calls} calls failed with error {code}");
    }
}
