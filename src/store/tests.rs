//! The store through its handle: commits, conflicts, restarts, rebuilds.

#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use bytes::Bytes;

use super::change::{Expected, Publish, RemoveFile, RemoveVersion};
use super::index::{keys, sum};
use super::model::{Account, AccountKind, Holder, Membership, Permission, Token, Totals, Visibility};
use super::upload::{Content, NewBlob};
use super::*;
use crate::chunk::Digest;

pub(super) struct Quiet;

impl Progress for Quiet {
    fn replayed(&self, _done: u64, _total: u64) {}
}

pub(super) fn open(data: &Path) -> Store {
    let options = Options {
        index_cache: 4 << 20,
        ..Options::at(data)
    };
    Store::open(options, &Quiet).unwrap()
}

fn owner(id: Id) -> Account {
    Account {
        id,
        name: format!("account-{id}"),
        kind: AccountKind::User,
        visibility: Visibility::Public,
        active: true,
        admin: false,
        email: String::new(),
        password: None,
        created: 1,
    }
}

fn blob(body: &[u8]) -> Arc<NewBlob> {
    Arc::new(NewBlob {
        digest: Digest::of(body),
        size: body.len() as u64,
        content: Content::Inline(vec![Bytes::copy_from_slice(body)]),
    })
}

/// Publishes over whatever stands.
pub(super) fn publish(store: &Store, package: &str, version: &str, file: &str, body: &[u8]) -> Ticket {
    publish_blob(store, package, version, file, blob(body))
}

/// Publishes a finished upload over whatever stands.
pub(super) fn publish_blob(
    store: &Store,
    package: &str,
    version: &str,
    file: &str,
    blob: Arc<NewBlob>,
) -> Ticket {
    store.commit(Change::Publish(publication_of(
        store, package, version, file, blob,
    )))
}

pub(super) fn publication(store: &Store, package: &str, version: &str, file: &str, body: &[u8]) -> Publish {
    publication_of(store, package, version, file, blob(body))
}

fn publication_of(store: &Store, package: &str, version: &str, file: &str, blob: Arc<NewBlob>) -> Publish {
    let package = match store.package(1, package).unwrap() {
        Some(package) => Expected::Present(package),
        None => Expected::Absent(Package {
            id: store.next_id(),
            name: package.into(),
            exact_case: false,
            created: 1,
        }),
    };
    let version = match store.version(package.get(), version).unwrap() {
        Some(version) => Expected::Present(version),
        None => Expected::Absent(Version {
            id: store.next_id(),
            name: version.into(),
            created: 1,
            creator: 1,
        }),
    };
    let replaces = store
        .file(package.get(), version.get(), file)
        .unwrap()
        .map(|file| file.id);
    Publish {
        owner: 1,
        file: File {
            id: store.next_id(),
            name: file.into(),
            blob: blob.digest,
            size: blob.size,
            shape: blob.shape(),
            created: 1,
            creator: 1,
            sha256: None,
        },
        package,
        version,
        replaces,
        quota: counts::Quota::default(),
        blob,
    }
}

pub(super) fn find(
    store: &Store,
    package: &str,
    version: &str,
    file: &str,
) -> Option<(Package, Version, File)> {
    let package = store.package(1, package).unwrap()?;
    let version = store.version(&package, version).unwrap()?;
    let file = store.file(&package, &version, file).unwrap()?;
    Some((package, version, file))
}

pub(super) fn remove_file(store: &Store, package: &str, version: &str, file: &str) -> Option<Ticket> {
    let (package, version, file) = find(store, package, version, file)?;
    Some(store.commit(Change::RemoveFile(RemoveFile {
        owner: 1,
        package,
        version,
        file,
        spare_pinned: false,
    })))
}

pub(super) fn remove_version(store: &Store, package: &str, version: &str) -> Option<Ticket> {
    let package = store.package(1, package).unwrap()?;
    let version = store.version(&package, version).unwrap()?;
    Some(store.commit(Change::RemoveVersion(RemoveVersion {
        owner: 1,
        package,
        version,
        spare_pinned: false,
    })))
}

pub(super) type Entries = BTreeMap<Vec<u8>, Vec<u8>>;

pub(super) fn entries(index: &Index) -> Entries {
    let all = index.scan(b"", None, usize::MAX).unwrap();
    all.into_iter()
        .filter(|(key, _)| key.first() != Some(&b'm'))
        .map(|(key, value)| (key.to_vec(), value.to_vec()))
        .collect()
}

