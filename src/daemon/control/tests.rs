#![allow(clippy::unwrap_used)]

use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;

use super::*;
use std::sync::atomic::{AtomicU64, Ordering};

/// Holds that are out.
static HELD: AtomicU64 = AtomicU64::new(0);

struct Release;

impl Drop for Release {
    fn drop(&mut self) {
        HELD.fetch_sub(1, Ordering::SeqCst);
    }
}

fn end(journal_file: u64) -> LogEnd {
    LogEnd {
        store: [7; 16],
        journal_file,
        journal_offset: 2,
        segment_file: 3,
        segment_offset: 4,
    }
}

fn set_password(account: &str) -> Request {
    Request::Accounts {
        request: accounts::Request::SetPassword {
            name: account.to_owned(),
            password: "correct horse".to_owned(),
        },
    }
}

fn done() -> Response {
    Response::Accounts {
        answer: accounts::Answer::Done {},
    }
}

/// Answers `Done` for alice and refuses everyone else.
async fn only_alice(request: Request) -> Answer {
    let response = match request {
        Request::Accounts {
            request: accounts::Request::SetPassword { name, .. },
        } => match name.as_str() {
            "alice" => done(),
            other => Response::Failed {
                message: format!("there is no account {other}"),
            },
        },
        Request::Accounts { .. }
        | Request::Collect { .. }
        | Request::Collected { .. }
        | Request::Stats
        | Request::BackedUp(_)
        | Request::Reload => panic!("not asked for"),
        Request::HoldFiles => {
            let held = HELD.fetch_add(1, Ordering::SeqCst) + 1;
            return Answer::keeping(Response::Held { end: end(held) }, Release);
        }
    };
    response.into()
}

/// Runs `client` on its own thread while a control socket in a fresh directory is served.
async fn with_server<T: Send + 'static>(client: impl FnOnce(PathBuf) -> T + Send + 'static) -> T {
    let data = tempfile::tempdir().unwrap();
    let control = Control::bind(data.path()).unwrap();
    let path = data.path().to_owned();
    tokio::select! {
        () = control.serve(only_alice) => unreachable!("it serves for ever"),
        result = tokio::task::spawn_blocking(move || client(path)) => result.unwrap(),
    }
}

#[tokio::test]
async fn a_request_is_answered() {
    let (known, unknown) = with_server(|data| {
        (
            ask(&data, &set_password("alice")).unwrap(),
            ask(&data, &set_password("bob")).unwrap(),
        )
    })
    .await;
    assert_eq!(known, done());
    let message = "there is no account bob".to_owned();
    assert_eq!(unknown, Response::Failed { message });
}

#[tokio::test]
async fn nonsense_is_answered_and_the_next_request_still_served() {
    with_server(|data| {
        for nonsense in [
            "\n",
            "{}\n",
            "[\n",
            "{\"op\":\"accounts\"}\n",
            "no line",
            &"x".repeat(10_000),
        ] {
            let mut stream = UnixStream::connect(socket(&data)).unwrap();
            // The rest of a line that is too long may meet a closed socket.
            let _ = stream.write_all(nonsense.as_bytes());
            let _ = stream.shutdown(std::net::Shutdown::Write);
            let mut answer = String::new();
            let _ = stream.read_to_string(&mut answer);
            assert!(answer.is_empty() || answer.contains("failed"), "{answer}");
        }
        assert_eq!(ask(&data, &set_password("alice")).unwrap(), done());
    })
    .await;
}

#[tokio::test]
async fn the_socket_is_private_replaces_a_stale_one_and_goes_with_the_daemon() {
    let data = tempfile::tempdir().unwrap();
    std::fs::write(socket(data.path()), "stale").unwrap();
    let control = Control::bind(data.path()).unwrap();
    let mode = std::fs::metadata(socket(data.path()))
        .unwrap()
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o600);
    drop(control);
    assert!(!socket(data.path()).exists());
    assert!(matches!(
        ask(data.path(), &set_password("alice")),
        Err(AskError::NotRunning)
    ));
}

#[tokio::test]
async fn files_are_held_until_the_client_hangs_up_and_others_are_served_meanwhile() {
    with_server(|data| {
        let held = hold_files(&data).unwrap();
        assert_eq!(held.end, end(1));
        assert_eq!(ask(&data, &set_password("alice")).unwrap(), done());
        assert_eq!(HELD.load(Ordering::SeqCst), 1);
        drop(held);
        for _ in 0..6000 {
            if HELD.load(Ordering::SeqCst) == 0 {
                return;
            }
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
        panic!("the hold outlives its connection");
    })
    .await;
}
