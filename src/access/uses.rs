//! When tokens were last used: kept in memory on the way of a request, in the store every now and then.

use std::collections::HashMap;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{PoisonError, RwLock, RwLockReadGuard};

use super::Access;
use crate::store::change::{Change, CommitError};
use crate::store::error::StoreError;
use crate::store::model::{Id, Millis, Token, TokenUse};

/// A use is noted only if it is this much later than the last: a token that everybody uses must not become a line of
/// memory that all processors fight for.
const STEP: Millis = 1_000;
/// Tokens whose uses are kept in memory, at about 100 bytes each. Uses of more go unnoticed until the next save.
const CAPACITY: usize = 65_536;
/// Uses in one record of the log.
const A_RECORD: usize = 256;

/// The uses since the start.
#[derive(Default)]
pub(super) struct Uses(RwLock<HashMap<Id, Seen>>);

struct Seen {
    token: [u8; 32],
    /// When it was last used.
    at: AtomicI64,
    /// The use that the store knows of.
    saved: AtomicI64,
}

impl Uses {
    /// A token is used.
    pub(super) fn note(&self, token: &Token, now: Millis) {
        if let Some(seen) = self.read().get(&token.id) {
            if now - seen.at.load(Ordering::Relaxed) >= STEP {
                seen.at.fetch_max(now, Ordering::Relaxed);
            }
            return;
        }
        let mut all = self.0.write().unwrap_or_else(PoisonError::into_inner);
        if all.len() < CAPACITY {
            all.entry(token.id).or_insert_with(|| Seen {
                token: token.hash,
                at: AtomicI64::new(now),
                saved: AtomicI64::new(0),
            });
        }
    }

    fn last(&self, token: Id) -> Option<Millis> {
        Some(self.read().get(&token)?.at.load(Ordering::Relaxed))
    }

    /// What the store does not know yet.
    fn unsaved(&self) -> Vec<(Id, TokenUse)> {
        let all = self.read();
        let uses = all.iter().map(|(id, seen)| {
            let at = seen.at.load(Ordering::Relaxed);
            let token = seen.token;
            (
                at > seen.saved.load(Ordering::Relaxed),
                (*id, TokenUse { token, at }),
            )
        });
        uses.filter(|(news, _)| *news).map(|(_, used)| used).collect()
    }

    fn saved(&self, uses: &[(Id, TokenUse)]) {
        let all = self.read();
        for (id, used) in uses {
            if let Some(seen) = all.get(id) {
                seen.saved.fetch_max(used.at, Ordering::Relaxed);
            }
        }
    }

    /// Makes room for other tokens, if it is needed.
    fn forget_if_full(&self) {
        let mut all = self.0.write().unwrap_or_else(PoisonError::into_inner);
        if all.len() >= CAPACITY {
            all.clear();
        }
    }

    fn read(&self) -> RwLockReadGuard<'_, HashMap<Id, Seen>> {
        self.0.read().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Access {
    /// When a token was last used, to the second or so. A crash may lose the uses since they were last saved.
    pub fn last_use(&self, token: &Token) -> Result<Option<Millis>, StoreError> {
        let stored = self.gate.directory.token_use(&token.hash)?;
        Ok(self.gate.uses.last(token.id).max(stored))
    }

    /// Keeps in the store when tokens were last used. Durable when this returns.
    pub async fn save_uses(&self) -> Result<(), CommitError> {
        let unsaved = self.gate.uses.unsaved();
        for some in unsaved.chunks(A_RECORD) {
            let uses = some.iter().map(|(_, used)| *used).collect();
            self.gate
                .directory
                .commit(Change::PutTokenUses(uses))
                .settled()
                .await?;
            self.gate.uses.saved(some);
        }
        self.gate.uses.forget_if_full();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::access::fake::{self, Bench};
    use crate::access::{Credentials, NewToken, locked};

    #[tokio::test]
    async fn a_use_shows_at_once_and_is_saved_once() {
        let bench = Bench::new();
        let ann = fake::account(1, "ann");
        bench.fake.set(ann.clone());
        let new = NewToken {
            name: "ci".to_owned(),
            scopes: vec!["all".to_owned()],
            ..NewToken::default()
        };
        let (token, secret) = bench.access.create_token(&ann, &new).await.unwrap();
        assert_eq!(bench.access.last_use(&token).unwrap(), None);
        let credentials = Credentials::Token(secret.expose().to_owned());
        bench.access.authenticate(&credentials, None).await.unwrap();
        let used = bench.access.last_use(&token).unwrap().unwrap();
        assert!(used >= token.created);
        assert!(
            locked(&bench.fake.uses).is_empty(),
            "nothing is written on the way of a request"
        );
        bench.access.save_uses().await.unwrap();
        bench.access.save_uses().await.unwrap();
        let kept = TokenUse {
            token: token.hash,
            at: used,
        };
        assert_eq!(*locked(&bench.fake.uses), [kept]);
    }

    #[tokio::test]
    async fn a_use_that_could_not_be_saved_is_saved_later() {
        let bench = Bench::new();
        bench.access.gate.uses.note(&fake::token(7, 1), 50_000);
        locked(&bench.fake.forced).push(CommitError::Busy);
        assert!(bench.access.save_uses().await.is_err());
        bench.access.save_uses().await.unwrap();
        assert_eq!(locked(&bench.fake.uses).len(), 1);
    }

    #[test]
    fn uses_count_by_the_second_and_never_backwards() {
        let uses = Uses::default();
        let token = fake::token(7, 1);
        for (now, seen) in [
            (50_000, 50_000),
            (50_999, 50_000),
            (51_000, 51_000),
            (40_000, 51_000),
        ] {
            uses.note(&token, now);
            assert_eq!(uses.last(7), Some(seen));
        }
    }

    #[test]
    fn memory_is_bounded() {
        let uses = Uses::default();
        for id in 0..CAPACITY as Id + 10 {
            uses.note(&fake::token(id, 1), 1);
        }
        assert_eq!(uses.read().len(), CAPACITY);
        uses.forget_if_full();
        assert_eq!(uses.read().len(), 0);
    }
}
