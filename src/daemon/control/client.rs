//! The command line's end. Blocks.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use super::{MAX_ANSWER, Request, Response, socket, to_line};
use crate::store::snapshot::LogEnd;

/// An answer takes at most this long; one argon2 hash and a commit fit many times.
const PATIENCE: Duration = Duration::from_secs(30);

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum AskError {
    /// No daemon listens: the store can be opened directly.
    #[error("no daemon is running")]
    NotRunning,
    /// A daemon may have got the request.
    #[error("the daemon did not answer: {0}")]
    Failed(#[from] io::Error),
}

/// The daemon's log files, held as long as this lives.
#[derive(Debug)]
pub struct Held {
    /// How far the log reaches.
    pub end: LogEnd,
    _connection: UnixStream,
}

/// Asks the daemon that holds the store at `data`.
pub fn ask(data: &Path, request: &Request) -> Result<Response, AskError> {
    Ok(talk(data, request)?.0)
}

/// Has the daemon keep its log files.
pub fn hold_files(data: &Path) -> Result<Held, AskError> {
    match talk(data, &Request::HoldFiles)? {
        (Response::Held { end }, connection) => Ok(Held {
            end,
            _connection: connection,
        }),
        (Response::Failed { message }, _) => Err(AskError::Failed(io::Error::other(message))),
        _ => Err(AskError::Failed(io::ErrorKind::InvalidData.into())),
    }
}

fn talk(data: &Path, request: &Request) -> Result<(Response, UnixStream), AskError> {
    let mut stream = match UnixStream::connect(socket(data)) {
        Err(error)
            if matches!(
                error.kind(),
                io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused
            ) =>
        {
            return Err(AskError::NotRunning);
        }
        other => other?,
    };
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    stream.write_all(&to_line(request))?;
    let mut line = Vec::new();
    BufReader::new((&stream).take(MAX_ANSWER)).read_until(b'\n', &mut line)?;
    let response = serde_json::from_slice(&line).map_err(io::Error::from)?;
    Ok((response, stream))
}