pub(super) fn closed_entries(data: &Path) -> Entries {
    entries(&Index::open(&data.join("index"), 1 << 20).unwrap())
}

#[tokio::test]
async fn a_publication_survives_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    publish(&store, "tool", "1.0", "a.bin", b"hello")
        .settled()
        .await
        .unwrap();
    let before = find(&store, "TOOL", "1.0", "A.BIN").unwrap();
    store.close();
    assert_eq!(
        publish(&store, "tool", "2.0", "a.bin", b"x").settled().await,
        Err(CommitError::Closed)
    );
    drop(store);
    let store = open(dir.path());
    assert_eq!(find(&store, "tool", "1.0", "a.bin").unwrap(), before);
    assert!(store.next_id() > before.2.id);
}

/// Small bodies are copied into a group, larger ones written from where they are, in one group with others.
#[tokio::test]
async fn bodies_of_every_length_come_back() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let around = |length: usize| [length - 1, length, length + 1];
    let lengths = [1, 4096, 16 << 10, 20_000, 64 << 10, 200_000]
        .map(around)
        .concat();
    let body = |length: &usize| (0..*length).map(|at| (at * 7 + length) as u8).collect::<Vec<_>>();
    let publish = |length: &usize| publish(&store, "tool", "1.0", &length.to_string(), &body(length));
    // It brings the version along.
    publish(&lengths[0]).settled().await.unwrap();
    let tickets: Vec<_> = lengths[1..].iter().map(publish).collect();
    for ticket in tickets {
        ticket.settled().await.unwrap();
    }
    for length in &lengths {
        let (_, _, file) = find(&store, "tool", "1.0", &length.to_string()).unwrap();
        let mut reader = store.open_file(&file).unwrap().read(0..u64::MAX);
        let mut read = Vec::new();
        while let Some(piece) = reader.next().await.unwrap() {
            read.extend_from_slice(&piece);
        }
        assert!(read == body(length), "{length}");
    }
}

#[tokio::test]
async fn what_is_no_longer_so_is_a_conflict() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    // Both are built on an empty store; one of them must lose.
    let tickets = [
        publish(&store, "p", "1", "f", b"one"),
        publish(&store, "p", "1", "f", b"two"),
    ];
    let mut outcomes = [tickets[0].settled().await, tickets[1].settled().await];
    outcomes.sort_by_key(Result::is_err);
    assert_eq!(outcomes, [Ok(()), Err(CommitError::Conflict)]);
    let (package, version, file) = find(&store, "p", "1", "f").unwrap();
    let stale = RemoveFile {
        owner: 1,
        package,
        version,
        file,
        spare_pinned: false,
    };
    publish(&store, "p", "1", "f", b"three").settled().await.unwrap();
    let refused = store.commit(Change::RemoveFile(stale)).settled().await;
    assert_eq!(refused, Err(CommitError::Conflict));
}

#[tokio::test]
async fn the_last_file_takes_its_version_and_the_last_version_its_package() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    publish(&store, "p", "1", "a", b"a").settled().await.unwrap();
    publish(&store, "p", "1", "b", b"b").settled().await.unwrap();
    remove_file(&store, "p", "1", "a")
        .unwrap()
        .settled()
        .await
        .unwrap();
    assert!(find(&store, "p", "1", "b").is_some());
    remove_file(&store, "p", "1", "b")
        .unwrap()
        .settled()
        .await
        .unwrap();
    assert_eq!(store.package(1, "p").unwrap(), None);
    // Only the bytes are left, for collection to find.
    let left = entries(&store.inner.index);
    assert!(left.keys().all(|key| key[0] == b'c'), "{left:?}");
}

#[tokio::test]
async fn equal_bytes_are_written_once() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let body = vec![7; 100_000];
    for version in 0..5 {
        publish(&store, "p", &version.to_string(), "f", &body)
            .settled()
            .await
            .unwrap();
    }
    store.close();
    let journal: u64 = fs::read_dir(dir.path().join("journal"))
        .unwrap()
        .map(|e| e.unwrap().metadata().unwrap().len())
        .sum();
    assert!(journal < 2 * 100_000, "the journal holds {journal} bytes");
}

