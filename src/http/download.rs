//! Downloads (API.md §1 and §3).

use std::ops::Range;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::{Duration, UNIX_EPOCH};

use actix_web::body::{BodySize, BoxBody, MessageBody, SizedStream};
use actix_web::http::StatusCode;
use actix_web::http::header::{
    ACCEPT_RANGES, CACHE_CONTROL, CONTENT_DISPOSITION, CONTENT_RANGE, CONTENT_TYPE, ETAG, LAST_MODIFIED,
    RANGE, X_CONTENT_TYPE_OPTIONS,
};
use actix_web::{HttpResponse, HttpResponseBuilder};
use bytes::Bytes;
use futures_util::stream;

use super::auth::permitted;
use super::conditions::{self, Outcome, Validators};
use super::disposition::attachment;
use super::error::Refusal;
use super::head::Head;
use super::metrics::METRICS;
use super::openapi::{AtFile, AtName, AtOwner, AtVersion, Reading, file};
use super::ranges::{self, Multipart, Plan, content_range};
use super::state::State;
use crate::access::Action;
use crate::artifact::{ArtifactError, Coordinates, Fetched};
use crate::store::blob::{Blob, BlobReader};
use crate::store::error::StoreError;
use crate::store::model::File;

/// What every file is: bytes.
const OCTETS: &str = "application/octet-stream";

/// Download a file
#[utoipa::path(
    get,
    operation_id = "get_file",
    path = "/api/packages/{owner}/generic/{package_name}/{package_version}/{file_name}",
    tag = "files",
    security((), ("basic" = []), ("token" = [])),
    params(AtOwner, AtName, AtVersion, AtFile, Reading),
    responses(
        (status = 200, description = "The bytes.", body = Vec<u8>, content_type = "application/octet-stream", headers(
            ("ETag" = String, description = "The blake3 of the whole file, in quotes."),
            ("Last-Modified" = String, description = "When it was published."),
            ("X-Checksum-Blake3" = String),
            ("X-Checksum-Sha256" = Option<String>, description = "Where it is known."),
            ("Content-Disposition" = String),
            ("Accept-Ranges" = String),
        )),
        (status = 206, description = "The ranges asked for.", content(
            (Vec<u8> = "application/octet-stream"), (Vec<u8> = "multipart/byteranges")
        )),
        (status = 304, description = "Not modified."),
        file::NotSelected, file::Refused
    )
)]
pub async fn get(
    state: &State,
    head: Head<'_>,
    owner: &str,
    at: &Coordinates,
) -> Result<HttpResponse, Refusal> {
    let engine = state.engine()?;
    let (_, owner) = permitted(state, engine, head, owner, &at.package, Action::Read).await?;
    let Fetched { file, blob } = engine.artifacts.fetch(&owner, at)?;
    if let Some(response) = judged(head, &file)? {
        METRICS.not_modified(file.size);
        return Ok(response);
    }
    let (mut response, layout) = selected(head, &file)?;
    match Sending::start(blob, layout).await {
        Ok(body) => Ok(response.body(body)),
        // Builds go on and store it again.
        Err(StoreError::Damaged(_)) if engine.artifacts.is_cache(&owner, &at.package) => {
            Err(ArtifactError::NoFile.into())
        }
        Err(error) => Err(error.into()),
    }
}

/// Describe a file, without reading its bytes
#[utoipa::path(
    head,
    operation_id = "head_file",
    path = "/api/packages/{owner}/generic/{package_name}/{package_version}/{file_name}",
    tag = "files",
    security((), ("basic" = []), ("token" = [])),
    params(AtOwner, AtName, AtVersion, AtFile, Reading),
    responses(
        (status = 200, description = "The headers of a download.", headers(
            ("ETag" = String, description = "The blake3 of the whole file, in quotes."),
            ("Last-Modified" = String, description = "When it was published."),
            ("X-Checksum-Blake3" = String),
            ("X-Checksum-Sha256" = Option<String>, description = "Where it is known."),
            ("Content-Disposition" = String),
            ("Accept-Ranges" = String),
        )),
        (status = 304, description = "Not modified."),
        file::NoCondition, file::Refused
    )
)]
pub async fn head(
    state: &State,
    head: Head<'_>,
    owner: &str,
    at: &Coordinates,
) -> Result<HttpResponse, Refusal> {
    let engine = state.engine()?;
    let (_, owner) = permitted(state, engine, head, owner, &at.package, Action::Read).await?;
    let Fetched { file, .. } = engine.artifacts.fetch(&owner, at)?;
    if let Some(response) = judged(head, &file)? {
        return Ok(response);
    }
    let mut response = described(StatusCode::OK, &file);
    response.insert_header((CONTENT_TYPE, OCTETS));
    Ok(response.body(NoBytes { size: file.size }))
}

/// The answer, if the conditions decide it.
fn judged(head: Head<'_>, file: &File) -> Result<Option<HttpResponse>, Refusal> {
    match conditions::read(head.headers, &validators(file)) {
        Outcome::Proceed => Ok(None),
        Outcome::PreconditionFailed => Err(ArtifactError::Precondition.into()),
        Outcome::NotModified => Ok(Some(described(StatusCode::NOT_MODIFIED, file).finish())),
    }
}

fn validators(file: &File) -> Validators {
    Validators {
        etag: file.blob,
        modified_ms: file.created,
    }
}

