//! Starts, kills and restarts the real daemon on a data directory of its own.

use std::fs::{self, OpenOptions};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use serde_json::json;
use tempfile::TempDir;

use super::client::response_of;
use super::{Conn, PATIENCE, Request, Response, basic, bearer, within};

/// The admin's password in every store that the harness creates.
pub const ADMIN_PASSWORD: &str = "correct horse battery";

/// A command for the binary under test, without any `LARDER…` variable of the caller's environment.
pub fn binary() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_larder"));
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("LARDER") {
            command.env_remove(name);
        }
    }
    command.stdin(Stdio::null());
    command
}

/// Runs a command to its end; panics when it takes longer than [`PATIENCE`].
pub fn output_within(command: &mut Command, input: &str) -> Output {
    command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    ended(command, input)
}

/// Runs a command, whose stdin, stdout and stderr are set, to its end; panics when it takes longer than [`PATIENCE`].
/// Of what is no pipe of ours there is no output.
pub fn ended(command: &mut Command, input: &str) -> Output {
    let mut child = command.spawn().expect("the command starts");
    // A command that does not read its input may have closed it.
    if let Some(mut stdin) = child.stdin.take() {
        let _ = stdin.write_all(input.as_bytes());
    }
    // A pipe that nobody reads would hold the command up.
    let stdout = child.stdout.take().map(read_aside);
    let stderr = child.stderr.take().map(read_aside);
    let mut status = None;
    let in_time = within(PATIENCE, || {
        status = child.try_wait().expect("a child can be waited for");
        status.is_some()
    });
    if !in_time {
        child.kill().expect("a child can be killed");
        panic!("{command:?} did not end within {PATIENCE:?}");
    }
    Output {
        status: status.expect("it has ended"),
        stdout: stdout.map_or_else(Vec::new, |output| output.join().expect("its output can be read")),
        stderr: stderr.map_or_else(Vec::new, |errors| errors.join().expect("its errors can be read")),
    }
}

fn read_aside(mut pipe: impl Read + Send + 'static) -> JoinHandle<Vec<u8>> {
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        pipe.read_to_end(&mut bytes).expect("a pipe can be read");
        bytes
    })
}

/// How a daemon is to be started.
#[derive(Clone, Debug)]
pub struct Setup {
    config: String,
    listen: String,
    env: Vec<(String, String)>,
}

impl Default for Setup {
    fn default() -> Self {
        Setup {
            config: String::new(),
            listen: "127.0.0.1:0".to_owned(),
            env: vec![("LARDER_ADMIN_PASSWORD".to_owned(), ADMIN_PASSWORD.to_owned())],
        }
    }
}

impl Setup {
    /// Text of the configuration file.
    pub fn config(mut self, text: &str) -> Self {
        self.config.push_str(text);
        self
    }

    /// Where to listen, in place of a free port; a TCP address has to be the first.
    pub fn listen(mut self, listen: &str) -> Self {
        listen.clone_into(&mut self.listen);
        self
    }

    /// One `[[policies]]` entry.
    pub fn policy(self, packages: &str, policy: &str) -> Self {
        self.config(&format!(
            "[[policies]]\npackages = \"{packages}\"\npolicy = \"{policy}\"\n\n"
        ))
    }

    /// Starts without `LARDER_ADMIN_PASSWORD`.
    pub fn without_admin_password(mut self) -> Self {
        self.env.clear();
        self
    }

    /// Starts a daemon on a new data directory and waits until it is ready.
    pub fn start(self) -> Daemon {
        let mut daemon = self.prepare();
        daemon.start();
        daemon.fetch_admin_token();
        daemon
    }

    /// A data directory and a configuration, nothing started.
    pub fn prepare(self) -> Daemon {
        let directory = tempfile::Builder::new()
            .prefix("larder-it-")
            .tempdir()
            .expect("a temporary directory");
        fs::write(directory.path().join("larder.toml"), &self.config)
            .expect("the configuration can be written");
        Daemon {
            directory,
            listen: self.listen,
            env: self.env,
            process: None,
            address: SocketAddr::from(([127, 0, 0, 1], 0)),
            token: String::new(),
        }
    }
}

/// A running process and the lines it printed.
#[derive(Debug)]
struct Process {
    child: Child,
    stdout: Arc<Mutex<Vec<String>>>,
}

/// A daemon with its data directory. Dropping it kills the process, and fails the test if the daemon panicked.
#[derive(Debug)]
pub struct Daemon {
    directory: TempDir,
    listen: String,
    env: Vec<(String, String)>,
    process: Option<Process>,
    address: SocketAddr,
    token: String,
}

