//! Publishing and removing (API.md §1 and §4).

use actix_web::HttpResponse;
use actix_web::http::StatusCode;
use actix_web::http::header::{CONTENT_RANGE, HeaderMap};

use super::auth::{permitted, publisher};
use super::checksums;
use super::conditions;
use super::description;
use super::error::Refusal;
use super::form;
use super::head::Head;
use super::incoming::Incoming;
use super::openapi::{AtFile, AtName, AtOwner, AtVersion, Checked, file};
use super::state::{Engine, State};
use crate::access::{Action, Caller};
use crate::artifact::{ArtifactError, Coordinates, ExpectedChecksums, Prechecked, PublishRequest, Published};
use crate::owner::WriteCondition;
use crate::store::model::Account;

/// A PUT that nothing is known against.
pub struct Admitted<'a> {
    engine: &'a Engine,
    request: Prechecked,
}

/// What a PUT says beside its name.
#[derive(Debug, Default)]
pub struct Announced {
    /// Preconditions.
    pub condition: WriteCondition,
    /// Checksums that are to be verified.
    pub checksums: ExpectedChecksums,
    /// The length of the file, in bytes, where it is known.
    pub length: Option<u64>,
}

/// The last of the checks that need no body, for a caller who may write here.
pub fn precheck(
    engine: &Engine,
    caller: &Caller,
    owner: Account,
    at: Coordinates,
    announced: Announced,
) -> Result<Prechecked, Refusal> {
    let (by, by_admin) = publisher(caller, &owner)?;
    Ok(engine.artifacts.precheck(PublishRequest {
        owner,
        by,
        by_admin,
        at,
        condition: announced.condition,
        checksums: announced.checksums,
        length: announced.length,
    })?)
}

/// Every check that needs no body, in the order of API.md §1.
pub async fn before_body<'a>(
    state: &'a State,
    head: Head<'_>,
    owner: &str,
    at: &Coordinates,
) -> Result<Admitted<'a>, Refusal> {
    let engine = state.engine()?;
    let (caller, owner) = permitted(state, engine, head, owner, &at.package, Action::Write).await?;
    at.validate()?;
    if head.headers.contains_key(CONTENT_RANGE) {
        return Err(Refusal::bad_request(
            "content-range",
            "Content-Range is not supported: send the whole file",
        ));
    }
    let announced = Announced {
        condition: conditions::write_condition(head.headers)?,
        checksums: checksums::expected(head.headers)?,
        // Of a form, only a part is the file.
        length: head.content_length().filter(|_| !head.is_form()),
    };
    let request = precheck(engine, &caller, owner, at.clone(), announced)?;
    Ok(Admitted { engine, request })
}

/// Publish a file
///
/// A body of `multipart/form-data` is a form, and its first file is stored; any other is stored as it is.
#[utoipa::path(
    put,
    operation_id = "put_file",
    path = "/api/packages/{owner}/generic/{package_name}/{package_version}/{file_name}",
    tag = "files",
    params(AtOwner, AtName, AtVersion, AtFile, Checked),
    request_body(content = Vec<u8>, content_type = "application/octet-stream"),
    responses(
        (status = 201, description = "Published.", headers(
            ("ETag" = String, description = "The blake3 of the file, in quotes."), ("X-Checksum-Blake3" = String),
        )),
        (status = 200, description = "Published or there already, where the policy says 200.", headers(
            ("ETag" = String, description = "The blake3 of the file, in quotes."), ("X-Checksum-Blake3" = String),
        )),
        file::Refused, file::NotPublished
    )
)]
pub async fn put(
    state: &State,
    head: Head<'_>,
    owner: &str,
    at: &Coordinates,
    body: &Incoming,
) -> Result<HttpResponse, Refusal> {
    let Admitted { engine, request } = before_body(state, head, owner, at).await?;
    let published = match head.is_form() {
        false => engine.artifacts.publish(request, body.clone()).await,
        true => {
            let file = form::first_file(head.headers, body.clone()).await?;
            engine.artifacts.publish(request, file).await
        }
    };
    match published {
        Ok(published) => Ok(success(&published)),
        Err(ArtifactError::Checksum(mismatch)) => {
            let text = format!("{}: {mismatch}", wanted_by(head.headers, mismatch.name));
            Err(Refusal::from(ArtifactError::Checksum(mismatch)).saying(text))
        }
        Err(error) => Err(error.into()),
    }
}

/// The header that wants a checksum. If several do, they agree.
fn wanted_by(headers: &HeaderMap, checksum: &str) -> &'static str {
    match checksum {
        "blake3" => "X-Checksum-Blake3",
        "md5" => "Content-MD5",
        "sha-256" if headers.contains_key("X-Checksum-Sha256") => "X-Checksum-Sha256",
        _ if headers.contains_key("Content-Digest") => "Content-Digest",
        _ => "Repr-Digest",
    }
}

/// How a publication is answered.
pub fn status_of(published: &Published) -> StatusCode {
    match published.ok {
        true => StatusCode::OK,
        false => StatusCode::CREATED,
    }
}

fn success(published: &Published) -> HttpResponse {
    let mut response = HttpResponse::build(status_of(published));
    description::identify(&mut response, &published.file.blob);
    response.finish()
}

/// Remove a file, and its version with the last one
#[utoipa::path(
    delete,
    path = "/api/packages/{owner}/generic/{package_name}/{package_version}/{file_name}",
    tag = "files",
    params(AtOwner, AtName, AtVersion, AtFile),
    responses((status = 204, description = "Removed."), file::Refused, file::Writing)
)]
pub async fn delete_file(
    state: &State,
    head: Head<'_>,
    owner: &str,
    at: &Coordinates,
) -> Result<HttpResponse, Refusal> {
    let engine = state.engine()?;
    let (_, owner) = permitted(state, engine, head, owner, &at.package, Action::Delete).await?;
    engine.artifacts.remove_file(&owner, at).await?;
    Ok(HttpResponse::NoContent().finish())
}

/// Remove a version with all its files
#[utoipa::path(
    delete,
    path = "/api/packages/{owner}/generic/{package_name}/{package_version}",
    tag = "files",
    params(AtOwner, AtName, AtVersion),
    responses((status = 204, description = "Removed."), file::Refused, file::Writing)
)]
pub async fn delete_version(
    state: &State,
    head: Head<'_>,
    owner: &str,
    package: &str,
    version: &str,
) -> Result<HttpResponse, Refusal> {
    let engine = state.engine()?;
    let (_, owner) = permitted(state, engine, head, owner, package, Action::Delete).await?;
    engine.artifacts.remove_version(&owner, package, version).await?;
    Ok(HttpResponse::NoContent().finish())
}
