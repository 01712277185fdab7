//! Sends a file, or says that there is none.

use std::future::poll_fn;
use std::sync::Arc;
use std::time::Duration;

use actix_web::http::StatusCode;
use actix_web::http::header::CONTENT_TYPE;

use super::answer::{Asked, Came, finish, refuse};
use super::lines::Lines;
use super::plain::Plain;
use crate::artifact::fetch::Bytes;
use crate::artifact::{ArtifactError, Fetched};
use crate::http::connection::{Connection, Transport};
use crate::http::description::{Headers, OCTET_STREAM, describe};
use crate::http::error::Refusal;
use crate::http::metrics::Op;
use crate::http::state::Engine;
use crate::http::watch::Watch;
use crate::store::Located;
use crate::store::blob::{Blob, BlobReader, Piece, Whole};
use crate::store::error::StoreError;
use crate::store::model::{Account, File};

/// What is known of the file that a plain request asks for.
pub(super) enum Found {
    /// It is there.
    File(Arc<Located>, Wanted),
    /// It is not.
    Nothing(Refusal),
}

/// What is wanted of a file.
pub(super) enum Wanted {
    /// Its head.
    Head,
    /// All of it, which is there.
    Whole(Whole),
    /// All of it, which has to be read.
    Blob(Blob),
}

/// How bytes of a file are to be had.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    /// At once where that is possible, and from a file if that can be sent.
    AtOnce {
        /// It can.
        in_place: bool,
    },
    /// Read: what was to be had at once was not.
    Reading,
}

/// Bytes to be sent.
struct Body {
    /// How many of them stand behind the head of the answer.
    copied: u64,
    /// The first of the others.
    piece: Piece,
    /// What reads those behind them.
    reader: Option<BlobReader>,
}

/// The file, or that there is none; `None` for whatever needs more than a look.
pub(super) fn find(engine: &Engine, owner: &Account, plain: &Plain<'_>, way: Way) -> Option<Found> {
    let at = [plain.package, plain.version, plain.file];
    let artifacts = &engine.artifacts;
    let found = match (plain.op, way) {
        (Op::GetFile, Way::AtOnce { in_place }) => {
            artifacts
                .fetch_whole(owner, at, in_place)
                .map(|(located, bytes)| match bytes {
                    Bytes::Whole(whole) => (located, Wanted::Whole(whole)),
                    Bytes::Blob(blob) => (located, Wanted::Blob(blob)),
                })
        }
        (Op::GetFile, Way::Reading) => artifacts
            .fetch(owner, at)
            .map(|Fetched { located, blob }| (located, Wanted::Blob(blob))),
        _ => artifacts
            .describe(owner, at)
            .map(|located| (located, Wanted::Head)),
    };
    match found {
        // A list of chunks that is another's: for the dispatcher to break off.
        Ok((located, Wanted::Blob(blob))) if blob.size() != located.file.size => None,
        Ok((located, wanted)) => Some(Found::File(located, wanted)),
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
    match found {
        Found::File(located, Wanted::Head) => {
            let watch = begin(connection, came, asked, 200);
            connection.begin_answer(|answer| write_file(answer, &located.file, came));
            finish(connection, watch, 0).await.map(Some)
        }
        Found::File(located, Wanted::Whole(whole)) => {
            let Some(body) = begin_whole(connection, came, &located.file, whole) else {
                return Ok(None);
            };
            let watch = begin(connection, came, asked, 200);
            send(connection, body, watch).await.map(Some)
        }
        Found::File(located, Wanted::Blob(blob)) => {
            let Ok(body) = first_piece(blob, connection).await else {
                return Ok(None);
            };
            let watch = begin(connection, came, asked, 200);
            connection.begin_answer(|answer| write_file(answer, &located.file, came));
            Box::pin(send(connection, body, watch)).await.map(Some)
        }
        Found::Nothing(refusal) => {
            let op = asked.op;
            let watch = begin(connection, came, asked, refusal.status().as_u16());
            let text =
                connection.begin_answer(|answer| refuse(answer, (op, false), &refusal, came, came.began));
            finish(connection, watch, text).await.map(Some)
        }
    }
}

/// Takes the request, which is going to be answered with this status.
fn begin<T: Transport>(connection: &Connection<T>, came: Came<'_>, asked: Asked<'_>, status: u16) -> Watch {
    connection.take(asked.len);
    let watch = asked.begin(came);
    watch.answered(status);
    watch
}

/// Writes the head of a file and what is to be copied of it; `None`, and nothing is written, where the file is no longer
/// to be had at once.
fn begin_whole<T: Transport>(
    connection: &Connection<T>,
    came: Came<'_>,
    file: &File,
    whole: Whole,
) -> Option<Body> {
    connection.begin_answer(|answer| {
        let begun = answer.len();
        write_file(answer, file, came);
        let head = answer.len();
        let Some(piece) = whole.append_to(answer) else {
            answer.truncate(begun);
            return None;
        };
        Some(Body {
            copied: (answer.len() - head) as u64,
            piece,
            reader: None,
        })
    })
}

/// The beginning of a file, which is read before anything is said about it.
async fn first_piece<T: Transport>(blob: Blob, connection: &Connection<T>) -> Result<Body, StoreError> {
    let mut reader = blob.read(0..blob.size());
    if connection.sends_files() {
        reader = reader.in_place();
    }
    let piece = reader.next_piece().await?;
    Ok(Body {
        copied: 0,
        piece: piece.unwrap_or_else(|| Piece::Bytes(bytes::Bytes::new())),
        reader: Some(reader),
    })
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
        mut copied,
        mut piece,
        mut reader,
    }: Body,
    watch: &mut Watch,
) -> Result<(), StoreError> {
    loop {
        let before = piece.len();
        let sent = poll_fn(|context| connection.poll_answer(context, &mut piece)).await;
        // How many copied bytes have left is not known where a connection breaks.
        let behind_head = sent.as_ref().map_or(0, |()| std::mem::take(&mut copied));
        watch.sent((behind_head + before - piece.len()) as usize);
        sent?;
        let next = match &mut reader {
            Some(reader) => reader.next_piece().await?,
            None => None,
        };
        match next {
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
