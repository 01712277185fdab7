//! Pins and rules of retention: what the committer proves, and that they live as long as what they are about.

#![allow(clippy::unwrap_used)]

use super::change::{PinVersion, RemoveVersion};
use super::collect::Kind;
use super::log::record::OwnerRules;
use super::model::{Account, Pin, RetentionRule};
use super::pace::Unthrottled;
use super::tests::{closed_entries, find, open, publish, remove_file, remove_version};
use super::*;

const PIN: Pin = Pin { by: 1, since: 77 };

async fn pin(store: &Store, version: &str, pin: Option<Pin>) -> Result<(), CommitError> {
    let (package, version, _) = find(store, "p", version, "f").unwrap();
    let change = Change::Pin(PinVersion {
        package,
        version,
        pin,
    });
    store.commit(change).settled().await
}

async fn retire(store: &Store, version: &str) -> Result<(), CommitError> {
    let (package, version, _) = find(store, "p", version, "f").unwrap();
    let change = Change::RemoveVersion(RemoveVersion {
        owner: 1,
        package,
        version,
        spare_pinned: true,
    });
    store.commit(change).settled().await
}

fn is_pinned(store: &Store, version: &str) -> bool {
    let (_, version, _) = find(store, "p", version, "f").unwrap();
    store.pin(version.id).unwrap() == Some(PIN)
}

fn rules(keep: &str) -> Vec<RetentionRule> {
    vec![RetentionRule {
        packages: "*".into(),
        keep: vec![keep.into()],
        ..RetentionRule::default()
    }]
}

async fn set_rules(store: &Store, rules: Option<Vec<RetentionRule>>) -> Result<(), CommitError> {
    let change = Change::PutRules(OwnerRules { owner: 1, rules });
    store.commit(change).settled().await
}

async fn with_account(store: &Store) {
    let account = Account {
        id: 1,
        name: "ci".into(),
        kind: model::AccountKind::User,
        visibility: model::Visibility::Public,
        active: true,
        admin: false,
        email: String::new(),
        password: None,
        created: 1,
    };
    let change = Change::PutAccount {
        expect: None,
        account,
    };
    store.commit(change).settled().await.unwrap();
}

/// Closes the store and opens it with an index that was built again; both indexes hold the same.
fn rebuilt(store: Store) -> Store {
    let data = store.data().to_owned();
    store.close();
    drop(store);
    let live = closed_entries(&data);
    std::fs::remove_dir_all(data.join("index")).unwrap();
    let store = open(&data);
    store.close();
    drop(store);
    assert_eq!(closed_entries(&data), live);
    open(&data)
}

#[tokio::test]
async fn a_pin_stands_in_the_way_of_upkeep_only_and_goes_with_its_version() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    for version in ["1", "2", "3", "4"] {
        publish(&store, "p", version, "f", version.as_bytes())
            .settled()
            .await
            .unwrap();
        pin(&store, version, Some(PIN)).await.unwrap();
    }
    pin(&store, "1", Some(Pin { by: 2, since: 99 })).await.unwrap();
    assert!(is_pinned(&store, "1"), "the first pin stays");
    assert_eq!(retire(&store, "1").await, Err(CommitError::Conflict));
    pin(&store, "1", None).await.unwrap();
    pin(&store, "1", None).await.unwrap();
    let store = rebuilt(store);
    assert!(!is_pinned(&store, "1") && is_pinned(&store, "2"));
    retire(&store, "1").await.unwrap();
    // By name all of them go, and leave nothing behind.
    let gone: Vec<Id> = ["2", "3"]
        .map(|version| find(&store, "p", version, "f").unwrap().1.id)
        .into();
    remove_version(&store, "p", "2").unwrap().settled().await.unwrap();
    remove_file(&store, "p", "3", "f")
        .unwrap()
        .settled()
        .await
        .unwrap();
    let stale = find(&store, "p", "4", "f").unwrap();
    remove_version(&store, "p", "4").unwrap().settled().await.unwrap();
    let change = Change::Pin(PinVersion {
        package: stale.0,
        version: stale.1,
        pin: Some(PIN),
    });
    assert_eq!(store.commit(change).settled().await, Err(CommitError::Conflict));
    assert!(gone.iter().all(|version| store.pin(*version).unwrap().is_none()));
    let store = rebuilt(store);
    assert!(gone.iter().all(|version| store.pin(*version).unwrap().is_none()));
    store.close();
}

#[tokio::test]
async fn pins_go_with_their_package() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    publish(&store, "p", "1", "f", b"x").settled().await.unwrap();
    pin(&store, "1", Some(PIN)).await.unwrap();
    let (package, version, _) = find(&store, "p", "1", "f").unwrap();
    let change = Change::RemovePackage(change::RemovePackage { owner: 1, package });
    store.commit(change).settled().await.unwrap();
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(60);
    while store.pin(version.id).unwrap().is_some() {
        assert!(std::time::Instant::now() < deadline, "the pin was left behind");
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
    rebuilt(store).close();
}

#[tokio::test]
async fn rules_are_kept_as_long_as_their_owner() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    assert_eq!(
        set_rules(&store, Some(rules("a"))).await,
        Err(CommitError::Conflict)
    );
    with_account(&store).await;
    set_rules(&store, Some(rules("a"))).await.unwrap();
    set_rules(&store, Some(rules("b"))).await.unwrap();
    let store = rebuilt(store);
    assert_eq!(store.retention_rules(1).unwrap(), Some(rules("b")));
    set_rules(&store, Some(Vec::new())).await.unwrap();
    assert_eq!(store.retention_rules(1).unwrap(), Some(Vec::new()));
    set_rules(&store, None).await.unwrap();
    let store = rebuilt(store);
    assert_eq!(store.retention_rules(1).unwrap(), None);
    set_rules(&store, Some(rules("c"))).await.unwrap();
    let account = store.account_by_id(1).unwrap().unwrap();
    store
        .commit(Change::RemoveAccount(account))
        .settled()
        .await
        .unwrap();
    assert_eq!(store.retention_rules(1).unwrap(), None);
    rebuilt(store).close();
}

#[tokio::test]
async fn compaction_carries_pins_and_rules_along() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    with_account(&store).await;
    set_rules(&store, Some(rules("old"))).await.unwrap();
    set_rules(&store, Some(rules("new"))).await.unwrap();
    for version in ["1", "2", "gone"] {
        let body = vec![version.as_bytes()[0]; 100_000];
        publish(&store, "p", version, "f", &body).settled().await.unwrap();
        pin(&store, version, Some(PIN)).await.unwrap();
    }
    pin(&store, "2", None).await.unwrap();
    remove_version(&store, "p", "gone")
        .unwrap()
        .settled()
        .await
        .unwrap();
    let collected = store.collect(Kind::Full, &Unthrottled).unwrap();
    assert!(collected.log_files > 0, "{collected:?}");
    let store = rebuilt(store);
    assert!(is_pinned(&store, "1") && !is_pinned(&store, "2"));
    assert_eq!(store.retention_rules(1).unwrap(), Some(rules("new")));
    store.close();
}
