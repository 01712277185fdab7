//! Power cuts at any moment of a random life of a store, on the simulated disk: what was acknowledged is there, whole;
//! what was deleted stays deleted; and what was served after a cut is still there after the next.
//!
//! `LARDER_TEST_CUTS` sets how many (200 otherwise), `LARDER_TEST_SEED` where chance begins.

#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use tempfile::TempDir;

use super::bulk::testing::PARAMS;
use super::change::{Expected, Publish};
use super::log::simulated::{Image, Rng, Simulated};
use super::log::testing::noise;
use super::tests::{Quiet, find, remove_file};
use super::*;
use crate::chunk::Digest;

const NAMES: u64 = 12;
const STEPS: u64 = 40;
const CUTS_PER_LIFE: u64 = 8;
const INLINE_LIMIT: u32 = 48 << 10;

/// What a name holds: the seed of its body; `None` for nothing.
type Held = Option<u64>;

/// What is known of the names from outside.
#[derive(Clone, Default)]
struct Ledger(BTreeMap<u64, Known>);

#[derive(Clone, Default)]
struct Known {
    acknowledged: Held,
    /// Asked for since, and not acknowledged.
    asked: Vec<Held>,
}

impl Ledger {
    fn ask(&mut self, name: u64, held: Held) {
        self.0.entry(name).or_default().asked.push(held);
    }

    fn acknowledge(&mut self, name: u64, held: Held) {
        self.0.insert(
            name,
            Known {
                acknowledged: held,
                asked: Vec::new(),
            },
        );
    }
}

fn body(seed: u64) -> Bytes {
    let mut rng = Rng(seed);
    let len = match rng.below(10) {
        0 => rng.below(300),
        1..=6 => rng.below(u64::from(INLINE_LIMIT)),
        7 => 4096 * rng.below(8),
        _ => u64::from(INLINE_LIMIT) + rng.below(200 << 10),
    };
    noise(len as usize, seed)
}

fn names(name: u64) -> (String, String) {
    (format!("p{}", name % 3), format!("v{}", name / 3))
}

/// A directory in memory where there is such a thing: the disk is simulated anyway.
fn directory() -> TempDir {
    tempfile::tempdir_in("/dev/shm")
        .or_else(|_| tempfile::tempdir())
        .unwrap()
}

fn open_on(data: &Path, disk: &Arc<Simulated>) -> Store {
    let options = Options {
        index_cache: 1 << 20,
        inline_limit: INLINE_LIMIT,
        chunking: PARAMS,
        disk: disk.clone(),
        ..Options::at(data)
    };
    Store::open(options, &Quiet).unwrap()
}

async fn put(store: &Store, name: u64, seed: u64) -> Result<(), CommitError> {
    let body = body(seed);
    let mut upload = store.upload(Some(body.len() as u64));
    upload.write(body).await.unwrap();
    let blob = Arc::new(upload.finish().await.unwrap());
    loop {
        let published = publish(store, name, &blob).settled().await;
        // Another name of the same package was first.
        if published != Err(CommitError::Conflict) {
            return published;
        }
    }
}

fn publish(store: &Store, name: u64, blob: &Arc<upload::NewBlob>) -> Ticket {
    let (package, version) = names(name);
    let package = match store.package(1, &package).unwrap() {
        Some(package) => Expected::Present(package),
        None => Expected::Absent(Package {
            id: store.next_id(),
            name: package,
            exact_case: false,
            created: 1,
        }),
    };
    let version = match store.version(package.get(), &version).unwrap() {
        Some(version) => Expected::Present(version),
        None => Expected::Absent(Version {
            id: store.next_id(),
            name: version,
            created: 1,
            creator: 1,
        }),
    };
    let replaces = store.file(package.get(), version.get(), "f").unwrap();
    store.commit(Change::Publish(Publish {
        owner: 1,
        package,
        version,
        file: File {
            id: store.next_id(),
            name: "f".into(),
            blob: blob.digest,
            size: blob.size,
            shape: blob.shape(),
            created: 1,
            creator: 1,
            sha256: None,
        },
        replaces: replaces.map(|file| file.id),
        quota: counts::Quota::default(),
        blob: blob.clone(),
    }))
}

async fn delete(store: &Store, name: u64) -> Result<(), CommitError> {
    let (package, version) = names(name);
    loop {
        let Some(ticket) = remove_file(store, &package, &version, "f") else {
            return Ok(());
        };
        let removed = ticket.settled().await;
        if removed != Err(CommitError::Conflict) {
            return removed;
        }
    }
}

/// One step of a life: some names change at once.
async fn step(store: &Store, rng: &mut Rng, ledger: &Mutex<Ledger>) {
    let mut wanted = BTreeMap::new();
    for _ in 0..=rng.below(4) {
        let held = (rng.below(4) > 0).then(|| rng.draw());
        wanted.insert(rng.below(NAMES), held);
    }
    let changes = wanted.into_iter().map(|(name, held)| async move {
        ledger.lock().unwrap().ask(name, held);
        let done = match held {
            Some(seed) => put(store, name, seed).await,
            None => delete(store, name).await,
        };
        done.unwrap();
        ledger.lock().unwrap().acknowledge(name, held);
    });
    futures_util::future::join_all(changes).await;
}

/// A cut, what was known at that moment, and the index as it was when the store was last closed before it.
struct Cut {
    image: Image,
    known: Ledger,
    index: Option<Arc<TempDir>>,
}

