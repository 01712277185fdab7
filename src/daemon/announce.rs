//! What a start says to people and scripts: one line on stdout, and on stderr what to paste next.

use std::fmt::Write as _;
use std::io::{self, Write as _};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::Path;
use std::rc::Rc;
use std::sync::Once;
use std::time::Duration;

/// Where an initial password lies, for who has to read it.
const PASSWORD_FILE: &str = "initial-admin-password";

/// Scripts that wait for the line on stdout get it no later than this after the port is open.
const LATE: Duration = Duration::from_secs(2);

/// The one line on stdout, and the lines to paste.
#[derive(Debug)]
pub struct Announcement {
    address: SocketAddr,
    once: Once,
}

impl Announcement {
    /// For this address.
    pub fn new(address: SocketAddr) -> Self {
        Announcement {
            address,
            once: Once::new(),
        }
    }

    /// Prints the line, the first time it is called.
    pub fn print(&self) {
        self.once.call_once(|| {
            let mut out = io::stdout().lock();
            // With stdout closed there is nobody to tell, and serving goes on.
            let _ = writeln!(out, "larder listening on http://{}", self.address).and_then(|()| out.flush());
        });
    }

    /// Prints the line, if nobody has before it is late.
    pub async fn print_late(self: Rc<Self>) {
        tokio::time::sleep(LATE).await;
        self.print();
    }

    /// Prints what to paste next to stderr. The version in it is the present time, so that it is always a new one.
    pub fn print_next_steps(&self, data: &Path, sign_in: &SignIn) {
        let now = jiff::Timestamp::now().as_millisecond();
        let _ = writeln!(
            io::stderr().lock(),
            "\n{}",
            next_steps(self.address, data, sign_in, now)
        );
    }
}

/// How the pasted lines sign in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SignIn {
    /// With a password that was made just now and is shown this once.
    Shown(String),
    /// With a password that somebody knows or that lies in the data directory.
    Known,
}

/// Lines that work when pasted: a publication under a version that does not exist yet, and its download.
fn next_steps(address: SocketAddr, data: &Path, sign_in: &SignIn, millis: i64) -> String {
    let url = format!(
        "http://{}/api/packages/admin/generic/hello/1.0.{millis}/hello.txt",
        reachable(address)
    );
    let password_file = data.join(PASSWORD_FILE);
    let user = match sign_in {
        SignIn::Shown(password) => format!("admin:{password}"),
        SignIn::Known if password_file.exists() => format!("\"admin:$(cat {})\"", quoted(&password_file)),
        // Without a password curl asks for it.
        SignIn::Known => "admin".to_owned(),
    };
    let mut text = String::new();
    if let SignIn::Shown(password) = sign_in {
        let _ = writeln!(
            text,
            "The password of admin is {password}  (it is shown only now; keep it)\n"
        );
    }
    let _ = writeln!(text, "Publish a file and read it back:\n");
    let _ = writeln!(
        text,
        "  echo 'hello, larder' | curl -sS -u {user} -w '%{{http_code}}\\n' -T - {url}"
    );
    let _ = writeln!(text, "  curl {url}\n");
    let _ = writeln!(
        text,
        "Metrics, health and more: http://{}/   Stop: Ctrl-C",
        reachable(address)
    );
    text
}

/// An address to connect to: listening on every address is connected to on the loopback one.
fn reachable(address: SocketAddr) -> SocketAddr {
    let ip = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V6(ip) if ip.is_unspecified() => IpAddr::V6(Ipv6Addr::LOCALHOST),
        other => other,
    };
    SocketAddr::new(ip, address.port())
}

/// A path as a word of a shell.
fn quoted(path: &Path) -> String {
    format!("'{}'", path.display().to_string().replace('\'', r"'\''"))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_shown_password_is_in_the_line_to_paste() {
        let address = "0.0.0.0:3000".parse().unwrap();
        let text = next_steps(
            address,
            Path::new("/nonexistent"),
            &SignIn::Shown("s3cret".to_owned()),
            7,
        );
        let url = "http://127.0.0.1:3000/api/packages/admin/generic/hello/1.0.7/hello.txt";
        assert!(
            text.contains(&format!(
                "curl -sS -u admin:s3cret -w '%{{http_code}}\\n' -T - {url}\n"
            )),
            "{text}"
        );
        assert!(text.contains(&format!("  curl {url}\n")), "{text}");
    }

    #[test]
    fn a_password_file_is_read_by_the_line_and_otherwise_curl_asks() {
        let data = tempfile::tempdir().unwrap();
        let address = "[::]:3000".parse().unwrap();
        assert!(next_steps(address, data.path(), &SignIn::Known, 7).contains("curl -sS -u admin -w"));
        std::fs::write(data.path().join(PASSWORD_FILE), "x").unwrap();
        let text = next_steps(address, data.path(), &SignIn::Known, 7);
        let expected = format!(
            "-u \"admin:$(cat '{}/initial-admin-password')\"",
            data.path().display()
        );
        assert!(
            text.contains(&expected) && text.contains("http://[::1]:3000/"),
            "{text}"
        );
    }

    #[test]
    fn paths_are_quoted_for_the_shell() {
        assert_eq!(quoted(Path::new("a b/it's")), r"'a b/it'\''s'");
    }
}