#[tokio::test]
async fn a_version_of_many_files_is_swept_and_stays_gone() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let tickets: Vec<_> = (0..1000)
        .map(|file| publish(&store, "p", "1", &format!("f{file}"), b"x"))
        .collect();
    // Those that were built on an empty package conflict with the first, and are built again.
    for (file, ticket) in tickets.into_iter().enumerate() {
        if ticket.settled().await.is_err() {
            publish(&store, "p", "1", &format!("f{file}"), b"x")
                .settled()
                .await
                .unwrap();
        }
    }
    remove_version(&store, "p", "1").unwrap().settled().await.unwrap();
    assert_eq!(find(&store, "p", "1", "f1"), None);
    publish(&store, "p", "1", "new", b"y").settled().await.unwrap();
    // Another commit does not wait for all of the sweeping, nor does a shutdown.
    swept(&store).await;
    store.close();
    drop(store);
    let live = closed_entries(dir.path());
    assert_eq!(
        live.keys().filter(|key| key[0] == b'f').count(),
        1,
        "old files are swept"
    );
    assert!(live.keys().all(|key| key[0] != b'x'));
    assert_eq!(counted(&live), recounted(&live));
    rebuild_index(Options::at(dir.path()), &Quiet).unwrap();
    assert_eq!(closed_entries(dir.path()), live);
}

#[tokio::test]
async fn while_the_index_has_much_to_make_durable_sweeps_rest_but_not_for_ever_and_commits_go_on() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    publish(&store, "p", "1", "f", b"x").settled().await.unwrap();
    let tickets: Vec<_> = (0..1000)
        .map(|file| publish(&store, "p", "1", &format!("f{file}"), b"x"))
        .collect();
    for ticket in tickets {
        ticket.settled().await.unwrap();
    }
    let runtime = tokio::runtime::Handle::current();
    let index = store.inner.index.clone();
    let (held, commits) = (index.clone(), store.clone());
    let commit = async move {
        remove_version(&commits, "p", "1")
            .unwrap()
            .settled()
            .await
            .unwrap();
        for file in 0..20 {
            let ticket = publish(&commits, "q", "1", &format!("f{}", file.max(1)), b"y");
            // It does not wait for a run.
            let settled = tokio::time::timeout(std::time::Duration::from_secs(60), ticket.settled());
            settled.await.unwrap().unwrap();
        }
        assert!(commits.inner.index.is_behind());
        assert!(!sweeps::pending(&commits.inner.index).unwrap().is_empty());
        let files = || commits.inner.index.count(&keys::all_files()).unwrap();
        let resting = files();
        assert!(resting > 0, "it rests");
        for _ in 0..600 {
            if files() < resting {
                return;
            }
            tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        }
        panic!("a step of sweeping was put off for a minute");
    };
    tokio::task::spawn_blocking(move || held.without_runs(|| runtime.block_on(commit)))
        .await
        .unwrap();
    swept(&store).await;
    assert_eq!(index.count(&keys::all_files()).unwrap(), 19);
}

/// Random work over a few names, with accounts and tokens in between.
async fn work(store: &Store, seed: u64, steps: u64) {
    let mut state = seed;
    let mut random = |below: u64| {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) % below
    };
    for step in 0..steps {
        let (package, version, file) = (
            format!("p{}", random(3)),
            format!("v{}", random(3)),
            format!("f{}", random(3)),
        );
        let ticket = match random(10) {
            0..6 => Some(publish(
                store,
                &package,
                &version,
                &file,
                &random(5).to_le_bytes(),
            )),
            6 | 7 => remove_file(store, &package, &version, &file),
            8 => remove_version(store, &package, &version),
            _ => Some(store.commit(Change::PutAccount {
                expect: None,
                account: account(store, seed * 1000 + step),
            })),
        };
        if let Some(ticket) = ticket {
            assert_eq!(
                ticket.settled().await,
                Ok(()),
                "seed {seed}, step {step}: {package} {version} {file}"
            );
        }
    }
}

pub(super) fn account(store: &Store, number: u64) -> Account {
    Account {
        id: store.next_id(),
        name: format!("user{number}"),
        kind: AccountKind::User,
        visibility: Visibility::Public,
        active: true,
        admin: false,
        email: String::new(),
        password: None,
        created: 0,
    }
}

