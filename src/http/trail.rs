//! What the audit log will say about a request, gathered on its way. Without an audit log there is none.

use std::cell::{Cell, RefCell};
use std::net::IpAddr;
use std::rc::Rc;

use actix_web::http::Method;
use jiff::Timestamp;

use super::head::Head;
use super::metrics::{Op, Outcome};
use super::path::{BadEscape, Route};
use super::state::State;
use crate::access::{AuthError, Caller};
use crate::telemetry::audit::{Audit, Event, Target, Who};
use crate::telemetry::request::RequestContext;

/// Longest object in an event, in bytes; legal names are far shorter.
const MAX_OBJECT: usize = 1200;
/// What every token begins with.
const TOKEN: &str = "lrd_";

/// One request's. Clones share it.
#[derive(Clone, Debug)]
pub struct Trail(Rc<Inner>);

#[derive(Debug)]
struct Inner {
    audit: Audit,
    op: Op,
    method: Method,
    object: String,
    address: Option<IpAddr>,
    request_id: String,
    who: RefCell<Who>,
    target: RefCell<Option<Target>>,
    changed: RefCell<Vec<&'static str>>,
    code: Cell<Option<&'static str>>,
    status: Cell<Option<u16>>,
    received: Cell<u64>,
    sent: Cell<u64>,
}

impl Trail {
    /// A request that has come. `None` for what is not recorded.
    pub fn begin(
        state: &State,
        parsed: &Result<Route, BadEscape>,
        op: Op,
        head: Head<'_>,
        context: &RequestContext,
    ) -> Option<Self> {
        let audit = state.audit()?;
        if matches!(op, Op::Health | Op::Metrics | Op::Other) {
            return None;
        }
        Some(Trail(Rc::new(Inner {
            audit: audit.clone(),
            op,
            method: head.method.clone(),
            object: object(parsed, head.path),
            address: head.peer,
            request_id: context.id().to_string(),
            who: RefCell::new(Who::Anonymous),
            target: RefCell::default(),
            changed: RefCell::default(),
            code: Cell::new(None),
            status: Cell::new(None),
            received: Cell::new(0),
            sent: Cell::new(0),
        })))
    }

    /// It is known who sends it, or that nobody does.
    pub fn signed_in(&self, caller: &Result<Caller, AuthError>) {
        *self.0.who.borrow_mut() = match caller {
            Ok(Caller::Anonymous) => Who::Anonymous,
            Ok(Caller::User(who)) => Who::Account {
                id: who.account.id,
                name: who.account.name.clone(),
                token: who.token,
            },
            Ok(Caller::Workload(workload)) => Who::Workload {
                issuer: workload.issuer.to_string(),
                subject: workload.subject.to_string(),
            },
            Err(_) => Who::Rejected,
        };
    }

    /// It is known which account or token it is about.
    pub fn about(&self, target: Target) {
        let name = without_tokens(shortened(target.name));
        *self.0.target.borrow_mut() = Some(Target { name, ..target });
    }

    /// It is known which fields it sets.
    pub fn changes(&self, fields: Vec<&'static str>) {
        *self.0.changed.borrow_mut() = fields;
    }

    /// It is refused.
    pub fn refused(&self, code: &'static str) {
        self.0.code.set(Some(code));
    }

    /// Some of its body has come.
    pub fn received(&self, bytes: usize) {
        self.0.received.set(self.0.received.get() + bytes as u64);
    }

    /// Its answer is known.
    pub fn answered(&self, status: u16) {
        self.0.status.set(Some(status));
    }

    /// Some of its answer's body has been handed to the connection.
    pub fn sent(&self, bytes: usize) {
        self.0.sent.set(self.0.sent.get() + bytes as u64);
    }

