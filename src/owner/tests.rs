//! What the actors promise, seen through the door, over a committer that stalls and fails on command.

#![allow(clippy::unwrap_used)]

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use actix::Arbiter;

use super::actor::Crash;
use super::decide::Refusal;
use super::fake::{Fake, OWNER, at, blob, options, owner_with};
use super::messages::{Named, Publication};
use super::names::FileName;
use super::policy::Policy;
use super::precondition::{EtagSet, WriteCondition};
use super::quota::Limits;
use super::{Options, OwnerError, Owners};
use crate::store::change::CommitError;

fn owners(fake: &Arc<Fake>) -> Owners {
    Owners::new(fake.clone(), options(Limits::default()))
}

pub(super) fn publication(policy: Policy, at: FileName, body: &'static [u8]) -> Publication {
    Publication {
        at,
        owner: owner_with(policy),
        condition: WriteCondition::default(),
        by: 9,
        by_admin: false,
        sha256: None,
        blob: blob(body),
    }
}

pub(super) async fn publish(owners: Owners, publication: Publication) -> Result<Named, OwnerError> {
    let permit = owners.admit(OWNER).await?;
    owners.publish(OWNER, Arc::new(publication), &permit).await
}

/// Starts a publication and lets it come as far as it can.
pub(super) async fn begin<F>(future: F) -> tokio::task::JoinHandle<F::Output>
where
    F: Future + 'static,
{
    let handle = actix_rt::spawn(future);
    settle_down().await;
    handle
}

/// Lets every task of this thread come as far as it can.
pub(super) async fn settle_down() {
    for _ in 0..50 {
        tokio::task::yield_now().await;
    }
}

pub(super) fn is_refused<T>(result: &Result<T, OwnerError>, with: Refusal) -> bool {
    matches!(result, Err(OwnerError::Refused(refusal)) if *refusal == with)
}

/// N parallel publications, all decided before the first is committed.
async fn race(
    policy: Policy,
    names: impl Fn(usize) -> FileName,
    body: impl Fn(usize) -> &'static [u8],
) -> (Arc<Fake>, Vec<Result<Named, OwnerError>>) {
    let fake = Fake::stalled();
    let owners = owners(&fake);
    let mut racers = Vec::new();
    for i in 0..64 {
        let publication = publication(policy, names(i), body(i));
        racers.push(actix_rt::spawn(publish(owners.clone(), publication)));
    }
    settle_down().await;
    while fake.step().is_some() {
        settle_down().await;
    }
    let mut results = Vec::new();
    for racer in racers {
        results.push(racer.await.unwrap());
    }
    (fake, results)
}

const BODIES: [&[u8]; 2] = [b"one", b"two"];

#[actix_rt::test]
async fn under_release_exactly_one_wins_a_version() {
    let (_, results) = race(
        Policy::Release,
        |i| at("app", "1", &format!("f{}", i % 3)),
        |i| BODIES[i % 2],
    )
    .await;
    assert_eq!(results.iter().filter(|result| result.is_ok()).count(), 1);
    let refused = |result: &&Result<_, _>| is_refused(result, Refusal::VersionExists);
    assert_eq!(results.iter().filter(refused).count(), 63);
}

#[actix_rt::test]
async fn under_package_exactly_one_wins_a_file_and_other_files_join() {
    let (_, results) = race(
        Policy::Package,
        |i| at("app", "1", &format!("f{}", i % 4)),
        |_| b"same",
    )
    .await;
    assert_eq!(results.iter().filter(|result| result.is_ok()).count(), 4);
    let refused = |result: &&Result<_, _>| is_refused(result, Refusal::FileExists);
    assert_eq!(results.iter().filter(refused).count(), 60);
}

#[actix_rt::test]
async fn under_write_once_the_same_bytes_are_welcome() {
    let (_, results) = race(Policy::WriteOnce, |_| at("app", "1", "f"), |i| BODIES[i % 2]).await;
    let named: Vec<_> = results.iter().filter_map(|result| result.as_ref().ok()).collect();
    assert_eq!(named.len(), 32);
    assert_eq!(named.iter().filter(|named| !named.already_there).count(), 1);
    assert!(named.iter().all(|other| other.file == named[0].file));
    let refused = |result: &&Result<_, _>| is_refused(result, Refusal::FileExists);
    assert_eq!(results.iter().filter(refused).count(), 32);
}

