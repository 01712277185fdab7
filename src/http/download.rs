//! Downloads (API.md §1 and §3).

use actix_web::http::StatusCode;
use actix_web::http::header::{CONTENT_RANGE, CONTENT_TYPE, RANGE};
use actix_web::{HttpResponse, HttpResponseBuilder};
use bytes::Bytes;

use super::auth::permitted;
use super::conditions::{self, Outcome, Validators};
use super::description::{OCTET_STREAM, OCTETS, describe};
use super::error::Refusal;
use super::head::Head;
use super::metrics::METRICS;
use super::openapi::{AtFile, AtName, AtOwner, AtVersion, Reading, file};
use super::ranges::{self, Multipart, Plan, content_range};
use super::sending::{self, Layout};
use super::state::State;
use crate::access::Action;
use crate::artifact::{ArtifactError, Coordinates, Fetched};
use crate::store::error::StoreError;
use crate::store::model::File;

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
    let Fetched { located, blob } = engine.artifacts.fetch(&owner, at.parts())?;
    let file = &located.file;
    if let Some(response) = judged(head, file)? {
        METRICS.not_modified(file.size);
        return Ok(response);
    }
    let (mut response, layout) = selected(head, file)?;
    match sending::answer(&mut response, blob, layout, head.outlet).await {
        Ok(response) => Ok(response),
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
    let located = engine.artifacts.describe(&owner, at.parts())?;
    let file = &located.file;
    if let Some(response) = judged(head, file)? {
        return Ok(response);
    }
    let mut response = described(StatusCode::OK, file);
    response.insert_header((CONTENT_TYPE, OCTET_STREAM));
    Ok(sending::answer_head(&mut response, file.size))
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
            return Ok((response, several(parts)));
        }
        Plan::Unsatisfiable => return Err(Refusal::range(file.size)),
    };
    response.insert_header((CONTENT_TYPE, OCTET_STREAM));
    Ok((response, layout))
}

/// Begins an answer with the headers that describe a file.
fn described(status: StatusCode, file: &File) -> HttpResponseBuilder {
    let mut response = HttpResponse::build(status);
    describe(&mut response, file);
    response
}

/// Parts of the file with text between them.
fn several(parts: Multipart) -> Layout {
    let heads = (0..).map_while(|index| parts.head(index)).map(Bytes::from);
    Layout {
        len: parts.content_length(),
        parts: heads.zip(parts.ranges.iter().cloned()).collect(),
        tail: parts.tail().into(),
    }
}