    /// It is over.
    pub fn ended(&self, outcome: Outcome) {
        let Inner {
            audit, op, method, ..
        } = &*self.0;
        let status = self.0.status.get();
        let is_read = matches!(op, Op::GetFile | Op::HeadFile) || method.is_safe();
        if is_read && !audit.reads() && !matches!(status, Some(401 | 403 | 429)) {
            return;
        }
        audit.record(Event {
            time: Timestamp::now().as_millisecond(),
            who: self.0.who.borrow().clone(),
            action: op.name(),
            method: Some(method.to_string()),
            object: self.0.object.clone(),
            target: self.0.target.borrow().clone(),
            changed: self.0.changed.borrow().clone(),
            status,
            result: result(status, outcome),
            code: self.0.code.get(),
            bytes: match op {
                Op::PutFile => self.0.received.get(),
                _ => self.0.sent.get(),
            },
            address: self.0.address,
            request_id: Some(self.0.request_id.clone()),
        });
    }
}

fn result(status: Option<u16>, outcome: Outcome) -> &'static str {
    match (outcome, status) {
        (Outcome::Abandoned, _) | (_, None) => "aborted",
        (Outcome::Broken, _) | (_, Some(500..)) => "failed",
        (_, Some(400..)) => "refused",
        _ => "done",
    }
}

/// Names as they are stored, or a path without its query, which may hold a token.
fn object(parsed: &Result<Route, BadEscape>, path: &str) -> String {
    let text = match parsed {
        Ok(Route::File { owner, at }) => {
            format!("{owner}/{}/{}/{}", at.package, at.version, at.file)
        }
        Ok(Route::Version {
            owner,
            package,
            version,
        }) => format!("{owner}/{package}/{version}"),
        _ => path.to_owned(),
    };
    without_tokens(shortened(text))
}

fn shortened(mut text: String) -> String {
    if text.len() > MAX_OBJECT {
        text.truncate(text.floor_char_boundary(MAX_OBJECT));
        text.push('…');
    }
    text
}

/// Should somebody have put a token where a name belongs, it is not kept.
fn without_tokens(text: String) -> String {
    if !text.contains(TOKEN) {
        return text;
    }
    let mut pieces = text.split(TOKEN);
    let mut kept = pieces.next().unwrap_or_default().to_owned();
    for piece in pieces {
        kept.push_str(TOKEN);
        let secret = piece.bytes().take_while(u8::is_ascii_alphanumeric).count();
        match secret {
            0..16 => kept.push_str(piece),
            _ => {
                kept.push_str("***");
                kept.push_str(&piece[secret..]);
            }
        }
    }
    kept
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::super::path::parse;
    use super::*;

    fn object_of(path: &str) -> String {
        object(&parse(path), path)
    }

    #[test]
    fn an_object_is_named_without_secrets() {
        assert_eq!(
            object_of("/api/packages/ci/generic/app/1%2F2/a%20b"),
            "ci/app/1/2/a b"
        );
        assert_eq!(object_of("/api/packages/ci/generic/app/1"), "ci/app/1");
        assert_eq!(object_of("/api/v1/orgs/ci"), "/api/v1/orgs/ci");
        let token = "lrd_0123456789abcdefghijklmnopqrstuvwxyzABCD";
        assert_eq!(
            object_of(&format!("/api/v1/users/a/tokens/{token}/x{token}")),
            "/api/v1/users/a/tokens/lrd_***/xlrd_***"
        );
        assert_eq!(object_of("/api/v1/users/lrd_bot"), "/api/v1/users/lrd_bot");
        let long = object_of(&format!("/api/v1/{}", "ä".repeat(5000)));
        assert!(long.len() <= MAX_OBJECT + 3 && long.ends_with('…'));
    }

    #[test]
    fn results_follow_the_answer_and_its_end() {
        for (status, outcome, expected) in [
            (Some(201), Outcome::Finished, "done"),
            (Some(304), Outcome::Finished, "done"),
            (Some(404), Outcome::Finished, "refused"),
            (Some(503), Outcome::Finished, "failed"),
            (Some(200), Outcome::Broken, "failed"),
            (Some(200), Outcome::Abandoned, "aborted"),
            (None, Outcome::Abandoned, "aborted"),
        ] {
            assert_eq!(result(status, outcome), expected, "{status:?} {outcome:?}");
        }
    }
}
