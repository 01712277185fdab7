//! What the management API costs for a package with many versions: `cargo bench --bench manage -- --versions 200000`.
//!
//! Fills a package with versions of three files through `Store::commit`, starts `larder serve` on it, and asks over one
//! connection. At the end it removes the whole package and looks on while the daemon sweeps it out of the index.

use std::collections::VecDeque;
use std::fmt::Write as _;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use base64::Engine as _;
use bytes::Bytes;
use clap::Parser;
use larder::chunk::Digest;
use larder::store::change::{Change, Expected, Publish};
use larder::store::counts::Quota;
use larder::store::model::{File, Package, Shape, Version};
use larder::store::ticket::Ticket;
use larder::store::upload::{Content, NewBlob};
use larder::store::{Options, Progress, Store};

/// Whatever stops a run; a person reads it.
type Fail = Box<dyn std::error::Error + Send + Sync>;

/// Files of a version.
const FILES: u64 = 3;
/// Commits under way at once.
const UNDER_WAY: usize = 1024;
/// The admin's.
const PASSWORD: &str = "a password for the bench";
/// Whose package. The first account that a daemon creates has another id, so the bench publishes once it is there.
const OWNER: &str = "admin";
/// Between two PUTs while a package is swept.
const PAUSE: Duration = Duration::from_millis(20);
/// PUTs in a row with no sync of a sweep between them, once that is over.
const QUIET: usize = 25;
/// What takes longer has failed.
const PATIENCE: Duration = Duration::from_secs(600);

/// Measures the management API.
#[derive(Debug, Parser)]
struct Args {
    /// Versions of the package, each of three files.
    #[arg(long, value_delimiter = ',', default_values_t = [1000, 200_000])]
    versions: Vec<u64>,
    /// Requests of each kind.
    #[arg(long, default_value_t = 200)]
    requests: usize,
    /// Cargo says so.
    #[arg(long, hide = true)]
    bench: bool,
}

fn main() -> Result<(), Fail> {
    let args = Args::parse();
    for versions in &args.versions {
        measure(*versions, args.requests)?;
    }
    Ok(())
}

fn measure(versions: u64, requests: usize) -> Result<(), Fail> {
    let dir = tempfile::tempdir()?;
    let data = dir.path().join("data");
    // The first start creates the account.
    Daemon::start(&data)?.stop()?;
    let began = Instant::now();
    fill(&data, versions)?;
    println!(
        "\n{versions} versions of {FILES} files, filled in {:.1} s",
        began.elapsed().as_secs_f64()
    );
    println!(
        "{:<44} {:>9} {:>9} {:>9}",
        "request", "p50 ms", "p99 ms", "max ms"
    );

    let daemon = Daemon::start(&data)?;
    let mut client = Client::connect(daemon.address)?;
    let api = format!("/api/v1/packages/{OWNER}");
    let package = format!("{api}/generic/app");
    let last = versions.div_ceil(30);
    let middle = versions / 2;
    for (what, path) in [
        ("first page of the package", package.clone()),
        (
            "page in the middle of the package",
            format!("{package}?page={}", last / 2),
        ),
        ("last page of the package", format!("{package}?page={last}")),
        ("page behind the last one", format!("{package}?page={}", u64::MAX)),
        ("first page of the owner (X-Total-Count)", api.clone()),
        ("search that finds the package", format!("{api}?q=aP")),
        ("search that finds nothing", format!("{api}?q=zzz")),
        ("latest", format!("{package}/-/latest")),
        ("one version", format!("{package}/1.0.{middle}")),
        (
            "its files, checksums known",
            format!("{package}/1.0.{middle}/files"),
        ),
    ] {
        client.expect("GET", &path, 200)?;
        report(what, &mut times(requests, |_| client.expect("GET", &path, 200))?);
    }
    report(
        "files of a version, checksums computed",
        &mut times(requests, |n| {
            client.expect("GET", &format!("{package}/1.0.{}/files", n as u64), 200)
        })?,
    );
    report(
        "DELETE of one version",
        &mut times(requests, |n| {
            let number = versions * n as u64 / requests as u64;
            client.expect("DELETE", &format!("{package}/1.0.{number}"), 204)
        })?,
    );
    sweep(&mut client, &package, &daemon)?;
    daemon.stop()
}

