//! A disk that is full: uploads are refused before their body is read, everything else goes on, also over restarts;
//! and service resumes by itself (API.md §1, 507). On a real small file system, see `support::SmallDisk`.

use std::fs;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use crate::support::{
    Daemon, MIB, PATIENCE, Request, Setup, SmallDisk, path, response_of, seeded_bytes, within,
};

/// What was acknowledged: name and size of each file, whose number is its seed.
#[derive(Default)]
struct Stored(Vec<(u64, usize)>);

impl Stored {
    fn target(number: u64) -> String {
        path("fill", &number.to_string(), "f")
    }

    /// PUTs a file under the next number; whether it was taken. Anything but 201 and 507 fails.
    fn put(&mut self, daemon: &Daemon, number: u64, size: usize) -> bool {
        let answer = daemon.as_admin(Request::put(&Self::target(number), seeded_bytes(number, size)));
        match answer.status {
            201 => self.0.push((number, size)),
            507 => assert_eq!(answer.text(), "no space left in the store"),
            status => panic!("PUT {number} of {size} bytes: {status} {}", answer.text()),
        }
        answer.status == 201
    }

    fn delete_last(&mut self, daemon: &Daemon) {
        let (number, _) = self.0.pop().expect("something is stored");
        let answer = daemon.as_admin(Request::delete(&Self::target(number)));
        assert_eq!(answer.status, 204, "DELETE {number}: {}", answer.text());
        daemon.assert_absent(&Self::target(number));
    }

    #[track_caller]
    fn verify(&self, daemon: &Daemon) {
        self.verify_rest(daemon, 0);
    }

    /// Without the first `skip` files.
    #[track_caller]
    fn verify_rest(&self, daemon: &Daemon, skip: usize) {
        for (number, size) in &self.0[skip..] {
            daemon.assert_serves(&Self::target(*number), &seeded_bytes(*number, *size));
        }
        assert_eq!(daemon.metric("larder_store_damaged_stretches_total", ""), 0);
    }
}

/// A daemon whose data lies on a disk of its own.
fn on_disk(options: &str, setup: Setup) -> Option<(SmallDisk, Daemon)> {
    let disk = SmallDisk::mount(options)?;
    let mut daemon = setup.prepare();
    disk.give_to(&daemon);
    daemon.start();
    daemon.fetch_admin_token();
    Some((disk, daemon))
}

/// Bytes of the log files.
fn log_bytes(daemon: &Daemon) -> u64 {
    ["journal", "segments"]
        .iter()
        .flat_map(|directory| fs::read_dir(daemon.data().join(directory)).unwrap())
        .map(|entry| entry.unwrap().metadata().unwrap().len())
        .sum()
}

fn passes(daemon: &Daemon) -> u64 {
    daemon.metric("larder_gc_runs_total", "")
}

/// Asks for a full pass; how many had ended before.
fn ask_for_a_pass(daemon: &Daemon) -> u64 {
    let before = passes(daemon);
    let answer = daemon.as_admin(Request::new("POST", "/api/v1/admin/gc"));
    assert_eq!(answer.status, 202, "{}", answer.text());
    before
}

/// Sends the head of a PUT and nothing else; the status, which must come all the same.
fn refused_before_the_body(daemon: &Daemon, size: usize) -> u16 {
    let mut connection = daemon.connect();
    let put = daemon.authorized(Request::put(&path("early", "1", "f"), vec![1; size]));
    connection.write(&put.head_bytes()).unwrap();
    connection
        .read_response("PUT")
        .expect("an answer before the body")
        .status
}

/// Waits until uploads are taken again.
#[track_caller]
fn resumes(daemon: &Daemon, stored: &mut Stored, first: u64) {
    let mut number = first;
    let resumed = within(PATIENCE, || {
        number += 1;
        std::thread::sleep(Duration::from_millis(50));
        stored.put(daemon, number, 1000)
    });
    assert!(resumed, "uploads are still refused");
}

