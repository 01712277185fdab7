//! Collection from outside: space comes back, nothing that has a name is lost, nothing deleted comes back.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::support::{
    Daemon, MIB, PATIENCE, Request, Rng, Setup, alone, path, seeded_bytes, together, version_path, within,
};

/// Bytes allocated on disk below `directory`.
fn allocated(directory: &Path) -> u64 {
    let mut sum = 0;
    for entry in fs::read_dir(directory).expect("the data directory can be read") {
        let entry = entry.expect("an entry can be read");
        match entry.metadata() {
            Ok(metadata) if metadata.is_dir() => sum += allocated(&entry.path()),
            Ok(metadata) => sum += metadata.blocks() * 512,
            // Files of the log and of the index come and go.
            Err(_) => {}
        }
    }
    sum
}

fn passes(daemon: &Daemon) -> u64 {
    daemon.metric("larder_gc_runs_total", "result=\"ok\"")
}

/// Asks for a full pass and waits until one that began after this has ended.
fn collect(daemon: &Daemon) -> Duration {
    let started = Instant::now();
    let answer = daemon.as_admin(Request::new("POST", "/api/v1/admin/gc"));
    assert_eq!(answer.status, 202, "{}", answer.text());
    // Passes run in the order in which they were asked for, and a dry run is answered when it has ended. The number
    // of passes would not do: a pass may be counted and not yet be over for who asks for the next.
    let behind = daemon.as_admin(Request::new("POST", "/api/v1/admin/gc?dry_run=true"));
    assert_eq!(behind.status, 202, "{}", behind.text());
    started.elapsed()
}

#[test]
fn the_space_of_what_is_deleted_comes_back() {
    let _alone = alone();
    let mut daemon = Setup::default().start();
    for number in 0..10 {
        let version = number.to_string();
        assert_eq!(
            daemon.put(&path("big", &version, "f"), seeded_bytes(900 + number, 9 * MIB)),
            201
        );
        assert_eq!(
            daemon.put(&path("mid", &version, "f"), seeded_bytes(920 + number, 2 * MIB)),
            201
        );
    }
    for number in 0..100 {
        let body = seeded_bytes(1000 + number, 100_000);
        assert_eq!(daemon.put(&path("small", &number.to_string(), "f"), body), 201);
    }
    let peak = allocated(&daemon.data());
    assert!(peak > 115 * MIB as u64, "{peak} bytes are not what was stored");
    for number in 0..10 {
        assert_eq!(daemon.delete(&version_path("big", &number.to_string())), 204);
        assert_eq!(daemon.delete(&version_path("mid", &number.to_string())), 204);
    }
    for number in 0..100 {
        assert_eq!(daemon.delete(&version_path("small", &number.to_string())), 204);
    }
    let time = collect(&daemon);
    let left = allocated(&daemon.data());
    let allowed = (peak * 3 / 100).max(16 * MIB as u64);
    eprintln!("collection: {peak} bytes became {left} in {time:?}");
    assert!(
        left < allowed,
        "{left} bytes of {peak} are left after a full pass"
    );
    assert!(
        time < Duration::from_secs(20),
        "a full pass over 120 MB took {time:?}"
    );
    daemon.assert_absent(&path("big", "1", "f"));
    daemon.terminate();
    let rebuilt = daemon.run(&["rebuild-index"], "");
    assert_eq!(rebuilt.status.code(), Some(0), "{rebuilt:?}");
    daemon.start();
    daemon.assert_absent(&path("big", "1", "f"));
    assert_eq!(daemon.put(&path("big", "1", "f"), "new"), 201);
}

#[test]
fn a_dry_run_says_what_would_go_and_takes_nothing() {
    let mut daemon = Setup::default().start();
    for version in ["1", "2"] {
        assert_eq!(
            daemon.put(&path("tool", version, "f"), seeded_bytes(7, 3 * MIB)),
            201
        );
    }
    assert_eq!(daemon.put(&path("gone", "1", "f"), seeded_bytes(8, 50_000)), 201);
    assert_eq!(daemon.delete(&path("tool", "1", "f")), 204);
    assert_eq!(daemon.delete(&path("gone", "1", "f")), 204);
    let dry_run = Request::new("POST", "/api/v1/admin/gc?dry_run=true");
    let answer = daemon.as_admin(dry_run.clone());
    let found = answer.json();
    assert_eq!(
        (answer.status, &found["bytes"], &found["chunks"], &found["files"]),
        (202, &50_000.into(), &1.into(), &1.into()),
        "{found}"
    );
    let told = daemon.run(&["gc", "--dry-run"], "");
    let text = String::from_utf8_lossy(&told.stdout);
    assert!(text.starts_with("would drop 1 chunks of 48.8 KiB"), "{told:?}");
    assert_eq!(passes(&daemon), 0, "a dry run is no pass");

    let told = daemon.run(&["gc"], "");
    let text = String::from_utf8_lossy(&told.stdout);
    assert!(
        told.status.success() && text.starts_with("dropped 1 chunks of 48.8 KiB"),
        "{told:?}"
    );
    assert_eq!(
        (
            passes(&daemon),
            daemon.metric("larder_gc_dropped_bytes_total", "")
        ),
        (1, 50_000)
    );
    assert!(daemon.metric("larder_gc_last_success_timestamp_seconds", "") > 1_000_000_000);
    daemon.assert_serves(&path("tool", "2", "f"), &seeded_bytes(7, 3 * MIB));

    // The same with no daemon there.
    assert_eq!(daemon.delete(&path("tool", "2", "f")), 204);
    daemon.terminate();
    let told = daemon.run(&["gc"], "");
    let text = String::from_utf8_lossy(&told.stdout);
    assert!(
        text.contains("of 3.0 MiB and 1 manifests; 0 files stay"),
        "{told:?}"
    );
    daemon.start();
    let nothing = daemon.as_admin(dry_run).json();
    assert_eq!(nothing["chunks"], 0, "{nothing}");
}