/// Lives for a while; returns the cuts that happened.
async fn live(data: &Path, seed: u64) -> Vec<Cut> {
    let mut rng = Rng(seed);
    let disk = Simulated::over(data, rng.draw());
    let mut store = open_on(data, &disk);
    let ledger = Arc::new(Mutex::new(Ledger::default()));
    let cuts = Arc::new(Mutex::new(Vec::new()));
    let moments: Vec<u64> = (0..CUTS_PER_LIFE).map(|_| rng.below(STEPS * 6)).collect();
    let closed = Arc::new(Mutex::new(None));
    let (known, made, index) = (ledger.clone(), cuts.clone(), closed.clone());
    disk.cut_at(moments, move |image| {
        made.lock().unwrap().push(Cut {
            image,
            known: known.lock().unwrap().clone(),
            index: index.lock().unwrap().clone(),
        });
    });
    for _ in 0..STEPS {
        step(&store, &mut rng, &ledger).await;
        if rng.below(12) == 0 {
            if rng.below(2) == 0 {
                store.close();
                let copy = directory();
                copy_index(&data.join("index"), copy.path());
                *closed.lock().unwrap() = Some(Arc::new(copy));
            }
            drop(store);
            store = open_on(data, &disk);
        }
    }
    // Not closed: its index is then one that was open.
    drop(store);
    disk.assert_nothing_bypassed();
    std::mem::take(&mut cuts.lock().unwrap())
}

/// What the names hold, read to the last byte.
async fn read_all(store: &Store, when: &str) -> BTreeMap<u64, Digest> {
    let mut held = BTreeMap::new();
    for name in 0..NAMES {
        let (package, version) = names(name);
        let Some((_, _, file)) = find(store, &package, &version, "f") else {
            continue;
        };
        let mut reader = store.open_file(&file).unwrap().read(0..file.size);
        let mut hasher = blake3::Hasher::new();
        loop {
            match reader.next().await {
                Ok(Some(bytes)) => hasher.update(&bytes),
                Ok(None) => break,
                Err(error) => panic!("{when}: name {name}: {error}"),
            };
        }
        held.insert(name, hasher.finalize().into());
    }
    held
}

fn assert_kept(held: &BTreeMap<u64, Digest>, known: &Ledger) {
    for (name, known) in &known.0 {
        let found = held.get(name).copied();
        let fits = |held: &Held| held.map(|seed| Digest::of(&body(seed))) == found;
        assert!(
            fits(&known.acknowledged) || known.asked.iter().any(fits),
            "name {name} holds {found:?}; acknowledged {:?}, asked since {:?}",
            known.acknowledged,
            known.asked
        );
    }
}

fn copy_index(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap().map(Result::unwrap) {
        if entry.file_type().unwrap().is_file() {
            fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
        }
    }
}

/// The data directory that a cut leaves. There may be an index: one that was open, of any state, which is another file
/// now and proves nothing; or the one that was `closed` in order before the cut. Never one that was closed after it: that
/// speaks for groups which the cut kept from being synced.
fn left(image: &Image, from: &Path, closed: Option<&TempDir>, rng: &mut Rng) -> TempDir {
    let data = directory();
    image.write_to(data.path());
    fs::copy(from.join("store.toml"), data.path().join("store.toml")).unwrap();
    let index = match rng.below(8) {
        0 => Some(from.join("index")),
        1 => closed.map(|closed| closed.path().to_owned()),
        _ => None,
    };
    if let Some(index) = index {
        copy_index(&index, &data.path().join("index"));
    }
    data
}

/// Recovers from a cut, is cut again on the way and once more when it is done.
async fn survive(from: &Path, Cut { image, known, index }: &Cut, rng: &mut Rng) {
    let closed = index.as_deref();
    let data = left(image, from, closed, rng);
    let disk = Simulated::over(data.path(), rng.draw());
    let on_the_way = Arc::new(Mutex::new(None));
    let cut = on_the_way.clone();
    disk.cut_at([rng.below(24)], move |image| *cut.lock().unwrap() = Some(image));
    let store = open_on(data.path(), &disk);
    let served = read_all(&store, "after the cut").await;
    assert_kept(&served, known);
    let next = left(&disk.cut(), data.path(), closed, rng);
    drop(store);
    disk.assert_nothing_bypassed();

    let store = open_on(next.path(), &Simulated::over(next.path(), rng.draw()));
    let again = read_all(&store, "after the second cut").await;
    assert_eq!(again, served, "what was served was taken back");
    drop(store);
    let on_the_way = on_the_way.lock().unwrap().take();
    if let Some(image) = on_the_way {
        let next = left(&image, data.path(), closed, rng);
        let store = open_on(next.path(), &Simulated::over(next.path(), rng.draw()));
        assert_kept(&read_all(&store, "after a cut on the way").await, known);
    }
}

fn setting(name: &str, otherwise: u64) -> u64 {
    std::env::var(name).map_or(otherwise, |value| value.parse().unwrap())
}

#[tokio::test]
async fn power_cuts_lose_nothing_and_take_nothing_back() {
    let wanted = setting("LARDER_TEST_CUTS", 200);
    let first = setting("LARDER_TEST_SEED", 1);
    let mut survived = 0;
    for seed in first.. {
        let data = directory();
        let mut rng = Rng(seed ^ 0x5eed);
        // Named before, so that a failure says how to come back to it.
        eprintln!("LARDER_TEST_SEED={seed}");
        for cut in live(data.path(), seed).await {
            survive(data.path(), &cut, &mut rng).await;
            survived += 1;
        }
        if survived >= wanted {
            break;
        }
    }
    eprintln!("{survived} cuts survived");
}
