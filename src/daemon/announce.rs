//! What a start says to people and scripts: one line on stdout, and on stderr what to paste next.

use std::fmt::Write as _;
use std::io::{self, Write as _};
use std::path::Path;
use std::rc::Rc;
use std::sync::Once;
use std::time::Duration;

use crate::config::Listen;

/// Where an initial password lies, for who has to read it.
const PASSWORD_FILE: &str = "initial-admin-password";

/// Scripts that wait for the line on stdout get it no later than this after the port is open.
const LATE: Duration = Duration::from_secs(2);

/// The one line on stdout, and the lines to paste.
#[derive(Debug)]
pub struct Announcement {
    /// Where it listens, as URLs.
    urls: Vec<String>,
    reach: Reach,
    once: Once,
}

impl Announcement {
    /// For these addresses, of which the first is the one to use, and what stands before every path.
    pub fn new(addresses: &[Listen], base_path: &str) -> Self {
        Announcement {
            urls: addresses.iter().map(url).collect(),
            reach: Reach::of(addresses, base_path),
            once: Once::new(),
        }
    }

    /// Prints the line, the first time it is called.
    pub fn print(&self) {
        self.once.call_once(|| {
            let mut out = io::stdout().lock();
            // With stdout closed there is nobody to tell, and serving goes on.
            let _ = writeln!(out, "larder listening on {}", self.urls.join(" ")).and_then(|()| out.flush());
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
            next_steps(&self.reach, data, sign_in, now)
        );
    }
}

fn url(address: &Listen) -> String {
    match address {
        Listen::Http(address) => format!("http://{address}"),
        Listen::Tls(address) => format!("https://{address}"),
        Listen::Unix(path) => format!("unix:{}", path.display()),
    }
}

/// How curl on this machine reaches the daemon.
#[derive(Debug)]
struct Reach {
    /// The command.
    curl: String,
    /// The URL, without a slash at the end.
    url: String,
}

impl Reach {
    /// By the first address that is TCP, else by the first.
    fn of(addresses: &[Listen], base_path: &str) -> Self {
        let tcp = addresses
            .iter()
            .find(|address| !matches!(address, Listen::Unix(_)));
        let (curl, url) = match tcp.or(addresses.first()) {
            Some(Listen::Unix(path)) => (
                format!("curl --unix-socket {}", quoted(path)),
                "http://localhost".to_owned(),
            ),
            Some(tcp) => ("curl".to_owned(), url(&tcp.clone().reachable())),
            None => ("curl".to_owned(), "http://localhost".to_owned()),
        };
        Reach {
            curl,
            url: format!("{url}{base_path}"),
        }
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
fn next_steps(reach: &Reach, data: &Path, sign_in: &SignIn, millis: i64) -> String {
    let Reach { curl, url: base } = reach;
    let url = format!("{base}/api/packages/admin/generic/hello/1.0.{millis}/hello.txt");
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
        "  echo 'hello, larder' | {curl} -sS -u {user} -w '%{{http_code}}\\n' -T - {url}"
    );
    let _ = writeln!(text, "  {curl} {url}\n");
    let _ = writeln!(text, "Metrics, health and more: {base}/   Stop: Ctrl-C");
    text
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
        let address = Listen::Http("0.0.0.0:3000".parse().unwrap());
        let text = next_steps(
            &Reach::of(&[address], ""),
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
        let address = &Reach::of(&[Listen::Http("[::]:3000".parse().unwrap())], "");
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
    fn curl_is_told_how_to_get_there() {
        let unix = Listen::Unix("/run/a b.sock".into());
        let tls = Listen::Tls("127.0.0.1:3443".parse().unwrap());
        let first = Reach::of(&[unix.clone(), tls], "/base");
        assert_eq!(
            (first.curl.as_str(), first.url.as_str()),
            ("curl", "https://127.0.0.1:3443/base")
        );
        let only = Reach::of(&[unix], "");
        assert_eq!(only.curl, "curl --unix-socket '/run/a b.sock'");
        assert_eq!(only.url, "http://localhost");
    }

    #[test]
    fn paths_are_quoted_for_the_shell() {
        assert_eq!(quoted(Path::new("a b/it's")), r"'a b/it'\''s'");
    }
}
