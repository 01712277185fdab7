//! kill -9 at random moments during load: what was acknowledged is there with the right bytes, what was not is whole
//! or absent (API.md §1, Durable and Visibility). `LARDER_TEST_ROUNDS` and `LARDER_TEST_SEED` choose a longer or an
//! earlier run.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use crate::support::{Daemon, MIB, Request, Rng, Setup, alone, path, response_of, seeded_bytes};

const WRITERS: usize = 6;

/// What must be found under a name after the next start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expected {
    /// Acknowledged: the bytes of this seed and length.
    There(u64, usize),
    /// A removal was acknowledged.
    Gone,
    /// Either a PUT or a DELETE had no answer: these bytes, or nothing.
    Either(u64, usize),
}

/// Everything that the writers know about names, by path.
pub type Ledger = BTreeMap<String, Expected>;

pub fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name)
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or(default)
}

/// Mostly small bodies, some beyond the inline limit, a few of several chunks.
fn body_size(rng: &mut Rng) -> usize {
    match rng.below(20) {
        0 => 2 * MIB + rng.below(MIB),
        1..=3 => 200_000 + rng.below(400_000),
        4..=7 => 5_000 + rng.below(60_000),
        _ => 1 + rng.below(3_000),
    }
}

/// Publishes and sometimes removes until the daemon is gone or `stop` is set.
pub fn write_until_killed(
    daemon: &Daemon,
    ledger: &Mutex<Ledger>,
    seed: u64,
    names: &AtomicU64,
    stop: &AtomicBool,
) {
    let mut rng = Rng::new(seed);
    while !stop.load(Ordering::Relaxed) {
        let target = path("load", &names.fetch_add(1, Ordering::Relaxed).to_string(), "f");
        let (content, size) = (rng.next(), body_size(&mut rng));
        let put = daemon.authorized(Request::put(&target, seeded_bytes(content, size)));
        let put = if rng.chance(20) { put.chunked(30_000) } else { put };
        // Noted before it is sent: from here on it may be there.
        ledger
            .lock()
            .unwrap()
            .insert(target.clone(), Expected::Either(content, size));
        match response_of(daemon.address(), &put) {
            Ok(answer) if answer.status == 201 => {
                ledger
                    .lock()
                    .unwrap()
                    .insert(target.clone(), Expected::There(content, size));
            }
            Ok(answer) => panic!("PUT {target}: {} {}", answer.status, answer.text()),
            Err(_) => return,
        }
        if !rng.chance(15) {
            continue;
        }
        ledger
            .lock()
            .unwrap()
            .insert(target.clone(), Expected::Either(content, size));
        match response_of(daemon.address(), &daemon.authorized(Request::delete(&target))) {
            Ok(answer) if answer.status == 204 => {
                ledger.lock().unwrap().insert(target, Expected::Gone);
            }
            Ok(answer) => panic!("DELETE {target}: {} {}", answer.status, answer.text()),
            Err(_) => return,
        }
    }
}

/// Compares the daemon with the ledger. Names that could be either are settled: they must stay what they are now.
/// And no kill is damage: what it tears was never acknowledged.
pub fn verify(daemon: &Daemon, ledger: &mut Ledger, what: &str) {
    assert_eq!(
        daemon.metric("larder_store_damaged_stretches_total", ""),
        0,
        "{what}: calls the log damaged"
    );
    let mut connection = daemon.connect();
    for (target, expected) in ledger.iter_mut() {
        let answer = connection
            .send(&daemon.authorized(Request::get(target)))
            .expect("an answer");
        let matches =
            |seed: u64, size: usize| answer.status == 200 && answer.body == seeded_bytes(seed, size);
        let found = match *expected {
            Expected::There(seed, size) if matches(seed, size) => Expected::There(seed, size),
            Expected::Either(seed, size) if matches(seed, size) => Expected::There(seed, size),
            Expected::Gone | Expected::Either(..) if answer.status == 404 => Expected::Gone,
            _ => panic!(
                "{what}: {target} is {expected:?}, but: {} with {} bytes",
                answer.status,
                answer.body.len()
            ),
        };
        *expected = found;
    }
}

