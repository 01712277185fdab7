//! What every request to packages passes before it is served: readiness, credentials, owner, permission; and for a
//! publication all that can be refused before its body.

use actix_web::dev::RequestHead;
use actix_web::http::header::{CONTENT_LENGTH, CONTENT_RANGE};
use actix_web::http::{StatusCode, header};

use super::error::Refusal;
use super::state::{AppState, Engine};
use super::{checksums, conditions};
use crate::access::{self, Action, AuthError, Caller, Credentials};
use crate::artifact::{ArtifactError, Coordinates, PublishRequest};
use crate::store::model::Account;

/// A request that may go on.
#[derive(Debug)]
pub struct Admitted {
    /// What serves it.
    pub engine: Engine,
    /// Who asks.
    pub caller: Caller,
    /// Whose packages.
    pub owner: Account,
}

/// The engine, if the store is open.
pub fn engine(state: &AppState) -> Result<Engine, Refusal> {
    state
        .engine()
        .cloned()
        .ok_or_else(|| Refusal::unready("the store is being opened"))
}

/// Finds out who asks.
pub async fn authenticate(
    state: &AppState,
    engine: &Engine,
    head: &RequestHead,
) -> Result<Caller, AuthError> {
    let authorization = head
        .headers
        .get(header::AUTHORIZATION)
        .map(|value| value.as_bytes());
    let query = head.uri.query().unwrap_or_default();
    let credentials = Credentials::parse(authorization, query, state.options.query_tokens);
    let from = head.peer_addr.map(|address| address.ip());
    engine.access.authenticate(&credentials, from).await
}

/// Admits a request to the packages of `owner`: credentials first, then whether the owner exists, then permission.
pub async fn admit(
    state: &AppState,
    head: &RequestHead,
    owner: &str,
    action: Action,
) -> Result<Admitted, Refusal> {
    let engine = engine(state)?;
    let caller = authenticate(state, &engine, head).await?;
    let owner = engine
        .store
        .account(owner)?
        .ok_or_else(|| Refusal::not_found("owner does not exist"))?;
    access::permit(&caller, &owner, action)?;
    Ok(Admitted {
        engine,
        caller,
        owner,
    })
}

/// Everything about a publication that can be refused before its body is read, in the order of API.md §1. Also asked
/// for a client that waits for `100 Continue`.
pub async fn admit_publication(
    state: &AppState,
    head: &RequestHead,
    owner: &str,
    at: Coordinates,
) -> Result<(Engine, PublishRequest), Refusal> {
    let Admitted {
        engine,
        caller,
        owner,
    } = admit(state, head, owner, Action::Write).await?;
    let Caller::User(signed_in) = caller else {
        return Err(access::Denied::SignIn.into());
    };
    at.validate().map_err(ArtifactError::from)?;
    if head.headers.contains_key(CONTENT_RANGE) {
        return Err(Refusal::new(
            StatusCode::BAD_REQUEST,
            "content-range",
            "Content-Range is not supported on PUT: send the whole file",
        ));
    }
    let request = PublishRequest {
        owner,
        by: signed_in.account.id,
        by_admin: signed_in.account.admin,
        at,
        condition: conditions::write_condition(&head.headers)?,
        checksums: checksums::expected(&head.headers)?,
        length: if is_multipart(head) {
            None
        } else {
            content_length(head)
        },
    };
    engine.artifacts.precheck(&request)?;
    Ok((engine, request))
}

/// The length of the body, where the client says it.
pub fn content_length(head: &RequestHead) -> Option<u64> {
    head.headers
        .get(CONTENT_LENGTH)?
        .to_str()
        .ok()?
        .trim()
        .parse()
        .ok()
}

/// Whether the body is a form with the file in one of its parts.
pub fn is_multipart(head: &RequestHead) -> bool {
    let content_type = head
        .headers
        .get(header::CONTENT_TYPE)
        .and_then(|value| value.to_str().ok());
    content_type.is_some_and(|value| {
        value
            .trim_start()
            .to_ascii_lowercase()
            .starts_with("multipart/form-data")
    })
}
