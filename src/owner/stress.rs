//! Many clients, one owner, random faults: every answer must fit the one order in which changes were committed.
//!
//! The committer's log is that order. A success must be in it, and the sequential rules must allow it there; a refusal
//! must be what the rules say at some place of the log between the request's beginning and its end. Runs on one
//! thread with its own random numbers, so that a seed always gives the same run.

#![allow(clippy::unwrap_used)]

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;

use super::actor::Crash;
use super::decide::{Decision, Refusal, Wish, decide_publish, decide_remove_file, decide_remove_version};
use super::fake::{Committed, Fake, OWNER, at, blob, options, owner_with};
use super::messages::{Named, Publication};
use super::names::FileName;
use super::policy::Policy;
use super::precondition::{EtagSet, WriteCondition};
use super::quota::{Limits, decide_quota};
use super::{OwnerError, Owners};
use crate::chunk::Digest;
use crate::store::change::{Change, CommitError};
use crate::store::counts::Quota;
use crate::store::model::Id;

const SEEDS: u64 = 200;
const CLIENTS: u64 = 8;
const REQUESTS: u64 = 12;
const BODIES: [&[u8]; 3] = [b"a", b"bb", b"cccc"];

/// A request, and when it ran: lengths of the log at its beginning and end.
#[derive(Debug)]
struct Event {
    /// Marks its publication in the log.
    by: Id,
    request: Request,
    outcome: Outcome,
    began: usize,
    ended: usize,
}

#[derive(Clone, Debug)]
enum Request {
    Publish(FileName, WriteCondition, &'static [u8]),
    RemoveFile(FileName),
    RemoveVersion(FileName),
}

#[derive(Debug)]
enum Outcome {
    Published(Named),
    Removed,
    Refused(Refusal),
    /// A fault, injected or of too many tries: nothing is committed.
    Failed,
    /// The client left: anything may have happened.
    Left,
}

/// Splitmix64.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % bound
    }

    fn pick<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.below(of.len() as u64) as usize]
    }

    fn request(&mut self) -> Request {
        let name = at(
            self.pick(&["app", "APP"]),
            self.pick(&["1", "2"]),
            self.pick(&["f", "F", "g"]),
        );
        match self.below(10) {
            0..6 => Request::Publish(name, self.condition(), self.pick(&BODIES)),
            6..8 => Request::RemoveFile(name),
            _ => Request::RemoveVersion(name),
        }
    }

    fn condition(&mut self) -> WriteCondition {
        let tag = EtagSet::Tags(vec![Digest::of(self.pick(&BODIES))]);
        let mut condition = WriteCondition::default();
        match self.below(8) {
            0 => condition.if_none_match = Some(EtagSet::Any),
            1 => condition.if_match = Some(EtagSet::Any),
            2 => condition.if_match = Some(tag),
            3 => condition.if_none_match = Some(tag),
            _ => {}
        }
        condition
    }

    async fn pause(&mut self, longest: u64) {
        for _ in 0..self.below(longest) {
            tokio::task::yield_now().await;
        }
    }
}

#[actix_rt::test]
async fn every_answer_fits_the_order_of_commits() {
    for seed in 0..SEEDS {
        let policy = [Policy::Release, Policy::Package, Policy::WriteOnce, Policy::Cache][seed as usize % 4];
        let limits = limits(seed);
        let fake = Fake::stalled();
        let events = run(seed, policy, limits, &fake).await;
        let check = Check::new(seed, policy, limits, fake.take_log(), events);
        check.no_quota_is_overshot();
        check.every_commit_is_allowed_where_it_stands();
        check.every_answer_is_true();
    }
}

/// None, of bytes, of versions, or both; tight ones.
fn limits(seed: u64) -> Limits {
    let kind = seed / 4 % 4;
    Limits {
        bytes: (kind & 1 != 0).then_some(4 + seed % 5),
        versions: (kind & 2 != 0).then_some(1),
        file_size: None,
    }
}

/// Every fifth publication is an admin's.
fn quota(limits: Limits, by: Id) -> Quota {
    match is_admin(by) {
        true => Quota::default(),
        false => limits.quota(),
    }
}

