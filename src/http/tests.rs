//! The server over real sockets, before a store is open: everything that does not need one.

#![allow(clippy::unwrap_used)]

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

use super::{Listener, Options, Server, Serves, Socket, State};

/// Longer than anything takes here, also on a machine that is busy with other things.
const PATIENCE: Duration = Duration::from_secs(60);

const FILE: &str = "/api/packages/o/generic/p/v/f";

/// Runs a server for `options` while `client` talks to its two addresses from another thread.
fn serve(options: Options, client: impl FnOnce(SocketAddr, SocketAddr) + Send + 'static) {
    actix_rt::System::new().block_on(async {
        let bind = || TcpListener::bind("127.0.0.1:0").unwrap();
        let (main, metrics) = (bind(), bind());
        let addresses = [&main, &metrics].map(|listener| listener.local_addr().unwrap());
        let listeners = [(main, Serves::AllButMetrics), (metrics, Serves::MetricsOnly)];
        let listeners = listeners.map(|(listener, serves)| Listener {
            socket: Socket::Tcp(listener),
            serves,
        });
        let server = Server::start(State::new(options), listeners.into()).unwrap();
        let [main, metrics] = addresses;
        let talked = actix_rt::task::spawn_blocking(move || client(main, metrics)).await;
        server.stop(false).await;
        talked.unwrap();
    });
}

fn options() -> Options {
    Options {
        workers: 1,
        drain_time: Duration::from_secs(3),
        ..Options::default()
    }
}

struct Client(TcpStream);

impl Client {
    fn connect(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        Client(stream)
    }

    fn write(&mut self, bytes: &[u8]) -> &mut Self {
        self.0.write_all(bytes).unwrap();
        self
    }

    /// The next answer: its head in lower case, and its body.
    fn read(&mut self) -> (String, String) {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            self.0.read_exact(&mut byte).unwrap();
            head.push(byte[0]);
        }
        let head = String::from_utf8(head).unwrap().to_lowercase();
        let length = head
            .lines()
            .find_map(|line| line.strip_prefix("content-length: "));
        let mut body = vec![0; length.map_or(0, |length| length.parse().unwrap())];
        self.0.read_exact(&mut body).unwrap();
        (head, String::from_utf8(body).unwrap())
    }

    fn status(&mut self) -> u16 {
        let (head, _) = self.read();
        head[9..12].parse().unwrap()
    }

    fn is_closed(&mut self) -> bool {
        matches!(self.0.read(&mut [0]), Ok(0))
    }
}

fn get(address: SocketAddr, target: &str) -> u16 {
    let request = format!("GET {target} HTTP/1.1\r\nHost: x\r\n\r\n");
    Client::connect(address).write(request.as_bytes()).status()
}

fn put(length: usize, headers: &str) -> String {
    format!("PUT {FILE} HTTP/1.1\r\nHost: x\r\nContent-Length: {length}\r\n{headers}\r\n")
}

#[test]
fn until_the_store_is_open_only_health_and_metrics_answer() {
    serve(options(), |main, metrics| {
        assert_eq!(get(main, "/livez"), 200);
        assert_eq!(get(main, "/readyz"), 503);
        assert_eq!(get(main, "/metrics"), 404);
        for target in ["/", FILE, "/nowhere", "/api/v1/user", "/%zz"] {
            assert_eq!(get(main, target), 503, "{target}");
        }
        assert_eq!(get(metrics, "/livez"), 200);
        assert_eq!(get(metrics, "/metrics"), 200);
        assert_eq!(get(metrics, FILE), 404);
        let mut client = Client::connect(main);
        client.write(b"POST //livez/ HTTP/1.1\r\nHost: x\r\n\r\n");
        let (head, _) = client.read();
        assert!(
            head.starts_with("http/1.1 405") && head.contains("\r\nallow: get, head\r\n"),
            "{head}"
        );
    });
}