/// Removes the package, and asks for other things while it is swept.
fn sweep(client: &mut Client, package: &str, daemon: &Daemon) -> Result<(), Fail> {
    let mut other = Client::connect(daemon.address)?;
    let put = |client: &mut Client, n: usize| {
        client.send(
            "PUT",
            &format!("/api/packages/{OWNER}/generic/other/{n}/file"),
            "x",
        )?;
        client.status(201)
    };
    report("PUT before", &mut times(50, |n| put(&mut other, n))?);
    let before = syncs(&mut other)?;
    report(
        "DELETE of the package",
        &mut times(1, |_| client.expect("DELETE", package, 204))?,
    );
    client.expect("GET", package, 404)?;
    let began = Instant::now();
    let mut during = Vec::new();
    let (mut known, mut quiet) = (before + 1, 0);
    // Each PUT is one sync; when there are no others for half a second, the sweep is over and does not merely rest.
    while quiet < QUIET && began.elapsed() < PATIENCE {
        let asked = Instant::now();
        put(&mut other, 50 + during.len())?;
        during.push(asked.elapsed());
        thread::sleep(PAUSE);
        let now = syncs(&mut other)?;
        quiet = if now > known + 1 { 0 } else { quiet + 1 };
        known = now;
    }
    let took = began.elapsed()
        - during
            .iter()
            .rev()
            .take(QUIET)
            .map(|put| *put + PAUSE)
            .sum::<Duration>();
    let steps = known - before - 1 - during.len() as u64;
    during.truncate(during.len().saturating_sub(QUIET).max(1));
    report("PUT while it is swept", &mut during);
    println!("swept in {steps} steps, {:.1} s", took.as_secs_f64());
    Ok(())
}

/// How often the journal has been synced, which each group of commits is once.
fn syncs(client: &mut Client) -> Result<u64, Fail> {
    client.send("GET", "/metrics", "")?;
    let text = client.answer(200)?;
    let value = text
        .lines()
        .find_map(|line| line.strip_prefix("larder_commit_fsync_seconds_count "));
    Ok(value
        .ok_or("the daemon does not count its syncs")?
        .trim()
        .parse::<f64>()? as u64)
}

fn times(count: usize, mut work: impl FnMut(usize) -> Result<(), Fail>) -> Result<Vec<Duration>, Fail> {
    let mut times = Vec::with_capacity(count);
    for n in 0..count {
        let began = Instant::now();
        work(n)?;
        times.push(began.elapsed());
    }
    Ok(times)
}

fn report(what: &str, times: &mut [Duration]) {
    times.sort_unstable();
    let at = |part: f64| {
        let place = ((times.len() as f64 * part).ceil() as usize).clamp(1, times.len());
        times[place - 1].as_secs_f64() * 1e3
    };
    println!("{what:<44} {:>9.2} {:>9.2} {:>9.2}", at(0.5), at(0.99), at(1.0));
}

/// One connection.
struct Client(BufReader<TcpStream>);

impl Client {
    fn connect(address: SocketAddr) -> Result<Self, Fail> {
        let stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        Ok(Client(BufReader::new(stream)))
    }

    fn expect(&mut self, method: &str, path: &str, status: u16) -> Result<(), Fail> {
        self.send(method, path, "")?;
        self.status(status)
    }

    fn status(&mut self, status: u16) -> Result<(), Fail> {
        self.answer(status).map(drop)
    }

    fn send(&mut self, method: &str, path: &str, body: &str) -> Result<(), Fail> {
        let credentials = base64::engine::general_purpose::STANDARD.encode(format!("{OWNER}:{PASSWORD}"));
        let mut request =
            format!("{method} {path} HTTP/1.1\r\nHost: bench\r\nAuthorization: Basic {credentials}\r\n");
        write!(request, "Content-Length: {}\r\n\r\n{body}", body.len())?;
        self.0.get_mut().write_all(request.as_bytes())?;
        Ok(())
    }

    fn answer(&mut self, status: u16) -> Result<String, Fail> {
        let (mut line, mut length) = (String::new(), None);
        self.0.read_line(&mut line)?;
        if !line.starts_with(&format!("HTTP/1.1 {status}")) {
            return Err(format!("not {status}: {line}").into());
        }
        let mut chunked = false;
        loop {
            line.clear();
            self.0.read_line(&mut line)?;
            let header = line.trim_end().to_ascii_lowercase();
            if header.is_empty() {
                break;
            }
            if let Some(value) = header.strip_prefix("content-length: ") {
                length = Some(value.parse()?);
            }
            chunked |= header == "transfer-encoding: chunked";
        }
        if chunked {
            return Err("an answer in chunks is not expected".into());
        }
        let mut body = vec![0; length.unwrap_or(0)];
        self.0.read_exact(&mut body)?;
        Ok(String::from_utf8(body)?)
    }
}

