//! A server that this program starts, and stops: the process and the temporary directory it works in.

use std::fs;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use crate::options::Cores;
use crate::{Fail, process};

/// How long a server may take to start or to stop.
const PATIENCE: Duration = Duration::from_secs(30);

/// A running server; dropping it stops it and removes its data.
#[derive(Debug)]
pub struct Server {
    /// The process.
    pub child: Child,
    /// Its directory.
    pub dir: TempDir,
}

impl Server {
    /// Starts `command` in `dir` on the server's core, with its messages in `messages.txt` there.
    pub fn spawn(mut command: Command, dir: TempDir, cores: Option<Cores>) -> Result<Self, Fail> {
        let messages = fs::File::create(dir.path().join("messages.txt"))?;
        command.stdin(Stdio::null()).stderr(messages);
        if let Some(cores) = cores {
            process::pin(cores.server)?;
        }
        let child = command.spawn();
        if let Some(cores) = cores {
            process::pin(cores.client)?;
        }
        let program = command.get_program().to_string_lossy().into_owned();
        let child = child.map_err(|error| format!("cannot start {program}: {error}"))?;
        Ok(Server { child, dir })
    }

    /// Waits until something answers on `address`.
    pub fn await_listening(&mut self, address: SocketAddr) -> Result<(), Fail> {
        let begun = Instant::now();
        while TcpStream::connect(address).is_err() {
            if begun.elapsed() > PATIENCE || self.child.try_wait()?.is_some() {
                return Err(self.failed());
            }
            thread::sleep(Duration::from_millis(10));
        }
        Ok(())
    }

    /// The error for a server that did not come up, with what it had to say.
    pub fn failed(&self) -> Fail {
        let messages = fs::read_to_string(self.dir.path().join("messages.txt")).unwrap_or_default();
        format!("the server did not start:\n{messages}").into()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Ok(id) = i32::try_from(self.child.id()) {
            // Failing means that it has ended.
            let _ = Pid::from_raw(id).map(|pid| kill_process(pid, Signal::TERM));
        }
        let begun = Instant::now();
        while begun.elapsed() < PATIENCE {
            if !matches!(self.child.try_wait(), Ok(None)) {
                return;
            }
            thread::sleep(Duration::from_millis(10));
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A new directory for a server, below `parent` or the system's place for temporary files.
pub fn work_dir(parent: Option<&Path>) -> io::Result<TempDir> {
    let mut builder = tempfile::Builder::new();
    builder.prefix("larder-load-");
    match parent {
        Some(parent) => builder.tempdir_in(parent),
        None => builder.tempdir(),
    }
}

/// One request of the setting up, on a connection of its own. Status and body.
pub fn call(
    address: SocketAddr,
    method: &str,
    path: &str,
    authorization: &str,
    body: &str,
) -> Result<(u16, String), Fail> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    write!(
        stream,
        "{method} {path} HTTP/1.1\r\nHost: {address}\r\nAuthorization: {authorization}\r\nConnection: close\r\n\
         Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let (head, body) = answer.split_once("\r\n\r\n").ok_or("an answer without a head")?;
    let status = head.get(9..12).and_then(|code| code.parse().ok());
    Ok((status.ok_or("an answer without a status")?, body.to_owned()))
}
