//! The configuration, read again by hand (API.md §6).

use std::fmt;
use std::sync::Arc;

use actix_web::HttpResponse;
use actix_web::http::StatusCode;
use actix_web::rt::task::spawn_blocking;
use serde::Serialize;
use utoipa::ToSchema;

use super::admin;
use super::error::Refusal;
use super::head::Head;
use super::json::problem::ApiError;
use super::openapi::Refused;
use super::state::State;

/// Whoever can read the configuration again.
pub trait Reload: fmt::Debug + Send + Sync {
    /// Reads it again and applies what can be, all or nothing. Blocks. The error says what is wrong and where.
    fn reload(&self) -> Result<Reloaded, String>;
}

/// What has changed since the configuration was last read.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, ToSchema)]
pub struct Reloaded {
    /// What holds now.
    pub applied: Vec<String>,
    /// What will hold after a restart.
    pub needs_restart: Vec<String>,
}

/// Read the configuration again, as SIGHUP does: all of it, or nothing if something is wrong
#[utoipa::path(
    post,
    operation_id = "reload_configuration",
    path = "/api/v1/admin/reload",
    tag = "administration",
    responses((status = 202, description = "What has changed.", body = Reloaded),
        (status = 422, description = "What is wrong with it, and where; nothing was changed.", body = ApiError), Refused)
)]
pub async fn reload(state: &State, head: Head<'_>) -> Result<HttpResponse, Refusal> {
    let engine = admin::before_user(state, head).await?;
    let reload = Arc::clone(&engine.reload);
    let reloaded = spawn_blocking(move || reload.reload())
        .await
        .map_err(|error| Refusal::internal(&error))?;
    match reloaded {
        Ok(reloaded) => Ok(HttpResponse::Accepted().json(reloaded)),
        Err(wrong) => Err(Refusal::new(
            StatusCode::UNPROCESSABLE_ENTITY,
            "configuration-refused",
            format!("nothing was changed: {wrong}"),
        )),
    }
}
