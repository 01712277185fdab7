//! JSON bodies: what clients send and what they are sent, one file a noun.
//!
//! A body that is sent is a struct that derives `Serialize`, one that is read derives `Deserialize`; both derive
//! `ToSchema` and are so described in the API document (`super::openapi`). What is unknown in a body is ignored, as
//! Gitea's other fields must be; `null` counts as absent; what has the wrong type is named.

pub mod health;
pub mod organisation;
pub mod owner;
pub mod package;
pub mod problem;
pub mod retention;
pub mod token;
pub mod user;

use std::time::Duration;

use futures_util::StreamExt;
use jiff::Timestamp;
use serde::de::DeserializeOwned;
use serde_json::json;
use tokio::time::timeout;
use utoipa::ToSchema;
use utoipa::openapi::schema::SchemaType;
use utoipa::openapi::{ObjectBuilder, Schema, Type};

use super::error::Refusal;
use super::fields;
use super::head::Head;
use super::incoming::Incoming;
use crate::store::model::Millis;

/// Longest body of a call, in bytes.
const MAX_BODY: usize = 64 * 1024;

/// How long a body may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// The body of a call.
pub async fn read<T: DeserializeOwned>(head: Head<'_>, body: &Incoming) -> Result<T, Refusal> {
    Ok(fields::parse(&collect(head, body).await?)?)
}

/// The whole body, within bounds.
pub async fn collect(head: Head<'_>, body: &Incoming) -> Result<Vec<u8>, Refusal> {
    if let Some(encoding) = head.encoding() {
        return Err(Refusal::encoding(&encoding));
    }
    let mut body = body.clone();
    let collect = async {
        let mut collected = Vec::new();
        while let Some(piece) = body.next().await {
            let piece = piece.map_err(|error| Refusal::bad_request("incomplete-body", error.to_string()))?;
            if collected.len() + piece.len() > MAX_BODY {
                return Err(Refusal::body_too_large(MAX_BODY));
            }
            collected.extend_from_slice(&piece);
        }
        Ok(collected)
    };
    let slow = |_| Refusal::slow_body(PATIENCE.as_secs());
    timeout(PATIENCE, collect).await.map_err(slow)?
}

/// RFC 3339, in whole seconds as Gitea has it.
pub fn time(millis: Millis) -> String {
    let time = Timestamp::from_second(millis.div_euclid(1000)).unwrap_or(Timestamp::UNIX_EPOCH);
    time.to_string()
}

/// How [`Visibility`](crate::store::model::Visibility) is written, for the API document.
#[derive(ToSchema)]
#[schema(rename_all = "lowercase", as = Visibility)]
#[expect(dead_code, reason = "only described, never made")]
pub enum ShownVisibility {
    /// Anyone reads.
    Public,
    /// Anyone who is signed in reads.
    Limited,
    /// Only the owner, its members and admins read.
    Private,
}

/// The same as clients may ask for it: also not at all, for which those of Gitea send an empty text.
fn asked_visibility() -> Schema {
    ObjectBuilder::new()
        .schema_type(SchemaType::from_iter([Type::String, Type::Null]))
        .enum_values(Some([
            json!("public"),
            json!("limited"),
            json!("private"),
            json!(""),
            json!(null),
        ]))
        .build()
        .into()
}