struct Daemon {
    process: Child,
    address: SocketAddr,
}

impl Daemon {
    fn start(data: &Path) -> Result<Self, Fail> {
        let address = TcpListener::bind("127.0.0.1:0")?.local_addr()?;
        let process = Command::new(env!("CARGO_BIN_EXE_larder"))
            .args(["serve", "--listen", &address.to_string(), "--data"])
            .arg(data)
            .env("LARDER_ADMIN_PASSWORD", PASSWORD)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()?;
        let mut daemon = Daemon { process, address };
        let began = Instant::now();
        while !daemon.is_ready() {
            if let Some(status) = daemon.process.try_wait()? {
                return Err(format!("the server ended: {status}").into());
            }
            if began.elapsed() > PATIENCE {
                return Err("the server does not become ready".into());
            }
            thread::sleep(Duration::from_millis(20));
        }
        Ok(daemon)
    }

    fn is_ready(&self) -> bool {
        Client::connect(self.address).is_ok_and(|mut client| client.expect("GET", "/readyz", 200).is_ok())
    }

    /// SIGTERM: an orderly end.
    fn stop(mut self) -> Result<(), Fail> {
        if let Some(pid) = rustix::process::Pid::from_raw(i32::try_from(self.process.id())?) {
            rustix::process::kill_process(pid, rustix::process::Signal::TERM)?;
        }
        self.process.wait()?;
        Ok(())
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // After an orderly end there is nothing to kill.
        let _ = self.process.kill();
    }
}

struct Quiet;

impl Progress for Quiet {
    fn replayed(&self, _done: u64, _total: u64) {}
}

/// Publishes the versions, each with its files.
fn fill(data: &Path, versions: u64) -> Result<(), Fail> {
    let store = Store::open(Options::at(data), &Quiet)?;
    let owner = store.account(OWNER)?.ok_or("no account")?.id;
    let runtime = tokio::runtime::Builder::new_current_thread().build()?;
    let mut under_way: VecDeque<Ticket> = VecDeque::new();
    let mut package = Expected::Absent(Package {
        id: store.next_id(),
        name: "app".into(),
        exact_case: false,
        created: 1_700_000_000_000,
    });
    for number in 0..versions {
        let mut version = Expected::Absent(Version {
            id: store.next_id(),
            name: format!("1.0.{number}"),
            created: 1_700_000_000_000,
            creator: owner,
        });
        for file in 0..FILES {
            let publish = publication(&store, owner, &package, &version, number * FILES + file);
            under_way.push_back(store.commit(publish));
            // Commits of one thread are taken in order, so what was said to be absent is there for the next.
            package = now_there(package);
            version = now_there(version);
        }
        while under_way.len() > UNDER_WAY {
            if let Some(ticket) = under_way.pop_front() {
                runtime.block_on(ticket.settled())?;
            }
        }
    }
    for ticket in under_way {
        runtime.block_on(ticket.settled())?;
    }
    store.close();
    Ok(())
}

fn now_there<T>(expected: Expected<T>) -> Expected<T> {
    match expected {
        Expected::Absent(there) | Expected::Present(there) => Expected::Present(there),
    }
}

fn publication(
    store: &Store,
    owner: u64,
    package: &Expected<Package>,
    version: &Expected<Version>,
    number: u64,
) -> Change {
    let body = Bytes::from(format!("artifact number {number}\n"));
    let digest = Digest::of(&body);
    let size = body.len() as u64;
    Change::Publish(Publish {
        owner,
        package: package.clone(),
        version: version.clone(),
        file: File {
            id: store.next_id(),
            name: format!("artifact-{}.tar.zst", number % FILES),
            blob: digest,
            size,
            shape: Shape::Single,
            created: 1_700_000_000_000,
            creator: owner,
            sha256: None,
        },
        replaces: None,
        quota: Quota::default(),
        blob: Arc::new(NewBlob {
            digest,
            size,
            content: Content::Inline(vec![body]),
        }),
    })
}
