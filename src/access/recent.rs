//! Callers whom a thread has recognised by their tokens, and owners whom it has been asked for: looked up and decoded once
//! for each change of any account or token, not once for each request.
//!
//! Exact: [`Directory::sign_in_changes`](super::directory::Directory::sign_in_changes) goes up before a change is
//! answered, so a revoked token is wrong from then on, on every thread.

use std::cell::RefCell;
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use foldhash::fast::{FixedState, RandomState};

use super::SignedIn;
use crate::store::model::{Account, Token};

/// Callers that a thread remembers at most, and owners; a few hundred bytes each.
const CAPACITY: usize = 1024;

/// A token that was good, and who came with it.
#[derive(Clone)]
pub(super) struct Recognised {
    pub token: Arc<Token>,
    pub who: Arc<SignedIn>,
}

/// Whose callers and owners are meant, and what of: a gate, and the state of its directory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct State {
    /// See [`number`].
    pub gate: u64,
    pub changes: u64,
}

#[derive(Default)]
struct Recent {
    of: State,
    /// By the hashes of their tokens. Those are keyed with the store's secret: nobody can choose them to collide.
    callers: HashMap<[u8; 32], Recognised, FixedState>,
    /// By their names, as clients spell them.
    owners: HashMap<Box<str>, Arc<Account>, RandomState>,
}

impl Recent {
    /// Forgets what is of another state.
    fn turn_to(&mut self, state: State) {
        if self.of != state {
            *self = Recent {
                of: state,
                ..Recent::default()
            };
        }
    }
}

thread_local! {
    static RECENT: RefCell<Recent> = RefCell::default();
}

/// A number for a gate that no other gate of this process has.
pub(super) fn number() -> u64 {
    static LAST: AtomicU64 = AtomicU64::new(0);
    LAST.fetch_add(1, Ordering::Relaxed) + 1
}

/// Whoever had this token, if nothing has changed since.
pub(super) fn recall(state: State, hash: &[u8; 32]) -> Option<Recognised> {
    RECENT.with_borrow(|recent| match recent.of == state {
        true => recent.callers.get(hash).cloned(),
        false => None,
    })
}

/// Remembers who had a token when the state was read, which was before he was looked up.
pub(super) fn remember(state: State, recognised: Recognised) {
    RECENT.with_borrow_mut(|recent| {
        recent.turn_to(state);
        if recent.callers.len() >= CAPACITY {
            recent.callers.clear();
        }
        recent.callers.insert(recognised.token.hash, recognised);
    });
}

/// The account that had this name, if nothing has changed since.
pub(super) fn recall_owner(state: State, name: &str) -> Option<Arc<Account>> {
    RECENT.with_borrow(|recent| match recent.of == state {
        true => recent.owners.get(name).cloned(),
        false => None,
    })
}

/// Remembers who had a name when the state was read, which was before it was looked up.
pub(super) fn remember_owner(state: State, name: &str, owner: Arc<Account>) {
    RECENT.with_borrow_mut(|recent| {
        recent.turn_to(state);
        if recent.owners.len() >= CAPACITY {
            recent.owners.clear();
        }
        recent.owners.insert(name.into(), owner);
    });
}

#[cfg(test)]
mod tests {
    use super::super::Scopes;
    use super::super::fake::{account, token};
    use super::*;

    fn recognised(id: u64) -> Recognised {
        Recognised {
            token: Arc::new(token(id, id)),
            who: Arc::new(SignedIn {
                account: account(id, "somebody"),
                scopes: Scopes::ALL,
                token: Some(id),
                grants: None,
            }),
        }
    }

    #[test]
    fn what_was_recognised_before_a_change_or_elsewhere_is_not_recalled() {
        let state = |gate, changes| State { gate, changes };
        let gate = number();
        let one = recognised(1);
        let who = |state| recall(state, &one.token.hash).map(|recognised| recognised.who.account.id);
        remember(state(gate, 1), one.clone());
        assert_eq!(who(state(gate, 1)), Some(1));
        assert_eq!(who(state(gate, 2)), None);
        assert_eq!(who(state(number(), 1)), None);
        remember(state(gate, 2), recognised(2));
        assert_eq!(who(state(gate, 1)), None);
        assert_eq!(who(state(gate, 2)), None);
    }

    #[test]
    fn owners_are_recalled_by_the_spelling_that_was_asked_for_until_anything_changes() {
        let state = |gate, changes| State { gate, changes };
        let gate = number();
        let who = |state, name| recall_owner(state, name).map(|owner| owner.id);
        remember_owner(state(gate, 1), "One", Arc::new(account(1, "one")));
        remember(state(gate, 1), recognised(2));
        assert_eq!(who(state(gate, 1), "One"), Some(1));
        assert_eq!(who(state(gate, 1), "one"), None);
        assert_eq!(who(state(gate, 2), "One"), None);
        assert_eq!(who(state(number(), 1), "One"), None);
        remember(state(gate, 2), recognised(2));
        assert_eq!(who(state(gate, 2), "One"), None);
        assert_eq!(who(state(gate, 1), "One"), None);
        remember_owner(state(gate, 3), "One", Arc::new(account(3, "one")));
        let caller = recall(state(gate, 3), &recognised(2).token.hash);
        assert!(caller.is_none(), "he was recognised before a change");
    }

    #[test]
    fn a_thread_remembers_a_bounded_number() {
        let state = State {
            gate: number(),
            changes: 0,
        };
        for id in 0..3 * CAPACITY as u64 {
            remember(state, recognised(id));
            assert!(recall(state, &recognised(id).token.hash).is_some());
            let name = id.to_string();
            remember_owner(state, &name, Arc::new(account(id, &name)));
            assert!(recall_owner(state, &name).is_some());
        }
        assert!(RECENT.with_borrow(|recent| recent.callers.len().max(recent.owners.len())) <= CAPACITY);
    }
}