/// Which bytes to send, and under which head.
fn selected(head: Head<'_>, file: &File) -> Result<(HttpResponseBuilder, Layout), Refusal> {
    let range = head.headers.get(RANGE).and_then(|value| value.to_str().ok());
    let range = range.filter(|_| conditions::range_applies(head.headers, &validators(file)));
    let plan = ranges::plan(range, file.size);
    let status = match plan {
        Plan::Whole => StatusCode::OK,
        _ => StatusCode::PARTIAL_CONTENT,
    };
    let mut response = described(status, file);
    let layout = match plan {
        Plan::Whole => Layout::bytes(0..file.size),
        Plan::Single(range) => {
            response.insert_header((CONTENT_RANGE, content_range(&range, file.size)));
            Layout::bytes(range)
        }
        Plan::Multiple(ranges) => {
            let parts = Multipart {
                boundary: ranges::random_boundary().map_err(|error| Refusal::internal(&error))?,
                content_type: OCTETS.to_owned(),
                len: file.size,
                ranges,
            };
            response.insert_header((CONTENT_TYPE, parts.answer_type()));
            return Ok((response, Layout::parts(parts)));
        }
        Plan::Unsatisfiable => return Err(Refusal::range(file.size)),
    };
    response.insert_header((CONTENT_TYPE, OCTETS));
    Ok((response, layout))
}

/// The headers that describe a file, whatever of it is sent.
fn described(status: StatusCode, file: &File) -> HttpResponseBuilder {
    let published = UNIX_EPOCH + Duration::from_millis(file.created.max(0).unsigned_abs());
    let mut response = HttpResponse::build(status);
    response
        .insert_header((ACCEPT_RANGES, "bytes"))
        .insert_header((CACHE_CONTROL, "private, max-age=0, must-revalidate"))
        .insert_header((CONTENT_DISPOSITION, attachment(&file.name)))
        .insert_header((ETAG, conditions::etag(&file.blob)))
        .insert_header(("x-checksum-blake3", file.blob.to_string()))
        .insert_header((LAST_MODIFIED, httpdate::fmt_http_date(published)))
        .insert_header((X_CONTENT_TYPE_OPTIONS, "nosniff"));
    if let Some(sha256) = file.sha256 {
        response.insert_header(("x-checksum-sha256", hex::encode(sha256)));
    }
    response
}

/// Stands for the body of an answer to HEAD: its size, none of its bytes.
struct NoBytes {
    size: u64,
}

impl MessageBody for NoBytes {
    type Error = std::convert::Infallible;

    fn size(&self) -> BodySize {
        BodySize::Sized(self.size)
    }

    fn poll_next(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Bytes, Self::Error>>> {
        Poll::Ready(None)
    }
}

/// What a body is made of.
struct Layout {
    /// Text, then bytes of the file.
    parts: Vec<(Bytes, Range<u64>)>,
    /// What stands after the last part.
    tail: Bytes,
    /// Of the whole body, in bytes.
    len: u64,
}

impl Layout {
    fn bytes(range: Range<u64>) -> Self {
        Layout {
            len: range.end - range.start,
            parts: vec![(Bytes::new(), range)],
            tail: Bytes::new(),
        }
    }

    fn parts(parts: Multipart) -> Self {
        let heads = (0..).map_while(|index| parts.head(index)).map(Bytes::from);
        Layout {
            len: parts.content_length(),
            parts: heads.zip(parts.ranges.iter().cloned()).collect(),
            tail: parts.tail().into(),
        }
    }
}

/// Parts of a file on their way out. A read that fails ends the body with an error, which breaks the connection: the
/// client sees that bytes are missing.
struct Sending {
    blob: Blob,
    parts: std::vec::IntoIter<(Bytes, Range<u64>)>,
    tail: Bytes,
    /// What is sent before the reader goes on, the last of them first.
    ready: Vec<Bytes>,
    /// Of the part that is being sent.
    reader: Option<BlobReader>,
}

impl Sending {
    /// Reads the first piece: damage that shows there still gets a status of its own.
    async fn start(blob: Blob, layout: Layout) -> Result<BoxBody, StoreError> {
        let len = layout.len;
        let mut parts = layout.parts.into_iter();
        let Some((head, range)) = parts.next() else {
            return Ok(BoxBody::new(layout.tail));
        };
        let mut reader = blob.read(range);
        let first = reader.next().await?.unwrap_or_default();
        // A small file is sent in one go.
        if first.len() as u64 == len {
            return Ok(BoxBody::new(first));
        }
        let sending = Sending {
            blob,
            parts,
            tail: layout.tail,
            ready: vec![first, head],
            reader: Some(reader),
        };
        let stream = stream::try_unfold(sending, |mut sending| async move {
            let next = sending.next().await?;
            Ok::<_, StoreError>(next.map(|bytes| (bytes, sending)))
        });
        Ok(BoxBody::new(SizedStream::new(len, Box::pin(stream))))
    }

    /// The next bytes, which may be none yet; `None` at the end.
    async fn next(&mut self) -> Result<Option<Bytes>, StoreError> {
        if let Some(bytes) = self.ready.pop() {
            return Ok(Some(bytes));
        }
        if let Some(reader) = &mut self.reader
            && let Some(bytes) = reader.next().await?
        {
            return Ok(Some(bytes));
        }
        self.reader = None;
        if let Some((head, range)) = self.parts.next() {
            self.reader = Some(self.blob.read(range));
            return Ok(Some(head));
        }
        let tail = std::mem::take(&mut self.tail);
        Ok(Some(tail).filter(|tail| !tail.is_empty()))
    }
}