impl Daemon {
    /// Starts the process on its data directory and waits until it is ready.
    pub fn start(&mut self) {
        self.launch();
        let ready = within(PATIENCE, || {
            response_of(self.address, &Request::get("/readyz")).is_ok_and(|answer| answer.status == 200)
        });
        assert!(ready, "not ready within {PATIENCE:?}");
    }

    /// Starts the process and waits only for the line that names its port.
    pub fn launch(&mut self) {
        self.spawn();
        let process = self.process.as_mut().expect("just spawned");
        let lines = Arc::clone(&process.stdout);
        let child = &mut process.child;
        let mut ended = None;
        let printed = within(PATIENCE, || {
            ended = child.try_wait().expect("a child can be waited for");
            ended.is_some() || !lock(&lines).is_empty()
        });
        assert!(printed && ended.is_none(), "no listening line (ended: {ended:?})");
        let first = lock(&lines)[0].clone();
        let places = first.strip_prefix("larder listening on ").unwrap_or_default();
        self.address = places
            .split(' ')
            .find_map(|place| place.strip_prefix("http://")?.parse().ok())
            .unwrap_or_else(|| panic!("unexpected line on stdout: {first:?}"));
    }

    /// Starts the process and waits for nothing.
    pub fn spawn(&mut self) {
        assert!(self.process.is_none(), "the daemon runs already");
        let stderr = OpenOptions::new()
            .create(true)
            .append(true)
            .open(self.stderr_path());
        let mut child = binary()
            .args(["serve", "--listen", &self.listen, "--data"])
            .arg(self.data())
            .arg("--config")
            .arg(self.config_path())
            .envs(self.env.iter().map(|(name, value)| (name, value)))
            .current_dir(self.directory.path())
            .stdout(Stdio::piped())
            .stderr(stderr.expect("a file for stderr"))
            .spawn()
            .expect("the daemon starts");
        let stdout = Arc::new(Mutex::new(Vec::new()));
        let (lines, pipe) = (
            Arc::clone(&stdout),
            child.stdout.take().expect("stdout is a pipe"),
        );
        std::thread::spawn(move || {
            for line in BufReader::new(pipe).lines().map_while(Result::ok) {
                lock(&lines).push(line);
            }
        });
        self.process = Some(Process { child, stdout });
    }

    /// Sets a variable of the environment for the next start.
    pub fn set_env(&mut self, name: &str, value: &str) {
        self.env.retain(|(known, _)| known != name);
        self.env.push((name.to_owned(), value.to_owned()));
    }

    /// Changes where the next start listens; see [`Setup::listen`].
    pub fn set_listen(&mut self, listen: &str) {
        listen.clone_into(&mut self.listen);
    }

    /// Sends one request on a connection of its own.
    pub fn send(&self, request: &Request) -> Response {
        response_of(self.address, request).unwrap_or_else(|error| {
            panic!(
                "no answer to {}: {error}",
                String::from_utf8_lossy(&request.head_bytes())
            )
        })
    }

    /// Sends one request with the admin's token.
    pub fn as_admin(&self, request: Request) -> Response {
        self.send(&self.authorized(request))
    }

    /// Adds the admin's token to a request.
    pub fn authorized(&self, request: Request) -> Request {
        request.header("Authorization", bearer(&self.token))
    }

    /// A token of `admin` with every scope.
    pub fn admin_token(&self) -> &str {
        &self.token
    }

    /// PUTs as admin; the status.
    pub fn put(&self, target: &str, body: impl Into<Vec<u8>>) -> u16 {
        self.as_admin(Request::put(target, body)).status
    }

    /// GETs as admin.
    pub fn get(&self, target: &str) -> Response {
        self.as_admin(Request::get(target))
    }

    /// DELETEs as admin; the status.
    pub fn delete(&self, target: &str) -> u16 {
        self.as_admin(Request::delete(target)).status
    }

    /// Fails unless `target` serves exactly `body`.
    #[track_caller]
    pub fn assert_serves(&self, target: &str, body: &[u8]) {
        let answer = self.get(target);
        assert_eq!(answer.status, 200, "GET {target}: {}", answer.text());
        assert!(
            answer.body == body,
            "GET {target}: {} bytes that are not the {} published",
            answer.body.len(),
            body.len()
        );
    }

    /// Fails unless `target` is not there.
    #[track_caller]
    pub fn assert_absent(&self, target: &str) {
        let answer = self.get(target);
        assert_eq!(answer.status, 404, "GET {target}: {} bytes", answer.body.len());
    }

