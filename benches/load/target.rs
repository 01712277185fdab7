//! The server under load: where it listens, what objects are called there, and which process it is.

use std::io::Write;
use std::net::{SocketAddr, ToSocketAddrs};
use std::path::PathBuf;

use crate::Fail;
use crate::workload::Object;

/// How objects are spread over versions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Layout {
    /// 256 versions hold all files of a package, as build caches do; needs a policy under which files join a version.
    Joined,
    /// Each object is a version of its own, as published artifacts are; works under every policy.
    Released,
}

/// An owner to publish under.
#[derive(Clone, Debug)]
pub struct Owner {
    /// Its name.
    pub name: String,
    /// The end of the request line and the headers that every request for it carries.
    pub headers: String,
}

/// A server that speaks the generic API.
#[derive(Clone, Debug)]
pub struct Target {
    /// What reports call it.
    pub name: String,
    /// Where it listens.
    pub address: SocketAddr,
    /// Owners that take turns. At least one.
    pub owners: Vec<Owner>,
    /// How objects are named.
    pub layout: Layout,
    /// Makes names unique to the run.
    pub run: u64,
    /// The server's process, if it is on this machine.
    pub process: Option<u32>,
    /// Where the server keeps its data, if on this machine.
    pub data: Option<PathBuf>,
}

impl Target {
    /// The path of `object`, the end of the request line and the headers that every request carries.
    pub fn write_path(&self, head: &mut Vec<u8>, object: &Object) {
        let Object { series, number, .. } = *object;
        let Owner { name, headers } = &self.owners[(number % self.owners.len() as u64) as usize];
        let run = self.run;
        let directory = number / self.owners.len() as u64 % 256;
        // Writing to a Vec cannot fail.
        let _ = match self.layout {
            Layout::Joined => write!(
                head,
                "/api/packages/{name}/generic/load-{run:x}-{series}/{directory:02x}/{number:08x}.bin{headers}"
            ),
            Layout::Released => write!(
                head,
                "/api/packages/{name}/generic/load-{run:x}-{series}/{number:08x}/body.bin{headers}"
            ),
        };
    }
}

impl Owner {
    /// The owner `name` on `host`, with a token if the server asks for one.
    pub fn new(name: String, host: &str, token: Option<&str>) -> Self {
        let headers = headers(host, token);
        Owner { name, headers }
    }
}

/// What follows the path in every request.
fn headers(host: &str, token: Option<&str>) -> String {
    let authorization = token.map(|token| format!("Authorization: Bearer {token}\r\n"));
    format!(
        " HTTP/1.1\r\nHost: {host}\r\n{}",
        authorization.unwrap_or_default()
    )
}

/// The address and the Host header of `http://HOST:PORT`.
pub fn parse_url(url: &str) -> Result<(SocketAddr, String), Fail> {
    let host = url
        .strip_prefix("http://")
        .ok_or("the URL must begin with http:// (put a proxy in front of a server that speaks TLS)")?
        .trim_end_matches('/');
    if host.contains('/') {
        return Err("the URL must end after the port".into());
    }
    let with_port = if host.rsplit(']').next().unwrap_or(host).contains(':') {
        host.to_owned()
    } else {
        format!("{host}:80")
    };
    let address = with_port
        .to_socket_addrs()?
        .next()
        .ok_or("the URL's host has no address")?;
    Ok((address, host.to_owned()))
}
