//! What owners hold, may hold and have set: a model says what it must be, over commits, restarts and rebuilds.

#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::fs;

use proptest::prelude::*;

use super::change::{Expected, Publish, RemovePackage};
use super::counts::Quota;
use super::model::{Holder, Limit, OwnerSettings, PackagePolicy, Policy, Totals};
use super::tests::{
    Quiet, account, closed_entries, counted, open, publication, recounted, remove_file, remove_version, swept,
};
use super::*;

/// The owner of everything that these tests publish.
const OWNER: Id = 1;

#[derive(Clone, Debug)]
enum Step {
    /// Publish so many bytes under package, version, file.
    Put([u8; 3], usize),
    RemoveFile([u8; 3]),
    RemoveVersion([u8; 2]),
    RemovePackage(u8),
    /// Close and open again.
    Restart,
    /// As after `kill -9`: open a copy of the log without its index.
    Rebuild,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let name = || 0..3_u8;
    let step = prop_oneof![
        12 => ([name(), name(), name()], 0..9_usize).prop_map(|(at, size)| Step::Put(at, size)),
        3 => [name(), name(), name()].prop_map(Step::RemoveFile),
        2 => [name(), name()].prop_map(Step::RemoveVersion),
        1 => name().prop_map(Step::RemovePackage),
        1 => Just(Step::Restart),
        1 => Just(Step::Rebuild),
    ];
    prop::collection::vec(step, 1..60)
}

/// Sizes of the files by package, version and file.
#[derive(Debug, Default)]
struct Model(BTreeMap<[u8; 3], usize>);

impl Model {
    fn held(&self) -> Totals {
        let mut versions: Vec<_> = self
            .0
            .keys()
            .map(|[package, version, _]| (package, version))
            .collect();
        versions.dedup();
        Totals {
            bytes: self.0.values().map(|size| *size as u64).sum(),
            files: self.0.len() as u64,
            versions: versions.len() as u64,
        }
    }

    /// Not in the store's own words: nothing that grows may end above the quota.
    fn put(&mut self, at: [u8; 3], size: usize, quota: Quota) -> bool {
        let before = self.held();
        let replaced = self.0.insert(at, size);
        let after = self.held();
        let over =
            |limit: Option<u64>, before, after| after > before && limit.is_some_and(|limit| after > limit);
        if !over(quota.bytes, before.bytes, after.bytes)
            && !over(quota.versions, before.versions, after.versions)
        {
            return true;
        }
        match replaced {
            Some(size) => self.0.insert(at, size),
            None => self.0.remove(&at),
        };
        false
    }
}

async fn run(steps: Vec<Step>, quota: Quota) {
    let dir = tempfile::tempdir().unwrap();
    let mut store = open(dir.path());
    let mut model = Model::default();
    for step in steps {
        match step {
            Step::Put(at, size) => {
                let [package, version, file] = at.map(|part| part.to_string());
                let publish = Publish {
                    quota,
                    ..publication(&store, &package, &version, &file, &vec![at[2]; size])
                };
                let outcome = store.commit(Change::Publish(publish)).settled().await;
                let expected = match model.put(at, size, quota) {
                    true => Ok(()),
                    false => Err(CommitError::Conflict),
                };
                assert_eq!(outcome, expected, "{at:?} {size}");
            }
            Step::RemoveFile(at) => {
                let [package, version, file] = at.map(|part| part.to_string());
                if let Some(ticket) = remove_file(&store, &package, &version, &file) {
                    ticket.settled().await.unwrap();
                }
                model.0.remove(&at);
            }
            Step::RemoveVersion(at) => {
                let [package, version] = at.map(|part| part.to_string());
                if let Some(ticket) = remove_version(&store, &package, &version) {
                    ticket.settled().await.unwrap();
                }
                model
                    .0
                    .retain(|[package, version, _], _| [*package, *version] != at);
            }
            Step::RemovePackage(name) => {
                if let Some(package) = store.package(OWNER, &name.to_string()).unwrap() {
                    let remove = RemovePackage {
                        owner: OWNER,
                        package,
                    };
                    store
                        .commit(Change::RemovePackage(remove))
                        .settled()
                        .await
                        .unwrap();
                }
                model.0.retain(|[package, ..], _| *package != name);
            }
            Step::Restart | Step::Rebuild => {
                store.close();
                drop(store);
                if matches!(step, Step::Rebuild) {
                    fs::remove_dir_all(dir.path().join("index")).unwrap();
                }
                store = open(dir.path());
            }
        }
        assert_eq!(store.totals(Holder::Owner(OWNER)).unwrap(), model.held());
    }
    swept(&store).await;
    store.close();
    drop(store);
    let live = closed_entries(dir.path());
    assert_eq!(counted(&live), recounted(&live));
    rebuild_index(Options::at(dir.path()), &Quiet).unwrap();
    assert_eq!(closed_entries(dir.path()), live);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// Whatever is published, replaced and removed: what an owner holds is what a recount gives, and what would bring
    /// it over its quota, and nothing else, is refused.
    #[test]
    fn what_is_held_equals_a_recount_and_keeps_to_the_quota(
        steps in steps(), bytes in prop::option::of(0..40_u64), versions in prop::option::of(0..6_u64)
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        runtime.block_on(run(steps, Quota { bytes, versions }));
    }
}

