//! Signing in, over a directory in memory and a clock set by hand.

#![allow(clippy::unwrap_used)]

use std::sync::atomic::Ordering;

use futures_util::FutureExt;
use futures_util::future::join_all;

use super::*;
use crate::access::NewToken;
use crate::access::fake::{self, Bench};
use crate::store::model::{Account, Grant};

const PASSWORD: &str = "correct horse";

fn bench() -> Bench {
    let bench = Bench::new();
    bench.fake.set(Account {
        password: Some(password::hash(PASSWORD).unwrap()),
        ..fake::account(1, "Ann")
    });
    bench
}

fn basic(user: &str, password: &str) -> Credentials {
    Credentials::Basic {
        user: user.to_owned(),
        password: password.to_owned(),
    }
}

async fn token(bench: &Bench, scope: &str) -> String {
    let ann = bench.access.account("ann").unwrap().unwrap();
    let new = NewToken {
        name: scope.to_owned(),
        scopes: vec![scope.to_owned()],
        ..NewToken::default()
    };
    let (_, secret) = bench.access.create_token(&ann, &new).await.unwrap();
    secret.expose().to_owned()
}

/// Who is signed in and with what, or why nobody is.
async fn ask(bench: &Bench, credentials: Credentials) -> String {
    let from = Some("192.0.2.1".parse().unwrap());
    ask_from(bench, credentials, from).await
}

async fn ask_from(bench: &Bench, credentials: Credentials, from: Option<IpAddr>) -> String {
    match bench.access.authenticate(&credentials, from).await {
        Ok(Caller::Anonymous) => "anonymous".to_owned(),
        Ok(Caller::User(user)) if user.token.is_none() => {
            format!("{} by password: {}", user.account.name, user.scopes)
        }
        Ok(Caller::User(user)) => format!("{} by token: {}", user.account.name, user.scopes),
        Ok(Caller::Workload(workload)) => format!("{} of {}", workload.subject, workload.issuer),
        Err(AuthError::Wrong) => "wrong".to_owned(),
        Err(AuthError::Inactive) => "inactive".to_owned(),
        Err(AuthError::SlowDown { seconds }) => format!("slow down {seconds}"),
        Err(AuthError::Workload(_) | AuthError::Unreachable) => "not believed".to_owned(),
        Err(AuthError::Store(error)) => panic!("{error}"),
    }
}

/// Any worker may hold the gate, and move a request that waits for it.
#[test]
fn the_gate_is_shared_between_threads() {
    fn shared<T: Clone + Send + Sync>(_: &T) {}
    fn movable<T: Send>(_: &T) {}
    let bench = bench();
    shared(&bench.access);
    movable(&bench.access.authenticate(&Credentials::None, None));
}

#[tokio::test]
async fn every_form_of_a_token_is_equal() {
    let bench = bench();
    let token = token(&bench, "read:package").await;
    let forms = [
        Credentials::Token(token.clone()),
        basic("ann", &token),
        basic("anything", &token),
        basic("", &token),
        basic(&token, ""),
        basic(&token, "x-oauth-basic"),
    ];
    for form in forms {
        assert_eq!(
            ask(&bench, form.clone()).await,
            "Ann by token: read:package",
            "{form:?}"
        );
    }
}

#[tokio::test]
async fn a_token_ends_when_it_expires() {
    let bench = bench();
    let token = token(&bench, "all").await;
    let ask_token = async || ask(&bench, Credentials::Token(token.clone())).await;
    bench.fake.expire_tokens(wall_millis() + 60_000);
    assert_eq!(ask_token().await, "Ann by token: all");
    bench.fake.expire_tokens(wall_millis());
    assert_eq!(ask_token().await, "wrong");
}

