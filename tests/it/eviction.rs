//! Eviction from outside: caches give way, least recently used first, and nothing else does (docs/retention.md).

use std::io::Read;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use serde_json::json;

use crate::support::{
    Daemon, MIB, PATIENCE, Request, Rng, Setup, alone, bearer, file_path, path, response_of, seeded_bytes,
    within,
};

/// A file of a cache in these tests.
const SIZE: usize = MIB;

/// A store of 64 MiB that is pressed from 55 MiB on and comes down to 54.
fn small(config: &str) -> Setup {
    let store = "[store]\nmax_size = \"64MiB\"\n\n";
    let setup = Setup::default().policy("admin/cache*", "cache");
    setup.config(store).config(config)
}

fn eager(min_age: &str) -> String {
    format!("[eviction]\nmin_age = \"{min_age}\"\nsave_every = \"1s\"\n\n")
}

fn entry(number: usize) -> String {
    path("cache", "v", &format!("entry-{number}"))
}

fn bytes_of(number: usize) -> Vec<u8> {
    seeded_bytes(5000 + number as u64, SIZE)
}

fn store(daemon: &Daemon, numbers: std::ops::Range<usize>) {
    for number in numbers {
        store_one(daemon, number);
    }
}

/// Stores an entry; while the store is full, again.
fn store_one(daemon: &Daemon, number: usize) {
    let mut status = 0;
    let stored = within(PATIENCE, || {
        status = daemon.put(&entry(number), bytes_of(number));
        if status == 507 {
            std::thread::sleep(Duration::from_millis(100));
        }
        status != 507
    });
    assert!(stored && status == 200, "entry {number}: {status}");
}

fn is_there(daemon: &Daemon, target: &str) -> bool {
    // HEAD would count as a use; the listing does not.
    let name = target.rsplit('/').next().unwrap();
    let files = daemon.as_admin(Request::get(
        "/api/v1/packages/admin/generic/cache/v/files?limit=1000",
    ));
    let files = files.json();
    files.as_array().unwrap().iter().any(|file| file["name"] == name)
}

fn evicted(daemon: &Daemon) -> u64 {
    daemon.metric("larder_evicted_files_total", "reason=\"watermark\"")
}

fn stored_entries(daemon: &Daemon, numbers: std::ops::Range<usize>) -> Vec<usize> {
    numbers
        .filter(|number| is_there(daemon, &entry(*number)))
        .collect()
}

/// Reads half-way through eviction, over a restart: what was read stays longer.
#[test]
fn what_was_used_least_recently_goes_first_also_after_a_restart() {
    for kill in [false, true] {
        let _alone = alone();
        let mut daemon = small(&eager("1s")).start();
        let release = path("released", "1", "f");
        assert_eq!(daemon.put(&release, bytes_of(900)), 201);
        let pinned = path("cache-pinned", "v", "f");
        assert_eq!(daemon.put(&pinned, bytes_of(901)), 200);
        let pin = "/api/v1/packages/admin/generic/cache-pinned/v/-/pin";
        assert_eq!(daemon.as_admin(Request::new("PUT", pin)).status, 204);
        store(&daemon, 0..30);
        std::thread::sleep(Duration::from_millis(2100));
        // The first five would be the oldest, had they not been read.
        for number in 0..5 {
            daemon.assert_serves(&entry(number), &bytes_of(number));
        }
        let read = std::time::SystemTime::now() - Duration::from_millis(50);
        std::thread::sleep(Duration::from_millis(2100));
        // What was read is kept within a second, or as soon as the machine comes to it.
        let uses = daemon.data().join("last-uses");
        let saved = || std::fs::metadata(&uses).is_ok_and(|file| file.modified().unwrap() >= read);
        assert!(within(PATIENCE, saved));
        if kill {
            daemon.kill9();
        } else {
            daemon.terminate();
        }
        daemon.start();
        let mut next = 30;
        while evicted(&daemon) == 0 {
            assert!(next < 90, "nothing was evicted");
            store_one(&daemon, next);
            next += 1;
            if next > 52 {
                std::thread::sleep(Duration::from_millis(700));
            }
        }
        // As much goes as is needed, and all of it from what was idle for longest.
        assert!(within(PATIENCE, || {
            daemon.metric("larder_eviction_runs_total", "result=\"ok\"") > 0
        }));
        let left = stored_entries(&daemon, 0..30);
        assert!(left.starts_with(&[0, 1, 2, 3, 4]), "kill: {kill}, left: {left:?}");
        assert!(left.len() < 30 && left.len() > 10, "kill: {kill}, left: {left:?}");
        let newer = stored_entries(&daemon, 30..next);
        assert_eq!(newer.len(), next - 30, "what is newer stays");
        daemon.assert_serves(&release, &bytes_of(900));
        daemon.assert_serves(&pinned, &bytes_of(901));
        assert!(daemon.metric("larder_evicted_bytes_total", "reason=\"watermark\"") >= SIZE as u64);
        assert!(daemon.metric("larder_eviction_age_seconds_count", "") > 0);
        assert!(daemon.metric("larder_oldest_access_timestamp_seconds", "") > 1_700_000_000);
    }
}