#[actix_rt::test]
async fn under_cache_all_win_and_the_last_stands() {
    let name = || at("app", "1", "f");
    let (fake, results) = race(Policy::Cache, |_| name(), |i| BODIES[i % 2]).await;
    let files: Vec<_> = results.into_iter().map(|result| result.unwrap().file).collect();
    let last = files.iter().max_by_key(|file| file.id);
    assert_eq!(files.len(), 64);
    assert_eq!(fake.standing(&name()).file.as_ref(), last);
}

#[actix_rt::test]
async fn a_refusal_waits_for_the_commit_it_relies_on() {
    let fake = Fake::stalled();
    let owners = owners(&fake);
    let name = at("app", "1", "f");
    let first = begin(publish(
        owners.clone(),
        publication(Policy::Release, name.clone(), b"a"),
    ))
    .await;
    let second = begin(publish(owners.clone(), publication(Policy::Release, name, b"b"))).await;
    assert_eq!(fake.waiting(), 1, "the second writes nothing");
    assert!(!second.is_finished(), "and knows nothing yet");
    assert_eq!(fake.step(), Some(Ok(())));
    assert!(first.await.unwrap().is_ok());
    assert!(is_refused(&second.await.unwrap(), Refusal::VersionExists));
}

#[actix_rt::test]
async fn when_the_winner_fails_another_wins() {
    let fake = Fake::stalled();
    let owners = owners(&fake);
    let name = at("app", "1", "f");
    let first = begin(publish(
        owners.clone(),
        publication(Policy::Release, name.clone(), b"a"),
    ))
    .await;
    let second = begin(publish(
        owners.clone(),
        publication(Policy::Release, name.clone(), b"b"),
    ))
    .await;
    fake.fail_next(CommitError::NoSpace);
    fake.step();
    settle_down().await;
    assert!(matches!(
        first.await.unwrap(),
        Err(OwnerError::Commit(CommitError::NoSpace))
    ));
    assert_eq!(fake.step(), Some(Ok(())));
    let second = second.await.unwrap().unwrap();
    assert_eq!(fake.standing(&name).file, Some(second.file));
}

#[actix_rt::test]
async fn what_relied_on_a_failed_commit_is_decided_again() {
    let fake = Fake::stalled();
    let owners = owners(&fake);
    let a = begin(publish(
        owners.clone(),
        publication(Policy::Package, at("app", "1", "a"), b"a"),
    ))
    .await;
    let b = begin(publish(
        owners.clone(),
        publication(Policy::Package, at("app", "1", "b"), b"b"),
    ))
    .await;
    assert_eq!(fake.waiting(), 2);
    fake.fail_next(CommitError::NoSpace);
    fake.step();
    assert_eq!(
        fake.step(),
        Some(Err(CommitError::Conflict)),
        "the version is not there"
    );
    settle_down().await;
    assert_eq!(fake.step(), Some(Ok(())), "so it brings the version along");
    assert!(a.await.unwrap().is_err());
    assert!(b.await.unwrap().is_ok());
}

#[actix_rt::test]
async fn conflicts_of_as_many_as_may_race_are_outlasted() {
    let fake = Fake::prompt();
    for _ in 0..Options::default().max_uploads_per_owner {
        fake.fail_next(CommitError::Conflict);
    }
    let result = publish(
        owners(&fake),
        publication(Policy::Cache, at("app", "1", "f"), b"a"),
    )
    .await;
    assert!(result.is_ok());
}

#[actix_rt::test]
async fn endless_conflicts_end_as_busy() {
    let fake = Fake::prompt();
    for _ in 0..1000 {
        fake.fail_next(CommitError::Conflict);
    }
    let result = publish(
        owners(&fake),
        publication(Policy::Cache, at("app", "1", "f"), b"a"),
    )
    .await;
    assert!(matches!(result, Err(OwnerError::Busy(_))));
    assert_eq!(fake.log_len(), 0);
}

#[actix_rt::test]
async fn a_full_queue_is_busy_and_leaves_nothing_behind() {
    let fake = Fake::stalled();
    fake.limit_queue(Some(0));
    let owners = owners(&fake);
    let name = at("app", "1", "f");
    let refused = publish(owners.clone(), publication(Policy::Release, name.clone(), b"a")).await;
    assert!(matches!(refused, Err(OwnerError::Commit(CommitError::Busy))));
    fake.limit_queue(None);
    let accepted = begin(publish(owners, publication(Policy::Release, name, b"b"))).await;
    assert_eq!(fake.step(), Some(Ok(())));
    assert!(accepted.await.unwrap().is_ok());
}

