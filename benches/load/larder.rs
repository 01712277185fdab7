//! Starts Larder itself on a temporary store, with owners to publish under and a token that may.

use std::fs;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde_json::{Value, json};

use crate::Fail;
use crate::options::Options;
use crate::server::{self, Server, call};
use crate::target::{Layout, Owner, Target};

const PASSWORD: &str = "load-bench-password";

/// Starts the binary that was built with this bench, or the one that `options` name.
pub fn start(options: &Options, run: u64) -> Result<(Server, Target), Fail> {
    let dir = server::work_dir(options.store.as_deref())?;
    let data = dir.path().join("data");
    let config = dir.path().join("larder.toml");
    let extra = match &options.config {
        Some(path) => fs::read_to_string(path)?,
        None => String::new(),
    };
    // Top-level keys of the operator's file come first: they would otherwise belong to the table below.
    fs::write(
        &config,
        format!("{extra}\n[[policies]]\npackages = \"*/*\"\npolicy = \"cache\"\n"),
    )?;
    let binary = match &options.larder {
        Some(path) => path.as_os_str(),
        None => env!("CARGO_BIN_EXE_larder").as_ref(),
    };
    let mut command = Command::new(binary);
    command
        .args(["serve", "--listen", "127.0.0.1:0", "--data"])
        .arg(&data)
        .arg("--config")
        .arg(&config)
        .env("LARDER_ADMIN_PASSWORD", PASSWORD)
        // Idle connections come on top of the default.
        .env(
            "LARDER__SERVER__MAX_CONNECTIONS",
            (8192 + options.idle).to_string(),
        )
        .stdout(Stdio::piped());
    let mut server = Server::spawn(command, dir, options.cores())?;
    let address = await_address(&mut server)?;
    let owners = set_up(address, options.owners)?;
    let target = Target {
        name: "larder".into(),
        address,
        owners,
        layout: options.layout.unwrap_or(Layout::Joined),
        run,
        process: Some(server.child.id()),
        data: Some(data),
    };
    Ok((server, target))
}

/// The address in the line that says where the server listens.
fn await_address(server: &mut Server) -> Result<SocketAddr, Fail> {
    let stdout = server.child.stdout.take().ok_or("no standard output")?;
    let (sender, receiver) = mpsc::channel();
    // Reads on for as long as the server runs, so that it never blocks on a full pipe.
    thread::spawn(move || {
        for line in BufReader::new(stdout).lines().map_while(Result::ok) {
            if let Some((_, url)) = line.split_once("larder listening on http://") {
                let _ = sender.send(url.trim().to_owned());
            }
        }
    });
    let address = receiver
        .recv_timeout(Duration::from_secs(30))
        .map_err(|_| server.failed())?;
    let address = address.parse()?;
    for _ in 0..3000 {
        if matches!(call(address, "GET", "/readyz", "", ""), Ok((200, _))) {
            return Ok(address);
        }
        thread::sleep(Duration::from_millis(10));
    }
    Err(server.failed())
}

/// Ordinary private accounts, each with a token that may write under its own name: what CI systems would be given.
fn set_up(address: SocketAddr, owners: u64) -> Result<Vec<Owner>, Fail> {
    let admin = format!("Basic {}", BASE64_STANDARD.encode(format!("admin:{PASSWORD}")));
    let all = json!({"name": "load", "scopes": ["all"]});
    let admin = format!("Bearer {}", token(address, &admin, "admin", &all)?);
    let owner = |number| {
        let name = format!("load-{number}");
        let user = json!({"username": name, "password": PASSWORD, "visibility": "private"});
        expect(address, "POST", "/api/v1/admin/users", &admin, &user)?;
        let write = json!({"name": "load", "scopes": ["write:package"]});
        let token = token(address, &admin, &name, &write)?;
        Ok(Owner::new(name, &address.to_string(), Some(&token)))
    };
    (0..owners).map(owner).collect()
}

fn token(address: SocketAddr, authorization: &str, user: &str, wanted: &Value) -> Result<String, Fail> {
    let path = format!("/api/v1/users/{user}/tokens");
    let answer = expect(address, "POST", &path, authorization, wanted)?;
    let answer: Value = serde_json::from_str(&answer)?;
    let token = answer["sha1"].as_str().ok_or("a token without its text")?;
    Ok(token.to_owned())
}

/// A request of the setting up that must succeed. The body of its answer.
fn expect(
    address: SocketAddr,
    method: &str,
    path: &str,
    authorization: &str,
    body: &Value,
) -> Result<String, Fail> {
    let (status, answer) = call(address, method, path, authorization, &body.to_string())?;
    if (200..300).contains(&status) {
        Ok(answer)
    } else {
        Err(format!("{method} {path} was answered with {status}: {answer}").into())
    }
}