#[test]
fn a_cache_never_fills_the_store() {
    let _alone = alone();
    let daemon = small(&eager("0s")).start();
    let release = path("released", "1", "f");
    assert_eq!(daemon.put(&release, bytes_of(900)), 201);
    store(&daemon, 0..150);
    assert!(evicted(&daemon) >= 80, "{} were evicted", evicted(&daemon));
    daemon.assert_serves(&entry(149), &bytes_of(149));
    daemon.assert_serves(&release, &bytes_of(900));
    daemon.assert_absent(&entry(0));
}

/// Waits until the store is full for uploads.
fn fill(daemon: &Daemon, put: impl Fn(usize) -> u16) -> usize {
    for number in 0..90 {
        match put(number) {
            200 | 201 => {}
            507 => return number,
            other => panic!("upload {number}: {other}\n{}", daemon.stderr()),
        }
    }
    panic!("the store never filled");
}

#[test]
fn young_entries_and_releases_stay_even_where_the_store_is_full() {
    let _alone = alone();
    let daemon = small(&eager("1h")).start();
    let number = fill(&daemon, |number| match number % 2 {
        0 => daemon.put(&entry(number), bytes_of(number)),
        _ => daemon.put(&path("released", &number.to_string(), "f"), bytes_of(number)),
    });
    let short = || daemon.metric("larder_eviction_runs_total", "result=\"short\"") > 0;
    assert!(within(PATIENCE, short), "eviction never looked");
    assert_eq!(evicted(&daemon), 0);
    for number in 0..number {
        match number % 2 {
            0 => daemon.assert_serves(&entry(number), &bytes_of(number)),
            _ => daemon.assert_serves(&path("released", &number.to_string(), "f"), &bytes_of(number)),
        }
    }
}

#[test]
fn a_file_that_is_being_downloaded_stays() {
    let _alone = alone();
    let daemon = small(&eager("0s")).start();
    let large = path("cache", "v", "large");
    // More than the sockets between hold, so the daemon is in the middle of it until it is read.
    let body = seeded_bytes(77, 16 * MIB);
    assert_eq!(daemon.put(&large, body.clone()), 200);
    let mut stream = std::net::TcpStream::connect(daemon.address()).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let request = daemon.authorized(Request::get(&large).header("Connection", "close"));
    std::io::Write::write_all(&mut stream, &request.head_bytes()).unwrap();
    let mut begun = vec![0; 1000];
    stream.read_exact(&mut begun).unwrap();
    std::thread::sleep(Duration::from_millis(1100));
    let mut next = 0;
    while evicted(&daemon) < 10 {
        assert!(next < 120, "nothing was evicted");
        store_one(&daemon, next);
        next += 1;
    }
    assert!(is_there(&daemon, &large), "it was evicted under its reader");
    stream.read_to_end(&mut begun).unwrap();
    let at = begun.windows(4).position(|four| four == b"\r\n\r\n").unwrap() + 4;
    assert!(begun[at..] == body[..], "the download is not what was published");
    // Once it has been idle it goes like any other.
    std::thread::sleep(Duration::from_millis(1100));
    let mut gone = false;
    for number in 200..320 {
        store_one(&daemon, number);
        gone = gone || !is_there(&daemon, &large);
        if gone {
            break;
        }
    }
    assert!(gone, "an idle file was never evicted");
}