    /// A connection.
    pub fn connect(&self) -> Conn {
        Conn::open(self.address).expect("the daemon takes connections")
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The data directory.
    pub fn data(&self) -> PathBuf {
        self.directory.path().join("data")
    }

    /// The directory around the data directory.
    pub fn home(&self) -> &Path {
        self.directory.path()
    }

    /// The configuration file.
    pub fn config_path(&self) -> PathBuf {
        self.directory.path().join("larder.toml")
    }

    /// Everything that all runs wrote to stderr.
    pub fn stderr(&self) -> String {
        fs::read(self.stderr_path())
            .map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
            .unwrap_or_default()
    }

    /// The lines that this run wrote to stdout so far.
    pub fn stdout(&self) -> Vec<String> {
        self.process
            .as_ref()
            .map(|process| lock(&process.stdout).clone())
            .unwrap_or_default()
    }

    /// The process id.
    pub fn pid(&self) -> u32 {
        self.process.as_ref().expect("the daemon runs").child.id()
    }

    /// Kills the process as the out-of-memory killer would, and waits until it is gone.
    pub fn kill9(&mut self) {
        let mut process = self.process.take().expect("the daemon runs");
        process.child.kill().expect("the daemon can be killed");
        process.child.wait().expect("the daemon can be waited for");
    }

    /// Sends SIGTERM and waits for nothing.
    pub fn signal_term(&self) {
        self.signal(libc::SIGTERM);
    }

    /// Sends SIGHUP and waits for nothing.
    pub fn signal_hangup(&self) {
        self.signal(libc::SIGHUP);
    }

    /// Sends SIGKILL while others still talk to the daemon; [`Daemon::kill9`] afterwards clears it away.
    pub fn signal_kill(&self) {
        self.signal(libc::SIGKILL);
    }

    fn signal(&self, signal: libc::c_int) {
        let pid = libc::pid_t::try_from(self.pid()).expect("a process id");
        // SAFETY: kill(2) takes two integers; the process is our own child and has not been waited for.
        let sent = unsafe { libc::kill(pid, signal) };
        assert_eq!(sent, 0, "a signal can be sent");
    }

    /// Waits for the process to end; `None` when it still runs after `limit`.
    pub fn wait(&mut self, limit: Duration) -> Option<ExitStatus> {
        let child = &mut self.process.as_mut().expect("the daemon runs").child;
        let mut status = None;
        within(limit, || {
            status = child.try_wait().expect("the daemon can be waited for");
            status.is_some()
        });
        if status.is_some() {
            self.process = None;
        }
        status
    }

    /// Shuts down gracefully, which must end with exit code 0.
    pub fn terminate(&mut self) {
        self.signal_term();
        let status = self.wait(PATIENCE).expect("the daemon ends after SIGTERM");
        assert_eq!(status.code(), Some(0), "exit after SIGTERM: {status}");
    }

    /// Runs a store command (`rebuild-index`, …) on this data directory.
    pub fn run(&self, arguments: &[&str], input: &str) -> Output {
        output_within(binary().args(arguments).arg("--data").arg(self.data()), input)
    }

    /// Uses another daemon's token: this one's data is a copy of the other's.
    pub fn share_token(&mut self, other: &Daemon) {
        self.token.clone_from(&other.token);
    }

    /// One password check for each store: everything else uses the token. [`Setup::start`] does it.
    pub fn fetch_admin_token(&mut self) {
        let body = json!({"name": "tests", "scopes": ["all"]});
        let request = Request::new("POST", "/api/v1/users/admin/tokens")
            .header("Authorization", basic("admin", ADMIN_PASSWORD))
            .json(&body);
        let answer = self.send(&request);
        assert_eq!(answer.status, 201, "the admin's token: {}", answer.text());
        self.token = answer.json()["sha1"]
            .as_str()
            .expect("the token, as sha1")
            .to_owned();
    }

    fn stderr_path(&self) -> PathBuf {
        self.directory.path().join("stderr.log")
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        if let Some(mut process) = self.process.take() {
            let _ = process.child.kill();
            let _ = process.child.wait();
        }
        let stderr = self.stderr();
        if std::thread::panicking() {
            let lines: Vec<&str> = stderr.lines().collect();
            let tail = &lines[lines.len().saturating_sub(40)..];
            if std::env::var_os("LARDER_TEST_KEEP").is_some() {
                self.directory.disable_cleanup(true);
                eprintln!("kept: {}", self.directory.path().display());
            }
            eprintln!(
                "--- the daemon's stderr, last lines ---\n{}\n---",
                tail.join("\n")
            );
        } else {
            assert!(!stderr.contains("panicked at"), "the daemon panicked:\n{stderr}");
        }
    }
}

/// The first place that the daemon says it listens on whose name begins with `kind`, without that.
pub fn listening(daemon: &Daemon, kind: &str) -> String {
    let lines = daemon.stdout();
    let places = lines.iter().flat_map(|line| line.split(' '));
    let mut found = places.filter_map(|place| place.strip_prefix(kind));
    found
        .next()
        .unwrap_or_else(|| panic!("no {kind} in {lines:?}"))
        .to_owned()
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}