#[test]
fn a_full_disk_refuses_uploads_and_nothing_else() {
    let Some((disk, mut daemon)) = on_disk("size=64m", Setup::default()) else {
        return;
    };
    let mut stored = Stored::default();
    // Inline, one chunk in a segment, several chunks: until none of them is taken.
    let mut number = 0;
    for size in [5 * MIB, 600_000, 100_000, 1000] {
        let refused = (0..2000).any(|_| {
            number += 1;
            !stored.put(&daemon, number, size)
        });
        assert!(refused, "{number} files on a disk of 64 MiB");
    }
    let bytes: usize = stored.0.iter().map(|(_, size)| size).sum();
    assert!(bytes > 40 * MIB, "only {bytes} bytes were taken");
    assert_eq!(refused_before_the_body(&daemon, 1000), 507);
    assert!(daemon.metric("larder_store_refused_total", "") >= 5);
    stored.verify(&daemon);

    // Now somebody else takes the rest.
    disk.fill();
    stored.verify(&daemon);
    let ready = daemon.send(&Request::get("/readyz?verbose"));
    assert_eq!(ready.status, 200);
    assert!(
        ready.text().contains("[+] room: uploads are refused"),
        "{}",
        ready.text()
    );
    for _ in 0..5 {
        stored.delete_last(&daemon);
    }
    for round in ["clean", "killed"] {
        disk.fill();
        match round {
            "clean" => daemon.terminate(),
            _ => daemon.kill9(),
        }
        // What the process gave up, others take.
        disk.fill();
        daemon.start();
        stored.verify(&daemon);
        assert_eq!(refused_before_the_body(&daemon, 10_000), 507, "{round}");
        stored.delete_last(&daemon);
        stored.verify(&daemon);

        disk.clear();
        disk.remount(if round == "clean" { "size=96m" } else { "size=128m" });
        resumes(&daemon, &mut stored, 10_000 + number);
        number += 1000;
        ballast_comes_back(&daemon);
    }
    stored.verify(&daemon);
    assert!(within(PATIENCE, || daemon.metric("larder_store_above_high", "") == 0));
}

/// What compaction writes again must not fill the disk before what it makes free is free: half of everything is copied
/// here, and a fifth of the disk is left.
#[test]
fn compaction_of_a_store_that_is_nearly_full_shuts_no_upload_out() {
    let Some((_disk, daemon)) = on_disk("size=128m", Setup::default()) else {
        return;
    };
    let mut stored = Stored::default();
    for number in 0..330 {
        assert!(stored.put(&daemon, number, 300_000), "{number}");
    }
    for number in (0..330).step_by(2) {
        assert_eq!(daemon.delete(&Stored::target(number)), 204);
    }
    stored.0.retain(|(number, _)| number % 2 == 1);
    let before = log_bytes(&daemon);
    let (begun, mut number) = (ask_for_a_pass(&daemon), 1000);
    let ended = within(PATIENCE, || {
        number += 1;
        assert!(stored.put(&daemon, number, 1000), "refused during compaction");
        passes(&daemon) > begun
    });
    assert!(ended, "no pass within {PATIENCE:?}");
    assert_eq!(
        daemon.metric("larder_gc_runs_total", "result=\"ok\""),
        passes(&daemon)
    );
    let after = log_bytes(&daemon);
    assert!(after < before / 100 * 60, "{before} bytes became {after}");
    stored.verify(&daemon);
}

/// Where there is no room for the copies of even one file, compaction does not begin: the ballast is for removals.
#[test]
fn compaction_leaves_the_ballast_of_a_full_disk_to_removals() {
    let Some((disk, daemon)) = on_disk("size=64m", Setup::default()) else {
        return;
    };
    let mut stored = Stored::default();
    for number in 0..600 {
        assert!(stored.put(&daemon, number, 40_000), "{number}");
    }
    // The oldest file of the journal, which would go first, is alive. Not on the full disk: so many removals one by one
    // take more than the ballast by themselves.
    for _ in 0..400 {
        stored.delete_last(&daemon);
    }
    disk.fill();
    let begun = ask_for_a_pass(&daemon);
    assert!(
        within(PATIENCE, || passes(&daemon) > begun),
        "no pass within {PATIENCE:?}"
    );
    disk.fill();
    for _ in 0..50 {
        stored.delete_last(&daemon);
    }
    stored.verify(&daemon);
    disk.clear();
    resumes(&daemon, &mut stored, 10_000);
}

