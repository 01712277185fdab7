//! The daemon's end: one connection after the other, each short; what a client holds it holds on the side.

use std::any::Any;
use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::time::{sleep, timeout};

use super::{MAX_LINE, Request, Response, socket, to_line};

/// A client has this long to send its line, and again to take the answer.
const PATIENCE: Duration = Duration::from_secs(5);

/// What is answered, and what is kept until the client closes the connection.
pub struct Answer {
    response: Response,
    kept: Option<Box<dyn Any>>,
}

impl Answer {
    /// An answer that keeps `kept`.
    pub fn keeping(response: Response, kept: impl Any) -> Self {
        Answer {
            response,
            kept: Some(Box::new(kept)),
        }
    }
}

impl From<Response> for Answer {
    fn from(response: Response) -> Self {
        Answer { response, kept: None }
    }
}

/// The socket. Dropping it takes its file away.
#[derive(Debug)]
pub struct Control {
    listener: UnixListener,
    path: PathBuf,
}

impl Control {
    /// Makes the socket of the store at `data`. Only for who holds the store's lock: a file that is there already was
    /// left by a daemon that died, and is replaced.
    pub fn bind(data: &Path) -> io::Result<Self> {
        let path = socket(data);
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let listener = UnixListener::bind(&path)?;
        fs::set_permissions(&path, Permissions::from_mode(0o600))?;
        Ok(Control { listener, path })
    }

    /// Answers requests until it is dropped.
    pub async fn serve(&self, answer: impl AsyncFn(Request) -> Answer) {
        let mut clients = FuturesUnordered::new();
        loop {
            let accepted = tokio::select! {
                accepted = self.listener.accept() => accepted,
                Some(()) = clients.next() => continue,
            };
            let talked = match accepted {
                Ok((stream, _)) => talk(stream, &answer).await,
                Err(error) => Err(error),
            };
            let talked = talked.map(|client| clients.extend(client.map(until_closed)));
            if let Err(error) = talked {
                tracing::warn!(%error, "control connection failed");
                // An accept that fails for want of descriptors would fail again at once.
                sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

impl Drop for Control {
    fn drop(&mut self) {
        // If it stays, the next start replaces it.
        let _ = fs::remove_file(&self.path);
    }
}

/// A client and what it holds.
type Holder = (BufReader<UnixStream>, Box<dyn Any>);

/// Keeps what a client holds until it hangs up.
async fn until_closed((mut stream, kept): Holder) {
    // Nothing more is expected of it; whatever ends the read ends the hold.
    let _ = stream.read(&mut [0]).await;
    drop(kept);
}

async fn talk(stream: UnixStream, answer: &impl AsyncFn(Request) -> Answer) -> io::Result<Option<Holder>> {
    // The mode keeps others out; this also holds for who connected before the mode was set.
    let peer = stream.peer_cred()?.uid();
    if peer != 0 && peer != rustix::process::geteuid().as_raw() {
        return Err(io::ErrorKind::PermissionDenied.into());
    }
    let mut stream = BufReader::new(stream);
    let Answer { response, kept } = match timeout(PATIENCE, read(&mut stream)).await?? {
        Ok(request) => answer(request).await,
        Err(message) => Response::Failed { message }.into(),
    };
    timeout(PATIENCE, stream.write_all(&to_line(&response))).await??;
    Ok(kept.map(|kept| (stream, kept)))
}

/// A request, or why the line is none.
async fn read(stream: &mut BufReader<UnixStream>) -> io::Result<Result<Request, String>> {
    let mut line = Vec::new();
    stream.take(MAX_LINE).read_until(b'\n', &mut line).await?;
    if !line.ends_with(b"\n") {
        return Ok(Err("the request is not one line of JSON".to_owned()));
    }
    Ok(serde_json::from_slice(&line).map_err(|error| format!("the request is not understood: {error}")))
}
