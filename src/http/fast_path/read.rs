//! Sends a file, or says that there is none.

use std::future::poll_fn;
use std::time::Duration;

use actix_web::http::StatusCode;
use actix_web::http::header::CONTENT_TYPE;

use super::answer::{Asked, Came, finish, refuse};
use super::lines::Lines;
use super::plain::Plain;
use crate::artifact::{ArtifactError, Fetched};
use crate::http::connection::{Connection, Transport};
use crate::http::description::{Headers, OCTET_STREAM, describe};
use crate::http::error::Refusal;
use crate::http::metrics::Op;
use crate::http::state::Engine;
use crate::http::watch::Watch;
use crate::store::blob::{Blob, BlobReader, Piece};
use crate::store::error::StoreError;
use crate::store::model::{Account, File};

/// What is known of the file that a plain request asks for.
pub(super) enum Found {
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

/// The file, or that there is none; `None` for whatever needs more than a look.
pub(super) fn find(engine: &Engine, owner: &Account, plain: &Plain<'_>) -> Option<Found> {
    let at = [plain.package, plain.version, plain.file];
    let found = match plain.op {
        Op::GetFile => engine
            .artifacts
            .fetch(owner, at)
            .map(|Fetched { file, blob }| (file, Some(blob))),
        _ => engine.artifacts.describe(owner, at).map(|file| (file, None)),
    };
    match found {
        // A list of chunks that is another's: for the dispatcher to break off.
        Ok((file, Some(blob))) if blob.size() != file.size => None,
        Ok((file, blob)) => Some(Found::File(Box::new(file), blob)),
        Err(error @ (ArtifactError::NoVersion | ArtifactError::NoFile)) => Some(Found::Nothing(error.into())),
        Err(_) => None,
    }
}

/// Answers with what was found, unless its beginning cannot be read. How long that took; `None`, and the request is
/// still unread.
pub(super) async fn answer<T: Transport>(
    connection: &Connection<T>,
    came: Came<'_>,
    asked: Asked<'_>,
    found: Found,
) -> Result<Option<Duration>, StoreError> {
    let body = match &found {
        Found::File(_, Some(blob)) => match first_piece(blob, connection).await {
            Ok(body) => body,
            Err(_) => return Ok(None),
        },
        _ => None,
    };
    connection.take(asked.len);
    let op = asked.op;
    let watch = asked.begin(came);
    let text = connection.begin_answer(|answer| match &found {
        Found::File(file, _) => {
            watch.answered(200);
            write_file(answer, file, came);
            0
        }
        Found::Nothing(refusal) => {
            watch.answered(refusal.status().as_u16());
            refuse(answer, (op, false), refusal, came, came.began)
        }
    });
    match body {
        Some(body) => Box::pin(send(connection, body, watch)).await.map(Some),
        None => finish(connection, watch, text).await.map(Some),
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
) -> Result<Duration, StoreError> {
    match send_all(connection, body, &mut watch).await {
        Ok(()) => Ok(watch.finished()),
        Err(error) => {
            watch.broken(&error);
            Err(error)
        }
    }
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

/// Writes the head of a file.
fn write_file(answer: &mut Vec<u8>, file: &File, came: Came<'_>) {
    let mut lines = Lines::begin(answer, StatusCode::OK);
    lines.content_length(file.size);
    describe(&mut lines, file);
    lines.constant(CONTENT_TYPE, OCTET_STREAM);
    lines.end(came.context, came.began);
}