#[track_caller]
fn ballast_comes_back(daemon: &Daemon) {
    let path = daemon.data().join("ballast");
    let there = || fs::metadata(&path).is_ok_and(|ballast| ballast.len() == MIB as u64);
    assert!(within(PATIENCE, there), "{:?}", fs::metadata(&path));
}

#[test]
fn an_upload_that_meets_the_end_of_the_disk_leaves_nothing() {
    let Some((disk, mut daemon)) = on_disk("size=48m", Setup::default()) else {
        return;
    };
    let mut stored = Stored::default();
    assert!(stored.put(&daemon, 1, 3 * MIB));
    // Without a Content-Length nobody can know before.
    let long = Request::put(&path("long", "1", "f"), seeded_bytes(7, 80 * MIB)).chunked(256 * 1024);
    assert_eq!(daemon.as_admin(long).status, 507);
    daemon.assert_absent(&path("long", "1", "f"));
    stored.verify(&daemon);
    daemon.kill9();
    daemon.start();
    daemon.assert_absent(&path("long", "1", "f"));
    stored.verify(&daemon);
    disk.remount("size=192m");
    resumes(&daemon, &mut stored, 100);
    stored.verify(&daemon);
}

/// The disk fills up and empties behind the daemon's back while small and larger files come in: a write may meet the
/// end anywhere, the journal and the index included.
#[test]
fn a_disk_that_others_fill_under_load_costs_no_acknowledged_file() {
    let Some((disk, mut daemon)) = on_disk("size=64m", Setup::default()) else {
        return;
    };
    let (stop, refusals) = (AtomicBool::new(false), AtomicU64::new(0));
    let mut all = Stored::default();
    std::thread::scope(|scope| {
        let writers: Vec<_> = (0..4_u64)
            .map(|writer| {
                let (daemon, stop, refusals) = (&daemon, &stop, &refusals);
                scope.spawn(move || {
                    let (mut stored, mut refused) = (Stored::default(), 0);
                    for number in (writer * 10_000..).take(9_999) {
                        if stop.load(Ordering::Relaxed) {
                            break;
                        }
                        let size = if number % 7 == 0 { 300_000 } else { 2_000 };
                        if !stored.put(daemon, number, size) {
                            refused += 1;
                            refusals.fetch_add(1, Ordering::Relaxed);
                            if refused % 20 == 1 && stored.0.len() > 5 {
                                stored.delete_last(daemon);
                            }
                            std::thread::sleep(Duration::from_millis(2));
                        }
                    }
                    stored
                })
            })
            .collect();
        for _ in 0..3 {
            std::thread::sleep(Duration::from_millis(150));
            let before = refusals.load(Ordering::Relaxed);
            disk.fill();
            let met = within(PATIENCE, || refusals.load(Ordering::Relaxed) > before);
            std::thread::sleep(Duration::from_millis(100));
            disk.clear();
            if !met {
                stop.store(true, Ordering::Relaxed);
                panic!("no upload met the full disk");
            }
            // Uploads are tried again after a second.
            std::thread::sleep(Duration::from_millis(1000));
        }
        stop.store(true, Ordering::Relaxed);
        for writer in writers {
            all.0.extend(writer.join().expect("a writer panicked").0);
        }
    });
    assert!(!all.0.is_empty(), "nothing was stored");
    all.verify(&daemon);
    disk.remount("size=128m");
    resumes(&daemon, &mut all, 100_000);
    daemon.kill9();
    daemon.start();
    all.verify(&daemon);
}

#[test]
fn a_disk_without_inodes_is_full() {
    let Some((disk, mut daemon)) = on_disk("size=64m,nr_inodes=96", Setup::default()) else {
        return;
    };
    let mut stored = Stored::default();
    assert!(stored.put(&daemon, 1, 1000) && stored.put(&daemon, 2, 1000));
    let others = disk.fill_inodes();
    assert!(others > 16, "{others} files were possible");
    let mut number = 2;
    assert!(within(PATIENCE, || {
        number += 1;
        !stored.put(&daemon, number, 1000)
    }));
    assert!(daemon.metric("larder_store_refused_total", "reason=\"inodes\"") >= 1);
    stored.verify(&daemon);
    stored.delete_last(&daemon);
    daemon.kill9();
    // A start makes a journal file and a snapshot of the index.
    disk.clear_inodes(0..4);
    daemon.start();
    stored.verify(&daemon);
    disk.clear_inodes(4..others);
    resumes(&daemon, &mut stored, 10);
}