#[actix_rt::test]
async fn a_removed_name_is_free_at_once() {
    let fake = Fake::stalled();
    let owners = owners(&fake);
    let name = at("app", "1", "f");
    let first = begin(publish(
        owners.clone(),
        publication(Policy::Release, name.clone(), b"a"),
    ))
    .await;
    let removal = owners.clone();
    let removed = begin(async move { removal.remove_version(OWNER, "APP", "1").await }).await;
    let second = begin(publish(
        owners.clone(),
        publication(Policy::Release, name.clone(), b"b"),
    ))
    .await;
    assert_eq!(fake.waiting(), 3, "none waits for the other");
    while fake.step().is_some() {
        settle_down().await;
    }
    assert!(first.await.unwrap().is_ok());
    assert!(removed.await.unwrap().is_ok());
    let second = second.await.unwrap().unwrap();
    assert_eq!(fake.standing(&name).file, Some(second.file));
}

#[actix_rt::test]
async fn a_version_that_may_go_with_its_last_file_refuses_nobody_too_early() {
    for files in [1, 2] {
        let fake = Fake::stalled();
        let owners = owners(&fake);
        for i in 0..files {
            let name = at("app", "1", &format!("f{i}"));
            let done = begin(publish(owners.clone(), publication(Policy::Package, name, b"a"))).await;
            fake.step();
            assert!(done.await.unwrap().is_ok());
        }
        let removal = owners.clone();
        let removed = begin(async move { removal.remove_file(OWNER, at("app", "1", "f0")).await }).await;
        let release = publication(Policy::Release, at("app", "1", "new"), b"b");
        let second = begin(publish(owners, release)).await;
        assert!(!second.is_finished());
        fake.step();
        settle_down().await;
        fake.step();
        assert!(removed.await.unwrap().is_ok());
        let second = second.await.unwrap();
        if files == 1 {
            assert!(second.is_ok(), "the version went with its only file");
        } else {
            assert!(
                is_refused(&second, Refusal::VersionExists),
                "the version has another file"
            );
        }
    }
}

#[actix_rt::test]
async fn joining_a_version_that_vanishes_starts_a_new_one() {
    let fake = Fake::stalled();
    let owners = owners(&fake);
    let old = begin(publish(
        owners.clone(),
        publication(Policy::Cache, at("app", "1", "a"), b"a"),
    ))
    .await;
    fake.step();
    old.await.unwrap().unwrap();
    let old_version = fake.standing(&at("app", "1", "a")).version.unwrap();
    let removal = owners.clone();
    let removed = begin(async move { removal.remove_file(OWNER, at("app", "1", "a")).await }).await;
    let joined = begin(publish(
        owners,
        publication(Policy::Cache, at("app", "1", "b"), b"b"),
    ))
    .await;
    fake.step();
    assert_eq!(fake.step(), Some(Err(CommitError::Conflict)));
    settle_down().await;
    assert_eq!(fake.step(), Some(Ok(())));
    assert!(removed.await.unwrap().is_ok());
    assert!(joined.await.unwrap().is_ok());
    let version = fake.standing(&at("app", "1", "b")).version.unwrap();
    assert!(version.id > old_version.id);
}

#[actix_rt::test]
async fn removals_say_what_is_missing() {
    let fake = Fake::prompt();
    let owners = owners(&fake);
    let missing = owners.remove_file(OWNER, at("app", "1", "f")).await;
    assert!(is_refused(&missing, Refusal::NoVersion));
    publish(
        owners.clone(),
        publication(Policy::Package, at("app", "1", "f"), b"a"),
    )
    .await
    .unwrap();
    let missing = owners.remove_file(OWNER, at("app", "1", "g")).await;
    assert!(is_refused(&missing, Refusal::NoFile));
    let missing = owners.remove_version(OWNER, "app", "2").await;
    assert!(is_refused(&missing, Refusal::NoVersion));
    owners.remove_file(OWNER, at("APP", "1", "F")).await.unwrap();
    assert_eq!(fake.standing(&at("app", "1", "f")).version, None);
}

