//! Memory does not grow with the number or the size of what is under way (issue 2, Streaming and bounds).

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use crate::support::{
    Conn, Daemon, MIB, PATIENCE, Request, Rng, Setup, alone, path, seeded_bytes, together, within,
};

const LIMIT: usize = 400 * MIB;

/// A body that is made while it is sent: one block repeated, each copy stamped every 16 KiB, so that no chunk of it
/// was ever seen before.
struct Stream {
    block: Vec<u8>,
    rng: Rng,
}

impl Stream {
    fn new(seed: u64) -> Self {
        Stream {
            block: seeded_bytes(seed, MIB),
            rng: Rng::new(seed ^ 0xffff),
        }
    }

    /// The next mebibyte.
    fn next(&mut self) -> &[u8] {
        for stamp in self.block.chunks_mut(16 * 1024) {
            stamp[..8].copy_from_slice(&self.rng.next().to_le_bytes());
        }
        &self.block
    }
}

/// The head of a PUT of `length` bytes that follow later.
fn upload_head(daemon: &Daemon, target: &str, length: usize) -> Vec<u8> {
    let request = Request::new("PUT", target).header("Content-Length", length.to_string());
    daemon.authorized(request).head_bytes()
}

#[test]
fn sixty_four_large_uploads_at_once() {
    let _alone = alone();
    let (count, mebibytes) = (64, 64);
    let daemon = Setup::default().start();
    // All have sent three quarters before any of them may end, so all are under way together.
    let (arrived, failed) = (AtomicUsize::new(0), AtomicBool::new(false));
    let statuses = together(count, |client| {
        let upload = || -> std::io::Result<u16> {
            let mut stream = Stream::new(51 + client as u64);
            let mut connection = daemon.connect();
            connection.read_limit(3 * PATIENCE);
            let target = path("many", &client.to_string(), "f");
            connection.write(&upload_head(&daemon, &target, mebibytes * MIB))?;
            for number in 0..mebibytes {
                if number == mebibytes * 3 / 4 {
                    arrived.fetch_add(1, Ordering::SeqCst);
                    within(3 * PATIENCE, || {
                        arrived.load(Ordering::SeqCst) == count || failed.load(Ordering::SeqCst)
                    });
                }
                connection.write(stream.next())?;
            }
            Ok(connection.read_response("PUT")?.status)
        };
        let status = upload();
        failed.fetch_or(status.is_err(), Ordering::SeqCst);
        status
    });
    let peak = daemon.memory("VmHWM");
    println!("peak resident memory with {count} uploads: {} MiB", peak / MIB);
    for (client, status) in statuses.into_iter().enumerate() {
        let status = status.unwrap_or_else(|error| panic!("client {client}: {error}"));
        assert_eq!(status, 201, "client {client}");
    }
    assert!(peak < LIMIT, "{} MiB resident", peak / MIB);

    // One of them, to see that it was not only swallowed.
    let mut expected = Stream::new(51 + 7);
    let stored = daemon.get(&path("many", "7", "f")).body;
    assert_eq!(stored.len(), mebibytes * MIB);
    assert!(
        stored.chunks(MIB).all(|piece| piece == expected.next()),
        "the bytes differ"
    );
}

#[test]
fn readers_that_do_not_read() {
    let _alone = alone();
    let daemon = Setup::default().start();
    let target = path("slow", "1", "f");
    let length = 64 * MIB;
    let mut upload = daemon.connect();
    upload.write(&upload_head(&daemon, &target, length)).unwrap();
    let mut stream = Stream::new(52);
    for _ in 0..64 {
        upload.write(stream.next()).unwrap();
    }
    assert_eq!(upload.read_response("PUT").unwrap().status, 201);
    assert_eq!(daemon.put(&path("quick", "1", "f"), "quick"), 201);

    let request = Request::get(&target).head_bytes();
    let readers: Vec<Conn> = (0..200)
        .map(|_| {
            let mut reader = daemon.connect();
            reader.write(&request).unwrap();
            reader
        })
        .collect();
    // Time for the daemon to fill all that it is willing to fill.
    std::thread::sleep(Duration::from_secs(4));
    daemon.assert_serves(&path("quick", "1", "f"), b"quick");
    assert_eq!(daemon.put(&path("quick", "2", "f"), "others go on"), 201);
    let peak = daemon.memory("VmHWM");
    println!("peak resident memory with 200 readers: {} MiB", peak / MIB);
    assert!(peak < LIMIT, "{} MiB resident", peak / MIB);

    // A reader that wakes up gets its bytes.
    let mut readers = readers;
    let mut late = readers.pop().unwrap();
    drop(readers);
    let answer = late.read_response("GET").unwrap();
    let mut expected = Stream::new(52);
    assert!(answer.body.len() == length && answer.body.chunks(MIB).all(|piece| piece == expected.next()));
}

#[test]
fn connections_that_say_nothing_do_not_block_others() {
    let _alone = alone();
    let daemon = Setup::default().start();
    let mut silent: Vec<Conn> = (0..500).map(|_| daemon.connect()).collect();
    for (number, connection) in silent.iter_mut().enumerate() {
        if number % 2 == 0 {
            connection
                .write(b"PUT /api/packages/admin/generic/half/1/f HTTP/1.1\r\nHost: x\r\nX-Half: ")
                .unwrap();
        }
    }
    assert_eq!(daemon.put(&path("quick", "1", "f"), "quick"), 201);
    daemon.assert_serves(&path("quick", "1", "f"), b"quick");
    // A head that does not come is not waited for for ever.
    assert!(
        silent[0].is_closed_within(Duration::from_secs(30))
            || silent[0]
                .drain(Duration::from_secs(1))
                .starts_with(b"HTTP/1.1 408")
    );
    let peak = daemon.memory("VmHWM");
    assert!(peak < LIMIT, "{} MiB resident", peak / MIB);
}
