//! Publishes a file, or removes one.

use std::future::poll_fn;
use std::task::{Poll, ready};
use std::time::{Duration, Instant};

use actix_http::BoxedPayloadStream;
use actix_web::dev::Payload;
use actix_web::http::StatusCode;

use super::answer::{Asked, Came, Next, finish, refuse};
use super::arriving::Arriving;
use super::lines::Lines;
use super::waiting::Patience;
use crate::artifact::{Coordinates, Prechecked, Published, Upload};
use crate::chunk::Digest;
use crate::http::connection::{Connection, Transport};
use crate::http::description::identify;
use crate::http::error::Refusal;
use crate::http::generic::status_of;
use crate::http::incoming::Incoming;
use crate::http::metrics::{METRICS, Op};
use crate::http::refuse as rest;
use crate::http::routes::{bounds, patiently};
use crate::http::server::LINGER;
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

impl From<Published> for Done {
    fn from(published: Published) -> Self {
        Done {
            status: status_of(&published),
            published: Some(published.file.blob),
        }
    }
}

/// Takes the request, publishes its body, which is there, and answers. How long that took.
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
    let done = published.map(Done::from).map_err(Refusal::from);
    answer(connection, came, (watch, Op::PutFile, false), done).await
}

/// Takes the request, publishes its body as that comes and answers.
pub(super) async fn receive<T: Transport>(
    connection: &Connection<T>,
    came: Came<'_>,
    asked: Asked<'_>,
    (state, upload, patience): (&State, Upload, &mut Patience),
) -> Result<Next, StoreError> {
    connection.take(asked.len);
    let length = asked.body;
    let arriving: BoxedPayloadStream = Box::pin(Arriving::new(connection.share(), length));
    let body = Incoming::new(Payload::from(arriving), METRICS.received(Op::PutFile));
    let body = body.recorded(asked.record.clone());
    let artifacts = &asked.engine.artifacts;
    let watch = asked.begin(came);
    let published = artifacts.take_in(upload, body.clone()).await;
    if connection.is_broken() {
        return Err(StoreError::Io(std::io::ErrorKind::ConnectionReset.into()));
    }
    let done = published.map(Done::from).map_err(Refusal::from);
    let bounds = bounds(
        state,
        done.as_ref().map_or_else(Refusal::status, |done| done.status),
    );
    let all_read = done.is_ok() || rest::is_read_soon(&body, Some(length as u64), bounds).await;
    // A connection that broke meanwhile has nothing more to say either.
    let last = !all_read || connection.is_broken() || patience.is_over().await;
    let took = answer(connection, came, (watch, Op::PutFile, last), done).await?;
    if !all_read {
        rest::throw_away(body, bounds).await;
        linger(connection).await;
    }
    Ok(match last {
        true => Next::Over,
        false => Next::Answered(took),
    })
}

/// Throws away what a client goes on sending that has been told to stop: closing with bytes unread would take the answer
/// away from it.
async fn linger<T: Transport>(connection: &Connection<T>) {
    let all = poll_fn(|context| {
        loop {
            let len = connection.unread().len();
            connection.take(len);
            match ready!(connection.poll_fill(context)) {
                Ok(true) => {}
                Ok(false) | Err(_) => return Poll::Ready(()),
            }
        }
    });
    // Whoever has not stopped by then is cut.
    let _ = tokio::time::timeout(LINGER, all).await;
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
    answer(connection, came, (watch, Op::DeleteFile, false), done).await
}

async fn answer<T: Transport>(
    connection: &Connection<T>,
    came: Came<'_>,
    (watch, op, last): (Watch, Op, bool),
    done: Result<Done, Refusal>,
) -> Result<Duration, StoreError> {
    let now = Instant::now();
    let text = connection.begin_answer(|answer| match &done {
        Ok(done) => {
            watch.answered(done.status.as_u16());
            write_done(answer, (done, last), came, now);
            0
        }
        Err(refusal) => {
            watch.answered(refusal.status().as_u16());
            refuse(answer, (op, last), refusal, came, now)
        }
    });
    finish(connection, watch, text).await
}

fn write_done(answer: &mut Vec<u8>, (done, last): (&Done, bool), came: Came<'_>, now: Instant) {
    let mut lines = Lines::begin(answer, done.status);
    if last {
        lines.last();
    }
    if let Some(digest) = &done.published {
        lines.content_length(0);
        identify(&mut lines, digest);
    }
    lines.end(came.context, now);
}
