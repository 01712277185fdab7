//! Who wins when many want the same name (API.md §1, Races): exact counts, never a 500, and the winner's bytes stay.

use std::sync::Mutex;
use std::time::{Duration, Instant};

use crate::support::{
    Conn, Daemon, MIB, PATIENCE, Request, Response, Rng, Setup, alone, etag, path, seeded_bytes, tally,
    together, version_path, within,
};

const CLIENTS: usize = 64;

/// Sends one request from each of 64 connections at the same moment; connections and requests are ready before.
fn race(daemon: &Daemon, request: impl Fn(usize) -> Request) -> Vec<Response> {
    let clients: Vec<Mutex<(Conn, Request)>> = (0..CLIENTS)
        .map(|number| Mutex::new((daemon.connect(), daemon.authorized(request(number)))))
        .collect();
    together(CLIENTS, |number| {
        let mut client = clients[number].lock().unwrap();
        let (connection, request) = &mut *client;
        connection
            .send(request)
            .unwrap_or_else(|error| panic!("client {number}: {error}"))
    })
}

fn statuses(answers: &[Response]) -> Vec<u16> {
    answers.iter().map(|answer| answer.status).collect()
}

/// The number of the one client that got `status`.
#[track_caller]
fn only_winner(answers: &[Response], status: u16, others: u16, what: &str) -> usize {
    let seen = tally(&statuses(answers));
    let mut expected = vec![status];
    expected.extend(vec![others; answers.len() - 1]);
    assert_eq!(seen, tally(&expected), "{what}");
    answers.iter().position(|answer| answer.status == status).unwrap()
}

/// Bodies differ for each client, and sizes from round to round: inside one journal record, and of several chunks.
fn body(round: usize, client: usize) -> Vec<u8> {
    let sizes = [1, 100, 20_000, 400_000, 3 * MIB];
    // The largest only rarely: 64 of them are 192 MiB.
    let size = if round % 16 == 15 {
        sizes[4]
    } else {
        sizes[round % 4]
    };
    let mut body = seeded_bytes(round as u64, size);
    body.extend_from_slice(format!("client {client}").as_bytes());
    body
}

#[test]
fn release_has_one_winner() {
    let _alone = alone();
    let daemon = Setup::default().start();
    for round in 0..20 {
        let target = path("race", &round.to_string(), "f");
        let answers = race(&daemon, |client| Request::put(&target, body(round, client)));
        let winner = only_winner(&answers, 201, 400, &format!("round {round}"));
        daemon.assert_serves(&target, &body(round, winner));
        assert_eq!(
            answers[winner].header("etag"),
            Some(etag(&body(round, winner)).as_str())
        );
    }
}

#[test]
fn release_has_one_winner_over_different_files_and_spellings() {
    let _alone = alone();
    let daemon = Setup::default().start();
    for round in 0..12 {
        let file_of = |client: usize| format!("f{}", client % 8);
        let version_of = |client: usize| {
            if client.is_multiple_of(2) {
                format!("RC-{round}")
            } else {
                format!("rc-{round}")
            }
        };
        let answers = race(&daemon, |client| {
            Request::put(
                &path("race", &version_of(client), &file_of(client)),
                body(round % 3, client),
            )
        });
        let winner = only_winner(&answers, 201, 400, &format!("round {round}"));
        for file in 0..8 {
            let target = path("race", &format!("rc-{round}"), &format!("f{file}"));
            match file == winner % 8 {
                true => daemon.assert_serves(&target, &body(round % 3, winner)),
                false => daemon.assert_absent(&target),
            }
        }
    }
}

#[test]
fn package_has_one_winner_for_a_file_and_room_for_others() {
    let _alone = alone();
    let daemon = Setup::default().policy("admin/*", "package").start();
    for round in 0..12 {
        let same = path("same", &round.to_string(), "f");
        let answers = race(&daemon, |client| Request::put(&same, body(round, client)));
        let winner = only_winner(&answers, 201, 409, &format!("same file, round {round}"));
        daemon.assert_serves(&same, &body(round, winner));

        let own = |client: usize| path("own", &round.to_string(), &format!("f{client}"));
        let answers = race(&daemon, |client| {
            Request::put(&own(client), body(round % 3, client))
        });
        assert_eq!(
            tally(&statuses(&answers)),
            "201 x64",
            "different files, round {round}"
        );
        for client in 0..CLIENTS {
            daemon.assert_serves(&own(client), &body(round % 3, client));
        }
    }
}

#[test]
fn write_once_takes_the_same_bytes_again_and_no_others() {
    let _alone = alone();
    let daemon = Setup::default().policy("admin/*", "write-once").start();
    for round in 0..10 {
        let same = path("same", &round.to_string(), "f");
        let answers = race(&daemon, |_| Request::put(&same, body(round, 0)));
        only_winner(&answers, 201, 200, &format!("same bytes, round {round}"));
        daemon.assert_serves(&same, &body(round, 0));

        let other = path("other", &round.to_string(), "f");
        let answers = race(&daemon, |client| Request::put(&other, body(round, client)));
        let winner = only_winner(&answers, 201, 409, &format!("other bytes, round {round}"));
        daemon.assert_serves(&other, &body(round, winner));
    }
}

