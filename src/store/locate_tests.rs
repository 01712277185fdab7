//! Files that are located by one look-up in place of four: whatever changes on the way, what is found is what the rows say.

#![allow(clippy::unwrap_used)]

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use super::blob::Piece;
use super::bulk::ChunkPlaces;
use super::collect::Kind;
use super::collect::tests::{body, delete, open, read_blob};
use super::pace::Unthrottled;
use super::tests::{find, publish, remove_version};
use super::*;

const OWNER: Id = 1;

async fn put(store: &Store, version: &str, body: &[u8]) {
    publish(store, "p", version, "f", body).settled().await.unwrap();
}

fn locate(store: &Store, version: &str) -> Result<Arc<Located>, Missing> {
    store.locate(OWNER, ["p", version, "f"]).unwrap()
}

/// What is located is what the rows say, the first time and when it has been remembered.
#[track_caller]
fn assert_located(store: &Store, version: &str) {
    let file = find(store, "p", version, "f");
    for _ in 0..2 {
        let located = locate(store, version).ok();
        let found = located.as_ref().map(|located| (located.version, &located.file));
        assert_eq!(found, file.as_ref().map(|(_, version, file)| (version.id, file)));
        if let Some(located) = &located {
            let place = store.inner.index.place(&located.file.blob).unwrap();
            assert_eq!(located.place, place);
        }
    }
}

#[tokio::test]
async fn a_file_is_located_once_and_then_known() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    assert_eq!(locate(&store, "1").unwrap_err(), Missing::Version);
    put(&store, "1", b"body").await;
    assert_eq!(
        store.locate(OWNER, ["p", "1", "g"]).unwrap().unwrap_err(),
        Missing::File
    );
    let first = locate(&store, "1").unwrap();
    assert!(Arc::ptr_eq(&first, &locate(&store, "1").unwrap()));
    // Other names, also such as spell out the same.
    for at in [
        ["p", "1", "f\0"],
        ["p\x001", "f", ""],
        ["p", "1\0f", ""],
        ["", "p\x001", "f"],
        ["p", "", "1\0f"],
    ] {
        assert!(store.locate(OWNER, at).unwrap().is_err(), "{at:?}");
    }
    assert!(store.locate(2, ["p", "1", "f"]).unwrap().is_err());
}

/// What is new changes nothing that is known.
#[tokio::test]
async fn what_is_published_beside_a_file_does_not_make_it_unknown() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    put(&store, "1", b"body").await;
    let known = locate(&store, "1").unwrap();
    for number in 2..300 {
        put(&store, &number.to_string(), &body(number, 500)).await;
    }
    assert!(Arc::ptr_eq(&known, &locate(&store, "1").unwrap()));
}

/// A version goes with one row, and so does a package; their files are swept later.
#[tokio::test]
async fn what_is_still_to_be_swept_is_gone() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    for round in 0..2 {
        let mut last = None;
        for file in 0..600 {
            let ticket = publish(&store, "p", "1", &file.to_string(), b"body");
            match file {
                0 => ticket.settled().await.unwrap(),
                _ => last = Some(ticket),
            }
        }
        last.unwrap().settled().await.unwrap();
        let files: Vec<String> = (0..600).map(|file| file.to_string()).collect();
        let known = |file: &String| store.locate(OWNER, ["p", "1", file]).unwrap().is_ok();
        assert!(files.iter().all(known));
        match round {
            0 => remove_version(&store, "p", "1").unwrap().settled().await.unwrap(),
            _ => {
                let package = store.package(OWNER, "p").unwrap().unwrap();
                let change = change::RemovePackage {
                    owner: OWNER,
                    package,
                };
                store
                    .commit(Change::RemovePackage(change))
                    .settled()
                    .await
                    .unwrap();
            }
        }
        assert!(!files.iter().any(known));
    }
}

#[tokio::test]
async fn whatever_happens_to_a_file_is_noticed() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    for round in 0..3 {
        for version in ["1", "2"] {
            put(&store, version, &body(1, 700)).await;
            assert_located(&store, version);
        }
        // Replaced.
        put(&store, "1", &body(10 + round, 700)).await;
        assert_located(&store, "1");
        // Removed, as the last of its version, and published again.
        delete(&store, "1").await;
        assert_located(&store, "1");
        put(&store, "1", &body(20 + round, 700)).await;
        assert_located(&store, "1");
        // With its version, which comes again under another id.
        remove_version(&store, "p", "1").unwrap().settled().await.unwrap();
        assert_located(&store, "1");
        put(&store, "1", &body(20 + round, 700)).await;
        assert_located(&store, "1");
        // With its package.
        remove_version(&store, "p", "2").unwrap().settled().await.unwrap();
        delete(&store, "1").await;
        assert_eq!(locate(&store, "1").unwrap_err(), Missing::Version);
    }
}

