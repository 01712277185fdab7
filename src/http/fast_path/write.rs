//! Publishes a file whose body is there, or removes one.

use std::time::{Duration, Instant};

use actix_web::http::StatusCode;

use super::answer::{Asked, Came, finish, refuse};
use super::lines::Lines;
use crate::artifact::{Coordinates, Prechecked};
use crate::chunk::Digest;
use crate::http::connection::{Connection, Transport};
use crate::http::description::identify;
use crate::http::error::Refusal;
use crate::http::generic::status_of;
use crate::http::metrics::Op;
use crate::http::routes::patiently;
use crate::http::state::State;
use crate::http::watch::Watch;
use crate::store::error::StoreError;
use crate::store::model::Account;

/// What has been done.
struct Done {
    status: StatusCode,
    /// The file that stands there now.
    published: Option<Digest>,
}

/// Takes the request, publishes its body and answers. How long that took.
pub(super) async fn publish<T: Transport>(
    connection: &Connection<T>,
    came: Came<'_>,
    asked: Asked<'_>,
    request: Prechecked,
) -> Result<Duration, StoreError> {
    let body = connection.take_body(asked.len, asked.body);
    let artifacts = &asked.engine.artifacts;
    let watch = asked.begin(came);
    watch.received(body.len());
    let published = artifacts.publish_whole(request, body).await;
    let done = published.map(|published| Done {
        status: status_of(&published),
        published: Some(published.file.blob),
    });
    answer(
        connection,
        came,
        (watch, Op::PutFile),
        done.map_err(Refusal::from),
    )
    .await
}

/// Takes the request, removes the file and answers. How long that took.
pub(super) async fn remove<T: Transport>(
    connection: &Connection<T>,
    came: Came<'_>,
    asked: Asked<'_>,
    (state, owner, at): (&State, &Account, &Coordinates),
) -> Result<Duration, StoreError> {
    connection.take(asked.len);
    let artifacts = &asked.engine.artifacts;
    let watch = asked.begin(came);
    let remove = async || Ok(artifacts.remove_file(owner, at).await?);
    let done = patiently(state, || true, remove).await.map(|()| Done {
        status: StatusCode::NO_CONTENT,
        published: None,
    });
    answer(connection, came, (watch, Op::DeleteFile), done).await
}

async fn answer<T: Transport>(
    connection: &Connection<T>,
    came: Came<'_>,
    (watch, op): (Watch, Op),
    done: Result<Done, Refusal>,
) -> Result<Duration, StoreError> {
    let now = Instant::now();
    let text = connection.begin_answer(|answer| match &done {
        Ok(done) => {
            watch.answered(done.status.as_u16());
            write_done(answer, done, came, now);
            0
        }
        Err(refusal) => {
            watch.answered(refusal.status().as_u16());
            refuse(answer, op, refusal, came, now)
        }
    });
    finish(connection, watch, text).await
}

fn write_done(answer: &mut Vec<u8>, done: &Done, came: Came<'_>, now: Instant) {
    let mut lines = Lines::begin(answer, done.status);
    if let Some(digest) = &done.published {
        lines.content_length(0);
        identify(&mut lines, digest);
    }
    lines.end(came.context, now);
}
