//! The composition root: puts the rooms together and ends them in order.
//!
//! Start: descriptors, data directory, port, http (everything but health answers 503), store, first account, engine.
//! Shutdown is the reverse: unready, requests, control socket, collector, store. In between, SIGHUP and whoever asks have
//! the configuration read again, see `reload`.

pub mod accounts;
mod announce;
mod bounds;
mod collection;
mod commands;
pub mod control;
mod first_account;
mod listen;
mod reload;
mod signals;
mod systemd;
mod web;

use std::io;
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use actix_rt::System;
use tokio::sync::oneshot;

use crate::access::{Access, BootstrapError};
use crate::artifact::Artifacts;
use crate::config::{Config, Listen};
use crate::http::{Identity, TlsError};
use crate::store::error::StoreError;
use crate::store::{self, OpenError, Progress, Store};
use crate::telemetry::audit::{self, Audit};
use crate::telemetry::{self, LogFormat};
use crate::upkeep::Collector;
use crate::upkeep::backups::Backups;
use crate::upkeep::owner_usage::OwnerUsage;
use crate::upkeep::scrubber::Scrubber;
use crate::upkeep::statistics::Statistics;
use accounts::Desk;
use announce::{Announcement, SignIn};
use bounds::Bounds;
use commands::Commands;
pub use commands::STORE;
use control::Control;
use first_account::first_account;
use listen::Bound;
use signals::{Hangups, Signals};
use web::Web;

/// How often the last uses of tokens are kept in the store.
const SAVE_USES: Duration = Duration::from_secs(15 * 60);