#[tokio::test]
async fn a_chunk_that_has_been_moved_or_dropped_is_looked_up_again() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let [kept, dropped] = [body(1, 900), body(2, 900)];
    for round in 0..3 {
        put(&store, "1", &kept).await;
        put(&store, "2", &dropped).await;
        for number in 0..20 {
            put(
                &store,
                &format!("old{number}"),
                &body(100 * (round + 1) + number, 1000),
            )
            .await;
            delete(&store, &format!("old{number}")).await;
        }
        let [before, gone] = ["1", "2"].map(|version| locate(&store, version).unwrap());
        delete(&store, "2").await;
        let pass = store.clone();
        let pass = tokio::task::spawn_blocking(move || pass.collect(Kind::Full, &Unthrottled));
        assert!(pass.await.unwrap().unwrap().log_files > 0);
        assert_located(&store, "1");
        let after = locate(&store, "1").unwrap();
        assert_ne!(before.place, after.place, "it has been moved");
        // The name is another file's now, with the bytes of before, at another place.
        put(&store, "2", &dropped).await;
        assert_located(&store, "2");
        assert_ne!(locate(&store, "2").unwrap().place, gone.place);
    }
}

#[tokio::test]
async fn an_index_that_is_built_again_brings_nothing_back() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    put(&store, "1", b"body").await;
    assert_located(&store, "1");
    store.inner.index.fail("for a test");
    assert!(
        store.locate(OWNER, ["p", "1", "f"]).is_err(),
        "what it knew counts no more"
    );
    store.index_restored().await;
    assert_located(&store, "1");
    delete(&store, "1").await;
    assert_located(&store, "1");
}

/// What readers may see of one name: what its last change said, or one that is under way.
#[derive(Default)]
struct Watched {
    begun: AtomicU64,
    done: AtomicU64,
}

impl Watched {
    /// Every fifth change removes the file, the others publish one that begins with the change's number.
    fn removes(change: u64) -> bool {
        change.is_multiple_of(5)
    }

    async fn change(&self, store: &Store, version: &str) {
        let number = self.begun.fetch_add(1, Ordering::SeqCst) + 1;
        if Self::removes(number) {
            delete(store, version).await;
        } else {
            put(
                store,
                version,
                &[&number.to_le_bytes()[..], &body(number, 600)].concat(),
            )
            .await;
        }
        self.done.store(number, Ordering::SeqCst);
    }

    /// Looks once; whether it found the file.
    async fn look(&self, store: &Store, version: &str) -> bool {
        let done = self.done.load(Ordering::SeqCst);
        let seen = number_at(store, version).await;
        let begun = self.begun.load(Ordering::SeqCst);
        match seen {
            Some(number) => assert!(
                (done..=begun).contains(&number) && !Self::removes(number),
                "{version}: {number} was served between {done} and {begun}"
            ),
            None => assert!(
                (done..=begun).any(Self::removes),
                "{version}: nothing was served between {done} and {begun}"
            ),
        }
        seen.is_some()
    }
}

/// The number that the bytes under a name begin with.
async fn number_at(store: &Store, version: &str) -> Option<u64> {
    loop {
        let (located, found) = {
            let _look = store.look();
            let located = locate(store, version).ok()?;
            let found = match store.whole(&located, true) {
                Some(whole) => Ok(whole),
                None => Err(store.open_file(&located.file).unwrap()),
            };
            (located, found)
        };
        let mut bytes = Vec::new();
        match found {
            Ok(whole) => match whole.append_to(&mut bytes) {
                Some(Piece::Bytes(rest)) => bytes.extend_from_slice(&rest),
                Some(Piece::File(_)) => unreachable!("so few are copied"),
                // The page cache has just lost them.
                None => continue,
            },
            Err(blob) => bytes = read_blob(&blob).await,
        }
        assert_eq!(Digest::of(&bytes), located.file.blob);
        return Some(u64::from_le_bytes(bytes[..8].try_into().unwrap()));
    }
}

/// Readers, a writer, and collection with compaction, all at once: nobody sees what was replaced or removed before he
/// asked, and nobody misses what was there.
#[test]
fn nobody_is_served_what_had_gone_before_he_asked() {
    const NAMES: [&str; 3] = ["1", "2", "3"];
    const CHANGES: u64 = 400;
    let run = |work: &mut dyn FnMut(&tokio::runtime::Runtime)| {
        work(&tokio::runtime::Builder::new_current_thread().build().unwrap());
    };
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let watched = NAMES.map(|_| Watched::default());
    let (over, found) = (AtomicBool::new(false), AtomicU64::new(0));
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                run(&mut |runtime| {
                    while !over.load(Ordering::SeqCst) {
                        for (name, watched) in NAMES.iter().zip(&watched) {
                            let is_there = runtime.block_on(watched.look(&store, name));
                            found.fetch_add(u64::from(is_there), Ordering::Relaxed);
                        }
                    }
                });
            });
        }
        scope.spawn(|| {
            while !over.load(Ordering::SeqCst) {
                store.collect(Kind::Full, &Unthrottled).unwrap();
            }
        });
        // However it ends, the others end.
        let _over = Ends(&over);
        run(&mut |runtime| {
            for _ in 0..CHANGES {
                for (name, watched) in NAMES.iter().zip(&watched) {
                    runtime.block_on(watched.change(&store, name));
                }
            }
        });
    });
    assert!(found.load(Ordering::Relaxed) > CHANGES);
}

struct Ends<'a>(&'a AtomicBool);

impl Drop for Ends<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}
