//! What the command line may ask of the running daemon, over the control socket.

use std::io;

use actix_rt::task::spawn_blocking;

use super::accounts::Desk;
use super::collection;
use super::control::{Answer, Control, Request, Response};
use super::reload::Reloader;
use crate::http::Reloaded;
use crate::store::Store;
use crate::upkeep::Collector;
use crate::upkeep::backups::Backups;
use crate::upkeep::statistics::Statistics;

/// What the audit log calls the store as a whole.
pub const STORE: &str = "store";

/// Whatever the answers need.
#[derive(Debug)]
pub struct Commands {
    /// For accounts.
    pub desk: Desk,
    /// For holding its files.
    pub store: Store,
    /// For passes of collection.
    pub collector: Collector,
    /// For what the store holds and takes.
    pub statistics: Statistics,
    /// For the configuration.
    pub reloader: Reloader,
}

impl Commands {
    /// Answers for ever. Without a socket the daemon serves all the same.
    pub async fn answer(&self, control: io::Result<Control>) {
        match control {
            Ok(control) => {
                control
                    .serve(async |request| self.answer_one(request).await)
                    .await
            }
            Err(error) => {
                tracing::warn!(%error, "no control socket: the command line can reach the store only while the daemon is down");
                std::future::pending().await
            }
        }
    }

    async fn answer_one(&self, request: Request) -> Answer {
        match request {
            Request::Accounts { request } => match self.desk.perform(request).await {
                Ok(answer) => Response::Accounts { answer }.into(),
                Err(message) => Response::Failed { message }.into(),
            },
            Request::Collect { dry_run } => {
                if !dry_run {
                    self.desk.record("gc", STORE.to_owned(), "done");
                }
                collection::request(&self.collector, dry_run).into()
            }
            Request::Collected { run } => collection::outcome(&self.collector, run).into(),
            Request::Reload => self.reload().await.into(),
            Request::Stats => self.stats().await.into(),
            Request::BackedUp(ended) => {
                let result = if ended.ok { "done" } else { "failed" };
                self.desk.record("backup", STORE.to_owned(), result);
                Backups::of(self.store.data()).ended(ended);
                Response::Done.into()
            }
            Request::HoldFiles => match self.store.snapshot() {
                Ok((end, hold)) => Answer::keeping(Response::Held { end }, hold),
                Err(error) => failed(error).into(),
            },
        }
    }

    async fn reload(&self) -> Response {
        match self.reloader.reload_for_shell().await {
            Ok(Reloaded {
                applied,
                needs_restart,
            }) => Response::Reloaded {
                applied,
                needs_restart,
            },
            Err(message) => Response::Failed { message },
        }
    }

    async fn stats(&self) -> Response {
        let statistics = self.statistics.clone();
        match spawn_blocking(move || statistics.now()).await {
            Ok(Ok(counted)) => Response::Stats {
                stats: counted.stats,
                age_seconds: counted.at.elapsed().as_secs(),
            },
            Ok(Err(error)) => failed(error),
            Err(error) => failed(error),
        }
    }
}

fn failed(error: impl ToString) -> Response {
    Response::Failed {
        message: error.to_string(),
    }
}
