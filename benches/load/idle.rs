//! Connections that were used once and then stay open: what they cost the server in memory.

use crate::body::{Body, Source};
use crate::client::Client;
use crate::target::Target;
use crate::workload::{Job, Object, Verb};
use crate::{Fail, process};

/// Open, idle connections; dropping them closes them.
pub struct Idle<'a> {
    _clients: Vec<Client<'a>>,
    /// By how much the server's resident memory grew, in bytes, if it is local.
    pub grown: Option<i64>,
}

/// Opens `count` connections and asks for something missing on each.
pub fn open<'a>(target: &'a Target, source: &'a Source, count: usize) -> Result<Idle<'a>, Fail> {
    let resident = || target.process.and_then(|pid| process::memory(pid, "VmRSS"));
    let before = resident();
    let missing = Job {
        verb: Verb::Miss,
        object: Object {
            series: 0,
            number: 0,
            body: Body {
                size: 0,
                identity: 0,
                edit: None,
            },
        },
    };
    let mut clients = Vec::with_capacity(count);
    for number in 0..count {
        let mut client = Client::new(target, source, true);
        client
            .perform(&missing)
            .map_err(|failure| format!("idle connection {number}: {failure}"))?;
        client.release_buffers();
        clients.push(client);
    }
    let grown = before
        .zip(resident())
        .map(|(before, now)| now as i64 - before as i64);
    Ok(Idle {
        _clients: clients,
        grown,
    })
}
