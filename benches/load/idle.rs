//! Connections that were used once and then stay open: what they cost the server in memory.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use crate::answer::end_of_head;
use crate::target::{Owner, Target};
use crate::{Fail, process};

/// Open, idle connections; dropping them closes them.
pub struct Idle {
    _streams: Vec<TcpStream>,
    /// By how much the server's resident memory grew, in bytes, if it is local.
    pub grown: Option<i64>,
}

/// Opens `count` connections and sends one HEAD on each, of something that is not there.
pub fn open(target: &Target, count: usize) -> Result<Idle, Fail> {
    let resident = || target.process.and_then(|pid| process::memory(pid, "VmRSS"));
    let before = resident();
    let mut streams = Vec::with_capacity(count);
    for number in 0..count {
        let stream = greet(target).map_err(|error| format!("idle connection {number}: {error}"))?;
        streams.push(stream);
    }
    let grown = before.zip(resident());
    Ok(Idle {
        _streams: streams,
        grown: grown.map(|(before, now)| now as i64 - before as i64),
    })
}

fn greet(target: &Target) -> Result<TcpStream, Fail> {
    let patience = Duration::from_secs(30);
    let mut stream = TcpStream::connect_timeout(&target.address, patience)?;
    stream.set_read_timeout(Some(patience))?;
    let Owner { name, headers } = target.owners.first().ok_or("no owner")?;
    let head = format!("HEAD /api/packages/{name}/generic/load/none/none{headers}\r\n");
    stream.write_all(head.as_bytes())?;
    let mut answer = Vec::new();
    let mut buffer = [0; 4096];
    while end_of_head(&answer).is_none() {
        match stream.read(&mut buffer)? {
            0 => return Err("closed before it was answered".into()),
            received => answer.extend_from_slice(&buffer[..received]),
        }
    }
    Ok(stream)
}
