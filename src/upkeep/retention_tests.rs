//! A pass over a real store, in steps of bounded size; and the walk of eviction over the same.
//!
//! `LARDER_TEST_VERSIONS` sets how many versions there are: 200000 is what docs/retention.md's figures come from.

#![allow(clippy::unwrap_used)]

use std::collections::HashSet;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;

use super::*;
use crate::artifact::eviction::Scan;
use crate::artifact::{Artifacts, Coordinates, Options};
use crate::chunk::Digest;
use crate::owner::{Policy, PolicyTable};
use crate::store::change::{Change, Expected, PinVersion, Publish};
use crate::store::counts::Quota;
use crate::store::model::{AccountKind, File, Id, Package, Pin, RetentionRule, Shape, Version, Visibility};
use crate::store::upload::{Content, NewBlob};
use crate::store::{self, Progress};

const OWNER: Id = 1;

struct Quiet;

impl Progress for Quiet {
    fn replayed(&self, _done: u64, _total: u64) {}
}

fn versions() -> u64 {
    let given = std::env::var("LARDER_TEST_VERSIONS").ok();
    given.map_or(1500, |text| text.parse().unwrap())
}

/// A store with the account that owns everything.
async fn open(data: &Path) -> Store {
    let store = Store::open(store::Options::at(data), &Quiet).unwrap();
    let account = Account {
        id: OWNER,
        name: "ci".into(),
        kind: AccountKind::User,
        visibility: Visibility::Public,
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
    store
}

fn artifacts(store: &Store, rules: Vec<RetentionRule>) -> Artifacts {
    let options = Options {
        limits: Default::default(),
        max_uploads: 8,
        max_uploads_per_owner: 8,
        upload_wait: Duration::ZERO,
        min_bytes_per_window: 0,
        stall_window: Duration::from_secs(60),
        policies: PolicyTable::new(&[("ci/cache".into(), Policy::Cache)]).unwrap(),
        access_memory: 1 << 20,
        retention: Arc::new(Rules::of_configuration(rules).unwrap()),
    };
    Artifacts::new(store.clone(), options)
}

fn package(store: &Store, name: &str) -> Package {
    Package {
        id: store.next_id(),
        name: name.into(),
        exact_case: false,
        created: 1,
    }
}

fn version(store: &Store, name: &str) -> Version {
    Version {
        id: store.next_id(),
        name: name.into(),
        created: 1,
        creator: OWNER,
    }
}

/// Publishes a file; the commit is under way.
fn publish(
    store: &Store,
    package: Expected<Package>,
    version: Expected<Version>,
    name: &str,
) -> crate::store::ticket::Ticket {
    let body = name.as_bytes();
    let blob = Arc::new(NewBlob {
        digest: Digest::of(body),
        size: body.len() as u64,
        content: Content::Inline(vec![Bytes::copy_from_slice(body)]),
    });
    let file = File {
        id: store.next_id(),
        name: name.into(),
        blob: blob.digest,
        size: blob.size,
        shape: Shape::Single,
        created: 1,
        creator: OWNER,
        sha256: None,
    };
    store.commit(Change::Publish(Publish {
        owner: OWNER,
        package,
        version,
        file,
        replaces: None,
        quota: Quota::default(),
        blob,
    }))
}

/// `count` versions of the package `app`, of one file each; the last created last.
async fn fill(store: &Store, count: u64) {
    let package = package(store, "app");
    let mut expected = Expected::Absent(package.clone());
    let mut under_way = Vec::new();
    for number in 0..count {
        let version = Expected::Absent(version(store, &format!("v{number}")));
        under_way.push(publish(store, expected, version, &format!("f{number}")));
        expected = Expected::Present(package.clone());
        if under_way.len() == 512 || number == 0 {
            for ticket in under_way.drain(..) {
                ticket.settled().await.unwrap();
            }
        }
    }
    for ticket in under_way {
        ticket.settled().await.unwrap();
    }
}

fn keep_ten() -> Vec<RetentionRule> {
    vec![RetentionRule {
        packages: "*/*".into(),
        keep_newest: Some(10),
        remove: vec!["v*".into()],
        ..RetentionRule::default()
    }]
}

#[actix_rt::test]
async fn a_pass_over_many_versions_is_made_of_small_steps() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path()).await;
    let count = versions();
    fill(&store, count).await;
    let artifacts = artifacts(&store, keep_ten());
    let owner = store.account("ci").unwrap().unwrap();
    let package = store.package(OWNER, "app").unwrap().unwrap();
    let pinned = store.version(&package, "v7").unwrap().unwrap();
    let pin = Change::Pin(PinVersion {
        package: package.clone(),
        version: pinned,
        pin: Some(Pin { by: 1, since: 1 }),
    });
    store.commit(pin).settled().await.unwrap();

    let (rules, _) = artifacts.retention_rules(&owner).unwrap();
    let begun = Instant::now();
    let mut survey = artifacts.survey(&owner, rules, now());
    let (mut seen, mut slowest) = (0, Duration::ZERO);
    loop {
        let begun = Instant::now();
        let Some(judged) = survey.step().unwrap() else {
            break;
        };
        slowest = slowest.max(begun.elapsed());
        assert!(judged.len() <= 256);
        seen += judged.len() as u64;
    }
    assert_eq!(seen, count);
    eprintln!(
        "{count} versions judged in {:?}, the slowest step {slowest:?}",
        begun.elapsed()
    );
    let begun = Instant::now();
    let removed = pass(&artifacts, &store, Duration::from_secs(1), None)
        .await
        .unwrap();
    eprintln!("{removed} removed in {:?}", begun.elapsed());
    assert_eq!(removed, count - 11);
    let left: Vec<String> = store
        .newest_versions(package.id, None, 100)
        .unwrap()
        .into_iter()
        .map(|(_, name)| name)
        .collect();
    let newest = (1..=10).map(|back| format!("v{}", count - back));
    assert_eq!(left, newest.chain(["v7".to_owned()]).collect::<Vec<_>>());
    store.close();
}

