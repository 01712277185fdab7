//! Looks at one plain request, and has it answered.

use std::future::poll_fn;
use std::net::IpAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::FastPath;
use super::lines::Lines;
use super::plain::Plain;
use super::read::{self, Found, Way};
use super::waiting::Patience;
use super::write;
use crate::access::{Action, Caller, Credentials};
use crate::artifact::{Coordinates, Prechecked, Upload};
use crate::http::auth::owner_for;
use crate::http::connection::{Connection, Transport};
use crate::http::error::Refusal;
use crate::http::generic::{Announced, precheck};
use crate::http::metrics::{METRICS, Op};
use crate::http::request_log::Record;
use crate::http::state::Engine;
use crate::http::watch::Watch;
use crate::store::blob::Piece;
use crate::store::error::StoreError;
use crate::store::model::Account;
use crate::telemetry::request::RequestContext;

/// The longest body that is taken whole, in bytes. A longer one takes longer to come than to be handled.
pub(super) const WHOLE: usize = 64 << 10;

/// What becomes of a connection.
pub(super) enum Next {
    /// The request is still unread.
    HandOver,
    /// It has been answered, which took so long.
    Answered(Duration),
    /// It has been answered, and no other will be.
    Over,
}

/// How a request came.
#[derive(Clone, Copy)]
pub(super) struct Came<'a> {
    /// When.
    pub began: Instant,
    /// From whom.
    pub client: Option<IpAddr>,
    /// What names it in logs.
    pub context: &'a RequestContext,
}

/// What is kept of a plain request that can be answered.
pub(super) struct Asked<'a> {
    pub op: Op,
    /// Length of its head, in bytes.
    pub len: usize,
    /// Length of its body, in bytes.
    pub body: usize,
    pub engine: &'a Engine,
    caller: Caller,
    /// What is written down about it, if anything.
    pub record: Option<Rc<Record>>,
}

/// What there is to do.
enum Work {
    Read(Found),
    /// With a body that is taken whole.
    Publish(Box<Prechecked>),
    /// With one that is taken as it comes.
    Receive(Box<Upload>),
    Remove(Arc<Account>, Coordinates),
}

impl Asked<'_> {
    /// It is going to be answered here, whatever happens.
    pub fn begin(self, came: Came<'_>) -> Watch {
        self.engine.access.recognised(&self.caller);
        METRICS
            .begin_fast(self.op, came.began)
            .logged(came.context.clone(), self.record)
    }
}

impl FastPath {
    /// Answers the request that has come at `began`, if it is plain and nothing speaks against it.
    ///
    /// # Errors
    /// If the connection broke, or had to be broken since the file could not be read to its end.
    pub(super) async fn answer<T: Transport>(
        &self,
        connection: &Connection<T>,
        came: Came<'_>,
        patience: &mut Patience,
    ) -> Result<Next, StoreError> {
        let in_place = connection.sends_files();
        for way in [Way::AtOnce { in_place }, Way::Reading] {
            let looked = self.look(&connection.unread(), came, way);
            let Some((asked, work)) = looked else {
                return Ok(Next::HandOver);
            };
            // What writes keep is on the heap: a connection that waits for nothing but the next request needs no room for it.
            match work {
                Work::Read(found) => {
                    if let Some(took) = read::answer(connection, came, asked, found).await? {
                        return Ok(Next::Answered(took));
                    }
                }
                Work::Publish(request) => {
                    if !is_there(connection, patience, asked.len + asked.body).await {
                        return Ok(Next::HandOver);
                    }
                    let published = write::publish(connection, came, asked, *request);
                    return Box::pin(published).await.map(Next::Answered);
                }
                Work::Receive(upload) => {
                    let received = write::receive(connection, came, asked, (&self.state, *upload, patience));
                    return Box::pin(received).await;
                }
                Work::Remove(owner, at) => {
                    let removed = write::remove(connection, came, asked, (&self.state, &owner, &at));
                    return Box::pin(removed).await.map(Next::Answered);
                }
            }
        }
        Ok(Next::HandOver)
    }

    /// The request that these bytes begin with, and what it asks for; `None` for whatever needs more than a look.
    fn look(&self, bytes: &[u8], came: Came<'_>, way: Way) -> Option<(Asked<'_>, Work)> {
        let plain = Plain::parse(bytes, &self.state.options().base_path)?;
        if plain.writes() && !self.takes_writes() {
            return None;
        }
        let engine = self.state.engine().ok()?;
        let credentials = Credentials::parse(plain.authorization, "", false);
        let caller = engine.access.recognise(&credentials)?;
        let work = work(engine, &caller, &plain, way)?;
        let record = self.state.requests().map(|log| {
            let record = log.begin_with(plain.seen(came.client), came.context);
            if let Caller::User(signed_in) = &caller {
                record.sent_by(&signed_in.account.name);
            }
            record
        });
        let asked = Asked {
            op: plain.op,
            len: plain.len,
            body: plain.body,
            engine,
            caller,
            record,
        };
        Some((asked, work))
    }
}

/// Whether a request has come with its body, for which `patience` waits.
async fn is_there<T: Transport>(connection: &Connection<T>, patience: &mut Patience, len: usize) -> bool {
    connection.unread().len() >= len || Box::pin(patience.body(connection, len)).await
}

/// What there is to do for this caller; `None` where somebody has to say why not.
fn work(engine: &Engine, caller: &Caller, plain: &Plain<'_>, way: Way) -> Option<Work> {
    let action = match plain.op {
        Op::PutFile => Action::Write,
        Op::DeleteFile => Action::Delete,
        _ => Action::Read,
    };
    let owner = owner_for(engine, caller, plain.owner, plain.package, action).ok()?;
    let at = || Coordinates {
        package: plain.package.to_owned(),
        version: plain.version.to_owned(),
        file: plain.file.to_owned(),
    };
    match plain.op {
        Op::PutFile => {
            let announced = Announced {
                length: Some(plain.body as u64),
                ..Announced::default()
            };
            let request = precheck(engine, caller, Arc::unwrap_or_clone(owner), at(), announced).ok()?;
            match plain.body {
                ..=WHOLE => Some(Work::Publish(Box::new(request))),
                _ => {
                    let upload = engine.artifacts.begin_now(request);
                    upload.map(|upload| Work::Receive(Box::new(upload)))
                }
            }
        }
        Op::DeleteFile => Some(Work::Remove(owner, at())),
        _ => read::find(engine, &owner, plain, way).map(Work::Read),
    }
}

/// Writes a refusal, of the `last` request of a connection or not; gives back how much of it is its body, in bytes.
pub(super) fn refuse(
    answer: &mut Vec<u8>,
    (op, last): (Op, bool),
    refusal: &Refusal,
    came: Came<'_>,
    now: Instant,
) -> usize {
    let mut lines = Lines::begin(answer, refusal.status());
    if last {
        lines.last();
    }
    let body = refusal.write_text(&mut lines);
    lines.content_length(body.len() as u64);
    lines.end(came.context, now);
    if op == Op::HeadFile {
        return 0;
    }
    answer.extend_from_slice(body.as_bytes());
    body.len()
}

/// Sends an answer that has been written to its end; `text` bytes of it are its body. Gives back how long all of it took.
pub(super) async fn finish<T: Transport>(
    connection: &Connection<T>,
    mut watch: Watch,
    text: usize,
) -> Result<Duration, StoreError> {
    let mut nothing = Piece::Bytes(Bytes::new());
    poll_fn(|context| connection.poll_answer(context, &mut nothing)).await?;
    if text > 0 {
        watch.sent(text);
    }
    Ok(watch.finished())
}
