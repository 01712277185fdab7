//! `larder healthcheck`: for container engines and scripts on machines without curl.

use std::io::{self, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::failure::Failure;
use super::output;
use super::store_args::StoreArgs;
use crate::config::Listen;

/// An answer is not longer than this, in bytes.
const MAX_ANSWER: u64 = 64 * 1024;

/// Ask a daemon whether it is ready: exit code 0 if it is, 1 if not
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    store: StoreArgs,

    /// What to ask, http only; else /readyz on the first address of the configuration that does not speak TLS
    #[arg(long, value_name = "URL")]
    url: Option<String>,

    /// Seconds that it may take
    #[arg(long, value_name = "SECONDS", default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..=3600))]
    timeout: u64,
}

impl Args {
    /// Asks, and says what was answered.
    pub fn run(self) -> Result<(), Failure> {
        let question = match &self.url {
            Some(url) => Question::parse(url).map_err(Failure::Usage)?,
            None => {
                let config = self.store.load(Vec::new())?;
                let addresses = config.listen.iter().chain(&config.metrics_listen);
                Question::of(addresses).map_err(Failure::Usage)?
            }
        };
        let patience = Duration::from_secs(self.timeout);
        let answer = question
            .ask(patience)
            .map_err(|error| Failure::Failed(format!("{}: {error}", question.place)))?;
        let (status, body) = understand(&answer).map_err(Failure::Failed)?;
        write!(output::stdout(), "{body}").map_err(Failure::failed)?;
        match status {
            200..=299 => Ok(()),
            _ => Err(Failure::Failed(format!("{} answered {status}", question.place))),
        }
    }
}

/// Where to ask and what.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Question {
    place: Place,
    target: String,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Place {
    /// Host and port.
    Tcp(String),
    Unix(PathBuf),
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Place::Tcp(address) => f.write_str(address),
            Place::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

impl Question {
    /// `http://HOST[:PORT][/PATH]`; without a path, `/readyz`.
    fn parse(url: &str) -> Result<Self, String> {
        let Some(rest) = url.strip_prefix("http://") else {
            return Err(format!(
                "{url:?} does not begin with http://; ask an address that does not speak TLS, such as metrics.listen"
            ));
        };
        let (host, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
        let fit = |text: &str| text.bytes().all(|byte| byte.is_ascii_graphic());
        if host.is_empty() || !fit(host) || !fit(path) || host.contains('@') {
            return Err(format!(
                "{url:?} is no URL; write \"http://127.0.0.1:3000/readyz\""
            ));
        }
        let has_port = host
            .rsplit_once(':')
            .is_some_and(|(_, port)| port.parse::<u16>().is_ok());
        Ok(Question {
            place: Place::Tcp(if has_port {
                host.to_owned()
            } else {
                format!("{host}:80")
            }),
            target: if path.is_empty() { "/readyz" } else { path }.to_owned(),
        })
    }

    fn of<'a>(mut addresses: impl Iterator<Item = &'a Listen>) -> Result<Self, String> {
        let place = addresses.find_map(|address| match address.clone().reachable() {
            Listen::Http(address) => Some(Place::Tcp(address.to_string())),
            Listen::Unix(path) => Some(Place::Unix(path)),
            Listen::Tls(_) => None,
        });
        Ok(Question {
            place: place.ok_or("every address speaks TLS; give a metrics.listen or a unix: address")?,
            target: "/readyz".to_owned(),
        })
    }

    fn ask(&self, patience: Duration) -> io::Result<Vec<u8>> {
        match &self.place {
            Place::Tcp(address) => self.ask_tcp(address, patience),
            Place::Unix(path) => self.ask_unix(path, patience),
        }
    }

    fn ask_tcp(&self, address: &str, patience: Duration) -> io::Result<Vec<u8>> {
        let mut failed = io::Error::from(io::ErrorKind::NotFound);
        for address in address.to_socket_addrs()? {
            match TcpStream::connect_timeout(&address, patience) {
                Ok(stream) => {
                    stream.set_read_timeout(Some(patience))?;
                    stream.set_write_timeout(Some(patience))?;
                    return self.talk(stream);
                }
                Err(error) => failed = error,
            }
        }
        Err(failed)
    }

    fn ask_unix(&self, path: &Path, patience: Duration) -> io::Result<Vec<u8>> {
        let stream = UnixStream::connect(path)?;
        stream.set_read_timeout(Some(patience))?;
        stream.set_write_timeout(Some(patience))?;
        self.talk(stream)
    }

    fn talk(&self, mut stream: impl Read + Write) -> io::Result<Vec<u8>> {
        let host = match &self.place {
            Place::Tcp(address) => address.as_str(),
            Place::Unix(_) => "localhost",
        };
        let version = env!("CARGO_PKG_VERSION");
        write!(
            stream,
            "GET {} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: larder/{version}\r\nConnection: close\r\n\r\n",
            self.target
        )?;
        let mut answer = Vec::new();
        stream.take(MAX_ANSWER).read_to_end(&mut answer)?;
        Ok(answer)
    }
}

/// Status and body of an answer.
fn understand(answer: &[u8]) -> Result<(u16, String), String> {
    let text = String::from_utf8_lossy(answer);
    let status = text
        .strip_prefix("HTTP/1.")
        .and_then(|rest| rest.get(2..5)?.parse().ok());
    match (status, text.split_once("\r\n\r\n")) {
        (Some(status), Some((_, body))) => Ok((status, body.to_owned())),
        _ => Err("the answer is not HTTP".to_owned()),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn asked(url: &str) -> (String, String) {
        let question = Question::parse(url).unwrap();
        (question.place.to_string(), question.target)
    }

    #[test]
    fn urls_are_plain_http() {
        let pair = |a: &str, b: &str| (a.to_owned(), b.to_owned());
        assert_eq!(asked("http://127.0.0.1:3000"), pair("127.0.0.1:3000", "/readyz"));
        assert_eq!(asked("http://h/livez?x"), pair("h:80", "/livez?x"));
        assert_eq!(asked("http://[::1]:1/"), pair("[::1]:1", "/"));
        for wrong in [
            "",
            "h",
            "https://h",
            "http://",
            "http:///x",
            "http://a b",
            "http://u@h",
            "http://h/a\r\nb",
        ] {
            assert!(Question::parse(wrong).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn the_first_address_without_tls_is_asked() {
        let tls = Listen::Tls("0.0.0.0:1".parse().unwrap());
        let http = Listen::Http("[::]:2".parse().unwrap());
        let unix = Listen::Unix("/s".into());
        let place =
            |addresses: &[Listen]| Question::of(addresses.iter()).map(|question| question.place.to_string());
        assert_eq!(place(&[tls.clone(), http, unix.clone()]).unwrap(), "[::1]:2");
        assert_eq!(place(&[tls.clone(), unix]).unwrap(), "unix:/s");
        assert!(place(&[tls]).is_err());
    }

    #[test]
    fn an_answer_has_a_status_and_a_body() {
        let answer = b"HTTP/1.1 503 Service Unavailable\r\nX: y\r\n\r\nnot ready\n";
        assert_eq!(understand(answer), Ok((503, "not ready\n".to_owned())));
        for wrong in [&b""[..], b"SSH-2.0-x\r\n", b"HTTP/1.1", b"HTTP/1.1 200 OK\r\n"] {
            assert!(understand(wrong).is_err());
        }
    }
}