#[tokio::test]
async fn a_rebuilt_index_equals_the_live_one() {
    for seed in 1..6 {
        let dir = tempfile::tempdir().unwrap();
        // Several lives, so that several files are there and some are sealed.
        for life in 0..3 {
            let store = open(dir.path());
            work(&store, seed * 100 + life, 150).await;
            store.close();
        }
        let live = closed_entries(dir.path());
        assert_eq!(counted(&live), recounted(&live), "seed {seed}: what is held");
        let report = rebuild_index(Options::at(dir.path()), &Quiet).unwrap();
        assert_eq!(
            (report.damaged, closed_entries(dir.path())),
            (0, live.clone()),
            "seed {seed}"
        );
        fs::remove_dir_all(dir.path().join("index")).unwrap();
        let store = open(dir.path());
        assert_eq!(
            entries(&store.inner.index),
            live,
            "seed {seed}: rebuilt at the start"
        );
        let scanned = live.iter().fold(0u128, |all, (key, value)| {
            all.wrapping_add(sum::entry(key, value))
        });
        let applied = position::Applied::load(&store.inner.index).unwrap().unwrap();
        assert_eq!(
            applied.index_sum, scanned,
            "seed {seed}: the running sum is that of a scan"
        );
    }
}

#[tokio::test]
async fn a_copied_index_is_not_believed_but_the_log_is() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    publish(&store, "p", "1", "f", b"body").settled().await.unwrap();
    let copy = tempfile::tempdir().unwrap();
    fs::copy(dir.path().join("store.toml"), copy.path().join("store.toml")).unwrap();
    for sub in ["journal", "segments", "index"] {
        fs::create_dir_all(copy.path().join(sub)).unwrap();
        for entry in fs::read_dir(dir.path().join(sub)).unwrap() {
            let entry = entry.unwrap();
            if entry.file_type().unwrap().is_file() {
                fs::copy(entry.path(), copy.path().join(sub).join(entry.file_name())).unwrap();
            }
        }
    }
    let copied = open(copy.path());
    assert!(find(&copied, "p", "1", "f").is_some());
    publish(&copied, "p", "2", "f", b"body").settled().await.unwrap();
    // The file that was being written is sealed; a new one has begun.
    assert_eq!(
        log::files::list(copy.path(), model::FileKind::Journal).unwrap(),
        [1, 2]
    );
}

#[tokio::test]
async fn tokens_come_and_go() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let account = account(&store, 1);
    let token = Token {
        id: store.next_id(),
        account: account.id,
        name: "ci".into(),
        hash: [9; 32],
        last_eight: "12345678".into(),
        scopes: 1,
        created: 0,
        expires: None,
        grants: Vec::new(),
    };
    let orphan = store.commit(Change::PutToken(token.clone())).settled().await;
    assert_eq!(orphan, Err(CommitError::Conflict));
    store
        .commit(Change::PutAccount {
            expect: None,
            account: account.clone(),
        })
        .settled()
        .await
        .unwrap();
    store
        .commit(Change::PutToken(token.clone()))
        .settled()
        .await
        .unwrap();
    let same_name = Token {
        id: store.next_id(),
        hash: [8; 32],
        ..token.clone()
    };
    assert_eq!(
        store.commit(Change::PutToken(same_name)).settled().await,
        Err(CommitError::Conflict)
    );
    assert_eq!(store.tokens_of(account.id).unwrap(), std::slice::from_ref(&token));
    store
        .commit(Change::RemoveToken(token.clone()))
        .settled()
        .await
        .unwrap();
    assert_eq!(store.token(&[9; 32]).unwrap(), None);
    assert_eq!(store.tokens_of(account.id).unwrap(), []);
    assert!(
        store
            .inner
            .index
            .get(&keys::token_of(account.id, token.id))
            .unwrap()
            .is_none()
    );
}

fn entry_kinds(store: &Store) -> Vec<u8> {
    let mut kinds: Vec<u8> = entries(&store.inner.index).keys().map(|key| key[0]).collect();
    kinds.dedup();
    kinds
}