#[test]
fn a_client_that_sends_everything_first_sees_the_status() {
    serve(options(), |main, _| {
        // More than is waited for before the answer, and more than socket buffers take.
        for length in [8 << 20, 40 << 20] {
            let mut client = Client::connect(main);
            client.write(put(length, "").as_bytes()).write(&vec![0; length]);
            assert_eq!(client.status(), 503, "{length}");
        }
        let chunk = [b"10000\r\n".as_slice(), &[0; 0x10000], b"\r\n"].concat();
        let head = format!("PUT {FILE} HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n");
        let mut client = Client::connect(main);
        client.write(head.as_bytes());
        for _ in 0..400 {
            client.write(&chunk);
        }
        assert_eq!(client.write(b"0\r\n\r\n").status(), 503);
    });
}

#[test]
fn a_refusal_does_not_wait_for_the_body_and_lets_go_of_the_client() {
    let refused = |main| {
        let mut client = Client::connect(main);
        client.write(put(8 << 20, "").as_bytes());
        let (head, _) = client.read();
        assert!(
            head.starts_with("http/1.1 503") && head.contains("connection: close"),
            "{head}"
        );
        client
    };
    let patient = Options {
        drain_time: 10 * PATIENCE,
        ..options()
    };
    // The client would lose its patience.
    serve(patient, move |main, _| drop(refused(main)));
    serve(options(), move |main, _| assert!(refused(main).is_closed()));
}

#[test]
fn no_more_than_the_bounds_is_thrown_away() {
    let options = Options {
        drain_bytes: 1 << 20,
        drain_time: 10 * PATIENCE,
        ..options()
    };
    serve(options, |main, _| {
        let mut client = Client::connect(main);
        client.write(put(1 << 40, "").as_bytes());
        assert_eq!(client.status(), 503);
        let began = Instant::now();
        let piece = vec![0; 1 << 20];
        // The connection breaks when the bound is passed and the lingering is over.
        while client.0.write_all(&piece).is_ok() {
            assert!(began.elapsed() < PATIENCE, "it is read for ever");
        }
    });
}

#[test]
fn a_connection_goes_on_after_a_body_that_was_read_to_its_end() {
    serve(options(), |main, _| {
        let mut client = Client::connect(main);
        for length in [0, 5, 300_000, 3 << 20] {
            client.write(put(length, "").as_bytes()).write(&vec![0; length]);
            let (head, _) = client.read();
            assert!(
                head.starts_with("http/1.1 503") && !head.contains("connection: close"),
                "{head}"
            );
        }
        let chunked = format!("PUT {FILE} HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n");
        client
            .write(chunked.as_bytes())
            .write(b"2\r\nab\r\n1\r\nc\r\n0\r\n\r\n");
        let (head, _) = client.read();
        assert!(
            head.starts_with("http/1.1 503") && !head.contains("connection: close"),
            "{head}"
        );
        client.write(b"HEAD /livez HTTP/1.1\r\nHost: x\r\n\r\n");
        let mut head = [0; 15];
        client.0.read_exact(&mut head).unwrap();
        assert_eq!(&head, b"HTTP/1.1 200 OK");
    });
}

#[test]
fn whoever_asks_first_gets_the_final_status() {
    serve(options(), |main, _| {
        for target in [FILE, "/api/packages/o/generic/p/v", "/nowhere", "/livez"] {
            let request = format!(
                "PUT {target} HTTP/1.1\r\nHost: x\r\nContent-Length: 9000000\r\nExpect: 100-continue\r\n\r\n"
            );
            let mut client = Client::connect(main);
            let (head, body) = client.write(request.as_bytes()).read();
            let expected = if target == "/livez" { "405" } else { "503" };
            assert_eq!(&head[9..12], expected, "{target}");
            assert!(!body.is_empty());
        }
        // Nothing speaks against the body of a request that does without it.
        let request = b"GET /livez HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\n";
        let mut client = Client::connect(main);
        assert_eq!(client.write(request).status(), 100);
        assert_eq!(client.write(b"ab").status(), 200);
    });
}