fn is_admin(by: Id) -> bool {
    by.is_multiple_of(5)
}

/// All clients' requests against one committer.
async fn run(seed: u64, policy: Policy, limits: Limits, fake: &Arc<Fake>) -> Vec<Event> {
    let owners = Owners::new(fake.clone(), options(limits));
    let events = Rc::new(RefCell::new(Vec::new()));
    let clients: Vec<_> = (0..CLIENTS)
        .map(|client| {
            let (owners, fake, events) = (owners.clone(), fake.clone(), events.clone());
            let mut random = Random(seed * 1000 + client);
            actix_rt::spawn(async move {
                for i in 0..REQUESTS {
                    random.pause(8).await;
                    let event = ask(&owners, &fake, policy, &mut random, client * REQUESTS + i).await;
                    events.borrow_mut().push(event);
                }
            })
        })
        .collect();
    let mut random = Random(seed * 1000 + CLIENTS);
    while clients.iter().any(|client| !client.is_finished()) {
        random.pause(30).await;
        harm(&owners, fake, &mut random);
        for _ in 0..random.below(6) {
            fake.step();
        }
    }
    while fake.step().is_some() {}
    for client in clients {
        client.await.unwrap();
    }
    Rc::into_inner(events).unwrap().into_inner()
}

fn harm(owners: &Owners, fake: &Fake, random: &mut Random) {
    match random.below(40) {
        0 => fake.fail_next(CommitError::NoSpace),
        1 => fake.fail_next(CommitError::Conflict),
        2 => fake.limit_queue(Some(2)),
        3..6 => fake.limit_queue(None),
        6 => owners.directory().lease(OWNER).unwrap().actor.do_send(Crash),
        _ => {}
    }
}

async fn ask(owners: &Owners, fake: &Fake, policy: Policy, random: &mut Random, by: Id) -> Event {
    let request = random.request();
    let began = fake.log_len();
    let answer = send(owners, policy, by, request.clone());
    let outcome = if random.below(20) == 0 {
        tokio::select! {
            biased;
            outcome = answer => outcome,
            () = random.pause(40) => Outcome::Left,
        }
    } else {
        answer.await
    };
    let ended = fake.log_len();
    Event {
        by,
        request,
        outcome,
        began,
        ended,
    }
}

async fn send(owners: &Owners, policy: Policy, by: Id, request: Request) -> Outcome {
    let result = match request {
        Request::Publish(at, condition, body) => {
            let publication = Publication {
                at,
                owner: owner_with(policy),
                condition,
                by,
                by_admin: is_admin(by),
                sha256: None,
                blob: blob(body),
            };
            let permit = owners.admit(OWNER).await.unwrap();
            let named = owners.publish(OWNER, Arc::new(publication), &permit).await;
            named.map(Outcome::Published)
        }
        Request::RemoveFile(at) => owners.remove_file(OWNER, at).await.map(|()| Outcome::Removed),
        Request::RemoveVersion(at) => owners
            .remove_version(OWNER, &at.package, &at.version)
            .await
            .map(|()| Outcome::Removed),
    };
    match result {
        Ok(outcome) => outcome,
        Err(OwnerError::Refused(refusal)) => Outcome::Refused(refusal),
        Err(_) => Outcome::Failed,
    }
}

struct Check {
    seed: u64,
    policy: Policy,
    limits: Limits,
    log: Vec<Change>,
    events: Vec<Event>,
    /// The names after each length of the log.
    states: Vec<Committed>,
}

impl Check {
    fn new(seed: u64, policy: Policy, limits: Limits, log: Vec<Change>, events: Vec<Event>) -> Self {
        let mut states = vec![Committed::default()];
        for change in &log {
            let mut next = states[states.len() - 1].clone();
            next.apply(change);
            states.push(next);
        }
        Check {
            seed,
            policy,
            limits,
            log,
            events,
            states,
        }
    }

