//! What the process needs before anything else: descriptors, the data directory, the sockets.

use std::fs::{self, DirBuilder, Permissions};
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

use listenfd::ListenFd;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use socket2::{Domain, Socket, Type};

use crate::config::Listen;

/// Connections the kernel holds for us until a worker takes them. It may have a lower limit of its own.
const BACKLOG: i32 = 2048;

/// A socket that listens, and where it really does.
#[derive(Debug)]
pub struct Bound {
    /// With the port that was taken.
    pub at: Listen,
    /// The socket.
    pub socket: Bare,
    /// The file that goes with it.
    pub file: Option<SocketFile>,
}

/// A listening socket, whatever is spoken on it.
#[derive(Debug)]
pub enum Bare {
    /// TCP.
    Tcp(TcpListener),
    /// A Unix socket.
    Unix(UnixListener),
}

/// The file of a Unix socket of ours. Dropping it takes it away.
#[derive(Debug)]
pub struct SocketFile(PathBuf);

impl Drop for SocketFile {
    fn drop(&mut self) {
        // If it stays, the next start replaces it.
        let _ = fs::remove_file(&self.0);
    }
}

/// Lets the process open as many files as it is allowed to: each connection is one, each log file another.
pub fn raise_descriptor_limit() {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: limit.maximum,
        maximum: limit.maximum,
    };
    if let Err(error) = setrlimit(Resource::Nofile, raised) {
        tracing::warn!(%error, current = limit.current, "the limit of open files stays as it is");
    }
}

/// Creates the data directory, with parents. What is created is ours alone (mode 0700).
pub fn create_data_directory(data: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(data)
}

/// The sockets that a service manager has opened for us, if it has: number n takes the place of the n-th of `wanted`,
/// and what that one speaks. More than are wanted are an error, fewer leave the rest to us.
pub fn inherited(wanted: &[Listen]) -> io::Result<Vec<Bound>> {
    let mut handed = ListenFd::from_env();
    if handed.len() > wanted.len() {
        let (handed, wanted) = (handed.len(), wanted.len());
        return Err(io::Error::other(format!(
            "systemd hands over {handed} sockets, but server.listen has {wanted} addresses"
        )));
    }
    let count = handed.len();
    let take = |(n, at)| take(&mut handed, n, at);
    wanted.iter().take(count).enumerate().map(take).collect()
}

fn take(handed: &mut ListenFd, n: usize, at: &Listen) -> io::Result<Bound> {
    let gone = || io::Error::other(format!("socket {n} of systemd is not there"));
    if let Ok(Some(listener)) = handed.take_tcp_listener(n) {
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        return Ok(Bound {
            at: match at {
                Listen::Tls(_) => Listen::Tls(address),
                Listen::Http(_) | Listen::Unix(_) => Listen::Http(address),
            },
            socket: Bare::Tcp(listener),
            file: None,
        });
    }
    let listener = handed.take_unix_listener(n)?.ok_or_else(gone)?;
    listener.set_nonblocking(true)?;
    let path = listener.local_addr()?.as_pathname().map(Path::to_owned);
    Ok(Bound {
        at: Listen::Unix(path.unwrap_or_default()),
        socket: Bare::Unix(listener),
        // It is systemd's.
        file: None,
    })
}

/// Listens. Clients can connect from now on; they wait until they are accepted.
pub fn bind(listen: &Listen, socket_mode: u32) -> io::Result<Bound> {
    let bound = |at, socket| Bound {
        at,
        socket,
        file: None,
    };
    match listen {
        Listen::Http(address) => {
            let listener = bind_tcp(*address)?;
            Ok(bound(Listen::Http(listener.local_addr()?), Bare::Tcp(listener)))
        }
        Listen::Tls(address) => {
            let listener = bind_tcp(*address)?;
            Ok(bound(Listen::Tls(listener.local_addr()?), Bare::Tcp(listener)))
        }
        Listen::Unix(path) => {
            let listener = bind_unix(path, socket_mode)?;
            Ok(Bound {
                file: Some(SocketFile(path.clone())),
                ..bound(listen.clone(), Bare::Unix(listener))
            })
        }
    }
}

fn bind_tcp(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
    // A restart must not wait for the old process's connections to time out.
    socket.set_reuse_address(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    socket.set_nonblocking(true)?;
    Ok(socket.into())
}

fn bind_unix(path: &Path, mode: u32) -> io::Result<UnixListener> {
    let listener = match UnixListener::bind(path) {
        Err(error) if error.kind() == io::ErrorKind::AddrInUse && is_abandoned(path) => {
            fs::remove_file(path)?;
            UnixListener::bind(path)?
        }
        bound => bound?,
    };
    fs::set_permissions(path, Permissions::from_mode(mode))?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

/// Whether a daemon that died has left this socket behind. Any other file is left alone.
fn is_abandoned(path: &Path) -> bool {
    let is_socket = fs::symlink_metadata(path).is_ok_and(|meta| meta.file_type().is_socket());
    is_socket
        && UnixStream::connect(path).is_err_and(|error| error.kind() == io::ErrorKind::ConnectionRefused)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn the_data_directory_is_private_with_its_parents() {
        let root = tempfile::tempdir().unwrap();
        let data = root.path().join("a/b");
        create_data_directory(&data).unwrap();
        create_data_directory(&data).unwrap();
        for path in [root.path().join("a"), data] {
            assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o700);
        }
    }

    #[test]
    fn port_0_takes_a_free_port_and_a_taken_one_is_an_error() {
        let first = bind(&Listen::Http("127.0.0.1:0".parse().unwrap()), 0).unwrap();
        let Listen::Http(address) = first.at else {
            panic!("{first:?}");
        };
        assert_ne!(address.port(), 0);
        let again = bind(&Listen::Tls(address), 0).unwrap_err();
        assert_eq!(again.kind(), io::ErrorKind::AddrInUse);
    }

    #[test]
    fn a_socket_that_was_left_behind_is_replaced_and_nothing_else_is() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("larder.sock");
        let at = Listen::Unix(path.clone());
        // A listener that is closed without its file being removed is what a killed daemon leaves.
        drop(UnixListener::bind(&path).unwrap());
        let bound = bind(&at, 0o600).unwrap();
        assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600);
        assert!(bind(&at, 0o600).is_err(), "it is in use");
        drop(bound);
        assert!(!path.exists());
        fs::write(&path, "precious").unwrap();
        assert!(bind(&at, 0o600).is_err());
        assert_eq!(fs::read_to_string(&path).unwrap(), "precious");
    }

    #[test]
    fn the_descriptor_limit_goes_up_to_what_is_allowed() {
        raise_descriptor_limit();
        let limit = getrlimit(Resource::Nofile);
        assert_eq!(limit.current, limit.maximum);
    }
}