#[test]
fn cache_replaces_whole_files_only() {
    let _alone = alone();
    let daemon = Setup::default().policy("admin/*", "cache").start();
    let target = path("cached", "1", "f");
    for round in 0..16 {
        // Readers and writers at once: whatever is read is one of the bodies, never a mixture.
        let answers = race(&daemon, |client| match client % 4 {
            3 => Request::get(&target),
            _ => Request::put(&target, body(round, client)),
        });
        for (client, answer) in answers.iter().enumerate() {
            let whole = client % 4 != 3
                || (round == 0 && answer.status == 404)
                || answer.header("etag") == Some(etag(&answer.body).as_str());
            assert!(
                whole,
                "round {round}, client {client}: {} torn bytes",
                answer.body.len()
            );
            assert!(
                client % 4 == 3 || answer.status == 200,
                "round {round}, client {client}: {}",
                answer.status
            );
        }
        let last = daemon.get(&target);
        let known = (0..CLIENTS).any(|client| last.body == body(round, client));
        assert!(known, "round {round}: GET returns none of the bodies");
    }
}

#[test]
fn preconditions_have_one_winner_under_cache() {
    let _alone = alone();
    let daemon = Setup::default().policy("admin/*", "cache").start();
    let target = path("swap", "1", "f");
    let answers = race(&daemon, |client| {
        Request::put(&target, body(1, client)).header("If-None-Match", "*")
    });
    let mut current = body(1, only_winner(&answers, 200, 412, "create"));
    for round in 2..14 {
        let tag = etag(&current);
        let answers = race(&daemon, |client| {
            Request::put(&target, body(round, client)).header("If-Match", tag.as_str())
        });
        current = body(round, only_winner(&answers, 200, 412, &format!("swap {round}")));
        daemon.assert_serves(&target, &current);
    }
}

#[test]
fn a_file_is_removed_once() {
    let _alone = alone();
    let daemon = Setup::default().policy("admin/*", "package").start();
    for round in 0..10 {
        let file = path("gone", &round.to_string(), "f");
        let version = version_path("gone", &round.to_string());
        assert_eq!(daemon.put(&file, "x"), 201);
        let answers = race(&daemon, |client| {
            Request::delete(if client % 2 == 0 { &file } else { &version })
        });
        only_winner(&answers, 204, 404, &format!("round {round}"));
        daemon.assert_absent(&file);
    }
}

#[test]
fn publishing_and_removing_at_once_ends_in_one_of_both() {
    let _alone = alone();
    let daemon = Setup::default().start();
    for round in 0..16 {
        let target = path("flip", &round.to_string(), "f");
        let answers = race(&daemon, |client| match client % 2 {
            0 => Request::put(&target, body(round % 3, client)),
            _ => Request::delete(&target),
        });
        let count = |status: u16| answers.iter().filter(|answer| answer.status == status).count();
        let (published, removed) = (count(201), count(204));
        assert_eq!(
            published + removed + count(400) + count(404),
            CLIENTS,
            "{}",
            tally(&statuses(&answers))
        );
        let visible = daemon.get(&target);
        // Publications and removals of a name alternate, so what is left follows from their numbers.
        assert_eq!(
            visible.status,
            if published == removed { 404 } else { 200 },
            "{published} - {removed}"
        );
        assert!(
            published == removed || published == removed + 1,
            "{published} - {removed}"
        );
    }
}

#[test]
fn a_download_finishes_with_the_bytes_it_began_with() {
    let daemon = Setup::default().policy("admin/cached", "cache").start();
    let old = seeded_bytes(91, 24 * MIB);
    for (name, version) in [("cached", "replaced"), ("cached", "removed"), ("tool", "removed")] {
        let target = path(name, version, "f");
        assert!(matches!(daemon.put(&target, old.clone()), 200 | 201));
        let mut reader = daemon.connect();
        reader.write(&Request::get(&target).head_bytes()).unwrap();
        // The reader takes next to nothing yet, so far less than 24 MiB can be on the way.
        reader.await_answer().unwrap();
        match version {
            "replaced" => assert_eq!(daemon.put(&target, "new"), 200),
            _ => assert_eq!(daemon.delete(&target), 204),
        }
        let answer = reader.read_response("GET").unwrap();
        assert!(
            answer.status == 200 && answer.body == old,
            "{name} {version}: not what it began with"
        );
        assert_eq!(
            daemon.get(&target).status,
            if version == "replaced" { 200 } else { 404 }
        );
    }
}

/// Sends the head and half of the body of a PUT, and leaves it there.
fn stalled(daemon: &Daemon, target: &str, body: &[u8]) -> Conn {
    let request = daemon.authorized(Request::put(target, body));
    let mut connection = daemon.connect();
    connection.write(&request.head_bytes()).unwrap();
    connection.write(&body[..body.len() / 2]).unwrap();
    connection
}