/// Why the daemon did not start, or ended badly.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The data directory cannot be made.
    #[error("cannot create the data directory {}: {error}", path.display())]
    Data {
        /// The directory.
        path: PathBuf,
        /// Why not.
        error: io::Error,
    },
    /// An address cannot be listened on.
    #[error("cannot listen on {address}: {error}")]
    Listen {
        /// The address.
        address: String,
        /// Why not.
        error: io::Error,
    },
    /// The audit log cannot be written.
    #[error("cannot open the audit log ({output:?}): {error}")]
    Audit {
        /// Where it was to go.
        output: audit::Output,
        /// Why not.
        error: io::Error,
    },
    /// The certificate cannot be used.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The store did not open.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The first account could not be made.
    #[error(transparent)]
    FirstAccount(#[from] BootstrapError),
    /// Something of the operating system.
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// Serves until a signal ends it. Blocks. `progress` is told how far opening the store has come.
pub fn run(config: Config, progress: impl Progress + 'static) -> Result<(), Error> {
    listen::raise_descriptor_limit();
    telemetry::metrics::describe_build();
    telemetry::metrics::describe_config(&config.fingerprint());
    let identity = web::identity(&config)?;
    let data = &config.store.data;
    listen::create_data_directory(data).map_err(|error| Error::Data {
        path: data.clone(),
        error,
    })?;
    let main = bind_all(&config)?;
    let metrics = config.metrics_listen.as_ref();
    let metrics = metrics.map(|at| bind(at, config.socket_mode)).transpose()?;
    System::new().block_on(serve(config, identity, main, metrics, progress))
}

/// The sockets for everybody: those that systemd has opened, and the rest.
fn bind_all(config: &Config) -> Result<Vec<Bound>, Error> {
    let mut bound = listen::inherited(&config.listen)?;
    for at in config.listen.iter().skip(bound.len()) {
        bound.push(bind(at, config.socket_mode)?);
    }
    Ok(bound)
}

fn bind(at: &Listen, socket_mode: u32) -> Result<Bound, Error> {
    listen::bind(at, socket_mode).map_err(|error| Error::Listen {
        address: at.to_string(),
        error,
    })
}

async fn serve(
    config: Config,
    identity: Option<Identity>,
    main: Vec<Bound>,
    metrics: Option<Bound>,
    progress: impl Progress + 'static,
) -> Result<(), Error> {
    let mut signals = Signals::new()?;
    let mut hangups = Hangups::new()?;
    let addresses: Vec<Listen> = main.iter().map(|bound| bound.at.clone()).collect();
    let announcement = Rc::new(Announcement::new(&addresses, &config.http.base_path));
    let late = actix_rt::spawn(announcement.clone().print_late());
    let watchdog = actix_rt::spawn(systemd::watchdog());
    let audit = Audit::start(&config.audit).map_err(|error| Error::Audit {
        output: config.audit.output.clone(),
        error,
    })?;
    let web = Web::start(&config, identity, main, metrics, audit.clone())?;
    let opened = tokio::select! {
        // In this order: systemd is told, however quickly the store is open.
        biased;
        () = systemd::opening() => return Ok(()),
        opened = open(config.store.clone(), web.watch(progress)) => opened,
        // Nothing has been promised yet, and a store that is half opened looks like one after a crash.
        name = signals.next() => {
            tracing::info!("{name} while opening the store, ending");
            return Ok(());
        }
    };
    let result = match opened {
        Ok(store) => {
            let collector = Collector::start(store.clone(), config.upkeep.clone())?;
            let desk = Desk {
                access: Access::believing(store.clone(), config.issuers.clone()),
                artifacts: Artifacts::new(store.clone(), config.artifact.clone()),
                audit,
            };
            let worked = work(
                &config,
                &store,
                &collector,
                &web,
                &desk,
                &announcement,
                (&mut signals, &mut hangups),
            )
            .await;
            end(web, store, collector, desk, signals).await;
            worked
        }
        Err(error) => Err(error),
    };
    late.abort();
    watchdog.abort();
    result
}

/// Opens the store on a thread of its own: it blocks, and nobody waits for it when a signal comes first.
async fn open(options: store::Options, progress: impl Progress + 'static) -> Result<Store, Error> {
    let (done, opened) = oneshot::channel();
    std::thread::Builder::new()
        .name("open-store".to_owned())
        .spawn(move || {
            // The receiver is gone if a signal came first.
            let _ = done.send(Store::open(options, &progress));
        })?;
    match opened.await {
        Ok(opened) => Ok(opened?),
        Err(_) => Err(Error::Io(io::Error::other(
            "opening the store ended without a result",
        ))),
    }
}

/// Gets ready and serves until the first signal.
async fn work(
    config: &Config,
    store: &Store,
    collector: &Collector,
    web: &Web,
    desk: &Desk,
    announcement: &Announcement,
    (signals, hangups): (&mut Signals, &mut Hangups),
) -> Result<(), Error> {
    let data = &config.store.data;
    let sign_in = first_account_in_time(&desk.access, config, store).await?;
    // Before the daemon is ready: their metrics are there from the first scrape, and the command line may rely on the
    // socket.
    Backups::of(data);
    let scrubber = Scrubber::start(store.clone(), config.scrub)?;
    let statistics = Statistics::start(store.clone())?;
    let (shown, limits) = (config.metrics_owners.clone(), config.artifact.limits);
    let usage = OwnerUsage::start(store.clone(), shown, limits)?;
    let bounds = Bounds::keep(config, desk, store, collector);
    let control = Control::bind(data);
    let reloader = web.reloader(config, desk, bounds.settings());
    web.ready(
        store.clone(),
        desk.access.clone(),
        desk.artifacts.clone(),
        Arc::new(collector.clone()),
        reloader.clone(),
    );
    announcement.print();
    if config.log.format != LogFormat::Json {
        announcement.print_next_steps(data, &sign_in);
    }
    let commands = Commands {
        desk: desk.clone(),
        store: store.clone(),
        collector: collector.clone(),
        statistics: statistics.clone(),
        reloader: reloader.clone(),
    };
    systemd::ready();
    tracing::info!(data = %data.display(), "ready");
    tokio::select! {
        name = signals.next() => tracing::info!("{name}, shutting down"),
        () = reloader.reload_on_hangup(hangups) => {}
        () = commands.answer(control) => {}
        () = save_uses(&desk.access) => {}
    }
    systemd::stopping();
    drop(bounds);
    // They let go within a step, long before requests do.
    let _ = actix_rt::task::spawn_blocking(move || {
        statistics.stop();
        usage.stop();
        if let Some(scrubber) = scrubber {
            scrubber.stop();
        }
    })
    .await;
    Ok(())
}

/// What the index lacks may show only now: then it is being built again, and is waited for.
async fn first_account_in_time(access: &Access, config: &Config, store: &Store) -> Result<SignIn, Error> {
    loop {
        match first_account(access, config).await {
            Err(BootstrapError::Store(StoreError::Index(_))) => store.index_restored().await,
            done => return Ok(done?),
        }
    }
}

/// The reverse of the start. A second signal ends the process at once.
async fn end(web: Web, store: Store, collector: Collector, desk: Desk, mut signals: Signals) {
    let orderly = async {
        web.stop().await;
        save_uses_once(&desk.access).await;
        let audit = desk.audit.clone();
        let close = move || {
            collector.stop();
            if let Err(error) = desk.artifacts.save_uses() {
                tracing::warn!(%error, "the times of last use could not be kept");
            }
            // These write, and the first syncs too.
            store.close();
            audit.inspect(Audit::close);
        };
        let closed = actix_rt::task::spawn_blocking(close).await;
        if let Err(error) = closed {
            tracing::error!(%error, "closing the store failed");
        }
    };
    tokio::select! {
        () = orderly => tracing::info!("ended in good order"),
        forced = signals.force() => match forced {},
    }
}

/// Keeps when tokens were last used, every now and then, for ever.
async fn save_uses(access: &Access) {
    loop {
        tokio::time::sleep(SAVE_USES).await;
        save_uses_once(access).await;
    }
}

async fn save_uses_once(access: &Access) {
    if let Err(error) = access.save_uses().await {
        tracing::warn!(%error, "when tokens were last used could not be kept; the next try comes later");
    }
}