/// All are built on the same state and come in one group or a few: each is counted before the next is looked at.
#[tokio::test]
async fn publications_of_one_group_cannot_overshoot_together() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    publication_settled(&store, "0").await;
    let quota = Quota {
        bytes: Some(30),
        versions: None,
    };
    let tickets: Vec<_> = (1..65)
        .map(|version| {
            let publish = publication(&store, "p", &version.to_string(), "f", b"abc");
            store.commit(Change::Publish(Publish { quota, ..publish }))
        })
        .collect();
    let mut won = 0;
    for ticket in tickets {
        match ticket.settled().await {
            Ok(()) => won += 1,
            refused => assert_eq!(refused, Err(CommitError::Conflict)),
        }
    }
    assert_eq!(won, 9);
    assert_eq!(store.totals(Holder::Owner(OWNER)).unwrap().bytes, 30);
}

async fn publication_settled(store: &Store, version: &str) {
    let publish = publication(store, "p", version, "f", b"abc");
    assert!(matches!(publish.package, Expected::Absent(_)));
    store.commit(Change::Publish(publish)).settled().await.unwrap();
}

fn settings(bytes: u64) -> OwnerSettings {
    OwnerSettings {
        policy: Some(Policy::Cache),
        policies: vec![PackagePolicy {
            packages: "rel-*".into(),
            policy: Policy::Release,
        }],
        max_bytes: Some(Limit::AtMost(bytes)),
        max_versions: Some(Limit::Unlimited),
        max_file_size: None,
    }
}

#[tokio::test]
async fn what_is_set_for_an_owner_is_kept_until_it_is_cleared_or_the_owner_goes() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let set = async |owner, expect, settings| {
        let change = Change::PutSettings {
            owner,
            expect,
            settings,
        };
        store.commit(change).settled().await
    };
    let nothing = OwnerSettings::default;
    assert_eq!(
        set(77, nothing(), settings(1)).await,
        Err(CommitError::Conflict),
        "nobody"
    );
    let mut owners = Vec::new();
    for number in 0..3 {
        let account = account(&store, number);
        let change = Change::PutAccount {
            expect: None,
            account: account.clone(),
        };
        store.commit(change).settled().await.unwrap();
        assert_eq!(set(account.id, nothing(), settings(number)).await, Ok(()));
        owners.push(account);
    }
    let stale = set(owners[0].id, nothing(), settings(9)).await;
    assert_eq!(stale, Err(CommitError::Conflict));
    assert_eq!(set(owners[0].id, settings(0), settings(9)).await, Ok(()));
    assert_eq!(set(owners[1].id, settings(1), nothing()).await, Ok(()));
    let gone = Change::RemoveAccount(owners[2].clone());
    store.commit(gone).settled().await.unwrap();
    let now = |store: &Store| [0, 1, 2].map(|number: usize| store.settings(owners[number].id).unwrap());
    assert_eq!(now(&store), [settings(9), nothing(), nothing()]);
    store.close();
    drop(store);
    let live = closed_entries(dir.path());
    assert_eq!(live.keys().filter(|key| key[0] == b's').count(), 1);
    rebuild_index(Options::at(dir.path()), &Quiet).unwrap();
    assert_eq!(closed_entries(dir.path()), live);
    assert_eq!(now(&open(dir.path())), [settings(9), nothing(), nothing()]);
}

#[tokio::test]
async fn the_largest_owners_come_first() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    for (owner, size) in [(1, 5), (2, 9), (3, 1), (4, 9)] {
        let publish = Publish {
            owner,
            // A name of its own, since names are looked up under the first owner.
            ..publication(&store, &owner.to_string(), "1", "f", &vec![0; size])
        };
        store.commit(Change::Publish(publish)).settled().await.unwrap();
    }
    let largest = |limit| {
        let owners = store.largest_owners(limit).unwrap();
        owners
            .into_iter()
            .map(|(owner, held)| (owner, held.bytes))
            .collect::<Vec<_>>()
    };
    assert_eq!(largest(9), [(2, 9), (4, 9), (1, 5), (3, 1)]);
    assert_eq!(largest(2), [(2, 9), (4, 9)]);
    assert_eq!(largest(0), []);
}
