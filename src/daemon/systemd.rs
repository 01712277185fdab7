//! What systemd is told (`Type=notify`), and nothing where nobody listens.

use std::time::Duration;

use sd_notify::NotifyState;

/// A start that replays a long log takes time; with this it gets more, again and again.
const EXTENSION: Duration = Duration::from_secs(60);

/// Requests are served.
pub fn ready() {
    tell(&[NotifyState::Ready, NotifyState::Status("serving")]);
}

/// The configuration is being read again; [`ready`] follows.
pub fn reloading() {
    match NotifyState::monotonic_usec_now() {
        Ok(now) => tell(&[NotifyState::Reloading, now]),
        Err(_) => tell(&[NotifyState::Reloading]),
    }
}

/// The end has begun.
pub fn stopping() {
    tell(&[
        NotifyState::Stopping,
        NotifyState::Status("requests under way may finish"),
    ]);
}

/// Asks for more time, for as long as the store is being opened.
pub async fn opening() {
    let micros = u32::try_from(EXTENSION.as_micros()).unwrap_or(u32::MAX);
    loop {
        tell(&[
            NotifyState::ExtendTimeoutUsec(micros),
            NotifyState::Status("opening the store"),
        ]);
        tokio::time::sleep(EXTENSION / 4).await;
    }
}

/// Says again and again that this thread is alive, if systemd wants to hear it.
pub async fn watchdog() {
    let Some(limit) = sd_notify::watchdog_enabled() else {
        return std::future::pending().await;
    };
    loop {
        tell(&[NotifyState::Watchdog]);
        tokio::time::sleep(limit / 3).await;
    }
}

fn tell(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::debug!(%error, "systemd was not told");
    }
}