#[actix_rt::test]
async fn a_crashed_actor_lets_no_two_win_and_loses_nothing() {
    let fake = Fake::stalled();
    let owners = owners(&fake);
    let name = at("app", "1", "f");
    let first = begin(publish(
        owners.clone(),
        publication(Policy::Release, name.clone(), b"a"),
    ))
    .await;
    let victim = owners.directory().lease(OWNER).unwrap().actor;
    assert!(victim.send(Crash).await.is_err());
    assert!(!victim.connected());
    // The successor knows nothing of the first one's commit, and the committer has not carried it out.
    let second = begin(publish(
        owners.clone(),
        publication(Policy::Release, name.clone(), b"b"),
    ))
    .await;
    assert_eq!(fake.waiting(), 2);
    assert_eq!(fake.step(), Some(Ok(())));
    assert_eq!(fake.step(), Some(Err(CommitError::Conflict)));
    let first = first.await.unwrap().unwrap();
    assert!(is_refused(&second.await.unwrap(), Refusal::VersionExists));
    assert_eq!(fake.standing(&name).file, Some(first.file));
}

#[actix_rt::test]
async fn messages_behind_a_crash_are_asked_again() {
    let fake = Fake::prompt();
    let owners = owners(&fake);
    let victim = owners.directory().lease(OWNER).unwrap().actor;
    victim.do_send(Crash);
    let publications = (0..20).map(|i| {
        let name = at("app", &i.to_string(), "f");
        publish(owners.clone(), publication(Policy::Release, name, b"a"))
    });
    for result in futures_util::future::join_all(publications).await {
        assert!(result.is_ok(), "{result:?}");
    }
    assert_eq!(fake.log_len(), 20);
}

#[actix_rt::test]
async fn a_client_that_leaves_publishes_whole_or_not_at_all() {
    let fake = Fake::stalled();
    let owners = owners(&fake);
    let gone = begin(publish(
        owners.clone(),
        publication(Policy::Release, at("app", "1", "f"), b"a"),
    ))
    .await;
    gone.abort();
    assert!(gone.await.is_err());
    // It left after its change was handed over, so the next one is decided against it.
    let next = begin(publish(
        owners.clone(),
        publication(Policy::Release, at("app", "1", "f"), b"b"),
    ))
    .await;
    assert_eq!(fake.waiting(), 1);
    fake.step();
    assert!(is_refused(&next.await.unwrap(), Refusal::VersionExists));
    // This one leaves before the actor has seen its message.
    let permit = owners.admit(OWNER).await.unwrap();
    let wanted = publication(Policy::Release, at("app", "2", "f"), b"a");
    let mut unseen = Box::pin(owners.publish(OWNER, Arc::new(wanted), &permit));
    assert!(futures_util::poll!(&mut unseen).is_pending());
    drop(unseen);
    settle_down().await;
    assert_eq!(fake.waiting(), 0);
}