/// Waits until so many uploads are under way.
#[track_caller]
fn have_their_turn(daemon: &Daemon, count: u64) {
    let uploads = || daemon.metric("larder_uploads_in_progress", "");
    assert!(within(PATIENCE, || uploads() == count), "{}", uploads());
}

#[test]
fn a_stalled_upload_cannot_squat_on_a_name() {
    let daemon = Setup::default().start();
    for round in 0..5 {
        let target = path("squat", &round.to_string(), "f");
        let mine = body(2, 1);
        let mut waiting: Vec<Conn> = (0..8).map(|_| stalled(&daemon, &target, &mine)).collect();
        have_their_turn(&daemon, 8);
        // Were it held up by the stalled ones, it would be answered when they are cut off, and they not as below.
        assert_eq!(daemon.put(&target, "the quick one"), 201, "round {round}");
        for connection in &mut waiting {
            connection.write(&mine[mine.len() / 2..]).unwrap();
            assert_eq!(
                connection.read_response("PUT").unwrap().status,
                400,
                "round {round}"
            );
        }
        daemon.assert_serves(&target, b"the quick one");
    }
}

#[test]
fn broken_uploads_leave_the_name_to_the_others() {
    let _alone = alone();
    let daemon = Setup::default().start();
    for round in 0..12 {
        let target = path("breaks", &round.to_string(), "f");
        let mut rng = Rng::new(round as u64);
        let breaks: Vec<bool> = (0..CLIENTS).map(|_| rng.chance(60)).collect();
        let answers = together(CLIENTS, |client| {
            let mine = body(2 + round % 2, client);
            if breaks[client] {
                drop(stalled(&daemon, &target, &mine));
                return None;
            }
            Some((client, daemon.as_admin(Request::put(&target, mine))))
        });
        let (clients, answers): (Vec<usize>, Vec<Response>) = answers.into_iter().flatten().unzip();
        let winner = only_winner(&answers, 201, 400, &format!("round {round}"));
        daemon.assert_serves(&target, &body(2 + round % 2, clients[winner]));
    }
}

#[test]
fn few_permits_change_who_waits_and_not_who_wins() {
    let _alone = alone();
    let daemon = Setup::default()
        .config("[limits]\nuploads_per_owner = 4\n")
        .start();
    for round in 0..8 {
        let target = path("permits", &round.to_string(), "f");
        let answers = race(&daemon, |client| Request::put(&target, body(round % 3, client)));
        let decided: Vec<Response> = answers
            .iter()
            .filter(|answer| answer.status != 503)
            .cloned()
            .collect();
        only_winner(
            &decided,
            201,
            400,
            &format!("round {round}: {}", tally(&statuses(&answers))),
        );
        let winner = answers.iter().position(|answer| answer.status == 201).unwrap();
        daemon.assert_serves(&target, &body(round % 3, winner));
    }
}

#[test]
fn stalled_uploads_that_hold_all_permits_make_others_wait_then_503() {
    let daemon = Setup::default()
        .config("[limits]\nuploads_per_owner = 4\n")
        .start();
    daemon.create_user("alice", "a long password", "public");
    let target = path("held", "1", "f");
    let mine = body(2, 1);
    let held: Vec<Conn> = (0..4).map(|_| stalled(&daemon, &target, &mine)).collect();
    have_their_turn(&daemon, 4);
    // Others wait up to 10 s; nothing is decided about the name.
    let answers = together(6, |client| {
        let begin = Instant::now();
        (
            daemon.as_admin(Request::put(&target, body(1, client))),
            begin.elapsed(),
        )
    });
    for (answer, waited) in &answers {
        assert_eq!(answer.status, 503, "{}", answer.text());
        let seconds: u64 = answer
            .header("retry-after")
            .expect("Retry-After")
            .parse()
            .expect("a number of seconds");
        assert!(
            seconds > 0 && *waited > Duration::from_secs(5),
            "waited {waited:?}, retry after {seconds}"
        );
    }
    daemon.assert_absent(&target);
    // The bound is the owner's, and reads need no permit.
    assert_eq!(daemon.put("/api/packages/alice/generic/tool/1/f", "x"), 201);
    drop(held);
    assert_eq!(daemon.put(&target, "free again"), 201);
    daemon.assert_serves(&target, b"free again");
}

#[test]
fn owners_race_apart() {
    let _alone = alone();
    let daemon = Setup::default().start();
    for owner in 0..8 {
        daemon.create_user(&format!("user{owner}"), "a long password", "public");
    }
    let target = |client: usize| format!("/api/packages/user{}/generic/tool/1/f", client % 8);
    let answers = race(&daemon, |client| Request::put(&target(client), body(1, client)));
    assert_eq!(tally(&statuses(&answers)), "201 x8, 400 x56");
    for owner in 0..8 {
        let winner = (0..CLIENTS).find(|client| client % 8 == owner && answers[*client].status == 201);
        daemon.assert_serves(
            &target(owner),
            &body(1, winner.expect("one winner for each owner")),
        );
    }
}