    /// Not in the decisions' own words: over the quota nothing but an admin's publication adds anything.
    fn no_quota_is_overshot(&self) {
        let over = |limit: Option<u64>, count| limit.is_some_and(|limit| count > limit);
        for (place, change) in self.log.iter().enumerate() {
            let (before, after) = (self.states[place].held(), self.states[place + 1].held());
            let exempt = matches!(change, Change::Publish(publish) if is_admin(publish.file.creator));
            let more_bytes = over(self.limits.bytes, after.bytes) && after.bytes > before.bytes;
            let more_versions =
                over(self.limits.versions, after.versions) && after.versions > before.versions;
            assert!(
                exempt || !(more_bytes || more_versions),
                "seed {} place {place}: {before:?} to {after:?}",
                self.seed
            );
        }
    }

    fn every_commit_is_allowed_where_it_stands(&self) {
        for (place, change) in self.log.iter().enumerate() {
            let Change::Publish(publish) = change else {
                continue;
            };
            let event = self
                .events
                .iter()
                .find(|event| event.by == publish.file.creator)
                .unwrap();
            let decision = self.decide(event, place);
            let expected = Decision::Accept {
                replaces: publish.replaces,
            };
            assert_eq!(decision, expected, "seed {} place {place} {event:?}", self.seed);
            assert!(
                matches!(&event.outcome, Outcome::Left)
                    || matches!(&event.outcome, Outcome::Published(named) if named.file == publish.file),
                "seed {}: committed, but the client was told otherwise: {event:?}",
                self.seed
            );
        }
    }

    fn every_answer_is_true(&self) {
        let mut removed = 0;
        let mut left = 0;
        for event in &self.events {
            let mut places = event.began..=event.ended;
            let fits = match &event.outcome {
                Outcome::Published(named) if named.already_there => {
                    places.any(|p| self.decide(event, p) == Decision::AlreadyThere(named.file.clone()))
                }
                Outcome::Published(named) => self.log[event.began..event.ended]
                    .iter()
                    .any(|change| matches!(change, Change::Publish(p) if p.file == named.file)),
                Outcome::Removed => {
                    removed += 1;
                    self.log[event.began..event.ended]
                        .iter()
                        .any(|change| is_removal(change, &event.request))
                }
                Outcome::Refused(refusal) => {
                    places.any(|p| self.decide(event, p) == Decision::Refuse(*refusal))
                }
                Outcome::Failed => true,
                Outcome::Left => {
                    left += 1;
                    true
                }
            };
            assert!(fits, "seed {}: {event:?}", self.seed);
        }
        let removals = self
            .log
            .iter()
            .filter(|c| !matches!(c, Change::Publish(_)))
            .count();
        assert!(
            (removed..=removed + left).contains(&removals),
            "seed {}",
            self.seed
        );
    }

    /// What the sequential rules say after `place` commits.
    fn decide(&self, event: &Event, place: usize) -> Decision {
        let state = &self.states[place];
        match &event.request {
            Request::Publish(at, condition, body) => {
                let wish = Wish {
                    condition,
                    digest: Some(Digest::of(body)),
                };
                let standing = state.standing(at);
                let decision = decide_publish(self.policy, &standing, wish);
                let quota = quota(self.limits, event.by);
                match decide_quota(quota, state.held(), &standing, body.len() as u64) {
                    Err(refusal) if matches!(decision, Decision::Accept { .. }) => Decision::Refuse(refusal),
                    _ => decision,
                }
            }
            Request::RemoveFile(at) => match decide_remove_file(state.standing(at)) {
                Ok(_) => Decision::Accept { replaces: None },
                Err(refusal) => Decision::Refuse(refusal),
            },
            Request::RemoveVersion(at) => match decide_remove_version(state.standing(at)) {
                Ok(_) => Decision::Accept { replaces: None },
                Err(refusal) => Decision::Refuse(refusal),
            },
        }
    }
}

fn is_removal(change: &Change, request: &Request) -> bool {
    match (change, request) {
        (Change::RemoveFile(change), Request::RemoveFile(at)) => {
            change.version.name == at.version && change.file.name.eq_ignore_ascii_case(&at.file)
        }
        (Change::RemoveVersion(change), Request::RemoveVersion(at)) => change.version.name == at.version,
        _ => false,
    }
}
