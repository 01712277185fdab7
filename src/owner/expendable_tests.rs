//! Removals that upkeep asks for: only what it has judged goes, and nothing that is pinned.

#![allow(clippy::unwrap_used)]

use std::sync::Arc;

use super::decide::Refusal;
use super::fake::{Fake, OWNER, at, options};
use super::policy::Policy;
use super::quota::Limits;
use super::tests::publication;
use super::{OwnerError, Owners};
use crate::store::model::File;

async fn publish(owners: &Owners, body: &'static [u8]) -> File {
    let publication = publication(Policy::Cache, at("app", "1", "f"), body);
    super::tests::publish(owners.clone(), publication)
        .await
        .unwrap()
        .file
}

fn refused(result: Result<(), OwnerError>) -> Refusal {
    match result {
        Err(OwnerError::Refused(refusal)) => refusal,
        other => panic!("{other:?}"),
    }
}

#[actix_rt::test]
async fn only_what_was_judged_goes() {
    let fake = Fake::prompt();
    let owners = Owners::new(fake.clone(), options(Limits::default()));
    let old = publish(&owners, b"old").await;
    let new = publish(&owners, b"new").await;
    let evicted = owners.evict_file(OWNER, at("app", "1", "f"), old.id).await;
    assert_eq!(refused(evicted), Refusal::NoFile, "it was replaced meanwhile");
    owners
        .evict_file(OWNER, at("app", "1", "f"), new.id)
        .await
        .unwrap();
    let evicted = owners.evict_file(OWNER, at("app", "1", "f"), new.id).await;
    assert_eq!(refused(evicted), Refusal::NoVersion);

    publish(&owners, b"one").await;
    let first = fake.standing(&at("app", "1", "f")).version.unwrap();
    owners.remove_version(OWNER, "app", "1").await.unwrap();
    publish(&owners, b"two").await;
    let retired = owners.retire_version(OWNER, "app", &first).await;
    assert_eq!(
        refused(retired),
        Refusal::NoVersion,
        "another version of this name"
    );
    let second = fake.standing(&at("app", "1", "f")).version.unwrap();
    owners.retire_version(OWNER, "app", &second).await.unwrap();
    assert_eq!(fake.standing(&at("app", "1", "f")).version, None);
}

#[actix_rt::test]
async fn what_is_pinned_stays_whenever_it_was_pinned() {
    for late in [false, true] {
        let fake = if late { Fake::stalled() } else { Fake::prompt() };
        let owners = Owners::new(fake.clone(), options(Limits::default()));
        let published = actix_rt::spawn({
            let owners = owners.clone();
            async move { publish(&owners, b"one").await }
        });
        let step = async || {
            for _ in 0..50 {
                tokio::task::yield_now().await;
            }
            fake.step()
        };
        step().await;
        let file = published.await.unwrap();
        let version = fake.standing(&at("app", "1", "f")).version.unwrap();
        if !late {
            fake.pin(version.id);
        }
        let removals = [0, 1].map(|which| {
            let (owners, version) = (owners.clone(), version.clone());
            actix_rt::spawn(async move {
                match which {
                    0 => owners.evict_file(OWNER, at("app", "1", "f"), file.id).await,
                    _ => owners.retire_version(OWNER, "app", &version).await,
                }
            })
        });
        if late {
            // Both have been decided by then, and the committer is about to look.
            for _ in 0..50 {
                tokio::task::yield_now().await;
            }
            assert!(fake.waiting() > 0);
            fake.pin(version.id);
            while step().await.is_some() {}
        }
        for removal in removals {
            assert_eq!(refused(removal.await.unwrap()), Refusal::Pinned, "late: {late}");
        }
        assert_eq!(fake.standing(&at("app", "1", "f")).version, Some(version));
        let whoever = Arc::clone(&fake);
        let removed = actix_rt::spawn(async move { owners.remove_version(OWNER, "app", "1").await });
        step().await;
        removed.await.unwrap().unwrap();
        assert_eq!(
            whoever.standing(&at("app", "1", "f")).version,
            None,
            "by name it goes"
        );
    }
}