#[actix_rt::test]
async fn idle_actors_retire_unless_somebody_holds_them() {
    let fake = Fake::prompt();
    let options = Options {
        idle: Duration::from_millis(20),
        ..options(Limits::default())
    };
    let owners = Owners::new(fake.clone(), options);
    publish(
        owners.clone(),
        publication(Policy::Cache, at("app", "1", "f"), b"a"),
    )
    .await
    .unwrap();
    let permit = owners.admit(OWNER).await.unwrap();
    let actor = owners.directory().lease(OWNER).unwrap().actor;
    tokio::time::sleep(Duration::from_millis(120)).await;
    assert!(actor.connected(), "an upload holds it");
    drop(permit);
    for _ in 0..6000 {
        if !actor.connected() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert!(!actor.connected());
    assert_eq!(owners.directory().seats(), 0);
    let again = publish(owners, publication(Policy::Cache, at("app", "1", "f"), b"b")).await;
    assert!(again.is_ok());
}

#[actix_rt::test]
async fn an_actor_with_a_commit_under_way_does_not_retire() {
    let fake = Fake::stalled();
    let options = Options {
        idle: Duration::from_millis(10),
        ..options(Limits::default())
    };
    let owners = Owners::new(fake.clone(), options);
    let gone = begin(publish(
        owners.clone(),
        publication(Policy::Cache, at("app", "1", "f"), b"a"),
    ))
    .await;
    let actor = owners.directory().lease(OWNER).unwrap().actor;
    gone.abort();
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert!(actor.connected());
    fake.step();
    for _ in 0..6000 {
        if !actor.connected() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("it did not retire");
}

#[actix_rt::test]
async fn uploads_beyond_the_bound_wait_and_are_refused() {
    let options = Options {
        max_uploads_per_owner: 1,
        max_removals: 0,
        upload_wait: Duration::from_millis(20),
        ..options(Limits::default())
    };
    let owners = Owners::new(Fake::prompt(), options);
    let _first = owners.admit(OWNER).await.unwrap();
    assert!(matches!(owners.admit(OWNER).await, Err(OwnerError::Busy(_))));
    assert!(owners.admit(OWNER + 1).await.is_ok(), "another owner has its own");
    let removal = owners.remove_file(OWNER, at("app", "1", "f")).await;
    assert!(matches!(removal, Err(OwnerError::Busy(_))));
}

#[actix_rt::test]
async fn a_package_keeps_its_case_rule_and_names_keep_their_first_spelling() {
    let fake = Fake::prompt();
    let owners = owners(&fake);
    for (policy, name) in [
        (Policy::Package, at("App", "V1", "File")),
        (Policy::Cache, at("aPP", "v1", "fILE")),
    ] {
        publish(owners.clone(), publication(policy, name, b"a"))
            .await
            .unwrap();
    }
    let standing = fake.standing(&at("app", "v1", "file"));
    assert!(!standing.package.as_ref().unwrap().exact_case);
    assert_eq!(standing.package.unwrap().name, "App");
    assert_eq!(standing.version.unwrap().name, "V1");
    assert_eq!(standing.file.unwrap().name, "File");

    for name in [at("keys", "V", "K"), at("KEYS", "v", "k")] {
        publish(owners.clone(), publication(Policy::Cache, name, b"a"))
            .await
            .unwrap();
    }
    let [upper, lower] = ["V", "v"].map(|v| fake.standing(&at("keys", v, if v == "V" { "K" } else { "k" })));
    assert_eq!(upper.package, lower.package);
    assert!(upper.file.is_some() && lower.file.is_some() && upper.version != lower.version);
}

#[actix_rt::test]
async fn a_matching_if_match_replaces_under_package() {
    let fake = Fake::prompt();
    let owners = owners(&fake);
    let name = at("app", "1", "f");
    let old = publish(owners.clone(), publication(Policy::Package, name.clone(), b"old"))
        .await
        .unwrap();
    let replace = || Publication {
        condition: WriteCondition {
            if_match: Some(EtagSet::Tags(vec![old.file.blob])),
            ..Default::default()
        },
        ..publication(Policy::Package, name.clone(), b"new")
    };
    let new = publish(owners.clone(), replace()).await.unwrap();
    assert!(new.file.id > old.file.id);
    assert_eq!(fake.standing(&name).file, Some(new.file));
    assert!(is_refused(
        &publish(owners, replace()).await,
        Refusal::Precondition
    ));
}

#[actix_rt::test]
async fn the_recorded_bytes_heal_a_damaged_file_under_every_policy() {
    for policy in [Policy::Release, Policy::Package, Policy::WriteOnce, Policy::Cache] {
        let fake = Fake::prompt();
        let owners = owners(&fake);
        let name = at("app", "1", "f");
        let old = publish(owners.clone(), publication(policy, name.clone(), b"old"))
            .await
            .unwrap();
        fake.damage(b"old");
        let new = publish(owners.clone(), publication(policy, name.clone(), b"old"))
            .await
            .unwrap();
        assert!(!new.already_there && new.file.id > old.file.id, "{policy:?}");
        let other = publish(owners, publication(policy, name, b"other")).await;
        assert_eq!(other.is_ok(), policy == Policy::Cache);
    }
}

/// Across threads, with the committer on its own: exactly one wins each version.
#[actix_rt::test]
async fn workers_agree_on_one_winner() {
    const WORKERS: usize = 4;
    const VERSIONS: usize = 50;
    let fake = Fake::stalled();
    let owners = owners(&fake);
    let (done, finished) = std::sync::mpsc::channel::<()>();
    let committer = std::thread::spawn({
        let fake = fake.clone();
        move || {
            // Ends when every worker has dropped its end.
            while finished.try_recv() != Err(std::sync::mpsc::TryRecvError::Disconnected) {
                if fake.step().is_none() {
                    std::thread::sleep(Duration::from_micros(50));
                }
            }
        }
    });
    let (results, mut outcomes) = tokio::sync::mpsc::unbounded_channel();
    let arbiters: Vec<_> = (0..WORKERS).map(|_| Arbiter::new()).collect();
    for arbiter in &arbiters {
        let (owners, results, done) = (owners.clone(), results.clone(), done.clone());
        arbiter.spawn(async move {
            let _done = done;
            for version in 0..VERSIONS {
                let name = at("app", &version.to_string(), "f");
                let racers =
                    (0..4).map(|_| publish(owners.clone(), publication(Policy::Release, name.clone(), b"a")));
                for result in futures_util::future::join_all(racers).await {
                    results.send((version, result)).unwrap();
                }
            }
        });
    }
    drop((results, done));
    let mut wins = vec![0; VERSIONS];
    let mut answers = 0;
    while let Some((version, result)) = outcomes.recv().await {
        answers += 1;
        match result {
            Ok(_) => wins[version] += 1,
            refused => assert!(is_refused(&refused, Refusal::VersionExists), "{refused:?}"),
        }
    }
    assert_eq!(answers, WORKERS * 4 * VERSIONS);
    assert_eq!(wins, vec![1; VERSIONS]);
    committer.join().unwrap();
    for arbiter in arbiters {
        arbiter.stop();
        arbiter.join().unwrap();
    }
}

/// The thread that an owner's actor runs on ends: the others go on.
#[actix_rt::test]
async fn an_actor_whose_thread_ends_starts_elsewhere() {
    let fake = Fake::prompt();
    let owners = owners(&fake);
    let arbiter = Arbiter::new();
    let (sent, received) = tokio::sync::oneshot::channel();
    let there = owners.clone();
    arbiter.spawn(async move {
        let result = publish(there, publication(Policy::Cache, at("app", "1", "f"), b"a")).await;
        sent.send(result).unwrap();
    });
    received.await.unwrap().unwrap();
    arbiter.stop();
    arbiter.join().unwrap();
    let result = publish(owners, publication(Policy::Cache, at("app", "1", "f"), b"b")).await;
    assert!(result.is_ok());
}

/// The store's own committer behind the same actors.
mod over_a_store {
    use super::*;
    use crate::store::{self, Progress, Store};

    struct Silent;

    impl Progress for Silent {
        fn replayed(&self, _: u64, _: u64) {}
    }

    #[actix_rt::test]
    async fn one_wins_goes_and_comes_again() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(store::Options::at(dir.path().join("data")), &Silent).unwrap();
        let owners = Owners::new(Arc::new(store.clone()), options(Limits::default()));
        for round in 0..10 {
            let racers = (0..64).map(|i| {
                let body = BODIES[i % 2];
                // Each has a file name of its own, so that no two bodies are compared.
                let name = at("app", "1", &format!("f{i}"));
                publish(owners.clone(), publication(Policy::Release, name, body))
            });
            let results = futures_util::future::join_all(racers).await;
            let won: Vec<_> = results.iter().filter_map(|result| result.as_ref().ok()).collect();
            assert_eq!(won.len(), 1, "round {round}");
            let refused = |result: &&Result<_, _>| is_refused(result, Refusal::VersionExists);
            assert_eq!(results.iter().filter(refused).count(), 63);
            match round % 3 {
                0 => owners.remove_version(OWNER, "app", "1").await.unwrap(),
                1 => owners.remove_package(OWNER, "App").await.unwrap(),
                _ => {
                    let name = at("APP", "1", &won[0].file.name);
                    owners.remove_file(OWNER, name).await.unwrap();
                }
            }
            assert_eq!(
                store.package(OWNER, "app").unwrap(),
                None,
                "gone with its last version"
            );
        }
        store.close();
    }

    #[actix_rt::test]
    async fn removals_and_publications_follow_each_other_without_waiting() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(store::Options::at(dir.path().join("data")), &Silent).unwrap();
        let owners = Owners::new(Arc::new(store.clone()), options(Limits::default()));
        let name = || at("ccache", "1", "f");
        publish(owners.clone(), publication(Policy::Cache, name(), b"a"))
            .await
            .unwrap();
        let replaced = futures_util::future::join_all(
            (0..64).map(|i| publish(owners.clone(), publication(Policy::Cache, name(), BODIES[i % 2]))),
        );
        let removed = futures_util::future::join_all((0..8).map(|_| owners.remove_file(OWNER, name())));
        let packages = futures_util::future::join_all((0..4).map(|_| owners.remove_package(OWNER, "ccache")));
        let (replaced, removed, packages) = futures_util::join!(replaced, removed, packages);
        assert!(replaced.iter().all(Result::is_ok), "{replaced:?}");
        let fits = |result: &Result<(), OwnerError>| result.is_ok() || is_refused(result, Refusal::NoVersion);
        assert!(
            removed.iter().chain(&packages).all(fits),
            "{removed:?} {packages:?}"
        );
        store.close();
    }
}