/// A cache keeps below its owner's quota by evicting, and never goes beyond it.
#[test]
fn a_cache_makes_room_within_its_owners_quota() {
    let mut daemon = Setup::default()
        .policy("builds/cache", "cache")
        .policy("builds/*", "package")
        .config(&eager("1s"))
        .start();
    daemon.create_user("builds", "the builds' password", "public");
    let token = daemon.create_token("builds", &["write:package"]);
    let budget = Request::new("PATCH", "/api/v1/admin/owners/builds");
    let budget = daemon.as_admin(budget.json(&json!({"max_bytes": 10 * SIZE})));
    assert_eq!(budget.status, 200, "{}", budget.text());
    let put = |package: &str, number: usize, body: Vec<u8>| {
        let target = file_path("builds", package, "v", &format!("f{number}"));
        let request = Request::put(&target, body).header("Authorization", bearer(&token));
        let answer = daemon.send(&request);
        let held = daemon.used("builds").0;
        assert!(held <= 10 * SIZE as u64, "{held} bytes are held");
        answer
    };
    for number in 0..2 {
        assert_eq!(put("artifacts", number, bytes_of(number)).status, 201);
    }
    // Within a second they are too young to go, and then the quota refuses for a while.
    let until_taken = |number: usize, body: Vec<u8>| {
        let taken = within(PATIENCE, || {
            let answer = put("cache", number, body.clone());
            assert!([200, 403].contains(&answer.status), "{}", answer.text());
            if answer.status == 403 {
                std::thread::sleep(Duration::from_millis(200));
            }
            answer.status == 200
        });
        assert!(taken, "entry {number} was never taken");
    };
    for number in 10..40 {
        until_taken(number, bytes_of(number));
    }
    let gone = || daemon.metric("larder_evicted_files_total", "reason=\"budget\"");
    assert!(gone() >= 22, "{} were evicted", gone());
    // A large one finds room as well, more than eviction keeps free for small ones.
    until_taken(39, seeded_bytes(1, 6 * SIZE));
    for number in 0..2 {
        daemon.assert_serves(
            &file_path("builds", "artifacts", "v", &format!("f{number}")),
            &bytes_of(number),
        );
    }
    daemon.assert_serves(
        &file_path("builds", "cache", "v", "f39"),
        &seeded_bytes(1, 6 * SIZE),
    );
    // What fits into no quota is refused at once, and so is everything elsewhere.
    let large = file_path("builds", "cache", "v", "large");
    let large = Request::put(&large, vec![7; 10 * SIZE + 1]).header("Authorization", bearer(&token));
    assert_eq!(daemon.send(&large).status, 403);
    daemon.terminate();
}

/// Readers, writers and eviction at once: whatever a download began with, it ends with.
#[test]
fn every_download_that_began_ends_with_the_right_bytes() {
    let _alone = alone();
    let daemon = small(&eager("0s")).start();
    let address = daemon.address();
    let (done, reads, misses) = (AtomicBool::new(false), AtomicU64::new(0), AtomicU64::new(0));
    let keys = 120;
    std::thread::scope(|scope| {
        for reader in 0..4 {
            let (daemon, done, reads, misses) = (&daemon, &done, &reads, &misses);
            scope.spawn(move || {
                let mut random = Rng::new(100 + reader);
                while !done.load(Ordering::Relaxed) {
                    let number = random.below(keys);
                    let request = daemon.authorized(Request::get(&entry(number)));
                    let answer = response_of(address, &request).expect("a download that began ends");
                    match answer.status {
                        200 => {
                            assert!(answer.body == bytes_of(number), "entry {number} has other bytes");
                            reads.fetch_add(1, Ordering::Relaxed);
                        }
                        404 => drop(misses.fetch_add(1, Ordering::Relaxed)),
                        other => panic!("entry {number}: {other} {}", answer.text()),
                    }
                }
            });
        }
        let writers: Vec<_> = (0..2)
            .map(|writer| {
                let daemon = &daemon;
                scope.spawn(move || {
                    let mut random = Rng::new(200 + writer);
                    let begun = Instant::now();
                    let mut written = 0;
                    while written < 100 && begun.elapsed() < 3 * PATIENCE {
                        store_one(daemon, random.below(keys));
                        written += 1;
                    }
                })
            })
            .collect();
        let failed = writers
            .into_iter()
            .map(|writer| writer.join())
            .any(|joined| joined.is_err());
        done.store(true, Ordering::Relaxed);
        assert!(!failed, "a writer failed");
    });
    let [reads, misses] = [&reads, &misses].map(|count| count.load(Ordering::Relaxed));
    eprintln!("{reads} downloads, {misses} misses, {} evicted", evicted(&daemon));
    assert!(reads > 50, "only {reads} downloads");
    assert!(evicted(&daemon) > 10, "only {} were evicted", evicted(&daemon));
}
