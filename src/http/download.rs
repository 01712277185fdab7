//! Downloads: headers, conditions, ranges, and the bytes (API.md §3).

use std::ops::Range;
use std::time::{Duration, UNIX_EPOCH};

use actix_web::body::{BodySize, MessageBody, SizedStream};
use actix_web::dev::RequestHead;
use actix_web::http::{Method, StatusCode, header};
use actix_web::{HttpResponse, HttpResponseBuilder};
use bytes::Bytes;
use futures_util::{Stream, StreamExt, stream};

use super::conditions::{self, Outcome, Validators, etag};
use super::disposition::attachment;
use super::error::Refusal;
use super::ranges::{self, Multipart, Plan};
use super::state::Engine;
use crate::artifact::{ArtifactError, Coordinates, Fetched};
use crate::owner::Policy;
use crate::store::blob::{Blob, BlobReader};
use crate::store::error::StoreError;
use crate::store::model::{Account, File};

/// What artifacts are to HTTP, whatever they are.
const OCTETS: &str = "application/octet-stream";

/// Answers a GET or HEAD of a file.
pub async fn answer(
    engine: &Engine,
    owner: &Account,
    at: &Coordinates,
    head: &RequestHead,
) -> Result<HttpResponse, Refusal> {
    let Fetched { file, blob } = engine.artifacts.fetch(owner, at)?;
    let validators = Validators {
        etag: file.blob,
        modified_ms: file.created,
    };
    match conditions::read(&head.headers, &validators) {
        Outcome::Proceed => {}
        Outcome::NotModified => return Ok(describe(StatusCode::NOT_MODIFIED, &file).finish()),
        Outcome::PreconditionFailed => return Err(ArtifactError::Precondition.into()),
    }
    let range = head
        .headers
        .get(header::RANGE)
        .and_then(|value| value.to_str().ok());
    let plan = match range {
        // RFC 9110 §14.2: Range is for GET alone.
        Some(_) if head.method == Method::HEAD => Plan::Whole,
        Some(_) if !conditions::range_applies(&head.headers, &validators) => Plan::Whole,
        range => ranges::plan(range, file.size),
    };
    if head.method == Method::HEAD {
        return Ok(describe(StatusCode::OK, &file)
            .content_type(OCTETS)
            .body(Unsent(file.size)));
    }
    let sent = send(&file, &blob, plan).await;
    sent.map_err(|error| match error {
        // A cache that lost an entry is a cache without it: builds go on and store it again.
        StoreError::Damaged(_) if engine.artifacts.policy(owner, &at.package) == Policy::Cache => {
            ArtifactError::NoFile.into()
        }
        error => Refusal::from(error),
    })
}

/// The headers that every answer about a file has.
fn describe(status: StatusCode, file: &File) -> HttpResponseBuilder {
    let modified = UNIX_EPOCH + Duration::from_millis(file.created.max(0).unsigned_abs());
    let mut response = HttpResponse::build(status);
    response
        .insert_header((header::ACCEPT_RANGES, "bytes"))
        .insert_header((header::CONTENT_DISPOSITION, attachment(&file.name)))
        .insert_header((header::LAST_MODIFIED, httpdate::fmt_http_date(modified)))
        .insert_header((header::ETAG, etag(&file.blob)))
        .insert_header(("X-Checksum-Blake3", file.blob.to_string()))
        .insert_header((header::X_CONTENT_TYPE_OPTIONS, "nosniff"))
        .insert_header((header::CACHE_CONTROL, "private, max-age=0, must-revalidate"));
    if let Some(sha256) = file.sha256 {
        response.insert_header(("X-Checksum-Sha256", hex::encode(sha256)));
    }
    response
}

async fn send(file: &File, blob: &Blob, plan: Plan) -> Result<HttpResponse, StoreError> {
    let mut response = match plan {
        Plan::Whole => {
            let body = bytes(blob, 0..file.size).await?;
            return Ok(describe(StatusCode::OK, file)
                .content_type(OCTETS)
                .body(SizedStream::new(file.size, body)));
        }
        Plan::Unsatisfiable => {
            return Ok(describe(StatusCode::RANGE_NOT_SATISFIABLE, file)
                .insert_header((header::CONTENT_RANGE, ranges::unsatisfied_range(file.size)))
                .finish());
        }
        Plan::Single(_) | Plan::Multiple(_) => describe(StatusCode::PARTIAL_CONTENT, file),
    };
    match plan {
        Plan::Single(range) => {
            let content_range = ranges::content_range(&range, file.size);
            let len = range.end - range.start;
            let body = bytes(blob, range).await?;
            Ok(response
                .content_type(OCTETS)
                .insert_header((header::CONTENT_RANGE, content_range))
                .body(SizedStream::new(len, body)))
        }
        Plan::Multiple(ranges) => {
            let framing = Multipart {
                boundary: ranges::random_boundary().map_err(std::io::Error::from)?,
                content_type: OCTETS.to_owned(),
                len: file.size,
                ranges,
            };
            let len = framing.content_length();
            response.content_type(framing.answer_type());
            Ok(response.body(SizedStream::new(len, parts(blob, framing).await?)))
        }
        Plan::Whole | Plan::Unsatisfiable => Ok(response.finish()),
    }
}

/// The bytes of a range. The first piece is read before the status is sent, so that damage there is still an answer;
/// damage further on breaks the connection off.
async fn bytes(
    blob: &Blob,
    range: Range<u64>,
) -> Result<impl Stream<Item = Result<Bytes, StoreError>> + use<>, StoreError> {
    let mut reader = blob.read(range);
    let first = reader.next().await?;
    Ok(stream::iter(first.map(Ok)).chain(stream::try_unfold(reader, next)))
}

async fn next(mut reader: BlobReader) -> Result<Option<(Bytes, BlobReader)>, StoreError> {
    Ok(reader.next().await?.map(|piece| (piece, reader)))
}

/// The parts of a `multipart/byteranges` body.
async fn parts(
    blob: &Blob,
    framing: Multipart,
) -> Result<impl Stream<Item = Result<Bytes, StoreError>> + use<>, StoreError> {
    let mut pieces: Vec<stream::LocalBoxStream<'static, Result<Bytes, StoreError>>> = Vec::new();
    for (position, range) in framing.ranges.iter().enumerate() {
        pieces.push(text(framing.head(position).unwrap_or_default()));
        let body = if position == 0 {
            bytes(blob, range.clone()).await?.boxed_local()
        } else {
            stream::try_unfold(blob.read(range.clone()), next).boxed_local()
        };
        pieces.push(body);
    }
    pieces.push(text(framing.tail()));
    Ok(stream::iter(pieces).flatten())
}

fn text(text: String) -> stream::LocalBoxStream<'static, Result<Bytes, StoreError>> {
    stream::once(async move { Ok(Bytes::from(text)) }).boxed_local()
}

/// The length of a body that HEAD does not send.
struct Unsent(u64);

impl MessageBody for Unsent {
    type Error = std::convert::Infallible;

    fn size(&self) -> BodySize {
        BodySize::Sized(self.0)
    }

    fn poll_next(
        self: std::pin::Pin<&mut Self>,
        _cx: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Result<Bytes, Self::Error>>> {
        std::task::Poll::Ready(None)
    }
}