#[tokio::test]
async fn a_token_is_looked_up_once_until_something_changes() {
    let bench = bench();
    let token = token(&bench, "all").await;
    let ask_token = async || ask(&bench, Credentials::Token(token.clone())).await;
    let lookups = || bench.fake.token_lookups.load(Ordering::SeqCst);
    for _ in 0..3 {
        assert_eq!(ask_token().await, "Ann by token: all");
    }
    assert_eq!(lookups(), 1);
    bench.fake.edit("Ann", |account| account.active = false);
    for _ in 0..2 {
        assert_eq!(ask_token().await, "inactive");
    }
    assert_eq!(lookups(), 3, "only who is let in is remembered");
    bench.fake.edit("Ann", |account| account.active = true);
    // Time goes on without a change.
    bench.fake.expire_tokens(wall_millis() + 100);
    let begun = std::time::Instant::now();
    while ask_token().await != "wrong" {
        assert!(begun.elapsed() < std::time::Duration::from_secs(10));
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
}

#[tokio::test]
async fn a_narrowed_token_brings_its_grants() {
    let bench = bench();
    let ann = bench.access.account("ann").unwrap().unwrap();
    let new = NewToken {
        name: "ci".to_owned(),
        scopes: vec!["all".to_owned()],
        grants: vec![Grant {
            packages: "ci/app".to_owned(),
            write: false,
        }],
        ..NewToken::default()
    };
    let (_, secret) = bench.access.create_token(&ann, &new).await.unwrap();
    let credentials = Credentials::Token(secret.expose().to_owned());
    // Twice: made ready, then known.
    for _ in 0..2 {
        let Ok(Caller::User(who)) = bench.access.authenticate(&credentials, None).await else {
            panic!("signed in");
        };
        let grants = who.grants.clone().unwrap();
        assert!(grants.cover("ci", Some("app"), crate::access::Action::Read));
        assert!(!grants.cover("ci", Some("lib"), crate::access::Action::Read));
    }
}

#[tokio::test]
async fn a_password_signs_in_with_every_scope() {
    let bench = bench();
    assert_eq!(ask(&bench, basic("ann", PASSWORD)).await, "Ann by password: all");
    assert_eq!(ask(&bench, basic("ANN", PASSWORD)).await, "Ann by password: all");
    assert_eq!(ask(&bench, Credentials::None).await, "anonymous");
}

#[tokio::test]
async fn wrong_credentials_are_wrong() {
    let bench = bench();
    let token = token(&bench, "all").await;
    bench.fake.set(fake::account(2, "no-password"));
    bench.fake.set(Account {
        kind: AccountKind::Organisation,
        password: Some(password::hash(PASSWORD).unwrap()),
        ..fake::account(3, "org")
    });
    let other = token::generate().unwrap().into_secret();
    let wrong = [
        Credentials::Malformed,
        Credentials::Token(String::new()),
        Credentials::Token(PASSWORD.to_owned()),
        Credentials::Token(other.expose().to_owned()),
        basic("ann", other.expose()),
        basic(other.expose(), "x-oauth-basic"),
        basic(&token, "something else"),
        basic("ann", "correct horsf"),
        basic("ann", ""),
        basic("ann", "short"),
        basic("nobody", PASSWORD),
        basic("no-password", PASSWORD),
        basic("org", PASSWORD),
        basic("", ""),
    ];
    for (at, credentials) in wrong.into_iter().enumerate() {
        assert_eq!(ask(&bench, credentials).await, "wrong", "{at}");
    }
}

#[tokio::test]
async fn a_token_with_a_wrong_checksum_is_not_looked_up() {
    let bench = bench();
    let mut token = token(&bench, "all").await;
    let last = token.pop().unwrap();
    token.push(if last == 'a' { 'b' } else { 'a' });
    assert_eq!(ask(&bench, Credentials::Token(token.clone())).await, "wrong");
    assert_eq!(ask(&bench, basic(&token, "")).await, "wrong");
    assert_eq!(bench.fake.token_lookups.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn a_password_may_begin_like_a_token() {
    let bench = bench();
    let odd = format!("lrd_{}", "a".repeat(40));
    bench.access.set_password("ann", &odd).await.unwrap();
    assert_eq!(ask(&bench, basic("ann", &odd)).await, "Ann by password: all");
}

#[tokio::test]
async fn a_revoked_token_is_wrong_at_once_and_costs_no_attempts() {
    let bench = bench();
    let token = token(&bench, "all").await;
    assert_eq!(ask(&bench, basic("ann", &token)).await, "Ann by token: all");
    let ann = bench.access.account("ann").unwrap().unwrap();
    bench.access.revoke_token(&ann, "all").await.unwrap();
    for _ in 0..20 {
        assert_eq!(ask(&bench, basic("ann", &token)).await, "wrong");
    }
    assert_eq!(ask(&bench, basic("ann", PASSWORD)).await, "Ann by password: all");
}

#[tokio::test]
async fn changes_of_the_account_count_at_once_for_a_remembered_password() {
    let bench = bench();
    let old = basic("ann", PASSWORD);
    assert_eq!(ask(&bench, old.clone()).await, "Ann by password: all");

    bench.fake.edit("Ann", |ann| ann.active = false);
    assert_eq!(ask(&bench, old.clone()).await, "inactive");
    assert_eq!(ask(&bench, basic("ann", "correct horsf")).await, "wrong");
    bench.fake.edit("Ann", |ann| ann.active = true);

    bench.access.set_password("ann", "battery staple").await.unwrap();
    assert_eq!(ask(&bench, old.clone()).await, "wrong");
    assert_eq!(
        ask(&bench, basic("ann", "battery staple")).await,
        "Ann by password: all"
    );

    let phc = bench.access.account("ann").unwrap().unwrap().password;
    bench.fake.remove("Ann");
    assert_eq!(ask(&bench, basic("ann", "battery staple")).await, "wrong");
    bench.fake.set(Account {
        password: phc,
        ..fake::account(9, "Ann")
    });
    let successor = bench.access.account("ann").unwrap().unwrap();
    let attempt = bench.access.attempt("ann", "battery staple", None).unwrap();
    assert!(successor.id == 9 && !bench.access.gate.remembers(&attempt));
}

#[tokio::test]
async fn a_token_of_an_inactive_or_absent_account_does_not_work() {
    let bench = bench();
    let token = Credentials::Token(token(&bench, "all").await);
    bench.fake.edit("Ann", |ann| ann.active = false);
    assert_eq!(ask(&bench, token.clone()).await, "inactive");
    bench.fake.remove("Ann");
    assert_eq!(ask(&bench, token).await, "wrong");
}

#[tokio::test]
async fn a_password_changed_during_its_verification_is_wrong() {
    let bench = bench();
    let attempt = bench.access.attempt("ann", PASSWORD, None).unwrap();
    let lane = bench.access.gate.hashing.lane(&attempt.fingerprint).await;
    let credentials = basic("ann", PASSWORD);
    let mut asking = Box::pin(ask(&bench, credentials));
    // It has read the account and waits for its lane, which we hold.
    let moment = tokio::time::timeout(Duration::from_millis(20), &mut asking).await;
    assert!(moment.is_err());
    bench.access.set_password("ann", "battery staple").await.unwrap();
    drop(lane);
    assert_eq!(asking.await, "wrong");
}

#[tokio::test]
async fn repeated_failures_are_slowed_down_whoever_the_account() {
    for user in ["ann", "nobody"] {
        let bench = bench();
        for _ in 0..5 {
            assert_eq!(ask(&bench, basic(user, "guess guess")).await, "wrong");
        }
        assert_eq!(
            ask(&bench, basic(user, "guess guess")).await,
            "slow down 1",
            "{user}"
        );
        bench.pass(Duration::from_secs(1));
        assert_eq!(ask(&bench, basic(user, "guess guess")).await, "wrong");
        assert_eq!(ask(&bench, basic(user, "guess guess")).await, "slow down 2");
        bench.pass(Duration::from_millis(500));
        assert_eq!(ask(&bench, basic(user, "guess guess")).await, "slow down 2");
    }
}

#[tokio::test]
async fn who_is_slowed_down_is_a_name_at_an_address() {
    let bench = bench();
    for _ in 0..5 {
        ask(&bench, basic("ann", "guess guess")).await;
    }
    assert_eq!(ask(&bench, basic("ANN", PASSWORD)).await, "slow down 1");
    let elsewhere = Some("198.51.100.7".parse().unwrap());
    assert_eq!(
        ask_from(&bench, basic("ann", PASSWORD), elsewhere).await,
        "Ann by password: all"
    );
}

#[tokio::test]
async fn remembered_passwords_and_tokens_are_never_slowed_down() {
    let bench = bench();
    let token = token(&bench, "all").await;
    assert_eq!(ask(&bench, basic("ann", PASSWORD)).await, "Ann by password: all");
    for _ in 0..8 {
        ask(&bench, basic("ann", "guess guess")).await;
    }
    assert_eq!(ask(&bench, basic("ann", "guess guess")).await, "slow down 1");
    assert_eq!(ask(&bench, basic("ann", PASSWORD)).await, "Ann by password: all");
    assert_eq!(ask(&bench, basic("ann", &token)).await, "Ann by token: all");
}

#[tokio::test]
async fn success_clears_the_failures() {
    let bench = bench();
    for _ in 0..3 {
        for _ in 0..4 {
            assert_eq!(ask(&bench, basic("ann", "guess guess")).await, "wrong");
        }
        // Forgotten, so that it is verified anew.
        bench.pass(Duration::from_secs(5 * 60));
        assert_eq!(ask(&bench, basic("ann", PASSWORD)).await, "Ann by password: all");
    }
}

#[tokio::test]
async fn guesses_in_parallel_are_no_way_around() {
    let bench = bench();
    let guesses = (0..100).map(|guess| ask(&bench, basic("ann", &format!("guess number {guess}"))));
    let answers = join_all(guesses).await;
    let verified = answers.iter().filter(|answer| *answer == "wrong").count();
    // Two may run at a time, so one more than the free failures can have begun.
    assert!((5..=6).contains(&verified), "{verified} were verified");
    assert!(
        answers
            .iter()
            .all(|answer| answer == "wrong" || answer.starts_with("slow down"))
    );
}

#[tokio::test]
async fn one_credential_is_verified_once_for_everyone_who_waits() {
    let bench = bench();
    let attempt = bench.access.attempt("ann", PASSWORD, None).unwrap();
    let lane = bench.access.gate.hashing.lane(&attempt.fingerprint).await;
    let crowd = join_all((0..64).map(|_| ask(&bench, basic("ann", PASSWORD))));
    let verified_first = async {
        tokio::time::sleep(Duration::from_millis(20)).await;
        // As if the holder of the lane had found it right; with a hash gone bad, a second verification would fail.
        bench
            .access
            .gate
            .remembered
            .remember(attempt.fingerprint, bench.access.gate.clock.now());
        let slots = bench.access.gate.hashing.take_all_slots().await;
        drop(lane);
        slots
    };
    let (answers, _slots) = tokio::join!(
        async {
            tokio::time::timeout(Duration::from_secs(10), crowd)
                .await
                .unwrap()
        },
        verified_first
    );
    assert!(answers.iter().all(|answer| answer == "Ann by password: all"));
}

#[test]
fn an_attempt_counts_even_if_the_client_goes_away() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .max_blocking_threads(1)
        .build()
        .unwrap();
    runtime.block_on(async {
        let bench = bench();
        // The only thread for hashing is busy until told otherwise, so the guess is not answered at once.
        let (go_on, told) = std::sync::mpsc::channel::<()>();
        let busy = tokio::task::spawn_blocking(move || told.recv().ok());
        let gone = ask_from(&bench, basic("ann", "guess guess"), None);
        assert!(gone.now_or_never().is_none());
        let gate = &bench.access.gate;
        let failures = || {
            gate.throttle
                .failures_of(&Guesser::new("ann", None), gate.clock.now())
        };
        assert_eq!(failures(), 0);
        go_on.send(()).unwrap();
        busy.await.unwrap();
        drop(gate.hashing.take_all_slots().await);
        assert_eq!(failures(), 1);
    });
}

#[tokio::test]
async fn nothing_shown_for_debugging_holds_a_secret() {
    let bench = bench();
    let caller = bench
        .access
        .authenticate(&basic("ann", PASSWORD), None)
        .await
        .unwrap();
    let shown = format!("{caller:?} {:?} {:?}", bench.access, basic("ann", PASSWORD));
    assert!(
        shown.contains("Ann") && !shown.contains("argon2id") && !shown.contains("horse"),
        "{shown}"
    );
}