#[test]
fn what_was_acknowledged_survives_kill_9() {
    let _alone = alone();
    let rounds = setting("LARDER_TEST_ROUNDS", 12);
    let seed = setting("LARDER_TEST_SEED", 0x1a2d);
    println!("seed {seed}, {rounds} rounds");
    let mut rng = Rng::new(seed);
    let mut daemon = Setup::default().start();
    let ledger = Mutex::new(Ledger::new());
    let names = AtomicU64::new(0);
    for round in 0..rounds {
        let stop = AtomicBool::new(false);
        let delay = Duration::from_millis(30 + rng.below(500) as u64);
        std::thread::scope(|scope| {
            for writer in 0..WRITERS as u64 {
                let (daemon, ledger, names, stop) = (&daemon, &ledger, &names, &stop);
                let seed = seed ^ (round << 32) ^ (writer << 16);
                scope.spawn(move || write_until_killed(daemon, ledger, seed, names, stop));
            }
            std::thread::sleep(delay);
            daemon.signal_kill();
            stop.store(true, Ordering::Relaxed);
        });
        daemon.kill9();
        if round % 3 == 2 {
            kill_while_starting(&mut daemon, &mut rng);
        }
        daemon.start();
        verify(
            &daemon,
            &mut ledger.lock().unwrap(),
            &format!("seed {seed}, round {round}, killed after {delay:?}"),
        );
    }
    daemon.terminate();
    let rebuilt = daemon.run(&["rebuild-index"], "");
    assert_eq!(
        rebuilt.status.code(),
        Some(0),
        "{}",
        String::from_utf8_lossy(&rebuilt.stderr)
    );
    daemon.start();
    verify(&daemon, &mut ledger.lock().unwrap(), "rebuilt at the end");
    let known = ledger.into_inner().unwrap();
    let there = known
        .values()
        .filter(|expected| matches!(expected, Expected::There(..)))
        .count();
    println!("{there} of {} names are there", known.len());
    assert!(
        there as u64 >= rounds,
        "the load was no load: {there} publications in {rounds} rounds"
    );
}

/// Recovery must survive being killed, at any of its moments.
fn kill_while_starting(daemon: &mut Daemon, rng: &mut Rng) {
    for _ in 0..4 {
        daemon.spawn();
        std::thread::sleep(Duration::from_millis(rng.below(150) as u64));
        daemon.kill9();
    }
}

#[test]
fn a_replaced_key_is_the_last_acknowledged_or_a_later_one() {
    let _alone = alone();
    let mut daemon = Setup::default().policy("admin/*", "cache").start();
    let targets: Vec<String> = (0..4)
        .map(|number| path("key", "1", &format!("f{number}")))
        .collect();
    let mut rng = Rng::new(0x51ab);
    // For each key: the last generation that was acknowledged, and the last that was sent.
    let mut acknowledged = [0_u64; 4];
    for round in 0..6 {
        let delay = Duration::from_millis(50 + rng.below(300) as u64);
        let mut sent = acknowledged;
        std::thread::scope(|scope| {
            let keys = targets.iter().zip(acknowledged.iter_mut().zip(sent.iter_mut()));
            for (number, (target, (acknowledged, sent))) in (0..).zip(keys) {
                let daemon = &daemon;
                scope.spawn(move || {
                    loop {
                        *sent += 1;
                        let body = generation(number, *sent);
                        match response_of(daemon.address(), &daemon.authorized(Request::put(target, body))) {
                            Ok(answer) => assert_eq!(answer.status, 200, "{}", answer.text()),
                            Err(_) => return,
                        }
                        *acknowledged = *sent;
                    }
                });
            }
            std::thread::sleep(delay);
            daemon.signal_kill();
        });
        daemon.kill9();
        daemon.start();
        for (number, target) in (0..).zip(&targets) {
            let key = number as usize;
            let answer = daemon.get(target);
            let found = (acknowledged[key]..=sent[key])
                .find(|candidate| answer.status == 200 && answer.body == generation(number, *candidate));
            let nothing_yet = acknowledged[key] == 0 && answer.status == 404;
            assert!(
                found.is_some() || nothing_yet,
                "round {round}: {target} is none of the generations {}..={}: {}",
                acknowledged[key],
                sent[key],
                answer.status
            );
            acknowledged[key] = found.unwrap_or(0);
        }
    }
    assert!(
        acknowledged.iter().all(|generation| *generation > 0),
        "the load was no load: {acknowledged:?}"
    );
}

/// The bytes of a generation of a key: of many sizes, so that replaced files are inline and in segments.
fn generation(key: u64, number: u64) -> Vec<u8> {
    let size = if number.is_multiple_of(5) {
        300_000
    } else {
        1_000 + (number as usize % 7) * 1_000
    };
    seeded_bytes((key << 40) | number, size)
}

#[test]
fn a_clean_stop_and_start_changes_nothing() {
    let mut daemon = Setup::default().start();
    let mut ledger = Ledger::new();
    let mut rng = Rng::new(0xc1ea);
    for number in 0..40 {
        let target = path("clean", &number.to_string(), "f");
        let (content, size) = (rng.next(), body_size(&mut rng));
        assert_eq!(daemon.put(&target, seeded_bytes(content, size)), 201);
        ledger.insert(target.clone(), Expected::There(content, size));
        if number % 5 == 0 {
            assert_eq!(daemon.delete(&target), 204);
            ledger.insert(target, Expected::Gone);
        }
    }
    for _ in 0..3 {
        daemon.terminate();
        daemon.start();
        verify(&daemon, &mut ledger, "after a clean stop");
    }
    assert_eq!(
        daemon.put(&path("clean", "39", "f"), "again"),
        400,
        "the policy remembers"
    );
}
