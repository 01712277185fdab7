//! Answers one plain request.

use std::future::poll_fn;
use std::net::IpAddr;
use std::rc::Rc;
use std::time::Instant;

use actix_web::http::header::CONTENT_TYPE;
use bytes::Bytes;

use super::FastPath;
use super::lines::Lines;
use super::plain::Plain;
use crate::access::{Action, Caller, Credentials};
use crate::artifact::{ArtifactError, Fetched};
use crate::http::auth::owner_for;
use crate::http::connection::{Connection, Transport};
use crate::http::description::{Headers, OCTET_STREAM, describe};
use crate::http::error::Refusal;
use crate::http::metrics::{METRICS, Op};
use crate::http::request_id::{REQUEST_ID, hex_digits};
use crate::http::request_log::Record;
use crate::http::state::Engine;
use crate::http::watch::Watch;
use crate::store::blob::{Blob, BlobReader, Piece};
use crate::store::error::StoreError;
use crate::store::model::File;
use crate::telemetry::request::{RequestContext, RequestId};

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

/// A plain request that can be answered.
struct Looked {
    op: Op,
    /// Of its head, in bytes.
    len: usize,
    found: Found,
    /// What is written down about it, if anything.
    record: Option<Rc<Record>>,
}

/// What is known of the file that a plain request asks for.
enum Found {
    /// It is there, and bytes of it are wanted or not.
    File(Box<File>, Option<Blob>),
    /// It is not.
    Nothing(Refusal),
}

/// Bytes to be sent.
struct Body {
    /// The first of them.
    piece: Piece,
    /// What reads the others.
    reader: BlobReader,
}

impl FastPath {
    /// Answers the request that has come at `began`, if it is plain and nothing speaks against it: false, and it is still
    /// unread.
    ///
    /// # Errors
    /// If the connection broke, or had to be broken since the file could not be read to its end.
    pub(super) async fn answer<T: Transport>(
        &self,
        connection: &Connection<T>,
        came: Came<'_>,
    ) -> Result<bool, StoreError> {
        let Some(Looked {
            op,
            len,
            found,
            record,
        }) = self.look(&connection.unread(), came)
        else {
            return Ok(false);
        };
        let body = match &found {
            Found::File(_, Some(blob)) => match first_piece(blob, connection).await {
                Ok(body) => body,
                Err(_) => return Ok(false),
            },
            _ => None,
        };
        connection.take(len);
        let mut watch = METRICS
            .begin_fast(op, came.began)
            .logged(came.context.clone(), record);
        let text = connection.begin_answer(|answer| match &found {
            Found::File(file, _) => {
                watch.answered(200);
                write_file(answer, file, came)
            }
            Found::Nothing(refusal) => {
                watch.answered(404);
                write_nothing(answer, op, refusal, came)
            }
        });
        match body {
            Some(body) => Box::pin(send(connection, body, watch)).await?,
            None => {
                let mut nothing = Piece::Bytes(Bytes::new());
                poll_fn(|context| connection.poll_answer(context, &mut nothing)).await?;
                if text > 0 {
                    watch.sent(text);
                }
                watch.finished();
            }
        }
        Ok(true)
    }

    /// The request that these bytes begin with, and what is known of its file; `None` for whatever needs more than a
    /// look.
    fn look(&self, bytes: &[u8], came: Came<'_>) -> Option<Looked> {
        let plain = Plain::parse(bytes, &self.state.options().base_path)?;
        let engine = self.state.engine().ok()?;
        let credentials = Credentials::parse(plain.authorization, "", false);
        let caller = engine.access.recognise(&credentials)?;
        Some(Looked {
            op: plain.op,
            len: plain.len,
            found: find(engine, &caller, &plain)?,
            record: self.state.requests().map(|log| {
                let record = log.begin_with(plain.seen(came.client), came.context);
                if let Caller::User(signed_in) = &caller {
                    record.sent_by(&signed_in.account.name);
                }
                record
            }),
        })
    }
}

/// The file, or that there is none; `None` for whatever needs more than a look.
fn find(engine: &Engine, caller: &Caller, plain: &Plain<'_>) -> Option<Found> {
    let owner = owner_for(engine, caller, plain.owner, plain.package, Action::Read).ok()?;
    let at = [plain.package, plain.version, plain.file];
    let found = match plain.op {
        Op::GetFile => engine
            .artifacts
            .fetch(&owner, at)
            .map(|Fetched { file, blob }| (file, Some(blob))),
        _ => engine.artifacts.describe(&owner, at).map(|file| (file, None)),
    };
    match found {
        // A list of chunks that is another's: for the dispatcher to break off.
        Ok((file, Some(blob))) if blob.size() != file.size => None,
        Ok((file, blob)) => Some(Found::File(Box::new(file), blob)),
        Err(error @ (ArtifactError::NoVersion | ArtifactError::NoFile)) => Some(Found::Nothing(error.into())),
        Err(_) => None,
    }
}

/// The beginning of a file, which is read before anything is said about it; `None` where there are no bytes.
async fn first_piece<T: Transport>(
    blob: &Blob,
    connection: &Connection<T>,
) -> Result<Option<Body>, StoreError> {
    let mut reader = blob.read(0..blob.size());
    if connection.sends_files() {
        reader = reader.in_place();
    }
    let piece = reader.next_piece().await?;
    Ok(piece.map(|piece| Body { piece, reader }))
}

async fn send<T: Transport>(
    connection: &Connection<T>,
    body: Body,
    mut watch: Watch,
) -> Result<(), StoreError> {
    match send_all(connection, body, &mut watch).await {
        Ok(()) => watch.finished(),
        Err(error) => {
            watch.broken(&error);
            return Err(error);
        }
    }
    Ok(())
}

async fn send_all<T: Transport>(
    connection: &Connection<T>,
    Body {
        mut piece,
        mut reader,
    }: Body,
    watch: &mut Watch,
) -> Result<(), StoreError> {
    loop {
        let before = piece.len();
        let sent = poll_fn(|context| connection.poll_answer(context, &mut piece)).await;
        watch.sent((before - piece.len()) as usize);
        sent?;
        match reader.next_piece().await? {
            Some(next) => piece = next,
            None => return Ok(()),
        }
    }
}

/// Writes the head of a file; gives back how much of the body is written with it, in bytes: nothing.
fn write_file(answer: &mut Vec<u8>, file: &File, came: Came<'_>) -> usize {
    answer.extend_from_slice(b"HTTP/1.1 200 OK\r\n");
    let mut lines = Lines(answer);
    lines.content_length(file.size);
    describe(&mut lines, file);
    lines.constant(CONTENT_TYPE, OCTET_STREAM);
    end(&mut lines, came);
    0
}

/// Writes that there is no such file; gives back how much of that is body, in bytes.
fn write_nothing(answer: &mut Vec<u8>, op: Op, refusal: &Refusal, came: Came<'_>) -> usize {
    answer.extend_from_slice(b"HTTP/1.1 404 Not Found\r\n");
    let mut lines = Lines(answer);
    let body = refusal.write_text(&mut lines);
    lines.content_length(body.len() as u64);
    end(&mut lines, came);
    if op == Op::HeadFile {
        return 0;
    }
    answer.extend_from_slice(body.as_bytes());
    body.len()
}

fn end(lines: &mut Lines<'_>, came: Came<'_>) {
    if let RequestId::Ours(id) = came.context.id() {
        lines.text(REQUEST_ID, str::from_utf8(&hex_digits(*id)).unwrap_or_default());
    }
    lines.date(came.began);
}