/// What owners and packages hold, counted anew; removed versions that are not swept yet would count as well.
pub(super) fn recounted(entries: &Entries) -> BTreeMap<Holder, Totals> {
    let id = |bytes: &[u8]| Id::from_be_bytes(bytes.try_into().unwrap());
    let of_kind = |kind: u8| entries.iter().filter(move |(key, _)| key[0] == kind);
    let owners: BTreeMap<Id, Id> = of_kind(b'p')
        .map(|(key, value)| (index::decode::<Package>(value).unwrap().id, id(&key[1..9])))
        .collect();
    let packages: BTreeMap<Id, Id> = of_kind(b'o')
        .map(|(key, _)| keys::two_ids(key).unwrap())
        .map(|(package, version)| (version, package))
        .collect();
    let mut totals: BTreeMap<Holder, Totals> = BTreeMap::new();
    let mut add = |package: Id, bytes, files, versions| {
        for holder in [Holder::Package(package), Holder::Owner(owners[&package])] {
            let totals = totals.entry(holder).or_default();
            totals.bytes += bytes;
            totals.files += files;
            totals.versions += versions;
        }
    };
    packages.values().for_each(|package| add(*package, 0, 0, 1));
    for (key, value) in of_kind(b'f') {
        let file: File = index::decode(value).unwrap();
        add(packages[&id(&key[1..9])], file.size, 1, 0);
    }
    totals
}

pub(super) fn counted(entries: &Entries) -> BTreeMap<Holder, Totals> {
    let id = |key: &[u8]| Id::from_be_bytes(key[1..].try_into().unwrap());
    let held = entries.iter().filter(|(key, _)| b"qk".contains(&key[0]));
    held.map(|(key, value)| {
        let holder = match key[0] {
            b'q' => Holder::Owner(id(key)),
            _ => Holder::Package(id(key)),
        };
        (holder, index::decode(value).unwrap())
    })
    .collect()
}

pub(super) async fn swept(store: &Store) {
    for _ in 0..12_000 {
        let pending = sweeps::pending(&store.inner.index).unwrap();
        if pending.is_empty() {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
    panic!("sweeping does not end");
}

async fn remove_package(store: &Store, name: &str) -> Result<(), CommitError> {
    let package = store.package(1, name).unwrap().ok_or(CommitError::Conflict)?;
    let change = Change::RemovePackage(change::RemovePackage { owner: 1, package });
    store.commit(change).settled().await
}

#[tokio::test]
async fn a_package_goes_at_once_and_is_swept_with_all_its_versions() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let mut last = None;
    for version in 0..300 {
        last = Some(publish(&store, "big", &version.to_string(), "f", b"x"));
        if version == 0 {
            last.take().unwrap().settled().await.unwrap();
        }
    }
    for file in 0..600 {
        let ticket = publish(&store, "big", "wide", &file.to_string(), b"x");
        if file == 0 {
            ticket.settled().await.unwrap();
        } else {
            last = Some(ticket);
        }
    }
    last.unwrap().settled().await.unwrap();
    publish(&store, "other", "1", "f", b"x").settled().await.unwrap();
    remove_package(&store, "BIG").await.unwrap();
    assert_eq!(find(&store, "big", "7", "f"), None);
    assert_eq!(remove_package(&store, "big").await, Err(CommitError::Conflict));
    // The name is free at once, and what comes under it is not swept.
    publish(&store, "big", "7", "f", b"new").settled().await.unwrap();
    swept(&store).await;
    let held = entries(&store.inner.index);
    assert_eq!(counted(&held), recounted(&held));
    assert!(find(&store, "big", "7", "f").is_some());
    assert!(find(&store, "other", "1", "f").is_some());
    remove_package(&store, "big").await.unwrap();
    remove_package(&store, "other").await.unwrap();
    swept(&store).await;
    assert_eq!(entry_kinds(&store), b"c");
    store.close();
    drop(store);
    let live = closed_entries(dir.path());
    rebuild_index(Options::at(dir.path()), &Quiet).unwrap();
    assert_eq!(closed_entries(dir.path()), live);
}

#[tokio::test]
async fn an_account_takes_its_tokens_and_memberships_along_but_not_its_packages() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let commit = async |change| store.commit(change).settled().await;
    let new = async |kind| {
        let account = Account {
            kind,
            ..owner(store.next_id())
        };
        let change = Change::PutAccount {
            expect: None,
            account: account.clone(),
        };
        store.commit(change).settled().await.unwrap();
        account
    };
    assert_eq!(new(AccountKind::User).await.id, 1, "who owns what tests publish");
    let user = new(AccountKind::User).await;
    let tools = new(AccountKind::Organisation).await;
    let games = new(AccountKind::Organisation).await;
    let member = |organisation, user, permission| Membership {
        organisation,
        user,
        permission,
    };
    for change in [
        member(tools.id, user.id, Permission::Read),
        member(tools.id, user.id, Permission::Write),
        member(games.id, user.id, Permission::Admin),
        member(games.id, 1, Permission::Read),
    ] {
        commit(Change::PutMember(change)).await.unwrap();
    }
    for wrong in [(user.id, 1), (tools.id, games.id), (tools.id, 77)] {
        let change = Change::PutMember(member(wrong.0, wrong.1, Permission::Read));
        assert_eq!(commit(change).await, Err(CommitError::Conflict));
    }
    assert_eq!(
        store.membership(tools.id, user.id).unwrap(),
        Some(Permission::Write)
    );
    assert_eq!(store.members(games.id).unwrap().len(), 2);
    let stale = member(tools.id, user.id, Permission::Read);
    assert_eq!(
        commit(Change::RemoveMember(stale)).await,
        Err(CommitError::Conflict)
    );
    let token = Token {
        id: store.next_id(),
        account: user.id,
        name: "ci".into(),
        hash: [7; 32],
        last_eight: "12345678".into(),
        scopes: 8,
        created: 0,
        expires: Some(5),
        grants: Vec::new(),
    };
    commit(Change::PutToken(token)).await.unwrap();
    publish(&store, "p", "1", "f", b"x").settled().await.unwrap();
    let publisher = store.account_by_id(1).unwrap().unwrap();
    assert_eq!(
        commit(Change::RemoveAccount(publisher)).await,
        Err(CommitError::Conflict)
    );
    let renamed = Account {
        email: "changed".into(),
        ..user.clone()
    };
    assert_eq!(
        commit(Change::RemoveAccount(renamed)).await,
        Err(CommitError::Conflict)
    );
    commit(Change::RemoveAccount(user.clone())).await.unwrap();
    commit(Change::RemoveAccount(games.clone())).await.unwrap();
    assert_eq!(store.account_by_id(user.id).unwrap(), None);
    assert_eq!(store.token(&[7; 32]).unwrap(), None);
    assert_eq!(store.members(tools.id).unwrap(), []);
    assert_eq!(entry_kinds(&store), b"acfikopqv");
    let orphan = Publish {
        owner: user.id,
        ..publication(&store, "q", "1", "f", b"x")
    };
    assert_eq!(commit(Change::Publish(orphan)).await, Err(CommitError::Conflict));
    store.close();
    drop(store);
    let live = closed_entries(dir.path());
    rebuild_index(Options::at(dir.path()), &Quiet).unwrap();
    assert_eq!(closed_entries(dir.path()), live);
}