#[actix_rt::test]
async fn rules_that_are_taken_back_stop_a_pass() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path()).await;
    fill(&store, 1500).await;
    let artifacts = artifacts(&store, keep_ten());
    let owner = store.account("ci").unwrap().unwrap();
    let under_way = actix_rt::spawn({
        let (artifacts, store) = (artifacts.clone(), store.clone());
        async move {
            pass(&artifacts, &store, Duration::from_secs(1), None)
                .await
                .unwrap()
        }
    });
    let package = store.package(OWNER, "app").unwrap().unwrap();
    let oldest = || store.newest_versions(package.id, None, usize::MAX).unwrap().len();
    while oldest() == 1500 {
        tokio::task::yield_now().await;
    }
    let none = Rules::of_owner("ci", Vec::new()).unwrap();
    artifacts.set_retention_rules(&owner, Some(&none)).await.unwrap();
    let removed = under_way.await.unwrap();
    assert!(removed > 0 && removed < 1000, "{removed} went");
    assert_eq!(oldest() as u64, 1500 - removed);
    store.close();
}

#[actix_rt::test]
async fn eviction_walks_over_every_file_of_caches_and_no_other() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path()).await;
    fill(&store, 3).await;
    let cache = package(&store, "Cache");
    let (one, two) = (version(&store, "one"), version(&store, "two"));
    let mut package = Expected::Absent(cache.clone());
    for version in [&one, &two] {
        let mut expected = Expected::Absent(version.clone());
        let count = if version.id == one.id { 2500 } else { 5 };
        for number in 0..count {
            let ticket = publish(&store, package, expected, &format!("{} {number}", version.name));
            package = Expected::Present(cache.clone());
            expected = Expected::Present(version.clone());
            if number % 500 == 0 || number == count - 1 {
                ticket.settled().await.unwrap();
            }
        }
    }
    let artifacts = artifacts(&store, Vec::new());
    let walk = || {
        let mut scan: Scan = artifacts.scan(store.accounts().unwrap());
        let mut found = Vec::new();
        while let Some(step) = scan.step().unwrap() {
            assert!(step.len() <= 1024);
            found.extend(step.into_iter().map(|candidate| candidate.file.name));
        }
        found
    };
    let found = walk();
    assert_eq!(found.len(), 2505);
    assert_eq!(found.iter().collect::<HashSet<_>>().len(), 2505);
    let pin = Change::Pin(PinVersion {
        package: cache,
        version: one,
        pin: Some(Pin { by: 1, since: 1 }),
    });
    store.commit(pin).settled().await.unwrap();
    let found = walk();
    assert!(
        found.len() == 5 && found.iter().all(|name| name.starts_with("two")),
        "{found:?}"
    );
    store.close();
}

/// Between the look and the removal a store may be busy for seconds.
#[actix_rt::test]
async fn what_is_used_after_it_was_judged_stays() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path()).await;
    fill(&store, 2).await;
    let cache = package(&store, "cache");
    let entry = version(&store, "v");
    publish(&store, Expected::Absent(cache), Expected::Absent(entry), "entry")
        .settled()
        .await
        .unwrap();
    let idle = |packages: &str, by_use: bool| RetentionRule {
        packages: packages.into(),
        older_than: (!by_use).then_some(1),
        unused_for: by_use.then_some(1),
        ..RetentionRule::default()
    };
    let rules = vec![idle("ci/app", true), idle("ci/cache", false)];
    let artifacts = artifacts(&store, rules);
    let owner = store.account("ci").unwrap().unwrap();
    let (rules, _) = artifacts.retention_rules(&owner).unwrap();
    let mut survey = artifacts.survey(&owner, rules.clone(), now());
    let mut judged = Vec::new();
    while let Some(step) = survey.step().unwrap() {
        judged.extend(step);
    }
    let mut scan = artifacts.scan([owner.clone()]);
    let mut candidates = Vec::new();
    while let Some(step) = scan.step().unwrap() {
        candidates.extend(step);
    }
    let use_now = |package: &str, version: &str, file: &str| {
        let at = Coordinates {
            package: package.into(),
            version: version.into(),
            file: file.into(),
        };
        artifacts.fetch(&owner, at.parts()).map(drop)
    };
    use_now("app", "v1", "f1").unwrap();
    use_now("cache", "v", "entry").unwrap();

    let [candidate] = &candidates[..] else {
        panic!("{candidates:?}");
    };
    assert!(
        !artifacts.evict(candidate).await.unwrap(),
        "the entry was just asked for"
    );
    use_now("cache", "v", "entry").unwrap();
    let mut gone = Vec::new();
    for judged in &judged {
        assert!(matches!(judged.verdict, Verdict::Expired { .. }), "{judged:?}");
        if artifacts.retire(&owner, &rules, judged).await.unwrap() {
            gone.push(judged.version.name.as_str());
        }
    }
    // The rule about the cache's package does not ask for uses.
    assert_eq!(gone, ["v0", "v"]);
    use_now("app", "v1", "f1").unwrap();
    store.close();
}
