//! The command line's end. Blocks.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use super::{MAX_LINE, Request, Response, socket, to_line};

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

/// Asks the daemon that holds the store at `data`.
pub fn ask(data: &Path, request: &Request) -> Result<Response, AskError> {
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
    BufReader::new(stream.take(MAX_LINE)).read_until(b'\n', &mut line)?;
    Ok(serde_json::from_slice(&line).map_err(io::Error::from)?)
}
