//! Starts nginx with WebDAV PUT on a temporary directory: the file server that Larder is compared with.
//!
//! Debian's default configuration as far as it concerns this work (sendfile and tcp_nopush on, the rest at its
//! defaults), with what PUT needs. Three things are in nginx's favour: no access log, one worker for its one core, and
//! temporary files on the same file system, so that a PUT ends in a rename.

use std::fs;
use std::net::{SocketAddr, TcpListener};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::Fail;
use crate::options::Options;
use crate::server::{self, Server};
use crate::target::{Layout, Owner, Target};

/// Settings that make nginx faster than its defaults at this work.
const TUNED: &str = "
    open_file_cache max=20000 inactive=60s;
    open_file_cache_valid 60s;
    client_body_buffer_size 1m;
    sendfile_max_chunk 4m;
    keepalive_requests 1000000;";

/// Starts the nginx on PATH, `tuned` or with its defaults.
pub fn start(options: &Options, run: u64, tuned: bool) -> Result<(Server, Target), Fail> {
    let dir = server::work_dir(options.store.as_deref())?;
    let data = dir.path().join("data");
    fs::create_dir(&data)?;
    let address = free_port()?;
    fs::write(dir.path().join("nginx.conf"), config(dir.path(), address, tuned)?)?;
    let mut command = Command::new("nginx");
    command
        .arg("-p")
        .arg(dir.path())
        .arg("-c")
        .arg(dir.path().join("nginx.conf"))
        .arg("-e")
        .arg("stderr")
        .stdout(Stdio::null());
    let mut server = Server::spawn(command, dir, options.cores())?;
    server.await_listening(address)?;
    let target = Target {
        name: if tuned { "nginx tuned" } else { "nginx" }.into(),
        address,
        owners: (0..options.owners)
            .map(|number| Owner::new(format!("load-{number}"), &address.to_string(), None))
            .collect(),
        layout: options.layout.unwrap_or(Layout::Joined),
        run,
        process: Some(server.child.id()),
        data: Some(data),
    };
    Ok((server, target))
}

fn config(dir: &Path, address: SocketAddr, tuned: bool) -> Result<String, Fail> {
    // Started by root, its worker would change to a user that may not enter the directory.
    let is_root = fs::metadata(dir)?.uid() == 0;
    let user = if is_root { "user root;" } else { "" };
    let tuning = if tuned { TUNED } else { "" };
    let dir = dir.display();
    Ok(format!(
        "{user}
worker_processes 1;
daemon off;
pid {dir}/nginx.pid;
error_log stderr error;
events {{ worker_connections 20000; }}
http {{
    sendfile on;
    tcp_nopush on;
    types_hash_max_size 2048;
    default_type application/octet-stream;
    access_log off;
    client_max_body_size 0;
    client_body_temp_path {dir}/body;
    proxy_temp_path {dir}/proxy;
    fastcgi_temp_path {dir}/fastcgi;
    uwsgi_temp_path {dir}/uwsgi;
    scgi_temp_path {dir}/scgi;{tuning}
    server {{
        listen {address};
        root {dir}/data;
        dav_methods PUT DELETE;
        create_full_put_path on;
    }}
}}
"
    ))
}

/// A port that was free a moment ago: nginx cannot be told to take any.
fn free_port() -> Result<SocketAddr, Fail> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?)
}