#[test]
fn only_an_admin_collects() {
    let daemon = Setup::default().start();
    let nobody = daemon.send(&Request::new("POST", "/api/v1/admin/gc"));
    assert_eq!(nobody.status, 401);
    let wrong = daemon.as_admin(Request::new("POST", "/api/v1/admin/gc?dry_run=maybe"));
    assert_eq!(wrong.status, 422);
    assert_eq!(daemon.get("/api/v1/admin/gc").status, 405);
}

#[test]
fn it_runs_by_itself_once_enough_is_gone() {
    let daemon = Setup::default()
        .config("[gc]\nafter_removed = \"4MiB\"\n\n")
        .start();
    for version in ["1", "2"] {
        assert_eq!(
            daemon.put(&path("tool", version, "f"), seeded_bytes(9, 5 * MIB)),
            201
        );
    }
    assert_eq!(daemon.delete(&path("tool", "1", "f")), 204);
    assert!(within(PATIENCE, || passes(&daemon) == 1), "no pass");
    daemon.assert_serves(&path("tool", "2", "f"), &seeded_bytes(9, 5 * MIB));
    assert_eq!(daemon.metric("larder_gc_dropped_bytes_total", ""), 0);
}

#[test]
fn a_download_of_a_deleted_file_finishes() {
    let daemon = Setup::default().start();
    let target = path("late", "1", "f");
    let body = seeded_bytes(10, 40 * MIB);
    assert_eq!(daemon.put(&target, body.clone()), 201);
    let mut connection = daemon.connect();
    let request = daemon.authorized(Request::get(&target));
    connection.write(&request.head_bytes()).unwrap();
    // More than the kernel's buffers hold: most of it is still to be read from the store.
    connection.await_answer().unwrap();
    assert_eq!(daemon.delete(&target), 204);
    collect(&daemon);
    daemon.assert_absent(&target);
    let answer = connection.read_response("GET").expect("a whole answer");
    assert!(
        answer.status == 200 && answer.body == body,
        "{} bytes",
        answer.body.len()
    );
    collect(&daemon);
    let left = allocated(&daemon.data());
    assert!(
        left < 16 * MIB as u64,
        "{left} bytes are left once nobody reads it"
    );
}

/// What the stress test knows of one name: the seed and length of its bytes, if it has any.
type Slot = Mutex<Option<(u64, usize)>>;

struct Stress<'a> {
    daemon: &'a Daemon,
    slots: &'a [Slot],
    ended: AtomicBool,
    checked: AtomicU64,
}

impl Stress<'_> {
    fn target(slot: usize) -> String {
        path("cache", &format!("v{}", slot % 5), &format!("f{slot}"))
    }

    /// One step on a random name. A name's lock is held, so that what is known of it is what must be served.
    fn step(&self, rng: &mut Rng) {
        let number = rng.below(self.slots.len());
        let mut slot = self.slots[number].lock().unwrap();
        let target = Self::target(number);
        match rng.below(10) {
            0..5 => {
                // Few contents, so that bytes lose their last name and come back all the time.
                let seed = 5000 + rng.next() % 12;
                let len = [700, 90_000, 400_000, 3 * MIB][(seed % 4) as usize];
                let status = self.daemon.put(&target, seeded_bytes(seed, len));
                assert!(matches!(status, 200 | 201), "PUT {target}: {status}");
                *slot = Some((seed, len));
            }
            5..7 => {
                let status = self.daemon.delete(&target);
                assert_eq!(status, if slot.is_some() { 204 } else { 404 }, "DELETE {target}");
                *slot = None;
            }
            _ => self.check(&target, *slot),
        }
    }

    fn check(&self, target: &str, known: Option<(u64, usize)>) {
        match known {
            Some((seed, len)) => self.daemon.assert_serves(target, &seeded_bytes(seed, len)),
            None => self.daemon.assert_absent(target),
        }
        self.checked.fetch_add(1, Ordering::Relaxed);
    }
}

