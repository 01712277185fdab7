//! The outcome of a commit under way, for everyone who depends on it.

use std::sync::{Arc, OnceLock};

use tokio::sync::Notify;

use super::change::CommitError;
use super::flow::Waiting;

/// How a commit ended.
pub type Outcome = Result<(), CommitError>;

/// The waiting side: cheap to clone, may be dropped at any time (the commit goes on).
#[derive(Clone, Debug)]
pub struct Ticket(Arc<State>);

/// The settling side, held by whoever carries the commit. Dropping it unsettled says `Closed`.
#[derive(Debug)]
pub struct Settle(Arc<State>, Waiting);

#[derive(Debug, Default)]
struct State {
    outcome: OnceLock<Outcome>,
    notify: Notify,
}

/// A new commit's two sides.
pub fn ticket() -> (Settle, Ticket) {
    let state = Arc::new(State::default());
    (Settle(state.clone(), Waiting::begin()), Ticket(state))
}

impl Ticket {
    /// The outcome, if there is one yet.
    pub fn peek(&self) -> Option<&Outcome> {
        self.0.outcome.get()
    }

    /// Waits for the outcome. Cancel safe.
    pub async fn settled(&self) -> Outcome {
        loop {
            let notified = self.0.notify.notified();
            tokio::pin!(notified);
            // Registered before the look, so that a settling in between is not missed.
            notified.as_mut().enable();
            if let Some(outcome) = self.0.outcome.get() {
                return outcome.clone();
            }
            notified.await;
        }
    }
}

impl Settle {
    /// Tells everyone who waits.
    pub fn settle(self, outcome: Outcome) {
        self.set(outcome);
    }

    fn set(&self, outcome: Outcome) {
        if self.0.outcome.set(outcome).is_ok() {
            self.0.notify.notify_waiters();
        }
    }
}

impl Drop for Settle {
    fn drop(&mut self) {
        // A commit that a panic cut off may be on the disk or not.
        let outcome = if std::thread::panicking() {
            CommitError::Poisoned
        } else {
            CommitError::Closed
        };
        self.set(Err(outcome));
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn every_waiter_learns_the_outcome() {
        let (settle, ticket) = ticket();
        let early = tokio::spawn({
            let ticket = ticket.clone();
            async move { ticket.settled().await }
        });
        tokio::task::yield_now().await;
        assert_eq!(ticket.peek(), None);
        settle.settle(Err(CommitError::Conflict));
        assert_eq!(ticket.settled().await, Err(CommitError::Conflict));
        assert_eq!(early.await.unwrap(), Err(CommitError::Conflict));
    }

    #[tokio::test]
    async fn a_dropped_commit_is_closed() {
        let (settle, ticket) = ticket();
        drop(settle);
        assert_eq!(ticket.settled().await, Err(CommitError::Closed));
    }
}
