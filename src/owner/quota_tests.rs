//! Quotas and set policies, seen through the door, over a committer that stalls.

#![allow(clippy::unwrap_used)]

use super::Owners;
use super::actor::Crash;
use super::decide::Refusal;
use super::fake::{Fake, OWNER, at, options};
use super::messages::Publication;
use super::policy::Policy;
use super::quota::Limits;
use super::tests::{begin, is_refused, publication, publish, settle_down};
use crate::store::model::{Limit, OwnerSettings};

fn bytes(limit: u64) -> Limits {
    Limits {
        bytes: Some(limit),
        ..Limits::default()
    }
}

/// The committer proves the quota, so publications that are all decided before the first is committed cannot overshoot
/// it, and as many win as fit.
#[actix_rt::test]
async fn of_many_publications_at_once_as_many_win_as_the_quota_has_room_for() {
    for (limits, winners, refusal) in [
        (bytes(35), 11, Refusal::OverBytes),
        (
            Limits {
                versions: Some(7),
                ..Limits::default()
            },
            7,
            Refusal::OverVersions,
        ),
    ] {
        let fake = Fake::stalled();
        let owners = Owners::new(fake.clone(), options(limits));
        let mut racers = Vec::new();
        for i in 0..64 {
            let wanted = publication(Policy::Package, at("app", &i.to_string(), "f"), b"abc");
            racers.push(actix_rt::spawn(publish(owners.clone(), wanted)));
        }
        settle_down().await;
        // The first brings the package along, and the others are decided again.
        assert_eq!(fake.waiting(), 64, "nothing is refused on what is not committed");
        while fake.step().is_some() {
            settle_down().await;
        }
        let mut won = 0;
        for racer in racers {
            match racer.await.unwrap() {
                Ok(_) => won += 1,
                result => assert!(is_refused(&result, refusal), "{result:?}"),
            }
        }
        assert_eq!(won, winners);
        assert_eq!(fake.log_len(), winners);
    }
}

/// The successor of an actor that died with publications under way knows nothing of them.
#[actix_rt::test]
async fn an_actor_that_dies_overshoots_no_quota() {
    let fake = Fake::stalled();
    let owners = Owners::new(fake.clone(), options(bytes(5)));
    let first = begin(publish(
        owners.clone(),
        publication(Policy::Release, at("app", "1", "f"), b"abc"),
    ))
    .await;
    owners.directory().lease(OWNER).unwrap().actor.do_send(Crash);
    settle_down().await;
    let second = begin(publish(
        owners.clone(),
        publication(Policy::Release, at("lib", "1", "f"), b"abc"),
    ))
    .await;
    assert_eq!(fake.waiting(), 2);
    while fake.step().is_some() {
        settle_down().await;
    }
    assert!(first.await.unwrap().is_ok());
    assert!(is_refused(&second.await.unwrap(), Refusal::OverBytes));
}

#[actix_rt::test]
async fn what_is_set_on_the_owner_counts_for_the_running_actor_at_once() {
    let fake = Fake::prompt();
    let owners = Owners::new(fake.clone(), options(bytes(3)));
    let again =
        async |policy| publish(owners.clone(), publication(policy, at("app", "1", "f"), b"abc")).await;
    let first = again(Policy::Release).await.unwrap();
    assert_eq!(first.policy, Policy::Release);
    assert!(is_refused(&again(Policy::Release).await, Refusal::VersionExists));
    fake.set(OwnerSettings {
        policy: Some(Policy::Cache),
        ..OwnerSettings::default()
    });
    assert_eq!(again(Policy::Release).await.unwrap().policy, Policy::Cache);
    let other = async || {
        publish(
            owners.clone(),
            publication(Policy::Release, at("app", "2", "f"), b"d"),
        )
        .await
    };
    assert!(is_refused(&other().await, Refusal::OverBytes));
    fake.set(OwnerSettings {
        max_bytes: Some(Limit::AtMost(4)),
        ..OwnerSettings::default()
    });
    assert!(other().await.is_ok());
    assert!(is_refused(&again(Policy::Release).await, Refusal::VersionExists));
}

#[actix_rt::test]
async fn admins_are_exempt_from_quotas_and_what_they_publish_counts() {
    let fake = Fake::prompt();
    let owners = Owners::new(fake.clone(), options(bytes(3)));
    let by_admin = Publication {
        by_admin: true,
        ..publication(Policy::Cache, at("app", "1", "f"), b"12345")
    };
    publish(owners.clone(), by_admin).await.unwrap();
    let smaller = publication(Policy::Cache, at("app", "1", "f"), b"1234");
    assert!(
        publish(owners.clone(), smaller).await.is_ok(),
        "what shrinks is welcome"
    );
    let larger = publication(Policy::Cache, at("app", "1", "f"), b"12345");
    assert!(is_refused(
        &publish(owners.clone(), larger).await,
        Refusal::OverBytes
    ));
}