/// Seconds that the stress test runs: `LARDER_TEST_GC_SECONDS`, else 4.
fn stress_time() -> Duration {
    let seconds = std::env::var("LARDER_TEST_GC_SECONDS").ok();
    Duration::from_secs(seconds.map_or(4, |text| {
        text.parse().expect("LARDER_TEST_GC_SECONDS is a number")
    }))
}

#[test]
fn nothing_is_lost_while_everything_happens_at_once() {
    const WRITERS: usize = 4;
    let _alone = alone();
    let mut daemon = Setup::default().policy("admin/cache", "cache").start();
    let slots: Vec<Slot> = (0..30).map(|_| Slot::default()).collect();
    let stress = Stress {
        daemon: &daemon,
        slots: &slots,
        ended: AtomicBool::new(false),
        checked: AtomicU64::new(0),
    };
    // Longer where the machine is so slow that too little came of it.
    let enough = || {
        let dropped = daemon.metric("larder_gc_dropped_chunks_total", "");
        passes(&daemon) > 1 && stress.checked.load(Ordering::Relaxed) > 10 && dropped > 0
    };
    let deadline = Instant::now() + stress_time();
    let over = || Instant::now() >= deadline && (enough() || Instant::now() >= deadline + PATIENCE);
    together(WRITERS + 1, |thread| {
        if thread == WRITERS {
            while !stress.ended.load(Ordering::SeqCst) {
                collect(&daemon);
            }
            return;
        }
        let mut rng = Rng::new(77 + thread as u64);
        while !over() {
            stress.step(&mut rng);
        }
        stress.ended.store(true, Ordering::SeqCst);
    });
    let checked = stress.checked.load(Ordering::Relaxed);
    eprintln!("stress: {} passes, {checked} reads", passes(&daemon));
    assert!(passes(&daemon) > 1 && checked > 10, "{checked} reads");
    assert!(
        daemon.metric("larder_gc_dropped_chunks_total", "") > 0,
        "nothing was ever dropped"
    );
    assert_eq!(daemon.metric("larder_store_damaged_chunks", ""), 0);

    // All of it, also after a rebuild from what compaction has left of the log.
    daemon.terminate();
    let rebuilt = daemon.run(&["rebuild-index"], "");
    assert_eq!(rebuilt.status.code(), Some(0), "{rebuilt:?}");
    daemon.start();
    for (number, slot) in slots.iter().enumerate() {
        match *slot.lock().unwrap() {
            Some((seed, len)) => daemon.assert_serves(&Stress::target(number), &seeded_bytes(seed, len)),
            None => daemon.assert_absent(&Stress::target(number)),
        }
    }
}

/// Rounds of the kill test: `LARDER_TEST_ROUNDS`, else 3.
fn kill_rounds() -> u64 {
    let rounds = std::env::var("LARDER_TEST_ROUNDS").ok();
    rounds.map_or(3, |text| text.parse().expect("LARDER_TEST_ROUNDS is a number"))
}

#[test]
fn a_pass_that_is_killed_takes_nothing_with_it() {
    let mut daemon = Setup::default().start();
    let mut rng = Rng::new(4711);
    let kept = [(20, 3000), (21, 600_000), (22, 5 * MIB)];
    for (seed, len) in kept {
        assert_eq!(
            daemon.put(&path("kept", &seed.to_string(), "f"), seeded_bytes(seed, len)),
            201
        );
    }
    for round in 0..kill_rounds() {
        for number in 0..6 {
            let body = seeded_bytes(
                3000 + 10 * round + number,
                [2000, 700_000, 4 * MIB][number as usize % 3],
            );
            assert_eq!(daemon.put(&path("gone", &number.to_string(), "f"), body), 201);
        }
        for number in 0..6 {
            assert_eq!(daemon.delete(&path("gone", &number.to_string(), "f")), 204);
        }
        let answer = daemon.as_admin(Request::new("POST", "/api/v1/admin/gc"));
        assert_eq!(answer.status, 202);
        // A pass begins within 200 ms and takes a few tens.
        std::thread::sleep(Duration::from_millis(rng.next() % 400));
        daemon.kill9();
        if round % 2 == 1 {
            fs::remove_dir_all(daemon.data().join("index")).expect("the index can be removed");
        }
        daemon.start();
        for number in 0..6 {
            daemon.assert_absent(&path("gone", &number.to_string(), "f"));
        }
        for (seed, len) in kept {
            daemon.assert_serves(&path("kept", &seed.to_string(), "f"), &seeded_bytes(seed, len));
        }
    }
    collect(&daemon);
    let left = allocated(&daemon.data());
    assert!(left < 24 * MIB as u64, "{left} bytes are left after all");
    for (seed, len) in kept {
        daemon.assert_serves(&path("kept", &seed.to_string(), "f"), &seeded_bytes(seed, len));
    }
}