/// Others have taken even what was reserved: a start serves what there is, or says what to do. Nothing is lost.
#[test]
fn without_any_room_the_start_says_what_to_do() {
    let Some((disk, mut daemon)) = on_disk("size=32m", Setup::default()) else {
        return;
    };
    let mut stored = Stored::default();
    for number in 0..20 {
        assert!(stored.put(&daemon, number, 50_000));
    }
    daemon.kill9();
    fs::File::options()
        .write(true)
        .open(daemon.data().join("ballast"))
        .and_then(|ballast| ballast.set_len(0))
        .expect("the ballast can be cut");
    disk.fill();
    daemon.start();
    stored.verify(&daemon);
    assert_eq!(refused_before_the_body(&daemon, 10), 507);
    let removal = daemon.delete(&Stored::target(0));
    assert!(matches!(removal, 204 | 507), "{removal}");
    stored.verify_rest(&daemon, 1);

    // An index that has to be built anew needs more.
    daemon.kill9();
    fs::remove_dir_all(daemon.data().join("index")).expect("the index");
    disk.fill();
    daemon.spawn();
    let status = daemon.wait(PATIENCE).expect("it ends");
    assert_eq!(status.code(), Some(1));
    let stderr = daemon.stderr();
    assert!(
        stderr.contains("is full and the store cannot be opened; make some room"),
        "{stderr}"
    );
    disk.clear();
    daemon.start();
    stored.verify_rest(&daemon, 1);
    resumes(&daemon, &mut stored, 100);
}

#[test]
fn the_store_s_own_limit_has_watermarks() {
    let mut daemon = Setup::default()
        .config("[store]\nmax_size = \"32 MiB\"\nhigh_watermark = \"50%\"\nlow_watermark = \"40%\"\n")
        .start();
    let mut stored = Stored::default();
    let taken = (0..32)
        .take_while(|number| stored.put(&daemon, *number, MIB))
        .count();
    assert!((15..=17).contains(&taken), "{taken} MiB of 32 at 50%");
    assert_eq!(refused_before_the_body(&daemon, 10), 507);
    assert!(within(PATIENCE, || daemon.metric("larder_store_above_high", "") == 1));
    assert_eq!(daemon.metric("larder_store_limit_bytes", ""), 32 * MIB as u64);
    assert!(daemon.metric("larder_store_refused_total", "reason=\"watermark\"") >= 1);
    stored.delete_last(&daemon);
    stored.verify(&daemon);

    // The same figure after a restart, from what is on the disk.
    let before = daemon.metric("larder_store_used_bytes", "");
    daemon.terminate();
    let on_disk = log_bytes(&daemon);
    daemon.start();
    assert_eq!(daemon.metric("larder_store_used_bytes", ""), on_disk);
    assert!(
        on_disk >= before && on_disk < before + MIB as u64,
        "{before}, then {on_disk}"
    );
    assert_eq!(refused_before_the_body(&daemon, 10), 507, "still above");

    daemon.terminate();
    fs::write(daemon.config_path(), "[store]\nmax_size = \"64 MiB\"\n").unwrap();
    daemon.start();
    resumes(&daemon, &mut stored, 100);
    stored.verify(&daemon);
}

/// Requests that race with the refusal get an answer, not a reset.
#[test]
fn a_refused_body_is_drained() {
    let daemon = Setup::default()
        .config("[store]\nmax_size = \"16 MiB\"\n")
        .start();
    let put = daemon.authorized(Request::put(&path("big", "1", "f"), vec![1; 20 * MIB]));
    let answer = response_of(daemon.address(), &put).expect("an answer");
    assert_eq!(answer.status, 507);
    assert_eq!(
        daemon.put(&path("small", "1", "f"), "x"),
        201,
        "a body too large shuts nobody out"
    );
}