#[tokio::test]
async fn used_bytes_are_those_on_disk_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    for round in 0..3 {
        let store = open(dir.path());
        for number in 0..20 {
            let version = format!("{round}-{number}");
            let body = vec![number; 90_000];
            publish(&store, "p", &version, "f", &body)
                .settled()
                .await
                .unwrap();
        }
        let mut upload = store.upload(None);
        upload.write(vec![round; 700_000].into()).await.unwrap();
        drop(upload.finish().await.unwrap());
        store.close();
        let used = store.room().used;
        assert!(used > 2_000_000, "{used}");
        drop(store);
        assert_eq!(open(dir.path()).room().used, used);
    }
}

/// DESIGN §3: a new store takes at most 8 MiB in all, whatever it holds in reserve.
#[tokio::test]
async fn a_new_store_takes_little_and_says_how_much_it_reserves() {
    use std::os::unix::fs::MetadataExt;

    fn on_disk(path: &Path) -> u64 {
        let meta = path.symlink_metadata().unwrap();
        let below = match meta.is_dir() {
            true => fs::read_dir(path)
                .unwrap()
                .map(|entry| on_disk(&entry.unwrap().path()))
                .sum(),
            false => 0,
        };
        meta.blocks() * 512 + below
    }

    let dir = tempfile::tempdir().unwrap();
    drop(open(dir.path()));
    let store = open(dir.path());
    let room = store.room();
    assert!(room.ballast == 0 || room.ballast == ballast::LEAST, "{room:?}");
    // The first journal file, what the index has ahead, and the ballast.
    let expected = (1 << 20) + (1 << 20) + room.ballast;
    assert!(room.reserved.abs_diff(expected) < 256 << 10, "{room:?}");
    let mut upload = store.upload(None);
    upload.write(vec![1; 700_000].into()).await.unwrap();
    let _held = upload.finish().await.unwrap();
    let taken = on_disk(dir.path());
    assert!(taken <= 8 << 20, "{taken} bytes");
}
