//! The audit log: who did what to which object, and how it ended, a line of JSON each.
//!
//! Whoever acts records an [`Event`]; a thread of its own writes it. There is a queue between them with a bound: when the
//! disk cannot keep up, requests go on and events are lost, which is counted (`larder_audit_events_total`) and noted in
//! the log itself as soon as it can be written again. No event has a field for a secret.

mod target;
mod writer;

use std::net::IpAddr;
use std::path::PathBuf;
use std::str::FromStr;

use jiff::Timestamp;
use serde::{Serialize, Serializer};

pub use target::{Kind, Target};
pub use writer::Audit;

/// Where the audit log goes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Output {
    /// Nowhere.
    #[default]
    Off,
    /// To stdout, behind the line that names the address.
    Stdout,
    /// To the end of this file.
    File(PathBuf),
}

/// Never fails: what is no word is a path.
impl FromStr for Output {
    type Err = std::convert::Infallible;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(match text {
            "off" => Output::Off,
            "stdout" => Output::Stdout,
            path => Output::File(path.into()),
        })
    }
}

/// What is recorded, and where.
#[derive(Clone, Debug)]
pub struct Options {
    /// Where it goes.
    pub output: Output,
    /// Whether what changes nothing is recorded too: downloads, lists. Refused attempts always are.
    pub reads: bool,
    /// Events that may wait for the disk.
    pub queue: usize,
}

impl Default for Options {
    fn default() -> Self {
        Options {
            output: Output::Off,
            reads: true,
            queue: 8192,
        }
    }
}

/// Who acts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum Who {
    /// Nobody said who.
    Anonymous,
    /// Credentials that were not accepted. What they were is not recorded: a slip of the finger makes a password a name.
    Rejected,
    /// An account, by password or by a token.
    Account {
        /// Its id.
        id: u64,
        /// Its name.
        name: String,
        /// Id of the token.
        #[serde(skip_serializing_if = "Option::is_none")]
        token: Option<u64>,
    },
    /// A CI job.
    Workload {
        /// Name of the issuer in the configuration.
        issuer: String,
        /// The claim `sub` of its token.
        subject: String,
    },
    /// Whoever has a shell on the machine, by a command or a signal.
    CommandLine,
    /// A rule of retention.
    Retention {
        /// Its place among those that count for the owner, the first one being 0.
        rule: usize,
    },
}

/// Something that was done, or tried.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Event {
    /// When it ended, milliseconds since the Unix epoch.
    #[serde(serialize_with = "as_rfc3339")]
    pub time: i64,
    /// Who.
    pub who: Who,
    /// What: `put_file`, `admin`, `token.create` …
    pub action: &'static str,
    /// The method of the request.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub method: Option<String>,
    /// To what: `owner/package/version/file`, a path of the management API, a name.
    pub object: String,
    /// Which account or token that is, or which one was created.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target: Option<Target>,
    /// Names of the fields that it sets; never their values.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub changed: Vec<&'static str>,
    /// Status code of the answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    /// `done`, `refused`, `failed` or `aborted`.
    pub result: &'static str,
    /// Why it was refused or failed, in a word.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub code: Option<&'static str>,
    /// Bytes of the body: received for uploads, else sent.
    pub bytes: u64,
    /// Where it came from.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub address: Option<IpAddr>,
    /// Id of the request, as in other logs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub request_id: Option<String>,
}

impl Event {
    /// Something that no request asked for, and that has just ended.
    pub fn now(who: Who, action: &'static str, object: String, result: &'static str) -> Self {
        Event {
            time: Timestamp::now().as_millisecond(),
            who,
            action,
            method: None,
            object,
            target: None,
            changed: Vec::new(),
            status: None,
            result,
            code: None,
            bytes: 0,
            address: None,
            request_id: None,
        }
    }
}

/// The names of those fields that are set, for [`Event::changed`].
pub fn set_fields<const N: usize>(fields: [(bool, &'static str); N]) -> Vec<&'static str> {
    let set = fields.into_iter().filter(|(set, _)| *set);
    set.map(|(_, name)| name).collect()
}

fn as_rfc3339<S: Serializer>(millis: &i64, serializer: S) -> Result<S::Ok, S::Error> {
    let time = Timestamp::from_millisecond(*millis).unwrap_or(Timestamp::UNIX_EPOCH);
    serializer.collect_str(&format_args!("{time:.3}"))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn an_event_is_one_line_of_json() {
        let event = Event {
            time: 1_234_567_890_120,
            who: Who::Account {
                id: 7,
                name: "ann".to_owned(),
                token: Some(8),
            },
            action: "put_file",
            method: Some("PUT".to_owned()),
            object: "ci/app/1/a\nb".to_owned(),
            target: None,
            changed: Vec::new(),
            status: Some(201),
            result: "done",
            code: None,
            bytes: 5,
            address: Some([192, 0, 2, 1].into()),
            request_id: None,
        };
        assert_eq!(
            serde_json::to_string(&event).unwrap(),
            r#"{"time":"2009-02-13T23:31:30.120Z","who":{"kind":"account","id":7,"name":"ann","token":8},"#
                .to_owned()
                + r#""action":"put_file","method":"PUT","object":"ci/app/1/a\nb","status":201,"result":"done","#
                + r#""bytes":5,"address":"192.0.2.1"}"#
        );
    }

    #[test]
    fn outputs_are_words_or_paths() {
        assert_eq!("off".parse(), Ok(Output::Off));
        assert_eq!("stdout".parse(), Ok(Output::Stdout));
        assert_eq!(
            "/var/log/larder/audit.log".parse(),
            Ok(Output::File("/var/log/larder/audit.log".into()))
        );
    }
}
